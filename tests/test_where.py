"""Conditions: which events each kind of condition keeps, on every kind of column, against plain Python."""

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from auditkit.errors import AuditError, InvalidQueryError
from auditkit.where import (
    Where,
    attr,
    compile_where,
    conditions,
    describe_where,
    escape_glob,
    parse_where_option,
    read_value,
)

TEXTS = [
    "ann",
    "bob",
    None,
    "",
    "a*c",
    "abc",
    "10.0.0.7",
    "auth.login",
    "auth\n.x",
    "DOMAIN\\ann",
    "Ann",
    "å∂",
]
MOMENT = datetime(2026, 11, 24, 7, tzinfo=UTC)


def nested(depth: int) -> dict[str, Any]:
    """Return a mapping nested so deep."""
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"a": inner}
    return inner


def kept(frame: pl.DataFrame, where: Where, *, typed: bool = True) -> list[int]:
    """Return the row numbers that a condition keeps; also check that it is never null."""
    condition = compile_where(where, frame.schema if typed else frame.columns)
    assert condition is not None
    chosen = frame.lazy().select(condition.alias("kept")).collect()["kept"]
    if chosen.len() < frame.height:
        chosen = chosen.extend_constant(chosen[0], frame.height - chosen.len())
    assert chosen.null_count() == 0
    by_filter = frame.lazy().with_row_index().filter(condition).collect()["index"].to_list()
    assert by_filter == chosen.arg_true().to_list()
    return by_filter


@pytest.fixture(params=[pl.String, pl.Categorical, pl.Enum([text for text in TEXTS if text is not None])])
def texts(request: pytest.FixtureRequest) -> pl.DataFrame:
    """The texts above as a column of each kind that holds text."""
    return pl.DataFrame({"actor": TEXTS}, schema={"actor": request.param})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ann", ["ann"]),
        ("nobody", []),
        ("", [""]),
        (None, [None]),
        ("a*c", ["a*c", "abc"]),
        (r"a\*c", ["a*c"]),
        ("*", [text for text in TEXTS if text is not None]),
        ("auth*", ["auth.login", "auth\n.x"]),
        ("10.0.*.7", ["10.0.0.7"]),
        ("10*0.7", ["10.0.0.7"]),
        ("a.c", []),
        ("nn", []),
        ("*nn", ["ann", "DOMAIN\\ann", "Ann"]),
        ("**b**", ["bob", "abc"]),
        ("DOMAIN\\ann", ["DOMAIN\\ann"]),
        (r"DOMAIN\\*", ["DOMAIN\\ann"]),
        (r"DOMAIN\*", []),
        ("*å*", ["å∂"]),
        (["ann", None], ["ann", None]),
        (["a*c"], ["a*c"]),
        (("ann", "bob", "nobody"), ["ann", "bob"]),
        ({"bob"}, ["bob"]),
        ([None], [None]),
        ([], []),
    ],
)
def test_text_is_compared(texts: pl.DataFrame, value: object, expected: list[str | None]) -> None:
    """A value, a glob, None and a list keep the same rows of a String, a Categorical and an Enum column."""
    assert [TEXTS[row] for row in kept(texts, {"actor": value})] == expected
    if texts.schema["actor"] != pl.Enum:
        assert [TEXTS[row] for row in kept(texts, {"actor": value}, typed=False)] == expected


