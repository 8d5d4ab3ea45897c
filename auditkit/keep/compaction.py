"""Planning compaction: which small segments of a partition become one.  Pure: reads no clock and no disk."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec import Struct

from auditkit.store.records import SegmentRow

SMALL_ROWS = 128 * 1024
SMALL_BYTES = 16 * 1024 * 1024
"""A segment below both bounds is small."""
LEAST_FILES = 8
"""So many small segments of one partition are worth merging unasked."""
MERGED_ROWS = 512 * 1024
MERGED_BYTES = 128 * 1024 * 1024
"""What is merged into one segment, and so held in memory at once, keeps to both bounds."""


class Merge(Struct, frozen=True, kw_only=True):
    """Small segments of one partition that become one."""

    partition: str
    segments: tuple[SegmentRow, ...]

    @property
    def rows(self) -> int:
        """How many events they hold."""
        return sum(row.rows for row in self.segments)


def plan_compaction(segments: Sequence[SegmentRow], *, least: int = LEAST_FILES) -> tuple[Merge, ...]:
    """Plan the merges of partitions with at least `least` small segments, oldest partition first.

    Segments that lie close in time go together.
    """
    small = [row for row in segments if row.rows < SMALL_ROWS and row.size_bytes < SMALL_BYTES]
    small.sort(key=lambda row: (row.partition, row.min_ts_us, row.first_seq))
    merges = []
    for partition, rows in groupby(small, key=lambda row: row.partition):
        candidates = list(rows)
        if len(candidates) >= least:
            merges += [
                Merge(partition=partition, segments=tuple(group))
                for group in _bounded(candidates)
                if len(group) > 1
            ]
    return tuple(merges)


def _bounded(rows: Sequence[SegmentRow]) -> Iterator[list[SegmentRow]]:
    """Yield rows in order, in groups that keep to the bounds of a merge."""
    group: list[SegmentRow] = []
    for row in rows:
        too_many = sum(r.rows for r in group) + row.rows > MERGED_ROWS
        if group and (too_many or sum(r.size_bytes for r in group) + row.size_bytes > MERGED_BYTES):
            yield group
            group = []
        group.append(row)
    if group:
        yield group
