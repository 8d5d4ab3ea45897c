"""Times on an axis: always drawn as `utc`, moved by the zone of the frame, and the zone named.

Vega knows two zones, UTC and the one of whoever looks.  Only the first is used, so that a chart shows the same
hours to every reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import polars as pl

from auditkit.charts.figure import Clock, Spec
from auditkit.timerange import Duration, check_zone, from_us, parse_duration, to_us, utc_offset_us

US_PER_HOUR = 3_600_000_000
_FLUSH = 40
"""Labels that are nearer than so many pixels to an end of the axis are kept inside it."""

_FORMAT = {
    "milliseconds": ".%L",
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


def zone_of(ts: pl.Series) -> str:
    """Return the zone of a column of times; one without a zone is a `ValueError`."""
    zone = ts.dtype.time_zone if isinstance(ts.dtype, pl.Datetime) else None
    if zone is None:
        raise ValueError(
            f"{ts.name}: not a time with a zone (expected Datetime with a zone, found {ts.dtype})"
        )
    return zone


def instants(ts: pl.Series) -> pl.Series:
    """Return a column of times as microseconds since 1970 UTC."""
    return ts.dt.cast_time_unit("us").cast(pl.Int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAxis:
    """Where instants lie on the axis, the first and last of them, its title, and a note where that needs explaining.
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
        axis = {"format": _FORMAT, "tickCount": 8, "labelOverlap": True, "labelFlush": _FLUSH}
        first_us = self.first_us if start is None or end is None else to_us(start)
        last_us = self.last_us if start is None or end is None else to_us(end) - 1
        title = f"{_days(first_us, last_us, check_zone(self.zone))}, {self.title}"
        return {"field": "from", "type": "temporal", "scale": scale, "axis": axis, "title": title}

    def tooltip(self) -> Spec:
        """Return the tooltip channel for where a bucket starts."""
        unit = "utcyearmonthdatehoursminutes"  # else it would be said in the zone of whoever looks
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
    return _axis(zone_of(ts), parse_duration(every, name="every"), instants(ts).unique().sort().to_list())


def instant_axis(ts: pl.Series) -> TimeAxis:
    """Return the axis for single instants, at least one, in a column with a zone; as in `time_axis`."""
    hours = (instants(ts) // US_PER_HOUR * US_PER_HOUR).unique().sort().to_list()
    return _axis(zone_of(ts), parse_duration("1h"), hours)


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
