"""One grammar of paths: a record of an import and a column of attrs give the same value."""

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.errors import InvalidQueryError
from auditkit.where import Path, attr, parse_path

LABELS = {"metadata": {"labels": {"app.kubernetes.io/name": "web", "app": {"kubernetes": 1}}}}
CLAIMS = [
    ("http.status", {"http.status": 404}, 404),
    ("http.status", {"http": {"status": 200}, "http.status": 404}, 200),
    (r"http\.status", {"http": {"status": 200}, "http.status": 404}, 404),
    ("http.status", {"http": {"status": None}, "http.status": 404}, 404),
    ("http.status", {"http": "GET", "http.status": 404}, 404),
    ("metadata.labels.app.kubernetes.io/name", LABELS, "web"),
    ("metadata.labels.app.kubernetes", LABELS, 1),
    ("id.orig_h", {"id.orig_h": "10.0.0.7"}, "10.0.0.7"),
    ("a.b.c.d", {"a.b": {"c.d": 1}}, None),
    (r"a\.b.c.d", {"a.b": {"c.d": 1}}, 1),
    ("No.", {"No.": 7}, 7),
    (".net", {".net": "core"}, "core"),
    ("a..b", {"a..b": 1}, 1),
    ("a..b", {"a": {"": {"b": 1}}}, None),
    ("0", {"0": "first"}, "first"),
    ("a.0", {"a": ["x"]}, "x"),
    ("a.0", {"a": {"0": "x"}}, None),
    (r"a.\0", {"a": {"0": "x"}}, "x"),
    ("v.1", {"v.1": "x"}, "x"),
    ("a.1", {"a": "xyz"}, None),
    ("a.b", {"a": {"b": False}, "a.b": 1}, False),
]
"""Paths, a record, and what is found in it."""


def in_column(path: Path, text: str) -> Any:
    """Return what the expression finds, and whether it calls it a string."""
    frame = pl.DataFrame({"attrs": [text]})
    found, string = frame.select(path.expression().alias("found"), path.string().alias("string")).row(0)
    assert string is None or string == found
    return found if string is not None or found is None else json.loads(found)


@pytest.mark.parametrize(("path", "record", "value"), CLAIMS)
def test_a_record_and_a_column_give_the_same_value(path: str, record: dict[str, Any], value: object) -> None:
    """Dots descend, a key that holds dots is found as well, and null counts as missing."""
    assert parse_path(path).find(record) == value
    assert in_column(parse_path(path), json.dumps(record)) == value
    assert type(in_column(parse_path(path), json.dumps(record))) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"http\\u002estatus": 404}',
        '{"\\u0068ttp.statu\\u0073": 404}',
        '{"http.status": 404, "other": "\\\\"}',
        ' {  "http.status"\n:404} ',
    ],
)
def test_a_key_is_found_however_it_was_escaped(text: str) -> None:
    """JSON may write any character of a key as an escape."""
    assert in_column(parse_path("http.status"), text) == 404


