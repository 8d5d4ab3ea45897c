"""Compaction: the small segments of a partition become one, sorted by (ts, seq), in one transaction of the catalog.

No event changes, and no seq.  Readers are not disturbed: a replaced file stays on disk, named by the catalog as
such, until none of them can hold it.
"""

import time

import polars as pl

from auditkit.keep.compaction import LEAST_FILES, Merge, plan_compaction
from auditkit.keep.summaries import CompactSummary
from auditkit.store.catalog import change_catalog, read_catalog, refuse_unknown_features
from auditkit.store.records import CatalogChange, ReplacedRow, SegmentRow
from auditkit.store.segment import as_table, encode_segment, read_segment, store_segments
from auditkit.trail.handle import Core


def compact(core: Core, *, least: int = LEAST_FILES) -> CompactSummary:
    """Merge the small segments of every partition that has at least `least` of them.

    The maintenance lock is held for one merge at a time, and so is at most `keep.compaction.MERGED_ROWS` events in
    memory.  If it raises, what was merged so far is, and everything else is as it was.
    """
    core.check_query()
    started = time.perf_counter()
    catalog = read_catalog(core.layout.catalog)
    refuse_unknown_features(core.layout.catalog, catalog)
    merges = plan_compaction(catalog.segments, least=least)
    done = [(merge, row) for merge in merges if (row := _merge(core, merge)) is not None]
    return CompactSummary(
        replaced=sum(len(merge.segments) for merge, _ in done),
        segments=len(done),
        events=sum(row.rows for _, row in done),
        partitions=len({row.partition for _, row in done}),
        bytes_before=sum(row.size_bytes for merge, _ in done for row in merge.segments),
        bytes=sum(row.size_bytes for _, row in done),
        seconds=time.perf_counter() - started,
    )


def _merge(core: Core, merge: Merge) -> SegmentRow | None:
    """Carry out a merge, unless others have changed what it is about."""
    with core.maintenance():
        live = {row.path for row in read_catalog(core.layout.catalog).segments}
        if not live.issuperset(row.path for row in merge.segments):
            return None
        events = pl.concat([read_segment(core.layout, row, core.schema) for row in merge.segments])
        table = as_table(events.sort("ts", "seq"), core.schema)
        encoded = encode_segment(core.layout, merge.partition, table)
        (merged,) = store_segments(core.disk, core.layout, core.modes, [encoded])
        now_us = core.clock.now_us()
        change_catalog(
            core.layout.catalog,
            CatalogChange(
                add_segments=[merged],
                remove_segments=[row.path for row in merge.segments],
                replaced=[
                    ReplacedRow(path=row.path, min_ts_us=row.min_ts_us, replaced_us=now_us)
                    for row in merge.segments
                ],
            ),
        )
    return merged
