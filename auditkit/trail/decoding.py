"""What is read of a snapshot's segments, and decoding it: which record batches, which columns, which events.

The catalog chooses segments and record batches; where single values are asked for, filters in the segments choose
among these.  Conditions on dictionaries are asked once for each of their values, and text is looked up only for the
events that remain.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from auditkit.arrays import text_of
from auditkit.event import OWN_SOURCE
from auditkit.store.filters import FILTERED_COLUMNS, hashes
from auditkit.store.reading import OpenSegment, SegmentFiles
from auditkit.store.records import SegmentRow
from auditkit.timerange import TimeRange
from auditkit.trail.decoded import Decoded, Events, Part, numbers_of, places_of, series_of
from auditkit.trail.snapshot import Snapshot
from auditkit.where import Condition

_KEPT = "\0kept"


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
        return self.row.parts[self.numbers[0]].min_ts_us

    @property
    def max_ts_us(self) -> int:
        """The latest time of an event."""
        return self.row.parts[self.numbers[-1]].max_ts_us

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
        parts = row.parts
        numbers = range(len(parts))
        if not inside:
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
    spread: bool = False
    """Whether the columns of a batch are decoded beside each other, because stretches are not."""

    def decoded(self, segment: OpenSegment, stretch: Stretch) -> Decoded:
        """Decode what may be wanted of a stretch; Polars is used only where there are conditions."""
        numbers: Sequence[int] = stretch.numbers
        if self.hashes:
            numbers = [number for number in segment.candidates(self.hashes) if number in stretch.numbers]
        looked_at = self.looked_at(stretch)
        tables: dict[int, Any] = {}
        if self.conditions and not self.hashes:
            # Few events are expected to remain: the other columns are decoded only where there are some.
            first = segment.batches(numbers, looked_at, spread=self.spread)
            numbers = [
                number
                for number, batch in zip(numbers, first, strict=True)
                if self._chosen(number, stretch, batch, tables) is not None
            ]
        columns = looked_at.union(self.columns)
        read = segment.batches(numbers, columns, spread=self.spread) if numbers else ()
        if self.takes_all_of(stretch):
            return Decoded(list(self.columns), [Part(numbers[0], 0, pa.concat_batches(read))], segment.texts)
        chosen = (
            self._chosen(number, stretch, batch, tables) for number, batch in zip(numbers, read, strict=True)
        )
        return Decoded(list(self.columns), [part for part in chosen if part is not None], segment.texts)

    def takes_all_of(self, stretch: Stretch) -> bool:
        """Whether each event of a stretch is wanted."""
        return stretch.inside and not (stretch.hides or self.conditions or self.hashes)

    def events(self, files: SegmentFiles, stretch: Stretch) -> list[Events]:
        """Return the wanted events of a stretch."""
        return self.decoded(files.open(stretch.row), stretch).events()

    def looked_at(self, stretch: Stretch) -> set[str]:
        """Return the columns that say which events are wanted."""
        return {
            *(() if stretch.inside else ("ts",)),
            *(("seq", "ts", "source") if stretch.hides else ()),
            *(condition.column for condition in self.conditions),
        }

    def _chosen(
        self, number: int, stretch: Stretch, batch: pa.RecordBatch, tables: dict[int, Any]
    ) -> Part | None:
        """Return the part of a batch in which the wanted events lie, `None` where there are none."""
        begin = 0
        if not stretch.inside:
            begin, end = _borders(batch, self.window)
            batch = batch.slice(begin, end - begin)
        masks = [_visible(batch, self.snapshot, own=self.own)] if stretch.hides else []
        masks += [_holds(condition, batch, tables, place) for place, condition in enumerate(self.conditions)]
        if not masks:
            return Part(number, begin, batch) if batch.num_rows else None
        mask = np.logical_and.reduce(masks)
        found = np.flatnonzero(mask)
        if not len(found):
            return None
        first, last = int(found[0]), int(found[-1])
        batch, mask = batch.slice(first, last + 1 - first), mask[first : last + 1]
        return Part(number, begin + first, batch, None if len(found) == len(mask) else mask)


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
            column: hashes(pl.Series(list(values), dtype=pl.String()))
            for column, values in asked.items()
            if column in FILTERED_COLUMNS
        },
    )


def _borders(batch: pa.RecordBatch, window: TimeRange) -> tuple[int, int]:
    """Return where the events inside the window begin and end; a batch is in order of time."""
    stamps, _ = numbers_of(batch.column("ts"), None)
    first = 0 if window.start_us is None else int(np.searchsorted(stamps, window.start_us))
    end = len(stamps) if window.end_us is None else int(np.searchsorted(stamps, window.end_us))
    return first, max(first, end)


def _visible(batch: pa.RecordBatch, snapshot: Snapshot, *, own: bool) -> Any:
    """Say which events a view shows, as `snapshot.visible` does."""
    source = batch.column("source")
    is_own = _looked_up(
        source, np.array([value == OWN_SOURCE for value in [*source.dictionary.to_pylist(), None]])
    )
    seqs, _ = numbers_of(batch.column("seq"), None)
    shown = seqs < snapshot.as_of
    if snapshot.cutoff_us is not None:
        stamps, _ = numbers_of(batch.column("ts"), None)
        shown &= (stamps >= snapshot.cutoff_us) | is_own
    return shown if own else shown & ~is_own


def _holds(condition: Condition, batch: pa.RecordBatch, tables: dict[int, Any], number: int) -> Any:
    """Say for which events a condition holds; for dictionaries it is asked once for each of their values."""
    column = batch.column(condition.column)
    if not pa.types.is_dictionary(column.type):
        return _asked(condition, column)
    if number not in tables and condition.texts is not None:
        tables[number] = np.zeros(len(column.dictionary) + 1, dtype=bool)
        tables[number][_found(column.dictionary, condition.texts)] = True
    elif number not in tables:
        values = pa.concat_arrays([column.dictionary, pa.nulls(1, column.dictionary.type)])
        tables[number] = _asked(condition, values)
    return _looked_up(column, tables[number])


def _looked_up(column: pa.DictionaryArray, table: Any) -> Any:
    """Return for each event what `table` says of its value; the last entry is for null."""
    return table[places_of(column.indices, len(table) - 1)]


def _asked(condition: Condition, values: pa.Array) -> Any:
    frame = series_of(values).alias(condition.column).to_frame()
    return frame.with_columns(condition.expression.alias(_KEPT)).get_column(_KEPT).to_numpy()


def _found(dictionary: pa.Array, texts: Collection[str]) -> list[int]:
    """Return the codes of those of the texts that a dictionary has."""
    offsets, data = text_of(dictionary)
    text = b"" if data is None else data.to_pybytes()
    codes = []
    for wanted_text in texts:
        if not wanted_text:
            codes += np.flatnonzero(np.diff(offsets) == 0).tolist()
            continue
        needle, at = wanted_text.encode(), -1
        while (at := text.find(needle, at + 1)) >= 0:
            code = int(np.searchsorted(offsets, at, side="right")) - 1
            if offsets[code] == at and offsets[code + 1] - at == len(needle):
                codes.append(code)
                break
    return codes
