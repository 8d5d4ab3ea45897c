"""What the summary of a report is made from: a few small frames about a window, asked of the trail."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from auditkit.trail.facade import Trail
from auditkit.where import Where

FIRST = pl.col("ts").min()
LAST = pl.col("ts").max()
COUNT = pl.len().cast(pl.Int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A window in frames; times are UTC but for starts of buckets, which are in `zone`.

    `hours`: ts, action, actor, count of what is shown.  `days`: ts, outcome, count.  `origins`: origin, outcome,
    actors (how many), count, first, last.  `uses`: action, actor, origin, first.  About all that the trail keeps up
    to the window's end, whatever the filter: `actions`: action, first; `addresses`: origin, first.  `silent` are the
    sources known from before the window that have no event in it.
    """

    zone: str
    hours: pl.DataFrame
    days: pl.DataFrame
    origins: pl.DataFrame
    uses: pl.DataFrame
    actions: pl.DataFrame
    addresses: pl.DataFrame
    silent: tuple[str, ...]


def observe(
    trail: Trail, start: datetime | None, end: datetime | None, *, where: Where, silent: tuple[str, ...]
) -> Observed:
    """Ask a trail for what a summary of the window is made from."""
    return Observed(
        zone=trail.tz,
        hours=trail.group_by(
            ["action", "actor"], every="1h", start=start, end=end, where=where, aggs="count"
        ),
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
        actions=trail.group_by("action", end=end, aggs={"first": FIRST}),
        addresses=trail.group_by("origin", end=end, aggs={"first": FIRST}),
        silent=silent,
    )
