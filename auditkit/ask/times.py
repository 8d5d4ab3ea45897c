"""Which bucket each event of a segment lies in: by the catalog's marks, or by the times themselves.

Events of a segment are in order of time, so all there is to know is where among them each bucket begins.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from auditkit.query.cells import Runs
from auditkit.store.records import SegmentRow
from auditkit.store.time_index import QUARTER_US, positions_of
from auditkit.trail.decoded import Decoded, numbers_of
from auditkit.trail.wanting import Stretch

Numbers = Any
"""A numpy array."""


class Buckets(Struct, frozen=True):
    """The buckets of an answer by where each starts, in order, in microseconds."""

    starts: Numbers
    are_marked: bool
    """Whether the catalog knows where in a segment each of them begins."""

    @classmethod
    def of(cls, starts: Numbers) -> "Buckets":
        """Return the buckets that start at these instants."""
        return cls(starts, not (starts % QUARTER_US).any())

    def between(self, first_us: int, last_us: int) -> tuple[int, int]:
        """Return the places of the buckets of two instants."""
        low, high = np.searchsorted(self.starts, (first_us, last_us), side="right") - 1
        return max(0, int(low)), max(0, int(high))

    def marked_runs(self, row: SegmentRow, intervals: Iterable[tuple[int, int]]) -> Runs:
        """Return how many events of the intervals of a segment's positions lie in each bucket."""
        low, high = self.between(row.min_ts_us, row.max_ts_us)
        edges = np.concatenate(([0], positions_of(row, self.starts[low + 1 : high + 1]), [row.rows]))
        lengths = np.zeros(high - low + 1, dtype=np.int64)
        for begin, end in intervals:
            lengths += np.diff(np.clip(edges, begin, end))
        return Runs(low, lengths)

    def runs(self, decoded: Decoded) -> Runs:
        """Return how many of the decoded events lie in each bucket, by their times."""
        stamps, _ = numbers_of(decoded.column("ts")[0], None)
        low, high = self.between(stamps[0], stamps[-1])
        edges = np.searchsorted(stamps, self.starts[low + 1 : high + 1])
        return Runs(low, np.diff(edges, prepend=0, append=len(stamps)))


def intervals(stretch: Stretch, parts: Iterable[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Return the positions in the segment of parts of batches, each (number, first event, events), joined where they meet."""
    found: list[tuple[int, int]] = []
    offsets = _offsets(stretch.row)
    for number, first, rows in parts:
        begin = offsets[number] + first
        if found and found[-1][1] == begin:
            begin = found.pop()[0]
        found.append((begin, offsets[number] + first + rows))
    return found


def _offsets(row: SegmentRow) -> Sequence[int]:
    """Return the position of the first event of each batch."""
    return [0, *np.cumsum([part.rows for part in row.parts]).tolist()]
