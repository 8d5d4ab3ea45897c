"""Compaction: small segments of a partition become few large ones, sorted by (ts, seq), in one transaction each.

No event changes, and no seq.  While a partition is being written to, its small segments are merged whenever several
have gathered; once the horizon has left it behind, it is merged into files of about `MERGED_ROWS` events, of which
questions read the least.  Readers are not disturbed: a replaced file is moved to `replaced/`, where a reader that planned
with it finds it, and removed after `write.flush.KEEP_REPLACED_US`.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby

import polars as pl
from msgspec import Struct

from auditkit.display.progress import tracked
from auditkit.keep.summaries import CompactSummary
from auditkit.store.catalog import change_catalog, read_catalog, refuse_unknown_features
from auditkit.store.records import CatalogChange, ReplacedRow, SegmentRow
from auditkit.store.segment import as_table, encode_segment, read_segment, store_segments
from auditkit.timerange import Width, partition_start
from auditkit.trail.handle import Handle
from auditkit.write.flush import set_aside

MERGED_ROWS = 300_000
MERGED_BYTES = 128 * 1024 * 1024
"""What is merged into one segment, and so held in memory at once, keeps to both bounds."""
SMALL_ROWS = 128 * 1024
SMALL_BYTES = 16 * 1024 * 1024
"""While a partition is being written to, a segment below both bounds is small."""
LEAST_FILES = 8
"""So many small segments of one partition are worth merging unasked."""
_FULL = 2 / 3
"""In a finished partition a segment is small below this share of both bounds of a merge."""
_GROWTH = 8
"""Fewer small segments of a finished partition are merged where the largest of them grows by one part in so many."""


class Merge(Struct, frozen=True, kw_only=True):
    """Small segments of one partition that become one."""

    partition: str
    segments: tuple[SegmentRow, ...]

    @property
    def rows(self) -> int:
        """How many events they hold."""
        return sum(row.rows for row in self.segments)


def plan_compaction(
    segments: Sequence[SegmentRow], width: Width, horizon_us: int | None, *, least: int = LEAST_FILES
) -> tuple[Merge, ...]:
    """Plan the merges of partitions, oldest partition first; pure, it reads no clock and no disk.

    A partition with at least `least` small segments is merged; a finished one, whose end the horizon has passed, also
    with fewer.  Segments that lie close in time go together.
    """
    current = None if horizon_us is None else partition_start(horizon_us, width)
    ordered = sorted(segments, key=lambda row: (row.partition, row.min_ts_us, row.first_seq))
    merges = []
    for partition, group in groupby(ordered, key=lambda row: row.partition):
        rows = list(group)
        is_finished = current is not None and rows[0].min_ts_us < current
        small = [row for row in rows if _is_small(row, is_finished=is_finished)]
        for chosen in _bounded(small):
            is_worth_it = len(small) >= least or (is_finished and _grows(chosen))
            if len(chosen) > 1 and is_worth_it:
                merges.append(Merge(partition=partition, segments=tuple(chosen)))
    return tuple(merges)


def compact(handle: Handle, *, least: int = LEAST_FILES) -> CompactSummary:
    """Merge small segments, where `plan_compaction` says that it is worth it.

    The maintenance lock is held for one merge at a time, and so are at most `MERGED_ROWS` events in memory.  If it
    raises, what was merged so far is, and everything else is as it was.  Raises `FormatError` where the trail has
    features that this version does not know.
    """
    handle.check_query()
    started = time.perf_counter()
    snapshot = handle.reader.snapshot()
    refuse_unknown_features(handle.layout.catalog, snapshot.catalog)
    merges = plan_compaction(snapshot.catalog.segments, handle.partition, snapshot.horizon_us, least=least)
    done: list[tuple[Merge, SegmentRow]] = []
    for merge in tracked(merges, "merging segments:", "events", lambda merge: merge.rows):
        if handle.closing:  # which waits for one merge at most
            break
        if (row := _merge(handle, merge)) is not None:
            done.append((merge, row))
    return CompactSummary(
        replaced=sum(len(merge.segments) for merge, _ in done),
        segments=len(done),
        events=sum(row.rows for _, row in done),
        partitions=len({row.partition for _, row in done}),
        bytes_before=sum(row.size_bytes for merge, _ in done for row in merge.segments),
        bytes=sum(row.size_bytes for _, row in done),
        seconds=time.perf_counter() - started,
    )


def _merge(handle: Handle, merge: Merge) -> SegmentRow | None:
    """Carry out a merge, unless another process has changed what it is about."""
    with handle.maintenance():
        live = {row.path for row in read_catalog(handle.layout.catalog).segments}
        replaced = [row.path for row in merge.segments]
        if not live.issuperset(replaced):
            return None
        events = pl.concat([read_segment(handle.layout, row, handle.schema) for row in merge.segments])
        table = as_table(events.sort("ts", "seq"), handle.schema)
        encoded = encode_segment(handle.layout, merge.partition, table)
        (merged,) = store_segments(handle.disk, handle.layout, handle.modes, [encoded])
        now_us = handle.clock.now_us()
        change_catalog(
            handle.layout.catalog,
            CatalogChange(
                add_segments=[merged],
                remove_segments=replaced,
                replaced=[
                    ReplacedRow(path=row.path, min_ts_us=row.min_ts_us, replaced_us=now_us)
                    for row in merge.segments
                ],
            ),
        )
        set_aside(handle, replaced)
    return merged


def _is_small(row: SegmentRow, *, is_finished: bool) -> bool:
    if is_finished:
        return row.rows < MERGED_ROWS * _FULL and row.size_bytes < MERGED_BYTES * _FULL
    return row.rows < SMALL_ROWS and row.size_bytes < SMALL_BYTES


def _grows(rows: Sequence[SegmentRow]) -> bool:
    """Return whether a merge of these moves little for what it gains: an event that comes late must not move a day."""
    largest = max(row.rows for row in rows)
    return (sum(row.rows for row in rows) - largest) * _GROWTH >= largest


def _bounded(rows: Sequence[SegmentRow]) -> Iterator[list[SegmentRow]]:
    """Yield rows in order, in groups that keep to the bounds of a merge."""
    group: list[SegmentRow] = []
    count = size = 0
    for row in rows:
        count, size = count + row.rows, size + row.size_bytes
        if group and (count > MERGED_ROWS or size > MERGED_BYTES):
            yield group
            group, count, size = [], row.rows, row.size_bytes
        group.append(row)
    if group:
        yield group
