"""Groups as cells: counting and measuring by numbers instead of values, in parts that can be put together.

Each event has for every key a small number; events with the same numbers fall into one cell.  Parts of the events can
be folded apart from each other, and merging the cells of all parts gives what folding them at once would.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    grid = _grid(keys, rows)
    place, size = grid.place, grid.size
    counts = np.bincount(place, minlength=size)
    if values is None:
        return _present(keys, grid, counts)
    of_values = place
    if present is not None:
        of_values, values = place[present], values[present]
    mins, maxs = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(mins, of_values, values)
    np.maximum.at(maxs, of_values, values)
    return _present(
        keys,
        grid,
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
    grid = _grid(keys, len(counts))
    place, size = grid.place, grid.size
    total = _added(place, counts, size)
    if any(part.value_counts is None for part in parts):
        return _present(keys, grid, total)
    mins, maxs = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(mins, place, joined("mins"))
    np.maximum.at(maxs, place, joined("maxs"))
    return _present(
        keys,
        grid,
        total,
        value_counts=_added(place, joined("value_counts"), size),
        sums=np.bincount(place, weights=joined("sums"), minlength=size),
        mins=mins,
        maxs=maxs,
    )


def _added(place: Numbers, counts: Numbers, size: int) -> Numbers:
    return np.bincount(place, weights=counts, minlength=size)  # exact below 2**53


@dataclass(slots=True)
class _Grid:
    """A place for each combination of keys, in their order; what each key's numbers begin at, and how many there are."""

    place: Numbers
    size: int = 1
    sides: list[tuple[int, int]] = field(default_factory=list)
    merged: bool = False
    """True once places were renumbered, so that a key does not follow from its place."""


def _grid(keys: Sequence[Numbers], rows: int) -> _Grid:
    """Return the place of each event, and how they are laid out."""
    grid = _Grid(np.zeros(rows, dtype=np.int64))
    for number, key in enumerate(keys):
        first, last = (int(key.min()), int(key.max())) if rows else (0, 0)
        width = last - first + 1
        if number:
            grid.place = grid.place * width
            grid.place += key
            grid.place -= first
        else:
            grid.place = key - first
        grid.size *= width
        grid.sides.append((first, width))
        if grid.size > _SPARSE * rows + _ROOM:
            found, grid.place = np.unique(grid.place, return_inverse=True)
            grid.size, grid.merged = len(found), True
    return grid


def _present(keys: Sequence[Numbers], grid: _Grid, counts: Numbers, **measures: Numbers) -> Cells:
    """Leave out the places without events."""
    present = np.flatnonzero(counts)
    if grid.merged:
        an_event = np.empty(grid.size, dtype=np.int64)
        an_event[grid.place] = np.arange(len(grid.place))
        some = an_event[present]
        found = [key[some] for key in keys]
    else:
        found, rest = [], present
        for first, width in reversed(grid.sides):
            rest, number = np.divmod(rest, width)
            found.insert(0, number + first)
    return Cells(
        keys=found,
        counts=counts[present],
        **{name: measure[present] for name, measure in measures.items()},
    )
