"""Which value of a record becomes which field of an event."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from auditkit.errors import InvalidArgumentError, InvalidEventError
from auditkit.sources.mapping import plan_mapping
from auditkit.sources.records import Record

TS = {"ts": "2026-11-24T07:00:00Z", "action": "x"}


def mapped(
    record: dict[str, Any], *maps: str, sets: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """The event of a record."""
    pairs = [(text.partition("=")[0], text.partition("=")[2]) for text in maps]
    return plan_mapping(pairs, sets, **more).event(Record(1, record, "{}"))


def test_the_whole_record_is_attrs() -> None:
    """The text of the record goes into attrs untouched."""
    assert plan_mapping().event(Record(1, TS, '{"as": "given"}'))["attrs"] == '{"as": "given"}'


def test_fields_take_the_key_of_their_name() -> None:
    """An unmapped field takes the key of its own name if that is of its kind; id never does."""
    record = {**TS, "actor": "ann", "id": "7", "resource": {"deep": 1}, "value": "12", "origin": 5}
    event = mapped(record)
    assert {name: event.get(name) for name in ("actor", "id", "resource", "value", "origin")} == {
        "actor": "ann",
        "id": None,
        "resource": None,
        "value": 12.0,
        "origin": "5",
    }
    assert "value" not in mapped({**TS, "value": "much"})
    assert mapped(record, "id=id")["id"] == "7"


def test_paths_lead_inside() -> None:
    """Dots lead into objects, numbers into arrays, and a key that holds dots is found where they lead nowhere."""
    record = {**TS, "a": {"b": [{"c": "deep"}]}, "x.y": "flat", "x": {"y": "nested"}, "p": {"q.r": "dotted"}}
    assert mapped(record, "actor=a.b.0.c")["actor"] == "deep"
    assert mapped(record, "actor=x.y")["actor"] == "nested"
    assert mapped(record, r"actor=x\.y")["actor"] == "flat"
    assert mapped(record, "actor=p.q.r")["actor"] == "dotted"
    assert "actor" not in mapped(record, "actor=a.b.9.c")
    assert "actor" not in mapped(record, "actor=a.b.c.d")


def test_paths_are_tried_in_turn_and_constants_last() -> None:
    """The first path that leads to a value wins; null and absent pass on; a constant stands in."""
    maps = ("outcome=err", "outcome=status.0")
    sets = {"outcome": "success", "source": "nginx"}
    assert mapped({**TS, "err": None, "status": ["bad"]}, *maps, sets=sets)["outcome"] == "bad"
    assert mapped({**TS, "err": "no"}, *maps, sets=sets)["outcome"] == "no"
    assert mapped(TS, *maps, sets=sets)["outcome"] == "success"
    assert mapped({**TS, "source": "other"}, sets=sets)["source"] == "nginx"


@pytest.mark.parametrize(
    ("record", "field", "reason"),
    [
        ({"action": "x"}, "ts", "missing"),
        ({"action": "x", "ts": None}, "ts", "missing"),
        ({"action": "x", "ts": ""}, "ts", "is not ISO 8601"),
        ({"action": "x", "ts": "yesterday"}, "ts", "is not ISO 8601"),
        ({"action": "x", "ts": "2026-11-24 07:00"}, "ts", "no time zone"),
        ({"action": "x", "ts": 1621305118}, "ts", "is a number"),
        ({"action": "x", "ts": True}, "ts", "is not a time"),
        ({"action": "x", "ts": {"$date": 1}}, "ts", "is not a time"),
        ({"action": "x", "ts": "0001-01-01T00:00:00+14:00"}, "ts", "outside the years"),
        ({"ts": TS["ts"]}, "action", "missing"),
        ({"ts": TS["ts"], "action": ""}, "action", "missing"),
    ],
)
def test_records_that_are_no_events(record: dict[str, Any], field: str, reason: str) -> None:
    """Without a ts or an action there is no event, and the error names the field."""
    with pytest.raises(InvalidEventError, match=reason) as refused:
        mapped(record)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("maps", "reason"),
    [
        (("actor=user",), "an object, not text; map a value inside it"),
        (("actor=list",), "an array, not text"),
        (("value=word",), "not a number"),
        (("value=flag",), "not a number"),
    ],
)
def test_asked_values_of_another_kind_are_refused(maps: tuple[str, ...], reason: str) -> None:
    """A value that was asked for and cannot become its field is refused, not left out."""
    record = {**TS, "user": {"name": "ann"}, "list": [1], "word": "much", "flag": True}
    with pytest.raises(InvalidEventError, match=reason):
        mapped(record, *maps)


@pytest.mark.parametrize(
    ("value", "ts_format", "tz", "expected"),
    [
        ("2026-11-24T07:00:00.123456789Z", "iso", None, datetime(2026, 11, 24, 7, 0, 0, 123456, UTC)),
        ("2011-10-11 13:45:40.276000+02:00", "iso", None, datetime(2011, 10, 11, 11, 45, 40, 276000, UTC)),
        ("2026-11-24 07:00:00 +0100", "iso", None, datetime(2026, 11, 24, 6, tzinfo=UTC)),
        ("2026-11-24t07:00:00z", "iso", None, datetime(2026, 11, 24, 7, tzinfo=UTC)),
        ("2026-11-24", "iso", "Europe/Stockholm", datetime(2026, 11, 23, 23, tzinfo=UTC)),
        ("2026-10-25 02:30", "iso", "Europe/Stockholm", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-03-29 02:30", "iso", "Europe/Stockholm", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        (datetime(2026, 7, 1, 2), "iso", "Asia/Kolkata", datetime(2026, 6, 30, 20, 30, tzinfo=UTC)),  # noqa: DTZ001
        (1621305118553, "ms", None, datetime(2021, 5, 18, 2, 31, 58, 553000, UTC)),
        (1621305118.553001, "s", None, datetime(2021, 5, 18, 2, 31, 58, 553001, UTC)),
        ("1621305118", "s", None, datetime(2021, 5, 18, 2, 31, 58, tzinfo=UTC)),
        (1621305118553000999, "ns", None, datetime(2021, 5, 18, 2, 31, 58, 553000, UTC)),
        ("17/May/2015:10:05:03 +0200", "%d/%b/%Y:%H:%M:%S %z", None, datetime(2015, 5, 17, 8, 5, 3, tzinfo=UTC)),
        ("31.12.2025 23:59", "%d.%m.%Y %H:%M", "Europe/Berlin", datetime(2025, 12, 31, 22, 59, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_times(value: object, ts_format: str, tz: str | None, expected: datetime) -> None:
    """Times are read exactly, floored to the microsecond; without a zone they are read in tz."""
    event = mapped({**TS, "ts": value}, ts_format=ts_format, tz=tz)
    assert event["ts"] == expected
    assert event["ts"].tzinfo is UTC


@pytest.mark.parametrize("value", ["x", "", None, True, 1e300, float("nan"), [1]])
def test_numbers_that_are_no_times(value: object) -> None:
    """A value that is no number of the unit is refused."""
    with pytest.raises(InvalidEventError, match=r"since 1970|missing"):
        mapped({**TS, "ts": value}, ts_format="ms")


def test_declared_fields() -> None:
    """Declared fields take text in the form of their type, so that CSV can fill them."""
    fields: dict[str, pl.DataType] = {"amount": pl.Float64(), "n": pl.Int64(), "ok": pl.Boolean(), "note": pl.String(), "due": pl.Datetime("us", "UTC")}  # fmt: skip
    record = {**TS, "amount": "1.5", "n": "-7", "ok": "TRUE", "note": 3, "due": "2026-01-01T00:00:00Z"}
    event = mapped(record, fields=fields)
    assert [event[name] for name in fields] == [1.5, -7, True, "3", datetime(2026, 1, 1, tzinfo=UTC)]
    assert mapped({**TS, "n": 3.0}, "n=n", fields=fields)["n"] == 3
    for bad, reason in (
        ("n=half", "not an integer"),
        ("ok=half", "not true or false"),
        ("amount=ok", "not a number"),
    ):
        with pytest.raises(InvalidEventError, match=reason):
            mapped({**TS, "half": 2.5, "ok": True}, bad, fields=fields)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("attrs", "always holds the whole"), ("seq", "the trail assigns"), ("who", "not a field of an event")],
)
def test_fields_that_cannot_be_mapped(name: str, reason: str) -> None:
    """A map to what is no field, or not a producer's to give, is refused before anything is read."""
    with pytest.raises(InvalidArgumentError, match=f"map {name}: .*{reason}.*found '{name}'"):
        plan_mapping([(name, "x")])


