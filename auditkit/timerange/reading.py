"""The one reading of full instants: text with date, time and zone, numbers of a stated unit, or a stated pattern.

Nothing is guessed.  Python's `fromisoformat` and `strptime` take digits that mean something else, drop what they do
not use and fill in what is missing; so the shape of a text is checked here, and what is near it is refused with a
sentence that says what would be read.  Import, append, extend, the command line and conditions all read by this.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import Any, Literal

from auditkit.errors import InvalidTimeError
from auditkit.timerange.instants import (
    LOCAL_EPOCH,
    MICROSECOND,
    check_zone,
    from_us,
    to_us,
)
from auditkit.timerange.patterns import OFFSET, Shown, offset_of, pattern_parts

OnAmbiguous = Literal["first", "second", "raise"]
"""Which pass a local time means that the clock shows twice: with `"raise"`, neither it nor a skipped one is read."""

EPOCH_UNITS: Mapping[str, Decimal] = MappingProxyType(
    {"s": Decimal(1_000_000), "ms": Decimal(1000), "us": Decimal(1), "ns": Decimal("0.001")}
)
"""Numbers as times: how many microseconds one unit has."""

EARLIEST_US = to_us(datetime(1, 1, 1, tzinfo=UTC))
LATEST_US = to_us(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
_FIRST_YEAR, _LAST_YEAR = 1971, 2200
"""What numbers since 1970 may lead to: with the unit next to the right one, no time of ours does."""

FULL_INSTANT = (
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3])(?::[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?)?)"
    rf"(?: ?({OFFSET}))?"
)
"""What a clock shows, and its offset, by ISO 8601 in its extended form, as a regular expression of two groups."""
_ISO = re.compile(FULL_INSTANT)
_PLAIN = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
"""What most logs write, and Python reads as it is meant."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_NEAR = re.compile(
    r"([0-9]{4})[-/.]?([0-9]{2})[-/.]?([0-9]{2})"
    r"(?:[Tt _:-]?([0-9]{2}):?([0-9]{2})?(?::?([0-9]{2})(?:[.,:]?([0-9]+))?)?)? ?(.*)",
    re.DOTALL,
)
_Number = str | int | float | Decimal
_EXAMPLE = "2026-11-24T07:30:00Z"


