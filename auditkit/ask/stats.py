"""The state of a trail in numbers: queue, segments, retention."""

from auditkit.keep.compact import plan_compaction
from auditkit.keep.maintain import flush_is_due
from auditkit.keep.plan import enforcement_is_due, waiting
from auditkit.keep.prune import plan_unasked
from auditkit.keep.state import tiers_of
from auditkit.queue.consumers import read_positions
from auditkit.queue.group_commit import Counters
from auditkit.timerange import Width, from_us
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.summaries import ConsumerStats, QueueStats, RetentionStats, SegmentStats, Stats
from auditkit.write.retry import count_waiting


def stats(handle: Handle, snapshot: Snapshot) -> Stats:
    """Return the state that `snapshot` shows."""
    width = handle.partition
    dead_letters, late = count_waiting(handle)
    segments, retention = _segments(snapshot, width), _retention(handle, snapshot, late)
    due = {
        "flush": flush_is_due(handle),
        "prune": retention.prunable > 0 and enforcement_is_due(snapshot, width),
        "compact": segments.mergeable > 0,
    }
    return Stats(
        queue=_queue(handle, snapshot),
        segments=segments,
        retention=retention,
        dead_letters=dead_letters,
        tiers=tiers_of(snapshot),
        consumers=_consumers(handle, snapshot.committed_seq),
        unrecorded=handle.unrecorded,
        due=tuple(task for task, waits in due.items() if waits),
        maintenance_failure=handle.maintenance_failure,
    )


def _queue(handle: Handle, snapshot: Snapshot) -> QueueStats:
    writer = handle.writer
    done = writer.counters if writer is not None else Counters()
    pending = writer.pending_events if writer is not None else 0
    committed = snapshot.committed_seq
    flushed = snapshot.catalog.flushed_seq
    depth = committed - flushed
    waiting = snapshot.tail.get_column("recorded").to_physical()
    return QueueStats(
        depth=depth,
        bytes=snapshot.queue.size_bytes,
        oldest_age_s=max(0, handle.clock.now_us() - int(waiting[0])) / 1e6 if len(waiting) else None,
        pending=pending,
        accepted=committed + pending,
        committed=committed,
        flushed=flushed,
        high_water=done.high_water,
        commits=done.commits,
        mean_group=done.events / done.commits if done.commits else None,
        mean_commit_ms=done.commit_s / done.commits * 1e3 if done.commits else None,
        slowest_commit_ms=done.slowest_commit_s * 1e3 if done.commits else None,
        blocked_s=done.blocked_s,
        duplicates=done.duplicates,
    )


def _segments(snapshot: Snapshot, width: Width) -> SegmentStats:
    rows = snapshot.catalog.segments
    merges = plan_compaction(rows, width, snapshot.horizon_us)
    return SegmentStats(
        count=len(rows),
        rows=sum(row.rows for row in rows),
        bytes=sum(row.size_bytes for row in rows),
        partitions=len({row.partition for row in rows}),
        mergeable=sum(len(merge.segments) for merge in merges),
        replaced=len(snapshot.catalog.replaced),
        first_ts=from_us(min(row.min_ts_us for row in rows)) if rows else None,
        last_ts=from_us(max(row.max_ts_us for row in rows)) if rows else None,
    )


def _retention(handle: Handle, snapshot: Snapshot, late: int) -> RetentionStats:
    plan, horizon = plan_unasked(handle, snapshot), snapshot.horizon
    ahead_us = None if horizon.trusted_us is None else horizon.waiting_to_us
    tombstones = snapshot.catalog.tombstones
    return RetentionStats(
        policy=plan.policy,
        horizon=plan.horizon,
        ahead=None if ahead_us is None else from_us(ahead_us),
        cutoff=plan.cutoff,
        prunable=plan.rows,
        held=sum(one.events for one in plan.held),
        waiting=waiting(snapshot, handle.partition, plan),
        late=late,
        refused=handle.late.refused,
        pruned=sum(tombstone.rows for tombstone in tombstones),
        tombstones=len(tombstones),
        last_prune=from_us(max(tombstone.pruned_us for tombstone in tombstones)) if tombstones else None,
    )


def _consumers(handle: Handle, committed: int) -> tuple[ConsumerStats, ...]:
    return tuple(
        ConsumerStats(
            name=name,
            position=position.next_seq,
            lag=max(0, committed - position.next_seq),
            missed=position.missed,
            given_up=position.given_up,
            moved=from_us(position.moved_us),
        )
        for name, position in read_positions(handle.layout)
    )
