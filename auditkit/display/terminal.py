"""Tables and cards in a terminal, fitted to its width.

Everything shown is visible text and reaches rich as plain text, never as markup: what an event holds can neither
colour nor move anything.  What does not fit is shortened or left out, and then said to be.
"""

import errno
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import polars as pl
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditkit.display.tables import cell, heading, moments
from auditkit.text import label

PIPE_WIDTH = 160
"""How wide a table is in a pipe, unless the variable COLUMNS says so; programs take --json or --csv."""

_LEAST = 12
_MOST = 400
_GAP = 2
_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_OUTCOMES = {
    "success": "green",
    "ok": "green",
    "allow": "green",
    "failure": "red",
    "error": "red",
    "denied": "red",
    "deny": "red",
}


@dataclass(slots=True)
class Column:
    """One column on its way to the terminal: its heading, its cells, and how much it may be shortened."""

    name: str
    heading: str
    cells: list[str]
    right: bool = False
    firm: bool = False
    width: int = 0

    def __post_init__(self) -> None:
        self.width = min(_MOST, max(map(cell_len, (self.heading, *self.cells)), default=0))

    @property
    def least(self) -> int:
        """The width below which it says nothing any more."""
        return self.width if self.firm else min(self.width, max(_LEAST, cell_len(self.heading)))


class _Screen(Console):
    """rich's console, without its own way out when the reader of a pipe is gone."""

    def on_broken_pipe(self) -> None:
        """Let the command end as every other one does."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console() -> Console:
    """Return standard output as rich sees it."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal() else PIPE_WIDTH
    return _Screen(markup=False, highlight=False, emoji=False, width=width)


def table_columns(frame: pl.DataFrame, *, missing: str = "") -> list[Column]:
    """Return the columns of a frame as text; times say their zone in the heading."""
    columns = []
    for series in frame:
        kind = series.dtype
        if isinstance(kind, pl.Datetime):
            cells = moments(series)
        elif series.name == "seq":
            cells = ["" if value is None else str(value) for value in series]
        else:
            absent = missing if kind == pl.String() else ""
            cells = [absent if value is None else cell(value) for value in series]
        firm = kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean()
        columns.append(
            Column(series.name, cell(heading(series.name, kind)), cells, right=kind.is_numeric(), firm=firm)
        )
    return columns


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], list[str]]:
    """Shorten the widest columns until all fit into `width`, dropping the last ones that cannot.

    Returns the columns to show, with their widths, and the names of those left out.
    """
    kept, dropped = list(columns), []
    while len(kept) > 1 and sum(column.least + _GAP for column in kept) > width + _GAP:
        dropped.append(kept.pop().name)
    excess = sum(column.width + _GAP for column in kept) - _GAP - width
    while excess > 0:
        soft = [column for column in kept if column.width > column.least]
        if not soft:
            break
        widest = max(column.width for column in soft)
        for column in (column for column in soft if column.width == widest):
            if excess > 0:
                column.width -= 1
                excess -= 1
    return kept, dropped[::-1]


def print_table(
    columns: Sequence[Column], *, dim: Collection[int] = (), bar: Sequence[float] | None = None
) -> list[str]:
    """Print columns as a table, the rows of `dim` faint, with a bar per row where asked; return what was left out."""
    screen = console()
    space = screen.width - (_BAR + _GAP if bar is not None else 0)
    kept, dropped = fit(columns, space)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for column in kept:
        table.add_column(
            Text(column.heading),
            justify="right" if column.right else "left",
            no_wrap=True,
            min_width=column.width,
        )
    if bar is not None:
        table.add_column("", no_wrap=True)
    longest = max(bar, default=0.0) if bar is not None else 0.0
    for position in range(len(kept[0].cells) if kept else 0):
        row = [_styled(column, position) for column in kept]
        if bar is not None:
            row.append(Text(_bar(bar[position], longest), style="cyan"))
        table.add_row(*row, style="dim" if position in dim else None)
    screen.print(table)
    return dropped


def _styled(column: Column, number: int) -> Text:
    text = column.cells[number]
    if cell_len(text) > column.width:
        text = set_cell_size(text, column.width - 1).rstrip() + "…"
    style = "dim" if column.name == "seq" else ""
    if column.name == "outcome":
        style = _OUTCOMES.get(text.lower(), "")
    return Text(text, style=style)


def _bar(value: float, longest: float) -> str:
    eighths = round(8 * _BAR * value / longest) if longest > 0 and value > 0 else 0
    full, part = divmod(max(eighths, 1 if value > 0 else 0), 8)
    return "█" * full + (_EIGHTHS[part] if part else "")


def print_sections(title: str, sections: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
    """Print names and values in groups under a title."""
    screen = console()
    screen.print(Text(label(title), style="bold"))
    width = max(len(name) for _, rows in sections for name, _ in rows)
    margin = max(len(name) for name, _ in sections) + 2
    for name, rows in sections:
        screen.print()
        for number, (key, value) in enumerate(rows):
            line = Text()
            line.append((name if number == 0 else "").ljust(margin), style="bold cyan")
            line.append(key.ljust(width + 2), style="dim")
            line.append(label(value))
            screen.print(line)
