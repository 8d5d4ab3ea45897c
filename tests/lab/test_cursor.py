"""Where the cursor stands in a piece of Python."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.lab.cursor import Item, Key, attribute_before, read_spot

WHOLE = """
# a comment with "quotes (
def f(trails, x={"a": [1, 2]}):
    '''three " quotes ('''
    return trails["mine"].at(7).range("-1d", where={"actor": ["ann", 'it\\'s'], "attrs.a": r"\\d"}, columns=("ts",))
"""


@pytest.mark.parametrize(
    ("text", "callee", "argument", "steps", "typed"),
    [
        ('trail.range("', "trail.range", 0, (), ""),
        ('trail.range("-1d", "today', "trail.range", 1, (), "today"),
        ("trail.append(action='doc.re", "trail.append", "action", (), "doc.re"),
        ("trail.append(action=", "trail.append", "action", (), ""),
        ('trail.range(where={"', "trail.range", "where", (Key(None),), ""),
        ('trail.range(where={"a": 1, ', "trail.range", "where", (Key(None),), ""),
        ('trail.range(where={"a": "b', "trail.range", "where", (Key("a"),), "b"),
        ('trail.range(where={"a": ["b", "', "trail.range", "where", (Key("a"), Item()), ""),
        ('trail.range(where={"a": {"not": "', "trail.range", "where", (Key("a"), Key("not")), ""),
        ('trail.range(where={"a": "x"}, columns=["ts", ', "trail.range", "columns", (Item(),), ""),
        ('trail.range(columns=("ts", "', "trail.range", "columns", (Item(),), ""),
        ('trail.group_by("actor", aggs=len(x), where={"', "trail.group_by", "where", (Key(None),), ""),
        (
            '(trail\n    .at(7)\n    .range(where={ # "x"\n  "',
            "trail\n    .at(7)\n    .range",
            "where",
            (Key(None),),
            "",
        ),
        ('x = """ trail.range("\' """\ntrails["a"].tail("', 'trails["a"].tail', 0, (), ""),
        ("f(trail.range(where={'a': 'x (', 'b", "trail.range", "where", (Key(None),), "b"),
        ("trail.range('unclosed\ntrail.range(r'x", "trail.range", 0, (), "x"),
    ],
)
def test_where_the_cursor_stands(
    text: str, callee: str, argument: str | int, steps: tuple[Any, ...], typed: str
) -> None:
    """Call, argument, the way inwards and what is typed are read from code that ends anywhere."""
    spot = read_spot(text)
    assert spot is not None
    assert (spot.callee, spot.argument, spot.steps, spot.typed) == (callee, argument, steps, typed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "trail.range",
        "trail.range(x",
        'trail.range("a" + "b',
        'trail.range(where={"a": f("x")["',
        'trail["',
        '{"a": "',
        'if ("',
        '# trail.range("',
        'trail.range("a")',
        'trail.range(where={x: "',
        'trail.range(where={"a": x if "',
    ],
)
def test_where_it_stands_in_no_argument(text: str) -> None:
    """Outside of calls, within expressions and behind what is closed there is nothing to say."""
    assert read_spot(text) is None


def test_calls_inside_calls() -> None:
    """The spot of the call around it is known."""
    spot = read_spot('trail.scan().filter(ak.attr("us')
    assert spot is not None
    assert spot.outer is not None
    assert (spot.callee, spot.outer.callee) == ("ak.attr", "trail.scan().filter")


def test_attributes() -> None:
    """What stands before the last dot, unless that is in a text."""
    assert attribute_before("x = trail.ra") == ("trail", "ra")
    assert attribute_before("f(trails['a'].at(7).") == ("trails['a'].at(7)", "")
    assert attribute_before("print('a.") is None
    assert attribute_before("trail") is None


@given(st.integers(0, len(WHOLE)), st.text(alphabet="\"'()[]{}#\\,:.= \nax", max_size=12))
def test_any_code_is_read(cut: int, noise: str) -> None:
    """Whatever the code, reading it ends, and what is typed stands at its end."""
    for text in (WHOLE[:cut] + noise, noise + WHOLE[:cut], noise):
        spot = read_spot(text)
        assert spot is None or text.endswith(spot.typed)
        attribute_before(text)
