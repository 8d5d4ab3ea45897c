"""The growing end of the queue: commit, rotation, and recovery of what a dead writer left.

Every method that touches bytes runs under the lock on `queue.lock`.  The order inside a commit is what the
promises rest on: learn what others wrote, cut what cannot have been acknowledged, write, sync, and only then say
so with a commit mark.  A file whose sync failed is never written again; only where recovery itself fails are the same
bytes written once more, by the next process that takes the lock.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from auditkit.disk.durable import Disk, FileLock
from auditkit.disk.layout import Layout, Modes
from auditkit.errors import ClosedError, CorruptionError, StorageError
from auditkit.queue.frames import (
    BULK_LOAD,
    COMMIT_MARK,
    EVENTS,
    FRAME_BYTES,
    HEADER_BYTES,
    NEXT_FILE,
    NO_FRAME,
    PART,
    FileHeader,
    Frame,
    PreallocatedSpace,
    is_zeros,
    pack_frame,
    parse_frames,
)
from auditkit.queue.fsync_failure import FailureNote, FailureWatch
from auditkit.queue.payload import Payload
from auditkit.queue.recovery import (
    create_queue_file,
    durable_end_of,
    durable_frames,
    read_header,
    refuse_bit_rot,
    scan_ahead,
    written_end,
)

_MOST_INTERRUPTS = 100
"""So often a write that is interrupted is begun again."""


class Commit(Struct, frozen=True, kw_only=True):
    """What a commit decided: the first seq and the moment of acceptance.

    `interrupt` came in the middle and was put off until the events were durable; it is to be raised once their
    receipts are resolved.
    """

    first_seq: int
    recorded_us: int
    interrupt: BaseException | None = None


class Attempt(Struct, kw_only=True):
    """A write of events, `done` once it is known to be stored; else its place in the file, where it may have been cut off."""

    first_seq: int
    file: int
    offset: int
    data: bytes
    done: bool = False
    failure: OSError | None = None


class ActiveQueue:
    """One process's hold on the newest queue file of a trail.

    Its fields are guarded by the lock on `queue.lock`, unless they say otherwise.
    `next_seq` and `durable` (bytes known to be synced) describe the file as of the last call under the lock.
    """

    def __init__(
        self,
        disk: Disk,
        layout: Layout,
        *,
        trail_id: bytes,
        modes: Modes,
        timeout_s: float,
        flushed_seq: Callable[[], int] = lambda: 0,
    ) -> None:
        self._disk = disk
        self._layout = layout
        self._trail_id = trail_id
        self._modes = modes
        self._timeout_s = timeout_s
        self._flushed_seq = flushed_seq
        self._lock = FileLock(disk, layout.queue_lock)
        self._failures = FailureWatch(disk, layout.queue_lock)
        self._fd: int | None = None
        self._path = layout.queue
        self.first_seq = self.next_seq = 0
        self.recorded_us = 0
        self._unread: list[tuple[Frame, Path]] | None = None
        """Frames of events that other processes wrote, for `take_frames`; `None` before it was called."""
        self._header: FileHeader | None = None
        self._end = self.durable = 0
        self._events = 0
        """How many events the file holds: fewer than the seqs it spans, where there were bulk loads."""
        self._committed = 0
        """Where the last commit mark ends: readers show what lies before.  The mark itself may not be durable yet."""
        self._space = PreallocatedSpace(disk)
        self._known = False
        """Whether all of the file was looked at: a crash of the system may lose some bytes and keep later ones."""
        self._next_file: int | None = None
        """The next file's first seq, where this one was rotated and this object has not entered the next yet."""
        self._broken = False
        """Whether what this object knows may be wrong: then it opens the queue anew."""
        self.attempt: Attempt | None = None
        """The last write of events; guarded by the leadership of `queue.group_commit`."""

    def commit(self, payloads: Sequence[Payload], now_us: int) -> Commit:
        """Take the lock, then `write`."""
        with self.locked():
            return self.write(payloads, now_us)

    def write(self, payloads: Sequence[Payload], now_us: int) -> Commit:
        """Append payloads in order and make them durable with one sync; the caller holds the lock.

        On return every event is durable and its seq decided, whatever interrupt came between.  If it raises, the file
        was cut back to what is committed where storage still allowed it, and the next commit opens the queue anew.
        """
        self.recorded_us = max(self.recorded_us, now_us)
        first = seq = self.next_seq
        parts = []
        for payload in payloads:
            kind = EVENTS if payload.ends_batch else PART
            parts.append(self._frame(kind, seq, payload.count, payload.data))
            seq += payload.count
        data = b"".join(parts)
        attempt = self.attempt = Attempt(first_seq=first, file=self.first_seq, offset=self._end, data=data)
        interrupt, interrupts = None, 0
        while not attempt.done:
            try:  # the same bytes in the same place: it may be done again
                if self._end == attempt.offset:
                    self._append_or_give_up(data, with_space=True)
                self.next_seq = seq
                if self._committed < self._end:
                    self._mark()
                attempt.done, attempt.data = True, b""
            except KeyboardInterrupt as exc:
                attempt.failure = _failure_before(exc)
                interrupts += 1
                if attempt.failure is not None or interrupts > _MOST_INTERRUPTS:
                    self._give_up(attempt.failure or exc)
                    raise
                interrupt, self._broken = exc, False
        self._events += seq - first
        return Commit(first_seq=first, recorded_us=self.recorded_us, interrupt=interrupt)

    def outcome(self, attempt: Attempt) -> int | None:
        """Return the first seq of a write that was interrupted if it is stored, `None` if it is not.

        Raises `StorageError` where nothing can tell any more, as others have flushed the file.
        """
        if attempt.done:
            return attempt.first_seq
        with self.locked():  # by which whole frames count, and others are cut
            later = [first for first in self._layout.queue_files() if first > attempt.file]
            known = self._end
            if later:
                found = durable_end_of(self._disk, self._layout, self._trail_id, attempt.file, later[0])
                known = 0 if found is None else found
            path = self._layout.queue_file(attempt.file)
            try:
                fd = self._disk.open(path)
            except FileNotFoundError:
                reason = "an interrupted write may be stored or not"
                raise StorageError(errno.EINTR, reason, str(path)) from None
            try:
                is_there = self._disk.read(fd, len(attempt.data), attempt.offset) == attempt.data
            finally:
                self._disk.close(fd)
        return attempt.first_seq if is_there and attempt.offset + len(attempt.data) <= known else None

    def rotate(self) -> int:
        """End the active file and go on in the next; return the next one's first seq.

        Does nothing to a file without events.  The rotation frame is durable before the next file exists, so that
        there is never a second active file; a process that finds the frame without the file creates the file.
        """
        with self.locked():
            if self.next_seq > self.first_seq:
                self._append_or_give_up(self._frame(NEXT_FILE, self.next_seq, 0))
                self._next_file = self.next_seq
                self._enter_next(self._next_file)
            return self.next_seq

    @contextmanager
    def bulk_loading(self, end_seq: int, recorded_us: int) -> Iterator[None]:
        """Let the block's catalog transaction take the seqs before `end_seq`, accepted at `recorded_us`.

        The caller holds the lock.

        A bulk-load record is made durable first, and confirmed by a commit mark once the block has committed.  Where
        the block raises or the process dies, the next process that takes the lock asks the catalog whether the
        load has happened.
        """
        self.recorded_us = max(self.recorded_us, recorded_us)
        self._append_or_give_up(self._frame(BULK_LOAD, end_seq, 0))
        yield
        self.next_seq = end_seq
        self._mark()

    def take_frames(self) -> list[tuple[Frame, Path]]:
        """Return the frames of events that other processes wrote since the last call; the caller holds the lock."""
        frames, self._unread = self._unread or [], []
        return frames

    def backlog_reached(self, events: int, size_bytes: int) -> bool:
        """Return whether the active file has grown to one of these bounds, as far as this process knows."""
        return self._events >= events or self._end >= size_bytes

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the queue's lock, having read everything that other processes have written.

        Raises `LockedError` where it could not be had in time; and `StorageError`, once, where a sync of another
        process has failed meanwhile.  Whatever else is raised, the next holder opens the queue anew.
        """
        try:
            self._lock.acquire(timeout_s=self._timeout_s)
            self._open_anew_after_failure()
            self._catch_up()
            yield
        except BaseException:
            self._broken |= self._lock.is_mine
            raise
        finally:
            self._lock.release()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._failures.is_closed

    def hurry(self, within_s: float) -> None:
        """Wait no longer than this for the lock, from now on and all calls together."""
        self._lock.hurry(within_s)

    def after_interrupt(self) -> None:
        """Give back the lock that an interrupt has left with the calling thread."""
        if self._lock.is_mine:
            self._broken = True
            self._lock.release()

    def abandon(self) -> None:
        """Let go in a forked child, leaving the parent's lock and file as they are."""
        self._lock.abandon()
        self.close()

    def trim_space(self) -> None:
        """Cut the file to what it holds, where this object preallocated space and no other process is writing."""
        if not self._space.is_ours or not self._lock.try_acquire():
            return
        try:
            self._open_anew_after_failure()
            self._catch_up()
            self._disk.truncate(self._open_fd, self._end)
        except BaseException:
            self._broken = True
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """Give descriptors and lock back."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._disk.close(fd)
        self._failures.close()
        self._lock.close()

    def _open_anew_after_failure(self) -> None:
        """Forget what was known where that may be wrong; raise once where a sync of another process failed."""
        if self._failures.is_closed:
            raise ClosedError(f"{self._layout.root}: this writer is closed")
        is_news = not self._broken and self._failures.has_failed()
        if self._broken or is_news:
            fd, self._fd, self._next_file, self._broken = self._fd, None, None, False
            if fd is not None:
                self._disk.close(fd)
            self._failures.refresh()
        if is_news:
            error = StorageError(errno.EIO, "a sync of the queue failed in another process", str(self._path))
            error.add_note("what was accepted before is not stored; the next append goes on")
            raise error

    def _catch_up(self) -> None:
        if self._fd is None:
            self._open_newest()
        while True:
            if self._next_file is None and not self._nothing_new():
                self._read_on()
            if self._next_file is None:
                break
            self._enter_next(self._next_file)
        if not self._disk.exists(self._path):
            raise CorruptionError(self._path, offset=None, reason="the active queue file was removed")

    def _nothing_new(self) -> bool:
        if not self._known:
            return False
        fd = self._open_fd
        ahead = self._disk.read(fd, FRAME_BYTES, self._end)
        return ahead == NO_FRAME or (not ahead and self._disk.size(fd) == self._end)

    def _read_on(self) -> None:
        """Take in what lies behind the last known frame, up to a rotation; cut or adopt what a dead writer left.

        Frames without a commit mark may have been acknowledged: the mark is not synced, and a power cut may have taken
        it.  So a failure in here cuts nothing and notes nothing, and the next process tries anew.
        """
        base = self._end
        size = self._space.end = self._disk.size(self._open_fd)
        if size < base:
            raise CorruptionError(self._path, offset=size, reason="the file became shorter")
        data, found = scan_ahead(
            self._disk, self._open_fd, base, size, self.next_seq, self._path, whole=not self._known
        )
        self._known = True
        self.recorded_us = max(self.recorded_us, found.recorded_us)
        self._events += sum(frame.count for frame in found.batches)
        if self._unread is not None:
            self._unread += [(frame, self._path) for frame in found.batches if frame.count]
        self._end, self.next_seq, self._next_file = found.batch_end, found.next_seq, found.next_file
        if found.last_mark is not None:
            self.durable, self._committed = found.last_mark.offset, found.last_mark.end
        if self._next_file is not None:
            if self._next_file <= self.first_seq:
                raise CorruptionError(self._path, offset=base, reason="rotation to a file that is not later")
            return
        if found.bulk_load is not None and self._flushed_seq() >= found.bulk_load.seq:
            self._end, self.next_seq = found.bulk_load.end, found.bulk_load.seq
        if not is_zeros(data[self._end - base :]):
            refuse_bit_rot(data, base, found.parsed, self._path, self.next_seq)
            self._cut(self._end)
        if self._committed < self._end:
            self._rewrite()
            self._mark()

    def _cut(self, end: int) -> None:
        """Remove bytes that cannot have been acknowledged."""
        self._disk.truncate(self._open_fd, end)
        self._disk.sync_data(self._open_fd)
        self._space.end = end

    def _rewrite(self) -> None:
        """Make frames durable whose writer died before it could say so.

        The same bytes are written again: whether the page cache that the dead writer left is on its way to
        storage is not known.
        """
        data = self._disk.read(self._open_fd, self._end - self.durable, self.durable)
        self._end = self.durable
        self._append_durably(data)

    def _append_durably(self, data: bytes, *, with_space: bool = False) -> None:
        fd, end = self._open_fd, self._end + len(data)
        self._disk.write(fd, data, self._end)
        if with_space and self._space.end < end + FRAME_BYTES:
            self._space.ensure(fd, end, len(data))
        self._disk.sync_data(fd)
        self._end = self.durable = end

    def _mark(self) -> None:
        """Write the commit mark.  It needs no sync of its own: without it, recovery adopts what lies before."""
        mark = self._frame(COMMIT_MARK, self.next_seq, 0)
        try:
            self._disk.write(self._open_fd, mark, self._end)
        except BaseException as exc:
            self._give_up(exc)
            raise
        self._end += len(mark)
        self._committed = self._end

    def _append_or_give_up(self, data: bytes, *, with_space: bool = False) -> None:
        try:
            self._append_durably(data, with_space=with_space)
        except BaseException as exc:
            self._give_up(exc)
            raise

    def _give_up(self, error: BaseException) -> None:
        """Open the queue anew next time; where storage failed, note it for all processes and cut the file back to what is committed."""
        self._broken = True
        if not isinstance(error, OSError):
            return
        with suppress(OSError):  # then other processes take the file for a dead writer's
            self._failures.note_failure(self.first_seq, self.durable)
        with suppress(OSError):  # if even that fails, the next file's header says where the durable bytes end
            self._disk.truncate(self._open_fd, max(self.durable, self._committed))

    def _frame(self, kind: bytes, seq: int, count: int, payload: bytes = b"") -> bytes:
        return pack_frame(
            kind, seq, count, recorded_us=self.recorded_us, durable=self.durable, payload=payload
        )

    @property
    def _open_fd(self) -> int:
        if self._fd is None:
            raise ClosedError(f"{self._layout.root}: this writer is closed")
        return self._fd

    def _open_newest(self) -> None:
        files = self._layout.queue_files()
        if not files:
            raise CorruptionError(
                self._layout.queue, offset=None, reason="the queue folder holds no queue file"
            )
        self._enter(files[-1])
        note, own = self._failures.read(), self._failures.unwritten
        if own is not None and own.first_seq == self.first_seq and not self._goes_on_behind(own.durable_end):
            note = own
        if note.first_seq == self.first_seq:
            self._replace_failed(note)
        self._failures.unwritten = None

    def _goes_on_behind(self, end: int) -> bool:
        """Return whether another process has committed behind a place in the file."""
        size = written_end(self._disk, self._open_fd, end, self._disk.size(self._open_fd), self._path)
        data = self._disk.read(self._open_fd, max(0, size - end), end)
        frames = list(parse_frames(data, end))
        return any(frame.kind in (COMMIT_MARK, NEXT_FILE) and frame.offset > end for frame in frames)

    def _replace_failed(self, note: FailureNote) -> None:
        """Go on in a new file: the inode whose sync failed is never written again."""
        data = self._disk.read(self._open_fd, note.durable_end - HEADER_BYTES, HEADER_BYTES)
        frames = parse_frames(data, HEADER_BYTES)
        for frame in durable_frames(frames, HEADER_BYTES, note.durable_end, self._flushed_seq, self._path):
            self.next_seq = frame.seq + frame.count
            self.recorded_us = max(self.recorded_us, frame.recorded_us)
        self._end = note.durable_end
        self._create_next_file(self.next_seq)
        self._failures.clear(note)
        self._enter(self.next_seq)

    def _enter_next(self, seq: int) -> None:
        """Enter the file after a rotation, or the oldest later one where that was flushed and dropped meanwhile."""
        for first in self._layout.queue_files():
            if first < seq:
                continue
            try:
                self._enter(first)
            except FileNotFoundError:  # flushed and dropped since the listing
                continue
            return
        if self.durable < self._end:  # the process that rotated may have died before its sync
            self._rewrite()
        self._create_next_file(seq)
        self._enter(seq)

    def _create_next_file(self, first_seq: int) -> None:
        """Create the file that goes on where this one's durable bytes end.

        A file without a single durable event is replaced under its own name, and its predecessor is the new one's.
        """
        header = FileHeader(
            trail_id=self._trail_id,
            first_seq=first_seq,
            recorded_us=self.recorded_us,
            predecessor=self.first_seq,
            predecessor_end=self._end,
        )
        if first_seq == self.first_seq and self._header is not None:
            header = replace(self._header, recorded_us=self.recorded_us)
        create_queue_file(self._disk, self._layout, header, self._modes)

    def _enter(self, first_seq: int) -> None:
        path = self._layout.queue_file(first_seq)
        fd = self._disk.open(path, write=True)
        try:
            header = read_header(self._disk, fd, path, self._trail_id)
            # The process that created the file may have died, or failed, before its name was durable.
            self._disk.sync_directory(self._layout.queue)
        except BaseException:
            self._disk.close(fd)
            raise
        before = self._fd
        self._fd, self._path, self._header, self._next_file = fd, path, header, None
        self._known = False
        self.first_seq = self.next_seq = first_seq
        self._events = 0
        self.recorded_us = max(self.recorded_us, header.recorded_us)
        self._end = self.durable = self._committed = HEADER_BYTES
        if before is not None:
            self._disk.close(before)


def _failure_before(interrupt: BaseException) -> OSError | None:
    """Return what storage had refused when an interrupt came."""
    error: BaseException | None = interrupt
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error
