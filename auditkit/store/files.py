"""Segment files: opened, checked part by part, and read by Arrow's reader.

Nothing is parsed before its bytes are what the catalog says, and claim no more than it says: what lies before the record
batches (schema, dictionaries), what lies behind them (the footer), and each record batch that is asked for.  Nothing is
used before its values were looked at.  Each is done once in a process (`store.buffers`).  Arrow decodes all
dictionaries of a file whenever a reader is made, so readers are kept, one for each set of columns, within bounds.
"""

import os
import resource
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec
import polars as pl
import pyarrow as pa
from msgspec import Struct, field

from auditkit.arrow import Numbers, series_of
from auditkit.disk.inside import open_file
from auditkit.disk.layout import Layout
from auditkit.errors import AuditError, CorruptionError, FormatError
from auditkit.event import EventSchema
from auditkit.store.bloom import candidates, filter_key
from auditkit.store.buffers import (
    Shape,
    check_batch_claims,
    check_column,
    check_dictionary,
    check_dictionary_claims,
    check_schema,
    read_footer,
)
from auditkit.store.records import BatchInfo, SegmentRow

FORMAT = b"1"
METADATA_KEY = b"auditkit.format"
_HEAD, _FOOT, _FIRST_BATCH = 0, 1, 2
_MOST_OPEN = 128
_MOST_BYTES = 96 * 1024 * 1024
"""What Arrow may keep in memory of segments that are kept open, for one set of columns each."""
_UNPACKED = 5
"""So many times its size in the file is what a dictionary takes in memory, about."""
_SHARE = 8
"""The part of a process's descriptors that segments kept open may take: one in so many."""
_STEADY = 8
_MOST_READERS = 4
"""Readers kept for one segment."""

_ATTEMPTS = 20
_T = TypeVar("_T")
_Key = tuple[str, int, int]
"""A file by path, inode and modification time."""


class Checked(Struct, frozen=True, gc=False):
    """What this process has checked of a file; what is noted twice, by two threads, is true twice."""

    parts: bytearray
    """A flag for the bytes of each part."""
    columns: list[int]
    """For each record batch, the columns of which all values were looked at: a bit each, by their place."""
    dictionaries: set[str]
    """The columns whose dictionaries were looked at."""


