"""Reading the events of a snapshot: which record batches may hold them, decoded side by side.

The catalog chooses segments and record batches; where single values are asked for, filters in the segments choose
among these.  Nothing is decoded that cannot be asked for, and text leaves as `String`.
"""

import heapq
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from auditkit.event import OWN_SOURCE
from auditkit.query import in_range, text_out
from auditkit.store.filters import FILTERED_COLUMNS, hashes
from auditkit.store.reading import SegmentFiles
from auditkit.store.records import SegmentRow
from auditkit.timerange import TimeRange
from auditkit.trail.snapshot import Snapshot, visible
from auditkit.where import Condition

_ORDER = ("ts", "seq")
_AHEAD = 2
"""How many pieces of work per thread may wait to be taken."""
_MOST_AT_ONCE = 64
_KEPT = "\0kept"
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Consecutive record batches of one segment that may hold visible events of a window."""

    row: SegmentRow
    numbers: range
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is read of the stretches: the columns, and for which events."""

    snapshot: Snapshot
    window: TimeRange
    own: bool
    columns: Collection[str]
    conditions: Sequence[Condition] = ()
    hashes: Mapping[str, Any]
    """For columns with filters, the hashes of the values of which an event must have one."""

    def batches(self, files: SegmentFiles, stretch: Stretch) -> list[pa.RecordBatch]:
        """Return the events of a stretch; text is plain.  Polars is used only where there are conditions."""
        segment = files.open(stretch.row)
        numbers: Sequence[int] = stretch.numbers
        if self.hashes:
            numbers = [number for number in segment.candidates(self.hashes) if number in stretch.numbers]
        looked_at = self._looked_at(stretch)
        tables: dict[int, Any] = {}
        if self.conditions and not self.hashes:
            # Few events are expected to remain: the other columns are decoded only where there are some.
            first = segment.batches(numbers, looked_at)
            numbers = [
                number
                for number, batch in zip(numbers, first, strict=True)
                if self._kept(stretch, batch, tables).num_rows
            ]
        found = []
        for batch in segment.batches(numbers, looked_at.union(self.columns)) if numbers else ():
            kept = self._kept(stretch, batch, tables)
            if kept.num_rows:
                found.append(_plain(kept.select(list(self.columns))))
        return found

    def _looked_at(self, stretch: Stretch) -> set[str]:
        """Return the columns that say which events are wanted."""
        return {
            *(() if stretch.inside else ("ts",)),
            *(("seq", "ts", "source") if stretch.hides else ()),
            *(condition.column for condition in self.conditions),
        }

    def _kept(self, stretch: Stretch, batch: pa.RecordBatch, tables: dict[int, Any]) -> pa.RecordBatch:
        if not stretch.inside:
            batch = _sliced(batch, self.window)
        masks = [_visible(batch, self.snapshot, own=self.own)] if stretch.hides else []
        masks += [
            _holds(condition, batch, tables, number) for number, condition in enumerate(self.conditions)
        ]
        return batch.filter(pa.array(np.logical_and.reduce(masks))) if masks else batch


def wanted(
    snapshot: Snapshot,
    window: TimeRange,
    *,
    own: bool,
    columns: Collection[str],
    conditions: Sequence[Condition] = (),
    texts: Mapping[str, Sequence[str]] | None = None,
) -> Wanted:
    """Return what to read: events for which the conditions hold, of those that may hold one of the `texts`."""
    asked = dict(texts or {})
    asked.update((c.column, c.texts) for c in conditions if c.texts is not None)
    return Wanted(
        snapshot=snapshot,
        window=window,
        own=own,
        columns=columns,
        conditions=conditions,
        hashes={
            column: hashes(pl.Series(values, dtype=pl.String()))
            for column, values in asked.items()
            if column in FILTERED_COLUMNS
        },
    )


def events_in_order(
    files: SegmentFiles, wanted: Wanted, *, limit: int | None = None, descending: bool = False
) -> pl.DataFrame:
    """Return the wanted events ordered by (ts, seq), or the first so many of them."""
    chosen = stretches(wanted.snapshot, wanted.window, own=wanted.own)
    if limit is None and len(chosen) < 2 and not wanted.snapshot.tail.height:
        reading = wanted
    else:
        reading = replace(wanted, columns=list(dict.fromkeys([*wanted.columns, *_ORDER])))
    tail = _of_tail(reading)
    if limit is not None:
        events = _first(files, chosen, reading, tail, limit, descending=descending)
    else:
        frames = side_by_side(partial(reading.batches, files), chosen)
        events = pl.concat([*(frame for batches in frames for frame in _frames(batches)), tail])
        if not _are_in_order(chosen, tail):
            events = events.sort(_ORDER)
        events = events.reverse() if descending else events
    return events.select(wanted.columns)


