"""A tier: which buckets and keys its rollups have, how long they are kept, and the period whose store a bucket is in.

A bucket belongs to the period in which it starts, on the wall clock of the tier's zone: a day for buckets below an hour, a
month for those of hours, else a year.  So a store has some 1,500 buckets at most.
"""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from msgspec import Struct

from auditkit.arrow import Numbers
from auditkit.disk.layout import is_tier_name
from auditkit.errors import InvalidQueryError, InvalidTimeError
from auditkit.query.buckets import bucket_starts, parse_every
from auditkit.store.records import TierRow
from auditkit.timerange import (
    US_PER_DAY,
    US_PER_SECOND,
    Duration,
    check_zone,
    from_us,
    local_us,
    parse_keep_time,
)

TIER_KEYS = ("actor", "action", "resource", "outcome", "source", "origin", "correlation")
"""What a tier may have as keys."""
_TAKEN = ("auto", "raw")
"""Names that mean something else where a tier is asked for."""
_SHORTEST_US = 60 * US_PER_SECOND
_LONGEST_US = 3653 * US_PER_DAY
_HOUR_US = 3600 * US_PER_SECOND


class Tier(Struct, frozen=True, kw_only=True):
    """One tier of a trail, as it was declared."""

    name: str
    every: Duration
    keys: tuple[str, ...]
    tz: str
    keep: Duration | None = None
    from_us: int | None = None
    """Buckets that begin before are not complete."""

    def first_kept_us(self, horizon_us: int | None) -> int | None:
        """Return where the first bucket starts that is kept and complete, `None` where all are.

        A bucket is kept until all of it lies further back than the keep time.
        """
        cutoff = None if self.keep is None or horizon_us is None else self.keep.before(horizon_us, "UTC")
        kept = [
            us for us in (None if cutoff is None else self.start_of(cutoff), self.from_us) if us is not None
        ]
        return max(kept, default=None)

    def start_of(self, us: int) -> int:
        """Return the start of the bucket that an instant lies in."""
        return bucket_starts(self.every, self.tz, us, us)[0]

    def end_of(self, start_us: int) -> int:
        """Return where the bucket ends that starts at an instant."""
        longest = self.every.months * 32 * US_PER_DAY + (self.every.days + 2) * US_PER_DAY + self.every.us
        return bucket_starts(self.every, self.tz, start_us, start_us + longest)[1]

    def starts(self, first_us: int, last_us: int) -> Numbers:
        """Return the starts of the buckets of all instants from `first_us` to `last_us`, both included."""
        return np.array(bucket_starts(self.every, self.tz, int(first_us), int(last_us)), dtype="<i8")

    def period_of(self, start_us: int) -> str:
        """Return the name of the period of a bucket; names sort like time."""
        length = 4 if self.every.months or self.every.days else 7 if self.every.us >= _HOUR_US else 10
        return from_us(local_us(start_us, check_zone(self.tz))).isoformat()[:length]

    def __str__(self) -> str:
        by = f" by {', '.join(self.keys)}" if self.keys else ""
        return f"{self.name}: every {self.every}{by}, {'for ever' if self.keep is None else self.keep} ({self.tz})"


def declare_tier(
    every: str | timedelta,
    keys: Sequence[str],
    *,
    name: str | None,
    tz: str,
    keep: str | timedelta | None,
    from_us: int | None = None,
) -> Tier:
    """Return a tier as a user declared it; what does not fit is an `InvalidQueryError` or `InvalidTimeError`.

    >>> str(declare_tier("1h", ["action", "outcome"], name=None, tz="UTC", keep="5y"))
    '1h: every 1h by action, outcome, 5y (UTC)'
    """
    length = parse_every(every)
    if not _SHORTEST_US <= length.shortest_us <= _LONGEST_US:
        raise InvalidTimeError("every", every, "is no bucket of a tier (expected a minute to ten years)")
    for key in keys:
        if key not in TIER_KEYS or keys.count(key) > 1:
            error = InvalidQueryError("by", key, "is no key of a tier, or one twice")
            error.add_note(f"keys: {', '.join(TIER_KEYS)}")
            raise error
    name = length.text if name is None else name
    if not is_tier_name(name) or name in _TAKEN:
        raise InvalidQueryError(
            "name",
            name,
            "is no name of a tier (expected up to 64 of a-z, 0-9, '_' and '-', not 'auto' or 'raw')",
        )
    check_zone(tz)
    kept = None if keep is None else parse_keep_time(keep, name="keep")
    if kept is not None and kept.shortest_us > 100 * _LONGEST_US:
        raise InvalidTimeError("keep", keep, "is longer than a thousand years")
    return Tier(name=name, every=length, keys=tuple(keys), tz=tz, keep=kept, from_us=from_us)


def read_tier(row: TierRow) -> Tier:
    """Return the tier that a row of the catalog declares; raises `ValueError` where it declares none."""
    return declare_tier(row.every, row.keys, name=row.name, tz=row.tz, keep=row.keep, from_us=row.from_us)
