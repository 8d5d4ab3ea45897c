"""Which mapping would have fitted: what is said of refused records, and that following it helps."""

import json
import shlex
from typing import Any

import pytest

from auditkit.errors import InvalidEventError
from auditkit.sources.mapping import plan_mapping
from auditkit.sources.records import Record
from auditkit.sources.suggestions import suggest


def suggested(record: dict[str, Any], *maps: str, **more: Any) -> str | None:
    """What is said of a record that a mapping refuses."""
    pairs = [(text.partition("=")[0], text.partition("=")[2]) for text in maps]
    with pytest.raises(InvalidEventError) as refused:
        plan_mapping(pairs, **more).event(Record(1, record, json.dumps(record)))
    return suggest(record, refused.value)


@pytest.mark.parametrize(
    ("record", "options"),
    [
        ({"time": "2024-01-12T01:30:15Z"}, "--map ts=time"),
        ({"time": "2024-01-12 01:30:15"}, "--map ts=time --tz ZONE"),
        ({"day": "2024-01-12", "user": "ann", "eventTime": "2024-01-12T01:30:15+01:00"}, "--map ts=eventTime"),
        ({"meta": {"created_at": 1705023015}, "n": 1}, "--map ts=meta.created_at --ts-format s"),
        ({"time_ms": "1705023015123"}, "--map ts=time_ms --ts-format ms"),
        ({"@timestamp": 1705023015123456789}, "--map ts=@timestamp --ts-format ns"),
        ({"x": "12/Jan/2024:01:30:15 +0000"}, "--map ts=x --ts-format '%d/%b/%Y:%H:%M:%S %z'"),
        ({"a.b": {"when": "12.01.2024 01:30"}}, "--map 'ts=a\\.b.when' --ts-format '%d.%m.%Y %H:%M' --tz ZONE"),
        ({"ldapTime": "20240112013015Z"}, "--map ts=ldapTime --ts-format '%Y%m%d%H%M%S%z'"),
        ({"Time": "01/12/2024 01:30:15 PM"}, "--map ts=Time --ts-format '%m/%d/%Y %I:%M:%S %p' --tz ZONE"),
        ({"Records": [{"ts": "2024-01-12T01:30:15Z"}]}, "--records Records"),
        ({"data": {"items": [{"ts": 1}]}}, "--records data.items"),
        ({"Datum": "12.01.2024", "Uhrzeit": "8:15"}, "--map ts=Datum+Uhrzeit --ts-format '%d.%m.%Y %H:%M' --tz ZONE"),
        ({"Time": "7:30 PM", "Date": "1/12/2024"}, "--map ts=Date+Time --ts-format '%m/%d/%Y %I:%M %p' --tz ZONE"),
        ({"born": "2001-02-03", "day": "2024-01-12T01:30:15Z"}, "--map ts=day"),
        ({"day": "2024-01-12", "at": "01:30:15"}, "--map ts=day+at --tz ZONE"),
        ({"a+b": "2024-01-12T01:30:15Z"}, "--map 'ts=a\\+b'"),
        ({"Datum": "12.01.2024"}, "--map ts=Datum --ts-format '%d.%m.%Y' --tz ZONE"),
        ({"duration": 17, "count": 3, "name": "x"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_where_a_time_lies(record: dict[str, Any], options: str | None) -> None:
    """A record without a ts says which key holds one, and how it is written; where none does, nothing is said."""
    said = suggested({**record, "action": "x"})
    assert said == (None if options is None else f"would fit: {options}")
    if options is None or "records" in options:
        return
    words = shlex.split(options.replace("ZONE", "UTC"))
    given = dict(zip(words[::2], words[1::2], strict=True))
    plan = plan_mapping([tuple(given["--map"].split("=", 1))], ts_format=given.get("--ts-format", "iso"), tz=given.get("--tz"))  # type: ignore[list-item]  # fmt: skip
    moment = plan.event(Record(1, {**record, "action": "x"}, "{}"))["ts"]
    assert (moment.year, moment.month, moment.day) == (2024, 1, 12)


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (1705023015.5, "--ts-format s"),
        ("2024-01-12 01:30:15", "--tz ZONE"),
        ("2024/01/12 01:30:15", "--ts-format '%Y/%m/%d %H:%M:%S' --tz ZONE"),
        ("2/3/2024 23:59", "--ts-format '%d/%m/%Y %H:%M' --tz ZONE (or '%m/%d/%Y %H:%M')"),
        ("11/24/2024 7:30", "--ts-format '%m/%d/%Y %H:%M' --tz ZONE"),
        ("11/24/2024 7:30 AM", "--ts-format '%m/%d/%Y %I:%M %p' --tz ZONE"),
        ("2/2/2024 23:59", "--ts-format '%d/%m/%Y %H:%M' --tz ZONE"),
        ("24.12.2024", "--ts-format '%d.%m.%Y' --tz ZONE"),
        ("soon", None),
        ({"$date": 1}, None),
        (True, None),
    ],
)
def test_how_a_time_is_written(value: object, options: str | None) -> None:
    """A ts that does not read says which form would, where one of the known ones does."""
    assert suggested({"ts": value, "action": "x"}) == (None if options is None else f"would fit: {options}")


def test_a_day_that_is_mapped_alone() -> None:
    """Where the day is mapped and a time of day lies beside it, both are said; both as they were mapped fit."""
    record = {"Datum": "12.01.2024", "Uhrzeit": "08:15", "action": "x"}
    both = "would fit: --map ts=Datum+Uhrzeit --ts-format '%d.%m.%Y %H:%M' --tz ZONE"
    assert suggested(record, "ts=Datum") == both
    assert suggested(record, "ts=Datum+Uhrzeit") == both.replace("--map ts=Datum+Uhrzeit ", "")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("12,75", "--decimal ,"),
        ("1.234,50", "--decimal ,"),
        ("1,234.50", "--decimal ."),
        ("1,234", "--decimal , or --decimal ."),
        ("$7", None),
        ("1,2,3", None),
    ],
)
def test_how_a_number_is_written(text: str, options: str | None) -> None:
    """A number that does not read says which decimal mark would read it, and following that helps."""
    record = {"ts": "2024-01-12T01:30:15Z", "action": "x", "Betrag": text}
    said = suggested(record, "value=Betrag")
    assert said == (None if options is None else f"would fit: {options}")
    for option in [] if options is None else options.split(" or "):
        plan = plan_mapping([("value", "Betrag")], decimal=option[-1])
        assert plan.event(Record(1, record, "{}"))["value"] > 1


