"""From a foreign record to an event: which value becomes which field.

Pure: reads no clock and no disk.  A value that cannot become what its field needs is an `InvalidEventError` with
field, value and reason; nothing is guessed.  The record itself is never changed: it travels whole, as attrs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import Any

import polars as pl

from auditkit.errors import InvalidEventError
from auditkit.event import TEXT_FIELDS
from auditkit.timerange import check_zone, from_us, instant_of_naive, to_us
from auditkit.where import Path, parse_path

EPOCH_UNITS: Mapping[str, Decimal] = MappingProxyType(
    {"s": Decimal(1_000_000), "ms": Decimal(1000), "us": Decimal(1), "ns": Decimal("0.001")}
)
"""Numbers as times: how many microseconds one unit has."""

_UNASKED = ("ts", "actor", "action", "resource", "outcome", "source", "origin", "correlation", "value")
"""Fields that take the record's key of the same name by themselves.  Not `id`: only a producer can promise it."""

_OFFSET = re.compile(r"\s+([Zz]|[+-]\d\d:?\d\d)$")

Convert = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """How one field gets its value: the first of `paths` that leads to one, else `constant`.

    `asked` is false for a key of the same name that was taken by itself; there, a value of another kind is left
    in attrs instead of refused.
    """

    name: str
    paths: tuple[Path, ...]
    constant: Any
    asked: bool
    convert: Convert

    def value(self, record: Mapping[str, Any]) -> Any:
        """Return the field's value, `None` where the record has none."""
        for path in self.paths:
            found = path.find(record)
            if found is None:
                continue
            if self.asked:
                return self.convert(self.name, found)
            with suppress(InvalidEventError):
                return self.convert(self.name, found)
        return self.constant


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMap:
    """Turns records into the mappings that `Trail.extend` takes."""

    rules: tuple[FieldRule, ...]

    def event(self, record: Mapping[str, Any], text: str) -> dict[str, Any]:
        """Return the event of a record whose JSON text is `text`; raises `InvalidEventError`.

        A record without a ts or an action is refused: when something happened is not for an importer to invent.
        """
        event: dict[str, Any] = {"attrs": text}
        for rule in self.rules:
            value = rule.value(record)
            if value is not None:
                event[rule.name] = value
        if "ts" not in event:
            raise InvalidEventError("ts", None, "missing; an import never makes up when something happened")
        if not event.get("action"):
            raise InvalidEventError("action", event.get("action"), "missing; every event names what was done")
        return event

    def instant(self, record: Mapping[str, Any]) -> int | None:
        """Return only the record's ts in microseconds, `None` where it has none that can be read."""
        try:
            value = self.rules[0].value(record)
        except InvalidEventError:
            return None
        return None if value is None else to_us(value)


def plan_mapping(
    paths: Sequence[tuple[str, str]] = (),
    constants: Mapping[str, str] | None = None,
    *,
    fields: Mapping[str, pl.DataType] | None = None,
    tz: str | None = None,
    ts_format: str = "iso",
) -> EventMap:
    """Return the map that takes `field` from `path`, for each pair; several paths of a field are tried in turn.

    A path is one of attrs: keys separated by dots (`where.parse_path`).  `constants` apply where the paths find nothing.  `fields` are the trail's declared ones.  `tz` is the
    zone of times that name none.  `ts_format` is `"iso"`, a unit of numbers since 1970 (`"s"`, `"ms"`, `"us"`,
    `"ns"`), or a pattern of `datetime.strptime`.  Raises `ValueError` for a field that cannot be mapped.

    >>> plan = plan_mapping([("ts", "time"), ("actor", "user.name")], {"action": "login"})
    >>> record = {"time": "2026-11-24T07:00:00Z", "user": {"name": "ann"}}
    >>> sorted(plan.event(record, "{}"))
    ['action', 'actor', 'attrs', 'ts']
    """
    declared = fields or {}
    constants = constants or {}
    if tz is not None:
        check_zone(tz)
    asked: dict[str, list[str]] = {}
    for name, path in paths:
        asked.setdefault(_mappable(name, declared), []).append(path)
    for name in constants:
        asked.setdefault(_mappable(name, declared), [])
    read_ts = _reader(ts_format, tz)
    rules = []
    for name in ("ts", *TEXT_FIELDS, "value", *declared):
        unasked = [name] if name in _UNASKED or name in declared else []
        chosen = asked.get(name, unasked)
        convert = read_ts if name == "ts" else _converter(name, declared, tz)
        given = constants.get(name)
        rule = FieldRule(
            name=name,
            paths=tuple(parse_path(path, name=f"path of {name}") for path in chosen),
            constant=None if given is None else convert(name, given),
            asked=name == "ts" or name in asked,
            convert=convert,
        )
        if rule.paths or given is not None:
            rules.append(rule)
    return EventMap(rules=tuple(rules))


