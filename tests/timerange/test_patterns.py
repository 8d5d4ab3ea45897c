"""Patterns of times: which need a guess and are refused, and texts read to the letter."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.errors import InvalidTimeError
from auditkit.timerange import TimeReader, from_us, to_us


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("%b %d %H:%M:%S", "names no year"),
        ("%H:%M:%S", "names no year"),
        ("%m/%d/%Y %H:%M:%S %p", "%p and %I need each other"),
        ("%m/%d/%Y %I:%M:%S", "%p and %I need each other"),
        ("%Y-%m-%dT%H:%M:%S %Z", "names of zones are not read"),
        ("%Y %H:%M", "names no month and day"),
        ("%Y-%m", "names no month and day"),
        ("%Y-%m-%d %M:%S", "%M needs %H"),
        ("%Y-%m-%d %H:%S", "%S needs %M"),
        ("%Y-%m-%d %H:%M.%f", "%f needs %S"),
        ("%Y-%m-%d %Y", "%Y stands twice"),
        ("%Y %y-%m-%d", "the year, the month or the hour twice"),
        ("%Y-%m-%d %b", "the year, the month or the hour twice"),
        ("%c", "%c is not read"),
        ("%Y-%m-%-d", "%- is not read"),
        ("%s", "%s is not read"),
        ("%Y-%m-%d %", "% is not read"),
    ],
)
def test_patterns_that_leave_something_open_are_refused(pattern: str, reason: str) -> None:
    """What a pattern does not name is not filled in, and what it names is not dropped."""
    with pytest.raises(InvalidTimeError, match="ts format: ") as refused:
        TimeReader(form=pattern)
    assert reason in refused.value.reason


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("%m/%d/%Y %I:%M:%S %p", "01/12/2024 01:30:15 PM", "2024-01-12T13:30:15"),
        ("%m/%d/%Y %I:%M:%S %p", "1/2/2024 12:30:15 am", "2024-01-02T00:30:15"),
        ("%m/%d/%y %I:%M %p", "01/12/24 12:00 PM", "2024-01-12T12:00:00"),
        ("%d/%b/%Y:%H:%M:%S %z", "17/May/2015:10:05:03 +0200", "2015-05-17T08:05:03"),
        ("%Y%m%d%H%M%S%z", "20240112013015Z", "2024-01-12T01:30:15"),
        ("%Y%m%d%H%M%S%f%z", "20240112013015123Z", "2024-01-12T01:30:15.123000"),
        ("%Y-%m-%d %H:%M:%S.%f", "2024-01-12 01:30:15.123456789", "2024-01-12T01:30:15.123456"),
        ("%Y %b %d %H:%M:%S", "2016 Feb  9 10:00:00", "2016-02-09T10:00:00"),
        ("%a %b %d %H:%M:%S %Y", "Fri Jan 12 10:00:00 2024", "2024-01-12T10:00:00"),
        ("%A, %d %B %Y %H:%M", "friday, 12 january 2024 7:05", "2024-01-12T07:05:00"),
        ("%Y-%j", "2024-366", "2024-12-31T00:00:00"),
        ("%d.%m.%Y", "31.12.2025", "2025-12-31T00:00:00"),
        ("%d/%m/%Y %Hh%M", "12/01/2024 01h30", "2024-01-12T01:30:00"),
        ("[%Y-%m-%d] 100%% %H:%M", "[2024-01-12] 100% 01:30", "2024-01-12T01:30:00"),
    ],
)
def test_texts_of_a_pattern(pattern: str, text: str, expected: str) -> None:
    """Names are case-blind, a space stands for several, and a number alone may be one digit short."""
    assert from_us(TimeReader(tz="UTC", form=pattern).read("ts", text)).isoformat() == expected + "+00:00"


@pytest.mark.parametrize(
    ("pattern", "text", "reason"),
    [
        ("%Y%m%d%H%M%S", "2024011213015", "does not match"),  # strptime: 13:01:05
        ("%Y%m%d%H%M%S%f", "20240109990000", "does not match"),
        ("%Y%m%d%H%M%S%f", "202401099900001", "hour must be in 0..23"),  # strptime: 09:09:00
        ("%a %b %d %H:%M:%S %Y", "Tue Jan 12 10:00:00 2024", "2024-01-12 is a Friday"),
        ("%Y %b %d %H:%M:%S", "2017 Feb 29 10:00:00", "day is out of range"),
        ("%Y-%j", "2023-366", "day is out of range for year"),
        ("%Y-%j", "2023-000", "day is out of range for year"),
        ("%m/%d/%Y %I:%M %p", "01/12/2024 13:30 PM", "hour must be in 1..12"),
        ("%Y-%m-%d", "2024-01-12 ", None),
        ("%Y-%m-%d", "\u0662024-01-12", "does not match"),
        ("%Y-%m-%d %H:%M:%S", "2024-01-12 01:30:60", "second must be in 0..59"),
        ("%Y-%m-%d", 20240112, "is a number without a unit"),
    ],
)
def test_texts_that_a_pattern_does_not_read(pattern: str, text: object, reason: str | None) -> None:
    """Digits that are missing or impossible are refused, where `strptime` would find another time in them."""
    reader = TimeReader(tz="UTC", form=pattern)
    if reason is None:
        assert reader.read("ts", text) == reader.read("ts", str(text).strip())
        return
    with pytest.raises(InvalidTimeError, match=reason):
        reader.read("ts", text)


@given(
    st.datetimes(
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001 -- given one below
        max_value=datetime(2199, 1, 1),  # noqa: DTZ001
        timezones=st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    ),
    st.sampled_from(
        [
            "%Y%m%d%H%M%S%f%z",
            "%d/%b/%Y:%H:%M:%S.%f %z",
            "%A %B %d %I:%M:%S.%f %p %Y %z",
            "%Y %j %H:%M:%S,%f%z",
        ]
    ),
)
def test_what_a_pattern_writes_it_reads(moment: datetime, pattern: str) -> None:
    """`strftime` and the reader are inverse to each other."""
    assert TimeReader(form=pattern).read("ts", moment.strftime(pattern)) == to_us(moment)
