"""What may become an event, and what is refused with which words."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from auditkit.errors import InvalidEventError
from auditkit.event import (
    FIRST_US,
    LAST_US,
    MAX_ATTRS_BYTES,
    MAX_TEXT_BYTES,
    EventSchema,
    Row,
    Rules,
    check_fields,
)
from auditkit.timerange import from_us, to_us

NOW = to_us(datetime(2026, 11, 24, 8, tzinfo=UTC))
DAY = 86_400_000_000
RULES = Rules(now_us=NOW, max_ahead_us=DAY)
DEEP = '{"a":' * 64 + "1" + "}" * 64


def nested(depth: int) -> dict[str, Any]:
    """Return a mapping nested so deep, around a null."""
    inner: dict[str, Any] | None = None
    for _ in range(depth):
        inner = {"a": inner}
    assert inner is not None
    return inner


def row(given: Mapping[str, Any], *, spill: bool = False, tz: str | None = None) -> dict[str, Any]:
    """Validate with the common schema and name the columns again."""
    schema = EventSchema()
    values = schema.row(given, Rules(now_us=NOW, max_ahead_us=DAY, tz=tz), spill=spill)
    return dict(zip((*schema.row_columns, "token"), values, strict=True))


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        ({}, "action", "missing"),
        ({"action": None}, "action", "missing"),
        ({"action": ""}, "action", "missing"),
        ({"action": 3}, "action", "not text"),
        ({"action": "a", "actor": 7}, "actor", "not text"),
        ({"action": "a", "actor": "\ud800"}, "actor", "lone surrogate"),
        ({"action": "a", "resource": "x" * (MAX_TEXT_BYTES + 1)}, "resource", "longer than"),
        ({"action": "a", "resource": "å" * (MAX_TEXT_BYTES // 2 + 1)}, "resource", "longer than"),
        ({"action": "a", "source": "auditkit"}, "source", "reserved"),
        ({"action": "a", "colour": "red"}, "colour", "not a field"),
        ({"action": "a", "seq": 4}, "seq", "not a field"),
        ({"action": "a", "ts": datetime(2026, 1, 1)}, "ts", "no time zone"),  # noqa: DTZ001 -- what is refused
        ({"action": "a", "ts": "2026-01-01 00:00"}, "ts", "no time zone"),
        ({"action": "a", "ts": "yesterday"}, "ts", "ISO 8601"),
        ({"action": "a", "ts": pd.NaT}, "ts", "is not a time"),
        ({"action": "a", "ts": np.datetime64("NaT")}, "ts", "is not a time"),
        ({"action": "a", "ts": np.datetime64("2024-01-12T01:30")}, "ts", "has no time zone"),
        ({"action": "a", "ts": np.datetime64("2024-01-12")}, "ts", "is a day, not an instant"),
        (
            {"action": "a", "ts": 1_700_000_000},
            "ts",
            "a number without a unit; in s since 1970 it would be 2023-11-14",
        ),
        ({"action": "a", "ts": from_us(FIRST_US - 1)}, "ts", "outside the years"),
        ({"action": "a", "ts": from_us(LAST_US)}, "ts", "outside the years"),
        ({"action": "a", "ts": from_us(NOW + DAY + 1)}, "ts", "ahead of the clock"),
        ({"action": "a", "value": float("nan")}, "value", "not finite"),
        ({"action": "a", "value": float("-inf")}, "value", "not finite"),
        ({"action": "a", "value": "3"}, "value", "not a number"),
        ({"action": "a", "value": True}, "value", "not a number"),
        ({"action": "a", "value": 10**400}, "value", "not a number that a float can hold"),
        ({"action": "a", "attrs": "[1]"}, "attrs", "not a JSON object"),
        ({"action": "a", "attrs": "{'a': 1}"}, "attrs", "not JSON"),
        ({"action": "a", "attrs": '{"a": NaN}'}, "attrs", "not JSON"),
        ({"action": "a", "attrs": [1]}, "attrs", "not a mapping"),
        ({"action": "a", "attrs": {"x": float("inf")}}, "attrs", "not finite"),
        ({"action": "a", "attrs": {"x": object()}}, "attrs", "cannot be written as JSON"),
        ({"action": "a", "attrs": {"x": "\udfff"}}, "attrs", "cannot be written as JSON"),
        ({"action": "a", "attrs": {"x": "y" * MAX_ATTRS_BYTES}}, "attrs", "longer than"),
        ({"action": "a", "attrs": nested(500)}, "attrs", "nested deeper"),
        ({"action": "a", "attrs": nested(2_000)}, "attrs", "JSON"),
        ({"action": "a", "attrs": '{"a":' * 900 + "null" + "}" * 900}, "attrs", "nested deeper"),
        ({"action": nested(2_000)}, "action", "not text"),
        ({"action": "a", "value": nested(100_000)}, "value", "not a number"),
        ({"action": "a", "attrs": '{"a":' + DEEP + "}"}, "attrs", "nested deeper"),
        ({"action": "a", "attrs": '{"a":' * 100_000 + "1" + "}" * 100_000}, "attrs", "not JSON"),
    ],
)
def test_refusals_name_field_and_reason(given: dict[str, Any], field: str, reason: str) -> None:
    """A bad input is refused with its field, its value and the reason."""
    with pytest.raises(InvalidEventError) as caught:
        row(given)
    assert caught.value.field == field
    assert reason in caught.value.reason
    assert "(found " in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("given", "field", "stored"),
    [
        ({"action": "a"}, "ts", NOW),
        ({"action": "a"}, "actor", None),
        ({"action": "a", "actor": ""}, "actor", ""),
        ({"action": "a", "resource": "å" * (MAX_TEXT_BYTES // 2)}, "resource", "å" * (MAX_TEXT_BYTES // 2)),
        ({"action": "a", "ts": "2026-11-24T09:00:00+01:00"}, "ts", NOW),
        ({"action": "a", "ts": from_us(NOW + DAY)}, "ts", NOW + DAY),
        ({"action": "a", "ts": from_us(FIRST_US)}, "ts", FIRST_US),
        ({"action": "a", "value": 3}, "value", 3.0),
        ({"action": "a", "value": Decimal("2.5")}, "value", 2.5),
        ({"action": "a", "attrs": {"x": None, "y": "null"}}, "attrs", '{"x":null,"y":"null"}'),
        ({"action": "a", "attrs": '{ "b" : 1,  "a":2 }'}, "attrs", '{ "b" : 1,  "a":2 }'),
        ({"action": "a", "attrs": DEEP}, "attrs", DEEP),
        ({"action": "a", "attrs": '{"s": "' + "{[" * 99 + '"}'}, "attrs", '{"s": "' + "{[" * 99 + '"}'),
    ],
)
def test_what_is_stored(given: dict[str, Any], field: str, stored: object) -> None:
    """Values are stored as given; only times, numbers and mappings are normalised."""
    assert row(given)[field] == stored


def test_naive_times_are_read_in_the_zone_given() -> None:
    """A naive time is read in `tz`, also on the days when clocks change."""
    first_pass = row({"action": "a", "ts": "2026-10-25 02:30"}, tz="Europe/Stockholm")["ts"]
    assert from_us(first_pass) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    skipped = row({"action": "a", "ts": datetime(2026, 3, 29, 2, 30)}, tz="Europe/Stockholm")["ts"]  # noqa: DTZ001
    assert from_us(skipped) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "ts", [np.datetime64("2024-01-12T01:30:15.123456789"), pd.Timestamp("2024-01-12T01:30:15.123456789")]
)
def test_times_of_numpy_and_pandas_are_read_in_the_zone_given(ts: object) -> None:
    """A time without a zone of either is one of Python's, floored to the microsecond."""
    assert (
        from_us(row({"action": "a", "ts": ts}, tz="Asia/Kolkata")["ts"]).isoformat()
        == "2024-01-11T20:00:15.123456+00:00"
    )


