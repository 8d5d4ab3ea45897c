"""Frames as tables: the first rows in their order, never a sample, every value as visible text.

The same cells are shown in JupyterLab, in a terminal and in a report: there all of them, elsewhere the first few.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Any, Literal

import msgspec
import polars as pl
from polars import selectors

from auditkit.display.cards import LITERAL
from auditkit.text import label, number, visible

MIME = "application/vnd.auditkit.table+json"
VERSION = 1
LIMIT = 2000
"""How many rows a table holds where nothing else is said."""
CELL_CHARACTERS = 2_000
"""What a cell shows of a long text: all of it is in the trail."""
_PLAIN_ROWS = 10
_LAB_ROWS = 100
"""How many rows JupyterLab shows: it has no pages."""

_SHORTEST = {0: "seconds", 3: "milliseconds"}

Kind = Literal["text", "number", "time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column's heading and how its cells are set."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text; None is null.  `total` is how many there are in all, None where these are one value's fields.

    `instants` says when each row is, in microseconds since 1970 UTC, by the first column of times that have a zone;
    it is empty where there is none.  `empty` is what a table without rows says.
    `events` is the order in time of a table of all events of a report, of which these are the first: its page holds all.
    """

    version: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | None, ...], ...]
    total: int | None
    instants: tuple[int | None, ...] = ()
    empty: str = ""
    events: Literal["", "ascending", "descending"] = ""

    @property
    def extent(self) -> str:
        """How much of the whole is shown, in words; empty for one value's fields."""
        if self.total is None:
            return ""
        if not self.rows and self.empty:
            return self.empty
        if len(self.rows) < self.total:
            return f"first {len(self.rows):,} of {self.total:,} rows"
        return f"{self.total:,} row{'' if self.total == 1 else 's'}"

    @property
    def caption(self) -> str:
        """Title and extent as one line of visible text."""
        return f"{visible(self.title)} ({self.extent})" if self.extent else visible(self.title)

    def __repr__(self) -> str:
        shown = [[visible(column.name) for column in self.columns]]
        shown += [[label(cell) for cell in row] for row in self.rows[:_PLAIN_ROWS]]
        widths = [max(map(len, cells)) for cells in zip(*shown, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if column.kind == "number" else cell.ljust(width)
                for cell, width, column in zip(row, widths, self.columns, strict=True)
            ).rstrip()
            for row in shown
        ]
        left = len(self.rows) - _PLAIN_ROWS
        return "\n".join([self.caption, *lines, *([f"... {left:,} more shown"] if left > 0 else [])])

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return the cells, and what JupyterLab and a terminal show of them."""
        return {MIME: msgspec.to_builtins(self), "text/html": _html(self), "text/plain": repr(self)}


def table(
    frame: pl.DataFrame,
    title: str,
    *,
    limit: int = LIMIT,
    total: int | None = None,
    tz: str | None = None,
    empty: str = "",
) -> Table:
    """Return the first `limit` rows of a frame as a table.

    `total` is how many rows there are in all, where the frame was cut before.  `empty` is said of a frame without rows,
    such as "No failures".  Times are shown in `tz`, by default
    in the zone of their column, and the heading names it; numbers exactly, with thousands apart.

    >>> table(pl.DataFrame({"actor": ["ann", None], "count": [1200, 3]}), "Events by actor")
    Events by actor (2 rows)
    actor   count
    ann     1,200
    (none)      3
    """
    first = frame.head(limit)
    if tz is not None:
        first = first.with_columns(selectors.datetime(time_zone="*").dt.convert_time_zone(tz))
    columns = tuple(_column(name, dtype) for name, dtype in first.schema.items())
    cells = [_cells(first[name]) for name in frame.columns]
    return Table(
        version=VERSION,
        title=title,
        columns=columns,
        rows=tuple(zip(*cells, strict=True)),
        total=frame.height if total is None else total,
        instants=_instants(first),
        empty=empty,
    )


def records(rows: Sequence[Mapping[str, Any]], title: str, *, limit: int = LIMIT) -> Table:
    """Return the first `limit` of some mappings, as JSON has them, as a table.

    >>> records([{"a": 1}, {"a": 2, "b": "x"}], "Rows")
    Rows (2 rows)
    a  b
    1  (none)
    2  x
    """
    first = rows[:limit]
    names = list(dict.fromkeys(str(name) for row in first for name in row))
    held = {name: [row.get(name) for row in first] for name in names}
    return Table(
        version=VERSION,
        title=title,
        columns=tuple(Column(name=name, kind=_kind(held[name])) for name in names),
        rows=tuple(tuple(_cell(row.get(name)) for name in names) for row in first),
        total=len(rows),
    )


def listing(value: object, title: str) -> Table:
    """Return the fields of a dataclass, such as a part of `Trail.stats()`, as a table of names and values.

    Times are shown in their own zone.

    >>> listing(Column(name="count", kind="number"), "A column")
    A column
    field  value
    name   count
    kind   number
    """
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{title}: not a dataclass instance (found {type(value).__name__})")
    pairs = [(field.name, getattr(value, field.name)) for field in fields(value)]
    return Table(
        version=VERSION,
        title=title,
        columns=(Column(name="field", kind="text"), Column(name="value", kind="text")),
        rows=tuple((name.replace("_", " "), _cell(held)) for name, held in pairs),
        total=None,
    )


def heading(name: str, dtype: pl.DataType) -> str:
    """Return a column's heading: times name their zone."""
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    return f"{name} ({zone})" if zone else name


