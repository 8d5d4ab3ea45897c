"""Durations as Polars writes them, in words or as a `timedelta`: calendar months and days, and exact microseconds."""

import calendar
import re
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from auditkit.errors import InvalidTimeError
from auditkit.text import counted
from auditkit.timerange.instants import (
    LOCAL_EPOCH,
    US_PER_DAY,
    US_PER_SECOND,
    check_zone,
    from_us,
    instant_of_local,
    local_us,
)

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
_WORDS = {
    "second": "s",
    "minute": "m",
    "hour": "h",
    "day": "d",
    "week": "w",
    "month": "mo",
    "quarter": "q",
    "year": "y",
}
_WORD = re.compile(rf"([0-9]) ?({'|'.join(_WORDS)})s?(?![a-z]) ?(?=[0-9]|$)", re.IGNORECASE)


class Duration(Struct, frozen=True, kw_only=True):
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

        >>> from datetime import UTC, datetime
        >>> from auditkit.timerange import to_us
        >>> from_us(parse_duration("1mo").after(to_us(datetime(2026, 1, 31, tzinfo=UTC)))).isoformat()
        '2026-02-28T00:00:00+00:00'
        """
        return self._shift(us, check_zone(tz), 1)

    def before(self, us: int, tz: str = "UTC") -> int:
        """Return the instant this much earlier; months and days follow the calendar of `tz`.

        >>> from datetime import UTC, datetime
        >>> from auditkit.timerange import to_us
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
    day = (LOCAL_EPOCH + timedelta(days=days)).date()
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise InvalidTimeError("duration", f"{months}mo", f"leads from {day} outside the years 1 to 9999")
    last = calendar.monthrange(year, month + 1)[1]
    return (date(year, month + 1, min(day.day, last)) - LOCAL_EPOCH.date()).days


def without_words(text: str) -> str | None:
    """Return the short form of a duration in words, or in its short form already; of anything else `None`.

    >>> without_words("-1 Hour 30 minutes")
    '-1h30m'
    """
    short = _WORD.sub(lambda found: found[1] + _WORDS[found[2].lower()], text)
    return short if _DURATION.fullmatch(short) else None


def parse_duration(given: str | timedelta, *, name: str = "duration") -> Duration:
    """Read a duration: a sign, then numbers with ns, us, ms, s, m, h, d, w, mo, q or y (Polars' grammar).

    The units from seconds on may be words, in either number and case: `"90 days"`, `"1 hour 30 minutes"`.  The
    whole days of a `timedelta` follow the calendar, as `d` does.  Raises `InvalidTimeError` with `name`, value and
    reason.

    >>> parse_duration("-1q1h30m")
    Duration(months=-3, days=0, us=-5400000000, text='-1q1h30m')
    >>> parse_duration("90 Days") == parse_duration(timedelta(days=90)) == parse_duration("90d")
    True
    """
    if isinstance(given, timedelta):
        return _from_timedelta(given)
    text = without_words(given) if isinstance(given, str) else None
    if text is None:
        error = InvalidTimeError(name, given, "is not a duration")
        error.add_note("write it like '90d', '90 days', '1h30m', '1mo' or '7y'")
        raise error
    months = days = us = ns = 0
    for number, unit in _TERM.findall(text):
        count = int(number)
        months += count * _UNIT_MONTHS.get(unit, 0)
        days += count * _UNIT_DAYS.get(unit, 0)
        us += count * _UNIT_US.get(unit.replace("µ", "u"), 0)
        ns += count if unit == "ns" else 0
    if ns % 1000:
        raise InvalidTimeError(name, given, "is finer than a microsecond")
    if months > 12 * 9999 or days > 366 * 9999:
        raise InvalidTimeError(name, given, "is longer than 9999 years")
    sign = -1 if text.startswith("-") else 1
    return Duration(months=sign * months, days=sign * days, us=sign * (us + ns // 1000), text=text)


def parse_keep_time(given: str | timedelta, *, name: str) -> Duration:
    """Read how long something is kept: a positive duration, where a lone `m` is asked back.

    >>> parse_keep_time("3 minutes", name="retention").text
    '180s'
    """
    keep = parse_duration(given, name=name)
    if keep.negative or keep.shortest_us <= 0:
        raise InvalidTimeError(name, given, "is not a positive duration")
    lone = re.fullmatch(r"\+?([0-9]+)m", keep.text)
    if lone is None:
        return keep
    if given == keep.text:
        minutes, months = (counted(int(lone[1]), unit) for unit in ("minute", "month"))
        error = InvalidTimeError(name, given, f"may mean {minutes} or {months}")
        error.add_note(f"months are {lone[1]}mo; for minutes write '{minutes}'")
        raise error
    return parse_duration(f"{int(lone[1]) * 60}s", name=name)


def _from_timedelta(given: timedelta) -> Duration:
    length, sign = abs(given), -1 if given < timedelta(0) else 1
    us = length.seconds * US_PER_SECOND + length.microseconds
    minutes, seconds = divmod(length.seconds, 60)
    counts = (length.days, minutes // 60, minutes % 60, seconds, length.microseconds)
    text = (
        "".join(f"{n}{unit}" for n, unit in zip(counts, ("d", "h", "m", "s", "us"), strict=True) if n) or "0d"
    )
    return Duration(months=0, days=sign * length.days, us=sign * us, text="-" * (sign < 0) + text)
