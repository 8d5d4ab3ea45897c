"""Who, what and how much: the most frequent values of a column, and shares."""

from collections.abc import Mapping, Sequence

import polars as pl

from auditkit.charts.axes import (
    BAR,
    ROW_HEIGHT,
    Groups,
    colour_channels,
    count_channel,
    drawn_columns,
    empty_figure,
    fold,
    not_drawn,
    row_channel,
    tooltip,
)
from auditkit.charts.counting import Events, counting
from auditkit.charts.figure import MUTED, Figure, Spec
from auditkit.text import counted as number_of
from auditkit.text import visible
from auditkit.timerange import Moment
from auditkit.where import Where

_LONGER = 1.18
"""How much longer than its longest bar the axis is, so that the numbers at the ends fit."""


def top(
    events: Events,
    by: str,
    *,
    split: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    tz: str | None = None,
    title: str | None = None,
    n: int = 12,
    most: int = 6,
    failures: Sequence[str] | None = None,
) -> Figure:
    """Draw the most frequent values of a column as bars; the subtitle counts what is not drawn.

    Parameters
    ----------
    events : Trail or polars.DataFrame or polars.LazyFrame
        A trail or its events, of which those that are kept are counted; or counts: `by`, `split` and `count` (integer), as
        `trail.group_by([by, split])` returns them.
    by : str
        The column, or `"attrs.path"` of events, whose values are the rows.
    split : str, optional
        The column that divides and colours the bars.
    start, end : str, datetime, date or None, optional
        The window in which events count, as in the trail's questions.
    where : mapping, pl.Expr or None, optional
        Conditions on the events that count, as in the trail's questions.
    tz : str, optional
        IANA zone in which dates and text without a zone are read; default: that of the trail, or of `ts`.
    title : str, optional
        Default: "Top" and the column's name.
    n : int, default 12
        How many values are drawn, the most frequent first.
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
        An argument does not read, or names what is not there, or counts are asked for what was decided when they were
        counted; all are `ValueError`.

    Examples
    --------
    >>> figure = top(pl.DataFrame({"actor": ["ann", "bo", None], "count": [3, 2, 1]}), "actor", n=2)
    >>> figure.alt, figure.subtitle
    ('Top actor: ann 3, bo 2.', 'The first 2 have 5 of 6 events; 1 other is not drawn')
    """
    title = title or f"Top {visible(by)}"
    frame = counting(events, start, end, where, tz).count([by, split])
    if frame.is_empty():
        return empty_figure(title, "Number of events", frame)
    rows, parts = fold(frame, by, most=n), fold(frame, split, most=most, failures=failures)
    summed = _sums(frame, rows, parts)
    totals = dict(summed.group_by("row").agg(pl.col("count").sum()).iter_rows())
    drawn, total = sum(totals.values()), int(frame["count"].sum())
    subtitle = number_of(total, "event")
    if rows.rest:
        first = f"The first {len(rows.named):,} have {drawn:,} of"
        subtitle = f"{first} {subtitle}; {not_drawn(rows.rest)}"
    bars: Spec = {
        "data": {"values": summed.to_dicts()},
        "mark": BAR,
        "encoding": {
            "y": row_channel(rows.named),
            "x": count_channel(upto=max(totals.values()) * _LONGER),
            **colour_channels(parts, legend=split is not None),
            "tooltip": tooltip(("row", by), ("group", split or "what"), ("count", "count")),
        },
    }
    words = ", ".join(f"{name} {totals[name]:,}" for name in rows.named)
    spec: Spec = {"layer": [bars, _ends(rows, totals)], "height": ROW_HEIGHT * len(rows.named)}
    data = frame.select(drawn_columns(by, split, "count"))
    return Figure(
        title=title,
        subtitle=subtitle,
        alt=f"{title}: {words}.",
        spec=spec,
        data=data,
        pick=rows.pick("row", by),
    )


def _ends(rows: Groups, totals: Mapping[str, int]) -> Spec:
    """Return the numbers at the ends of the bars."""
    values = [{"row": name, "count": totals[name], "text": f"{totals[name]:,}"} for name in rows.named]
    return {
        "data": {"values": values},
        "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 11, "color": MUTED},
        "encoding": {
            "y": row_channel(rows.named),
            "x": {"field": "count", "type": "quantitative"},
            "text": {"field": "text", "type": "nominal"},
        },
    }


