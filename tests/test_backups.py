"""Backups: consistent, verified, and another history once somebody appends to them."""

import threading
from pathlib import Path

import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import CorruptionError, TrailExistsError
from auditkit.queue.dead_letters import read_letters
from auditkit.write import extend


@pytest.fixture
def used(trail: Trail) -> Trail:
    """Return a trail with two flushed and two queued events, and a dead letter."""
    trail.extend([{"action": "a", "ts": f"2026-11-0{day}T00:00Z", "id": str(day)} for day in (1, 2)]).wait()
    trail.flush()
    trail.extend([{"action": "b"}, {"action": "c"}, {"bad": 1}], on_invalid="dead-letter").wait()
    return trail


def test_a_copy_is_the_same_trail(used: Trail, tmp_path: Path) -> None:
    """A copy answers as the original does, under the same id, and keeps dead letters."""
    seen: list[tuple[int, int]] = []
    summary = ak.backup(used, tmp_path / "copy", progress=lambda done, total: seen.append((done, total)))
    copy = ak.open(tmp_path / "copy")
    assert (summary.end_seq, summary.segments) == (4, 2)
    assert seen[-1] == (summary.bytes, summary.bytes)
    assert copy.range().equals(used.range())
    assert copy.trail_id == used.trail_id
    assert list(read_letters(copy.core.layout)) == list(read_letters(used.core.layout))
    assert not list(tmp_path.rglob("copy/**/*.tmp"))


def test_a_copy_that_is_appended_to_is_a_branch(used: Trail, tmp_path: Path) -> None:
    """The first append to a copy gives it an id and epoch of its own, and names parent and seq."""
    ak.backup(used.path, tmp_path / "copy")
    for _ in range(2):
        with ak.open(tmp_path / "copy") as copy:
            copy.append(action="other").wait()
            copy.flush()
    copy = ak.open(tmp_path / "copy")
    info = copy.core.info
    assert copy.trail_id != used.trail_id
    assert (info.epoch, info.parent_id, info.branched_seq, info.branch_id) == (1, used.trail_id, 4, None)
    assert list(copy.tail(9)["action"]) == ["a", "a", "b", "c", "other", "other"]
    assert used.append(action="mine").wait() == 4
    again = tmp_path / "again"
    ak.backup(copy, again)
    with ak.open(again) as second:
        second.append(action="x").wait()
    assert ak.open(again).core.info.epoch == 2


def test_a_copy_has_what_was_appended_after_a_bulk(
    trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that wait in a queue file from before a batch that went straight into segments are copied, too."""
    monkeypatch.setattr(extend, "BULK_ROWS", 3)
    trail.append(action="before").wait()
    trail.extend([{"action": "bulk"}] * 3).wait()
    trail.append(action="after").wait()
    summary = ak.backup(trail, tmp_path / "copy")
    assert summary.end_seq == trail.end_seq
    assert ak.open(tmp_path / "copy").range().equals(trail.range())


def test_keys_stay_known_in_a_copy(used: Trail, tmp_path: Path) -> None:
    """A retry that reaches a copy is told apart as in the original."""
    ak.backup(used, tmp_path / "copy")
    with ak.open(tmp_path / "copy") as copy:
        assert copy.append(action="a", ts="2026-11-01T00:00Z", id="1").wait() == 0


def test_places_that_are_taken_are_refused(used: Trail, tmp_path: Path) -> None:
    """A copy never goes into a directory that holds anything."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(TrailExistsError, match="not an empty directory"):
        ak.backup(used, tmp_path / "full")


def test_a_damaged_segment_is_not_copied_silently(used: Trail, tmp_path: Path) -> None:
    """A segment whose digest differs stops the copy, and what is there is no trail."""
    path = next((used.path / "segments").rglob("*.arrow"))
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="digest differs"):
        ak.backup(used, tmp_path / "copy")
    with pytest.raises(FileNotFoundError):
        ak.open(tmp_path / "copy")


def test_copies_of_a_busy_trail_are_whole(trail: Trail, tmp_path: Path) -> None:
    """Copies made while others append and flush have no gap and no event twice."""
    stop = threading.Event()

    def work() -> None:
        writer = ak.open(trail.path)
        while not stop.is_set():
            writer.extend([{"action": "w"}] * 20).wait()
            writer.flush()
        writer.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(8):
            ak.backup(trail.path, tmp_path / f"copy{number}")
    finally:
        stop.set()
        thread.join()
    for number in range(8):
        copy = ak.open(tmp_path / f"copy{number}")
        assert sorted(copy.range()["seq"]) == list(range(copy.end_seq))
        with copy:
            assert copy.append(action="next").wait() == copy.end_seq - 1
