"""Instants, durations and half-open time ranges, in whole microseconds since 1970 in UTC.

The one place that turns what people write ("-7d", "2026-11-24", an aware datetime) into exact instants.  All
arithmetic is on integers, so nothing is rounded but once, downwards, at the microsecond; every range includes its
start and excludes its end.  A time that could mean two things is refused, never guessed.
"""

import calendar
import re
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from auditkit.errors import AuditError, shorten

US_PER_SECOND = 1_000_000
US_PER_DAY = 86_400 * US_PER_SECOND

Width = Literal["1h", "1d", "1mo"]
WIDTHS: tuple[Width, ...] = ("1h", "1d", "1mo")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- wall-clock arithmetic, its zone is held beside it
_UNIT_US = {
    "us": 1,
    "ms": 1_000,
    "s": US_PER_SECOND,
    "m": 60 * US_PER_SECOND,
    "h": 3600 * US_PER_SECOND,
}
_UNIT_DAYS = {"d": 1, "w": 7}
_UNIT_MONTHS = {"mo": 1, "q": 3, "y": 12}
_TERM = re.compile(r"([0-9]{1,18})(ns|us|µs|ms|mo|s|m|h|d|w|q|y)")
_DURATION = re.compile(rf"[+-]?(?:{_TERM.pattern})+")
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r" ?(?:([Zz])|([+-])([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2}))?)?)?)?"
)


class InvalidTimeError(AuditError, ValueError):
    """A time, duration or zone that cannot be read without guessing; `name`, `value` and `reason` say which."""

    def __init__(self, name: str, value: object, reason: str) -> None:
        self.name = name
        self.value = value
        self.reason = reason
        super().__init__(f"{name}: {reason} (found {shorten(value)})")


class Clock(Protocol):
    """Where "now" comes from, so that tests and replays can say what time it is."""

    def now_us(self) -> int:
        """Return the present moment in microseconds since 1970 UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        """Return the machine's time in microseconds since 1970 UTC, floored."""
        return time.time_ns() // 1000


def to_us(moment: datetime) -> int:
    """Return an aware datetime as microseconds since 1970 UTC, exactly; a naive one is an `InvalidTimeError`.

    >>> to_us(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    -1
    """
    try:
        return (moment - _EPOCH) // _MICROSECOND
    except TypeError:  # what Python says of a naive one
        raise InvalidTimeError("moment", moment, "a datetime needs a time zone") from None


def from_us(us: int) -> datetime:
    """Return the aware UTC datetime of an instant; beyond the years 1 to 9999 it is an `InvalidTimeError`.

    >>> from_us(0).isoformat()
    '1970-01-01T00:00:00+00:00'
    """
    try:
        return _EPOCH + timedelta(microseconds=us)
    except OverflowError as exc:
        raise InvalidTimeError("instant", us, "lies outside the years 1 to 9999") from exc


def check_zone(tz: str) -> ZoneInfo:
    """Return the IANA zone of this name, or raise `InvalidTimeError` naming it.

    >>> check_zone("Asia/Kolkata")
    zoneinfo.ZoneInfo(key='Asia/Kolkata')
    """
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as exc:
        error = InvalidTimeError("tz", tz, "is not the name of a time zone on this machine")
        error.add_note("use a name of the IANA data base, such as 'UTC' or 'Europe/Stockholm'")
        raise error from exc


def local_us(us: int, zone: ZoneInfo) -> int:
    """Return what the wall clock shows at an instant, as microseconds since its own 1970-01-01 00:00."""
    return us + utc_offset_us(us, zone)


def utc_offset_us(us: int, zone: ZoneInfo) -> int:
    """Return how far the zone's wall clock is ahead of UTC at an instant, in microseconds."""
    moment = from_us(us)
    try:
        offset = moment.astimezone(zone).utcoffset()
    except OverflowError as exc:
        raise InvalidTimeError("instant", us, "lies outside the years 1 to 9999") from exc
    assert offset is not None  # noqa: S101 -- a ZoneInfo always knows
    return offset // _MICROSECOND


