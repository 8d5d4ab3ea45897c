"""What retention is doing: rules, holds and tiers in force, what is expired on disk, and what waits for what."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditkit.keep.plan import HeldEvents, PlannedRule, waiting
from auditkit.keep.prune import plan_prune, plan_unasked
from auditkit.keep.summaries import PlacedHold, placed_holds
from auditkit.text import counted, minute, visible
from auditkit.timerange import from_us
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.summaries import TierStats, Waiting, tier_text


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRule:
    """One rule of the policy: which events, how long they are kept, and before which moment they are expired now."""

    rule: str
    keep: str | None
    cutoff: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long a trail keeps what, and how far that is done; `print` shows it, and a notebook shows it as a card.

    Attributes
    ----------
    policy : str
        The policy in force, in words.
    rules : tuple of KeptRule
        Its rules in order: the first that matches an event says how long it is kept, and without one it is for ever.
    horizon : datetime or None
        The moment that the policy measures from; None where the trail has none yet, and nothing expires.
    holds : tuple of PlacedHold
        The holds in force.
    tiers : tuple of TierStats
        The tiers of rollups.
    due : tuple of PlannedRule
        What `prune` would remove now, by rule.
    held : tuple of HeldEvents
        What it would remove but for the holds.
    waiting : tuple of Waiting
        What waits, and for what; `str` of each says it.
    pruned : int
        How many events were removed so far.
    """

    policy: str
    rules: tuple[KeptRule, ...]
    horizon: datetime | None
    holds: tuple[PlacedHold, ...]
    tiers: tuple[TierStats, ...]
    due: tuple[PlannedRule, ...]
    held: tuple[HeldEvents, ...]
    waiting: tuple[Waiting, ...]
    pruned: int

    def __str__(self) -> str:
        lines = [self.policy]
        for heading, rows in self._sections()[1:]:
            lines += [f"{heading}: {name} {words}" for name, words in rows]
        return "\n".join(lines)

    def _sections(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return the sections of a card."""
        policy = [("says", self.policy)]
        if self.horizon is not None:
            policy.append(("horizon", minute(self.horizon)))
        expired = [(one.rule, f"before {minute(one.cutoff)}") for one in self.rules if one.cutoff is not None]
        due = [(one.rule, counted(one.events, "event")) for one in self.due if one.events]
        holds = [(visible(one.name), str(one).partition(": ")[2]) for one in self.holds]
        held = [(visible(one.hold), counted(one.events, "event")) for one in self.held]
        tiers = [(visible(one.name), tier_text(one)) for one in self.tiers]
        sections = [
            ("policy", policy),
            ("expired", expired),
            ("to prune", due),
            ("holds", holds),
            ("held", held),
            ("tiers", tiers),
            ("waits", [("", str(one)) for one in self.waiting]),
            ("pruned", [("so far", counted(self.pruned, "event"))] if self.pruned else []),
        ]
        return [(heading, rows) for heading, rows in sections if rows]

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return what a notebook keeps and shows."""
        from auditkit.display.cards import make_card  # only where a notebook shows it

        return make_card("Retention", self._sections()).bundle(str(self))


def tiers_of(snapshot: Snapshot) -> tuple[TierStats, ...]:
    """Return the tiers declared by then, and how far each has come."""
    catalog, found = snapshot.catalog, list[TierStats]()
    for tier in snapshot.tiers.values():
        rows = [row for row in catalog.rollups if row.tier == tier.name]
        folded = catalog.folded_of(tier.name)
        found.append(
            TierStats(
                name=tier.name,
                every=tier.every.text,
                by=tier.keys,
                tz=tier.tz,
                keep=None if tier.keep is None else tier.keep.text,
                folded=folded,
                behind=max(0, snapshot.as_of - folded),
                stores=len(rows),
                bytes=sum(row.size_bytes for row in rows),
                first_ts=from_us(min(row.first_us for row in rows)) if rows else None,
                end_ts=from_us(max(row.end_us for row in rows)) if rows else None,
            )
        )
    return tuple(found)


def retention_of(handle: Handle, snapshot: Snapshot) -> Retention:
    """Return what retention is doing at a moment; reads what is expired and not pruned."""
    policy, cutoffs = snapshot.policy, snapshot.expiry.cutoffs
    plan = plan_prune(handle, snapshot)
    return Retention(
        policy=str(policy),
        rules=tuple(
            KeptRule(
                rule=str(rule),
                keep=None if rule.keep is None else rule.keep.text,
                cutoff=None if us is None else from_us(us),
            )
            for rule, us in zip(policy.rules, cutoffs, strict=True)
        ),
        horizon=plan.horizon,
        holds=placed_holds(snapshot.holds),
        tiers=tiers_of(snapshot),
        due=plan.rules,
        held=plan.held,
        waiting=waiting(snapshot, handle.partition, plan_unasked(handle, snapshot)),
        pruned=sum(row.rows for row in snapshot.catalog.tombstones),
    )
