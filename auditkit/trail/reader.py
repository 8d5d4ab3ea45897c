"""The snapshot reader: takes one consistent moment of a trail.

The queue's tail is read first and the catalog second: in this order nothing is lost or shown twice while others append,
flush and prune, as what leaves the queue between the two is already in the catalog.
"""

from collections.abc import Sequence

import polars as pl
from msgspec import Struct

from auditkit.disk.layout import Layout
from auditkit.errors import CorruptionError, InvalidQueryError
from auditkit.event import EventSchema
from auditkit.query.frames import text_out
from auditkit.queue.tail import QueueTail, TailView
from auditkit.retention.horizon import Newest, horizon_us
from auditkit.retention.policy import Policy, read_policy
from auditkit.retention.visibility import Expiry, Visibility
from auditkit.store.catalog import CurrentCatalog
from auditkit.store.files import SegmentFiles
from auditkit.store.records import CatalogView, FlushRow, MomentRow, PolicyRow, TombstoneRow
from auditkit.store.rollups import Cubes
from auditkit.store.scan import everything, execute, frame_of
from auditkit.store.tiers import Tier, read_tier
from auditkit.trail.snapshot import Snapshot, control_rows, newest_of, pruned_error, tier_rows

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
        policies, moments = _control_events(catalog, tail, as_of)
        policy = read_policy(policies[-1].spec)
        newest = self._newest(catalog, tail, as_of)
        newest = newest.joined(Newest(now_us=max((row.now_us for row in moments), default=None)))
        return Snapshot(
            catalog=catalog,
            tail=tail,
            queue=queue,
            as_of=as_of,
            newest=newest,
            policy=policy,
            expiry=Expiry(policy.cutoff_us(horizon_us(newest))),
            tiers=_tiers(catalog, tail, as_of),
            uncertain=_uncertain(catalog, as_of, newest, policy),
            policies=policies,
            moments=moments,
            allow_pruned=allow_pruned,
        )

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

    def _newest(self, catalog: CatalogView, tail: pl.DataFrame, as_of: int) -> Newest:
        """Return the largest times among the producers' events before `as_of`."""
        flush = _last_flush(catalog, as_of)
        known = 0 if flush is None else flush.end_seq
        newest = (
            Newest()
            if flush is None
            else Newest(ts_us=flush.newest_ts_us, recorded_us=flush.newest_recorded_us)
        )
        for tombstone in catalog.tombstones:
            if known <= tombstone.last_seq < as_of:
                newest = newest.joined(_newest_pruned(tombstone))
        if known == as_of:
            return newest
        return newest.joined(
            newest_of(self._stored(catalog, tail, known, as_of, ("seq", "ts", "recorded", "source")))
        )

    def _stored(
        self, catalog: CatalogView, tail: pl.DataFrame, first: int, end: int, columns: Sequence[str]
    ) -> pl.DataFrame:
        """Return columns of the events with seqs `[first, end)` that are on disk, expired or not.

        The tail, which ends with them, is all there is where no segment has any.
        """
        seen = Visibility(first_seq=first, as_of=end, expiry=Expiry(None), own=True)
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


def _control_events(
    catalog: CatalogView, tail: pl.DataFrame, as_of: int
) -> tuple[list[PolicyRow], list[MomentRow]]:
    policies, moments = control_rows(tail) if tail.height else ([], [])
    return (
        [row for row in (*catalog.policies, *policies) if row.from_seq <= as_of],
        [row for row in (*catalog.moments, *moments) if row.seq < as_of],
    )


def _tiers(catalog: CatalogView, tail: pl.DataFrame, as_of: int) -> dict[str, Tier]:
    declared = [*catalog.tiers, *(tier_rows(tail) if tail.height else ())]
    return {row.name: read_tier(row) for row in declared if row.seq < as_of}


def _newest_pruned(tombstone: TombstoneRow) -> Newest:
    return Newest(ts_us=tombstone.max_ts_us, recorded_us=tombstone.max_recorded_us)


def _uncertain(catalog: CatalogView, as_of: int, newest: Newest, policy: Policy) -> TombstoneRow | None:
    """Return a record of pruned events, some of them before `as_of`, that may have expired others; `None` if none.

    Which of them were before it is not known any more; the newest of them may have been, or not.
    """
    least = policy.cutoff_us(horizon_us(newest))
    for tombstone in catalog.tombstones:
        if tombstone.first_seq < as_of <= tombstone.last_seq:
            most = policy.cutoff_us(horizon_us(newest.joined(_newest_pruned(tombstone))))
            if most != least:
                return tombstone
    return None


def _last_flush(catalog: CatalogView, as_of: int) -> FlushRow | None:
    """Return the last flush that moved nothing but seqs before `as_of`."""
    return max((row for row in catalog.flushes if row.end_seq <= as_of), key=_end_seq, default=None)


def _end_seq(row: FlushRow) -> int:
    return row.end_seq
