"""Buckets against a walk along the clock: one zone, one step at a time, with nothing but the standard library."""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.errors import InvalidTimeError
from auditkit.query.buckets import bucket_starts, parse_every, plan_key
from auditkit.timerange import from_us, to_us

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

LENGTHS: dict[str, int] = {
    "90s": 90 * SECOND,
    "1m": MINUTE,
    "5m": 5 * MINUTE,
    "7m": 7 * MINUTE,
    "15m": 15 * MINUTE,
    "20m": 20 * MINUTE,
    "30m": 30 * MINUTE,
    "50m": 50 * MINUTE,
    "1h": HOUR,
    "90m": 90 * MINUTE,
    "2h": 2 * HOUR,
    "6h": 6 * HOUR,
    "7h": 7 * HOUR,
    "12h": 12 * HOUR,
    "1d": DAY,
    "2d": 2 * DAY,
    "1w": 7 * DAY,
}
CHANGES = [
    ("Europe/Stockholm", "2026-03-29T01:00Z"),
    ("Europe/Stockholm", "2026-10-25T01:00Z"),
    ("America/New_York", "2026-03-08T07:00Z"),
    ("America/New_York", "2026-11-01T06:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00Z"),  # half an hour back
    ("Australia/Lord_Howe", "2026-10-03T15:30Z"),  # half an hour forward
    ("Asia/Kathmandu", "1985-12-31T18:30Z"),  # a quarter of an hour forward, once
    ("America/Sao_Paulo", "2018-11-04T03:00Z"),  # midnight is skipped
    ("America/Havana", "2026-11-01T05:00Z"),  # midnight comes twice
    ("America/St_Johns", "2006-10-29T02:31Z"),  # 00:01 goes back to 23:01 of the day before
    ("America/Toronto", "1919-03-31T04:30Z"),  # 23:30 goes forward to 00:30
    ("Pacific/Apia", "2011-12-30T10:00Z"),  # a whole day is skipped
    ("America/Caracas", "2007-12-09T07:00Z"),  # half an hour back
    ("Africa/Casablanca", "2026-02-15T02:00Z"),
    ("Asia/Kolkata", "1945-10-14T17:30Z"),
    ("Europe/London", "1968-10-26T23:00Z"),  # no change of the clock, though of its name
]


def local(us: int, zone: ZoneInfo) -> datetime:
    """What the wall clock shows."""
    return from_us(us).astimezone(zone).replace(tzinfo=None)


def number_of(every: str, shown: datetime) -> int:
    """The number of the bucket that a wall clock's time belongs to, with datetime's own arithmetic."""
    if every.endswith(("mo", "q", "y")):
        months = {"1mo": 1, "1q": 3, "5mo": 5, "1y": 12, "10y": 120}[every]
        return (shown.year * 12 + shown.month - 1) // months
    origin = datetime(2000, 1, 3) if every == "1w" else datetime(1970, 1, 1)  # noqa: DTZ001 -- a wall clock
    return (shown - origin) // timedelta(microseconds=LENGTHS[every])


def walk(every: str, tz: str, first: int, last: int, step: int) -> list[int]:
    """Return the instants between first and last at which a new bucket begins, looking at every step."""
    zone = ZoneInfo(tz)
    short = LENGTHS.get(every, DAY) <= HOUR
    starts = []
    newest, offset = number_of(every, local(first, zone)), from_us(first).astimezone(zone).utcoffset()
    for us in range(first + step, last + 1, step):
        number, ahead = number_of(every, local(us, zone)), from_us(us).astimezone(zone).utcoffset()
        if (number, ahead) != (newest, offset) if short else number > newest:
            starts.append(us)
        newest, offset = number if short else max(number, newest), ahead
    return starts


def instant(text: str) -> int:
    """Read ISO text with a zone."""
    return to_us(datetime.fromisoformat(text))


