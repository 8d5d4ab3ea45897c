"""Groups: counts and measures of a view's events per key and bucket of time.

What a tier holds is taken from there, what can be counted on a grid is counted there, and everything else is
`auditkit.query` on the scan, with the same answers.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl
from msgspec import Struct

from auditkit.ask.grid import Grid
from auditkit.ask.routing import AUTO, RAW, START, Route, Stretch
from auditkit.event import DICTIONARY_COLUMNS, OWN_SOURCE
from auditkit.query import UNFILLED, Aggregations, By, Fill
from auditkit.query import group_by as group_by_frame
from auditkit.query.aggregates import Measures, parse_measures
from auditkit.query.answers import filled, shown_starts
from auditkit.query.buckets import parse_every
from auditkit.query.filling import check_fill
from auditkit.query.keys import parse_keys
from auditkit.retention.policy import IS_OWN
from auditkit.retention.visibility import Expiry, Visibility
from auditkit.store.files import retrying
from auditkit.store.scan import plan_scan
from auditkit.timerange import Duration, TimeRange, from_us
from auditkit.trail.events import lazy
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.view import View, window_and_now
from auditkit.where import Condition, Where, conditions

_TIER = "tier"


def group_by(
    view: View,
    by: By,
    *,
    every: str | timedelta | None,
    start: object,
    end: object,
    where: Where,
    aggs: Aggregations,
    own: bool,
    tz: str | None,
    tier: str | None = AUTO,
) -> pl.DataFrame:
    """See `Trail.group_by`."""
    return _grouped(view, by, every, start, end, where, aggs, own=own, tz=tz, tier=tier)[0]


def downsample(
    view: View,
    every: str | timedelta,
    *,
    by: By,
    start: object,
    end: object,
    where: Where,
    aggs: Aggregations,
    fill: Fill = UNFILLED,
    own: bool,
    tz: str | None,
    tier: str | None = AUTO,
) -> pl.DataFrame:
    """See `Trail.downsample`."""
    length, fill = parse_every(every), check_fill(fill)
    found, window = _grouped(view, by, every, start, end, where, aggs, own=own, tz=tz, tier=tier)
    keys = list(parse_keys(by, pl.Schema(view.handle.schema.columns)))
    return filled(found, keys, length, window, fill, tz or view.tz)


def _grouped(
    view: View,
    by: By,
    every: str | timedelta | None,
    start: object,
    end: object,
    where: Where,
    aggs: Aggregations,
    *,
    own: bool,
    tz: str | None,
    tier: str | None,
) -> tuple[pl.DataFrame, TimeRange]:
    """Return the groups, and the window that was meant."""
    window, now = window_and_now(view, start, end, tz)
    schema = pl.Schema(view.handle.schema.columns)
    times = [] if every is None else ["ts"]
    keys = parse_keys(by, schema, taken=times)
    question = _Question(
        view=view,
        by=by,
        keys=keys,
        every=None if every is None else parse_every(every),
        where=where,
        asked=None if isinstance(where, pl.Expr) else conditions(where or {}, schema),
        tz=tz or view.tz,
        now=now,
    )
    measures = parse_measures(aggs, schema, taken=[*times, *keys])
    return retrying(lambda: _answered(question, measures, window, own=own, tier=tier)), window


def _answered(
    question: "_Question", measures: Measures, window: TimeRange, *, own: bool, tier: str | None
) -> pl.DataFrame:
    """Return the groups of a window, from the events or where that fits from tiers, and from where each came."""
    snapshot = question.view.snapshot()
    shown = snapshot.visibility(own=own)
    if tier is None or not (snapshot.tiers or tier != AUTO):
        snapshot.refuse_pruned(window)
        return question.of_events(snapshot, window, shown, measures)
    route = question.route(snapshot, window, measures)
    stretches = [Stretch(window=window, tier=None)] if route is None else route.stretches(tier)
    for stretch in stretches:
        if stretch.tier is None:
            snapshot.refuse_pruned(stretch.window)
    if route is None or all(stretch.tier is None for stretch in stretches):
        return _labelled(question.of_events(snapshot, window, shown, measures), RAW)
    parts = measures.parts
    frames = []
    for stretch in stretches:
        if stretch.tier is None:
            found = [question.of_events(snapshot, stretch.window, shown, parts)]
        else:
            found = [question.shaped(cells) for cells in route.cells(stretch, list(parts.columns))]
            folded = snapshot.catalog.folded_of(stretch.tier.name)
            later = Visibility(first_seq=folded, as_of=snapshot.as_of, expiry=Expiry(), own=False)
            if folded < snapshot.as_of:
                found.append(question.of_events(snapshot, stretch.window, later, parts))
            if own:
                found.append(question.of_events(snapshot, stretch.window, shown, parts, only_own=True))
        frames += [_labelled(frame, stretch.label) for frame in found]
    if not frames:
        return _labelled(question.of_events(snapshot, window, shown, measures), RAW)
    return question.merged(frames, measures)


def _labelled(frame: pl.DataFrame, label: str) -> pl.DataFrame:
    return frame.with_columns(pl.lit(label).alias(_TIER)) if _TIER not in frame.columns else frame


class _Question(Struct, frozen=True, kw_only=True):
    """A question about groups, but for its window and measures."""

    view: View
    by: By
    keys: Mapping[str, pl.Expr]
    every: Duration | None
    where: Where
    asked: Sequence[Condition] | None
    """`where` as conditions, `None` where it is an expression."""
    tz: str
    now: datetime

    def route(self, snapshot: Snapshot, window: TimeRange, measures: Measures) -> Route | None:
        """Return what decides where the question is answered from, `None` for the events in any case."""
        is_plain = all(key.meta.is_column() for key in self.keys.values())
        if self.asked is None or not (is_plain and measures.merges):
            return None
        return Route(
            snapshot=snapshot,
            cubes=self.view.handle.reader.cubes,
            window=window,
            keys=list(self.keys),
            conditions=self.asked,
            every=self.every,
            tz=self.tz,
        )

    def of_events(
        self,
        snapshot: Snapshot,
        window: TimeRange,
        shown: Visibility,
        measures: Measures,
        *,
        only_own: bool = False,
    ) -> pl.DataFrame:
        """Return the groups of the events that are shown, or of the trail's own among them."""
        asked = self.asked
        if asked is not None and only_own:
            asked = [*asked, Condition(columns=("source",), expression=IS_OWN, texts=[OWN_SOURCE])]
        files, span = self.view.handle.reader.files, snapshot.span(window)
        stored = all(key.meta.is_column() and name in DICTIONARY_COLUMNS for name, key in self.keys.items())
        if asked is not None and stored and measures.merges:
            grid = Grid.of(span.intersection(window), list(self.keys), self.every, measures, self.tz)
            if grid is not None:
                plan = plan_scan(snapshot.catalog.segments, window, shown, grid.columns, asked)
                found = grid.count(files, snapshot, plan)
                if found is not None:
                    return found
        bounds = (None if us is None else from_us(us) for us in (window.start_us, window.end_us))
        columns = self.view.handle.schema.columns
        events = lazy(files, columns, window, lambda: snapshot, lambda _: shown, tz=self.tz, retries=False)
        return group_by_frame(
            events.filter(IS_OWN) if only_own else events,
            self.by,
            every=None if self.every is None else self.every.text,
            **dict(zip(("start", "end"), bounds, strict=True)),
            where=self.where,
            aggs=measures.columns,
            tz=self.tz,
            now=self.now,
            within=span,
        )

    def shaped(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Return the cells of a tier as groups of events look."""
        measured = [name for name in ("sum", "min", "max") if name in cells.columns]
        cells = cells.with_columns(pl.when(pl.col("value_count") > 0).then(pl.col(name)) for name in measured)
        starts = [] if self.every is None else [shown_starts(cells[START], self.tz)]
        return cells.select(*starts, pl.exclude(START))

    def merged(self, frames: Sequence[pl.DataFrame], measures: Measures) -> pl.DataFrame:
        """Return the groups of several places together, with the measures asked for."""
        groups = [*([] if self.every is None else ["ts"]), *self.keys]
        frames = [frame for frame in frames if frame.height and frame["count"].sum()] or frames[:1]
        if self.every is not None:
            frames = sorted(frames, key=lambda frame: frame["ts"].min() or self.now)
        found = pl.concat(frames)
        if not self._is_apart(frames):
            joins = {
                "sum": pl.when(pl.col("sum").count() > 0).then(pl.col("sum").sum()),
                "min": pl.col("min").min(),
                "max": pl.col("max").max(),
                _TIER: pl.col(_TIER).unique().sort().str.join(", "),
            }
            totals = [joins.get(name, pl.col(name).sum()) for name in found.columns if name not in groups]
            found = found.group_by(groups).agg(totals) if groups else found.select(totals)
            found = found.sort(groups, nulls_last=True) if groups else found
        measured = measures.of_totals(found)
        answer = found.select(groups).hstack(measured) if groups else measured
        return answer if _TIER in answer.columns else answer.with_columns(found[_TIER])

    def _is_apart(self, frames: Sequence[pl.DataFrame]) -> bool:
        """Return whether frames, each of which is in order and has a group once, follow each other in time."""
        if len(frames) == 1 or self.every is None:
            return len(frames) == 1
        return all(one["ts"][-1] < other["ts"][0] for one, other in pairwise(frames))
