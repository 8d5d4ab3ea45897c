"""JSON documents whose records are wrapped, and what stands beside them."""

import io
import json

import pytest

from auditkit.event import MAX_ATTRS_BYTES
from auditkit.sources.json_records import json_documents
from auditkit.sources.records import Item, Record, Unreadable


def read(text: str, *path: str) -> list[Item]:
    """The items at a path of the documents of a file."""
    return list(json_documents(io.BytesIO(text.encode()), path))


def fields(text: str, *path: str) -> list[object]:
    """The records at a path, where there is nothing else."""
    items = read(text, *path)
    assert all(isinstance(item, Record) for item in items)
    return [dict(item.fields) for item in items if isinstance(item, Record)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"Records": [{"n": 1}, {"n": 2}]}', [{"n": 1}, {"n": 2}]),
        ('{"kind": "List", "Records": [{"n": 1}], "next": null}', [{"n": 1}]),
        ('[{"Records": [{"n": 1}]}, {"Records": [[{"n": 2}]]}]', [{"n": 1}, {"n": 2}]),
        ('{"Records": [{"n": 1}]}\n{"n": 2}\n{"Records": []}\n', [{"n": 1}, {"n": 2}]),
        ('{"records": [{"n": 1}]}', [{"records": [{"n": 1}]}]),
        ('{"Records": {"Records": 1}}', [{"Records": 1}]),
        ("{}", [{}]),
    ],
)
def test_what_the_path_does_not_lead_into_is_a_record_itself(text: str, found: list[object]) -> None:
    """So nothing of a file is passed over but what stands beside the records of a document."""
    assert fields(text, "Records") == found


def test_a_record_without_a_wrapper_keeps_its_text() -> None:
    """Its values stay as they are written, and its lines are counted."""
    [record] = read('{"a" : 1.50,\n "b":\n {"Records": "\\u00e9"}}', "Records")
    assert isinstance(record, Record)
    assert record.text == '{"a":1.50,"b":{"Records":"\\u00e9"}}'
    assert (record.line, record.lines) == (1, 3)


def test_no_more_is_held_than_an_event_can() -> None:
    """A long document without records is reported and cut."""
    many = {f"key {number}": "x" * 1000 for number in range(3 * MAX_ATTRS_BYTES // 1000)}
    [bad] = read(json.dumps(many), "Records")
    assert isinstance(bad, Unreadable)
    assert bad.reason.startswith("longer than an event may be")
    assert len(bad.input) <= MAX_ATTRS_BYTES


@pytest.mark.parametrize("text", ['{"a": 1,}', '{"a" 1}', "{1: 2}", '{"Records": [{}]', '{"a": 1 "b": 2}'])
def test_what_is_no_json_is_reported(text: str) -> None:
    """Each mistake of a document ends it with a dead letter."""
    items = read(text, "Records")
    assert isinstance(items[-1], Unreadable)
    assert items[-1].reason.startswith("not JSON: ")
