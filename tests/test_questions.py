"""Generated trails, asked in every way there is: late events, equal times, any order, partly flushed, partly expired."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import auditkit as ak
from auditkit.ask import grid
from auditkit.opening import create, open_trail
from auditkit.store import segment
from auditkit.timerange import Width, from_us
from tests import aging
from tests.fakes import ManualClock
from tests.plain import DAY, HOUR, Event, instant
from tests.questions import COLUMNS, assert_answers, assert_views

pytestmark = pytest.mark.filterwarnings("ignore::auditkit.errors.EmptyAnswerWarning")

START = instant("2026-10-24T22:00Z")
"""Some hours before the clocks of Europe are put back."""

AGES = st.one_of(
    st.integers(-6, 60).map(
        lambda steps: steps * HOUR // 6
    ),  # in steps of ten minutes: many at the same time
    st.integers(0, 40).map(lambda days: days * DAY),
    st.integers(-HOUR, HOUR),
    st.sampled_from([30 * DAY, 30 * DAY + 1, 30 * DAY - 1, 57 * 365 * DAY, 100 * 365 * DAY]),
)
"""How long before its acceptance an event happened, in microseconds."""

EVENTS = st.fixed_dictionaries(
    {
        "age": AGES,
        "actor": st.sampled_from([None, "", "ann", "bob", "Åsa"]),
        "action": st.sampled_from(["doc.read", "doc.write", "auth.login"]),
        "resource": st.sampled_from([None, "doc/7"]),
        "outcome": st.sampled_from([None, "success", "failure"]),
        "origin": st.sampled_from([None, "10.0.0.7"]),
        "value": st.one_of(st.none(), st.integers(-9, 9).map(float)),
    }
)
BATCHES = st.lists(
    st.tuples(st.lists(EVENTS, max_size=12), st.booleans(), st.sampled_from([0, 1, HOUR, 3 * DAY])),
    max_size=5,
)
Batches = list[tuple[list[dict[str, Any]], bool, int]]


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    """Store few events in each record batch and answer in small pieces, so that there are many of them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(segment, "BATCH_ROWS", 3)
        patched.setattr(grid, "_PIECE_ROWS", 3)
        yield


def fill(trail: ak.Trail, clock: ManualClock, batches: Batches) -> list[Event]:
    """Append batches, flush after some, let time pass, and return the events as they must be."""
    events: list[Event] = []
    for batch, flushed, pause in batches:
        given = [{**event, "ts": clock.us - event["age"], "recorded": clock.us} for event in batch]
        rows = [
            {name: event[name] for name in COLUMNS if name != "seq"} | {"ts": from_us(event["ts"])}
            for event in given
        ]
        trail.extend(rows).wait()
        events += [{"seq": seq, **event} for seq, event in enumerate(given, len(events))]
        if flushed:
            trail.flush()
        clock.us += pause
    return events


def kept(events: list[Event], keep: int) -> list[Event]:
    """Return what retention of a fixed length hides nothing of: no older than the trail's own idea of now allows."""
    moments = ((min(event["ts"], event["recorded"]), False) for event in events)
    horizon = aging.horizon_of(moments, 36 * HOUR)
    return [event for event in events if horizon is None or event["ts"] >= horizon - keep]


@settings(max_examples=12)
@given(BATCHES, st.sampled_from(["1h", "1d", "1mo"]))
def test_every_question_to_every_trail_is_answered_right(batches: Batches, partition: Width) -> None:
    """Whatever was appended in whatever order, the trail, a reader beside it and each view of the past answer right."""
    clock = ManualClock()
    clock.us = START
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "audit"
        with create(root, partition=partition, clock=clock, maintain=False) as trail:
            events = fill(trail, clock, batches)
            assert_answers(trail, events)
            with open_trail(root, clock=clock, maintain=False) as reader:
                assert_views(reader, events)


@settings(max_examples=10)
@given(BATCHES)
def test_no_question_shows_what_is_expired(batches: Batches) -> None:
    """With retention, every answer is about the events that are kept; so is that of each view, by its own horizon."""
    clock = ManualClock()
    clock.us = START
    with (
        tempfile.TemporaryDirectory() as folder,
        create(Path(folder) / "audit", retention="30d", clock=clock, maintain=False) as trail,
    ):
        aging.accept_late(trail)
        events = fill(trail, clock, batches)
        assert_answers(trail, kept(events, 30 * DAY))
        half = len(events) // 2
        assert_answers(trail.at(half), kept(events[:half], 30 * DAY))


@pytest.mark.parametrize("partition", ["1h", "1mo"])
def test_an_empty_trail_answers_every_question(partition: Width, tmp_path: Path) -> None:
    """No events are no error to any question."""
    with create(tmp_path / "audit", partition=partition) as trail:
        assert_answers(trail, [])