class TimeReader:
    """Reads the instants of one field or file, and counts the local times that the clock shows twice or never.

    `form` is `"iso"`, a unit of numbers since 1970 (`"s"`, `"ms"`, `"us"`, `"ns"`), or a pattern such as
    `"%d/%b/%Y:%H:%M:%S %z"`.  `tz` is the zone of what names none; without it, that is refused.  A time that the clock
    shows twice is the pass that `on_ambiguous` says; one that it skips moves forward by what was skipped.  `repeated`
    and `skipped` count both.  Raises `InvalidTimeError` for a form that cannot be read without guessing.

    >>> reader = TimeReader(tz="Europe/Berlin")
    >>> from_us(reader.read("ts", "2024-10-27 02:10:00")).isoformat(), reader.repeated
    ('2024-10-27T00:10:00+00:00', 1)
    """

    __slots__ = ("_on_ambiguous", "_parse", "_zone", "form", "repeated", "skipped")

    def __init__(
        self, *, tz: str | None = None, form: str = "iso", on_ambiguous: OnAmbiguous = "first"
    ) -> None:
        if on_ambiguous not in ("first", "second", "raise"):
            raise InvalidTimeError(
                "on_ambiguous", on_ambiguous, "unknown", expected="'first', 'second' or 'raise'"
            )
        self._zone = None if tz is None else check_zone(tz)
        self._on_ambiguous = on_ambiguous
        if form != "iso" and form not in EPOCH_UNITS and "%" not in form:
            known = ", ".join(("iso", *EPOCH_UNITS))
            raise InvalidTimeError("ts format", form, f"is unknown (expected {known} or a pattern with %)")
        self._parse = _iso_parts if form == "iso" else None if form in EPOCH_UNITS else pattern_parts(form)
        self.form = form
        self.repeated = self.skipped = 0

    def read(self, name: str, value: Any) -> int:
        """Return the instant in microseconds since 1970 UTC, floored.

        Raises `InvalidTimeError` with `name`, value and what is wrong or would be read.
        """
        if self._parse is _iso_parts and value.__class__ is str and _PLAIN.fullmatch(value):
            with suppress(ValueError):  # which the long way explains
                us = (datetime.fromisoformat(value) - _EPOCH) // MICROSECOND
                if EARLIEST_US <= us <= LATEST_US:
                    return us
        if isinstance(value, datetime):
            try:
                offset = value.utcoffset()
            except ValueError:  # of pandas' NaT
                raise InvalidTimeError(name, value, "is not a time") from None
            return self._local(name, value, value) if offset is None else _instant(name, value, value, offset)
        if self._parse is None:
            return _from_number(name, value, self.form)
        if not isinstance(value, str):
            raise InvalidTimeError(name, value, _no_text(value))
        try:
            shown, offset = self._parse(value.strip(" \t"))
        except ValueError as exc:
            raise InvalidTimeError(name, value, str(exc)) from None
        if offset is None:
            return self._local(name, value, shown)
        return _instant(name, value, shown, offset)

    def _local(self, name: str, value: Any, shown: datetime) -> int:
        """Return the instant at which the reader's zone shows a time, and count one shown twice or never."""
        zone = self._zone
        if zone is None:
            raise InvalidTimeError(name, value, "has no time zone; give one, such as Z or +01:00")
        first, second = (shown.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
        assert first is not None and second is not None  # noqa: S101, PT018 -- a ZoneInfo always knows
        if first != second:
            is_repeated = first > second  # PEP 495: in a gap it is the other way round
            if self._on_ambiguous == "raise":
                fact = "is shown twice" if is_repeated else "is skipped by the clock"
                raise InvalidTimeError(name, value, f"{fact} in {zone.key}; give its offset from UTC")
            self.repeated += is_repeated
            self.skipped += not is_repeated
            if is_repeated and self._on_ambiguous == "second":
                first = second
        return _instant(name, value, shown, first)


def _instant(name: str, value: Any, shown: datetime, offset: timedelta) -> int:
    us = (shown.replace(tzinfo=None) - LOCAL_EPOCH - offset) // MICROSECOND
    if not EARLIEST_US <= us <= LATEST_US:
        raise InvalidTimeError(name, value, "lies outside the years 1 to 9999")
    return us


def _no_text(value: Any) -> str:
    """Return what is wrong with a value that is neither text nor a datetime, where ISO text is read."""
    if isinstance(value, date):
        return "is a day, not an instant; a time of day and its zone are needed"
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return f"is a number without a unit{_as_units(value)}"
    return "is not a time (expected an aware datetime or ISO 8601 text)"


def _iso_parts(text: str) -> Shown:
    """Return what a clock shows by ISO 8601 in its extended form, and its offset; else say what would be read."""
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(_what_would_be_read(text))
    try:
        shown = datetime.fromisoformat(found[1])
    except ValueError as exc:
        raise ValueError(f"is not a time: {exc}") from None
    return shown, None if found[2] is None else offset_of(found[2])


def _what_would_be_read(text: str) -> str:
    """Return why a text is no full instant, and the nearest text that is one."""
    near = _NEAR.fullmatch(text)
    if near is not None and 1900 <= int(near[1]) < _LAST_YEAR:
        year, month, day, hour, minute, second = (int(part or 0) for part in near.groups()[:6])
        try:
            shown = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 -- shown with its own zone
        except ValueError as exc:
            return f"is not a time: {exc}"
        written = shown.isoformat() + (f".{near[7]}" if near[7] else "")
        if near[4] is None and not near[8]:
            return f"names no time of day; {written} with a zone would be read"
        if near[4] is None:
            return f"is not ISO 8601; {_EXAMPLE} would be read"
        if near[8] and not re.fullmatch(OFFSET, near[8]):
            return f"is not ISO 8601; {written} with Z or an offset such as +01:00 would be read"
        return f"is not in the extended form of ISO 8601; {written}{near[8] or ' with a zone'} would be read"
    if _NUMBER.fullmatch(text):
        return f"is a number without a unit{_as_units(text)}"
    return f"is not ISO 8601; {_EXAMPLE} would be read"


def _as_units(number: _Number) -> str:
    """Return which units make a number a time of our age, in words."""
    for unit in EPOCH_UNITS:
        try:
            us = _scaled(number, unit)
        except ValueError:
            continue
        return f"; in {unit} since 1970 it would be {from_us(us):%Y-%m-%dT%H:%M:%SZ}"
    return ""


def _scaled(number: _Number, unit: str) -> int:
    """Return a number of units since 1970 in microseconds; a `ValueError` where that is in no plausible year."""
    try:  # exact, as a float times a million would not be
        us = int((_exactly(number) * EPOCH_UNITS[unit]).to_integral_value(rounding=ROUND_FLOOR))
        year = from_us(us).year
    except (ArithmeticError, ValueError):
        raise ValueError("in no year") from None
    if not _FIRST_YEAR <= year < _LAST_YEAR:
        raise ValueError(f"in the year {year}")
    return us


def _exactly(number: _Number) -> Decimal:
    return Decimal(str(number) if isinstance(number, float) else number)


def _from_number(name: str, value: Any, unit: str) -> int:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    number = value.strip(" \t") if isinstance(value, str) else value
    if not (is_number or (isinstance(number, str) and _NUMBER.fullmatch(number))):
        raise InvalidTimeError(name, value, f"is not a number of {unit} since 1970")
    try:
        return _scaled(number, unit)
    except ValueError as exc:
        fact = f"would be {exc} as {unit} since 1970 (expected {_FIRST_YEAR} to {_LAST_YEAR})"
        raise InvalidTimeError(name, value, fact + _as_units(number)) from None