@pytest.mark.parametrize(
    ("value", "gone"),
    [
        ("ann", ["ann"]),
        ("nobody", []),
        (None, [None]),
        ("a*c", ["a*c", "abc"]),
        (r"a\*c", ["a*c"]),
        (escape_glob("a*c"), ["a*c"]),
        (["ann", "auth*"], ["ann", "auth.login", "auth\n.x"]),
        ([r"DOMAIN\\*", None, r"a\*c"], ["DOMAIN\\ann", None, "a*c"]),
        (("bob", "nobody"), ["bob"]),
        ({"bob"}, ["bob"]),
        ("*", [text for text in TEXTS if text is not None]),
        (["*", None], TEXTS),
        ([], []),
    ],
)
def test_text_is_left_out(texts: pl.DataFrame, value: object, gone: list[str | None]) -> None:
    """`not` leaves out what a value, a glob or one of a list of both matches; what is missing stays unless it is named."""
    expected = [text for text in TEXTS if text not in gone]
    assert [TEXTS[row] for row in kept(texts, {"actor": {"not": value}})] == expected
    assert [TEXTS[row] for row in kept(texts, {"actor": {"not": value}}, typed=False)] == expected


GLOBS = st.text(alphabet=r"ab*\.[(é", max_size=8)


@given(st.text(alphabet=r"ab*\.", max_size=8), st.text(alphabet=r"ab*\.", max_size=8))
def test_an_escaped_glob_is_the_text_itself(text: str, other: str) -> None:
    """What is escaped matches the text it was made of, and no other."""
    frame = pl.DataFrame({"actor": [text, other]})
    equal = [0, 1] if text == other else [0]
    assert kept(frame, {"actor": escape_glob(text)}) == equal
    assert kept(frame, {"actor": {"not": [escape_glob(text)]}}) == [row for row in (0, 1) if row not in equal]


