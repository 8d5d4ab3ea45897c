"""What a writer or reader that lives on must get right after a failure, beyond what one crash can show."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditkit.disk.durable import PosixDisk
from auditkit.errors import CorruptionError
from auditkit.queue.frames import COMMIT_MARK, EVENTS, HEADER_BYTES, pack_frame, parse_frames
from auditkit.queue.payload import LARGEST_BYTES, PAYLOAD_BYTES, payloads_of
from tests.fakes import FailingDisk
from tests.queue.conftest import RULES, Bench, append_bytes, end_of


def newest(bench: Bench) -> Path:
    """Return the path of the newest queue file."""
    return bench.layout.queue_file(bench.layout.queue_files()[-1])


def failing_once(disk: FailingDisk, operation: str, at: int = 1) -> None:
    """Let one operation of a kind fail: the `at`-th from now."""
    left = iter(range(at))

    def count() -> None:
        if next(left, None) == at - 1:
            raise OSError(errno.EIO, "injected")

    disk.before[operation] = count


@pytest.mark.parametrize("operation", ["rename", "sync"])
def test_a_writer_whose_rotation_failed_goes_on_in_the_successor(bench: Bench, operation: str) -> None:
    """Nothing is written behind a rotation, not even by the writer that could not create the next file."""
    disk = FailingDisk()
    writer = bench.active(disk)
    writer.commit([bench.payload("a")], 1)
    failing_once(disk, operation)
    with pytest.raises(OSError, match="injected"):
        writer.rotate()
    assert writer.commit([bench.payload("b")], 1).first_seq == 1
    assert bench.layout.queue_files() == [0, 1]
    assert bench.active().commit([bench.payload("c")], 1).first_seq == 2
    assert bench.actions() == ["a", "b", "c"]


def test_a_rotation_found_by_a_writer_that_cannot_follow_it_stays(bench: Bench) -> None:
    """A writer that finds another's rotation, and fails to create the next file, does not write behind it either."""
    disk, sealing = FailingDisk(), FailingDisk()
    other, writer = bench.active(sealing), bench.active(disk)
    writer.commit([bench.payload("a")], 1)
    for failing in (sealing, disk):
        failing_once(failing, "rename")
    with pytest.raises(OSError, match="injected"):
        other.rotate()
    with pytest.raises(OSError, match="injected"):
        writer.commit([bench.payload("b")], 1)
    assert writer.commit([bench.payload("b")], 1).first_seq == 1
    assert bench.actions() == ["a", "b"]


def test_a_failed_note_hides_no_failure_from_its_own_writer(bench: Bench) -> None:
    """Where even the note of a failed sync cannot be written, the writer that failed still goes on in a new file."""
    disk = FailingDisk()
    writer = bench.active(disk)
    writer.commit([bench.payload("a")], 1)
    disk.fail["sync_data"] = disk.fail["write"] = OSError(errno.EIO, "injected")
    with pytest.raises(OSError, match="injected"):
        writer.commit([bench.payload("lost")], 1)
    disk.fail.clear()
    assert writer.commit([bench.payload("b")], 1).first_seq == 1
    assert bench.layout.queue_files() == [0, 1]
    assert bench.active().commit([bench.payload("c")], 1).first_seq == 2
    assert bench.actions() == ["a", "b", "c"]


def test_a_failed_note_takes_nothing_from_a_writer_that_went_on(bench: Bench) -> None:
    """What another writer committed meanwhile, to which the failed write looked like that of a dead one, stays."""
    disk = FailingDisk()
    writer, other = bench.active(disk), bench.active()
    writer.commit([bench.payload("a")], 1)

    def fail() -> None:
        for operation in ("write", "sync_data", "truncate"):
            disk.fail[operation] = OSError(errno.EIO, "injected")

    disk.before["sync_data"] = fail
    with pytest.raises(OSError, match="injected"):
        writer.commit([bench.payload("lost?")], 1)
    disk.fail.clear()
    disk.before.clear()
    assert other.commit([bench.payload("b")], 1).first_seq == 2
    assert writer.commit([bench.payload("c")], 1).first_seq == 3
    assert bench.actions() == ["a", "lost?", "b", "c"]


