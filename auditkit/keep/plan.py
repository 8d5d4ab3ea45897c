"""Planning a prune: which segments hold expired events, and nothing else.  Pure: reads no clock and no disk."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from auditkit.keep.expired import Expired
from auditkit.retention.holds import Hold
from auditkit.retention.policy import Policy
from auditkit.retention.visibility import Expiry
from auditkit.store.records import SegmentRow
from auditkit.text import counted, minute, size, visible
from auditkit.timerange import Width, from_us, partition_end, partition_start, to_us
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.summaries import HorizonWaits, PruneWaits, TierWaits, Waiting

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
class PlannedRule:
    """One rule of the policy, before which moment its events are expired, and how many of these would go."""

    rule: str
    cutoff: datetime
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldEvents:
    """How many events would go but for a hold."""

    hold: str
    reason: str
    events: int


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
        No event with `ts` from it on is expired, whichever rule it goes by (the bound is exclusive); None where nothing is.
    segments : tuple of PlannedSegment
        Segments all of whose producers' events are expired.  They go whole; the trail's own events in them stay.
    boundary : tuple of PlannedSegment
        Segments of which some events are expired.  They are written anew without these.
    rules : tuple of PlannedRule
        The rules that expire events: how many by each, and before which moment.
    held : tuple of HeldEvents
        The holds that keep what the policy does not: how many by each.
    unfolded : int
        How many of the events that would be removed wait until tiers have them; `prune` brings the tiers up to date first.
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
    rules: tuple[PlannedRule, ...] = ()
    held: tuple[HeldEvents, ...] = ()
    unfolded: int = 0

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
            *(f"{name}: {words}" for name, words in self._by_rule()),
            f"would remove {removed} ({self.bytes:,} bytes)",
            *(_line(segment) for segment in self.segments),
        ]
        if self.boundary:
            cut = sum(segment.expired for segment in self.boundary)
            lines.append(
                f"and {counted(cut, 'event')} of {counted(len(self.boundary), 'segment')} to be written anew"
            )
            lines += [_line(segment) for segment in self.boundary]
        return "\n".join([*lines, *(f"{name}: {words}" for name, words in self._kept())])

    def _by_rule(self) -> list[tuple[str, str]]:
        """Return what each of several rules expires, in words."""
        if len(self.rules) < 2:
            return []
        return [
            (f"rule {rule.rule}", f"{counted(rule.events, 'event')} before {minute(rule.cutoff)}")
            for rule in self.rules
        ]

    def _kept(self) -> list[tuple[str, str]]:
        """Return what stays for the time being, in words."""
        kept = [
            (f"held by {visible(one.hold)}", f"{counted(one.events, 'event')} ({visible(one.reason)})")
            for one in self.held
        ]
        if self.unfolded:
            kept.append(("waiting for tiers", counted(self.unfolded, "event")))
        return kept

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
        prune = [*self._by_rule(), ("would remove", removed)]
        if self.boundary:
            prune.append(("of them", f"in {counted(len(self.boundary), 'segment')} to be written anew"))
        prune += self._kept()
        return [("policy", policy), ("prune", prune), *([("segments", shown)] if shown else [])]

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return what a notebook keeps and shows."""
        from auditkit.display.cards import make_card  # only where a notebook shows it

        return make_card("Prune plan", self._sections()).bundle(str(self))


