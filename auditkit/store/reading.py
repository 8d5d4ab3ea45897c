"""Decoding parts of segments: which record batches, which columns, which events, and never a byte that was not checked.

What a file's head says, and its dictionaries, Arrow reads.  Record batches are decompressed here: many at once, or the
few frames that hold a few events.
"""

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import pyarrow as pa
import zstandard
from msgspec import Struct

from auditkit.arrays import packed
from auditkit.errors import CorruptionError, FormatError
from auditkit.store import filters
from auditkit.store.buffers import Everything, Few
from auditkit.store.files import FORMAT, METADATA_KEY, OpenSegment
from auditkit.store.message import Batch, read_batch

_AT_ONCE = 32
"""So many batches are read together for whoever goes through them one by one."""
_THREADS = 2


def whole(
    segment: OpenSegment, numbers: Sequence[int], columns: Collection[str], *, spread: bool = False
) -> pa.RecordBatch:
    """Return all events of the batches with these numbers (ascending), the columns in the order of the schema.

    With `spread`, threads decompress a column beside each other: sooner, with more work in all.
    """
    segment.check(numbers)
    with _explained(segment):
        found = [_batch(segment, number) for number in numbers]
        held = Everything(file=memoryview(segment.view), batches=found, threads=_THREADS if spread else 1)
        read = _decoded(segment, held, columns)
    segment.give_back(numbers)
    return read


def batches(
    segment: OpenSegment, numbers: Sequence[int], columns: Collection[str], *, spread: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield the batches with these numbers one by one."""
    for begin in range(0, len(numbers), _AT_ONCE):
        group = numbers[begin : begin + _AT_ONCE]
        together = whole(segment, group, columns, spread=spread)
        rows = [segment.row.parts[number].rows for number in group]
        for first, count in zip(accumulate(rows, initial=0), rows, strict=False):
            yield together.slice(first, count)


def few(
    segment: OpenSegment, places: Mapping[int, Sequence[int]], columns: Collection[str]
) -> pa.RecordBatch:
    """Return single events by their places in batches, both ascending, at little more than their own cost."""
    segment.check(places.keys())
    with _explained(segment):
        held = Few(
            file=memoryview(segment.view),
            batches=[_batch(segment, number) for number in places],
            places=list(places.values()),
            decompressor=zstandard.ZstdDecompressor(),
        )
        return _decoded(segment, held, columns)


def candidates(segment: OpenSegment, wanted: Mapping[str, Any]) -> Collection[int]:
    """Return the batches that may hold, in each of the columns, one of the values with the hashes `wanted`."""
    segment.check(())
    with _explained(segment):
        footer = pa.ipc.open_file(pa.py_buffer(segment.view)).metadata or {}
        chosen = set(range(segment.row.batch_count))
        for column, values in wanted.items():
            filter_bytes = footer.get(filters.filter_key(column))
            chosen &= set() if filter_bytes is None else set(filters.candidates(filter_bytes, values))
    return sorted(chosen)


class _Column(Struct, frozen=True):
    """How a column is stored: the number of its first buffer, its type (of codes, theirs), and what the codes stand for."""

    number: int
    first: int
    type: pa.DataType
    dictionary: pa.Array | None


def _decoded(segment: OpenSegment, held: Everything | Few, columns: Collection[str]) -> pa.RecordBatch:
    known = _columns(segment)
    arrays = {name: _array(known[name], held) for name in segment.names if name in columns}
    return pa.RecordBatch.from_pydict(arrays)


def _array(column: _Column, held: Everything | Few) -> pa.Array:
    array = _plain(column, held)
    if column.dictionary is None:
        return array
    return pa.DictionaryArray.from_arrays(array, column.dictionary, safe=False)


def _plain(column: _Column, held: Everything | Few) -> pa.Array:
    number, first, kind = column.number, column.first, column.type
    if all(batch.nulls[number] == batch.rows for batch in held.batches):
        return pa.nulls(held.rows, kind)
    has_nulls = any(batch.nulls[number] for batch in held.batches)
    buffers = [packed(held.bits(first)) if has_nulls else None]
    if pa.types.is_large_string(kind):
        buffers += map(pa.py_buffer, held.texts(first + 1))
    elif pa.types.is_boolean(kind):
        buffers.append(packed(held.bits(first + 1)))
    else:
        buffers.append(pa.py_buffer(held.numbers(first + 1, kind.bit_width // 8)))
    return pa.Array.from_buffers(kind, held.rows, buffers)


def _columns(segment: OpenSegment) -> Mapping[str, _Column]:
    """Return how the columns are stored."""
    if segment.columns:
        return segment.columns
    file = pa.ipc.open_file(pa.py_buffer(segment.view))
    if (file.schema.metadata or {}).get(METADATA_KEY) != FORMAT:
        raise FormatError(f"{segment.path}: unknown segment format (expected {FORMAT.decode()})")
    coded = [n for n, field in enumerate(file.schema) if pa.types.is_dictionary(field.type)]
    options = pa.ipc.IpcReadOptions(included_fields=coded, use_threads=False)
    codes = pa.ipc.open_file(pa.py_buffer(segment.view), options=options).get_batch(0)
    found, first = {}, 0
    for number, field in enumerate(file.schema):
        kind, dictionary = field.type, None
        if number in coded:
            kind, dictionary = field.type.index_type, codes.column(field.name).dictionary
        found[field.name] = _Column(number, first, kind, dictionary)
        first += 3 if pa.types.is_large_string(kind) else 2
    segment.columns.update(found)
    return segment.columns


def _batch(segment: OpenSegment, number: int) -> Batch:
    """Return what a batch's message says of its buffers."""
    found: Batch | None = segment.batches.get(number)
    if found is None:
        found = segment.batches[number] = read_batch(
            memoryview(segment.view), segment.row.parts[number].start
        )
    return found


@contextmanager
def _explained(segment: OpenSegment) -> Iterator[None]:
    """Turn what is raised where bytes make no sense into what it means: the file was written wrongly."""
    try:
        yield
    except (pa.ArrowException, zstandard.ZstdError, struct.error, ValueError) as exc:
        raise CorruptionError(segment.path, offset=None, reason=f"segment does not read: {exc}") from exc
