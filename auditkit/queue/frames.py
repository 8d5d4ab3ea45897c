"""The queue's file format, version 1: a header, then log frames, each with its own checksum, then zeros.

All numbers are little-endian, times are microseconds since 1970 UTC.

File header, 64 bytes::

    magic 8s "AKQUEUE\\n", format I, trail id 16s, first seq Q, recorded q, predecessor Q, its durable end Q, crc I

``recorded`` is the newest moment of acceptance before this file.  ``predecessor`` is the first seq of the file that
this one goes on from (all ones: none), and ``its durable end`` the position there behind the last byte that counts.
``crc`` is the CRC-32 of the header without it.

Frame header, 40 bytes, then the payload::

    kind 4s, payload bytes I, seq Q, count I, recorded q, durable Q, crc I

``crc`` is the CRC-32 of the header without it, then of the payload.  ``durable`` is the position in this file up to
which everything was durable when the frame was written: a damaged frame before a position that a later frame calls
durable is bit rot, one at the very end is a torn write.  ``seq`` is the seq of a frame's first event and ``recorded``
the moment at which its events were accepted.  The kinds:

======  ==================================================================================================
AKEV    `count` events, the last ones of a batch (``queue.payload`` describes the payload)
AKPT    `count` events of a batch that goes on in the next frame: one without its AKEV does not count
AKCM    commit mark: everything before it is durable; `seq` is the next seq; written behind each commit, unsynced
AKNF    rotation: the file ends here; `seq` is the first seq, and so the name, of the next file
AKBL    bulk load: the seqs before `seq` went straight into segments.  Without a commit mark behind it, that is so
        only if the catalog's flushed seq has reached `seq`
======  ==================================================================================================

Only AKEV and AKPT have a payload and a count other than 0.  Seqs stay below 2^63, moments within those of an event.
Zeros behind the last frame are preallocated space: a sync
that changes neither the size of a file nor where its blocks lie takes two thirds of the time.  Another format version
is refused.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from auditkit.disk.durable import Disk
from auditkit.errors import CorruptionError, FormatError
from auditkit.event import FIRST_US, LAST_US

FORMAT = 1
MAGIC = b"AKQUEUE\n"
EVENTS, PART, COMMIT_MARK, NEXT_FILE, BULK_LOAD = b"AKEV", b"AKPT", b"AKCM", b"AKNF", b"AKBL"
KINDS = frozenset((EVENTS, PART, COMMIT_MARK, NEXT_FILE, BULK_LOAD))
MAX_PAYLOAD_BYTES = 1 << 28
NO_PREDECESSOR = (1 << 64) - 1
MOST_SEQ = (1 << 63) - 1

_HEADER = struct.Struct("<8sI16sQqQQI")
_FRAME = struct.Struct("<4sIQIqQI")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size
FRAME_BYTES = _FRAME.size

SMALLEST_SPACE_BYTES = 16 * 1024
LARGEST_SPACE_BYTES = 256 * 1024
SMALL_FRAME_BYTES = 32 * 1024
_ANY_KIND = re.compile(b"|".join(sorted(KINDS)))
_LEAST_LOOK_BYTES = 1024
_LOOKS = 16
"""So often the bytes of a file are looked at in search of frames, on average."""
NO_FRAME = bytes(FRAME_BYTES)
"""What lies where the next frame will begin."""


class FileHeader(Struct, frozen=True, kw_only=True):
    """The first bytes of a queue file."""

    trail_id: bytes
    first_seq: int
    recorded_us: int
    predecessor: int = NO_PREDECESSOR
    predecessor_end: int = 0


class Frame(Struct, frozen=True):
    """One frame as found in a file, between the byte positions `offset` and `end`."""

    offset: int
    end: int
    kind: bytes
    seq: int
    count: int
    recorded_us: int
    durable: int
    payload: bytes


def pack_header(header: FileHeader) -> bytes:
    """Return the bytes of a file header."""
    head = _HEADER.pack(
        MAGIC,
        FORMAT,
        header.trail_id,
        header.first_seq,
        header.recorded_us,
        header.predecessor,
        header.predecessor_end,
        0,
    )[: -_CRC.size]
    return head + _CRC.pack(zlib.crc32(head))


def unpack_header(data: bytes, path: Path) -> FileHeader:
    """Return the file header in `data`; raises `CorruptionError` or `FormatError`."""
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        raise CorruptionError(path, offset=0, reason="not a queue file (header missing or cut short)")
    _, version, trail_id, first, recorded, predecessor, end, crc = _HEADER.unpack_from(data)
    if zlib.crc32(data[: HEADER_BYTES - _CRC.size]) != crc:
        raise CorruptionError(path, offset=0, reason="queue file header: checksum mismatch")
    if version != FORMAT:
        raise FormatError(f"{path}: queue format {version} (expected {FORMAT}); use a newer auditkit")
    is_sound = predecessor == NO_PREDECESSOR or (predecessor <= first and HEADER_BYTES <= end <= MOST_SEQ)
    if not (_in_range(first, recorded) and is_sound):
        raise CorruptionError(path, offset=0, reason="queue file header: numbers out of range")
    return FileHeader(
        trail_id=trail_id,
        first_seq=first,
        recorded_us=recorded,
        predecessor=predecessor,
        predecessor_end=end,
    )


def pack_frame(
    kind: bytes, seq: int, count: int, *, recorded_us: int, durable: int, payload: bytes = b""
) -> bytes:
    """Return the bytes of one frame; a payload that no reader would take is a `ValueError`."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"payload: too large (expected {MAX_PAYLOAD_BYTES} bytes, found {len(payload)})")
    head = _FRAME.pack(kind, len(payload), seq, count, recorded_us, durable, 0)[: -_CRC.size]
    return head + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def parse_frames(data: bytes, base: int) -> Iterator[Frame]:
    """Yield the valid frames at the beginning of `data`, which lies at file position `base`.

    Stops without an error at the first byte that is no valid frame: the caller, who knows the file, decides what
    that means.
    """
    position = 0
    while position + FRAME_BYTES <= len(data):
        frame = _frame_at(data, position, base)
        if frame is None:
            return
        yield frame
        position = frame.end - base


