"""Planning a prune: which segments hold nothing but expired events.  Pure: reads no clock and no disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditkit.cards import Card, make_card
from auditkit.keep.policy import Policy
from auditkit.store.records import SegmentRow
from auditkit.timerange import from_us
from auditkit.wording import counted, size

_ON_CARD = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSegment:
    """One segment that a prune would remove; `own_rows` of the trail's own events would move elsewhere."""

    path: str
    first_seq: int
    last_seq: int
    rows: int
    own_rows: int
    min_ts: datetime
    max_ts: datetime
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What a prune would remove, and why.  `print(plan)` shows it.

    Events with `ts` before `cutoff` are expired; a segment goes once all its producers' events are.
    `waiting_rows` is an upper bound of expired events that stay on disk, hidden, in segments that go later.
    """

    policy: str
    horizon: datetime | None
    cutoff: datetime | None
    segments: tuple[PlannedSegment, ...]
    waiting_rows: int

    @property
    def rows(self) -> int:
        """How many events would be removed."""
        return sum(segment.rows - segment.own_rows for segment in self.segments)

    @property
    def bytes(self) -> int:
        """How many bytes of segments would be freed."""
        return sum(segment.bytes for segment in self.segments)

    def __str__(self) -> str:
        if self.cutoff is None or self.horizon is None:
            return f"policy: {self.policy}; nothing expires"
        removed = f"{counted(self.rows, 'event')} in {counted(len(self.segments), 'segment')}"
        lines = [
            f"policy: {self.policy}; horizon {_minute(self.horizon)}; expired before {_minute(self.cutoff)}",
            f"would remove {removed} ({self.bytes:,} bytes)",
        ]
        lines += [
            f"  seq {s.first_seq}-{s.last_seq}  {counted(s.rows, 'event')}  {_span(s)}" for s in self.segments
        ]
        if self.waiting_rows:
            lines.append(
                f"up to {self.waiting_rows:,} expired events are hidden and wait in segments that go later"
            )
        return "\n".join(lines)

    @property
    def card(self) -> Card:
        """The plan as a card, with the first of its segments."""
        if self.cutoff is None or self.horizon is None:
            return make_card("Prune plan", [("policy", [("says", f"{self.policy}; nothing expires")])])
        shown = [
            (f"seq {s.first_seq:,} to {s.last_seq:,}", f"{counted(s.rows, 'event')}, {_span(s)}")
            for s in self.segments[:_ON_CARD]
        ]
        if len(self.segments) > _ON_CARD:
            shown.append(("and", counted(len(self.segments) - _ON_CARD, "segment more", "segments more")))
        removed = (
            f"{counted(self.rows, 'event')} in {counted(len(self.segments), 'segment')}, {size(self.bytes)}"
        )
        policy = [
            ("says", self.policy),
            ("horizon", _minute(self.horizon)),
            ("expired before", _minute(self.cutoff)),
        ]
        prune = [("would remove", removed)]
        if self.waiting_rows:
            prune.append(("hidden, waiting", f"up to {counted(self.waiting_rows, 'event')}"))
        sections = [("policy", policy), ("prune", prune), *([("segments", shown)] if shown else [])]
        return make_card("Prune plan", sections)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return what a notebook keeps and shows."""
        return self.card.bundle(str(self))


def plan_segments(segments: Sequence[SegmentRow], policy: Policy, horizon_us: int | None) -> PrunePlan:
    """Plan the removal of every segment whose producers' events are all expired at `horizon_us`.

    The bound is exclusive: an event exactly at the cutoff is kept.  Segments with none but the trail's own events
    are never planned.
    """
    cutoff = policy.cutoff_us(horizon_us)
    expired, waiting = [], 0
    for row in segments:
        if cutoff is None or row.producers_max_ts_us is None or row.min_ts_us >= cutoff:
            continue
        if row.producers_max_ts_us < cutoff:
            expired.append(row)
        else:
            waiting += row.rows - row.own_rows
    return PrunePlan(
        policy=str(policy),
        horizon=None if horizon_us is None else from_us(horizon_us),
        cutoff=None if cutoff is None else from_us(cutoff),
        segments=tuple(_planned(row) for row in sorted(expired, key=lambda row: row.first_seq)),
        waiting_rows=waiting,
    )


def _planned(row: SegmentRow) -> PlannedSegment:
    return PlannedSegment(
        path=row.path,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        rows=row.rows,
        own_rows=row.own_rows,
        min_ts=from_us(row.min_ts_us),
        max_ts=from_us(row.max_ts_us),
        bytes=row.size_bytes,
    )


def _span(segment: PlannedSegment) -> str:
    return f"{_minute(segment.min_ts)} to {_minute(segment.max_ts)}"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
