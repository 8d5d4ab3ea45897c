"""Pruning by hand is exact: every expired event leaves the disk, nothing else does, and all of it stays counted."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import PrunedError
from auditkit.store.catalog import change_catalog
from auditkit.store.records import CatalogChange, ReplacedRow
from auditkit.timerange import from_us
from auditkit.write import extend
from tests.aging import trust
from tests.fakes import ManualClock
from tests.oracle import read_trail

NOW = datetime.fromisoformat("2026-11-24T08:00:00+00:00")
CUTOFF = NOW - timedelta(days=30)


def stored(trail: Trail) -> pl.DataFrame:
    """Return every event of every file in the segments folder, and assert that the catalog names them all."""
    files = sorted((trail.path / "segments").rglob("*"))
    frame = pl.concat([pl.read_ipc(file) for file in files if file.is_file()]).select(
        "seq", "ts", pl.col("action", "source").cast(pl.String)
    )
    assert sorted(read_trail(trail.path).events) == frame["seq"].sort().to_list()
    return frame.sort("seq")


def expired(frame: pl.DataFrame, cutoff: datetime = CUTOFF) -> pl.DataFrame:
    """Return the producers' events before a moment."""
    return frame.filter(pl.col("ts") < cutoff, pl.col("source").ne_missing("auditkit"))


@pytest.fixture
def crossed(make_trail: Callable[..., Trail]) -> Trail:
    """Return a trail whose cutoff runs, to the microsecond, through a segment that holds one of its own events."""
    trail = make_trail(retention="30d", maintain=False)
    moments = [CUTOFF + timedelta(microseconds=us) for us in (-1, 0, 1, -3_600_000_000, -86_400_000_000)]
    trail.extend([{"action": f"a{n}", "ts": ts} for n, ts in enumerate([*moments, NOW])]).wait()
    trust(trail, NOW)
    trail.flush()
    return trail


@pytest.mark.parametrize("width", ["1h", "1d", "1mo"])
def test_no_expired_event_stays_on_disk(make_trail: Callable[..., Trail], width: str) -> None:
    """After a prune no file holds an expired event, and everything that is not expired is there, at its seq."""
    trail = make_trail(retention="2d", partition=width, maintain=False)
    stamps = [NOW - timedelta(minutes=10 + 7 * n) for n in range(600)]
    for part in range(3):
        trail.extend([{"action": "a", "ts": ts} for ts in stamps[part::3]]).wait()
        trail.flush()
    before = stored(trail)
    cutoff = stamps[0] - timedelta(days=2)
    trust(trail, stamps[0])
    gone = expired(before, cutoff)
    plan = trail.plan_prune()
    assert (plan.rows, len(plan.boundary) > 0) == (gone.height, True)
    summary = trail.prune(plan)
    after = stored(trail)
    assert expired(after, cutoff).height == 0
    assert after.filter(pl.col("source").is_null()).equals(before.join(gone, on="seq", how="anti"))
    assert (summary.events, summary.rewritten) == (gone.height, len(plan.boundary))
    assert trail.plan_prune().rows == 0


def test_the_bytes_are_free(crossed: Trail) -> None:
    """What a prune says it freed is what the segments folder lost, but for the record of the prune."""
    files = {path: path.stat().st_size for path in (crossed.path / "segments").rglob("*.arrow")}
    summary = crossed.prune()
    left = {path: path.stat().st_size for path in (crossed.path / "segments").rglob("*.arrow")}
    (record,) = [row for row in read_trail(crossed.path).catalog["segments"] if row["first_seq"] == 7]
    assert summary.bytes == sum(files.values()) - sum(left.values()) + record["size_bytes"]
    assert (summary.events, summary.segments, summary.rewritten) == (3, 1, 1)
    assert str(summary).startswith("pruned 3 events in 1 segment, 1 rewritten (")


