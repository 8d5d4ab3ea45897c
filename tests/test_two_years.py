"""Two years under rules and tiers, maintained all along: what is kept, what tiers say of the rest, and what it costs.

Some forty thousand events, maintained every two weeks; `AUDITKIT_YEARS=2000000` takes two million, maintained nightly.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import auditkit as ak
from auditkit.api import Trail
from auditkit.disk.durable import PosixDisk
from auditkit.opening import create
from auditkit.timerange import Width, to_us
from data.simulate_years import BEGIN, days
from tests.fakes import ManualClock

COUNT = int(os.environ.get("AUDITKIT_YEARS", "40000"))
EACH = 1 if COUNT > 1_000_000 else 14
PARTITION: Width = "1d" if EACH == 1 else "1mo"  # of few events a day would be a file of its own
RULES = {"auth.*": "7y", "*": "90d"}

pytestmark = pytest.mark.timeout(3600)


class CountingDisk(PosixDisk):
    """A disk that counts the bytes written below segments and rollups."""

    def __init__(self) -> None:
        self.written = {"segments": 0, "rollups": 0}
        self._folders: dict[int, str] = {}

    def open(self, path: Path, *, write: bool = False, create_mode: int | None = None) -> int:
        """Open, and remember in which folder."""
        fd = super().open(path, write=write, create_mode=create_mode)
        self._folders[fd] = next((name for name in self.written if name in path.parts), "")
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Count and write."""
        if folder := self._folders.get(fd):
            self.written[folder] += len(data)
        super().write(fd, data, offset)


@dataclass(frozen=True)
class TwoYears:
    """The trail after two years, all its events, and what was written on the way."""

    trail: Trail
    events: pl.DataFrame
    disk: CountingDisk
    flushed_bytes: int


@pytest.fixture(scope="module")
def two_years(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoYears]:
    """Live through the two years."""
    clock, disk = ManualClock(BEGIN.isoformat()), CountingDisk()
    root = tmp_path_factory.mktemp("years") / "audit"
    frames, flushed = [], 0
    with create(root, retention=RULES, partition=PARTITION, clock=clock, disk=disk, maintain=False) as trail:
        trail.rollup("1h", by=["action", "outcome"], keep="1y")
        trail.rollup("1d", by=["action", "outcome"], keep="10y")
        for end, frame in days(COUNT, each=EACH):
            clock.us = to_us(end)
            trail.extend(frame).wait()
            before = disk.written["segments"]
            trail.flush()
            flushed += disk.written["segments"] - before
            trail.maintain()
            frames.append(frame)
        trail.prune()
        yield TwoYears(trail, pl.concat(frames), disk, flushed)


def kept(events: pl.DataFrame) -> list[tuple[datetime, str, str | None, str]]:
    """Return the events that the rules keep, by plain Python."""
    horizon = max(events["ts"])
    cutoffs = {"auth": horizon.replace(year=horizon.year - 7), "other": horizon - timedelta(days=90)}
    rows = events.select("ts", "action", "outcome", "actor").rows()
    return [row for row in rows if row[0] >= cutoffs["auth" if row[1].startswith("auth.") else "other"]]


def test_the_events_that_are_left_are_those_that_the_rules_keep(two_years: TwoYears) -> None:
    """A range over everything is exactly the kept set, and so is what lies on disk."""
    found = two_years.trail.range(columns=["ts", "action", "outcome", "actor"])
    assert found.rows() == kept(two_years.events)
    segments = (two_years.trail.path / "segments").rglob("*.arrow")
    rows = [pl.read_ipc(path).select(pl.col("source").cast(pl.String)) for path in segments]
    assert pl.concat(rows).filter(pl.col("source").ne_missing("auditkit")).height == found.height


@pytest.mark.parametrize("every", ["1d", "1w", "1mo"])
@pytest.mark.parametrize("by", [None, "action", ["action", "outcome"]])
def test_tiers_say_of_two_years_what_the_events_said(
    two_years: TwoYears, every: str, by: str | list[str] | None
) -> None:
    """Every day, week and month is exactly as it was before anything was pruned."""
    found = two_years.trail.downsample(every, by=by)
    assert_frame_equal(found.drop("tier"), ak.query.downsample(two_years.events, every, by=by))
    assert set(found["tier"]) == {"1d"}


def test_hours_are_known_as_long_as_their_tier_keeps_them(two_years: TwoYears) -> None:
    """By the hour the last year is whole; of the one before, what the rules keep is left."""
    found = two_years.trail.downsample("1h", by=["action", "outcome"])
    served = found.filter(pl.col("tier") == "1h")
    horizon = max(two_years.events["ts"])
    first = horizon.replace(year=horizon.year - 1, minute=0, second=0, microsecond=0)
    whole = ak.query.downsample(two_years.events, "1h", by=["action", "outcome"], start=first)
    assert_frame_equal(served.drop("tier"), whole)
    rest = found.filter(pl.col("tier") == "raw")
    assert max(rest["ts"].to_list()) < first
    auth = two_years.events.filter(pl.col("action").str.starts_with("auth."))
    assert_frame_equal(
        rest.drop("tier"), ak.query.downsample(auth, "1h", by=["action", "outcome"], end=first)
    )


def test_totals_of_two_years(two_years: TwoYears) -> None:
    """One question over everything, by key and with conditions, needs no event that is gone."""
    where = {"outcome": ["failure", None]}
    found = two_years.trail.group_by("action", where=where)
    assert_frame_equal(found.drop("tier"), ak.query.group_by(two_years.events, "action", where=where))


def test_what_two_years_cost(two_years: TwoYears) -> None:
    """Bytes fall with the events, and less than three times what came was written anew."""
    stats = two_years.trail.stats()
    share = len(kept(two_years.events)) / two_years.events.height
    assert (
        stats.segments.bytes < 3 * share * two_years.flushed_bytes
    )  # files of few events a day take more for each
    # Of few events, the metadata of a store is more than what it says of them.
    written = [size for name, size in two_years.disk.written.items() if name == "segments" or EACH == 1]
    rewritten = sum(written) - two_years.flushed_bytes
    assert rewritten < 3 * two_years.flushed_bytes, f"{rewritten:,} of {two_years.flushed_bytes:,}"
