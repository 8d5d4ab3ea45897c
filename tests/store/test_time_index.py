"""Where quarters of an hour begin in a segment, against counting by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.api import Trail
from auditkit.store.time_index import QUARTER_US, pack_time_index, positions_of

INSTANTS = st.lists(st.integers(-3 * QUARTER_US, 300 * QUARTER_US), min_size=1, max_size=50)


def filled(trail: Trail, instants: list[datetime]) -> Trail:
    """Append an event at each instant, every other one by ann, and flush."""
    actors = ["ann" if place % 2 else "bob" for place in range(len(instants))]
    trail.extend(pl.DataFrame({"action": "a", "ts": instants, "actor": actors})).wait()
    trail.flush()
    return trail


@given(instants=INSTANTS)
def test_the_index_takes_six_bytes_for_each_quarter_with_events(instants: list[int]) -> None:
    """As many marks are kept as there are different quarters, before 1970 too."""
    packed = pack_time_index(np.sort(np.array(instants)))
    assert len(packed) == 6 * len({instant // QUARTER_US for instant in instants})


def test_positions_are_those_of_the_events(trail: Trail) -> None:
    """For each border of quarters, before, between and after the events, those before it are counted."""
    start = datetime(1969, 12, 31, 7, 15, tzinfo=UTC)
    minutes = [0, 14, 15, 16, 44, 45, 45, 200, 201, 815, 990]
    row, *others = (
        filled(trail, [start + timedelta(minutes=m) for m in minutes]).view.snapshot().catalog.segments
    )
    assert not others
    first_us = int(start.timestamp()) * 1_000_000
    borders = [first_us + quarter * QUARTER_US for quarter in range(-3, 70)]
    expected = [sum(first_us + m * 60_000_000 < border for m in minutes) for border in borders]
    assert positions_of(row, np.array(borders)).tolist() == expected


def test_counting_by_time_alone_opens_no_segment(trail: Trail) -> None:
    """Events per hour are counted by what the catalog says; with a key, or filters, files are read."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    filled(trail, [start + timedelta(minutes=7 * n) for n in range(500)])
    opened = trail.view.handle.reader.files.recent
    opened.clear()
    counted = trail.group_by([], every="1h", aggs="count")
    assert counted["count"].sum() == 500
    assert counted.height == 7 * 500 // 60 + 1
    assert not opened
    assert trail.group_by("actor", every="1h", aggs="count")["count"].sum() == 500
    assert opened


@pytest.mark.parametrize(
    ("tz", "year"), [("Asia/Kathmandu", 2026), ("Africa/Monrovia", 1960), ("Australia/Lord_Howe", 2026)]
)
@pytest.mark.parametrize("every", ["1m", "15m", "1h", "1d", "1mo"])
def test_buckets_on_and_off_the_borders_of_quarters_are_right(
    trail: Trail, tz: str, year: int, every: str
) -> None:
    """Zones that are 45 minutes, or 44 minutes and 30 seconds, from UTC get the counts that the times give."""
    start = datetime(year, 4, 3, tzinfo=UTC)
    instants = [start + timedelta(minutes=11 * n, seconds=17 * n) for n in range(900)]
    filled(trail, instants)
    found = trail.group_by("actor", every=every, tz=tz, aggs="count")
    begins = found["ts"].unique().sort()
    frame = pl.DataFrame({"ts": instants, "actor": ["ann" if n % 2 else "bob" for n in range(900)]})
    expected = (
        frame.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(tz))
        .sort("ts")
        .join_asof(begins.to_frame().with_columns(bucket="ts"), on="ts")
        .group_by("bucket", "actor")
        .len("count")
        .sort("bucket", "actor")
    )
    assert found.rows() == expected.rows()
