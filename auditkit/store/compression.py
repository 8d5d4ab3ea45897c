"""How a buffer of a record batch is compressed: in zstd frames, one behind the other, each of a few kilobytes.

Whoever reads Arrow files takes them for one: what several frames hold is what they hold together (RFC 8878).  Here those
that hold what is asked for can be read alone, so that one event costs a small part of its batch.
"""

import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import zstandard
from msgspec import Struct, field

NUMBERS_BYTES = 8 * 1024
"""What a frame of numbers holds: those of 1,024 events where each takes eight bytes."""
TEXT_BYTES = 32 * 1024
"""What a frame of text holds; in smaller ones text takes more room, and more time to be read as a whole."""
LENGTH = struct.Struct("<q")
"""What Arrow puts before a compressed buffer: how many bytes it holds."""
_LEVEL = 1
"""The one that Arrow takes."""
_LONGEST_HEADER = 18
_BLOCK_HEADER = 3
_REPEATED = 1
"""The type of a block that is one byte, and how often."""

FrameError = zstandard.ZstdError
"""What is raised where bytes are no frames."""

_own = threading.local()


def cut(buffer: memoryview, frame_bytes: int) -> list[memoryview]:
    """Return what each frame of a buffer is to hold."""
    return [buffer[begin : begin + frame_bytes] for begin in range(0, len(buffer), frame_bytes)]


def compress(pieces: list[memoryview], threads: int) -> Any:
    """Return a frame for each of some pieces, made in one call that does not hold Python's lock."""
    return zstandard.ZstdCompressor(level=_LEVEL).multi_compress_to_buffer([*pieces], threads=threads)


def decompress(buffers: Sequence[memoryview], sizes: Sequence[int]) -> pa.Buffer:
    """Return the first bytes of what some compressed buffers hold, so many of each, one behind the other.

    Each takes one call that does not hold Python's lock.
    """
    together = pa.allocate_buffer(sum(sizes))
    view, begin = memoryview(together), 0
    for buffer, size in zip(buffers, sizes, strict=True):
        frames = _decompressor().stream_reader(buffer[LENGTH.size :], read_across_frames=True)
        if frames.readinto(view[begin : begin + size]) != size:
            raise FrameError("frames hold less than belongs to their buffer")
        begin += size
    return together


class Buffer(Struct):
    """A compressed buffer of which a few bytes are wanted, perhaps again and again."""

    data: memoryview
    contents: dict[int, bytes] = field(default_factory=dict)
    """What those frames hold that were read, by where they begin."""

    def between(self, first: int, last: int) -> bytes:
        """Return these bytes of what the buffer holds; fewer where it holds fewer."""
        found, low = b"", 0
        for begin, end, held in _frames(self.data):
            if low + held > first:
                if begin not in self.contents:
                    self.contents[begin] = _decompressor().decompress(self.data[begin:end])
                found += self.contents[begin][max(first - low, 0) : last - low]
            low += held
            if low >= last:
                break
        return found


def _decompressor() -> zstandard.ZstdDecompressor:
    """Return the one of this thread; a new one for each question would cost as much as what it decompresses."""
    if not hasattr(_own, "decompressor"):
        _own.decompressor = zstandard.ZstdDecompressor()
    found: zstandard.ZstdDecompressor = _own.decompressor
    return found


def _frames(buffer: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield where each frame of a compressed buffer begins and ends, and how many bytes it holds (RFC 8878, 3.1.1)."""
    begin = LENGTH.size
    while begin < len(buffer):
        header, is_last = buffer[begin : begin + _LONGEST_HEADER], 0
        held, end = zstandard.frame_content_size(header), begin + zstandard.frame_header_size(header)
        while not is_last:
            block = int.from_bytes(buffer[end : end + _BLOCK_HEADER], "little")
            is_last, kind, size = block & 1, block >> 1 & 3, block >> 3
            end += _BLOCK_HEADER + (1 if kind == _REPEATED else size)
            if end > len(buffer):
                raise FrameError("frame ends beyond its buffer")
        yield begin, end, held
        begin = end
