"""The scan: a plan of what is read of a trail's segments, and its execution.  The only way to events in segments.

A plan is a plain value: segments, record batches, columns, conditions and what the view shows.  It opens no file and
can be pickled, so that other processes may run parts of it.  Executing reads the record batches that Bloom filters
leave; conditions are evaluated on the columns they need before the other columns are read, and on dictionaries once for
each value.  Text of dictionaries stays codes until a frame is made of it.
"""

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent import futures
from itertools import accumulate, pairwise
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from auditkit.arrow import Numbers, codes_of, flags, series_of, to_arrow, to_numpy
from auditkit.retention.visibility import Tables, Visibility
from auditkit.store import bloom
from auditkit.store.files import OpenSegment, SegmentFiles
from auditkit.store.records import BatchInfo, SegmentRow
from auditkit.timerange import TimeRange
from auditkit.where import Condition

_AHEAD = 2
"""How many pieces of work per thread may wait to be taken."""
_MOST_SLICES = 64
"""So many runs of wanted events are cut out of a record batch one by one; more of them are worth Arrow's filter."""
_FEW_BATCHES = 16
"""So many record batches are read by the calling thread, sooner than others have started."""
_T = TypeVar("_T")
_R = TypeVar("_R")


class BatchRange(Struct, frozen=True, kw_only=True):
    """Record batches of one segment that may hold events of a scan."""

    row: SegmentRow
    numbers: Sequence[int]
    """Which of them, ascending."""
    inside: bool
    """Whether all their events lie in the window."""
    shown_by: frozenset[str]
    """The columns that tell which of them the view shows; none where it shows all."""

    @property
    def is_whole(self) -> bool:
        """Whether these are all record batches of the segment, of which the catalog's row says the rest."""
        return len(self.numbers) == self.row.batch_count

    @property
    def min_ts_us(self) -> int:
        """The earliest time of an event."""
        return self.row.min_ts_us if self.is_whole else self.row.parts[self.numbers[0]].min_ts_us

    @property
    def max_ts_us(self) -> int:
        """The latest time of an event."""
        return self.row.max_ts_us if self.is_whole else self.row.parts[self.numbers[-1]].max_ts_us

    def bound(self, column: str, *, descending: bool) -> int:
        """Return what no `ts` or `seq` of the events comes before, or with `descending` after."""
        if column == "seq" and self.is_whole:
            return self.row.last_seq if descending else self.row.first_seq
        if column == "seq":
            parts = [self.row.parts[number] for number in self.numbers]
            return max(p.max_seq for p in parts) if descending else min(p.min_seq for p in parts)
        return self.max_ts_us if descending else self.min_ts_us

    @property
    def rows(self) -> int:
        """The number of events, wanted or not."""
        if self.is_whole:
            return self.row.rows
        return sum(self.row.parts[number].rows for number in self.numbers)

    def singly(self) -> "list[BatchRange]":
        """Return the record batches one by one."""
        return [replace(self, numbers=(number,)) for number in self.numbers]


class ScanPlan(Struct, frozen=True, kw_only=True):
    """What is read: ranges of record batches, columns, and which events of them are wanted."""

    window: TimeRange
    visibility: Visibility
    columns: tuple[str, ...]
    conditions: Sequence[Condition]
    values: Mapping[str, Numbers]
    """For columns with Bloom filters, the hashes of the values of which an event must have one."""
    ranges: Sequence[BatchRange]
    """Earliest first."""

    @property
    def rows(self) -> int:
        """The number of events in the ranges, wanted or not."""
        return sum(one.rows for one in self.ranges)

    def takes_all_of(self, part: BatchRange) -> bool:
        """Whether each event of a range is wanted."""
        return part.inside and not (part.shown_by or self.conditions or self.values)

    def predicate_columns(self, part: BatchRange) -> frozenset[str]:
        """Return the columns that tell which events of a range are wanted."""
        window = () if part.inside else ("ts",)
        return part.shown_by.union(window, *(condition.columns for condition in self.conditions))