def frames_after(data: bytes, base: int, start: int) -> Iterator[Frame]:
    """Yield the valid frames in `data` at or after file position `start`, wherever they begin.

    Raises `ValueError` where so much looks like a frame and is none that looking on would take for ever.
    """
    position, left = max(0, start - base), _LOOKS * len(data) + LARGEST_SPACE_BYTES
    while (kind := _ANY_KIND.search(data, position)) is not None:
        left -= max(_LEAST_LOOK_BYTES, _claimed(data, kind.start()))
        if left < 0:
            raise ValueError("too much that looks like a frame and is none")
        frame = _frame_at(data, kind.start(), base)
        if frame is not None:
            yield frame
        position = kind.end() if frame is None else frame.end - base


def _claimed(data: bytes, position: int) -> int:
    """Return how many bytes have to be looked at to tell whether a frame begins at a position."""
    if position + FRAME_BYTES > len(data):
        return 0
    size: int = _FRAME.unpack_from(data, position)[1]
    return size if position + FRAME_BYTES + size <= len(data) else 0


def _frame_at(data: bytes, position: int, base: int) -> Frame | None:
    if position + FRAME_BYTES > len(data):
        return None
    kind, size, seq, count, recorded, durable, crc = _FRAME.unpack_from(data, position)
    start = position + FRAME_BYTES
    if kind not in KINDS or size > MAX_PAYLOAD_BYTES or start + size > len(data):
        return None
    if not _in_range(seq + count, recorded) or (count and kind not in (EVENTS, PART)):
        return None
    payload = data[start : start + size]
    if zlib.crc32(payload, zlib.crc32(data[position : start - _CRC.size])) != crc:
        return None
    return Frame(base + position, base + start + size, kind, seq, count, recorded, durable, payload)


def _in_range(seq: int, recorded_us: int) -> bool:
    """Return whether events may have a seq before this one, and be accepted at a moment."""
    return seq <= MOST_SEQ and FIRST_US <= recorded_us < LAST_US


def is_zeros(data: bytes) -> bool:
    """Return whether some bytes are nothing but preallocated space."""
    return data == bytes(len(data))


def space_after(end: int, frame_bytes: int) -> int:
    """Return how many zeros to write where a file's last frame, of so many bytes, ends.

    A large frame gets none, for its bytes would be written twice.
    """
    if frame_bytes > SMALL_FRAME_BYTES:
        return 0
    return min(max(end, SMALLEST_SPACE_BYTES), LARGEST_SPACE_BYTES)


class PreallocatedSpace:
    """What a writer knows of the zeros behind the last frame of its file."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.end = 0
        """Up to where the file is known to hold nothing but zeros behind its frames."""
        self.is_ours = False
        """Whether this writer has written any."""

    def ensure(self, fd: int, end: int, frame_bytes: int) -> None:
        """Write zeros where a frame of so many bytes ends; the frame's sync covers them.

        Where storage has no place for them, frames go on without.
        """
        size = space_after(end, frame_bytes)
        if not size:
            return
        try:
            self._disk.write(fd, bytes(size), end)
            self.end, self.is_ours = end + size, True
        except OSError:
            with suppress(OSError):
                self._disk.truncate(fd, end)
