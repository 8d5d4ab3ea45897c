"""Arrow's arrays as NumPy's, from their buffers: Arrow's own way imports pandas where it is installed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

Numbers = Any
"""A numpy array."""
_UINT32 = pa.uint32()


def to_numpy(array: pa.Array) -> tuple[Numbers, Numbers | None]:
    """Return the numbers or instants of an array, and which of them are present (`None`: all)."""
    data = array.buffers()[1]
    sort = (
        "f" if pa.types.is_floating(array.type) else "u" if pa.types.is_unsigned_integer(array.type) else "i"
    )
    numbers = np.frombuffer(data, dtype=f"<{sort}{array.type.bit_width // 8}")
    return numbers[array.offset :][: len(array)], presence(array)


def presence(array: pa.Array) -> Numbers | None:
    """Return which elements are not null, `None` where all are not."""
    if not array.null_count:
        return None
    bits = np.unpackbits(np.frombuffer(array.buffers()[0], dtype="u1"), bitorder="little")
    return bits[array.offset :][: len(array)].view(bool)


def to_arrow(numbers: Numbers, kind: pa.DataType = _UINT32, present: Numbers | None = None) -> pa.Array:
    """Return numbers as Arrow's, of a type with as many bits; `present` says which are not null (`None`: all)."""
    validity = None if present is None else flags(present).buffers()[1]
    return pa.Array.from_buffers(kind, len(numbers), [validity, pa.py_buffer(numbers)])


def flags(mask: Numbers) -> pa.Array:
    """Return a mask as Arrow's."""
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, packed(mask)])


def packed(bits: Numbers) -> pa.Buffer:
    """Return bits, one byte each, as Arrow stores them."""
    return pa.py_buffer(np.packbits(bits, bitorder="little"))


def text_of(texts: pa.Array) -> tuple[Numbers, pa.Buffer | None]:
    """Return where each of some strings begins, and the last ends, in their UTF-8; `None` where there is none."""
    _, ends, data = texts.buffers()
    numbers = np.frombuffer(ends, dtype="<i8" if pa.types.is_large_string(texts.type) else "<i4")
    return numbers[texts.offset :][: len(texts) + 1], data


def is_ascii(texts: pa.Array) -> bool:
    """Return whether some strings are ASCII throughout, from one look at all their bytes."""
    if not len(texts):
        return True
    ends, data = text_of(texts)
    octets = np.frombuffer(data or b"", dtype="u1")[ends[0] : ends[-1]]
    return not octets.size or bool(octets.max() < 128)


def lengths(texts: pa.Array) -> Numbers:
    """Return how many bytes each of some strings has, of whatever layout; of nulls, any number."""
    if pa.types.is_string_view(texts.type):
        return np.frombuffer(texts.buffers()[1], dtype="<i4")[::4][texts.offset :][: len(texts)]
    return np.diff(text_of(texts)[0])


def codes_of(column: pa.DictionaryArray) -> Numbers:
    """Return the place of each value in the dictionary; of a null, the place behind the last."""
    codes, present = to_numpy(column.indices)
    return codes if present is None else np.where(present, codes, np.int64(len(column.dictionary)))


def joined(arrays: Sequence[pa.Array]) -> pa.Array:
    """Return arrays as one; dictionaries are the same in all of them."""
    first = arrays[0]
    if len(arrays) == 1:
        return first
    if not isinstance(first, pa.DictionaryArray):
        return pa.concat_arrays(arrays)
    codes = pa.concat_arrays([array.indices for array in arrays])
    return pa.DictionaryArray.from_arrays(codes, first.dictionary, safe=False)


def series_of(values: pa.Array) -> pl.Series:
    """Return an array as a series; by way of a table, as Polars loads Arrow's functions for a single array."""
    frame = pl.from_arrow(pa.Table.from_arrays([values], names=["values"]), rechunk=False)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 -- a table becomes a frame
    return frame.to_series()