def plan_scan(
    segments: Sequence[SegmentRow],
    window: TimeRange,
    visibility: Visibility,
    columns: Collection[str],
    conditions: Sequence[Condition] = (),
    texts: Mapping[str, Collection[str]] | None = None,
) -> ScanPlan:
    """Plan to read `columns` of the visible events of a window for which all conditions hold.

    `texts` gives, for some columns, the only values that an event may have: record batches without any of them are
    left out, and other events of those that remain are not.  Opens no file.
    """
    asked = {**(texts or {}), **{c.columns[0]: c.texts for c in conditions if c.texts is not None}}
    ranges = [_range(row, window, visibility) for row in segments]
    return ScanPlan(
        window=window,
        visibility=visibility,
        columns=tuple(columns) or ("seq",),
        conditions=conditions,
        values={
            column: bloom.hashes(pl.Series(list(values), dtype=pl.String()))
            for column, values in asked.items()
            if column in bloom.FILTERED_COLUMNS
        },
        ranges=sorted((one for one in ranges if one is not None), key=lambda one: one.min_ts_us),
    )


def _range(row: SegmentRow, window: TimeRange, visibility: Visibility) -> BatchRange | None:
    if not window.overlaps(row.min_ts_us, row.max_ts_us) or visibility.of(row) == "nothing":
        return None
    inside = window.contains(row.min_ts_us) and window.contains(row.max_ts_us)
    numbers: Sequence[int] = range(row.batch_count)
    shown_by = visibility.columns(row)
    if not inside or "seq" in shown_by:
        seqs, parts = range(visibility.first_seq, visibility.as_of), row.parts
        numbers = [n for n in numbers if _overlaps(parts[n], window, seqs)]
    return BatchRange(row=row, numbers=numbers, inside=inside, shown_by=shown_by) if numbers else None


def _overlaps(batch: BatchInfo, window: TimeRange, seqs: range) -> bool:
    """Return whether a record batch may hold events of a window with these seqs."""
    return window.overlaps(batch.min_ts_us, batch.max_ts_us) and (
        batch.min_seq < seqs.stop and batch.max_seq >= seqs.start
    )


class Chunk(Struct, frozen=True):
    """A record batch as it was read, without columns that have no value in the segment; `first` is the position of its
    first event in the segment."""

    first: int
    batch: pa.RecordBatch
    mask: Numbers | None
    """Which of its events are wanted, `None` for all."""

    def wanted(self) -> list[pa.RecordBatch]:
        """Return the wanted events."""
        if self.mask is None:
            return [self.batch]
        changes = (np.flatnonzero(self.mask[1:] != self.mask[:-1]) + 1).tolist()
        if len(changes) > 2 * _MOST_SLICES:
            return [self.batch.filter(flags(self.mask))]
        borders = [0, *changes, len(self.mask)]
        runs = list(pairwise(borders))[0 if self.mask[0] else 1 :: 2]
        return [self.batch.slice(begin, end - begin) for begin, end in runs]


def read_chunks(plan: ScanPlan, segment: OpenSegment, part: BatchRange) -> Iterator[Chunk]:
    """Yield the record batches of a range that hold wanted events, with the plan's columns and perhaps more."""
    numbers = part.numbers
    if plan.values:
        numbers = [number for number in segment.candidates(dict(plan.values)) if number in numbers]
    firsts = list(accumulate((batch.rows for batch in part.row.parts), initial=0))
    deciding = plan.predicate_columns(part)
    columns, tables = deciding.union(plan.columns), Tables()
    in_two_steps = bool(plan.conditions) and columns != deciding
    for number, batch in zip(
        numbers, segment.batches(numbers, deciding if in_two_steps else columns), strict=True
    ):
        mask = _mask(plan, part, segment, batch, tables) if deciding else None
        if mask is None or mask.all():
            mask = None
        elif not mask.any():
            continue
        if in_two_steps:
            (batch,) = segment.batches([number], columns)
        yield Chunk(firsts[number], batch, mask)


def joined_mask(chunks: Sequence[Chunk]) -> Numbers | None:
    """Return which events of chunks are wanted, `None` for all."""
    if all(chunk.mask is None for chunk in chunks):
        return None
    return np.concatenate([np.ones(len(c.batch), dtype=bool) if c.mask is None else c.mask for c in chunks])


