"""Batches of validated events, and the payloads of frames that hold them; `queue.decoding` reads these.

A payload is either a MessagePack array that holds an array per row column, or nil where every value is null (few
events: cheap to make), or an Arrow IPC stream of the same columns without those that are all null (many events at
once: nothing is touched row by row).  An IPC stream begins with four bytes of ones, which no MessagePack array does.
Beside its columns an event has one thing that is not stored: whether its ts was filled in, which is then no part of
the body that a retry must repeat.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TypeAlias

import msgspec
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.event import ID_AT, EventSchema, Row
from auditkit.event.columns import DEFAULTED

LARGEST_BYTES = 64 * 1024 * 1024
"""A payload above this is cut in two, well before a frame cannot hold it."""
PAYLOAD_ROWS = 8_192
PAYLOAD_BYTES = 4 * 1024 * 1024
"""Rows are gathered into payloads of so many."""
STREAM_ROWS = 32_768
ROW_BYTES = 160
"""What a row without attrs weighs about, for bounding memory."""
ARROW = b"\xff\xff\xff\xff"
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"

_encode = msgspec.msgpack.Encoder().encode

Batch: TypeAlias = Sequence[Row] | pa.RecordBatch
"""Validated events: rows, or an Arrow record batch of the row columns and perhaps `DEFAULTED`."""


class Payload(Struct, frozen=True):
    """Encoded events on their way into a frame; `ends_batch` is false while their batch goes on in the next one."""

    data: bytes
    count: int
    ends_batch: bool = True


def weigh_row(row: Row, attrs_at: int) -> int:
    """Return about how many bytes a row takes."""
    return ROW_BYTES + len(row[attrs_at] or "")


def weigh(batch: Batch, attrs_at: int) -> tuple[int, bool]:
    """Return about how many bytes a batch takes, and whether any of its events has an id."""
    if isinstance(batch, pa.RecordBatch):
        whole = batch.get_total_buffer_size()  # of the table that the batch may be a slice of
        return whole if whole <= PAYLOAD_BYTES else batch.nbytes, has_keys(batch)
    attrs = sum([len(row[attrs_at] or "") for row in batch])
    return ROW_BYTES * len(batch) + attrs, has_keys(batch)


def has_keys(batch: Batch) -> bool:
    """Return whether any of a batch's events has an id."""
    if isinstance(batch, pa.RecordBatch):
        return bool(batch.column("id").null_count < len(batch))
    return any(row[ID_AT] is not None for row in batch)


def as_rows(batch: Batch) -> Sequence[Row]:
    """Return the rows of a batch."""
    if not isinstance(batch, pa.RecordBatch):
        return batch
    columns = row_columns(batch)
    return list(zip(*(column.to_list() for column in columns), strict=True))


def row_columns(batch: Batch, schema: EventSchema | None = None) -> list[pl.Series]:
    """Return the columns of a batch as rows have them: times as numbers, the last one whether ts was filled in.

    Rows take a schema to tell the types of their columns.
    """
    if isinstance(batch, pa.RecordBatch):
        names = [name for name in batch.schema.names if name != DEFAULTED]
        columns = [pl.Series(name, batch.column(name)) for name in names]
        defaulted = (
            pl.Series(DEFAULTED, batch.column(DEFAULTED))
            if DEFAULTED in batch.schema.names
            else pl.Series(DEFAULTED, [False]).new_from_index(0, len(batch))
        )
        return [
            column.to_physical() if isinstance(column.dtype, pl.Datetime) else column
            for column in (*columns, defaulted)
        ]
    assert schema is not None  # noqa: S101 -- see above
    kinds = [*(physical(schema.columns[name]) for name in schema.row_columns), pl.Boolean()]
    return [
        pl.Series(values=values, dtype=kind)
        for values, kind in zip(zip(*batch, strict=True), kinds, strict=True)
    ]


def physical(kind: pl.DataType) -> pl.DataType:
    """Return the type that a row has a column's values in: times are numbers."""
    return pl.Int64() if isinstance(kind, pl.Datetime) else kind


def as_arrow(batch: Batch, schema: EventSchema) -> pa.RecordBatch:
    """Return a batch as an Arrow record batch of the row columns and `DEFAULTED`."""
    if isinstance(batch, pa.RecordBatch):
        return batch
    columns = {name: schema.columns[name] for name in schema.row_columns}
    plain = {name: physical(kind) for name, kind in columns.items()}
    frame = pl.DataFrame(batch, schema={**plain, DEFAULTED: pl.Boolean()}, orient="row").cast(columns)  # type: ignore[arg-type]
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks().to_batches()[0]


