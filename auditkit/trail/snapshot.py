"""A query's view of a trail: the events with seqs before some end that retention has not hidden.

The horizon and the policy in force are part of the view, so that what is expired is decided by the trail and never by the
reader's clock.
"""

from collections.abc import Iterator, Sequence

import msgspec
import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.errors import PrunedError
from auditkit.event import OWN_SOURCE
from auditkit.queue.tail import TailView
from auditkit.retention.horizon import Newest, horizon_us
from auditkit.retention.policy import Policy
from auditkit.store.records import CatalogView, MomentRow, PolicyRow, SegmentRow, TombstoneRow
from auditkit.timerange import TimeRange, from_us

POLICY_SET = "retention.set"
NOW_RECORDED = "retention.now"
PRUNED = "retention.pruned"
VISIBLE_BY = ("seq", "ts", "source")
"""The columns that `visible` looks at."""

_IS_OWN = pl.col("source").cast(pl.String).eq_missing(OWN_SOURCE)


class Snapshot(Struct, frozen=True, kw_only=True):
    """One consistent moment of a trail: the events with seq < `as_of`.

    `tail` holds the committed events that are not in `catalog.segments`; expired events have ts < `cutoff_us`.
    """

    catalog: CatalogView
    tail: pl.DataFrame
    queue: TailView
    as_of: int
    newest: Newest
    policy: Policy
    policies: Sequence[PolicyRow]
    moments: Sequence[MomentRow]
    doubt: TombstoneRow | None
    """Pruned events because of which it is not known any more what had expired by then."""
    allow_pruned: bool

    @property
    def horizon_us(self) -> int | None:
        """The moment retention measures from."""
        return horizon_us(self.newest)

    @property
    def cutoff_us(self) -> int | None:
        """Producers' events before this are expired."""
        return self.policy.cutoff_us(self.horizon_us)

    @property
    def committed_seq(self) -> int:
        """The exclusive end of the committed seqs, whatever `as_of` is."""
        return max(self.queue.end_seq, self.catalog.flushed_seq)

    def segments(self, window: TimeRange) -> list[SegmentRow]:
        """Return the live segments that may hold visible events of `window`."""
        return [
            row
            for row in self.catalog.segments
            if row.first_seq < self.as_of and window.overlaps(row.min_ts_us, row.max_ts_us)
        ]

    def of_seqs(self, first: int, end: int) -> "Snapshot":
        """Return the snapshot with those segments only that may hold seqs of `[first, end)`."""
        rows = [row for row in self.catalog.segments if row.last_seq >= first and row.first_seq < end]
        return replace(self, catalog=replace(self.catalog, segments=rows))

    def span(self, window: TimeRange) -> TimeRange:
        """Return where all events lie that `window` may show: a range that the catalog and the tail know of."""
        rows = self.segments(window)
        bounds = [(row.min_ts_us, row.max_ts_us) for row in rows]
        if self.tail.height:
            stamps = self.tail.get_column("ts").to_physical()
            bounds.append((stamps.min(), stamps.max()))  # type: ignore[arg-type]
        if not bounds:
            return TimeRange(start_us=0, end_us=0)
        return TimeRange(start_us=min(lo for lo, _ in bounds), end_us=max(hi for _, hi in bounds) + 1)

    def needs(self, row: SegmentRow, *, own: bool) -> tuple[bool, bool, bool] | None:
        """Say whether a segment needs filters by seq, expiry and source; `None` where it shows nothing."""
        cutoff = self.cutoff_us
        shows_own = own and row.own_rows > 0
        newest = row.producers_max_ts_us
        all_expired = newest is None or (cutoff is not None and newest < cutoff)
        if all_expired and not shows_own:
            return None
        return (
            row.last_seq >= self.as_of,
            cutoff is not None and row.min_ts_us < cutoff,
            not own and row.own_rows > 0,
        )

    def refuse_pruned(self, window: TimeRange) -> None:
        """Raise `PrunedError` where events that this view would show were pruned after it."""
        if self.allow_pruned:
            return
        if self.doubt is not None:
            raise pruned_error(self.doubt, self.as_of)
        cutoff = self.cutoff_us
        for stone in self.catalog.tombstones:
            oldest_us = stone.min_ts_us if cutoff is None else max(stone.min_ts_us, cutoff)
            if (
                stone.end_seq > self.as_of > stone.first_seq
                and oldest_us <= stone.max_ts_us
                and window.overlaps(oldest_us, stone.max_ts_us)
            ):
                raise pruned_error(stone, self.as_of)


def visible(
    snapshot: Snapshot, needs: tuple[bool, bool, bool] = (True, True, True), *, own: bool
) -> list[pl.Expr]:
    """Return the filters that leave what a view shows, where `needs` says that one is needed."""
    by_seq, by_expiry, by_source = needs
    filters = []
    if by_seq:
        filters.append(pl.col("seq") < snapshot.as_of)
    if by_expiry and snapshot.cutoff_us is not None:
        filters.append((pl.col("ts") >= from_us(snapshot.cutoff_us)) | _IS_OWN)
    if by_source and not own:
        filters.append(~_IS_OWN)
    return filters


def by_producers(events: pl.DataFrame) -> pl.Series:
    """Say of each event whether it is a producer's, not the trail's own."""
    return (events.get_column("source").cast(pl.String) != OWN_SOURCE).fill_null(value=True)


def newest_of(events: pl.DataFrame) -> Newest:
    """Return the newest ts and recorded among the producers' events of a frame."""
    chosen = by_producers(events)
    if not chosen.any():
        return Newest()
    ts, recorded = (events.get_column(name).to_physical().filter(chosen) for name in ("ts", "recorded"))
    return Newest(ts_us=ts.max(), recorded_us=recorded.max())  # type: ignore[arg-type]


def own_events(events: pl.DataFrame) -> Iterator[tuple[int, str, dict[str, object]]]:
    """Yield (seq, action, attrs) of the trail's own events in a frame."""
    is_own = ~by_producers(events)
    if is_own.any():
        columns = (events.get_column(name).filter(is_own) for name in ("seq", "action", "attrs"))
        for seq, action, attrs in zip(*columns, strict=True):
            yield seq, action, msgspec.json.decode(attrs or "{}")


def control_rows(events: pl.DataFrame) -> tuple[list[PolicyRow], list[MomentRow]]:
    """Return the policies and moments that the trail's own events in a frame declare."""
    policies, moments = [], []
    for seq, action, attrs in own_events(events):
        if action == POLICY_SET:
            policies.append(PolicyRow(from_seq=seq + 1, spec=str(attrs["policy"])))
        elif action == NOW_RECORDED:
            moments.append(MomentRow(seq=seq, now_us=int(str(attrs["now_us"]))))
    return policies, moments


def pruned_error(stone: TombstoneRow, as_of: int) -> PrunedError:
    """Return the error that names what a view of `as_of` would need."""
    error = PrunedError(
        f"seqs {stone.first_seq} to {stone.last_seq} were pruned after seq {as_of} "
        f"({stone.rows} events, {stone.policy}, on {from_us(stone.pruned_us):%Y-%m-%d})",
        tombstone=stone.path,
    )
    error.add_note("ask for a window without them, or pass allow_pruned=True to see what is left")
    return error
