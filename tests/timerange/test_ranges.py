"""Instants, durations and ranges: what is read, what is refused, and calendar arithmetic in hard time zones."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.errors import AuditError, InvalidTimeError
from auditkit.timerange import (
    US_PER_DAY,
    US_PER_SECOND,
    Duration,
    SystemClock,
    TimeRange,
    check_zone,
    from_us,
    instant_of_local,
    local_us,
    parse_duration,
    parse_instant,
    parse_keep_time,
    partition_name,
    partition_start,
    resolve,
    to_us,
)

NAIVE = datetime(2026, 11, 24)  # noqa: DTZ001 -- what must be refused
HOUR = 3600 * US_PER_SECOND
NOW = to_us(datetime(2026, 11, 24, 12, tzinfo=UTC))
ZONES = (
    "UTC",
    "Europe/Stockholm",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
)


def iso(us: int, tz: str = "UTC") -> str:
    """Show an instant in a zone."""
    return from_us(us).astimezone(ZoneInfo(tz)).isoformat()


def instant(value: object, tz: str = "UTC", anchor_us: int | None = None) -> int:
    """Read one instant as the argument `start`."""
    return parse_instant(value, name="start", tz=tz, now_us=NOW, anchor_us=anchor_us)


@given(
    st.datetimes(min_value=NAIVE.replace(year=1), max_value=NAIVE.replace(year=9999), timezones=st.just(UTC))
)
def test_datetimes_survive_the_way_there_and_back(moment: datetime) -> None:
    """Every microsecond of the years 1 to 9999 is exact in both directions."""
    us = to_us(moment)
    assert from_us(us) == moment
    assert us == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_the_system_clock_tells_the_time() -> None:
    """The machine's clock and the standard library agree."""
    before = to_us(datetime.now(UTC))
    assert before <= SystemClock().now_us() <= to_us(datetime.now(UTC))


@pytest.mark.parametrize(
    ("text", "months", "days", "us"),
    [
        ("90d", 0, 90, 0),
        ("1h30m", 0, 0, 90 * 60 * US_PER_SECOND),
        ("90s", 0, 0, 90 * US_PER_SECOND),
        ("7y", 84, 0, 0),
        ("1mo", 1, 0, 0),
        ("1m", 0, 0, 60 * US_PER_SECOND),
        ("250ms", 0, 0, 250_000),
        ("1q", 3, 0, 0),
        ("2w", 0, 14, 0),
        ("-7d", 0, -7, 0),
        ("+1d12h", 0, 1, 12 * HOUR),
        ("-1y2mo3w4d5h6m7s8ms9us", -14, -25, -((5 * 3600 + 6 * 60 + 7) * US_PER_SECOND + 8_009)),
        ("3000ns", 0, 0, 3),
        ("5µs", 0, 0, 5),
        ("0d", 0, 0, 0),
    ],
)
def test_durations_follow_the_grammar(text: str, months: int, days: int, us: int) -> None:
    """Numbers with units add up; the sign holds for all of them."""
    assert parse_duration(text) == Duration(months=months, days=days, us=us, text=text)


