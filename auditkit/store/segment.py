"""Segments: sealed, immutable Arrow IPC files, one per flush and partition.

A segment is written under a temporary name, hashed, synced and renamed before the catalog may name it.  Its
record batches are sorted by (ts, seq); text of few values is stored as dictionaries.  Where a segment lies says
nothing about its events beyond the time slot of their `ts`.
"""

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.disk.durable import Disk, write_temporary
from auditkit.disk.layout import TEMPORARY_SUFFIX, Layout, Modes
from auditkit.errors import CorruptionError
from auditkit.event import DICTIONARY_COLUMNS, OWN_SOURCE, EventSchema
from auditkit.store.files import FORMAT, METADATA_KEY, check_presence
from auditkit.store.filters import pack_filters
from auditkit.store.ipcfile import IpcFile, encode_file
from auditkit.store.marks import pack_marks
from auditkit.store.records import BATCH, SegmentRow
from auditkit.timerange import Width, partition_name, partition_start

BATCH_ROWS = 4_096
_AHEAD = 2
_CODE_WIDTHS = (pa.int8(), pa.int16(), pa.int32())
"""Narrow codes take less to compress and to read; Arrow, Polars and DuckDB read files of different widths together."""


def partitions_of(events: pl.DataFrame, width: Width) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield (partition name, its events sorted by (ts, seq)) of events in the order of seq, oldest partition first."""
    ordered = events[np.argsort(events.get_column("ts").to_physical().to_numpy(), kind="stable")]
    stamps = ordered.get_column("ts").to_physical()
    position = 0
    while position < ordered.height:
        start_us = partition_start(int(stamps[position]), width)
        name = partition_name(start_us, width)
        rows = int(stamps.slice(position).search_sorted(_partition_end(start_us, width), side="left"))
        yield name, ordered.slice(position, rows)
        position += rows


class Encoded(Struct, frozen=True, kw_only=True):
    """A segment that is not on disk yet: its bytes, and the row that will name it."""

    row: SegmentRow
    data: bytes


def encode_segments(
    layout: Layout, schema: EventSchema, parts: Iterable[tuple[str, pl.DataFrame]]
) -> Iterator[Encoded]:
    """Yield the segment of each (partition, its events sorted by (ts, seq)), in order.

    Encoding runs ahead of whoever takes them, on threads of its own and by `_AHEAD` segments at most.
    """
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="auditkit-encode") as pool:
        ahead: deque[Future[Encoded]] = deque()
        for partition, events in parts:
            if len(ahead) == _AHEAD:
                yield ahead.popleft().result()
            ahead.append(pool.submit(encode_segment, layout, schema, partition, events))
        while ahead:
            yield ahead.popleft().result()


def encode_segment(layout: Layout, schema: EventSchema, partition: str, events: pl.DataFrame) -> Encoded:
    """Return the segment that holds the events of one partition, sorted by (ts, seq)."""
    file = _encode(events, schema)
    digest = hashlib.sha256(file.data).digest()
    seqs = events.get_column("seq")
    first, last = int(_known(seqs.min())), int(_known(seqs.max()))
    stamps = events.get_column("ts").to_physical()
    own = events.get_column("source").cast(pl.String).eq_missing(pl.Series([OWN_SOURCE]))
    row = SegmentRow(
        path=layout.segment_name(partition, first, last, digest),
        partition=partition,
        first_seq=first,
        last_seq=last,
        rows=events.height,
        own_rows=int(own.sum()),
        min_ts_us=int(stamps[0]),
        max_ts_us=int(stamps[-1]),
        producers_max_ts_us=_optional_int(stamps.filter(~own).max()),
        producers_max_recorded_us=_optional_int(
            events.get_column("recorded").to_physical().filter(~own).max()
        ),
        size_bytes=len(file.data),
        sha256=digest,
        marks=pack_marks(stamps.to_numpy()),
        **_described(file, stamps),
    )
    return Encoded(row=row, data=file.data)


def store_segments(disk: Disk, layout: Layout, modes: Modes, segments: Iterable[Encoded]) -> list[SegmentRow]:
    """Write segments to disk and return the rows that will name them.

    On return each file is durable under its final name and counts for nobody until the catalog names it.  If it
    raises, leftovers may remain that the next holder of the maintenance lock removes.
    """
    rows = []
    for segment in segments:
        path = layout.segments / segment.row.path
        disk.make_directory(path.parent, modes.directory)
        temporary = path.with_suffix(TEMPORARY_SUFFIX)
        disk.unlink(temporary)
        write_temporary(disk, temporary, segment.data, modes.file)
        disk.rename(temporary, path)
        rows.append(segment.row)
    for partition in sorted({row.partition for row in rows}):
        disk.sync_directory(layout.segments / partition)
    if rows:
        disk.sync_directory(layout.segments)  # also of what was there: its maker may have died before this
    return rows


def read_segment(layout: Layout, row: SegmentRow, schema: EventSchema) -> pl.DataFrame:
    """Return all events of a segment with the stored schema, after checking its digest.

    Raises `CorruptionError` where the bytes are not those that were written.
    """
    path = check_presence(layout, row)
    data = path.read_bytes()
    if hashlib.sha256(data).digest() != row.sha256:
        raise CorruptionError(path, offset=None, reason="digest differs from the catalog's")
    return pl.read_ipc(data).cast(pl.Schema(schema.stored))


def _encode(events: pl.DataFrame, schema: EventSchema) -> IpcFile:
    """Return events as an IPC file."""
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads, thread_name_prefix="auditkit-encode") as pool:
        arrays = pool.map(_array, (events.get_column(name) for name in schema.columns))
        columns = dict(zip(schema.columns, arrays, strict=True))
        table = pa.table(columns, metadata={METADATA_KEY: FORMAT})
        return encode_file(table, BATCH_ROWS, lambda: pack_filters(columns, BATCH_ROWS), pool, threads)


def _array(column: pl.Series) -> pa.Array:
    """Return a column as it is stored: plain, or as codes that are as wide as its dictionary asks for."""
    is_coded = column.name in DICTIONARY_COLUMNS
    plain = column.cast(pl.String) if is_coded else column
    array = plain.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    if not is_coded:
        return array
    encoded = array.dictionary_encode()
    width = next(width for width in _CODE_WIDTHS if len(encoded.dictionary) <= 2 ** (width.bit_width - 1))
    return encoded.cast(pa.dictionary(width, pa.large_string()))


def _described(file: IpcFile, stamps: pl.Series) -> dict[str, Any]:
    """Return what the catalog keeps about the parts of a file: the columns of a `SegmentRow`."""
    view, packed = memoryview(file.data), []
    for number, (start, end) in enumerate(pairwise(file.borders)):
        times = stamps.slice(number * BATCH_ROWS, BATCH_ROWS)
        packed.append(BATCH.pack(len(times), int(times[0]), int(times[-1]), end, zlib.crc32(view[start:end])))
    return {
        "head_bytes": file.borders[0],
        "head_crc": zlib.crc32(view[: file.borders[0]]),
        "foot_crc": zlib.crc32(view[file.borders[-1] :]),
        "batches": b"".join(packed),
    }


def _partition_end(start_us: int, width: Width) -> int:
    """Return the start of the partition after the one that starts at `start_us`."""
    longest = {"1h": 3_600, "1d": 86_400, "1mo": 31 * 86_400}[width] * 1_000_000
    return partition_start(start_us + longest, width)


def _known(value: Any) -> Any:
    if value is None:
        raise ValueError("segment: no events (expected at least one)")
    return value


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)
