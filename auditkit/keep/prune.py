"""Pruning: what the policy no longer keeps leaves the disk, and a tombstone says what went.

Segments whose producers' events are all expired go whole.  By hand, those that the cutoff runs through are written
anew without what is expired, so that no expired event stays on disk.  The trail's own events stay.  Tombstones, what
is left, and the event that records the prune come into being in one transaction of the catalog.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.keep.plan import PrunePlan, plan_segments, with_counts
from auditkit.keep.summaries import PruneSummary
from auditkit.queue.payload import as_arrow
from auditkit.retention.visibility import Expiry, Visibility
from auditkit.store.catalog import change_catalog, refuse_unknown_features
from auditkit.store.records import CatalogChange, PruneStateRow, SegmentRow, TombstoneRow
from auditkit.store.scan import everything, execute, frame_of
from auditkit.store.segment import as_table, encode_segment, store_segments
from auditkit.timerange import to_us
from auditkit.trail.handle import Core
from auditkit.trail.snapshot import NOW_RECORDED, PRUNED, Snapshot, by_producers
from auditkit.write.append import append_own, own_row
from auditkit.write.flush import flush, remove_leftovers, write_directly
from auditkit.write.retry import expire_letters


class _Cut(Struct, frozen=True, kw_only=True):
    """One segment without its expired events: the tombstone for these, and the segment that holds the rest."""

    row: SegmentRow
    stone: TombstoneRow
    rest: SegmentRow | None

    @property
    def whole(self) -> bool:
        """Whether no producer's event is left."""
        return self.rest is None or self.rest.own_rows == self.rest.rows

    @property
    def freed_bytes(self) -> int:
        """How many bytes of segments the disk holds less."""
        return self.row.size_bytes - (0 if self.rest is None else self.rest.size_bytes)


def record_now(core: Core, now: datetime) -> None:
    """Record a moment as the trail's "now", which moves the horizon of an idle trail.

    A moment ahead of the machine's clock is refused with `ValueError`.
    """
    now_us = to_us(now)
    if now_us > core.clock.now_us():
        raise ValueError(f"now: ahead of the machine's clock (found {now.isoformat()})")
    append_own(core, NOW_RECORDED, {"now_us": now_us})


def plan_whole(snapshot: Snapshot, *, now: datetime | None = None) -> PrunePlan:
    """Plan what may be removed unasked: segments that go whole.  With `now`, as if that moment had been recorded."""
    horizon = snapshot.horizon_us
    if now is not None:
        horizon = to_us(now) if horizon is None else max(horizon, to_us(now))
    return plan_segments(snapshot.catalog.segments, snapshot.policy, horizon)


def plan_prune(core: Core, snapshot: Snapshot, *, now: datetime | None = None) -> PrunePlan:
    """Say what `prune` would remove, counting what is expired in segments that do not go whole; writes nothing."""
    plan = plan_whole(snapshot, now=now)
    if plan.cutoff is None or not plan.boundary:
        return plan
    counts = [_expired_rows(core, snapshot, segment.path, plan.cutoff) for segment in plan.boundary]
    return with_counts(plan, counts)


def prune(
    core: Core, plan: PrunePlan | None = None, *, now: datetime | None = None, exact: bool = True
) -> PruneSummary:
    """Remove expired events, after flushing; returns what was removed.

    With `plan`, only what that plan names and is still expired.  Unless `exact`, only segments that go whole.  On
    return the catalog names no segment with what was removed, a tombstone stands for it, an event records it, and
    the files are gone.  If it raises, each segment either still counts as it was or is recorded as pruned.
    """
    core.check_query()
    refuse_unknown_features(core.layout.catalog, core.source.catalog.read())
    if now is not None:
        record_now(core, now)
    core.writing().commit()
    if by_producers(core.source.snapshot().queue.events).any():
        flush(core)  # what is expired in the queue must leave the disk, too
    with core.maintenance():
        snapshot = core.source.snapshot()
        remove_leftovers(core, snapshot.catalog)
        current = plan_whole(snapshot)
        cutoff_us = _cutoff(snapshot, plan)
        cuts = []
        if cutoff_us is not None:
            rows = _chosen(snapshot, plan or current, exact=exact)
            cuts = [cut for row in rows if (cut := _cut(core, snapshot, row, cutoff_us)) is not None]
            replaced = [row.path for row in snapshot.catalog.replaced if exact and row.min_ts_us < cutoff_us]
            _commit(core, snapshot, cuts, replaced)
            _remove_files(core, [cut.row.path for cut in cuts], replaced)
            core.source.files.forget_others(
                {row.path for row in snapshot.catalog.segments}.difference(cut.row.path for cut in cuts)
            )
            expire_letters(core, cutoff_us)
    return PruneSummary(
        plan=current,
        events=sum(cut.stone.rows for cut in cuts),
        segments=sum(cut.whole for cut in cuts),
        rewritten=sum(not cut.whole for cut in cuts),
        bytes=sum(cut.freed_bytes for cut in cuts),
    )


def note_enforced(core: Core, horizon_us: int) -> None:
    """Remember the horizon at which retention was enforced."""
    change_catalog(core.layout.catalog, CatalogChange(prune_state=PruneStateRow(horizon_us=horizon_us)))


def _expired_rows(core: Core, snapshot: Snapshot, path: str, cutoff: datetime) -> int:
    """Count the producers' events of one segment that are expired."""
    (row,) = [row for row in snapshot.catalog.segments if row.path == path]
    return _read(core, row, ("ts", "source"), snapshot.stored).filter(Expiry(to_us(cutoff)).expression).height


