"""The population of a window: how many events there are, how many a report shows, and why not the others.

What depends on trail, question and seq alone stays the same however often it is asked: an event that was expired
at that seq counts as expired, whether or not it was removed from the disk since.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from msgspec.structs import replace

from auditkit.retention.policy import IS_OWN
from auditkit.store.files import retrying
from auditkit.store.records import TombstoneRow
from auditkit.timerange import EVERYTHING, TimeRange, from_us, resolve, to_us
from auditkit.trail.events import lazy
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.view import View
from auditkit.where import Where, compile_where
from auditkit.write.retry import count_waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpan:
    """One producer's events among those shown; `source` is `None` where none was named."""

    source: str | None
    events: int
    first_ts: datetime
    last_ts: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentSource:
    """A producer with events before the window and none in it, whatever the filter; `last_ts` is its last one."""

    source: str
    last_ts: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The events of a window with seq < `as_of`, each counted once.

    shown + filtered + expired + own + pruned == accepted.  What is no longer on disk is known by the bounds of its
    tombstones only, so that `accepted`, `expired` and `pruned` are upper bounds unless `exact`.  `first_seq` and
    `last_seq` are those of the shown; `missing` counts the seqs before `as_of` that are neither stored nor
    recorded as removed, `None` where a removal reached beyond `as_of`.

    `held` of the shown would be expired but for a hold.  Two are about the moment of asking: `queued` of the shown are not in segments yet, and `dead_letters`, having no
    seq, are all inputs of any time that have not become events, by a retry either.
    """

    window: TimeRange
    as_of: int
    accepted: int
    shown: int
    filtered: int
    expired: int
    own: int
    pruned: int
    exact: bool
    held: int
    queued: int
    dead_letters: int
    first_seq: int | None
    last_seq: int | None
    missing: int | None
    horizon: datetime | None
    policy: str
    sources: tuple[SourceSpan, ...]
    silent: tuple[SilentSource, ...]


def population(view: View, start: object, end: object, *, where: Where, tz: str | None) -> Population:
    """Count the events of a window by what a query over it shows and leaves out."""
    window = resolve(start, end, now_us=to_us(view.now()), tz=tz or view.tz)
    return retrying(lambda: _count(view, view.snapshot(), window, where))


def _count(view: View, snapshot: Snapshot, window: TimeRange, where: Where) -> Population:
    marked = _marked(view, snapshot, window, where)
    shown = pl.col("shown")
    counts, sources, heard = pl.collect_all(
        [
            marked.select(
                pl.col("own", "expired", "filtered", "shown", "held").sum(),
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
            marked.filter(~pl.col("own")).select(pl.col("source").unique()),
        ]
    )
    counted = counts.row(0, named=True)
    tombstones = [
        tombstone
        for tombstone in snapshot.catalog.tombstones
        if tombstone.first_seq < snapshot.as_of and window.overlaps(tombstone.min_ts_us, tombstone.max_ts_us)
    ]
    # A prune notes itself as an event; a view that ends before that event is of the time before it.
    pruned = sum(tombstone.rows for tombstone in tombstones if tombstone.end_seq < snapshot.as_of)
    expired = counted.pop("expired") + sum(tombstone.rows for tombstone in tombstones) - pruned
    return Population(
        window=window,
        as_of=snapshot.as_of,
        accepted=counted["shown"] + counted["filtered"] + expired + counted["own"] + pruned,
        expired=expired,
        pruned=pruned,
        exact=all(_inside(tombstone, window, snapshot.as_of) for tombstone in tombstones),
        dead_letters=count_waiting(view.handle)[0],
        missing=_missing(view, snapshot),
        horizon=None if snapshot.horizon_us is None else from_us(snapshot.horizon_us),
        policy=str(snapshot.policy),
        sources=tuple(SourceSpan(**row) for row in sources.iter_rows(named=True)),
        silent=_silent(view, snapshot, window, heard["source"].to_list()),
        **counted,
    )


def _marked(view: View, snapshot: Snapshot, window: TimeRange, where: Where) -> pl.LazyFrame:
    """Return seq, ts and source of the stored events of a window, with a flag for what becomes of each."""
    stored = _stored(view, snapshot, window)
    within = [pl.lit(value=True)]
    if window.start_us is not None:
        within.append(pl.col("ts") >= from_us(window.start_us))
    if window.end_us is not None:
        within.append(pl.col("ts") < from_us(window.end_us))
    expired = snapshot.expiry.expression
    matches = compile_where(where, view.handle.schema.columns)
    wanted = pl.lit(value=True) if matches is None else matches.fill_null(value=False)
    spared = (
        expired.not_() & replace(snapshot.expiry, holds=()).expression
        if snapshot.holds
        else pl.lit(value=False)
    )
    return stored.filter(*within).select(
        "seq",
        "ts",
        pl.col("source").cast(pl.String),
        own=IS_OWN,
        expired=expired,
        filtered=~IS_OWN & ~expired & ~wanted,
        shown=~IS_OWN & ~expired & wanted,
        held=~IS_OWN & spared & wanted,
    )


def _stored(view: View, snapshot: Snapshot, window: TimeRange) -> pl.LazyFrame:
    """Return the events of a window that are on disk, expired or not."""
    handle = view.handle
    return lazy(
        handle.reader.files,
        handle.schema.columns,
        window,
        lambda: snapshot,
        lambda taken: taken.stored,
        retries=False,
    )


def _inside(tombstone: TombstoneRow, window: TimeRange, as_of: int) -> bool:
    """Say whether all events of a tombstone are events of the window before `as_of`."""
    return (
        window.contains(tombstone.min_ts_us)
        and window.contains(tombstone.max_ts_us)
        and tombstone.last_seq < as_of
    )


def _silent(
    view: View, snapshot: Snapshot, window: TimeRange, heard: Sequence[str | None]
) -> tuple[SilentSource, ...]:
    """Return the sources that are known from before the window and not heard in it."""
    if window.start_us is None:
        return ()
    before = TimeRange(start_us=None, end_us=window.start_us)
    last = (
        _stored(view, snapshot, before)
        .filter(pl.col("ts") < from_us(window.start_us), ~IS_OWN, ~snapshot.expiry.expression)
        .group_by(pl.col("source").cast(pl.String))
        .agg(pl.col("ts").max().alias("last_ts"))
        .drop_nulls("source")
        .sort("source")
        .collect()
    )
    known = set(heard)
    return tuple(SilentSource(**row) for row in last.iter_rows(named=True) if row["source"] not in known)


def _missing(view: View, snapshot: Snapshot) -> int | None:
    """Count the seqs before `as_of` that nothing accounts for; segments are read only where they reach beyond it."""
    as_of, catalog = snapshot.as_of, snapshot.catalog
    if any(tombstone.first_seq < as_of <= tombstone.last_seq for tombstone in catalog.tombstones):
        return None
    removed = sum(tombstone.rows for tombstone in catalog.tombstones if tombstone.last_seq < as_of)
    if any(row.first_seq < as_of <= row.last_seq for row in catalog.segments):
        held = int(_stored(view, snapshot, EVERYTHING).select(pl.len()).collect().item())
    else:
        held = sum(row.rows for row in catalog.segments if row.last_seq < as_of) + snapshot.tail.height
    return as_of - held - removed
