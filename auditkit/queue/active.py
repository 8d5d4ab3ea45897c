"""The growing end of the queue: commit, rotation, and taking up what a dead writer left.

Every method that touches bytes runs under the lock on `queue.lock`.  The order inside a commit is what the
promises rest on: learn what others wrote, cut what cannot have been acknowledged, write, sync, and only then say
so with a mark.  A file whose sync failed is never written again; only where recovery
itself fails are the same bytes written once more, by whoever comes next.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from auditkit.disk.durable import Disk, FileLock
from auditkit.disk.layout import Layout, Modes
from auditkit.errors import ClosedError, CorruptionError
from auditkit.queue.blocks import Block
from auditkit.queue.failure import FailureNote, FailureWatch
from auditkit.queue.files import create_queue_file, read_ahead, read_header, refuse_rot
from auditkit.queue.finding import find_durable
from auditkit.queue.frames import (
    EVENTS,
    FRAME_BYTES,
    HEADER_BYTES,
    JUMP,
    MARK,
    PART,
    SEAL,
    FileHeader,
    Frame,
    pack_frame,
    parse_frames,
)
from auditkit.queue.room import NO_FRAME, Room, is_blank


class Commit(Struct, frozen=True, kw_only=True):
    """What a commit decided: the first seq and the moment of acceptance."""

    first_seq: int
    recorded_us: int


class ActiveQueue:
    """One process's hold on the newest queue file of a trail.

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
        self.on_frame: Callable[[Frame, Path], None] | None = None
        """Hears of every frame of events that others wrote."""
        self.on_gap: Callable[[], None] | None = None
        """Hears that others wrote frames which are in segments already, and that nobody told of."""
        self._header: FileHeader | None = None
        self._end = self.durable = 0
        self._events = 0
        """How many events the file holds: fewer than the seqs it spans, where there are jumps."""
        self._vouched = 0
        """Where the last mark ends: readers show what lies before.  The mark itself may not be durable yet."""
        self._room = Room(disk)
        self._known = False
        """Whether all of the file was looked at: a crash of the system may leave bytes behind others that it took."""
        self._successor: int | None = None
        """The successor's first seq, where the file is sealed and nobody has gone on to it yet."""
        self._broken = False

    def commit(self, blocks: Sequence[Block], now_us: int) -> Commit:
        """Take the lock, then `write`."""
        with self.locked():
            return self.write(blocks, now_us)

    def write(self, blocks: Sequence[Block], now_us: int) -> Commit:
        """Append blocks in order and make them durable with one sync; the caller holds the lock.

        On return every event is durable and its seq decided.  If it raises, the file was cut back to what is
        vouched for where storage still allowed it, and this object refuses further commits.
        """
        self.recorded_us = max(self.recorded_us, now_us)
        first = seq = self.next_seq
        parts = []
        for block in blocks:
            kind = EVENTS if block.closes else PART
            parts.append(self._frame(kind, seq, block.count, block.payload))
            seq += block.count
        self._append_or_give_up(b"".join(parts), with_room=True)
        self._events += seq - first
        self.next_seq = seq
        self._mark()
        return Commit(first_seq=first, recorded_us=self.recorded_us)

    def rotate(self) -> int:
        """Seal the active file and go on in its successor; return the successor's first seq.

        Does nothing to a file without events.  The seal is durable before the successor exists, so that there
        is never a second active file; whoever finds a seal without its successor creates it.
        """
        with self.locked():
            if self.next_seq > self.first_seq:
                self._append_or_give_up(self._frame(SEAL, self.next_seq, 0))
                self._successor = self.next_seq
                self._follow(self._successor)
            return self.next_seq

    @contextmanager
    def jumping(self, end_seq: int, recorded_us: int) -> Iterator[None]:
        """Let the block's catalog transaction take the seqs before `end_seq`, accepted at `recorded_us`.

        The caller holds the lock.

        The jump is announced durably, and confirmed by a mark once the block has committed.  Where the block raises
        or the process dies, whoever takes the lock next asks the catalog whether it has happened.
        """
        before, durable = self._end, self.durable
        self.recorded_us = max(self.recorded_us, recorded_us)
        self._append_or_give_up(self._frame(JUMP, end_seq, 0))
        try:
            yield
        except BaseException:
            self._end, self.durable = before, durable
            raise
        self.next_seq = end_seq
        self._mark()

    def backlog_reached(self, events: int, size_bytes: int) -> bool:
        """Say whether the active file has grown to one of these bounds, as far as this process knows."""
        return self._events >= events or self._end >= size_bytes

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the queue's lock, having learned everything that others have written."""
        self._lock.acquire(timeout_s=self._timeout_s)
        try:
            self._refuse_after_failure()
            self._catch_up()
            yield
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Let go in a forked child, leaving the parent's lock and file as they are."""
        self._lock.abandon()
        self.close()

    def give_room_back(self) -> None:
        """Cut the file to what it holds, where this object has made room and nobody else is just writing."""
        if not self._room.is_ours or not self._lock.try_acquire():
            return
        try:
            self._refuse_after_failure()
            self._catch_up()
            self._disk.truncate(self._open_fd, self._end)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Give descriptors and lock back."""
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None
        self._failures.close()
        self._lock.close()

    def _refuse_after_failure(self) -> None:
        if self._failures.is_closed:
            raise ClosedError(f"{self._layout.root}: this writer is closed")
        if self._broken or self._failures.has_heard():
            error = ClosedError(
                f"{self._layout.root}: a sync of the queue failed since this trail was opened"
            )
            error.add_note("open the trail again: the first append recovers what is durable")
            raise error

    def _catch_up(self) -> None:
        if self._fd is None:
            self._open_newest()
        while True:
            if self._successor is None and not self._nothing_new():
                with self._broken_on_failure():
                    self._read_on()
            if self._successor is None:
                break
            self._follow(self._successor)
        if not self._disk.exists(self._path):
            raise CorruptionError(self._path, offset=None, reason="the active queue file was removed")

    def _nothing_new(self) -> bool:
        if not self._known:
            return False
        ahead = self._disk.read(self._open_fd, FRAME_BYTES, self._end)
        return ahead == NO_FRAME or (not ahead and self._disk.size(self._open_fd) == self._end)

    def _read_on(self) -> None:
        """Take in what lies behind the last known frame, up to a seal; cut or adopt what a dead writer left.

        Frames without a mark may have been acknowledged: the mark is not synced, and a power cut may have taken
        it.  So a failure in here cuts nothing and notes nothing, and whoever comes next tries anew.
        """
        base = self._end
        size = self._room.end = self._disk.size(self._open_fd)
        if size < base:
            raise CorruptionError(self._path, offset=size, reason="the file became shorter")
        data, found = read_ahead(
            self._disk, self._open_fd, base, size, self.next_seq, self._path, whole=not self._known
        )
        self._known = True
        self.recorded_us = max(self.recorded_us, found.recorded_us)
        self._events += sum(frame.count for frame in found.batches)
        self._tell(found.batches)
        self._end, self.next_seq, self._successor = found.batch_end, found.next_seq, found.successor
        if found.last_mark is not None:
            self.durable, self._vouched = found.last_mark.offset, found.last_mark.end
        if self._successor is not None:
            return
        if found.jump is not None and self._flushed_seq() >= found.jump.seq:
            self._end, self.next_seq = found.jump.end, found.jump.seq
        if not is_blank(data[self._end - base :]):
            refuse_rot(data, base, found.parsed, self._path, self.next_seq)
            self._cut(self._end)
        if self._vouched < self._end:
            self._rewrite()
            self._mark()

    def _tell(self, frames: Sequence[Frame]) -> None:
        """Let `on_frame` hear of whole batches; what may still be cut is nobody's business."""
        if self.on_frame is not None:
            for frame in frames:
                if frame.count:
                    self.on_frame(frame, self._path)

    def _cut(self, end: int) -> None:
        """Remove bytes that cannot have been acknowledged."""
        self._disk.truncate(self._open_fd, end)
        self._disk.sync_data(self._open_fd)
        self._room.end = end

    def _rewrite(self) -> None:
        """Make frames durable whose writer died before it could say so.

        The same bytes are written again: whether the page cache that the dead writer left is on its way to
        storage is not known.
        """
        with self._broken_on_failure():
            data = self._disk.read(self._open_fd, self._end - self.durable, self.durable)
            self._end = self.durable
            self._append_durably(data)

    def _append_durably(self, data: bytes, *, with_room: bool = False) -> None:
        end = self._end + len(data)
        self._disk.write(self._open_fd, data, self._end)
        if with_room:
            self._room.make(self._open_fd, end, len(data))
        self._disk.sync_data(self._open_fd)
        self._end = self.durable = end

    def _mark(self) -> None:
        """Say that everything so far is durable.  The mark itself needs no sync: without it, recovery adopts."""
        mark = self._frame(MARK, self.next_seq, 0)
        try:
            self._disk.write(self._open_fd, mark, self._end)
        except BaseException as exc:
            self._give_up(exc)
            raise
        self._end += len(mark)
        self._vouched = self._end

    @contextmanager
    def _broken_on_failure(self) -> Iterator[None]:
        """Make this object refuse further commits if the block raises: the file is as a dead writer leaves it."""
        try:
            yield
        except BaseException:
            self._broken = True
            raise

    def _append_or_give_up(self, data: bytes, *, with_room: bool = False) -> None:
        try:
            self._append_durably(data, with_room=with_room)
        except BaseException as exc:
            self._give_up(exc)
            raise

    def _give_up(self, error: BaseException) -> None:
        """End this object's writing; where storage failed, tell everybody and cut the file back to what is vouched for."""
        self._broken = True
        if not isinstance(error, OSError):
            return
        with suppress(OSError):  # then others take the file as that of a dead writer
            self._failures.tell(self.first_seq, self.durable)
        with suppress(OSError):  # if even that fails, the successor's header says where the durable bytes end
            self._disk.truncate(self._open_fd, max(self.durable, self._vouched))

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
        note = self._failures.read()
        if note.first_seq == self.first_seq:
            self._replace_failed(note)

    def _replace_failed(self, note: FailureNote) -> None:
        """Go on in a new file: the inode whose sync failed is never written again."""
        data = self._disk.read(self._open_fd, note.durable_end - HEADER_BYTES, HEADER_BYTES)
        frames = parse_frames(data, HEADER_BYTES)
        for frame in find_durable(frames, HEADER_BYTES, note.durable_end, self._flushed_seq, self._path):
            self.next_seq = frame.seq + frame.count
            self.recorded_us = max(self.recorded_us, frame.recorded_us)
        self._end = note.durable_end
        self._create_successor(self.next_seq)
        self._failures.clear(note)
        self._enter(self.next_seq)

    def _follow(self, seq: int) -> None:
        """Enter the successor of a sealed file, or the next one that is left where that has come and gone."""
        for first in self._layout.queue_files():
            if first < seq:
                continue
            try:
                self._enter(first)
            except FileNotFoundError:  # flushed and dropped since the listing
                continue
            if first > seq and self.on_gap is not None:
                self.on_gap()
            return
        if self.durable < self._end:  # the seal's writer may have died before its sync
            self._rewrite()
        self._create_successor(seq)
        self._enter(seq)

    def _create_successor(self, first_seq: int) -> None:
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
            # Whoever created the file may have died, or failed, before its name was durable.
            self._disk.sync_directory(self._layout.queue)
        except BaseException:
            self._disk.close(fd)
            raise
        if self._fd is not None:
            self._disk.close(self._fd)
        self._fd, self._path, self._header, self._successor = fd, path, header, None
        self._known = False
        self.first_seq = self.next_seq = first_seq
        self._events = 0
        self.recorded_us = max(self.recorded_us, header.recorded_us)
        self._end = self.durable = self._vouched = HEADER_BYTES
