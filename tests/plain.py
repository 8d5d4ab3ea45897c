"""Answers in plain Python: loops over dictionaries, zones from the standard library, nothing of ours but no Polars.

Events are mappings with `ts` in microseconds since 1970 UTC, `seq`, and whatever is grouped by or measured.
"""

import math
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORT = {"90s": 90 * SECOND, "5m": 300 * SECOND, "7m": 420 * SECOND, "30m": HOUR // 2, "1h": HOUR}
"""Lengths of buckets up to an hour."""

Event = dict[str, Any]


def instant(text: str) -> int:
    """Read ISO text with a zone, exactly."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def bucket_of(us: int, every: str, tz: str) -> int:
    """Return the start of an instant's bucket, in a zone whose midnights all exist once."""
    zone = ZoneInfo(tz)
    moment = (EPOCH + timedelta(microseconds=us)).astimezone(zone)
    if every in SHORT:
        ahead = moment.utcoffset()
        assert ahead is not None
        offset = ahead // timedelta(microseconds=1)
        start = (us + offset) // SHORT[every] * SHORT[every] - offset
        while (EPOCH + timedelta(microseconds=start)).astimezone(zone).utcoffset() != ahead:
            start += 30 * SECOND  # the clock was changed inside: the bucket starts there
        return start
    day = moment.date()
    if every == "1w":
        day -= timedelta(days=day.weekday())
    elif every != "1d":
        months = {"1mo": 1, "1q": 3, "1y": 12}[every]
        day = date(day.year, (day.month - 1) // months * months + 1, 1)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    return (midnight - EPOCH) // timedelta(microseconds=1)


def quantile(values: list[float], share: float) -> float | None:
    """Interpolate linearly between the two nearest of the sorted values."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


MEASURES: dict[str, Callable[[list[float]], Any]] = {
    "value_count": len,
    "sum": lambda values: math.fsum(values) if values else None,
    "mean": lambda values: math.fsum(values) / len(values) if values else None,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "p50": lambda values: quantile(values, 0.5),
    "p95": lambda values: quantile(values, 0.95),
    "p99": lambda values: quantile(values, 0.99),
    "first": lambda values: values[0] if values else None,
    "last": lambda values: values[-1] if values else None,
    "n_unique": lambda values: len(set(values)),
}
DEFAULTS = ["count", "value_count", "sum", "mean", "min", "max"]


def in_order(events: Iterable[Event]) -> list[Event]:
    """Sort by time, then seq."""
    return sorted(events, key=lambda event: (event["ts"], event["seq"]))


def groups(
    events: Iterable[Event],
    by: list[str],
    every: str | None = None,
    tz: str = "UTC",
    aggs: list[str] = DEFAULTS,
) -> list[tuple[Any, ...]]:
    """Group, measure and sort: one row per group, bucket start and keys first, nulls last."""
    found: dict[tuple[Any, ...], list[Event]] = {}
    for event in in_order(events):
        start = [] if every is None else [bucket_of(event["ts"], every, tz)]
        found.setdefault((*start, *(event[key] for key in by)), []).append(event)
    rows = []
    for key, members in found.items():
        values = [event["value"] for event in members if event["value"] is not None]
        rows.append((*key, *(len(members) if name == "count" else MEASURES[name](values) for name in aggs)))
    width = len(by) + (every is not None)
    return sorted(
        rows, key=lambda row: [(part is None, "" if part is None else part) for part in row[:width]]
    )


def by_keys(events: Iterable[Event], by: list[str]) -> dict[tuple[Any, ...], list[Event]]:
    """Gather events by their keys, each in order."""
    found: dict[tuple[Any, ...], list[Event]] = {}
    for event in in_order(events):
        found.setdefault(tuple(event[key] for key in by), []).append(event)
    return found


def keys_last(*key: Any) -> list[tuple[bool, Any]]:
    """Return what sorts so that nulls come last."""
    return [(part is None, "" if part is None else part) for part in key]


def cut_into_sessions(events: Iterable[Event], by: list[str], gap: int) -> list[tuple[Any, ...]]:
    """Walk along each one's events: keys, start, end, seconds, count, actions."""
    rows = []
    for key, members in by_keys(events, by).items():
        walk = [[members[0]]]
        for event in members[1:]:
            if event["ts"] - walk[-1][-1]["ts"] > gap:
                walk.append([])
            walk[-1].append(event)
        for session in walk:
            first, last = session[0]["ts"], session[-1]["ts"]
            actions = {event["action"] for event in session}
            rows.append((*key, first, last, last - first, len(session), len(actions)))
    width = len(by)
    return sorted(rows, key=lambda row: keys_last(row[width], *row[:width]))


def sightings(events: Iterable[Event], by: list[str], start: int, end: int) -> list[tuple[Any, ...]]:
    """Look for each combination's first event: keys, ts, seq, how many followed."""
    rows = []
    for key, members in by_keys((event for event in events if event["ts"] < end), by).items():
        if members[0]["ts"] >= start:
            rows.append((*key, members[0]["ts"], members[0]["seq"], len(members) - 1))
    width = len(by)
    return sorted(rows, key=lambda row: keys_last(*row[width : width + 2], *row[:width]))


def side_by_side(this: list[Event], last: list[Event], by: list[str], measure: str) -> list[tuple[Any, ...]]:
    """Measure both: keys, this, last, difference, ratio, change."""
    sides = [by_keys(events, by) for events in (this, last)]
    counting = measure in ("count", "value_count", "n_unique")
    rows = []
    for key in sides[0].keys() | sides[1].keys() | (set() if by else {()}):
        found: list[Any] = []
        for side in sides:
            members = side.get(key, [])
            values = [event["value"] for event in members if event["value"] is not None]
            found.append(len(members) if measure == "count" else MEASURES[measure](values))
            if not members and not counting:
                found[-1] = None
        new, old = found
        difference = None if new is None or old is None else new - old
        ratio = None if new is None or not old else new / old
        change = {(True, False): "new", (False, True): "vanished"}.get((key in sides[0], key in sides[1]))
        rows.append((*key, new, old, difference, ratio, change))
    return sorted(rows, key=lambda row: keys_last(*row[: len(by)]))


def assert_rows(found: pl.DataFrame, expected: list[tuple[Any, ...]]) -> None:
    """Compare a frame with rows: times as microseconds, floats to 1e-12, everything else exactly."""
    plain = found.with_columns(pl.col(pl.Datetime).to_physical())
    assert plain.height == len(expected)
    for row, wanted in zip(plain.iter_rows(), expected, strict=True):
        assert len(row) == len(wanted)
        for one, other in zip(row, wanted, strict=True):
            if isinstance(one, float) and isinstance(other, float):
                assert math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-9), (row, wanted)
            else:
                assert (type(one), one) == (type(other), other), (row, wanted)
