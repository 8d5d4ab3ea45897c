"""The one place that decides whether an input may become an event.

Rows are tuples in the order of `EventSchema.row_columns` (the schema without seq and recorded), with times as
integer microseconds since 1970 UTC, and at their end a token: what tells a retry of the same event from another
one, `None` for events without an id.  Validation never changes what it was given beyond the documented
normalisation, and raises before anything is written.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from auditkit.errors import InvalidEventError
from auditkit.event.schema import (
    DICTIONARY_COLUMNS,
    FIRST_US,
    LAST_US,
    MAX_ATTRS_BYTES,
    MAX_ATTRS_DEPTH,
    MAX_TEXT_BYTES,
    OWN_SOURCE,
    SCHEMA,
    TEXT_FIELDS,
    field_type_name,
)
from auditkit.timerange import check_zone, parse_instant, to_us

Row = tuple[Any, ...]
_EVENT_KEYS = frozenset((*TEXT_FIELDS, "ts", "value", "attrs"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What validation measures a `ts` against: the trail's clock and its tolerance ahead, in microseconds."""

    now_us: int
    max_ahead_us: int
    tz: str | None = None


@dataclass(frozen=True, slots=True)
class EventSchema:
    """The columns of one trail: the common ones and the declared extra `fields`."""

    fields: Mapping[str, pl.DataType] = field(default_factory=dict)
    kinds: Sequence[tuple[str, str]] = field(init=False, repr=False, compare=False)
    """The declared fields with the names of their types."""

    def __post_init__(self) -> None:
        kinds = [(name, field_type_name(dtype)) for name, dtype in self.fields.items()]
        object.__setattr__(self, "kinds", kinds)

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """All columns as they leave the trail, in order."""
        return {**SCHEMA, **self.fields}

    @property
    def stored(self) -> dict[str, pl.DataType]:
        """All columns as queries see them inside, dictionaries as `Categorical`."""
        return {
            name: pl.Categorical() if name in DICTIONARY_COLUMNS else dtype
            for name, dtype in self.columns.items()
        }

    @property
    def row_columns(self) -> tuple[str, ...]:
        """The columns of a row: what a producer decides."""
        return tuple(name for name in self.columns if name not in ("seq", "recorded"))

    def row(self, given: Mapping[str, Any], rules: Rules, *, own: bool = False, spill: bool = False) -> Row:
        """Validate one event and return its row.

        With `spill`, keys that are no field go into attrs (as `extend` does); without, they are refused.
        Raises `InvalidEventError` naming field, value and reason.
        """
        attrs = given.get("attrs")
        if not given.keys() <= _EVENT_KEYS and (extra := given.keys() - _EVENT_KEYS - self.fields.keys()):
            if not spill:
                name = min(extra, key=str)
                raise InvalidEventError(str(name), given[name], "not a field of an event; put it into attrs")
            attrs = _spill(given, extra, attrs)
        texts = [
            _text(name, value) if (value := given.get(name)) is not None else None for name in TEXT_FIELDS
        ]
        ts = given.get("ts")
        if not texts[1]:
            raise InvalidEventError("action", given.get("action"), "missing; every event names what was done")
        if texts[4] == OWN_SOURCE and not own:
            raise InvalidEventError("source", OWN_SOURCE, "reserved for the trail's own events")
        row = (
            _ts(ts, rules),
            *texts,
            _number("value", given.get("value")),
            _attrs(attrs),
            *[_declared(name, kind, given.get(name), rules) for name, kind in self.kinds],
        )
        return (*row, None if texts[7] is None else token_of(texts[4], texts[7], row, defaulted=ts is None))


KEY_BYTES = 16
BODY_BYTES = 8
_SURELY_FITS = MAX_TEXT_BYTES // 4


def token_of(source: str | None, key: str, row: Row, *, defaulted: bool) -> bytes:
    """Return the digests of (source, id) and of the body; a ts that the trail filled in is no part of the body."""
    body = (None, *row[1:]) if defaulted else row
    encode = msgspec.msgpack.encode
    return (
        hashlib.blake2b(encode((source, key)), digest_size=KEY_BYTES).digest()
        + hashlib.blake2b(encode(body), digest_size=BODY_BYTES).digest()
    )


def _spill(given: Mapping[str, Any], extra: set[str], attrs: Any) -> dict[str, Any]:
    for name in ("seq", "recorded"):
        if name in extra:
            raise InvalidEventError(name, given[name], "assigned by the trail, not by producers")
    if isinstance(attrs, str):
        attrs = _decode_object(attrs)
    if attrs is not None and not isinstance(attrs, Mapping):
        raise InvalidEventError("attrs", attrs, "not a mapping or a JSON object")
    merged = dict(attrs or {})
    for name in given:  # the order given, so that equal inputs give equal attrs
        if name not in extra:
            continue
        if not isinstance(name, str):
            raise InvalidEventError("attrs", name, "key is not text")
        if name in merged:
            raise InvalidEventError(name, given[name], "given twice: as a key of the row and inside attrs")
        merged[name] = given[name]
    return merged


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidEventError(name, value, "not text")
    if len(value) <= _SURELY_FITS and value.isascii():
        return value
    size = len(value) if value.isascii() else len(_encoded(name, value))
    if size > MAX_TEXT_BYTES:
        raise InvalidEventError(name, value, f"longer than {MAX_TEXT_BYTES} bytes of UTF-8 ({size})")
    return value


