"""Segments: sealed, immutable files of events.  Their format, version 1, and how one is made.

A segment is an Arrow IPC file as Arrow's own writer makes it (https://arrow.apache.org/docs/format/Columnar.html), so
that every reader of Arrow reads it.  In it:

- The schema has the columns of `event.schema`, in order, and declared fields behind them; its metadata says
  `auditkit.format` = `1`.  actor, action, outcome, source and origin are dictionaries of large strings, their codes
  as narrow as the values allow (8, 16 or 32 bits); other text is large strings, times are microseconds in UTC.
- The events are those of one partition, sorted by (ts, seq).
- A record batch has at most `BATCH_ROWS` events and `BATCH_BYTES` of text, unless one event has more.  Buffers are
  compressed with zstd.  All dictionaries lie between the schema and the first record batch.
- The metadata of the footer holds the Bloom filters, as `store.bloom` packs them.

The name is `<partition>/<smallest seq>-<largest seq>-<first 16 hex digits of the file's SHA-256>.arrow`, seqs in 20 digits.
The seqs in between need not all be there.  What else is known of a segment is in its row of the catalog
(`store.records.SegmentRow`): where each record batch lies, its bounds and checksum, the time index.

A segment is written under a temporary name, synced and renamed, and its folder is synced, before the catalog may name
it.  `write.flush` is the only caller.
"""

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import Numbers, flags, text_of, to_arrow, to_numpy
from auditkit.disk.durable import Disk, write_temporary
from auditkit.disk.inside import read_open
from auditkit.disk.layout import NEW_SEGMENT, Layout, Modes
from auditkit.errors import CorruptionError
from auditkit.event import DICTIONARY_COLUMNS, OWN_SOURCE, EventSchema
from auditkit.store.bloom import pack_filters
from auditkit.store.files import FORMAT, METADATA_KEY, OpenSegment, nothing_checked, open_segment
from auditkit.store.records import (
    BATCH,
    BATCH_BYTES,
    BATCH_ROWS,
    MOST_COMBINATIONS,
    MOST_COMBINATIONS_CHARACTERS,
    SegmentRow,
)
from auditkit.store.time_index import pack_time_index
from auditkit.timerange import Width, partition_name, partition_start

_MAGIC_BYTES = 8
_CODEC = pa.Codec("zstd", 1)
_AHEAD = 2
"""One writer at a time: the maintenance lock is held."""
_CODE_WIDTHS = (pa.int8(), pa.int16(), pa.int32())
"""Narrow codes take less to compress and to read; Arrow, Polars and DuckDB read files of different widths together."""

_TEXT = pa.large_string()
_OTHER_TEXT = (pa.string(), pa.string_view())
_Columns: TypeAlias = dict[str, pa.Array]


def partitions_of(stamps: Numbers, width: Width) -> Iterator[tuple[str, Numbers]]:
    """Yield (partition name, places of its events in the order of (ts, seq)), oldest partition first.

    `stamps` are the ts of events in the order of seq, in microseconds.
    """
    order = np.argsort(stamps, kind="stable")
    ordered, position = stamps[order], 0
    while position < len(order):
        start_us = partition_start(int(ordered[position]), width)
        end = int(np.searchsorted(ordered, _partition_end(start_us, width)))
        yield partition_name(start_us, width), order[position:end]
        position = end


class Encoded(Struct, frozen=True, kw_only=True):
    """A segment that is not on disk yet: its bytes, and the row that will name it, which is made beside writing them."""

    partition: str
    data: pa.Buffer
    row: Callable[[], SegmentRow]


def as_table(events: pl.DataFrame, schema: EventSchema) -> pa.Table:
    """Return events in the types of Arrow they are stored in, text plain."""
    plain = pl.DataFrame([events.get_column(name).cast(kind) for name, kind in schema.columns.items()])
    return plain.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())