def test_wrong_formats_and_zones() -> None:
    """An unknown ts format or zone, and a constant of the wrong kind, are refused before anything is read."""
    with pytest.raises(ValueError, match="ts format: is unknown"):
        plan_mapping(ts_format="rfc")
    with pytest.raises(ValueError, match="tz"):
        plan_mapping(tz="Europe/Nowhere")
    with pytest.raises(InvalidEventError, match="not a number"):
        plan_mapping(constants={"value": "much"})


def test_words_of_a_field() -> None:
    """Words are written as was said, exact ones before those with a star; others stay, and numbers count as text."""
    words = {"outcome": {"AccessDenied": "denied", "Access*": "failure", "403": "failure", "*": "other"}}
    for given, expected in (
        ("AccessDenied", "denied"),
        ("AccessGone", "failure"),
        (403, "failure"),
        ("ok", "other"),
    ):
        assert mapped({**TS, "outcome": given}, values=words)["outcome"] == expected
    assert mapped({**TS, "outcome": "ok"}, values={"outcome": {"OK": "success"}})["outcome"] == "ok"
    assert mapped({**TS, "n": "many"}, "value=n", values={"value": {"many": "99"}})["value"] == 99.0


def test_a_value_that_does_not_fit_gives_way_to_the_next_path() -> None:
    """What does not fit at one path is looked for at the next; where none fits, the first one is refused."""
    record = {**TS, "user": {"id": 7}, "name": "ann", "n": "many", "m": 3}
    assert mapped(record, "actor=user", "actor=name")["actor"] == "ann"
    assert mapped(record, "value=n", "value=m")["value"] == 3.0
    with pytest.raises(InvalidEventError, match=r"not a number.*found 'many'"):
        mapped(record, "value=n", "value=name")


