"""Frames and figures that notebooks show about a report's scope."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import polars as pl

from auditkit.api import Trail
from auditkit.charts import Figure, timeline
from auditkit.reporting.scope import Cover, failing_outcomes
from auditkit.timerange import check_zone, from_us, parse_duration, parse_instant, to_us


def around(
    trail: Trail,
    moment: datetime | date | str | None = None,
    *,
    before: str = "30m",
    after: str = "1h",
    failures: Sequence[str] | None = None,
) -> dict[str, datetime | None]:
    """Return the window around a moment, as keyword arguments of the trail's queries.

    Parameters
    ----------
    trail : Trail
    moment : datetime, date or str, optional
        A time as in the queries, read in the trail's zone.  Left out, it is the start of the hour with the most
        failures, or without any failure the last event; an empty trail has no window.
    before, after : str
        Durations; default "30m" and "1h".
    failures : sequence of str, optional
        Which outcomes count as failures, as in `cover`.

    Returns
    -------
    dict
        `start` and `end`, aware datetimes in the trail's zone, or None.
    """
    found = _worst_hour(trail, failures) if moment is None else moment
    if found is None:
        return {"start": None, "end": None}
    us = parse_instant(found, name="moment", tz=trail.tz, now_us=to_us(trail.now()))
    start_us = parse_duration(before, name="before").before(us, trail.tz)
    end_us = parse_duration(after, name="after").after(us, trail.tz)
    return {"start": _local(start_us, trail.tz), "end": _local(end_us, trail.tz)}


def _worst_hour(trail: Trail, failures: Sequence[str] | None) -> datetime | None:
    failed = {"outcome": failing_outcomes(trail, failures)}
    hours = trail.downsample("1h", where=failed, aggs="count", tier=None)
    found = hours.sort("count", "ts", descending=[True, False])["ts"]
    if found.is_empty():
        found = trail.range(columns=["ts"], limit=1, descending=True)["ts"]
    first: datetime | None = next(iter(found), None)
    return first


def story(
    page: Cover,
    by: str,
    *,
    split: str = "outcome",
    detail: Sequence[str] = ("action", "resource", "origin"),
    where: Mapping[str, object] | None = None,
    title: str = "Timeline",
    n: int = 12,
) -> Figure:
    """Return the timeline of a report's events: few are drawn one by one, many are counted in buckets, all of them.

    Parameters
    ----------
    page : Cover
        Gives trail, window and filter, and the buckets' width.
    by : str
        The column whose values are the lanes.
    split : str, default "outcome"
        The column that colours.
    detail : sequence of str, default ("action", "resource", "origin")
        Columns that the tooltips of single events show.
    where : mapping, optional
        Conditions that hold beside the report's filter.
    title : str, default "Timeline"
    n : int, default 12
        How many lanes are drawn, the most frequent value first.

    Returns
    -------
    Figure
    """
    return timeline(
        page.trail,
        by,
        split=split,
        detail=[column for column in detail if column not in (by, split)],
        **(page.scope if where is None else page.only(where)),
        title=title,
        n=n,
        failures=page.failures,
    )


def pauses(page: Cover) -> pl.DataFrame:
    """Return the longest pause of each source in a report's window, the longest first.

    Returns
    -------
    polars.DataFrame
        `source` (String), `events` (Int64), `longest` (Duration between two events next to each other), `since`
        (Datetime, when it began); the last two null where a source has one event.
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


def _local(us: int, zone: str) -> datetime:
    return from_us(us).astimezone(check_zone(zone))
