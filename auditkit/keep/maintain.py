"""Keeping: maintenance of a trail: what is flushed, merged and pruned, and when."""

from datetime import datetime

from auditkit.errors import FormatError
from auditkit.keep.compact import compact
from auditkit.keep.compaction import LEAST_FILES
from auditkit.keep.declaring import record_now
from auditkit.keep.due import flush_is_due
from auditkit.keep.prune import note_enforced, plan_whole, prune
from auditkit.keep.summaries import CompactSummary, MaintainSummary, PruneSummary
from auditkit.store.catalog import refuse_unknown_features
from auditkit.timerange import partition_start, to_us
from auditkit.trail.handle import Core
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.summaries import FlushSummary
from auditkit.write.flush import flush
from auditkit.write.retry import expire_letters


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
    """Say whether expired segments wait for a prune by hand because the horizon jumped."""
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

    For whoever looks often: the writer's thread, and a side process.  `now` is recorded only where it begins another
    partition, since retention is enforced no more often than that.
    """
    moved = now is not None and _begins_partition(core, now)
    if now is not None and moved:
        record_now(core, now)
    flushed = flush(core) if flush_is_due(core) else None
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
