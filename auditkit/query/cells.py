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
_LONG = 1_024
"""Runs of so many events are counted one by one: what numpy then works on stays near."""
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


@dataclass(frozen=True, slots=True)
class Key:
    """One key of events: numbers in `[first, first + width)`."""

    numbers: Numbers
    first: int
    width: int

    @classmethod
    def bounded(cls, numbers: Numbers) -> "Key":
        """Return a key with bounds that are found by looking."""
        if not len(numbers):
            return cls(numbers, 0, 1)
        first = int(numbers.min())
        return cls(numbers, first, int(numbers.max()) - first + 1)


@dataclass(frozen=True, slots=True)
class Runs:
    """One key of events that are in its order: `first` for as many of them as `lengths` begins with, and so on."""

    first: int
    lengths: Numbers

    @property
    def are_long(self) -> bool:
        """Whether counting each for itself is worth while."""
        return int(self.lengths.sum()) >= _LONG * len(self.lengths)

    def key(self, mask: Numbers | None) -> Key:
        """Return the number of each event of a mask (`None`: of all)."""
        width = len(self.lengths)
        numbers = np.repeat(np.arange(self.first, self.first + width), self.lengths)
        return Key(numbers if mask is None else numbers[mask], self.first, width)


def count_runs(runs: Runs, keys: Sequence[Key], rows: int) -> Cells:
    """Return the cells of `rows` events whose first key comes in long runs: each is counted for itself."""
    grid = _grid(keys, rows)
    pieces = np.split(grid.place, np.cumsum(runs.lengths)[:-1])
    counts = np.concatenate([np.bincount(piece, minlength=grid.size) for piece in pieces])
    present = np.flatnonzero(counts)
    outer, inner = np.divmod(present, grid.size)
    return Cells(keys=[outer + runs.first, *_keys_at(keys, grid, inner)], counts=counts[present])


def fold(
    keys: Sequence[Key], rows: int, values: Numbers | None = None, present: Numbers | None = None
) -> Cells:
    """Return the cells of `rows` events: their keys, and the values, where present."""
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
    """Return the cells of all parts together; `keys` has the numbers of the parts one after the other."""

    def joined(name: str) -> Numbers:
        return np.concatenate([getattr(part, name) for part in parts])

    counts = joined("counts")
    bounded = [Key.bounded(key) for key in keys]
    grid = _grid(bounded, len(counts))
    place, size = grid.place, grid.size
    total = _added(place, counts, size)
    if any(part.value_counts is None for part in parts):
        return _present(bounded, grid, total)
    mins, maxs = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(mins, place, joined("mins"))
    np.maximum.at(maxs, place, joined("maxs"))
    return _present(
        bounded,
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


def _grid(keys: Sequence[Key], rows: int) -> _Grid:
    """Return the place of each event, and how they are laid out."""
    grid = _Grid(keys[0].numbers if keys else np.zeros(rows, dtype=np.int64))
    for number, key in enumerate(keys):
        if number:
            grid.place = np.multiply(grid.place, key.width, dtype=np.int64)
            grid.place += key.numbers
        if key.first:
            grid.place = grid.place - key.first
        grid.size *= key.width
        grid.sides.append((key.first, key.width))
        if grid.size > _SPARSE * rows + _ROOM:
            found, grid.place = np.unique(grid.place, return_inverse=True)
            grid.size, grid.merged = len(found), True
    return grid


def _keys_at(keys: Sequence[Key], grid: _Grid, places: Numbers) -> list[Numbers]:
    """Return for each key the numbers of these places."""
    if grid.merged:
        an_event = np.empty(grid.size, dtype=np.int64)
        an_event[grid.place] = np.arange(len(grid.place))
        some = an_event[places]
        return [key.numbers[some] for key in keys]
    found, rest = list[Numbers](), places
    for first, width in reversed(grid.sides):
        rest, number = np.divmod(rest, width)
        found.insert(0, number + first)
    return found


def _present(keys: Sequence[Key], grid: _Grid, counts: Numbers, **measures: Numbers) -> Cells:
    """Leave out the places without events."""
    present = np.flatnonzero(counts)
    return Cells(
        keys=_keys_at(keys, grid, present),
        counts=counts[present],
        **{name: measure[present] for name, measure in measures.items()},
    )