def _column(name: str, dtype: pl.DataType) -> Column:
    kind: Kind = "time" if isinstance(dtype, pl.Datetime) else "number" if dtype.is_numeric() else "text"
    return Column(name=heading(name, dtype), kind=kind)


def _kind(values: Sequence[object]) -> Kind:
    numbers = (
        value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values
    )
    return "number" if all(numbers) else "text"


def _instants(frame: pl.DataFrame) -> tuple[int | None, ...]:
    zoned = frame.select(selectors.datetime(time_zone="*"))
    return tuple(zoned.to_series(0).dt.cast_time_unit("us").to_physical()) if zoned.width else ()


def _cells(column: pl.Series) -> list[str | None]:
    values = column.to_list()
    if isinstance(column.dtype, pl.Datetime):
        digits = second_digits(value.microsecond for value in values if value is not None)
        return [None if value is None else _time(value, digits) for value in values]
    return [_cell(value) for value in values]


def second_digits(micros: Iterable[int]) -> int:
    """Return how many digits of a second a column of times needs, given its microseconds."""
    found = set(micros)
    return 0 if found <= {0} else 3 if all(us % 1000 == 0 for us in found) else 6


def _cell(value: object) -> str | None:
    match value:
        case None:
            return None
        case str():
            return bounded(value)
        case int() | float():
            return _digits(value)
        case datetime():
            return f"{_time(value, 6 if value.microsecond else 0)} {value:%Z}".strip()
    return bounded(str(value))


def bounded(text: str) -> str:
    """Return a text, of a long one its beginning and how much more there is.

    >>> bounded("a" * 10_000)[1_999:]
    'a… (8,000 more characters)'
    """
    more = len(text) - CELL_CHARACTERS
    return text if more <= 0 else f"{text[:CELL_CHARACTERS]}\u2026 ({more:,} more characters)"


def _time(moment: datetime, digits: int) -> str:
    """Return a moment with as many digits of its second as its column needs; a repeated hour is marked."""
    fraction = f".{moment:%f}"[: digits + 1] if digits else ""
    repeated = f" ({moment:%Z})" if moment.fold else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}{repeated}"


def cell(value: object) -> str:
    """Return a value as one short line of visible text for a terminal; null is an empty cell.

    >>> cell(12345), cell(0.25), cell(None), cell("")
    ('12,345', '0.25', '', '""')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return number(value)
    return _digits(value) if isinstance(value, int) else label(value)


def _digits(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:,}"


def moments(column: pl.Series) -> list[str]:
    """Return a column of times to the second, or to the millisecond where one of them needs it.

    In UTC without its name (the heading has it); in other zones with the offset, as an hour may come twice.
    """
    whole = column.drop_nulls().dt.timestamp("ms") % 1000 == 0
    return [moment(value, digits=0 if whole.all() else 3) for value in column]


def moment(value: datetime | None, *, digits: int = 0) -> str:
    """Return one time.

    >>> from datetime import UTC
    >>> moment(datetime(2026, 11, 24, 7, 30, tzinfo=UTC))
    '2026-11-24 07:30:00'
    """
    if value is None:
        return ""
    text = value.isoformat(sep=" ", timespec=_SHORTEST[digits])
    return (
        text.removesuffix("+00:00")
        if value.utcoffset() == timedelta(0) and str(value.tzinfo) == "UTC"
        else text
    )


def read_table(data: object) -> Table | None:
    """Return the table in a notebook's output, or None where it is not what this version writes."""
    try:
        read = msgspec.convert(data, Table)
    except msgspec.ValidationError:
        return None
    return read if whole(read) else None


def whole(read: Table) -> bool:
    """Whether a table that came from outside is of this version, and each row has its cells and its instant."""
    width = len(read.columns)
    timed = len(read.instants) in {0, len(read.rows)}
    return read.version == VERSION and timed and all(len(row) == width for row in read.rows)


def _html(shown: Table) -> str:
    def cells(values: Sequence[str], tag: str) -> str:
        aligned = zip(values, shown.columns, strict=True)
        return "".join(
            f'<{tag} style="text-align: {"right" if column.kind == "number" else "left"}">{escape(value)}</{tag}>'
            for value, column in aligned
        )

    head = cells([visible(column.name) for column in shown.columns], "th")
    here = shown.rows[:_LAB_ROWS]
    body = "".join(f"<tr>{cells([label(cell) for cell in row], 'td')}</tr>" for row in here)
    left = len(shown.rows) - len(here)
    more = f"<p>{left:,} more are in the report.</p>" if left else ""
    return (
        f"<table {LITERAL}><caption>{escape(shown.caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
    )
