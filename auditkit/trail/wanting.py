"""What is read of a snapshot's segments: which record batches, which columns, and for which events.

The catalog chooses segments and record batches; where single values are asked for, filters in the segments choose
among these.  Nothing here opens a file.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.store import bloom
from auditkit.store.records import SegmentRow
from auditkit.timerange import TimeRange
from auditkit.trail.snapshot import VISIBLE_BY, Snapshot
from auditkit.where import Condition


class Stretch(Struct, frozen=True, kw_only=True):
    """Record batches of one segment that may hold visible events of a window."""

    row: SegmentRow
    numbers: Sequence[int]
    """Which of them, ascending."""
    inside: bool
    """Whether all their events lie in the window."""
    hides: bool
    """Whether the view does not show all of them."""

    @property
    def min_ts_us(self) -> int:
        """The earliest time of an event."""
        first = self.numbers[0]
        return self.row.parts[first].min_ts_us if first else self.row.min_ts_us

    @property
    def max_ts_us(self) -> int:
        """The latest time of an event."""
        last = self.numbers[-1]
        return self.row.parts[last].max_ts_us if last < self.row.batch_count - 1 else self.row.max_ts_us

    @property
    def rows(self) -> int:
        """The number of events, visible or not."""
        parts = self.row.parts
        return sum(parts[number].rows for number in self.numbers)

    def singly(self, *, descending: bool) -> "Iterator[Stretch]":
        """Yield the batches one by one, in order of time."""
        for number in reversed(self.numbers) if descending else self.numbers:
            yield replace(self, numbers=range(number, number + 1))


def stretches(snapshot: Snapshot, window: TimeRange, *, own: bool) -> list[Stretch]:
    """Return what may hold visible events of a window, earliest first."""
    found = []
    for row in snapshot.segments(window):
        needs = snapshot.needs(row, own=own)
        if needs is None:
            continue
        inside = window.contains(row.min_ts_us) and window.contains(row.max_ts_us)
        numbers = range(row.batch_count)
        if not inside:
            parts = row.parts
            overlapping = [n for n in numbers if window.overlaps(parts[n].min_ts_us, parts[n].max_ts_us)]
            if not overlapping:
                continue
            numbers = range(overlapping[0], overlapping[-1] + 1)  # batches are in order of time
        found.append(Stretch(row=row, numbers=numbers, inside=inside, hides=any(needs)))
    return sorted(found, key=lambda stretch: stretch.min_ts_us)


class Wanted(Struct, frozen=True, kw_only=True):
    """What is read of the stretches: the columns, and for which events."""

    snapshot: Snapshot
    window: TimeRange
    own: bool
    columns: Collection[str]
    conditions: Sequence[Condition] = ()
    hashes: Mapping[str, Any]
    """For columns with filters, the hashes of the values of which an event must have one."""

    def takes_all_of(self, stretch: Stretch) -> bool:
        """Whether each event of a stretch is wanted."""
        return stretch.inside and not (stretch.hides or self.conditions or self.hashes)

    def looked_at(self, stretch: Stretch) -> set[str]:
        """Return the columns that say which events are wanted."""
        return {
            *(() if stretch.inside else ("ts",)),
            *(VISIBLE_BY if stretch.hides else ()),
            *(condition.column for condition in self.conditions),
        }


def wanted(
    snapshot: Snapshot,
    window: TimeRange,
    *,
    own: bool,
    columns: Collection[str],
    conditions: Sequence[Condition] = (),
    texts: Mapping[str, Collection[str]] | None = None,
) -> Wanted:
    """Return what to read: events for which the conditions hold, of those that may hold one of the `texts`."""
    asked: dict[str, Collection[str]] = dict(texts or {})
    asked.update((c.column, c.texts) for c in conditions if c.texts is not None)
    return Wanted(
        snapshot=snapshot,
        window=window,
        own=own,
        columns=columns,
        conditions=conditions,
        hashes={
            column: bloom.hashes(pl.Series(list(values), dtype=pl.String()))
            for column, values in asked.items()
            if column in bloom.FILTERED_COLUMNS
        },
    )
