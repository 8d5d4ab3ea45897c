"""Arrow IPC files whose record batches are compressed beside each other, in frames that can be read alone.

Arrow's writer takes one batch after the other and makes one frame of a buffer.  Here it writes a frame for the file: all
dictionaries and as many batches, empty ones.  The messages made here take the places of the empty batches, and the
footer's blocks, which say where each batch lies, are set to where they came to lie (Arrow's File.fbs).
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import accumulate, islice
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import text_of
from auditkit.store.compression import LENGTH, NUMBERS_BYTES, TEXT_BYTES, compress, cut
from auditkit.store.message import ALIGNMENT, PREFIX, metadata_like

_OPTIONS = {"compression": "zstd", "use_threads": False}
_BLOCK = np.dtype(
    {
        "names": ["offset", "metadata", "body"],
        "formats": ["<i8", "<i4", "<i8"],
        "offsets": [0, 8, 16],
        "itemsize": 24,
    }
)
_TURNS = 2
"""More threads than processors compress, since these have other work at the same time."""
_TRAILER = struct.Struct("<i6s")
"""What ends a file: how long the footer is, and the magic bytes."""
_RECORD_BATCHES = 3
"""The number of the footer's field with their blocks."""


class IpcFile(Struct, frozen=True, kw_only=True):
    """A file's bytes, and where among them its record batches lie: from one border to the next."""

    data: bytes
    borders: Sequence[int]


def encode_file(
    table: pa.Table,
    batch_rows: int,
    metadata: Callable[[], Mapping[bytes, bytes]],
    pool: Executor,
    threads: int,
) -> IpcFile:
    """Return a table (at least one row) as a file of batches of `batch_rows`, compressed with zstd on some threads.

    `metadata` goes into the footer; it is asked for while the batches are compressed.
    """
    codes, begins = _codes(table), range(0, len(table), batch_rows)
    batches = [_batch(codes.slice(begin, batch_rows)) for begin in begins]
    pieces = [piece for batch in batches for buffer in batch.buffers for piece in buffer.pieces]
    compressing = pool.submit(compress, pieces, _TURNS * threads)
    template = _template(codes)
    file = _file(table, len(batches), metadata())
    frames = iter(compressing.result())
    return _filled(file, [_message(template, batch, frames) for batch in batches])


class _Buffer(Struct, frozen=True):
    """What a buffer holds, and that cut into what its frames are to hold."""

    size: int
    pieces: Sequence[memoryview]

    @classmethod
    def of(cls, data: Any, frame_bytes: int) -> "_Buffer":
        view = memoryview(data if data is not None else b"").cast("B")
        return cls(len(view), cut(view, frame_bytes))


class _Batch(Struct, frozen=True):
    """A record batch on its way into a message."""

    rows: int
    nulls: Sequence[int]
    buffers: Sequence[_Buffer]


def _batch(codes: pa.Table) -> _Batch:
    columns = [column.chunk(0) for column in codes.columns]
    return _Batch(
        len(codes),
        [column.null_count for column in columns],
        [buffer for column in columns for buffer in _buffers(column)],
    )


def _buffers(column: pa.Array) -> list[_Buffer]:
    """Return the buffers of a slice of a column as Arrow stores them: they begin with its first event."""
    validity, first, *_ = column.buffers()
    present = _Buffer.of(_bits(validity, column) if column.null_count else None, NUMBERS_BYTES)
    if pa.types.is_large_string(column.type):
        ends, text = text_of(column)
        begin, end = int(ends[0]), int(ends[-1])
        data = None if text is None else memoryview(text)[begin:end]
        return [present, _Buffer.of(ends - begin, NUMBERS_BYTES), _Buffer.of(data, TEXT_BYTES)]
    if pa.types.is_boolean(column.type):
        return [present, _Buffer.of(_bits(first, column), NUMBERS_BYTES)]
    width = column.type.bit_width // 8
    numbers = memoryview(first)[column.offset * width : (column.offset + len(column)) * width]
    return [present, _Buffer.of(numbers, NUMBERS_BYTES)]