@pytest.mark.parametrize("operation", ["write", "sync_data"])
def test_a_commit_that_is_interrupted_comes_to_its_end(bench: Bench, operation: str) -> None:
    """Ctrl-C in the middle of a commit is put off until the events are durable, and the writer goes on."""
    disk = FailingDisk()
    interrupted, other = bench.active(disk), bench.active()
    other.commit([bench.payload("a")], 1)
    interrupts = iter([KeyboardInterrupt(), KeyboardInterrupt()])
    disk.before[operation] = lambda: _raise_next(interrupts)
    commit = interrupted.commit([bench.payload("b")], 1)
    assert commit.first_seq == 1
    assert isinstance(commit.interrupt, KeyboardInterrupt)
    assert other.commit([bench.payload("c")], 1).first_seq == 2
    assert interrupted.commit([bench.payload("d")], 1).first_seq == 3
    assert bench.actions() == ["a", "b", "c", "d"]


def test_an_interrupt_does_not_hide_a_failed_sync(bench: Bench) -> None:
    """Where Ctrl-C comes while a sync has just failed, the file is never written again, and the next commit goes on."""
    disk = FailingDisk()
    writer = bench.active(disk)
    writer.commit([bench.payload("a")], 1)

    def fail() -> None:
        disk.before.clear()
        try:
            raise OSError(errno.EIO, "injected")
        except OSError:
            raise KeyboardInterrupt from None

    disk.before["sync_data"] = fail
    with pytest.raises(KeyboardInterrupt):
        writer.commit([bench.payload("lost")], 1)
    assert writer.attempt is not None
    assert writer.attempt.failure is not None
    assert writer.commit([bench.payload("b")], 1).first_seq == 1
    assert bench.layout.queue_files() == [0, 1]
    assert bench.actions() == ["a", "b"]


def _raise_next(errors: Iterator[BaseException]) -> None:
    for error in errors:
        raise error


def test_a_second_failure_keeps_what_the_first_one_said(bench: Bench) -> None:
    """A next file that fails before its first event is replaced by one that still names the durable end before it."""
    for _ in range(2):
        disk = FailingDisk()
        writer = bench.active(disk)
        if bench.layout.queue_files() == [0]:
            writer.commit([bench.payload("a")], 1)
        else:
            with writer.locked():
                pass
        failing_once(disk, "sync_data")
        with pytest.raises(OSError, match="injected"):
            writer.commit([bench.payload("lost")], 1)
        with bench.active().locked():
            pass
    ghost = pack_frame(EVENTS, 1, 1, recorded_us=9, durable=0, payload=bench.payload("ghost").data)
    append_bytes(bench.layout.queue_file(0), ghost)  # what a cut that never became durable brings back
    assert bench.actions() == ["a"]
    assert bench.active().commit([bench.payload("b")], 1).first_seq == 1
    assert bench.actions() == ["a", "b"]


def test_damage_in_a_failed_file_is_not_followed_by_a_second_history(bench: Bench) -> None:
    """Where the durable part of a failed file does not read, no next file starts at an earlier seq."""
    disk = FailingDisk()
    writer = bench.active(disk)
    for name in "ab":
        writer.commit([bench.payload(name)], 1)
    path = newest(bench)
    last = [f for f in parse_frames(path.read_bytes()[HEADER_BYTES:], HEADER_BYTES) if f.kind == EVENTS][-1]
    failing_once(disk, "sync_data")
    with pytest.raises(OSError, match="injected"):
        writer.commit([bench.payload("lost")], 1)
    data = bytearray(path.read_bytes())
    data[last.offset + 45] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        bench.active().commit([bench.payload("c")], 1)
    assert (caught.value.path, caught.value.offset) == (path, last.offset)
    assert bench.layout.queue_files() == [0]