def share(
    events: Events,
    of: str,
    *,
    by: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    tz: str | None = None,
    title: str | None = None,
    n: int = 12,
    most: int = 6,
    failures: Sequence[str] | None = None,
) -> Figure:
    """Draw how the events divide among the values of a column, in all or for each of the top values of another.

    Every bar is 100 %.

    Parameters
    ----------
    events : Trail or polars.DataFrame or polars.LazyFrame
        A trail or its events, of which those that are kept are counted; or counts: `of`, `by` and `count` (integer), as
        `trail.group_by([by, of])` returns them.
    of : str
        The column, or `"attrs.path"` of events, whose values share a bar.
    by : str, optional
        The column whose values are the rows; left out, there is one bar for all events.
    start, end : str, datetime, date or None, optional
        The window in which events count, as in the trail's questions.
    where : mapping, pl.Expr or None, optional
        Conditions on the events that count, as in the trail's questions.
    tz : str, optional
        IANA zone in which dates and text without a zone are read; default: that of the trail, or of `ts`.
    title : str, optional
        Default: "Share of" and the column's name.
    n : int, default 12
        How many values of `by` are drawn, the most frequent first.
    most : int, default 6
        So many values of `of` are drawn by name, the others as one.
    failures : sequence of str, optional
        The outcomes that are drawn in the colours of failures; default: those that mean one.

    Returns
    -------
    Figure

    Raises
    ------
    InvalidQueryError, InvalidTimeError
        An argument does not read, or names what is not there, or counts are asked for what was decided when they were
        counted; all are `ValueError`.

    Examples
    --------
    >>> share(pl.DataFrame({"outcome": ["success", None], "count": [3, 1]}), "outcome").alt
    'Share of outcome: success 75.0 % (3), (none) 25.0 % (1).'
    """
    title = title or f"Share of {visible(of)}"
    frame = counting(events, start, end, where, tz).count([by, of])
    if frame.is_empty():
        return empty_figure(title, "Share of events", frame)
    rows, parts = fold(frame, by, most=n), fold(frame, of, most=most, failures=failures)
    summed = _sums(frame, rows, parts).with_columns(part=pl.col("count") / pl.col("count").sum().over("row"))
    whole = dict(summed.group_by("group").agg(pl.col("count").sum()).iter_rows())
    total = sum(whole.values())
    words = ", ".join(
        f"{name} {_percent(whole[name], total)} ({whole[name]:,})" for name in parts.names if name in whole
    )
    subtitle = (
        f"{number_of(total, 'event')} by {visible(by)}" if by else f"Of {number_of(total, 'event')}: {words}"
    )
    if rows.rest:
        subtitle += f"; {not_drawn(rows.rest)}"
    encoding: Spec = {
        "y": row_channel(rows.named),
        "x": {
            "field": "part",
            "type": "quantitative",
            "stack": "zero",
            "scale": {"domain": [0, 1], "nice": False},
            "axis": {"format": ".0%", "tickCount": 5},
            "title": None,
        },
        **colour_channels(parts, legend=True),
        "tooltip": [
            *tooltip(("row", by or "what"), ("group", of), ("count", "count")),
            {"field": "part", "type": "quantitative", "format": ".1%", "title": "share"},
        ],
    }
    spec: Spec = {
        "data": {"values": summed.to_dicts()},
        "mark": BAR,
        "encoding": encoding,
        "height": ROW_HEIGHT * len(rows.named) if by else 2 * ROW_HEIGHT,
    }
    if by is None:
        encoding["y"]["axis"] = None
    data = frame.select(drawn_columns(by, of, "count"))
    return Figure(
        title=title,
        subtitle=subtitle,
        alt=f"{title}: {words}.",
        spec=spec,
        data=data,
        pick=rows.pick("row", by) if by else parts.pick("group", of),
    )


def _sums(frame: pl.DataFrame, rows: Groups, parts: Groups) -> pl.DataFrame:
    """Return `row`, `group`, `rank` and the sum of `count`, without the rows that did not fit."""
    return (
        pl.DataFrame([rows.row.rename("row"), parts.row, frame["count"].cast(pl.Int64)])
        .filter(pl.col("row").is_in(rows.named))
        .group_by("row", "group")
        .agg(pl.col("count").sum())
        .with_columns(rank=pl.col("group").replace_strict(parts.rank, return_dtype=pl.Int64))
        .sort("row", "rank")
    )


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"
