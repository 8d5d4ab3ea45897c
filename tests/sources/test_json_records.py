"""Records out of JSON of every layout: lines, arrays, documents over several lines, and what lies inside them."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.event import MAX_ATTRS_BYTES
from auditkit.sources.json_records import compact, json_documents, looks_like_document
from auditkit.sources.readers import ReadOptions, open_input
from auditkit.sources.records import Item, Record, Unreadable


def read(content: str | bytes, *path: str) -> list[Item]:
    """All items of documents with this content."""
    stream = io.BytesIO(content.encode() if isinstance(content, str) else content)
    return list(json_documents(stream, path))


def fields(items: list[Item]) -> list[Any]:
    """The fields of items that are all records."""
    assert [item for item in items if isinstance(item, Unreadable)] == []
    return [item.fields for item in items if isinstance(item, Record)]


ROWS = [{"a": 1, "b": [1, {"c": "x"}]}, {"a": 2.5}, {"a": "é\u2028\U0001f600"}]


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (json.dumps(ROWS), ()),
        (json.dumps(ROWS, indent=4), ()),
        ("\ufeff" + json.dumps(ROWS, ensure_ascii=False), ()),
        ("\n".join(map(json.dumps, ROWS)), ()),
        ("\n".join(json.dumps(row, indent=1) for row in ROWS), ()),
        (json.dumps({"Records": ROWS}), ("Records",)),
        (json.dumps({"next": None, "Records": ROWS, "more": [{"a": 9}]}, indent=2), ("Records",)),
        (json.dumps({"data": {"items": ROWS}}), ("data", "items")),
        ("\n".join(json.dumps({"Records": [row]}) for row in ROWS), ("Records",)),
        (json.dumps({"pages": [{"of": ROWS[:2]}, {"of": ROWS[2:]}]}), ("pages", "of")),
        (json.dumps([{"of": ROWS}]), ("of",)),
        (json.dumps({"of": [[ROWS[0]], [[ROWS[1]], ROWS[2]]]}), ("of",)),
    ],
)
def test_records_are_found_wherever_they_lie(content: str, path: tuple[str, ...]) -> None:
    """Arrays, documents one after another and records inside objects give the same records in the same order."""
    assert fields(read(content, *path)) == ROWS


def test_values_stay_as_they_are_written() -> None:
    """Only what stands between values is left out of a record's text; numbers and escapes keep their spelling."""
    [record] = read(
        '[\n  { "n" : 1.50,\n "big": 12345678901234567890123, "s": "a \\u00e9 \\" \\n b",\t"e": 1E2 }\n]'
    )
    assert isinstance(record, Record)
    assert record.text == '{"n":1.50,"big":12345678901234567890123,"s":"a \\u00e9 \\" \\n b","e":1E2}'
    assert (record.line, record.lines) == (2, 2)


def test_lines_and_places_are_those_of_the_file() -> None:
    """Each record is at the line it begins on, and ends where its text does."""
    content = '{"Records": [\n{"a":\n1},\n\n{"é": 2}]}'
    first, second = read(content, "Records")
    assert (first.line, first.lines, second.line) == (2, 2, 5)
    assert content.encode()[: first.end].endswith(b"1}")
    assert content.encode()[: second.end].endswith(b"2}")


@pytest.mark.parametrize(
    ("content", "good", "reason", "lines"),
    [
        ('[{"a":1},\n{"a":2},\n{"a":}\n,{"a":3}]\n', 2, "not JSON: Expecting value in line 3", 3),
        ('[{"a":1},\n{"a":2}', 2, "not JSON: expected ], found the end in line 2", 1),
        ('[{"a":1},\n{"a":2},\n{"a"', 2, "not JSON: Expecting ':' delimiter in line 3", 1),
        ('{"a":1}\n{"a":}\n{"a":2}\n', 1, "not JSON: Expecting value in line 2", 1),
        ('[{"a":1}]]', 1, "not JSON: Expecting value in line 1", 1),
        ('[{"a":1}, tru', 1, "not JSON: Expecting value in line 1", 1),
    ],
)
def test_what_is_no_json_is_one_letter_with_its_lines(
    content: str, good: int, reason: str, lines: int
) -> None:
    """Behind a mistake the rest of a document is one unreadable thing; a document of one line costs that line."""
    items = read(content)
    bad = next(item for item in items if isinstance(item, Unreadable))
    assert items.index(bad) == good
    assert (bad.reason, bad.lines) == (reason, lines)


