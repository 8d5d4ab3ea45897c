"""What is read of a snapshot's segments, and decoding it: which record batches, which columns, which events.

The catalog chooses segments and record batches; where single values are asked for, filters in the segments choose
among these.  Conditions on dictionaries are asked once for each of their values, and text is looked up only for the
events that remain.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from auditkit.event import OWN_SOURCE
from auditkit.store.filters import FILTERED_COLUMNS, hashes
from auditkit.store.reading import OpenSegment, SegmentFiles
from auditkit.store.records import SegmentRow
from auditkit.timerange import TimeRange
from auditkit.trail.snapshot import Snapshot
from auditkit.where import Condition

_KEPT = "\0kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
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

    def decoded(self, segment: OpenSegment, stretch: Stretch) -> "Decoded":
        """Decode what may be wanted of a stretch; Polars is used only where there are conditions."""
        numbers: Sequence[int] = stretch.numbers
        if self.hashes:
            numbers = [number for number in segment.candidates(self.hashes) if number in stretch.numbers]
        looked_at = self.looked_at(stretch)
        tables: dict[int, Any] = {}
        if self.conditions and not self.hashes:
            # Few events are expected to remain: the other columns are decoded only where there are some.
            first = segment.batches(numbers, looked_at)
            numbers = [
                number
                for number, batch in zip(numbers, first, strict=True)
                if self._chosen(number, stretch, batch, tables) is not None
            ]
        read = segment.batches(numbers, looked_at.union(self.columns)) if numbers else ()
        chosen = (
            self._chosen(number, stretch, batch, tables) for number, batch in zip(numbers, read, strict=True)
        )
        return Decoded(list(self.columns), [part for part in chosen if part is not None], segment.texts)

    def takes_all_of(self, stretch: Stretch) -> bool:
        """Whether each event of a stretch is wanted."""
        return stretch.inside and not (stretch.hides or self.conditions or self.hashes)

    def frame(self, files: SegmentFiles, stretch: Stretch) -> pl.DataFrame | None:
        """Return the wanted events of a stretch, `None` where there are none."""
        return self.decoded(files.open(stretch.row), stretch).frame()

    def looked_at(self, stretch: Stretch) -> set[str]:
        """Return the columns that say which events are wanted."""
        return {
            *(() if stretch.inside else ("ts",)),
            *(("seq", "ts", "source") if stretch.hides else ()),
            *(condition.column for condition in self.conditions),
        }

    def _chosen(
        self, number: int, stretch: Stretch, batch: pa.RecordBatch, tables: dict[int, Any]
    ) -> "Part | None":
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


@dataclass(frozen=True, slots=True)
class Part:
    """Events of the batch `number`, from the one at `begin` on, and which of them are wanted (`None`: all)."""

    number: int
    begin: int
    batch: pa.RecordBatch
    mask: Any = None

    @property
    def rows(self) -> int:
        """The number of events, wanted or not."""
        return int(self.batch.num_rows)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Parts of batches of one segment, none of them empty, with these columns and perhaps more."""

    columns: Sequence[str]
    parts: Sequence[Part]
    texts: dict[str, pl.Series]
    """The values of the dictionaries that were looked into."""

    @property
    def rows(self) -> int:
        """The number of events, wanted or not."""
        return sum(part.rows for part in self.parts)

    @property
    def mask(self) -> Any:
        """The wanted events among all, `None` where there are no others."""
        if all(part.mask is None for part in self.parts):
            return None
        return np.concatenate(
            [np.ones(part.rows, dtype=bool) if part.mask is None else part.mask for part in self.parts]
        )

    def column(self, name: str) -> tuple[pa.Array, pa.Array | None]:
        """Return a column of all parts, and its dictionary where it is one of codes."""
        arrays = [part.batch.column(name) for part in self.parts]
        dictionary = None
        if isinstance(arrays[0], pa.DictionaryArray):
            dictionary = arrays[0].dictionary
            arrays = [array.indices for array in arrays]
        return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays), dictionary

    def frame(self) -> pl.DataFrame | None:
        """Return the wanted events, text plain; `None` where there are none."""
        if not self.parts:
            return None
        columns = {name: self.column(name) for name in self.columns}
        arrays = [array for array, _ in columns.values()]
        frame = _polars(pa.Table.from_arrays(arrays, names=list(columns)))
        if (mask := self.mask) is not None:
            frame = frame.filter(pl.Series(mask))
        for place, (name, (_, dictionary)) in enumerate(columns.items()):
            if dictionary is not None:
                codes = frame.get_column(name)
                frame.replace_column(place, self._texts(name, dictionary).gather(codes).alias(name))
        return frame

    def _texts(self, name: str, dictionary: pa.Array) -> pl.Series:
        """Return the values of a dictionary, the same for all questions to a segment that stays open."""
        if name not in self.texts:
            self.texts[name] = _series(dictionary)
        return self.texts[name]


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
    # By DLPack, here and below: Arrow's own way to NumPy imports pandas where it is installed.
    stamps = np.from_dlpack(batch.column("ts").view(pa.int64()))
    first = 0 if window.start_us is None else int(np.searchsorted(stamps, window.start_us))
    end = len(stamps) if window.end_us is None else int(np.searchsorted(stamps, window.end_us))
    return first, max(first, end)