def _mask(
    plan: ScanPlan, part: BatchRange, segment: OpenSegment, batch: pa.RecordBatch, tables: Tables
) -> Numbers:
    """Return which events are wanted."""
    mask = np.ones(len(batch), dtype=bool)
    if not part.inside:
        stamps, _ = to_numpy(batch.column("ts"))  # in order
        begin, end = plan.window.start_us, plan.window.end_us
        mask[: 0 if begin is None else np.searchsorted(stamps, begin)] = False
        mask[len(mask) if end is None else np.searchsorted(stamps, end) :] = False
    if part.shown_by:
        shown_by = {name: segment.column(batch, name) for name in part.shown_by}
        mask &= plan.visibility.mask(shown_by, len(batch), tables)
    for place, condition in enumerate(plan.conditions):
        mask &= _holds(condition, segment, batch, tables, place)
    return mask


def _holds(
    condition: Condition, segment: OpenSegment, batch: pa.RecordBatch, tables: Tables, place: int
) -> Numbers:
    """Return for which events a condition holds; for a dictionary it is evaluated once for each value."""
    column, *others = [segment.column(batch, name) for name in condition.columns]
    if others or not isinstance(column, pa.DictionaryArray):
        return condition.on(*map(series_of, (column, *others)))
    if place not in tables:
        tables[place] = condition.on(segment.text(condition.columns[0], column.dictionary))
    return tables[place][codes_of(column)]


class Events(Struct, frozen=True):
    """Wanted events of one segment on their way into a frame: codes, and the text of each code."""

    batch: pa.RecordBatch
    texts: Mapping[str, pl.Series]


def read_events(plan: ScanPlan, files: SegmentFiles, part: BatchRange) -> list[Events]:
    """Return the wanted events of a range."""
    with files.reading(part.row) as segment:
        pieces = [piece for chunk in read_chunks(plan, segment, part) for piece in chunk.wanted()]
        if len(pieces) > 1:
            pieces = [pa.concat_batches(pieces)]
        return [_events(plan, segment, piece) for piece in pieces]


def _events(plan: ScanPlan, segment: OpenSegment, batch: pa.RecordBatch) -> Events:
    arrays, texts = [], {}
    for name in plan.columns:
        column = segment.column(batch, name)
        if isinstance(column, pa.DictionaryArray):
            texts[name] = segment.text(name, column.dictionary)
            column = to_arrow(codes_of(column).astype(np.uint32))
        arrays.append(column)
    return Events(pa.RecordBatch.from_arrays(arrays, names=list(plan.columns)), texts)


def frame_of(found: Sequence[Events]) -> pl.DataFrame:
    """Return events, of which there are some, as one frame with plain text; Polars takes them at once, as each call costs."""
    frame = pl.from_arrow(pa.Table.from_batches([events.batch for events in found]), rechunk=False)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 -- a table becomes a frame
    borders = list(pairwise(accumulate((len(events.batch) for events in found), initial=0)))
    for name in found[0].texts:
        codes = frame.get_column(name)
        texts = [
            events.texts[name][codes.slice(begin, end - begin)]
            for events, (begin, end) in zip(found, borders, strict=True)
        ]
        frame.replace_column(frame.get_column_index(name), pl.concat(texts).alias(name))
    return frame


def execute(plan: ScanPlan, files: SegmentFiles, ranges: Sequence[BatchRange]) -> Iterator[list[Events]]:
    """Yield the wanted events of each range, in their order."""

    def work(part: BatchRange) -> list[Events]:
        return read_events(plan, files, part)

    if sum(len(part.numbers) for part in ranges) <= _FEW_BATCHES:
        return map(work, ranges)
    return side_by_side(work, ranges)


def side_by_side(work: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """Yield what `work` makes of each item, in order, on as many threads as there are processors, little ahead."""
    threads = min(len(os.sched_getaffinity(0)), len(items))
    if threads < 2:
        yield from map(work, items)
        return
    waiting: deque[futures.Future[_R]] = deque()
    pool = futures.ThreadPoolExecutor(threads, thread_name_prefix="auditkit-read")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def everything(segments: Sequence[SegmentRow], columns: Collection[str], visibility: Visibility) -> ScanPlan:
    """Plan to read columns of all events of segments that a view shows."""
    return plan_scan(segments, TimeRange(start_us=None, end_us=None), visibility, columns)