@given(GLOBS, st.lists(st.text(alphabet="ab*\\.[(\né", max_size=6), min_size=1, max_size=5))
def test_globs_agree_with_plain_python(glob: str, texts: list[str]) -> None:
    """A star stands for any text, an escaped one for itself, and no other character means anything."""
    pattern = "".join(
        "\\" * (len(part[:-1]) // 2) + ("\0" if len(part) % 2 else "*") if part.endswith("*") else part
        for part in re.findall(r"\\*\*|\\+|[^\\*]+", glob)
    )
    oracle = re.compile(".*".join(re.escape(piece) for piece in pattern.split("\0")), re.DOTALL)
    frame = pl.DataFrame({"actor": texts})
    expected = [row for row, text in enumerate(texts) if oracle.fullmatch(text)]
    assert kept(frame, {"actor": glob}) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seq", 1, [1]),
        ("seq", "1", [1]),
        ("seq", 1.0, [1]),
        ("seq", 1.5, []),
        ("seq", -1, []),
        ("seq", 2**70, []),
        ("seq", [0, 2, -5, 2**70, 1.5], [0, 2]),
        ("seq", [0.0, None], [0]),
        ("value", 2, [1]),
        ("value", "2.00", [1]),
        ("value", 1.5, [0]),
        ("value", [1.5, 2], [0, 1]),
        ("value", None, [2]),
        ("value", [None, 2], [1, 2]),
        ("value", 10**300, []),
        ("flag", True, [0]),
        ("flag", "false", [1]),
        ("flag", [True, None], [0, 2]),
        ("ts", MOMENT, [1]),
        ("ts", "2026-11-24T07:00Z", [1]),
        ("ts", [MOMENT, None], [1, 2]),
    ],
)
def test_other_columns_compare_with_their_own_kind(key: str, value: object, expected: list[int]) -> None:
    """Numbers, booleans and times equal values of their kind, whatever the spelling; what cannot equal keeps none."""
    frame = pl.DataFrame(
        {
            "seq": pl.Series([0, 1, 2], dtype=pl.UInt64),
            "value": [1.5, 2.0, None],
            "flag": [True, False, None],
            "ts": pl.Series([datetime(2026, 1, 1, tzinfo=UTC), MOMENT, None], dtype=pl.Datetime("us", "UTC")),
        }
    )
    assert kept(frame, {key: value}) == expected


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("actor", {"not": "a", "like": "b"}, "another form than {'not': …}"),
        ("actor", {"not": "a", "is": {"not": "b"}}, "another form than {'not': …}"),
        ("nobody", {"not": "a", "is": "b"}, "nobody"),
        ("actor", {"is": "b"}, "another form than {'not': …}"),
        ("actor", {"not": {"not": "b"}}, "another form than {'not': …}"),
        ("actor", {"not": [{"not": "b"}]}, "actor"),
        ("actor", {"not": ["a*"] * 101}, "more than 100 values with a star"),
        ("actor", {"not": ["a"] * 100_001}, "more than 100,000 values"),
        ("value", {"not": "many"}, "value"),
        ("nobody", {"not": "ann"}, "nobody"),
        ("text", "", "holds no word"),
        ("text", ["a", " \n"], "holds no word"),
        ("text", None, "text"),
        ("text", MOMENT, "is a time, and words are looked for"),
        ("text", "a" * 1_001, "more than 1,000"),
        ("text", ["a" * 600, "b" * 600], "more than 1,000"),
        ("text", " ".join(map(str, range(21))), "more than 20"),
        ("text", [str(number) for number in range(21)], "more than 20"),
        ("nobody", "ann", "nobody"),
        ("attributes.x", "ann", "attributes.x"),
        (7, "ann", "7"),
        ("actor", MOMENT, "actor"),
        ("actor", [b"ann"], "actor"),
        ("actor", {"a": 1}, "actor"),
        ("value", "many", "value"),
        ("value", True, "value"),
        ("value", float("nan"), "value"),
        ("value", "NaN", "value"),
        ("flag", 1, "flag"),
        ("ts", "-7d", "ts"),
        ("ts", 5, "ts"),
        ("ts", "yesterday", "ts"),
        ("ts", "2026-11-24T07:00", "has no time zone"),
        ("ts", "2026-11-24", "names no time of day"),
        ("ts", MOMENT.replace(tzinfo=None), "ts"),
        ("seq", [[1]], "seq"),
        ("value", 10**400, "larger than any number"),
        ("attrs.x", 10**400, "larger than any number"),
        ("attrs.x", float("inf"), "attrs.x"),
        ("attrs.x", MOMENT, "attrs.x"),
        ("attrs.x", [{"a": 1}], "attrs.x"),
        ("attrs.", "x", "attrs"),
        ("attrs.a" + "." * 20, "x", "a key is missing between the dots"),
        ("attrs.a\\", "x", "attrs"),
        ("attrs.a\\\\b", "x", "attrs"),
        ("attrs.'\"", "x", "attrs"),
        ("attrs" + ".a" * 65, "x", "more than 64 keys"),
        ("attrs." + "a" * 10_001, "x", "longer than 10,000"),
        ("attrs" + ".a" * 100_000, "x", "longer than 10,000"),
        ("attrs.x", ["x"] * 100_001, "more than 100,000 values"),
        ("actor", set(range(100_001)), "more than 100,000 values"),
        ("actor", nested(2_000), "nested too deep to be shown"),
        ("attrs.x", [nested(2_000)], "nested too deep to be shown"),
    ],
)
def test_what_cannot_be_asked_is_refused(key: Any, value: object, named: str) -> None:
    """An unknown key, or a value of a kind the column never has, raises an error that names the key."""
    schema = {
        "seq": pl.UInt64(),
        "actor": pl.String(),
        "value": pl.Float64(),
        "flag": pl.Boolean(),
        "ts": pl.Datetime("us", "UTC"),
        "attrs": pl.String(),
    }
    with pytest.raises(ValueError, match=re.escape(named)) as caught:
        compile_where({key: value}, schema)
    assert isinstance(caught.value, AuditError)


def test_only_a_mapping_or_an_expression_is_a_condition() -> None:
    """Text in place of a mapping is refused, with a sentence that says what is expected."""
    with pytest.raises(InvalidQueryError, match="neither a mapping nor a Polars expression"):
        compile_where("actor='ann'", ["actor"])
    with pytest.raises(InvalidQueryError, match="neither a mapping nor a Polars expression"):
        describe_where("actor='ann'")


