"""Writing an answer in the form that was asked for: a table for people, JSON or CSV for programs.

JSON lines keep every value as it is; characters that act on a terminal are written as escapes, which mean the same.
CSV is that of `auditkit.query.to_csv`, safe to open in a spreadsheet.  Both are always UTF-8.
"""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import click
import msgspec
import polars as pl

from auditkit.cli.options import Form
from auditkit.event import OWN_SOURCE
from auditkit.query.spreadsheet import csv_pieces
from auditkit.text import MISSING, counted, visible

_SLICE_ROWS = 10_000
_MINUTE = timedelta(minutes=1)
_ACTING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

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
    from auditkit.display.terminal import print_table, table_columns

    if frame.is_empty():
        _remark("no events")
        return
    ordered = frame if chosen else frame.select(worth_showing(frame))
    own = _own_rows(frame)
    hidden = print_table(table_columns(ordered), dim=own)
    hidden += (
        []
        if chosen
        else [
            name
            for name in frame.columns
            if name not in (*ordered.columns, "recorded") and _holds(frame, name)  # every event has that one
        ]
    )
    remarks = [counted(frame.height, "event")]
    if more:
        remarks[0] = f"the first {frame.height:,} events; there are more (--limit N, or --json for all)"
    if own:
        remarks.append(f"{len(own)} of them the trail's own (source auditkit)")
    if hidden:
        remarks.append(f"not shown: {', '.join(map(visible, hidden))} (--json has all)")
    _remark(" · ".join(remarks))


def show_groups(
    frame: pl.DataFrame, form: Form, *, tz: str, rows: int | None = None, each: str = "row"
) -> None:
    """Write an aggregate, or rows that are one `each`; a table draws counts as bars."""
    frame = in_zone(frame, tz)
    if form != "table":
        _write(frame, form)
        return
    from auditkit.display.terminal import print_table, table_columns

    if frame.is_empty():
        _remark(f"no {each}s")
        return
    shown = frame if rows is None else frame.head(rows)
    empty = [name for name in ("value_count", "sum", "mean", "min", "max") if not _measures(shown, name)]
    bars = shown["count"].fill_null(0).cast(pl.Float64).to_list() if _countable(shown) else None
    hidden = print_table(table_columns(shown.drop(empty, strict=False), missing=MISSING), bar=bars)
    remarks = [counted(frame.height, each)]
    if shown.height < frame.height:
        remarks[0] = f"the first {shown.height:,} of {frame.height:,} {each}s (--limit N, or --json for all)"
    if hidden:
        remarks.append(f"not shown: {', '.join(map(visible, hidden))} (--json has all)")
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
    """Write a remark beside the answer: on standard error, so that a pipe gets the answer only."""
    click.echo(click.style(text, dim=True), err=True)


def worth_showing(frame: pl.DataFrame, *, everything: bool = False) -> Sequence[str]:
    """Return the columns of events in the order people read them: those that hold something, or `everything`."""
    declared = [name for name in frame.columns if name not in (*_EVENT_ORDER, "attrs", "recorded")]
    names = [name for name in (*_EVENT_ORDER, *declared, "attrs") if name in frame.columns]
    return [name for name in names if everything or name in ("seq", "ts") or _holds(frame, name)]


def _own_rows(frame: pl.DataFrame) -> set[int]:
    """Return the positions of the trail's own events."""
    if "source" not in frame.columns:
        return set()
    return {number for number, source in enumerate(frame["source"]) if source == OWN_SOURCE}


def _holds(frame: pl.DataFrame, name: str) -> bool:
    return frame[name].null_count() < frame.height


def _measures(frame: pl.DataFrame, name: str) -> bool:
    if name not in frame.columns:
        return True
    return _holds(frame, name) and not (name == "value_count" and frame[name].sum() == 0)


def _countable(frame: pl.DataFrame) -> bool:
    return "count" in frame.columns and frame["count"].dtype.is_numeric() and sys.stdout.isatty()


def write_json(frame: pl.DataFrame, out: IO[bytes]) -> None:
    """Write one JSON object per row; a column `attrs` becomes the object that its text is."""
    for rows in frame.iter_slices(_SLICE_ROWS):
        _write_all(out, b"".join(json_line(row) for row in rows.iter_rows(named=True)))


def json_line(row: dict[str, Any]) -> bytes:
    r"""Return a row as one line of JSON; a time whose offset JSON's own form (RFC 3339) cannot hold is in UTC.

    >>> json_line({"actor": "\x9b31m", "attrs": '{"bytes": 512}'})
    b'{"actor":"\\u009b31m","attrs":{"bytes": 512}}\n'
    """
    attrs = row.get("attrs")
    if isinstance(attrs, str):
        row = {**row, "attrs": _embedded(attrs)}
    text = msgspec.json.encode({name: _expressible(value) for name, value in row.items()}).decode()
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def _expressible(value: Any) -> Any:
    """Return a value whose times have offsets of whole minutes, as those before the railways had not."""
    if isinstance(value, datetime):
        offset = value.utcoffset()
        return value.astimezone(UTC) if offset is not None and offset % _MINUTE else value
    if isinstance(value, dict):
        return {name: _expressible(one) for name, one in value.items()}
    return [_expressible(one) for one in value] if isinstance(value, list | tuple) else value


def write_csv(frame: pl.DataFrame, out: IO[bytes]) -> None:
    """Write a header and one line per row."""
    for piece in csv_pieces(frame):
        _write_all(out, piece.encode())


def _write_all(out: IO[bytes], content: bytes) -> None:
    """Write everything: an unbuffered stream (PYTHONUNBUFFERED) may take only a part at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[out.write(rest) or 0 :]


def _embedded(text: str) -> Any:
    """Return JSON text to be written as it stands, on one line; what is no JSON stays text."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text
    return msgspec.Raw(text.replace("\n", " ").replace("\r", " ").encode())