def test_what_an_action_may_be() -> None:
    """A record without an action says which key looks like one, the outermost first."""
    ts = {"ts": "2024-01-12T01:30:15Z"}
    assert suggested({**ts, "deep": {"action": "a"}, "eventName": "b"}) == "would fit: --map action=eventName"
    assert suggested({**ts, "deep": {"operation": "a"}}) == "would fit: --map action=deep.operation"
    assert suggested({**ts, "n": 1}) is None
    assert suggested({**ts, "action": ""}) is None


def test_what_lies_inside_an_object() -> None:
    """A value that is an object says what inside it is text."""
    record = {"ts": "2024-01-12T01:30:15Z", "action": "x", "user": {"id": 7, "name": "ann"}}
    assert suggested(record, "actor=user") == "would fit: --map actor=user.id"
    assert suggested({**record, "user": {}}, "actor=user") is None
    assert suggested({**record, "user": [1]}, "actor=user") is None


def test_hostile_keys_are_quoted() -> None:
    """A key never becomes more than one word of a command."""
    said = suggested({"time; rm -rf $HOME": "2024-01-12T01:30:15Z", "action": "x"})
    assert said is not None
    assert shlex.split(said.removeprefix("would fit: ")) == ["--map", "ts=time; rm -rf $HOME"]
    said = suggested({"it's `time`": "2024-01-12T01:30:15Z", "action": "x"})
    assert said is not None
    assert shlex.split(said.removeprefix("would fit: ")) == ["--map", "ts=it's `time`"]
