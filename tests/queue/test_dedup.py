"""Idempotency: an event with an id is accepted once."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import InvalidEventError
from auditkit.queue import dedup
from auditkit.queue.dead_letters import read_letters


def test_a_retry_gets_the_first_seq(trail: Trail) -> None:
    """The same body under the same (source, id) is the same event, also without a ts of its own."""
    first = trail.append(action="a", id="1", source="s")
    assert first.wait() == 0
    again = trail.append(action="a", id="1", source="s")
    assert again.wait() == 0
    assert (first.duplicates, again.duplicates, again.count) == (0, 1, 1)
    assert trail.end_seq == 1
    assert trail.stats().queue.duplicates == 1


def test_another_body_is_refused_naming_both_seqs(trail: Trail) -> None:
    """The same key with another body raises for that receipt alone, and closes nothing."""
    trail.append(action="a", id="1").wait()
    trail.append(action="b").wait()
    clash, fine = trail.append(action="c", id="1"), trail.append(action="d")
    with pytest.raises(InvalidEventError, match=r"id: seq 0 has this source and id .* as seq 2"):
        clash.wait()
    assert fine.wait() == 2
    assert list(trail.range()["action"]) == ["a", "b", "d"]


def test_genuine_twins_are_two_events(trail: Trail) -> None:
    """Events without an id are never merged, and a null source is a value of its own."""
    for _ in range(2):
        trail.append(action="a", ts="2026-11-01T00:00:00Z").wait()
    trail.append(action="a", id="1").wait()
    trail.append(action="a", id="1", source="").wait()
    assert trail.end_seq == 4


def test_inside_a_batch_events_count_one_by_one(trail: Trail) -> None:
    """A batch is judged as if its events came one by one."""
    rows = [
        {"action": "a", "id": "1"},
        {"action": "b"},
        {"action": "a", "id": "1"},
        {"action": "c", "id": "2"},
    ]
    receipt = trail.extend(rows)
    assert receipt.wait() == 0
    assert (receipt.count, receipt.duplicates) == (4, 1)
    assert list(trail.range()["action"]) == ["a", "b", "c"]
    repeat = trail.extend(rows[:1] * 3)
    assert (repeat.wait(), repeat.duplicates) == (0, 3)


def test_a_batch_with_a_conflict_is_refused_whole(trail: Trail) -> None:
    """One conflict in a batch takes nothing of it, and its keys stay free."""
    trail.append(action="a", id="1").wait()
    receipt = trail.extend([{"action": "new", "id": "2"}, {"action": "other", "id": "1"}])
    with pytest.raises(InvalidEventError, match="row 1: id"):
        receipt.wait()
    assert trail.append(action="free", id="2").wait() == 1


def test_a_conflict_may_become_a_dead_letter(trail: Trail) -> None:
    """With on_invalid="dead-letter" a conflicting row is kept aside and the others are taken."""
    trail.append(action="a", id="1").wait()
    receipt = trail.extend([{"action": "b", "id": "1"}, {"action": "c"}], on_invalid="dead-letter")
    assert receipt.wait() == 1
    assert receipt.count == 1
    (letter,) = read_letters(trail.core.layout)
    assert letter.field == "id"
    assert '"action": "b"' in letter.input


@pytest.mark.parametrize("flush", [False, True])
def test_keys_are_known_across_objects_and_restarts(trail: Trail, flush: bool) -> None:
    """Another object, and one opened later, know the keys in queue and segments."""
    other = ak.open(trail.path)
    other.append(action="x", id="0").wait()
    assert trail.append(action="a", id="1").wait() == 1
    if flush:
        trail.flush()
    assert other.append(action="a", id="1").wait() == 1
    assert other.append(action="b", id="2").wait() == 2
    assert trail.append(action="b", id="2").wait() == 2
    trail.close()
    other.close()
    later = ak.open(trail.path)
    assert later.append(action="a", id="1").wait() == 1
    assert later.append(action="x", id="0").wait() == 0
    later.close()


def test_the_window_slides(make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushed keys beyond the window are forgotten, unflushed ones never."""
    monkeypatch.setattr(dedup, "WINDOW", 3)
    trail = make_trail(maintain=False)
    for number in range(8):
        trail.append(action="a", id=str(number)).wait()
    assert trail.append(action="a", id="0").wait() == 0
    trail.flush()
    trail.append(action="a", id="new").wait()
    assert trail.append(action="a", id="0").wait() == 9
    assert trail.append(action="a", id="7").wait() == 7


def test_an_explicit_ts_is_part_of_the_body(trail: Trail) -> None:
    """Two different explicit times under one key are two bodies."""
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    assert trail.append(action="a", id="1", ts=moment).wait() == 0
    assert trail.append(action="a", id="1", ts=moment).wait() == 0
    with pytest.raises(InvalidEventError, match="another body"):
        trail.append(action="a", id="1", ts=moment.replace(day=2)).wait()
