"""The explorer's side in the kernel: messages in, what is shown and given to the next cell out."""

import queue
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import AuditError, InvalidQueryError
from auditkit.timerange import to_us
from tests.reporting.material import PAYLOADS

FIRST = datetime(2026, 11, 24, 8, tzinfo=UTC)
NOTHING: dict[str, Any] = {"brush": None, "keep": {}, "leave_out": {}, "text": ""}


@pytest.fixture
def busy(trail: Trail) -> Trail:
    """Return a trail with an event each minute of two hours."""
    rows = [
        {
            "ts": FIRST + timedelta(minutes=n),
            "action": f"a{n % 3}",
            "actor": ["ann", "bob", "", None][n % 4],
            "outcome": "success" if n % 5 else "Denied",
            "resource": f"invoice {n}",
            "attrs": {"text": "x" * 30_000} if n == 119 else {},
        }
        for n in range(120)
    ]
    trail.extend(rows).wait()
    return trail


def explorer_of(trail: Trail, *args: Any, **options: Any) -> tuple[Any, Callable[..., dict[str, Any] | None]]:
    """Return an explorer, and what asks it as a browser does and gives its reply, None where it sends none."""
    explorer = trail.explore(*args, **options)
    sent: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    explorer.send = sent.put

    def ask(op: str, *, wait: float = 0, **fields: Any) -> dict[str, Any] | None:
        explorer._heard(explorer, {"op": op, **fields}, [])
        try:
            return sent.get(timeout=wait) if wait else sent.get_nowait()
        except queue.Empty:
            return None

    return explorer, ask


def test_what_is_selected_is_shown_and_given_to_the_next_cell(busy: Trail) -> None:
    """An explorer begins with everything; after a question it stands for that selection in each of its forms."""
    explorer, ask = explorer_of(busy)
    assert (explorer.where, explorer.window) == ({}, (None, None))
    assert_frame_equal(explorer.frame(), busy.range())
    shown = explorer.shown
    assert (shown["n"], shown["total"], shown["all"], len(shown["rows"])) == (0, 120, 120, 50)

    brush = [to_us(FIRST), to_us(FIRST + timedelta(hours=1))]
    selection = {**NOTHING, "brush": brush, "leave_out": {"actor": [None, "bob"]}, "text": "invoice"}
    assert ask("ask", n=7, selection=selection) is None
    shown = explorer.shown
    assert (shown["n"], shown["total"], shown["selection"]["brush"]) == (7, 30, tuple(brush))
    assert explorer.where == {"actor": {"not": [None, "bob"]}, "text": "invoice"}
    assert explorer.window == (FIRST, FIRST + timedelta(hours=1))
    expected = busy.range(*explorer.window, where=explorer.where)
    assert expected.height == 30
    assert_frame_equal(explorer.frame(), expected)
    assert explorer.code() == shown["codes"]["events"]
    for kind, code in shown["codes"].items():
        result = eval(code, {"ak": ak})  # noqa: S307 -- what is copied is what a cell runs
        assert (result.height if kind == "events" else result["count"].sum()) == 30
    assert repr(explorer) == f"<Explorer: 30 of 120 events; {explorer.code()}>"
    assert dir(explorer) == ["code", "frame", "where", "window"]


def test_pages_events_and_values_are_asked_for(busy: Trail) -> None:
    """A page has the next events, an event its whole text, and a value is found beyond those that are shown."""
    explorer, ask = explorer_of(busy)
    assert explorer.shown["rows"][0]["cut"] == ["attrs"]
    page = ask("page", n=3, offset=100)
    assert page is not None
    assert (page["n"], page["op"], [row["seq"] for row in page["rows"]]) == (3, "page", [*range(19, -1, -1)])
    event = ask("event", n=4, seq=119)
    assert event is not None
    assert len(event["event"]["attrs"]) > 30_000
    assert ask("event", n=4, seq=500) == {"op": "event", "event": None, "n": 4}
    found = ask("find", n=5, facet="actor", text="AN")
    assert found is not None
    assert (found["rows"], found["distinct"]) == ([["ann", 30, 30]], 1)


