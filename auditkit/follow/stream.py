"""The events of a view one after the other, from a seq on, as far as they are there; nothing waits here.

What a query would not show any more, because it is expired or pruned, is passed over and counted exactly: seqs have
no gaps, so what is missing between two of them is gone.  Memory is bounded by `CHUNK_EVENTS` events.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl
from msgspec import Struct

from auditkit.event import OWN_SOURCE
from auditkit.query import text_out
from auditkit.timerange import EVERYTHING, from_us, parse_instant, to_us
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.source import retrying
from auditkit.trail.view import View

CHUNK_EVENTS = 8_192

_MISSED = "\0missed"  # a name no real column has


class Found(Struct, frozen=True, kw_only=True):
    """An event, and how many were missing before it since the stream began."""

    seq: int
    event: dict[str, Any]
    missed: int


class EventStream:
    """The events of a view from a seq on, in order, as far as they are there.

    `position` is the seq that follows the last one taken or passed over; `missed` counts the events before it that
    no query would show any more.
    """

    def __init__(self, view: View, first: int, where: pl.Expr | None, *, own: bool) -> None:
        self._view = view
        self._where = where
        self._own = own
        self._rows: Iterator[dict[str, Any]] = iter(())
        self._read_to = first
        self._read_missed = 0
        self._span = CHUNK_EVENTS
        self.position = first
        self.missed = 0

    @property
    def ends(self) -> bool:
        """Whether nothing can come any more: a view of the past stays what it is."""
        return self._view.at is not None

    def take(self) -> Found | None:
        """Return the next event, `None` where there is none yet."""
        while True:
            for row in self._rows:
                self.missed = row.pop(_MISSED)
                self.position = row["seq"] + 1
                return Found(seq=row["seq"], event=row, missed=self.missed)
            self.position, self.missed = self._read_to, self._read_missed
            if not retrying(self._read_on):
                return None

    def _read_on(self) -> bool:
        """Read the next events into memory; false where there are none."""
        snapshot = self._view.snapshot()
        if self._read_to >= snapshot.as_of:
            return False
        first = self._first_live(snapshot)
        end = min(first + self._span, snapshot.as_of)
        seq = pl.col("seq")
        source = self._view.core.source
        events = (
            source.frame(snapshot.of_seqs(first, end), EVERYTHING, own=True)
            .filter((seq >= first) & (seq < end))
            .bottom_k(CHUNK_EVENTS, by="seq")
            .collect()
            .sort("seq")
        )
        if events.height == CHUNK_EVENTS:
            end = events["seq"][-1] + 1
        # Where events lie far apart, more seqs are looked at in one go, never more events.
        self._span = self._span * 2 if events.height < CHUNK_EVENTS // 2 else CHUNK_EVENTS
        missing = (seq.cast(pl.Int64) - pl.int_range(pl.len()) - self._read_to + self._read_missed).alias(
            _MISSED
        )
        shown = text_out(events).with_columns(missing).filter(*self._filters())
        self._rows = shown.iter_rows(named=True)
        self._read_missed += end - self._read_to - events.height
        self._read_to = end
        return True

    def _first_live(self, snapshot: Snapshot) -> int:
        """Return the first seq from here on that may be on disk, so that a long pruned stretch costs nothing."""
        firsts = [row.first_seq for row in snapshot.catalog.segments if row.last_seq >= self._read_to]
        return max(self._read_to, min([*firsts, snapshot.catalog.flushed_seq]))

    def _filters(self) -> list[pl.Expr]:
        own = [] if self._own else [pl.col("source").ne_missing(OWN_SOURCE)]
        return own if self._where is None else [*own, self._where]


def first_seq(view: View, start: object, tz: str | None) -> int:
    """Return the seq that `start` means: itself, or the first one accepted at or after a moment."""
    if start is None:
        return 0
    if isinstance(start, int) and not isinstance(start, bool):
        end = view.snapshot().as_of
        if not 0 <= start <= end:
            raise ValueError(f"start: no seq of this trail (expected 0 to {end}, found {start})")
        return start
    now_us = to_us(view.now())
    start_us = parse_instant(start, name="start", tz=tz or view.tz, now_us=now_us, anchor_us=now_us)

    def attempt() -> int:
        snapshot = view.snapshot()
        known = [row.end_seq for row in snapshot.catalog.flushes if row.last_recorded_us < start_us]
        rest = snapshot.of_seqs(max(known, default=0), snapshot.as_of)
        later = view.core.source.stored(rest, EVERYTHING).filter(pl.col("recorded") >= from_us(start_us))
        first: int | None = later.select(pl.col("seq").min()).collect().item()
        return snapshot.as_of if first is None else first

    return retrying(attempt)