@pytest.mark.parametrize(
    ("given_", "short"),
    [
        ("90 days", "90d"),
        ("90 Days", "90d"),
        ("1 DAY", "1d"),
        ("1day", "1d"),
        ("1 hour 30 minutes", "1h30m"),
        ("-2 weeks 1h", "-2w1h"),
        ("3 months", "3mo"),
        ("1 quarter", "1q"),
        ("7 years", "7y"),
        ("15 seconds", "15s"),
        (timedelta(days=90), "90d"),
        (timedelta(days=-1, hours=-2), "-1d2h"),
        (timedelta(hours=1, microseconds=5), "1h5us"),
        (timedelta(0), "0d"),
    ],
)
def test_durations_in_words_and_as_timedelta(given_: str | timedelta, short: str) -> None:
    """Words in either number and case, and a timedelta, are the duration of the short form, its text included."""
    assert parse_duration(given_) == parse_duration(short)


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ("90d", "90d"),
        ("3 minutes", "180s"),
        ("3 months", "3mo"),
        ("1h30m", "1h30m"),
        (timedelta(minutes=3), "180s"),
    ],
)
def test_keep_times(given_: str | timedelta, text: str) -> None:
    """How long something is kept is any positive duration, and never stored as a lone `m`."""
    assert parse_keep_time(given_, name="keep").text == text


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ("3m", "may mean 3 minutes or 3 months"),
        ("1m", "may mean 1 minute or 1 month"),
        ("+12m", "may mean 12 minutes or 12 months"),
        ("-90d", "is not a positive duration"),
        (timedelta(0), "is not a positive duration"),
        ("ever", "is not a duration"),
    ],
)
def test_keep_times_that_are_asked_back(given_: str | timedelta, reason: str) -> None:
    """A lone `m` may be minutes or months, and is asked back; nothing is kept for no time."""
    with pytest.raises(InvalidTimeError, match=f"keep: {reason}"):
        parse_keep_time(given_, name="keep")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "d",
        "7",
        "7 d",
        "1.5h",
        "7d ",
        "7D",
        "7M",
        "7 mins",
        "7 days ago",
        "days",
        "7  days",
        "--7d",
        "7d-1h",
        "1ns",
        "1i",
        "\u0661d",
        "99999y",
        "9" * 19 + "d",
        7,
        None,
    ],
)
def test_bad_durations_are_refused(text: object) -> None:
    """What is outside the grammar raises an error that names the argument and the value."""
    with pytest.raises(InvalidTimeError, match="every: ") as caught:
        parse_duration(text, name="every")  # type: ignore[arg-type]
    assert caught.value.name == "every"
    assert caught.value.value == text
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AuditError)


@pytest.mark.parametrize(
    ("start", "duration", "tz", "expected"),
    [
        ("2026-01-31T10:00Z", "1mo", "UTC", "2026-02-28T10:00:00+00:00"),
        ("2024-02-29T00:00Z", "1y", "UTC", "2025-02-28T00:00:00+00:00"),
        ("2024-02-29T00:00Z", "4y", "UTC", "2028-02-29T00:00:00+00:00"),
        ("2026-11-30T00:00Z", "1q", "UTC", "2027-02-28T00:00:00+00:00"),
        ("2026-10-24T12:00+02:00", "1d", "Europe/Stockholm", "2026-10-25T12:00:00+01:00"),
        ("2026-10-24T12:00+02:00", "24h", "Europe/Stockholm", "2026-10-25T11:00:00+01:00"),
        ("2026-10-24T02:30+02:00", "1d", "Europe/Stockholm", "2026-10-25T02:30:00+02:00"),
        ("2026-03-28T02:30+01:00", "1d", "Europe/Stockholm", "2026-03-29T03:30:00+02:00"),
        ("2026-03-28T02:30+01:00", "1d1h", "Europe/Stockholm", "2026-03-29T04:30:00+02:00"),
        ("2026-11-01T01:30-05:00", "1d", "America/New_York", "2026-11-02T01:30:00-05:00"),
        ("1969-12-31T23:59:59.999999Z", "1d", "UTC", "1970-01-01T23:59:59.999999+00:00"),
        ("1900-03-01T00:00Z", "-1d", "UTC", "1900-02-28T00:00:00+00:00"),
    ],
)
def test_days_and_more_follow_the_calendar(start: str, duration: str, tz: str, expected: str) -> None:
    """Days keep the wall clock, months clamp at their end, repeated hours mean the first pass, skipped move on."""
    assert iso(parse_duration(duration).after(instant(start), tz), tz) == expected


