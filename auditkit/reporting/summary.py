"""A window in a few sentences, made by fixed rules from a few small frames that are asked of the trail.

Each sentence states what its frames hold and no more: no cause, no intent, no probability.  The rules look for what
stands out of the window itself, with the thresholds below; what no rule finds may still matter, and what one finds may
be harmless.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from auditkit.api import Trail
from auditkit.text import counted, label
from auditkit.timerange import US_PER_SECOND, check_zone, from_us, to_us
from auditkit.where import Where

BURST, BURST_TIMES, BURST_HOURS = 10, 4, 36
"""An hour of an action stands out with so many events, if they are so many times those of every other hour but its
neighbours, in a window with events in at least so many hours: in a shorter one a daily job would stand out."""
FAILED_DAY, FAILED_DAY_TIMES = 20, 3
"""A day stands out with so many failures, if they are so many times the median of at least three other days."""
ORIGIN_FAILURES, ORIGIN_ACTORS = 10, 5
"""An origin stands out with so many failures in the name of so many actors, if most of its events failed."""
RHYTHM_HOURS, RHYTHM_TIMES = 12, 2
"""The busiest hour is named where so many hours have events, if it has so many times their median."""
HISTORY = timedelta(days=1)
"""A first use is named only so long after the first event that the trail keeps: before, everything is new."""
MOST = 5
"""How many sentences one rule gives, and how many names one sentence; the others are counted."""

_NAME_LENGTH = 60
_HOUR_US = 3600 * US_PER_SECOND
_FIRST = pl.col("ts").min()


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A window in frames; times are UTC but for starts of buckets, which are in `zone`.  `failures` are outcomes.

    `hours`: ts, action, count of what is shown.  `bursts`: ts, action, count, other of the hours that stand out.  `doers`: action,
    actor, count, within the hour of each of the first bursts.  `days`: ts, outcome, count.  `origins`: origin,
    count, and of what failed: failed, actors (how many), first, last.  `uses`: action, actor, origin, first.  About all that the trail
    keeps up to the window's end, whatever the filter: `actions`: action, first; `addresses`: origin, first.  `before`:
    outcome, count in the window of equal length before, None where the trail does not reach back so far.  `silent` are
    the sources known from before the window that have no event in it.
    """

    zone: str
    failures: tuple[str, ...]
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

    @property
    def failed(self) -> pl.Expr:
        """Whether a row of a frame with outcomes is about failures."""
        return pl.col("outcome").is_in(self.failures)


def summary(
    trail: Trail,
    start: datetime | None,
    end: datetime | None,
    *,
    where: Where,
    failures: tuple[str, ...],
    silent: tuple[str, ...],
) -> tuple[str, ...]:
    """Return a window in sentences; of one without events only that sources known from before are `silent`."""
    observed = _observe(trail, start, end, where=where, failures=failures, silent=silent)
    rules = (_change, _rhythm, _failing_days, _failing_origins, _bursts, _first_uses, _silence)
    used = (_silence,) if observed.hours.is_empty() else rules
    return tuple(sentence for rule in used for sentence in rule(observed))


def _observe(
    trail: Trail,
    start: datetime | None,
    end: datetime | None,
    *,
    where: Where,
    failures: tuple[str, ...],
    silent: tuple[str, ...],
) -> Observed:
    """Ask a trail for what the summary of a window is made from."""
    asked: dict[str, Any] = {"start": start, "end": end, "where": where}
    hours = trail.group_by("action", every="1h", **asked, aggs="count", tier=None)
    found = _find_bursts(hours)
    actions = trail.group_by("action", end=end, aggs={"first": _FIRST}, tier=None)
    failed = pl.col("outcome").is_in(failures)
    per_origin = {
        "count": pl.len().cast(pl.Int64),
        "failed": failed.sum().cast(pl.Int64),
        "actors": pl.col("actor").filter(failed).drop_nulls().n_unique(),
        "first": pl.col("ts").filter(failed).min(),
        "last": pl.col("ts").filter(failed).max(),
    }
    return Observed(
        zone=trail.tz,
        failures=failures,
        hours=hours,
        bursts=found,
        doers=_doers(trail, found.head(MOST), start, end, where),
        days=trail.group_by("outcome", every="1d", **asked, aggs="count", tier=None),
        origins=trail.group_by("origin", **asked, aggs=per_origin, tier=None),
        uses=trail.group_by(["action", "actor", "origin"], **asked, aggs={"first": _FIRST}, tier=None),
        actions=actions,
        addresses=trail.group_by("origin", end=end, aggs={"first": _FIRST}, tier=None),
        before=_before(trail, start, end, actions["first"].min(), where),
        silent=silent,
    )


