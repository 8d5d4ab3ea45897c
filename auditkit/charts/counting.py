"""What a chart counts: the events of a trail, those of a frame, or what a frame says is counted already.

A frame with a column `count` and no `seq` is counted; of any other each row is an event.  A trail and a frame of events are
asked the same questions, and where no width of buckets is given, one is chosen that shows the window readably.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

import polars as pl
from msgspec import Struct

from auditkit import query
from auditkit.errors import InvalidQueryError
from auditkit.query.frames import events_of, in_zone, limited, window_of
from auditkit.timerange import Moment, TimeRange, counts_from_now, from_us, parse_duration, to_us
from auditkit.where import Where

RAW = "raw"
"""What the column `tier` says of counts of the events themselves."""
_MOST_BUCKETS = 200
_WIDTHS_US = {
    "100ms": 100_000,
    "1s": 1_000_000,
    "10s": 10_000_000,
    "1m": 60_000_000,
    "5m": 300_000_000,
    "15m": 900_000_000,
    "1h": 3_600_000_000,
    "6h": 21_600_000_000,
    "1d": 86_400_000_000,
    "1w": 604_800_000_000,
}
_WIDTHS = tuple(_WIDTHS_US)
_OF_NOTHING = "1h"
_PROBES = ("1d", "1w")
"""Widths at which tiers say how much they hold: buckets of most of them fit into one of these."""


@runtime_checkable
class Askable(Protocol):
    """A trail, as far as charts ask it."""

    @property
    def tz(self) -> str:
        """Zone of its answers."""

    def now(self) -> datetime:
        """Return the moment that durations count from."""

    def range(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        where: Where = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        descending: bool = False,
    ) -> pl.DataFrame:
        """Return the events of a window."""

    def group_by(
        self,
        by: str | Sequence[str],
        *,
        every: str | timedelta | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        where: Where = None,
        aggs: query.Aggregations = None,
        tz: str | None = None,
        tier: str | None = "auto",
    ) -> pl.DataFrame:
        """Return counts per key and bucket."""


Events = Askable | pl.DataFrame | pl.LazyFrame
"""What a chart is given: a trail, or a frame of events or of counts."""


class Counting(Struct, frozen=True, kw_only=True):
    """What is asked of which events; `counted` where they are a frame of counts."""

    events: Any
    counted: bool
    window: TimeRange
    where: Any
    zone: str

    @property
    def start(self) -> datetime | None:
        """First instant that counts."""
        return None if self.window.start_us is None else from_us(self.window.start_us)

    @property
    def end(self) -> datetime | None:
        """First instant that no longer counts."""
        return None if self.window.end_us is None else from_us(self.window.end_us)

    @property
    def _scope(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "where": self.where}

    def count(
        self, by: Sequence[str | None], every: str | None = None, *, tier: str | None = None
    ) -> pl.DataFrame:
        """Return the keys, `count` and, with `every`, `ts`, without rows that count nothing."""
        if self.counted:
            counts: pl.DataFrame = self.events.lazy().collect()
            if every is not None and "ts" not in counts.columns:
                raise InvalidQueryError("events", counts.columns, "has no column ts")
            return counts.filter(pl.col("count") > 0)  # `downsample` fills empty buckets with null or zero
        keys = list(dict.fromkeys(key for key in by if key is not None))
        asked = {**self._scope, "every": every, "aggs": "count", "tz": self.zone}
        if isinstance(self.events, Askable):
            found = self.events.group_by(keys, **asked, tier=tier)
        else:
            found = query.group_by(self.events, keys, **asked)
        return found.filter(pl.col("count") > 0)

    def rows(self, columns: Sequence[str], limit: int) -> pl.DataFrame:
        """Return the first events."""
        asked = {**self._scope, "columns": columns, "limit": limit}
        if isinstance(self.events, Askable):
            return in_zone(self.events.range(**asked), self.zone)
        return in_zone(query.range(self.events, **asked), self.zone)

    def over_time(self, by: str | None, every: str | timedelta | None) -> tuple[pl.DataFrame, str]:
        """Return counts per bucket, and its width: of a trail with tiers also where the events are no longer kept.

        A width that is chosen is as wide as it takes for a tier to answer, and suits what tiers reach back to.
        """
        width = self.width(every)
        if self.counted or not isinstance(self.events, Askable):
            return self.count([by], width), width
        found = self._with_tiers(by, width)
        if every is not None or (found is not None and "tier" not in found.columns):
            return (self.count([by], width) if found is None else self._by_origin(found, by, width)), width
        whole = max(_total(self._with_tiers(by, probe)) for probe in _PROBES)
        for wider in _WIDTHS[_WIDTHS.index(width) :]:
            found = self._with_tiers(by, wider)
            if found is not None and _total(found) >= whole and _suits(found["ts"], wider):
                return self._by_origin(found, by, wider), wider
        return self.count([by], width), width

    def _with_tiers(self, by: str | None, every: str) -> pl.DataFrame | None:
        """Return counts, from tiers where events are gone; None where no tier can say them."""
        try:
            return self.count([by], every, tier="auto")
        except InvalidQueryError as exc:
            if exc.name != "tier":
                raise
            return None

    def _by_origin(self, found: pl.DataFrame, by: str | None, every: str) -> pl.DataFrame:
        """Return counts; where they say of which tier they are, "raw" of those that the events themselves say."""
        if "tier" not in found.columns:
            return found
        keys = ["ts"] if by is None else ["ts", by]
        kept = self.count([by], every).select(*keys, kept="count")
        both = found.join(kept, on=keys, how="left", nulls_equal=True, maintain_order="left")
        raw = pl.when(pl.col("kept") == pl.col("count")).then(pl.lit(RAW)).otherwise("tier")
        return both.select(*keys, "count", tier=raw)

    def width(self, every: str | timedelta | None) -> str:
        """Return the width of buckets: the one given, or the finest that is readable over all of the window."""
        if every is not None:
            return parse_duration(every, name="every").text
        if self.counted:
            error = InvalidQueryError("every", every, "is not the width of the buckets that were counted")
            error.add_note("say by which they were; of a trail or a frame of events it may be left out")
            raise error
        first_us, last_us = self._span()
        return _OF_NOTHING if first_us is None or last_us is None else bucket_width(last_us - first_us)

    def _span(self) -> tuple[int | None, int | None]:
        """Return the bounds of the window, and those of its events where it has none."""
        first_us, last_us = self.window.start_us, self.window.end_us
        if first_us is not None and last_us is not None:
            return first_us, last_us
        if isinstance(self.events, Askable):
            asked = {**self._scope, "columns": ["ts"], "limit": 1}
            ts = pl.concat([self.events.range(**asked, descending=last)["ts"] for last in (False, True)])
        else:
            found = limited(events_of(self.events), self.window, self.where).select("ts")
            ts = pl.concat([found.min(), found.max()]).collect()["ts"].drop_nulls()
        if ts.is_empty():
            return None, None
        return (
            to_us(ts[0]) if first_us is None else first_us,
            to_us(ts[-1]) if last_us is None else last_us,
        )


def counting(
    events: Events,
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    tz: str | None = None,
    *,
    axis: bool = False,
) -> Counting:
    """Return what a chart counts; counts cannot be asked again, their window is at most that of an axis."""
    counted, zone = False, "UTC"
    if isinstance(events, (pl.DataFrame, pl.LazyFrame)):
        schema = events.collect_schema()
        counted = "count" in schema and "seq" not in schema
        if "ts" in schema:
            zone = zone_of(schema["ts"])
        elif not counted:
            raise InvalidQueryError("events", list(schema), "has neither a column ts nor a column count")
    elif isinstance(events, Askable):
        zone = events.tz
    else:
        raise InvalidQueryError("events", type(events).__name__, "is neither a trail nor a Polars frame")
    if counted:
        _refuse({"where": where, "tz": None if tz == zone else tz})
        _refuse({} if axis else {"start": start, "end": end})
    relative = counts_from_now(start) or counts_from_now(end)
    now = events.now() if relative and isinstance(events, Askable) else None
    window = window_of(start, end, tz=tz or zone, now=now)
    return Counting(events=events, counted=counted, window=window, where=where, zone=tz or zone)


def _total(counts: pl.DataFrame | None) -> int:
    return 0 if counts is None else int(counts["count"].sum())


def _suits(starts: pl.Series, width: str) -> bool:
    """Return whether buckets of a width are few enough."""
    if starts.is_empty():
        return True
    return _WIDTHS.index(bucket_width(to_us(starts[-1]) - to_us(starts[0]))) <= _WIDTHS.index(width)


def _refuse(asked: dict[str, object]) -> None:
    for name, value in asked.items():
        if value is not None:
            error = InvalidQueryError(name, value, "cannot be asked of what is counted already")
            error.add_note("give the trail or a frame of its events in place of counts")
            raise error


def zone_of(dtype: pl.DataType) -> str:
    """Return the zone of a column of times; one without a zone is an `InvalidQueryError`."""
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    if zone is None:
        raise InvalidQueryError("ts", dtype, "is not a time with a zone")
    return zone


def bucket_width(span_us: int) -> str:
    """Return the finest width that divides a span into few enough buckets to tell them apart in a chart.

    >>> bucket_width(0), bucket_width(3 * 3_600_000_000), bucket_width(10**16)
    ('100ms', '1m', '1w')
    """
    return next((name for name, us in _WIDTHS_US.items() if span_us <= _MOST_BUCKETS * us), _WIDTHS[-1])