def test_the_plan_counts_what_is_expired_in_boundary_segments(crossed: Trail) -> None:
    """A plan shows whole segments, and of those that the cutoff runs through how many events go."""
    plan = crossed.plan_prune()
    assert [(s.expired, s.rows) for s in plan.segments] == [(1, 1)]
    assert [(s.expired, s.rows) for s in plan.boundary] == [(2, 4)]
    text = str(plan)
    assert "would remove 1 event in 1 segment" in text
    assert "and 2 events of 1 segment to be written anew" in text
    assert "2 of 4 events" in text
    assert crossed.at(7).plan_prune() == plan


def test_the_trails_own_events_stay_in_a_rewritten_segment(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """An event of the trail's own stays, however old, where the events around it go."""
    trail = make_trail(retention="1h", maintain=False)
    trail.append(action="old").wait()
    trail.set_retention("2h", confirm=True)
    clock.advance(hours=3)
    trail.append(action="new").wait()
    trail.flush()
    assert trail.prune(now=from_us(clock.us)).rewritten == 1
    actions = ["retention.set", "new", "retention.now", "retention.pruned"]
    assert stored(trail)["action"].to_list() == actions
    assert trail.range(own=True)["seq"].to_list() == [1, 2, 3, 4]


def test_a_tombstone_counts_exactly_what_went(crossed: Trail) -> None:
    """The tombstone of a rewritten segment tells the seqs, times and number of the events that went."""
    crossed.prune()
    whole, part = sorted(read_trail(crossed.path).catalog["tombstones"], key=lambda row: row["min_ts_us"])
    assert (whole["rows"], whole["first_seq"], whole["last_seq"]) == (1, 4, 4)
    assert (part["rows"], part["first_seq"], part["last_seq"]) == (2, 0, 3)
    assert from_us(part["max_ts_us"]) == CUTOFF - timedelta(microseconds=1)
    assert from_us(part["min_ts_us"]) == CUTOFF - timedelta(hours=1)
    assert from_us(part["cutoff_us"]) == CUTOFF


def test_views_of_the_past_refuse_only_what_went(crossed: Trail, clock: ManualClock) -> None:
    """A view from before a prune answers for the rest of a rewritten segment, and refuses where events went."""
    answer = crossed.at(7).range()
    clock.advance(hours=12)
    crossed.append(action="later").wait()
    crossed.prune()
    with pytest.raises(PrunedError, match="4 events"):
        crossed.at(7).range()
    edge = CUTOFF + timedelta(microseconds=2)
    assert crossed.at(7).range(edge).equals(answer.filter(pl.col("ts") >= edge))
    assert crossed.at(7).range(end=CUTOFF).height == 0  # what was expired then is not shown, pruned or not
    assert crossed.at(7, allow_pruned=True).range()["action"].to_list() == ["a5"]
    assert crossed.at(9).range()["action"].to_list() == ["a5", "later"]


def test_an_old_plan_cuts_where_it_said(crossed: Trail, clock: ManualClock) -> None:
    """A plan from before removes from a boundary segment only what was expired when it was made."""
    plan = crossed.plan_prune()
    clock.advance(hours=12)
    trust(crossed, from_us(clock.us))
    assert crossed.plan_prune().rows == 5
    assert crossed.prune(plan).events == plan.rows == 3
    assert crossed.plan_prune().rows == 2


def test_what_prunes_by_itself_leaves_boundary_segments(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """Maintenance removes whole segments only; what is expired in others stays hidden until they go whole."""
    trail = make_trail(retention="2d", maintain=False)
    for _ in range(4):
        for _ in range(2):
            trail.append(action="a").wait()
            clock.advance(hours=12)
        trail.maintain()
    assert trail.stats().retention.pruned == 2
    assert expired(stored(trail), from_us(clock.us) - timedelta(days=2, hours=12)).height == 1
    assert trail.prune().events == 1


@pytest.mark.parametrize("bulk", [True, False])
def test_the_queue_keeps_no_expired_event(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch, bulk: bool
) -> None:
    """Bytes of an expired event that waited in a queue file leave the disk with it, flushed or not."""
    monkeypatch.setattr(extend, "BULK_ROWS", 4)
    trail = make_trail(retention="30d", maintain=False)
    trail.append(action="expired-in-the-queue", ts=NOW - timedelta(days=40)).wait()
    if bulk:
        trail.extend([{"action": "bulk"}] * 4).wait()
        assert trail.stats().queue.depth == 0
    trail.append(action="new").wait()
    assert trail.prune(now=NOW).events == 1
    assert all(b"expired-in-the-queue" not in p.read_bytes() for p in (trail.path / "queue").iterdir())


def test_replaced_files_go_with_what_is_pruned_from_them(make_trail: Callable[..., Trail]) -> None:
    """A file that compaction has replaced does not keep what a prune removes."""
    trail = make_trail(retention="30d", maintain=False)
    for ts in [*(CUTOFF + timedelta(seconds=n) for n in (-2, -1, 0)), NOW]:
        trail.append(action="a", ts=ts).wait()
        trail.flush()
    trail.maintain(compact=True)
    trust(trail, NOW)
    assert len(list((trail.path / "replaced").iterdir())) == 3
    assert trail.prune().events == 2
    (kept,) = (trail.path / "replaced").iterdir()
    assert expired(pl.read_ipc(kept)).height == 0
    assert expired(stored(trail)).height == 0
    (left,) = read_trail(trail.path).catalog["replaced"]
    assert from_us(left["min_ts_us"]) == CUTOFF


def test_a_segment_named_as_a_replaced_one_stays(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """What a prune leaves may be, name for name, a file that a compaction replaced: neither prune nor time removes it."""
    trail = make_trail(maintain=False)
    trail.set_retention("1h", confirm=True)
    trust(trail, NOW)
    trail.append(action="kept", ts=NOW + timedelta(minutes=110)).wait()
    trail.flush()
    (row,) = trail.view.snapshot().catalog.segments
    trail.append(action="expired", ts=NOW + timedelta(minutes=5)).wait()
    clock.advance(minutes=70)
    replaced = ReplacedRow(path=row.path, min_ts_us=row.min_ts_us, replaced_us=clock.us)
    change_catalog(trail.handle.layout.catalog, CatalogChange(replaced=[replaced]))
    for removed in (1, 0):
        trail.append(action="now").wait()
        assert trail.prune().events == removed
        change_catalog(trail.handle.layout.catalog, CatalogChange(replaced=[replaced]))
    clock.advance(minutes=1)
    trail.maintain()
    assert trail.range(columns=["action"])["action"].to_list() == ["now", "now", "kept"]
    assert row.path in {row.path for row in trail.view.snapshot().catalog.segments}
    assert expired(stored(trail), NOW + timedelta(minutes=10)).height == 0


def test_a_prune_records_itself_in_the_same_transaction(crossed: Trail) -> None:
    """The event of a prune is in a segment as soon as its tombstones count, and says what they say."""
    crossed.prune()
    found = read_trail(crossed.path)
    (event,) = [event for event in found.events.values() if event["action"] == "retention.pruned"]
    attrs: dict[str, Any] = pl.Series([event["attrs"]]).str.json_decode(infer_schema_length=None)[0]
    assert attrs["events"] == found.pruned == 3
    assert found.queued == set()
    assert crossed.stats().queue.depth == 0
    assert ak.open(crossed.path).append(action="next").wait() == crossed.end_seq - 1


def test_pruned_bytes_are_free(make_trail: Callable[..., Trail]) -> None:
    """No reader holds a removed file: the pruning one lets go at once, another from the next question on."""

    def held() -> list[str]:
        links = []
        for link in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # the listing's own
                links.append(str(link.readlink()))
        return [link for link in links if str(trail.path) in link and link.endswith("(deleted)")]

    trail = make_trail(maintain=False)
    trail.extend([{"action": "a", "ts": NOW - timedelta(days=days)} for days in range(9)]).wait()
    trail.flush()
    with ak.open(trail.path) as reader:
        assert trail.range().height == reader.range().height == 9
        trail.set_retention("3d", confirm=True)
        assert trail.prune(now=NOW).segments
        assert len(held()) == len(set(held())) > 0  # the reader's own
        assert reader.range().height == 4
        assert not held()