def test_spilling_puts_unknown_keys_into_attrs() -> None:
    """In a batch, keys that are no field become attrs, in the order given, after those given as attrs."""
    assert (
        row({"action": "a", "z": 1, "attrs": {"k": 2}, "b": [3]}, spill=True)["attrs"]
        == '{"k":2,"z":1,"b":[3]}'
    )
    assert row({"action": "a", "z": 1, "attrs": '{"k": 2}'}, spill=True)["attrs"] == '{"k":2,"z":1}'


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"action": "a", "seq": 1}, "seq"),
        ({"action": "a", "recorded": "2026-01-01T00:00Z"}, "recorded"),
        ({"action": "a", "k": 1, "attrs": {"k": 2}}, "k"),
        ({"action": "a", "k": 1, "attrs": [2]}, "attrs"),
        ({"action": "a", 5: 1}, "attrs"),
    ],
)
def test_spilling_refuses_what_the_trail_assigns_and_clashes(given: dict[Any, Any], field: str) -> None:
    """A batch cannot set seq or recorded, nor give one attribute twice."""
    with pytest.raises(InvalidEventError) as caught:
        row(given, spill=True)
    assert caught.value.field == field


def test_declared_fields_are_typed() -> None:
    """A declared field takes its own type and nothing else."""
    declared = {
        "amount": pl.Float64,
        "n": pl.Int64,
        "ok": pl.Boolean,
        "note": pl.String,
        "due": pl.Datetime("us", "UTC"),
    }
    schema = EventSchema(check_fields(declared))
    good = {"action": "a", "amount": 2, "n": 3, "ok": True, "note": "x", "due": "2027-01-01T00:00:00Z"}
    assert schema.row(good, RULES)[-6:-1] == (2.0, 3, True, "x", to_us(datetime(2027, 1, 1, tzinfo=UTC)))
    for name, bad in (("amount", "2"), ("n", 2.5), ("n", 2**63), ("ok", 1), ("note", 4), ("due", 5)):
        with pytest.raises(InvalidEventError) as caught:
            schema.row({**good, name: bad}, RULES)
        assert caught.value.field == name


