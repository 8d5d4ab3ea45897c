"""Counting events on dense grids of buckets and codes, one for each partition.

The keys are columns that are stored as dictionaries, and the measures merge: no event is looked at twice, text is looked up for
groups only, and where the catalog's time index knows the borders of buckets, times are not read.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, groupby, pairwise
from math import prod
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from auditkit.arrow import Numbers, codes_of, joined, to_numpy
from auditkit.ask.routing import JOINS
from auditkit.query.aggregates import Measures
from auditkit.query.answers import shown_starts
from auditkit.query.buckets import bucket_starts
from auditkit.store.files import SegmentFiles, held
from auditkit.store.scan import BatchRange, Chunk, ScanPlan, joined_mask, read_chunks, side_by_side
from auditkit.store.time_index import QUARTER_US, positions_of
from auditkit.timerange import Duration, TimeRange
from auditkit.trail.events import tail_events
from auditkit.trail.snapshot import Snapshot

_MOST_BUCKETS = 500_000
_PIECE_ROWS = 1_000_000
"""Segments of a partition are counted together up to so many events."""
_SPARSE = 8
_FEW_CELLS = 65_536
"""A grid has at most so many cells, or `_SPARSE` for each event."""
_BUCKET = "\0bucket"
_STARTS: dict[str, float] = {"count": 0, "value_count": 0, "sum": 0.0, "min": np.inf, "max": -np.inf}


class Grid(Struct, frozen=True, kw_only=True):
    """What is counted: a cell for each bucket and each combination of the keys' values."""

    keys: Sequence[str]
    starts: Numbers | None
    """Where each bucket starts, in microseconds; `None` for one bucket of all time."""
    indexed: bool
    """Whether the catalog's time index knows where in a segment each bucket begins."""
    measures: Measures
    tz: str

    @classmethod
    def of(
        cls, span: TimeRange, keys: Sequence[str], every: Duration | None, measures: Measures, tz: str
    ) -> "Grid | None":
        """Return the grid over a span that is bounded; `None` where it is empty, or has too many buckets."""
        first, end = span.start_us or 0, span.end_us or 0
        if first >= end or (every is not None and (end - first) // every.shortest_us > _MOST_BUCKETS):
            return None
        starts = None if every is None else np.array(bucket_starts(every, tz, first, end - 1))
        indexed = starts is None or not (starts % QUARTER_US).any()
        return cls(keys=keys, starts=starts, indexed=indexed, measures=measures, tz=tz)

    @property
    def columns(self) -> list[str]:
        """The columns that have to be read."""
        values = ["value"] if self.measures.looks_at_values else []
        return [*self.keys, *([] if self.indexed else ["ts"]), *values]

    def count(self, files: SegmentFiles, snapshot: Snapshot, plan: ScanPlan) -> pl.DataFrame | None:
        """Return the finished groups, `None` where there are none, or more cells than a grid is good for."""
        segments = held(files, [part.row for part in plan.ranges]) if self.columns else []
        frames = list(side_by_side(partial(self._piece, files, plan), list(_pieces(plan.ranges))))
        del segments
        if snapshot.tail.height:
            frames.append(self._tail(snapshot, plan))
        present = [frame for frame in frames if frame is not None]
        if len(present) < len(frames):
            return None
        present = [frame for frame in present if frame.height]
        return self._finished(present) if present else None

    def _piece(
        self, files: SegmentFiles, plan: ScanPlan, ranges: Sequence[BatchRange]
    ) -> pl.DataFrame | None:
        """Return the cells of some segments that have events, in order; `None` where the grid is too large."""
        read = [one for part in ranges if (one := self._read(files, plan, part)) is not None]
        if not read:
            return pl.DataFrame({"count": []})
        low, high = min(one.low for one in read), max(one.low + len(one.lengths) for one in read)
        numbered = [_numbered([one.texts[place] for one in read]) for place in range(len(self.keys))]
        shape = (high - low, *(len(texts) for texts, _ in numbered))
        rows = sum(int(one.lengths.sum()) for one in read)
        if prod(shape) > _SPARSE * rows + _FEW_CELLS:
            return None
        names = ["count", *(["value_count", *self.measures.folded] if self.measures.looks_at_values else [])]
        kinds: dict[str, Any] = {"count": np.int64, "value_count": np.int64}
        totals = {name: np.full(shape, _STARTS[name], dtype=kinds.get(name, np.float64)) for name in names}
        for place, one in enumerate(read):
            buckets = np.arange(len(one.lengths)) + (one.low - low)
            at = np.ix_(buckets, *(ranks[place] for _, ranks in numbered))
            for name, found in one.totals(self.measures.folded).items():
                totals[name][at] = JOINS[name](totals[name][at], found)
        present = np.nonzero(totals["count"])
        texts = zip(self.keys, numbered, present[1:], strict=True)
        columns = [texts.gather(places).alias(name) for name, (texts, _), places in texts]
        found = pl.DataFrame({name: array[present] for name, array in totals.items()})
        bucket = pl.Series(_BUCKET, present[0] + low, dtype=pl.Int64)
        return pl.DataFrame([bucket, *columns]).hstack(found)

    def _read(self, files: SegmentFiles, plan: ScanPlan, part: BatchRange) -> "_Counted | None":
        """Read what of a range is counted; nothing where the catalog says it all."""
        if not self.columns and plan.takes_all_of(part):
            firsts = list(accumulate((batch.rows for batch in part.row.parts), initial=0))
            low, lengths = self._lengths(part, [(firsts[n], firsts[n + 1]) for n in part.numbers], [])
            return _Counted(low=low, lengths=lengths, mask=None, codes=[], texts=[], values=None)
        with files.reading(part.row) as segment:
            chunks = list(read_chunks(plan, segment, part))
            if not chunks:
                return None
            spans = [(chunk.first, chunk.first + len(chunk.batch)) for chunk in chunks]
            low, lengths = self._lengths(part, spans, chunks)
            columns = {
                name: joined([segment.column(chunk.batch, name) for chunk in chunks])
                for name in self.columns
                if name != "ts"
            }
            keys = [columns[key] for key in self.keys]
            return _Counted(
                low=low,
                lengths=lengths,
                mask=joined_mask(chunks),
                codes=[codes_of(column) for column in keys],
                texts=[segment.text(key, columns[key].dictionary) for key in self.keys],
                values=columns.get("value"),
            )

    def _lengths(
        self, part: BatchRange, spans: Sequence[tuple[int, int]], chunks: Sequence[Chunk]
    ) -> tuple[int, Numbers]:
        """Return the first bucket of a range, and how many events of the spans of positions lie in it and each next one."""
        if self.starts is None:
            return 0, np.array([sum(end - begin for begin, end in spans)])
        borders = np.searchsorted(self.starts, (part.row.min_ts_us, part.row.max_ts_us), side="right") - 1
        low, high = (max(0, int(border)) for border in borders)
        inner = self.starts[low + 1 : high + 1]
        if self.indexed:
            edges = np.concatenate(([0], positions_of(part.row, inner), [part.row.rows]))
            return low, sum(np.diff(np.clip(edges, begin, end)) for begin, end in _joined_spans(spans))
        stamps = np.concatenate([to_numpy(chunk.batch.column("ts"))[0] for chunk in chunks])
        return low, np.diff(np.searchsorted(stamps, inner), prepend=0, append=len(stamps))

    def _tail(self, snapshot: Snapshot, plan: ScanPlan) -> pl.DataFrame:
        """Return the cells of the queue's tail."""
        columns = dict.fromkeys([*self.columns, *([] if self.starts is None else ["ts"])])
        tail = tail_events(snapshot, replace(plan, columns=tuple(columns) or ("seq",)))
        buckets = np.zeros(tail.height, dtype=np.int64)
        if self.starts is not None:
            buckets = np.searchsorted(self.starts, tail["ts"].to_physical().to_numpy(), side="right") - 1
        value = pl.col("value")
        measured = {
            "value_count": value.count().cast(pl.Int64),
            "sum": value.sum(),
            "min": value.min().fill_null(np.inf),
            "max": value.max().fill_null(-np.inf),
        }
        wanted = ["value_count", *self.measures.folded] if self.measures.looks_at_values else []
        return (
            tail.with_columns(pl.Series(_BUCKET, buckets, dtype=pl.Int64))
            .group_by(_BUCKET, *self.keys)
            .agg(pl.len().cast(pl.Int64).alias("count"), *(measured[name].alias(name) for name in wanted))
            .sort(_BUCKET, *self.keys, nulls_last=True)
        )

    def _finished(self, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Return the cells of all pieces as groups, in order; cells of several pieces are joined."""
        found = pl.concat(frames)
        if any(
            one[_BUCKET].max() >= other[_BUCKET].min()  # type: ignore[operator]
            for one, other in pairwise(frames)
        ):
            joins = {"min": pl.col("min").min(), "max": pl.col("max").max()}
            totals = [name for name in found.columns if name in _STARTS]
            found = found.group_by(_BUCKET, *self.keys, maintain_order=True).agg(
                joins.get(name, pl.col(name).sum()) for name in totals
            )
            found = found.sort(_BUCKET, *self.keys, nulls_last=True)
        columns = [found[key] for key in self.keys]
        if self.starts is not None:
            columns.insert(0, shown_starts(pl.Series(self.starts[found[_BUCKET].to_numpy()]), self.tz))
        measured = self.measures.of_totals(found)
        return pl.DataFrame(columns).hstack(measured) if columns else measured


class _Counted(Struct, frozen=True, kw_only=True):
    """Events of one segment: how many lie in each bucket from `low` on, and for each its codes and its value."""

    low: int
    lengths: Numbers
    mask: Numbers | None
    """Which of them are wanted, `None` for all."""
    codes: Sequence[Numbers]
    texts: Sequence[pl.Series]
    """For each key the texts of its codes, the last of them null."""
    values: pa.Array | None

    def totals(self, folded: Sequence[str]) -> dict[str, Numbers]:
        """Return how many events there are in each cell, and what is known of their values."""
        sides = [len(texts) for texts in self.texts]
        size, shape = prod(sides), (len(self.lengths), *sides)
        if not self.codes and self.mask is None and self.values is None:
            return {"count": self.lengths}
        places = np.repeat(np.arange(len(self.lengths)) * size, self.lengths)
        for codes, side in zip(self.codes, sides, strict=True):
            size //= side
            places += codes if size == 1 else codes.astype(np.int64) * size
        if self.mask is not None:
            places = places[self.mask]
        cells = prod(shape)
        totals = {"count": np.bincount(places, minlength=cells)}
        if self.values is not None:
            totals |= self._measured(places, cells, folded)
        return {name: found.reshape(shape) for name, found in totals.items()}

    def _measured(self, places: Numbers, cells: int, folded: Sequence[str]) -> dict[str, Numbers]:
        values, present = to_numpy(self.values)
        if self.mask is not None:
            values, present = values[self.mask], None if present is None else present[self.mask]
        if present is not None:
            values, places = values[present], places[present]
        totals = {"value_count": np.bincount(places, minlength=cells)}
        for name in folded:
            if name == "sum":
                totals[name] = np.bincount(places, weights=values, minlength=cells)
            else:
                totals[name] = np.full(cells, _STARTS[name])
                JOINS[name].at(totals[name], places, values)
        return totals


def _pieces(ranges: Sequence[BatchRange]) -> Iterator[list[BatchRange]]:
    """Yield ranges of one partition each, with about `_PIECE_ROWS` events at most."""
    in_order = sorted(ranges, key=lambda part: part.row.partition)
    for _, parts in groupby(in_order, key=lambda part: part.row.partition):
        piece, rows = list[BatchRange](), 0
        for part in parts:
            if piece and rows + part.rows > _PIECE_ROWS:
                yield piece
                piece, rows = [], 0
            piece.append(part)
            rows += part.rows
        yield piece


def _numbered(each: Sequence[pl.Series]) -> tuple[pl.Series, list[Numbers]]:
    """Return all texts of some dictionaries in order, null last, and for each of them the places of its own."""
    together = pl.concat([one.head(-1) for one in each])
    places = together.rank("dense").to_numpy().astype(np.int64) - 1
    borders = np.cumsum([len(one) - 1 for one in each])[:-1]
    texts = together.unique().sort()
    ranks = [np.append(mine, len(texts)) for mine in np.split(places, borders)]
    return texts.extend(pl.Series([None], dtype=pl.String)), ranks


def _joined_spans(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield spans of positions, joined where they meet."""
    begin, reached = spans[0]
    for first, end in spans[1:]:
        if first != reached:
            yield begin, reached
            begin = first
        reached = end
    yield begin, reached
