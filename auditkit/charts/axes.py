"""How columns become axes, rows and colours: times, counts, names, and the groups that a chart shows by name.

Vega knows two zones, UTC and the one of the machine that draws.  Only the first is used: a time axis is drawn as
`utc`, moved by the offset of the frame's zone, and names that zone, so that every reader sees the same hours.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle
from zoneinfo import ZoneInfo

import polars as pl

from auditkit.charts.counting import zone_of
from auditkit.charts.figure import BLUE, FAILED, GREY, MUTED, PALETTE, REST, Clock, Figure, Pick, Spec
from auditkit.display.tables import bounded
from auditkit.text import MISSING, label, others, short_label, visible
from auditkit.timerange import Duration, check_zone, from_us, parse_duration, to_us, utc_offset_us
from auditkit.where.vocabulary import failing

ROW_HEIGHT = 24
"""Height in pixels of one row of a chart with rows."""
BAR: Spec = {"type": "bar", "height": {"band": 0.7}}
"""The mark of a chart with one bar a row."""
_NO_EVENTS = "No events in this window"
# An expression over the names that Vega holds, none of them in its text: both ends of a long name stay.
_BOTH_ENDS = (
    "length(datum.label) > (width < 300 ? 18 : 31) ? slice(datum.label, 0, width < 300 ? 6 : 9) + '\u2026' + "
    "slice(datum.label, width < 300 ? -10 : -19) : datum.label"
)

_OUTCOME = "outcome"
"""The column in which success and failures have colours of their own."""
_JAVASCRIPT_NAMES = frozenset(
    [
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
    ]
)
ALL = "events"
"""The name of the one group of a chart that divides by nothing."""

US_PER_HOUR = 3_600_000_000
_FLUSH, _LABELS_APART = 40, 8
"""Labels nearer than so many pixels to an end of the axis are kept inside it; of nearer ones than these, one is left out."""

_FORMAT = {
    "milliseconds": "%H:%M:%S.%L",  # whole, as Vega draws only the last of the ticks within a second
    "seconds": ":%S",
    "minutes": "%H:%M",
    "hours": "%H:%M",
    "day": "%a %d %b",
    "date": "%a %d %b",
    "week": "%a %d %b",
    "month": "%b %Y",
    "quarter": "%b %Y",
    "year": "%Y",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The groups of a frame: `row` has the name for each of its rows, `names` are all of them, largest first.

    `rest` is the last of the names where it stands for all that did not fit, else None.  `labels` has the label of each
    value whose name is not its label, as that of a long one.
    """

    row: pl.Series
    names: tuple[str, ...]
    colours: tuple[str, ...]
    rest: str | None
    labels: dict[str, str]

    def pick(self, field: str, column: str) -> Pick:
        """Return what a mark with the name of a group in a field stands for."""
        return Pick(field=field, column=column, labels=self.labels)

    @property
    def named(self) -> tuple[str, ...]:
        """The names without the rest."""
        return self.names if self.rest is None else self.names[:-1]

    @property
    def rank(self) -> dict[str, int]:
        """The place of each name in the order of stacking."""
        return {name: rank for rank, name in enumerate(self.names)}


def fold(
    frame: pl.DataFrame, column: str | None, *, most: int, failures: Sequence[str] | None = None
) -> Groups:
    """Group the rows of a frame by a column's visible text; what is beyond the `most` with the largest `count`,
    taken together, is the rest.  Without a column there is one group.

    Outcomes that are among `failures` have the colours of failures; None is by auditkit's own rule.
    """
    outcomes = column == _OUTCOME
    if column is None:
        frame, column = frame.select("count", group=pl.lit(ALL)), "group"
    sums = frame.group_by(column).agg(pl.col("count").sum())
    values = sums[column].to_list()
    labels = row_labels(values)
    failed = None
    if outcomes:
        counted_as = set(failing(values) if failures is None else failures)
        failed = {name for name, value in zip(labels, values, strict=True) if value in counted_as}
    totals: dict[str, int] = {}
    for name, count in zip(labels, sums["count"].to_list(), strict=True):
        totals[name] = totals.get(name, 0) + count
    names = sorted(totals, key=lambda name: (-totals[name], name))
    kept = names[:most]
    rest = others(len(names) - most) if len(names) > most else None
    shown = kept if rest is None else [*kept, rest]
    known = set(kept)
    folded = sums.select(
        pl.col(column).alias("value"),
        pl.Series("group", [name if name in known else rest for name in labels], dtype=pl.String),
    )
    row = frame.select(pl.col(column).alias("value")).join(
        folded, on="value", how="left", nulls_equal=True, maintain_order="left"
    )["group"]
    full = {
        name: label(bounded(str(value)))
        for name, value in zip(labels, values, strict=True)
        if value is not None
    }
    return Groups(
        row=row,
        names=tuple(shown),
        colours=tuple(_colours(shown, rest, failed)),
        rest=rest,
        labels={name: full[name] for name in kept if full.get(name, name) != name},
    )