@pytest.mark.parametrize(("tz", "change"), CHANGES)
def test_buckets_begin_where_the_clock_says(tz: str, change: str) -> None:
    """Around every kind of clock change, buckets of every length begin exactly where a walk along it finds them."""
    middle = instant(change)
    for every, length in LENGTHS.items():
        around = max(2 * length, 3 * HOUR) if length < DAY else length + 2 * DAY
        first, last = (middle - around) // MINUTE * MINUTE, (middle + around) // MINUTE * MINUTE
        step = 30 * SECOND if every == "90s" else MINUTE
        walked = walk(every, tz, first, last, step)
        starts = bucket_starts(parse_every(every), tz, first, last)
        assert [start for start in starts if start > first] == walked, every
        assert starts[0] <= first


@pytest.mark.parametrize("every", ["1mo", "1q", "5mo", "1y", "10y"])
@pytest.mark.parametrize("tz", ["UTC", "Europe/Stockholm", "America/Havana", "Asia/Kathmandu"])
def test_months_begin_at_local_midnight(every: str, tz: str) -> None:
    """Months, quarters and years begin with the local calendar, before 1970 too."""
    first, last = instant("1968-11-20T00:00Z"), instant("1970-02-03T00:00Z")
    starts = bucket_starts(parse_every(every), tz, first, last)
    assert [start for start in starts if start > first] == walk(every, tz, first, last, 15 * MINUTE)
    begun = local(starts[0], ZoneInfo(tz))
    assert starts[0] <= first
    assert (begun.day, begun.hour, begun.minute) == (1, 0, 0)


def test_the_offsets_of_old_clocks_have_seconds() -> None:
    """Where a zone was ahead by minutes and seconds, buckets still begin at its own full hours."""
    first, last = instant("1937-06-30T22:00Z"), instant("1937-07-01T02:00Z")
    for every in ("20m", "1h", "2h"):
        for tz in ("Europe/Amsterdam", "Africa/Monrovia", "Asia/Kolkata"):
            starts = bucket_starts(parse_every(every), tz, first, last)
            assert [start for start in starts if start > first] == walk(every, tz, first, last, SECOND)


