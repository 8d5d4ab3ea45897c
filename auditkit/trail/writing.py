"""Writing: the queue into segments, and large batches straight into them.

The order of a flush is what makes it exactly once: seal the queue file, write and sync segments, one catalog
transaction, and only then drop the file.  Repeating it after a crash at any point gives the same seqs once.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl
from msgspec.structs import replace

from auditkit.errors import CorruptionError
from auditkit.event import UTC_MICROSECONDS
from auditkit.keep.horizon import Newest
from auditkit.queue.dead_letters import DeadLetter, keep_letters
from auditkit.queue.dedup import WINDOW, pack_entries
from auditkit.queue.tail import TailView
from auditkit.store.catalog import change_catalog, read_catalog
from auditkit.store.records import CatalogChange, CatalogView, FlushRow, KeysRow, SegmentRow
from auditkit.store.segment import Encoded, encode_segments, partitions_of, store_segments
from auditkit.trail.core import Core
from auditkit.trail.snapshot import control_rows, newest_of
from auditkit.wording import counted

BACKLOG_EVENTS = 10_000
BACKLOG_BYTES = 4 * 1024 * 1024
"""A batch takes what is queued along, up to so much; more is flushed first, so that others wait less."""
KEEP_REPLACED_US = 15 * 60 * 1_000_000
"""Readers may hold a file that was replaced for so long."""
_NOTHING = CatalogChange()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushSummary:
    """What a flush moved from the queue into segments: the seqs `[first_seq, end_seq)`."""

    events: int
    segments: int
    bytes: int
    first_seq: int
    end_seq: int
    seconds: float

    def __str__(self) -> str:
        if not self.events:
            return "nothing to flush"
        return (
            f"flushed {counted(self.events, 'event')} (seq {self.first_seq}-{self.end_seq - 1}) into "
            f"{counted(self.segments, 'segment')}, {self.bytes:,} bytes, {self.seconds:.2f} s"
        )


def keep_dead_letters(core: Core, letters: Sequence[DeadLetter]) -> None:
    """Keep inputs that could not become events; on return they are durable."""
    core.check_open()
    keep_letters(core.disk, core.layout, core.modes, letters)


def flush(core: Core) -> FlushSummary:
    """Move everything committed into segments.

    On return those events are in segments that the catalog names, and their queue files are gone.  If it raises,
    every event is still in the queue or in segments, exactly once; calling it again goes on.
    """
    started = time.perf_counter()
    core.check_query()
    core.writing().commit()
    with core.maintenance():
        end = core.active_queue().rotate()
        catalog = read_catalog(core.layout.catalog)
        remove_leftovers(core, catalog)
        view = core.source.tail.read(before=end)
        events = view.events.filter(pl.col("seq") >= catalog.flushed_seq)
        _check_whole(core, events, catalog.flushed_seq, end)
        rows: list[SegmentRow] = []
        if events.height:
            rows = _write_segments(core, events)
            change_catalog(core.layout.catalog, _change(catalog, view, events, rows, end))
        _drop_queue_files(core, end)
    return FlushSummary(
        events=events.height,
        segments=len(rows),
        bytes=sum(row.size_bytes for row in rows),
        first_seq=catalog.flushed_seq,
        end_seq=end,
        seconds=time.perf_counter() - started,
    )


class DoubtfulError(Exception):
    """A batch turned out to need a closer look; nothing of it was written."""


def write_bulk(core: Core, batch: pl.DataFrame, *, is_flawless: Callable[[], bool] | None = None) -> int:
    """Write a large batch (row columns, any order of ts) straight into segments; return its first seq.

    On return it is in segments that the catalog names.  If it raises, nothing of it counts.  What others appended
    just before it goes into the same transaction, so that seqs stay in order.  `is_flawless` is called
    beside the work, before anything is stored: raises `DoubtfulError` where it says no.
    """
    core.check_query()
    core.writing().commit()
    if core.active_queue().backlog_reached(BACKLOG_EVENTS, BACKLOG_BYTES):
        flush(core)
    with core.maintenance(), core.active_queue().locked():
        return write_directly(core, batch, is_flawless=is_flawless)


def write_directly(
    core: Core,
    batch: pl.DataFrame,
    also: CatalogChange = _NOTHING,
    *,
    is_flawless: Callable[[], bool] | None = None,
) -> int:
    """Write events straight into segments, with `also` in the same transaction; return their first seq.

    The caller holds both locks, that of maintenance and that of the queue.
    """
    queue = core.active_queue()
    catalog = read_catalog(core.layout.catalog)
    view = core.source.tail.read()
    queued = view.events.filter(pl.col("seq") >= catalog.flushed_seq)
    first = queue.next_seq
    _check_whole(core, queued, catalog.flushed_seq, first)
    recorded_us = max(core.clock.now_us(), queue.recorded_us)
    text = pl.Schema(
        core.schema.columns
    )  # what is stored as dictionaries is told apart partition by partition
    events = pl.concat([part.cast(text) for part in (queued, _numbered(core, batch, first, recorded_us))])
    rows = _write_segments(core, events, is_flawless)
    end = first + batch.height
    change = _change(catalog, view, events, rows, end, also)
    with queue.jumping(end, recorded_us):
        change_catalog(core.layout.catalog, change)
    return first


def remove_leftovers(core: Core, catalog: CatalogView) -> None:
    """Remove files that do not count: temporary and uncatalogued ones, and those replaced long enough ago.

    The caller holds the maintenance lock.
    """
    now_us = core.clock.now_us()
    # A clock that was set back by more than that must not keep them for longer either.
    old = [row.path for row in catalog.replaced if abs(now_us - row.replaced_us) >= KEEP_REPLACED_US]
    kept = {row.path for row in catalog.segments} | {row.path for row in catalog.replaced}.difference(old)
    for partition in core.layout.segments.iterdir():
        for path in partition.iterdir():
            if f"{partition.name}/{path.name}" not in kept:
                core.disk.unlink(path)
    if old:
        change_catalog(core.layout.catalog, CatalogChange(forget_replaced=old))


def _write_segments(
    core: Core, events: pl.DataFrame, is_flawless: Callable[[], bool] | None = None
) -> list[SegmentRow]:
    encoded = encode_segments(core.layout, core.schema, partitions_of(events, core.partition))
    with ThreadPoolExecutor(1, thread_name_prefix="auditkit-screen") as pool:
        if is_flawless is not None:
            encoded = _vouched(encoded, pool.submit(is_flawless))
        return store_segments(core.disk, core.layout, core.modes, encoded)


def _vouched(encoded: Iterator[Encoded], flawless: Future[bool]) -> Iterator[Encoded]:
    """Yield what is encoded once it is known to be flawless; raises `DoubtfulError` where it is not."""
    for segment in encoded:
        if not flawless.result():
            raise DoubtfulError
        yield segment


def _numbered(core: Core, batch: pl.DataFrame, first: int, recorded_us: int) -> pl.DataFrame:
    """Return a batch with seqs and the moment of acceptance."""
    seqs = pl.int_range(first, first + batch.height, dtype=pl.UInt64, eager=True).alias("seq")
    recorded = pl.lit(recorded_us, dtype=pl.Int64).cast(UTC_MICROSECONDS).alias("recorded")
    return batch.with_columns(seqs, recorded).select(list(core.schema.columns))


def _check_whole(core: Core, events: pl.DataFrame, first: int, end: int) -> None:
    if events.height != end - first:
        raise CorruptionError(
            core.layout.queue,
            offset=None,
            reason=f"queue does not add up (expected {end - first} events from seq {first}, found {events.height})",
        )


def _change(
    catalog: CatalogView,
    view: TailView,
    events: pl.DataFrame,
    rows: Sequence[SegmentRow],
    end: int,
    also: CatalogChange = _NOTHING,
) -> CatalogChange:
    """Return the transaction that lets `rows` count, and everything before `end` be flushed, and does `also`."""
    policies, moments = control_rows(events)
    newest = newest_of(events.lazy())
    if catalog.flushes:
        last = catalog.flushes[-1]
        newest = newest.joined(Newest(ts_us=last.newest_ts_us, recorded_us=last.newest_recorded_us))
    keys = [(token, seq) for token, seq in view.tokens if catalog.flushed_seq <= seq < end]
    return replace(
        also,
        add_segments=[*rows, *also.add_segments],
        policies=policies,
        moments=moments,
        flush=FlushRow(
            end_seq=end,
            newest_ts_us=newest.ts_us,
            newest_recorded_us=newest.recorded_us,
            last_recorded_us=int(events.get_column("recorded").to_physical()[-1]),
        ),
        keys=KeysRow(end_seq=end, count=len(keys), entries=pack_entries(keys)) if keys else None,
        keep_keys=WINDOW,
    )


def _drop_queue_files(core: Core, end: int) -> None:
    """Remove the queue files before seq `end`, oldest first: a crash must not leave a gap between them."""
    dropped = [first for first in core.layout.queue_files() if first < end]
    for first in dropped:
        core.disk.unlink(core.layout.queue_file(first))
        core.disk.sync_directory(core.layout.queue)