def _first(
    files: SegmentFiles,
    chosen: Sequence[Stretch],
    wanted: Wanted,
    tail: pl.DataFrame,
    limit: int,
    *,
    descending: bool,
) -> pl.DataFrame:
    """Read batch by batch from one end until no other can hold one of the first events."""

    def nearest(stretch: Stretch) -> int:
        return stretch.max_ts_us if descending else stretch.min_ts_us

    batches = heapq.merge(
        *(stretch.singly(descending=descending) for stretch in chosen), key=nearest, reverse=descending
    )
    events = tail.sort(_ORDER, descending=descending).head(limit)
    at_once = 1
    while group := list(islice(batches, at_once)):
        if events.height >= limit:
            if limit == 0:
                break
            last = int(events.get_column("ts").to_physical()[-1])
            group = [one for one in group if (nearest(one) >= last if descending else nearest(one) <= last)]
            if not group:
                break
        frames = side_by_side(partial(wanted.batches, files), group)
        read = [frame for found in frames for frame in _frames(found)]
        events = pl.concat([events, *read]).sort(_ORDER, descending=descending).head(limit)
        at_once = min(2 * at_once, _MOST_AT_ONCE)
    return events


def _of_tail(wanted: Wanted) -> pl.DataFrame:
    """Return the wanted events of the queue's tail, in the order of their seqs."""
    tail = wanted.snapshot.tail
    if tail.height:
        inside = in_range(wanted.window)
        conditions = [condition.expression for condition in wanted.conditions]
        shown = visible(wanted.snapshot, own=wanted.own)
        tail = tail.filter([*([] if inside is None else [inside]), *shown, *conditions])
    return text_out(tail.select(wanted.columns))


def side_by_side(work: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """Yield what `work` makes of each item, in order, a few at a time and no further ahead than that."""
    threads = min(len(os.sched_getaffinity(0)), len(items))
    if threads < 2:
        yield from map(work, items)
        return
    waiting: deque[Future[_R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="auditkit-read")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _frames(batches: Sequence[pa.RecordBatch]) -> list[pl.DataFrame]:
    if not batches:
        return []
    frame = pl.from_arrow(pa.Table.from_batches(batches), rechunk=False)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 -- a table becomes a frame
    return [frame]


def _are_in_order(chosen: Sequence[Stretch], tail: pl.DataFrame) -> bool:
    return not tail.height and all(one.max_ts_us < other.min_ts_us for one, other in pairwise(chosen))


def _sliced(batch: pa.RecordBatch, window: TimeRange) -> pa.RecordBatch:
    """Return the events inside the window; a batch is in order of time."""
    stamps = batch.column("ts").cast(pa.int64()).to_numpy()
    first = 0 if window.start_us is None else int(np.searchsorted(stamps, window.start_us))
    end = len(stamps) if window.end_us is None else int(np.searchsorted(stamps, window.end_us))
    return batch.slice(first, max(0, end - first))


def _visible(batch: pa.RecordBatch, snapshot: Snapshot, *, own: bool) -> Any:
    """Say which events a view shows, as `snapshot.visible` does."""
    source = batch.column("source")
    is_own = pc.fill_null(pc.equal(source.dictionary_decode(), OWN_SOURCE), fill_value=False)
    shown = pc.less(batch.column("seq"), pa.scalar(snapshot.as_of, pa.uint64()))
    if snapshot.cutoff_us is not None:
        kept = pc.greater_equal(batch.column("ts").cast(pa.int64()), snapshot.cutoff_us)
        shown = pc.and_(shown, pc.or_(kept, is_own))
    if not own:
        shown = pc.and_(shown, pc.invert(is_own))
    return shown.to_numpy(zero_copy_only=False)


def _holds(condition: Condition, batch: pa.RecordBatch, tables: dict[int, Any], number: int) -> Any:
    """Say for which events a condition holds; for dictionaries it is asked once for each of their values."""
    column = batch.column(condition.column)
    if not pa.types.is_dictionary(column.type):
        return _asked(condition, column)
    if number not in tables:
        values = pa.concat_arrays([column.dictionary, pa.nulls(1, column.dictionary.type)])
        tables[number] = _asked(condition, values)
    return tables[number][pc.fill_null(column.indices, len(column.dictionary)).to_numpy()]


def _asked(condition: Condition, values: pa.Array) -> Any:
    frame = pl.DataFrame({condition.column: pl.Series(values)})
    return frame.with_columns(condition.expression.alias(_KEPT)).get_column(_KEPT).to_numpy()


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with dictionaries as text."""
    columns = [
        column.cast(pa.large_string()) if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
