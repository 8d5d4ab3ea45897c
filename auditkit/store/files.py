"""The files of segments: found, mapped, and checked part by part before anybody parses them.

Files are mapped, not read.  What is parsed is checked against the catalog's checksums before it is, once in a process
for each part of a file: what lies before the batches, the footer, and each batch that is asked for.
"""

import mmap
import resource
import struct
import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
from msgspec import Struct, field

from auditkit.disk.layout import Layout
from auditkit.errors import CorruptionError
from auditkit.store.records import SegmentRow

FORMAT = b"1"
METADATA_KEY = b"auditkit.format"
_MAGIC_BYTES = 8
_FORMAT_MARK = struct.pack("<I4sI", len(FORMAT), FORMAT, len(METADATA_KEY)) + METADATA_KEY
"""How a head says its format, as far as is known: strings with their lengths, the value before the key."""
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_HEAD, _FOOT, _FIRST_BATCH = 0, 1, 2
_MOST_OPEN = 128
_SHARE = 8
"""The part of the descriptors of a process that the segments kept open may take: one in so many (each map has one)."""
_STEADY = 8
_LETTING_GO = 4
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
                flags = self.checked.setdefault(key, bytearray(_FIRST_BATCH + row.batch_count))
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
        """Let go of all segments but these: the disk has the bytes of a removed file back once nobody maps it.

        It takes them back while whoever lets go waits, so that some threads do.
        """
        with self.taking:
            gone = [key for key in self.checked if key[0] not in live]
            for key in gone:
                del self.checked[key]
            mapped = deque(self.recent.pop(key) for key in gone if key in self.recent)
        if mapped:
            with ThreadPoolExecutor(_LETTING_GO, thread_name_prefix="auditkit-let-go") as pool:
                for _ in range(len(mapped)):
                    pool.submit(mapped.popleft)

    def whole(self, row: SegmentRow) -> Path:
        """Return the path of a segment all of whose bytes are those that were written."""
        segment = self.open(row)
        segment.check(range(row.batch_count))
        return segment.path


def check_presence(layout: Layout, row: SegmentRow) -> Path:
    """Return a segment's path once it is certain that a file of the right size lies there.

    A reader that planned before a compaction finds the file among those that were replaced.  Raises
    `FileNotFoundError` where there is none and `CorruptionError` where its size is wrong.
    """
    path = layout.segments / row.path
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        path = layout.replaced_file(row.path)
        size = path.stat().st_size
    if size != row.size_bytes:
        raise CorruptionError(
            path,
            offset=min(size, row.size_bytes),
            reason=f"wrong size (expected {row.size_bytes}, found {size})",
        )
    return path


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
    footer: dict[bytes, bytes] = field(default_factory=dict)
    """For `store.reading`: the metadata of the file's footer, once that was read."""
    columns: dict[str, Any] = field(default_factory=dict)
    """For `store.reading`: how each column is stored, once that was read."""
    batches: dict[int, Any] = field(default_factory=dict)
    """For `store.reading`: where the buffers of a record batch lie, as far as that was asked for."""
    texts: dict[str, pl.Series] = field(default_factory=dict)
    """For whoever reads the segment: the values of its dictionaries, as far as they were asked for."""

    def check(self, numbers: Collection[int]) -> None:
        """Raise `CorruptionError` where these batches, or what is parsed with them, are not what was written."""
        parts = self.row.parts
        self._check(_HEAD, 0, self.row.head_bytes, self.row.head_crc)
        self._check(_FOOT, parts[-1].end, self.row.size_bytes, self.row.foot_crc)
        new = [number for number in numbers if not self.flags[_FIRST_BATCH + number]]
        for number in new:
            part = parts[number]
            self._check(_FIRST_BATCH + number, part.start, part.end, part.crc)
        self.give_back(new)

    def frame(self, number: int, columns: Collection[str]) -> pl.DataFrame | None:
        """Return these columns of one batch as Polars alone decodes it, codes as `Categorical`; `None` where it takes Arrow to tell.

        A file's head and one of its batches are a stream in Arrow's format.  Looking at a few events so does not load
        Arrow, which takes longer than all the rest.
        """
        self.check([number])
        part, head = self.row.parts[number], self.view[_MAGIC_BYTES : self.row.head_bytes]
        if _FORMAT_MARK not in head:
            return None
        try:
            stream = head + self.view[part.start : part.end] + _END_OF_STREAM
            return pl.read_ipc_stream(stream, columns=[name for name in self.names if name in columns])
        except pl.exceptions.PolarsError as exc:
            raise CorruptionError(self.path, offset=None, reason=f"segment does not read: {exc}") from exc

    def give_back(self, numbers: Collection[int]) -> None:
        """Let go of the file's pages that reading these batches has touched; what is read again is in the page cache."""
        parts = self.row.parts
        if sum(parts[number].end - parts[number].start for number in numbers) > _MOST_RESIDENT:
            self.view.madvise(mmap.MADV_DONTNEED)

    def _check(self, flag: int, start: int, end: int, crc: int) -> None:
        if self.flags[flag]:
            return
        with memoryview(self.view) as view:
            found = zlib.crc32(view[start:end])
        if found != crc:
            reason = f"checksum differs from the catalog's (seqs {self.row.first_seq} to {self.row.last_seq})"
            raise CorruptionError(self.path, offset=start, reason=reason)
        self.flags[flag] = 1
