"""Into which parts a batch of reports divides a question: one for each value of a column, or for each stretch of time.

Planning is pure.  The files of the parts are numbered: no value ever becomes a name.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from auditkit.api import Trail
from auditkit.errors import InvalidTimeError
from auditkit.reporting.screen import moment_words
from auditkit.text import label
from auditkit.timerange import TimeRange, check_zone, from_us, parse_duration, resolve, to_us

_DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One report of a batch: its file, its name in words, its value (of a column), its bounds (ISO), its events."""

    file: str
    name: str
    value: str | int | bool | None
    start: str | None
    end: str | None
    events: int


def plan_parts(
    trail: Trail, each: str, start: object, end: object, where: dict[str, Any] | None
) -> tuple[Part, ...]:
    """Return the parts of what a view of the trail shows, as it is now.

    `each` is a column of text, whole numbers or truth values: its values in the window, the most frequent first,
    then by value; or a duration such as "1d": the stretches of the window, which begin as
    the buckets of `downsample` do.  Raises `ValueError` for anything else.
    """
    window = resolve(start, end, now_us=to_us(trail.now()), tz=trail.tz)
    if each in trail.schema:
        found = _values(trail, each, window, where)
    else:
        found = _stretches(trail, each, window, where)
    width = max(_DIGITS, len(str(len(found))))
    return tuple(
        Part(file=f"{number:0{width}}.html", name=name, value=value, start=first, end=last, events=events)
        for number, (name, value, first, last, events) in enumerate(found, 1)
    )


_Found = tuple[str, Any, str | None, str | None, int]


def _values(trail: Trail, column: str, window: TimeRange, where: dict[str, Any] | None) -> list[_Found]:
    kind = trail.schema[column]
    if column in ("seq", "attrs") or not (kind == pl.String or kind == pl.Boolean or kind.is_integer()):
        raise ValueError(
            f"each: {column} has no values to tell apart (expected text, whole numbers or truth values)"
        )
    first, last = _bounds(window, trail.tz)
    counts = trail.group_by(column, start=first, end=last, where=where).select(column, "count")
    ordered = counts.sort("count", column, descending=[True, False], nulls_last=True)
    return [(label(value), value, _text(first), _text(last), events) for value, events in ordered.iter_rows()]


def _stretches(trail: Trail, every: str, window: TimeRange, where: dict[str, Any] | None) -> list[_Found]:
    try:
        duration = parse_duration(every, name="each")
    except InvalidTimeError as exc:
        raise ValueError(f"each: neither a column nor a duration (found {every!r})") from exc
    if duration.negative:
        raise ValueError(f"each: a duration of the past divides nothing (found {every!r})")
    first, last = _bounds(window, trail.tz)
    series = trail.downsample(every, start=first, end=last, where=where, fill=None).select("ts", "count")
    found: list[_Found] = []
    for moment, events in series.iter_rows():
        begins = to_us(moment)
        ends = duration.after(begins, trail.tz)
        begins = begins if window.start_us is None else max(begins, window.start_us)
        ends = ends if window.end_us is None else min(ends, window.end_us)
        since, until = _moment(begins, trail.tz).isoformat(), _moment(ends, trail.tz).isoformat()
        found.append((moment_words(since, trail.tz), None, since, until, events or 0))
    return found


def _moment(us: int, zone: str) -> datetime:
    return from_us(us).astimezone(check_zone(zone))


def _bounds(window: TimeRange, zone: str) -> tuple[datetime | None, datetime | None]:
    start, end = (None if us is None else _moment(us, zone) for us in (window.start_us, window.end_us))
    return start, end


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
