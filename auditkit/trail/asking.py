"""Asking: each question is a snapshot, pruned by the catalog, handed to the functions of `auditkit.query`."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

import polars as pl
from msgspec import Struct

from auditkit.query import UNFILLED, Aggregations, By, Fill, kept, range_columns, text_out
from auditkit.query import downsample as downsample_frame
from auditkit.query import group_by as group_by_frame
from auditkit.query import range as range_frame
from auditkit.query.answers import filled
from auditkit.query.buckets import parse_every
from auditkit.query.filling import check_fill
from auditkit.query.keys import parse_keys
from auditkit.timerange import Duration, TimeRange, from_us, resolve, to_us
from auditkit.trail.core import Core
from auditkit.trail.decoding import wanted
from auditkit.trail.grouping import grouped, plan_grouping
from auditkit.trail.reading import events_in_order
from auditkit.trail.scanning import scan_events
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.source import Source, retrying
from auditkit.where import InvalidQueryError, Where, conditions

_T = TypeVar("_T")
EVERYTHING = TimeRange(start_us=None, end_us=None)
_SQL_TIMES = (
    "times: ts >= DATE '2026-11-24', ts < '2026-11-24T07:00:00Z' or '2026-11-24T07:00:00Z'::timestamptz; "
    "a TIMESTAMP literal has no zone and cannot be compared with ts"
)
_SQL_ATTRS = (
    "values inside attrs: this dialect has no json_extract and no ->>; use where={'attrs.key': ...} of the other "
    "questions, or ak.attr('key') with trail.scan()"
)


class View(Struct, frozen=True, kw_only=True):
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
    window, now = _window(view, start, end, tz)

    def attempt() -> _T:
        snapshot = view.snapshot()
        snapshot.refuse_pruned(window)
        source = view.core.source
        return answer(
            Question(source=source, snapshot=snapshot, window=window, now=now, tz=tz or view.tz, own=own)
        )

    return retrying(attempt)


def _window(view: View, start: object, end: object, tz: str | None) -> tuple[TimeRange, datetime]:
    """Return the window and the moment that durations in it count from, asked for only where there are some."""
    relative = any(isinstance(bound, str) and bound.lstrip()[:1] in ("+", "-") for bound in (start, end))
    now = view.now() if relative else from_us(0)
    return resolve(start, end, now_us=to_us(now), tz=tz or view.tz), now


def scan(view: View, start: object, end: object, *, where: Where, own: bool, tz: str | None) -> pl.LazyFrame:
    """See `Trail.scan`."""
    window, _ = _window(view, start, end, tz)
    return kept(_scanned(view, window, own=own), where)


def _scanned(view: View, window: TimeRange, *, own: bool) -> pl.LazyFrame:
    snapshot = view.snapshot()
    snapshot.refuse_pruned(window)
    return scan_events(view.core.source, window, at=snapshot.as_of, allow_pruned=view.allow_pruned, own=own)


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

    window, _ = _window(view, start, end, tz)
    if isinstance(where, pl.Expr):
        events = _scanned(view, window, own=own)
        return range_frame(events, where=where, columns=columns, limit=limit, descending=descending)
    schema = pl.Schema(view.core.schema.columns)
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


def sql(view: View, query: str, *, own: bool) -> pl.DataFrame:
    """See `Trail.sql`."""
    statement = query.lstrip().partition(" ")[0].partition("\n")[0].upper().lstrip("(")
    if statement not in ("SELECT", "WITH"):
        raise ValueError(f"sql: only SELECT is answered (found {statement or query!r})")

    with pl.SQLContext(events=_scanned(view, EVERYTHING, own=own)) as context:
        try:
            return context.execute(query).collect()
        except pl.exceptions.PolarsError as exc:
            error = InvalidQueryError("sql", query, str(exc).partition("\n")[0])
            error.add_note(_SQL_TIMES)
            error.add_note(_SQL_ATTRS)
            raise error from exc


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
