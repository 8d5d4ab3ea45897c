"""The snapshot reader: takes one consistent moment of a trail.

The queue's tail is read first and the catalog second: in this order nothing is lost or shown twice while others append,
flush and prune, as what leaves the queue between the two is already in the catalog.
"""

from collections.abc import Sequence

import polars as pl
from msgspec import Struct

from auditkit.disk.layout import Layout
from auditkit.errors import CorruptionError, FormatError, InvalidQueryError
from auditkit.event import EventSchema
from auditkit.query.frames import text_out
from auditkit.queue.tail import QueueTail, TailView
from auditkit.retention.holds import MOST_HOLDS, Hold, read_hold
from auditkit.retention.horizon import WINDOW_US, Horizon
from auditkit.retention.policy import Policy, read_policy
from auditkit.retention.visibility import Expiry, Visibility
from auditkit.store.catalog import CurrentCatalog
from auditkit.store.files import SegmentFiles
from auditkit.store.records import CatalogView, FlushRow, HoldRow, MomentRow
from auditkit.store.rollups import Cubes
from auditkit.store.scan import everything, execute, frame_of
from auditkit.store.tiers import read_tier
from auditkit.timerange import TimeRange
from auditkit.trail.snapshot import (
    Declared,
    Snapshot,
    Uncertain,
    by_producers,
    declared,
    horizon_after,
    pruned_error,
)

_ATTEMPTS = 20


class SnapshotReader(Struct, frozen=True):
    """Takes snapshots of one trail."""

    layout: Layout
    schema: EventSchema
    tail: QueueTail
    catalog: CurrentCatalog
    files: SegmentFiles
    cubes: Cubes

    def snapshot(self, at: int | None = None, *, allow_pruned: bool = False) -> Snapshot:
        """Read tail and catalog; with `at`, show only seqs before it.

        Raises `ValueError` for a seq beyond the committed end.
        """
        queue, catalog = self._consistent()
        tail = queue.events
        if tail.height and queue.first_seq < catalog.flushed_seq:
            tail = tail.filter(pl.col("seq") >= catalog.flushed_seq)
        committed = max(queue.end_seq, catalog.flushed_seq)
        as_of = committed if at is None else at
        if not 0 <= as_of <= committed:
            raise InvalidQueryError("seq", as_of, "beyond the committed end", expected=f"0 to {committed}")
        tail = tail if as_of == committed else tail.filter(pl.col("seq") < as_of)
        decided = _decided(catalog, tail, as_of)
        policy = read_policy(decided.policies[-1].spec)
        horizon = self._horizon(catalog, tail, as_of, decided.moments)
        holds = [self._hold(row) for row in _in_force(decided)]
        return Snapshot(
            catalog=catalog,
            tail=tail,
            queue=queue,
            as_of=as_of,
            horizon=horizon,
            policy=policy,
            expiry=Expiry(policy=policy, cutoffs=policy.cutoffs_us(horizon.trusted_us), holds=holds),
            tiers={row.name: read_tier(row) for row in decided.tiers},
            uncertain=self._uncertain(catalog, tail, as_of, policy, decided.moments),
            allow_pruned=allow_pruned,
        )

    def _hold(self, row: HoldRow) -> Hold:
        window = TimeRange(start_us=row.start_us, end_us=row.end_us)
        return read_hold(row.name, row.reason, row.placed_us, window, row.conditions, self.schema.columns)

    def _consistent(self) -> tuple[TailView, CatalogView]:
        for _ in range(_ATTEMPTS):
            queue = self.tail.read()
            catalog = self.catalog.read()
            self.files.forget_others({row.path for row in catalog.segments})
            if queue.files and queue.first_seq <= catalog.flushed_seq:
                return queue, catalog
            # A listing that raced with a flush; both move forward, so the next look fits together.
        if not queue.files:
            raise CorruptionError(
                self.layout.queue, offset=None, reason="the queue folder holds no queue file"
            )
        raise CorruptionError(
            self.layout.queue,
            offset=None,
            reason=f"seqs {catalog.flushed_seq} to {queue.first_seq - 1} are neither queued nor in segments",
        )

    def _horizon(
        self, catalog: CatalogView, tail: pl.DataFrame, as_of: int, moments: Sequence[MomentRow]
    ) -> Horizon:
        """Return the horizon after the events before `as_of`: that of the last flush, and what came since folded."""
        known, horizon = _flushed(_last_flush(catalog, as_of))
        if known == as_of:
            return horizon
        events = self._stored(catalog, tail, known, as_of, ("seq", "ts", "recorded", "source")).sort("seq")
        return horizon_after(horizon, events, [row for row in moments if row.seq >= known])

    def _uncertain(
        self,
        catalog: CatalogView,
        tail: pl.DataFrame,
        as_of: int,
        policy: Policy,
        moments: Sequence[MomentRow],
    ) -> Uncertain | None:
        """Return what is not known of a view, because events are gone that may have moved the horizon before `as_of`.

        The horizon is known before a flush and after it.  Where events of a flush are gone, it lay in between, and not
        beyond what was seen by then, unless they came too late to count.
        """
        known, before = _flushed(_last_flush(catalog, as_of))
        _, after = _flushed(next((row for row in catalog.flushes if row.end_seq > known), None))
        gone = [
            row
            for row in catalog.tombstones
            if row.first_seq < as_of
            and row.last_seq >= known
            and (before.trusted_us is None or row.max_ts_us >= before.trusted_us - WINDOW_US)
        ]
        if known == as_of or not gone or after.trusted_us is None:
            return None
        left = self._stored(catalog, tail, known, as_of, ("ts", "recorded", "source"))
        seen = (
            left.filter(by_producers(left))
            .select(pl.min_horizontal(pl.col("ts", "recorded").to_physical()).max())
            .item()
        )
        moments_us = [row.now_us for row in moments if row.seq >= known]
        most = max(
            us
            for us in (before.trusted_us, seen, *moments_us, *(row.max_ts_us for row in gone))
            if us is not None
        )
        latest = min(most, after.trusted_us)
        if policy.cutoffs_us(before.trusted_us) == policy.cutoffs_us(latest):
            return None
        first = Expiry(policy=policy, cutoffs=policy.cutoffs_us(before.trusted_us)).all_before_us
        return Uncertain(tombstone=gone[0], window=TimeRange(start_us=first, end_us=policy.cutoff_us(latest)))

    def _stored(
        self, catalog: CatalogView, tail: pl.DataFrame, first: int, end: int, columns: Sequence[str]
    ) -> pl.DataFrame:
        """Return columns of the events with seqs `[first, end)` that are on disk, expired or not.

        The tail, which ends with them, is all there is where no segment has any.
        """
        seen = Visibility(first_seq=first, as_of=end, expiry=Expiry(), own=True)
        plan = everything(catalog.segments, columns, seen)
        if not plan.ranges:
            return tail
        found = [one for events in execute(plan, self.files, plan.ranges) for one in events]
        return pl.concat([*([frame_of(found)] if found else []), text_out(tail.select(columns))])

    def accepted_us(self, snapshot: Snapshot) -> int | None:
        """Return when the last event of a snapshot was accepted, `None` where there is none.

        Raises `PrunedError` where that event was pruned since, unless the snapshot allows for it: then it is the
        last of those that are left.
        """
        flush = _last_flush(snapshot.catalog, snapshot.as_of)
        first = 0 if flush is None else flush.end_seq
        if flush is not None and first == snapshot.as_of:
            return flush.last_recorded_us
        recent = self._stored(snapshot.catalog, snapshot.tail, first, snapshot.as_of, ("seq", "recorded"))
        newest, last = recent.select(pl.col("recorded").to_physical().max(), pl.col("seq").max()).row(0)
        if last != snapshot.as_of - 1 and not snapshot.allow_pruned:
            for tombstone in snapshot.catalog.tombstones:
                if tombstone.first_seq < snapshot.as_of <= tombstone.last_seq:
                    raise pruned_error(tombstone, snapshot.as_of)
        return newest if newest is not None or flush is None else flush.last_recorded_us


