"""Half-open ranges of time, reading what people write as their bounds, and the partitions of a trail.

A range includes its start and excludes its end.  A time that could mean two things is refused, never guessed.
"""

import re
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from auditkit.errors import InvalidTimeError
from auditkit.timerange.durations import parse_duration, without_words
from auditkit.timerange.instants import (
    LOCAL_EPOCH,
    US_PER_DAY,
    US_PER_SECOND,
    check_zone,
    from_us,
    instant_of_local,
    local_us,
    to_us,
)
from auditkit.timerange.reading import TimeReader

Moment = str | datetime | date
"""A time as people give it: ISO text, a signed duration, `"today"` or `"yesterday"`, an aware datetime, or a date."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAYS_BACK = {"today": 0, "yesterday": 1}


class TimeRange(Struct, frozen=True, kw_only=True):
    """The instants with start_us <= t < end_us; None is unbounded on that side."""

    start_us: int | None
    end_us: int | None

    def contains(self, us: int) -> bool:
        """Whether the instant lies inside."""
        return (self.start_us is None or self.start_us <= us) and (self.end_us is None or us < self.end_us)

    def overlaps(self, lo: int, hi: int) -> bool:
        """Whether any instant of lo..hi, both included, may lie inside."""
        return (self.start_us is None or self.start_us <= hi) and (self.end_us is None or lo < self.end_us)

    def intersection(self, other: "TimeRange") -> "TimeRange":
        """Return the instants that lie in both."""
        starts = [us for us in (self.start_us, other.start_us) if us is not None]
        ends = [us for us in (self.end_us, other.end_us) if us is not None]
        return TimeRange(start_us=max(starts, default=None), end_us=min(ends, default=None))

    @property
    def is_empty(self) -> bool:
        """Whether no instant lies inside."""
        return self.start_us is not None and self.end_us is not None and self.start_us >= self.end_us

    def describe(self, tz: str = "UTC") -> str:
        """Return the range in words, its bounds shown in `tz`.

        >>> TimeRange(start_us=0, end_us=None).describe("Asia/Kolkata")
        'from 1970-01-01T05:30:00+05:30 on'
        """
        zone = check_zone(tz)
        bounds = [None if us is None else from_us(us).astimezone(zone) for us in (self.start_us, self.end_us)]
        start, end = ("" if moment is None else moment.isoformat() for moment in bounds)
        if start and end:
            return f"from {start} until before {end}"
        return f"from {start} on" if start else f"before {end}" if end else "all time"


EVERYTHING = TimeRange(start_us=None, end_us=None)


def resolve(start: object, end: object, *, now_us: int, tz: str = "UTC") -> TimeRange:
    """Turn what a caller gave as start and end into a half-open range; None stays unbounded.

    Each may be an aware datetime, an ISO string, a date, "today" or "yesterday" (when that day begins, in any case),
    or a signed duration: "-7d" and "-90 days" are before now, "+1d" after `start` (as the start itself: after now).
    Text without a zone, dates and days are read in `tz`.  Raises
    `InvalidTimeError` naming the argument for anything else, and where the start lies after the end.

    >>> resolve(date(2026, 11, 24), "+1d", now_us=0).describe()
    'from 2026-11-24T00:00:00+00:00 until before 2026-11-25T00:00:00+00:00'
    """
    check_zone(tz)  # also where both bounds are missing
    start_us = (
        None if start is None else parse_instant(start, name="start", tz=tz, now_us=now_us, anchor_us=now_us)
    )
    end_us = None if end is None else parse_instant(end, name="end", tz=tz, now_us=now_us, anchor_us=start_us)
    if start_us is not None and end_us is not None and start_us > end_us:
        found = TimeRange(start_us=start_us, end_us=end_us).describe(tz)
        raise InvalidTimeError("start", start, f"lies after the end: {found}")
    return TimeRange(start_us=start_us, end_us=end_us)


def counts_from_now(bound: object) -> bool:
    """Return whether a bound is read by what time it is now.

    >>> [counts_from_now(bound) for bound in ("-7d", "Today", "2026-11-24", None)]
    [True, True, False, False]
    """
    return isinstance(bound, str) and (bound.lower() in _DAYS_BACK or bound[:1] in ("-", "+"))


def parse_instant(value: object, *, name: str, tz: str, now_us: int, anchor_us: int | None = None) -> int:
    """Return one instant in microseconds; `anchor_us` is what a duration with a plus sign counts from.

    Raises `InvalidTimeError` with `name`, value and reason.

    >>> parse_instant("1970-01-01 05:30", name="start", tz="Asia/Kolkata", now_us=0)
    0
    """
    zone = check_zone(tz)
    if isinstance(value, datetime):
        try:
            return to_us(value)
        except InvalidTimeError as exc:
            error = InvalidTimeError(name, value, exc.reason)
            error.add_note(
                "give it a zone: datetime(..., tzinfo=ZoneInfo('Europe/Stockholm')), or pass text and tz="
            )
            raise error from None
    try:
        if isinstance(value, date):
            return _start_of_day(value, zone)
        if isinstance(value, str):
            return _from_text(value, name=name, tz=tz, now_us=now_us, anchor_us=anchor_us)
    except InvalidTimeError as exc:
        if exc.name == name:
            raise
        raise InvalidTimeError(name, value, exc.reason) from exc
    raise InvalidTimeError(
        name, value, "is not a time (expected an aware datetime, a date, ISO text or a duration)"
    )


def _from_text(text: str, *, name: str, tz: str, now_us: int, anchor_us: int | None) -> int:
    zone = check_zone(tz)
    days_back = _DAYS_BACK.get(text.lower())
    if days_back is not None:
        return _start_of_day(from_us(now_us).astimezone(zone).date() - timedelta(days=days_back), zone)
    if without_words(text) is not None:
        return _relative(text, name=name, tz=tz, now_us=now_us, anchor_us=anchor_us)
    try:
        if _DATE.fullmatch(text):
            return _start_of_day(date.fromisoformat(text), zone)
        return TimeReader(tz=tz).read(name, text)
    except InvalidTimeError as exc:
        exc.add_note(
            "write it like '2026-11-24', '2026-11-24T07:30Z', '-7d', '-90 days', 'today' or 'yesterday'"
        )
        raise
    except ValueError as exc:
        raise InvalidTimeError(name, text, f"is not a time: {exc}") from exc


def _relative(text: str, *, name: str, tz: str, now_us: int, anchor_us: int | None) -> int:
    duration = parse_duration(text, name=name)
    if text[0] == "-":
        return duration.after(now_us, tz)
    if text[0] != "+":
        error = InvalidTimeError(name, text, "a duration used as a time needs a sign")
        error.add_note(f"'-{text}' is before now, '+{text}' is after the start")
        raise error
    if anchor_us is None:
        raise InvalidTimeError(name, text, "there is no start to count from")
    return duration.after(anchor_us, tz)


def _start_of_day(day: date, zone: ZoneInfo) -> int:
    """Return the first instant of a local day, also where the clock skips midnight or shows it twice."""
    midnight = (day - LOCAL_EPOCH.date()).days * US_PER_DAY
    instant = instant_of_local(midnight, zone)
    skipped = local_us(instant, zone) - midnight
    before = instant - skipped
    while (
        instant - before > 1
    ):  # the clock jumps in between: find the first instant that it shows after midnight
        middle = (before + instant) // 2
        before, instant = (before, middle) if local_us(middle, zone) >= midnight else (middle, instant)
    return instant


Width = Literal["1h", "1d", "1mo"]
WIDTHS: tuple[Width, ...] = ("1h", "1d", "1mo")


def partition_start(us: int, width: Width) -> int:
    """Return the start of the UTC hour, day or month that an instant lies in.

    >>> partition_start(-1, "1d") == -US_PER_DAY
    True
    """
    if width == "1h":
        return us - us % (3600 * US_PER_SECOND)
    if width == "1d":
        return us - us % US_PER_DAY
    return to_us(from_us(us).replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def partition_end(us: int, width: Width) -> int:
    """Return the end (exclusive) of the UTC hour, day or month that an instant lies in.

    >>> partition_end(-1, "1d")
    0
    """
    return parse_duration(width).after(partition_start(us, width))


def partition_name(us: int, width: Width) -> str:
    """Return the folder name of the partition that an instant lies in; names sort like time.

    >>> partition_name(0, "1d"), partition_name(0, "1h"), partition_name(0, "1mo")
    ('1970-01-01', '1970-01-01T00', '1970-01')
    """
    text = from_us(us).isoformat()
    return text[: {"1h": 13, "1d": 10, "1mo": 7}[width]]


def check_width(text: str) -> Width:
    """Return `text` as a partition width; another one is a `ValueError`.

    >>> check_width("1d")
    '1d'
    """
    for width in WIDTHS:
        if text == width:
            return width
    raise InvalidTimeError("partition", text, "unknown width", expected=f"one of {', '.join(WIDTHS)}")