@pytest.mark.parametrize(
    "message",
    [
        "text",
        {},
        {"op": "eval", "n": 1, "code": "1/0"},
        {"op": "ask", "n": 1},
        {"op": "ask", "n": 1, "selection": {"brush": [5, 1]}},
        {"op": "ask", "n": 1, "selection": {"keep": {"seq": ["1"]}}},
        {"op": "ask", "n": 1, "selection": {"text": "x" * 2_000}},
        {"op": "ask", "n": 1, "selection": {}, "zoom": ["now", "then"]},
        {"op": "page", "n": 1, "offset": -1},
        {"op": "page", "n": 1, "offset": 1e30},
        {"op": "event", "n": 1, "seq": "../../etc/passwd"},
        {"op": "find", "n": 1, "facet": "attrs", "text": ""},
        {"op": "notice", "what": "everything"},
    ],
    ids=repr,
)
def test_a_message_that_does_not_read_changes_nothing(busy: Trail, message: Any) -> None:
    """Whatever a browser sends, the answer is what is wrong with it, and what was shown stays."""
    explorer, _ = explorer_of(busy)
    before, replies = explorer.shown, list[dict[str, Any]]()
    explorer.send = replies.append
    explorer._heard(explorer, message, [])
    assert [reply["op"] for reply in replies] == ["failed"]
    assert explorer.shown is before
    assert explorer.where == {}


def test_codes_are_held_while_a_view_is_on_the_screen(busy: Trail) -> None:
    """Loading begins when the first view has drawn, once; the last one that goes frees them; answers are always the same."""
    explorer, ask = explorer_of(busy)
    selection = {**NOTHING, "keep": {"action": ["a1"]}}
    ask("ask", n=1, selection=selection)
    before = explorer.shown
    for _ in range(2):
        loaded = ask("notice", what="drawn", wait=60)
        assert loaded is not None
        assert (loaded["op"], loaded["events"]) == ("loaded", 120)
        assert ask("notice", what="drawn") is None
        assert explorer._questions._codes is not None
        ask("ask", n=1, selection=NOTHING)
        ask("ask", n=1, selection=selection)
        assert explorer.shown == before
        ask("notice", what="gone")
        assert explorer._questions._codes is not None
        ask("notice", what="gone")
        assert explorer._questions._codes is None
    ask("ask", n=1, selection=selection)
    assert explorer.shown == before


def test_a_question_that_fails_is_answered_in_words(busy: Trail) -> None:
    """An explorer of a trail that was closed says so, and keeps what it shows."""
    explorer, ask = explorer_of(busy)
    busy.close()
    reply = ask("ask", n=1, selection={**NOTHING, "text": "invoice"})
    assert reply is not None
    assert (reply["op"], reply["n"]) == ("failed", 1)
    assert "closed" in reply["text"]
    assert explorer.shown["total"] == 120


def test_what_an_explorer_is_opened_with_bounds_it(busy: Trail) -> None:
    """The window, the conditions and the zone stay around every selection; an expression is refused."""
    explorer, ask = explorer_of(busy, FIRST, "+30m", where={"actor": ["ann", "bob"]}, tz="Asia/Kolkata")
    assert (explorer.shown["all"], explorer.meta["tz"]) == (16, "Asia/Kolkata")
    assert explorer.meta["base"] == 'actor is "ann" or "bob"'
    ask("ask", n=1, selection={**NOTHING, "keep": {"actor": ["ann"]}})
    assert explorer.where == {"actor": "ann"}
    assert str(explorer.window[0]) == "2026-11-24 13:30:00+05:30"
    assert explorer.frame().height == 8
    with pytest.raises(InvalidQueryError, match="expression"):
        busy.explore(where=pl.col("actor") == "ann")


def test_an_empty_trail_is_shown_as_empty(trail: Trail) -> None:
    """Without events there are no bars, no rows, and still code and outputs."""
    explorer, ask = explorer_of(trail)
    assert (explorer.shown["all"], explorer.shown["bars"], explorer.shown["rows"]) == (0, [], [])
    ask("ask", n=1, selection={**NOTHING, "text": "x"})
    assert explorer.shown["n"] == 1
    assert explorer.frame().is_empty()
    assert "over time" not in explorer.shown["codes"]
    assert [str(type(one).__name__) for one in explorer._still()] == ["Figure", "Table"]
    explorer._ipython_display_()


@pytest.mark.parametrize(
    ("window", "where", "hint"),
    [
        ((), {"actor": "Ann"}, 'actor is "Ann" in no event here; near it: "ann" (30)'),
        (
            (),
            {"outcome": "fail"},
            'outcome is "fail" in no event here; there are "success" (96), "Denied" (24)',
        ),
        (("2026-11-25",), {}, "no event lies in this window; the trail's are from 2026-11-24 08:00:00+00:00"),
    ],
)
def test_why_there_is_nothing_to_explore_is_said(
    busy: Trail, window: tuple[str, ...], where: dict[str, Any], hint: str
) -> None:
    """Where no event fulfils what the explorer was opened with, it is shown as empty, and says what was near."""
    explorer, ask = explorer_of(busy, *window, where=where)
    assert explorer.shown["hint"].startswith(hint)
    assert (explorer.shown["all"], explorer.shown["total"], explorer.shown["rows"]) == (0, 0, [])
    ask("ask", n=1, selection={**NOTHING, "keep": {"actor": ["bob"]}})
    assert explorer.shown["n"] == 1
    explorer._ipython_display_()


