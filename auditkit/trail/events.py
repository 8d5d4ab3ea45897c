"""The events of a snapshot, from its segments and from the queue's tail: as frames in order, some of the first, or lazily.

Files are opened before the first event is given, so that no prune and no compaction takes one from under a reader.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, count, islice, pairwise
from typing import Any

import polars as pl
from msgspec import Struct
from msgspec.structs import replace
from polars.io.plugins import register_io_source

from auditkit.errors import AuditError, InvalidQueryError
from auditkit.event import OWN_SOURCE
from auditkit.memory import available_memory
from auditkit.query.frames import in_range, in_zone, plain_type, text_out, zoned_type
from auditkit.retention.policy import IS_OWN
from auditkit.retention.visibility import Visibility
from auditkit.store.files import SegmentFiles, held, retrying
from auditkit.store.scan import BatchRange, Events, ScanPlan, execute, frame_of, plan_scan
from auditkit.text import size
from auditkit.timerange import EVERYTHING, TimeRange
from auditkit.trail.snapshot import Snapshot
from auditkit.where import Condition, implied

_MOST_AT_ONCE = 64
FEW_ROWS = 200_000
"""So many events always fit into memory."""
MOST_SHARE = 0.5
_CELL_BYTES = 24
"""What a column takes of an event in a frame, generously."""


class Guard(Struct, kw_only=True):
    """What watches a scan that another library collects as a whole: it may not take all memory, and can be stopped."""

    name: str
    stopped: bool = False
    """Set by the thread that waits; the scan raises at its next frame."""
    failure: AuditError | None = None
    """What the scan raised, which the other library may not pass on."""

    def over(self, read: Callable[..., Iterator[pl.DataFrame]]) -> Callable[..., Iterator[pl.DataFrame]]:
        """Return `read`, watched: it raises where it was stopped, or where its events would not fit into memory."""

        def watched(*given: Any) -> Iterator[pl.DataFrame]:
            rows = 0
            try:
                for frame in read(*given):
                    rows += frame.height
                    if self.stopped:
                        raise InvalidQueryError(self.name, f"{rows:,} events", "stopped while reading them")
                    _check_fits(rows, frame.width, self.name)
                    yield frame
            except AuditError as exc:
                self.failure = exc
                raise

        return watched


def plan_events(
    snapshot: Snapshot,
    window: TimeRange,
    visibility: Visibility,
    columns: Collection[str],
    conditions: Sequence[Condition] = (),
    texts: Mapping[str, Collection[str]] | None = None,
) -> ScanPlan:
    """Plan to read what `visibility` shows of a snapshot; `refuse_pruned` is the caller's."""
    return plan_scan(snapshot.catalog.segments, window, visibility, columns, conditions, texts)


def frames(files: SegmentFiles, snapshot: Snapshot, plan: ScanPlan) -> Iterator[pl.DataFrame]:
    """Open the segments of a plan, and return its events frame by frame: segments in order of time, then the tail.

    Raises `FileNotFoundError` where a segment is gone since the snapshot.
    """
    segments = held(files, [part.row for part in plan.ranges])

    def read() -> Iterator[pl.DataFrame]:
        for found in execute(plan, files, plan.ranges):
            if found:
                yield frame_of(found)
        yield tail_events(snapshot, plan)
        segments.clear()

    return read()


def collected(files: SegmentFiles, snapshot: Snapshot, plan: ScanPlan) -> pl.DataFrame:
    """Return all events of a plan as one frame, in no particular order."""
    held_open = held(files, [part.row for part in plan.ranges])
    found = _fitting(execute(plan, files, plan.ranges), len(plan.columns))
    events = _together(found, tail_events(snapshot, plan))
    del held_open
    return events


def collected_own(files: SegmentFiles, snapshot: Snapshot) -> pl.DataFrame:
    """Return the trail's own events, with what `own_events` reads of them."""
    own = Condition(columns=("source",), expression=IS_OWN, texts=[OWN_SOURCE])
    segments = [row for row in snapshot.catalog.segments if row.own_rows]
    columns = ("seq", "action", "source", "attrs")
    plan = plan_scan(segments, EVERYTHING, snapshot.visibility(own=True), columns, [own])
    return collected(files, snapshot, plan)


def in_order(
    files: SegmentFiles,
    snapshot: Snapshot,
    plan: ScanPlan,
    *,
    by: Sequence[str] = ("ts", "seq"),
    limit: int | None = None,
    descending: bool = False,
) -> pl.DataFrame:
    """Return the events of a plan ordered by ts and seq, or by seq, or the first so many; perhaps with more columns."""
    ordered = by[0] == "ts" and all(one.max_ts_us < other.min_ts_us for one, other in pairwise(plan.ranges))
    if not ordered or snapshot.tail.height or limit is not None:
        plan = replace(plan, columns=tuple(dict.fromkeys([*plan.columns, *by])))
    if limit is not None:
        return _first(files, snapshot, plan, by, limit, descending=descending)
    if not (plan.conditions or plan.values):
        _check_fits(plan.rows, len(plan.columns))
    events = collected(files, snapshot, plan)
    if not ordered or snapshot.tail.height:
        events = events.sort(by)
    return events.reverse() if descending else events


