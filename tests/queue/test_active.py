"""Commit, rotation and recovery at the growing end of the queue."""

import errno
import os
from pathlib import Path

import pytest

from auditkit.disk.durable import FileLock, PosixDisk
from auditkit.errors import CorruptionError, LockedError, StorageError
from auditkit.queue.frames import EVENTS, HEADER_BYTES, NEXT_FILE, PART, pack_frame, parse_frames
from tests.fakes import FailingDisk
from tests.queue.conftest import Bench, append_bytes, end_of


def newest(bench: Bench) -> Path:
    """Return the path of the newest queue file."""
    return bench.layout.queue_file(bench.layout.queue_files()[-1])


def dead_frame(bench: Bench, seq: int, *actions: str, kind: bytes = EVENTS) -> bytes:
    """Return a whole frame without a commit mark behind it."""
    block = bench.payload(*actions)
    durable = end_of(newest(bench))
    return pack_frame(kind, seq, block.count, recorded_us=9, durable=durable, payload=block.data)


def test_two_writers_make_one_order(bench: Bench) -> None:
    """Commits of several writers interleave without gaps, and recorded never decreases."""
    first, second = bench.active(), bench.active()
    assert first.commit([bench.payload("a", "b")], 100).first_seq == 0
    later = second.commit([bench.payload("c")], 50)
    assert (later.first_seq, later.recorded_us) == (2, 100)
    assert first.commit([bench.payload("d")], 120).first_seq == 3
    assert bench.actions() == ["a", "b", "c", "d"]


def test_a_stale_writer_follows_over_rotations(bench: Bench) -> None:
    """A writer that slept over several rotations, dropped files included, goes on in the newest file."""
    stale, other = bench.active(), bench.active()
    stale.commit([bench.payload("a")], 1)
    for name in "bcd":
        other.commit([bench.payload(name)], 1)
        end = other.rotate()
        for first in bench.layout.queue_files():
            if first < end:
                bench.layout.queue_file(first).unlink()
    assert stale.commit([bench.payload("e")], 1).first_seq == 4
    assert bench.layout.queue_files() == [4]
    assert bench.actions() == ["e"]


def test_rotating_an_empty_file_changes_nothing(bench: Bench) -> None:
    """A queue without events is not rotated."""
    assert bench.active().rotate() == 0
    assert bench.layout.queue_files() == [0]


def test_a_rotation_without_next_file_is_completed_by_the_next_writer(bench: Bench) -> None:
    """A flusher that dies between the rotation frame and the next file blocks no writer, and forks nothing."""
    disk = FailingDisk()
    flusher, writer = bench.active(disk), bench.active()
    writer.commit([bench.payload("a")], 1)
    disk.fail["rename"] = OSError(errno.EIO, "injected")
    with pytest.raises(OSError, match="injected"):
        flusher.rotate()
    assert bench.layout.queue_files() == [0]
    assert bench.actions() == ["a"]
    assert writer.commit([bench.payload("b")], 1).first_seq == 1
    assert bench.layout.queue_files() == [0, 1]
    assert bench.actions() == ["a", "b"]


def test_a_file_that_goes_on_in_itself_is_refused(bench: Bench) -> None:
    """No file without events is rotated: following such a rotation would have no end."""
    append_bytes(newest(bench), pack_frame(NEXT_FILE, 0, 0, recorded_us=9, durable=HEADER_BYTES))
    with pytest.raises(CorruptionError, match="rotation to a file that is not later"):
        bench.active().commit([bench.payload("a")], 1)


def test_a_dead_writers_whole_frame_is_adopted(bench: Bench) -> None:
    """A complete frame whose writer died before its mark is kept, at its place."""
    writer = bench.active()
    writer.commit([bench.payload("a")], 1)
    append_bytes(newest(bench), dead_frame(bench, 1, "b", "c"))
    assert bench.actions() == ["a", "b", "c"]
    assert writer.commit([bench.payload("d")], 1).first_seq == 3
    assert bench.actions() == ["a", "b", "c", "d"]


def test_a_reader_leaves_unmarked_frames_to_a_living_writer(bench: Bench) -> None:
    """While a writer holds the queue's lock, frames without a mark are not shown."""
    bench.active().commit([bench.payload("a")], 1)
    append_bytes(newest(bench), dead_frame(bench, 1, "b"))
    lock = FileLock(PosixDisk(), bench.layout.queue_lock)
    with lock.held(timeout_s=1):
        assert bench.actions() == ["a"]
    assert bench.actions() == ["a", "b"]


@pytest.mark.parametrize("cut", [1, 4, 20, 43, 44, 60])
def test_a_torn_frame_is_cut(bench: Bench, cut: int) -> None:
    """What remains of an interrupted write is cut; what was acknowledged stays."""
    writer = bench.active()
    writer.commit([bench.payload("a")], 1)
    append_bytes(newest(bench), dead_frame(bench, 1, "b" * 50)[:cut])
    assert bench.actions() == ["a"]
    assert bench.active().commit([bench.payload("c")], 1).first_seq == 1
    assert bench.actions() == ["a", "c"]


def test_a_batch_in_several_blocks_is_whole_or_gone(bench: Bench) -> None:
    """Blocks of a batch whose last one is missing are cut, also where they are valid themselves."""
    writer = bench.active()
    writer.commit([bench.payload("a")], 1)
    append_bytes(newest(bench), dead_frame(bench, 1, "b", kind=PART))
    assert bench.actions() == ["a"]
    assert bench.active().commit([bench.payload("c")], 1).first_seq == 1
    assert bench.actions() == ["a", "c"]
    writer.commit([bench.payload("d", ends_batch=False), bench.payload("e")], 1)
    assert bench.actions() == ["a", "c", "d", "e"]


