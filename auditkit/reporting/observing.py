"""What the summary of a report is made from: a few small frames about a window, asked of the trail."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from auditkit.api import Trail
from auditkit.timerange import US_PER_SECOND, from_us, to_us
from auditkit.where import Where

BURST = 10
BURST_TIMES = 4
BURST_HOURS = 36
"""An hour of an action stands out with so many events, if they are so many times those of every other hour but its
neighbours, in a window with events in at least so many hours: in a shorter one a daily job would stand out."""
MOST = 5
"""How many sentences one rule gives, and how many names one sentence; the others are counted."""

_HOUR_US = 3600 * US_PER_SECOND
FIRST = pl.col("ts").min()
LAST = pl.col("ts").max()
COUNT = pl.len().cast(pl.Int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A window in frames; times are UTC but for starts of buckets, which are in `zone`.

    `hours`: ts, action, count of what is shown.  `bursts`: as the function of this name returns them.  `doers`: action,
    actor, count, within the hour of each of the first bursts.  `days`: ts, outcome, count.  `origins`: origin,
    outcome, actors (how many), count, first, last.  `uses`: action, actor, origin, first.  About all that the trail
    keeps up to the window's end, whatever the filter: `actions`: action, first; `addresses`: origin, first.  `before`:
    outcome, count in the window of equal length before, None where the trail does not reach back so far.  `silent` are
    the sources known from before the window that have no event in it.
    """

    zone: str
    hours: pl.DataFrame
    bursts: pl.DataFrame
    doers: pl.DataFrame
    days: pl.DataFrame
    origins: pl.DataFrame
    uses: pl.DataFrame
    actions: pl.DataFrame
    addresses: pl.DataFrame
    before: pl.DataFrame | None
    silent: tuple[str, ...]


def observe(
    trail: Trail, start: datetime | None, end: datetime | None, *, where: Where, silent: tuple[str, ...]
) -> Observed:
    """Ask a trail for what a summary of the window is made from."""
    hours = trail.group_by("action", every="1h", start=start, end=end, where=where, aggs="count")
    found = bursts(hours)
    actions = trail.group_by("action", end=end, aggs={"first": FIRST})
    return Observed(
        zone=trail.tz,
        hours=hours,
        bursts=found,
        doers=_doers(trail, found.head(MOST), start, end, where),
        days=trail.group_by("outcome", every="1d", start=start, end=end, where=where, aggs="count"),
        origins=trail.group_by(
            ["origin", "outcome"],
            start=start,
            end=end,
            where=where,
            aggs={
                "actors": pl.col("actor").drop_nulls().n_unique(),
                "count": COUNT,
                "first": FIRST,
                "last": LAST,
            },
        ),
        uses=trail.group_by(
            ["action", "actor", "origin"], start=start, end=end, where=where, aggs={"first": FIRST}
        ),
        actions=actions,
        addresses=trail.group_by("origin", end=end, aggs={"first": FIRST}),
        before=_before(trail, start, end, actions["first"].min(), where),
        silent=silent,
    )


def bursts(hours: pl.DataFrame) -> pl.DataFrame:
    """Return the hours that stand out: ts, action, count, other; `other` is the most in an hour not next to it."""
    counted = {"ts": hours.schema["ts"], "action": pl.String(), "count": pl.Int64(), "other": pl.Int64()}
    if hours["ts"].n_unique() < BURST_HOURS:
        return pl.DataFrame(schema=counted)
    peaks = (
        hours.sort("count", "ts", descending=[True, False]).group_by("action", maintain_order=True).first()
    )
    hour = pl.duration(hours=1)
    elsewhere = (
        hours.join(peaks.select("action", peak="ts"), on="action")
        .filter((pl.col("ts") < pl.col("peak") - hour) | (pl.col("ts") > pl.col("peak") + hour))
        .group_by("action")
        .agg(other=pl.col("count").max())
    )
    return (
        peaks.join(elsewhere, on="action", how="left")
        .with_columns(pl.col("other").fill_null(0))
        .filter(pl.col("count") >= BURST, pl.col("count") >= BURST_TIMES * pl.col("other"))
        .sort("count", "action", descending=[True, False])
        .select(*counted)
    )


def _before(
    trail: Trail, start: datetime | None, end: datetime | None, beginning: object, where: Where
) -> pl.DataFrame | None:
    """Count the window of equal length before this one, if events are kept from its first hour on."""
    if start is None or not isinstance(beginning, datetime):
        return None
    first, last = to_us(start), to_us(end or trail.now())
    before_us = 2 * first - last
    if to_us(beginning) > before_us + _HOUR_US or last <= first:
        return None
    return trail.group_by("outcome", start=from_us(before_us), end=start, where=where, aggs="count")


def _doers(
    trail: Trail, found: pl.DataFrame, start: datetime | None, end: datetime | None, where: Where
) -> pl.DataFrame:
    """Return who acted in each of a few bursts, and how often, as far as it lies in the window."""
    columns = {"action": pl.String(), "actor": pl.String(), "count": pl.Int64()}
    parts = []
    for at, action in found.select("ts", "action").iter_rows():
        first, last = from_us(to_us(at)), from_us(to_us(at) + _HOUR_US)
        first, last = max(first, start or first), min(last, end or last)
        groups = trail.group_by(["action", "actor"], start=first, end=last, where=where, aggs="count")
        parts.append(groups.filter(pl.col("action") == action))
    return pl.concat([pl.DataFrame(schema=columns), *parts])
