"""A query's view of a trail: queue tail first, catalog second, then the segments they name.

In this order nothing is lost or shown twice while others append, flush and prune: what leaves the queue between
the two reads is already in the catalog.  The horizon and the policy in force are part of the view, so that what is
expired is decided by the trail and never by the reader's clock.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import polars as pl

from auditkit.disk.durable import Disk
from auditkit.disk.layout import Layout
from auditkit.errors import AuditError, CorruptionError, PrunedError
from auditkit.event import OWN_SOURCE, EventSchema
from auditkit.keep.horizon import Newest, horizon_us
from auditkit.keep.policy import Policy, read_policy
from auditkit.queue.tail import QueueTail, TailView
from auditkit.store.catalog import read_catalog
from auditkit.store.records import CatalogView, FlushRow, MomentRow, PolicyRow, SegmentRow, TombstoneRow
from auditkit.store.segment import check_presence
from auditkit.timerange import TimeRange, from_us

POLICY_SET = "retention.set"
NOW_RECORDED = "retention.now"
PRUNED = "retention.pruned"

_ATTEMPTS = 20
_IS_OWN = pl.col("source").cast(pl.String).eq_missing(OWN_SOURCE)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
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

    def refuse_pruned(self, window: TimeRange) -> None:
        """Raise `PrunedError` where events that this view would show were pruned after it."""
        if self.allow_pruned:
            return
        cutoff = self.cutoff_us
        for stone in self.catalog.tombstones:
            hidden_then = cutoff is not None and stone.max_ts_us < cutoff
            if (
                not hidden_then
                and stone.end_seq > self.as_of > stone.first_seq
                and window.overlaps(stone.min_ts_us, stone.max_ts_us)
            ):
                raise _pruned_error(stone, self.as_of)


@dataclass(frozen=True, slots=True)
class Source:
    """Where snapshots of one trail come from."""

    disk: Disk
    layout: Layout
    schema: EventSchema
    tail: QueueTail
    verified: set[tuple[str, int, int]]
    """Segments whose digest this process has checked: path, inode and modification time."""

    def snapshot(self, at: int | None = None, *, allow_pruned: bool = False) -> Snapshot:
        """Read tail and catalog; with `at`, show only seqs before it.

        Raises `ValueError` for a seq beyond the committed end.
        """
        queue, catalog = self._consistent()
        tail = queue.events.filter(pl.col("seq") >= catalog.flushed_seq)
        committed = max(queue.end_seq, catalog.flushed_seq)
        as_of = committed if at is None else at
        if not 0 <= as_of <= committed:
            raise ValueError(f"seq: beyond the committed end (expected 0 to {committed}, found {as_of})")
        tail = tail if as_of == committed else tail.filter(pl.col("seq") < as_of)
        policies, moments = _control_events(catalog, tail, as_of)
        newest = self._newest(catalog, tail, as_of)
        now = Newest(now_us=max((row.now_us for row in moments), default=None))
        return Snapshot(
            catalog=catalog,
            tail=tail,
            queue=queue,
            as_of=as_of,
            newest=newest.joined(now),
            policy=read_policy(policies[-1].spec),
            policies=policies,
            moments=moments,
            allow_pruned=allow_pruned,
        )

    def _consistent(self) -> tuple[TailView, CatalogView]:
        for _ in range(_ATTEMPTS):
            queue = self.tail.read()
            catalog = read_catalog(self.layout.catalog)
            if queue.files and queue.first_seq <= catalog.flushed_seq:
                return queue, catalog
            # A listing that raced with a flush; both move forward, so the next look fits together.
        if not queue.files:
            raise CorruptionError(
                self.layout.queue, offset=None, reason="the queue folder holds no queue file"
            )
        raise CorruptionError(
            self.layout.queue,
            offset=None,
            reason=f"seqs {catalog.flushed_seq} to {queue.first_seq - 1} are neither queued nor in segments",
        )

    def _newest(self, catalog: CatalogView, tail: pl.DataFrame, as_of: int) -> Newest:
        """Return the largest times among the producers' events before `as_of`."""
        flush = _last_flush(catalog, as_of)
        known = 0 if flush is None else flush.end_seq
        newest = (
            Newest()
            if flush is None
            else Newest(ts_us=flush.newest_ts_us, recorded_us=flush.newest_recorded_us)
        )
        for stone in catalog.tombstones:
            if known <= stone.first_seq and stone.last_seq < as_of:
                newest = newest.joined(Newest(ts_us=stone.max_ts_us, recorded_us=stone.max_recorded_us))
        return newest.joined(newest_of(self._seqs(catalog, tail, known, as_of)))

    def _seqs(self, catalog: CatalogView, tail: pl.DataFrame, first: int, end: int) -> pl.LazyFrame:
        """Return the events with seqs `[first, end)` that are on disk, whatever retention says of them."""
        rows = [row for row in catalog.segments if row.last_seq >= first and row.first_seq < end]
        frames = [pl.scan_ipc([self._checked(row) for row in rows])] if rows else []
        seq = pl.col("seq")
        return pl.concat([*frames, tail.lazy()]).filter((seq >= first) & (seq < end))

    def accepted_us(self, snapshot: Snapshot) -> int | None:
        """Return when the last event of a snapshot was accepted, `None` where that is not known any more."""
        flush = _last_flush(snapshot.catalog, snapshot.as_of)
        first = 0 if flush is None else flush.end_seq
        recent = self._seqs(snapshot.catalog, snapshot.tail, first, snapshot.as_of)
        newest = recent.select(pl.col("recorded").to_physical().max()).collect().item()
        return newest if newest is not None or flush is None else flush.last_recorded_us

    def frame(self, snapshot: Snapshot, window: TimeRange, *, own: bool) -> pl.LazyFrame:
        """Return the visible events of `window` with the stored schema, unordered.

        Files are chosen by the catalog; only those that need it are filtered by seq, expiry or source.  Rows
        outside the window may remain.  Raises `FileNotFoundError` where a segment is gone since the snapshot.
        """
        snapshot.refuse_pruned(window)
        groups: dict[tuple[bool, bool, bool], list[Path]] = {}
        for row in snapshot.segments(window):
            needs = _needed_filters(row, snapshot, own=own)
            if needs is not None:
                groups.setdefault(needs, []).append(self._checked(row))
        frames = [pl.scan_ipc(paths).filter(*_filters(needs, snapshot)) for needs, paths in groups.items()]
        tail = snapshot.tail.lazy().filter(
            *_filters((False, snapshot.cutoff_us is not None, not own), snapshot)
        )
        return pl.concat([*frames, tail]) if frames else tail

    def stored(self, snapshot: Snapshot, window: TimeRange) -> pl.LazyFrame:
        """Return every event on disk that may lie in `window`, expired and own ones included."""
        paths = [self._checked(row) for row in snapshot.segments(window)]
        frames = [pl.scan_ipc(paths).filter(pl.col("seq") < snapshot.as_of)] if paths else []
        return pl.concat([*frames, snapshot.tail.lazy()])

    def _checked(self, row: SegmentRow) -> Path:
        """Return the path of a segment whose bytes are those that were written."""
        path = check_presence(self.layout, row)
        status = path.stat()
        key = (row.path, status.st_ino, status.st_mtime_ns)
        if key not in self.verified:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            if digest != row.sha256:
                raise CorruptionError(
                    path,
                    offset=None,
                    reason=f"digest differs from the catalog's (seqs {row.first_seq} to {row.last_seq})",
                )
            self.verified.add(key)
        return path


