"""Where buckets begin: the instants that cut time into hours, days or months of one time zone.

Two rules, both about what the wall clock of the zone shows:

- Up to an hour, buckets begin at the multiples of `every` that the clock shows, and wherever it is put forward or
  back.  None is longer than `every`, and a repeated hour is kept apart from its first pass.
- Beyond an hour, buckets begin when the clock first shows, or steps over, a multiple of `every`.  A day has its
  usual buckets also where it lasts 23 or 25 hours; one of them is shorter or longer.

Multiples count from the clock's 1970-01-01 00:00, whole weeks from a Monday, months from January of year 0.  So
buckets are disjoint, every instant lies in exactly one, and it starts at or before its instants.  Polars' own
truncation is not used: the offsets come from the standard library's zones only, as integers.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import lru_cache

import polars as pl
from msgspec import Struct

from auditkit.errors import InvalidTimeError
from auditkit.timerange import (
    US_PER_DAY,
    US_PER_SECOND,
    Duration,
    check_zone,
    from_us,
    parse_duration,
    utc_offset_us,
)

MAX_BUCKETS = 2_000_000

_HOUR = 3600 * US_PER_SECOND
_MONDAY = 4 * US_PER_DAY  # 1970-01-05
_MARGIN = 3 * US_PER_DAY  # more than any clock differs from UTC
_EPOCH = date(1970, 1, 1)


def parse_every(every: str | timedelta) -> Duration:
    """Return the length of a bucket, positive and of one kind; anything else is an `InvalidTimeError`.

    >>> parse_every("1q").months
    3
    """
    length = parse_duration(every, name="every")
    if length.negative or not (length.months or length.days or length.us):
        raise InvalidTimeError("every", every, "is not a positive length")
    if sum(map(bool, (length.months, length.days, length.us))) > 1:
        raise InvalidTimeError("every", every, "mixes months, days and hours, which have no common multiple")
    return length


def bucket_starts(every: Duration, tz: str, first_us: int, last_us: int) -> list[int]:
    """Return the starts of all buckets that hold an instant of first_us..last_us, ascending, in UTC microseconds.

    Both bounds are included.  Raises `InvalidTimeError` where there are more than `MAX_BUCKETS` of them.

    >>> from auditkit.timerange import resolve
    >>> day = resolve("2026-10-25", "+1d", now_us=0, tz="Europe/Stockholm")
    >>> len(bucket_starts(parse_every("1h"), "Europe/Stockholm", day.start_us, day.end_us - 1))
    25
    """
    if (last_us - first_us) // max(every.shortest_us, 1) > MAX_BUCKETS:
        raise InvalidTimeError("every", every.text, f"makes more than {MAX_BUCKETS:,} buckets of this time")
    spans = _spans(tz, first_us - _reach(every), last_us)
    if _is_short(every):
        return list(_cut_at_changes(every.us, spans, first_us, last_us))
    starts = list(_cut_by_calendar(every, spans, last_us))
    return starts[bisect_right(starts, first_us) - 1 :]


class BucketKey(Struct, frozen=True, kw_only=True):
    """How a query groups by bucket: `expression` (Int64) is the bucket's start, or its place in `starts`."""

    expression: pl.Expr
    starts: pl.Series | None

    def starts_of(self, keys: pl.Series) -> pl.Series:
        """Return the starts, in UTC microseconds, of the buckets that grouping found."""
        return keys if self.starts is None else self.starts.gather(keys)


def plan_key(
    us: pl.Expr, every: Duration, tz: str, bounds: Callable[[], tuple[int, int] | None]
) -> BucketKey:
    """Return the key that groups instants by bucket; `us` is the expression of the instants (Int64).

    `bounds` gives the smallest and largest of the instants there are, or None where there are none; it is asked
    only where the answer depends on it.
    """
    if tz == "UTC" and not every.months:
        return BucketKey(expression=_on_grid(us, every, 0), starts=None)
    span = bounds()
    if span is None:
        return BucketKey(expression=us, starts=None)
    spans = _spans(tz, span[0] - _reach(every), span[1])
    if not every.months and _share_a_grid(every, spans):
        return BucketKey(expression=_on_grid(us, every, spans[0].offset), starts=None)
    if _is_short(every):
        return BucketKey(expression=_on_own_grid(us, every.us, spans), starts=None)
    starts = pl.Series(bucket_starts(every, tz, *span), dtype=pl.Int64)
    place = pl.lit(starts).search_sorted(us, side="right").cast(pl.Int64) - 1
    return BucketKey(expression=pl.when(us.is_not_null()).then(place), starts=starts)


class _Span(Struct, frozen=True):
    """A time from `start` on, until the next one, in which the clock is ahead of UTC by `offset`."""

    start: int
    offset: int


