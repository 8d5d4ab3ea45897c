"""Writing: validated events into the queue, and the queue into segments.

The order of a flush is what makes it exactly once: seal the queue file, write and sync segments, one catalog
transaction, and only then drop the file.  Repeating it after a crash at any point gives the same seqs once.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import polars as pl
import pyarrow as pa

from auditkit.context import bound
from auditkit.disk.layout import TEMPORARY_SUFFIX
from auditkit.errors import CorruptionError, InvalidEventError, QueueFullError
from auditkit.event import Row, Rules
from auditkit.keep.horizon import Newest
from auditkit.queue.dead_letters import DeadLetter, describe_input, keep_letters
from auditkit.queue.dedup import WINDOW, pack_entries
from auditkit.queue.receipts import Receipt
from auditkit.queue.tail import TailView, newest_recorded
from auditkit.queue.writer import Refused
from auditkit.store.catalog import CatalogChange, CatalogView, FlushRow, KeysRow, change_catalog, read_catalog
from auditkit.store.segment import partitions_of, write_segment
from auditkit.trail.core import Core
from auditkit.trail.snapshot import control_rows, newest_of

FLUSH_AT_EVENTS = 128 * 1024
FLUSH_AT_BYTES = 32 * 1024 * 1024
FLUSH_AFTER_S = 15 * 60
CHUNK_ROWS = 1_000_000

OnInvalid = Literal["raise", "dead-letter"]
Rows: TypeAlias = Iterable[Mapping[str, Any]] | pl.DataFrame | pl.LazyFrame | pa.Table | pa.RecordBatchReader


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
            f"flushed {self.events:,} events (seq {self.first_seq}-{self.end_seq - 1}) into {self.segments} "
            f"segments, {self.bytes:,} bytes, {self.seconds:.2f} s"
        )


def append(core: Core, given: dict[str, Any], tz: str | None) -> Receipt:
    """Validate one event, with what is bound around the caller, and hand it to the writer."""
    context = bound()
    if context:
        given = {**context, **{name: value for name, value in given.items() if value is not None}}
    row = core.schema.row(given, _rules(core, tz))
    return _submit(core, [row])


def append_own(core: Core, action: str, attrs: Mapping[str, Any]) -> int:
    """Append one of the trail's own events and return its seq once it is durable."""
    row = core.schema.row(
        {"action": action, "source": "auditkit", "attrs": attrs}, _rules(core, None), own=True
    )
    seq = core.writing().submit([row]).wait()
    assert seq is not None  # noqa: S101 -- one event has a seq
    return seq


def extend(core: Core, rows: Rows, *, tz: str | None, on_invalid: OnInvalid) -> Receipt:
    """Validate rows and hand them to the writer as one batch (inputs without a length in chunks)."""
    if on_invalid not in ("raise", "dead-letter"):
        raise ValueError(f"on_invalid: expected 'raise' or 'dead-letter', found {on_invalid!r}")
    total, first = 0, None
    receipt: Receipt | None = None
    for chunk in _chunks(rows):
        if receipt is not None:  # more than one chunk: each is durable before the next is taken
            first = receipt.wait() if first is None else first
            total += receipt.count
        try:
            rules = _rules(core, tz)
            rows_in = _validated(core, chunk, rules, on_invalid)
            receipt = _submit(core, rows_in, _keeper(core, rows_in, rules) if on_invalid != "raise" else None)
        except InvalidEventError as exc:
            if total:
                exc.add_note(f"{total} rows before this chunk of {CHUNK_ROWS} are in")
            raise
    if receipt is None:
        return core.writing().submit([])
    if total:
        receipt.wait()
        joined = Receipt(core.writing(), total + receipt.count)
        joined.resolve(first)
        return joined
    return receipt


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
        rows = [
            write_segment(core.disk, core.layout, core.modes, core.schema, name, part)
            for name, part in partitions_of(events, core.partition)
        ]
        if events.height:
            policies, moments = control_rows(events)
            change = CatalogChange(
                add_segments=rows,
                policies=policies,
                moments=moments,
                flush=_flush_row(catalog, view, events, end),
                keys=_keys_row(view, catalog.flushed_seq, end),
                keep_keys=WINDOW,
            )
            change_catalog(core.layout.catalog, change)
        _drop_queue_files(core, end)
    return FlushSummary(
        events=events.height,
        segments=len(rows),
        bytes=sum(row.size_bytes for row in rows),
        first_seq=catalog.flushed_seq,
        end_seq=end,
        seconds=time.perf_counter() - started,
    )


def flush_is_due(core: Core) -> bool:
    """Say whether the queue is large or old enough for a flush."""
    view = core.source.tail.read()
    if view.events.height >= FLUSH_AT_EVENTS or view.size_bytes >= FLUSH_AT_BYTES:
        return True
    oldest = view.oldest_recorded_us
    return oldest is not None and core.clock.now_us() - oldest >= FLUSH_AFTER_S * 1_000_000


