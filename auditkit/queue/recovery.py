"""Recovery: what the bytes of a queue file say, frame by frame, and which damage may be cut.

Deciding is apart from doing: nothing here writes, except that a file is created whole or not at all.  What the header
of the next file says of its predecessor is final.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct, field

from auditkit.disk.durable import Disk, publish, write_temporary
from auditkit.disk.layout import TEMPORARY_SUFFIX, Layout, Modes
from auditkit.errors import CorruptionError
from auditkit.queue.frames import (
    BULK_LOAD,
    COMMIT_MARK,
    FRAME_BYTES,
    HEADER_BYTES,
    NEXT_FILE,
    PART,
    FileHeader,
    Frame,
    frames_after,
    is_zeros,
    pack_header,
    parse_frames,
    unpack_header,
)

_PIECE_BYTES = 4 * 1024
_MANY_BYTES = 16 * 1024 * 1024
_MOST_SPACE_BYTES = 4 * 1024 * 1024 * 1024
_MOST_ZEROS_BYTES = 68 * 1024 * 1024
"""More zeros than a payload can end with."""


class RecoveryScan(Struct, kw_only=True):
    """What valid frames say, from `batch_end` = where they begin and `next_seq` = the seq expected first.

    `batches` are the frames of whole batches, which end at `batch_end`; valid frames go on to `parsed`.
    """

    batch_end: int
    parsed: int
    next_seq: int
    recorded_us: int = 0
    batches: list[Frame] = field(default_factory=list)
    last_mark: Frame | None = None
    """The last commit mark or rotation: what lies before it was durable."""
    bulk_load: Frame | None = None
    """A bulk-load record at the very end: whether the load happened is for the catalog to say."""
    next_file: int | None = None
    """The first seq of the next file, where this one was rotated."""


def scan_frames(frames: Iterable[Frame], start: int, next_seq: int, path: Path) -> RecoveryScan:
    """Take in frames that begin at file position `start`, up to a rotation.

    Raises `CorruptionError` where one does not carry the seq that is due.
    """
    found = RecoveryScan(batch_end=start, parsed=start, next_seq=next_seq)
    seq, open_batch = next_seq, []
    for frame in frames:
        found.recorded_us = max(found.recorded_us, frame.recorded_us)
        found.parsed = frame.end
        if frame.kind == BULK_LOAD:
            found.bulk_load = frame
            continue
        if found.bulk_load is not None:
            seq, found.bulk_load = found.bulk_load.seq, None
        check_order(frame, seq, path)
        seq += frame.count
        open_batch.append(frame)
        if frame.kind == PART:
            continue
        found.batches += open_batch
        open_batch, found.batch_end, found.next_seq = [], frame.end, seq
        if frame.kind in (COMMIT_MARK, NEXT_FILE):
            found.last_mark = frame
        if frame.kind == NEXT_FILE:
            found.next_file = frame.seq
            break
    return found


def durable_frames(
    frames: Iterable[Frame], start: int, end: int, flushed_seq: Callable[[], int], path: Path
) -> Iterator[Frame]:
    """Yield the frames from `start` on that count, of a file of which everything before `end` was durable.

    A bulk load that the catalog does not know never happened.  Raises `CorruptionError` where a frame is damaged.
    """
    reached = start
    for frame in frames:
        reached = frame.end
        if frame.kind == BULK_LOAD and flushed_seq() < frame.seq:
            break
        yield frame
    if reached < end:
        raise CorruptionError(path, offset=reached, reason="damaged frame among durable ones")


def check_order(frame: Frame, expected: int, path: Path) -> None:
    """Raise `CorruptionError` unless a frame carries the seq that is due."""
    if frame.seq != expected:
        raise CorruptionError(
            path,
            offset=frame.offset,
            reason=f"frame out of order (expected seq {expected}, found {frame.seq})",
        )


def refuse_bit_rot(data: bytes, base: int, position: int, path: Path, next_seq: int) -> None:
    """Raise `CorruptionError` unless the bytes from `position` on can be a torn write.

    They can if no later frame says that something beyond `position` was durable.  One that says so of bytes
    beyond itself is no frame, but text of an event that was made to look like one.
    """
    try:
        for later in frames_after(data, base, position):
            if position < later.durable <= later.offset:
                reason = f"damaged frame before durable ones (seqs {next_seq} to {later.seq} cannot be read)"
                raise CorruptionError(path, offset=position, reason=reason)
    except ValueError as exc:
        raise CorruptionError(path, offset=position, reason=f"damaged frame, and {exc}") from exc


def written_end(disk: Disk, fd: int, start: int, size: int, path: Path) -> int:
    """Return up to where a file of this size needs to be read from `start` on: zeros behind that are only looked at.

    Space is preallocated in small pieces; a file may have been made with more, and be as large as it likes.
    """
    end = size
    while end - start > _MANY_BYTES and size - end <= _MOST_SPACE_BYTES:
        begin = end - _MANY_BYTES // 4
        if not is_zeros(disk.read(fd, end - begin, begin)):
            break
        end = begin
    if size - end > _MOST_SPACE_BYTES or end - start > _MOST_SPACE_BYTES:
        raise CorruptionError(path, offset=start, reason=f"larger than a queue file can be ({size} bytes)")
    return min(size, end + _MOST_ZEROS_BYTES)


def scan_ahead(
    disk: Disk, fd: int, base: int, size: int, next_seq: int, path: Path, *, whole: bool
) -> tuple[bytes, RecoveryScan]:
    """Return the bytes of a file from `base` on, and what they say.

    With `whole` these are all bytes up to `size`, else as many as were written before the preallocated space.
    """
    size = written_end(disk, fd, base, size, path)
    piece = size if whole else _PIECE_BYTES
    while True:
        data = disk.read(fd, min(piece, size - base), base)
        found = scan_frames(parse_frames(data, base), base, next_seq, path)
        rest = data[found.parsed - base :]
        if piece >= size - base or (len(rest) >= FRAME_BYTES and is_zeros(rest)):
            return data, found
        piece *= 16


def read_header(disk: Disk, fd: int, path: Path, trail_id: bytes) -> FileHeader:
    """Return the header of an open queue file that belongs to this trail; else `CorruptionError`."""
    header = unpack_header(disk.read(fd, HEADER_BYTES, 0), path)
    if header.trail_id != trail_id:
        raise CorruptionError(path, offset=0, reason="queue file of another trail")
    if path.stem != f"{header.first_seq:020}":
        reason = f"queue file of another name (its first seq is {header.first_seq})"
        raise CorruptionError(path, offset=0, reason=reason)
    return header


def create_queue_file(disk: Disk, layout: Layout, header: FileHeader, modes: Modes) -> None:
    """Create the queue file that starts at `header.first_seq`, whole and durable under its name."""
    path = layout.queue_file(header.first_seq)
    temporary = path.with_suffix(TEMPORARY_SUFFIX)
    disk.unlink(temporary)
    write_temporary(disk, temporary, pack_header(header), modes.file)
    publish(disk, temporary, path)


def durable_end_of(
    disk: Disk, layout: Layout, trail_id: bytes, first: int, next_file: int | None
) -> int | None:
    """Return where a file's durable bytes end as the next file's header says, `None` where it says nothing."""
    if next_file is None:
        return None
    path = layout.queue_file(next_file)
    try:
        fd = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        header = read_header(disk, fd, path, trail_id)
    finally:
        disk.close(fd)
    return header.predecessor_end if header.predecessor == first else None
