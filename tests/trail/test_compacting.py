"""Compaction: many small segments become few, no event changes, and no reader is disturbed."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from auditkit.api import Trail
from auditkit.keep import compaction
from auditkit.keep.compaction import plan_compaction
from auditkit.write import extend
from tests.fakes import ManualClock
from tests.oracle import read_trail

NOW = datetime.fromisoformat("2026-11-24T08:00:00+00:00")


def files(trail: Trail) -> list[Path]:
    """Return the segment files on disk, live or not."""
    return sorted((trail.path / "segments").rglob("*.*"))


def scattered(trail: Trail, batches: int, *, days: int = 30, rows: int = 120) -> None:
    """Import events out of order, so that every batch touches every day."""
    for batch in range(batches):
        stamps = [NOW - timedelta(hours=24 * days * n / rows, minutes=10, seconds=batch) for n in range(rows)]
        trail.extend(pl.DataFrame({"action": [f"a{n % 3}" for n in range(rows)], "ts": stamps}))


@pytest.fixture(autouse=True)
def _small_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extend, "BULK_ROWS", 50)


@pytest.mark.parametrize(("width", "files_left"), [("1d", 31), ("1mo", 2), ("1h", 24)])
def test_imports_out_of_order_end_as_one_file_per_partition(
    make_trail: Callable[..., Trail], width: str, files_left: int
) -> None:
    """Batches that touch every partition at a time end, after maintenance, as one sorted file for each."""
    trail = make_trail(partition=width)
    scattered(trail, 10, days=1 if width == "1h" else 30)
    before = trail.range()
    counted = trail.group_by("action", every="1h")
    assert trail.stats().segments.mergeable == trail.stats().segments.count > files_left
    done = trail.maintain().compact
    assert done is not None
    assert done.segments == trail.stats().segments.count == files_left
    assert (done.replaced, done.events) == (10 * files_left, before.height)
    assert trail.range().equals(before)
    assert trail.group_by("action", every="1h").equals(counted)
    assert len(read_trail(trail.path).events) == before.height
    assert trail.stats().segments.mergeable == 0
    assert trail.maintain().compact is None


def test_seven_small_files_stay_until_somebody_asks(trail: Trail) -> None:
    """Below eight small segments in a partition nothing is merged unasked; by hand two are enough."""
    for n in range(7):
        trail.append(action=f"a{n}").wait()
        trail.flush()
    assert trail.maintain().compact is None
    assert trail.stats().segments.count == 7
    done = trail.maintain(compact=True).compact
    assert str(done).startswith("merged 7 segments of 1 partition into 1 (7 events, ")
    assert trail.maintain(compact=True).compact is None
    assert trail.range()["action"].to_list() == [f"a{n}" for n in range(7)]


def test_replaced_files_stay_for_fifteen_minutes(trail: Trail, clock: ManualClock) -> None:
    """A file that was merged stays on disk for readers that hold it, and goes with the first maintenance after that."""
    scattered(trail, 2, days=1)
    reader, old = trail.scan(), files(trail)
    trail.maintain(compact=True)
    named = {row.path for row in trail.view.snapshot().catalog.segments}
    live = [path for path in files(trail) if f"{path.parent.name}/{path.name}" in named]
    assert sorted([*old, *live]) == files(trail)
    assert trail.stats().segments.replaced == len(old)
    clock.advance(minutes=14, seconds=59)
    trail.maintain()
    assert set(old) <= set(files(trail))
    assert reader.collect().height == 240
    clock.advance(seconds=1)
    trail.maintain()
    assert files(trail) == live
    assert trail.stats().segments.replaced == 0
    assert read_trail(trail.path).catalog["replaced"] == []
    assert trail.range().height == 240


def test_a_clock_that_is_set_back_does_not_keep_files(trail: Trail, clock: ManualClock) -> None:
    """Replaced files go also where the clock says that they were replaced long after now."""
    scattered(trail, 2, days=1)
    trail.maintain(compact=True)
    clock.advance(days=-300)
    trail.maintain()
    assert len(files(trail)) == trail.stats().segments.count


def test_own_events_and_late_ones_keep_their_place(trail: Trail) -> None:
    """The trail's own events, equal times and late events are merged by (ts, seq), each at its seq."""
    for hours in (3, 1, 2, 1):
        trail.append(action="a", ts=NOW - timedelta(hours=hours)).wait()
        trail.set_retention("30d")
        trail.flush()
    before = trail.range(own=True)
    trail.maintain(compact=True)
    assert trail.stats().segments.count == 1
    assert trail.range(own=True).equals(before)
    assert trail.range()["seq"].to_list() == [0, 4, 2, 6]
    assert trail.at(3).range()["seq"].to_list() == [0, 2]


def test_merges_keep_to_their_bounds(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No merge holds more than the bound of rows or bytes, and large segments are left alone."""
    monkeypatch.setattr(compaction, "SMALL_ROWS", 100)
    monkeypatch.setattr(compaction, "MERGED_ROWS", 250)
    trail = make_trail(maintain=False)
    for rows in (*[60] * 9, 100, 30):
        stamps = [NOW - timedelta(hours=1, seconds=n) for n in range(rows)]
        trail.extend(pl.DataFrame({"action": "a", "ts": stamps}))
        trail.flush()
    small = trail.view.snapshot().catalog.segments
    assert [merge.rows for merge in plan_compaction(small)] == [240, 240, 90]
    monkeypatch.setattr(compaction, "MERGED_BYTES", 3 * max(row.size_bytes for row in small))
    assert max(len(merge.segments) for merge in plan_compaction(small)) == 3
    trail.maintain()
    assert sorted(row.rows for row in trail.view.snapshot().catalog.segments) == [30, 100, 180, 180, 180]


def test_a_follower_goes_on_through_a_compaction(trail: Trail) -> None:
    """A consumer in the middle of the events gets each of them once, in order, before and after they are merged."""
    scattered(trail, 3)
    trail.append(action="last").wait()
    follower = trail.follow("reader", timeout_s=0)
    seqs = []
    for delivery in follower:
        with delivery:
            seqs.append(delivery.seq)
        if len(seqs) == 100:
            trail.maintain(compact=True)
    assert seqs == list(range(361))
