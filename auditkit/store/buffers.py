"""What the buffers of record batches hold: everything, or only what belongs to a few events.

Both are read alike, column by column, for arrays in Arrow's layout.  What a buffer holds is measured before anything
relies on it.
"""

import struct
from collections.abc import Sequence, Sized
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
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

    @property
    def rows(self) -> int:
        """The number of events."""
        return sum(batch.rows for batch in self.batches)

    def numbers(self, buffer: int, width: int) -> pa.Buffer:
        """Return the numbers in a buffer, `width` bytes each."""
        return self._held(buffer, [batch.rows * width for batch in self.batches])

    def bits(self, buffer: int) -> Numbers:
        """Return the bits in a buffer, one byte each; set where a batch does without the buffer."""
        places = [batch.buffers[buffer] for batch in self.batches]
        sizes = [
            -(-batch.rows // 8) if end > begin else 0
            for batch, (begin, end) in zip(self.batches, places, strict=True)
        ]
        octets, found = np.frombuffer(self._held(buffer, sizes), dtype="u1"), []
        for batch, size in zip(self.batches, sizes, strict=True):
            bits = np.unpackbits(octets[:size], bitorder="little")[: batch.rows]
            found.append(bits if size else np.ones(batch.rows, dtype="u1"))
            octets = octets[size:]
        return np.concatenate(found)

    def texts(self, buffer: int) -> tuple[Numbers, pa.Buffer]:
        """Return where each text begins and the last ends, and all of them, from a buffer and the one behind it."""
        held = self._held(buffer, [(batch.rows + 1) * _END.itemsize for batch in self.batches])
        own, ends = np.frombuffer(held, dtype=_END), np.zeros(self.rows + 1, dtype=_END)
        sizes, begin, first = [], 0, 0
        for batch in self.batches:
            np.add(own[: batch.rows + 1], begin, out=ends[first : first + batch.rows + 1])
            sizes.append(int(own[batch.rows]))
            own, begin, first = own[batch.rows + 1 :], begin + sizes[-1], first + batch.rows
        return ends, self._held(buffer + 1, sizes)

    def _held(self, buffer: int, sizes: Sequence[int]) -> pa.Buffer:
        """Return so many bytes of each batch's buffer; Arrow's writers may put some behind them."""
        places = (batch.buffers[buffer] for batch in self.batches)
        return decompress([self.file[begin:end] for begin, end in places], sizes)


class Few(Struct, frozen=True, kw_only=True):
    """Single events of some record batches, by their places in these."""

    file: memoryview
    batches: Sequence[Batch]
    places: Sequence[Sequence[int]]

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
            held.append((Buffer(self.file[begin:end]), places))
        return held


def _sized(held: _T, size: int) -> _T:
    if len(held) != size:
        raise ValueError(f"buffer holds something else (expected {size}, found {len(held)})")
    return held
