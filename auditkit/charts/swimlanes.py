"""One story over time: a lane for each of a few values, and in it every event at its moment."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import polars as pl

from auditkit.charts.axes import (
    ROW_HEIGHT,
    Groups,
    TimeAxis,
    colour_channels,
    drawn_columns,
    empty_figure,
    fold,
    instant_axis,
    instants,
    not_drawn,
    row_channel,
    tooltip,
)
from auditkit.charts.counting import Counting, Events, counting
from auditkit.charts.figure import Figure, Spec
from auditkit.text import label, visible
from auditkit.timerange import US_PER_DAY, Moment, parse_duration
from auditkit.where import Where

MOST_MARKS = 1500
"""Beyond so many events in a chart, those of one slot are drawn as one dot."""
_UNITS = {
    "100ms": "a tenth of a second",
    "1s": "one second",
    "10s": "10 seconds",
    "1m": "one minute",
    "5m": "5 minutes",
    "15m": "15 minutes",
    "1h": "one hour",
    "6h": "6 hours",
    "1d": "one day",
    "1w": "one week",
}
_CUT = 80
_SIZE: Spec = {
    "field": "count",
    "type": "quantitative",
    "scale": {"type": "sqrt", "range": [16, 240]},
    "legend": None,
}
# Its length is in pixels: the Vega-Lite in JupyterLab draws no tick of a relative one.
_TICK: Spec = {"type": "tick", "thickness": 2, "opacity": 1, "clip": True, "size": 14}
_DOT: Spec = {"type": "circle", "opacity": 0.75, "clip": True}


def timeline(
    events: Events,
    by: str,
    *,
    split: str | None = "outcome",
    detail: Sequence[str] = (),
    every: str | timedelta | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    tz: str | None = None,
    title: str = "Timeline",
    n: int = 12,
    most: int = 6,
    failures: Sequence[str] | None = None,
) -> Figure:
    """Draw each event as a tick at its moment, in a lane for each of the most frequent values of a column.

    Of more than 1,500 events those of one bucket become a dot sized by their number, and the subtitle says so.  The axis
    can be zoomed and moved.

    Parameters
    ----------
    events : Trail or polars.DataFrame or polars.LazyFrame
        A trail or its events, with `ts` (Datetime with a zone), of which those that are kept are drawn.  Or counts: `ts` (starts
        of buckets), `by`, `split` and `count` (integer), as `trail.group_by([by, split], every=every)` returns them.
    by : str
        The column, or `"attrs.path"` of events, whose values are the lanes.
    split : str, optional
        The column that colours, default "outcome"; None for one colour.
    detail : sequence of str, default ()
        Columns that the tooltips of single events show.
    every : str or timedelta, optional
        Width of the buckets in which events are counted, however few they are; of counts the one they were counted by.
        Default: single events, and of many one that shows the window in at most 200 buckets, or in weeks.
    start, end : str, datetime, date or None, optional
        The window in which events count, as in the trail's questions; the axis spans it where both are given, else the
        events.
    where : mapping, pl.Expr or None, optional
        Conditions on the events that count, as in the trail's questions.
    tz : str, optional
        IANA zone of the axis, which it names; default: that of the trail, or of `ts`.
    title : str, default "Timeline"
    n : int, default 12
        How many lanes are drawn, the most frequent value first.
    most : int, default 6
        So many groups of `split` are drawn by name, the others as one.
    failures : sequence of str, optional
        The outcomes that are drawn in the colours of failures; default: those that mean one.

    Returns
    -------
    Figure

    Raises
    ------
    InvalidQueryError, InvalidTimeError
        An argument does not read, or names what is not there, `ts` has no zone, or counts are asked for what was decided
        when they were counted; all are `ValueError`.

    Examples
    --------
    >>> from datetime import datetime
    >>> ts = pl.Series("ts", [datetime(2026, 11, 24, 9)]).dt.replace_time_zone("UTC")
    >>> timeline(pl.DataFrame([ts, pl.Series("actor", ["ann"])]), "actor", split=None).alt
    'Timeline: ann 1, from 2026-11-24 09:00 to 2026-11-24 09:00 (UTC).'
    """
    asked = counting(events, start, end, where, tz, axis=True)
    frame, width = _events_or_counts(asked, by, split, detail, every)
    subtitle = f"Events by {visible(by)}"
    if frame.is_empty():
        return empty_figure(title, subtitle, frame)
    rows, parts = fold(frame, by, most=n), fold(frame, split, most=most, failures=failures)
    drawn = frame.with_columns(rows.row.alias("_row"), parts.row.alias("_group"))
    drawn = drawn.filter(pl.col("_row").is_in(rows.named)).sort("ts", "_row", "_group")
    axis = instant_axis(frame["ts"])
    values = _ticks(drawn, parts, axis, detail) if width is None else _dots(drawn, parts, axis, width)
    spec: Spec = {
        "data": {"values": list(values)},
        "params": [{"name": "zoom", "select": {"type": "interval", "encodings": ["x"]}, "bind": "scales"}],
        "mark": _TICK if width is None else _DOT,
        "encoding": {
            "x": _x(axis, asked.start, asked.end),
            "y": row_channel(rows.named),
            **colour_channels(parts, legend=split is not None),
            **({} if width is None else {"size": _SIZE}),
            "tooltip": _tooltip(asked.zone, by, split, detail if width is None else None),
        },
        "height": max(2, len(rows.named)) * ROW_HEIGHT,
    }
    folded = "" if width is None else f"A dot is the events of {_UNITS.get(width, width)}"
    notes = [subtitle, folded, not_drawn(rows.rest) if rows.rest else "", axis.note]
    return Figure(
        title=title,
        subtitle=". ".join(note.removesuffix(".") for note in notes if note),
        alt=f"{title}: {_words(drawn, rows, asked.zone)}",
        spec=spec,
        data=frame.select(drawn_columns("ts", by, split, *(detail if width is None else ["count"]))),
        clock=axis.clock(instants(frame["ts"]).unique().sort().to_list()),
    )


def _events_or_counts(
    asked: Counting, by: str, split: str | None, detail: Sequence[str], every: str | timedelta | None
) -> tuple[pl.DataFrame, str | None]:
    """Return single events, or counts and the width of their buckets where a width is given or these are many."""
    if not asked.counted and every is None:
        events = asked.rows(drawn_columns("ts", by, split, *detail), MOST_MARKS + 1)
        if events.height <= MOST_MARKS:
            return events.with_columns(count=pl.lit(1, dtype=pl.Int64)), None
    width = asked.width(every)
    return asked.count([by, split], width), width


def _tooltip(zone: str, by: str, split: str | None, detail: Sequence[str] | None) -> list[Spec]:
    """Return what a tick says, or with None for detail what a dot says."""
    at: Spec = {"field": "at", "type": "nominal", "title": f"time ({zone})"}
    more = [("count", "count")] if detail is None else [(f"detail{n}", name) for n, name in enumerate(detail)]
    return [at, *tooltip(("row", by), ("group", split or "what"), *more)]


def _x(axis: TimeAxis, start: datetime | None, end: datetime | None) -> Spec:
    channel = axis.channel(start, end)
    channel["scale"] = {**channel["scale"], "padding": 0 if "domainMin" in channel["scale"] else 12}
    return channel


def _ticks(drawn: pl.DataFrame, parts: Groups, axis: TimeAxis, detail: Sequence[str]) -> Iterator[Spec]:
    rank = parts.rank
    details = [[_cut(value) for value in drawn[name].to_list()] for name in detail]
    columns = zip(
        instants(drawn["ts"]).to_list(),
        drawn["ts"].dt.to_string("%Y-%m-%d %H:%M:%S").to_list(),
        drawn["_row"].to_list(),
        drawn["_group"].to_list(),
        strict=True,
    )
    for at_row, (us, at, row, group) in enumerate(columns):
        more = {f"detail{which}": values[at_row] for which, values in enumerate(details)}
        yield {"from": axis.place(us), "at": at, "row": row, "group": group, "rank": rank[group], **more}


def _dots(drawn: pl.DataFrame, parts: Groups, axis: TimeAxis, width: str) -> Iterator[Spec]:
    """Yield a dot for each bucket of a width, in its middle, on a month about there."""
    rank = parts.rank
    length = parse_duration(width)
    half_us = ((30 * length.months + length.days) * US_PER_DAY + length.us) // 2
    summed = drawn.group_by("ts", "_row", "_group").agg(pl.col("count").sum()).sort("ts", "_row", "_group")
    columns = zip(
        instants(summed["ts"]).to_list(),
        summed["ts"].dt.to_string("from %Y-%m-%d %H:%M").to_list(),
        *(summed[name].to_list() for name in ("_row", "_group", "count")),
        strict=True,
    )
    for us, at, row, group, count in columns:
        middle = axis.place(us + half_us)
        yield {"from": middle, "at": at, "row": row, "group": group, "rank": rank[group], "count": count}


def _cut(value: object) -> str:
    text = label(value)
    return text if len(text) <= _CUT else f"{text[: _CUT - 1]}\u2026"


def _words(drawn: pl.DataFrame, rows: Groups, zone: str) -> str:
    totals = dict(drawn.group_by("_row").agg(pl.col("count").sum()).iter_rows())
    words = ", ".join(f"{name} {totals[name]:,}" for name in rows.named)
    first, last = drawn["ts"][0], drawn["ts"][-1]
    return f"{words}, from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} ({zone})."