def test_an_expression_is_taken_as_it_is() -> None:
    """A Polars expression passes through, and is refused where it names a column that is not there."""
    expression = (pl.col("actor") == "ann") & (pl.col("value") > 3)
    assert compile_where(expression, ["actor", "value"]) is expression
    with pytest.raises(InvalidQueryError, match="value"):
        compile_where(expression, ["actor"])


def test_an_expression_has_a_depth_that_polars_can_take() -> None:
    """An expression nested deeper than the limit is refused before Polars goes into it; a wide one is taken."""
    deep = pl.col("value")
    for _ in range(100_000):
        deep = deep + 1
    with pytest.raises(InvalidQueryError, match="nested deeper than 200 levels"):
        compile_where(deep > 0, ["value"])
    wide = pl.any_horizontal([pl.col("value") == number for number in range(1_000)])
    assert compile_where(wide, ["value"]) is wide


def test_the_deepest_path_is_reached() -> None:
    """A path has as many keys as attrs can be deep."""
    frame = pl.DataFrame({"attrs": ['{"a":' * 64 + "1" + "}" * 64]})
    assert kept(frame, {"attrs" + ".a" * 64: 1}) == [0]


def test_long_lists_of_values_in_attrs_take_no_time() -> None:
    """A list is looked up as a whole, each of its values by its own JSON type."""
    frame = pl.DataFrame(
        {"attrs": ['{"n": 7}', '{"n": "7"}', '{"n": "a"}', '{"n": true}', "{}", '{"n": 1e3}']}
    )
    begun = time.process_time()
    assert kept(frame, {"attrs.n": list(range(100_000))}) == [0, 1, 5]
    assert kept(frame, {"attrs.n": [str(number) for number in range(100_000)]}) == [1]
    assert kept(frame, {"attrs.n": [*map(float, range(50_000)), "a", True, None]}) == [0, 1, 2, 3, 4, 5]
    assert time.process_time() - begun < 10


def test_nothing_asked_is_no_condition() -> None:
    """None and an empty mapping limit nothing."""
    assert compile_where(None, ["actor"]) is None
    assert compile_where({}, ["actor"]) is None


def test_all_conditions_must_hold() -> None:
    """A mapping keeps the events for which every one of its conditions is true."""
    frame = pl.DataFrame({"actor": ["ann", "ann", "bob"], "outcome": ["failure", None, None]})
    assert kept(frame, {"actor": "ann", "outcome": None}) == [1]


def test_a_column_wins_over_a_path() -> None:
    """A column that happens to be called like a path in attrs is compared as the column it is."""
    frame = pl.DataFrame({"attrs": ['{"x": "in"}'], "attrs.x": ["out"]})
    assert kept(frame, {"attrs.x": "out"}) == [0]


RECORDS = [
    ("Invoice/17", {"by": "André", "note": 'said "no"'}),
    ("invoice/18", {"n": 17, "path": "C:\\temp"}),
    (None, {"invoice": {"lines": [{"sku": "ÅNGSTRÖM"}]}}),
    ("ΟΔΟΣ 1", None),
    (None, None),
    ("doc", {"note": "first\nname", "odd": "\\u00e9", "smile": "😀"}),
]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("invoice", [0, 1, 2]),
        ("INVOICE 17", [0, 1]),
        ("17", [0, 1]),
        (17, [0, 1]),
        ("andré", [0]),
        ("ANDRÉ  invoice", [0]),
        ('"no"', [0]),
        ("c:\\TEMP", [1]),
        ("ångström", [2]),
        ("sku lines", [2]),
        ("οδος", [3]),
        ("οδοσ", [3]),
        ("nname", []),
        ("name", [5]),
        ("é", [0]),
        ("\\u00e9", [5]),
        ("😀", [5]),
        (".", []),
        ("(", []),
        ("in*", []),
        (["17 andré", "name"], [0, 5]),
        ([], []),
        ({"not": "invoice"}, [3, 4, 5]),
        ({"not": ["17", "name 😀", "sku 17"]}, [2, 3, 4]),
        ({"not": []}, [0, 1, 2, 3, 4, 5]),
        ({"is": "invoice", "not": "17"}, [2]),
    ],
)
def test_words_are_looked_for(asked: object, expected: list[int], *, ascii_only: bool) -> None:
    """Each word occurs in the resource or in a key or value of attrs, in any case, however JSON escapes it."""
    attrs = [
        None if one is None else json.dumps(one, ensure_ascii=ascii_only, separators=(",", ":"))
        for _, one in RECORDS
    ]
    frame = pl.DataFrame({"resource": [resource for resource, _ in RECORDS], "attrs": attrs})
    assert kept(frame, {"text": asked}) == expected
    assert kept(frame, {"text": asked}, typed=False) == expected


