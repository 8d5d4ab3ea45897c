"""Whole queue files: created under their names, told from those of other trails, judged where they are damaged.

A file is created whole or not at all, and what a successor's header says of its predecessor is final.
"""

from pathlib import Path

from auditkit.disk.durable import Disk, publish, write_temporary
from auditkit.disk.layout import TEMPORARY_SUFFIX, Layout, Modes
from auditkit.errors import CorruptionError
from auditkit.queue.finding import Findings, find
from auditkit.queue.frames import (
    FRAME_BYTES,
    HEADER_BYTES,
    FileHeader,
    Frame,
    find_frame_after,
    pack_header,
    parse_frames,
    unpack_header,
)
from auditkit.queue.room import is_blank

_PIECE_BYTES = 4 * 1024


def refuse_rot(data: bytes, base: int, position: int, path: Path, next_seq: int) -> None:
    """Raise `CorruptionError` unless the bytes from `position` on can be a torn write.

    They can if no later frame says that something beyond `position` was durable.  One that says so of bytes
    beyond itself is no frame, but was made to look like one by who wrote the text it lies in.
    """
    later: Frame | None = find_frame_after(data, base, position)
    while later is not None:
        if position < later.durable <= later.offset:
            reason = f"damaged frame before durable ones (seqs {next_seq} to {later.seq} cannot be read)"
            raise CorruptionError(path, offset=position, reason=reason)
        later = find_frame_after(data, base, later.end)


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


def end_by_successor(
    disk: Disk, layout: Layout, trail_id: bytes, first: int, successor: int | None
) -> int | None:
    """Return where a file's durable bytes end as its successor's header says, `None` where there is none to say."""
    if successor is None:
        return None
    path = layout.queue_file(successor)
    try:
        fd = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        header = read_header(disk, fd, path, trail_id)
    finally:
        disk.close(fd)
    return header.predecessor_end if header.predecessor == first else None


def read_ahead(
    disk: Disk, fd: int, base: int, size: int, next_seq: int, path: Path, *, whole: bool
) -> tuple[bytes, Findings]:
    """Return the bytes of a file from `base` on, and what they say.

    With `whole` these are all bytes up to `size`, else as many as were written before there is nothing but room.
    """
    piece = size if whole else _PIECE_BYTES
    while True:
        data = disk.read(fd, min(piece, size - base), base)
        found = find(parse_frames(data, base), base, next_seq, path)
        rest = data[found.parsed - base :]
        if piece >= size - base or (len(rest) >= FRAME_BYTES and is_blank(rest)):
            return data, found
        piece *= 16
