"""Groups of a trail's events, segment by segment: folded beside each other, merged into one frame.

For keys that are stored as dictionaries and measures that can be merged.  No event is looked at twice, none is kept, and
an answer is what `auditkit.query.group_by` says of the same events.
"""

import threading
from collections.abc import Sequence
from functools import partial
from itertools import count, islice, pairwise
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.ask.times import Buckets, intervals
from auditkit.event import DICTIONARY_COLUMNS
from auditkit.query import Aggregations, By
from auditkit.query.aggregates import Measures, parse_measures
from auditkit.query.answers import shown_starts
from auditkit.query.buckets import bucket_starts
from auditkit.query.cells import Cells, Gathering, Grid, Key, Runs, count_runs, fold
from auditkit.query.keys import parse_keys
from auditkit.store.files import SegmentFiles
from auditkit.timerange import Duration
from auditkit.trail.decoded import Decoded, numbers_of, places_of
from auditkit.trail.decoding import decode
from auditkit.trail.reading import events_of_tail, side_by_side
from auditkit.trail.wanting import Stretch, Wanted, stretches

_MOST_BUCKETS = 500_000
_ENOUGH = 500_000
"""So many events are worth a piece of their own."""

Numbers = Any
"""A numpy array."""


class Grouping(Struct, frozen=True, kw_only=True):
    """What to group by, and what to say of each group."""

    keys: Sequence[str]
    every: Duration | None
    measures: Measures
    tz: str

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        times = [] if self.every is None else ["ts"]
        values = ["value"] if self.measures.looks_at_values else []
        return [*self.keys, *times, *values] or ["seq"]


def plan_grouping(
    by: By, every: Duration | None, aggs: Aggregations, schema: pl.Schema, tz: str
) -> Grouping | None:
    """Return what to group by, or `None` where it takes more than numbers; errors are those of `group_by`."""
    times = [] if every is None else ["ts"]
    keys = parse_keys(by, schema, taken=times)
    measures = parse_measures(aggs, schema, taken=[*times, *keys])
    stored = all(key.meta.is_column() and name in DICTIONARY_COLUMNS for name, key in keys.items())
    if not (stored and measures.merges):
        return None
    return Grouping(keys=list(keys), every=every, measures=measures, tz=tz)


def grouped(files: SegmentFiles, grouping: Grouping, reading: Wanted) -> pl.DataFrame | None:
    """Return the finished groups, `None` where there are no events or more buckets than are worth counting."""
    span = reading.snapshot.span(reading.window).intersection(reading.window)
    assert span.start_us is not None  # noqa: S101 -- a span has both bounds
    assert span.end_us is not None  # noqa: S101 -- a span has both bounds
    if span.start_us >= span.end_us:
        return None
    buckets = None
    if grouping.every is not None:
        if (span.end_us - span.start_us) // grouping.every.shortest_us > _MOST_BUCKETS:
            return None
        starts = bucket_starts(grouping.every, grouping.tz, span.start_us, span.end_us - 1)
        buckets = Buckets.of(np.array(starts))
    sections = _sections(reading, grouping, buckets)
    work = partial(_of_stretch, files, grouping, reading, buckets)
    items = [(section, stretch) for section in sections for stretch in section.stretches]
    reads_numbers = grouping.measures.looks_at_values or not (buckets is None or buckets.are_marked)
    # Codes are decoded sooner than threads have taken turns.
    parts = side_by_side(work, items) if reads_numbers or reading.conditions else map(work, items)
    frames = []
    for section in sections:
        gathering = Gathering()
        for part in islice(parts, len(section.stretches)):
            if part is not None:
                gathering.add(part)
        if section.tail.height:
            gathering.add(_of_tail(section, grouping, buckets))
        if gathering.parts:
            frames.append(_finished(gathering, grouping, buckets, section.codes))
    return pl.concat(frames) if frames else None


class _Codes:
    """A number for each text of one key, the same in every segment; 0 is null."""

    def __init__(self) -> None:
        self._numbers: dict[str | None, int] = {None: 0}
        self._giving = threading.Lock()

    def of(self, texts: Sequence[str | None]) -> Numbers:
        """Return the numbers of texts."""
        with self._giving:
            numbers = self._numbers
            new = dict.fromkeys(text for text in texts if text not in numbers)
            numbers.update(zip(new, count(len(numbers)), strict=False))
            return np.fromiter(map(numbers.__getitem__, texts), dtype=np.int64, count=len(texts))

    def ranked(self) -> tuple[Numbers, pl.Series]:
        """Return for each number the place of its text among all of them, null last, and the texts in order."""
        texts = pl.Series(list(self._numbers), dtype=pl.String())
        order = texts.arg_sort(nulls_last=True)
        ranks = np.empty(len(texts), dtype=np.int64)
        ranks[order.to_numpy()] = np.arange(len(texts))
        return ranks, texts.gather(order)


class _Section(Struct, frozen=True, kw_only=True):
    """Stretches and events of the queue's tail that share no bucket with those of any other section."""

    stretches: Sequence[Stretch]
    tail: pl.DataFrame
    codes: Sequence[_Codes]
    """Those of each key."""


