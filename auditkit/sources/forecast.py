"""What the retention policy would make of an import, found out before it: reads the files and the trail, writes nothing."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from auditkit.api import Trail
from auditkit.retention.horizon import Horizon
from auditkit.sources.importer import CHUNK_RECORDS, Known, chunks_of, digest_of, known_imports
from auditkit.sources.mapping import EventMap
from auditkit.sources.readers import Input
from auditkit.sources.records import Record
from auditkit.text import minute
from auditkit.timerange import US_PER_DAY, from_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the policy would make of an import, after which it measures from `horizon`.

    Events before `cutoff` are hidden at once and pruned later.  `arriving` of the file's events (a lower bound: whole days are counted) and `present` of those that the trail
    shows today.
    """

    policy: str
    horizon: datetime
    cutoff: datetime
    arriving: int
    present: int

    def __str__(self) -> str:
        who = []
        if self.arriving:
            who.append(f"at least {self.arriving:,} of the events to import")
        if self.present:
            who.append(f"{self.present:,} of the events in the trail")
        return (
            f"the trail's policy is to {self.policy}, counted from {minute(self.horizon)} by then: "
            f"what is older than {minute(self.cutoff)} expires at once, or becomes a dead letter ({' and '.join(who)})"
        )


def foresee(
    trail: Trail,
    files: Iterable[tuple[Input, EventMap]],
    *,
    on_progress: Callable[[Input], None] | None = None,
) -> Forecast | None:
    """Read files to their ends and return what would expire; `None` where nothing would.

    Records whose ts cannot be read, or lies too far ahead, would be dead letters and do not count; nor does what is in
    the trail already.
    """
    snapshot = trail.view.snapshot()
    known, days = known_imports(trail.handle), Counter[int]()
    horizon = snapshot.horizon
    for source, mapping in files:
        horizon = _after(trail, horizon, source, mapping, known, days, on_progress)
    cutoff = snapshot.policy.cutoff_us(horizon.trusted_us)
    if cutoff is None or horizon.trusted_us is None:
        return None
    arriving = sum(count for day, count in days.items() if (day + 1) * US_PER_DAY <= cutoff)
    present = 0
    if snapshot.cutoff_us is None or snapshot.cutoff_us < cutoff:
        present = trail.scan(end=from_us(cutoff)).select(pl.len()).collect().item()
    if not arriving and not present:
        return None
    return Forecast(
        policy=str(snapshot.policy),
        horizon=from_us(horizon.trusted_us),
        cutoff=from_us(cutoff),
        arriving=arriving,
        present=present,
    )


def _after(
    trail: Trail,
    horizon: Horizon,
    source: Input,
    mapping: EventMap,
    known: Known,
    days: Counter[int],
    on_progress: Callable[[Input], None] | None,
) -> Horizon:
    """Return the horizon after a file, and count how many events each UTC day has: bounded by the days of three centuries."""
    now_us = trail.handle.clock.now_us()
    latest_us = now_us + trail.handle.info.max_ahead_us
    digest = digest_of(source, mapping)
    for chunk in chunks_of(source, known, CHUNK_RECORDS):
        if on_progress is not None:
            on_progress(source)
        if known.has(chunk.digest, digest):
            continue
        records = [item for item in chunk.items if isinstance(item, Record)]
        moments = [moment for moment in mapping.instants(records) if moment <= latest_us]
        days.update(moment // US_PER_DAY for moment in moments)
        horizon = horizon.after(np.minimum(np.array(moments, dtype="<i8"), now_us))
    return horizon
