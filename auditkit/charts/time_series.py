"""When: events over time, and the hours of the week."""

from collections.abc import Mapping, Sequence
from datetime import time, timedelta

import polars as pl

from auditkit.charts.axes import (
    ROW_HEIGHT,
    Groups,
    TimeAxis,
    colour_channels,
    count_channel,
    drawn_columns,
    empty_figure,
    fold,
    instants,
    time_axis,
    tooltip,
)
from auditkit.charts.counting import RAW, Events, counting
from auditkit.charts.figure import LEVELS, Figure, Pick, Spec
from auditkit.text import visible
from auditkit.timerange import Moment
from auditkit.where import Where

_UNITS = {
    "100ms": "tenth of a second",
    "1s": "second",
    "1m": "minute",
    "1h": "hour",
    "1d": "day",
    "1w": "week",
    "1mo": "month",
    "1y": "year",
}
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NO_EVENT = "0"
_PALER: Spec = {
    "condition": {"test": "datum.rolled === 'tier'", "value": 0.45},
    "value": 1,
}
"""The opacity of a bar: what comes from a tier is drawn in another tone."""


def over_time(
    events: Events,
    *,
    every: str | timedelta | None = None,
    by: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    tz: str | None = None,
    title: str = "Events over time",
    most: int = 6,
    failures: Sequence[str] | None = None,
) -> Figure:
    """Draw the events per bucket as bars, stacked by a column where one is given.

    Parameters
    ----------
    events : Trail or polars.DataFrame or polars.LazyFrame
        A trail, also where its events are gone and tiers of rollups hold their counts: these are drawn paler, and the subtitle
        says so.  Or events, with `ts` (Datetime with a zone).  Or counts: `ts` (starts of buckets), `count` (integer), `by` and
        perhaps `tier`, as `trail.group_by(by, every=every)` returns them.
    every : str or timedelta, optional
        Width of the buckets, such as "1h"; of counts the one they were counted by.  Default: one that shows the window in at
        most 200 buckets, or in weeks.
    by : str, optional
        The column, or `"attrs.path"` of events, that divides and colours the bars.
    start, end : str, datetime, date or None, optional
        The window in which events count, as in the trail's questions; the axis spans it where both are given, else the
        buckets.
    where : mapping, pl.Expr or None, optional
        Conditions on the events that count, as in the trail's questions.
    tz : str, optional
        IANA zone that the buckets follow and the axis names; default: that of the trail, or of `ts`.
    title : str, default "Events over time"
    most : int, default 6
        So many groups, the most frequent, are drawn by name, the others as one.
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
    >>> over_time(pl.DataFrame([ts, pl.Series("count", [3])]), every="1h").alt
    'Events over time: 3 per hour in all; most in one hour: 3, from 2026-11-24 09:00 (UTC).'
    """
    asked = counting(events, start, end, where, tz, axis=True)
    frame, width = asked.over_time(by, every)
    unit = _UNITS.get(width, width)
    subtitle = f"Events per {unit}" + (f" by {visible(by)}" if by else "")
    if frame.is_empty():
        return empty_figure(title, "Number of events", frame)
    axis = time_axis(frame["ts"], width)
    groups = fold(frame, by, most=most, failures=failures)
    spec: Spec = {
        "data": {"values": _bars(frame, groups, axis)},
        "mark": {"type": "bar", "orient": "vertical", "x2Offset": -0.5},
        "encoding": {
            "x": axis.channel(asked.start, asked.end),
            "x2": {"field": "to"},
            "y": count_channel(),
            **colour_channels(groups, legend=by is not None),
            "tooltip": [axis.tooltip(), *tooltip(("group", by or "what"), ("count", "count"))],
        },
        "height": 170,
    }
    tiers = _tiers(frame)
    if tiers:
        spec["encoding"]["opacity"] = _PALER
    subtitle = ". ".join(note.removesuffix(".") for note in (subtitle, _tier_words(tiers), axis.note) if note)
    alt = f"{title}: {_peak(frame, unit, asked.zone)}"
    clock = axis.clock(instants(frame["ts"]).unique().sort().to_list())
    data = frame.select(drawn_columns("ts", by, "count", "tier" if tiers else None))
    return Figure(title=title, subtitle=subtitle, alt=alt, spec=spec, data=data, clock=clock)


def _bars(frame: pl.DataFrame, groups: Groups, axis: TimeAxis) -> list[Spec]:
    origin = frame["tier"] != RAW if _tiers(frame) else pl.repeat(value=False, n=frame.height, eager=True)
    summed = (
        pl.DataFrame([instants(frame["ts"]), groups.row, frame["count"], origin.alias("rolled")])
        .group_by("ts", "group")
        .agg(pl.col("count").sum(), pl.col("rolled").any())
        .sort("ts", "group")
    )
    return [
        {
            **axis.bucket(us),
            "group": name,
            "rank": groups.rank[name],
            "count": count,
            **({"rolled": "tier"} if rolled else {}),
        }
        for us, name, count, rolled in summed.iter_rows()
    ]


def _tiers(frame: pl.DataFrame) -> list[str]:
    """Return the tiers that counts of a frame come from; `group_by` says in the column `tier` where each is from."""
    if "tier" not in frame.columns:
        return []
    return sorted({tier for text in frame["tier"].unique() for tier in text.split(", ")} - {RAW})


def _tier_words(tiers: Sequence[str]) -> str:
    """Return what the subtitle says of bars from tiers.

    >>> _tier_words(["1d", "1h"])
    'Paler bars come from the tiers 1d and 1h: their events are no longer kept'
    """
    if not tiers:
        return ""
    named = f"tier{'s' if len(tiers) > 1 else ''} {' and '.join(map(visible, tiers))}"
    return f"Paler bars come from the {named}: their events are no longer kept"


