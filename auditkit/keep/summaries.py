"""What the verbs of keeping return: small values to look at and to keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from auditkit.keep.plan import PrunePlan
from auditkit.retention.holds import Hold
from auditkit.text import counted, minute, visible
from auditkit.timerange import from_us
from auditkit.trail.summaries import FlushSummary, Waiting
from auditkit.where import describe_where


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedHold:
    """A hold in force; `print` shows it in a line.

    Attributes
    ----------
    name : str
        What it is called.
    where : str
        Which events it keeps, in words.
    start, end : datetime or None
        From when on and before when; None for no bound.
    reason : str
        Why it was placed.
    placed : datetime
        When.
    """

    name: str
    where: str
    start: datetime | None
    end: datetime | None
    reason: str
    placed: datetime

    def __str__(self) -> str:
        since = "" if self.start is None else f" from {minute(self.start)}"
        until = "" if self.end is None else f" before {minute(self.end)}"
        return f"hold {visible(self.name)}: {visible(self.where)}{since}{until} ({visible(self.reason)})"


def placed_holds(holds: Sequence[Hold]) -> tuple[PlacedHold, ...]:
    """Return holds as values to look at and to keep."""
    return tuple(
        PlacedHold(
            name=hold.name,
            where=describe_where(hold.mapping),
            start=None if hold.window.start_us is None else from_us(hold.window.start_us),
            end=None if hold.window.end_us is None else from_us(hold.window.end_us),
            reason=hold.reason,
            placed=from_us(hold.placed_us),
        )
        for hold in holds
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSummary:
    """What `Trail.prune` removed; `print` shows it in a line.

    Attributes
    ----------
    plan : PrunePlan
        What was expired when the prune began, and why.
    events : int
        How many events were removed.
    segments : int
        How many segments went whole, but for the trail's own events in them.
    rewritten : int
        How many segments were written anew, without what was expired in them.
    bytes : int
        How many bytes of segments the disk holds less.
    """

    plan: PrunePlan
    events: int
    segments: int
    rewritten: int
    bytes: int

    def __str__(self) -> str:
        if not self.events:
            return "nothing to prune"
        text = f"pruned {counted(self.events, 'event')} in {counted(self.segments, 'segment')}"
        if self.rewritten:
            text += f", {self.rewritten:,} rewritten"
        return f"{text} ({self.bytes:,} bytes freed)"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupSummary:
    """What was folded into the tiers; `print` shows it in a line.

    Attributes
    ----------
    tiers : int
        How many tiers the trail has.
    events : int
        How many events were folded, each tier's counted.
    stores : int
        How many stores of periods were written.
    bytes : int
        The size of these.
    expired : int
        How many stores were removed, as their tier no longer keeps any bucket of them.
    seconds : float
        How long it took.
    """

    tiers: int
    events: int
    stores: int
    bytes: int
    expired: int
    seconds: float

    def __str__(self) -> str:
        if not (self.stores or self.expired):
            return "nothing to roll up"
        text = (
            f"rolled up {counted(self.events, 'event')} into {counted(self.stores, 'store')} of "
            f"{counted(self.tiers, 'tier')}, {self.bytes:,} bytes, {self.seconds:.2f} s"
        )
        return f"{text}; {counted(self.expired, 'store')} expired" if self.expired else text


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactSummary:
    """What compaction made of small segments; `print` shows it in a line.

    Attributes
    ----------
    replaced : int
        How many segments were merged.  Their files stay in `replaced/` for 15 minutes, for readers that planned with them.
    segments : int
        How many segments they became.
    events : int
        How many events these hold.
    partitions : int
        In how many partitions they lie.
    bytes_before, bytes : int
        The size of the merged segments, and of those that they became.
    seconds : float
        How long it took.
    """

    replaced: int
    segments: int
    events: int
    partitions: int
    bytes_before: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        if not self.replaced:
            return "nothing to compact"
        return (
            f"merged {counted(self.replaced, 'segment')} of {counted(self.partitions, 'partition')} into "
            f"{self.segments:,} ({counted(self.events, 'event')}, {self.bytes_before:,} to {self.bytes:,} bytes), "
            f"{self.seconds:.2f} s"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintainSummary:
    """What `Trail.maintain` did; `print` shows it in a line.

    Attributes
    ----------
    flush : FlushSummary or None
        What was moved from the queue into segments; None where nothing was queued.
    prune : PruneSummary or None
        What was removed; None where no prune was due.
    compact : CompactSummary or None
        What was merged; None where nothing was worth it.
    rollup : RollupSummary or None
        What was folded into tiers; None where nothing was, or there are none.
    waiting : tuple of Waiting
        What waits, and for what: expired events for the next prune, a horizon for events that confirm it.  `str` says it.
    """

    flush: FlushSummary | None
    rollup: RollupSummary | None
    prune: PruneSummary | None
    compact: CompactSummary | None
    waiting: tuple[Waiting, ...]

    @property
    def did_something(self) -> bool:
        """Whether anything was due."""
        return any(part is not None for part in (self.flush, self.rollup, self.prune, self.compact))

    def __str__(self) -> str:
        done = [str(part) for part in (self.flush, self.rollup, self.prune, self.compact) if part is not None]
        return "; ".join([*(done or ["nothing was due"]), *map(str, self.waiting)])
