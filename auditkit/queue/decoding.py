"""Payloads of frames decoded: nothing is taken of a frame that its events cannot be.

A queue file may come from anyone, its checksums in order.  A payload has the columns of the trail's events, in their
types and ranges, and each has as many values as the frame says it has events; so a frame cannot claim more events than
its bytes hold.  Anything else is a `CorruptionError` that names the frame.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Any

import msgspec
import polars as pl
import pyarrow as pa
from msgspec import Meta

from auditkit.errors import CorruptionError, shorten
from auditkit.event import (
    FIRST_US,
    ID_AT,
    LAST_US,
    MAX_ATTRS_BYTES,
    MAX_TEXT_BYTES,
    SOURCE_AT,
    UTC_MICROSECONDS,
    EventSchema,
)
from auditkit.queue.frames import Frame
from auditkit.queue.payload import ARROW, END_OF_STREAM, physical
from auditkit.store.buffers import BATCH_MESSAGE, SCHEMA_MESSAGE, TEXT_TYPES, Shape, check_claims, message_at

_ALWAYS = ("ts", "action")
"""What each event has."""
_Instant = Annotated[int, Meta(ge=FIRST_US, lt=LAST_US)]
_ROW_TYPES: Mapping[str, Any] = {
    "datetime": _Instant,
    "string": Annotated[str, Meta(max_length=MAX_TEXT_BYTES)],
    "integer": Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)],
    "float": float,
    "boolean": bool,
}
_ARROW_TYPES: Mapping[str, Sequence[pa.DataType]] = {
    "datetime": [pa.timestamp("us", "UTC")],
    "string": TEXT_TYPES,
    "integer": [pa.int64()],
    "float": [pa.float64()],
    "boolean": [pa.bool_()],
}
_Values = list[Any] | None


def keys_in(
    frame: Frame, schema: EventSchema, path: Path
) -> tuple[Sequence[str | None] | pl.Series | None, Sequence[str | None] | pl.Series] | None:
    """Return the sources (`None`: none has one) and ids of a frame of events, `None` where no event has an id."""
    if frame.payload.startswith(ARROW):
        plain = _from_arrow(frame, schema, path)
        if "id" not in plain.columns:
            return None
        return plain.get_column("source") if "source" in plain.columns else None, plain.get_column("id")
    columns = _from_rows(frame, schema, path)
    ids = columns[ID_AT]
    return None if ids is None else (columns[SOURCE_AT], ids)


def columns_of(frame: Frame, schema: EventSchema, path: Path) -> list[pl.Series]:
    """Return the row columns of a frame of events, times as numbers."""
    kinds = [(name, physical(schema.columns[name])) for name in schema.row_columns]
    if frame.payload.startswith(ARROW):
        plain = _from_arrow(frame, schema, path)
        given = {name: plain.get_column(name).to_physical() for name in plain.columns}
        return [
            given[name]
            if name in given
            else pl.Series(name, [None], dtype=kind).new_from_index(0, frame.count)
            for name, kind in kinds
        ]
    return [
        pl.Series(name, [None] * frame.count if values is None else values, dtype=kind)
        for (name, kind), values in zip(kinds, _from_rows(frame, schema, path), strict=True)
    ]


def decode_frames(frames: Sequence[Frame], schema: EventSchema, path: Path) -> pl.DataFrame:
    """Return the events of consecutive frames with the stored schema, in seq order."""
    parts: list[pl.DataFrame] = []
    rows: list[Frame] = []
    for frame in frames:
        if frame.payload.startswith(ARROW):
            if rows:
                parts.append(_gathered(rows, schema, path))
                rows = []
            parts.append(_numbered(_from_arrow(frame, schema, path), [frame], schema))
        else:
            rows.append(frame)
    if rows:
        parts.append(_gathered(rows, schema, path))
    return pl.concat(parts) if len(parts) > 1 else parts[0]


def _gathered(frames: Sequence[Frame], schema: EventSchema, path: Path) -> pl.DataFrame:
    """Return the events of frames of rows."""
    names = schema.row_columns
    gathered: dict[str, list[Any]] = {name: [] for name in names}
    for frame in frames:
        for name, column in zip(names, _from_rows(frame, schema, path), strict=True):
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


def _from_rows(frame: Frame, schema: EventSchema, path: Path) -> Sequence[_Values]:
    """Return the row columns of a payload of rows, `None` for one without values."""
    with _explained(frame, path):
        columns: Sequence[_Values] = _decoder(schema.row_kinds).decode(frame.payload)
        if any(column is not None and len(column) != frame.count for column in columns):
            raise ValueError(f"columns of other lengths than {frame.count}")
    return columns


@lru_cache(maxsize=64)
def _decoder(columns: tuple[tuple[str, str], ...]) -> msgspec.msgpack.Decoder[Any]:
    """Return a decoder of payloads of rows with these columns."""
    kinds = []
    for name, kind in columns:
        values = Annotated[str, Meta(max_length=MAX_ATTRS_BYTES)] if name == "attrs" else _ROW_TYPES[kind]
        kinds.append(list[values] if name in _ALWAYS else list[values | None] | None)  # type: ignore[valid-type]
    return msgspec.msgpack.Decoder(tuple[tuple(kinds)])  # type: ignore[misc]


def _from_arrow(frame: Frame, schema: EventSchema, path: Path) -> pl.DataFrame:
    """Return the row columns of a payload that is a stream of Arrow's: its schema, a record batch, and its end."""
    with _explained(frame, path):
        _check_stream(frame, schema)
        plain = pl.read_ipc_stream(frame.payload)
        for column in plain:
            if column.name in _ALWAYS and column.null_count():
                raise ValueError(f"column {column.name}: events without one")
            if column.dtype == UTC_MICROSECONDS:
                stamps = column.to_physical().drop_nulls().to_numpy()
                if ((stamps < FIRST_US) | (stamps >= LAST_US)).any():
                    raise ValueError(f"column {column.name}: times out of range")
    return plain


def _check_stream(frame: Frame, schema: EventSchema) -> None:
    """Hold the messages of a stream against the frame, before anything is decoded."""
    data = frame.payload
    head = message_at(data, 0)
    batch = message_at(data, head.end)
    if head.kind != SCHEMA_MESSAGE or batch.kind != BATCH_MESSAGE or data[batch.end :] != END_OF_STREAM:
        raise ValueError("no schema, record batch and end")
    found = pa.ipc.read_schema(pa.BufferReader(data))
    kinds = dict(schema.row_kinds)
    names = set(found.names)
    if len(names) < len(found.names) or not names.issuperset(_ALWAYS) or not names.issubset(kinds):
        raise ValueError(f"no columns of events (found {shorten(found.names)})")
    if any(field.type not in _ARROW_TYPES[kinds[field.name]] for field in found):
        raise ValueError("columns of other types than an event's")
    shape = Shape.of(found.types)
    rows = check_claims(batch, batch.table, shape, most_rows=frame.count, most_text=len(data))
    if rows != frame.count:
        raise ValueError(f"{rows} rows (expected {frame.count})")


@contextmanager
def _explained(frame: Frame, path: Path) -> Iterator[None]:
    """Turn what is raised where a payload makes no sense into what it means: the frame was written wrongly."""
    try:
        yield
    except (
        ValueError,
        OSError,
        pa.ArrowException,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
    ) as exc:
        raise CorruptionError(path, offset=frame.offset, reason=f"frame does not decode: {exc}") from exc
