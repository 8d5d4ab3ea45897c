"""Codes in memory: every answer is that of the copied code, before they are loaded and after."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from auditkit.api import Trail
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
    make_trail: Callable[..., Trail], clock: ManualClock, seed: int
) -> None:
    """Bars, counts, totals, pages and frames of random selections, in several zones, own, expired and held events beside."""
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
        asked = Questions(trail.view, *bounds, base, tz)
        trail.append(action="later", actor="ann").wait()
        span = asked.span or (0, 1)
        choices = [selection(draw, span) for _ in range(3)]
        zooms = [None, *([(span[0], (span[0] + span[1]) // 2 + 1)] if asked.span else [])]
        for chosen in choices:
            assert_answers(asked, trail, chosen, draw.choice(zooms))
        assert asked.load()["note"] == ""
        for chosen in [Selection(), *choices]:
            assert_answers(asked, trail, chosen, draw.choice(zooms))
