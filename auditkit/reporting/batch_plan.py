"""What a batch of reports holds: the question, the parts that it is divided into, and the page that names them.

Planning is pure.  The files of the parts are numbered: no value ever becomes a name.
"""

import re
from collections.abc import Mapping
from datetime import datetime, time
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from auditkit.api import Trail
from auditkit.errors import InvalidQueryError, InvalidTimeError, ReportError
from auditkit.reporting.cover import moment_words
from auditkit.reporting.exporter import TEMPLATES, content_policy, template_file
from auditkit.text import counted, short_label, visible
from auditkit.timerange import TimeRange, check_zone, from_us, parse_duration, resolve, to_us
from auditkit.where import PREFIX, describe_where

PLAN_FILE = "batch.json"
_VERSION = 1
_DIGITS = 3
_UNITS = {
    "s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "q": "quarter", "y": "year",
}  # fmt: skip


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One report of a batch: its file, its name in words, its value (of a column), its bounds (ISO), its events."""

    file: str
    name: str
    value: str | int | bool | None
    start: str | None
    end: str | None
    events: int


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch asks, as it was given."""

    notebook: str
    notebook_sha256: str
    trail_id: str
    each: str
    start: str | None
    end: str | None
    where: dict[str, Any] | None
    tz: str
    as_of: int | None
    parameters: dict[str, Any]
    limit: int | None
    static: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The reports of a batch, all as of one seq: the first parts up to the limit, of so many that were `found`."""

    question: Question
    as_of: int
    found: int
    parts: tuple[Part, ...]
    version: int = _VERSION


def plan_batch(trail: Trail, question: Question) -> Plan:
    """Return the parts of a question as of the seq that it names, or as of now."""
    pinned = trail.at(trail.end_seq if question.as_of is None else question.as_of)
    parts = plan_parts(pinned, question.each, question.start, question.end, question.where)
    return Plan(question=question, as_of=pinned.end_seq, found=len(parts), parts=parts[: question.limit])


def read_plan(folder: Path) -> Plan | None:
    """Return the plan of a folder's reports, None where it has none; `ReportError` for one that does not read."""
    try:
        plan = msgspec.json.decode((folder / PLAN_FILE).read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as exc:
        raise ReportError(f"{folder / PLAN_FILE}: is not what a batch of reports writes") from exc
    if plan.version != _VERSION:
        raise ReportError(f"{folder}: written by another version (expected {_VERSION}, found {plan.version})")
    return plan


def plan_parts(
    trail: Trail, each: str, start: str | None, end: str | None, where: dict[str, Any] | None
) -> tuple[Part, ...]:
    """Return the parts of what a view of the trail shows, as it is now.

    `each` is a column of text, whole numbers or truth values, or a path in attrs: its values in the window, the most
    frequent first, then by value; or a duration such as "1d": the stretches of the window, which begin as
    the buckets of `downsample` do.  Raises `InvalidQueryError` for anything else.
    """
    window = resolve(start, end, now_us=to_us(trail.now()), tz=trail.tz)
    found = (_values if is_key(trail, each) else _stretches)(trail, each, window, where)
    width = max(_DIGITS, len(str(len(found))))
    return tuple(
        Part(file=f"{number:0{width}}.html", name=name, value=value, start=first, end=last, events=events)
        for number, (name, value, first, last, events) in enumerate(found, 1)
    )


def is_key(trail: Trail, each: str) -> bool:
    """Return whether reports are made for the values of a column or of a path in attrs, and not for stretches of time."""
    return each in trail.schema or each.startswith(PREFIX)


_Found = tuple[str, Any, str | None, str | None, int]


def _values(trail: Trail, column: str, window: TimeRange, where: dict[str, Any] | None) -> list[_Found]:
    kind = trail.schema.get(column, pl.String())
    if column in ("seq", "attrs") or not (kind == pl.String or kind == pl.Boolean or kind.is_integer()):
        raise InvalidQueryError("each", column, "is no column of text, whole numbers or truth values")
    bounds = _bounds(window, trail.tz)
    counts = trail.group_by(column, **bounds, where=where, aggs="count", tier=None)
    ordered = counts.sort("count", column, descending=[True, False], nulls_last=True)
    since, until = (None if at is None else at.isoformat() for at in bounds.values())
    return [(short_label(value), value, since, until, events) for value, events in ordered.iter_rows()]


def _stretches(trail: Trail, every: str, window: TimeRange, where: dict[str, Any] | None) -> list[_Found]:
    try:
        duration = parse_duration(every, name="each")
    except InvalidTimeError as exc:
        raise InvalidQueryError("each", every, "is neither a column nor a duration") from exc
    if duration.negative:
        raise InvalidQueryError("each", every, "is a duration of the past, which divides nothing")
    bounds = _bounds(window, trail.tz)
    series = trail.downsample(every, **bounds, where=where, fill=None, tier=None).select("ts", "count")
    found: list[_Found] = []
    for moment, events in series.iter_rows():
        # In microseconds: Python compares times of one zone by their clocks, also where these go back.
        begins = max(to_us(moment), to_us(moment) if window.start_us is None else window.start_us)
        ends = duration.after(to_us(moment), trail.tz)
        ends = min(ends, ends if window.end_us is None else window.end_us)
        since, until = (_local(us, trail.tz).isoformat() for us in (begins, ends))
        whole_days = not duration.us and _local(begins, trail.tz).time() == time()
        name = f"{moment:%a %d %b %Y}" if whole_days else moment_words(since, trail.tz)
        found.append((name, None, since, until, events or 0))
    return found


def _bounds(window: TimeRange, zone: str) -> dict[str, Any]:
    """Return the bounds of a window as a query takes them."""
    bounds = {"start": window.start_us, "end": window.end_us}
    return {name: None if us is None else _local(us, zone) for name, us in bounds.items()}


def _local(us: int, zone: str) -> datetime:
    return from_us(us).astimezone(check_zone(zone))


def each_words(each: str) -> str:
    """Return in words what a batch has a report for: a column's name, or a stretch of time.

    >>> each_words("actor"), each_words("1d"), each_words("15m")
    ('actor', 'day', '15 minutes')
    """
    found = re.fullmatch(r"(\d+)(s|m|h|d|w|mo|q|y)", each)
    if found is None:
        return visible(each)
    number, unit = int(found[1]), _UNITS[found[2]]
    return unit if number == 1 else counted(number, unit)


def index_page(plan: Plan, states: Mapping[str, str], trail: str) -> str:
    """Return the page that says which report of a trail is about what; it holds text alone, and runs nothing.

    `states` says of each file "complete", "failed" or "missing".
    """
    question, parts = plan.question, plan.parts
    style = template_file("style.css")
    made = sum(state == "complete" for state in states.values())
    left_out = f" of {plan.found:,} that there are" if plan.found > len(parts) else ""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    return environment.get_template("batch.html.j2").render(
        title=f"{visible(Path(question.notebook).stem)}: a report for each {each_words(question.each)}",
        answer=f"{made:,} of {counted(len(parts), 'report')} {'is' if made == 1 else 'are'} complete.",
        trail=short_label(trail),
        each=each_words(question.each),
        scope=[
            ("From", _bound(parts[0].start, question.tz, "the first event kept") if parts else "(none)"),
            ("Up to", _bound(parts[-1].end, question.tz, "the latest event") if parts else "(none)"),
            ("Time zone", visible(question.tz)),
            ("Filter", visible(describe_where(question.where))),
            ("As of", f"the first {counted(plan.as_of, 'event')} of the trail"),
            ("Reports", f"{len(parts):,}{left_out}"),
        ],
        rows=[(part.name, f"{part.events:,}", part.file, states[part.file]) for part in parts],
        style=Markup(style),  # noqa: S704 -- our own file
        policy=content_policy(style, ()),
    )


def _bound(text: str | None, zone: str, unbounded: str) -> str:
    return unbounded if text is None else moment_words(text, zone)