def instant_of_local(local: int, zone: ZoneInfo) -> int:
    """Return the instant at which the zone's wall clock shows `local` (microseconds since its 1970-01-01 00:00).

    A time shown twice means its first pass; one that the clock skips moves forward by what was skipped (the
    reading of PEP 495 for fold=0).
    """
    try:
        us = to_us((_LOCAL_EPOCH + timedelta(microseconds=local)).replace(tzinfo=zone, fold=0))
        from_us(us)  # refuses an instant that no datetime can show
    except OverflowError as exc:
        raise InvalidTimeError("instant", local, "lies outside the years 1 to 9999") from exc
    return us


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """A signed length of time: calendar months and days, and exact microseconds, all of one sign."""

    months: int
    days: int
    us: int
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def negative(self) -> bool:
        """Whether it points backwards."""
        return self.months < 0 or self.days < 0 or self.us < 0

    @property
    def shortest_us(self) -> int:
        """A lower bound of its absolute length in microseconds: months of 28 days, days of 23 hours."""
        years, months = divmod(abs(self.months), 12)
        days = years * 365 + months * 28 + abs(self.days)
        shorter = 2 * 3600 * US_PER_SECOND if days else 0  # the clock may go forward on the way
        return days * US_PER_DAY - shorter + abs(self.us)

    def after(self, us: int, tz: str = "UTC") -> int:
        """Return the instant this much later; months and days follow the calendar of `tz`.

        >>> from_us(parse_duration("1mo").after(to_us(datetime(2026, 1, 31, tzinfo=UTC)))).isoformat()
        '2026-02-28T00:00:00+00:00'
        """
        return self._shift(us, check_zone(tz), 1)

    def before(self, us: int, tz: str = "UTC") -> int:
        """Return the instant this much earlier; months and days follow the calendar of `tz`.

        >>> from_us(parse_duration("7y").before(to_us(datetime(2024, 2, 29, tzinfo=UTC)))).isoformat()
        '2017-02-28T00:00:00+00:00'
        """
        return self._shift(us, check_zone(tz), -1)

    def _shift(self, us: int, zone: ZoneInfo, sign: int) -> int:
        if self.months or self.days:
            days, rest = divmod(local_us(us, zone), US_PER_DAY)
            days = _add_months(days, sign * self.months) + sign * self.days
            us = instant_of_local(days * US_PER_DAY + rest, zone)
        shifted = us + sign * self.us
        from_us(shifted)  # refuses what no datetime can show
        return shifted


def _add_months(days: int, months: int) -> int:
    """Return the day number some months on, clamped to the end of its month."""
    if not months:
        return days
    day = (_LOCAL_EPOCH + timedelta(days=days)).date()
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise InvalidTimeError("duration", f"{months}mo", f"leads from {day} outside the years 1 to 9999")
    last = calendar.monthrange(year, month + 1)[1]
    return (date(year, month + 1, min(day.day, last)) - _LOCAL_EPOCH.date()).days


