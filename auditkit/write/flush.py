"""Writing: the queue into segments, and large batches straight into them.

The order of a flush is what makes it exactly once: rotate the queue file, write and sync segments, one catalog
transaction, and only then drop the file.  Repeating it after a crash at any point gives the same seqs once.
"""

import time
from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec.structs import replace

from auditkit.arrow import to_arrow
from auditkit.errors import CorruptionError
from auditkit.event import DICTIONARY_COLUMNS
from auditkit.queue.dead_letters import DeadLetter, keep_letters
from auditkit.queue.dedup import Verdict, conflict_error, keys_of
from auditkit.queue.payload import without_views
from auditkit.queue.tail import TailView
from auditkit.retention.horizon import Horizon
from auditkit.store.catalog import change_catalog, read_catalog
from auditkit.store.records import (
    CatalogChange,
    CatalogView,
    FlushRow,
    SegmentRow,
)
from auditkit.store.segment import as_table, encode_segments, store_segments
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import declared, horizon_after
from auditkit.trail.summaries import FlushSummary

BACKLOG_EVENTS = 10_000
BACKLOG_BYTES = 4 * 1024 * 1024
"""A batch takes what is queued along, up to so much; more is flushed first, so that others wait less."""
KEEP_REPLACED_US = 15 * 60 * 1_000_000
"""Readers may hold a file that was replaced for so long."""
_NOTHING = CatalogChange()


def keep_dead_letters(handle: Handle, letters: Sequence[DeadLetter]) -> None:
    """Keep inputs that could not become events; on return they are durable."""
    handle.check_open()
    keep_letters(handle.disk, handle.layout, handle.modes, letters)


def flush(handle: Handle) -> FlushSummary:
    """Move everything committed into segments.

    On return those events are in segments that the catalog names, and their queue files are gone.  If it raises,
    every event is still in the queue or in segments, exactly once; calling it again goes on.
    """
    try:
        return _flush(handle)
    except KeyboardInterrupt as exc:
        handle.after_interrupt(exc)
        raise exc.with_traceback(None) from None


def _flush(handle: Handle) -> FlushSummary:
    started = time.perf_counter()
    handle.check_query()
    handle.writing().commit()
    with handle.maintenance():
        end = handle.active_queue().rotate()
        catalog = read_catalog(handle.layout.catalog)
        remove_leftovers(handle, catalog)
        view = handle.reader.tail.read(before=end)
        events = _unflushed(view, catalog)
        _check_whole(handle, events, catalog.flushed_seq, end)
        rows: list[SegmentRow] = []
        if events.height:
            table = as_table(events, handle.schema)
            rows = _write_segments(handle, table)
            change_catalog(handle.layout.catalog, _change(catalog, table, rows, end))
        _drop_queue_files(handle, end)
    return FlushSummary(
        events=events.height,
        segments=len(rows),
        bytes=sum(row.size_bytes for row in rows),
        first_seq=catalog.flushed_seq,
        end_seq=end,
        seconds=time.perf_counter() - started,
    )


def write_bulk(
    handle: Handle, batch: pa.RecordBatch, *, whole: bool = True, first_row: int = 0
) -> tuple[int, Verdict]:
    """Write a large batch (row columns, any order of ts) straight into segments; return its first seq and its verdict.

    On return what is new of it is in segments that the catalog names.  If it raises, nothing of it counts.  What
    others appended just before it goes into the same transaction, so that seqs stay in order.  Events whose
    (source, id) is taken by another body are left out, or, if it is to be taken `whole`, raise `InvalidEventError`,
    which counts rows from `first_row`.
    """
    handle.check_query()
    writer, queue = handle.writing(), handle.active_queue()
    keys, coded = keys_of(batch), _with_dictionaries(batch)
    writer.commit()
    if queue.backlog_reached(BACKLOG_EVENTS, BACKLOG_BYTES):
        flush(handle)
    if len(keys):
        writer.prepare_index()
    verdict = Verdict(len(batch))
    with handle.maintenance(), queue.locked():
        first = queue.next_seq
        index = writer.take_index() if len(keys) else None
        if index is not None:
            (verdict,) = index.judge([(batch, keys, whole)], first)
        if verdict.new_count:
            write_directly(handle, verdict.new(coded))
        if index is not None:
            index.learn([keys], [verdict], first, queue.next_seq)
            writer.keep_index(index)
    if verdict.refused and whole:
        raise conflict_error(verdict.refused, first_row)
    return first, verdict