def row_labels(values: Sequence[object]) -> list[str]:
    """Return the labels of values, cut as `short_label` does it; different values that look the same then have a number.

    Measuring a text takes as long as it is, and is done many times for a drawing.

    >>> [len(short) for short in row_labels(["a" * 200, "a" * 300, "b"])]
    [80, 84, 1]
    """
    full = [group_name(label(value)) for value in values]
    seen: dict[str, list[str]] = {}
    for text, value in sorted(dict(zip(full, values, strict=True)).items()):
        seen.setdefault(group_name(short_label(value)), []).append(text)
    short = {
        text: shown if number == 1 else f"{shown} ({number})"
        for shown, texts in seen.items()
        for number, text in enumerate(texts, 1)
    }
    return [short[text] for text in full]


def group_name(text: str) -> str:
    """Return the name of a group, quoted where it is a member of every JavaScript object: Vega keeps groups in these."""
    return f'"{text}"' if text in _JAVASCRIPT_NAMES else text


def _colours(names: Sequence[str], rest: str | None, failed: Collection[str] | None) -> Iterator[str]:
    """Return a colour for each name; `failed` are those of failures, None where these are no outcomes."""
    meaning = {MISSING: GREY} if rest is None else {MISSING: GREY, rest: REST}
    if failed is not None:
        succeeded = [name for name in names if name.casefold() == "success"]
        meaning |= dict.fromkeys(succeeded[:1], BLUE)
        meaning |= dict(zip([name for name in names if name in failed], cycle(FAILED), strict=False))
    taken = {meaning.get(name) for name in names}
    free = cycle([colour for colour in PALETTE if colour not in taken])
    return (meaning.get(name) or next(free) for name in names)


def drawn_columns(*columns: str | None) -> list[str]:
    """Return the columns that a chart draws, each once, in their order."""
    return list(dict.fromkeys(column for column in columns if column is not None))


def not_drawn(rest: str) -> str:
    """Return what a subtitle says of the groups that did not fit.

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


def empty_figure(title: str, subtitle: str, frame: pl.DataFrame, *, says: str = _NO_EVENTS) -> Figure:
    """Return the figure of a frame of which nothing is drawn: a sentence in place of marks."""
    spec = {
        "data": {"values": [{"text": says}]},
        "mark": {"type": "text", "align": "left", "color": MUTED, "fontSize": 13},
        "encoding": {"text": {"field": "text", "type": "nominal"}, "x": {"value": 0}},
        "height": 32,
    }
    return Figure(
        title=title, subtitle=subtitle, alt=f"{title}: {says[0].lower()}{says[1:]}.", spec=spec, data=frame
    )


def instants(ts: pl.Series) -> pl.Series:
    """Return a column of times as microseconds since 1970 UTC."""
    return ts.dt.cast_time_unit("us").cast(pl.Int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAxis:
    """Where instants lie on a time axis, the first and last of them, its title, and a note where the clocks change.

    `shift_us` is what is added to an instant; None adds the zone's offset at that instant.
    """

    zone: str
    width: Duration
    shift_us: int | None
    first_us: int
    last_us: int
    title: str
    note: str

    def place(self, us: int) -> float:
        """Return an instant in the axis' milliseconds."""
        return (us + self._shift(us)) / 1000

    def bucket(self, us: int) -> dict[str, float]:
        """Return both ends, in the axis' milliseconds, of the bucket that starts at an instant."""
        return {"from": self.place(us), "to": self.place(self.width.after(us, self.zone))}

    def channel(self, start: datetime | None, end: datetime | None) -> Spec:
        """Return the x channel over the field `from`, as wide as the window where its bounds are known."""
        scale: Spec = {"type": "utc", "nice": False, "padding": 0}
        if start is not None and end is not None:
            # As parts of a date: a bare number here is no moment to Vega's interpreter of expressions.
            scale["domainMin"], scale["domainMax"] = (_parts(self.place(to_us(at))) for at in (start, end))
        axis = {
            "format": _FORMAT,
            "tickCount": 8,
            "labelOverlap": "greedy",
            "labelSeparation": _LABELS_APART,
            "labelFlush": _FLUSH,
        }
        first_us = self.first_us if start is None or end is None else to_us(start)
        last_us = self.last_us if start is None or end is None else to_us(end) - 1
        title = f"{_days(first_us, last_us, check_zone(self.zone))}, {self.title}"
        return {"field": "from", "type": "temporal", "scale": scale, "axis": axis, "title": title}

    def tooltip(self) -> Spec:
        """Return the tooltip channel for where a bucket starts."""
        unit = "utcyearmonthdatehoursminutes"  # else it would be shown in the zone of the machine that draws
        return {
            "field": "from",
            "timeUnit": unit,
            "format": "%Y-%m-%d %H:%M",
            "type": "temporal",
            "title": self.title,
        }

    def clock(self, starts: Sequence[int]) -> Clock:
        """Return how the axis is read back, given instants at which its buckets start, ascending."""
        shifts: list[tuple[float, float]] = []
        for us in starts:
            shift = self._shift(us) / 1000
            if not shifts or shifts[-1][1] != shift:
                shifts.append((self.place(us), shift))
        return Clock(zone=self.title, shifts=tuple(shifts))

    def _shift(self, us: int) -> int:
        return utc_offset_us(us, check_zone(self.zone)) if self.shift_us is None else self.shift_us


