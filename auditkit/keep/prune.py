"""Pruning: what the policy no longer keeps leaves the disk, and a tombstone says what went.

Segments whose producers' events are all expired go whole.  By hand, those that the cutoff runs through are written
anew without what is expired, so that no expired event stays on disk.  The trail's own events stay.  Tombstones, what
is left, and the event that records the prune come into being in one transaction of the catalog.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.errors import InvalidTimeError
from auditkit.keep.plan import PrunePlan, plan_segments, with_counts
from auditkit.keep.rollup import roll_up
from auditkit.keep.summaries import PruneSummary
from auditkit.queue.payload import as_arrow
from auditkit.retention.visibility import Expiry, Visibility
from auditkit.store.catalog import change_catalog, refuse_unknown_features
from auditkit.store.records import CatalogChange, PruneStateRow, SegmentRow, TombstoneRow
from auditkit.store.scan import everything, execute, frame_of
from auditkit.store.segment import as_table, encode_segment, store_segments
from auditkit.timerange import to_us
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import NOW_RECORDED, PRUNED, Snapshot, by_producers
from auditkit.write.append import append_own, own_row
from auditkit.write.flush import flush, remove_leftovers, write_directly
from auditkit.write.retry import expire_letters


class _Rewrite(Struct, frozen=True, kw_only=True):
    """One segment without its expired events: the tombstone of these, and the segment of those that remain, if any do."""

    row: SegmentRow
    tombstone: TombstoneRow
    remainder: SegmentRow | None

    @property
    def is_whole(self) -> bool:
        """Whether no producer's event remains."""
        return self.remainder is None or self.remainder.own_rows == self.remainder.rows

    @property
    def freed_bytes(self) -> int:
        """How many bytes of segments the disk holds less."""
        return self.row.size_bytes - (0 if self.remainder is None else self.remainder.size_bytes)


def record_now(handle: Handle, now: datetime, *, confirmed: bool) -> None:
    """Record a moment as the trail's "now", which moves the horizon of an idle trail.

    It is trusted at once where it was `confirmed` by asking to prune; else it counts as an event does.  A moment ahead
    of the machine's clock is refused with `InvalidTimeError`.
    """
    append_own(handle, NOW_RECORDED, {"now_us": _past(handle, now), "confirmed": int(confirmed)})


def _past(handle: Handle, now: datetime) -> int:
    """Return a moment in microseconds; one ahead of the machine's clock is an `InvalidTimeError`."""
    now_us = to_us(now)
    if now_us > handle.clock.now_us():
        raise InvalidTimeError("now", now.isoformat(), "lies ahead of the machine's clock")
    return now_us


def plan_whole(snapshot: Snapshot, *, now: datetime | None = None) -> PrunePlan:
    """Plan what may be removed unasked: segments that go whole.  With `now`, as if that moment had been recorded."""
    horizon = snapshot.horizon_us
    if now is not None:
        horizon = to_us(now) if horizon is None else max(horizon, to_us(now))
    return plan_segments(snapshot.catalog.segments, snapshot.policy, horizon)


def plan_prune(handle: Handle, snapshot: Snapshot, *, now: datetime | None = None) -> PrunePlan:
    """Return what `prune` would remove, counting what is expired in segments that do not go whole; writes nothing.

    A moment ahead of the machine's clock is refused with `InvalidTimeError`, as `prune` does.
    """
    if now is not None:
        _past(handle, now)
    plan = plan_whole(snapshot, now=now)
    if plan.cutoff is None or not plan.boundary:
        return plan
    counts = [_expired_rows(handle, snapshot, segment.path, plan.cutoff) for segment in plan.boundary]
    return with_counts(plan, counts)


