"""A query's view of a trail: the events with seqs before some end that retention has not hidden.

The horizon and the policy in force are part of the view, so that what is expired is decided by the trail and never by the
reader's clock.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct

from auditkit.errors import FormatError, PrunedError
from auditkit.queue.tail import TailView
from auditkit.retention.holds import Hold
from auditkit.retention.horizon import Horizon
from auditkit.retention.policy import IS_OWN, Policy, read_policy
from auditkit.retention.visibility import Expiry, Visibility
from auditkit.store.records import (
    CatalogView,
    HoldRow,
    MomentRow,
    PolicyRow,
    ReleaseRow,
    TierRow,
    TombstoneRow,
)
from auditkit.store.tiers import Tier, read_tier
from auditkit.text import counted
from auditkit.timerange import TimeRange, from_us

POLICY_SET = "retention.set"
NOW_RECORDED = "retention.now"
PRUNED = "retention.pruned"
HOLD_PLACED = "hold.placed"
HOLD_RELEASED = "hold.released"
TIER_DECLARED = "rollup.declared"
TIER_PRUNED = "rollup.pruned"


class Uncertain(Struct, frozen=True, kw_only=True):
    """Pruned events because of which it is not known any more whether events of these times had expired by then."""

    tombstone: TombstoneRow
    window: TimeRange


class Snapshot(Struct, frozen=True, kw_only=True):
    """One consistent moment of a trail: the events with seq < `as_of`.

    `tail` holds the committed events that are not in `catalog.segments`.
    """

    catalog: CatalogView
    tail: pl.DataFrame
    queue: TailView
    as_of: int
    horizon: Horizon
    policy: Policy
    expiry: Expiry
    """Which events the policy no longer keeps at the horizon."""
    tiers: Mapping[str, Tier]
    """The tiers declared by then, by name."""
    uncertain: Uncertain | None
    allow_pruned: bool

    @property
    def horizon_us(self) -> int | None:
        """The moment retention measures from."""
        return self.horizon.trusted_us

    @property
    def cutoff_us(self) -> int | None:
        """Nothing from this moment on is expired; before it, what the rules say."""
        return self.expiry.cutoff_us

    @property
    def holds(self) -> Sequence[Hold]:
        """The holds in force, in the order in which they were placed."""
        return self.expiry.holds

    @property
    def committed_seq(self) -> int:
        """The exclusive end of the committed seqs, whatever `as_of` is."""
        return max(self.queue.end_seq, self.catalog.flushed_seq)

    @property
    def whole_from_us(self) -> int | None:
        """The moment from which on no event has expired or was pruned, `None` where none ever was."""
        pruned = [row.max_ts_us + 1 for row in self.catalog.tombstones if row.first_seq < self.as_of]
        return max([*pruned, *(() if self.cutoff_us is None else (self.cutoff_us,))], default=None)

    @property
    def folded_seq(self) -> int:
        """Events before this seq are in the rollups of every tier: others must not be pruned."""
        ends = [self.catalog.folded_of(name) for name in self.tiers]
        return min(ends, default=self.committed_seq)

    def span(self, window: TimeRange) -> TimeRange:
        """Return where all events lie that `window` may show: a range that the catalog and the tail know of."""
        bounds = [
            (row.min_ts_us, row.max_ts_us)
            for row in self.catalog.segments
            if row.first_seq < self.as_of and window.overlaps(row.min_ts_us, row.max_ts_us)
        ]
        if self.tail.height:
            stamps = self.tail.get_column("ts").to_physical()
            bounds.append((stamps.min(), stamps.max()))  # type: ignore[arg-type]
        if not bounds:
            return TimeRange(start_us=0, end_us=0)
        return TimeRange(start_us=min(lo for lo, _ in bounds), end_us=max(hi for _, hi in bounds) + 1)

    def visibility(self, *, own: bool) -> Visibility:
        """Return which events this view shows."""
        return Visibility(as_of=self.as_of, expiry=self.expiry, own=own)

    @property
    def stored(self) -> Visibility:
        """What is on disk of the seqs before `as_of`, expired or not."""
        return Visibility(as_of=self.as_of, expiry=Expiry(), own=True)

    def refuse_pruned(self, window: TimeRange) -> None:
        """Raise `PrunedError` where events that this view would show were pruned after it."""
        if self.allow_pruned:
            return
        if self.uncertain is not None and not window.intersection(self.uncertain.window).is_empty:
            raise pruned_error(self.uncertain.tombstone, self.as_of)
        for tombstone in self.catalog.tombstones:
            cutoff = self._cutoff_of(tombstone)
            oldest_us = tombstone.min_ts_us if cutoff is None else max(tombstone.min_ts_us, cutoff)
            if (
                tombstone.end_seq > self.as_of > tombstone.first_seq
                and oldest_us <= tombstone.max_ts_us
                and window.overlaps(oldest_us, tombstone.max_ts_us)
            ):
                raise pruned_error(tombstone, self.as_of)

    def _cutoff_of(self, tombstone: TombstoneRow) -> int | None:
        """Return the moment before which this view would not show what a tombstone stands for; `None` for no moment.

        By the same policy that is known of its rule; by another one, events may have gone by any rule.
        """
        if str(self.policy) == tombstone.policy and not self.expiry.holds:
            for rule, us in zip(self.policy.rules, self.expiry.cutoffs, strict=True):
                if str(rule) == tombstone.rule:
                    return us
        return None if self.expiry.holds else self.expiry.all_before_us


def by_producers(events: pl.DataFrame) -> pl.Series:
    """Return which events are producers', not the trail's own."""
    return events.select(~IS_OWN).to_series()


def horizon_after(horizon: Horizon, events: pl.DataFrame, moments: Sequence[MomentRow]) -> Horizon:
    """Return the horizon after events with seq, ts, recorded and source, in order of seq, and the moments among them."""
    producers = events.filter(by_producers(events))
    seqs, ts, recorded = (producers[name].to_physical().to_numpy() for name in ("seq", "ts", "recorded"))
    reached, begin = np.minimum(ts, recorded), 0
    for row in moments:
        end = int(np.searchsorted(seqs, row.seq))
        horizon = horizon.after(reached[begin:end]).after_moment(row.now_us, confirmed=bool(row.confirmed))
        begin = end
    return horizon.after(reached[begin:])


def own_events(events: pl.DataFrame) -> Iterator[tuple[int, str, dict[str, object]]]:
    """Yield (seq, action, attrs) of the trail's own events in a frame."""
    is_own = ~by_producers(events)
    if is_own.any():
        columns = (events.get_column(name).filter(is_own) for name in ("seq", "action", "attrs"))
        for seq, action, attrs in zip(*columns, strict=True):
            with _explained(seq):
                decoded = msgspec.json.decode(attrs or "{}", type=dict[str, object])
            yield seq, action, decoded