def _mappable(name: str, declared: Mapping[str, pl.DataType]) -> str:
    allowed = ("ts", *TEXT_FIELDS, "value", *declared)
    if name in allowed:
        return name
    if name == "attrs":
        raise ValueError("attrs: cannot be mapped; it always holds the whole original record")
    if name in ("seq", "recorded"):
        raise ValueError(f"{name}: cannot be mapped; the trail assigns it")
    raise ValueError(f"{name}: not a field of an event (expected one of {', '.join(allowed)})")


def _converter(name: str, declared: Mapping[str, pl.DataType], tz: str | None) -> Convert:
    kind = declared.get(name)
    if name == "value" or kind == pl.Float64():
        return _number
    if kind == pl.Int64():
        return _integer
    if kind == pl.Boolean():
        return _boolean
    if kind is not None and kind.is_temporal():
        return _reader("iso", tz)
    return _text


def _text(name: str, value: Any) -> str:
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


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise InvalidEventError(name, value, "not a number")
    try:
        return float(value)
    except (ValueError, OverflowError) as exc:
        raise InvalidEventError(name, value, "not a number") from exc


def _integer(name: str, value: Any) -> int:
    whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (whole or isinstance(value, int | str)):
        raise InvalidEventError(name, value, "not an integer")
    try:
        return int(value)
    except ValueError as exc:
        raise InvalidEventError(name, value, "not an integer") from exc


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise InvalidEventError(name, value, "not true or false")


def _reader(ts_format: str, tz: str | None) -> Convert:
    """Return what turns a value into an aware UTC datetime."""
    if ts_format in EPOCH_UNITS:
        return lambda name, value: _from_number(name, value, ts_format)
    if ts_format == "iso":
        return lambda name, value: _from_iso(name, value, tz)
    if "%" not in ts_format:
        known = ", ".join(("iso", *EPOCH_UNITS))
        raise ValueError(f"ts format: unknown (expected {known} or a pattern with %, found {ts_format!r})")
    return lambda name, value: _from_pattern(name, value, ts_format, tz)


def _from_iso(name: str, value: Any, tz: str | None) -> datetime:
    if isinstance(value, datetime):
        return _zoned(name, value, value, tz)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InvalidEventError(name, value, "a number; its unit must be named as the ts format")
    if not isinstance(value, str):
        raise InvalidEventError(name, value, "not a moment")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        try:  # a space before the offset, a small z
            moment = datetime.fromisoformat(_OFFSET.sub(r"\1", value.strip()).upper())
        except ValueError as exc:
            raise InvalidEventError(name, value, "not an ISO 8601 moment") from exc
    return _zoned(name, value, moment, tz)


def _from_number(name: str, value: Any, unit: str) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise InvalidEventError(name, value, f"not a number of {unit} since 1970")
    try:
        us = Decimal(str(value)) * EPOCH_UNITS[unit]  # exact, as a float times a million would not be
        return from_us(int(us.to_integral_value(rounding=ROUND_FLOOR)))
    except (ArithmeticError, ValueError) as exc:
        raise InvalidEventError(name, value, f"not a number of {unit} since 1970") from exc


def _from_pattern(name: str, value: Any, pattern: str, tz: str | None) -> datetime:
    try:
        moment = datetime.strptime(value, pattern)  # noqa: DTZ007 -- _zoned sees to it
    except (ValueError, TypeError) as exc:
        raise InvalidEventError(name, value, f"does not match {pattern}") from exc
    return _zoned(name, value, moment, tz)


def _zoned(name: str, given: Any, moment: datetime, tz: str | None) -> datetime:
    if moment.tzinfo is None and tz is None:
        raise InvalidEventError(name, given, "has no time zone; say which one is meant")
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        return from_us(instant_of_naive(moment, check_zone(tz or "UTC")))
    except (OverflowError, ValueError) as exc:
        raise InvalidEventError(name, given, "outside the years 1900 to 2200") from exc
