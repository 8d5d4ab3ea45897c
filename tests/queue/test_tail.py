"""Reading the queue: all of it, whatever it is read in."""

import tracemalloc
from itertools import pairwise

import pytest

from auditkit.errors import CorruptionError
from auditkit.queue import tail
from tests.queue.conftest import Bench


@pytest.mark.parametrize("piece_bytes", [1, 64, 300, 5000])
def test_pieces_make_the_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    """A queue read in pieces, smaller or larger than its batches, is the queue that was written."""
    queue = bench.active()
    for first, end in pairwise((0, 1, 2, 40, 41, 60)):
        queue.commit([bench.payload(*(f"action {number}" for number in range(first, end)))], 9)
    monkeypatch.setattr(tail, "_PIECE_BYTES", piece_bytes)
    assert bench.actions() == [f"action {number}" for number in range(60)]
    queue.rotate()
    assert bench.actions() == [f"action {number}" for number in range(60)]


def test_a_gigabyte_of_space_takes_no_memory(bench: Bench) -> None:
    """Zeros behind the last frame are looked at piece by piece, and only so many."""
    queue = bench.active()
    with queue.locked():
        queue.write([bench.payload("a", "b")], 1)
    queue.close()
    path = bench.layout.queue_file(0)
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    try:
        assert bench.actions() == ["a", "b"]
        again = bench.active()
        with again.locked():
            assert again.next_seq == 2
        again.close()
        assert tracemalloc.get_traced_memory()[1] < 300 * 1024 * 1024
    finally:
        tracemalloc.stop()
    for last in (b"", b"end"):
        with path.open("r+b") as file:
            file.truncate(1 << 42)
            file.seek(1 << 42)
            file.write(last)
        with pytest.raises(CorruptionError, match="larger than a queue file can be"):
            bench.tail().read()
