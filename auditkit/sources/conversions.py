"""What fields need, made of the values of records: times, texts, numbers; what does not fit is refused, never guessed."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from auditkit.errors import InvalidEventError, InvalidTimeError
from auditkit.timerange import OnAmbiguous, TimeReader

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
DECIMAL_MARKS = (",", ".")

Convert = Callable[[str, Any], Any]


class Times:
    """Reads the times of a file by the first of some forms that fits, and counts what was read into them."""

    def __init__(self, forms: Sequence[str], tz: str | None, on_ambiguous: OnAmbiguous) -> None:
        self._readers = [TimeReader(tz=tz, form=form, on_ambiguous=on_ambiguous) for form in forms]
        self._days_count = tz is not None and "iso" in forms
        self._days = 0

    def taken(self) -> tuple[int, int, int]:
        """Return how many local times the clock showed twice, how many never, and how many were days only; begin anew."""
        repeated = sum(reader.repeated for reader in self._readers)
        counts = repeated, sum(reader.skipped for reader in self._readers), self._days
        for reader in self._readers:
            reader.repeated = reader.skipped = 0
        self._days = 0
        return counts

    def read(self, name: str, value: Any) -> int:
        """Return a time in microseconds; raises `InvalidEventError` with what the first form says of it."""
        is_day = self._days_count and _is_day(value)
        if is_day:
            value = f"{value}T00:00:00"
        try:
            us = self._readers[0].read(name, value)
        except InvalidTimeError as exc:
            us = self._read_otherwise(name, value, exc)
        self._days += is_day
        return us

    def _read_otherwise(self, name: str, value: Any, first: InvalidTimeError) -> int:
        for reader in self._readers[1:]:
            with suppress(InvalidTimeError):
                return reader.read(name, value)
        raise InvalidEventError(name, value, first.reason) from first


def converter_of(
    name: str,
    declared: Mapping[str, pl.DataType],
    tz: str | None,
    on_ambiguous: OnAmbiguous,
    decimal: str | None = None,
) -> Convert:
    """Return what makes the value of a field out of what was found; raises `InvalidEventError`.

    `decimal` is the mark of decimals in texts of numbers, whose thousands may be in groups then.
    """
    kind = declared.get(name)
    if name == "value" or kind == pl.Float64():
        return as_number if decimal is None else _with_mark(as_number, decimal)
    if kind == pl.Int64():
        return _integer if decimal is None else _with_mark(_integer, decimal)
    if kind == pl.Boolean():
        return _boolean
    if kind is not None and kind.is_temporal():
        return Times(["iso"], tz, on_ambiguous).read
    return as_text


def _is_day(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) == len("2026-11-24") and _DAY.fullmatch(value) is not None
    return isinstance(value, date) and not isinstance(value, datetime)


def as_text(name: str, value: Any) -> str:
    """Return a value as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping | list):
        kind = "an object" if isinstance(value, Mapping) else "an array"
        raise InvalidEventError(name, value, f"{kind}, not text; map a value inside it")
    raise InvalidEventError(name, value, "not text")


def as_number(name: str, value: Any) -> float:
    """Return a value as a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise InvalidEventError(name, value, "not a number")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):  # Python reads more, such as 1_0
        raise InvalidEventError(name, value, "not a number")
    try:
        return float(value)
    except OverflowError as exc:
        raise InvalidEventError(name, value, "not a number that a float can hold") from exc


def plain_number(text: str, mark: str) -> str | None:
    """Return a number with such a decimal mark as a plain one; `None` for what is none.

    >>> plain_number("1.234,50", ","), plain_number("12,75", ","), plain_number("1.5", ","), plain_number("1,234", ".")
    ('1234.50', '12.75', None, '1234')
    """
    group = "." if mark == "," else ","
    found = re.fullmatch(
        rf"([+-]?)([0-9]+|[0-9]{{1,3}}(?:([{group} \u00a0\u202f'\u2019])[0-9]{{3}})(?:\3[0-9]{{3}})*)(?:[{mark}]([0-9]+))?",
        text.strip(),
        re.ASCII,
    )
    if found is None:
        return None
    sign, whole, _, decimals = found.groups()
    digits = re.sub("[^0-9]", "", whole)
    return f"{sign}{digits}" if decimals is None else f"{sign}{digits}.{decimals}"


def _with_mark(convert: Convert, mark: str) -> Convert:
    def read(name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return convert(name, value)
        plain = plain_number(value, mark)
        if plain is None:
            raise InvalidEventError(name, value, f"not a number with the decimal mark {mark!r}")
        return convert(name, plain)

    return read


def _integer(name: str, value: Any) -> int:
    is_text = isinstance(value, str) and _INTEGER.fullmatch(value) is not None
    is_whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (is_text or is_whole or isinstance(value, int)):
        raise InvalidEventError(name, value, "not an integer")
    return int(value)


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise InvalidEventError(name, value, "not true or false")
