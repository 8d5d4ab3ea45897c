"""Decoding parts of segments: which record batches, which columns, which events, and never a byte that was not checked.

What a file's head says, and its dictionaries, Arrow reads.  Record batches are decompressed here: many at once, or the
few frames that hold a few events.
"""

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import packed
from auditkit.errors import CorruptionError, FormatError
from auditkit.store import bloom
from auditkit.store.buffers import Everything, Few
from auditkit.store.compression import FrameError
from auditkit.store.files import FORMAT, METADATA_KEY, OpenSegment
from auditkit.store.message import Batch, read_batch

Numbers = Any
"""A numpy array."""


def whole(segment: OpenSegment, numbers: Sequence[int], columns: Collection[str]) -> pa.RecordBatch:
    """Return all events of the batches with these numbers (ascending), the columns in the order of the schema."""
    segment.check(numbers)
    with _explained(segment):
        found = [_batch(segment, number) for number in numbers]
        held = Everything(file=memoryview(segment.view), batches=found)
        read = _decoded(segment, held, numbers, columns)
    segment.give_back(numbers)
    return read


def few(segment: OpenSegment, positions: Numbers, columns: Collection[str]) -> pa.RecordBatch:
    """Return single events by their positions in a segment (ascending), at little more than their own cost."""
    begins = list(accumulate((part.rows for part in segment.row.parts), initial=0))
    places: dict[int, list[int]] = {}
    for position in positions.tolist():
        number = bisect_right(begins, position) - 1
        places.setdefault(number, []).append(position - begins[number])
    segment.check(places.keys())
    with _explained(segment):
        held = Few(
            file=memoryview(segment.view),
            batches=[_batch(segment, number) for number in places],
            places=list(places.values()),
        )
        read = _decoded(segment, held, places.keys(), columns)
    segment.give_back(places.keys())
    return read


def candidates(segment: OpenSegment, wanted: Mapping[str, Any]) -> Collection[int]:
    """Return the batches that may hold, in each of the columns, one of the values with the hashes `wanted`."""
    segment.check(())
    with _explained(segment):
        if not segment.footer:
            segment.footer.update(_opened(segment).metadata or {})
        chosen = set(range(segment.row.batch_count))
        for column, values in wanted.items():
            found = segment.footer.get(bloom.filter_key(column))
            chosen &= set() if found is None else set(bloom.candidates(found, values))
    return sorted(chosen)


class _Column(Struct, frozen=True):
    """How a column is stored: the number of its first buffer, its type (of codes, theirs), and what the codes stand for."""

    number: int
    first: int
    type: pa.DataType
    dictionary: pa.Array | None


def _decoded(
    segment: OpenSegment, held: Everything | Few, numbers: Collection[int], columns: Collection[str]
) -> pa.RecordBatch:
    if not segment.columns:
        segment.columns.update(_columns(segment, min(numbers)))
    arrays = {name: _array(segment.columns[name], held) for name in segment.names if name in columns}
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


def _columns(segment: OpenSegment, number: int) -> dict[str, _Column]:
    """Return how the columns are stored; Arrow gives dictionaries with a batch, here that of a number that was checked."""
    schema = _opened(segment).schema
    if (schema.metadata or {}).get(METADATA_KEY) != FORMAT:
        raise FormatError(f"{segment.path}: unknown segment format (expected {FORMAT.decode()})")
    coded = [place for place, field in enumerate(schema) if pa.types.is_dictionary(field.type)]
    codes = _opened(segment, included_fields=coded, use_threads=False).get_batch(number)
    columns, first = {}, 0
    for place, field in enumerate(schema):
        kind, dictionary = field.type, None
        if place in coded:
            kind, dictionary = field.type.index_type, codes.column(field.name).dictionary
        columns[field.name] = _Column(place, first, kind, dictionary)
        first += 3 if pa.types.is_large_string(kind) else 2
    return columns


def _opened(segment: OpenSegment, **options: Any) -> Any:
    return pa.ipc.open_file(pa.py_buffer(segment.view), options=pa.ipc.IpcReadOptions(**options))


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
    except (pa.ArrowException, OSError, FrameError, struct.error, ValueError, IndexError) as exc:
        raise CorruptionError(segment.path, offset=None, reason=f"segment does not read: {exc}") from exc