@given(
    st.lists(st.text(alphabet='aA"\\/\n\té😀\u017fk\u212a\x00', max_size=8), min_size=1, max_size=6),
    st.text(alphabet='aA"\\/nu0é😀\u017fk\u212a', min_size=1, max_size=3),
    st.booleans(),
)
def test_words_agree_with_plain_python(texts: list[str], asked: str, ascii_only: bool) -> None:
    """A word is found where Python finds it in the JSON without its escapes, with `re.IGNORECASE`."""
    frame = pl.DataFrame({"attrs": [json.dumps({"k": text}, ensure_ascii=ascii_only) for text in texts]})
    shown = ['{"k": "' + text + '"}' for text in texts]
    expected = [
        row
        for row, text in enumerate(shown)
        if all(re.search(re.escape(word), text, re.IGNORECASE) for word in asked.split())
    ]
    assert kept(frame, {"text": asked}) == expected


def test_a_column_wins_over_the_search() -> None:
    """In a frame that has a column called text, the key is that column; a frame without either column has no text."""
    frame = pl.DataFrame({"text": ["a*", "ab"], "attrs": ['{"x": "ab"}', None]})
    assert kept(frame, {"text": "ab"}) == [1]
    assert kept(frame, {"text": "a*"}) == [0, 1]
    assert kept(pl.DataFrame({"resource": ["ab", None]}), {"text": "B"}) == [0]
    with pytest.raises(InvalidQueryError, match="text"):
        compile_where({"text": "ab"}, ["actor"])