def _spans(tz: str, first_us: int, last_us: int) -> list[_Span]:
    """Return the spans of constant offset that cover first_us..last_us; the first starts at first_us."""
    spans = [_Span(first_us, utc_offset_us(first_us, check_zone(tz)))]
    for year in range(from_us(first_us).year, from_us(last_us).year + 1):
        spans += (change for change in _changes(tz, year) if first_us < change.start <= last_us)
    return spans


@lru_cache(maxsize=4096)
def _changes(tz: str, year: int) -> tuple[_Span, ...]:
    """Return the changes of the zone's offset in one UTC year.

    Looking once a day finds them all: no zone has ever changed twice within three days.
    """
    zone = check_zone(tz)
    first, last = ((date(y, 1, 1) - _EPOCH).days * US_PER_DAY for y in (year, year + 1))
    changes = []
    for day in range(first, last, US_PER_DAY):
        before, after = day, day + US_PER_DAY
        old, new = utc_offset_us(before, zone), utc_offset_us(after, zone)
        if old == new:
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if utc_offset_us(middle, zone) == old else (before, middle)
        changes.append(_Span(after, new))
    return tuple(changes)


def _is_short(every: Duration) -> bool:
    return not every.months and not every.days and every.us <= _HOUR


def _reach(every: Duration) -> int:
    """How far before an instant its bucket may begin, generously."""
    return every.months * 31 * US_PER_DAY + every.days * US_PER_DAY + every.us + _MARGIN


def _grid(every: Duration) -> tuple[int, int]:
    """Return length and origin of buckets that are all of the same length on the wall clock."""
    length = every.days * US_PER_DAY + every.us
    return length, _MONDAY if every.days and every.days % 7 == 0 else 0


def _on_grid(us: pl.Expr, every: Duration, offset: int) -> pl.Expr:
    length, origin = _grid(every)
    return (us + (offset - origin)) // length * length + (origin - offset)


def _share_a_grid(every: Duration, spans: list[_Span]) -> bool:
    """Whether the clock's changes, if any, fall on the starts of buckets and move them by whole buckets."""
    first, *others = spans
    if not _is_short(every):
        return not others
    return all(
        (span.offset - first.offset) % every.us == 0 and (span.start + first.offset) % every.us == 0
        for span in others
    )


def _on_own_grid(us: pl.Expr, length: int, spans: list[_Span]) -> pl.Expr:
    """Return the starts of short buckets where each span of the clock has a grid of its own."""
    begins = pl.Series([span.start for span in spans], dtype=pl.Int64)
    place = pl.lit(begins).search_sorted(us, side="right").cast(pl.Int64) - 1
    offset = pl.lit(pl.Series([span.offset for span in spans], dtype=pl.Int64)).gather(place)
    start = (us + offset) // length * length - offset
    return pl.when(us.is_not_null()).then(pl.max_horizontal(start, pl.lit(begins).gather(place)))


def _cut_at_changes(length: int, spans: list[_Span], first_us: int, last_us: int) -> Iterator[int]:
    """Give the starts of short buckets from first_us's own on: the grid of each span, and where the span begins."""
    for span, end in zip(spans, [*(span.start for span in spans[1:]), last_us + 1], strict=True):
        if end > first_us:
            near = max(span.start, first_us)
            yield max(span.start, (near + span.offset) // length * length - span.offset)
            yield from range((near + span.offset) // length * length + length - span.offset, end, length)


def _cut_by_calendar(every: Duration, spans: list[_Span], last_us: int) -> Iterator[int]:
    """Give the starts of long buckets: when the clock first shows, or steps over, the beginning of each."""
    number, begin = _numbering(every)
    last = number(spans[0].start + spans[0].offset)
    for span, end in zip(spans, [*(span.start for span in spans[1:]), last_us + 1], strict=True):
        if number(span.start + span.offset) > last:  # the clock stepped over one or more
            last = number(span.start + span.offset)
            yield span.start
        while (start := begin(last + 1) - span.offset) < end:
            last += 1
            yield start


def _numbering(every: Duration) -> tuple[Callable[[int], int], Callable[[int], int]]:
    """Return two functions: from a wall-clock time to the number of its bucket, and from a number to its begin."""
    if every.months:
        return lambda local: _month(local) // every.months, lambda number: _month_begin(number * every.months)
    length, origin = _grid(every)
    return lambda local: (local - origin) // length, lambda number: number * length + origin


def _month(local: int) -> int:
    """Return the number of a wall-clock time's month, counted from January of year 0."""
    day = from_us(local)
    return day.year * 12 + day.month - 1


def _month_begin(month: int) -> int:
    return (date(month // 12, month % 12 + 1, 1) - _EPOCH).days * US_PER_DAY