def plan_segments(
    segments: Sequence[SegmentRow],
    policy: Policy,
    horizon_us: int | None,
    *,
    holds: Sequence[Hold] = (),
    exact: bool = True,
) -> PrunePlan:
    """Plan the removal of every event that is expired at `horizon_us`, or only of what a rule leaves none of.

    The bound is exclusive: an event exactly at the cutoff is kept.  Segments with none but the trail's own events
    are not planned.  The catalog does not tell how many events of a boundary segment are expired: none may be.
    Unless `exact`, a rule counts for a segment only once it has passed all of it, so that a segment is written anew
    once for each rule.
    """
    expiry = Expiry(policy=policy, cutoffs=policy.cutoffs_us(horizon_us), holds=holds)
    chosen = [
        (passed_by(row, expiry, exact=exact).of(row), row)
        for row in sorted(segments, key=lambda row: row.first_seq)
    ]
    return PrunePlan(
        policy=str(policy),
        horizon=None if horizon_us is None else from_us(horizon_us),
        cutoff=None if expiry.cutoff_us is None else from_us(expiry.cutoff_us),
        segments=tuple(_planned(row) for part, row in chosen if part == "all"),
        boundary=tuple(_planned(row) for part, row in chosen if part == "some"),
    )


def passed_by(row: SegmentRow, expiry: Expiry, *, exact: bool) -> Expiry:
    """Return by which rules events of a segment are removed: all, or those that have passed the segment."""
    return (
        expiry
        if exact
        else expiry.passed(row.max_ts_us if row.producers_max_ts_us is None else row.producers_max_ts_us)
    )


def enforcement_is_due(snapshot: Snapshot, width: Width) -> bool:
    """Return whether the horizon has reached a partition that it was not in when retention was last enforced."""
    horizon, enforced = snapshot.horizon_us, snapshot.catalog.enforced_horizon_us
    if horizon is None:
        return False
    return enforced is None or partition_start(horizon, width) > partition_start(enforced, width)


def waiting(snapshot: Snapshot, width: Width, plan: PrunePlan) -> tuple[Waiting, ...]:
    """Return what waits, and for what; `plan` is what may be removed unasked."""
    horizon = snapshot.horizon
    if not snapshot.policy.expires or horizon.trusted_us is None:
        return ()
    found: list[Waiting] = []
    if plan.rows > plan.unfolded and not enforcement_is_due(snapshot, width):
        until = from_us(partition_end(horizon.trusted_us, width))
        found.append(PruneWaits(events=plan.rows - plan.unfolded, until=until))
    if plan.unfolded:
        found.append(TierWaits(events=plan.unfolded))
    return (*found, *horizon_waits(snapshot))


def horizon_waits(snapshot: Snapshot) -> tuple[HorizonWaits, ...]:
    """Return what lies too far ahead of the horizon to move it, where anything expires by it."""
    horizon = snapshot.horizon
    moments = (horizon.trusted_us, horizon.waiting_from_us, horizon.waiting_to_us)
    if not snapshot.policy.expires or None in moments:
        return ()
    stays, first, last = (from_us(us) for us in moments if us is not None)
    return (HorizonWaits(horizon=stays, first=first, last=last),)


def with_counts(plan: PrunePlan, snapshot: Snapshot, counts: Mapping[str, Expired]) -> PrunePlan:
    """Return the plan with what is expired in each of its segments, of those only in which something is, and by what."""
    rules, held = Counter[int](), Counter[str]()
    for count in counts.values():
        rules.update(count.rules)
        held.update(count.held)
    folded, cutoffs = (
        snapshot.folded_seq,
        snapshot.policy.cutoffs_us(None if plan.horizon is None else to_us(plan.horizon)),
    )
    ends = {row.path: row.last_seq for row in snapshot.catalog.segments}
    return replace(
        plan,
        segments=tuple(replace(part, expired=counts[part.path].rows) for part in plan.segments),
        boundary=tuple(
            replace(part, expired=counts[part.path].rows) for part in plan.boundary if counts[part.path].rows
        ),
        rules=tuple(
            PlannedRule(rule=str(snapshot.policy.rules[place]), cutoff=from_us(us), events=rules[place])
            for place, us in enumerate(cutoffs)
            if us is not None
        ),
        held=tuple(
            HeldEvents(hold=hold.name, reason=hold.reason, events=held[hold.name])
            for hold in snapshot.expiry.holds
            if held[hold.name]
        ),
        unfolded=sum(count.rows for path, count in counts.items() if ends[path] >= folded),
    )


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
