"""Keeping: the policy of a trail, and pruning what it no longer keeps.

Nothing is removed but whole segments whose producers' events are all expired; each leaves a tombstone, the
trail's own events move to a segment of their own, and a prune is itself an event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import polars as pl

from auditkit.errors import AuditError
from auditkit.event import OWN_SOURCE
from auditkit.keep.plan import PrunePlan, plan_segments
from auditkit.keep.policy import Policy, declare_policy
from auditkit.store.catalog import change_catalog
from auditkit.store.records import CatalogChange, PruneStateRow, SegmentRow, TombstoneRow
from auditkit.store.segment import read_segment, write_segment
from auditkit.timerange import partition_start, to_us
from auditkit.trail.accepting import append_own
from auditkit.trail.core import Core
from auditkit.trail.snapshot import NOW_RECORDED, POLICY_SET, PRUNED, Snapshot
from auditkit.trail.writing import FLUSH_AT_BYTES, FLUSH_AT_EVENTS, FlushSummary, flush, flush_is_due
from auditkit.wording import counted

LOOK_EVERY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSummary:
    """What a prune removed; `plan` says why."""

    plan: PrunePlan
    events: int
    segments: int
    bytes: int

    def __str__(self) -> str:
        if not self.segments:
            return "nothing to prune"
        return (
            f"pruned {counted(self.events, 'event')} in {counted(self.segments, 'segment')} "
            f"({self.bytes:,} bytes freed)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintainSummary:
    """What a round of maintenance did; a part that was not due is `None`."""

    flush: FlushSummary | None
    prune: PruneSummary | None

    def __str__(self) -> str:
        done = [str(part) for part in (self.flush, self.prune) if part is not None]
        return "; ".join(done) or "nothing was due"


def set_policy(core: Core, retention: str | Policy | None) -> Policy:
    """Declare a policy from the next event on; it is in force once this returns."""
    policy = declare_policy(retention)
    append_own(core, POLICY_SET, {"policy": policy.spec})
    return policy


def record_now(core: Core, now: datetime) -> None:
    """Record a moment as the trail's "now", which moves the horizon of an idle trail.

    A moment ahead of the machine's clock is refused with `ValueError`.
    """
    now_us = to_us(now)
    if now_us > core.clock.now_us():
        raise ValueError(f"now: ahead of the machine's clock (found {now.isoformat()})")
    append_own(core, NOW_RECORDED, {"now_us": now_us})


def plan_prune(snapshot: Snapshot, *, now: datetime | None = None) -> PrunePlan:
    """Say what `prune` would remove; writes nothing.  With `now`, as if that moment had been recorded."""
    horizon = snapshot.horizon_us
    if now is not None:
        horizon = to_us(now) if horizon is None else max(horizon, to_us(now))
    return plan_segments(snapshot.catalog.segments, snapshot.policy, horizon)


def prune(core: Core, plan: PrunePlan | None = None, *, now: datetime | None = None) -> PruneSummary:
    """Remove segments of expired events, after flushing; returns what was removed.

    With `plan`, only what that plan names and is still expired.  On return the catalog names no removed segment,
    a tombstone stands for each, and their files are gone.  If it raises, each segment either still counts whole
    or is recorded as pruned.
    """
    if now is not None:
        record_now(core, now)
    flush(core)
    with core.maintenance():
        snapshot = core.source.snapshot()
        current = plan_prune(snapshot)
        chosen = {segment.path for segment in current.segments}
        if plan is not None:
            chosen &= {segment.path for segment in plan.segments}
        victims = [row for row in snapshot.catalog.segments if row.path in chosen]
        events = _remove(core, snapshot, victims)
        freed = sum(row.size_bytes for row in victims)
    if victims:
        _record_prune(core, snapshot, victims, events)
    return PruneSummary(plan=current, events=events, segments=len(victims), bytes=freed)


def prune_if_due(core: Core) -> PruneSummary | None:
    """Enforce the policy where that is due and safe to do unasked.

    At most once per partition width of the horizon.  A horizon that jumped by more than the keep time since the
    last enforcement (a broken clock, one current event after an old import) prunes nothing by itself: `stats()`
    shows what waits, and `prune()` by hand does it.
    """
    snapshot = core.source.snapshot()
    horizon, cutoff = snapshot.horizon_us, snapshot.cutoff_us
    if horizon is None or cutoff is None:
        return None
    enforced = snapshot.catalog.enforced_horizon_us
    planned = bool(plan_prune(snapshot).segments)
    if enforced is None:
        if not planned:
            _note_enforced(core, horizon)
        return None
    width = core.partition
    if partition_start(horizon, width) <= partition_start(enforced, width) or enforced < cutoff:
        return None
    if not planned:
        _note_enforced(core, horizon)
        return None
    return prune(core)


def waits_for_hand(snapshot: Snapshot) -> bool:
    """Say whether expired segments wait for a prune by hand because the horizon jumped."""
    if not plan_prune(snapshot).segments:
        return False
    enforced, cutoff = snapshot.catalog.enforced_horizon_us, snapshot.cutoff_us
    return enforced is None or (cutoff is not None and enforced < cutoff)


def flush_and_enforce(core: Core) -> FlushSummary:
    """Flush, and enforce retention where that is due."""
    summary = flush(core)
    if core.maintains:
        prune_if_due(core)
    return summary


def maintain(core: Core, *, now: datetime | None = None) -> MaintainSummary:
    """Do what is due: record `now` where given, flush what is queued, and enforce retention."""
    if now is not None:
        record_now(core, now)
    flushed = flush(core)
    return MaintainSummary(flush=flushed if flushed.events else None, prune=prune_if_due(core))


def maintain_when_due(core: Core) -> None:
    """Do what is due, from the writer's thread, which looks closely only every `LOOK_EVERY_S` seconds.

    In between it goes by what this process knows of the queue's end.
    """
    queue, now = core.active_queue(), monotonic()
    if now >= core.next_look or queue.backlog_reached(FLUSH_AT_EVENTS, FLUSH_AT_BYTES):
        core.next_look = now + LOOK_EVERY_S
        maintain_often(core)


def maintain_often(core: Core, *, now: datetime | None = None) -> MaintainSummary:
    """Flush once the queue is large or old enough, and then enforce retention.

    For whoever looks often: the writer's thread, and a side process.  `now` is recorded only where it begins another
    partition, since retention is enforced no more often than that.
    """
    moved = now is not None and _begins_partition(core, now)
    if now is not None and moved:
        record_now(core, now)
    flushed = flush(core) if flush_is_due(core) else None
    return MaintainSummary(flush=flushed, prune=prune_if_due(core) if flushed or moved else None)


def _begins_partition(core: Core, now: datetime) -> bool:
    horizon = core.source.snapshot().horizon_us
    width = core.partition
    return horizon is not None and partition_start(to_us(now), width) > partition_start(horizon, width)


def _remove(core: Core, snapshot: Snapshot, victims: Sequence[SegmentRow]) -> int:
    """Take segments out of the catalog in one transaction, then off the disk; returns the events removed."""
    if not victims:
        if snapshot.horizon_us is not None:
            _note_enforced(core, snapshot.horizon_us)
        return 0
    moved = [row for victim in victims if (row := _move_own_events(core, victim)) is not None]
    stones = [_tombstone(core, snapshot, row) for row in victims]
    horizon = snapshot.horizon_us
    change_catalog(
        core.layout.catalog,
        CatalogChange(
            add_segments=moved,
            remove_segments=[row.path for row in victims],
            tombstones=stones,
            prune_state=None if horizon is None else PruneStateRow(horizon_us=horizon),
        ),
    )
    for row in victims:
        core.disk.unlink(core.layout.segments / row.path)
    for partition in sorted({row.partition for row in victims}):
        core.disk.remove_directory_if_empty(core.layout.segments / partition)
    core.disk.sync_directory(core.layout.segments)
    return sum(stone.rows for stone in stones)


def _move_own_events(core: Core, row: SegmentRow) -> SegmentRow | None:
    """Write the trail's own events of a segment into a small one of the same partition."""
    if not row.own_rows:
        return None
    events = read_segment(core.layout, row, core.schema)
    own = events.filter(pl.col("source").cast(pl.String).eq_missing(OWN_SOURCE))
    if own.height != row.own_rows:
        raise AuditError(
            f"{row.path}: own events do not add up (expected {row.own_rows}, found {own.height})"
        )
    return write_segment(core.disk, core.layout, core.modes, core.schema, row.partition, own)