DOCUMENTS: list[Any] = [
    {"x": 5},
    {"x": 5.0},
    {"x": "5"},
    {"x": True},
    {"x": "true"},
    {"x": None},
    {},
    {"x": ["5", 5]},
    {"x": {"y": "5"}},
    {"x": '["5",5]'},
    {"x": "ann"},
    {"x": ""},
    {"x": 2**53 + 1},
    {"x": "-1.5"},
    {"x": -1.5},
    {"x": "null"},
    {"x": "*"},
]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, [{"x": 5}, {"x": 5.0}, {"x": "5"}]),
        (5.0, [{"x": 5}, {"x": 5.0}, {"x": "5"}]),
        (np.int64(5), [{"x": 5}, {"x": 5.0}, {"x": "5"}]),
        ("5", [{"x": "5"}]),
        ("5.00", [{"x": 5}, {"x": 5.0}]),
        (True, [{"x": True}, {"x": "true"}]),
        (False, []),
        ("true", [{"x": "true"}]),
        (None, [{"x": None}, {}]),
        ("null", [{"x": "null"}]),
        ("ann", [{"x": "ann"}]),
        ("", [{"x": ""}]),
        ('["5",5]', [{"x": '["5",5]'}]),
        (2**53 + 1, [{"x": 2**53 + 1}]),
        (2**53, []),
        (-1.5, [{"x": "-1.5"}, {"x": -1.5}]),
        ("a*", [{"x": "ann"}]),
        ("5*", [{"x": "5"}]),
        (r"\*", [{"x": "*"}]),
        (["5", None], [{"x": "5"}, {"x": None}, {}]),
        ([5, "ann", True], [{"x": 5}, {"x": 5.0}, {"x": "5"}, {"x": True}, {"x": "true"}, {"x": "ann"}]),
        (["*"], [{"x": "*"}]),
        ([], []),
    ],
)
def test_values_in_attrs_are_compared(value: object, expected: list[object]) -> None:
    """Text equals text; a number or a boolean equals its own kind and the text that spells it."""
    frame = pl.DataFrame({"attrs": [json.dumps(document) for document in DOCUMENTS]})
    assert [DOCUMENTS[row] for row in kept(frame, {"attrs.x": value})] == expected
    others = set(range(len(DOCUMENTS))).difference(kept(frame, {"attrs.x": value}))
    if value != ["*"]:  # a glob where it is left out
        assert kept(frame, {"attrs.x": {"not": value}}) == sorted(others)


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ('{"x": 112345678901234567890}', 112345678901234567890, True),
        ('{"x": 112345678901234567891}', 112345678901234567890, False),
        ('{"x": "112345678901234567890"}', 112345678901234567890, True),
        ('{"x": "112345678901234567890"}', "112345678901234567890", True),
        ('{"x": 112345678901234567890}', "112345678901234567890", False),
        ('{"x": 18446744073709551615}', 2**64 - 1, True),
        ('{"x": -9223372036854775809}', -(2**63) - 1, True),
        ('{"x": 12.50}', "12.50", True),
        ('{"x": "12.50"}', "12.50", True),
        ('{"x": "12.5"}', "12.50", False),
        ('{"x": "12.50"}', 12.5, False),
        ('{"x": 1e3}', "1e3", True),
        ('{"x": "02134"}', 2134, False),
        ('{"x": 2134}', "02134", False),
        ('{"x": "7"}', np.float64(7), True),
        ('{"x": [7]}', 7, False),
        ('{"x": [7, 7]}', 7, False),
        ('{"x": {"y": 7}}', 7, False),
        ('{"x": 7.0e0}', 7, True),
        ('{"x": -0.5}', -0.5, True),
        ('{"x": 1e22}', 1e22, True),
        ('{"x": 1e-7}', 1e-7, True),
        ('{"x": 0.1}', 0.1, True),
        ('{"x": 7.0000000000000001}', 7, True),
        ('{"x": "false"}', np.bool_(0), True),
    ],
)
def test_numbers_in_attrs_are_found_by_their_digits(text: str, value: object, *, found: bool) -> None:
    """Numbers beyond 64 bits are compared digit by digit, and no spelling stands for another one."""
    assert kept(pl.DataFrame({"attrs": [text]}), {"attrs.x": value}) == [0] * found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (404, ["404"]),
        (404.0, ["404"]),
        (np.int32(404), ["404"]),
        (1.5, ["1.5"]),
        (True, ["true"]),
        ([404, "ann", None], ["404", "ann", None]),
        ([404, True], ["404", "true"]),
        ("1.50", ["1.50"]),
        (12345678901234567890123, ["12345678901234567890123"]),
    ],
)
def test_numbers_find_the_text_that_spells_them(value: object, expected: list[str | None]) -> None:
    """Ids of users are numbers in most databases: asked for as a number, a column of text has their spelling."""
    texts = ["404", "ann", None, "1.5", "1.50", "true", "12345678901234567890123", "0404"]
    for kind in (pl.String(), pl.Categorical()):
        frame = pl.DataFrame({"actor": texts}, schema={"actor": kind})
        assert [texts[row] for row in kept(frame, {"actor": value})] == expected
        found = conditions({"actor": value}, frame.schema)[0].texts
        assert found is None or set(found) >= set(expected)


def test_a_mapping_may_be_json_text() -> None:
    """What papermill hands over as text means the mapping that it spells."""
    frame = pl.DataFrame({"actor": ["12345", "ann"]})
    assert kept(frame, '{"actor": 12345}') == kept(frame, '{"actor": "12345"}') == [0]
    assert describe_where('{"actor": "ann"}') == 'actor is "ann"'