def test_a_document_of_one_line_that_is_broken_costs_that_line() -> None:
    """Where each line is a document of its own, reading goes on at the next line."""
    lines = ['{"Records":[{"a":1},{"a":2}]}', '{"Records":[{"a":3},{"a"]}', '{"Records":[{"a":4}]}']
    items = read("\n".join(lines), "Records")
    assert [item.fields["a"] for item in items if isinstance(item, Record)] == [1, 2, 3, 4]
    [bad] = [item for item in items if isinstance(item, Unreadable)]
    assert (bad.line, bad.input) == (2, '{"a"]}')


def test_things_that_are_no_records() -> None:
    """Values that are no objects, bytes that are not UTF-8 and half surrogates are refused one by one."""
    items = read(b'[1, "x", null, [2], {"a": "\xff"}, {"a": "\\ud800"}, {"ok": 1}]')
    assert [item.fields for item in items if isinstance(item, Record)] == [{"ok": 1}]
    reasons = [item.reason for item in items if isinstance(item, Unreadable)]
    assert len(reasons) == 6
    assert reasons[0] == "JSON, but not an object"


def test_long_and_deep_values() -> None:
    """A record that attrs cannot hold is refused with its beginning; deep nesting is no crash."""
    long = json.dumps({"a": "x" * (2 * MAX_ATTRS_BYTES)})
    bad, good = read(f'[{long},{{"b":1}}]')
    assert isinstance(bad, Unreadable)
    assert len(bad.input) == MAX_ATTRS_BYTES
    assert isinstance(good, Record)
    [deep] = read("[" * 100_000)
    assert isinstance(deep, Unreadable)


def test_records_over_the_borders_of_what_is_read_at_once() -> None:
    """Records of all lengths are found though the text comes in pieces."""
    rows = [{"n": n, "pad": "é" * (n * 997 % 70_000)} for n in range(60)]
    assert (
        fields(read(json.dumps({"x": ["y" * 400_000], "Records": rows}, ensure_ascii=False), "Records"))
        == rows
    )


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.none()
        ),
        max_size=4,
    )
)
def test_any_layout_gives_the_same(rows: list[dict[str, Any]]) -> None:
    """Lines, an array and a wrapped array of any records are read alike."""
    expected = json.loads(json.dumps(rows))
    for content, path in (
        ("\n".join(map(json.dumps, rows)), ()),
        (json.dumps(rows, indent=1), ()),
        (json.dumps({"r": rows}), ("r",)),
    ):
        assert fields(read(content, *path)) == expected
    for row in rows:
        assert json.loads(compact(json.dumps(row, indent=3))) == json.loads(json.dumps(row))


@pytest.mark.parametrize(
    ("head", "is_document"),
    [
        ('[{"a":1}]', True),
        ('\ufeff \n[\n{"a":1}]', True),
        ('{\n  "a": 1\n}', True),
        ('{"Records": [\n{"a":1}\n]}', True),
        ('{"Records": [\n{"a":1},\n', True),
        ('{"a": {\n"b": 1}}', True),
        ('{"a":1}\n{"a":2}\n', False),
        ('{"a":1}', False),
        ('{"a":1,\n{"a":2}\n', False),
        ('{"a":\n{"a":2}\n', False),
        ("oops\n[1]\n", False),
        ("", False),
    ],
)
def test_documents_are_told_from_lines(head: str, *, is_document: bool) -> None:
    """What goes over several lines is a document; a line that breaks off is a bad line, not the head of a document."""
    assert looks_like_document(head.encode()) is is_document


def test_the_format_json_is_either() -> None:
    """`json` reads lines as lines, so that a bad one costs itself only, and documents as documents."""

    def read_all(content: str, **options: Any) -> list[Item]:
        with open_input(io.BytesIO(content.encode()), "json", ReadOptions(**options)) as source:
            return list(source)

    lines = read_all('{"a":1}\n{"a":\n{"a":2}\n')
    assert [type(item) for item in lines] == [Record, Unreadable, Record]
    assert fields(read_all('[{"a":1},\n{"a":2}]')) == [{"a": 1}, {"a": 2}]
    assert fields(read_all('{"r":[{"a":1}]}', records=("r",))) == [{"a": 1}]
