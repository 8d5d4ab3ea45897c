"""A view's events as a `LazyFrame`."""

import polars as pl

from auditkit.query.frames import kept
from auditkit.timerange import TimeRange
from auditkit.trail.events import Guard, lazy
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.view import View, window_and_now
from auditkit.where import Where


def scan(view: View, start: object, end: object, *, where: Where, own: bool, tz: str | None) -> pl.LazyFrame:
    """See `Trail.scan`."""
    window, _ = window_and_now(view, start, end, tz)
    return kept(scanned(view, window, own=own, tz=tz or view.tz), where)


def scanned(view: View, window: TimeRange, *, own: bool, tz: str, guard: Guard | None = None) -> pl.LazyFrame:
    """Return the events that a view shows of a window, in the zone `tz`, as of now however often they are collected.

    `guard` is `lazy`'s.  Collecting raises `PrunedError` where events that it would show were pruned since, and `CorruptionError`.
    """
    now = view.snapshot()
    now.refuse_pruned(window)

    def take() -> Snapshot:
        snapshot = view.handle.reader.snapshot(now.as_of, allow_pruned=view.allow_pruned)
        snapshot.refuse_pruned(window)
        return snapshot

    return lazy(
        view.handle.reader.files,
        view.handle.schema.columns,
        window,
        take,
        lambda snapshot: snapshot.visibility(own=own),
        tz=tz,
        guard=guard,
    )
