"""What a chart is here: a Vega-Lite dictionary with its title, its alternative text and its data, and the theme.

A `Figure` shows itself live in JupyterLab without a network: one of its mime types is the one of the Vega-Lite that
JupyterLab bundles, and Altair's own renderer setting is never touched.  The other, of our own, holds what a report
says beside the drawing.  Altair is loaded only by `Figure.chart`.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

from auditkit.display.tables import Table, table, whole

Spec = dict[str, Any]
"""A Vega-Lite specification or a part of one."""

MIME = "application/vnd.auditkit.chart+json"
VERSION = 1
VEGA_LITE = "application/vnd.vegalite.v5+json"
WIDTH = 720
"""Width in pixels of a chart with its axes."""

BLUE = "#0072b2"
VERMILLION = "#d55e00"
GREY = "#5f6771"
REST = "#c3cad1"
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#7d1fc4", "#6b5b1e")
"""Colours of series (the first five of Okabe and Ito); grey is kept for null, light grey for the rest."""
FAILED = (VERMILLION, "#700a1e", "#ffc2a8")
"""Colours kept for outcomes that count as failures.  Any two of all these can be told apart by every kind of colour vision."""
LEVELS = ("#eef2f6", "#cfe1f2", "#93c3e6", "#4f9bd0", "#1f6fae", "#0b4678")
"""Colours of the heat map: none, then few to many."""
DARK = {
    "#0072b2": "#4a9fd8",
    "#e69f00": "#f0a92b",
    "#009e73": "#1a9a6c",
    "#cc79a7": "#ebb0cf",
    "#56b4e9": "#b4e1f9",
    "#7d1fc4": "#8f6ff0",
    "#6b5b1e": "#a39a52",
    VERMILLION: "#e5562a",
    "#700a1e": "#9f3a28",
    "#ffc2a8": "#e5cdc2",
    GREY: "#8791a0",
    REST: "#454f5a",
    "#eef2f6": "#1d252e",
    "#cfe1f2": "#1e3c59",
    "#93c3e6": "#24598a",
    "#4f9bd0": "#3482bd",
    "#1f6fae": "#63aee2",
    "#0b4678": "#b9def8",
}
"""What each of these colours is on a dark page."""

MUTED = "#6b7683"
_GRID = "#8a94a033"
_AXIS = {
    "domain": False,
    "gridColor": _GRID,
    "labelColor": MUTED,
    "labelFontSize": 11,
    "labelPadding": 6,
    "tickColor": _GRID,
    "titleColor": MUTED,
    "titleFontSize": 11,
    "titleFontWeight": "normal",
    "titlePadding": 8,
}
_CONFIG: Spec = {
    "font": "Helvetica, Arial, sans-serif",
    "background": "transparent",
    "view": {"stroke": None},
    "axis": _AXIS,
    "axisX": {"grid": False, "labelFlush": False},
    "axisY": {"ticks": False, "labelLimit": 190},
    "legend": {
        "orient": "top",
        "columns": 3,
        "labelColor": MUTED,
        "labelFontSize": 11,
        "labelLimit": 150,
        "offset": 10,
        "symbolOpacity": 1,
        "symbolSize": 80,
        "symbolType": "square",
        "title": None,
    },
    "title": {
        "anchor": "start",
        "color": MUTED,
        "fontSize": 14,
        "offset": 12,
        "subtitleColor": MUTED,
        "subtitleFontSize": 11,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How a time axis is read, which is drawn as UTC: `zone` is its title.

    `shifts` are pairs of milliseconds, ascending: from the first on, an instant is the place on the axis less the
    second.
    """

    zone: str
    shifts: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """What a mark that is selected stands for: its `field` is a value of an event's `column`.

    `labels` are the labels of the values whose name in the chart is another.  Without a column it is an hour of the week in
    `zone`, such as "Mon 07".
    """

    field: str
    column: str | None
    labels: dict[str, str]
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartMetadata:
    """Chart metadata, what a report says beside the drawing: words, data, its clock if it is over time, and its pick."""

    version: int
    title: str
    subtitle: str
    alt: str
    data: Table
    clock: Clock | None
    pick: Pick | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One chart, which shows itself in a notebook and in a report.

    Attributes
    ----------
    title, subtitle : str
    alt : str
        The chart in a sentence, for readers who do not see it.
    spec : dict
        Its Vega-Lite specification without title and theme.
    data : polars.DataFrame
        The columns that it was drawn from.
    clock : Clock or None
        How its time axis is read.  With one, the field `from`, and `to` where there is one, are places on that axis;
        a report lets readers select a stretch of it.
    pick : Pick or None
        What its marks stand for; a report lets readers select them.
    """

    title: str
    subtitle: str
    alt: str
    spec: Spec
    data: pl.DataFrame
    clock: Clock | None = None
    pick: Pick | None = None

    def to_dict(self) -> Spec:
        """Return the whole Vega-Lite specification.

        Returns
        -------
        dict
            Title and theme included, as version 5 of Vega-Lite reads it.

        Examples
        --------
        >>> from auditkit import charts
        >>> charts.top(pl.DataFrame({"actor": ["ann"], "count": [3]}), "actor").to_dict()["description"]
        'Top actor: ann 3.'
        """
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "title": {"text": self.title, "subtitle": self.subtitle},
            "description": self.alt,
            "width": WIDTH,
            "autosize": {"type": "fit-x", "contains": "padding"},
            "config": _CONFIG,
            **self.spec,
        }

    @property
    def chart(self) -> Any:
        """The figure as an `altair.Chart`, to layer, concatenate or change; needs Altair."""
        import altair as alt  # here, as it costs two seconds that most reports need not wait

        return alt.Chart.from_dict(self.to_dict(), validate=False)

    def __repr__(self) -> str:
        return f"<{self.title}: {self.alt}>"

    def _repr_mimebundle_(self, **_: object) -> tuple[Spec, Spec]:
        """Return what a notebook shows and keeps, and how."""
        metadata = ChartMetadata(
            version=VERSION,
            title=self.title,
            subtitle=self.subtitle,
            alt=self.alt,
            data=table(self.data, self.title),
            clock=self.clock,
            pick=self.pick,
        )
        data = {MIME: msgspec.to_builtins(metadata), VEGA_LITE: self.to_dict(), "text/plain": repr(self)}
        # The editor of the usual menu would send the events to a web site.
        actions = {"export": True, "source": False, "compiled": False, "editor": False}
        return data, {VEGA_LITE: {"embed_options": {"actions": actions}}}


def read_metadata(data: object) -> ChartMetadata | None:
    """Return what a notebook's output says beside a drawing, or None where it is not what this version writes."""
    try:
        metadata = msgspec.convert(data, ChartMetadata)
    except msgspec.ValidationError:
        return None
    return metadata if metadata.version == VERSION and whole(metadata.data) else None
