"""Log records out of requests of OTLP: flattened attributes, resource and scope beside each, and what is no request."""

import io
import json
from typing import Any

import pytest

from auditkit.sources.otlp_records import otlp_records
from auditkit.sources.records import Item, Record, Unreadable


def read(text: str) -> list[Item]:
    """The items of a file with this text."""
    return list(otlp_records(io.BytesIO(text.encode())))


def request(*resource_logs: Any) -> str:
    """A request, each of its elements in a line of its own, from line 2."""
    return '{"resourceLogs": [\n' + ",\n".join(map(json.dumps, resource_logs)) + "]}\n"


def test_each_log_record_brings_resource_and_scope() -> None:
    """Attributes are objects with plain values, 64-bit integers are numbers, everything else stays."""
    shop = {"stringValue": "shop"}
    every_kind = [
        {"key": "text", "value": {"stringValue": "a"}},
        {"key": "whole", "value": {"intValue": "-9007199254740993"}},
        {"key": "part", "value": {"doubleValue": 0.5}},
        {"key": "yes", "value": {"boolValue": True}},
        {"key": "bytes", "value": {"bytesValue": "AAE="}},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 7}, {"arrayValue": {}}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "inner", "value": shop}]}}},
        {"key": "old", "value": {"kvlistValue": [{"key": "inner", "value": shop}]}},
        {"key": "none", "value": {}},
        {"key": "missing"},
    ]
    text = request(
        {
            "resource": {"attributes": [{"key": "service.name", "value": shop}]},
            "scopeLogs": [
                {
                    "scope": {"name": "orders"},
                    "logRecords": [
                        {"timeUnixNano": "1", "body": {"stringValue": "paid"}, "attributes": every_kind},
                        {"timeUnixNano": "2"},
                    ],
                },
                {"logRecords": [{"timeUnixNano": "3"}]},
                {"scope": {"name": "nothing"}},
            ],
        }
    )
    records = read(text)
    resource = {"attributes": {"service.name": "shop"}}
    first, second, third = (record.fields for record in records if isinstance(record, Record))
    assert first == {
        "timeUnixNano": "1",
        "body": "paid",
        "attributes": {
            "text": "a",
            "whole": -9007199254740993,
            "part": 0.5,
            "yes": True,
            "bytes": "AAE=",
            "list": [7, []],
            "map": {"inner": "shop"},
            "old": {"inner": "shop"},
            "none": {},
            "missing": None,
        },
        "resource": resource,
        "scope": {"name": "orders"},
    }
    assert second == {"timeUnixNano": "2", "resource": resource, "scope": {"name": "orders"}}
    assert third == {"timeUnixNano": "3", "resource": resource, "scope": {}}
    assert [record.line for record in records] == [2, 2, 2]
    assert isinstance(records[0], Record)
    assert json.loads(records[0].text) == first


@pytest.mark.parametrize(
    "resource_logs",
    [
        {"scopeLogs": 7},
        {"scopeLogs": ["text"]},
        {"resource": "shop", "scopeLogs": []},
        {"scopeLogs": [{"logRecords": ["text"]}]},
        {"scopeLogs": [{"logRecords": [{"attributes": [{"value": {}}]}]}]},
        {"scopeLogs": [{"logRecords": [{"attributes": [{"key": {}, "value": {}}]}]}]},
    ],
)
def test_what_is_no_request_is_reported(resource_logs: Any) -> None:
    """It is a dead letter with its line and text, whatever is wrong with it, and reading goes on."""
    good = {"scopeLogs": [{"logRecords": [{"timeUnixNano": "1"}]}]}
    bad, after = read(request(resource_logs, good))
    assert isinstance(bad, Unreadable)
    assert (bad.line, bad.reason) == (2, "not the resourceLogs of an OTLP request")
    assert json.loads(bad.input) == resource_logs
    assert isinstance(after, Record)
    assert (after.line, after.fields["timeUnixNano"]) == (3, "1")


def test_a_request_in_each_line_and_what_is_no_json() -> None:
    """Requests follow each other; behind what is no JSON there is nothing to go on with."""
    one = request({"scopeLogs": [{"logRecords": [{"timeUnixNano": "1"}]}]})
    items = read(one + one + "oops")
    assert [isinstance(item, Record) for item in items] == [True, True, False]
    assert isinstance(items[-1], Unreadable)
    assert items[-1].reason.startswith("not JSON")


def test_each_record_ends_behind_the_one_before() -> None:
    """So an import that stopped within a request goes on at the right one of its records."""
    logs: Any = {"scopeLogs": [{"logRecords": [{}] * 7}]}
    text = request(logs, {"scopeLogs": []}, logs)
    ends = [item.end for item in read(text)]
    assert len(set(ends)) == 14
    assert ends == sorted(ends)
    assert ends[6] < text.index("\n", 20) + 1 < ends[7]
    assert ends[-1] <= len(text)
