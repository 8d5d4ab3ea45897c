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