@given(
    st.integers(-(10**15), 7 * 10**15), st.sampled_from(ZONES), st.integers(0, 500), st.integers(0, 10**12)
)
def test_days_agree_with_datetime_arithmetic(us: int, tz: str, days: int, rest: int) -> None:
    """Adding days is Python's own wall-clock addition, read with fold=0; what is below a day is exact."""
    zone = ZoneInfo(tz)
    shown = from_us(us).astimezone(zone)
    expected = (shown.replace(fold=0) + timedelta(days=days)).astimezone(UTC) if days else from_us(us)
    length = Duration(months=0, days=days, us=rest, text="")
    assert from_us(length.after(us, tz)) == expected + timedelta(microseconds=rest)
    back = (shown.replace(fold=0) - timedelta(days=days)).astimezone(UTC) if days else from_us(us)
    assert from_us(length.before(us, tz)) == back - timedelta(microseconds=rest)


@given(
    st.integers(-(10**15), 5 * 10**15),
    st.sampled_from(ZONES),
    st.integers(0, 50),
    st.integers(0, 300),
    st.integers(0, 10**11),
)
def test_no_duration_is_shorter_than_its_lower_bound(
    us: int, tz: str, months: int, days: int, rest: int
) -> None:
    """`shortest_us` is a sound lower bound wherever and in whatever zone the duration is applied."""
    length = Duration(months=months, days=days, us=rest, text="")
    shortest = length.shortest_us
    assert length.after(us, tz) - us >= shortest - 2 * HOUR
    if tz == "UTC":
        assert us - length.before(us, tz) >= shortest


def test_durations_leading_out_of_the_calendar_are_refused() -> None:
    """A duration that ends beyond year 9999 is an error, not an overflow."""
    for text in ("9000y", "-3000y", "3000000d", "99999999999999999h"):
        with pytest.raises(InvalidTimeError, match="9999"):
            parse_duration(text).after(NOW, "Europe/Stockholm")


@pytest.mark.parametrize(
    ("value", "tz", "expected"),
    [
        (
            datetime(2026, 11, 24, 1, tzinfo=timezone(timedelta(hours=1))),
            "Asia/Kolkata",
            "2026-11-24T00:00:00+00:00",
        ),
        (date(2026, 11, 24), "UTC", "2026-11-24T00:00:00+00:00"),
        (date(2026, 11, 24), "Asia/Kolkata", "2026-11-23T18:30:00+00:00"),
        ("2026-11-24", "Asia/Kathmandu", "2026-11-23T18:15:00+00:00"),
        ("2026-11-24T07", "UTC", "2026-11-24T07:00:00+00:00"),
        ("2026-11-24 07:30", "Europe/Stockholm", "2026-11-24T06:30:00+00:00"),
        ("2026-11-24T07:30:15.1234569", "UTC", "2026-11-24T07:30:15.123456+00:00"),
        ("2026-11-24T07:30:15,5Z", "Asia/Kolkata", "2026-11-24T07:30:15.500000+00:00"),
        ("2026-11-24t07:30:15z", "Asia/Kolkata", "2026-11-24T07:30:15+00:00"),
        ("2026-11-24 07:30:15 +0530", "UTC", "2026-11-24T02:00:15+00:00"),
        ("2026-11-24T07:30-05", "UTC", "2026-11-24T12:30:00+00:00"),
        ("1937-01-01T00:00:00+00:19:32", "UTC", "1936-12-31T23:40:28+00:00"),
        ("1969-12-31T23:59:59.9999999Z", "UTC", "1969-12-31T23:59:59.999999+00:00"),
        ("2026-10-25T02:30", "Europe/Stockholm", "2026-10-25T00:30:00+00:00"),  # shown twice: the first pass
        ("2026-03-29T02:30", "Europe/Stockholm", "2026-03-29T01:30:00+00:00"),  # skipped: moved forward
        ("-7d", "UTC", "2026-11-17T12:00:00+00:00"),
        ("-1mo", "America/New_York", "2026-10-24T11:00:00+00:00"),
        ("-90m", "UTC", "2026-11-24T10:30:00+00:00"),
        ("-90 Days", "UTC", "2026-08-26T12:00:00+00:00"),
        ("-1 hour 30 minutes", "UTC", "2026-11-24T10:30:00+00:00"),
        ("today", "Asia/Kolkata", "2026-11-23T18:30:00+00:00"),
        ("Yesterday", "Europe/Stockholm", "2026-11-22T23:00:00+00:00"),
        ("YESTERDAY", "UTC", "2026-11-23T00:00:00+00:00"),
        ("0001-01-02", "UTC", "0001-01-02T00:00:00+00:00"),
    ],
)
def test_instants_are_read_exactly(value: object, tz: str, expected: str) -> None:
    """Aware datetimes, dates, ISO text and durations before now become the instant they name in the zone."""
    assert iso(instant(value, tz)) == expected


