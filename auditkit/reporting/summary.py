"""A window in a few sentences, made from counts by fixed rules.

Each sentence states what its frames hold and no more: no cause, no intent, no probability.  The rules look for
what stands out of the window itself, with the thresholds below and in `observing`; what no rule finds may still matter, and what one
finds may be harmless.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from auditkit.reporting.observing import MOST, Observed
from auditkit.text import counted, label
from auditkit.timerange import check_zone

FAILED_DAY = 20
FAILED_DAY_TIMES = 3
"""A day stands out with so many failures, if they are so many times the median of at least three other days."""
ORIGIN_FAILURES = 10
ORIGIN_ACTORS = 5
"""An origin stands out with so many failures in the name of so many actors, if most of its events failed."""
RHYTHM_HOURS = 12
"""The busiest hour is named where so many hours have events."""
HISTORY = timedelta(days=1)
"""A first use is named only so long after the first event that the trail keeps: before, everything is new."""
_NAME_LENGTH = 60


def summarise(observed: Observed) -> tuple[str, ...]:
    """Return the sentences, none for a window without events."""
    if observed.hours.is_empty():
        return tuple(_silence(observed))
    rules = (_change, _rhythm, _failing_days, _failing_origins, _bursts, _first_uses, _silence)
    return tuple(sentence for rule in rules for sentence in rule(observed))


def _change(observed: Observed) -> Iterator[str]:
    """Compare with the window of equal length before."""
    if observed.before is None or observed.before.is_empty():
        return
    failed = pl.col("outcome") == "failure"
    now, then = int(observed.hours["count"].sum()), int(observed.before["count"].sum())
    failures = int(observed.days.filter(failed)["count"].sum())
    failures_then = int(observed.before.filter(failed)["count"].sum())
    yield (
        f"The window of equal length before had {counted(then, 'event')}, this one has {_against(now, then)}; "
        f"failures went from {failures_then:,} to {failures:,}."
    )


def _against(now: int, then: int) -> str:
    """Return how a number compares with one before it.

    >>> _against(150, 100), _against(310, 100), _against(100, 100)
    ('50 % more', '3.1 times as many', 'as many')
    """
    if now >= 2 * then:
        return f"{now / then:.1f} times as many"
    percent = round(100 * abs(now - then) / then)
    return f"{percent} % {'more' if now > then else 'fewer'}" if percent else "as many"


def _rhythm(observed: Observed) -> Iterator[str]:
    """Say which hour was the busiest."""
    hours = (
        observed.hours.group_by("ts").agg(pl.col("count").sum()).sort("count", "ts", descending=[True, False])
    )
    if hours.height < RHYTHM_HOURS:
        return
    at, most = hours.row(0)
    yield (
        f"The busiest hour, from {_minute(at, observed.zone)}, had {counted(most, 'event')}; "
        f"the median of the {hours.height:,} hours with events is {_number(hours['count'].median())}."
    )


def _failing_days(observed: Observed) -> Iterator[str]:
    """Name days with many more failures than the others."""
    days = observed.days.group_by("ts").agg(
        failures=pl.col("count").filter(pl.col("outcome") == "failure").sum(), count=pl.col("count").sum()
    )
    found = []
    for at, failures, count in days.sort("ts").iter_rows():
        others = days.filter(pl.col("ts") != at)["failures"]
        usual = others.median()
        if others.len() < 3 or not isinstance(usual, float):
            continue
        if failures >= FAILED_DAY and failures >= FAILED_DAY_TIMES * usual:
            times = f"{failures / usual:.1f} times the median" if usual else "against a median of none"
            against = f" ({_number(usual)})" if usual else ""
            found.append(
                f"Failures rose to {failures:,} of {counted(count, 'event')} on {at:%A %d %B %Y}, "
                f"{times} of the other days{against}."
            )
    yield from _first(found, "day")


def _failing_origins(observed: Observed) -> Iterator[str]:
    """Name origins whose events mostly failed, in the name of many."""
    failed = observed.origins.filter(pl.col("outcome") == "failure")
    totals = observed.origins.group_by("origin").agg(pl.col("count").sum().alias("all"))
    chosen = (
        failed.join(totals, on="origin")
        .filter(
            pl.col("count") >= ORIGIN_FAILURES,
            pl.col("actors") >= ORIGIN_ACTORS,
            2 * pl.col("count") > pl.col("all"),
        )
        .sort("count", "origin", descending=[True, False])
    )
    yield from _first(
        [
            f"From {_name(row['origin'])}, {row['count']:,} of {counted(row['all'], 'event')} failed, in the name of "
            f"{counted(row['actors'], 'actor')}, {_span(row['first'], row['last'], observed.zone)}."
            for row in chosen.iter_rows(named=True)
        ],
        "origin",
    )


def _bursts(observed: Observed) -> Iterator[str]:
    """Name hours in which an action happened far more often than in any other."""
    yield from _first([_burst(observed, row) for row in observed.bursts.iter_rows(named=True)], "action")


def _burst(observed: Observed, burst: dict[str, Any]) -> str:
    action, count, other = burst["action"], burst["count"], burst["other"]
    doers = observed.doers.filter(pl.col("action") == action).sort("count", "actor", descending=[True, False])
    actor, share = next(doers.select("actor", "count").iter_rows(), (None, 0))
    who = ""
    if actor is not None and 2 * share > count:
        who = f", {'all' if share == count else 'most'} by {_name(actor)}"
    elsewhere = f"at most {other:,}" if other else "not once"
    return (
        f"{_name(action)} happened {count:,} times in the hour from {_minute(burst['ts'], observed.zone)}{who}, "
        f"and {elsewhere} in any hour that is not next to it."
    )


def _first_uses(observed: Observed) -> Iterator[str]:
    """Name actions that nobody had done before in what the trail keeps, by who did them first."""
    beginning = observed.actions["first"].min()
    if not isinstance(beginning, datetime):
        return
    chosen = (
        observed.uses.sort("first")
        .group_by("action", maintain_order=True)
        .first()
        .join(observed.actions, on=["action", "first"])  # the first of the window is the first of all
        .filter(pl.col("first") >= beginning + HISTORY)
        .sort("first", "action")
    )
    found = []
    for (actor,), uses in chosen.group_by(["actor"], maintain_order=True):
        words = _listed(uses["action"].to_list(), "action")
        who = "by an actor who is not named" if actor is None else f"by {_name(actor)}"
        at, origin = uses.row(0, named=True)["first"], uses.row(0, named=True)["origin"]
        found.append(
            f"First use of {words} {who}, {'beginning ' if uses.height > 1 else ''}on {_minute(at, observed.zone)}"
            f"{_new_origin(observed, origin, at)}."
        )
    yield from _first(found, "actor")


def _new_origin(observed: Observed, origin: str | None, at: datetime) -> str:
    """Say that an origin was new as well, if it had not been seen a day before."""
    if origin is None:
        return ""
    seen = observed.addresses.filter(pl.col("origin") == origin)["first"].item()
    return f", from {_name(origin)}, which had not been seen a day before" if at - seen < HISTORY else ""


def _silence(observed: Observed) -> Iterator[str]:
    """Name the sources that used to be heard."""
    if observed.silent:
        names = _listed(observed.silent, "source")
        yield f"No event came from {names}, known from before the window."


def _first(sentences: Sequence[str], what: str) -> Iterator[str]:
    yield from sentences[:MOST]
    if len(sentences) > MOST:
        yield f"The same is so of {counted(len(sentences) - MOST, f'other {what}')}."


def _listed(values: Sequence[object], what: str) -> str:
    *names, last = map(_name, values[:MOST])
    more = len(values) - MOST
    if more > 0:
        names, last = [*names, last], counted(more, f"more {what}")
    return f"{', '.join(names)} and {last}" if names else last


def _name(value: object) -> str:
    text = label(value)
    return text if len(text) <= _NAME_LENGTH else f"{text[: _NAME_LENGTH - 1]}\u2026"


def _number(value: object) -> str:
    return f"{value:,.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _span(first: datetime, last: datetime, zone: str) -> str:
    """Return two moments, the second without its day and offset where they are those of the first."""
    begins, ends = (moment.astimezone(check_zone(zone)) for moment in (first, last))
    if (begins.date(), begins.utcoffset()) != (ends.date(), ends.utcoffset()):
        return f"from {_minute(first, zone)} to {_minute(last, zone)}"
    return f"on {begins:%a %d %b %Y} from {begins:%H:%M} to {ends:%H:%M} {_offset(begins, zone)}"


def _minute(moment: datetime, zone: str) -> str:
    local = moment.astimezone(check_zone(zone))
    return f"{local:%a %d %b %Y %H:%M} {_offset(local, zone)}"


def _offset(local: datetime, zone: str) -> str:
    return "UTC" if zone == "UTC" else local.isoformat()[-6:]
