"""Groups as cells: counting and measuring by numbers instead of values, in parts that can be put together.

Each event has for every key a number; events with the same numbers fall into one cell.  Parts of the events can be folded
apart from each other, and merging the cells of all parts gives what folding them at once would.  Sums are added in the
order of events and parts, so equal parts in equal order give equal sums.

Where most combinations of numbers occur, or there are few of them, cells are a `Grid`, arrays with a place for each
combination, and are added as they are.  Elsewhere they are a list of those that occur: `Cells`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from msgspec import Struct, field

Numbers = np.ndarray[Any, np.dtype[Any]]
Totals = Mapping[str, Numbers]
"""What is known of cells, by name: an array each.  Where `value_count` is 0, the others say nothing of values."""

_ROOM = 65_536
_LONG = 1_024
"""Runs of so many events are counted one by one: what numpy then works on stays near."""
_SPARSE = 8
"""Cells are a grid while that has at most so many places per event, or per cell of its parts."""
_PENDING = 1 << 20
"""So many entries of parts may wait to be merged."""
_STARTS = {"count": 0, "value_count": 0, "sum": 0.0, "min": np.inf, "max": -np.inf}
"""What is known of no events."""
_JOINS = {"count": np.add, "value_count": np.add, "sum": np.add, "min": np.minimum, "max": np.maximum}
"""How what is known of two parts becomes what is known of both, or of one more event."""


class Cells(Struct, frozen=True):
    """The cells that occur, each once: `keys` has an array of numbers for each key."""

    keys: Sequence[Numbers]
    totals: Totals

    @property
    def size(self) -> int:
        """How many entries are kept."""
        return len(self.totals["count"])

    def renumbered(self, tables: Sequence[Numbers | None]) -> "Cells":
        """Return the cells with the numbers that a table gives for those of a key, where there is one."""
        return Cells(_renumbered(self.keys, tables), self.totals)


class Grid(Struct, frozen=True):
    """A cell for each combination of the numbers in `sides`, one array for each key; so totals have a side for each.

    A side has no number twice, and may have them in any order.
    """

    sides: Sequence[Numbers]
    totals: Totals

    @classmethod
    def of(cls, sides: Sequence[Numbers], totals: Totals) -> "Grid":
        """Return a grid of totals that lie in one row."""
        shape = tuple(map(len, sides))
        return cls(sides, _each(totals, lambda found: found.reshape(shape)))

    @property
    def size(self) -> int:
        """How many entries are kept."""
        return self.totals["count"].size

    def renumbered(self, tables: Sequence[Numbers | None]) -> "Grid":
        """Return the grid with the numbers that a table gives for those of a key, where there is one."""
        return Grid(_renumbered(self.sides, tables), self.totals)

    def in_order(self) -> "Grid":
        """Return the grid with each side in order."""
        sides, totals = list(self.sides), self.totals
        for axis, side in enumerate(sides):
            if (side[1:] < side[:-1]).any():
                order = np.argsort(side)
                sides[axis], totals = side[order], _each(totals, partial(np.take, indices=order, axis=axis))
        return Grid(sides, totals)

    def listed(self) -> Cells:
        """Return the cells that occur, in the order of their keys."""
        grid = self.in_order()
        flat = _each(grid.totals, np.ravel)
        present = np.flatnonzero(flat["count"] != 0)
        keys, rest = list[Numbers](), present
        for side in reversed(grid.sides):
            rest, places = np.divmod(rest, len(side))
            keys.insert(0, side.take(places))
        return Cells(keys, _each(flat, partial(np.take, indices=present)))


class Key(Struct, frozen=True):
    """One key of events: the place of each one's number in a side."""

    places: Numbers
    side: Numbers

    @classmethod
    def bounded(cls, numbers: Numbers) -> "Key":
        """Return a key whose side goes from the smallest number to the largest."""
        first, last = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
        return cls(numbers - first if first else numbers, np.arange(first, last + 1))


