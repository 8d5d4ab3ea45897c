"""Groups of a trail's events, segment by segment: folded beside each other, merged into one frame.

For keys that are stored as dictionaries and measures that can be merged.  No event is looked at twice, none is kept, and
an answer is what `auditkit.query.group_by` says of the same events.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from auditkit.event import DICTIONARY_COLUMNS
from auditkit.query import Aggregations, By
from auditkit.query.aggregates import Measures, parse_measures
from auditkit.query.answers import shown_starts
from auditkit.query.buckets import bucket_starts
from auditkit.query.cells import Cells, Key, Runs, count_runs, fold, merge
from auditkit.query.keys import parse_keys
from auditkit.store.reading import SegmentFiles
from auditkit.timerange import Duration
from auditkit.trail.decoded import Decoded, numbers_of
from auditkit.trail.decoding import Stretch, Wanted, stretches
from auditkit.trail.reading import events_of_tail, side_by_side
from auditkit.trail.times import Buckets, intervals

_MOST_BUCKETS = 500_000

Numbers = Any
"""A numpy array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
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
    chosen = stretches(reading.snapshot, reading.window, own=reading.own)
    codes = [_Codes() for _ in grouping.keys]
    work = partial(_of_stretch, files, grouping, reading, buckets, codes)
    parts = [part for part in side_by_side(work, chosen) if part is not None]
    tail = events_of_tail(reading)
    if tail.height:
        parts.append(_of_tail(tail, grouping, buckets, codes))
    return _finished(parts, grouping, buckets, codes) if parts else None


class _Codes:
    """A number for each text of one key, the same in every segment; 0 is null."""

    def __init__(self) -> None:
        self._numbers: dict[str | None, int] = {None: 0}
        self._giving = threading.Lock()

    def of(self, texts: Iterable[str | None]) -> Numbers:
        """Return the numbers of texts."""
        with self._giving:
            numbers = self._numbers
            return np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)

    def ranked(self, numbers: Numbers) -> tuple[Numbers, pl.Series]:
        """Return for each number the place of its text among all of them, null last, and the texts in order."""
        texts = pl.Series(list(self._numbers), dtype=pl.String())
        order = texts.arg_sort(nulls_last=True)
        ranks = np.empty(len(texts), dtype=np.int64)
        ranks[order.to_numpy()] = np.arange(len(texts))
        return ranks[numbers], texts.gather(order)


def _of_stretch(
    files: SegmentFiles,
    grouping: Grouping,
    reading: Wanted,
    buckets: Buckets | None,
    codes: Sequence[_Codes],
    stretch: Stretch,
) -> Cells | None:
    if buckets is not None and buckets.are_marked:
        columns = [name for name in reading.columns if name != "ts"]
        if not columns and reading.takes_all_of(stretch):
            return _of_catalog(stretch, buckets)
        reading = replace(reading, columns=columns or ["seq"])
    decoded = reading.decoded(files.open(stretch.row), stretch)
    if not decoded.parts:
        return None
    mask = decoded.mask
    texts = [decoded.column(name) for name in grouping.keys]
    keys = [_key_of_codes(array, dictionary, mask) for array, dictionary in texts]
    rows = decoded.rows if mask is None else int(mask.sum())
    runs = None if buckets is None else _runs(decoded, stretch, buckets)
    if runs is not None and mask is None and not grouping.measures.looks_at_values and runs.are_long:
        cells = count_runs(runs, keys, rows)
    else:
        measured = grouping.measures.looks_at_values
        values = numbers_of(decoded.column("value")[0], mask) if measured else ()
        cells = fold(keys if runs is None else [runs.key(mask), *keys], rows, *values)
    numbers = list(cells.keys)
    for place, ((_, dictionary), given) in enumerate(
        zip(texts, codes, strict=True), len(cells.keys) - len(codes)
    ):
        assert dictionary is not None  # noqa: S101 -- only such columns are keys here
        numbers[place] = given.of([*dictionary.to_pylist(), None])[numbers[place]]
    return replace(cells, keys=numbers)


def _of_catalog(stretch: Stretch, buckets: Buckets) -> Cells:
    """Count events of which nothing has to be read."""
    parts = stretch.row.parts
    runs = buckets.marked_runs(
        stretch.row, intervals(stretch, ((number, 0, parts[number].rows) for number in stretch.numbers))
    )
    present = np.flatnonzero(runs.lengths)
    return Cells(keys=[present + runs.first], counts=runs.lengths[present])


def _runs(decoded: Decoded, stretch: Stretch, buckets: Buckets) -> Runs:
    """Return how many of the decoded events lie in each bucket."""
    if not buckets.are_marked:
        return buckets.runs(decoded)
    parts = ((part.number, part.begin, part.rows) for part in decoded.parts)
    return buckets.marked_runs(stretch.row, intervals(stretch, parts))


def _of_tail(
    tail: pl.DataFrame, grouping: Grouping, buckets: Buckets | None, codes: Sequence[_Codes]
) -> Cells:
    numbers = [given.of(tail.get_column(name)) for name, given in zip(grouping.keys, codes, strict=True)]
    if buckets is not None:
        stamps = tail.get_column("ts").to_physical().to_numpy()
        numbers.insert(0, np.searchsorted(buckets.starts, stamps, side="right") - 1)
    keys = [Key.bounded(found) for found in numbers]
    if not grouping.measures.looks_at_values:
        return fold(keys, tail.height)
    values = tail.get_column("value")
    return fold(keys, tail.height, values.fill_null(0.0).to_numpy(), values.is_not_null().to_numpy())


def _finished(
    parts: Sequence[Cells], grouping: Grouping, buckets: Buckets | None, codes: Sequence[_Codes]
) -> pl.DataFrame:
    """Merge the parts, whose keys are codes of text, in the order of the texts."""
    count = len(parts[0].keys)
    keys = [np.concatenate([part.keys[place] for part in parts]) for place in range(count)]
    first = 0 if buckets is None else 1
    texts = []
    for place, given in enumerate(codes, first):
        keys[place], text = given.ranked(keys[place])
        texts.append(text)
    cells = merge(parts, keys)
    columns = []
    if buckets is not None:
        columns.append(shown_starts(pl.Series(buckets.starts[cells.keys[0]]), grouping.tz))
    for name, text, ranks in zip(grouping.keys, texts, cells.keys[first:], strict=True):
        columns.append(text.gather(pl.Series(ranks)).alias(name))
    measured = grouping.measures.of_cells(cells)
    return pl.DataFrame(columns).hstack(measured) if columns else measured


def _key_of_codes(codes: pa.Array, dictionary: pa.Array, mask: Numbers) -> Key:
    """Return the code of each event's text, the one behind the last for null."""
    places, present = numbers_of(codes, mask)
    null = len(dictionary)
    return Key(places if present is None else np.where(present, places, np.int64(null)), 0, null + 1)
