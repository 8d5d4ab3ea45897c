"""Parts of a segment's batches as they were decoded, and what becomes of them: numbers, or events for a frame."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import flags, to_arrow, to_numpy
from auditkit.store.segment import BATCH_ROWS

_FEW = 64
"""So many pieces of a batch are cut out of it; for more of them Arrow's filter is worth what loading it takes."""


class Part(Struct, frozen=True):
    """Events from the one at `begin` of the batch `number` on, perhaps of the next ones too, and which of them are wanted (`None`: all)."""

    number: int
    begin: int
    batch: pa.RecordBatch
    mask: Any = None

    @property
    def rows(self) -> int:
        """The number of events, wanted or not."""
        return int(self.batch.num_rows)

    def places(self) -> Any:
        """Return where among all events of the part the wanted ones are."""
        return np.arange(self.rows) if self.mask is None else np.flatnonzero(self.mask)

    def pieces(self) -> list[pa.RecordBatch]:
        """Return the wanted events."""
        if self.mask is None:
            return [self.batch]
        borders = np.flatnonzero(np.diff(self.mask, prepend=False, append=False)).tolist()
        if len(borders) <= _FEW:
            return [
                self.batch.slice(first, end - first)
                for first, end in zip(borders[::2], borders[1::2], strict=True)
            ]
        return [self.batch.filter(flags(self.mask))]


class Decoded(Struct, frozen=True):
    """Parts of batches of one segment, none of them empty, with these columns and perhaps more."""

    columns: Sequence[str]
    parts: Sequence[Part]
    texts: dict[str, pl.Series]
    """The texts of codes, as far as they were asked for: the values of a dictionary, and no text behind them."""

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

    def events(self) -> "list[Events]":
        """Return the wanted events, copied into one piece where they are not all of what was decoded, so that this can go."""
        pieces = [piece for part in self.parts for piece in part.pieces()]
        if len(pieces) > 1 or any(piece.num_rows < BATCH_ROWS for piece in pieces):
            pieces = [pa.concat_batches(pieces)]
        return [self._events(piece) for piece in pieces]

    def _events(self, batch: pa.RecordBatch) -> "Events":
        arrays, texts = [], {}
        for name in self.columns:
            column = batch.column(name)
            if isinstance(column, pa.DictionaryArray):
                texts[name] = self._texts(name, column.dictionary)
                column = to_arrow(places_of(column.indices, len(column.dictionary)).astype(np.uint32))
            arrays.append(column)
        return Events(pa.RecordBatch.from_arrays(arrays, names=list(self.columns)), texts)

    def _texts(self, name: str, dictionary: pa.Array) -> pl.Series:
        """Return the texts of codes, the same for all questions to a segment that stays open."""
        if name not in self.texts:
            self.texts[name] = series_of(pa.concat_arrays([dictionary, pa.nulls(1, dictionary.type)]))
        return self.texts[name]


class Events(Struct, frozen=True):
    """Wanted events of one segment on their way into a frame."""

    batch: pa.RecordBatch
    texts: Mapping[str, pl.Series]
    """For columns of codes, the text of each."""


def frame_of(found: Sequence[Events]) -> pl.DataFrame:
    """Return the events of all, of which there are some, as one frame, text plain."""
    frame = _polars(pa.Table.from_batches([events.batch for events in found]))
    rows = [events.batch.num_rows for events in found]
    begins = list(accumulate(rows, initial=0))[:-1]
    for name in found[0].texts:
        codes = frame.get_column(name)
        texts = [
            events.texts[name][codes.slice(begin, count)]
            for events, begin, count in zip(found, begins, rows, strict=True)
        ]
        frame.replace_column(frame.get_column_index(name), pl.concat(texts).alias(name))
    return frame


def numbers_of(array: pa.Array, mask: Any) -> tuple[Any, Any]:
    """Return the numbers of an array for the events of a mask, and where they are present (`None`: everywhere)."""
    numbers, present = to_numpy(array)
    if mask is None:
        return numbers, present
    return numbers[mask], None if present is None else present[mask]


def places_of(codes: pa.Array, null: int, mask: Any = None) -> Any:
    """Return the place of each event's text in a dictionary, for the events of a mask; that of no text is `null`."""
    places, present = numbers_of(codes, mask)
    return places if present is None else np.where(present, places, np.int64(null))


def series_of(values: pa.Array) -> pl.Series:
    """Return an array as a series."""
    return _polars(pa.Table.from_arrays([values], names=["values"])).get_column("values")


def _polars(table: pa.Table) -> pl.DataFrame:
    """Return a table as a frame; of an array Polars would make a series with Arrow's functions, slow to load."""
    frame = pl.from_arrow(table, rechunk=False)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 -- a table becomes a frame
    return frame
