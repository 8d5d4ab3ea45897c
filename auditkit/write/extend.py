"""Accepting many events: what producers hand over is validated, and goes into the queue or straight into segments.

All that needs no lock is done before one is taken: validation, hashes of ids, dictionaries.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import to_numpy
from auditkit.display.progress import progress
from auditkit.errors import InvalidArgumentError, InvalidEventError, LateEventError, placed
from auditkit.event import Row, Rules
from auditkit.event.columns import (
    Table,
    as_frame,
    check_bytes,
    rows_as_columns,
)
from auditkit.queue.dead_letters import DeadLetter, describe_input
from auditkit.queue.group_commit import Refused
from auditkit.queue.payload import Batch, as_arrow, as_rows, without_views
from auditkit.queue.receipts import Receipt
from auditkit.text import counted, visible
from auditkit.timerange import from_us
from auditkit.trail.handle import Handle
from auditkit.write.append import ready_writer, rules_of
from auditkit.write.flush import keep_dead_letters, write_bulk

BULK_ROWS = 100_000
BULK_BYTES = 16 * 1024 * 1024
"""From so many rows or bytes on a batch goes straight into segments."""
CHUNK_ROWS = 250_000
CHUNK_BYTES = 64 * 1024 * 1024
"""What is stored at once, and held in memory, keeps to both bounds: other writers wait while it is stored."""
MOST_PARTITIONS = 31
"""A batch that falls into more partitions than this goes through the queue."""

Refuse = Callable[[int, InvalidEventError, object], None]
OnInvalid = Literal["raise", "dead-letter"]
Chunk: TypeAlias = Iterable[Mapping[str, Any]] | Table
Rows: TypeAlias = Chunk | pl.LazyFrame | pa.RecordBatchReader
_LIKE_A_TIME = re.compile(r"time|date|stamp|when|(?:^|_)(?:at|ts)$", re.IGNORECASE)
_UNITS = {"1h": "h", "1d": "D", "1mo": "M"}


def extend(
    handle: Handle, rows: Rows, *, ts: Literal["now"] | None, tz: str | None, on_invalid: OnInvalid
) -> Receipt:
    """Validate rows and hand them over as one batch, or chunk by chunk, each of them wholly or not at all.

    On return all chunks but an only one are durable.  What is raised in a later chunk names rows by their position in
    the whole input, and says in a note how many rows are in.
    """
    if on_invalid not in ("raise", "dead-letter"):
        raise InvalidArgumentError("on_invalid", on_invalid, "unknown", expected="'raise' or 'dead-letter'")
    if ts not in (None, "now"):
        raise InvalidArgumentError("ts", ts, "not a moment for all rows", expected="None or 'now'")
    done: list[Receipt] = []
    total = len(rows) if isinstance(rows, Sized) else None
    try:
        with progress("storing", total=total, unit="rows") as advance:
            for batch in _batches(handle, rows, ts, tz, on_invalid):
                if done:
                    done[-1].wait()  # each chunk is durable before the next is taken
                    advance(sum(receipt.count for receipt in done), "")
                done.append(_store(handle, batch, on_invalid))
            if len(done) == 1:
                return done[0]
            firsts = [receipt.wait() for receipt in done if receipt.count]
            advance(sum(receipt.count for receipt in done), "")
    except KeyboardInterrupt as exc:
        handle.after_interrupt(exc)
        exc.add_note(f"auditkit: of this call so far stored: {_stored(done)}")
        raise exc.with_traceback(None) from None
    except Exception as exc:
        if done:
            exc.add_note(f"stored before this chunk: {_stored(done)}")
        raise
    joined = Receipt(handle.writing(), sum(receipt.count for receipt in done))
    joined.resolve(firsts[0] if firsts else None, duplicates=sum(receipt.duplicates for receipt in done))
    return joined


def _stored(done: Sequence[Receipt]) -> str:
    """Return how many rows of the chunks so far are in."""
    rows = sum(receipt.count for receipt in done if receipt.done and receipt.first is not None)
    return counted(rows, "row")


class _Valid(Struct, frozen=True, kw_only=True):
    """Validated events of the input, its rows from the one at `begin` on."""

    events: Batch
    begin: int
    rules: Rules
    is_bulk: bool


def _batches(
    handle: Handle, rows: Rows, ts: str | None, tz: str | None, on_invalid: OnInvalid
) -> Iterator[_Valid]:
    """Yield the input validated, in the pieces that are stored at once; rows with a length only once all are valid."""
    begin = 0
    for chunk in _chunks(rows):
        if isinstance(chunk, pl.DataFrame | pa.Table) and ts is None:
            _check_has_ts(chunk)
        rules = rules_of(handle, tz)
        events, taken = _validated(handle, chunk, rules, on_invalid, begin)
        most = CHUNK_ROWS if not isinstance(events, pa.RecordBatch) else max(1, len(events))
        for first in range(0, max(1, len(events)), most):
            piece = events if len(events) <= most else events[first : first + most]
            yield _Valid(events=piece, begin=begin + first, rules=rules, is_bulk=_is_bulk(handle, piece))
        begin += taken


def _check_has_ts(table: Table) -> None:
    """Refuse a table without a column ts, naming those that may be it: no moment is made up for all of its rows."""
    if isinstance(table, pa.Table):
        times = {field.name: pa.types.is_temporal(field.type) for field in table.schema}
    else:
        times = {name: dtype.is_temporal() for name, dtype in table.schema.items()}
    if "ts" in times:
        return
    likely = [name for name, is_time in times.items() if is_time or _LIKE_A_TIME.search(name)]
    error = InvalidEventError("ts", list(times), "missing; a table needs this column")
    if likely:
        error.add_note(
            f"columns that look like times: {', '.join(map(visible, likely))}; give one the name ts"
        )
    error.add_note('extend(..., ts="now") says that they all happen now')
    raise error


def _validated(
    handle: Handle, chunk: Chunk, rules: Rules, on_invalid: OnInvalid, begin: int
) -> tuple[Batch, int]:
    """Return the valid events of a chunk, and how many rows it had."""
    refusals = _Refusals(handle, rules, begin, raises=on_invalid == "raise")
    try:
        events = validated(handle, chunk, rules, refusals.refuse)
    except InvalidEventError as exc:
        if not isinstance(exc, LateEventError) and exc.position is not None:
            validated(
                handle, _first(chunk, exc.position - begin), rules, refusals.refuse
            )  # a late one is before it
        raise
    refusals.keep()
    return events, len(events) + refusals.count


def validated(handle: Handle, chunk: Chunk, rules: Rules, refuse: Refuse) -> Batch:
    """Return the valid events of a chunk; `refuse` is called with every other row, and raises or leaves it out.

    What is late is no valid event; it comes after the others, as it was validated.
    """
    refused: set[int] = set()

    def refusing(position: int, error: InvalidEventError, given: object) -> None:
        refuse(position, error, given)
        refused.add(position)

    events = _validated_rows(handle, chunk, rules, refusing)
    late = dict(handle.late.late_of(events, rules.now_us))
    if not late:
        return events
    valid = [position for position in range(len(events) + len(refused)) if position not in refused]
    for place, error in late.items():
        refuse(valid[place], error, _given(handle, events, place))
    return without(events, late)


def _validated_rows(handle: Handle, chunk: Chunk, rules: Rules, refuse: Refuse) -> Batch:
    if isinstance(chunk, pl.DataFrame | pa.Table):
        check_bytes(chunk)
        events = rows_as_columns(handle.schema, chunk, rules, refuse)
        if events is not None:
            return events
        chunk = as_frame(chunk).iter_rows(named=True)
    return _rows(handle, chunk, rules, refuse)


def _first(chunk: Chunk, count: int) -> Chunk:
    """Return the first rows of a chunk."""
    return chunk[:count] if isinstance(chunk, pl.DataFrame | pa.Table) else list(islice(chunk, count))


def without(events: Batch, places: Container[int]) -> Batch:
    """Return a batch without the events at these places."""
    kept = [place for place in range(len(events)) if place not in places]
    if isinstance(events, pa.RecordBatch):
        return without_views(events).take(pa.array(kept, pa.int64()))
    return [events[place] for place in kept]


def extend_with_record(handle: Handle, events: Batch, record: Row) -> Receipt:
    """Hand over validated events and an event of the trail's own as one batch: both become durable, or neither.

    An event whose (source, id) another one has fails the whole batch; the error's `refused` names all of these.
    """
    if isinstance(events, pa.RecordBatch):
        events = without_views(events)
        own = without_views(as_arrow([record], handle.schema)).select(events.schema.names)
        return ready_writer(handle).submit(pa.concat_batches([events, own.cast(events.schema)]))
    return ready_writer(handle).submit([*events, record])


def _is_bulk(handle: Handle, events: Batch) -> bool:
    """Return whether a batch goes straight into segments: it is large, and not spread over many of them."""
    if len(events) < BULK_ROWS and not (
        isinstance(events, pa.RecordBatch) and events.get_total_buffer_size() >= BULK_BYTES <= events.nbytes
    ):
        return False
    if isinstance(events, pa.RecordBatch):
        stamps, _ = to_numpy(events.column("ts"))
    else:
        stamps = np.fromiter((row[0] for row in events), "<i8", len(events))
    slots = stamps.astype("<M8[us]").astype(f"<M8[{_UNITS[handle.partition]}]")
    return len(np.unique(slots)) <= MOST_PARTITIONS


def _store(handle: Handle, batch: _Valid, on_invalid: OnInvalid) -> Receipt:
    """Hand a batch over, wholly or not at all."""
    events, rules = batch.events, batch.rules
    if not batch.is_bulk:
        if isinstance(events, pa.RecordBatch):
            events = without_views(events)
        keep_refused = None if on_invalid == "raise" else _keeper(handle, events, rules)
        return ready_writer(handle).submit(events, keep_refused=keep_refused, first_row=batch.begin)
    columns = as_arrow(events, handle.schema)
    first, verdict = write_bulk(handle, columns, whole=on_invalid == "raise", first_row=batch.begin)
    if verdict.refused:
        _keeper(handle, columns, rules)(verdict.refused)
    handle.writing().counters.duplicates += verdict.duplicates
    receipt = Receipt(handle.writing(), len(columns) - len(verdict.refused))
    receipt.resolve(first if verdict.new_count else verdict.first_duplicate, duplicates=verdict.duplicates)
    return receipt


class _Refusals:
    """What becomes of bad rows: the first one raises, or all are kept as dead letters."""

    def __init__(self, handle: Handle, rules: Rules, begin: int, *, raises: bool) -> None:
        self._handle = handle
        self._begin = begin
        self._now_us = rules.now_us
        self._raises = raises
        self._letters: list[DeadLetter] = []

    def refuse(self, position: int, error: InvalidEventError, given: object) -> None:
        """Take note of a bad row, or raise for it."""
        if self._raises:
            self._handle.late.refused += isinstance(error, LateEventError)
            raise placed(error, self._begin + position) from None
        letter = DeadLetter(
            recorded_us=self._now_us,
            reason=str(error),
            field=error.field,
            line=self._begin + position + 1,
            input=describe_input(given),
            late=isinstance(error, LateEventError),
        )
        self._letters.append(letter)

    @property
    def count(self) -> int:
        """How many rows were bad."""
        return len(self._letters)

    def keep(self) -> None:
        """Make the dead letters durable."""
        if self._letters:
            keep_dead_letters(self._handle, self._letters)


def _rows(handle: Handle, chunk: Iterable[Any], rules: Rules, refuse: Refuse) -> list[Row]:
    rows: list[Row] = []
    for position, given in enumerate(chunk):
        try:
            if not isinstance(given, dict | Mapping):  # dicts are recognised much faster
                raise InvalidEventError("row", given, "not a mapping")
            rows.append(handle.schema.row(given, rules, spill=True))
        except InvalidEventError as exc:
            refuse(position, exc, given)
    return rows


def _keeper(handle: Handle, batch: Batch, rules: Rules) -> Refused:
    """Return what keeps events whose key turned out to be taken, once that is known under the queue's lock."""

    def letter(position: int, error: InvalidEventError) -> DeadLetter:
        return DeadLetter(
            recorded_us=rules.now_us,
            reason=str(error),
            field=error.field,
            line=None,
            input=describe_input(_given(handle, batch, position)),
        )

    return lambda refused: keep_dead_letters(handle, [letter(*one) for one in refused])


