"""Commands that ask: range, group-by, downsample, tail, sql."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import polars as pl

from auditkit.cli.answers import TABLE_ROWS, show_events, show_groups
from auditkit.cli.options import (
    Command,
    Form,
    form_options,
    opened,
    read_conditions,
    trail_option,
    view_options,
    window_options,
)
from auditkit.query import UNFILLED, Fill

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
    with opened(trail_path, tz=tz, at=at) as trail, _polars_errors():
        events = trail.range(
            start, end, where=where, columns=names, limit=bound, descending=descending, own=own, tz=tz
        )
        more = limit is None and form == "table" and events.height > TABLE_ROWS
        shown = events.head(TABLE_ROWS) if more else events
        show_events(shown, form, tz=tz or trail.tz, chosen=names is not None, more=more)


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
    with opened(trail_path, tz=tz, at=at) as trail, _polars_errors():
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
    with opened(trail_path, tz=tz, at=at) as trail, _polars_errors():
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


@click.command(
    "tail",
    cls=Command,
    examples="""
auditkit tail
auditkit tail -n 50 --json
auditkit tail -f
auditkit tail -n 1 -f --json | jq .action
auditkit tail --at 1000
""",
)
@click.option(
    "-n", "count", type=click.IntRange(min=1), default=10, show_default=True, help="How many events."
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
            from auditkit.cli.following import follow_tail

            follow_tail(trail, count, form, tz=tz or trail.tz)
            return
        show_events(trail.tail(count), form, tz=tz or trail.tz, chosen=False)


@click.command(
    "sql",
    cls=Command,
    examples="""
auditkit sql "SELECT actor, count(*) AS n FROM events GROUP BY actor ORDER BY n DESC"
auditkit sql "SELECT * FROM events WHERE outcome = 'failure' AND ts >= '2026-11-24T00:00:00Z'"
auditkit sql - --json < question.sql
""",
)
@click.argument("query")
@trail_option
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N rows [default: 50 in a table]."
)
@view_options
@form_options
def sql(
    query: str,
    trail_path: Path | None,
    limit: int | None,
    at: int | None,
    own: bool,  # noqa: FBT001
    form: Form,
) -> None:
    """Answer a SELECT over the table `events`, in the SQL of Polars; QUERY - reads it from standard input.

    Nothing can be changed by it.  Columns are those of an event: seq, ts, recorded, actor, action, resource, outcome,
    source, origin, correlation, id, value, attrs, and the trail's declared fields.
    """
    text = sys.stdin.read() if query == "-" else query
    with opened(trail_path, at=at) as trail, _polars_errors():
        _show_rows(trail.sql(text, own=own), form, limit, trail.tz)


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
def _polars_errors() -> Iterator[None]:
    """Tell what Polars found wrong with a question as an answer to whoever asked it."""
    try:
        yield
    except pl.exceptions.PolarsError as exc:
        kind = type(exc).__name__.removesuffix("Error")
        raise click.UsageError(f"{kind}: {str(exc).splitlines()[0]}") from exc