def _visible(batch: pa.RecordBatch, snapshot: Snapshot, *, own: bool) -> Any:
    """Say which events a view shows, as `snapshot.visible` does."""
    source = batch.column("source")
    is_own = _looked_up(
        source, np.array([value == OWN_SOURCE for value in [*source.dictionary.to_pylist(), None]])
    )
    shown = np.from_dlpack(batch.column("seq")) < snapshot.as_of
    if snapshot.cutoff_us is not None:
        shown &= (np.from_dlpack(batch.column("ts").view(pa.int64())) >= snapshot.cutoff_us) | is_own
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
    codes = column.indices
    if not codes.null_count:
        return table[np.from_dlpack(codes)]
    places = pl.Series(codes).fill_null(len(table) - 1)
    return table[places.to_numpy()]


def _asked(condition: Condition, values: pa.Array) -> Any:
    frame = _series(values).alias(condition.column).to_frame()
    return frame.with_columns(condition.expression.alias(_KEPT)).get_column(_KEPT).to_numpy()


def _series(values: pa.Array) -> pl.Series:
    """Return an array as a series."""
    return _polars(pa.Table.from_arrays([values], names=["values"])).get_column("values")


def _polars(table: pa.Table) -> pl.DataFrame:
    """Return a table as a frame; of an array Polars would make a series with Arrow's functions, slow to load."""
    frame = pl.from_arrow(table, rechunk=False)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 -- a table becomes a frame
    return frame


def _found(dictionary: pa.Array, texts: Collection[str]) -> list[int]:
    """Return the codes of those of the texts that a dictionary has."""
    offsets, text = _bytes_of(dictionary)
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


def _bytes_of(dictionary: pa.Array) -> tuple[Any, bytes]:
    _, ends, data = dictionary.buffers()
    offsets = np.frombuffer(ends, dtype="<i8")[dictionary.offset :][: len(dictionary) + 1]
    return offsets, b"" if data is None else data.to_pybytes()


def numbers_of(array: pa.Array, mask: Any) -> tuple[Any, Any]:
    """Return the numbers of an array for the events of a mask, and where they are present (`None`: everywhere)."""
    validity, data = array.buffers()
    kind = "<i8" if pa.types.is_timestamp(array.type) else array.type.to_pandas_dtype()
    place = slice(array.offset, array.offset + len(array))
    numbers, present = np.frombuffer(data, dtype=kind)[place], None
    if array.null_count:
        present = np.unpackbits(np.frombuffer(validity, dtype="u1"), bitorder="little")[place].astype(bool)
    if mask is None:
        return numbers, present
    return numbers[mask], None if present is None else present[mask]
