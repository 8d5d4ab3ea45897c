"""The events of a window in order, and the last ones."""

from collections.abc import Sequence

import polars as pl

from auditkit import query as questions
from auditkit.ask.scan import scanned
from auditkit.errors import InvalidQueryError
from auditkit.query.frames import in_zone, range_columns
from auditkit.store.files import retrying
from auditkit.timerange import EVERYTHING
from auditkit.trail.events import in_order, plan_events
from auditkit.trail.view import View, window_and_now
from auditkit.where import Where, conditions


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
    zone = tz or view.tz
    if isinstance(where, pl.Expr):
        events = scanned(view, window, own=own, tz=zone)
        return questions.range(events, where=where, columns=columns, limit=limit, descending=descending)
    schema = pl.Schema(view.handle.schema.columns)
    chosen = range_columns(schema, columns, limit)
    needed = list(dict.fromkeys(root for one in chosen for root in one.meta.root_names()))
    asked = [] if where is None else conditions(where, schema)

    def attempt() -> pl.DataFrame:
        snapshot = view.snapshot()
        snapshot.refuse_pruned(window)
        plan = plan_events(snapshot, window, snapshot.visibility(own=own), needed, asked)
        events = in_order(view.handle.reader.files, snapshot, plan, limit=limit, descending=descending)
        return in_zone(events.select(chosen), zone)

    return retrying(attempt)


def tail(view: View, n: int) -> pl.DataFrame:
    """See `Trail.tail`."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise InvalidQueryError("n", n, "not a number of events")

    def attempt() -> pl.DataFrame:
        snapshot = view.snapshot()
        snapshot.refuse_pruned(EVERYTHING)
        plan = plan_events(snapshot, EVERYTHING, snapshot.visibility(own=True), view.handle.schema.columns)
        last = in_order(view.handle.reader.files, snapshot, plan, by=("seq",), limit=n, descending=True)
        return in_zone(last.reverse(), view.tz)

    return retrying(attempt)
