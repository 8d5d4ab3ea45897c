"""Readers of the queue: the committed events that are not in segments yet, as Polars frames.

Shows what lies before a commit mark or a rotation.  Complete frames behind the last mark are shown only once it is
certain that no living writer may still withdraw them: their writer is gone, and the reader itself synced them.  A reader
that may not open `queue.lock`, as in the group of a trail that it only reads, leaves them to the next writer.
What was decoded once is kept, so that asking again costs only what is new.
"""

import errno
import threading
from collections.abc import Sequence
from itertools import pairwise, zip_longest
from pathlib import Path

import polars as pl
from msgspec import Struct, field

from auditkit.disk.durable import Disk, FileLock
from auditkit.disk.layout import Layout
from auditkit.errors import CorruptionError
from auditkit.event import EventSchema
from auditkit.queue.decoding import decode_frames
from auditkit.queue.frames import (
    BULK_LOAD,
    COMMIT_MARK,
    HEADER_BYTES,
    NEXT_FILE,
    PART,
    FileHeader,
    Frame,
    is_zeros,
    parse_frames,
)
from auditkit.queue.fsync_failure import FailureNote, read_note
from auditkit.queue.recovery import check_order, durable_end_of, read_header, refuse_bit_rot, written_end

_PIECE_BYTES = 8 * 1024 * 1024
"""A queue that this process has not read yet is taken in pieces, each of so many bytes in memory."""
_READ_ONLY = frozenset((errno.EROFS, errno.EACCES, errno.EPERM))


class _File(Struct):
    """What has been read of one queue file: everything before `offset`."""

    header: FileHeader
    inode: int
    offset: int = HEADER_BYTES
    next_seq: int = 0
    rotated: bool = False
    oldest_recorded_us: int | None = None
    frames: list[pl.DataFrame] = field(default_factory=list)


class TailView(Struct, frozen=True, kw_only=True):
    """The committed queue at one moment: seqs `[first_seq, end_seq)`, in order.

    `events` has the stored schema (text of dictionary columns as Categorical).
    """

    events: pl.DataFrame
    files: int
    first_seq: int
    end_seq: int
    size_bytes: int
    oldest_recorded_us: int | None
    recorded_us: int


