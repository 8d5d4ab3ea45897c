"""Pruning: what the policy no longer keeps leaves the disk, and a tombstone says what went.

Segments whose producers' events are all expired go whole.  By hand, those that the cutoff runs through are written
anew without what is expired, so that no expired event stays on disk.  The trail's own events stay.  Tombstones, what
is left, and the event that records the prune come into being in one transaction of the catalog.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate, pairwise

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.display.progress import tracked
from auditkit.errors import InvalidArgumentError, InvalidTimeError
from auditkit.keep.expired import count_expired, mark_expired, read_events
from auditkit.keep.plan import PrunePlan, passed_by, plan_segments, with_counts
from auditkit.keep.rollup import roll_up
from auditkit.keep.summaries import PruneSummary
from auditkit.queue.payload import as_arrow
from auditkit.retention.visibility import Expiry
from auditkit.store.catalog import change_catalog, refuse_unknown_features
from auditkit.store.records import CatalogChange, PruneStateRow, SegmentRow, TombstoneRow
from auditkit.store.segment import as_table, encode_segment, store_segments
from auditkit.text import visible
from auditkit.timerange import to_us
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import NOW_RECORDED, PRUNED, Snapshot, by_producers
from auditkit.write.append import append_own, own_row
from auditkit.write.flush import flush, remove_leftovers, write_directly
from auditkit.write.retry import expire_letters


class _Rewrite(Struct, frozen=True, kw_only=True):
    """One segment without its expired events: the tombstones of these, by rule, and the segment of what remains, if any."""

    row: SegmentRow
    tombstones: Sequence[TombstoneRow]
    remainder: SegmentRow | None

    @property
    def rows(self) -> int:
        """How many events go."""
        return sum(tombstone.rows for tombstone in self.tombstones)

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


def plan_unasked(handle: Handle, snapshot: Snapshot) -> PrunePlan:
    """Return what may be removed unasked: of each segment what goes by rules that have passed all of it."""
    return _plan(handle, snapshot, snapshot.horizon_us, exact=False)


def plan_prune(handle: Handle, snapshot: Snapshot, *, now: datetime | None = None) -> PrunePlan:
    """Return what `prune` would remove, by rule and segment, and what holds keep; writes nothing.

    A moment ahead of the machine's clock is refused with `InvalidTimeError`, as `prune` does.
    """
    horizon = snapshot.horizon_us
    if now is not None:
        horizon = max(us for us in (horizon, _past(handle, now)) if us is not None)
    return _plan(handle, snapshot, horizon, exact=True)


def _plan(handle: Handle, snapshot: Snapshot, horizon_us: int | None, *, exact: bool) -> PrunePlan:
    segments, holds = snapshot.catalog.segments, snapshot.expiry.holds
    plan = plan_segments(segments, snapshot.policy, horizon_us, holds=holds, exact=exact)
    expiry = replace(snapshot.expiry, cutoffs=snapshot.policy.cutoffs_us(horizon_us))
    names = {segment.path for segment in (*plan.segments, *plan.boundary)}
    counts = {
        row.path: count_expired(handle, snapshot, row, passed_by(row, expiry, exact=exact))
        for row in segments
        if row.path in names
    }
    return with_counts(plan, snapshot, counts)


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
        expiry = _expiry(snapshot, plan)
        current = plan or _plan(handle, snapshot, snapshot.horizon_us, exact=exact)
        rewrites = []
        if expiry.cutoff_us is not None:
            found = [
                _rewrite(handle, snapshot, row, passed_by(row, expiry, exact=exact))
                for row in tracked(_chosen(snapshot, current), "pruning", "events", lambda row: row.rows)
            ]
            rewrites = [done for done in found if done is not None]
            replaced = [
                row.path for row in snapshot.catalog.replaced if exact and not expiry.spares(row.min_ts_us)
            ]
            _commit(handle, snapshot, rewrites, replaced)
            pruned = [done.row.path for done in rewrites]
            _remove_files(handle, pruned, replaced)
            handle.reader.files.forget_others(
                {row.path for row in snapshot.catalog.segments}.difference(pruned)
            )
            if expiry.all_before_us is not None:
                expire_letters(handle, expiry.all_before_us)
    return PruneSummary(
        plan=current,
        events=sum(done.rows for done in rewrites),
        segments=sum(done.is_whole for done in rewrites),
        rewritten=sum(not done.is_whole for done in rewrites),
        bytes=sum(done.freed_bytes for done in rewrites),
    )


def _holding(row: SegmentRow, mask: pl.Series) -> list[int]:
    """Return the record batches that hold some of a segment's events."""
    borders = list(accumulate((part.rows for part in row.parts), initial=0))
    return [number for number, (begin, end) in enumerate(pairwise(borders)) if mask[begin:end].any()]