class Runs(Struct, frozen=True):
    """One key of events that are in its order: `first` for as many of them as `lengths` begins with, and so on."""

    first: int
    lengths: Numbers

    @property
    def side(self) -> Numbers:
        """The numbers."""
        return np.arange(self.first, self.first + len(self.lengths))

    def key(self, mask: Numbers | None) -> Key:
        """Return the key of the events of a mask (`None`: of all)."""
        places = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return Key(places if mask is None else places[mask], self.side)

    def are_long(self, keys: Sequence[Key]) -> bool:
        """Whether counting each for itself is worth while."""
        rows, runs = int(self.lengths.sum()), len(self.lengths)
        return rows >= _LONG * runs and runs * prod(len(key.side) for key in keys) <= _SPARSE * rows + _ROOM


class Gathering(Struct):
    """Parts that come one after the other, merged now and then: what is kept grows with the cells, not with the parts."""

    parts: list[Grid | Cells] = field(default_factory=list)
    pending: int = 0

    def add(self, part: Grid | Cells) -> None:
        """Take the next part."""
        self.parts.append(part)
        self.pending += part.size
        if self.pending > _PENDING and self.pending > self.parts[0].size:
            self.parts = [merge(self.parts)]
            self.pending = 0

    def listed(self, tables: Sequence[Numbers | None]) -> Cells:
        """Return the cells of all parts, renumbered, in the order of their keys."""
        merged = merge([part.renumbered(tables) for part in self.parts])
        return merged.listed() if isinstance(merged, Grid) else merged


def count_runs(runs: Runs, keys: Sequence[Key]) -> Grid:
    """Return the cells of events whose first key comes in long runs: each is counted for itself."""
    layout = _layout(keys, int(runs.lengths.sum()))
    pieces = np.split(layout.places, np.cumsum(runs.lengths)[:-1])
    counts = np.concatenate([np.bincount(piece, minlength=layout.size) for piece in pieces])
    return Grid.of([runs.side, *(key.side for key in keys)], {"count": counts})


def fold(
    keys: Sequence[Key],
    rows: int,
    measures: Collection[str] = (),
    values: Numbers | None = None,
    present: Numbers | None = None,
) -> Grid | Cells:
    """Return the cells of `rows` events: how many, and `measures` of the values, where these are present."""
    layout = _layout(keys, rows)
    places, size = layout.places, layout.size
    if values is None:
        totals = {"count": np.bincount(places, minlength=size)}
    elif present is None:
        totals = _measured(places, size, values, measures)
        totals["value_count"] = totals["count"]
    else:
        # Each place is two, so that what lies in the array where there is no value goes to the first of them.
        places = np.multiply(places, 2, dtype=np.int64)
        places += present
        both = _measured(places, 2 * size, values, measures)
        totals = {name: found[1::2] for name, found in both.items()}
        totals["value_count"], totals["count"] = totals["count"], both["count"][0::2] + totals["count"]
    if not layout.merged:
        return Grid.of([key.side for key in keys], totals)
    return _occurring([key.side[key.places] for key in keys], layout, totals)


def merge(parts: Sequence[Grid | Cells]) -> Grid | Cells:
    """Return the cells of all parts together; where they are a list, in the order of their keys."""
    grids = [part.in_order() for part in parts if isinstance(part, Grid)]
    if len(grids) == len(parts):
        sides = [_hull(sides) for sides in zip(*(grid.sides for grid in grids), strict=True)]
        cells = sum(np.count_nonzero(grid.totals["count"]) for grid in grids)
        if prod(map(len, sides)) <= _SPARSE * cells + _ROOM:
            return _added(grids, sides)
    listed = [part.listed() if isinstance(part, Grid) else part for part in parts]
    keys = [np.concatenate(numbers) for numbers in zip(*(part.keys for part in listed), strict=True)]
    layout = _layout([Key.bounded(numbers) for numbers in keys], sum(part.size for part in listed))
    totals = {}
    for name in listed[0].totals:
        found = np.concatenate([part.totals[name] for part in listed])
        totals[name] = _joined(name, layout.places, layout.size, found)
    return _occurring(keys, layout, totals)