def _with_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with text of few values as dictionaries."""
    batch = without_views(batch)
    columns = [
        batch.column(name).dictionary_encode() if name in DICTIONARY_COLUMNS else batch.column(name)
        for name in batch.schema.names
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def write_directly(handle: Handle, batch: pa.RecordBatch, also: CatalogChange = _NOTHING) -> int:
    """Write events straight into segments, with `also` in the same transaction; return their first seq.

    The caller holds both locks, that of maintenance and that of the queue.
    """
    queue = handle.active_queue()
    catalog = handle.reader.catalog.read()
    view = handle.reader.tail.read()
    queued = _unflushed(view, catalog)
    first = queue.next_seq
    _check_whole(handle, queued, catalog.flushed_seq, first)
    recorded_us = max(handle.clock.now_us(), queue.recorded_us)
    events = _numbered(batch, first, recorded_us, list(handle.schema.columns))
    if queued.height:
        before = as_table(queued, handle.schema)
        if events.schema != before.schema:
            events = events.cast(before.schema)
        events = pa.concat_tables([before, events])
    rows = _write_segments(handle, events)
    end = first + len(batch)
    change = _change(catalog, events, rows, end, also)
    with queue.bulk_loading(end, recorded_us):
        change_catalog(handle.layout.catalog, change)
    return first


def remove_leftovers(handle: Handle, catalog: CatalogView) -> None:
    """Remove files that do not count: temporary and uncatalogued ones, and those replaced long enough ago.

    Those replaced a moment ago are set aside, if the process that replaced them did not come to it.  The caller holds
    the maintenance lock.
    """
    now_us = handle.clock.now_us()
    # A clock that was set back by more than that must not keep them for longer either.
    old = [row.path for row in catalog.replaced if abs(now_us - row.replaced_us) >= KEEP_REPLACED_US]
    live = {row.path for row in catalog.segments}
    replaced = {row.path for row in catalog.replaced}.difference(old)
    there = set(handle.layout.segment_files())
    set_aside(
        handle, sorted((there & replaced) - live)
    )  # what a prune leaves may be what was merged: named as that
    for path in sorted(there - live - replaced):
        handle.disk.unlink(handle.layout.segments / path)
    kept = {handle.layout.replaced_file(path) for path in replaced}
    for file in sorted(set(handle.layout.replaced_files()) - kept):
        handle.disk.unlink(file)
    if old:
        change_catalog(handle.layout.catalog, CatalogChange(forget_replaced=old))


def set_aside(handle: Handle, paths: Sequence[str]) -> None:
    """Move segments that were replaced out of `segments`, to where a reader that planned with them looks next.

    They do not count any more, so nothing is synced: after a crash they may be in either place, or in none.  The caller
    holds the maintenance lock.
    """
    if paths:
        handle.disk.make_directory(handle.layout.replaced, handle.modes.directory)
    for path in paths:
        handle.disk.rename(handle.layout.segment_file(path), handle.layout.replaced_file(path))


def _write_segments(handle: Handle, events: pa.Table) -> list[SegmentRow]:
    encoded = encode_segments(handle.layout, events, handle.partition)
    return store_segments(handle.disk, handle.layout, handle.modes, encoded)


def _numbered(batch: pa.RecordBatch, first: int, recorded_us: int, names: Sequence[str]) -> pa.Table:
    """Return a batch with seqs and the moment of acceptance, its columns in this order."""
    seqs = np.arange(first, first + len(batch), dtype="<u8")
    moments = np.full(len(batch), recorded_us, dtype="<i8")
    given = {"seq": to_arrow(seqs, pa.uint64()), "recorded": to_arrow(moments, pa.timestamp("us", "UTC"))}
    return pa.table([given[name] if name in given else batch[name] for name in names], names)


def _unflushed(view: TailView, catalog: CatalogView) -> pl.DataFrame:
    """Return the events of the queue that are in no segment yet; mostly there are none, which is seen at once."""
    events = view.events
    return events.filter(pl.col("seq") >= catalog.flushed_seq) if events.height else events


def _check_whole(handle: Handle, events: pl.DataFrame, first: int, end: int) -> None:
    if events.height != end - first:
        raise CorruptionError(
            handle.layout.queue,
            offset=None,
            reason=f"queue does not add up (expected {end - first} events from seq {first}, found {events.height})",
        )


def _change(
    catalog: CatalogView,
    events: pa.Table,
    rows: Sequence[SegmentRow],
    end: int,
    also: CatalogChange = _NOTHING,
) -> CatalogChange:
    """Return the transaction that lets `rows` count, and everything before `end` be flushed, and does `also`."""
    decided = declared(_own_columns(events) if any(row.own_rows for row in rows) else pl.DataFrame())
    times = pl.DataFrame(events.select(["seq", "ts", "recorded", "source"]))
    horizon = catalog.flushes[-1].horizon if catalog.flushes else Horizon()
    horizon = horizon_after(horizon, times, decided.moments)
    return replace(
        also,
        add_segments=[*rows, *also.add_segments],
        **{name: getattr(decided, name) for name in decided.__struct_fields__},
        flush=FlushRow(
            end_seq=end,
            trusted_us=horizon.trusted_us,
            waiting_from_us=horizon.waiting_from_us,
            waiting_to_us=horizon.waiting_to_us,
            last_recorded_us=events["recorded"][-1].value,
        ),
    )


def _own_columns(events: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(events.select(["seq", "action", "source", "attrs"]))


def _drop_queue_files(handle: Handle, end: int) -> None:
    """Remove the queue files before seq `end`, oldest first: a crash must not leave a gap between them."""
    dropped = [first for first in handle.layout.queue_files() if first < end]
    for first in dropped:
        handle.disk.unlink(handle.layout.queue_file(first))
        handle.disk.sync_directory(handle.layout.queue)
