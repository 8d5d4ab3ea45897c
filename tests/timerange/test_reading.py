"""The one reading of full instants: what is read, what is refused with what would be read, and hours of no or two instants."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.errors import InvalidTimeError
from auditkit.timerange import OnAmbiguous, TimeReader, from_us, to_us

NAIVE = datetime(2026, 11, 24, 7, 30)  # noqa: DTZ001 -- what needs a zone
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def read(value: object, *, tz: str | None = None, form: str = "iso") -> str:
    """Read one instant as the field `ts` and show it in UTC."""
    return from_us(TimeReader(tz=tz, form=form).read("ts", value)).isoformat()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-12T01:30:15Z", "2024-01-12T01:30:15+00:00"),
        ("2024-01-12t01:30:15z", "2024-01-12T01:30:15+00:00"),
        ("2024-01-12 01:30:15 +0100", "2024-01-12T00:30:15+00:00"),
        ("2024-01-12T01:30-05", "2024-01-12T06:30:00+00:00"),
        ("2024-01-12T01Z", "2024-01-12T01:00:00+00:00"),
        ("2024-01-12T01:30:15,5Z", "2024-01-12T01:30:15.500000+00:00"),
        ("2024-01-12T01:30:15.1234569Z", "2024-01-12T01:30:15.123456+00:00"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999+00:00"),
        ("1937-01-01T00:00:00+00:19:32", "1936-12-31T23:40:28+00:00"),
        (" 2024-01-12T01:30:15Z\t", "2024-01-12T01:30:15+00:00"),
        (datetime(2024, 1, 12, 1, tzinfo=timezone(timedelta(hours=1))), "2024-01-12T00:00:00+00:00"),
    ],
)
def test_full_instants_are_read_without_a_zone_of_the_reader(value: object, expected: str) -> None:
    """ISO 8601 in its extended form with a zone, and aware datetimes, are exact, floored at the microsecond."""
    assert read(value) == expected


@given(st.datetimes(timezones=OFFSETS, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))  # noqa: DTZ001
def test_what_datetimes_write_is_read(moment: datetime) -> None:
    """Whatever an aware datetime writes as ISO text is the instant it is."""
    assert TimeReader().read("ts", moment.isoformat()) == TimeReader().read("ts", moment) == to_us(moment)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("20240112013015Z", "not in the extended form of ISO 8601; 2024-01-12T01:30:15Z would be read"),
        ("20240112013015123Z", "2024-01-12T01:30:15.123Z would be read"),
        ("202401120130Z", "2024-01-12T01:30:00Z would be read"),
        ("20240112T013015+0100", "2024-01-12T01:30:15+0100 would be read"),
        ("20240112013015", "2024-01-12T01:30:15 with a zone would be read"),
        ("2024/01/12 01:30:15", "2024-01-12T01:30:15 with a zone would be read"),
        ("2024-01-12 01:30:15 UTC", "2024-01-12T01:30:15 with Z or an offset such as"),
        ("2024-01-12T01:30:15[Europe/Berlin]", "2024-01-12T01:30:15 with Z or an offset such as"),
        ("2024-01-12", "names no time of day; 2024-01-12T00:00:00 with a zone would be read"),
        (date(2024, 1, 12), "is a day, not an instant"),
        ("2024-01-12 01:30:15", "has no time zone"),
        (NAIVE, "has no time zone"),
        ("2024-01-12T24:00Z", "is not a time: hour must be in"),
        ("2024-01-12T23:59:60Z", "is not a time: second must be in"),
        ("2024-02-30T00:00Z", "is not a time: day is out of range"),
        ("2024-01-12T07:30+24:00", "with Z or an offset such as"),
        ("0000-01-01T00:00Z", "is not a time: year 0"),
        ("9999-12-31T23:59-05:00", "outside the years 1 to 9999"),
        ("1705023015", "without a unit; in s since 1970 it would be 2024-01-12T01:30:15Z"),
        (1705023015123, "without a unit; in ms since 1970 it would be 2024-01-12T01:30:15Z"),
        (Decimal("1705023015.5"), "without a unit; in s since 1970 it would be"),
        (1.5, "is a number without a unit"),
        ("2024-W02-5T01:30Z", "is not ISO 8601; 2026-11-24T07:30:00Z would be read"),
        ("\uff12024-01-12T01:30Z", "is not ISO 8601"),
        ("2024-1-2 1:30", "is not ISO 8601"),
        ("Jan 12", "is not ISO 8601"),
        ("yesterday", "is not ISO 8601"),
        ("", "is not ISO 8601"),
        (True, "is not a time"),
        (pd.NaT, "is not a time"),
        ({"$date": 1}, "is not a time"),
        (b"2024-01-12T01:30Z", "is not a time"),
        pytest.param(10**5000, "is a number without a unit", id="huge"),
    ],
)
def test_what_is_near_is_refused_with_what_would_be_read(value: object, reason: str) -> None:
    """Compact digits, numbers without a unit, names of zones and days are refused, never guessed."""
    with pytest.raises(InvalidTimeError) as refused:
        TimeReader().read("ts", value)
    assert (refused.value.name, refused.value.value) == ("ts", value)
    assert reason in refused.value.reason


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (1705023015, "s", "2024-01-12T01:30:15+00:00"),
        (1705023015.553001, "s", "2024-01-12T01:30:15.553001+00:00"),
        ("1705023015.553001", "s", "2024-01-12T01:30:15.553001+00:00"),
        (Decimal("1705023015.0000019"), "s", "2024-01-12T01:30:15.000001+00:00"),
        ("1705023015123", "ms", "2024-01-12T01:30:15.123000+00:00"),
        (1705023015123456, "us", "2024-01-12T01:30:15.123456+00:00"),
        (1705023015123456999, "ns", "2024-01-12T01:30:15.123456+00:00"),
        (datetime(2024, 1, 12, tzinfo=UTC), "ms", "2024-01-12T00:00:00+00:00"),
    ],
)
def test_numbers_of_a_stated_unit(value: object, form: str, expected: str) -> None:
    """Numbers are exact in the unit that is stated, floored at the microsecond."""
    assert read(value, form=form) == expected


@pytest.mark.parametrize(
    ("value", "form", "reason"),
    [
        (1705023015, "ms", "in the year 1970 as ms since 1970 .*; in s since 1970 it would be 2024-01-12"),
        (1705023015123, "s", "in no year as s since 1970 .*; in ms since 1970 it would be 2024-01-12"),
        (1705023015123456, "ns", "; in us since 1970 it would be 2024-01-12"),
        (0, "s", "in the year 1970"),
        (45303.0625, "s", "in the year 1970"),  # a day number of a spreadsheet
        pytest.param(10**5000, "ms", "in no year", id="huge"),
        (1e300, "s", "in no year"),
        (float("nan"), "s", "in no year"),
        ("1.70502E+12", "ms", "is not a number of ms"),  # what a spreadsheet leaves of a number
        ("1_705_023_015", "s", "is not a number of s"),
        ("\u0661705023015", "s", "is not a number of s"),
        ("1705023015s", "s", "is not a number of s"),
        ("Infinity", "s", "is not a number of s"),
        (True, "s", "is not a number of s"),
        ("", "s", "is not a number of s"),
        ([1], "s", "is not a number of s"),
    ],
)
def test_numbers_in_no_plausible_year_are_refused(value: object, form: str, reason: str) -> None:
    """A number that the unit puts before 1971 or beyond 2200 is refused, with the unit that would fit."""
    with pytest.raises(InvalidTimeError, match=reason):
        TimeReader(form=form).read("ts", value)


@pytest.mark.parametrize(
    ("value", "on_ambiguous", "expected", "counted"),
    [
        ("2024-10-27 02:10:00", "first", "2024-10-27T00:10:00+00:00", (1, 0)),
        ("2024-10-27 02:10:00", "second", "2024-10-27T01:10:00+00:00", (1, 0)),
        ("2024-03-31 02:30:00", "first", "2024-03-31T01:30:00+00:00", (0, 1)),
        ("2024-03-31 02:30:00", "second", "2024-03-31T01:30:00+00:00", (0, 1)),
        ("2024-10-27 03:00:00", "raise", "2024-10-27T02:00:00+00:00", (0, 0)),
        ("2024-10-27 02:10:00+01:00", "raise", "2024-10-27T01:10:00+00:00", (0, 0)),
        (datetime(2024, 10, 27, 2, 10, fold=1), "first", "2024-10-27T00:10:00+00:00", (1, 0)),  # noqa: DTZ001
    ],
)
def test_hours_that_are_shown_twice_or_never(
    value: object, on_ambiguous: OnAmbiguous, expected: str, counted: tuple[int, int]
) -> None:
    """A repeated hour is the pass that is asked for, a skipped one moves forward, and both are counted."""
    reader = TimeReader(tz="Europe/Berlin", on_ambiguous=on_ambiguous)
    assert from_us(reader.read("ts", value)).isoformat() == expected
    assert (reader.repeated, reader.skipped) == counted


@pytest.mark.parametrize(
    ("tz", "value", "reason"),
    [
        ("Europe/Berlin", "2024-10-27 02:10:00", "is shown twice in Europe/Berlin"),
        ("Europe/Berlin", "2024-03-31 02:30:00", "is skipped by the clock in Europe/Berlin"),
        ("Australia/Lord_Howe", "2026-04-05 01:45", "is shown twice"),  # half an hour
        ("Africa/Casablanca", "2026-02-15 02:30", "is shown twice"),  # Ramadan begins, in winter
        ("America/Sao_Paulo", "2018-11-04 00:30", "is skipped"),  # at midnight
        ("Pacific/Apia", "2011-12-30 12:00", "is skipped"),  # a whole day
        ("America/St_Johns", "2006-10-28 23:30", "is shown twice"),  # on the day before
    ],
)
def test_ambiguous_hours_can_be_refused(tz: str, value: str, reason: str) -> None:
    """With `"raise"` neither is read, and nothing is counted."""
    reader = TimeReader(tz=tz, on_ambiguous="raise")
    with pytest.raises(InvalidTimeError, match=reason):
        reader.read("ts", value)
    assert (reader.repeated, reader.skipped) == (0, 0)


def test_readers_that_cannot_be_made() -> None:
    """An unknown zone, form or rule for ambiguous hours is refused before anything is read."""
    with pytest.raises(InvalidTimeError, match="tz: is not the name of a time zone"):
        TimeReader(tz="Mars/Olympus")
    with pytest.raises(InvalidTimeError, match=r"ts format: is unknown \(expected iso, s, ms"):
        TimeReader(form="rfc")
    with pytest.raises(ValueError, match="on_ambiguous: unknown"):
        TimeReader(on_ambiguous="third")  # type: ignore[arg-type]