def test_only_numbers_are_numbers() -> None:
    """What Python takes for a number and no other program does is refused."""
    for text in ("1_000", "nan", "inf", "0x10", " ", "1e", "\u0661"):
        with pytest.raises(InvalidEventError, match="not a number"):
            mapped({**TS, "n": text}, "value=n")
    for text, expected in (("-1.5e3", -1500.0), (".5", 0.5), ("7.", 7.0), ("+2", 2.0)):
        assert mapped({**TS, "n": text}, "value=n")["value"] == expected
    for text in ("1_0", "1.0", "0x1"):
        with pytest.raises(InvalidEventError, match="not an integer"):
            mapped({**TS, "k": text}, "k=k", fields={"k": pl.Int64()})


def test_equal_maps_are_described_alike() -> None:
    """A map is the same where all that was said is the same, and another one where anything differs."""

    def described(**more: Any) -> str:
        return plan_mapping([("ts", "t")], {"actor": "a"}, **more).described

    assert described() == described()
    others: list[dict[str, Any]] = [
        {"tz": "UTC"},
        {"ts_format": "s"},
        {"on_ambiguous": "raise"},
        {"values": {"actor": {"a": "b"}}},
        {"attrs": "x"},
    ]
    assert len({described(), *(described(**other) for other in others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("mark", "text", "number"),
    [
        (",", "1.234.567,50", 1234567.5),
        (",", "-0,5", -0.5),
        (",", "1 234,5", 1234.5),
        (",", "1\u202f234,5", 1234.5),
        (",", "7", 7.0),
        (".", "1,234.50", 1234.5),
        (".", "12.75", 12.75),
        (",", "12.75", None),
        (",", "1.23.456", None),
        (",", "1.234 567", None),
        (",", "1,5,5", None),
        (".", "12,75", None),
        (",", "", None),
        (",", "\u0661,5", None),
    ],
)
def test_a_decimal_mark_is_read_to_the_letter(mark: str, text: str, number: float | None) -> None:
    """With a decimal mark a number is read with its groups of three; whatever is written otherwise is refused."""
    plan = plan_mapping([("value", "n")], decimal=mark)
    record = Record(1, {"ts": "2024-01-12T01:30:15Z", "action": "x", "n": text}, "{}")
    if number is not None:
        assert plan.event(record)["value"] == number
        return
    with pytest.raises(InvalidEventError, match=rf"value: not a number with the decimal mark '{mark}'"):
        plan.event(record)


def test_a_decimal_mark_is_of_texts_only() -> None:
    """Numbers stay what they are; a declared integer takes its groups, and no decimals."""
    plan = plan_mapping([("value", "n"), ("lines", "m")], decimal=",", fields={"lines": pl.Int64()})
    record = {"ts": "2024-01-12T01:30:15Z", "action": "x", "n": 1.5, "m": "12.000"}
    event = plan.event(Record(1, record, "{}"))
    assert (event["value"], event["lines"]) == (1.5, 12000)
    with pytest.raises(InvalidEventError, match="lines: not an integer"):
        plan.event(Record(1, {**record, "m": "12,5"}, "{}"))
    assert (
        plan.described
        != plan_mapping([("value", "n"), ("lines", "m")], fields={"lines": pl.Int64()}).described
    )