@pytest.mark.parametrize(
    "fields", [{"actor": pl.String}, {"Ä": pl.String}, {"A": pl.String}, {"x": pl.List(pl.Int8)}]
)
def test_bad_declarations_are_refused(fields: dict[str, Any]) -> None:
    """A declared field needs a new lower-case name and one of five types."""
    with pytest.raises(ValueError, match="fields: "):
        check_fields(fields)


class Odd(str):
    """Text that shows another one."""

    def __str__(self) -> str:
        return "shown"


ODD: dict[str, list[Any]] = {
    "ts": [
        None,
        from_us(NOW),
        from_us(FIRST_US - 1),
        from_us(NOW + DAY + 1),
        "2026-11-24T09:00:00.1234567Z",
        5,
    ],
    "actor": [None, "", "ann", "å" * 9, Odd("ann"), "\ud800", "x" * MAX_TEXT_BYTES, b"ann", 7],
    "source": ["ledger", "auditkit"],
    "value": [None, 3, -0.5, 1e308, float("nan"), float("inf"), True, Decimal("2.5"), 10**400, "3"],
    "attrs": [None, {}, {"a": [1, "å"]}, '{"a": 1e999}', "{", "[1]", DEEP, '{"b":' + DEEP + "}", "\ud800", 3],
    "n": [None, 5, -(2**63), 2**63, 1.0, True, "5"],
    "due": [None, from_us(NOW), "2026-11-24T09:00:00Z", from_us(LAST_US)],
    "seq": [1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in ODD for value in ODD[name]])
def test_the_compiled_shape_vouches_only_for_what_a_closer_look_accepts(name: str, value: object) -> None:
    """Where both ways give a row, it is the same one, of plain types; nothing bad is vouched for."""
    schema = EventSchema(check_fields({"n": pl.Int64, "due": pl.Datetime("us", "UTC")}))
    given = {"action": "a", name: value}

    def outcome(act: Callable[[], Row]) -> Row | str:
        try:
            return act()
        except InvalidEventError as exc:
            return str(exc)

    found = outcome(lambda: schema.row(given, RULES)[:-1])
    assert found == outcome(lambda: schema._suspect_row(given, RULES, own=False))
    assert isinstance(found, str) or {type(item) for item in found} <= {type(None), str, int, float}


def test_a_row_says_whether_its_ts_was_filled_in() -> None:
    """A ts that the trail filled in is no part of the body that a retry must repeat; one that was given is."""
    for given, filled in (({}, True), ({"ts": None}, True), ({"ts": "2026-11-24T00:00:00Z"}, False)):
        assert EventSchema().row({"action": "a", **given}, RULES)[-1] is filled