def _tombstone(core: Core, snapshot: Snapshot, row: SegmentRow) -> TombstoneRow:
    assert snapshot.horizon_us is not None  # noqa: S101 -- nothing expires without a horizon
    assert snapshot.cutoff_us is not None  # noqa: S101 -- nor without a cutoff
    assert row.producers_max_ts_us is not None  # noqa: S101 -- only segments with producers' events are planned
    assert row.producers_max_recorded_us is not None  # noqa: S101 -- see above
    return TombstoneRow(
        path=row.path,
        partition=row.partition,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        rows=row.rows - row.own_rows,
        min_ts_us=row.min_ts_us,
        max_ts_us=row.producers_max_ts_us,
        max_recorded_us=row.producers_max_recorded_us,
        sha256=row.sha256,
        policy=str(snapshot.policy),
        horizon_us=snapshot.horizon_us,
        cutoff_us=snapshot.cutoff_us,
        pruned_us=core.clock.now_us(),
        end_seq=snapshot.as_of,
    )


def _record_prune(core: Core, snapshot: Snapshot, victims: Sequence[SegmentRow], events: int) -> None:
    append_own(
        core,
        PRUNED,
        {
            "events": events,
            "segments": len(victims),
            "bytes": sum(row.size_bytes for row in victims),
            "min_ts_us": min(row.min_ts_us for row in victims),
            "max_ts_us": max(row.max_ts_us for row in victims),
            "policy": str(snapshot.policy),
            "horizon_us": snapshot.horizon_us,
            "cutoff_us": snapshot.cutoff_us,
        },
    )


def _note_enforced(core: Core, horizon_us: int) -> None:
    change_catalog(core.layout.catalog, CatalogChange(prune_state=PruneStateRow(horizon_us=horizon_us)))