def test_a_star_in_attrs_matches_every_string_and_nothing_else() -> None:
    """The glob that matches any text keeps the strings inside attrs, not numbers, arrays or null."""
    frame = pl.DataFrame({"attrs": [json.dumps(document) for document in DOCUMENTS]})
    expected = [row for row, document in enumerate(DOCUMENTS) if isinstance(document.get("x"), str)]
    assert kept(frame, {"attrs.x": "*"}) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b.0.c", "deep"),
        ("a.b.1", "second"),
        ("a.b.2", None),
        ("a.b", '[{"c":"deep"},"second"]'),
        (r"a\.b", "dotted"),
        ("0", "zero"),
        (r"\0", "zero"),
        ("007", "agent"),
        ("nothing", None),
        ("null", None),
        ("n", "1.5"),
        ("t", "true"),
        ("two words", "words"),
        ("it's", "quote"),
        ('"', "double"),
        ("x']['y", "injected"),
        ('x"]["y', "as well"),
        ("$", "dollar"),
        ("*", "star"),
        ("..", None),
        ("a..b", None),
    ],
)
def test_paths_reach_into_attrs(path: str, expected: str | None) -> None:
    """Dots, digits and escapes lead to the value; keys with quotes, brackets or signs are only keys."""
    document = {
        "a": {"b": [{"c": "deep"}, "second"]},
        "a.b": "dotted",
        "0": "zero",
        "007": "agent",
        "null": None,
        "n": 1.5,
        "t": True,
        "two words": "words",
        "it's": "quote",
        '"': "double",
        "x']['y": "injected",
        'x"]["y': "as well",
        "$": "dollar",
        "*": "star",
    }
    frame = pl.DataFrame({"attrs": [json.dumps(document)]})
    assert frame.select(found=attr(path))["found"].to_list() == [expected]


KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\\"), min_size=1, max_size=6)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(codec="utf-8"), max_size=6),
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), KEYS, VALUES, VALUES)
def test_any_key_and_value_agree_with_plain_python(
    others: dict[str, Any], key: str, stored: Any, asked: Any
) -> None:
    """Whatever stands in a key or a value, a condition means equality, a number's or boolean's of its spelling too."""
    assume(not {"'", '"'} <= set(key))
    assume(
        not re.match(r"-?\d", str(asked)) or read_value(str(asked)) != asked
    )  # such as "1.0", another number's
    path = re.sub(r"[.0-9]", r"\\\g<0>", key)
    literal = asked
    if isinstance(asked, str):
        assume(not asked.endswith("\\"))
        literal = re.sub(r"(\\*)\*", lambda found: found[1] * 2 + r"\*", asked)
    frame = pl.DataFrame({"attrs": [json.dumps(others | {key: stored}), json.dumps({key: asked})]})
    alike = type(stored) is type(asked) and stored == asked
    spelled = isinstance(asked, int) and isinstance(stored, str) and stored == json.dumps(asked)
    expected = [0] if alike or spelled else []
    assert kept(frame, {f"attrs.{path}": literal}) == [*expected, 1]
    assert kept(frame, {f"attrs.{path}": [asked]}) == [*expected, 1]


