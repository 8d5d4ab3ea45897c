"""Codes in memory: every answer is that of the copied code, and that of the trail without codes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import PrunedError
from auditkit.explorer import codes as codes_module
from auditkit.explorer.questions import Questions
from auditkit.explorer.selection import FACETS, Selection
from auditkit.timerange import to_us
from tests.fakes import ManualClock

FIRST = datetime(2026, 10, 24, 20, tzinfo=UTC)
"""Before the clocks of Stockholm go back."""
VALUES: dict[str, list[str | None]] = {
    "actor": ["ann", "bob", "a*", "ån\\*n", "", None, "\u202eevil", "404"],
    "action": ["auth.login", "auth.fail", "doc.read", "doc.*"],
    "outcome": ["success", "failure", None, "", *(f"code {n}" for n in range(9))],
    "source": ["web", None, "api"],
    "origin": [None, "10.0.0.1", "::1"],
}
BASES: list[Any] = [
    None,
    {},
    {"actor": "a*"},
    {"actor": ["ann", None, ""]},
    {"actor": {"not": ["bob", "å*"]}},
    {"actor": 404, "outcome": None},
    {"attrs.n": [1, 2, 3, 4]},
    {"text": "invoice", "actor": {"is": "a*", "not": "ann"}},
    {"text": {"not": ["letter", "paid"]}},
    '{"action": "doc.*"}',
    {"actor": {"not": None}, "value": 2},
]


def rows(draw: Random, count: int, begin: int, end: int) -> list[dict[str, Any]]:
    """Return events of hours `begin` to `end`, late ones and ones at the same time among them."""
    return [
        {
            "ts": FIRST + timedelta(minutes=draw.randrange(60 * begin, 60 * end)),
            **{facet: draw.choice(values) for facet, values in VALUES.items()},
            "resource": draw.choice(["invoice 17", "Invoice 18", "letter", None]),
            "attrs": {"n": draw.randrange(9), "note": draw.choice(["paid", "für Åsa", "x"])},
            "value": draw.randrange(4),
        }
        for _ in range(count)
    ]


def selection(draw: Random, span: tuple[int, int]) -> Selection:
    """Return a selection of any kind."""
    keep, leave_out = dict[Any, Any](), dict[Any, Any]()
    for facet in draw.sample(FACETS, draw.randrange(3)):
        values = [*VALUES[facet], "nobody"]
        kind = draw.choice([keep, leave_out])
        kind[facet] = tuple(draw.sample(values, draw.randrange(1, 4)))
        if draw.random() < 0.2:
            leave_out[facet] = tuple(draw.sample(values, 1))
    brush = None
    if draw.random() < 0.5:
        begin, end = sorted(draw.randrange(span[0] - 10**9, span[1] + 10**9) for _ in range(2))
        brush = (begin, end + 1)
    text = draw.choice(["", "", "", "invoice 17", "PAID", "åsa"])
    return Selection(brush=brush, keep=keep, leave_out=leave_out, text=text)


def assert_answers(asked: Questions, trail: Trail, chosen: Selection, zoom: Any) -> None:
    """Hold everything that is said of a selection against what its code gives."""

    def run(code: str) -> pl.DataFrame:
        found = eval(code, {"trail": trail})  # noqa: S307 -- what a person does with it
        assert isinstance(found, pl.DataFrame)
        return found

    found = run(asked.code(chosen))
    assert_frame_equal(asked.frame(chosen), found)
    answer = asked.answer(chosen, zoom)
    assert answer["total"] == found.height
    assert answer["all"] == run(asked.code(Selection())).height
    for facet in FACETS:
        counts = run(asked.code(chosen.without(facet), by=facet))
        told = answer["facets"][facet]
        expected = dict(counts.select(facet, "count").rows())
        assert told["distinct"] == len(expected)
        assert [value for value, _, _ in told["rows"]][: len(expected)] == sorted(
            expected, key=lambda value: (-expected[value], value is None, value or "")
        )
        assert {value: count for value, count, _ in told["rows"]} == {
            **dict.fromkeys(chosen.chosen(facet), 0),
            **expected,
        }
        before = dict(run(asked.code(Selection(), by=facet)).select(facet, "count").rows())
        assert [n for _, _, n in told["rows"]] == [before.get(value, 0) for value, _, _ in told["rows"]]
    assert_bars(asked, run, chosen, answer)
    page = asked.page(chosen, 3, 5)
    newest = found.reverse().slice(3, 5)
    assert [row["seq"] for row in page] == newest["seq"].to_list()
    assert [row["ts"] for row in page] == [to_us(ts) for ts in newest["ts"]]
    assert [row["attrs"] for row in page] == newest["attrs"].to_list()


def assert_bars(asked: Questions, run: Any, chosen: Selection, answer: dict[str, Any]) -> None:
    """Hold the bars against the groups of the time they show."""
    if not answer["edges"]:
        assert (answer["bars"], answer["outcomes"]) == ([], [])
        return
    shown = Selection(
        brush=(answer["edges"][0], answer["edges"][-1]),
        keep=chosen.keep,
        leave_out=chosen.leave_out,
        text=chosen.text,
    )
    groups = run(asked.code(shown, by="outcome", every=answer["every"]))
    starts = groups["ts"].dt.convert_time_zone("UTC").to_physical().to_list()
    expected: dict[tuple[int, str | None], int] = {}
    for start, outcome, count in zip(starts, groups["outcome"], groups["count"], strict=True):
        column = outcome if outcome in answer["outcomes"] else "\0others"
        expected[start, column] = expected.get((start, column), 0) + count
    told = {
        (start, outcome): count
        for start, bar in zip(answer["edges"][:-1], answer["bars"], strict=True)
        for outcome, count in zip([*answer["outcomes"], "\0others"], bar, strict=True)
        if count
    }
    assert told == expected


@pytest.mark.filterwarnings("ignore::auditkit.errors.EmptyAnswerWarning")
@pytest.mark.parametrize("seed", range(6))
def test_answers_are_those_of_the_code(
    make_trail: Callable[..., Trail], clock: ManualClock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Bars, counts, totals, pages and frames of random selections, in several zones, own, expired and held events beside.

    Without memory for codes the trail answers the same.
    """
    draw = Random(seed)
    clock.us = to_us(FIRST + timedelta(days=3))
    trail = make_trail(retention={"auth.*": "30h", "*": "60h"} if seed % 2 else None)
    if seed % 4 == 1:
        trail.hold("case", where={"actor": "ann"}, reason="asked for")
    for count, begin, end in ((150, 0, 40), (100, 36, 70)):
        trail.extend(rows(draw, count, begin, end)).wait()
        trail.flush()
    trail.extend(rows(draw, 80, 42, 71)).wait()
    if seed % 3 == 0:
        trail.maintain(compact=True)
        trail.extend(rows(draw, 30, 50, 71)).wait()
    for base in draw.sample(BASES, 3):
        tz = draw.choice([None, "Europe/Stockholm", "Asia/Kathmandu"])
        bounds = draw.choice([(None, None), ("-60h", None), ("2026-10-25", "+1d"), (None, "2026-10-26")])
        asked, slow = (Questions(trail.view, *bounds, base, tz) for _ in range(2))
        trail.append(action="later", actor="ann").wait()
        span = asked.span or (0, 1)
        zooms = [None, *([(span[0], (span[0] + span[1]) // 2 + 1)] if asked.span else [])]
        with monkeypatch.context() as patch:
            patch.setattr(codes_module, "available_memory", lambda: 0)
            assert slow.load()["events"] == 0
        for chosen in [Selection(), *(selection(draw, span) for _ in range(3))]:
            zoom = draw.choice(zooms)
            assert_answers(asked, trail, chosen, zoom)
            assert slow.answer(chosen, zoom) == asked.answer(chosen, zoom)
            assert slow.page(chosen, 3, 5) == asked.page(chosen, 3, 5)
            assert slow.find(chosen, "actor", "A") == asked.find(chosen, "actor", "A")
        assert asked.load()["note"] == ""


@pytest.mark.parametrize("where", [None, {"action": "a*"}])
def test_more_than_memory_holds_is_asked_of_the_trail(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, where: Any
) -> None:
    """The first answer says nothing of it; `load` says why no codes are there."""
    trail.extend([{"action": "a"}] * 9).wait()
    monkeypatch.setattr(codes_module, "available_memory", lambda: 9 * 24)
    asked = Questions(trail.view, where=where)
    assert asked.answer(Selection())["total"] == 9
    found = asked.load()
    assert (found["events"], found["bytes"]) == (0, 0)
    assert found["note"] == (
        "9 events take about 216 B: each question is asked of the trail"
        if where is None
        else "more than 0 events: each question is asked of the trail"
    )


def test_too_many_values_are_asked_of_the_trail(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values take memory as well as codes do."""
    trail.extend([{"action": f"a{n}"} for n in range(500)]).wait()
    trail.flush()
    monkeypatch.setattr(codes_module, "available_memory", lambda: 500 * 100)
    asked = Questions(trail.view)
    assert "values: each question" in asked.load()["note"]
    assert asked.answer(Selection())["facets"]["action"]["distinct"] == 500


def test_codes_grow_with_their_values(trail: Trail) -> None:
    """A facet with more than 256 values, and with more than 65,536, has wider codes; the top of them is shown."""
    for count in (200, 300, 70_000):
        trail.extend(
            pl.DataFrame({"action": "a", "actor": [f"user{n:06}" for n in range(count)]}), ts="now"
        ).wait()
        trail.flush()
    asked = Questions(trail.view)
    answer = asked.answer(Selection())
    assert asked.load()["events"] == 70_500
    found = answer["facets"]["actor"]
    assert (found["distinct"], len(found["rows"])) == (70_000, 50)
    assert found["rows"][0] == ["user000000", 3, 3]
    assert asked.find(Selection(), "actor", "USER06543")["rows"] == [
        [f"user06543{n}", 1, 1] for n in range(10)
    ]
    chosen = Selection(keep={"actor": ("user069999",)})
    answer = asked.answer(chosen)
    assert answer["total"] == 1
    assert answer["facets"]["actor"]["rows"][-1] == ["user069999", 1, 1]
    assert [row["actor"] for row in asked.page(chosen, 0, 50)] == ["user069999"]


def test_overlapping_segments_and_ties_are_put_in_order(trail: Trail) -> None:
    """Events at one time are in the order of their seqs, whichever segment holds them."""
    for shift in (5, 0, 5, 3):
        trail.extend([{"action": "a", "ts": FIRST + timedelta(seconds=n + shift)} for n in range(9)]).wait()
        trail.flush()
    trail.extend([{"action": "a", "ts": FIRST + timedelta(seconds=n)} for n in range(9, 0, -1)]).wait()
    asked = Questions(trail.view)
    page = asked.page(Selection(), 0, 50)
    asked.load()
    assert asked.page(Selection(), 0, 50) == page
    assert [row["seq"] for row in page] == trail.range(descending=True)["seq"].to_list()


def test_what_was_pruned_since_is_an_error(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """Codes go on counting the events that were there; a page and the code of what is gone raise `PrunedError`."""
    trail = make_trail(retention="2d")
    first = datetime(2026, 11, 20, tzinfo=UTC)
    clock.us = to_us(first)
    trail.extend([{"action": "a", "ts": first + timedelta(minutes=n)} for n in range(9)]).wait()
    trail.flush()
    asked, late = Questions(trail.view), Questions(trail.view)
    answer = asked.answer(Selection())
    for days in range(1, 5):
        clock.us = to_us(first + timedelta(days=days))
        trail.append(action="b").wait()
    trail.maintain()
    assert trail.stats().retention.pruned == 10
    assert asked.answer(Selection()) == answer
    for fails in (
        lambda: asked.page(Selection(), 0, 50),
        lambda: asked.frame(Selection()),
        lambda: late.answer(Selection()),
    ):
        with pytest.raises(PrunedError, match="pruned after seq 9"):
            fails()
    assert Questions(trail.view).answer(Selection())["total"] == 3
    assert Questions(trail.at(9, allow_pruned=True).view).answer(Selection())["total"] == 0


def test_a_load_can_be_ended(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed explorer holds nothing until it is asked again."""
    trail.extend([{"action": "a"}] * 9).wait()
    trail.flush()
    asked = Questions(trail.view)

    def interrupted(work: Any, items: Any) -> Any:
        asked.close()
        return map(work, items)

    with monkeypatch.context() as patch:
        patch.setattr(codes_module, "side_by_side", interrupted)
        assert asked.load() == {"events": 0, "bytes": 0, "note": "the explorer was closed"}
    assert asked.load()["events"] == 9
    asked.close()
    assert asked.answer(Selection())["total"] == 9


def test_codes_are_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A trail on media that only read is explored like any other."""
    with ak.create(tmp_path / "audit") as trail:
        trail.extend([{"action": "a", "resource": f"r{n}"} for n in range(9)]).wait()
        trail.flush()
        trail.append(action="b").wait()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "audit").rglob("*")}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with ak.open(tmp_path / "audit") as trail:
        asked = Questions(trail.view)
        assert asked.answer(Selection(text="R3"))["total"] == 1
        assert asked.load()["events"] == 10
        assert len(asked.page(Selection(), 0, 50)) == 10
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "audit").rglob("*")} == before