def _peak(frame: pl.DataFrame, unit: str, zone: str) -> str:
    totals = frame.group_by("ts").agg(pl.col("count").sum()).sort("count", "ts", descending=[True, False])
    return (
        f"{int(totals['count'].sum()):,} per {unit} in all; most in one {unit}: {totals['count'][0]:,}, "
        f"from {totals['ts'][0]:%Y-%m-%d %H:%M} ({zone})."
    )


def heat_map(
    events: Events,
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    tz: str | None = None,
    title: str = "When in the week",
) -> Figure:
    """Draw the events in each hour of the week.

    Cells have up to five shades, which the legend names; an hour without events has a shade of its own.  Where all events
    are at midnight, as dates without hours are, nothing is drawn, and the figure says so.

    Parameters
    ----------
    events : Trail or polars.DataFrame or polars.LazyFrame
        A trail or its events, of which those that are kept are counted; or counts: `ts` (starts of buckets of an hour or
        less, Datetime with a zone) and `count` (integer), as `trail.downsample("1h")` returns them.
    start, end : str, datetime, date or None, optional
        The window in which events count, as in the trail's questions.
    where : mapping, pl.Expr or None, optional
        Conditions on the events that count, as in the trail's questions.
    tz : str, optional
        IANA zone of the week; default: that of the trail, or of `ts`.
    title : str, default "When in the week"

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
    >>> heat_map(pl.DataFrame([ts, pl.Series("count", [3])])).alt
    'When in the week: most events on Tue from 09:00 to 10:00 (UTC), 3 in all.'
    """
    asked = counting(events, start, end, where, tz)
    frame, zone = asked.count([], "1h"), asked.zone
    subtitle = f"Sum of events per hour of the week, {zone}"
    if frame.is_empty():
        return empty_figure(title, subtitle, frame)
    if _only_days(frame):
        return empty_figure(
            title, subtitle, frame, says="All of these events are dated to a day, without an hour"
        )
    sums = _hours_of_week(frame)
    bounds = shade_bounds(list(sums.values()))
    names = [_NO_EVENT, *_shade_names(bounds)]
    values = [
        {
            "day": _WEEKDAYS[day],
            "hour": f"{hour:02}",
            "cell": f"{_WEEKDAYS[day]} {hour:02}",
            "count": (count := sums.get((day, hour), 0)),
            "shade": names[0] if not count else names[1 + sum(count > bound for bound in bounds)],
        }
        for day in range(7)
        for hour in range(24)
    ]
    (day, hour), most = max(sums.items(), key=lambda item: (item[1], -item[0][0], -item[0][1]))
    alt = f"most events on {_WEEKDAYS[day]} from {hour:02}:00 to {hour + 1:02}:00 ({zone}), {most:,} in all."
    spec = _grid(values, names, zone)
    drawn = pl.DataFrame(values, schema=["day", "hour", "count"]).filter(pl.col("count") > 0)
    pick = Pick(field="cell", column=None, labels={}, zone=zone)
    return Figure(title=title, subtitle=subtitle, alt=f"{title}: {alt}", spec=spec, data=drawn, pick=pick)


def _only_days(frame: pl.DataFrame) -> bool:
    """Return whether all buckets of several days begin at midnight, in the zone of the times or in UTC."""
    local = frame["ts"].dt
    if local.date().n_unique() == 1:
        return False
    return any(
        at.dt.time().unique().to_list() == [time()] for at in (frame["ts"], local.convert_time_zone("UTC"))
    )


def _hours_of_week(frame: pl.DataFrame) -> Mapping[tuple[int, int], int]:
    ts = pl.col("ts").dt
    sums = frame.group_by((ts.weekday() - 1).alias("day"), ts.hour().alias("hour")).agg(pl.col("count").sum())
    return {(day, hour): count for day, hour, count in sums.iter_rows()}


def shade_bounds(counts: Sequence[int]) -> list[int]:
    """Return the largest count of each shade, at most five, ascending.

    They grow with the square, so that a quiet hour and a busy one are told apart, and noise is not.

    >>> shade_bounds([0, 20, 281]), shade_bounds([1, 3])
    ([11, 45, 101, 180, 281], [1, 2, 3])
    """
    most = max(counts)
    return sorted({min(most, max(part, round(most * (part / 5) ** 2))) for part in range(1, 6)})


def _shade_names(bounds: Sequence[int]) -> list[str]:
    lows = [1, *(bound + 1 for bound in bounds[:-1])]
    return [
        f"{low:,}" if low == high else f"{low:,}\u2013{high:,}"
        for low, high in zip(lows, bounds, strict=True)
    ]


def _grid(values: Sequence[Spec], names: Sequence[str], zone: str) -> Spec:
    shades = [LEVELS[0], *LEVELS[len(LEVELS) - len(names) + 1 :]]
    hour_axis = {"labelAngle": 0, "labelOverlap": True, "labelSeparation": 5, "ticks": False}
    return {
        "data": {"values": list(values)},
        "mark": {"type": "rect", "cornerRadius": 2},
        "encoding": {
            "x": {
                "field": "hour",
                "type": "ordinal",
                "axis": hour_axis,
                "scale": {"paddingInner": 0.06},
                "title": f"hour of the day, {zone}",
            },
            "y": {
                "field": "day",
                "type": "ordinal",
                "sort": list(_WEEKDAYS),
                "scale": {"paddingInner": 0.1},
                "title": None,
            },
            "color": {
                "field": "shade",
                "type": "ordinal",
                "scale": {"domain": list(names), "range": shades},
                "legend": {"columns": 6},
            },
            "tooltip": tooltip(("day", "day"), ("hour", "hour"), ("count", "count")),
        },
        "height": ROW_HEIGHT * len(_WEEKDAYS),
    }