def parse_duration(text: str, *, name: str = "duration") -> Duration:
    """Read a duration in Polars' grammar: a sign, then numbers with ns, us, ms, s, m, h, d, w, mo, q or y.

    Raises `InvalidTimeError` with `name`, value and reason.

    >>> parse_duration("-1q1h30m")
    Duration(months=-3, days=0, us=-5400000000, text='-1q1h30m')
    """
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        error = InvalidTimeError(name, text, "is not a duration")
        error.add_note("write it like '90d', '1h30m', '1mo' or '7y'")
        raise error
    months = days = us = ns = 0
    for number, unit in _TERM.findall(text):
        count = int(number)
        months += count * _UNIT_MONTHS.get(unit, 0)
        days += count * _UNIT_DAYS.get(unit, 0)
        us += count * _UNIT_US.get(unit.replace("µ", "u"), 0)
        ns += count if unit == "ns" else 0
    if ns % 1000:
        raise InvalidTimeError(name, text, "is finer than a microsecond")
    if months > 12 * 9999 or days > 366 * 9999:
        raise InvalidTimeError(name, text, "is longer than 9999 years")
    sign = -1 if text.startswith("-") else 1
    return Duration(months=sign * months, days=sign * days, us=sign * (us + ns // 1000), text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
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


def resolve(start: object, end: object, *, now_us: int, tz: str = "UTC") -> TimeRange:
    """Turn what a caller gave as start and end into a half-open range; None stays unbounded.

    Each may be an aware datetime, an ISO string, a date, or a signed duration: "-7d" is before now, "+1d" after
    `start` (as the start itself: after now).  Text without a zone and dates are read in `tz`.  Raises
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


def parse_instant(value: object, *, name: str, tz: str, now_us: int, anchor_us: int | None = None) -> int:
    """Return one instant in microseconds; `anchor_us` is what a duration with a plus sign counts from.

    Raises `InvalidTimeError` with `name`, value and reason.

    >>> parse_instant("1970-01-01 05:30", name="start", tz="Asia/Kolkata", now_us=0)
    0
    """
    zone = check_zone(tz)
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            error = InvalidTimeError(name, value, "a datetime needs a time zone")
            error.add_note(
                "give it one: datetime(..., tzinfo=ZoneInfo('Europe/Stockholm')), or pass text and tz="
            )
            raise error
        return to_us(value)
    try:
        if isinstance(value, date):
            return _start_of_day(value, zone)
        if isinstance(value, str) and _DURATION.fullmatch(value):
            return _relative(value, name=name, tz=tz, now_us=now_us, anchor_us=anchor_us)
        if isinstance(value, str):
            return _parse_iso(value, name=name, zone=zone)
    except InvalidTimeError as exc:
        if exc.name == name:
            raise
        raise InvalidTimeError(name, value, exc.reason) from exc
    raise InvalidTimeError(
        name, value, "is not a time (expected an aware datetime, a date, ISO text or a duration)"
    )


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


def _parse_iso(text: str, *, name: str, zone: ZoneInfo) -> int:
    match = _ISO.fullmatch(text)
    if match is None:
        error = InvalidTimeError(name, text, "is neither an ISO time nor a duration")
        error.add_note("write it like '2026-11-24', '2026-11-24T07:30Z' or '-7d'")
        raise error
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    below_second = int((match[7] or "")[:6].ljust(6, "0"))  # what is finer than a microsecond is floored
    try:
        shown = datetime(year, month, day, hour, minute, second, below_second)  # noqa: DTZ001 -- zone follows
        if match[8]:
            return to_us(shown.replace(tzinfo=UTC))
        if match[9]:
            hours, minutes, seconds = (int(part or 0) for part in match.groups()[9:])
            ahead = timedelta(hours=hours, minutes=minutes, seconds=seconds)
            return to_us(shown.replace(tzinfo=timezone(-ahead if match[9] == "-" else ahead)))
        if match[4] is None:
            return _start_of_day(shown.date(), zone)
        return instant_of_local((shown - _LOCAL_EPOCH) // _MICROSECOND, zone)
    except InvalidTimeError:
        raise
    except (ValueError, OverflowError) as exc:
        raise InvalidTimeError(name, text, f"is not a time: {exc}") from exc


def _start_of_day(day: date, zone: ZoneInfo) -> int:
    """Return the first instant of a local day, also where the clock skips midnight or shows it twice."""
    midnight = (day - _LOCAL_EPOCH.date()).days * US_PER_DAY
    instant = instant_of_local(midnight, zone)
    skipped = local_us(instant, zone) - midnight
    before = instant - skipped
    while (
        instant - before > 1
    ):  # the clock jumps in between: find the first instant that it shows after midnight
        middle = (before + instant) // 2
        before, instant = (before, middle) if local_us(middle, zone) >= midnight else (middle, instant)
    return instant


def partition_start(us: int, width: Width) -> int:
    """Return the start of the UTC hour, day or month that an instant lies in.

    >>> partition_start(-1, "1d") == -US_PER_DAY
    True
    """
    if width == "1h":
        return us - us % _UNIT_US["h"]
    if width == "1d":
        return us - us % US_PER_DAY
    return to_us(from_us(us).replace(day=1, hour=0, minute=0, second=0, microsecond=0))


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
    raise ValueError(f"partition: expected one of {', '.join(WIDTHS)}, found {text!r}")
