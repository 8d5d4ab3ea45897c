"""Every form of question put to a trail, and computed anew from plain dictionaries."""

import re
from typing import Any

import polars as pl

import auditkit as ak
from auditkit.timerange import from_us
from tests.plain import (
    DEFAULTS,
    MEASURES,
    SECOND,
    Event,
    assert_rows,
    by_keys,
    cut_into_sessions,
    groups,
    in_order,
    side_by_side,
    sightings,
)

COLUMNS = ["seq", "ts", "actor", "action", "resource", "outcome", "origin", "value"]


def assert_answers(trail: ak.Trail, events: list[Event], tz: str = "Europe/Stockholm") -> None:
    """Hold all that a trail answers against what a loop over its events, in the order of their seqs, finds."""
    assert_events(trail, events)
    assert_filters(trail, events)
    assert_groups(trail, events, tz)
    assert_sql(trail, events)
    assert_moves(trail, events)


def rows_of(events: list[Event]) -> list[tuple[Any, ...]]:
    """Return what a range shows of events."""
    return [tuple(event[name] for name in COLUMNS) for event in events]


def third(events: list[Event]) -> tuple[int, int]:
    """Return a window about the middle of the events, its bounds at moments of events."""
    times = sorted(event["ts"] for event in events)
    return times[len(times) // 3], times[2 * len(times) // 3]


def window(events: list[Event]) -> tuple[dict[str, Any], list[Event]]:
    """Return that window as a question has it, and the events inside."""
    start, end = third(events)
    inside = [event for event in events if start <= event["ts"] < end]
    return {"start": from_us(start), "end": from_us(end)}, inside


def assert_events(trail: ak.Trail, events: list[Event]) -> None:
    """Compare range, scan and tail."""
    assert_rows(trail.range(columns=COLUMNS), rows_of(in_order(events)))
    assert_rows(trail.scan().select(COLUMNS).sort("seq").collect(), rows_of(events))
    shown = trail.tail(16).filter(pl.col("source").ne_missing("auditkit")).tail(7).select(COLUMNS)
    assert_rows(shown, rows_of(events[-7:]))
    if not events:
        return
    some, inside = window(events)
    assert_rows(trail.range(**some, columns=COLUMNS), rows_of(in_order(inside)))
    newest = trail.range(**some, columns=COLUMNS, limit=5, descending=True)
    assert_rows(newest, rows_of(in_order(inside)[::-1][:5]))
    actor = events[len(events) // 2]["actor"]
    theirs = [event for event in events if event["actor"] == actor]
    assert_rows(trail.range(where={"actor": [actor]}, columns=COLUMNS), rows_of(in_order(theirs)))


def assert_filters(trail: ak.Trail, events: list[Event]) -> None:
    """Compare what single values, lists, patterns and a scan's later filters leave."""

    def where(condition: Any) -> list[tuple[Any, ...]]:
        return rows_of([event for event in in_order(events) if condition(event)])

    asked: list[tuple[dict[str, Any], Any]] = [
        ({"resource": "doc/7"}, lambda event: event["resource"] == "doc/7"),
        ({"actor": ["ann", "", "nobody"]}, lambda event: event["actor"] in ("ann", "")),
        ({"actor": ["Åsa", None]}, lambda event: event["actor"] in ("Åsa", None)),
        ({"id": "none has one"}, lambda _: False),
        (
            {"action": "doc.*", "outcome": None},
            lambda event: event["action"].startswith("doc.") and event["outcome"] is None,
        ),
        ({"actor": {"not": ["ann", "b*"]}}, lambda event: not re.match("ann$|b", event["actor"] or "")),
        ({"resource": {"not": None}}, lambda event: event["resource"] is not None),
    ]
    for conditions, holds in asked:
        assert_rows(trail.range(where=conditions, columns=COLUMNS), where(holds))
        assert trail.scan(where=conditions).select(pl.len()).collect().item() == len(where(holds))
        counted = trail.group_by("outcome", where=conditions)
        assert_rows(counted, groups([event for event in events if holds(event)], ["outcome"]))
    bob = trail.scan().filter(pl.col("actor") == "bob").select(COLUMNS).collect()
    assert_rows(bob.sort("ts", "seq"), where(lambda event: event["actor"] == "bob"))
    valued = trail.range(where=pl.col("value") > 0, columns=COLUMNS)
    assert_rows(valued, where(lambda event: event["value"] is not None and event["value"] > 0))
    if events:
        some, inside = window(events)
        later = trail.scan().filter(pl.col("ts") >= some["start"], pl.col("ts") < some["end"])
        assert_rows(later.select(COLUMNS).sort("ts", "seq").collect(), rows_of(in_order(inside)))


def assert_groups(trail: ak.Trail, events: list[Event], tz: str) -> None:
    """Compare group_by and downsample, with every measure there is."""
    aggs = ["count", *MEASURES]
    assert_rows(
        trail.group_by(["actor", "action"], aggs=aggs), groups(events, ["actor", "action"], aggs=aggs)
    )
    assert_rows(trail.group_by(["outcome", "actor"]), groups(events, ["outcome", "actor"]))
    assert_rows(trail.group_by("origin", every="7m"), groups(events, ["origin"], "7m"))
    by_day = trail.group_by("outcome", every="1d", tz=tz, aggs=aggs)
    assert_rows(by_day, groups(events, ["outcome"], "1d", tz, aggs))
    if not events:
        return
    some, inside = window(events)
    assert_rows(
        trail.downsample("1h", **some, by="action", tz=tz), groups(inside, ["action"], "1h", tz, DEFAULTS)
    )
    assert_rows(trail.downsample("1mo", tz=tz), groups(events, [], "1mo", tz, DEFAULTS))


def assert_sql(trail: ak.Trail, events: list[Event]) -> None:
    """Compare SQL: counts, groups and a window."""
    assert trail.sql("SELECT count(*) FROM events").item() == len(events)
    found = trail.sql(
        "SELECT action, count(*) AS n, min(seq) AS first, max(ts) AS last FROM events GROUP BY action ORDER BY action"
    )
    expected = [
        (*key, len(members), min(event["seq"] for event in members), members[-1]["ts"])
        for key, members in by_keys(events, ["action"]).items()
    ]
    assert_rows(found.with_columns(pl.col("n").cast(pl.Int64)), sorted(expected))
    if events:
        some, inside = window(events)
        start, end = (moment.isoformat().replace("+00:00", "Z") for moment in some.values())
        asked = f"SELECT count(*) FROM events WHERE ts >= '{start}' AND ts < '{end}'"  # noqa: S608 -- times only
        assert trail.sql(asked).item() == len(inside)


def assert_moves(trail: ak.Trail, events: list[Event]) -> None:
    """Compare sessions, first sightings and a comparison of two windows."""
    found = ak.query.sessions(trail.scan(), "30m").with_columns(pl.col("duration").to_physical())
    assert_rows(found, cut_into_sessions(events, ["actor"], 1800 * SECOND))
    by = ["actor", "action"]
    assert_rows(ak.query.first_seen(trail.scan()), sightings(events, by, -(10**18), 10**18))
    if not events:
        return
    start, end = third(events)
    some, inside = window(events)
    assert_rows(ak.query.first_seen(trail.scan(), by, **some), sightings(events, by, start, end))
    earlier = [event for event in events if event["ts"] < start]
    compared = ak.query.compare(trail.scan(**some), trail.scan(end=some["start"]), by)
    assert_rows(compared, side_by_side(inside, earlier, by, "count"))


def assert_views(trail: ak.Trail, events: list[Event]) -> None:
    """Compare the trail as it was, with a third of its events and with all but one."""
    for seq in {len(events) // 3, max(0, len(events) - 1)}:
        assert_answers(trail.at(seq), events[:seq])