def retrying(ask: Callable[[], _T]) -> _T:
    """Call `ask` again with a new plan while segments vanish under it."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return ask()
        except FileNotFoundError:
            continue
    try:
        return ask()
    except FileNotFoundError as exc:
        if isinstance(exc, AuditError) or exc.filename is None:
            raise
        path = Path(exc.filename)
        raise CorruptionError(
            path, offset=None, reason="the catalog names this file, and it is gone"
        ) from exc


def newest_of(events: pl.LazyFrame) -> Newest:
    """Return the newest ts and recorded among the producers' events of a frame."""
    row = (
        events.filter(~_IS_OWN)
        .select(pl.col("ts").to_physical().max(), pl.col("recorded").to_physical().max())
        .collect()
        .row(0)
    )
    return Newest(ts_us=row[0], recorded_us=row[1])


def own_events(events: pl.DataFrame) -> Iterator[tuple[int, str, dict[str, object]]]:
    """Yield (seq, action, attrs) of the trail's own events in a frame."""
    chosen = events.filter(_IS_OWN).select("seq", pl.col("action").cast(pl.String), "attrs")
    for seq, action, attrs in chosen.iter_rows():
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


def _control_events(
    catalog: CatalogView, tail: pl.DataFrame, as_of: int
) -> tuple[list[PolicyRow], list[MomentRow]]:
    policies, moments = control_rows(tail)
    return (
        [row for row in (*catalog.policies, *policies) if row.from_seq <= as_of],
        [row for row in (*catalog.moments, *moments) if row.seq < as_of],
    )


def _last_flush(catalog: CatalogView, as_of: int) -> FlushRow | None:
    """Return the last flush that moved nothing but seqs before `as_of`."""
    return max((row for row in catalog.flushes if row.end_seq <= as_of), key=_end_seq, default=None)


def _end_seq(row: FlushRow) -> int:
    return row.end_seq


def _needed_filters(row: SegmentRow, snapshot: Snapshot, *, own: bool) -> tuple[bool, bool, bool] | None:
    """Say whether a segment needs filters by seq, expiry and source; `None` where it shows nothing."""
    cutoff = snapshot.cutoff_us
    shows_own = own and row.own_rows > 0
    all_expired = row.producers_max_ts_us is None or (cutoff is not None and row.producers_max_ts_us < cutoff)
    if all_expired and not shows_own:
        return None
    return (
        row.last_seq >= snapshot.as_of,
        cutoff is not None and row.min_ts_us < cutoff,
        not own and row.own_rows > 0,
    )


def _filters(needs: tuple[bool, bool, bool], snapshot: Snapshot) -> list[pl.Expr]:
    by_seq, by_expiry, by_source = needs
    filters = []
    if by_seq:
        filters.append(pl.col("seq") < snapshot.as_of)
    if by_expiry and snapshot.cutoff_us is not None:
        filters.append((pl.col("ts") >= from_us(snapshot.cutoff_us)) | _IS_OWN)
    if by_source:
        filters.append(~_IS_OWN)
    return filters


def _pruned_error(stone: TombstoneRow, as_of: int) -> PrunedError:
    error = PrunedError(
        f"seqs {stone.first_seq} to {stone.last_seq} were pruned after seq {as_of} "
        f"({stone.rows} events, {stone.policy}, on {from_us(stone.pruned_us):%Y-%m-%d})",
        tombstone=stone.path,
    )
    error.add_note("ask for a window without them, or pass allow_pruned=True to see what is left")
    return error
