"""Reading parts of segments: which record batches, which columns, and never a byte that was not checked.

Files are mapped, not read.  What Arrow parses is checked against the catalog's checksums before it does, once in a
process for each part of a file: what lies before the batches, the footer, and each batch that is asked for.
"""

import mmap
import resource
import threading
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from msgspec import Struct, field

from auditkit.disk.layout import Layout
from auditkit.errors import CorruptionError, FormatError
from auditkit.store.filters import candidates, filter_key
from auditkit.store.records import SegmentRow
from auditkit.store.segment import FORMAT, METADATA_KEY, check_presence

_HEAD, _FOOT, _FIRST_BATCH = 0, 1, 2
_MOST_OPEN = 128
_SHARE = 8
"""The part of the descriptors of a process that the segments kept open may take: one in so many (each map has one)."""
_STEADY = 8
_MOST_READERS = 3
_MOST_RESIDENT = 1 << 20

_Key = tuple[str, int, int]
"""A file by path, inode and modification time."""


class SegmentFiles(Struct, frozen=True):
    """The segment files of one trail, which parts of them this process has checked, and those last used."""

    layout: Layout
    names: Sequence[str]
    """The columns of every segment, in order."""
    checked: dict[_Key, bytearray] = field(default_factory=dict)
    """A flag for each part of a file."""
    recent: OrderedDict[_Key, "OpenSegment"] = field(default_factory=OrderedDict)
    misses: Iterator[int] = field(default_factory=count)
    taking: threading.Lock = field(default_factory=threading.Lock)

    def open(self, row: SegmentRow) -> "OpenSegment":
        """Map a segment.

        Raises `FileNotFoundError` where it is gone and `CorruptionError` where its size is wrong.
        """
        path = check_presence(self.layout, row)
        status = path.stat()
        key = (row.path, status.st_ino, status.st_mtime_ns)
        with self.taking:
            segment = self.recent.get(key)
            if segment is None:
                flags = self.checked.setdefault(key, bytearray(_FIRST_BATCH + len(row.parts)))
                with path.open("rb") as file:
                    view = mmap.mmap(file.fileno(), row.size_bytes, access=mmap.ACCESS_READ)
                segment = OpenSegment(path, row, self.names, view, flags)
                self._keep(key, segment)
            else:
                self.recent.move_to_end(key)
        return segment

    def _keep(self, key: _Key, segment: "OpenSegment") -> None:
        """Keep a segment open where there is room, and now and then in the place of the one used longest ago.

        Whoever goes through more segments than are kept, again and again, finds most of them kept: if each took the
        place of another, none would be there when its turn comes.
        """
        most = _most_open()
        if len(self.recent) >= most and next(self.misses) % _STEADY:
            return
        self.recent[key] = segment
        while len(self.recent) > most:
            self.recent.popitem(last=False)

    def forget_others(self, live: Collection[str]) -> None:
        """Let go of all segments but these: the disk has the bytes of a removed file back once nobody maps it."""
        with self.taking:
            for key in [key for key in self.checked if key[0] not in live]:
                del self.checked[key]
                self.recent.pop(key, None)

    def whole(self, row: SegmentRow) -> Path:
        """Return the path of a segment all of whose bytes are those that were written."""
        segment = self.open(row)
        segment.check(range(len(row.parts)))
        return segment.path


def _most_open() -> int:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN if allowed == resource.RLIM_INFINITY else min(_MOST_OPEN, allowed // _SHARE)


class OpenSegment(Struct, frozen=True):
    """A mapped segment file; what it returns was checked."""

    path: Path
    row: SegmentRow
    names: Sequence[str]
    view: mmap.mmap
    flags: bytearray
    readers: dict[tuple[bool, tuple[int, ...]], Any] = field(default_factory=dict)
    """An open reader for each choice of columns, with the dictionaries it has decoded."""
    texts: dict[str, pl.Series] = field(default_factory=dict)
    """For whoever reads the segment: the values of its dictionaries, as far as they were asked for."""
    reading: threading.Lock = field(default_factory=threading.Lock)

    def check(self, numbers: Collection[int]) -> None:
        """Raise `CorruptionError` where these batches, or what is parsed with them, are not what was written."""
        parts = self.row.parts
        self._check(_HEAD, 0, self.row.head_bytes, self.row.head_crc)
        self._check(_FOOT, parts[-1].end, self.row.size_bytes, self.row.foot_crc)
        new = [number for number in numbers if not self.flags[_FIRST_BATCH + number]]
        for number in new:
            part = parts[number]
            self._check(_FIRST_BATCH + number, part.start, part.end, part.crc)
        self._give_back(new)

    def batches(
        self, numbers: Sequence[int], columns: Collection[str], *, spread: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches with these numbers, with these columns in the order of the schema.

        With `spread`, Arrow's threads decode the columns of a batch beside each other: sooner, with more work in all.
        """
        self.check(numbers)
        with self._explained(), self.reading:
            reader = self._reader(columns, spread=spread)
            # All at once keeps Python's lock released for longer, so that others decode beside this one.
            whole = reader.read_all().to_batches() if len(numbers) == len(self.row.parts) else None
        for number in numbers:
            if whole is not None:
                batch = whole[number]
            else:
                with self._explained(), self.reading:
                    batch = reader.get_batch(number)
            yield batch
        self._give_back(numbers)

    def _give_back(self, numbers: Collection[int]) -> None:
        """Let go of the file's pages that reading these batches has touched; what is read again is in the page cache."""
        parts = self.row.parts
        if sum(parts[number].end - parts[number].start for number in numbers) > _MOST_RESIDENT:
            self.view.madvise(mmap.MADV_DONTNEED)

    def candidates(self, wanted: Mapping[str, Any]) -> Collection[int]:
        """Return the batches that may hold, in each of the columns, one of the values with the hashes `wanted`."""
        self.check(())
        with self._explained(), self.reading:
            filters = self._reader(self.names[:1]).metadata or {}
            chosen = set(range(len(self.row.parts)))
            for column, values in wanted.items():
                packed = filters.get(filter_key(column))
                chosen &= set() if packed is None else set(candidates(packed, values))
        return sorted(chosen)

    def _reader(self, columns: Collection[str], *, spread: bool = False) -> Any:
        included = sorted(self.names.index(name) for name in columns)
        key = (spread, tuple(included))
        if key not in self.readers:
            options = pa.ipc.IpcReadOptions(included_fields=included, use_threads=spread)
            reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self.view)), options=options)
            metadata = reader.schema.metadata or {}
            if metadata.get(METADATA_KEY) != FORMAT:
                raise FormatError(f"{self.path}: unknown segment format (expected {FORMAT.decode()})")
            if len(self.readers) >= _MOST_READERS:
                self.readers.clear()
            self.readers[key] = reader
        return self.readers[key]

    def _check(self, flag: int, start: int, end: int, crc: int) -> None:
        if self.flags[flag]:
            return
        with memoryview(self.view) as view:
            found = zlib.crc32(view[start:end])
        if found != crc:
            reason = f"checksum differs from the catalog's (seqs {self.row.first_seq} to {self.row.last_seq})"
            raise CorruptionError(self.path, offset=start, reason=reason)
        self.flags[flag] = 1

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what Arrow raises into what it means: the file was written wrongly."""
        try:
            yield
        except pa.ArrowException as exc:
            raise CorruptionError(self.path, offset=None, reason=f"segment does not read: {exc}") from exc
