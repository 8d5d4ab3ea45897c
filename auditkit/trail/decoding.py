"""Decoding what is wanted of a snapshot's segments, with Arrow and NumPy.

Conditions on dictionaries are asked once for each of their values, and text is looked up only for the events that
remain.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from auditkit.arrays import text_of
from auditkit.event import OWN_SOURCE
from auditkit.store.files import OpenSegment, SegmentFiles
from auditkit.store.reading import batches, candidates, few, whole
from auditkit.timerange import TimeRange
from auditkit.trail.decoded import Decoded, Events, Part, numbers_of, places_of, series_of
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.wanting import Stretch, Wanted
from auditkit.where import Condition

_KEPT = "\0kept"
_FEW = 4
"""So many events of a batch, or fewer on the average, are worth being decoded one by one."""


def decode(wanted: Wanted, segment: OpenSegment, stretch: Stretch) -> Decoded:
    """Decode what may be wanted of a stretch; Polars is used only where there are conditions."""
    numbers, columns = _candidates(wanted, segment, stretch), wanted.looked_at(stretch).union(wanted.columns)
    if wanted.takes_all_of(stretch):
        parts = [Part(numbers[0], 0, whole(segment, numbers, columns, spread=wanted.spread))]
    elif wanted.conditions:
        # Few events are expected to remain: the other columns are decoded only where there are some.
        parts = _widened(_looked_for(wanted, segment, stretch), segment, columns)
    else:
        read = batches(segment, numbers, columns, spread=wanted.spread)
        parts = _parts(wanted, stretch, numbers, read)
    return Decoded(list(wanted.columns), parts, segment.texts)


def events_of(wanted: Wanted, files: SegmentFiles, stretch: Stretch) -> list[Events]:
    """Return the wanted events of a stretch."""
    segment = files.open(stretch.row)
    if not wanted.conditions or wanted.takes_all_of(stretch):
        return decode(wanted, segment, stretch).events()
    parts = _looked_for(wanted, segment, stretch)
    places = {part.number: part.places() for part in parts}
    if sum(map(len, places.values())) <= _FEW * len(places):
        parts = [Part(0, 0, few(segment, places, wanted.columns))] if parts else []
    else:
        parts = _widened(parts, segment, wanted.columns)
    return Decoded(list(wanted.columns), parts, segment.texts).events()


def _candidates(wanted: Wanted, segment: OpenSegment, stretch: Stretch) -> Sequence[int]:
    if not wanted.hashes:
        return stretch.numbers
    return [number for number in candidates(segment, wanted.hashes) if number in stretch.numbers]


def _looked_for(wanted: Wanted, segment: OpenSegment, stretch: Stretch) -> list[Part]:
    """Return where the wanted events lie, with the columns that say so."""
    numbers = _candidates(wanted, segment, stretch)
    read = batches(segment, numbers, wanted.looked_at(stretch), spread=wanted.spread)
    return _parts(wanted, stretch, numbers, read)


def _parts(
    wanted: Wanted, stretch: Stretch, numbers: Sequence[int], read: Iterable[pa.RecordBatch]
) -> list[Part]:
    tables: dict[int, Any] = {}
    chosen = (
        _chosen(wanted, number, stretch, batch, tables) for number, batch in zip(numbers, read, strict=True)
    )
    return [part for part in chosen if part is not None]


def _widened(parts: Sequence[Part], segment: OpenSegment, columns: Collection[str]) -> list[Part]:
    """Return parts with these columns."""
    read = batches(segment, [part.number for part in parts], columns)
    return [
        Part(part.number, part.begin, batch.slice(part.begin, part.rows), part.mask)
        for part, batch in zip(parts, read, strict=True)
    ]


def _chosen(
    wanted: Wanted, number: int, stretch: Stretch, batch: pa.RecordBatch, tables: dict[int, Any]
) -> Part | None:
    """Return the part of a batch in which the wanted events lie, `None` where there are none."""
    begin = 0
    if not stretch.inside:
        begin, end = _borders(batch, wanted.window)
        batch = batch.slice(begin, end - begin)
    masks = [_visible(batch, wanted.snapshot, own=wanted.own)] if stretch.hides else []
    masks += [_holds(condition, batch, tables, place) for place, condition in enumerate(wanted.conditions)]
    if not masks:
        return Part(number, begin, batch) if batch.num_rows else None
    mask = np.logical_and.reduce(masks)
    found = np.flatnonzero(mask)
    if not len(found):
        return None
    first, last = int(found[0]), int(found[-1])
    batch, mask = batch.slice(first, last + 1 - first), mask[first : last + 1]
    return Part(number, begin + first, batch, None if len(found) == len(mask) else mask)


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