def _expiry(snapshot: Snapshot, plan: PrunePlan | None) -> Expiry:
    """Return what goes: what is expired now, and with a plan no more than that one says.

    A plan that another policy was in force for, or a hold that was released since, is an `InvalidArgumentError`.
    """
    if plan is None:
        return snapshot.expiry
    if plan.policy != str(snapshot.policy):
        raise _outdated(plan, f"was made when the policy was to {plan.policy}")
    in_force = {hold.name for hold in snapshot.expiry.holds}
    for held in plan.held:
        if held.hold not in in_force:
            raise _outdated(plan, f"counts on the hold {visible(held.hold)}, which was released since")
    horizon = snapshot.horizon_us
    planned = None if plan.horizon is None or horizon is None else min(to_us(plan.horizon), horizon)
    return replace(snapshot.expiry, cutoffs=snapshot.policy.cutoffs_us(planned))


def _outdated(plan: PrunePlan, reason: str) -> InvalidArgumentError:
    error = InvalidArgumentError("plan", f"{plan.rows} events", reason)
    error.add_note("plan again: nothing was removed")
    return error


def _chosen(snapshot: Snapshot, plan: PrunePlan) -> list[SegmentRow]:
    """Return the live segments that a plan names; those with events that a tier has not folded wait."""
    names = {segment.path for segment in (*plan.segments, *plan.boundary)}
    folded = snapshot.folded_seq
    return [row for row in snapshot.catalog.segments if row.path in names and row.last_seq < folded]


def _rewrite(handle: Handle, snapshot: Snapshot, row: SegmentRow, expiry: Expiry) -> _Rewrite | None:
    """Write a segment anew without its expired events; `None` where there are none."""
    rule = expiry.only_rule(row)
    if row.own_rows == 0 and rule is not None and expiry.of(row) == "all":
        bounds = (row.first_seq, row.last_seq, row.rows, row.min_ts_us, row.max_ts_us)
        return _Rewrite(
            row=row, tombstones=[_tombstone(handle, snapshot, row, expiry, rule, bounds)], remainder=None
        )
    marked = mark_expired(handle, snapshot, row, expiry)
    gone = marked.filter("expired")
    if not gone.height:
        return None
    remainder = None
    if gone.height < marked.height:
        left = replace(snapshot.stored, expiry=expiry)
        kept = read_events(handle, row, list(handle.schema.columns), left, _holding(row, ~marked["expired"]))
        encoded = encode_segment(handle.layout, row.partition, as_table(kept, handle.schema))
        (remainder,) = store_segments(handle.disk, handle.layout, handle.modes, [encoded])
    found = gone.group_by("rule").agg(
        pl.col("seq").min().alias("first"),
        pl.col("seq").max().alias("last"),
        pl.len(),
        pl.col("ts").to_physical().min().alias("min"),
        pl.col("ts").to_physical().max().alias("max"),
    )
    tombstones = [
        _tombstone(handle, snapshot, row, expiry, place, bounds)
        for place, *bounds in found.sort("rule").iter_rows()
    ]
    return _Rewrite(row=row, tombstones=tombstones, remainder=remainder)


def _tombstone(
    handle: Handle, snapshot: Snapshot, row: SegmentRow, expiry: Expiry, place: int, bounds: Sequence[int]
) -> TombstoneRow:
    """Return the record of events of one rule that go from a segment: first and last seq, rows, smallest and largest ts."""
    cutoff_us = expiry.cutoffs[place]
    assert snapshot.horizon_us is not None  # noqa: S101 -- nothing expires without a horizon
    assert cutoff_us is not None  # noqa: S101 -- nor without a cutoff
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
        rule=str(snapshot.policy.rules[place]),
        horizon_us=snapshot.horizon_us,
        cutoff_us=cutoff_us,
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
    tombstones = [tombstone for done in rewrites for tombstone in done.tombstones]
    rules = Counter[str]()
    for tombstone in tombstones:
        rules[tombstone.rule] += tombstone.rows
    attrs = {
        "events": sum(tombstone.rows for tombstone in tombstones),
        "segments": sum(done.is_whole for done in rewrites),
        "rewritten": sum(not done.is_whole for done in rewrites),
        "bytes": sum(done.freed_bytes for done in rewrites),
        "min_ts_us": min(tombstone.min_ts_us for tombstone in tombstones),
        "max_ts_us": max(tombstone.max_ts_us for tombstone in tombstones),
        "policy": str(snapshot.policy),
        "horizon_us": snapshot.horizon_us,
        "cutoff_us": max(tombstone.cutoff_us for tombstone in tombstones),
        "rules": dict(rules),
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