def encode_segments(layout: Layout, events: pa.Table, width: Width) -> Iterator[Encoded]:
    """Yield the segments of a table (text of any layout, in the order of seq), one per partition, oldest first.

    Encoding runs ahead of the consumer, on threads of its own and by `_AHEAD` segments at most; few events are
    encoded when they are asked for, sooner than threads start.
    """
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="auditkit-encode") as pool:
        columns = _coded(events, pool)
        ahead: deque[Callable[[], Encoded]] = deque()
        for partition, order in partitions_of(to_numpy(columns["ts"])[0], width):
            if len(ahead) == _AHEAD:
                yield ahead.popleft()()
            encode = partial(_encode, pool, layout, partition, columns, order)
            ahead.append(encode if len(order) <= BATCH_ROWS else pool.submit(encode).result)
        while ahead:
            yield ahead.popleft()()


def encode_segment(layout: Layout, partition: str, events: pa.Table) -> Encoded:
    """Return the segment of a table (text of any layout) with events of one partition, sorted by (ts, seq)."""
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="auditkit-encode") as pool:
        return _encode(pool, layout, partition, _coded(events, pool), np.arange(len(events)))


def store_segments(disk: Disk, layout: Layout, modes: Modes, segments: Iterable[Encoded]) -> list[SegmentRow]:
    """Write segments to disk and return the rows that will name them.

    On return each file is durable under its final name, and does not count until the catalog names it.  If it
    raises, leftovers may remain that the next holder of the maintenance lock removes.
    """
    rows = []
    for segment in segments:
        folder = layout.segments / segment.partition
        disk.make_directory(folder, modes.directory)
        temporary = folder / NEW_SEGMENT
        disk.unlink(temporary)
        write_temporary(disk, temporary, segment.data, modes.file)
        row = segment.row()
        disk.rename(temporary, layout.segment_file(row.path))
        rows.append(row)
    for partition in sorted({row.partition for row in rows}):
        disk.sync_directory(layout.segments / partition)
    if rows:
        disk.sync_directory(layout.segments)  # also of what was there: its maker may have died before this
    return rows


def read_segment(layout: Layout, row: SegmentRow, schema: EventSchema) -> pl.DataFrame:
    """Return all events of a segment with the stored schema, after checking its digest.

    Raises `CorruptionError` where the bytes are not those that were written.
    """
    path, fd = open_segment(layout, row)
    try:
        data = read_open(fd, path, most=row.size_bytes)
    finally:
        os.close(fd)
    if hashlib.sha256(data).digest() != row.sha256:
        raise CorruptionError(path, offset=None, reason="digest differs from the catalog's")
    segment = OpenSegment(
        path=path,
        row=row,
        events=schema,
        empty=frozenset(),
        file=pa.BufferReader(data),
        checked=nothing_checked(row),
    )
    for number in range(row.batch_count):  # looks at all values
        segment.batches([number], list(schema.columns))
    try:
        return pl.read_ipc(data).cast(pl.Schema(schema.stored))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as exc:
        raise CorruptionError(path, offset=None, reason=f"segment does not read: {exc}") from exc


def _coded(events: pa.Table, pool: Executor) -> _Columns:
    """Return the columns of events, those of few values as dictionaries."""

    def coded(name: str) -> pa.Array:
        chunks = [chunk for chunk in events[name].chunks if len(chunk)]
        column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
        if name not in DICTIONARY_COLUMNS:
            return column.cast(_TEXT) if column.type in _OTHER_TEXT else column
        if len(column) <= BATCH_ROWS:
            return _few_coded(column)
        encoded = column.dictionary_encode()
        return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.cast(_TEXT))

    # Few events are encoded sooner than threads start.
    columns = (map if len(events) <= BATCH_ROWS else pool.map)(coded, events.column_names)
    return dict(zip(events.column_names, columns, strict=True))


def _few_coded(column: pa.Array) -> pa.DictionaryArray:
    """Return text as a dictionary; what Arrow does it with takes longer to load than a few events are worth."""
    places: dict[str, int] = {}
    texts = column.to_pylist()
    codes = [0 if text is None else places.setdefault(text, len(places)) for text in texts]
    present = np.array([text is not None for text in texts])
    indices = to_arrow(np.array(codes, dtype="<i4"), pa.int32(), None if present.all() else present)
    values = pl.Series(list(places), dtype=pl.String).to_arrow(compat_level=pl.CompatLevel.oldest())
    return pa.DictionaryArray.from_arrays(indices, values)


