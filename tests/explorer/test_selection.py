"""What is chosen: read from a browser, as conditions, as code."""

from typing import Any

import polars as pl
import pytest

from auditkit.errors import InvalidQueryError
from auditkit.explorer.selection import Selection, read_zoom
from auditkit.timerange import TimeRange

DAY = TimeRange(start_us=1_795_478_400_000_000, end_us=1_795_564_800_000_000)
"""2026-11-24 in UTC."""
HOUR = (1_795_507_200_000_000, 1_795_510_800_000_000)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (7, "Expected `object`"),
        ({"brush": [3, 1]}, "ends before it begins"),
        ({"brush": [1, 1]}, "ends before it begins"),
        ({"brush": [1, 2.5]}, "Expected `int`"),
        ({"brush": [1, 2, 3]}, "length 2"),
        ({"brush": [-(10**18), 2]}, "brush"),
        ({"sql": "DROP"}, "unknown field"),
        ({"keep": {"resource": ["x"]}}, "'resource'"),
        ({"keep": {"actor": "ann"}}, "Expected `array`"),
        ({"keep": {"actor": [7]}}, "Expected `str | null`"),
        ({"keep": {"actor": ["x"] * 501}}, "length <= 500"),
        ({"leave_out": {"actor": ["x" * 65_537]}}, "length <= 65536"),
        ({"text": "x" * 1_001}, "length <= 1000"),
        ({"text": "\ud800"}, "surrogates not allowed"),
        ({"keep": {"actor": ["\udfff"]}}, "surrogates not allowed"),
    ],
)
def test_what_no_explorer_sends_is_refused(data: Any, reason: str) -> None:
    """A selection has the fields it has, of bounded size, and text that is Unicode."""
    with pytest.raises(InvalidQueryError, match=r"^selection: ") as caught:
        Selection.read(data)
    assert reason in str(caught.value)


def test_a_selection_reads_as_it_was_sent() -> None:
    """Each field may be left out; a zoom is read like a brush."""
    assert Selection.read({}) == Selection()
    found = Selection.read({"brush": [1, 2], "keep": {"actor": ["ann", None]}, "text": "a"})
    assert found == Selection(brush=(1, 2), keep={"actor": ("ann", None)}, text="a")
    assert read_zoom([1, 2]) == (1, 2)
    assert read_zoom(None) is None


@pytest.mark.parametrize(
    ("selection", "base", "where"),
    [
        ({}, {"attrs.x": 1}, {"attrs.x": 1}),
        ({"keep": {"actor": ["ann"]}}, {}, {"actor": "ann"}),
        ({"keep": {"actor": [None]}}, {}, {"actor": None}),
        ({"keep": {"actor": ["a*"]}}, {}, {"actor": ["a*"]}),
        ({"keep": {"actor": []}}, {}, {}),
        ({"keep": {"actor": ["ann", "bob", None]}}, {"actor": "a*"}, {"actor": "ann"}),
        ({"keep": {"actor": ["bob"]}}, {"actor": ["ann", None]}, {"actor": []}),
        ({"keep": {"actor": ["404", "500"]}}, {"actor": 404}, {"actor": "404"}),
        ({"keep": {"actor": ["ann", "bob"]}, "leave_out": {"actor": ["bob"]}}, {}, {"actor": "ann"}),
        ({"leave_out": {"actor": ["ann"]}}, {}, {"actor": {"not": "ann"}}),
        ({"leave_out": {"actor": [r"a\*", None]}}, {}, {"actor": {"not": [r"a\\\*", None]}}),
        ({"leave_out": {"actor": ["ann"]}}, {"actor": "a*"}, {"actor": {"is": "a*", "not": "ann"}}),
        ({"leave_out": {"actor": ["ann"]}}, {"actor": {"not": "b*"}}, {"actor": {"not": ["b*", "ann"]}}),
        ({"text": " invoice\t17 "}, {}, {"text": "invoice 17"}),
        ({"text": "17"}, {"text": "invoice"}, {"text": "invoice 17"}),
        ({"text": "17"}, {"text": ["a", "b"]}, {"text": ["a 17", "b 17"]}),
        ({"text": "17"}, {"text": {"not": "b"}}, {"text": {"not": "b", "is": "17"}}),
        ({"text": "17"}, {"text": {"is": "a", "not": "b"}}, {"text": {"is": "a 17", "not": "b"}}),
    ],
)
def test_the_conditions_of_both(selection: Any, base: dict[str, Any], where: dict[str, Any]) -> None:
    """What is chosen narrows what the explorer was opened with; a value stands for itself, stars or not."""
    assert Selection.read(selection).where(base) == where


def test_the_code_says_window_conditions_and_seq() -> None:
    """A brush narrows the window, times are exact, and the trail is pinned."""
    open_ended = TimeRange(start_us=None, end_us=None)
    code = Selection().code("trail", open_ended, {}, zone="UTC", as_of=7)
    assert code == "trail.at(7).range()"
    chosen = Selection(brush=HOUR, keep={"actor": ("ann",)})
    assert chosen.code("t", DAY, {}, zone="Europe/Stockholm", tz="Europe/Stockholm", as_of=7) == (
        "t.at(7).range('2026-11-24T09:00:00+01:00', '2026-11-24T10:00:00+01:00', "
        "where={'actor': 'ann'}, tz='Europe/Stockholm')"
    )
    left = TimeRange(start_us=None, end_us=HOUR[0])
    assert Selection().code("t", left, {}, zone="UTC", as_of=7, allow_pruned=True) == (
        "t.at(7, allow_pruned=True).range(None, '2026-11-24T08:00:00+00:00')"
    )
    assert Selection().code("t", DAY, {"actor": "a*"}, zone="UTC", as_of=7, by="actor", every="1h") == (
        "t.at(7).group_by('actor', every='1h', start='2026-11-24T00:00:00+00:00', "
        "end='2026-11-25T00:00:00+00:00', where={'actor': 'a*'})"
    )


def test_a_brush_outside_of_the_window_is_a_time_without_length() -> None:
    """The code then asks for nothing, where `end` before `start` would be an error."""
    chosen = Selection(brush=(DAY.end_us or 0, (DAY.end_us or 0) + 1)).within(DAY)
    assert chosen.start_us == chosen.end_us


def test_an_offset_with_seconds_is_written_in_utc() -> None:
    """No ISO text has seconds in its offset, as Liberia had them until 1972."""
    code = Selection(brush=(0, 1)).code("t", DAY, {}, zone="Africa/Monrovia", as_of=1)
    assert code.startswith("t.at(1).range('2026-11-24T00:00:00+00:00', '2026-11-24T00:00:00+00:00'")
    everything = TimeRange(start_us=None, end_us=None)
    code = Selection(brush=(0, 1)).code("t", everything, {}, zone="Africa/Monrovia", as_of=1)
    assert code.startswith("t.at(1).range('1970-01-01T00:00:00+00:00', '1970-01-01T00:00:00.000001+00:00'")


def test_counts_without_the_own_choice_give_the_total() -> None:
    """What is kept and what is left out apply to the counts of their facet."""
    counts = {"outcome": pl.DataFrame({"outcome": ["success", "failure", None], "count": [5, 3, 2]})}
    assert Selection(keep={"outcome": ("failure", None)}).total(counts) == 5  # type: ignore[arg-type]
    assert Selection(leave_out={"outcome": ("failure", None)}).total(counts) == 5  # type: ignore[arg-type]
