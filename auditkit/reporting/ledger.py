"""What keeping leaves to show: inputs that were refused, events that were removed, pauses of the sources."""

from datetime import datetime

import polars as pl

from auditkit.api import Trail
from auditkit.reporting.front import Cover
from auditkit.text import visible
from auditkit.timerange import check_zone, from_us
from auditkit.write.retry import KeptLetter, kept_letters

_INPUT_LENGTH = 200


def dead_letters(trail: Trail) -> pl.DataFrame:
    """Return every input that was refused, oldest first: kept, letter, field, reason, became, input (cut)."""
    zone = trail.tz
    rows = [
        {
            "kept": _moment(kept.letter.recorded_us, zone),
            "letter": kept.name,
            "field": kept.letter.field,
            "reason": kept.letter.reason,
            "became": _became(kept),
            "input": visible(kept.letter.input)[:_INPUT_LENGTH],
        }
        for kept in kept_letters(trail.core)
    ]
    kinds = {name: pl.String() for name in ("letter", "field", "reason", "became", "input")}
    return pl.DataFrame(rows, schema={"kept": pl.Datetime("us", zone), **kinds})


def removals(trail: Trail) -> pl.DataFrame:
    """Return every removal that a view of the trail knows of, oldest first.

    Columns: removed (when), events, first and last (bounds of their times), first_seq, last_seq, policy.
    """
    zone = trail.tz
    snapshot = trail.view.snapshot()
    rows = [
        {
            "removed": _moment(stone.pruned_us, zone),
            "events": stone.rows,
            "first": _moment(stone.min_ts_us, zone),
            "last": _moment(stone.max_ts_us, zone),
            "first_seq": stone.first_seq,
            "last_seq": stone.last_seq,
            "policy": stone.policy,
        }
        for stone in snapshot.catalog.tombstones
        if stone.end_seq < snapshot.as_of
    ]
    moment = pl.Datetime("us", zone)
    kinds = {"removed": moment, "events": pl.Int64(), "first": moment, "last": moment}
    more = {"first_seq": pl.Int64(), "last_seq": pl.Int64(), "policy": pl.String()}
    return pl.DataFrame(rows, schema={**kinds, **more}).sort("removed", "first_seq")


def pauses(page: Cover) -> pl.DataFrame:
    """Return the longest pause of each source in a report's window, the longest first.

    Columns: source, events, longest (Duration between two events next to each other), since (when it began); null
    where a source has one event.
    """
    between = pl.col("ts").diff().over("source")
    return (
        page.trail.scan(**page.scope)
        .select("source", "ts")
        .sort("ts")
        .with_columns(longest=between, since=pl.col("ts").shift().over("source"))
        .group_by("source")
        .agg(
            pl.len().cast(pl.Int64).alias("events"),
            pl.col("longest").max(),
            pl.col("since").sort_by("longest", nulls_last=False).last(),
        )
        .sort("longest", "source", descending=[True, False], nulls_last=True)
        .collect()
    )


def _became(kept: KeptLetter) -> str:
    if kept.retried is not None:
        return f"an event by a retry (seq {kept.retried:,})"
    return "nothing" if kept.waits else "an event that a consumer gave up on"


def _moment(us: int, zone: str) -> datetime:
    return from_us(us).astimezone(check_zone(zone))
