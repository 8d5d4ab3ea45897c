"""Groups of a trail's events, segment by segment: folded beside each other, merged into one frame.

For keys that are stored as dictionaries and measures that can be merged.  No event is looked at twice, none is kept, and
an answer is what `auditkit.query.group_by` says of the same events.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
from auditkit.query.cells import Cells, fold, merge
from auditkit.query.keys import parse_keys
from auditkit.store.reading import SegmentFiles
from auditkit.timerange import Duration
from auditkit.trail.decoding import Decoded, Stretch, Wanted, stretches
from auditkit.trail.reading import events_of_tail, side_by_side

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
    starts = None
    if grouping.every is not None:
        if (span.end_us - span.start_us) // grouping.every.shortest_us > _MOST_BUCKETS:
            return None
        starts = np.array(bucket_starts(grouping.every, grouping.tz, span.start_us, span.end_us - 1))
    chosen = stretches(reading.snapshot, reading.window, own=reading.own)
    codes = [_Codes() for _ in grouping.keys]
    work = partial(_of_stretch, files, grouping, reading, starts, codes)
    parts = [part for part in side_by_side(work, chosen) if part is not None]
    tail = events_of_tail(reading)
    if tail.height:
        parts.append(_of_tail(tail, grouping, starts, codes))
    return _finished(parts, grouping, starts, codes) if parts else None


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
    starts: Numbers,
    codes: Sequence[_Codes],
    stretch: Stretch,
) -> Cells | None:
    decoded = reading.decoded(files.open(stretch.row), stretch)
    if not decoded.batches:
        return None
    mask = decoded.mask
    keys = [
        _key_numbers(decoded, name, mask, given) for name, given in zip(grouping.keys, codes, strict=True)
    ]
    if starts is not None:
        stamps, _ = _numbers(decoded.column("ts")[0], "<i8", mask)
        keys.insert(0, _bucket_numbers(stamps, starts))
    rows = sum(batch.num_rows for batch in decoded.batches) if mask is None else int(mask.sum())
    if not grouping.measures.looks_at_values:
        return fold(keys, rows)
    values, present = _numbers(decoded.column("value")[0], "<f8", mask)
    return fold(keys, rows, values, present)


def _of_tail(tail: pl.DataFrame, grouping: Grouping, starts: Numbers, codes: Sequence[_Codes]) -> Cells:
    keys = [given.of(tail.get_column(name)) for name, given in zip(grouping.keys, codes, strict=True)]
    if starts is not None:
        stamps = tail.get_column("ts").to_physical().to_numpy()
        keys.insert(0, np.searchsorted(starts, stamps, side="right") - 1)
    if not grouping.measures.looks_at_values:
        return fold(keys, tail.height)
    values = tail.get_column("value")
    return fold(keys, tail.height, values.fill_null(0.0).to_numpy(), values.is_not_null().to_numpy())


def _finished(
    parts: Sequence[Cells], grouping: Grouping, starts: Numbers, codes: Sequence[_Codes]
) -> pl.DataFrame:
    """Merge the parts, whose keys are codes of text, in the order of the texts."""
    count = len(parts[0].keys)
    keys = [np.concatenate([part.keys[place] for part in parts]) for place in range(count)]
    first = 0 if starts is None else 1
    texts = []
    for place, given in enumerate(codes, first):
        keys[place], text = given.ranked(keys[place])
        texts.append(text)
    cells = merge(parts, keys)
    columns = []
    if starts is not None:
        columns.append(shown_starts(pl.Series(starts[cells.keys[0]]), grouping.tz))
    for name, text, ranks in zip(grouping.keys, texts, cells.keys[first:], strict=True):
        columns.append(text.gather(pl.Series(ranks)).alias(name))
    measured = grouping.measures.of_cells(cells)
    return pl.DataFrame(columns).hstack(measured) if columns else measured


def _bucket_numbers(stamps: Numbers, starts: Numbers) -> Numbers:
    """Return the place in `starts` of each instant's bucket; instants are in order."""
    first = int(np.searchsorted(starts, stamps[0], side="right")) - 1
    end = int(np.searchsorted(starts, stamps[-1], side="right"))
    edges = np.searchsorted(stamps, starts[first + 1 : end])
    return np.repeat(np.arange(first, end, dtype=np.int64), np.diff(edges, prepend=0, append=len(stamps)))


def _key_numbers(decoded: Decoded, name: str, mask: Numbers, codes: _Codes) -> Numbers:
    array, dictionary = decoded.column(name)
    assert dictionary is not None  # noqa: S101 -- only such columns are keys here
    places, present = _numbers(array, array.type.to_pandas_dtype(), mask)
    places = places.astype(np.int64)
    if present is None:
        return codes.of(dictionary.to_pylist())[places]
    return codes.of([None, *dictionary.to_pylist()])[np.where(present, places + 1, 0)]


def _numbers(array: pa.Array, kind: str, mask: Numbers) -> tuple[Numbers, Numbers]:
    """Return the numbers of an array for the events of a mask, and where they are present (`None`: everywhere)."""
    validity, data = array.buffers()
    place = slice(array.offset, array.offset + len(array))
    numbers, present = np.frombuffer(data, dtype=kind)[place], None
    if array.null_count:
        present = np.unpackbits(np.frombuffer(validity, dtype="u1"), bitorder="little")[place].astype(bool)
    if mask is None:
        return numbers, present
    return numbers[mask], None if present is None else present[mask]
