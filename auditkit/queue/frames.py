"""The queue's file format: a header, then frames, each with its own checksum.

    file header   magic 8s, format I, trail id 16s, first seq Q, recorded q, predecessor Q, its durable end Q, crc I
    frame header  kind 4s, payload bytes I, seq Q, count I, recorded q, durable Q, crc I

All numbers are little-endian.  `crc` is CRC-32 over the header without it and the payload.  `durable` is the
position in this file up to which everything was durable when the frame was written: a damaged frame that a later
frame calls durable is rot, one at the very end that nobody vouches for is a torn write.

Kinds: EVENTS closes a batch, PART is a block of a batch that goes on, MARK says that everything before it is
durable (`seq` is then the next one), SEAL ends the file and names its successor's first seq.  JUMP says that the
seqs before its own went straight into segments; without a mark after it, that is so only if the catalog agrees.
`queue.blocks` says what the payload of EVENTS and PART holds.  Zeros behind the last frame are room for others
(`queue.room`).
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from auditkit.errors import CorruptionError, FormatError

FORMAT = 1
MAGIC = b"AKQUEUE\n"
EVENTS, PART, MARK, SEAL, JUMP = b"AKEV", b"AKPT", b"AKMK", b"AKSL", b"AKJP"
KINDS = frozenset((EVENTS, PART, MARK, SEAL, JUMP))
MAX_PAYLOAD_BYTES = 1 << 28
NO_PREDECESSOR = (1 << 64) - 1

_HEADER = struct.Struct("<8sI16sQqQQI")
_FRAME = struct.Struct("<4sIQIqQI")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size
FRAME_BYTES = _FRAME.size


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

    Stops without an error at the first byte that is no valid frame: who knows the file decides what that means.
    """
    position = 0
    while position + FRAME_BYTES <= len(data):
        frame = _frame_at(data, position, base)
        if frame is None:
            return
        yield frame
        position = frame.end - base


def find_frame_after(data: bytes, base: int, start: int) -> Frame | None:
    """Return the first valid frame in `data` at or after file position `start`, wherever it begins."""
    position = start - base
    while (position := _next_kind(data, position)) >= 0:
        frame = _frame_at(data, position, base)
        if frame is not None:
            return frame
        position += 1
    return None


def _next_kind(data: bytes, position: int) -> int:
    while (position := data.find(b"AK", position)) >= 0:
        if data[position : position + 4] in KINDS:
            return position
        position += 1
    return -1


def _frame_at(data: bytes, position: int, base: int) -> Frame | None:
    if position + FRAME_BYTES > len(data):
        return None
    kind, size, seq, count, recorded, durable, crc = _FRAME.unpack_from(data, position)
    start = position + FRAME_BYTES
    if kind not in KINDS or size > MAX_PAYLOAD_BYTES or start + size > len(data):
        return None
    payload = data[start : start + size]
    if zlib.crc32(payload, zlib.crc32(data[position : start - _CRC.size])) != crc:
        return None
    return Frame(base + position, base + start + size, kind, seq, count, recorded, durable, payload)
