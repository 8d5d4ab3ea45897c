"""The population of a window: how many events there are, how many a report shows, and why not the others."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from auditkit.event import OWN_SOURCE
from auditkit.query import text_out
from auditkit.queue.dead_letters import count_letters
from auditkit.timerange import TimeRange, from_us, resolve, to_us
from auditkit.trail.asking import View
from auditkit.trail.snapshot import Snapshot, retrying
from auditkit.where import Where, compile_where

_OWN = pl.col("source").cast(pl.String).eq_missing(OWN_SOURCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpan:
    """One producer's events among those shown; `source` is `None` where none was named."""

    source: str | None
    events: int
    first_ts: datetime
    last_ts: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The events of a window with seq < `as_of`, each counted once.

    shown + filtered + expired + own == stored.  `pruned` counts tombstones that overlap the window, so it is an
    upper bound unless `pruned_exact`; `queued` of the shown are not in segments yet; `dead_letters` are counted
    for the whole trail, having no time of their own.  `first_seq` and `last_seq` are those of the shown.
    """

    window: TimeRange
    as_of: int
    stored: int
    shown: int
    filtered: int
    expired: int
    own: int
    pruned: int
    pruned_exact: bool
    queued: int
    dead_letters: int
    first_seq: int | None
    last_seq: int | None
    horizon: datetime | None
    policy: str
    sources: tuple[SourceSpan, ...]


def population(view: View, start: object, end: object, *, where: Where, tz: str | None) -> Population:
    """Count the events of a window by what a query over it shows and leaves out."""
    window = resolve(start, end, now_us=to_us(view.now()), tz=tz or view.tz)
    return retrying(lambda: _count(view, view.snapshot(), window, where))


def _count(view: View, snapshot: Snapshot, window: TimeRange, where: Where) -> Population:
    stored = view.core.source.stored(snapshot, window)
    within = [pl.lit(value=True)]
    if window.start_us is not None:
        within.append(pl.col("ts") >= from_us(window.start_us))
    if window.end_us is not None:
        within.append(pl.col("ts") < from_us(window.end_us))
    cutoff = snapshot.cutoff_us
    expired = pl.lit(value=False) if cutoff is None else pl.col("ts") < from_us(cutoff)
    matches = compile_where(where, view.core.schema.columns)
    if isinstance(where, pl.Expr):
        stored = text_out(stored)  # a caller's expression sees text, not dictionaries
    wanted = pl.lit(value=True) if matches is None else matches.fill_null(value=False)
    marked = stored.filter(*within).select(
        "seq",
        "ts",
        pl.col("source").cast(pl.String),
        own=_OWN,
        expired=~_OWN & expired,
        filtered=~_OWN & ~expired & ~wanted,
        shown=~_OWN & ~expired & wanted,
    )
    shown = pl.col("shown")
    counts, sources = pl.collect_all(
        [
            marked.select(
                pl.len().alias("stored"),
                pl.col("own", "expired", "filtered", "shown").sum(),
                pl.col("seq").filter(shown).min().alias("first_seq"),
                pl.col("seq").filter(shown).max().alias("last_seq"),
                (shown & (pl.col("seq") >= snapshot.catalog.flushed_seq)).sum().alias("queued"),
            ),
            marked.filter(shown)
            .group_by("source")
            .agg(
                pl.len().alias("events"),
                pl.col("ts").min().alias("first_ts"),
                pl.col("ts").max().alias("last_ts"),
            )
            .sort("source", nulls_last=True),
        ]
    )
    pruned, exact = _pruned(snapshot, window)
    return Population(
        window=window,
        as_of=snapshot.as_of,
        pruned=pruned,
        pruned_exact=exact,
        dead_letters=count_letters(view.core.layout),
        horizon=None if snapshot.horizon_us is None else from_us(snapshot.horizon_us),
        policy=str(snapshot.policy),
        sources=tuple(SourceSpan(**row) for row in sources.iter_rows(named=True)),
        **counts.row(0, named=True),
    )


def _pruned(snapshot: Snapshot, window: TimeRange) -> tuple[int, bool]:
    stones = [
        stone
        for stone in snapshot.catalog.tombstones
        if stone.first_seq < snapshot.as_of and window.overlaps(stone.min_ts_us, stone.max_ts_us)
    ]
    inside = all(
        window.contains(stone.min_ts_us)
        and window.contains(stone.max_ts_us)
        and stone.last_seq < snapshot.as_of
        for stone in stones
    )
    return sum(stone.rows for stone in stones), inside
