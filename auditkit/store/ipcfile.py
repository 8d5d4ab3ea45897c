"""Arrow IPC files whose record batches are compressed beside each other.

Arrow's writer takes one batch after the other.  Here it writes the batches as streams, each stream on a thread of its own,
and a frame for them: the file with all dictionaries and as many batches, empty ones.  The messages of the streams take
the places of the empty batches, and the footer's blocks, which say where each batch lies, are set to where they came to
lie (Arrow's File.fbs).  The bytes are those that Arrow would have written.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

_OPTIONS = {"compression": "zstd", "use_threads": False}
_SHARE_BATCHES = 4
"""Fewer batches are not worth a thread."""
_BLOCK = np.dtype(
    {
        "names": ["offset", "metadata", "body"],
        "formats": ["<i8", "<i4", "<i8"],
        "offsets": [0, 8, 16],
        "itemsize": 24,
    }
)
_PREFIX = struct.Struct("<4xi")
"""What begins a message: a marker, and how long its metadata is."""
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
    batches = -(-len(table) // batch_rows)
    share = batch_rows * max(_SHARE_BATCHES, -(-batches // threads))
    codes = _codes(table)
    compressing = [
        pool.submit(_messages, codes.slice(begin, share), batch_rows) for begin in range(0, len(table), share)
    ]
    frame = _frame(table, batches, metadata())
    messages = [message for done in compressing for message in done.result()]
    return _filled(frame, messages)


def _filled(frame: bytearray, messages: Sequence[memoryview]) -> IpcFile:
    """Return a file with messages in the place of its empty batches, which is told so."""
    blocks = _blocks(frame)
    head, foot = blocks["offset"][0], blocks[-1]["offset"] + blocks[-1]["metadata"] + blocks[-1]["body"]
    borders = list(accumulate(map(len, messages), initial=int(head)))
    blocks["offset"] = borders[:-1]
    blocks["metadata"] = [_metadata_length(message) for message in messages]
    blocks["body"] = np.diff(borders) - blocks["metadata"]
    with memoryview(frame) as view:
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


def _messages(codes: pa.Table, batch_rows: int) -> list[memoryview]:
    """Return the message of each batch; one call for all of them, so that Python's lock is asked for once."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, codes.schema, options=pa.ipc.IpcWriteOptions(**_OPTIONS)) as writer:
        writer.write_table(codes, max_chunksize=batch_rows)
    stream = sink.getvalue()
    source, borders = pa.BufferReader(stream), []
    for _ in range(-(-len(codes) // batch_rows) + 1):  # the first message is the schema
        pa.ipc.read_message(source)
        borders.append(source.tell())
    return [memoryview(stream)[begin:end] for begin, end in pairwise(borders)]


def _frame(table: pa.Table, batches: int, metadata: Mapping[bytes, bytes]) -> bytearray:
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


def _metadata_length(message: memoryview) -> int:
    """Return how long a message's metadata is, with what begins it."""
    return _PREFIX.size + int(_PREFIX.unpack_from(message)[0])