@pytest.mark.parametrize(
    ("value", "tz", "expected"),
    [
        (date(2018, 11, 4), "America/Sao_Paulo", "2018-11-04T01:00:00-02:00"),  # midnight is skipped
        (date(1919, 3, 31), "America/Toronto", "1919-03-31T00:30:00-04:00"),  # 23:30 jumps to 00:30
        (date(2026, 11, 1), "America/Havana", "2026-11-01T00:00:00-04:00"),  # midnight comes twice
        (date(2006, 10, 29), "America/St_Johns", "2006-10-29T00:00:00-02:30"),  # 00:01 goes back to 23:01
        (date(2011, 12, 30), "Pacific/Apia", "2011-12-31T00:00:00+14:00"),  # the whole day is skipped
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T01:00:00-02:00"),
    ],
)
def test_a_date_is_the_first_instant_of_its_day(value: object, tz: str, expected: str) -> None:
    """A day begins at the first instant whose wall clock has reached it, however midnight behaves."""
    assert iso(instant(value, tz), tz) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (NAIVE, "a datetime needs a time zone"),
        (pd.NaT, "is not a time"),
        (1_764_000_000, "is not a time"),
        (1.5, "is not a time"),
        (True, "is not a time"),
        (timedelta(days=1), "is not a time"),
        (b"2026-11-24", "is not a time"),
        ("", "is not ISO 8601"),
        ("tomorrow", "is not ISO 8601"),
        ("2026-11", "is not ISO 8601"),
        ("20261124", "names no time of day; 2026-11-24T00:00:00 with a zone would be read"),
        ("1764000000", "is a number without a unit; in s since 1970 it would be 2025-11-24"),
        ("2026-11-24Z", "is not ISO 8601"),
        ("2026-11-24T", "is not ISO 8601"),
        ("2026-11-24T07:30:15.", "is not ISO 8601"),
        (" 2026-11-24", "names no time of day"),
        ("\uff12026-11-24", "is not ISO 8601"),
        ("2026-13-01", "is not a time: month"),
        ("2026-02-29", "is not a time: day"),
        ("2026-11-24T24:00", "is not a time: hour"),
        ("2026-11-24T23:59:60", "is not a time: second"),
        ("2026-11-24T07:30+24:00", "with Z or an offset such as"),
        ("0000-01-01", "is not a time: year"),
        ("7d", "needs a sign"),
        ("+7d", "no start to count from"),
        ("-3000y", "outside the years"),
    ],
)
def test_what_is_not_a_time_is_refused(value: object, reason: str) -> None:
    """Naive datetimes, bare numbers and anything else that would need guessing raise an error with the reason."""
    with pytest.raises(InvalidTimeError, match="start: ") as caught:
        instant(value)
    assert reason in str(caught.value)
    assert caught.value.name in ("start", "duration")


@pytest.mark.parametrize(
    "call",
    [lambda: instant("0001-01-01", "Asia/Tokyo"), lambda: instant("9999-12-31T23", "America/New_York")],
)
def test_the_ends_of_the_calendar_are_refused(call: Callable[[], int]) -> None:
    """Local times whose instant lies outside the years 1 to 9999 raise, they do not overflow."""
    with pytest.raises(InvalidTimeError, match="9999"):
        call()


@pytest.mark.parametrize(
    "tz",
    ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "a\x00b", "europe/stock\u202eholm"],
)
def test_unknown_zones_are_refused(tz: str) -> None:
    """A name that is no time zone, or a path, raises an error that names it."""
    with pytest.raises(InvalidTimeError, match="tz: ") as caught:
        check_zone(tz)
    assert caught.value.value == tz


