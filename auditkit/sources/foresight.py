"""What an import would do to a trail with a retention policy, told before anything is written.

One current event moves the horizon, and with it everything older than the policy keeps is expired at once.  Looks
at the file and the trail only; writes nothing.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from auditkit.api import Trail
from auditkit.sources.lines import Unreadable
from auditkit.sources.mapping import EventMap
from auditkit.sources.readers import Input
from auditkit.timerange import US_PER_DAY, from_us, to_us

_EVERY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the policy would make of an import: events before `cutoff` are hidden at once and pruned later.

    `arriving` of the file's events (a lower bound: whole days are counted) and `present` of those that the trail
    shows today.
    """

    policy: str
    newest: datetime
    cutoff: datetime
    arriving: int
    present: int

    def __str__(self) -> str:
        who = []
        if self.arriving:
            who.append(f"at least {self.arriving:,} of the events in the file")
        if self.present:
            who.append(f"{self.present:,} of the events in the trail")
        return (
            f"the trail's policy is to {self.policy}, and the newest event would be of {_minute(self.newest)}: "
            f"what is older than {_minute(self.cutoff)} expires at once ({' and '.join(who)})"
        )


def foresee(
    trail: Trail, source: Input, mapping: EventMap, *, on_progress: Callable[[Input], None] | None = None
) -> Forecast | None:
    """Read `source` to its end and say what would expire; `None` where nothing would.

    Records whose ts cannot be read, or lies too far ahead, would be dead letters and do not count.
    """
    now_us = trail.core.clock.now_us()
    newest, days = _times(source, mapping, now_us + trail.core.info.max_ahead_us, on_progress)
    if newest is None:
        return None
    before = trail.stats().retention
    horizon = min(newest, now_us)
    if before.horizon is not None:
        horizon = max(horizon, to_us(before.horizon))
    cutoff = trail.retention.cutoff_us(horizon)
    if cutoff is None:
        return None
    arriving = sum(count for day, count in days.items() if (day + 1) * US_PER_DAY <= cutoff)
    present = 0
    if before.cutoff is None or to_us(before.cutoff) < cutoff:
        present = trail.scan(end=from_us(cutoff)).select(pl.len()).collect().item()
    if not arriving and not present:
        return None
    return Forecast(
        policy=str(trail.retention),
        newest=from_us(horizon),
        cutoff=from_us(cutoff),
        arriving=arriving,
        present=present,
    )


def _times(
    source: Input, mapping: EventMap, latest_us: int, on_progress: Callable[[Input], None] | None
) -> tuple[int | None, Counter[int]]:
    """Return the newest ts and how many events each UTC day has: bounded by the days of three centuries."""
    newest: int | None = None
    days: Counter[int] = Counter()
    for number, item in enumerate(source):
        if on_progress is not None and number % _EVERY == 0:
            on_progress(source)
        moment = None if isinstance(item, Unreadable) else mapping.instant(item.fields)
        if moment is None or moment > latest_us:
            continue
        days[moment // US_PER_DAY] += 1
        newest = moment if newest is None else max(newest, moment)
    return newest, days


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
