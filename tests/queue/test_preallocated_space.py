"""Preallocated space behind the last frame is no event, no damage, and in no writer's way."""

import errno
from pathlib import Path

import pytest

from auditkit.disk.durable import PosixDisk
from auditkit.errors import CorruptionError
from auditkit.queue.frames import (
    EVENTS,
    FRAME_BYTES,
    HEADER_BYTES,
    LARGEST_SPACE_BYTES,
    SMALL_FRAME_BYTES,
    SMALLEST_SPACE_BYTES,
    pack_frame,
    space_after,
)
from tests.queue.conftest import Bench, append_bytes, end_of


class FullDisk(PosixDisk):
    """A disk on which no byte beyond `end` has a place: what fits of a write is written."""

    end = 0

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write what fits, then fail."""
        super().write(fd, data[: max(0, self.end - offset)], offset)
        if offset + len(data) > self.end:
            raise OSError(errno.ENOSPC, "injected")


def size_of(bench: Bench) -> int:
    """Return the size of the first queue file."""
    return bench.layout.queue_file(0).stat().st_size


def test_space_grows_with_the_file_and_not_for_large_frames() -> None:
    """A small file gets little space, a large one no more than a bound, a large frame none."""
    assert space_after(100, 60) == SMALLEST_SPACE_BYTES
    assert space_after(LARGEST_SPACE_BYTES - 1, 60) == LARGEST_SPACE_BYTES - 1
    assert space_after(1 << 40, SMALL_FRAME_BYTES) == LARGEST_SPACE_BYTES
    assert space_after(100, SMALL_FRAME_BYTES + 1) == 0


def test_frames_are_written_into_the_space(bench: Bench) -> None:
    """A first commit preallocates, later ones use it, all see the same events, and only real bytes count."""
    writer, other = bench.active(), bench.active()
    writer.commit([bench.payload("a")], 1)
    size = size_of(bench)
    for number, active in enumerate((other, writer, other, other)):
        assert active.commit([bench.payload(str(number))], 1).first_seq == 1 + number
    assert size_of(bench) == size
    assert bench.actions() == ["a", "0", "1", "2", "3"]
    view = bench.tail().read()
    assert view.size_bytes == end_of(bench.layout.queue_file(0)) < size


def test_many_frames_of_others_are_read_piece_by_piece(bench: Bench) -> None:
    """A writer that slept while others wrote more than it reads at once goes on behind all of it."""
    stale, other = bench.active(), bench.active()
    stale.commit([bench.payload("a")], 1)
    names = [f"{number}" * 200 for number in range(150)]
    for name in names:
        other.commit([bench.payload(name)], 1)
    other.commit([bench.payload(*names)], 1)
    assert stale.commit([bench.payload("z")], 1).first_seq == 301
    assert bench.actions() == ["a", *names, *names, "z"]


def test_space_is_trimmed(bench: Bench) -> None:
    """A writer that closes cuts the file to what it holds, unless another one is writing; others go on."""
    first, second = bench.active(), bench.active()
    first.commit([bench.payload("a")], 1)
    second.commit([bench.payload("b")], 1)
    with second.locked():
        first.trim_space()
        assert size_of(bench) > end_of(bench.layout.queue_file(0))
    first.trim_space()
    first.close()
    assert size_of(bench) == end_of(bench.layout.queue_file(0))
    assert second.commit([bench.payload("c")], 1).first_seq == 2
    assert bench.actions() == ["a", "b", "c"]


@pytest.mark.parametrize("spare", [FRAME_BYTES, 1_000])
def test_a_disk_without_place_for_it_takes_what_fits(bench: Bench, spare: int) -> None:
    """An append that fits is never refused for want of preallocated space, and what did not fit of it holds no place."""
    disk = FullDisk()
    writer = bench.active(disk)
    block = bench.payload("a")
    disk.end = HEADER_BYTES + FRAME_BYTES + len(block.data) + spare
    writer.commit([block], 1)
    assert size_of(bench) == end_of(bench.layout.queue_file(0))
    with pytest.raises(OSError, match="injected"):
        writer.commit([bench.payload("b" * 2_000)], 1)
    assert bench.actions() == ["a"]


@pytest.mark.parametrize("hole", [20, FRAME_BYTES, FRAME_BYTES + 20])
def test_a_torn_write_with_a_hole_is_cut(bench: Bench, hole: int) -> None:
    """What a power cut leaves of a write behind bytes that it took is torn, not preallocated space, and never comes back."""
    bench.active().commit([bench.payload("a")], 1)
    path = bench.layout.queue_file(0)
    durable = end_of(path) - FRAME_BYTES
    lost = b"".join(
        pack_frame(EVENTS, seq, 1, recorded_us=9, durable=durable, payload=bench.payload(name).data)
        for seq, name in ((1, "lost"), (2, "whole"))
    )
    append_bytes(path, lost, hole=hole)
    assert bench.actions() == ["a"]
    writer = bench.active()
    assert writer.commit([bench.payload("b")], 1).first_seq == 1
    assert writer.commit([bench.payload("c")], 1).first_seq == 2
    assert bench.actions() == ["a", "b", "c"]


def test_durable_frames_that_became_blank_are_rot(bench: Bench) -> None:
    """Zeros over a frame that a later one calls durable are an error, not preallocated space."""
    writer = bench.active()
    for name in "abc":
        writer.commit([bench.payload(name)], 1)
    path: Path = bench.layout.queue_file(0)
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES : HEADER_BYTES + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="damaged frame before durable ones"):
        bench.actions()
    with pytest.raises(CorruptionError, match="damaged frame before durable ones"):
        bench.active().commit([bench.payload("d")], 1)


def test_a_queue_file_that_was_removed_takes_no_more_events(bench: Bench) -> None:
    """A writer whose file has lost its name says so instead of writing where no reader looks."""
    writer = bench.active()
    writer.commit([bench.payload("a")], 1)
    bench.layout.queue_file(0).unlink()
    with pytest.raises(CorruptionError, match="was removed"):
        writer.commit([bench.payload("b")], 1)