def test_rot_before_durable_frames_is_an_error(bench: Bench) -> None:
    """A damaged frame that later ones call durable is never cut: the error names file, offset and seqs."""
    writer = bench.active()
    for name in "abc":
        writer.commit([bench.payload(name)], 1)
    path = newest(bench)
    second = [f for f in parse_frames(path.read_bytes()[HEADER_BYTES:], HEADER_BYTES) if f.kind == EVENTS][1]
    before = path.read_bytes()
    damaged = bytearray(before)
    damaged[second.offset + 50] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(CorruptionError) as caught:
        bench.active().commit([bench.payload("d")], 1)
    assert (caught.value.path, caught.value.offset) == (path, second.offset)
    assert "seqs 1 to" in caught.value.reason
    assert path.read_bytes() == bytes(damaged)
    with pytest.raises(CorruptionError):
        bench.actions()


@pytest.mark.parametrize("operation", ["write", "sync_data"])
def test_after_a_failed_sync_every_writer_goes_on_in_a_new_file(bench: Bench, operation: str) -> None:
    """The writer that failed raises, others are told once, and the next commit of any goes on in a new file."""
    disk = FailingDisk()
    failing, bystander = bench.active(disk), bench.active()
    bystander.commit([bench.payload("a")], 1)
    failing.commit([bench.payload("b")], 1)
    inode = newest(bench).stat().st_ino
    failures = iter([OSError(errno.EIO, "injected")])
    disk.before[operation] = lambda: _raise_once(failures)
    with pytest.raises(OSError, match="injected"):
        failing.commit([bench.payload("lost")], 1)
    with pytest.raises(StorageError, match="sync of the queue failed"):
        bystander.commit([bench.payload("x")], 1)
    assert bench.actions() == ["a", "b"]
    assert bystander.commit([bench.payload("c")], 1).first_seq == 2
    assert failing.commit([bench.payload("d")], 1).first_seq == 3
    assert bench.active().commit([bench.payload("e")], 1).first_seq == 4
    assert bench.layout.queue_files() == [0, 2]
    assert bench.layout.queue_file(0).stat().st_ino == inode
    assert newest(bench).stat().st_ino != inode
    assert bench.actions() == ["a", "b", "c", "d", "e"]


def _raise_once(failures: "object") -> None:
    for failure in failures:  # type: ignore[attr-defined]
        raise failure


def test_a_failed_sync_of_a_fresh_file_replaces_it(bench: Bench) -> None:
    """Where nothing was durable yet, the new file takes the old one's name, and nothing is lost or doubled."""
    disk = FailingDisk()
    failing = bench.active(disk)
    disk.fail["sync_data"] = OSError(errno.EIO, "injected")
    with pytest.raises(OSError, match="injected"):
        failing.commit([bench.payload("lost")], 1)
    fresh = bench.active()
    assert fresh.commit([bench.payload("a")], 1).first_seq == 0
    assert bench.active().commit([bench.payload("b")], 1).first_seq == 1
    assert bench.actions() == ["a", "b"]


def test_a_failure_that_could_not_be_noted_is_over_once_the_file_is_replaced(bench: Bench) -> None:
    """Where nothing at all could be written, the writer that recovers does not take its own note for another's."""
    disk = FailingDisk()
    failing = bench.active(disk)
    disk.fail["write"] = OSError(errno.ENOSPC, "injected")
    with pytest.raises(OSError, match="injected"):
        failing.commit([bench.payload("lost")], 1)
    disk.fail.clear()
    for seq, name in enumerate("abc"):
        assert failing.commit([bench.payload(name)], 1).first_seq == seq
    assert bench.actions() == ["a", "b", "c"]


def test_waiting_for_the_lock_ends(bench: Bench) -> None:
    """A lock that stays taken raises instead of hanging."""
    lock = FileLock(PosixDisk(), bench.layout.queue_lock)
    waiting = FileLock(PosixDisk(), bench.layout.queue_lock)
    with lock.held(timeout_s=1), pytest.raises(LockedError, match=r"queue\.lock"):
        waiting.acquire(timeout_s=0.05)


def test_a_queue_of_another_trail_is_refused(bench: Bench) -> None:
    """A queue file with another trail's id is not appended to."""
    path = newest(bench)
    data = bytearray(path.read_bytes())
    data[12:28] = b"another trail id"
    body = bytes(data[:-4])
    import zlib

    path.write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))
    with pytest.raises(CorruptionError, match="another trail"):
        bench.active().commit([bench.payload("a")], 1)


def test_a_removed_queue_file_is_not_written_to(bench: Bench) -> None:
    """Appends to a file that was deleted raise, rather than vanish with it."""
    writer = bench.active()
    writer.commit([bench.payload("a")], 1)
    os.unlink(newest(bench))  # noqa: PTH108 -- as plainly as anybody could
    with pytest.raises(CorruptionError, match="removed"):
        writer.commit([bench.payload("b")], 1)


def test_a_rotation_to_its_own_file_is_corruption(bench: Bench) -> None:
    """A file that says it goes on in itself is entered once."""
    path = bench.layout.queue_file(0)
    data = path.read_bytes()[:HEADER_BYTES]
    path.write_bytes(data + pack_frame(NEXT_FILE, 0, 0, recorded_us=1, durable=len(data)))
    queue = bench.active()
    with pytest.raises(CorruptionError, match="rotation to a file that is not later"), queue.locked():
        pass
    queue.close()