def test_attrs_that_are_no_json_match_nothing() -> None:
    """Broken JSON and null attrs have no values, so only None matches."""
    frame = pl.DataFrame({"attrs": [None, "{", '{"x": 1}']})
    assert kept(frame, {"attrs.x": 1}) == [2]
    assert kept(frame, {"attrs.x": None}) == [0, 1]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (None, "all events"),
        ({}, "all events"),
        ({"actor": None}, "actor is missing"),
        ({"actor": "ann", "value": 3}, 'actor is "ann" and value is 3'),
        ({"action": "auth.*"}, 'action is like "auth.*"'),
        ({"action": r"a\*"}, 'action is "a*"'),
        ({"outcome": ["failure", None]}, 'outcome is "failure" or missing'),
        ({"actor": []}, "actor is one of none"),
        ({"attrs.flag": True}, "attrs.flag is true"),
        ({"attrs.two words": "x\n"}, '"attrs.two words" is "x\\n"'),
        ({"ts": MOMENT}, "ts is 2026-11-24 07:00:00+00:00"),
        ({"actor": {"not": "ann"}}, 'actor is not "ann"'),
        ({"actor": {"not": None}}, "actor is not missing"),
        ({"actor": {"not": "cron*"}}, 'actor is not like "cron*"'),
        (
            {"actor": {"not": ["a", r"b\*", "c*", None]}},
            'actor is neither "a" nor "b*" nor like "c*" nor missing',
        ),
        ({"actor": {"not": []}}, "actor is anything"),
        ({"text": "invoice 17"}, 'text has the words "invoice 17"'),
        ({"text": ["a*", "b"]}, 'text has the words "a*" or "b"'),
        ({"text": {"not": "a*"}}, 'text has not the words "a*"'),
        ({"text": {"not": ["a", "b"]}}, 'text has neither the words "a" nor "b"'),
        ({"actor": {"is": "a*", "not": ["ann"]}}, 'actor is like "a*" and actor is not "ann"'),
        ({"text": {"is": "a", "not": "b"}}, 'text has the words "a" and text has not the words "b"'),
    ],
)
def test_conditions_are_put_in_words(where: Where, words: str) -> None:
    """The words name every condition, values quoted so that no value can pose as another condition."""
    assert describe_where(where) == words


def test_an_expression_is_put_in_words() -> None:
    """An expression is described by its own text."""
    assert describe_where(pl.col("value") > 3).startswith("the expression ")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("actor=ann", ("actor", "ann")),
        ("actor=", ("actor", "")),
        ("actor=a=b", ("actor", "a=b")),
        ("actor=null", ("actor", None)),
        ('actor="null"', ("actor", "null")),
        ('actor=["ann", null]', ("actor", ["ann", None])),
        ("actor=auth.*", ("actor", "auth.*")),
        ("outcome=200", ("outcome", 200)),
        ("actor!=backup", ("actor", {"not": "backup"})),
        ('actor!=["a", "b*", null]', ("actor", {"not": ["a", "b*", None]})),
        ("actor!=null", ("actor", {"not": None})),
        ("actor!==a", ("actor", {"not": "=a"})),
        ("actor=!a", ("actor", "!a")),
        ("attrs.status!=404", ("attrs.status", {"not": 404})),
        ("text=invoice 17", ("text", "invoice 17")),
        ("text!=probe", ("text", {"not": "probe"})),
        ('outcome="200"', ("outcome", "200")),
        ("outcome=1.00", ("outcome", "1.00")),
        ("resource=1234e56", ("resource", "1234e56")),
        ("resource=1e999", ("resource", "1e999")),
        ("flag=true", ("flag", True)),
        ("attrs.port=22", ("attrs.port", 22)),
        ('attrs.port="22"', ("attrs.port", "22")),
        ("attrs.flag=true", ("attrs.flag", True)),
        ("attrs.x=NaN", ("attrs.x", "NaN")),
        ("attrs.x=" + "[" * 100_000, ("attrs.x", "[" * 100_000)),
    ],
)
def test_options_of_the_command_line_are_read(option: str, expected: tuple[str, object]) -> None:
    """JSON is read as JSON, everything else is text, and a number that JSON would write otherwise keeps its spelling."""
    assert parse_where_option(option) == expected


@pytest.mark.parametrize("option", ["", "actor", "=ann", "!=ann"])
def test_options_without_key_or_value_are_refused(option: str) -> None:
    """An option that is not key=value raises an error that shows it."""
    with pytest.raises(InvalidQueryError, match="key=value"):
        parse_where_option(option)