class SegmentFiles(Struct, frozen=True):
    """The segment files of one trail: which parts of them this process has checked, and those last used, kept open."""

    layout: Layout
    schema: EventSchema = field(default_factory=EventSchema)
    checked: dict[_Key, Checked] = field(default_factory=dict)
    """Guarded by `lock`, as are the next two."""
    recent: OrderedDict[_Key, "OpenSegment"] = field(default_factory=OrderedDict)
    opened: WeakValueDictionary[str, "OpenSegment"] = field(default_factory=WeakValueDictionary)
    """All that are open by path, kept by this object or by their readers alone; guarded by `lock`."""
    misses: Iterator[int] = field(default_factory=count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, row: SegmentRow) -> "OpenSegment":
        """Open a segment, which stays readable for as long as it is held, removed or not.

        Raises `FileNotFoundError` where it is gone and not held, and `CorruptionError` where its size is wrong.
        """
        with suppress(OSError):  # opening it says what is wrong, and finds what was replaced
            status = self.layout.segment_file(row.path).lstat()
            with self.lock:
                segment = self._kept(_key(row, status))
            if segment is not None and status.st_size == row.size_bytes:
                return segment
        try:
            path, fd = open_segment(self.layout, row)
        except FileNotFoundError:
            with self.lock:
                open_still = self.opened.get(row.path)
            if open_still is None:
                raise
            return open_still
        try:
            return self._take(row, path, fd)
        finally:
            os.close(fd)

    def _take(self, row: SegmentRow, path: Path, fd: int) -> "OpenSegment":
        """Return the segment that an open file is."""
        key = _key(row, os.fstat(fd))
        with self.lock:
            segment = self._kept(key)
            if segment is None:
                checked = self.checked.setdefault(key, nothing_checked(row))
                empty = frozenset(msgspec.json.decode(row.empty_columns, type=list[str]))
                file = pa.OSFile(f"/proc/self/fd/{fd}")  # Arrow takes no descriptor
                segment = OpenSegment(
                    path=path, row=row, events=self.schema, empty=empty, file=file, checked=checked
                )
                self.opened[row.path] = segment
                self._keep(key, segment)
        return segment

    def _kept(self, key: _Key) -> "OpenSegment | None":
        """Return a segment that is kept open, as the one used last."""
        segment = self.recent.get(key)
        if segment is not None:
            self.recent.move_to_end(key)
        return segment

    def _keep(self, key: _Key, segment: "OpenSegment") -> None:
        """Keep a segment open where there is room, and now and then in the place of the one used longest ago.

        Questions that go through more segments than are kept find most of them kept: if each took the place of
        another, none would be there when its turn comes.
        """
        most = min(_MOST_OPEN, most_descriptors() // _SHARE)
        kept = [one.kept_bytes for one in self.recent.values()]
        is_full = len(kept) >= most or sum(kept) + segment.kept_bytes > _MOST_BYTES
        if is_full and next(self.misses) % _STEADY:
            return
        self.recent[key] = segment
        while len(self.recent) > 1 and (
            len(self.recent) > most or sum(one.kept_bytes for one in self.recent.values()) > _MOST_BYTES
        ):
            self.recent.popitem(last=False)

    @contextmanager
    def reading(self, row: SegmentRow) -> Iterator["OpenSegment"]:
        """Open a segment to read it once, as `open` does; unless it is kept, nothing of it stays in memory."""
        segment = self.open(row)
        try:
            yield segment
        finally:
            with self.lock:
                is_kept = any(one is segment for one in self.recent.values())
            if not is_kept:
                segment.forget()

    def forget_others(self, live: Collection[str]) -> None:
        """Let go of all segments but these: the disk has the bytes of a removed file back once no reader holds it."""
        with self.lock:
            for key in [key for key in self.checked if key[0] not in live]:
                del self.checked[key]
                self.recent.pop(key, None)


def nothing_checked(row: SegmentRow) -> Checked:
    """Return that nothing of a segment was checked yet."""
    return Checked(bytearray(_FIRST_BATCH + row.batch_count), [0] * row.batch_count, set())


def most_descriptors() -> int:
    """Return how many descriptors this process may have."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if allowed == resource.RLIM_INFINITY else allowed


def retrying(ask: Callable[[], _T]) -> _T:
    """Call `ask` again, which then plans anew, while segments vanish under it: compaction or a prune took them away.

    Raises `CorruptionError` where the catalog goes on naming a file that is gone.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return ask()
        except FileNotFoundError:
            continue
    try:
        return ask()
    except FileNotFoundError as exc:
        if isinstance(exc, AuditError) or exc.filename is None:
            raise
        path = Path(exc.filename)
        raise CorruptionError(
            path, offset=None, reason="the catalog names this file, and it is gone"
        ) from exc


def _key(row: SegmentRow, status: os.stat_result) -> _Key:
    return (row.path, status.st_ino, status.st_mtime_ns)


def open_segment(layout: Layout, row: SegmentRow) -> tuple[Path, int]:
    """Return a segment's path and a descriptor of its file, which has the right size.

    A reader that planned before a compaction finds the file among those that were replaced.  Raises
    `FileNotFoundError` where there is none and `CorruptionError` where its size is wrong.
    """
    path = layout.segment_file(row.path)
    try:
        fd = open_file(path, layout.root)
    except FileNotFoundError as gone:
        path = layout.replaced_file(row.path)
        try:
            fd = open_file(path, layout.root)
        except FileNotFoundError:
            raise gone from None
    size = os.fstat(fd).st_size
    if size != row.size_bytes:
        os.close(fd)
        raise CorruptionError(
            path,
            offset=min(size, row.size_bytes),
            reason=f"wrong size (expected {row.size_bytes}, found {size})",
        )
    return path, fd


class OpenSegment(Struct, frozen=True, kw_only=True, eq=False, weakref=True):
    """An open segment file; what it returns was checked."""

    path: Path
    row: SegmentRow
    events: EventSchema
    empty: frozenset[str]
    """The columns without any value, which are not read."""
    file: Any
    """Arrow's file; guarded by `lock`, as is all that follows."""
    checked: Checked
    readers: OrderedDict[tuple[str, ...], "_Reader"] = field(default_factory=OrderedDict)
    opened: list["_Opened"] = field(default_factory=list)
    """What the file says of itself, once it was read."""
    filters: dict[bytes, bytes] = field(default_factory=dict)
    """The metadata of the footer, once it was asked for."""
    texts: dict[str, pl.Series] = field(default_factory=dict)
    """The values of dictionaries, as far as they were asked for."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def kept_bytes(self) -> int:
        """About how much Arrow keeps in memory of a reader: the footer twice, and all dictionaries."""
        row = self.row
        return 2 * (row.size_bytes - row.parts[-1].end) + _UNPACKED * row.head_bytes

    def forget(self) -> None:
        """Forget what can be read again."""
        with self.lock:
            for known in (self.readers, self.filters, self.texts):
                known.clear()

    def batches(self, numbers: Sequence[int], columns: Collection[str]) -> list[pa.RecordBatch]:
        """Return record batches with those of these columns that have values, in any order; `column` knows the others.

        Raises `CorruptionError` where the bytes are not those that were written, or make no sense.
        """
        with self.lock, self._explained():
            parts = self.row.parts
            for number in numbers:
                if not self.checked.parts[_FIRST_BATCH + number]:
                    self._check_batch(number, parts[number])
            if not self.empty.issuperset(columns):
                columns = [name for name in columns if name not in self.empty]
            else:
                columns = ["seq"]
            reader = self._reader(tuple(sorted(columns)))
            found = [reader.file.get_batch(number) for number in numbers]
            for number, batch in zip(numbers, found, strict=True):
                if len(batch) != parts[number].rows:
                    raise ValueError(
                        f"expected {parts[number].rows} events in batch {number}, found {len(batch)}"
                    )
                if reader.places & ~self.checked.columns[number]:
                    self._look_at(number, batch, reader)
            return found

    def batch(self, number: int, columns: Collection[str]) -> pa.RecordBatch:
        """Return one record batch with all of these columns, in any order; raises as `batches` does."""
        (batch,) = self.batches([number], columns)
        for name in self.empty.intersection(columns):
            batch = batch.append_column(name, self.column(batch, name))
        return batch

    def column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        """Return a column of a record batch that was read of this segment, nulls where the segment has no value."""
        place = batch.schema.get_field_index(name)
        if place >= 0 or name not in self.empty:
            return batch.column(name if place < 0 else place)
        with self.lock, self._explained():
            return pa.nulls(len(batch), self._open().schema.field(name).type)

    def text(self, column: str, dictionary: pa.Array) -> pl.Series:
        """Return the values of a column's dictionary, and null behind the last."""
        if column not in self.texts:
            self.texts[column] = series_of(pa.concat_arrays([dictionary, pa.nulls(1, dictionary.type)]))
        return self.texts[column]

    def candidates(self, values: dict[str, Numbers]) -> list[int]:
        """Return the record batches that may hold, in each column, one of the values with these hashes."""
        with self.lock, self._explained():
            self._open()
            if not self.filters:
                self.filters.update(pa.ipc.open_file(self.file).metadata or {})
            chosen = set(range(self.row.batch_count))
            for column, hashes in values.items():
                found = self.filters.get(filter_key(column))
                chosen.intersection_update(
                    [] if found is None else candidates(found, hashes, self.row.batch_count)
                )
        return sorted(chosen)

    def _open(self) -> "_Opened":
        """Read schema and footer once."""
        if not self.opened:
            row, parts = self.row, self.checked.parts
            foot = self._part(row.parts[-1].end, row.size_bytes, row.foot_crc, known=bool(parts[_FOOT]))
            blocks = read_footer(foot, row)
            if not (parts[_HEAD] and parts[_FOOT]):
                check_dictionary_claims(self._part(0, row.head_bytes, row.head_crc), blocks, row)
            reader = pa.ipc.open_file(self.file)
            if (reader.schema.metadata or {}).get(METADATA_KEY) != FORMAT:
                raise FormatError(f"{self.path}: unknown segment format (expected {FORMAT.decode()})")
            opened = _Opened(reader.schema, check_schema(reader.schema, self.events), blocks.heads)
            parts[_HEAD] = parts[_FOOT] = 1
            self.opened.append(opened)
        return self.opened[0]

    def _reader(self, columns: tuple[str, ...]) -> "_Reader":
        """Return a reader of these columns."""
        reader = self.readers.get(columns)
        if reader is None:
            schema = self._open().schema
            places = [schema.get_field_index(column) for column in columns]
            if -1 in places:
                raise ValueError(f"no column {columns[places.index(-1)]!r}")
            options = pa.ipc.IpcReadOptions(included_fields=sorted(places), use_threads=False)
            file = pa.ipc.open_file(self.file, options=options)
            reader = self.readers[columns] = _Reader(file, columns, sum(1 << place for place in places))
            if len(self.readers) > _MOST_READERS:
                self.readers.popitem(last=False)
        else:
            self.readers.move_to_end(columns)
        return reader

    def _check_batch(self, number: int, part: BatchInfo) -> None:
        """Check the bytes of a record batch and what they claim."""
        opened = self._open()
        check_batch_claims(
            self._part(part.start, part.end, part.crc), opened.heads[number], part, opened.shape
        )
        self.checked.parts[_FIRST_BATCH + number] = 1

    def _part(self, start: int, end: int, crc: int, *, known: bool = False) -> bytes:
        """Return the bytes of a part once it is certain that they are those that were written."""
        data: bytes = self.file.read_at(end - start, start)
        if not known and zlib.crc32(data) != crc:
            reason = f"checksum differs from the catalog's (seqs {self.row.first_seq} to {self.row.last_seq})"
            raise CorruptionError(self.path, offset=start, reason=reason)
        return data

    def _look_at(self, number: int, batch: pa.RecordBatch, reader: "_Reader") -> None:
        """Look at the values of a record batch, and of the dictionaries that were not looked at yet."""
        batch.validate()
        known, schema = self.checked.columns[number], self._open().schema
        for name in reader.columns:
            if known >> schema.get_field_index(name) & 1:
                continue
            column = batch.column(name)
            if isinstance(column, pa.DictionaryArray) and name not in self.checked.dictionaries:
                check_dictionary(name, column.dictionary)
                self.checked.dictionaries.add(name)
            check_column(name, column, self.row.parts[number], self.row)
        self.checked.columns[number] |= reader.places

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what is raised where bytes make no sense into what it means: the file was written wrongly."""
        try:
            yield
        except (CorruptionError, FormatError):
            raise
        except (pa.ArrowException, OSError, ValueError, IndexError, KeyError) as exc:
            raise CorruptionError(self.path, offset=None, reason=f"segment does not read: {exc}") from exc


class _Opened(Struct, frozen=True):
    """What a file says of itself: its schema, what its record batches take, and the sizes of their metadata."""

    schema: pa.Schema
    shape: Shape
    heads: Sequence[int]


class _Reader(Struct, frozen=True):
    """Arrow's reader of some columns, and their places, a bit each."""

    file: Any
    columns: tuple[str, ...]
    places: int


def held(files: SegmentFiles, rows: Sequence[SegmentRow]) -> list[OpenSegment]:
    """Open segments and return them: while they are held, no prune takes a file from under who reads them.

    Takes up to half of the descriptors of the process; what lies beyond is opened when its turn comes.
    """
    return [files.open(row) for row in rows[: most_descriptors() // 2]]