def merge_rows(batches: Sequence[Batch]) -> Sequence[Batch]:
    """Return batches with the rows of all that hold rows as one, unless columns lie between them."""
    rows = [batch for batch in batches if not isinstance(batch, pa.RecordBatch)]
    return [list(chain.from_iterable(rows))] if len(rows) == len(batches) else batches


def without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch without string views, each of which holds on to all the text of the frame it is part of."""
    fields = list(batch.schema)
    if not any(pa.types.is_string_view(field.type) for field in fields):
        return batch
    kept = [
        field.with_type(pa.large_string()) if pa.types.is_string_view(field.type) else field
        for field in fields
    ]
    return batch.cast(pa.schema(kept))


def payloads_of(batches: Sequence[Batch], attrs_at: int, *, events: int, weight: int) -> list[Payload]:
    """Return batches as payloads: small ones share one, a large one goes through several.

    `events` and `weight` are bounds of what they hold together.
    """
    rows = [batch for batch in batches if not isinstance(batch, pa.RecordBatch)]
    if events <= PAYLOAD_ROWS and weight <= PAYLOAD_BYTES and len(rows) == len(batches):
        gathered = list(chain.from_iterable(rows))
        data = encode_rows(gathered)
        return (
            [Payload(data, len(gathered))] if len(data) <= LARGEST_BYTES else _ending(row_payloads(gathered))
        )
    return list(_large_payloads(batches, attrs_at))


def _large_payloads(batches: Sequence[Batch], attrs_at: int) -> Iterator[Payload]:
    gathered: list[Row] = []
    weight = 0
    for batch in batches:
        if isinstance(batch, pa.RecordBatch):
            if gathered:
                yield from _ending(row_payloads(gathered))
                gathered, weight = [], 0
            yield from _ending(column_payloads(batch))
            continue
        last = len(batch) - 1
        for position, row in enumerate(batch):
            gathered.append(row)
            weight += weigh_row(row, attrs_at)
            if len(gathered) >= PAYLOAD_ROWS or weight >= PAYLOAD_BYTES:
                yield from _ending(row_payloads(gathered), whole=position == last)
                gathered, weight = [], 0
    if gathered:
        yield from _ending(row_payloads(gathered))


def _ending(encoded: Sequence[tuple[bytes, int]], *, whole: bool = True) -> list[Payload]:
    """Return encoded events as payloads, the last of which ends the batch where the batch is `whole` with it."""
    *others, (data, count) = encoded
    return [*(Payload(*other, ends_batch=False) for other in others), Payload(data, count, ends_batch=whole)]


def encode_rows(rows: Sequence[Row]) -> bytes:
    """Return the payload for rows of equal length."""
    count = len(rows)
    columns = [*zip(*rows, strict=True)][:-1]
    return _encode(
        [None if column[0] is None and column.count(None) == count else column for column in columns]
    )


def row_payloads(rows: Sequence[Row]) -> list[tuple[bytes, int]]:
    """Return (payload, rows) for rows of equal length, in several parts where they are long."""
    payload = encode_rows(rows)
    if len(payload) <= LARGEST_BYTES or len(rows) == 1:
        return [(payload, len(rows))]
    half = len(rows) // 2
    return row_payloads(rows[:half]) + row_payloads(rows[half:])


def column_payloads(events: pa.RecordBatch) -> list[tuple[bytes, int]]:
    """Return (payload, rows) for the row columns of events."""
    return _stream_payloads(
        events.select(
            [
                name
                for name in events.schema.names
                if name != DEFAULTED and events.column(name).null_count < len(events)
            ]
        )
    )


def _stream_payloads(part: pa.RecordBatch) -> list[tuple[bytes, int]]:
    if len(part) <= STREAM_ROWS:
        payload = b"".join((part.schema.serialize(), part.serialize(), END_OF_STREAM))
        if len(payload) <= LARGEST_BYTES or len(part) == 1:
            return [(payload, len(part))]
    half = len(part) // 2
    return _stream_payloads(part.slice(0, half)) + _stream_payloads(part.slice(half))
