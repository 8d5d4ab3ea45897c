"""Events as the payloads of frames, and back.

A payload is either a MessagePack array that holds an array per row column, or nil where every value is null (few
events: cheap to make), or an Arrow IPC stream of the same columns without those that are all null (many events at
once: nothing is touched row by row).  The last column holds the rows' tokens.  An IPC stream begins with four bytes
of ones, which no MessagePack array does.
"""

from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from msgspec import Struct

from auditkit.errors import CorruptionError
from auditkit.event import UTC_MICROSECONDS, EventSchema, Row
from auditkit.queue.frames import Frame

TOKEN = "token"  # noqa: S105 -- the name of a column
LARGEST_BYTES = 64 * 1024 * 1024
"""A payload above this is cut in two, well before a frame cannot hold it."""
_ARROW = b"\xff\xff\xff\xff"

_decoder = msgspec.msgpack.Decoder(list[list[Any] | None])
_encode = msgspec.msgpack.Encoder().encode


class Block(Struct, frozen=True):
    """Encoded rows on their way into a frame; `closes` is false while their batch goes on in the next block."""

    payload: bytes
    count: int
    closes: bool = True


def encode_rows(rows: Sequence[Row]) -> bytes:
    """Return the payload for rows of equal length."""
    count = len(rows)
    columns = zip(*rows, strict=True)
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


def tokens_of(frame: Frame, path: Path) -> Sequence[bytes | None] | None:
    """Return the tokens of a frame of events, `None` where no event has one."""
    if frame.payload.startswith(_ARROW):
        columns = _from_arrow(frame, path)
        return columns.get_column(TOKEN).to_list() if TOKEN in columns.columns else None
    return _decoded(frame, path)[-1]


def decode_frames(frames: Sequence[Frame], schema: EventSchema, path: Path) -> pl.DataFrame:
    """Return the events of consecutive frames with the stored schema and `token`, in seq order."""
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
    names = (*schema.row_columns, TOKEN)
    gathered: dict[str, list[Any]] = {name: [] for name in names}
    for frame in frames:
        columns = _decoded(frame, path)
        if len(columns) != len(names):
            raise CorruptionError(path, offset=frame.offset, reason=f"frame has {len(columns)} columns")
        for name, column in zip(names, columns, strict=True):
            gathered[name].extend([None] * frame.count if column is None else column)
    dtypes = {**schema.columns, TOKEN: pl.Binary()}
    plain = pl.DataFrame([_series(name, gathered[name], dtypes[name]) for name in names])
    return _numbered(plain, frames, schema)


def _numbered(plain: pl.DataFrame, frames: Sequence[Frame], schema: EventSchema) -> pl.DataFrame:
    """Add seq and recorded, which the frames decide, and bring the columns into the stored form and order."""
    seqs = pl.Series(chain.from_iterable(range(f.seq, f.seq + f.count) for f in frames), dtype=pl.UInt64)
    recorded = pl.Series(chain.from_iterable(repeat(f.recorded_us, f.count) for f in frames), dtype=pl.Int64)
    given = {*plain.columns, "seq", "recorded"}
    numbers = [seqs.alias("seq"), recorded.cast(UTC_MICROSECONDS).alias("recorded")]
    return plain.hstack(numbers).select(
        (pl.col(name) if name in given else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in (*schema.stored.items(), (TOKEN, pl.Binary()))
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