def _find_bursts(hours: pl.DataFrame) -> pl.DataFrame:
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
    return trail.group_by(
        "outcome", start=from_us(before_us), end=start, where=where, aggs="count", tier=None
    )


def _doers(
    trail: Trail, found: pl.DataFrame, start: datetime | None, end: datetime | None, where: Where
) -> pl.DataFrame:
    """Return who acted in each of a few bursts, and how often, as far as it lies in the window."""
    columns = {"action": pl.String(), "actor": pl.String(), "count": pl.Int64()}
    parts = []
    for at, action in found.select("ts", "action").iter_rows():
        first, last = from_us(to_us(at)), from_us(to_us(at) + _HOUR_US)
        first, last = max(first, start or first), min(last, end or last)
        groups = trail.group_by(
            ["action", "actor"], start=first, end=last, where=where, aggs="count", tier=None
        )
        parts.append(groups.filter(pl.col("action") == action))
    return pl.concat([pl.DataFrame(schema=columns), *parts])


def _change(observed: Observed) -> Iterator[str]:
    """Compare with the window of equal length before."""
    if observed.before is None or observed.before.is_empty():
        return
    now, then = int(observed.hours["count"].sum()), int(observed.before["count"].sum())
    failures = int(observed.days.filter(observed.failed)["count"].sum())
    failures_then = int(observed.before.filter(observed.failed)["count"].sum())
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
    """Yield which hour was the busiest."""
    hours = (
        observed.hours.group_by("ts").agg(pl.col("count").sum()).sort("count", "ts", descending=[True, False])
    )
    if hours.height < RHYTHM_HOURS:
        return
    at, most = hours.row(0)
    usual = float(str(hours["count"].median()))
    if most < RHYTHM_TIMES * usual:
        return
    yield (
        f"The busiest hour, from {_minute(at, observed.zone)}, had {counted(most, 'event')}, "
        f"{most / usual:,.0f} times as many as the usual hour with events."
    )


def _failing_days(observed: Observed) -> Iterator[str]:
    """Name days with many more failures than the others."""
    days = observed.days.group_by("ts").agg(
        failures=pl.col("count").filter(observed.failed).sum(), count=pl.col("count").sum()
    )
    found = []
    for at, failures, count in days.sort("ts").iter_rows():
        others = days.filter(pl.col("ts") != at)["failures"]
        usual = others.median()
        if others.len() < 3 or not isinstance(usual, float):
            continue
        if failures >= FAILED_DAY and failures >= FAILED_DAY_TIMES * usual:
            times = (
                f"{failures / usual:.1f} times as many as on the usual day ({_number(usual)})"
                if usual
                else "where most days had none"
            )
            found.append(
                f"Failures rose to {failures:,} of {counted(count, 'event')} on {at:%A %d %B %Y}, {times}."
            )
    yield from _first(found, "day")


def _failing_origins(observed: Observed) -> Iterator[str]:
    """Name origins whose events mostly failed, in the name of many."""
    chosen = observed.origins.filter(
        pl.col("origin").is_not_null(),
        pl.col("failed") >= ORIGIN_FAILURES,
        pl.col("actors") >= ORIGIN_ACTORS,
        2 * pl.col("failed") > pl.col("count"),
    ).sort("failed", "origin", descending=[True, False])
    yield from _first(
        [
            f"From {_name(row['origin'])}, {row['failed']:,} of {counted(row['count'], 'event')} failed, in the name of "
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
    """Name actions that are new in what the trail keeps, by the actor who did them first."""
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
    """Return that an origin was new as well, if it had not been seen a day before."""
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
