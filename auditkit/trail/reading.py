"""Reading the wanted events of a snapshot in order, segments beside each other and the queue's tail with them."""

import heapq
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from functools import lru_cache, partial
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TypeVar

import polars as pl
from msgspec.structs import replace

from auditkit.errors import InvalidQueryError
from auditkit.query import in_range, text_out
from auditkit.query.frames import plain_type
from auditkit.store.files import SegmentFiles
from auditkit.text import size
from auditkit.trail.decoded import Events, frame_of
from auditkit.trail.decoding import events_of
from auditkit.trail.snapshot import VISIBLE_BY, visible
from auditkit.trail.wanting import Stretch, Wanted, stretches

_ORDER = ("ts", "seq")
_AHEAD = 2
"""How many pieces of work per thread may wait to be taken."""
_MOST_AT_ONCE = 64
_FEW_BATCHES = 16
"""So many are decoded by the thread that asks, and so are single events: that is mostly work of Python's."""
FEW_ROWS = 200_000
"""So many events always fit."""
MOST_SHARE = 0.5
_CELL_BYTES = 24
"""What a column takes of an event in a frame, generously."""
_T = TypeVar("_T")
_R = TypeVar("_R")


def events_in_order(
    files: SegmentFiles, wanted: Wanted, *, limit: int | None = None, descending: bool = False
) -> pl.DataFrame:
    """Return the wanted events ordered by (ts, seq), or the first so many of them; perhaps with more columns."""
    chosen = stretches(wanted.snapshot, wanted.window, own=wanted.own)
    if limit is None and len(chosen) < 2 and not wanted.snapshot.tail.height:
        reading = wanted
    else:
        reading = replace(wanted, columns=list(dict.fromkeys([*wanted.columns, *_ORDER])))
    tail = events_of_tail(reading)
    if limit is not None:
        return _first(files, chosen, reading, tail, limit, descending=descending)
    if not (reading.conditions or reading.hashes):
        _check_fits(sum(stretch.rows for stretch in chosen), len(reading.columns))
    events = _together(_fitting(_read(files, reading, chosen)), tail)
    if wanted.snapshot.tail.height or not _are_in_order(chosen):
        events = events.sort(_ORDER)
    return events.reverse() if descending else events


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
        seen = None if at_once > 1 else _glimpse(wanted, files, group[0], limit, descending=descending)
        read = _together(_read(files, wanted, group), events) if seen is None else _joined(seen, events)
        events = read.sort(_ORDER, descending=descending).head(limit)
        at_once = min(2 * at_once, _MOST_AT_ONCE)
    return events


def _read(files: SegmentFiles, wanted: Wanted, chosen: Sequence[Stretch]) -> Iterator[list[Events]]:
    """Yield the wanted events of each stretch, in order."""
    work = partial(events_of, wanted, files)
    if wanted.hashes or sum(len(stretch.numbers) for stretch in chosen) <= _FEW_BATCHES:
        return map(work, chosen)
    return side_by_side(work, chosen)


def _glimpse(
    wanted: Wanted, files: SegmentFiles, stretch: Stretch, limit: int, *, descending: bool
) -> pl.DataFrame | None:
    """Return the first wanted events of one batch without Arrow, `None` where it takes Arrow.

    To load that takes longer than a few events take to be read.
    """
    if wanted.hashes:
        return None
    columns = {*wanted.columns, *VISIBLE_BY, *(condition.column for condition in wanted.conditions)}
    events = files.open(stretch.row).frame(stretch.numbers[0], columns)
    if events is None:
        return None
    if not wanted.takes_all_of(stretch):
        events = _shown(wanted, events)
    first = events.tail(limit) if descending else events.head(limit)  # a batch is in order
    return text_out(first.select(wanted.columns))


def events_of_tail(wanted: Wanted) -> pl.DataFrame:
    """Return the wanted events of the queue's tail, in the order of their seqs."""
    tail = wanted.snapshot.tail
    if not tail.height:
        schema = tail.schema
        return _nothing(tuple((name, schema[name]) for name in wanted.columns))
    return text_out(_shown(wanted, tail).select(wanted.columns))


def _shown(wanted: Wanted, events: pl.DataFrame) -> pl.DataFrame:
    """Return the wanted ones of events with the stored schema."""
    inside = in_range(wanted.window)
    conditions = [condition.expression for condition in wanted.conditions]
    return events.filter(
        *([] if inside is None else [inside]), *visible(wanted.snapshot, own=wanted.own), *conditions
    )


@lru_cache(maxsize=16)
def _nothing(columns: tuple[tuple[str, pl.DataType], ...]) -> pl.DataFrame:
    return pl.DataFrame(schema={name: plain_type(dtype) for name, dtype in columns})


def side_by_side(work: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """Yield what `work` makes of each item, in order, a few at a time and no further ahead than that."""
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


def _together(found: Iterable[list[Events]], others: pl.DataFrame) -> pl.DataFrame:
    """Return all events as one frame."""
    events = list(chain.from_iterable(found))
    return _joined(frame_of(events), others) if events else others


def _joined(events: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([events, others]) if others.height else events


def _fitting(
    found: Iterable[list[Events]],
) -> Iterator[list[Events]]:
    """Pass events on while all of them together fit into memory."""
    rows = 0
    for pieces in found:
        for events in pieces:
            rows += events.batch.num_rows
            _check_fits(rows, events.batch.num_columns)
        yield pieces


def _check_fits(rows: int, columns: int) -> None:
    """Refuse what would take more than `MOST_SHARE` of the memory that is there."""
    if rows < FEW_ROWS:
        return
    needed, available = rows * columns * _CELL_BYTES, _available_bytes()
    if needed > available * MOST_SHARE:
        reason = f"would take about {size(needed)} of memory, of which {size(available)} are there"
        error = InvalidQueryError("range", f"{rows:,} events", reason)
        error.add_note("take fewer columns, a narrower window or limit=..., or go through them with scan()")
        raise error


def _available_bytes() -> int:
    """Return how much memory Linux can give without taking any from a process."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _are_in_order(chosen: Sequence[Stretch]) -> bool:
    return all(one.max_ts_us < other.min_ts_us for one, other in pairwise(chosen))