def _parts(place: float) -> Spec:
    """Return a place on the axis as Vega-Lite writes a moment in UTC, to the millisecond."""
    at = from_us(round(place) * 1000)
    return {
        "year": at.year,
        "month": at.month,
        "date": at.day,
        "hours": at.hour,
        "minutes": at.minute,
        "seconds": at.second,
        "milliseconds": at.microsecond // 1000,
        "utc": True,
    }


def time_axis(ts: pl.Series, every: str) -> TimeAxis:
    """Return the axis for buckets of one width, given by at least one start in a column with a zone.

    Where the zone's offset changes among the buckets, those of whole days are drawn by the calendar, and finer
    ones by the offset at the start, which title and note say: an hour that comes twice is drawn twice.
    """
    return _axis(
        zone_of(ts.dtype), parse_duration(every, name="every"), instants(ts).unique().sort().to_list()
    )


def instant_axis(ts: pl.Series) -> TimeAxis:
    """Return the axis for single instants, at least one, in a column with a zone; as in `time_axis`."""
    hours = (instants(ts) // US_PER_HOUR * US_PER_HOUR).unique().sort().to_list()
    return _axis(zone_of(ts.dtype), parse_duration("1h"), hours)


def _axis(zone: str, width: Duration, starts: Sequence[int]) -> TimeAxis:
    info = check_zone(zone)
    offsets = {utc_offset_us(us, info) for us in starts} | {
        utc_offset_us(width.after(us, zone), info) for us in starts
    }
    shift: int | None = utc_offset_us(starts[0], info)
    note = ""
    words = _offset_words(utc_offset_us(starts[0], info))
    if zone == "UTC":
        title = zone
    elif len(offsets) == 1:
        title = f"{zone} ({words})"
    elif not width.us:
        title, shift = zone, None
    else:
        title = f"{zone}, drawn at {words}"
        note = f"The clocks change in this window; the axis keeps to {words}."
    return TimeAxis(
        zone=zone,
        width=width,
        shift_us=shift,
        first_us=starts[0],
        last_us=starts[-1],
        title=title,
        note=note,
    )


def _days(first_us: int, last_us: int, zone: ZoneInfo) -> str:
    """Return the day of two instants if they share it, else their years: what the labels of an axis do not say."""
    first, last = (from_us(us).astimezone(zone) for us in (first_us, last_us))
    if first.date() == last.date():
        return f"{first:%a %d %b %Y}"
    return f"{first:%Y}" if first.year == last.year else f"{first:%Y}\u2013{last:%Y}"


def _offset_words(offset_us: int) -> str:
    minutes = abs(offset_us) // 60_000_000
    return f"UTC{'-' if offset_us < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"
