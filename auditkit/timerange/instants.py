"""Instants: whole microseconds since 1970 in UTC, and what clocks on the wall show at them.

All arithmetic is on integers, so nothing is rounded but once, downwards, at the microsecond.
"""

import time
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar, cast
from zoneinfo import ZoneInfo, available_timezones

from auditkit.errors import InvalidTimeError
from auditkit.text import did_you_mean

T = TypeVar("T")

US_PER_SECOND = 1_000_000
US_PER_DAY = 86_400 * US_PER_SECOND

MICROSECOND = timedelta(microseconds=1)
LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- wall-clock arithmetic, its zone is held beside it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    """Return an aware datetime as microseconds since 1970 UTC, exactly; a naive one, or NaT, is an `InvalidTimeError`.

    >>> to_us(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    -1
    """
    try:
        us = (moment - _EPOCH) // MICROSECOND
    except TypeError:  # what Python says of a naive one
        raise InvalidTimeError("moment", moment, "a datetime needs a time zone") from None
    if us.__class__ is not int:  # pandas' NaT is a datetime, and what is computed with it is NaN
        raise InvalidTimeError("moment", moment, "is not a time")
    return us


def from_us(us: int) -> datetime:
    """Return the aware UTC datetime of an instant; beyond the years 1 to 9999 it is an `InvalidTimeError`.

    >>> from_us(0).isoformat()
    '1970-01-01T00:00:00+00:00'
    """
    try:
        return _EPOCH + timedelta(microseconds=us)
    except OverflowError as exc:
        raise InvalidTimeError("instant", us, "lies outside the years 1 to 9999") from exc


def in_zone(value: T, tz: str) -> T:
    """Return a value with every datetime in it shown in a zone, in fields of dataclasses and in tuples too.

    >>> in_zone((from_us(0), "text"), "Asia/Kolkata")[0].isoformat()
    '1970-01-01T05:30:00+05:30'
    """
    shown: Any = value
    if isinstance(value, datetime):
        shown = value.astimezone(check_zone(tz))
    elif isinstance(value, tuple):
        shown = tuple(in_zone(one, tz) for one in value)
    elif is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        shown = replace(value, **{name: in_zone(getattr(value, name), tz) for name in names})
    return cast(T, shown)


def check_zone(tz: str) -> ZoneInfo:
    """Return the IANA zone of this name, or raise `InvalidTimeError` naming it.

    >>> check_zone("Asia/Kolkata")
    zoneinfo.ZoneInfo(key='Asia/Kolkata')
    """
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as exc:
        near = did_you_mean(tz, available_timezones())
        error = InvalidTimeError("tz", tz, f"is not the name of a time zone on this machine{near}")
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
    return offset // MICROSECOND


def instant_of_local(local: int, zone: ZoneInfo) -> int:
    """Return the instant at which the zone's wall clock shows `local` (microseconds since its 1970-01-01 00:00).

    A time shown twice means its first pass; one that the clock skips moves forward by what was skipped (the
    reading of PEP 495 for fold=0).
    """
    try:
        us = to_us((LOCAL_EPOCH + timedelta(microseconds=local)).replace(tzinfo=zone, fold=0))
        from_us(us)  # refuses an instant that no datetime can show
    except OverflowError as exc:
        raise InvalidTimeError("instant", local, "lies outside the years 1 to 9999") from exc
    return us


def instant_of_naive(shown: datetime, zone: ZoneInfo) -> int:
    """Return the instant at which the zone's wall clock shows a datetime without a zone, as `instant_of_local` does.

    >>> instant_of_naive(datetime(1970, 1, 1, 5, 30), ZoneInfo("Asia/Kolkata"))
    0
    """
    return instant_of_local((shown - LOCAL_EPOCH) // MICROSECOND, zone)
