"""Commands that ask: range, group-by, downsample, tail, sql.

`tail -f` chooses columns and their widths once, from the first events; later ones are shortened to them, so that lines
stay in their places.
"""

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import polars as pl

from auditkit.api import Trail
from auditkit.cli.failing import warn
from auditkit.cli.options import (
    Command,
    Form,
    form_options,
    opened,
    read_conditions,
    read_pairs,
    trail_option,
    view_options,
    window_options,
)
from auditkit.cli.output import (
    TABLE_ROWS,
    in_zone,
    json_line,
    show_events,
    show_groups,
    worth_showing,
    write_csv,
    write_json,
)
from auditkit.display.tables import cell, heading, moment
from auditkit.errors import EmptyAnswerWarning
from auditkit.event import OWN_SOURCE
from auditkit.query import UNFILLED, Fill
from auditkit.query.spreadsheet import csv_line
from auditkit.where import read_value

_ALWAYS = ("seq", "ts", "actor", "action", "resource", "outcome")
_FIRM = {"seq": 7, "ts": 23}
"""Columns that are never shortened, and their least widths."""
_LEAST = 12
_MOST = 32
_GAP = "  "

_by_option = click.option(
    "--agg", "aggs", multiple=True, metavar="NAME", help="Only this measure of value; repeat for more: count, "
    "value_count, sum, mean, min, max.",
)  # fmt: skip


@click.command(
    "range",
    cls=Command,
    examples="""
auditkit range --start -1h
auditkit range --start 2026-11-24 --end +1d --tz Europe/Stockholm --where 'action=auth.*'
auditkit range --where 'outcome=["failure", null]' --where attrs.ip=10.0.0.7 --descending
auditkit range --start -1d --where 'actor!=["backup", "cron*"]' --where 'text=invoice 17'
auditkit range --start -7d --json | jq -r .actor | sort | uniq -c
auditkit range --columns ts,actor,attrs --csv > week.csv
""",
)
@trail_option
@window_options
@click.option("--columns", metavar="NAME,NAME", help="Only these columns, in this order.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N events [default: 50 in a table]."
)
@click.option("--descending", is_flag=True, help="The newest first.")
@view_options
@form_options
def range_(
    trail_path: Path | None,
    start: str | None,
    end: str | None,
    tz: str | None,
    conditions: Sequence[str],
    columns: str | None,
    limit: int | None,
    descending: bool,  # noqa: FBT001 -- click passes options by name
    at: int | None,
    own: bool,  # noqa: FBT001
    form: Form,
) -> None:
    """Show the events of a window, in the order of time (ts, then seq).

    The window includes its start and excludes its end; left out, each is unbounded.
    """
    where = read_conditions(conditions)
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    bound = TABLE_ROWS + 1 if limit is None and form == "table" else limit
    with opened(trail_path, tz=tz, at=at) as trail, _asking():
        events = trail.range(
            start, end, where=where, columns=names, limit=bound, descending=descending, own=own, tz=tz
        )
        more = limit is None and form == "table" and events.height > TABLE_ROWS
        shown = events.head(TABLE_ROWS) if more else events
        show_events(shown, form, tz=tz or trail.tz, chosen=names is not None, more=more)
        _say_doubts(trail, events, start, end, where=where, own=own, tz=tz)


@click.command(
    "group-by",
    cls=Command,
    examples="""
auditkit group-by action --start -7d
auditkit group-by actor --where outcome=failure --sort count --limit 10
auditkit group-by actor,action --every 1h --start 2026-11-24 --end +1d --tz Asia/Kolkata
auditkit group-by source --agg count --agg mean --json
""",
)
@click.argument("by", metavar="COLUMN[,COLUMN]")
@trail_option
@window_options
@click.option("--every", metavar="DURATION", help="One row per key and interval: 5m, 1h, 1d, 1w, 1mo.")
@_by_option
@click.option("--sort", metavar="COLUMN", help="Largest of this column first [default: by time, then keys].")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N rows [default: 50 in a table]."
)
@view_options
@form_options
def group_by(
    by: str,
    trail_path: Path | None,
    start: str | None,
    end: str | None,
    tz: str | None,
    conditions: Sequence[str],
    every: str | None,
    aggs: Sequence[str],
    sort: str | None,
    limit: int | None,
    at: int | None,
    own: bool,  # noqa: FBT001
    form: Form,
) -> None:
    """Count events per key, and measure their value, per interval where --every is given.

    Columns: ts (start of the interval), the keys, count, value_count, sum, mean, min and max of value.
    """
    where = read_conditions(conditions)
    with opened(trail_path, tz=tz, at=at) as trail, _asking():
        groups = trail.group_by(
            _names(by),
            every=every,
            start=start,
            end=end,
            where=where,
            aggs=list(aggs) or None,
            own=own,
            tz=tz,
        )
        groups = _sorted(groups, sort)
        _show_rows(groups, form, limit, tz or trail.tz)
        _say_doubts(trail, groups, start, end, where=where, own=own, tz=tz)


