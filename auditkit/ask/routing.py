"""Which stretch of time a question about groups is answered from: the events, or a tier of rollups.

A tier answers whole buckets, where its keys are those that are asked for, or more, and conditions are on its keys alone.  It
is taken where events have expired or were pruned, and where it saves reading many; the figures are the same.  What it has not
folded yet is added from the events, so that nothing depends on how far it has come.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from msgspec import Struct

from auditkit.arrow import Numbers
from auditkit.errors import InvalidQueryError, InvalidTimeError, PrunedError
from auditkit.query.buckets import bucket_starts
from auditkit.query.filling import MAX_ROWS
from auditkit.store.records import RollupRow
from auditkit.store.rollups import Cubes, StoredCube
from auditkit.store.tiers import Tier
from auditkit.timerange import Duration, TimeRange
from auditkit.trail.snapshot import Snapshot
from auditkit.where import Condition

RAW = "raw"
AUTO = "auto"
WORTH_EVENTS = 100_000
"""So many events are worth a tier where both say the same."""
START = "start"
JOINS: dict[str, np.ufunc] = {
    "count": np.add,
    "value_count": np.add,
    "sum": np.add,
    "min": np.minimum,
    "max": np.maximum,
}
_NOTHING = {"sum": 0.0, "min": np.inf, "max": -np.inf}
"""What leaves the other as it is, where NaN is stored."""


class Stretch(Struct, frozen=True, kw_only=True):
    """A time that is answered from one place."""

    window: TimeRange
    tier: Tier | None
    """`None`: from the events."""

    @property
    def label(self) -> str:
        """What an answer says of where it came from."""
        return RAW if self.tier is None else self.tier.name


class Route(Struct, frozen=True, kw_only=True):
    """What decides where a question is answered from."""

    snapshot: Snapshot
    cubes: Cubes
    window: TimeRange
    keys: Sequence[str]
    conditions: Sequence[Condition]
    every: Duration | None
    tz: str

    def stretches(self, tier: str | None) -> list[Stretch]:
        """Return where the question is answered from; `tier` is what the caller asked for."""
        everything = [Stretch(window=self.window, tier=None)]
        if tier is None or self.snapshot.uncertain is not None:
            return everything
        candidates = self._candidates(tier)
        try:
            span = self._span()
        except InvalidTimeError:  # more buckets than any tier has
            return everything
        left, taken, lost = [span], list[Stretch](), list[TimeRange]()
        for candidate in candidates:
            remaining: list[TimeRange] = []
            for window in left:
                end = window.start_us
                for claimed in self._claimed(candidate, window, span, asked=tier != AUTO):
                    taken.append(Stretch(window=claimed, tier=candidate))
                    remaining.append(TimeRange(start_us=end, end_us=claimed.start_us))
                    end = claimed.end_us
                remaining.append(TimeRange(start_us=end, end_us=window.end_us))
            left = [window for window in remaining if _is_some(window)]
            lost += self._lost(candidate)
        self._refuse_lost(lost, left)
        if not taken:
            self._refuse_nothing(tier)
            return everything
        raw = [Stretch(window=self._unbounded(window, span), tier=None) for window in left]
        return [*taken, *raw]

    def _span(self) -> TimeRange:
        """Return where all that the window may show lies: whole buckets, inside the window."""
        span = self.snapshot.span(self.window)
        bounds = [span] if _is_some(span) else []
        for row in self.snapshot.catalog.rollups:
            if self.window.overlaps(row.first_us, row.end_us - 1):
                bounds.append(TimeRange(start_us=row.first_us, end_us=row.end_us))
        if not bounds:
            return TimeRange(start_us=0, end_us=0)
        first = min(_start(one) for one in bounds)
        end = max(one.end_us or 0 for one in bounds)
        if self.every is not None:
            starts = self._starts(first, end)
            first, end = int(starts[0]), int(starts[-1])
        return TimeRange(start_us=first, end_us=end).intersection(self.window)

    def _starts(self, first_us: int, end_us: int) -> Numbers:
        """Return where the buckets asked for start that hold any of a time, and where the last of them ends."""
        assert self.every is not None  # noqa: S101 -- the caller's
        reach = self.every.after(end_us, self.tz) + 1
        starts = np.array(bucket_starts(self.every, self.tz, first_us, reach), dtype="<i8")
        return starts[: np.searchsorted(starts, end_us) + 1]

    def _unbounded(self, window: TimeRange, span: TimeRange) -> TimeRange:
        """Return the window of a raw stretch, as open as the one asked for where it meets its bound."""
        return TimeRange(
            start_us=self.window.start_us if window.start_us == span.start_us else window.start_us,
            end_us=self.window.end_us if window.end_us == span.end_us else window.end_us,
        )

    def _candidates(self, tier: str) -> list[Tier]:
        """Return the tiers that have the keys asked for, those of the fewest cells first."""
        tiers = self.snapshot.tiers
        if tier not in (AUTO, *tiers):
            error = InvalidQueryError("tier", tier, "is no tier of this trail")
            error.add_note(f"tiers: {', '.join(tiers) or 'none'}; 'auto' takes what fits, None takes none")
            raise error
        needed = {*self.keys, *(name for condition in self.conditions for name in condition.columns)}
        able = [one for name, one in tiers.items() if tier in (AUTO, name) and needed <= {*one.keys}]
        return sorted(able, key=lambda one: (-one.every.shortest_us, len(one.keys)))

    def _claimed(self, tier: Tier, window: TimeRange, span: TimeRange, *, asked: bool) -> Iterator[TimeRange]:
        """Yield the parts of a window that a tier answers, and is worth being asked for."""
        window = self._whole(tier, window, span)
        firsts = (
            tier.first_kept_us(self.snapshot.horizon_us),
            self.snapshot.catalog.fold_of(tier.name).dropped_us,
        )
        low, high = max([_start(window), *(us for us in firsts if us is not None)]), window.end_us or 0
        if low >= high:
            return
        try:
            borders = tier.starts(low, high)
            edges = np.unique(np.concatenate(([low], borders, [high])))
            if self.every is not None:
                edges = np.unique(np.concatenate(([low], self._starts(low, high), [high])))
        except InvalidTimeError:  # more buckets than are worth it
            return
        edges = edges[(edges >= low) & (edges <= high)]
        is_border = np.isin(edges, borders)
        usable = is_border[:-1] & is_border[1:]
        for start in self._changed(tier):
            place = int(np.searchsorted(edges, start, side="right")) - 1
            if 0 <= place < len(usable):
                usable[place] = False
        changes = np.flatnonzero(np.diff(usable, prepend=False, append=False))
        for begin, end in changes.reshape(-1, 2).tolist():
            claimed = TimeRange(start_us=int(edges[begin]), end_us=int(edges[end]))
            if asked or self._is_worth(claimed):
                yield claimed

    def _whole(self, tier: Tier, window: TimeRange, span: TimeRange) -> TimeRange:
        """Return a window with the whole first and last bucket of a tier, where nothing else is asked for before and after."""
        low, high = _start(window), window.end_us or 0
        asked = self.window
        if self.every is None and low == span.start_us:
            start = tier.start_of(low)
            low = start if asked.start_us is None or asked.start_us <= start else low
        if self.every is None and high == span.end_us:
            end = tier.end_of(tier.start_of(high - 1))
            high = end if asked.end_us is None or end <= asked.end_us else high
        return TimeRange(start_us=low, end_us=high)

    def _changed(self, tier: Tier) -> list[int]:
        """Return the buckets of a tier that hold events after the view."""
        as_of = self.snapshot.as_of
        rows = [row for row in self._rows(tier, self.window) if row.last_seq >= as_of]
        cubes = [self.cubes.open(row) for row in rows]
        return [int(start) for cube in cubes for start in cube.starts[cube.last_seqs >= as_of]]

    def _lost(self, tier: Tier) -> Iterator[TimeRange]:
        """Yield the times of which a tier said something at the moment of the view, and no longer does."""
        if self.snapshot.as_of < self.snapshot.committed_seq:
            first_us = tier.first_kept_us(self.snapshot.horizon_us)
            dropped_us = self.snapshot.catalog.fold_of(tier.name).dropped_us
            if dropped_us is not None and (first_us is None or first_us < dropped_us):
                yield TimeRange(start_us=first_us, end_us=dropped_us)
            for start in self._changed(tier):
                yield TimeRange(start_us=start, end_us=tier.end_of(start))

    def _refuse_lost(self, lost: Sequence[TimeRange], left: Sequence[TimeRange]) -> None:
        """Refuse a view of the past that would answer less than it did: neither a tier nor the events are there."""
        whole_from_us = self.snapshot.whole_from_us
        if self.snapshot.allow_pruned or whole_from_us is None:
            return
        gone = TimeRange(start_us=None, end_us=whole_from_us)
        for one in lost:
            for window in left:
                missing = one.intersection(window).intersection(gone)
                if _is_some(missing):
                    error = PrunedError(
                        f"{missing.describe(self.tz)}: the tier has changed after seq {self.snapshot.as_of}, "
                        "and events have expired",
                        tombstone="",
                    )
                    error.add_note(
                        "ask for a window without it, or pass allow_pruned=True to see what is left"
                    )
                    raise error

    def _is_worth(self, window: TimeRange) -> bool:
        whole_from_us = self.snapshot.whole_from_us
        if whole_from_us is not None and _start(window) < whole_from_us:
            return True
        segments = self.snapshot.catalog.segments
        rows = sum(row.rows for row in segments if window.overlaps(row.min_ts_us, row.max_ts_us))
        return rows >= WORTH_EVENTS

    def _rows(self, tier: Tier, window: TimeRange) -> list[RollupRow]:
        rows = self.snapshot.catalog.rollups
        return [
            row for row in rows if row.tier == tier.name and window.overlaps(row.first_us, row.end_us - 1)
        ]

    def _refuse_nothing(self, tier: str) -> None:
        """Refuse what no tier answers where it was asked for by name, or no event is left and a tier has some."""
        whole_from_us, end_us = self.snapshot.whole_from_us, self.window.end_us
        has_some = [one for one in self.snapshot.tiers.values() if self._rows(one, self.window)]
        is_gone = whole_from_us is not None and end_us is not None and end_us <= whole_from_us
        shown = self.snapshot.visibility(own=False)
        segments = self.snapshot.catalog.segments
        is_left = any(
            self.window.overlaps(row.min_ts_us, row.max_ts_us) and shown.of(row) != "nothing"
            for row in segments
        )
        is_asked = is_gone and not (is_left or self.snapshot.allow_pruned)
        if tier != AUTO or (is_asked and has_some):
            error = InvalidQueryError("tier", tier, "does not answer this question, of this window")
            for one in has_some if tier == AUTO else [self.snapshot.tiers[tier]]:
                keys = f"by and where {', '.join(one.keys)}" if one.keys else "without keys"
                error.add_note(
                    f"tier {one.name} answers {keys}, in whole buckets of {one.every} in {one.tz}, "
                    "with count, value_count, sum, mean, min and max"
                )
            raise error

    def cells(self, stretch: Stretch, measures: Sequence[str]) -> list[pl.DataFrame]:
        """Return what the stores of a tier say of a stretch: `START` of the buckets asked for, the keys, and measures, in order."""
        assert stretch.tier is not None  # noqa: S101 -- the caller's
        window = stretch.window
        starts = np.array([_start(window)], dtype="<i8")
        if self.every is not None:
            starts = self._starts(_start(window), window.end_us or 0)
        rows = sorted(self._rows(stretch.tier, window), key=lambda row: row.first_us)
        frames = [self._cells(self.cubes.open(row), window, starts, measures) for row in rows]
        height = sum(frame.height for frame in frames)
        if height > MAX_ROWS:
            raise InvalidQueryError("by", height, f"makes too many rows (expected at most {MAX_ROWS:,})")
        return [frame for frame in frames if frame.height]

    def _cells(
        self, cube: StoredCube, window: TimeRange, starts: Numbers, measures: Sequence[str]
    ) -> pl.DataFrame:
        """Return the cells of one store: series that are wanted, added up by the keys asked for and along time."""
        begin, end = np.searchsorted(cube.starts, (_start(window), window.end_us or 0))
        chosen, groups, codes = self._series(cube)
        buckets = np.searchsorted(starts, cube.starts[begin:end], side="right") - 1
        firsts = np.flatnonzero(np.diff(buckets, prepend=-1))
        order = np.argsort(codes, kind="stable")
        borders = np.flatnonzero(np.diff(codes[order], prepend=-1))
        if begin == end or not len(chosen):
            return pl.DataFrame()

        def total(name: str) -> Numbers:
            grid = cube.measure(name)[begin:end][:, chosen[order]]
            if name in _NOTHING:
                grid[np.isnan(grid)] = _NOTHING[name]
            for axis, places in enumerate((firsts, borders)):
                if len(places) < grid.shape[axis]:
                    grid = JOINS[name].reduceat(grid, places, axis=axis)
            return grid

        counts = total("count")
        rows, columns = np.nonzero(counts)
        found = {"count": counts[rows, columns]}
        del counts  # a store may have many cells: one measure is in memory at a time
        found |= {name: total(name)[rows, columns] for name in measures if name not in found}
        return pl.DataFrame(
            [
                pl.Series(START, starts[buckets[firsts]][rows], dtype=pl.Int64),
                *(groups[key].gather(columns) for key in self.keys),
                *(pl.Series(name, found[name]) for name in measures),
            ]
        )

    def _series(self, cube: StoredCube) -> tuple[Numbers, pl.DataFrame, Numbers]:
        """Return which series of a store are wanted, the groups that they make, and for each of them its group."""
        if not cube.series.width:
            return np.zeros(1, dtype=np.int64), pl.DataFrame(), np.zeros(1, dtype=np.int64)
        numbered = cube.series.with_row_index("\0place")
        wanted = numbered.filter(*(condition.expression for condition in self.conditions))
        chosen = wanted["\0place"].to_numpy().astype(np.int64)
        if not self.keys:
            return chosen, pl.DataFrame(), np.zeros(len(chosen), dtype=np.int64)
        groups = wanted.select(self.keys).unique().sort(self.keys, nulls_last=True)
        joined = wanted.select(self.keys).join(
            groups.with_row_index("\0group"),
            on=list(self.keys),
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
        return chosen, groups, joined["\0group"].to_numpy().astype(np.int64)


def _start(window: TimeRange) -> int:
    assert window.start_us is not None  # noqa: S101 -- a tier's stretch is bounded
    return window.start_us


def _is_some(window: TimeRange) -> bool:
    return _start(window) < (window.end_us or 0)
