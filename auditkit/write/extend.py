"""Accepting many events: what producers hand over is validated, and goes into the queue or straight into segments."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import polars as pl
import pyarrow as pa

from auditkit.errors import InvalidEventError
from auditkit.event import Row, Rules
from auditkit.event.columns import (
    Table,
    as_batch,
    as_frame,
    check_bytes,
    normal_form,
    passes_quickly,
    rows_as_columns,
    suspect_rows,
)
from auditkit.queue.dead_letters import DeadLetter, describe_input
from auditkit.queue.group_commit import Refused
from auditkit.queue.payload import Batch, as_arrow, as_rows, without_views
from auditkit.queue.receipts import Receipt
from auditkit.timerange import from_us
from auditkit.trail.handle import Core
from auditkit.write.append import rules_of, writer_with_room
from auditkit.write.flush import SuspectRowsError, keep_dead_letters, write_bulk

BULK_ROWS = 100_000
"""From so many rows on a batch goes straight into segments."""
CHUNK_ROWS = 1_000_000
"""What comes without a length is taken in chunks of so many rows."""

OnInvalid = Literal["raise", "dead-letter"]
Chunk: TypeAlias = Iterable[Mapping[str, Any]] | Table
Rows: TypeAlias = Chunk | pl.LazyFrame | pa.RecordBatchReader


def extend(core: Core, rows: Rows, *, tz: str | None, on_invalid: OnInvalid) -> Receipt:
    """Validate rows and hand them over as one batch (inputs without a length in chunks)."""
    if on_invalid not in ("raise", "dead-letter"):
        raise ValueError(f"on_invalid: expected 'raise' or 'dead-letter', found {on_invalid!r}")
    done: list[Receipt] = []
    for chunk in _chunks(rows):
        if done:
            done[-1].wait()  # each chunk is durable before the next is taken
        try:
            done.append(_take(core, chunk, rules_of(core, tz), on_invalid))
        except InvalidEventError as exc:
            if done:
                exc.add_note(f"{sum(receipt.count for receipt in done)} rows before this chunk are in")
            raise
    if len(done) == 1:
        return done[0]
    joined = Receipt(core.writing(), sum(receipt.count for receipt in done))
    firsts = [receipt.wait() for receipt in done if receipt.count]
    joined.resolve(firsts[0] if firsts else None, duplicates=sum(receipt.duplicates for receipt in done))
    return joined


def _take(core: Core, chunk: Chunk, rules: Rules, on_invalid: OnInvalid) -> Receipt:
    """Validate a chunk and hand it over whole."""
    refusals = _Refusals(core, rules, raises=on_invalid == "raise")
    batch: Batch | None = None
    if isinstance(chunk, pl.DataFrame | pa.Table):
        check_bytes(chunk)
        if len(chunk) >= BULK_ROWS and (taken := _straight(core, chunk, rules, on_invalid)) is not None:
            return taken
        batch = rows_as_columns(core.schema, chunk, rules, refusals.hear)
        chunk = as_frame(chunk).iter_rows(named=True) if batch is None else ()
    if batch is None:
        batch = _rows(core, chunk, rules, refusals.hear)
    refusals.keep()
    if len(batch) >= BULK_ROWS:
        return _bulk(core, as_arrow(batch, core.schema), rules, on_invalid)
    if isinstance(batch, pa.RecordBatch):
        batch = without_views(batch)
    keep_refused = None if on_invalid == "raise" else _keeper(core, batch, rules)
    return writer_with_room(core).submit(batch, keep_refused=keep_refused)


def _straight(core: Core, table: Table, rules: Rules, on_invalid: OnInvalid) -> Receipt | None:
    """Write a table that passes the quick checks while a thread makes the others; `None` where rows are suspect."""
    normal = normal_form(core.schema, table)
    if normal is None or not passes_quickly(normal, rules):
        return None
    try:
        return _bulk(
            core,
            as_batch(normal, rules),
            rules,
            on_invalid,
            has_no_suspects=lambda: not suspect_rows(normal, rules),
        )
    except SuspectRowsError:
        return None


def _bulk(
    core: Core,
    batch: pa.RecordBatch,
    rules: Rules,
    on_invalid: OnInvalid,
    *,
    has_no_suspects: Callable[[], bool] | None = None,
) -> Receipt:
    """Write a batch straight into segments."""
    whole = on_invalid == "raise"
    first, verdict = write_bulk(core, batch, whole=whole, has_no_suspects=has_no_suspects)
    if verdict.refused:
        _keeper(core, batch, rules)(verdict.refused)
    core.writing().counters.duplicates += verdict.duplicates
    receipt = Receipt(core.writing(), len(batch) - len(verdict.refused))
    receipt.resolve(first if verdict.new_count else verdict.first_duplicate, duplicates=verdict.duplicates)
    return receipt


class _Refusals:
    """What becomes of bad rows: the first one raises, or all are kept as dead letters."""

    def __init__(self, core: Core, rules: Rules, *, raises: bool) -> None:
        self._core = core
        self._now_us = rules.now_us
        self._raises = raises
        self._letters: list[DeadLetter] = []

    def hear(self, position: int, error: InvalidEventError, given: object) -> None:
        """Take note of a bad row, or raise for it."""
        if self._raises:
            raise InvalidEventError(error.field, error.value, error.reason, position=position) from error
        letter = DeadLetter(
            recorded_us=self._now_us,
            reason=str(error),
            field=error.field,
            line=position + 1,
            input=describe_input(given),
        )
        self._letters.append(letter)

    def keep(self) -> None:
        """Make the dead letters durable."""
        if self._letters:
            keep_dead_letters(self._core, self._letters)


def _rows(
    core: Core, chunk: Iterable[Any], rules: Rules, hear: Callable[[int, InvalidEventError, object], None]
) -> list[Row]:
    rows: list[Row] = []
    for position, given in enumerate(chunk):
        try:
            if not isinstance(given, dict | Mapping):  # dicts are told much faster
                raise InvalidEventError("row", given, "not a mapping")
            rows.append(core.schema.row(given, rules, spill=True))
        except InvalidEventError as exc:
            hear(position, exc, given)
    return rows


def _keeper(core: Core, batch: Batch, rules: Rules) -> Refused:
    """Return what keeps events whose key turned out to be taken, once that is known under the queue's lock."""
    names = core.schema.row_columns
    moments = {name for name, kind in core.schema.columns.items() if isinstance(kind, pl.Datetime)}

    def letter(position: int, error: InvalidEventError) -> DeadLetter:
        (row,) = as_rows(batch[position : position + 1])
        given = {
            name: from_us(value) if name in moments and isinstance(value, int) else value
            for name, value in zip(names, row, strict=False)
            if value is not None
        }
        return DeadLetter(
            recorded_us=rules.now_us,
            reason=str(error),
            field=error.field,
            line=None,
            input=describe_input(given),
        )

    return lambda refused: keep_dead_letters(core, [letter(*one) for one in refused])


def _chunks(rows: Rows) -> Iterator[Chunk]:
    """Yield the input whole where it has a length, else a million rows at a time."""
    if isinstance(rows, pl.DataFrame | pa.Table):
        yield rows
    elif isinstance(rows, pl.LazyFrame):
        yield from rows.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True)
    elif isinstance(rows, pa.RecordBatchReader):
        yield from _gathered(rows)
    elif isinstance(rows, Mapping | str | bytes):
        raise TypeError(f"extend: expected rows, found one {type(rows).__name__}")
    else:
        yield rows


def _gathered(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Yield what a reader gives in chunks, however small its batches are."""
    batches: list[pa.RecordBatch] = []
    for batch in reader:
        batches.append(batch)
        if sum(len(part) for part in batches) >= CHUNK_ROWS:
            yield pa.Table.from_batches(batches)
            batches = []
    if batches:
        yield pa.Table.from_batches(batches)