def _series(texts: pa.Array) -> pl.Series:
    """Return an array as a series; not of a table, Polars would make it with what of Arrow is slow to load."""
    return pl.DataFrame(pa.table([texts], ["texts"])).to_series()


def _encode(beside: Executor, layout: Layout, partition: str, events: _Columns, order: Numbers) -> Encoded:
    """Return the segment that holds some events, in order."""
    columns = {name: _chosen(column, order) for name, column in events.items()}
    file = _write_file(columns)
    row = partial(_row, layout, partition, columns, file)
    is_small = len(order) <= BATCH_ROWS
    return Encoded(partition=partition, data=file.data, row=row if is_small else beside.submit(row).result)


class _File(Struct, frozen=True, kw_only=True):
    """A file's bytes; `rows` says which row each record batch begins with, `offsets` where it lies, ends included."""

    data: pa.Buffer
    rows: Sequence[int]
    offsets: Sequence[int]


def _write_file(columns: _Columns) -> _File:
    """Return columns as one Arrow IPC file: the schema, the dictionaries, the record batches, the footer."""
    table, rows = pa.table(columns, metadata={METADATA_KEY: FORMAT}), _batch_rows(columns)
    sink, ends = pa.BufferOutputStream(), list[int]()
    # What one record batch holds is compressed sooner than threads start.
    options = pa.ipc.IpcWriteOptions(compression=_CODEC, use_threads=len(table) > BATCH_ROWS)
    with pa.ipc.new_file(sink, table.schema, options=options, metadata=pack_filters(columns, rows)) as writer:
        for begin, end in pairwise(rows):
            (batch,) = table.slice(begin, end - begin).to_batches()
            writer.write_batch(batch)
            ends.append(sink.tell())
    data = sink.getvalue()
    return _File(data=data, rows=rows, offsets=[_first_batch(data), *ends])


def _batch_rows(columns: _Columns) -> list[int]:
    """Return the rows that record batches begin with, and the end: `BATCH_ROWS` each, fewer where text is long."""
    count = len(columns["ts"])
    sizes = np.zeros(count + 1, dtype="<i8")
    for column in columns.values():
        if column.type == _TEXT and column.null_count < count:
            starts, _ = text_of(column)
            sizes += starts - starts[0]
    rows = [0]
    while rows[-1] < count:
        fitting = int(np.searchsorted(sizes, sizes[rows[-1]] + BATCH_BYTES, side="right")) - 1
        rows.append(min(rows[-1] + BATCH_ROWS, max(fitting, rows[-1] + 1), count))
    return rows


def _first_batch(data: pa.Buffer) -> int:
    """Return where the first record batch of a file lies: behind the schema and the dictionaries."""
    source = pa.BufferReader(data)
    source.seek(_MAGIC_BYTES)
    while True:
        offset = source.tell()
        if pa.ipc.read_message(source).type == "record batch":
            return int(offset)


def _row(layout: Layout, partition: str, columns: _Columns, file: _File) -> SegmentRow:
    """Return the row of the catalog that names a file with events, sorted by (ts, seq)."""
    stamps, _ = to_numpy(columns["ts"])
    seqs, _ = to_numpy(columns["seq"])
    recorded, _ = to_numpy(columns["recorded"])
    others = np.flatnonzero(~_own(columns["source"]))
    first, last = int(seqs.min()), int(seqs.max())
    digest = hashlib.sha256(file.data).digest()
    return SegmentRow(
        path=layout.segment_name(partition, first, last, digest),
        partition=partition,
        first_seq=first,
        last_seq=last,
        rows=len(seqs),
        own_rows=len(seqs) - len(others),
        min_ts_us=int(stamps[0]),
        max_ts_us=int(stamps[-1]),
        min_recorded_us=int(recorded.min()),
        max_recorded_us=int(recorded.max()),
        producers_max_ts_us=int(stamps[others[-1]]) if len(others) else None,
        size_bytes=len(file.data),
        sha256=digest,
        time_index=pack_time_index(stamps),
        empty_columns=_empty_columns(columns),
        combinations=_combinations([columns[name] for name in ("action", "source", "outcome")]),
        **_parts(file, stamps, seqs),
    )


