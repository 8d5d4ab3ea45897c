"""Counting: a snapshot's events per group and bucket of time, from numbers where that is enough, else from frames."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import polars as pl
from msgspec import Struct

from auditkit.ask.grouping import grouped, plan_grouping
from auditkit.query import UNFILLED, Aggregations, By, Fill
from auditkit.query import downsample as downsample_frame
from auditkit.query import group_by as group_by_frame
from auditkit.query.answers import filled
from auditkit.query.buckets import parse_every
from auditkit.query.filling import check_fill
from auditkit.query.keys import parse_keys
from auditkit.timerange import Duration, TimeRange, from_us
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.reader import SnapshotReader
from auditkit.trail.snapshot import retrying
from auditkit.trail.view import View, window_and_now
from auditkit.trail.wanting import wanted
from auditkit.where import Where, conditions

_T = TypeVar("_T")


class Question(Struct, frozen=True, kw_only=True):
    """One question on its way to `auditkit.query`: the snapshot that may answer it, and the window it is about."""

    source: Source
    snapshot: Snapshot
    window: TimeRange
    now: datetime
    tz: str
    own: bool

    @property
    def schema(self) -> pl.Schema:
        """The columns of events as they leave a trail."""
        return pl.Schema(self.source.schema.columns)

    @property
    def within(self) -> TimeRange:
        """Where all of the events lie, as the catalog knows it."""
        return self.snapshot.span(self.window)

    @property
    def start(self) -> datetime | None:
        """The first moment asked about."""
        return None if self.window.start_us is None else from_us(self.window.start_us)

    @property
    def end(self) -> datetime | None:
        """The moment before which is asked."""
        return None if self.window.end_us is None else from_us(self.window.end_us)

    def events(self) -> pl.LazyFrame:
        """Return the events of the segments that may hold some of the window, with the stored schema."""
        return self.source.frame(self.snapshot, self.window, own=self.own)


def ask(
    view: View, start: object, end: object, answer: Callable[[Question], _T], *, own: bool, tz: str | None
) -> _T:
    """Resolve a window against the view's "now", and let `answer` work on a snapshot until no file is missing."""
    window, now = window_and_now(view, start, end, tz)

    def attempt() -> _T:
        snapshot = view.snapshot()
        snapshot.refuse_pruned(window)
        source = view.core.source
        return answer(
            Question(source=source, snapshot=snapshot, window=window, now=now, tz=tz or view.tz, own=own)
        )

    return retrying(attempt)


def group_by(
    view: View,
    by: By,
    *,
    every: str | None,
    start: object,
    end: object,
    where: Where,
    aggs: Aggregations,
    own: bool,
    tz: str | None,
) -> pl.DataFrame:
    """See `Trail.group_by`."""
    length = None if every is None else parse_every(every)

    def answer(q: Question) -> pl.DataFrame:
        folded = _folded(q, by, length, where, aggs)
        if folded is not None:
            return folded
        return group_by_frame(
            q.events(),
            by,
            every=every,
            start=q.start,
            end=q.end,
            where=where,
            aggs=aggs,
            tz=q.tz,
            now=q.now,
            within=q.within,
        )

    return ask(view, start, end, answer, own=own, tz=tz)


def downsample(
    view: View,
    every: str,
    *,
    by: By,
    start: object,
    end: object,
    where: Where,
    aggs: Aggregations,
    fill: Fill = UNFILLED,
    own: bool,
    tz: str | None,
) -> pl.DataFrame:
    """See `Trail.downsample`."""
    length, fill = parse_every(every), check_fill(fill)

    def answer(q: Question) -> pl.DataFrame:
        folded = _folded(q, by, length, where, aggs)
        if folded is not None:
            names = list(parse_keys(by, q.schema))
            return filled(folded, names, length, q.window, fill, q.tz)
        return downsample_frame(
            q.events(),
            every,
            by=by,
            start=q.start,
            end=q.end,
            where=where,
            aggs=aggs,
            fill=fill,
            tz=q.tz,
            now=q.now,
            within=q.within,
        )

    return ask(view, start, end, answer, own=own, tz=tz)


def _folded(
    q: Question, by: By, every: Duration | None, where: Where, aggs: Aggregations
) -> pl.DataFrame | None:
    """Return the groups folded from numbers, `None` where the question asks for more or there are no events."""
    if isinstance(where, pl.Expr):
        return None
    grouping = plan_grouping(by, every, aggs, q.schema, q.tz)
    if grouping is None:
        return None
    asked = () if where is None else conditions(where, q.schema)
    reading = wanted(q.snapshot, q.window, own=q.own, columns=grouping.columns, conditions=asked)
    return grouped(q.source.files, grouping, reading)
