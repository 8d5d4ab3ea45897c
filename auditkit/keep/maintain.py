"""Maintenance: what is flushed, rolled up, pruned and merged, and when it is done unasked."""

from datetime import datetime
from time import monotonic

from auditkit.errors import FormatError
from auditkit.keep.compact import LEAST_FILES, compact
from auditkit.keep.plan import enforcement_is_due, waiting
from auditkit.keep.prune import plan_unasked, prune, record_now
from auditkit.keep.rollup import FOLD_AT_EVENTS, roll_up
from auditkit.keep.summaries import CompactSummary, MaintainSummary, PruneSummary, RollupSummary
from auditkit.store.catalog import refuse_unknown_features
from auditkit.timerange import partition_start, to_us
from auditkit.trail.handle import Handle
from auditkit.trail.summaries import FlushSummary, Waiting
from auditkit.write.flush import flush

FLUSH_AT_EVENTS = 128 * 1024
FLUSH_AT_BYTES = 32 * 1024 * 1024
FLUSH_AFTER_S = 15 * 60
LOOK_EVERY_S = 30.0


def flush_is_due(handle: Handle) -> bool:
    """Return whether the queue is large or old enough for a flush."""
    view = handle.reader.tail.read()
    if view.events.height >= FLUSH_AT_EVENTS or view.size_bytes >= FLUSH_AT_BYTES:
        return True
    oldest = view.oldest_recorded_us
    return oldest is not None and handle.clock.now_us() - oldest >= FLUSH_AFTER_S * 1_000_000


def maintenance_is_due(handle: Handle) -> bool:
    """Return the same to a thread that asks often: it looks closely only every `LOOK_EVERY_S` seconds.

    In between it goes by what this process knows of the queue's end.
    """
    queue, now = handle.active_queue(), monotonic()
    if now < handle.next_look and not queue.backlog_reached(FLUSH_AT_EVENTS, FLUSH_AT_BYTES):
        return False
    handle.next_look = now + LOOK_EVERY_S
    return flush_is_due(handle)


def prune_if_due(handle: Handle) -> PruneSummary | None:
    """Enforce the policy where that is due: once for each partition width that the horizon moves on."""
    snapshot = handle.reader.snapshot()
    if snapshot.cutoff_us is None:
        return None
    refuse_unknown_features(handle.layout.catalog, snapshot.catalog)
    if not enforcement_is_due(snapshot, handle.partition):
        return None
    done = prune(handle, exact=False)
    return done if done.events else None


def flush_and_enforce(handle: Handle) -> FlushSummary:
    """Flush, and enforce retention where that is due; what may not be enforced by this version shows in `stats`."""
    summary = flush(handle)
    if handle.maintains:
        try:
            prune_if_due(handle)
        except FormatError as exc:  # the flush is done, and all that was asked for
            handle.maintenance_failure = f"{type(exc).__name__}: {exc}"
    return summary


def maintain(handle: Handle, *, now: datetime | None = None, thoroughly: bool = False) -> MaintainSummary:
    """Do what is due: record `now` where given, flush what is queued, roll up, enforce retention, and compact.

    With `thoroughly`, two small segments of a partition are merged already.
    """
    refuse_unknown_features(handle.layout.catalog, handle.reader.catalog.read())
    if now is not None:
        record_now(handle, now, confirmed=False)
    flushed = flush(handle)
    return MaintainSummary(
        flush=flushed if flushed.events else None,
        rollup=_rolled_up(handle),
        prune=prune_if_due(handle),
        compact=_compacted(handle, least=2 if thoroughly else LEAST_FILES),
        waiting=_waiting(handle),
    )


def maintain_often(handle: Handle, *, now: datetime | None = None) -> MaintainSummary:
    """Flush once the queue is large or old enough, and then enforce retention and compact.

    For what looks often: a thread of a writer, and a side process.  `now` is recorded only where it begins another
    partition, since retention is enforced no more often than that.  While the trail is being closed it flushes at most:
    nothing else is worth waiting for.
    """
    moved = now is not None and _begins_partition(handle, now)
    if now is not None and moved:
        record_now(handle, now, confirmed=False)
    flushed = flush(handle) if flush_is_due(handle) else None
    if handle.closing:
        return MaintainSummary(flush=flushed, rollup=None, prune=None, compact=None, waiting=())
    return MaintainSummary(
        flush=flushed,
        rollup=_rolled_up(handle, least=FOLD_AT_EVENTS) if flushed else None,
        prune=prune_if_due(handle) if flushed or moved else None,
        compact=_compacted(handle) if flushed else None,
        waiting=(),
    )


def _rolled_up(handle: Handle, *, least: int = 1) -> RollupSummary | None:
    done = roll_up(handle, least=least)
    return done if done.stores or done.expired else None


def _compacted(handle: Handle, *, least: int = LEAST_FILES) -> CompactSummary | None:
    done = compact(handle, least=least)
    return done if done.replaced else None


def _waiting(handle: Handle) -> tuple[Waiting, ...]:
    snapshot = handle.reader.snapshot()
    return waiting(snapshot, handle.partition, plan_unasked(handle, snapshot))


def _begins_partition(handle: Handle, now: datetime) -> bool:
    horizon, width = handle.reader.snapshot().horizon, handle.partition
    reached = [us for us in (horizon.trusted_us, horizon.waiting_to_us) if us is not None]
    return bool(reached) and partition_start(to_us(now), width) > partition_start(max(reached), width)
