"""The figures of a trail's state, and the card that shows them.  Numbers, times and names only; no event content."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from auditkit.display.cards import Card, Section, make_card
from auditkit.retention.horizon import WINDOW_US
from auditkit.text import ago, counted, minute, number, size


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """The queue.  `accepted`, `committed` and `flushed` are exclusive ends of seqs."""

    depth: int
    """Committed events that are not in segments yet."""
    bytes: int
    oldest_age_s: float | None
    """Seconds since the oldest of them was accepted."""
    pending: int
    """Events this process has accepted and not committed yet."""
    accepted: int
    committed: int
    flushed: int
    high_water: int
    """The most events that waited for one commit of this object."""
    commits: int
    """Commits made through this object; the figures below are about them too."""
    mean_group: float | None
    """Events per commit."""
    mean_commit_ms: float | None
    slowest_commit_ms: float | None
    blocked_s: float
    """Seconds that callers spent committing or flushing because a bound was reached."""
    duplicates: int
    """Events that repeated one accepted before, and were not stored again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStats:
    """The segments that count."""

    count: int
    rows: int
    bytes: int
    partitions: int
    mergeable: int
    """Small segments that maintenance would merge now."""
    replaced: int
    """Files of merged segments that stay for readers for a while."""
    first_ts: datetime | None
    last_ts: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneWaits:
    """Expired events that the next prune by itself removes, once the horizon has reached `until`."""

    events: int
    until: datetime

    def __str__(self) -> str:
        return f"{counted(self.events, 'expired event')} to prune once the horizon has reached {minute(self.until)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HorizonWaits:
    """Events from `first` to `last` that lie too far ahead of the horizon to move it by themselves."""

    horizon: datetime
    first: datetime
    last: datetime

    def __str__(self) -> str:
        return (
            f"the horizon stays at {minute(self.horizon)}: events from {minute(self.first)} to {minute(self.last)} lie too far "
            f"ahead, and count once they span {WINDOW_US // 3_600_000_000} hours"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TierWaits:
    """Expired events that stay until every tier has them."""

    events: int

    def __str__(self) -> str:
        return f"{counted(self.events, 'expired event')} to prune once the tiers have them"


Waiting: TypeAlias = PruneWaits | HorizonWaits | TierWaits
"""What waits, and for what; `str` says it in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionStats:
    """The policy and what it has done.  Events with `ts` before `cutoff` are expired."""

    policy: str
    horizon: datetime | None
    ahead: datetime | None
    """The newest of the events that lie too far ahead of the horizon to move it; None where there are none."""
    cutoff: datetime | None
    prunable: int
    """Events in segments that `prune()` would remove now."""
    held: int
    """Events that holds keep from that."""
    waiting: tuple[Waiting, ...]
    """What waits, and for what; `str` of each says it in words."""
    late: int
    """Dead letters that were expired on arrival."""
    refused: int
    """Events that `append` and `extend` refused through this object, because they were expired on arrival."""
    pruned: int
    tombstones: int
    last_prune: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStats:
    """One tier of rollups.  `folded` is the exclusive end of the seqs that are in it."""

    name: str
    every: str
    by: tuple[str, ...]
    tz: str
    keep: str | None
    """How long it keeps a bucket; None for ever."""
    folded: int
    behind: int
    """Committed events that are not in it yet."""
    stores: int
    bytes: int
    first_ts: datetime | None
    """Where the first bucket starts that is stored."""
    end_ts: datetime | None
    """Where the last one ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStats:
    """One consumer of `Trail.follow`."""

    name: str
    position: int
    """The seq it goes on from."""
    lag: int
    """Events committed behind its position, whether or not they are for it."""
    missed: int
    """Events that were expired or pruned before it came to them."""
    given_up: int
    """Events that became dead letters after too many deliveries."""
    moved: datetime
    """When its position last moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The state of a trail at one moment.  `print` shows it as a card, and so does rich."""

    queue: QueueStats
    segments: SegmentStats
    retention: RetentionStats
    dead_letters: int
    """Inputs that have become no event, by a retry either; what consumers gave up on is in their `given_up`."""
    tiers: tuple[TierStats, ...] = ()
    consumers: tuple[ConsumerStats, ...] = ()
    unrecorded: int = 0
    """Calls that `ak.audited(..., on_error="continue")` could not record through this object."""
    due: tuple[str, ...] = ()
    """What `maintain()` would do now: "flush", "prune", "compact"."""
    maintenance_failure: str | None = None
    """Why the last flush or prune that this object began by itself failed; it is tried again."""

    def sections(self) -> list[Section]:
        """Return what the card says: headings, each with names and values in words."""
        rows: list[Section] = [
            ("queue", _queue_rows(self.queue)),
            ("segments", _segment_rows(self.segments)),
            ("retention", _retention_rows(self.retention)),
            ("dead letters", [("waiting", f"{self.dead_letters:,}")]),
        ]
        if self.tiers:
            rows.append(("tiers", [(tier.name, tier_text(tier)) for tier in self.tiers]))
        if self.consumers:
            rows.append(
                ("consumers", [(consumer.name, _consumer_text(consumer)) for consumer in self.consumers])
            )
        if self.unrecorded:
            rows.append(("not recorded", [("calls", f"{self.unrecorded:,}")]))
        maintenance = [("due", ", ".join(self.due))] if self.due else []
        if self.maintenance_failure is not None:
            maintenance.append(("failed", self.maintenance_failure))
        if maintenance:
            rows.append(("maintenance", maintenance))
        return rows

    @property
    def card(self) -> Card:
        """The figures as a card."""
        return make_card("State of the trail", self.sections())

    def __str__(self) -> str:
        return str(self.card)

    def __rich__(self) -> Any:
        return self.card.__rich__()

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return what a notebook keeps and shows."""
        return self.card.bundle()


def _queue_rows(queue: QueueStats) -> list[tuple[str, str]]:
    waiting = f"{counted(queue.depth, 'event')}, {size(queue.bytes)}"
    if queue.oldest_age_s is not None:
        waiting += f", the oldest accepted {ago(queue.oldest_age_s)} ago"
    rows = [
        ("waiting", waiting),
        ("flushed to seq", f"{queue.flushed:,}"),
        ("next seq", f"{queue.committed:,}"),
    ]
    if queue.commits:
        group = number(queue.mean_group or 0)
        each = f"on average {group} {'event' if group == '1' else 'events'} and {queue.mean_commit_ms:.2f} ms"
        rows.append(("commits here", f"{queue.commits:,}: {each}, {queue.slowest_commit_ms:.2f} ms at most"))
        rows.append(("most pending", counted(queue.high_water, "event")))
        rows.append(("callers blocked", f"{queue.blocked_s:.2f} s"))
    if queue.duplicates:
        rows.append(("repeated here", counted(queue.duplicates, "event")))
    return rows


def _segment_rows(segments: SegmentStats) -> list[tuple[str, str]]:
    held = f"{counted(segments.rows, 'event')} in {counted(segments.count, 'segment')}"
    each = f", {segments.bytes / segments.rows:,.0f} B per event" if segments.rows else ""
    merge = counted(segments.mergeable, "small segment")
    if segments.replaced:
        merge += f"; {counted(segments.replaced, 'merged file')} kept for readers a while"
    return [
        ("held", f"{held} of {counted(segments.partitions, 'partition')}"),
        ("size", size(segments.bytes) + each),
        ("to merge", merge),
        ("first ts", minute(segments.first_ts)),
        ("last ts", minute(segments.last_ts)),
    ]


def _retention_rows(retention: RetentionStats) -> list[tuple[str, str]]:
    pruned = f"{counted(retention.pruned, 'event')} in {counted(retention.tombstones, 'segment')}"
    if retention.last_prune is not None:
        pruned += f", last {minute(retention.last_prune)}"
    late = [counted(retention.late, "dead letter")] if retention.late else []
    late += [f"{counted(retention.refused, 'event')} refused here"] if retention.refused else []
    return [
        ("policy", retention.policy),
        ("horizon", minute(retention.horizon)),
        ("expired before", minute(retention.cutoff, missing="nothing expires")),
        ("to prune", counted(retention.prunable, "event")),
        *([("held", counted(retention.held, "event"))] if retention.held else []),
        *(("waits", str(one)) for one in retention.waiting),
        ("pruned", pruned),
        *([("late", ", ".join(late))] if late else []),
    ]


def tier_text(tier: TierStats) -> str:
    """Return what a tier is and how far it has come, in words."""
    keys = f"by {', '.join(tier.by)}" if tier.by else "without keys"
    kept = "for ever" if tier.keep is None else f"for {tier.keep}"
    behind = f", {counted(tier.behind, 'event')} behind" if tier.behind else ""
    return f"every {tier.every} ({tier.tz}) {keys}, kept {kept}; {counted(tier.stores, 'store')}, {size(tier.bytes)}{behind}"


def _consumer_text(consumer: ConsumerStats) -> str:
    text = f"at seq {consumer.position:,}, {counted(consumer.lag, 'event')} behind"
    if consumer.given_up:
        text += f", {consumer.given_up:,} given up"
    if consumer.missed:
        text += f", {consumer.missed:,} missed"
    return f"{text}, moved {minute(consumer.moved)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushSummary:
    """What `Trail.flush` moved from the queue into segments; `print` shows it in a line.

    Attributes
    ----------
    events : int
        How many events were moved.
    segments : int
        How many segments they became, one per partition.
    bytes : int
        The size of these.
    first_seq, end_seq : int
        The seqs of the events: from `first_seq` on, before `end_seq`.
    seconds : float
        How long it took.
    """

    events: int
    segments: int
    bytes: int
    first_seq: int
    end_seq: int
    seconds: float

    def __str__(self) -> str:
        if not self.events:
            return "nothing to flush"
        return (
            f"flushed {counted(self.events, 'event')} (seq {self.first_seq}-{self.end_seq - 1}) into "
            f"{counted(self.segments, 'segment')}, {self.bytes:,} bytes, {self.seconds:.2f} s"
        )