def _bits(buffer: pa.Buffer, column: pa.Array) -> Any:
    """Return the bits of a slice of a column, and none of what lies behind it."""
    begin, shift = divmod(column.offset, 8)
    octets = np.frombuffer(buffer, dtype="u1")[begin : begin + -(-(shift + len(column)) // 8)]
    if not shift and not len(column) % 8:
        return octets
    return np.packbits(np.unpackbits(octets, bitorder="little")[shift:][: len(column)], bitorder="little")


def _message(template: memoryview, batch: _Batch, frames: Iterator[Any]) -> bytes:
    """Return the message of a batch, whose frames come next."""
    body: list[Any] = []
    places, end = [], 0
    for buffer in batch.buffers:
        compressed = list(islice(frames, len(buffer.pieces)))
        size = sum(map(len, compressed)) + LENGTH.size if compressed else 0
        places.append((end, size))
        if compressed:
            body += [LENGTH.pack(buffer.size), *compressed, bytes(-size % ALIGNMENT)]
        end += size + -size % ALIGNMENT
    return b"".join([metadata_like(template, batch.rows, batch.nulls, places, end), *body])


def _template(codes: pa.Table) -> memoryview:
    """Return the message of a compressed batch with these columns."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, codes.schema, options=pa.ipc.IpcWriteOptions(**_OPTIONS)) as writer:
        writer.write_table(codes.slice(0, 1))
    source = pa.BufferReader(sink.getvalue())
    pa.ipc.read_message(source)  # the schema
    return memoryview(sink.getvalue())[source.tell() :]


def _filled(file: bytearray, messages: Sequence[bytes]) -> IpcFile:
    """Return a file with messages in the place of its empty batches, which is told so."""
    blocks = _blocks(file)
    head, foot = blocks["offset"][0], blocks[-1]["offset"] + blocks[-1]["metadata"] + blocks[-1]["body"]
    borders = list(accumulate(map(len, messages), initial=int(head)))
    blocks["offset"] = borders[:-1]
    blocks["metadata"] = [_metadata_length(message) for message in messages]
    blocks["body"] = np.diff(borders) - blocks["metadata"]
    with memoryview(file) as view:
        return IpcFile(data=b"".join([view[:head], *messages, view[foot:]]), borders=borders)


def _codes(table: pa.Table) -> pa.Table:
    """Return a table with the codes of its dictionaries, which is all that a record batch has of them."""
    columns = [
        pa.chunked_array([chunk.indices for chunk in column.chunks])
        if pa.types.is_dictionary(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def _file(table: pa.Table, batches: int, metadata: Mapping[bytes, bytes]) -> bytearray:
    """Return a file with a table's dictionaries and so many empty batches."""
    sink, options = pa.BufferOutputStream(), pa.ipc.IpcWriteOptions(**_OPTIONS)
    empty = pa.RecordBatch.from_arrays([_emptied(column) for column in table.columns], schema=table.schema)
    with pa.ipc.new_file(sink, table.schema, options=options, metadata=metadata) as writer:
        for _ in range(batches):
            writer.write_batch(empty)
    return bytearray(sink.getvalue())


def _emptied(column: pa.ChunkedArray) -> pa.Array:
    if not pa.types.is_dictionary(column.type):
        return pa.nulls(0, column.type)
    codes = pa.nulls(0, column.type.index_type)
    return pa.DictionaryArray.from_arrays(codes, column.chunk(0).dictionary)


def _blocks(file: bytearray) -> Any:
    """Return the blocks of a file's record batches, as they lie in its footer: what is set is set there."""
    footer_bytes, _ = _TRAILER.unpack_from(file, len(file) - _TRAILER.size)
    footer = len(file) - _TRAILER.size - footer_bytes

    def number(kind: str, position: int) -> int:
        return int(struct.unpack_from(f"<{kind}", file, position)[0])

    table = footer + number("I", footer)
    fields = table - number("i", table) + 4
    field = table + number("H", fields + 2 * _RECORD_BATCHES)
    vector = field + number("I", field)
    return np.frombuffer(file, dtype=_BLOCK, count=number("I", vector), offset=vector + 4)


def _metadata_length(message: bytes) -> int:
    """Return how long a message's metadata is, with what begins it."""
    return PREFIX.size + int(PREFIX.unpack_from(message)[0])
