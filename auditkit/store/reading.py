"""Decoding parts of segments with Arrow: which record batches, which columns, and never a byte that was not checked."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from auditkit.errors import CorruptionError, FormatError
from auditkit.store import filters
from auditkit.store.files import FORMAT, METADATA_KEY, OpenSegment

_MOST_READERS = 3


def batches(
    segment: OpenSegment, numbers: Sequence[int], columns: Collection[str], *, spread: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield the batches with these numbers, with these columns in the order of the schema.

    With `spread`, Arrow's threads decode the columns of a batch beside each other: sooner, with more work in all.
    """
    segment.check(numbers)
    with _explained(segment), segment.reading:
        reader = _reader(segment, columns, spread=spread)
        # All at once keeps Python's lock released for longer, so that others decode beside this one.
        whole = reader.read_all().to_batches() if len(numbers) == segment.row.batch_count else None
    for number in numbers:
        if whole is not None:
            batch = whole[number]
        else:
            with _explained(segment), segment.reading:
                batch = reader.get_batch(number)
        yield batch
    segment.give_back(numbers)


def candidates(segment: OpenSegment, wanted: Mapping[str, Any]) -> Collection[int]:
    """Return the batches that may hold, in each of the columns, one of the values with the hashes `wanted`."""
    segment.check(())
    with _explained(segment), segment.reading:
        footer = _reader(segment, segment.names[:1]).metadata or {}
        chosen = set(range(segment.row.batch_count))
        for column, values in wanted.items():
            packed = footer.get(filters.filter_key(column))
            chosen &= set() if packed is None else set(filters.candidates(packed, values))
    return sorted(chosen)


def _reader(segment: OpenSegment, columns: Collection[str], *, spread: bool = False) -> Any:
    included = sorted(segment.names.index(name) for name in columns)
    key = (spread, tuple(included))
    if key not in segment.readers:
        options = pa.ipc.IpcReadOptions(included_fields=included, use_threads=spread)
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(segment.view)), options=options)
        metadata = reader.schema.metadata or {}
        if metadata.get(METADATA_KEY) != FORMAT:
            raise FormatError(f"{segment.path}: unknown segment format (expected {FORMAT.decode()})")
        if len(segment.readers) >= _MOST_READERS:
            segment.readers.clear()
        segment.readers[key] = reader
    return segment.readers[key]


@contextmanager
def _explained(segment: OpenSegment) -> Iterator[None]:
    """Turn what Arrow raises into what it means: the file was written wrongly."""
    try:
        yield
    except pa.ArrowException as exc:
        raise CorruptionError(segment.path, offset=None, reason=f"segment does not read: {exc}") from exc
