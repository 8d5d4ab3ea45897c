"""Reading the queue: all of it, whatever it is read in."""

from itertools import pairwise

import pytest

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