def _read(core: Core, row: SegmentRow, columns: Collection[str], visibility: Visibility) -> pl.DataFrame:
    """Return columns of the events of a segment that are to be seen."""
    plan = everything([row], columns, visibility)
    found = [one for events in execute(plan, core.source.files, plan.ranges) for one in events]
    return frame_of(found) if found else pl.DataFrame(schema=core.schema.columns).select(columns)


def _cutoff(snapshot: Snapshot, plan: PrunePlan | None) -> int | None:
    """Return the moment before which events go: the earlier one of now's and the plan's."""
    cutoff = snapshot.cutoff_us
    if plan is None or cutoff is None:
        return cutoff
    return None if plan.cutoff is None else min(cutoff, to_us(plan.cutoff))


def _chosen(snapshot: Snapshot, plan: PrunePlan, *, exact: bool) -> list[SegmentRow]:
    """Return the live segments that a plan names."""
    names = {segment.path for segment in (*plan.segments, *(plan.boundary if exact else ()))}
    return [row for row in snapshot.catalog.segments if row.path in names]


def _cut(core: Core, snapshot: Snapshot, row: SegmentRow, cutoff_us: int) -> _Cut | None:
    """Write a segment anew without its expired events; `None` where there are none."""
    newest_us = row.producers_max_ts_us
    if row.own_rows == 0 and newest_us is not None and newest_us < cutoff_us:
        return _Cut(row=row, stone=_tombstone(core, snapshot, row, cutoff_us, None), rest=None)
    expiry = Expiry(cutoff_us)
    looked_at = ("seq", "ts", "recorded", "source")
    gone = _read(core, row, looked_at, snapshot.stored).filter(expiry.expression)
    if not gone.height:
        return None
    kept = _read(core, row, list(core.schema.columns), replace(snapshot.stored, expiry=expiry))
    rest = None
    if kept.height:
        encoded = encode_segment(core.layout, row.partition, as_table(kept, core.schema))
        (rest,) = store_segments(core.disk, core.layout, core.modes, [encoded])
    return _Cut(row=row, stone=_tombstone(core, snapshot, row, cutoff_us, gone), rest=rest)


def _tombstone(
    core: Core, snapshot: Snapshot, row: SegmentRow, cutoff_us: int, gone: pl.DataFrame | None
) -> TombstoneRow:
    """Return the record of the events `gone` from a segment, `None` for all there were."""
    assert snapshot.horizon_us is not None  # noqa: S101 -- nothing expires without a horizon
    bounds: tuple[Any, ...] = (row.first_seq, row.last_seq, row.rows, row.min_ts_us)
    newest: tuple[Any, ...] = (row.producers_max_ts_us, row.producers_max_recorded_us)
    if gone is not None:
        seqs, ts, recorded = (gone.get_column(name).to_physical() for name in ("seq", "ts", "recorded"))
        bounds = (seqs.min(), seqs.max(), gone.height, ts.min())
        newest = (ts.max(), recorded.max())
    first, last, rows, min_ts_us = bounds
    return TombstoneRow(
        path=row.path,
        partition=row.partition,
        first_seq=first,
        last_seq=last,
        rows=rows,
        min_ts_us=min_ts_us,
        max_ts_us=newest[0],
        max_recorded_us=newest[1],
        sha256=row.sha256,
        policy=str(snapshot.policy),
        horizon_us=snapshot.horizon_us,
        cutoff_us=cutoff_us,
        pruned_us=core.clock.now_us(),
        end_seq=snapshot.as_of,
    )


def _commit(core: Core, snapshot: Snapshot, cuts: Sequence[_Cut], replaced: Sequence[str]) -> None:
    """Let the cuts count, and record them as an event, in one transaction."""
    assert snapshot.horizon_us is not None  # noqa: S101 -- nothing expires without a horizon
    change = CatalogChange(
        add_segments=[cut.rest for cut in cuts if cut.rest is not None],
        remove_segments=[cut.row.path for cut in cuts],
        forget_replaced=replaced,
        prune_state=PruneStateRow(horizon_us=snapshot.horizon_us),
    )
    if not cuts:
        change_catalog(core.layout.catalog, change)
        return
    stones = [cut.stone for cut in cuts]
    attrs = {
        "events": sum(stone.rows for stone in stones),
        "segments": sum(cut.whole for cut in cuts),
        "rewritten": sum(not cut.whole for cut in cuts),
        "bytes": sum(cut.freed_bytes for cut in cuts),
        "min_ts_us": min(stone.min_ts_us for stone in stones),
        "max_ts_us": max(stone.max_ts_us for stone in stones),
        "policy": str(snapshot.policy),
        "horizon_us": snapshot.horizon_us,
        "cutoff_us": stones[0].cutoff_us,
    }
    queue = core.active_queue()
    with queue.locked():
        # Views that end before the record of the prune may be asked for what it removed.
        stones = [replace(stone, end_seq=queue.next_seq) for stone in stones]
        event = as_arrow([own_row(core, PRUNED, attrs)], core.schema)
        write_directly(core, event, replace(change, tombstones=stones))


def _remove_files(core: Core, pruned: Sequence[str], replaced: Sequence[str]) -> None:
    """Take files off the disk: pruned ones, and those set aside; on return not even a crash brings them back.

    What is left of a segment may be what a compaction has replaced, under the same name: that one stays.
    """
    for path in pruned:
        core.disk.unlink(core.layout.segments / path)
    for path in replaced:
        core.disk.unlink(core.layout.replaced_file(path))
    folders = sorted({(core.layout.segments / path).parent for path in (*pruned, *replaced)})
    for folder in folders:
        core.disk.remove_directory_if_empty(folder)
    for folder in (*folders, core.layout.segments, core.layout.replaced) if folders else ():
        if folder.is_dir():
            core.disk.sync_directory(folder)