def _encoded(name: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        raise InvalidEventError(name, value, "holds a lone surrogate, which UTF-8 cannot express") from exc


def _ts(value: Any, rules: Rules) -> int:
    if value is None:
        return rules.now_us
    us = _instant("ts", value, rules)
    if us > rules.now_us + rules.max_ahead_us:
        ahead = (us - rules.now_us) / 1e6
        raise InvalidEventError(
            "ts", value, f"{ahead:.0f} s ahead of the clock, more than the trail tolerates"
        )
    return us


def _instant(name: str, value: Any, rules: Rules) -> int:
    if isinstance(value, datetime):
        if value.tzinfo is None and rules.tz is not None:
            value = value.replace(tzinfo=check_zone(rules.tz))
        if value.utcoffset() is None:
            raise InvalidEventError(name, value, "has no time zone; give one, or name it with tz=")
        us = to_us(value)
    elif isinstance(value, str):
        us = _parsed_instant(name, value, rules)
    else:
        raise InvalidEventError(name, value, "not an aware datetime or an ISO 8601 text")
    if not FIRST_US <= us < LAST_US:
        raise InvalidEventError(name, value, "outside the years 1900 to 2200")
    return us


def _parsed_instant(name: str, value: str, rules: Rules) -> int:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as exc:
        raise InvalidEventError(name, value, "not an ISO 8601 moment") from exc
    if moment.tzinfo is not None:
        return to_us(moment)
    if rules.tz is None:
        raise InvalidEventError(name, value, "has no time zone; give one, or name it with tz=")
    return parse_instant(value, name=name, tz=rules.tz, now_us=rules.now_us)


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        raise InvalidEventError(name, value, "not a number")
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError) as exc:
        raise InvalidEventError(name, value, "not a number that a float can hold") from exc
    if not math.isfinite(number):
        raise InvalidEventError(name, value, "not finite")
    return number


def _attrs(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        raw = value.encode() if value.isascii() else _encoded("attrs", value)
        if len(raw) > MAX_ATTRS_BYTES:
            raise InvalidEventError(
                "attrs", value, f"longer than {MAX_ATTRS_BYTES} bytes of UTF-8 ({len(raw)})"
            )
        text, decoded = value, _decode_object(value)
    elif isinstance(value, Mapping):
        text, decoded = _encode_object(value)
    else:
        raise InvalidEventError("attrs", value, "not a mapping or a JSON object")
    if text.count("{") + text.count("[") > MAX_ATTRS_DEPTH and _depth(decoded) > MAX_ATTRS_DEPTH:
        raise InvalidEventError("attrs", value, f"nested deeper than {MAX_ATTRS_DEPTH} levels")
    return text


def _decode_object(text: str) -> Mapping[str, Any]:
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as exc:
        raise InvalidEventError("attrs", text, f"not JSON: {_first_line(exc)}") from exc
    if not isinstance(decoded, dict):
        raise InvalidEventError("attrs", text, "not a JSON object")
    return decoded


def _encode_object(value: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    try:
        raw = msgspec.json.encode(value if isinstance(value, dict) else dict(value))
    except (TypeError, ValueError, RecursionError, OverflowError) as exc:
        raise InvalidEventError("attrs", value, f"cannot be written as JSON: {_first_line(exc)}") from exc
    if len(raw) > MAX_ATTRS_BYTES:
        raise InvalidEventError("attrs", value, f"longer than {MAX_ATTRS_BYTES} bytes of UTF-8 ({len(raw)})")
    if b"null" in raw and _has_non_finite(value):
        raise InvalidEventError(
            "attrs", value, "holds a number that is not finite, which JSON cannot express"
        )
    return raw.decode(), value


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_non_finite, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_has_non_finite, value))
    return False


def _depth(value: Any) -> int:
    """Levels of nesting, counted breadth first so that hostile depth cannot exhaust the stack."""
    depth, level = 0, [value]
    while containers := [
        item for item in level if isinstance(item, Mapping | list | tuple | set | frozenset)
    ]:
        depth += 1
        level = [
            inner for item in containers for inner in (item.values() if isinstance(item, Mapping) else item)
        ]
    return depth


def _declared(name: str, kind: str, value: Any, rules: Rules) -> Any:
    """Validate the value of a declared field, whose type goes by its name in `FIELD_TYPES`."""
    if value is None:
        return None
    if kind == "string":
        return _text(name, value)
    if kind == "float":
        return _number(name, value)
    if kind == "boolean":
        if not isinstance(value, bool):
            raise InvalidEventError(name, value, "not True or False")
        return value
    if kind == "integer":
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise InvalidEventError(name, value, "not an integer of 64 bits")
        return int(value)
    return _instant(name, value, rules)


def _first_line(exc: BaseException) -> str:
    return str(exc).splitlines()[0] if str(exc) else type(exc).__name__
