"""What a view shows: events before some seq that retention keeps, with or without the trail's own.

The one place for this rule.  It is pure (no disk, no clock), and it is asked in four ways: of a segment's row in the
catalog, which columns it looks at, as a Polars expression, and as a mask over a record batch.  Of a row it says
"nothing", "all" or "some"; of "some", expression and mask tell.

An event is expired while its `ts` lies before the cutoff of the policy.  The trail's own events never expire.
"""

from typing import Any, Literal, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import Numbers, codes_of, series_of, to_numpy
from auditkit.event import OWN_SOURCE
from auditkit.timerange import from_us

Part = Literal["nothing", "some", "all"]
"""How much of the events of a segment a rule applies to."""

IS_OWN = pl.col("source").cast(pl.String).eq_missing(OWN_SOURCE)
"""Whether an event is one of the trail's own."""


class Extent(Protocol):
    """What the catalog says of the events of a segment; times in microseconds, bounds inclusive."""

    @property
    def first_seq(self) -> int: ...  # noqa: D102
    @property
    def last_seq(self) -> int: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def own_rows(self) -> int: ...  # noqa: D102
    @property
    def min_ts_us(self) -> int: ...  # noqa: D102
    @property
    def producers_max_ts_us(self) -> int | None: ...  # noqa: D102


class Expiry(Struct, frozen=True):
    """Which producers' events the policy no longer keeps: those with `ts` before the cutoff, none without one."""

    cutoff_us: int | None

    def spares(self, min_ts_us: int) -> bool:
        """Return whether nothing is expired among events of which `min_ts_us` is the earliest time."""
        return self.cutoff_us is None or min_ts_us >= self.cutoff_us

    def of(self, extent: Extent) -> Part:
        """Return how many of a segment's producers' events are expired."""
        newest, cutoff = extent.producers_max_ts_us, self.cutoff_us
        if cutoff is None or newest is None or self.spares(extent.min_ts_us):
            return "nothing"
        return "all" if newest < cutoff else "some"

    @property
    def expression(self) -> pl.Expr:
        """Return whether an event is expired."""
        if self.cutoff_us is None:
            return pl.lit(value=False)
        return (pl.col("ts") < from_us(self.cutoff_us)) & ~IS_OWN


class Visibility(Struct, frozen=True, kw_only=True):
    """Which events a view shows: seqs `[first_seq, as_of)` that are not expired, the trail's own only with `own`."""

    first_seq: int = 0
    as_of: int
    expiry: Expiry
    own: bool

    def of(self, extent: Extent) -> Part:
        """Return how many of a segment's events are shown."""
        expired = self.expiry.of(extent)
        producers, own = extent.rows > extent.own_rows, extent.own_rows > 0
        shows_producers = producers and expired != "all"
        outside = extent.first_seq >= self.as_of or extent.last_seq < self.first_seq
        if outside or not (shows_producers or (self.own and own)):
            return "nothing"
        return "some" if self.columns(extent) else "all"

    def columns(self, extent: Extent) -> frozenset[str]:
        """Return the columns that tell which of a segment's events are shown; none where all are."""
        by_expiry = self.expiry.of(extent) != "nothing"
        needed = {
            "seq": extent.last_seq >= self.as_of or extent.first_seq < self.first_seq,
            "ts": by_expiry,
            "source": extent.own_rows > 0 and (by_expiry or not self.own),
        }
        return frozenset(name for name, is_needed in needed.items() if is_needed)

    @property
    def expression(self) -> pl.Expr:
        """Return whether an event is shown."""
        shown = (pl.col("seq") >= self.first_seq) & (pl.col("seq") < self.as_of)
        if self.expiry.cutoff_us is not None:
            shown &= ~self.expiry.expression
        return shown if self.own else shown & ~IS_OWN

    def mask(self, batch: pa.RecordBatch) -> Numbers:
        """Return which events of a record batch are shown, as far as the columns that it has tell."""
        names = batch.schema.names
        shown = np.ones(len(batch), dtype=bool)
        is_own = own_mask(batch.column("source")) if "source" in names else np.zeros(len(batch), dtype=bool)
        if "seq" in names:
            seqs, _ = to_numpy(batch.column("seq"))
            shown &= (seqs >= self.first_seq) & (seqs < self.as_of)
        if "ts" in names and self.expiry.cutoff_us is not None:
            shown &= (to_numpy(batch.column("ts"))[0] >= self.expiry.cutoff_us) | is_own
        return shown if self.own else shown & ~is_own


def own_mask(source: pa.DictionaryArray) -> Numbers:
    """Return which events of a column `source` are the trail's own."""
    code = series_of(source.dictionary).index_of(OWN_SOURCE)
    if code is None:
        return np.zeros(len(source), dtype=bool)
    own: Any = codes_of(source) == code
    return own
