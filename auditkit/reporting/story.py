"""What happened when: a timeline of a report's events, and the window around a moment."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from auditkit.api import Trail
from auditkit.charts import Figure, timeline
from auditkit.charts.swimlanes import MOST_MARKS
from auditkit.reporting.front import Cover
from auditkit.timerange import check_zone, from_us, parse_duration, parse_instant, to_us


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
    """Return the timeline of a report's events, or of those for which `where` holds too.

    Few are drawn one by one; many are counted in buckets of the report's width, all of them.
    """
    asked = page.scope if where is None else page.only(where)
    shown = [column for column in detail if column not in (by, split)]
    events = page.trail.range(**asked, columns=["ts", by, split, *shown], limit=MOST_MARKS + 1)
    every = None
    if events.height > MOST_MARKS:
        every, events = page.every, page.trail.group_by([by, split], every=page.every, **asked)
    return timeline(
        events,
        by,
        split=split,
        detail=shown,
        every=every,
        start=page.start,
        end=page.end,
        tz=page.trail.tz,
        title=title,
        n=n,
    )


def around(
    trail: Trail, moment: object = None, *, before: str = "30m", after: str = "1h"
) -> dict[str, datetime | None]:
    """Return start and end of the window around a moment, as keyword arguments of the trail's questions.

    `moment` is a time as in these, read in the trail's zone.  Left out, it is the start of the hour with the most
    failures, or without any failure the last event; an empty trail has no window.
    """
    found = _worst_hour(trail) if moment is None else moment
    if found is None:
        return {"start": None, "end": None}
    us = parse_instant(found, name="moment", tz=trail.tz, now_us=to_us(trail.now()))
    start_us = parse_duration(before, name="before").before(us, trail.tz)
    end_us = parse_duration(after, name="after").after(us, trail.tz)
    zone = check_zone(trail.tz)
    return {"start": from_us(start_us).astimezone(zone), "end": from_us(end_us).astimezone(zone)}


def _worst_hour(trail: Trail) -> datetime | None:
    hours = trail.downsample("1h", where={"outcome": "failure"}, aggs="count")
    found = hours.sort("count", "ts", descending=[True, False])["ts"]
    if found.is_empty():
        found = trail.range(columns=["ts"], limit=1, descending=True)["ts"]
    first: datetime | None = next(iter(found), None)
    return first
