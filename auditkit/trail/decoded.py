"""Parts of a segment's batches as they were decoded, and what becomes of them: numbers, or a frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from auditkit.arrays import to_numpy


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
            self.texts[name] = series_of(dictionary)
        return self.texts[name]


def numbers_of(array: pa.Array, mask: Any) -> tuple[Any, Any]:
    """Return the numbers of an array for the events of a mask, and where they are present (`None`: everywhere)."""
    numbers, present = to_numpy(array)
    if mask is None:
        return numbers, present
    return numbers[mask], None if present is None else present[mask]


def series_of(values: pa.Array) -> pl.Series:
    """Return an array as a series."""
    return _polars(pa.Table.from_arrays([values], names=["values"])).get_column("values")


def _polars(table: pa.Table) -> pl.DataFrame:
    """Return a table as a frame; of an array Polars would make a series with Arrow's functions, slow to load."""
    frame = pl.from_arrow(table, rechunk=False)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 -- a table becomes a frame
    return frame