def test_a_torn_mark_before_a_whole_frame_is_torn(bench: Bench) -> None:
    """A mark is never synced by itself: a power cut may take it and leave the unsynced frame behind it."""
    writer = bench.active()
    writer.commit([bench.payload("a")], 1)
    path = newest(bench)
    frames = list(parse_frames(path.read_bytes()[HEADER_BYTES:], HEADER_BYTES))
    assert frames[-1].kind == COMMIT_MARK
    writer.commit([bench.payload("b")], 1)
    data = path.read_bytes()
    second = next(f for f in parse_frames(data[HEADER_BYTES:], HEADER_BYTES) if f.seq == 1 and f.count)
    torn = (
        data[: frames[-1].offset]
        + bytes(second.offset - frames[-1].offset)
        + data[second.offset : second.end]
    )
    path.write_bytes(torn)
    assert bench.actions() == ["a"]
    assert bench.active().commit([bench.payload("c")], 1).first_seq == 1
    assert bench.actions() == ["a", "c"]


def test_text_that_looks_like_a_frame_does_not_make_a_torn_write_rot(bench: Bench) -> None:
    """An event whose text holds the bytes of a frame with a large durable position is torn like any other."""
    bench.active().commit([bench.payload("a")], 1)
    path = newest(bench)
    fake = pack_frame(COMMIT_MARK, 9, 0, recorded_us=0, durable=1 << 62)
    frame = pack_frame(
        EVENTS, 1, 1, recorded_us=9, durable=end_of(path), payload=b"x" * 10 + fake + b"y" * 200
    )
    append_bytes(path, frame[:-100])
    assert bench.actions() == ["a"]
    assert bench.active().commit([bench.payload("b")], 1).first_seq == 1


def test_a_reader_forgets_what_a_replaced_file_said(bench: Bench) -> None:
    """A reader that knew a file goes by the one that has taken its name."""
    reader = bench.tail()
    disk = FailingDisk()
    failing = bench.active(disk)
    with failing.locked():
        pass
    frame = pack_frame(EVENTS, 0, 1, recorded_us=9, durable=HEADER_BYTES, payload=bench.payload("x").data)
    with newest(bench).open("ab") as file:
        file.write(frame)
    assert reader.read().end_seq == 1
    newest(bench).write_bytes(newest(bench).read_bytes()[:HEADER_BYTES])  # the storage that lost it said so
    failing_once(disk, "sync_data")
    with pytest.raises(OSError, match="injected"):
        failing.commit([bench.payload("lost")], 1)
    bench.active().commit([bench.payload("a")], 1)
    assert list(reader.read().events.get_column("action").cast(str)) == ["a"]


class Dropping(PosixDisk):
    """A disk on which a flush comes while a reader is between two files."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    def close(self, fd: int) -> None:
        """Close, and drop the files once."""
        super().close(fd)
        for path in self.paths:
            path.unlink(missing_ok=True)


def test_files_dropped_between_two_reads_leave_no_gap(bench: Bench) -> None:
    """A reader that has read one file and finds the next one flushed goes by the catalog for both."""
    writer = bench.active()
    for name in "ab":
        writer.commit([bench.payload(name)], 1)
        writer.rotate()
    writer.commit([bench.payload("c")], 1)
    disk = Dropping(bench.layout.queue_file(0), bench.layout.queue_file(1))
    view = bench.tail(disk).read()
    assert (view.first_seq, view.end_seq) == (2, 3)


def test_long_texts_never_make_a_frame_that_no_reader_takes(bench: Bench) -> None:
    """Payloads are bounded by their bytes, whichever column is long, and only the last one closes the batch."""
    long = bench.schema.row({"action": "a", "resource": "r" * 65_000}, RULES)
    attrs_at = bench.schema.row_columns.index("attrs")
    payloads = payloads_of([[long] * 1_500], attrs_at, events=1_500, weight=PAYLOAD_BYTES + 1)
    assert sum(payload.count for payload in payloads) == 1_500
    assert max(len(payload.data) for payload in payloads) <= LARGEST_BYTES
    assert [payload.ends_batch for payload in payloads] == [False] * (len(payloads) - 1) + [True]
    with pytest.raises(ValueError, match="too large"):
        pack_frame(EVENTS, 0, 1, recorded_us=0, durable=0, payload=bytes((1 << 28) + 1))
