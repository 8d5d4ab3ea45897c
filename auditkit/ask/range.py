"""Asking: each question is a snapshot, pruned by the catalog, handed to the functions of `auditkit.query`."""

from collections.abc import Sequence

import polars as pl

from auditkit import query as questions
from auditkit.ask.scan import scan_events
from auditkit.errors import InvalidQueryError
from auditkit.query import kept, range_columns, text_out
from auditkit.timerange import EVERYTHING, TimeRange
from auditkit.trail.reading import events_in_order
from auditkit.trail.snapshot import retrying
from auditkit.trail.view import View, window_and_now
from auditkit.trail.wanting import wanted
from auditkit.where import Where, conditions

_SQL_TIMES = (
    "times: ts >= DATE '2026-11-24', ts < '2026-11-24T07:00:00Z' or '2026-11-24T07:00:00Z'::timestamptz; "
    "a TIMESTAMP literal has no zone and cannot be compared with ts"
)
_SQL_ATTRS = (
    "values inside attrs: this dialect has no json_extract and no ->>; use where={'attrs.key': ...} of the other "
    "questions, or ak.attr('key') with trail.scan()"
)


def scan(view: View, start: object, end: object, *, where: Where, own: bool, tz: str | None) -> pl.LazyFrame:
    """See `Trail.scan`."""
    window, _ = window_and_now(view, start, end, tz)
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

    window, _ = window_and_now(view, start, end, tz)
    if isinstance(where, pl.Expr):
        events = _scanned(view, window, own=own)
        return questions.range(events, where=where, columns=columns, limit=limit, descending=descending)
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
        first, source = max(0, snapshot.as_of - n), view.core.source
        recent = source.frame(snapshot.of_seqs(first, snapshot.as_of), EVERYTHING, own=True)
        newest = recent.filter(pl.col("seq") >= first).collect()
        if first and newest.height < n:  # some of the last seqs are expired or pruned
            newest = source.frame(snapshot, EVERYTHING, own=True).top_k(n, by="seq").collect()
        return text_out(newest.lazy().sort("seq")).collect()

    return retrying(attempt)