def _added(grids: Sequence[Grid], sides: Sequence[Numbers]) -> Grid:
    """Return a grid with these sides, without gaps, that has the cells of all."""
    shape = tuple(map(len, sides))
    totals = {name: _nothing(name, shape, found.dtype) for name, found in grids[0].totals.items()}
    for grid in grids:
        places = [mine - side[0] for mine, side in zip(grid.sides, sides, strict=True)]
        if all(place[-1] - place[0] < len(place) for place in places):
            at: Any = tuple(slice(place[0], place[-1] + 1) for place in places)
        else:
            at = np.ix_(*places)
        with _large_sums():
            for name, found in grid.totals.items():
                totals[name][at] = _JOINS[name](totals[name][at], found)
    return Grid(sides, totals)


def _hull(sides: Sequence[Numbers]) -> Numbers:
    """Return all numbers from the smallest to the largest of some sides that are in order."""
    return np.arange(min(side[0] for side in sides), max(side[-1] for side in sides) + 1)


def _joined(name: str, places: Numbers, size: int, found: Numbers) -> Numbers:
    """Return one of the totals of each place."""
    total = _nothing(name, size, found.dtype)
    with _large_sums():
        _JOINS[name].at(total, places, found)
    return total


def _large_sums() -> np.errstate:
    """Let sums be infinite, as Polars does, and NaN lie where there is no value."""
    return np.errstate(over="ignore", invalid="ignore")


def _nothing(name: str, shape: int | tuple[int, ...], dtype: Any) -> Numbers:
    return np.full(shape, _STARTS[name], dtype=dtype)


def _measured(places: Numbers, size: int, values: Numbers, measures: Collection[str]) -> dict[str, Numbers]:
    """Return how many events there are at each place, and the measures of their values."""
    totals = {"count": np.bincount(places, minlength=size)}
    places = places.astype(np.int64, copy=False)
    for name in measures:
        totals[name] = _joined(name, places, size, values)
    return totals


def _each(totals: Totals, change: Callable[[Numbers], Numbers]) -> Totals:
    return {name: change(found) for name, found in totals.items()}


def _renumbered(keys: Sequence[Numbers], tables: Sequence[Numbers | None]) -> list[Numbers]:
    return [key if table is None else table[key] for key, table in zip(keys, tables, strict=True)]


class _Layout(Struct):
    """A place for each combination of keys, in the order of the keys' places, and how many there are."""

    places: Numbers
    size: int = 1
    merged: bool = False
    """True once places were renumbered, so that a key does not follow from its place."""


def _layout(keys: Sequence[Key], rows: int) -> _Layout:
    """Return the place of each event, and how they are laid out."""
    layout = _Layout(keys[0].places if keys else np.zeros(rows, dtype=np.int64))
    for number, key in enumerate(keys):
        if number:
            layout.places = np.multiply(layout.places, len(key.side), dtype=np.int64)
            layout.places += key.places
        layout.size *= len(key.side)
        if layout.size > _SPARSE * rows + _ROOM:
            found, layout.places = np.unique(layout.places, return_inverse=True)
            layout.size, layout.merged = len(found), True
    return layout


def _occurring(keys: Sequence[Numbers], layout: _Layout, totals: Totals) -> Cells:
    """Return the cells that have events, in the order of their places; `keys` has the numbers of all events."""
    present = np.flatnonzero(totals["count"])
    an_event = np.empty(layout.size, dtype=np.int64)
    an_event[layout.places] = np.arange(len(layout.places))
    some = an_event[present]
    return Cells([numbers[some] for numbers in keys], _each(totals, partial(np.take, indices=present)))