def _first(
    files: SegmentFiles,
    snapshot: Snapshot,
    plan: ScanPlan,
    by: Sequence[str],
    limit: int,
    *,
    descending: bool,
) -> pl.DataFrame:
    """Read record batch by record batch from one end until no other can hold one of the first events."""

    def nearest(part: BatchRange) -> int:
        return part.bound(by[0], descending=descending)

    def first(events: pl.DataFrame) -> pl.DataFrame:
        return events.sort(by, descending=descending).head(limit)

    batches = _singly(plan.ranges, lambda part: -nearest(part) if descending else nearest(part))
    events = first(tail_events(snapshot, plan))
    at_once = 1
    while group := list(islice(batches, at_once)):
        if events.height >= limit:
            if limit == 0:
                break
            last = int(events.get_column(by[0]).to_physical()[-1])
            group = [one for one in group if (nearest(one) >= last if descending else nearest(one) <= last)]
            if not group:
                break
        events = first(_together(execute(plan, files, group), events))
        at_once = min(2 * at_once, _MOST_AT_ONCE)
    return events


def _singly(ranges: Sequence[BatchRange], key: Callable[[BatchRange], int]) -> Iterator[BatchRange]:
    """Yield the record batches of ranges one by one in the order of a key, looking into ranges as their turn comes."""
    waiting = [(key(part), number, part) for number, part in enumerate(ranges)]
    heapify(waiting)
    numbers = count(len(waiting))
    while waiting:
        _, _, part = heappop(waiting)
        if len(part.numbers) == 1:
            yield part
        else:
            for one in part.singly():
                heappush(waiting, (key(one), next(numbers), one))


def tail_events(snapshot: Snapshot, plan: ScanPlan) -> pl.DataFrame:
    """Return the events of the queue's tail that a plan wants, in the order of their seqs."""
    tail, schema = snapshot.tail, snapshot.tail.schema
    if not tail.height:
        return pl.DataFrame(schema={name: plain_type(schema[name]) for name in plan.columns})
    inside = in_range(plan.window)
    filters = [plan.visibility.expression, *(condition.expression for condition in plan.conditions)]
    return text_out(tail.filter(*filters, *([] if inside is None else [inside])).select(plan.columns))


def lazy(
    files: SegmentFiles,
    schema: Mapping[str, pl.DataType],
    window: TimeRange,
    take: Callable[[], Snapshot],
    see: Callable[[Snapshot], Visibility],
    *,
    tz: str = "UTC",
    retries: bool = True,
    guard: Guard | None = None,
) -> pl.LazyFrame:
    """Return what a snapshot shows as a `LazyFrame`, planned when it is collected, for what is asked of it by then.

    `take` takes the snapshot, anew where a file has gone since (with `retries`), and `see` says what of it is shown, in the zone `tz`.  Filters
    on `ts` and on single values choose record batches.  `guard` watches what they pass.  Text is `String`; the events
    are in no particular order.
    """

    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        chosen = list(schema) if columns is None else columns
        roots = [] if predicate is None else predicate.meta.root_names()
        needed = list(dict.fromkeys([*chosen, *roots])) or ["seq"]
        # With a limit Polars wants the first rows, and of these the ones for which the predicate holds.
        bounds = None if n_rows is not None or predicate is None else implied(predicate)
        within = window if bounds is None else window.intersection(bounds.window)
        texts = None if bounds is None else bounds.texts

        def begin() -> Iterator[pl.DataFrame]:
            snapshot = take()
            return frames(files, snapshot, plan_events(snapshot, within, see(snapshot), needed, texts=texts))

        left = n_rows
        try:
            for frame in retrying(begin) if retries else begin():
                if left is not None:
                    frame = frame.head(left)
                    left -= frame.height
                shown = in_zone(frame, tz)
                yield (shown if predicate is None else shown.filter(predicate)).select(chosen)
                if left == 0:
                    return
        except FileNotFoundError as exc:
            if not retries:
                raise
            error = AuditError(f"{exc.filename}: replaced while it was being read")
            error.add_note("collect the scan again")
            raise error from exc

    return register_io_source(
        batches if guard is None else guard.over(batches),
        schema={name: zoned_type(dtype, tz) for name, dtype in schema.items()},
        is_pure=True,
        explain_name="auditkit",
    )


def _together(found: Iterator[list[Events]], others: pl.DataFrame) -> pl.DataFrame:
    """Return all events as one frame."""
    events = list(chain.from_iterable(found))
    if not events:
        return others
    frame = frame_of(events)
    return pl.concat([frame, others]) if others.height else frame


def _fitting(found: Iterator[list[Events]], columns: int) -> Iterator[list[Events]]:
    """Pass events on while all of them together fit into memory."""
    rows = 0
    for pieces in found:
        rows += sum(len(events.batch) for events in pieces)
        _check_fits(rows, columns)
        yield pieces


def _check_fits(rows: int, columns: int, name: str = "range") -> None:
    """Refuse what would take more than `MOST_SHARE` of the memory that is there."""
    if rows < FEW_ROWS:
        return
    needed, available = rows * columns * _CELL_BYTES, available_memory()
    if needed > available * MOST_SHARE:
        reason = f"would take about {size(needed)} of memory, of which {size(available)} are there"
        error = InvalidQueryError(name, f"{rows:,} events", reason)
        error.add_note("take fewer columns, a narrower window or limit=..., or go through them with scan()")
        raise error
