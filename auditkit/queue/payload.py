"""Batches of validated events, and the payloads of frames that hold them.

A payload is either a MessagePack array that holds an array per row column, or nil where every value is null (few
events: cheap to make), or an Arrow IPC stream of the same columns without those that are all null (many events at
once: nothing is touched row by row).  An IPC stream begins with four bytes of ones, which no MessagePack array does.
Beside its columns an event has one thing that is not stored: whether its ts was filled in, which is then no part of
the body that a retry must repeat.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.errors import CorruptionError
from auditkit.event import ID_AT, SOURCE_AT, UTC_MICROSECONDS, EventSchema, Row
from auditkit.event.columns import DEFAULTED
from auditkit.queue.frames import Frame

LARGEST_BYTES = 64 * 1024 * 1024
"""A payload above this is cut in two, well before a frame cannot hold it."""
PAYLOAD_ROWS = 8_192
PAYLOAD_BYTES = 4 * 1024 * 1024
"""Rows are gathered into payloads of so many."""
STREAM_ROWS = 32_768
ROW_BYTES = 160
"""What a row without attrs weighs about, for bounding memory."""
_ARROW = b"\xff\xff\xff\xff"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"

_decoder = msgspec.msgpack.Decoder(list[list[Any] | None])
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
    kinds = [*(_physical(schema.columns[name]) for name in schema.row_columns), pl.Boolean()]
    return [
        pl.Series(values=values, dtype=kind)
        for values, kind in zip(zip(*batch, strict=True), kinds, strict=True)
    ]


def as_arrow(batch: Batch, schema: EventSchema) -> pa.RecordBatch:
    """Return a batch as an Arrow record batch of the row columns and `DEFAULTED`."""
    if isinstance(batch, pa.RecordBatch):
        return batch
    columns = {name: schema.columns[name] for name in schema.row_columns}
    physical = {name: _physical(kind) for name, kind in columns.items()}
    frame = pl.DataFrame(batch, schema={**physical, DEFAULTED: pl.Boolean()}, orient="row").cast(columns)  # type: ignore[arg-type]
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
        payload = b"".join((part.schema.serialize(), part.serialize(), _END_OF_STREAM))
        if len(payload) <= LARGEST_BYTES or len(part) == 1:
            return [(payload, len(part))]
    half = len(part) // 2
    return _stream_payloads(part.slice(0, half)) + _stream_payloads(part.slice(half))


def keys_in(
    frame: Frame, path: Path
) -> tuple[Sequence[str | None] | pl.Series | None, Sequence[str | None] | pl.Series] | None:
    """Return the sources (`None`: none has one) and ids of a frame of events, `None` where no event has an id."""
    if frame.payload.startswith(_ARROW):
        plain = _from_arrow(frame, path)
        if "id" not in plain.columns:
            return None
        return plain.get_column("source") if "source" in plain.columns else None, plain.get_column("id")
    columns = _decoded(frame, path)
    ids = columns[ID_AT]
    return None if ids is None else (columns[SOURCE_AT], ids)


def columns_of(frame: Frame, schema: EventSchema, path: Path) -> list[pl.Series]:
    """Return the row columns of a frame of events, times as numbers."""
    kinds = [(name, _physical(schema.columns[name])) for name in schema.row_columns]
    if frame.payload.startswith(_ARROW):
        plain = _from_arrow(frame, path)
        given = {name: plain.get_column(name).to_physical() for name in plain.columns}
        return [
            given[name]
            if name in given
            else pl.Series(name, [None], dtype=kind).new_from_index(0, frame.count)
            for name, kind in kinds
        ]
    return [
        pl.Series(name, [None] * frame.count if values is None else values, dtype=kind)
        for (name, kind), values in zip(kinds, _decoded(frame, path), strict=True)
    ]


def _physical(kind: pl.DataType) -> pl.DataType:
    return pl.Int64() if isinstance(kind, pl.Datetime) else kind


def decode_frames(frames: Sequence[Frame], schema: EventSchema, path: Path) -> pl.DataFrame:
    """Return the events of consecutive frames with the stored schema, in seq order."""
    parts: list[pl.DataFrame] = []
    rows: list[Frame] = []
    for frame in frames:
        if frame.payload.startswith(_ARROW):
            if rows:
                parts.append(_from_rows(rows, schema, path))
                rows = []
            parts.append(_numbered(_from_arrow(frame, path), [frame], schema))
        else:
            rows.append(frame)
    if rows:
        parts.append(_from_rows(rows, schema, path))
    return pl.concat(parts) if len(parts) > 1 else parts[0]


def _from_rows(frames: Sequence[Frame], schema: EventSchema, path: Path) -> pl.DataFrame:
    names = schema.row_columns
    gathered: dict[str, list[Any]] = {name: [] for name in names}
    for frame in frames:
        columns = _decoded(frame, path)
        if len(columns) != len(names):
            raise CorruptionError(path, offset=frame.offset, reason=f"frame has {len(columns)} columns")
        for name, column in zip(names, columns, strict=True):
            gathered[name].extend([None] * frame.count if column is None else column)
    plain = pl.DataFrame([_series(name, gathered[name], schema.columns[name]) for name in names])
    return _numbered(plain, frames, schema)


def _numbered(plain: pl.DataFrame, frames: Sequence[Frame], schema: EventSchema) -> pl.DataFrame:
    """Add seq and recorded, which the frames decide, and bring the columns into the stored form and order."""
    seqs = pl.Series(chain.from_iterable(range(f.seq, f.seq + f.count) for f in frames), dtype=pl.UInt64)
    recorded = pl.Series(chain.from_iterable(repeat(f.recorded_us, f.count) for f in frames), dtype=pl.Int64)
    given = {*plain.columns, "seq", "recorded"}
    numbers = [seqs.alias("seq"), recorded.cast(UTC_MICROSECONDS).alias("recorded")]
    return plain.hstack(numbers).select(
        (pl.col(name) if name in given else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.stored.items()
    )


def _series(name: str, values: list[Any], dtype: pl.DataType) -> pl.Series:
    if dtype == UTC_MICROSECONDS:
        return pl.Series(name, values, dtype=pl.Int64).cast(UTC_MICROSECONDS)
    return pl.Series(name, values, dtype=dtype)


def _decoded(frame: Frame, path: Path) -> list[list[Any] | None]:
    try:
        return _decoder.decode(frame.payload)
    except msgspec.DecodeError as exc:
        raise CorruptionError(path, offset=frame.offset, reason=f"frame does not decode: {exc}") from exc


def _from_arrow(frame: Frame, path: Path) -> pl.DataFrame:
    try:
        plain = pl.read_ipc_stream(frame.payload)
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise CorruptionError(path, offset=frame.offset, reason=f"frame does not decode: {exc}") from exc
    if plain.height != frame.count:
        raise CorruptionError(path, offset=frame.offset, reason=f"frame has {plain.height} rows")
    return plain
