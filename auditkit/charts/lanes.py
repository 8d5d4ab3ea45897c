"""One story over time: a lane for each of a few values, and in it every event at its moment."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import polars as pl

from auditkit.charts.channels import ROW_HEIGHT, colour_channels, nothing, number, row_channel, tooltip
from auditkit.charts.figure import Figure, Spec
from auditkit.charts.groups import Groups, fold
from auditkit.charts.zone import TimeAxis, instant_axis, instants, zone_of
from auditkit.plaintext import label, visible
from auditkit.timerange import to_us
from auditkit.wording import counted

MOST_MARKS = 1500
"""Beyond so many events in a chart, those of one slot are drawn as one dot."""
_SLOTS = 180
_SLOTS_S = (1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 604_800)
_CUT = 80


def timeline(
    frame: pl.DataFrame,
    by: str,
    *,
    split: str | None = "outcome",
    detail: Sequence[str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    tz: str | None = None,
    title: str = "Timeline",
    n: int = 12,
    most: int = 6,
) -> Figure:
    """Draw each event as a tick at its moment, in a lane for each of the `n` most frequent values of the column `by`.

    `frame` holds `ts` (Datetime with a zone), `by`, `split`, which colours, and the columns `detail`, which the
    tooltips show; one row is one event, as `range` returns them.  The axis is in `tz`, by default in the zone of `ts`,
    and names it; it spans start to end where both are given, and can be zoomed and moved.  Where there are many
    events, those of one slot become a dot sized by their number, and the subtitle says so.  A `ts` without a zone is
    a `ValueError`.

    >>> ts = pl.Series("ts", [datetime(2026, 11, 24, 9)]).dt.replace_time_zone("UTC")
    >>> timeline(pl.DataFrame([ts, pl.Series("actor", ["ann"])]), "actor", split=None).alt
    'Timeline: ann 1, from 2026-11-24 09:00 to 2026-11-24 09:00 (UTC).'
    """
    zone = zone_of(frame["ts"])
    if tz is not None:
        zone, frame = tz, frame.with_columns(pl.col("ts").dt.convert_time_zone(tz))
    subtitle = f"Events by {visible(by)}"
    if frame.is_empty():
        return nothing(title, subtitle, frame)
    single = frame.with_columns(count=pl.lit(1, dtype=pl.Int64))
    rows, parts = fold(single, by, most=n), fold(single, split, most=most)
    drawn = single.with_columns(rows.row.alias("_row"), parts.row.alias("_group"))
    drawn = drawn.filter(pl.col("_row").is_in(rows.named)).sort("ts", "_row", "_group")
    axis = instant_axis(frame["ts"])
    slot_us = _slot_us(drawn["ts"], start, end) if drawn.height > MOST_MARKS else None
    values = _ticks(drawn, parts, axis, detail) if slot_us is None else _dots(drawn, parts, axis, slot_us)
    spec: Spec = {
        "data": {"values": list(values)},
        "params": [{"name": "zoom", "select": {"type": "interval", "encodings": ["x"]}, "bind": "scales"}],
        "mark": _mark(dots=slot_us is not None),
        "encoding": {
            "x": _x(axis, start, end),
            "y": row_channel(rows.named),
            **colour_channels(parts, legend=split is not None),
            **({} if slot_us is None else {"size": _SIZE}),
            "tooltip": _tooltip(zone, by, split, detail if slot_us is None else None),
        },
        "height": max(2, len(rows.named)) * ROW_HEIGHT,
    }
    notes = [subtitle, _folded(slot_us), f"{rows.rest} not drawn" if rows.rest else "", axis.note]
    return Figure(
        title=title,
        subtitle=". ".join(note.removesuffix(".") for note in notes if note),
        alt=f"{title}: {_words(drawn, rows, zone)}",
        spec=spec,
        data=frame,
    )


_SIZE: Spec = {
    "field": "count",
    "type": "quantitative",
    "scale": {"type": "sqrt", "range": [18, 320]},
    "legend": None,
}


def _mark(*, dots: bool) -> Spec:
    if dots:
        return {"type": "circle", "opacity": 0.75, "clip": True}
    return {"type": "tick", "thickness": 2, "opacity": 1, "clip": True, "height": {"band": 0.6}}


def _tooltip(zone: str, by: str, split: str | None, detail: Sequence[str] | None) -> list[Spec]:
    """Return what a tick says, or with None for detail what a dot says."""
    at: Spec = {"field": "at", "type": "nominal", "title": f"time ({zone})"}
    more = [("count", "count")] if detail is None else [(f"detail{n}", name) for n, name in enumerate(detail)]
    return [at, *tooltip(("row", by), ("group", split or "what"), *more)]


def _x(axis: TimeAxis, start: datetime | None, end: datetime | None) -> Spec:
    channel = axis.channel(start, end)
    channel["scale"] = {**channel["scale"], "padding": 0 if "domain" in channel["scale"] else 12}
    return channel


def _slot_us(ts: pl.Series, start: datetime | None, end: datetime | None) -> int:
    """Return the width of a slot in which events are drawn as one."""
    stamps = instants(ts)
    first = int(stamps[0]) if start is None else to_us(start)
    last = int(stamps[-1]) if end is None else to_us(end)
    span_s = (last - first) / 1e6
    return 1_000_000 * next((width for width in _SLOTS_S if span_s / width <= _SLOTS), _SLOTS_S[-1])


def _folded(slot_us: int | None) -> str:
    if slot_us is None:
        return ""
    seconds = slot_us // 1_000_000
    for length, unit in ((604_800, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= length:
            return f"A dot is the events of {counted(seconds // length, unit)}"
    return f"A dot is the events of {counted(seconds, 'second')}"


def _ticks(drawn: pl.DataFrame, parts: Groups, axis: TimeAxis, detail: Sequence[str]) -> Iterator[Spec]:
    place = {name: rank for rank, name in enumerate(parts.names)}
    told = [[_cut(value) for value in drawn[name].to_list()] for name in detail]
    columns = zip(
        instants(drawn["ts"]).to_list(),
        drawn["ts"].dt.to_string("%Y-%m-%d %H:%M:%S").to_list(),
        drawn["_row"].to_list(),
        drawn["_group"].to_list(),
        strict=True,
    )
    for number_, (us, at, row, group) in enumerate(columns):
        details = {f"detail{which}": values[number_] for which, values in enumerate(told)}
        yield {"from": axis.place(us), "at": at, "row": row, "group": group, "rank": place[group], **details}


def _dots(drawn: pl.DataFrame, parts: Groups, axis: TimeAxis, slot_us: int) -> Iterator[Spec]:
    place = {name: rank for rank, name in enumerate(parts.names)}
    summed = (
        drawn.group_by((instants(drawn["ts"]) // slot_us).alias("slot"), "_row", "_group")
        .agg(pl.len().alias("count"), pl.col("ts").min().alias("at"))
        .sort("slot", "_row", "_group")
        .with_columns(pl.col("at").dt.to_string("from %Y-%m-%d %H:%M"))
    )
    for slot, row, group, count, at in summed.iter_rows():
        middle = axis.place(slot * slot_us + slot_us // 2)
        yield {"from": middle, "at": at, "row": row, "group": group, "rank": place[group], "count": count}


def _cut(value: object) -> str:
    text = label(value)
    return text if len(text) <= _CUT else f"{text[: _CUT - 1]}\u2026"


def _words(drawn: pl.DataFrame, rows: Groups, zone: str) -> str:
    totals = dict(drawn.group_by("_row").len().iter_rows())
    words = ", ".join(f"{name} {number(totals[name])}" for name in rows.named)
    first, last = drawn["ts"][0], drawn["ts"][-1]
    return f"{words}, from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} ({zone})."