def prune(
    handle: Handle, plan: PrunePlan | None = None, *, now: datetime | None = None, exact: bool = True
) -> PruneSummary:
    """Remove expired events, after flushing; returns what was removed.

    With `plan`, only what that plan names and is still expired.  Unless `exact`, only segments that go whole.  On
    return the catalog names no segment with what was removed, a tombstone stands for it, an event records it, and
    the files are gone.  If it raises, each segment either still counts as it was or is recorded as pruned.
    """
    handle.check_query()
    refuse_unknown_features(handle.layout.catalog, handle.reader.catalog.read())
    if now is not None:
        record_now(handle, now, confirmed=True)
    handle.writing().commit()
    if by_producers(handle.reader.snapshot().queue.events).any():
        flush(handle)  # what is expired in the queue must leave the disk, too
    roll_up(handle)
    with handle.maintenance():
        snapshot = handle.reader.snapshot()
        remove_leftovers(handle, snapshot.catalog)
        current = plan_whole(snapshot)
        expiry = _expiry(snapshot, plan)
        rewrites = []
        if expiry.cutoff_us is not None:
            rows = _chosen(snapshot, plan or current, exact=exact)
            rewrites = [done for row in rows if (done := _rewrite(handle, snapshot, row, expiry)) is not None]
            replaced = [
                row.path for row in snapshot.catalog.replaced if exact and not expiry.spares(row.min_ts_us)
            ]
            _commit(handle, snapshot, rewrites, replaced)
            pruned = [done.row.path for done in rewrites]
            _remove_files(handle, pruned, replaced)
            handle.reader.files.forget_others(
                {row.path for row in snapshot.catalog.segments}.difference(pruned)
            )
            expire_letters(handle, expiry.cutoff_us)
    return PruneSummary(
        plan=current,
        events=sum(done.tombstone.rows for done in rewrites),
        segments=sum(done.is_whole for done in rewrites),
        rewritten=sum(not done.is_whole for done in rewrites),
        bytes=sum(done.freed_bytes for done in rewrites),
    )


def note_enforced(handle: Handle, horizon_us: int) -> None:
    """Remember the horizon at which retention was enforced."""
    with handle.maintenance():
        change_catalog(handle.layout.catalog, CatalogChange(prune_state=PruneStateRow(horizon_us=horizon_us)))


def _expired_rows(handle: Handle, snapshot: Snapshot, path: str, cutoff: datetime) -> int:
    """Count the producers' events of one segment that are expired."""
    (row,) = [row for row in snapshot.catalog.segments if row.path == path]
    return (
        _read(handle, row, ("ts", "source"), snapshot.stored).filter(Expiry(to_us(cutoff)).expression).height
    )


def _read(
    handle: Handle,
    row: SegmentRow,
    columns: Collection[str],
    visibility: Visibility,
    numbers: Sequence[int] | None = None,
) -> pl.DataFrame:
    """Return columns of the events of a segment that are to be seen, all of which lie in these record batches."""
    plan = everything([row], columns, visibility)
    ranges = plan.ranges if numbers is None else [replace(part, numbers=numbers) for part in plan.ranges]
    found = [one for events in execute(plan, handle.reader.files, ranges) for one in events]
    return frame_of(found) if found else pl.DataFrame(schema=handle.schema.columns).select(columns)


def _holding(row: SegmentRow, mask: pl.Series) -> list[int]:
    """Return the record batches that hold some of a segment's events."""
    borders = list(accumulate((part.rows for part in row.parts), initial=0))
    return [number for number, (begin, end) in enumerate(pairwise(borders)) if mask[begin:end].any()]


def _expiry(snapshot: Snapshot, plan: PrunePlan | None) -> Expiry:
    """Return what goes: what is expired now, and with a plan no more than that one says."""
    if plan is None or snapshot.expiry.cutoff_us is None:
        return snapshot.expiry
    return Expiry(None if plan.cutoff is None else min(snapshot.expiry.cutoff_us, to_us(plan.cutoff)))


def _chosen(snapshot: Snapshot, plan: PrunePlan, *, exact: bool) -> list[SegmentRow]:
    """Return the live segments that a plan names; those with events that a tier has not folded wait."""
    names = {segment.path for segment in (*plan.segments, *(plan.boundary if exact else ()))}
    folded = snapshot.folded_seq
    return [row for row in snapshot.catalog.segments if row.path in names and row.last_seq < folded]


def _rewrite(handle: Handle, snapshot: Snapshot, row: SegmentRow, expiry: Expiry) -> _Rewrite | None:
    """Write a segment anew without its expired events; `None` where there are none."""
    if row.own_rows == 0 and expiry.of(row) == "all":
        return _Rewrite(row=row, tombstone=_tombstone(handle, snapshot, row, expiry, None), remainder=None)
    looked_at = _read(handle, row, ("seq", "ts", "source"), snapshot.stored)
    expired = looked_at.select(expiry.expression).to_series()
    gone = looked_at.filter(expired)
    if not gone.height:
        return None
    remainder = None
    if gone.height < looked_at.height:
        left = replace(snapshot.stored, expiry=expiry)
        kept = _read(handle, row, list(handle.schema.columns), left, _holding(row, ~expired))
        encoded = encode_segment(handle.layout, row.partition, as_table(kept, handle.schema))
        (remainder,) = store_segments(handle.disk, handle.layout, handle.modes, [encoded])
    return _Rewrite(row=row, tombstone=_tombstone(handle, snapshot, row, expiry, gone), remainder=remainder)