class Declared(Struct, frozen=True, kw_only=True):
    """What the trail's own events have decided, in the order of their seqs."""

    policies: Sequence[PolicyRow]
    holds: Sequence[HoldRow]
    releases: Sequence[ReleaseRow]
    moments: Sequence[MomentRow]
    tiers: Sequence[TierRow]


def declared(events: pl.DataFrame) -> Declared:
    """Return what the trail's own events in a frame have decided."""
    found = Declared(policies=[], holds=[], releases=[], moments=[], tiers=[])
    rows: dict[str, list[Any]] = {name: getattr(found, name) for name in Declared.__struct_fields__}
    for seq, action, attrs in own_events(events) if events.height else ():
        with _explained(seq):
            if action == POLICY_SET:
                read_policy(str(attrs["policy"]))
                rows["policies"].append(PolicyRow(from_seq=seq + 1, spec=str(attrs["policy"])))
            elif action == HOLD_PLACED:
                given = {**attrs, "conditions": str(attrs["where"]), "from_seq": seq + 1}
                rows["holds"].append(msgspec.convert({"start_us": None, "end_us": None, **given}, HoldRow))
            elif action == HOLD_RELEASED:
                rows["releases"].append(msgspec.convert({**attrs, "from_seq": seq + 1}, ReleaseRow))
            elif action == NOW_RECORDED:
                given = {"now_us": int(str(attrs["now_us"])), "confirmed": int(str(attrs["confirmed"]))}
                rows["moments"].append(msgspec.convert({"seq": seq, **given}, MomentRow))
            elif action == TIER_DECLARED:
                by = msgspec.json.encode(attrs["by"]).decode()
                rows["tiers"].append(msgspec.convert({**attrs, "seq": seq, "by": by}, TierRow))
                read_tier(rows["tiers"][-1])
    return found


@contextmanager
def _explained(seq: int) -> Iterator[None]:
    """Turn what is raised where an event of the trail's own makes no sense into what it means."""
    try:
        yield
    except (ValueError, KeyError, RecursionError, FormatError) as exc:
        raise FormatError(f"event {seq} of the trail's own does not read: {exc}") from exc


def pruned_error(tombstone: TombstoneRow, as_of: int) -> PrunedError:
    """Return the error that names what a view of `as_of` would need."""
    error = PrunedError(
        f"seqs {tombstone.first_seq} to {tombstone.last_seq}: pruned after seq {as_of} "
        f"({counted(tombstone.rows, 'event')}, {tombstone.policy}, on {from_us(tombstone.pruned_us):%Y-%m-%d})",
        tombstone=tombstone.path,
    )
    error.add_note("ask for a window without them, or pass allow_pruned=True to see what is left")
    return error
