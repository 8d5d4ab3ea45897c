"""The parts of a specification that several charts share."""

from collections.abc import Sequence

import polars as pl

from auditkit.charts.figure import MUTED, Figure, Spec
from auditkit.charts.groups import Groups
from auditkit.text import visible

ROW_HEIGHT = 24
"""Height in pixels of one row of a chart with rows."""
NOTHING = "No events in this window"
# Written by us alone, over the name that Vega holds: names that differ only at their ends stay apart.
_BOTH_ENDS = (
    "length(datum.label) > (width < 300 ? 18 : 31) ? slice(datum.label, 0, width < 300 ? 6 : 9) + '\u2026' + "
    "slice(datum.label, width < 300 ? -10 : -19) : datum.label"
)


def behind(*columns: str | None) -> list[str]:
    """Return the columns that a chart draws, each once, in their order."""
    return list(dict.fromkeys(column for column in columns if column is not None))


def number(value: float) -> str:
    """Return a count with its thousands apart."""
    return f"{value:,}"


def not_drawn(rest: str) -> str:
    """Return what a subtitle says of the rest.

    >>> not_drawn("(1 other)"), not_drawn("(3 others)")
    ('1 other is not drawn', '3 others are not drawn')
    """
    words = rest.strip("()")
    return f"{words} {'are' if words.endswith('s') else 'is'} not drawn"


def count_channel(*, upto: float | None = None) -> Spec:
    """Return the channel of a count, from zero, with ticks at whole numbers only."""
    axis = {"tickCount": 4, "format": ",d", "tickMinStep": 1}
    channel: Spec = {"field": "count", "type": "quantitative", "stack": "zero", "axis": axis, "title": None}
    if upto is not None:
        channel["scale"] = {"domain": [0, upto], "nice": False}
    return channel


def row_channel(names: Sequence[str]) -> Spec:
    """Return the channel of one row per name, in their order, over the field `row`."""
    return {
        "field": "row",
        "type": "nominal",
        "sort": list(names),
        "scale": {"domain": list(names)},
        "axis": {"labelExpr": _BOTH_ENDS},
        "title": None,
    }


def colour_channels(groups: Groups, *, legend: bool) -> Spec:
    """Return colour and stacking order over the fields `group` and `rank`."""
    scale = {"domain": list(groups.names), "range": list(groups.colours)}
    colour: Spec = {"field": "group", "type": "nominal", "scale": scale, "sort": list(groups.names)}
    if not legend:
        colour["legend"] = None
    return {"color": colour, "order": {"field": "rank", "type": "quantitative"}}


def tooltip(*fields: tuple[str, str]) -> list[Spec]:
    """Return tooltip channels for pairs of a field and the title that it is shown with."""
    return [{"field": field, "type": "nominal", "title": _quotable(title)} for field, title in fields]


def _quotable(title: str) -> str:
    r"""Return a title for the expression into which Vega-Lite puts it, quoting quotes but no backslashes.

    >>> print(_quotable("a\\b"))
    a\\b
    """
    return visible(title).replace("\\", "\\\\")


def nothing(title: str, subtitle: str, frame: pl.DataFrame) -> Figure:
    """Return the figure for a frame without rows: a sentence in place of marks."""
    spec = {
        "data": {"values": [{"text": NOTHING}]},
        "mark": {"type": "text", "align": "left", "color": MUTED, "fontSize": 13},
        "encoding": {"text": {"field": "text", "type": "nominal"}, "x": {"value": 0}},
        "height": 32,
    }
    return Figure(title=title, subtitle=subtitle, alt=f"{title}: {NOTHING.lower()}.", spec=spec, data=frame)