def _given(handle: Handle, batch: Batch, place: int) -> dict[str, Any]:
    """Return an event of a batch as a mapping that could be given again."""
    (row,) = as_rows(batch[place : place + 1])
    return {
        name: from_us(value) if isinstance(handle.schema.columns[name], pl.Datetime) else value
        for name, value in zip(handle.schema.row_columns, row, strict=False)
        if value is not None
    }


def _chunks(rows: Rows) -> Iterator[Chunk]:
    """Yield the input in pieces of at most `CHUNK_ROWS` and `CHUNK_BYTES`; rows with a length as they are."""
    if isinstance(rows, pl.DataFrame | pa.Table):
        yield from _slices(rows)
    elif isinstance(rows, pl.LazyFrame):
        for frame in rows.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True):
            yield from _slices(frame)
    elif isinstance(rows, pa.RecordBatchReader):
        yield from _gathered(rows)
    elif hasattr(rows, "__arrow_c_stream__"):
        yield from _gathered(_reader_of(rows))
    elif isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable):
        raise InvalidArgumentError("rows", rows, f"one {type(rows).__name__}", expected="rows, or a table")
    elif isinstance(rows, Sized):
        yield rows
    else:
        iterator = iter(rows)
        while piece := list(islice(iterator, CHUNK_ROWS)):
            yield piece


