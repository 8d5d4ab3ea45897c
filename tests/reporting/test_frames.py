"""What notebooks ask beside the first screen: timelines, windows around a moment, and frames about keeping."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from auditkit import Trail
from auditkit.charts.swimlanes import MOST_MARKS
from auditkit.reporting import around, cover, dead_letters, pauses, removals, story, table
from auditkit.write.retry import as_given, retry_letters
from tests.fakes import ManualClock
from tests.reporting.material import PAYLOADS, elements

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def test_few_events_are_drawn_one_by_one(trail: Trail) -> None:
    """Each event is a mark with what it was, within window and filter."""
    trail.extend([{"action": "a", "actor": f"u{n}", "outcome": "failure"} for n in range(5)]).wait()
    page = cover(trail, where={"actor": "u*"}, title="T")
    values = story(page, "actor", where={"actor": ["u1", "u2"]}).spec["data"]["values"]
    assert [(value["row"], value["group"], value["detail0"]) for value in values] == [
        ("u1", "failure", "a"),
        ("u2", "failure", "a"),
    ]


def test_many_events_are_counted_and_none_is_left_out(trail: Trail) -> None:
    """Beyond the bound each dot is a bucket of the report's width, and their sum is the number of events."""
    rows = [
        {"action": "a", "actor": f"u{n % 2}", "ts": NOW - timedelta(seconds=n)} for n in range(MOST_MARKS + 1)
    ]
    trail.extend(rows).wait()
    figure = story(cover(trail, title="T"), "actor")
    assert "A dot is the events of 10 seconds" in figure.subtitle
    assert sum(value["count"] for value in figure.spec["data"]["values"]) == MOST_MARKS + 1


def test_around_the_worst_hour(trail: Trail) -> None:
    """Without a moment it is the hour with the most failures, else the last event, and nothing in an empty trail."""
    assert around(trail) == {"start": None, "end": None}
    trail.append(action="a", ts=NOW - timedelta(hours=9)).wait()
    assert around(trail, before="1h", after="2h") == {
        "start": NOW - timedelta(hours=10),
        "end": NOW - timedelta(hours=7),
    }
    trail.extend(
        [{"action": "a", "outcome": "failure", "ts": NOW - timedelta(hours=h, minutes=5)} for h in (3, 3, 1)]
    ).wait()
    assert around(trail, before="1h", after="1h")["end"] == NOW - timedelta(hours=3)


def test_around_a_moment_reads_the_zone(make_trail: Callable[..., Trail]) -> None:
    """Text without an offset is wall clock time of the trail's zone; what is no time is refused by name."""
    trail = make_trail(tz="Europe/Stockholm")
    assert around(trail, "2026-11-24T09:00", before="1d", after="1d") == {
        "start": NOW - timedelta(days=1),
        "end": NOW + timedelta(days=1),
    }
    with pytest.raises(ValueError, match="moment"):
        around(trail, "soon")


def test_removals_are_those_that_a_view_knows_of(make_trail: Callable[..., Trail]) -> None:
    """Each tombstone is a row, and a view of the time before a removal does not show it."""
    trail = make_trail(retention="30d", maintain=False)
    trail.extend([{"action": "a", "ts": NOW - timedelta(days=day)} for day in (50, 50, 40, 0)]).wait()
    end = trail.end_seq
    trail.prune(now=NOW)
    found = removals(trail)
    assert found.select("events", "first_seq", "last_seq", "policy").rows() == [
        (2, 0, 1, "keep 30d"),
        (1, 2, 2, "keep 30d"),
    ]
    assert found["removed"].to_list() == [NOW, NOW]
    assert removals(trail.at(end)).is_empty()


def test_dead_letters_say_what_became_of_them(trail: Trail, clock: ManualClock) -> None:
    """A refused input has its reason, and a retried one says that it is an event now; the first screen agrees."""
    trail.extend(
        [{"action": ""}, {"action": "late", "ts": NOW + timedelta(days=9)}], on_invalid="dead-letter"
    ).wait()
    assert dead_letters(trail)["became"].to_list() == ["nothing", "nothing"]
    assert cover(trail, title="T").model.counts.dead_letters == 2
    clock.advance(days=9)
    retry_letters(trail.handle, as_given, names=None)
    found = dead_letters(trail)
    assert found["became"].to_list() == ["nothing", "an event by a retry (seq 1)"]
    assert found["field"].to_list() == ["action", "ts"]
    assert cover(trail, title="T").model.counts.dead_letters == 1


def test_pauses_are_the_longest_of_each_source(trail: Trail) -> None:
    """The longest time between two events of a source, and when it began; one event has no pause."""
    hours = {"app": (0, 1, 5, 6), "web": (0, 3), None: (2,)}
    rows = [
        {"action": "a", "source": s, "ts": NOW - timedelta(hours=h)} for s, at in hours.items() for h in at
    ]
    trail.extend(rows).wait()
    assert pauses(cover(trail, title="T")).rows() == [
        ("app", 4, timedelta(hours=4), NOW - timedelta(hours=5)),
        ("web", 2, timedelta(hours=3), NOW - timedelta(hours=3)),
        (None, 1, None, None),
    ]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_refused_inputs_are_text(trail: Trail, payload: str) -> None:
    """A hostile input is visible text in its table."""
    trail.extend([{"action": "", "actor": payload}], on_invalid="dead-letter").wait()
    html = table(dead_letters(trail), "T")._repr_mimebundle_()["text/html"]
    assert {name for name, _ in elements(html)} <= {"table", "caption", "thead", "tbody", "tr", "th", "td"}