@click.command(
    "downsample",
    cls=Command,
    examples="""
auditkit downsample 1h --start 2026-11-24 --end +1d
auditkit downsample 1d --by action --start -30d --tz America/New_York
auditkit downsample 5m --start -2h --fill 0 --csv > series.csv
""",
)
@click.argument("every", metavar="DURATION")
@trail_option
@window_options
@click.option("--by", metavar="COLUMN[,COLUMN]", help="One series per value of this column.")
@_by_option
@click.option(
    "--fill",
    metavar="VALUE",
    help="Show intervals without events too: null, forward (the last value), or a number.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N rows [default: 50 in a table]."
)
@view_options
@form_options
def downsample(
    every: str,
    trail_path: Path | None,
    start: str | None,
    end: str | None,
    tz: str | None,
    conditions: Sequence[str],
    by: str | None,
    aggs: Sequence[str],
    fill: str | None,
    limit: int | None,
    at: int | None,
    own: bool,  # noqa: FBT001
    form: Form,
) -> None:
    """Show a series: how many events, and what values, in every interval of DURATION.

    Intervals follow the calendar of --tz from a day up, on days of 23 and 25 hours too.
    """
    where = read_conditions(conditions)
    with opened(trail_path, tz=tz, at=at) as trail, _asking():
        series = trail.downsample(
            every,
            by=None if by is None else _names(by),
            start=start,
            end=end,
            where=where,
            aggs=list(aggs) or None,
            fill=_read_fill(fill),
            own=own,
            tz=tz,
        )
        _show_rows(series, form, limit, tz or trail.tz)
        _say_doubts(trail, series, start, end, where=where, own=own, tz=tz)


@click.command(
    "tail",
    cls=Command,
    examples="""
auditkit tail
auditkit tail --limit 50 --json
auditkit tail -f
auditkit tail -n 1 -f --json | jq .action
auditkit tail --at 1000
""",
)
@click.option(
    "-n",
    "--limit",
    "count",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="How many events.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with events as they are committed, until Ctrl-C.")
@trail_option
@click.option("--tz", metavar="ZONE", help="Zone of times shown [default: the trail's].")
@click.option("--at", type=click.IntRange(min=0), metavar="SEQ", help="As the trail was before this seq.")
@form_options
def tail(
    count: int,
    follow: bool,  # noqa: FBT001 -- click passes options by name
    trail_path: Path | None,
    tz: str | None,
    at: int | None,
    form: Form,
) -> None:
    """Show the last events in the order they were accepted, the trail's own included."""
    if follow and at is not None:
        raise click.UsageError("--at shows what was; nothing more will come of it (leave out --follow).")
    with opened(trail_path, tz=tz, at=at) as trail:
        if follow:
            follow_tail(trail, count, form, tz=tz or trail.tz)
            return
        show_events(trail.tail(count), form, tz=tz or trail.tz, chosen=False)


@click.command(
    "sql",
    cls=Command,
    examples=r"""
auditkit sql "SELECT actor, count(*) AS n FROM events GROUP BY actor ORDER BY n DESC"
auditkit sql "SELECT ts::date AS day, count(*) FROM events GROUP BY day ORDER BY day"
auditkit sql 'SELECT * FROM events WHERE actor = $who' --param who=ann
auditkit sql - --json < question.sql
""",
)
@click.argument("query")
@trail_option
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="The value of $NAME, JSON or else text."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it may take.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N rows [default: 50 in a table]."
)
@view_options
@form_options
def sql(
    query: str,
    trail_path: Path | None,
    params: Sequence[str],
    timeout_s: float,
    limit: int | None,
    at: int | None,
    own: bool,  # noqa: FBT001
    form: Form,
) -> None:
    """Answer a SELECT over the table `events`, in the SQL of DuckDB; QUERY - reads it from standard input.

    Nothing can be changed by it, and nothing else is in its reach.  Columns are those of an event: seq, ts, recorded,
    actor, action, resource, outcome, source, origin, correlation, id, value, attrs, and the trail's declared fields.
    Days, and times without a zone, are those of the trail's zone.
    """
    text = sys.stdin.read() if query == "-" else query
    values = {name: read_value(value) for name, value in read_pairs("--param", params)}
    with opened(trail_path, at=at) as trail, _asking():
        answer = trail.sql(text, params=values or None, own=own, timeout_s=timeout_s)
        _show_rows(answer, form, limit, trail.tz)


def _say_doubts(
    trail: Trail,
    answer: pl.DataFrame,
    start: str | None,
    end: str | None,
    *,
    where: dict[str, object] | None,
    own: bool,
    tz: str | None,
) -> None:
    """Say beside an empty answer what was near the question."""
    if answer.is_empty():
        from auditkit.ask.near import doubts

        for doubt in doubts(trail.view, start, end, where=where, own=own, tz=tz):
            warn(doubt.text)


