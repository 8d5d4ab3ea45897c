"""Compaction: many small segments become few, no event changes, and no reader is disturbed."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.keep import compact, maintain
from auditkit.keep.compact import plan_compaction
from auditkit.store import segment
from auditkit.store.files import open_segment
from auditkit.write import extend
from tests.fakes import ManualClock
from tests.oracle import read_trail

NOW = datetime.fromisoformat("2026-11-24T08:00:00+00:00")


def files(trail: Trail) -> list[Path]:
    """Return the files of segments that count, and whatever else lies beside them."""
    return sorted((trail.path / "segments").rglob("*.*"))


def set_aside(trail: Trail) -> list[str]:
    """Return the names of the files that were replaced and are still there."""
    return sorted(path.name for path in (trail.path / "replaced").iterdir())


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


def test_seven_small_files_stay_until_they_are_asked_for(trail: Trail) -> None:
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
    """A file that was merged lies aside for readers that planned with it, and goes with the first maintenance after that."""
    scattered(trail, 2, days=1)
    old = [path.name for path in files(trail)]
    reader, snapshot = trail.scan(), trail.view.snapshot()
    trail.maintain(compact=True)
    live = [trail.path / "segments" / row.path for row in trail.view.snapshot().catalog.segments]
    assert files(trail) == sorted(live)
    assert set_aside(trail) == sorted(old)
    assert trail.stats().segments.replaced == len(old)
    clock.advance(minutes=14, seconds=59)
    trail.maintain()
    assert set_aside(trail) == sorted(old)
    assert reader.collect().height == 240
    planned = [open_segment(trail.handle.layout, row) for row in snapshot.catalog.segments]
    for _, opened in planned:
        os.close(opened)
    assert {path.parent.name for path, _ in planned} == {"replaced"}
    clock.advance(seconds=1)
    trail.maintain()
    assert files(trail) == sorted(live)
    assert set_aside(trail) == []
    with pytest.raises(FileNotFoundError):
        open_segment(trail.handle.layout, snapshot.catalog.segments[0])
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
    assert set_aside(trail) == []


@pytest.mark.parametrize("stage", ["rename", "catalog"])
def test_what_a_compaction_left_behind_is_set_aside_by_the_next(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Killed before its transaction a merge leaves what is removed, killed after it what is set aside, not removed."""
    trail = make_trail(maintain=False)
    scattered(trail, 2, days=1)
    trail.flush()
    old = files(trail)
    if stage == "rename":
        monkeypatch.setattr("auditkit.keep.compact.set_aside", lambda *_: 1 / 0)
    else:
        monkeypatch.setattr("auditkit.keep.compact.change_catalog", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trail.maintain(compact=True)
    monkeypatch.undo()
    assert len(files(trail)) > len(old)
    trail.append(action="a").wait()
    trail.flush()
    live = [trail.path / "segments" / row.path for row in trail.view.snapshot().catalog.segments]
    assert files(trail) == sorted(live)
    replaced = {path.name for path in old} - {path.name for path in live}
    assert not replaced if stage == "catalog" else set_aside(trail) == sorted(replaced)
    assert len(read_trail(trail.path).events) == 241


def test_own_events_and_late_ones_keep_their_place(trail: Trail) -> None:
    """The trail's own events, equal times and late events are merged by (ts, seq), each at its seq."""
    for hours in (3, 1, 2, 1):
        trail.append(action="a", ts=NOW - timedelta(hours=hours)).wait()
        trail.set_retention("30d", confirm=True)
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
    monkeypatch.setattr(compact, "SMALL_ROWS", 100)
    monkeypatch.setattr(compact, "MERGED_ROWS", 250)
    trail = make_trail(maintain=False)
    for rows in (*[60] * 9, 100, 30):
        stamps = [NOW - timedelta(hours=1, seconds=n) for n in range(rows)]
        trail.extend(pl.DataFrame({"action": "a", "ts": stamps}))
        trail.flush()
    small = trail.view.snapshot().catalog.segments
    assert [merge.rows for merge in plan_compaction(small, "1d", None)] == [240, 240, 90]
    monkeypatch.setattr(compact, "MERGED_BYTES", 3 * max(row.size_bytes for row in small))
    assert max(len(merge.segments) for merge in plan_compaction(small, "1d", None)) == 3
    trail.maintain()
    assert sorted(row.rows for row in trail.view.snapshot().catalog.segments) == [30, 100, 180, 180, 180]


def days_of(trail: Trail) -> dict[str, list[int]]:
    """Return how many events the files of each partition hold, in the order of their times."""
    found: dict[str, list[int]] = {}
    for row in sorted(trail.view.snapshot().catalog.segments, key=lambda row: (row.min_ts_us, row.first_seq)):
        found.setdefault(row.partition, []).append(row.rows)
    return found


def test_a_finished_day_becomes_few_full_files(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the horizon has passed its end, a day of few segments is merged up to the bound; the day that goes on is not."""
    monkeypatch.setattr(compact, "MERGED_ROWS", 300)
    monkeypatch.setattr(compact, "SMALL_ROWS", 128)
    trail = make_trail(maintain=False)
    for day, rows in (
        (22, 131),
        (22, 131),
        (22, 131),
        (22, 250),
        (22, 40),
        (23, 70),
        (23, 40),
        (24, 70),
        (24, 40),
    ):
        start = datetime.fromisoformat(f"2026-11-{day}T01:00:00+00:00")
        at = len(trail.view.snapshot().catalog.segments)
        stamps = [start + timedelta(minutes=at, milliseconds=n) for n in range(rows)]
        trail.extend(pl.DataFrame({"action": "a", "ts": stamps}))
        trail.flush()
    before = trail.range()
    trail.maintain()
    assert days_of(trail) == {"2026-11-22": [262, 171, 250], "2026-11-23": [110], "2026-11-24": [70, 40]}
    assert len(files(trail)) == 3 + 1 + 2
    assert len(set_aside(trail)) == 4 + 2
    assert trail.range().equals(before)
    assert trail.maintain().compact is None


def test_a_late_event_does_not_move_a_finished_day(make_trail: Callable[..., Trail]) -> None:
    """A few late events lie beside a day's file until they are worth a merge, or several files have gathered."""
    trail = make_trail(maintain=False)
    scattered(trail, 1, days=1)
    trail.append(action="now").wait()
    trail.maintain(compact=True)
    day = "2026-11-23"
    (rows,) = days_of(trail)[day]
    for late in range(1, 7):
        trail.append(action="late", ts=f"{day}T12:00:00Z").wait()
        trail.maintain()
        assert sorted(days_of(trail)[day]) == sorted([rows, *([1] * late)])
    trail.append(action="late", ts=f"{day}T12:00:00Z").wait()
    assert trail.maintain().compact is not None
    assert days_of(trail)[day] == [rows + 7]


def test_closing_flushes_at_most(make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch) -> None:
    """A trail that is closed flushes what is due, and leaves merging to the next who maintains it."""
    trail = make_trail()
    for n in range(8):
        trail.append(action=f"a{n}").wait()
        trail.flush()
    trail.append(action="last").wait()
    monkeypatch.setattr(maintain, "FLUSH_AT_EVENTS", 1)
    trail.close()
    with ak.open(trail.path) as again:
        assert again.stats().queue.depth == 0
        assert days_of(again) == {"2026-11-24": [1] * 9}
        assert again.maintain().compact is not None
        assert days_of(again) == {"2026-11-24": [9]}


def test_a_compaction_ends_at_its_next_merge_once_the_trail_is_closed(trail: Trail) -> None:
    """Closing waits for one merge at most."""
    scattered(trail, 2, days=3)
    merges = iter(range(9))
    usual = segment.read_segment

    def read(*arguments: Any) -> pl.DataFrame:
        trail.handle.closing = next(merges) > 0  # at the second segment of the first merge
        return usual(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compact, "read_segment", read)
        assert compact.compact(trail.handle, least=2).segments == 1
    trail.handle.closing = False


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
