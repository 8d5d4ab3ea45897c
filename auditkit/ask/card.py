"""How a trail shows itself in a notebook: window, events, actors, a spark line, queue, retention.

It costs one question and never raises: a trail that cannot be read says why.
"""

from datetime import datetime

import polars as pl

from auditkit.ask import group
from auditkit.ask.stats import stats
from auditkit.display.cards import Card, Section, make_card
from auditkit.text import counted, minute, size
from auditkit.timerange import check_zone, in_zone
from auditkit.trail.summaries import Stats
from auditkit.trail.view import View

MOST_EVENTS = 20_000_000
"""Actors and spark line are left out of a trail with more events, as a card should not keep anybody waiting."""
_MOST_BARS = 72
_WIDTHS = {
    "1m": ("minute", 60),
    "5m": ("5 minutes", 300),
    "1h": ("hour", 3_600),
    "6h": ("6 hours", 21_600),
    "1d": ("day", 86_400),
    "1w": ("week", 604_800),
}
_LONGEST = ("1mo", "month")


def trail_card(view: View) -> Card:
    """Return the card of a trail, or of a view of it."""
    name = view.handle.layout.root.name
    title = f"Trail {name}" if view.at is None else f"Trail {name} at seq {view.at:,}"
    try:
        return _card(view, title)
    except Exception as exc:  # whatever it is: a trail that is shown must not end the cell that shows it
        return make_card(title, [("trail", [("cannot be read", f"{type(exc).__name__}: {exc}")])])


def _card(view: View, title: str) -> Card:
    snapshot = view.snapshot()
    numbers = in_zone(stats(view.handle, snapshot), view.tz)
    last = [
        ("queue", [("waiting", f"{counted(numbers.queue.depth, 'event')}, {size(numbers.queue.bytes)}")]),
        ("segments", [("hold", _segments(numbers))]),
        ("retention", [("policy", f"{numbers.retention.policy}{_expiry(numbers)}")]),
    ]
    if numbers.dead_letters:
        last.append(("dead letters", [("waiting", f"{numbers.dead_letters:,}")]))
    if snapshot.as_of > MOST_EVENTS:
        return make_card(title, [("events", [("accepted", f"{snapshot.as_of:,}")]), *last])
    groups = group.group_by(
        view,
        ["actor", "source"],
        every=None,
        start=None,
        end=None,
        where=None,
        aggs={"count": pl.len(), "first": pl.col("ts").min(), "last": pl.col("ts").max()},
        own=False,
        tz=None,
    )
    first, end = groups["first"].min(), groups["last"].max()
    if not isinstance(first, datetime) or not isinstance(end, datetime):
        return make_card(title, [("events", [("shown", "none")]), *last])
    zone = check_zone(view.tz)
    spark, note = _spark(view, first, end)
    events = [
        ("shown", counted(int(groups["count"].sum()), "event")),
        ("first", minute(first.astimezone(zone))),
        ("last", minute(end.astimezone(zone))),
        ("by", f"{_kinds(groups, 'actor')} from {_kinds(groups, 'source')}"),
    ]
    sections: list[Section] = [("events", events), *last]
    return make_card(title, sections, spark=spark, spark_note=note)


def _kinds(groups: pl.DataFrame, column: str) -> str:
    return counted(groups[column].drop_nulls().n_unique(), column)


def _segments(numbers: Stats) -> str:
    held = numbers.segments
    return f"{counted(held.rows, 'event')} in {counted(held.count, 'segment')}, {size(held.bytes)}"


def _expiry(numbers: Stats) -> str:
    kept = numbers.retention
    words = "" if kept.cutoff is None else f"; expired before {minute(kept.cutoff)}"
    return words + (f"; {counted(kept.pruned, 'event')} pruned" if kept.pruned else "")


def _spark(view: View, first: datetime, last: datetime) -> tuple[list[int], str]:
    """Return the counts per bucket, finest where they fit, and what they are."""
    span_s = (last - first).total_seconds()
    every, unit = next(
        ((name, unit) for name, (unit, width) in _WIDTHS.items() if span_s / width < _MOST_BARS), _LONGEST
    )
    series = group.downsample(
        view, every, by=None, start=None, end=None, where=None, aggs="count", fill=0, own=False, tz=None
    )
    counts = series["count"].to_list()[-_MOST_BARS:]
    only = f", the last {_MOST_BARS} of {series.height:,}" if series.height > _MOST_BARS else ""
    return counts, f"events per {unit}, at most {max(counts):,}{only}, {view.tz}"
