"""What a compliance report shows: rules, holds and tiers in force, what was removed, what was refused, in frames and words."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from auditkit.api import Trail
from auditkit.keep.plan import HeldEvents, PlannedRule
from auditkit.text import counted, visible
from auditkit.timerange import check_zone, from_us
from auditkit.write.retry import KeptLetter, kept_letters

_INPUT_LENGTH = 200
"""So many characters of a refused input are shown."""


def kept_in_words(trail: Trail) -> str:
    """Return in a sentence how long a trail keeps its events, and how far that is done."""
    state = trail.retention
    held = ""
    if state.holds:
        held = f", {_events(state.held)} held from it by {counted(len(state.holds), 'hold')}"
    refused = counted(trail.stats().dead_letters, "input")
    return (
        f"{state.policy[:1].upper()}{state.policy[1:]}: {_events(state.due)} due for removal{held}, "
        f"{counted(state.pruned, 'event')} removed so far, {refused} refused."
    )


def _events(parts: Sequence[PlannedRule | HeldEvents]) -> str:
    return counted(sum(part.events for part in parts), "event")


def kept_in_figures(trail: Trail) -> dict[str, str]:
    """Return the key figures of what a trail keeps, by name."""
    state = trail.retention
    return {
        "Due for removal": f"{sum(rule.events for rule in state.due):,}",
        "Held": f"{sum(hold.events for hold in state.held):,}",
        "Removed so far": f"{state.pruned:,}",
        "Tiers": f"{len(state.tiers):,}",
        "Refused inputs": f"{trail.stats().dead_letters:,}",
    }


def holds(trail: Trail) -> pl.DataFrame:
    """Return the holds in force.

    Returns
    -------
    polars.DataFrame
        `hold`, `reason` and `keeps` (String, which events, in words), `start`, `end` and `placed` (Datetime in the trail's zone),
        `held` (Int64, events that it keeps from removal now).
    """
    state = trail.retention
    held = {one.hold: one.events for one in state.held}
    rows = [
        {
            "hold": one.name,
            "reason": one.reason,
            "keeps": one.where,
            "start": _zoned(one.start, trail.tz),
            "end": _zoned(one.end, trail.tz),
            "placed": _zoned(one.placed, trail.tz),
            "held": held.get(one.name, 0),
        }
        for one in state.holds
    ]
    text = dict.fromkeys(("hold", "reason", "keeps"), pl.String())
    times = dict.fromkeys(("start", "end", "placed"), pl.Datetime("us", trail.tz))
    return pl.DataFrame(rows, schema={**text, **times, "held": pl.Int64()})


def tiers(trail: Trail) -> pl.DataFrame:
    """Return the tiers of rollups.

    Returns
    -------
    polars.DataFrame
        `tier`, `every`, `by`, `zone` and `keep` (String, null for ever), `behind` (Int64, events that it has not folded yet).
    """
    rows = [
        {
            "tier": tier.name,
            "every": tier.every,
            "by": ", ".join(tier.by),
            "zone": tier.tz,
            "keep": tier.keep,
            "behind": tier.behind,
        }
        for tier in trail.retention.tiers
    ]
    text = dict.fromkeys(("tier", "every", "by", "zone", "keep"), pl.String())
    return pl.DataFrame(rows, schema={**text, "behind": pl.Int64()})


def dead_letters(trail: Trail) -> pl.DataFrame:
    """Return every input that was refused, oldest first.

    Returns
    -------
    polars.DataFrame
        `kept` (Datetime in the trail's zone, when it was refused), `letter` (its name), `field`, `reason`, `became`
        (in words), `input` (its first 200 characters, made visible); all String but the first.
    """
    rows = [
        {
            "kept": _local(kept.letter.recorded_us, trail.tz),
            "letter": kept.name,
            "field": kept.letter.field,
            "reason": kept.letter.reason,
            "became": _became(kept),
            "input": visible(kept.letter.input)[:_INPUT_LENGTH],
        }
        for kept in kept_letters(trail.handle)
    ]
    text = dict.fromkeys(("letter", "field", "reason", "became", "input"), pl.String())
    return pl.DataFrame(rows, schema={"kept": pl.Datetime("us", trail.tz), **text})


def _became(kept: KeptLetter) -> str:
    if kept.retried is not None:
        return f"an event by a retry (seq {kept.retried:,})"
    if kept.dropped is not None:
        return f"dropped (seq {kept.dropped:,})"
    return "nothing" if kept.waits else "an event that a consumer gave up on"


def removals(trail: Trail) -> pl.DataFrame:
    """Return every removal that a view of the trail knows of, oldest first.

    Returns
    -------
    polars.DataFrame
        `removed` (Datetime in the trail's zone), `events` (Int64), `first` and `last` (Datetime, bounds of their
        times), `first_seq` and `last_seq` (Int64), `policy` (String).
    """
    snapshot = trail.view.snapshot()
    rows = [
        {
            "removed": _local(record.pruned_us, trail.tz),
            "events": record.rows,
            "first": _local(record.min_ts_us, trail.tz),
            "last": _local(record.max_ts_us, trail.tz),
            "first_seq": record.first_seq,
            "last_seq": record.last_seq,
            "policy": record.policy,
        }
        for record in snapshot.catalog.tombstones
        if record.end_seq < snapshot.as_of
    ]
    moment = pl.Datetime("us", trail.tz)
    kinds = {"removed": moment, "events": pl.Int64(), "first": moment, "last": moment}
    more = {"first_seq": pl.Int64(), "last_seq": pl.Int64(), "policy": pl.String()}
    return pl.DataFrame(rows, schema={**kinds, **more}).sort("removed", "first_seq")


def _local(us: int, zone: str) -> datetime:
    return from_us(us).astimezone(check_zone(zone))


def _zoned(moment: datetime | None, zone: str) -> datetime | None:
    return None if moment is None else moment.astimezone(check_zone(zone))