def _decided(catalog: CatalogView, tail: pl.DataFrame, as_of: int) -> Declared:
    """Return what the trail's own events before `as_of` have decided."""
    later = declared(tail)
    return Declared(
        policies=[row for row in (*catalog.policies, *later.policies) if row.from_seq <= as_of],
        holds=[row for row in (*catalog.holds, *later.holds) if row.from_seq <= as_of],
        releases=[row for row in (*catalog.releases, *later.releases) if row.from_seq <= as_of],
        moments=[row for row in (*catalog.moments, *later.moments) if row.seq < as_of],
        tiers=[row for row in (*catalog.tiers, *later.tiers) if row.seq < as_of],
    )


def _in_force(decided: Declared) -> list[HoldRow]:
    """Return the holds that were not released after they had been placed."""
    released = {row.name: row.from_seq for row in decided.releases}
    found = [row for row in decided.holds if released.get(row.name, 0) < row.from_seq]
    if len(found) > MOST_HOLDS:
        raise FormatError(
            f"holds: more are in force than can be (expected {MOST_HOLDS:,}, found {len(found):,})"
        )
    return found


def _flushed(flush: FlushRow | None) -> tuple[int, Horizon]:
    """Return before which seq everything was flushed, and the horizon by then."""
    return (0, Horizon()) if flush is None else (flush.end_seq, flush.horizon)


def _last_flush(catalog: CatalogView, as_of: int) -> FlushRow | None:
    """Return the last flush that moved nothing but seqs before `as_of`."""
    return max((row for row in catalog.flushes if row.end_seq <= as_of), key=_end_seq, default=None)


def _end_seq(row: FlushRow) -> int:
    return row.end_seq