@pytest.mark.parametrize(
    ("tz", "day", "hours"),
    [
        ("Europe/Stockholm", "2026-03-29", 23),
        ("Europe/Stockholm", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Asia/Kolkata", "2026-10-25", 24),
    ],
)
def test_a_day_has_the_hours_it_lasts(tz: str, day: str, hours: int) -> None:
    """A day of 23 or 25 hours is one bucket of a day, and 23 or 25 buckets of one hour each."""
    begin = datetime.fromisoformat(day)
    first, end = (to_us(shown.replace(tzinfo=ZoneInfo(tz))) for shown in (begin, begin + timedelta(days=1)))
    assert end - first == hours * HOUR
    assert bucket_starts(parse_every("1d"), tz, first, end - 1) == [first]
    assert bucket_starts(parse_every("1h"), tz, first, end - 1) == list(range(first, end, HOUR))
    assert len(bucket_starts(parse_every("6h"), tz, first, end - 1)) == 4


def test_the_repeated_hour_is_kept_apart() -> None:
    """In autumn the hour that comes twice is two buckets of one hour, an hour apart, with the same wall clock."""
    first, second = instant("2026-10-25T02:00+02:00"), instant("2026-10-25T02:00+01:00")
    starts = bucket_starts(parse_every("1h"), "Europe/Stockholm", first, second + HOUR - 1)
    assert starts == [first, second]
    assert second - first == HOUR
    zone = ZoneInfo("Europe/Stockholm")
    assert local(first, zone) == local(second, zone)


def test_weeks_begin_on_mondays() -> None:
    """A week begins on Monday, whether it is written as a week or as seven days."""
    first = instant("1969-12-25T12:00Z")
    for every in ("1w", "7d"):
        starts = bucket_starts(parse_every(every), "UTC", first, first + 30 * DAY)
        assert {from_us(start).weekday() for start in starts} == {0}
        assert from_us(starts[0]) == datetime(1969, 12, 22, tzinfo=UTC)


@pytest.mark.parametrize("every", ["", "0s", "-1h", "1d12h", "1mo1d", "soon", "1", None])
def test_lengths_that_make_no_buckets_are_refused(every: str) -> None:
    """A length that is empty, negative or of mixed kinds raises an error that names `every`."""
    with pytest.raises(InvalidTimeError, match="every: "):
        parse_every(every)


def test_too_many_buckets_are_refused() -> None:
    """A range that would be cut into millions of pieces is refused before anything is cut."""
    with pytest.raises(InvalidTimeError, match="every: makes more than"):
        bucket_starts(parse_every("1us"), "UTC", 0, DAY)


ZONES = ["UTC", *sorted({tz for tz, _ in CHANGES})]


def grouped(us: list[int | None], every: str, tz: str) -> list[int | None]:
    """Return the bucket of each instant as a query finds it."""
    known = [instant for instant in us if instant is not None]
    bounds: Callable[[], tuple[int, int] | None] = lambda: (min(known), max(known)) if known else None  # noqa: E731
    key = plan_key(pl.col("us"), parse_every(every), tz, bounds)
    frame = pl.LazyFrame({"us": pl.Series(us, dtype=pl.Int64)}).select(key.expression.alias("key"))
    return key.starts_of(frame.collect()["key"]).to_list()


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([*LENGTHS, "1mo", "1q", "1y", "5mo"]),
    st.sampled_from(ZONES),
    st.lists(
        st.one_of(
            st.integers(-(2 * 10**15), 7 * 10**15),
            st.builds(
                lambda change, shift: instant(change[1]) + shift,
                st.sampled_from(CHANGES),
                st.integers(-2 * HOUR, 2 * HOUR),
            ),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_every_instant_lies_in_the_bucket_it_is_given(every: str, tz: str, us: list[int]) -> None:
    """However a query computes it, an instant's bucket is the last one that starts at or before it."""
    length = parse_every(every)
    for at, start in zip(us, grouped([*us], every, tz), strict=True):
        starts = bucket_starts(length, tz, at, at)
        assert [start] == starts
        assert start is not None
        assert start <= at
        if length.us and length.us <= HOUR:
            assert at < start + length.us
    starts = [start for start in grouped([*us], every, tz) if start is not None]
    assert grouped([*starts], every, tz) == starts
    before = grouped([start - 1 for start in starts], every, tz)
    assert all(one is not None and one < start for one, start in zip(before, starts, strict=True))


def test_instants_that_are_missing_have_no_bucket() -> None:
    """A null instant keeps its null, in zones of every kind and for buckets of every length."""
    change = instant("2026-10-25T01:00Z")
    for every in ("7m", "1h", "1d", "1mo"):
        for tz in ("UTC", "Europe/Stockholm", "Australia/Lord_Howe"):
            assert grouped([None, change, change - 90 * DAY], every, tz)[0] is None
            assert grouped([None], every, tz) == [None]


@given(st.sampled_from(ZONES), st.sampled_from([*LENGTHS, "1mo"]), st.integers(-(10**15), 2 * 10**15))
def test_buckets_are_disjoint_and_leave_no_gap(tz: str, every: str, first: int) -> None:
    """Starts ascend without repeating, and every one is found again from any instant up to the next."""
    length = parse_every(every)
    starts = bucket_starts(length, tz, first, first + 3 * max(length.shortest_us, HOUR))
    assert all(one < next_one for one, next_one in pairwise(starts))
    for one, next_one in pairwise(starts):
        assert bucket_starts(length, tz, one, one) == [one]
        assert bucket_starts(length, tz, next_one - 1, next_one - 1) == [one]
    assert starts[bisect_right(starts, first) - 1] == starts[0]
