"""Planning a prune: which segments hold expired events, and nothing else.  Pure: reads no clock and no disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from auditkit.retention.policy import Policy
from auditkit.retention.visibility import Expiry
from auditkit.store.records import SegmentRow
from auditkit.text import counted, minute, size
from auditkit.timerange import Width, from_us, partition_end, partition_start
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.summaries import HorizonWaits, PruneWaits, Waiting

_ON_CARD = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSegment:
    """One segment that a prune would remove events from.

    Attributes
    ----------
    path : str
        Its file, relative to the trail's folder of segments.
    first_seq, last_seq : int
        The smallest and the largest seq in it, inclusive.
    rows, own_rows : int
        How many events it holds, and how many of them are the trail's own, which stay.
    expired : int
        How many events would go; of a boundary segment that was not read, at most so many.
    min_ts, max_ts : datetime
        The earliest and the latest time of an event in it, inclusive.
    bytes : int
        Its size.
    """

    path: str
    first_seq: int
    last_seq: int
    rows: int
    own_rows: int
    expired: int
    min_ts: datetime
    max_ts: datetime
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What a prune would remove, and why; `print` shows it, and a notebook shows it as a card.

    Attributes
    ----------
    policy : str
        The policy in force, in words.
    horizon : datetime or None
        The moment that the policy measures from; None where the trail has none yet, and nothing expires.
    cutoff : datetime or None
        Producers' events with `ts` before it are expired (the bound is exclusive); None where nothing is.
    segments : tuple of PlannedSegment
        Segments all of whose producers' events are expired.  They go whole; the trail's own events in them stay.
    boundary : tuple of PlannedSegment
        Segments that the cutoff runs through.  Only a prune by hand writes them anew, without what is expired.
    rows : int
        How many events would be removed.
    bytes : int
        The size of `segments`; what `boundary` frees is known once it is written anew.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp(), retention="90d")
    >>> trail.extend([{"action": "doc.read", "ts": "2020-01-01T00:00:00Z"}, {"action": "doc.read"}]).wait()
    0
    >>> trail.plan_prune().rows
    0
    >>> summary = trail.flush()
    >>> trail.plan_prune(now=trail.now()).rows
    1
    """

    policy: str
    horizon: datetime | None
    cutoff: datetime | None
    segments: tuple[PlannedSegment, ...]
    boundary: tuple[PlannedSegment, ...]

    @property
    def rows(self) -> int:
        """How many events would be removed."""
        return sum(segment.expired for segment in (*self.segments, *self.boundary))

    @property
    def bytes(self) -> int:
        """How many bytes of whole segments would be freed; what boundary segments free is known afterwards."""
        return sum(segment.bytes for segment in self.segments)

    def __str__(self) -> str:
        if self.cutoff is None or self.horizon is None:
            return f"policy: {self.policy}; nothing expires"
        whole = sum(segment.expired for segment in self.segments)
        removed = f"{counted(whole, 'event')} in {counted(len(self.segments), 'segment')}"
        lines = [
            f"policy: {self.policy}; horizon {minute(self.horizon)}; expired before {minute(self.cutoff)}",
            f"would remove {removed} ({self.bytes:,} bytes)",
            *(_line(segment) for segment in self.segments),
        ]
        if self.boundary:
            cut = sum(segment.expired for segment in self.boundary)
            lines.append(
                f"and {counted(cut, 'event')} of {counted(len(self.boundary), 'segment')} that the cutoff runs through"
            )
            lines += [_line(segment) for segment in self.boundary]
        return "\n".join(lines)

    def _sections(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return the sections of a card, with the first of the planned segments."""
        if self.cutoff is None or self.horizon is None:
            return [("policy", [("says", f"{self.policy}; nothing expires")])]
        planned = (*self.segments, *self.boundary)
        shown = [
            (f"seq {s.first_seq:,} to {s.last_seq:,}", f"{_held(s)}, {_span(s)}") for s in planned[:_ON_CARD]
        ]
        if len(planned) > _ON_CARD:
            shown.append(("and", counted(len(planned) - _ON_CARD, "segment more", "segments more")))
        removed = f"{counted(self.rows, 'event')} in {counted(len(planned), 'segment')}, {size(self.bytes)}"
        policy = [
            ("says", self.policy),
            ("horizon", minute(self.horizon)),
            ("expired before", minute(self.cutoff)),
        ]
        prune = [("would remove", removed)]
        if self.boundary:
            prune.append(
                ("of them", f"in {counted(len(self.boundary), 'segment')} that the cutoff runs through")
            )
        return [("policy", policy), ("prune", prune), *([("segments", shown)] if shown else [])]

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return what a notebook keeps and shows."""
        from auditkit.display.cards import make_card  # only where a notebook shows it

        return make_card("Prune plan", self._sections()).bundle(str(self))


def plan_segments(segments: Sequence[SegmentRow], policy: Policy, horizon_us: int | None) -> PrunePlan:
    """Plan the removal of every producers' event that is expired at `horizon_us`.

    The bound is exclusive: an event exactly at the cutoff is kept.  Segments with none but the trail's own events
    are never planned.  The catalog does not tell how many events of a boundary segment are expired: none may be.
    """
    expiry = Expiry(policy.cutoff_us(horizon_us))
    expired = [(expiry.of(row), row) for row in sorted(segments, key=lambda row: row.first_seq)]
    return PrunePlan(
        policy=str(policy),
        horizon=None if horizon_us is None else from_us(horizon_us),
        cutoff=None if expiry.cutoff_us is None else from_us(expiry.cutoff_us),
        segments=tuple(_planned(row) for part, row in expired if part == "all"),
        boundary=tuple(_planned(row) for part, row in expired if part == "some"),
    )


def enforcement_is_due(snapshot: Snapshot, width: Width) -> bool:
    """Return whether the horizon has reached a partition that it was not in when retention was last enforced."""
    horizon, enforced = snapshot.horizon_us, snapshot.catalog.enforced_horizon_us
    if horizon is None:
        return False
    return enforced is None or partition_start(horizon, width) > partition_start(enforced, width)


def waiting(snapshot: Snapshot, width: Width) -> tuple[Waiting, ...]:
    """Return what waits, and for what."""
    horizon = snapshot.horizon
    if snapshot.policy.keep is None or horizon.trusted_us is None:
        return ()
    found: list[Waiting] = []
    planned = plan_segments(snapshot.catalog.segments, snapshot.policy, horizon.trusted_us)
    expired = sum(segment.expired for segment in planned.segments)
    if expired and not enforcement_is_due(snapshot, width):
        found.append(PruneWaits(events=expired, until=from_us(partition_end(horizon.trusted_us, width))))
    if horizon.waiting_from_us is not None and horizon.waiting_to_us is not None:
        moments = (horizon.trusted_us, horizon.waiting_from_us, horizon.waiting_to_us)
        stays, first, last = map(from_us, moments)
        found.append(HorizonWaits(horizon=stays, first=first, last=last))
    return tuple(found)


def with_counts(plan: PrunePlan, expired: Sequence[int]) -> PrunePlan:
    """Return the plan with what is expired in each of its boundary segments, and those only in which something is."""
    counts = zip(plan.boundary, expired, strict=True)
    return replace(plan, boundary=tuple(replace(part, expired=count) for part, count in counts if count))


def _planned(row: SegmentRow) -> PlannedSegment:
    return PlannedSegment(
        path=row.path,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        rows=row.rows,
        own_rows=row.own_rows,
        expired=row.rows - row.own_rows,
        min_ts=from_us(row.min_ts_us),
        max_ts=from_us(row.max_ts_us),
        bytes=row.size_bytes,
    )


def _line(segment: PlannedSegment) -> str:
    return f"  seq {segment.first_seq}-{segment.last_seq}  {_held(segment)}  {_span(segment)}"


def _held(segment: PlannedSegment) -> str:
    held = counted(segment.rows, "event")
    whole = segment.expired == segment.rows - segment.own_rows
    return held if whole else f"{segment.expired:,} of {held}"


def _span(segment: PlannedSegment) -> str:
    return f"{minute(segment.min_ts)} to {minute(segment.max_ts)}"