@pytest.mark.parametrize("key", ["a/b.c/d", "é.ü", "tab\t.x", "<a>.b", "'.x", '".x', "\u2028.x"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_keys_that_json_may_escape_are_found(key: str, *, ascii_only: bool) -> None:
    """Slashes, control characters and letters outside ASCII are looked for as they may be written."""
    text = json.dumps({key: "x"}, ensure_ascii=ascii_only)
    for written in (text, text.replace("/", "\\/")):
        assert in_column(parse_path(key), written) == "x"


KEYS = st.sampled_from(["a", "b", "a.b", "b.a", "a.b.a", "0", "1", "x"])
RECORDS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", "s", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, RECORDS, max_size=4), st.lists(KEYS, min_size=1, max_size=4))
def test_both_readers_agree_on_any_record(record: dict[str, Any], keys: list[str]) -> None:
    """Whatever a record holds, Python and Polars follow a path to the same value."""
    path = parse_path(".".join(keys))
    assert in_column(path, json.dumps(record)) == path.find(record)


def test_a_string_is_told_from_what_looks_like_it() -> None:
    """Where the way that leads to a value is a number's, the text behind another way does not count."""
    text = '{"a": {"b": 5}, "a.b": "5"}'
    frame = pl.DataFrame({"attrs": [text]})
    assert frame.select(parse_path("a.b").string()).item() is None
    assert frame.select(attr("a.b")).item() == "5"


def test_an_error_calls_the_path_by_its_name() -> None:
    """An importer's path is named as the importer calls it."""
    with pytest.raises(InvalidQueryError, match="path of actor: is no path"):
        parse_path("", name="path of actor")


def test_a_key_with_a_backslash_is_found_in_a_record() -> None:
    r"""A header of a CSV file may be DOMAIN\user; attrs cannot be asked for it, and say so."""
    path = parse_path("DOMAIN\\user")
    assert path.find({"DOMAIN\\user": "ann"}) == "ann"
    with pytest.raises(InvalidQueryError, match="backslash"):
        path.expression()


VALUES = [
    "404",
    '"404"',
    "404.0",
    "1e3",
    "1.5",
    "true",
    '"true"',
    '"ann"',
    "null",
    '"inf"',
    "[1]",
    "18446744073709551616",
]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, ["404", "404", "404.0", "1000.0", "1.5", "true", "true", "ann", None, "inf", "[1]", "1.8446744073709552e+19"]),
        (pl.Int64, [404, 404, 404, 1000, None, None, None, None, None, None, None, None]),
        (pl.UInt8(), [None] * 12),
        (pl.Float64, [404.0, 404.0, 404.0, 1000.0, 1.5, None, None, None, None, None, None, 1.8446744073709552e19]),
        (pl.Boolean, [None, None, None, None, None, True, True, None, None, None, None, None]),
    ],
)  # fmt: skip
def test_values_are_typed(dtype: Any, expected: list[object]) -> None:
    """A value is taken for a kind where it is one, as text too, and is null where it is not."""
    frame = pl.DataFrame({"attrs": [f'{{"x": {value}}}' for value in VALUES]})
    found = frame.select(attr("x", dtype=dtype))
    assert found.columns == ["x"]
    assert found["x"].to_list() == expected
    assert found["x"].dtype == (pl.String if dtype is None else dtype)


def test_times_are_typed() -> None:
    """Text with date, time and zone is a time, in the zone that is asked for; nothing is guessed."""
    texts = ["2026-11-24T07:00:00Z", "2026-11-24T08:00:00.5+01:00", "2026-11-24", "20261124T070000Z", "07:00"]
    frame = pl.DataFrame({"attrs": [json.dumps({"at": text}) for text in texts]})
    found = frame.select(attr("at", dtype=pl.Datetime("us", "Europe/Berlin")))["at"]
    assert [None if at is None else at.isoformat() for at in found] == [
        "2026-11-24T08:00:00+01:00",
        "2026-11-24T08:00:00.500000+01:00",
        None,
        None,
        None,
    ]
    assert frame.select(attr("at", pl.Datetime))["at"].dtype == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-12T01:30Z", "2024-01-12T01:30:00+00:00"),
        (" 2024-01-12 01:30:15,123456789 +0530", "2024-01-11T20:00:15.123456+00:00"),
        ("1937-01-01T00:00:00+00:19:32", "1936-12-31T23:40:28+00:00"),
        ("2024-1-2T1:3:5Z", None),
        ("2024-01-12T23:59:60Z", None),
        ("2024-01-12T01:30:15 UTC", None),
        ("2024-01-12T01:30:15\u221201:00", None),
        ("2024-02-30T01:30:15Z", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("2024-01-12T01:30:15", None),
    ],
)
def test_times_are_read_as_everywhere(text: str, expected: str | None) -> None:
    """Text is an instant where an event's `ts` would be; whatever else another parser finds in it is null."""
    frame = pl.DataFrame({"attrs": [json.dumps({"at": text})]})
    found = frame.select(attr("at", dtype=pl.Datetime)).item()
    assert (None if found is None else found.isoformat()) == expected
    assert frame.select(attr("at", dtype=pl.Datetime("ns", "UTC"))).item() == found


def test_an_instant_that_its_unit_cannot_hold_is_null() -> None:
    """Nanoseconds end in the year 2262."""
    frame = pl.DataFrame({"attrs": ['{"at": "9999-12-31T23:59:59Z"}']})
    assert frame.select(attr("at", dtype=pl.Datetime("ns", "UTC"))).item() is None


def test_a_kind_that_attrs_do_not_have_is_refused() -> None:
    """Lists and structs are asked for with Polars itself."""
    with pytest.raises(InvalidQueryError, match="dtype: is not a kind of value"):
        attr("x", dtype=pl.List(pl.Int64))
