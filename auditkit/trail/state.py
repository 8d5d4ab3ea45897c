"""The state of a trail in numbers: queue, segments, retention."""

from dataclasses import dataclass
from datetime import datetime

from auditkit.queue.dead_letters import count_letters
from auditkit.queue.writer import Counters
from auditkit.timerange import from_us
from auditkit.trail.core import Core
from auditkit.trail.keeping import plan_prune, waits_for_hand
from auditkit.trail.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """The queue.  `accepted`, `committed` and `flushed` are exclusive ends of seqs."""

    depth: int
    """Committed events that are not in segments yet."""
    bytes: int
    oldest_age_s: float | None
    """Seconds since the oldest of them was accepted."""
    pending: int
    """Events this process has accepted and not committed yet."""
    accepted: int
    committed: int
    flushed: int
    high_water: int
    """The most events that waited for one commit of this object."""
    commits: int
    """Commits made through this object; the figures below are about them too."""
    mean_group: float | None
    """Events per commit."""
    mean_commit_ms: float | None
    slowest_commit_ms: float | None
    blocked_s: float
    """Seconds that callers spent committing or flushing because a bound was reached."""
    duplicates: int
    """Events that repeated one accepted before, and were not stored again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStats:
    """The segments that count."""

    count: int
    rows: int
    bytes: int
    partitions: int
    first_ts: datetime | None
    last_ts: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionStats:
    """The policy and what it has done.  Events with `ts` before `cutoff` are expired."""

    policy: str
    horizon: datetime | None
    cutoff: datetime | None
    prunable: int
    """Events in segments that `prune()` would remove now."""
    waits_for_hand: bool
    """True where they stay until somebody prunes by hand, because the horizon jumped."""
    pruned: int
    tombstones: int
    last_prune: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The state of a trail at one moment."""

    queue: QueueStats
    segments: SegmentStats
    retention: RetentionStats
    dead_letters: int


def stats(core: Core, snapshot: Snapshot) -> Stats:
    """Return the state that `snapshot` shows."""
    return Stats(
        queue=_queue(core, snapshot),
        segments=_segments(snapshot),
        retention=_retention(snapshot),
        dead_letters=count_letters(core.layout),
    )


def _queue(core: Core, snapshot: Snapshot) -> QueueStats:
    writer = core.writer
    done = writer.counters if writer is not None else Counters()
    pending = writer.pending_events if writer is not None else 0
    committed = snapshot.committed_seq
    flushed = snapshot.catalog.flushed_seq
    oldest = snapshot.queue.oldest_recorded_us
    depth = committed - flushed
    return QueueStats(
        depth=depth,
        bytes=snapshot.queue.size_bytes,
        oldest_age_s=max(0, core.clock.now_us() - oldest) / 1e6 if depth and oldest is not None else None,
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


def _segments(snapshot: Snapshot) -> SegmentStats:
    rows = snapshot.catalog.segments
    return SegmentStats(
        count=len(rows),
        rows=sum(row.rows for row in rows),
        bytes=sum(row.size_bytes for row in rows),
        partitions=len({row.partition for row in rows}),
        first_ts=from_us(min(row.min_ts_us for row in rows)) if rows else None,
        last_ts=from_us(max(row.max_ts_us for row in rows)) if rows else None,
    )


def _retention(snapshot: Snapshot) -> RetentionStats:
    plan = plan_prune(snapshot)
    stones = snapshot.catalog.tombstones
    return RetentionStats(
        policy=plan.policy,
        horizon=plan.horizon,
        cutoff=plan.cutoff,
        prunable=plan.rows,
        waits_for_hand=waits_for_hand(snapshot),
        pruned=sum(stone.rows for stone in stones),
        tombstones=len(stones),
        last_prune=from_us(max(stone.pruned_us for stone in stones)) if stones else None,
    )
