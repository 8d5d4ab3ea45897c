"""Writing an answer in the form that was asked for: a table for people, JSON or CSV for programs."""

import sys
from collections.abc import Sequence

import click
import polars as pl

from auditkit.cli.options import Form
from auditkit.cli.streams import write_csv, write_json
from auditkit.text import MISSING, counted, visible

TABLE_ROWS = 50
"""How many rows a table shows unless more are asked for."""

_EVENT_ORDER = (
    "seq", "ts", "actor", "action", "resource", "outcome", "value", "origin", "source", "correlation", "id",
)  # fmt: skip


def show_events(frame: pl.DataFrame, form: Form, *, tz: str, chosen: bool, more: bool = False) -> None:
    """Write events; a table shows the columns that hold something, unless they were `chosen`."""
    frame = in_zone(frame, tz)
    if form != "table":
        _write(frame, form)
        return
    from auditkit.cli.tables import own_rows, print_table, table_columns

    if frame.is_empty():
        _remark("no events")
        return
    ordered = frame if chosen else frame.select(worth_showing(frame))
    own = own_rows(frame)
    hidden = print_table(table_columns(ordered), dim=own)
    hidden += (
        []
        if chosen
        else [name for name in frame.columns if name not in ordered.columns and _holds(frame, name)]
    )
    remarks = [counted(frame.height, "event")]
    if more:
        remarks[0] = f"the first {frame.height:,} events; there are more (--limit N, or --json for all)"
    if own:
        remarks.append(f"{len(own)} of them the trail's own (source auditkit)")
    if hidden:
        remarks.append(f"not shown: {', '.join(map(visible, hidden))} (--columns, --json)")
    _remark(" · ".join(remarks))


def show_groups(frame: pl.DataFrame, form: Form, *, tz: str, rows: int | None = None) -> None:
    """Write an aggregate; a table draws its counts as bars."""
    frame = in_zone(frame, tz)
    if form != "table":
        _write(frame, form)
        return
    from auditkit.cli.tables import print_table, table_columns

    if frame.is_empty():
        _remark("no rows")
        return
    shown = frame if rows is None else frame.head(rows)
    empty = [name for name in ("value_count", "sum", "mean", "min", "max") if not _measures(shown, name)]
    bars = shown["count"].fill_null(0).cast(pl.Float64).to_list() if _countable(shown) else None
    hidden = print_table(table_columns(shown.drop(empty, strict=False), missing=MISSING), bar=bars)
    remarks = [counted(frame.height, "row")]
    if shown.height < frame.height:
        remarks[0] = f"the first {shown.height:,} of {frame.height:,} rows (--limit N, or --json for all)"
    if hidden:
        remarks.append(f"not shown: {', '.join(map(visible, hidden))} (--json)")
    _remark(" · ".join(remarks))


def in_zone(frame: pl.DataFrame, tz: str) -> pl.DataFrame:
    """Return the frame with its times in the zone `tz`."""
    zoned = [
        pl.col(name).dt.convert_time_zone(tz)
        for name, kind in frame.schema.items()
        if isinstance(kind, pl.Datetime) and kind.time_zone is not None
    ]
    return frame.with_columns(zoned)


def _write(frame: pl.DataFrame, form: Form) -> None:
    out = sys.stdout.buffer
    if form == "json":
        write_json(frame, out)
    else:
        write_csv(frame, out)
    out.flush()


def _remark(text: str) -> None:
    """Say something beside the answer: on standard error, so that a pipe gets the answer only."""
    click.echo(click.style(text, dim=True), err=True)


def worth_showing(frame: pl.DataFrame, *, everything: bool = False) -> Sequence[str]:
    """Return the columns of events in the order people read them: those that hold something, or `everything`."""
    declared = [name for name in frame.columns if name not in (*_EVENT_ORDER, "attrs", "recorded")]
    names = [name for name in (*_EVENT_ORDER, *declared, "attrs") if name in frame.columns]
    return [name for name in names if everything or name in ("seq", "ts") or _holds(frame, name)]


def _holds(frame: pl.DataFrame, name: str) -> bool:
    return frame[name].null_count() < frame.height


def _measures(frame: pl.DataFrame, name: str) -> bool:
    if name not in frame.columns:
        return True
    return _holds(frame, name) and not (name == "value_count" and frame[name].sum() == 0)


def _countable(frame: pl.DataFrame) -> bool:
    return "count" in frame.columns and frame["count"].dtype.is_numeric() and sys.stdout.isatty()
