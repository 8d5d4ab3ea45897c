"""Maintenance: what is flushed, pruned and merged, and when; the policy, and when it is enforced unasked."""

from datetime import datetime
from time import monotonic

from auditkit.errors import FormatError
from auditkit.keep.compact import LEAST_FILES, compact
from auditkit.keep.prune import note_enforced, plan_whole, prune, record_now
from auditkit.keep.summaries import CompactSummary, MaintainSummary, PruneSummary
from auditkit.retention.policy import Policy, declare_policy
from auditkit.store.catalog import refuse_unknown_features
from auditkit.timerange import partition_start, to_us
from auditkit.trail.handle import Core
from auditkit.trail.snapshot import POLICY_SET, Snapshot
from auditkit.trail.summaries import FlushSummary
from auditkit.write.append import append_own
from auditkit.write.flush import flush
from auditkit.write.retry import expire_letters

FLUSH_AT_EVENTS = 128 * 1024
FLUSH_AT_BYTES = 32 * 1024 * 1024
FLUSH_AFTER_S = 15 * 60
LOOK_EVERY_S = 30.0


def set_policy(core: Core, retention: str | Policy | None) -> Policy:
    """Declare a policy from the next event on; it is in force once this returns."""
    policy = declare_policy(retention)
    append_own(core, POLICY_SET, {"policy": policy.spec})
    return policy


def flush_is_due(core: Core) -> bool:
    """Return whether the queue is large or old enough for a flush."""
    view = core.source.tail.read()
    if view.events.height >= FLUSH_AT_EVENTS or view.size_bytes >= FLUSH_AT_BYTES:
        return True
    oldest = view.oldest_recorded_us
    return oldest is not None and core.clock.now_us() - oldest >= FLUSH_AFTER_S * 1_000_000


def maintenance_is_due(core: Core) -> bool:
    """Return the same to a thread that asks often: it looks closely only every `LOOK_EVERY_S` seconds.

    In between it goes by what this process knows of the queue's end.
    """
    queue, now = core.active_queue(), monotonic()
    if now < core.next_look and not queue.backlog_reached(FLUSH_AT_EVENTS, FLUSH_AT_BYTES):
        return False
    core.next_look = now + LOOK_EVERY_S
    return flush_is_due(core)


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
    refuse_unknown_features(core.layout.catalog, snapshot.catalog)
    enforced = snapshot.catalog.enforced_horizon_us
    planned = bool(plan_whole(snapshot).segments)
    if enforced is None:
        if not planned:
            note_enforced(core, horizon)
        return None
    width = core.partition
    if partition_start(horizon, width) <= partition_start(enforced, width) or enforced < cutoff:
        return None
    if not planned:
        note_enforced(core, horizon)
        expire_letters(core, cutoff)
        return None
    return prune(core, exact=False)


def waits_for_hand(snapshot: Snapshot) -> bool:
    """Return whether expired segments wait for a prune by hand because the horizon jumped."""
    if not plan_whole(snapshot).segments:
        return False
    enforced, cutoff = snapshot.catalog.enforced_horizon_us, snapshot.cutoff_us
    return enforced is None or (cutoff is not None and enforced < cutoff)


def flush_and_enforce(core: Core) -> FlushSummary:
    """Flush, and enforce retention where that is due; what may not be enforced by this version shows in `stats`."""
    summary = flush(core)
    if core.maintains:
        try:
            prune_if_due(core)
        except FormatError as exc:  # the flush is done, and all that was asked for
            core.maintenance_failure = f"{type(exc).__name__}: {exc}"
    return summary


def maintain(core: Core, *, now: datetime | None = None, thoroughly: bool = False) -> MaintainSummary:
    """Do what is due: record `now` where given, flush what is queued, enforce retention, and compact.

    With `thoroughly`, two small segments of a partition are merged already.
    """
    refuse_unknown_features(core.layout.catalog, core.source.catalog.read())
    if now is not None:
        record_now(core, now)
    flushed = flush(core)
    return MaintainSummary(
        flush=flushed if flushed.events else None,
        prune=prune_if_due(core),
        compact=_compacted(core, least=2 if thoroughly else LEAST_FILES),
    )


def maintain_often(core: Core, *, now: datetime | None = None) -> MaintainSummary:
    """Flush once the queue is large or old enough, and then enforce retention and compact.

    For what looks often: a thread of a writer, and a side process.  `now` is recorded only where it begins another
    partition, since retention is enforced no more often than that.  While the trail is being closed it flushes at most:
    nothing else is worth waiting for.
    """
    moved = now is not None and _begins_partition(core, now)
    if now is not None and moved:
        record_now(core, now)
    flushed = flush(core) if flush_is_due(core) else None
    if core.closing:
        return MaintainSummary(flush=flushed, prune=None, compact=None)
    return MaintainSummary(
        flush=flushed,
        prune=prune_if_due(core) if flushed or moved else None,
        compact=_compacted(core) if flushed else None,
    )


def _compacted(core: Core, *, least: int = LEAST_FILES) -> CompactSummary | None:
    done = compact(core, least=least)
    return done if done.replaced else None


def _begins_partition(core: Core, now: datetime) -> bool:
    horizon = core.source.snapshot().horizon_us
    width = core.partition
    return horizon is not None and partition_start(to_us(now), width) > partition_start(horizon, width)
