"""Asking: each question is a snapshot, pruned by the catalog, handed to the functions of `auditkit.query`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import polars as pl

from auditkit.query import UNFILLED, Aggregations, Fill, limited, range_columns, text_out
from auditkit.query import downsample as downsample_frame
from auditkit.query import group_by as group_by_frame
from auditkit.query import range as range_frame
from auditkit.timerange import TimeRange, from_us, resolve, to_us
from auditkit.trail.core import Core
from auditkit.trail.reading import events_in_order, wanted
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.source import retrying
from auditkit.where import Where, conditions

_T = TypeVar("_T")
EVERYTHING = TimeRange(start_us=None, end_us=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Which seqs are asked about, and in which zone times without one are read."""

    core: Core
    at: int | None
    allow_pruned: bool
    tz: str

    def snapshot(self) -> Snapshot:
        """Return what the trail holds now, or held at `at`; a writer commits what it has accepted first."""
        self.core.check_query()
        writer = self.core.writer
        if writer is not None and writer.pending_events:
            writer.commit()
        return self.core.source.snapshot(self.at, allow_pruned=self.allow_pruned)

    def now(self) -> datetime:
        """Return the moment that "-1h" counts from: the clock's, or the acceptance of the last seq shown."""
        if self.at is None:
            return from_us(self.core.clock.now_us())
        accepted = retrying(lambda: self.core.source.accepted_us(self.snapshot()))
        return from_us(self.core.info.created_us if accepted is None else accepted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question on its way to `auditkit.query`: the events that may answer it, and the window it is about."""

    events: pl.LazyFrame
    window: TimeRange
    within: TimeRange
    """Where all of the events lie, as the catalog knows it."""
    now: datetime
    tz: str

    @property
    def start(self) -> datetime | None:
        """The first moment asked about."""
        return None if self.window.start_us is None else from_us(self.window.start_us)

    @property
    def end(self) -> datetime | None:
        """The moment before which is asked."""
        return None if self.window.end_us is None else from_us(self.window.end_us)


def ask(
    view: View, start: object, end: object, answer: Callable[[Question], _T], *, own: bool, tz: str | None
) -> _T:
    """Resolve a window against the view's "now", and let `answer` work on the events of its segments."""
    zone = tz or view.tz
    now = view.now()
    window = resolve(start, end, now_us=to_us(now), tz=zone)

    def attempt() -> _T:
        snapshot = view.snapshot()
        events = view.core.source.frame(snapshot, window, own=own)
        return answer(Question(events=events, window=window, within=snapshot.span(window), now=now, tz=zone))

    return retrying(attempt)


def scan(view: View, start: object, end: object, *, where: Where, own: bool, tz: str | None) -> pl.LazyFrame:
    """See `Trail.scan`."""
    return ask(view, start, end, lambda q: text_out(limited(q.events, q.window, where)), own=own, tz=tz)


def range_(
    view: View,
    start: object,
    end: object,
    *,
    where: Where,
    columns: Sequence[str] | None,
    limit: int | None,
    descending: bool,
    own: bool,
    tz: str | None,
) -> pl.DataFrame:
    """See `Trail.range`."""

    if isinstance(where, pl.Expr):

        def answer(q: Question) -> pl.DataFrame:
            return range_frame(
                q.events,
                q.start,
                q.end,
                where=where,
                columns=columns,
                limit=limit,
                descending=descending,
                tz=q.tz,
                now=q.now,
            )

        return ask(view, start, end, answer, own=own, tz=tz)
    schema = pl.Schema(view.core.schema.columns)
    window = resolve(start, end, now_us=to_us(view.now()), tz=tz or view.tz)
    chosen = range_columns(schema, columns, limit)
    needed = list(dict.fromkeys(root for one in chosen for root in one.meta.root_names()))
    asked = [] if where is None else conditions(where, schema)

    def attempt() -> pl.DataFrame:
        snapshot = view.snapshot()
        snapshot.refuse_pruned(window)
        reading = wanted(snapshot, window, own=own, columns=needed, conditions=asked)
        events = events_in_order(view.core.source.files, reading, limit=limit, descending=descending)
        return events.select(chosen)

    return retrying(attempt)


def group_by(
    view: View,
    by: str | Sequence[str],
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

    def answer(q: Question) -> pl.DataFrame:
        return group_by_frame(
            q.events,
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
    by: str | Sequence[str] | None,
    start: object,
    end: object,
    where: Where,
    aggs: Aggregations,
    fill: Fill = UNFILLED,
    own: bool,
    tz: str | None,
) -> pl.DataFrame:
    """See `Trail.downsample`."""

    def answer(q: Question) -> pl.DataFrame:
        return downsample_frame(
            q.events,
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


def sql(view: View, query: str, *, own: bool) -> pl.DataFrame:
    """See `Trail.sql`."""
    statement = query.lstrip().partition(" ")[0].partition("\n")[0].upper().lstrip("(")
    if statement not in ("SELECT", "WITH"):
        raise ValueError(f"sql: only SELECT is answered (found {statement or query!r})")

    def attempt() -> pl.DataFrame:
        events = view.core.source.frame(view.snapshot(), EVERYTHING, own=own)
        with pl.SQLContext(events=text_out(events)) as context:
            return context.execute(query).collect()

    return retrying(attempt)


def tail(view: View, n: int) -> pl.DataFrame:
    """See `Trail.tail`."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise ValueError(f"n: not a number of events (found {n!r})")

    def attempt() -> pl.DataFrame:
        snapshot = view.snapshot()
        events = view.core.source.frame(snapshot, EVERYTHING, own=True)
        newest = events.filter(pl.col("seq") >= max(0, snapshot.as_of - n)).collect()
        if newest.height < n:  # some of the last seqs are expired or pruned
            newest = events.top_k(n, by="seq").collect()
        return text_out(newest.lazy().sort("seq")).collect()

    return retrying(attempt)
