"""Decoding what is wanted of a snapshot's segments, with Arrow and NumPy.

Conditions on dictionaries are asked once for each of their values, and text is looked up only for the events that
remain.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from auditkit.arrow import text_of
from auditkit.event import OWN_SOURCE
from auditkit.store.files import OpenSegment, SegmentFiles
from auditkit.store.reading import candidates, few, whole
from auditkit.timerange import TimeRange
from auditkit.trail.decoded import Decoded, Events, Part, numbers_of, places_of, series_of
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.wanting import Stretch, Wanted
from auditkit.where import Condition

_KEPT = "\0kept"
_T = TypeVar("_T")
_AT_ONCE = 32
"""So many batches are decoded together where not all of them are wanted."""
_FEW = 4
"""So many events of a batch, or fewer on the average, are worth being decoded one by one."""


def decode(wanted: Wanted, segment: OpenSegment, stretch: Stretch) -> Decoded:
    """Decode what may be wanted of a stretch; Polars is used only where there are conditions."""
    columns = wanted.looked_at(stretch).union(wanted.columns)
    if wanted.conditions:
        # Few events are expected to remain: the other columns are decoded only where there are some.
        parts = _widened(_parts(wanted, segment, stretch, wanted.looked_at(stretch)), segment, columns)
    else:
        parts = _parts(wanted, segment, stretch, columns)
    return Decoded(list(wanted.columns), parts, segment.texts)


def events_of(wanted: Wanted, files: SegmentFiles, stretch: Stretch) -> list[Events]:
    """Return the wanted events of a stretch."""
    segment = files.open(stretch.row)
    if not wanted.conditions:
        return decode(wanted, segment, stretch).events()
    parts = _parts(wanted, segment, stretch, wanted.looked_at(stretch))
    positions = _positions(stretch, parts)
    if len(positions) > _FEW * len(parts):
        parts = _widened(parts, segment, wanted.columns)
    elif parts:
        parts = [Part(0, 0, few(segment, positions, wanted.columns))]
    return Decoded(list(wanted.columns), parts, segment.texts).events()


def _parts(wanted: Wanted, segment: OpenSegment, stretch: Stretch, columns: Collection[str]) -> list[Part]:
    """Return where the wanted events lie, with these columns."""
    numbers = stretch.numbers
    if wanted.hashes:
        numbers = [number for number in candidates(segment, wanted.hashes) if number in numbers]
    tables: dict[int, Any] = {}
    parts = []
    for group in _groups(numbers, all_at_once=wanted.takes_all_of(stretch)):
        batch = whole(segment, group, columns)
        mask = _mask(wanted, stretch, batch, tables)
        begin = 0
        for piece in _pieces(group, singly=bool(wanted.conditions)):
            end = begin + sum(segment.row.parts[number].rows for number in piece)
            found = None if mask is None else mask[begin:end]
            parts += _part(piece[0], batch, begin, end, found)
            begin = end
    return parts


def _groups(numbers: Sequence[_T], *, all_at_once: bool) -> Iterator[Sequence[_T]]:
    """Cut the numbers of batches into what is decoded together."""
    size = max(1, len(numbers)) if all_at_once else _AT_ONCE
    for begin in range(0, len(numbers), size):
        yield numbers[begin : begin + size]


def _pieces(numbers: Sequence[int], *, singly: bool) -> Iterator[Sequence[int]]:
    """Cut the numbers of batches where one is missing, or everywhere."""
    cuts = [n for n in range(1, len(numbers)) if singly or numbers[n] != numbers[n - 1] + 1]
    for begin, end in pairwise([0, *cuts, len(numbers)]):
        yield numbers[begin:end]


def _part(number: int, batch: pa.RecordBatch, begin: int, end: int, mask: Any) -> list[Part]:
    """Return the part of some rows in which the wanted events lie, none where there are none."""
    if mask is None:
        return [Part(number, 0, batch.slice(begin, end - begin))]
    found = np.flatnonzero(mask)
    if not len(found):
        return []
    first, last = int(found[0]), int(found[-1])
    kept = batch.slice(begin + first, last + 1 - first)
    return [Part(number, first, kept, None if len(found) == kept.num_rows else mask[first : last + 1])]


def _widened(parts: Sequence[Part], segment: OpenSegment, columns: Collection[str]) -> list[Part]:
    """Return parts of single batches with these columns."""
    wider = []
    for group in _groups(parts, all_at_once=False):
        batch = whole(segment, [part.number for part in group], columns)
        begin = 0
        for part in group:
            read = batch.slice(begin + part.begin, part.rows)
            wider.append(Part(part.number, part.begin, read, part.mask))
            begin += segment.row.parts[part.number].rows
    return wider


def _positions(stretch: Stretch, parts: Sequence[Part]) -> Any:
    """Return the positions of the wanted events in their segment."""
    begins = list(accumulate((part.rows for part in stretch.row.parts), initial=0))
    found = [begins[part.number] + part.begin + part.places() for part in parts]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _mask(wanted: Wanted, stretch: Stretch, batch: pa.RecordBatch, tables: dict[int, Any]) -> Any:
    """Say which events are wanted, `None` where all are."""
    masks = [] if stretch.inside else [_inside(batch, wanted.window)]
    masks += [_visible(batch, wanted.snapshot, own=wanted.own)] if stretch.hides else []
    masks += [_holds(condition, batch, tables, place) for place, condition in enumerate(wanted.conditions)]
    return np.logical_and.reduce(masks) if masks else None


def _inside(batch: pa.RecordBatch, window: TimeRange) -> Any:
    """Say which events lie inside the window."""
    stamps, _ = numbers_of(batch.column("ts"), None)
    inside = np.ones(len(stamps), dtype=bool)
    if window.start_us is not None:
        inside &= stamps >= window.start_us
    if window.end_us is not None:
        inside &= stamps < window.end_us
    return inside


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
