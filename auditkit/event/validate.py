"""The one place that decides whether an input may become an event.

Rows are tuples in the order of `EventSchema.row_columns` (the schema without seq and recorded), with times as
integer microseconds since 1970 UTC, and at their end whether the ts was filled in.  Validation never changes what it was given beyond the documented
normalisation, and raises before anything is written.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct, field

from auditkit.errors import InvalidEventError, InvalidTimeError
from auditkit.event.attrs import SURELY_FLAT, check_object, checked_attrs, plain_scalar, spilled_attrs, utf8
from auditkit.event.schema import (
    DICTIONARY_COLUMNS,
    FIRST_US,
    LAST_US,
    MAX_TEXT_BYTES,
    OWN_SOURCE,
    SCHEMA,
    TEXT_FIELDS,
    field_type_name,
)
from auditkit.text import did_you_mean
from auditkit.timerange import TimeReader, to_us

Row = tuple[Any, ...]
SOURCE_AT, ID_AT = 5, 8
"""Where a row has its source and its id."""
_SUSPECT = (msgspec.DecodeError, InvalidEventError, InvalidTimeError, TypeError, UnicodeEncodeError)

_with_zone = TimeReader().read
_encode = msgspec.msgpack.Encoder().encode
_convert, _values_of = msgspec.convert, msgspec.structs.astuple

_SHORT = MAX_TEXT_BYTES // 4
"""So many characters fit, whatever they are."""
_Text = Annotated[str, msgspec.Meta(max_length=_SHORT)] | None
_Action = Annotated[str, msgspec.Meta(min_length=1, max_length=_SHORT)]
_Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)] | None
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None
_KINDS: dict[str, Any] = {
    "string": _Text,
    "float": _Finite,
    "integer": _Integer,
    "boolean": bool | None,
    "datetime": None,  # anything but null is suspect
}


class Rules(Struct, frozen=True, kw_only=True):
    """What validation measures a `ts` against: the trail's clock and its tolerance ahead, in microseconds."""

    now_us: int
    max_ahead_us: int
    tz: str | None = None


