"""What the verbs of keeping return: small values to look at and to keep."""

from dataclasses import dataclass

from auditkit.keep.plan import PrunePlan
from auditkit.text import counted
from auditkit.trail.summaries import FlushSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSummary:
    """What a prune removed; `plan` says why.

    `segments` went whole, `rewritten` ones were written anew without what was expired in them.
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
class CompactSummary:
    """What compaction made of small segments: `replaced` ones are `segments` now."""

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
    """What a round of maintenance did; a part that was not due is `None`."""

    flush: FlushSummary | None
    prune: PruneSummary | None
    compact: CompactSummary | None

    def __str__(self) -> str:
        done = [str(part) for part in (self.flush, self.prune, self.compact) if part is not None]
        return "; ".join(done) or "nothing was due"