class QueueTail:
    """A reader of one trail's queue; it takes no lock that a writer would wait for."""

    def __init__(self, disk: Disk, layout: Layout, *, trail_id: bytes, schema: EventSchema) -> None:
        self._disk = disk
        self._layout = layout
        self._trail_id = trail_id
        self._schema = schema
        self._known: dict[int, _File] = {}  # guarded by _reading
        self._nothing: pl.DataFrame | None = None  # guarded by _reading
        self._reading = threading.Lock()

    def after_fork(self) -> None:
        """Start anew in a forked child, whose parent may have been in the middle of reading."""
        self._reading = threading.Lock()
        self._known = {}

    def read(self, *, before: int | None = None) -> TailView:
        """Return the committed events of all queue files, or of those that start before seq `before`."""
        with self._reading:
            try:
                return self._read(before)
            except BaseException:  # an interrupt may have come in the middle of taking something in
                self._known = {}
                raise

    def _read(self, before: int | None) -> TailView:
        names = self._layout.queue_files()
        files: dict[int, _File] = {}
        for first, next_file in zip_longest(names, names[1:]):
            if before is not None and first >= before:
                break
            try:
                files[first] = self._read_file(first, next_file)
            except FileNotFoundError:  # flushed and dropped since the listing, as is all before it
                files = {}
        self._known = files
        return self._view(list(files.values()))

    def committed_files(self) -> dict[int, bytes]:
        """Return the bytes of every queue file up to where this reader has found them committed."""
        with self._reading:
            self._read(None)
            return {first: self._prefix(first, file.offset) for first, file in self._known.items()}

    def _prefix(self, first: int, end: int) -> bytes:
        fd = self._disk.open(self._layout.queue_file(first))
        try:
            return self._disk.read(fd, end, 0)
        finally:
            self._disk.close(fd)

    def _view(self, files: Sequence[_File]) -> TailView:
        for earlier, later in pairwise(files):
            if earlier.next_seq != later.header.first_seq:
                raise CorruptionError(
                    self._layout.queue_file(earlier.header.first_seq),
                    offset=earlier.offset,
                    reason=f"seqs {earlier.next_seq} to {later.header.first_seq - 1} are missing from the queue",
                )
        for file in files:
            if len(file.frames) > 1:
                file.frames = [pl.concat(file.frames, rechunk=True)]
        frames = [frame for file in files for frame in file.frames]
        oldest = [file.oldest_recorded_us for file in files if file.oldest_recorded_us is not None]
        return TailView(
            events=pl.concat(frames) if frames else self._no_events(),
            files=len(files),
            first_seq=files[0].header.first_seq if files else 0,
            end_seq=files[-1].next_seq if files else 0,
            size_bytes=sum(file.offset for file in files),
            oldest_recorded_us=min(oldest, default=None),
            recorded_us=max((file.header.recorded_us for file in files), default=0),
        )

    def _no_events(self) -> pl.DataFrame:
        """Return a frame without events; making one takes longer than asking a queue that has none."""
        if self._nothing is None:
            self._nothing = pl.DataFrame(schema=self._schema.stored)
        return self._nothing

    def _read_file(self, first: int, next_file: int | None) -> _File:
        durable_end = durable_end_of(self._disk, self._layout, self._trail_id, first, next_file)
        path = self._layout.queue_file(first)
        fd = self._disk.open(path)
        try:
            file, status = self._known.get(first), self._disk.status(fd)
            if file is None or file.inode != status.st_ino or file.offset > status.st_size:
                # Not known, or replaced or cut after a failed sync.
                header = read_header(self._disk, fd, path, self._trail_id)
                file = _File(header=header, inode=status.st_ino, next_seq=first)
            if not file.rotated:
                self._read_on(file, fd, path, durable_end)
            return file
        finally:
            self._disk.close(fd)

    def _read_on(self, file: _File, fd: int, path: Path, durable_end: int | None) -> None:
        size = written_end(self._disk, fd, file.offset, self._disk.status(fd).st_size, path)
        if durable_end is not None:
            size = min(size, durable_end)
        frames: list[Frame] = []
        committed, parsed, piece, is_settled = 0, file.offset, _PIECE_BYTES, True
        while not file.rotated:
            whole = size - file.offset <= piece
            frames, committed, is_settled = self._read_piece(file, fd, path, min(piece, size - file.offset))
            parsed = frames[-1].end if frames else file.offset
            if whole:
                break
            piece = _PIECE_BYTES if committed else 2 * piece  # a batch may be larger than a piece
        if durable_end is not None:
            if parsed < durable_end:
                raise CorruptionError(path, offset=parsed, reason="damaged frame among durable ones")
            self._take(file, frames[committed:], path, parsed)
            file.rotated = True
        elif not is_settled:
            self._unmarked(file, fd, path)

    def _read_piece(self, file: _File, fd: int, path: Path, count: int) -> tuple[list[Frame], int, bool]:
        """Take what lies before a commit mark among the next bytes.

        Return the valid frames there, how many were taken, and whether only preallocated space lies behind these.
        """
        base = file.offset
        data = self._disk.read(fd, max(0, count), base)
        frames = list(parse_frames(data, base))
        committed = len(frames)
        while committed and frames[committed - 1].kind not in (COMMIT_MARK, NEXT_FILE):
            committed -= 1
        if (
            committed
        ):  # decoded at once: a frame of its own for every commit would cost a hundred times as much
            self._take(file, frames[:committed], path, frames[committed - 1].end)
            file.rotated = frames[committed - 1].kind == NEXT_FILE
        return frames, committed, file.rotated or is_zeros(data[file.offset - base :])

    def _unmarked(self, file: _File, fd: int, path: Path) -> None:
        """Decide about bytes behind the last commit mark."""
        lock = FileLock(self._disk, self._layout.queue_lock)
        try:
            if not self._no_writer(lock):
                return  # a writer is at work and will mark them
            size = written_end(self._disk, fd, file.offset, self._disk.status(fd).st_size, path)
            note = self._note()
            failed = note.first_seq == file.header.first_seq
            if failed:  # what lies beyond was not synced, and its writer's receipts have raised
                size = min(size, note.durable_end)
            data = self._disk.read(fd, max(0, size - file.offset), file.offset)
            frames, end, parsed = _whole_batches(data, file.offset)
            if parsed < size:
                refuse_bit_rot(data, file.offset, parsed, path, file.next_seq)
            if frames:
                if not failed:
                    self._sync_if_writable(fd)
                self._take(file, frames, path, end)
        finally:
            lock.close()

    def _no_writer(self, lock: FileLock) -> bool:
        try:
            return lock.try_acquire(shared=True)
        except PermissionError:
            return False  # one that may be at work cannot be ruled out
        except OSError as exc:
            if exc.errno in _READ_ONLY:
                return True  # read-only media have no writer
            raise

    def _note(self) -> FailureNote:
        fd = self._disk.open(self._layout.queue_lock)
        try:
            return read_note(self._disk, fd)
        finally:
            self._disk.close(fd)

    def _sync_if_writable(self, fd: int) -> None:
        try:
            self._disk.sync_data(fd)
        except OSError as exc:
            if exc.errno not in _READ_ONLY and exc.errno != errno.EINVAL:
                raise

    def _take(self, file: _File, frames: Sequence[Frame], path: Path, end: int) -> None:
        for frame in frames:
            if frame.kind == BULK_LOAD:
                file.next_seq = frame.seq
            if frame.kind not in (COMMIT_MARK, NEXT_FILE):
                check_order(frame, file.next_seq, path)
            file.next_seq += frame.count
        blocks = [frame for frame in frames if frame.count]
        if blocks:
            if file.oldest_recorded_us is None:
                file.oldest_recorded_us = blocks[0].recorded_us
            file.frames.append(decode_frames(blocks, self._schema, path))
        file.offset = end


def _whole_batches(data: bytes, base: int) -> tuple[list[Frame], int, int]:
    """Return the valid frames at the start of `data` up to the last one that closes a batch, and both ends.

    A bulk-load record at the end is left out: whether the load happened is for the catalog to say, which readers ask
    anyway.
    """
    frames = list(parse_frames(data, base))
    parsed = frames[-1].end if frames else base
    while frames and frames[-1].kind in (PART, BULK_LOAD):
        frames.pop()
    return frames, frames[-1].end if frames else base, parsed