def _show_rows(frame: pl.DataFrame, form: Form, limit: int | None, tz: str) -> None:
    if form != "table":
        show_groups(frame if limit is None else frame.head(limit), form, tz=tz)
    else:
        show_groups(frame, form, tz=tz, rows=limit or TABLE_ROWS)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _sorted(frame: pl.DataFrame, column: str | None) -> pl.DataFrame:
    if column is None:
        return frame
    if column not in frame.columns:
        raise click.UsageError(f"--sort {column!r} is not a column (there are {', '.join(frame.columns)}).")
    return frame.sort(column, descending=True, nulls_last=True, maintain_order=True)


def _read_fill(text: str | None) -> Fill:
    if text is None:
        return UNFILLED
    if text in ("null", "forward"):
        return None if text == "null" else "forward"
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        raise click.UsageError(f"--fill expects null, forward or a number (found {text!r}).") from None


@contextmanager
def _asking() -> Iterator[None]:
    """Turn what Polars finds wrong with a question into a usage error; what was near it is said by `_say_doubts`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmptyAnswerWarning)
            yield
    except pl.exceptions.PolarsError as exc:
        kind = type(exc).__name__.removesuffix("Error")
        raise click.UsageError(f"{kind}: {str(exc).splitlines()[0]}") from exc


def follow_tail(trail: Trail, count: int, form: Form, *, tz: str) -> None:
    """Write the last `count` events and then those to come, in seq order, the trail's own included."""
    end = trail.end_seq
    last = trail.tail(count)
    start = max(end, last["seq"][-1] + 1) if last.height else end
    try:
        _write(last, _to_come(trail, start, tz), form, tz)
    except KeyboardInterrupt:
        return  # the way to end it


def _to_come(trail: Trail, start: int, tz: str) -> Iterator[dict[str, Any]]:
    zone = ZoneInfo(tz)
    for delivery in trail.follow(start=start, own=True):
        yield {
            name: value.astimezone(zone) if isinstance(value, datetime) else value
            for name, value in delivery.event.items()
        }


def _write(last: pl.DataFrame, to_come: Iterable[dict[str, Any]], form: Form, tz: str) -> None:
    last = in_zone(last, tz)
    if form == "table":
        _write_lines(last, to_come)
        return
    out = sys.stdout.buffer
    if form == "csv":
        write_csv(last, out)
    else:
        write_json(last, out)
    out.flush()
    line_of = _csv_line if form == "csv" else json_line
    for event in to_come:
        out.write(line_of(event))
        out.flush()


def _csv_line(event: dict[str, Any]) -> bytes:
    return csv_line(event.values()).encode()


def _write_lines(last: pl.DataFrame, to_come: Iterable[dict[str, Any]]) -> None:
    headings = _headings(last)
    widths = _widths(last, headings)
    line = _line([headings[name] for name in widths], list(widths.values()))
    click.echo(click.style(line, bold=True))
    for event in last.iter_rows(named=True):
        _echo(event, widths)
    for event in to_come:
        _echo(event, widths)


def _headings(last: pl.DataFrame) -> dict[str, str]:
    """Return the columns to show, with their headings."""
    showing = {*worth_showing(last), *_ALWAYS}
    names = [name for name in worth_showing(last, everything=True) if name in showing]
    return {name: cell(heading(name, last.schema[name])) for name in names}


def _widths(last: pl.DataFrame, headings: dict[str, str]) -> dict[str, int]:
    """Return the width of every column that fits into the terminal, which is shared out whole."""
    from auditkit.display.terminal import Column, console, fit

    columns = []
    for name, text in headings.items():
        firm = name in _FIRM
        column = Column(name, text, [_cell(name, value) for value in last[name]], firm=firm)
        column.width = max(_FIRM[name], column.width) if firm else min(_MOST, max(_LEAST, column.width))
        columns.append(column)
    width = console().width
    kept, _ = fit(columns, width)
    soft = [column for column in kept if not column.firm]
    spare = width - sum(column.width + len(_GAP) for column in kept)
    for column in soft:
        column.width += max(0, spare) // len(soft)
    return {column.name: column.width for column in kept}


def _echo(event: dict[str, Any], widths: dict[str, int]) -> None:
    line = _line([_cell(name, event[name]) for name in widths], list(widths.values()))
    click.echo(click.style(line, dim=True) if event["source"] == OWN_SOURCE else line)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        return moment(value, digits=3)
    return str(value) if name == "seq" else cell(value)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    from rich.cells import cell_len, set_cell_size

    fitted = [
        text + " " * (width - cell_len(text))
        if cell_len(text) <= width
        else set_cell_size(text, width - 1).rstrip() + "…"
        for text, width in zip(cells, widths, strict=True)
    ]
    return _GAP.join(fitted).rstrip()