def test_values_that_contain_the_searched_words_are_named(busy: Trail) -> None:
    """Words are looked for in resource and attrs: what else has them is said, with how many events."""
    explorer, ask = explorer_of(busy)
    assert (explorer.shown["alike"], explorer.shown["hint"]) == ([], "")
    ask("ask", n=1, selection={**NOTHING, "text": " ANN "})
    assert (explorer.shown["total"], explorer.shown["alike"]) == (0, [("actor", "ann", 30)])


def test_code_names_the_trail_that_was_explored(
    busy: Trail, make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code names the notebook's variable of the same trail; where there is none, not another trail that is called `trail`."""
    names: dict[str, Any] = {"trail": make_trail("other"), "_": busy}
    monkeypatch.setattr("auditkit.explorer.widget.get_ipython", lambda: SimpleNamespace(user_ns=names))
    explorer, _ = explorer_of(ak.open(busy.path, tz="Asia/Tokyo"))
    assert explorer.code() == f"ak.open({str(busy.path)!r}, tz='Asia/Tokyo').at(120).range()"
    assert explorer_of(busy)[0].code() == f"ak.open({str(busy.path)!r}).at(120).range()"
    names["mine"] = busy
    assert explorer_of(busy.at(7))[0].code() == "mine.at(7).range()"
    assert explorer_of(ak.open(busy.path))[0].code() == "mine.at(120).range()"


def test_outcomes_look_as_their_names_say(busy: Trail, make_trail: Callable[..., Trail]) -> None:
    """Outcomes that mean a failure have its colours, in any spelling; which one does not hang on counts."""
    explorer, _ = explorer_of(busy)
    assert explorer.meta["outcomes"] == [
        ["Denied", "#700a1e", "#9f3a28", True],
        ["success", "#0072b2", "#4a9fd8", False],
    ]
    trail = make_trail("failing")
    trail.extend([{"action": "a", "outcome": one} for one in ("failure", *["rejected"] * 3, "failure", None)])
    trail.extend([{"action": "b", "outcome": one} for one in ("rejected", *["failure"] * 3)]).wait()
    looks = []
    for where in (None, {"action": "a"}, {"action": "b"}, {"outcome": "rejected"}):
        rows = trail.explore(where=where).meta["outcomes"]
        looks.append({row[0]: row[1:] for row in rows})
    assert looks[0]["failure"] == ["#d55e00", "#e5562a", True]
    assert all(look == {name: looks[0][name] for name in look} for look in looks)
    assert list(looks[3]) == ["rejected"]


def test_outputs_are_the_widget_and_what_stays(busy: Trail, capsys: pytest.CaptureFixture[str]) -> None:
    """The widget's own output has no words, so that a report has only the chart and the table that stand beside it."""
    explorer, ask = explorer_of(busy)
    data, _ = explorer._repr_mimebundle_()
    assert list(data) == ["application/vnd.jupyter.widget-view+json"]
    explorer._ipython_display_()
    assert "Newest of the selected events (first 10 of 120 rows)" in capsys.readouterr().out
    assert ask("notice", what="rested") is None


def test_code_quotes_hostile_values(make_trail: Callable[..., Trail]) -> None:
    """Code of hostile values is that of their text: it gives the events that have them, and does nothing else."""
    trail = make_trail("hostile")
    trail.extend([{"action": text, "actor": text, "resource": text} for text in PAYLOADS]).wait()
    explorer, ask = explorer_of(trail)
    for n, text in enumerate(PAYLOADS, 1):
        ask("ask", n=n, selection={**NOTHING, "keep": {"actor": [text]}})
        assert explorer.shown["n"] == n
        result = eval(explorer.code(), {"ak": ak})  # noqa: S307 -- what is copied is what a cell runs
        assert result["resource"].to_list() == [text]


def test_without_anywidget_an_error_says_what_to_install(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base install answers everything else; exploring names the extra that it needs."""
    monkeypatch.delitem(sys.modules, "auditkit.explorer.widget", raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(AuditError, match="anywidget, which shows it, is not installed") as caught:
        trail.explore()
    assert "lab" in caught.value.__notes__[0]
