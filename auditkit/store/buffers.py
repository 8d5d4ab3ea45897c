"""What the buffers of record batches hold: everything, or only what belongs to a few events.

Both are read alike, column by column, for arrays in Arrow's layout.  What a buffer holds is measured before anything
relies on it.
"""

import struct
from collections.abc import Sequence, Sized
from typing import Any, TypeVar

import numpy as np
import zstandard
from msgspec import Struct

from auditkit.store.compression import Buffer, decompress
from auditkit.store.message import Batch

_T = TypeVar("_T", bound=Sized)
_END = np.dtype("<i8")
_BORDERS = struct.Struct("<qq")

Numbers = Any
"""A numpy array."""


class Everything(Struct, frozen=True, kw_only=True):
    """All events of some record batches."""

    file: memoryview
    batches: Sequence[Batch]
    threads: int

    @property
    def rows(self) -> int:
        """The number of events."""
        return sum(batch.rows for batch in self.batches)

    def numbers(self, buffer: int, width: int) -> bytes:
        """Return the numbers in a buffer, `width` bytes each."""
        return _sized(b"".join(self._held(buffer)), self.rows * width)

    def bits(self, buffer: int) -> Numbers:
        """Return the bits in a buffer, one byte each; set where a batch does without the buffer."""
        found = []
        for batch, held in zip(self.batches, self._held(buffer), strict=True):
            octets = np.frombuffer(held, dtype="u1")
            found.append(
                _sized(np.unpackbits(octets, count=batch.rows, bitorder="little"), batch.rows)
                if held
                else np.ones(batch.rows, dtype="u1")
            )
        return np.concatenate(found)

    def texts(self, buffer: int) -> tuple[Numbers, bytes]:
        """Return where each text begins and the last ends, and all of them, from a buffer and the one behind it."""
        ends, begin, position = np.zeros(self.rows + 1, dtype=_END), 0, 0
        for batch, held in zip(self.batches, self._held(buffer), strict=True):
            own = _sized(np.frombuffer(held, dtype=_END), batch.rows + 1)
            np.add(own, begin, out=ends[position : position + batch.rows + 1])
            begin, position = begin + int(own[-1]), position + batch.rows
        return ends, _sized(b"".join(self._held(buffer + 1)), begin)

    def _held(self, buffer: int) -> list[bytes]:
        places = (batch.buffers[buffer] for batch in self.batches)
        found = decompress([self.file[begin:end] for begin, end in places], self.threads)
        return [b"".join(frames) for frames in found]


class Few(Struct, frozen=True, kw_only=True):
    """Single events of some record batches, by their places in these."""

    file: memoryview
    batches: Sequence[Batch]
    places: Sequence[Sequence[int]]
    decompressor: zstandard.ZstdDecompressor

    @property
    def rows(self) -> int:
        """The number of events."""
        return sum(map(len, self.places))

    def numbers(self, buffer: int, width: int) -> bytes:
        """Return the numbers in a buffer, `width` bytes each."""
        found = [
            held.between(place * width, (place + 1) * width)
            for held, places in self._held(buffer)
            for place in places
        ]
        return _sized(b"".join(found), self.rows * width)

    def bits(self, buffer: int) -> Numbers:
        """Return the bits in a buffer, one byte each; set where a batch does without the buffer."""
        found = b"".join(
            held.between(place // 8, place // 8 + 1) if held.data else b"\xff"
            for held, places in self._held(buffer)
            for place in places
        )
        places = np.array([place for places in self.places for place in places], dtype=np.int64)
        return _sized(np.frombuffer(found, dtype="u1"), self.rows) >> (places % 8).astype("u1") & 1

    def texts(self, buffer: int) -> tuple[Numbers, bytes]:
        """Return where each text begins and the last ends, and all of them, from a buffer and the one behind it."""
        found = []
        for (ends, places), (texts, _) in zip(self._held(buffer), self._held(buffer + 1), strict=True):
            for place in places:
                begin, end = _BORDERS.unpack(ends.between(place * _END.itemsize, (place + 2) * _END.itemsize))
                found.append(_sized(texts.between(begin, end), end - begin))
        return np.cumsum([0, *map(len, found)], dtype=_END), b"".join(found)

    def _held(self, buffer: int) -> list[tuple[Buffer, Sequence[int]]]:
        """Return a buffer of each batch, and the places asked for."""
        held = []
        for batch, places in zip(self.batches, self.places, strict=True):
            begin, end = batch.buffers[buffer]
            held.append((Buffer(self.file[begin:end], self.decompressor), places))
        return held


def _sized(held: _T, size: int) -> _T:
    if len(held) != size:
        raise ValueError(f"buffer holds something else (expected {size}, found {len(held)})")
    return held