def test_ranges_are_half_open() -> None:
    """The start belongs to a range, the end does not, and a missing bound excludes nothing."""
    window = TimeRange(start_us=10, end_us=20)
    assert [us for us in range(8, 23) if window.contains(us)] == list(range(10, 20))
    assert window.overlaps(0, 10)
    assert window.overlaps(19, 30)
    assert window.overlaps(0, 99)
    assert not window.overlaps(0, 9)
    assert not window.overlaps(20, 30)
    everything = TimeRange(start_us=None, end_us=None)
    assert everything.contains(-(10**18))
    assert everything.overlaps(5, 5)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 9))
def test_overlap_is_containing_any_instant(start: int, end: int, lo: int, length: int) -> None:
    """A proper range overlaps lo..hi exactly when it contains one of its instants."""
    window = TimeRange(start_us=start, end_us=end)
    if start < end:
        assert window.overlaps(lo, lo + length) == any(
            window.contains(us) for us in range(lo, lo + length + 1)
        )


@pytest.mark.parametrize(
    ("start", "end", "tz", "expected"),
    [
        (None, None, "UTC", "all time"),
        ("-1h", None, "UTC", "from 2026-11-24T11:00:00+00:00 on"),
        (None, "2026-11-24", "Asia/Kolkata", "before 2026-11-24T00:00:00+05:30"),
        (
            "2026-10-25",
            "+1d",
            "Europe/Stockholm",
            "from 2026-10-25T00:00:00+02:00 until before 2026-10-26T00:00:00+01:00",
        ),
        ("-7d", "-1d", "UTC", "from 2026-11-17T12:00:00+00:00 until before 2026-11-23T12:00:00+00:00"),
        ("-2h", "+1h", "UTC", "from 2026-11-24T10:00:00+00:00 until before 2026-11-24T11:00:00+00:00"),
        ("+1h", "+1h", "UTC", "from 2026-11-24T13:00:00+00:00 until before 2026-11-24T14:00:00+00:00"),
    ],
)
def test_a_range_is_resolved_and_described(start: object, end: object, tz: str, expected: str) -> None:
    """Start and end become one range; its words show both bounds in the zone asked for."""
    assert resolve(start, end, now_us=NOW, tz=tz).describe(tz) == expected


@pytest.mark.parametrize(
    ("start", "end", "name"),
    [
        ("2026-11-25", "2026-11-24", "start"),
        (None, "+1d", "end"),
        (5, None, "start"),
        (None, 5, "end"),
        ("-1d", NAIVE, "end"),
    ],
)
def test_bad_ranges_name_the_argument(start: object, end: object, name: str) -> None:
    """A start after its end, and a bound that is no time, raise an error naming which of the two it was."""
    with pytest.raises(InvalidTimeError) as caught:
        resolve(start, end, now_us=NOW)
    assert caught.value.name == name


@pytest.mark.parametrize("us", [0, -1, NOW, NOW + 1, to_us(datetime(1900, 1, 1, tzinfo=UTC)), -US_PER_DAY])
def test_partitions_contain_their_instants(us: int) -> None:
    """A partition starts at or before its instants, in UTC, and is named by its start."""
    moment = from_us(us)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    for width, start, name in (
        ("1h", hour, hour.strftime("%Y-%m-%dT%H")),
        ("1d", hour.replace(hour=0), hour.strftime("%Y-%m-%d")),
        ("1mo", hour.replace(hour=0, day=1), hour.strftime("%Y-%m")),
    ):
        assert from_us(partition_start(us, width)) == start  # type: ignore[arg-type]
        assert partition_name(us, width) == name  # type: ignore[arg-type]


@given(st.integers(-(10**15), 7 * 10**15), st.sampled_from(ZONES))
def test_wall_clocks_are_read_back(us: int, tz: str) -> None:
    """What the clock shows leads back to the instant, or to an earlier one that it showed the same at."""
    zone = ZoneInfo(tz)
    back = instant_of_local(local_us(us, zone), zone)
    assert back == us or (back < us and local_us(back, zone) == local_us(us, zone))
