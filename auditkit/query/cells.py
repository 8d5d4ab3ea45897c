"""Groups as cells: counting and measuring by numbers instead of values, in parts that can be put together.

Each event has for every key a small number; events with the same numbers fall into one cell.  Parts of the events can
be folded apart from each other, and merging the cells of all parts gives what folding them at once would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[Any]]

_ROOM = 65_536
_SPARSE = 8
"""Cells are kept in an array with a place for each combination while that has at most so many places per event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Cells in the order of their keys; `keys` has an array for each key, the rest one entry per cell.

    `sums`, `mins` and `maxs` say nothing where `value_counts` is 0, and are `None` where nobody asked for values.
    """

    keys: Sequence[Numbers]
    counts: Numbers
    value_counts: Numbers | None = None
    sums: Numbers | None = None
    mins: Numbers | None = None
    maxs: Numbers | None = None


def fold(
    keys: Sequence[Numbers], rows: int, values: Numbers | None = None, present: Numbers | None = None
) -> Cells:
    """Return the cells of `rows` events: for each key an array of numbers, and the values, where present."""
    place, size = _places(keys, rows)
    counts = np.bincount(place, minlength=size)
    if values is None:
        return _present(keys, place, counts)
    of_values = place
    if present is not None:
        of_values, values = place[present], values[present]
    mins, maxs = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(mins, of_values, values)
    np.maximum.at(maxs, of_values, values)
    return _present(
        keys,
        place,
        counts,
        value_counts=np.bincount(of_values, minlength=size),
        sums=np.bincount(of_values, weights=values, minlength=size),
        mins=mins,
        maxs=maxs,
    )


def merge(parts: Sequence[Cells], keys: Sequence[Numbers]) -> Cells:
    """Return the cells of all parts together; `keys` are those of the parts one after the other."""

    def joined(name: str) -> Numbers:
        return np.concatenate([getattr(part, name) for part in parts])

    counts = joined("counts")
    place, size = _places(keys, len(counts))
    total = _added(place, counts, size)
    if any(part.value_counts is None for part in parts):
        return _present(keys, place, total)
    mins, maxs = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(mins, place, joined("mins"))
    np.maximum.at(maxs, place, joined("maxs"))
    return _present(
        keys,
        place,
        total,
        value_counts=_added(place, joined("value_counts"), size),
        sums=np.bincount(place, weights=joined("sums"), minlength=size),
        mins=mins,
        maxs=maxs,
    )


def _added(place: Numbers, counts: Numbers, size: int) -> Numbers:
    return np.bincount(place, weights=counts, minlength=size)  # exact below 2**53


def _places(keys: Sequence[Numbers], rows: int) -> tuple[Numbers, int]:
    """Return for each event the place of its cell, and how many places there are; places follow the keys' order."""
    place, size = np.zeros(rows, dtype=np.int64), 1
    for key in keys:
        first, last = (int(key.min()), int(key.max())) if rows else (0, 0)
        width = last - first + 1
        place, size = place * width + (key - first), size * width
        if size > _SPARSE * rows + _ROOM:
            found, place = np.unique(place, return_inverse=True)
            size = len(found)
    return place, size


def _present(keys: Sequence[Numbers], place: Numbers, counts: Numbers, **measures: Numbers) -> Cells:
    """Leave out the places without events."""
    an_event = np.empty(len(counts), dtype=np.int64)
    an_event[place] = np.arange(len(place))
    present = np.flatnonzero(counts)
    some = an_event[present]
    return Cells(
        keys=[key[some] for key in keys],
        counts=counts[present],
        **{name: measure[present] for name, measure in measures.items()},
    )