def _sections(reading: Wanted, grouping: Grouping, buckets: Buckets | None) -> list[_Section]:
    """Cut what is read where a bucket begins, but not into pieces of a few events: each becomes a piece of the answer."""
    groups, borders = [list[Stretch]()], []
    rows, reached = 0, 0
    for stretch in stretches(reading.snapshot, reading.window, own=reading.own):
        if buckets is not None:
            first, last = buckets.between(stretch.min_ts_us, stretch.max_ts_us)
            if rows >= _ENOUGH and first > reached:
                groups.append([])
                borders.append(buckets.starts[first])
                rows = 0
            reached = max(reached, last)
        groups[-1].append(stretch)
        rows += stretch.rows
    tail = events_of_tail(reading)
    if borders:
        tail = tail.sort("ts", maintain_order=True)
    cuts = [0, *(np.searchsorted(tail["ts"].to_physical(), borders) if borders else ()), tail.height]
    return [
        _Section(
            stretches=group,
            tail=tail.slice(first, end - first),
            codes=[_Codes() for _ in grouping.keys],
        )
        for group, (first, end) in zip(groups, pairwise(cuts), strict=True)
    ]


def _of_stretch(
    files: SegmentFiles,
    grouping: Grouping,
    reading: Wanted,
    buckets: Buckets | None,
    item: tuple[_Section, Stretch],
) -> Grid | Cells | None:
    section, stretch = item
    if buckets is not None and buckets.are_marked:
        columns = [name for name in reading.columns if name != "ts"]
        if not columns and reading.takes_all_of(stretch):
            return _of_catalog(stretch, buckets)
        reading = replace(reading, columns=columns or ["seq"])
    decoded = decode(reading, files.open(stretch.row), stretch)
    if not decoded.parts:
        return None
    mask = decoded.mask
    keys = [
        _key_of_codes(decoded, name, mask, given)
        for name, given in zip(grouping.keys, section.codes, strict=True)
    ]
    if buckets is not None:
        runs = _runs(decoded, stretch, buckets)
        if mask is None and not grouping.measures.looks_at_values and runs.are_long(keys):
            return count_runs(runs, keys)
        keys.insert(0, runs.key(mask))
    rows = decoded.rows if mask is None else int(mask.sum())
    if not grouping.measures.looks_at_values:
        return fold(keys, rows)
    return fold(keys, rows, grouping.measures.folded, *numbers_of(decoded.column("value")[0], mask))


def _of_catalog(stretch: Stretch, buckets: Buckets) -> Grid:
    """Count events of which nothing has to be read."""
    parts = stretch.row.parts
    runs = buckets.marked_runs(
        stretch.row, intervals(stretch, ((number, 0, parts[number].rows) for number in stretch.numbers))
    )
    return Grid([runs.side], {"count": runs.lengths})


def _runs(decoded: Decoded, stretch: Stretch, buckets: Buckets) -> Runs:
    """Return how many of the decoded events lie in each bucket."""
    if not buckets.are_marked:
        return buckets.runs(decoded)
    parts = ((part.number, part.begin, part.rows) for part in decoded.parts)
    return buckets.marked_runs(stretch.row, intervals(stretch, parts))


def _of_tail(section: _Section, grouping: Grouping, buckets: Buckets | None) -> Grid | Cells:
    tail = section.tail
    numbers = [
        given.of(tail[name].to_list()) for name, given in zip(grouping.keys, section.codes, strict=True)
    ]
    if buckets is not None:
        stamps = tail["ts"].to_physical().to_numpy()
        numbers.insert(0, np.searchsorted(buckets.starts, stamps, side="right") - 1)
    keys = [Key.bounded(found) for found in numbers]
    if not grouping.measures.looks_at_values:
        return fold(keys, tail.height)
    values = tail["value"]
    present = values.is_not_null().to_numpy()
    return fold(keys, tail.height, grouping.measures.folded, values.fill_null(0.0).to_numpy(), present)


def _finished(
    gathering: Gathering, grouping: Grouping, buckets: Buckets | None, codes: Sequence[_Codes]
) -> pl.DataFrame:
    """Return the groups of a section, in the order of their keys' texts."""
    ranked = [given.ranked() for given in codes]
    times = [] if buckets is None else [None]
    cells = gathering.listed([*times, *(ranks for ranks, _ in ranked)])
    columns = []
    if buckets is not None:
        columns.append(shown_starts(pl.Series(buckets.starts[cells.keys[0]]), grouping.tz))
    texts = zip(grouping.keys, ranked, cells.keys[len(times) :], strict=True)
    columns += [text.gather(pl.Series(places)).alias(name) for name, (_, text), places in texts]
    measured = grouping.measures.of_totals(cells.totals)
    return pl.DataFrame(columns).hstack(measured) if columns else measured


def _key_of_codes(decoded: Decoded, name: str, mask: Numbers, given: _Codes) -> Key:
    """Return the code of each event's text, the one behind the last for null."""
    codes, dictionary = decoded.column(name)
    assert dictionary is not None  # noqa: S101 -- only such columns are keys here
    side = given.of([*dictionary.to_pylist(), None])
    return Key(places_of(codes, len(dictionary), mask), side)