class EventSchema(Struct, frozen=True, dict=True):
    """The columns of one trail: the common ones and the declared extra `fields`."""

    fields: Mapping[str, pl.DataType] = field(default_factory=dict)

    @cached_property
    def columns(self) -> Mapping[str, pl.DataType]:
        """All columns as they leave the trail, in order."""
        return {**SCHEMA, **self.fields}

    @cached_property
    def row_columns(self) -> Sequence[str]:
        """The columns of a row: what a producer decides."""
        return tuple(name for name in self.columns if name not in ("seq", "recorded"))

    @cached_property
    def row_kinds(self) -> tuple[tuple[str, str], ...]:
        """The columns of a row with the names of their types."""
        return tuple((name, field_type_name(self.columns[name])) for name in self.row_columns)

    @cached_property
    def kinds(self) -> Sequence[tuple[str, str]]:
        """The declared fields with the names of their types."""
        return [(name, field_type_name(dtype)) for name, dtype in self.fields.items()]

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(self.row_columns)

    @cached_property
    def _shape(self) -> type[Struct]:
        return _plain_shape(self.kinds)

    @property
    def stored(self) -> dict[str, pl.DataType]:
        """All columns as queries see them inside, dictionaries as `Categorical`."""
        return {
            name: pl.Categorical() if name in DICTIONARY_COLUMNS else dtype
            for name, dtype in self.columns.items()
        }

    def row(self, given: Mapping[str, Any], rules: Rules, *, own: bool = False, spill: bool = False) -> Row:
        """Validate one event and return its row.

        With `spill`, keys that are no field go into attrs (as `extend` does); without, they are refused.
        Raises `InvalidEventError` naming field, value and reason.
        """
        if spill and not given.keys() <= self._keys:
            given = self._spilled(given)
        try:
            row = self._plain_row(given, rules)
            if row[SOURCE_AT] == OWN_SOURCE and not own:
                raise InvalidEventError("source", OWN_SOURCE, "reserved for the trail's own events")
        except _SUSPECT:
            row = self._suspect_row(given, rules, own=own)
        return (*row, given.get("ts") is None)

    def _plain_row(self, given: Mapping[str, Any], rules: Rules) -> Row:
        """Return the row of an event that passes the fast path; one of `_SUSPECT` where it does not."""
        event: Any = _convert(given, self._shape)
        ts, attrs, now_us = event.ts, event.attrs, rules.now_us
        us = event.ts = now_us if ts is None else _with_zone("ts", ts) if ts.__class__ is str else to_us(ts)
        if not FIRST_US <= us < LAST_US or us - now_us > rules.max_ahead_us:
            raise InvalidTimeError("ts", ts, "out of bounds")
        if attrs.__class__ is str and len(attrs) <= SURELY_FLAT:
            check_object(attrs)
        else:
            event.attrs = checked_attrs(attrs)
        row = _values_of(event)
        _encode(row)  # where text holds what UTF-8 cannot express, or is not just a `str`
        return row

    def _suspect_row(self, given: Mapping[str, Any], rules: Rules, *, own: bool) -> Row:
        """Return the row of a suspect event, or raise `InvalidEventError` with what is wrong with it."""
        if extra := given.keys() - self._keys:
            name = min(extra, key=str)
            near = did_you_mean(name, self._keys)
            raise InvalidEventError(
                str(name), given[name], f"not a field of an event{near or '; put it into attrs'}"
            )
        given = {name: plain_scalar(value) for name, value in given.items()}
        texts = [_text(name, given.get(name)) for name in TEXT_FIELDS]
        if not texts[1]:
            raise InvalidEventError("action", given.get("action"), "missing; every event names what was done")
        if texts[4] == OWN_SOURCE and not own:
            raise InvalidEventError("source", OWN_SOURCE, "reserved for the trail's own events")
        return (
            _ts(given.get("ts"), rules),
            *texts,
            _number("value", given.get("value")),
            checked_attrs(given.get("attrs")),
            *[_declared(name, kind, given.get(name), rules) for name, kind in self.kinds],
        )

    def _spilled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event whose keys that are no field have gone into its attrs."""
        known = {name: value for name, value in given.items() if name in self._keys}
        known["attrs"] = spilled_attrs(given, given.keys() - self._keys, given.get("attrs"))
        return known


def _plain_shape(declared: Sequence[tuple[str, str]]) -> type[Struct]:
    """Return the class to which `msgspec.convert` brings a plain event, its fields in the order of a row.

    `declared` are the extra fields with the names of their types.  The class may suspect a good event, never pass a
    bad one.  It leaves open the times, the attrs, and whether text can be expressed in UTF-8.
    """
    texts: list[Any] = [(name, _Text, None) for name in TEXT_FIELDS if name != "action"]
    texts.insert(TEXT_FIELDS.index("action"), ("action", _Action, msgspec.NODEFAULT))
    common = [("ts", Any, None), *texts, ("value", _Finite, None), ("attrs", Any, None)]
    others = [(name, _KINDS[kind], None) for name, kind in declared]
    return msgspec.defstruct(
        "PlainEvent", [*common, *others], kw_only=True, forbid_unknown_fields=True, gc=False
    )


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidEventError(name, value, "not text")
    size = len(utf8(name, value))
    if size > MAX_TEXT_BYTES:
        raise InvalidEventError(name, value, f"longer than {MAX_TEXT_BYTES} bytes of UTF-8 ({size})")
    return str.__str__(value)  # the text itself, also of a subclass that shows another one


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
    if isinstance(value, np.datetime64) and not np.isnat(value):
        is_day = np.datetime_data(value.dtype)[0] in ("Y", "M", "W", "D")
        value = value.astype("M8[D]" if is_day else "M8[us]").item()
    try:
        us = TimeReader(tz=rules.tz).read(name, value)
    except InvalidTimeError as exc:
        error = InvalidEventError(name, value, exc.reason)
        if rules.tz is None and exc.reason.startswith("has no time zone"):
            error.add_note("or name the zone of all such times: tz='Europe/Stockholm', --tz Europe/Stockholm")
        raise error from None
    if not FIRST_US <= us < LAST_US:
        raise InvalidEventError(name, value, "outside the years 1900 to 2200")
    return us


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
