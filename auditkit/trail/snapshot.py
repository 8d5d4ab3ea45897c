"""A query's view of a trail: the events with seqs before some end that retention has not hidden.

The horizon and the policy in force are part of the view, so that what is expired is decided by the trail and never by the
reader's clock.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct

from auditkit.errors import FormatError, PrunedError
from auditkit.queue.tail import TailView
from auditkit.retention.horizon import Horizon
from auditkit.retention.policy import Policy
from auditkit.retention.visibility import IS_OWN, Expiry, Visibility
from auditkit.store.records import CatalogView, MomentRow, PolicyRow, TierRow, TombstoneRow
from auditkit.store.tiers import Tier, read_tier
from auditkit.text import counted
from auditkit.timerange import TimeRange, from_us

POLICY_SET = "retention.set"
NOW_RECORDED = "retention.now"
PRUNED = "retention.pruned"
TIER_DECLARED = "rollup.declared"
TIER_PRUNED = "rollup.pruned"


class Uncertain(Struct, frozen=True, kw_only=True):
    """Pruned events because of which it is not known any more whether events of these times had expired by then."""

    tombstone: TombstoneRow
    window: TimeRange


class Snapshot(Struct, frozen=True, kw_only=True):
    """One consistent moment of a trail: the events with seq < `as_of`.

    `tail` holds the committed events that are not in `catalog.segments`; expired events have ts < `cutoff_us`.
    """

    catalog: CatalogView
    tail: pl.DataFrame
    queue: TailView
    as_of: int
    horizon: Horizon
    policy: Policy
    expiry: Expiry
    """Which events the policy no longer keeps at the horizon."""
    policies: Sequence[PolicyRow]
    moments: Sequence[MomentRow]
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
        """Producers' events before this are expired."""
        return self.expiry.cutoff_us

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
        return Visibility(as_of=self.as_of, expiry=Expiry(None), own=True)

    def refuse_pruned(self, window: TimeRange) -> None:
        """Raise `PrunedError` where events that this view would show were pruned after it."""
        if self.allow_pruned:
            return
        if self.uncertain is not None and not window.intersection(self.uncertain.window).is_empty:
            raise pruned_error(self.uncertain.tombstone, self.as_of)
        cutoff = self.cutoff_us
        for tombstone in self.catalog.tombstones:
            oldest_us = tombstone.min_ts_us if cutoff is None else max(tombstone.min_ts_us, cutoff)
            if (
                tombstone.end_seq > self.as_of > tombstone.first_seq
                and oldest_us <= tombstone.max_ts_us
                and window.overlaps(oldest_us, tombstone.max_ts_us)
            ):
                raise pruned_error(tombstone, self.as_of)


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
        horizon = horizon.after(reached[begin:end]).told(row.now_us, confirmed=bool(row.confirmed))
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


def control_rows(events: pl.DataFrame) -> tuple[list[PolicyRow], list[MomentRow]]:
    """Return the policies and moments that the trail's own events in a frame declare."""
    policies, moments = [], []
    for seq, action, attrs in own_events(events):
        with _explained(seq):
            if action == POLICY_SET:
                policies.append(PolicyRow(from_seq=seq + 1, spec=str(attrs["policy"])))
            elif action == NOW_RECORDED:
                given = {"now_us": int(str(attrs["now_us"])), "confirmed": int(str(attrs["confirmed"]))}
                moments.append(msgspec.convert({"seq": seq, **given}, MomentRow))
    return policies, moments


def tier_rows(events: pl.DataFrame) -> list[TierRow]:
    """Return the tiers that the trail's own events in a frame declare."""
    rows = []
    for seq, action, attrs in own_events(events):
        if action == TIER_DECLARED:
            with _explained(seq):
                by = msgspec.json.encode(attrs["by"]).decode()
                rows.append(msgspec.convert({**attrs, "seq": seq, "by": by}, TierRow))
                read_tier(rows[-1])
    return rows


@contextmanager
def _explained(seq: int) -> Iterator[None]:
    """Turn what is raised where an event of the trail's own makes no sense into what it means."""
    try:
        yield
    except (ValueError, KeyError, RecursionError) as exc:
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
