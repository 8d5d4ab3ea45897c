"""`tail -f`: the last events, and then each one as it is committed, until Ctrl-C.

Columns and their widths are chosen once, from the first events; later ones are shortened to them, so that lines stay
in their places.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
import polars as pl

from auditkit.api import Trail
from auditkit.cli.answers import in_zone, worth_showing
from auditkit.cli.cells import cell, moment
from auditkit.cli.options import Form
from auditkit.cli.streams import json_line, write_csv, write_json
from auditkit.event import OWN_SOURCE
from auditkit.query.spreadsheet import csv_line

_ALWAYS = ("seq", "ts", "actor", "action", "resource", "outcome")
_FIRM = {"seq": 7, "ts": 23}
"""Columns that are never shortened, and their least widths."""
_LEAST = 12
_MOST = 32
_GAP = "  "


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
    zones = {name: kind.time_zone for name, kind in last.schema.items() if isinstance(kind, pl.Datetime)}
    return {name: cell(f"{name} ({zones[name]})" if name in zones else name) for name in names}


def _widths(last: pl.DataFrame, headings: dict[str, str]) -> dict[str, int]:
    """Return the width of every column that fits into the terminal, which is shared out whole."""
    from auditkit.cli.tables import Column, console, fit

    columns = []
    for name, heading in headings.items():
        firm = name in _FIRM
        column = Column(name, heading, [_cell(name, value) for value in last[name]], firm=firm)
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