def _reader_of(table: Any) -> pa.RecordBatchReader:
    """Return a reader of what has the Arrow PyCapsule interface."""
    try:
        return pa.RecordBatchReader.from_stream(table)
    except pa.ArrowInvalid as exc:  # such as one column
        raise InvalidArgumentError("rows", table, f"one {type(table).__name__}", expected="a table") from exc


def _slices(table: Table) -> Iterator[Table]:
    """Yield a table in pieces of about the same length."""
    size = table.nbytes if isinstance(table, pa.Table) else table.estimated_size()
    pieces = max(-(-len(table) // CHUNK_ROWS), -(-int(size) // CHUNK_BYTES))
    if pieces <= 1 or len(table) <= 1:
        yield table
        return
    step = -(-len(table) // min(pieces, len(table)))
    for begin in range(0, len(table), step):
        yield from _slices(table.slice(begin, step))  # some rows may be much longer than others


def _gathered(reader: pa.RecordBatchReader) -> Iterator[Table]:
    """Yield what a reader gives in pieces as large as they may be, however small its batches are."""
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        if batches and (rows + len(batch) > CHUNK_ROWS or size + batch.nbytes > CHUNK_BYTES):
            yield from _slices(pa.Table.from_batches(batches))
            batches, rows, size = [], 0, 0
        batches.append(batch)
        rows, size = rows + len(batch), size + batch.nbytes
    if batches:
        yield from _slices(pa.Table.from_batches(batches))
