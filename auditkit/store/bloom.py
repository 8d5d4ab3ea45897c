"""Bloom filters: for each record batch of a segment and a few columns of text, which values are certainly not in it.

Bloom filters of eight bits per distinct value, of which about two in a hundred answer "perhaps" for a value that is not
there.  They lie in the segment's footer, as ASCII: seven bits to a byte.  The hash is part of the format: it looks at the
length and at thirty-two bytes spread over the value, so that values which differ elsewhere only share their answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import presence, text_of, to_numpy

FILTERED_COLUMNS = ("actor", "resource", "correlation", "id")
"""Columns that are asked for one value at a time."""

_BITS_PER_VALUE = 8
_PROBES = 5
_WINDOW = 8
_MULTIPLIERS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype="<u8"
)
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(_WINDOW + 1)], dtype="<u8")
"""For a text of so many bytes, those of its window that are its own."""
_Hashes = np.ndarray[Any, np.dtype[np.uint64]]


def hashes(values: pl.Series) -> _Hashes:
    """Return a 64-bit hash of each text (no nulls), the same in every version and on every machine."""
    texts = values.cast(pl.String).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    return _Texts.of(texts).hashes(0, len(texts))


def pack_filters(columns: Mapping[str, pa.Array], rows: Sequence[int]) -> dict[bytes, bytes]:
    """Return the filters of events that are stored in record batches from row to row, by their keys in the footer.

    `columns` are arrays of large strings, or dictionaries of them.  A column without any value has no filter.
    """
    return {
        filter_key(name): _pack(list(_distinct(columns[name], rows)))
        for name in FILTERED_COLUMNS
        if columns[name].null_count < len(columns[name])
    }


def _distinct(column: pa.Array, rows: Sequence[int]) -> Iterator[_Hashes]:
    """Yield the hashes of the values that each batch has; each text of a dictionary is hashed once."""
    is_dictionary = isinstance(column, pa.DictionaryArray)
    plain = column.indices if is_dictionary else column
    present = presence(plain)
    texts = _Texts.of(column.dictionary if is_dictionary else column)
    of_code = texts.hashes(0, len(column.dictionary)) if is_dictionary else None
    codes = to_numpy(plain)[0] if is_dictionary else None
    for start, end in pairwise(rows):
        found = texts.hashes(start, end) if codes is None else codes[start:end]
        if present is not None:
            found = found[present[start:end]]
        if of_code is None:
            ordered = np.sort(found)
            yield ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
        else:
            seen = np.zeros(len(of_code), dtype=bool)
            seen[found] = True
            yield of_code[seen]


class _Texts(Struct, frozen=True):
    """Large strings: where each begins and the last ends, and the eight bytes from each byte on."""

    offsets: Any
    windows: Any

    @classmethod
    def of(cls, texts: pa.Array) -> "_Texts":
        offsets, data = text_of(texts)
        size = 0 if data is None else data.size
        text = np.zeros(size + _WINDOW, dtype="u1")  # the last window may begin at the end
        if data:
            text[:size] = np.frombuffer(data, dtype="u1")
        return cls(offsets, np.ndarray((size + 1,), dtype="<u8", buffer=text, strides=(1,)))

    def hashes(self, first: int, end: int) -> _Hashes:
        """Return the hashes of some of the strings, a batch at most where speed matters; of a null it means nothing."""
        starts = self.offsets[first:end]
        lengths = self.offsets[first + 1 : end + 1] - starts
        spare = np.maximum(lengths - _WINDOW, 0)
        third = spare // 3
        mask = _MASKS.take(lengths, mode="clip")
        found: _Hashes = lengths.astype("<u8")
        for begin, multiplier in zip((0, third, 2 * third, spare), _MULTIPLIERS, strict=True):
            window = self.windows[starts + begin]
            window &= mask
            found ^= window
            found *= multiplier
            found ^= found >> np.uint64(29)
        return found


def filter_key(column: str) -> bytes:
    """Return the name of a column's filters in a footer."""
    return b"auditkit.filter." + column.encode()


def _pack(batches: Sequence[_Hashes]) -> bytes:
    """Return the filters of one column, from the distinct hashes of each batch.

    These are the number of batches and how many bits each has, four bytes each; then the bits.
    """
    sizes, filters = [], []
    for distinct in batches:
        bits = np.zeros(len(distinct) * _BITS_PER_VALUE, dtype="u1")
        for places in _places(distinct, np.uint64(len(bits))):
            bits[places] = 1
        sizes.append(len(bits))
        filters.append(bits)
    head = np.unpackbits(np.array([len(batches), *sizes], dtype="<u4").view("u1"), bitorder="little")
    return _to_ascii(np.concatenate([head, *filters]))


def candidates(packed: bytes, wanted: _Hashes, count: int) -> list[int]:
    """Return the numbers of the batches, of `count`, that may hold a value with one of the hashes `wanted`.

    Raises `ValueError` or `IndexError` where there are no filters of so many.
    """
    if int(_numbers(packed, 1)[0]) != count:
        raise ValueError(f"no filters of {count} record batches")
    sizes = _numbers(packed, count + 1)[1:]
    starts = 32 * (count + 1) + np.cumsum(sizes, dtype="<i8") - sizes
    some = sizes > 0
    may_hold = np.zeros(count, dtype=bool)
    for value in wanted:
        probes = np.stack(list(_places(np.full(count, value), sizes.astype("<u8"))))
        may_hold |= some & _bits(packed, np.where(some, starts + probes, 0)).all(axis=0)
    return np.flatnonzero(may_hold).tolist()


def _places(values: _Hashes, size: Any) -> Iterator[Any]:
    """Yield for each probe the place of every value among `size` bits."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    at, step = values & low, (values >> half) | np.uint64(1)
    for _ in range(_PROBES):
        place = at & low
        place *= size
        place >>= half
        yield place.view("<i8")
        at += step


def _to_ascii(bits: Any) -> bytes:
    rows = np.zeros((-(-bits.size // 7), 8), dtype="u1")
    padded = np.zeros(rows.shape[0] * 7, dtype="u1")
    padded[: bits.size] = bits
    rows[:, :7] = padded.reshape(-1, 7)
    return np.packbits(rows, bitorder="little").tobytes()


def _bits(packed: bytes, places: Any) -> Any:
    characters = np.frombuffer(packed, dtype="u1")[places // 7]
    return (characters >> (places % 7).astype("u1")) & 1


def _numbers(packed: bytes, count: int) -> Any:
    """Return the first numbers of four bytes each."""
    bits = _bits(packed, np.arange(32 * count)).astype("u1")
    return np.packbits(bits, bitorder="little").view("<u4").astype("<i8")
