"""Answers about selections, as they are asked of the trail."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from auditkit.api import Trail
from auditkit.errors import InvalidQueryError
from auditkit.explorer.questions import Questions
from auditkit.explorer.selection import Selection
from auditkit.timerange import to_us
from tests.fakes import ManualClock

FIRST = datetime(2026, 11, 24, 8, tzinfo=UTC)


@pytest.fixture
def half(trail: Trail) -> Trail:
    """Return a trail with an event each minute of two hours, the first hour of them in segments."""
    rows = [
        {
            "ts": FIRST + timedelta(minutes=n),
            "action": f"a{n % 3}",
            "actor": ["ann", "bob", "", None][n % 4],
            "outcome": "success" if n % 5 else "failure",
        }
        for n in range(120)
    ]
    trail.extend(rows[:60]).wait()
    trail.flush()
    trail.extend(rows[60:]).wait()
    return trail


def test_an_answer_has_bars_counts_and_totals(half: Trail) -> None:
    """The bars are those of all time, the counts those of the brush, each facet without its own choice."""
    asked = Questions(half.view)
    assert asked.span == (to_us(FIRST), to_us(FIRST + timedelta(minutes=119)) + 1)
    hour = (to_us(FIRST), to_us(FIRST + timedelta(hours=1)))
    answer = asked.answer(Selection(brush=hour, keep={"actor": ("ann", None)}))
    assert (answer["total"], answer["all"]) == (30, 120)
    assert answer["facets"]["actor"] == {
        "rows": [["", 15, 30], ["ann", 15, 30], ["bob", 15, 30], [None, 15, 30]],
        "distinct": 4,
    }
    assert answer["facets"]["outcome"]["rows"] == [["success", 24, 96], ["failure", 6, 24]]
    assert (answer["outcomes"], answer["every"]) == (["success", "failure"], "1m")
    assert len(answer["edges"]) == 121
    assert [sum(column) for column in zip(*answer["bars"], strict=True)] == [48, 12, 0]
    closer = asked.answer(Selection(), hour)
    assert (closer["edges"][0], closer["edges"][-1]) == hour
    assert sum(map(sum, closer["bars"])) == 60


def test_what_was_chosen_is_never_missing(half: Trail) -> None:
    """A value that does not occur is shown with nothing; one is found by a part of it in any case."""
    asked = Questions(half.view)
    rows = asked.answer(Selection(keep={"actor": ("zoe",)}))["facets"]["actor"]["rows"]
    assert rows[-1] == ["zoe", 0, 0]
    assert asked.find(Selection(), "actor", "NN") == {"rows": [["ann", 30, 30]], "distinct": 1}


def test_pages_go_back_in_time(half: Trail) -> None:
    """The newest event comes first; times are microseconds; the code gives the same events."""
    asked = Questions(half.view)
    chosen = Selection(keep={"actor": ("ann",)})
    page = asked.page(chosen, 1, 2)
    assert [row["seq"] for row in page] == [112, 108]
    assert page[0]["ts"] == to_us(FIRST + timedelta(minutes=112))
    copied = eval(asked.code(chosen, "half"), {"half": half})  # noqa: S307 -- what a person would do with it
    assert_frame_equal(copied, asked.frame(chosen))
    assert copied["seq"].to_list() == list(range(0, 120, 4))


def test_a_page_has_the_beginning_of_a_long_text(trail: Trail) -> None:
    """The whole is there for the asking."""
    trail.append(action="doc.read", resource="x" * 30_000, attrs={"n": 2**60}).wait()
    asked = Questions(trail.view)
    (row,) = asked.page(Selection(), 0, 50)
    assert (len(row["resource"]), row["cut"]) == (20_000, ["resource"])
    whole = asked.event(0)
    assert whole is not None
    assert (len(whole["resource"]), whole["attrs"]) == (30_000, '{"n":1152921504606846976}')
    assert asked.event(1) is None


def test_the_view_is_pinned(half: Trail) -> None:
    """Events that come later are not counted, and what was flushed and merged since is found where it is now."""
    asked, later = Questions(half.view), Questions(half.view)
    page = asked.page(Selection(), 0, 50)
    assert asked.answer(Selection())["total"] == 120
    half.append(action="late", actor="ann").wait()
    half.maintain(compact=True)
    assert half.stats().queue.depth == 0
    for one in (asked, later):
        assert one.answer(Selection())["total"] == 120
        assert one.page(Selection(), 0, 50) == page
        assert one.frame(Selection()).height == 120


def test_nothing_and_one_event(trail: Trail, make_trail: Callable[..., Trail]) -> None:
    """A trail without events has no bars; one with a single event has one."""
    asked = Questions(trail.view)
    answer = asked.answer(Selection(), (0, 1))
    assert (asked.span, answer["edges"], answer["bars"], answer["total"]) == (None, [], [], 0)
    assert asked.page(Selection(), 0, 50) == []
    one = make_trail("one")
    one.append(action="doc.read", ts=FIRST).wait()
    answer = Questions(one.view).answer(Selection())
    assert (answer["bars"], answer["outcomes"], answer["total"]) == ([[1, 0]], [None], 1)


def test_an_expression_is_refused(trail: Trail) -> None:
    """No code can be made of one; conditions are checked when the explorer is opened."""
    with pytest.raises(InvalidQueryError, match="of which an explorer makes no code"):
        Questions(trail.view, where=pl.col("actor") == "ann")
    with pytest.raises(InvalidQueryError, match="did you mean 'actor'"):
        Questions(trail.view, where={"actr": "ann"})


def test_groups_in_the_code_are_of_the_events_alone(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """A tier also has what has expired, which an explorer does not show."""
    trail = make_trail(retention="1d")
    trail.rollup("1h", by="action")
    clock.us = to_us(FIRST)
    trail.extend([{"ts": FIRST + timedelta(minutes=n), "action": "old"} for n in range(3)]).wait()
    trail.maintain()
    clock.advance(days=3)
    for hours in (30, 60, 72):
        trail.append(action="new", ts=FIRST + timedelta(hours=hours)).wait()
    trail.maintain()
    asked = Questions(trail.view)
    assert asked.answer(Selection())["facets"]["action"]["rows"] == [["new", 2, 2]]
    code = asked.code(Selection(), by="action")
    assert code.endswith(".group_by('action', tier=None)")
    found = eval(code, {"trail": trail})  # noqa: S307 -- what a person would do with it
    assert found.select("action", "count").rows() == [("new", 2)]
    assert trail.group_by("action").select("action", "count").rows() == [("new", 3), ("old", 3)]