def _tombstone(
    handle: Handle, snapshot: Snapshot, row: SegmentRow, expiry: Expiry, gone: pl.DataFrame | None
) -> TombstoneRow:
    """Return the record of the events `gone` from a segment, `None` for all there were."""
    assert snapshot.horizon_us is not None  # noqa: S101 -- nothing expires without a horizon
    assert expiry.cutoff_us is not None  # noqa: S101 -- nor without a cutoff
    bounds: tuple[Any, ...] = (row.first_seq, row.last_seq, row.rows, row.min_ts_us, row.producers_max_ts_us)
    if gone is not None:
        seqs, ts = (gone.get_column(name).to_physical() for name in ("seq", "ts"))
        bounds = (seqs.min(), seqs.max(), gone.height, ts.min(), ts.max())
    first, last, rows, min_ts_us, max_ts_us = bounds
    return TombstoneRow(
        path=row.path,
        partition=row.partition,
        first_seq=first,
        last_seq=last,
        rows=rows,
        min_ts_us=min_ts_us,
        max_ts_us=max_ts_us,
        sha256=row.sha256,
        policy=str(snapshot.policy),
        horizon_us=snapshot.horizon_us,
        cutoff_us=expiry.cutoff_us,
        pruned_us=handle.clock.now_us(),
        end_seq=snapshot.as_of,
    )


def _commit(
    handle: Handle, snapshot: Snapshot, rewrites: Sequence[_Rewrite], replaced: Sequence[str]
) -> None:
    """Let the rewrites count, and record them as an event, in one transaction."""
    assert snapshot.horizon_us is not None  # noqa: S101 -- nothing expires without a horizon
    change = CatalogChange(
        add_segments=[done.remainder for done in rewrites if done.remainder is not None],
        remove_segments=[done.row.path for done in rewrites],
        forget_replaced=replaced,
        prune_state=PruneStateRow(horizon_us=snapshot.horizon_us),
    )
    if not rewrites:
        change_catalog(handle.layout.catalog, change)
        return
    tombstones = [done.tombstone for done in rewrites]
    attrs = {
        "events": sum(tombstone.rows for tombstone in tombstones),
        "segments": sum(done.is_whole for done in rewrites),
        "rewritten": sum(not done.is_whole for done in rewrites),
        "bytes": sum(done.freed_bytes for done in rewrites),
        "min_ts_us": min(tombstone.min_ts_us for tombstone in tombstones),
        "max_ts_us": max(tombstone.max_ts_us for tombstone in tombstones),
        "policy": str(snapshot.policy),
        "horizon_us": snapshot.horizon_us,
        "cutoff_us": tombstones[0].cutoff_us,
    }
    queue = handle.active_queue()
    with queue.locked():
        # Views that end before the record of the prune may be asked for what it removed.
        tombstones = [replace(tombstone, end_seq=queue.next_seq) for tombstone in tombstones]
        event = as_arrow([own_row(handle, PRUNED, attrs)], handle.schema)
        write_directly(handle, event, replace(change, tombstones=tombstones))


def _remove_files(handle: Handle, pruned: Sequence[str], replaced: Sequence[str]) -> None:
    """Take files off the disk: pruned ones, and those set aside; on return not even a crash brings them back.

    What is left of a segment may be what a compaction has replaced, under the same name: that one stays.
    """
    for path in pruned:
        handle.disk.unlink(handle.layout.segment_file(path))
    for path in replaced:
        handle.disk.unlink(handle.layout.replaced_file(path))
    folders = sorted({handle.layout.segment_file(path).parent for path in (*pruned, *replaced)})
    for folder in folders:
        handle.disk.remove_directory_if_empty(folder)
    for folder in (*folders, handle.layout.segments, handle.layout.replaced) if folders else ():
        if folder.is_dir():
            handle.disk.sync_directory(folder)
