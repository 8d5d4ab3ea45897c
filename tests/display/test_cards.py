"""Cards: the same words in a notebook, a terminal and a report, and nothing from an event acts in any of them."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from auditkit import Trail
from auditkit.ask import card
from auditkit.display.cards import MIME, make_card, read_card, spark_svg, spark_text
from tests.reporting.material import PAYLOADS, code, elements, exported, notebook, shown, text_of

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def plain(value: Any) -> str:
    """Return what a terminal shows of a value."""
    text: str = value._repr_mimebundle_()["text/plain"]
    return text


def test_a_trail_shows_window_events_actors_queue_and_retention(make_trail: Callable[..., Trail]) -> None:
    """Its card has them in words, with the activity over time."""
    trail = make_trail(retention="30d", tz="Europe/Stockholm")
    trail.extend(
        [{"action": "a", "actor": f"u{d}", "source": "app", "ts": NOW - timedelta(days=d)} for d in (2, 1, 0)]
    ).wait()
    trail.flush()
    trail.append(action="a", ts=NOW).wait()
    trail.extend([{"action": ""}], on_invalid="dead-letter").wait()
    lines = plain(trail).splitlines()
    assert lines.pop(5).startswith("segments      hold     3 events in 3 segments, ")
    spark = "▄" + " " * 23 + "▄" + " " * 23 + "█"
    assert lines == [
        "events        shown    4 events",
        "              first    2026-11-22 09:00 CET",
        "              last     2026-11-24 09:00 CET",
        "              by       3 actors from 1 source",
        f"queue         waiting  1 event, {trail.stats().queue.bytes} B",
        "retention     policy   keep 30d; expired before 2026-10-25 09:00 CET",
        "dead letters  waiting  1",
        f"activity      counts   {spark}  events per hour, at most 2, Europe/Stockholm",
    ]


def test_an_empty_trail_says_so(trail: Trail) -> None:
    """Without events there is neither a window nor a spark line."""
    assert "none" in plain(trail).splitlines()[0]
    assert "activity" not in plain(trail)
    assert "nothing expires" in str(trail.plan_prune())
    assert "nothing expires" in trail.plan_prune()._repr_mimebundle_()["text/html"]


def test_a_view_shows_what_it_was(trail: Trail) -> None:
    """The card of a view counts its events and names its seq."""
    trail.extend([{"action": "a"}, {"action": "b"}]).wait()
    card = read_card(trail.at(1)._repr_mimebundle_()[MIME])
    assert card is not None
    assert card.title == "Trail audit at seq 1"
    assert ("shown", "1 event") in dict(card.sections)["events"]


def test_a_broken_trail_shows_why(trail: Trail) -> None:
    """A closed or damaged trail neither raises when shown nor loses its cheap name."""
    trail.append(action="a").wait()
    trail.flush()
    next(trail.path.rglob("*.arrow")).write_bytes(b"rubbish")
    assert "CorruptionError" in plain(trail)
    assert repr(trail) == "<Trail 'audit'>"
    with sqlite3.connect(trail.path / "catalog.sqlite") as catalog:
        catalog.execute("DROP TABLE segments")
    assert "cannot be read" in plain(trail)
    trail.close()
    assert "ClosedError" in plain(trail)
    assert repr(trail) == "<Trail 'audit'>"


def test_a_very_large_trail_is_not_counted_through(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the card says how many events were accepted and asks nothing."""
    trail.extend([{"action": "a"}] * 3).wait()
    monkeypatch.setattr(card, "MOST_EVENTS", 2)
    assert plain(trail).startswith("events     accepted  3")


def test_a_prune_plan_names_the_first_segments(make_trail: Callable[..., Trail]) -> None:
    """Its card has the policy, what would go, and at most twelve of the segments."""
    trail = make_trail(retention="30d", maintain=False)
    trail.extend(
        [{"action": "a", "ts": NOW - timedelta(days=day)} for day in (*range(59, 39, -1), 2, 1, 0)]
    ).wait()
    trail.flush()
    plan = trail.plan_prune()
    card = read_card(plan._repr_mimebundle_()[MIME])
    assert card is not None
    rows = dict(card.sections)
    assert ("expired before", "2026-10-25 08:00 UTC") in rows["policy"]
    assert rows["prune"][0][1].startswith("20 events in 20 segments")
    assert len(rows["segments"]) == 13
    assert rows["segments"][-1] == ("and", "8 segments more")
    assert plain(plan) == str(plan)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_words_are_text_everywhere(payload: str) -> None:
    """A hostile title, heading, name or value is escaped in HTML and cannot move a terminal, nor act in a report."""
    card = make_card(payload, [(payload, [(payload, payload)])], spark=[1, 2], spark_note=payload)
    bundle = card.bundle()
    assert {name for name, _ in elements(bundle["text/html"])} == {"div"}
    out = StringIO()
    Console(file=out, width=10_000).print(card)
    for text in (bundle["text/plain"], out.getvalue()):
        assert not {"\x1b", "\u202e", "\u200b"} & {*text}
    html = exported(notebook(code("card", shown(Shows(bundle)))))
    assert html.count("<script") == exported(notebook(code("card"))).count("<script")
    assert not [
        name for name, attributes in elements(html) if any(key.startswith("on") for key in attributes)
    ]


class Shows:
    """Something that shows itself as a given bundle."""

    def __init__(self, bundle: dict[str, Any]) -> None:
        self.bundle = bundle

    def _repr_mimebundle_(self) -> dict[str, Any]:
        return self.bundle


def test_a_report_shows_the_card(trail: Trail) -> None:
    """In a report the card has its words and its spark line, from its own form and not from its HTML."""
    trail.append(action="a", actor="ann", source="app").wait()
    html = exported(notebook(code("trail", shown(trail)), code("trail.stats()", shown(trail.stats()))))
    assert "Trail audit" in text_of(html)
    assert "1 actor from 1 source" in text_of(html)
    assert "State of the trail" in text_of(html)
    assert [attributes["height"] for name, attributes in elements(html) if name == "rect"] == ["28"]


def test_a_card_is_read_back_with_its_types() -> None:
    """What comes back from a notebook is the card that was kept; anything else is no card."""
    card = make_card("T", [("a", [("b", "c")])], spark=[1, 2])
    kept = json.loads(json.dumps(card.bundle()[MIME]))
    assert read_card(kept) == card
    for broken in ({**kept, "version": 2}, {**kept, "spark": ["<b>"]}, {**kept, "spark": [-1]}, {}, None):
        assert read_card(broken) is None


@pytest.mark.parametrize("counts", [[], [0], [0, 0], [5], [1, 1000], list(range(200))])
def test_spark_lines_of_any_counts(counts: list[int]) -> None:
    """No counts, none but zeros, one or many give one character and at most one bar each."""
    assert len(spark_text(counts)) == len(counts)
    assert spark_svg(counts).count("<rect") == sum(count > 0 for count in counts)