def remove_leftovers(core: Core, catalog: CatalogView) -> None:
    """Remove temporary and uncatalogued files of a dead flush; the caller holds the maintenance lock."""
    named = {row.path for row in catalog.segments}
    for partition in core.layout.segments.iterdir():
        for path in partition.iterdir():
            if path.suffix == TEMPORARY_SUFFIX or f"{partition.name}/{path.name}" not in named:
                core.disk.unlink(path)


def _submit(core: Core, rows: Sequence[Row], keep_refused: Refused | None = None) -> Receipt:
    writer = core.writing()
    if core.active_queue().backlog_reached(core.limits.backlog_events, core.limits.backlog_bytes):
        if core.limits.on_full == "raise" or core.cannot_query:
            raise QueueFullError(
                f"queue: the backlog of {core.limits.backlog_events} events or bytes is full"
            )
        started = time.perf_counter()
        flush(core)  # a full backlog is drained by whoever finds it so
        writer.counters.blocked_s += time.perf_counter() - started
    return writer.submit(rows, keep_refused=keep_refused)


def _rules(core: Core, tz: str | None) -> Rules:
    return Rules(now_us=core.clock.now_us(), max_ahead_us=core.info.max_ahead_us, tz=tz)


def _validated(
    core: Core, chunk: Iterable[Mapping[str, Any]], rules: Rules, on_invalid: OnInvalid
) -> list[Row]:
    rows: list[Row] = []
    letters: list[DeadLetter] = []
    for position, given in enumerate(chunk):
        try:
            if not isinstance(given, Mapping):
                raise InvalidEventError("row", given, "not a mapping")
            rows.append(core.schema.row(given, rules, spill=True))
        except InvalidEventError as exc:
            error = InvalidEventError(exc.field, exc.value, exc.reason, position=position)
            if on_invalid == "raise":
                raise error from exc
            letters.append(
                DeadLetter(
                    recorded_us=rules.now_us,
                    reason=str(exc),
                    field=exc.field,
                    line=position + 1,
                    input=describe_input(given),
                )
            )
    if letters:
        keep_dead_letters(core, letters)
    return rows


def _keeper(core: Core, rows: Sequence[Row], rules: Rules) -> Refused:
    """Return what keeps events whose key turned out to be taken, once that is known under the queue's lock."""
    names = core.schema.row_columns

    def keep(refused: Sequence[tuple[int, InvalidEventError]]) -> None:
        keep_dead_letters(
            core,
            [
                DeadLetter(
                    recorded_us=rules.now_us,
                    reason=str(error),
                    field=error.field,
                    line=None,
                    input=describe_input(
                        {n: v for n, v in zip(names, rows[position], strict=False) if v is not None}
                    ),
                )
                for position, error in refused
            ],
        )

    return keep


def _chunks(rows: Rows) -> Iterator[Iterable[Mapping[str, Any]]]:
    """Yield the input as chunks of mappings: whole where it has a length, else a million rows at a time."""
    if isinstance(rows, pl.DataFrame):
        yield _frame_rows(rows)
    elif isinstance(rows, pa.Table):
        yield _frame_rows(_from_arrow(rows))
    elif isinstance(rows, pl.LazyFrame):
        for batch in rows.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True):
            yield _frame_rows(batch)
    elif isinstance(rows, pa.RecordBatchReader):
        for batch in rows:
            yield _frame_rows(_from_arrow(batch))
    elif isinstance(rows, Mapping | str | bytes):
        raise TypeError(f"extend: expected rows, found one {type(rows).__name__}")
    else:
        yield rows


def _frame_rows(frame: pl.DataFrame) -> Iterable[Mapping[str, Any]]:
    return frame.iter_rows(named=True)


def _from_arrow(data: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(data)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def _check_whole(core: Core, events: pl.DataFrame, first: int, end: int) -> None:
    if events.height != end - first:
        raise CorruptionError(
            core.layout.queue,
            offset=None,
            reason=f"queue does not add up (expected {end - first} events from seq {first}, found {events.height})",
        )


def _flush_row(catalog: CatalogView, view: TailView, events: pl.DataFrame, end: int) -> FlushRow:
    newest = newest_of(events.lazy())
    if catalog.flushes:
        last = catalog.flushes[-1]
        newest = newest.joined(Newest(ts_us=last.newest_ts_us, recorded_us=last.newest_recorded_us))
    return FlushRow(
        end_seq=end,
        newest_ts_us=newest.ts_us,
        newest_recorded_us=newest.recorded_us,
        last_recorded_us=newest_recorded(view),
    )


def _keys_row(view: TailView, first: int, end: int) -> KeysRow | None:
    entries = [(token, seq) for token, seq in view.tokens if first <= seq < end]
    return KeysRow(end_seq=end, count=len(entries), entries=pack_entries(entries)) if entries else None


def _drop_queue_files(core: Core, end: int) -> None:
    """Remove the queue files before seq `end`, oldest first."""
    dropped = [first for first in core.layout.queue_files() if first < end]
    for first in dropped:
        core.disk.unlink(core.layout.queue_file(first))
    if dropped:
        core.disk.sync_directory(core.layout.queue)