def _chosen(column: pa.Array, order: Numbers) -> pa.Array:
    """Return some values of a column; of a dictionary, codes as narrow as the values that are left allow."""
    if isinstance(column, pa.DictionaryArray):
        return _recoded(column, order)
    if column.null_count == len(column):
        return pa.nulls(len(order), column.type)
    first, last = int(order[0]), int(order[-1])
    is_run = last - first == len(order) - 1 and bool((order[1:] > order[:-1]).all())
    if is_run and (not column.null_count or len(order) == len(column)):
        return column.slice(first, len(order))
    return column.take(to_arrow(order.astype(np.uint32)))


def _recoded(column: pa.DictionaryArray, order: Numbers) -> pa.Array:
    values = column.dictionary
    if not len(values):
        return pa.DictionaryArray.from_arrays(pa.nulls(len(order), _CODE_WIDTHS[0]), values)
    codes, present = to_numpy(column.indices)
    codes, present = codes.take(order), None if present is None else present.take(order)
    if len(order) < len(column):
        is_used = np.zeros(len(values), dtype=bool)
        is_used[codes if present is None else codes[present]] = True
        values, codes = values.filter(flags(is_used)), np.maximum(np.cumsum(is_used) - 1, 0).take(codes)
    width = next(width for width in _CODE_WIDTHS if len(values) <= 2 ** (width.bit_width - 1))
    narrow = codes.astype(f"<i{width.bit_width // 8}")
    return pa.DictionaryArray.from_arrays(to_arrow(narrow, width, present), values)


def _own(source: pa.DictionaryArray) -> Numbers:
    """Return which events are the trail's own."""
    code = _series(source.dictionary).index_of(OWN_SOURCE)
    if code is None:
        return np.zeros(len(source), dtype=bool)
    codes, present = to_numpy(source.indices)
    return (codes == code) if present is None else (codes == code) & present


def _empty_columns(columns: _Columns) -> str:
    """Return the names of the columns without any value, as the catalog keeps them."""
    names = [name for name, column in columns.items() if column.null_count == len(column)]
    return msgspec.json.encode(names).decode()


def _combinations(columns: Sequence[pa.DictionaryArray]) -> str | None:
    """Return the distinct combinations of values of dictionaries, as the catalog keeps them; `None` of too many."""
    numbers = np.zeros(len(columns[0]), dtype=np.int64)
    found: list[tuple[str | None, ...]] = [()]
    for column in columns:
        if len(column.dictionary) > MOST_COMBINATIONS:
            return None
        values = [None, *column.dictionary.to_pylist()]
        codes, present = to_numpy(column.indices)
        places = codes.astype(np.int64) + 1
        numbers = numbers * len(values) + (places if present is None else places * present)
        is_used = np.zeros(len(found) * len(values), dtype=bool)
        is_used[numbers] = True
        used = np.flatnonzero(is_used).tolist()
        if len(used) > MOST_COMBINATIONS:
            return None
        numbers = (np.cumsum(is_used) - 1)[numbers]
        found = [(*found[number // len(values)], values[number % len(values)]) for number in used]
    text = msgspec.json.encode(found).decode()
    return text if len(text) <= MOST_COMBINATIONS_CHARACTERS else None


def _parts(file: _File, stamps: Numbers, seqs: Numbers) -> dict[str, Any]:
    """Return what the catalog keeps about the parts of a file."""
    view, packed = memoryview(file.data), []
    for (begin, until), (start, end) in zip(pairwise(file.rows), pairwise(file.offsets), strict=True):
        times, inside, crc = stamps[begin:until], seqs[begin:until], zlib.crc32(view[start:end])
        packed.append(BATCH.pack(len(times), times[0], times[-1], end, crc, inside.min(), inside.max()))
    first, last = file.offsets[0], file.offsets[-1]
    return {
        "head_bytes": first,
        "head_crc": zlib.crc32(view[:first]),
        "foot_crc": zlib.crc32(view[last:]),
        "batches": b"".join(packed),
    }


def _partition_end(start_us: int, width: Width) -> int:
    """Return the start of the partition after the one that starts at `start_us`."""
    longest = {"1h": 3_600, "1d": 86_400, "1mo": 31 * 86_400}[width] * 1_000_000
    return partition_start(start_us + longest, width)
