"""A table's rows as HTML, in one text: a template that goes from cell to cell takes longer than a chart.

Every value is made visible and escaped.
"""

from functools import cache

from markupsafe import Markup, escape

from auditkit.display.tables import Kind, Table
from auditkit.text import label

_LONG = 400
"""A value of more characters scrolls inside its cell."""


def table_rows(shown: Table) -> Markup:
    """Return the `<tr>` elements of a table; one whose instant is known has it in `data-at`.

    >>> from auditkit.display.tables import Column
    >>> columns = Column(name="actor", kind="text"), Column(name="count", kind="number")
    >>> table_rows(Table(version=1, title="", columns=columns, rows=(("<b>", None),), total=1))
    Markup('<tr><td>&lt;b&gt;</td><td class="number none">(none)</td></tr>\\n')
    """
    cell = cache(_cell)  # values repeat down a column
    kinds = [column.kind for column in shown.columns]
    rows = ("".join(map(cell, row, kinds)) for row in shown.rows)
    instants = shown.instants or [None] * len(shown.rows)
    made = (f"{_opening(at)}{cells}</tr>\n" for at, cells in zip(instants, rows, strict=True))
    return Markup("".join(made))  # noqa: S704 -- instants are numbers, and each cell is escaped


def _opening(instant: int | None) -> str:
    return "<tr>" if instant is None else f'<tr data-at="{instant}">'


def _cell(value: str | None, kind: Kind) -> str:
    classes = [name for name, holds in ((kind, kind != "text"), ("none", value is None)) if holds]
    opening = f'<td class="{" ".join(classes)}">' if classes else "<td>"
    words = escape(label(value))
    if value is not None and len(value) > _LONG:
        return f'{opening}<div class="long" tabindex="0">{words}</div></td>'
    return f"{opening}{words}</td>"
