"""Scans: planned when collected, pruned by what is asked of them by then, the same events however late."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import CorruptionError, PrunedError
from auditkit.store import segment
from auditkit.timerange import from_us
from tests.fakes import ManualClock

START = datetime(2026, 11, 20, tzinfo=UTC)
TS, ACTOR = pl.col("ts"), pl.col("actor")


@pytest.fixture
def days(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> Trail:
    """Return a trail with four days of six events each, in batches of two; the last six are queued."""
    monkeypatch.setattr(segment, "BATCH_ROWS", 2)
    rows = [
        {
            "action": "a",
            "actor": f"u{n % 3}",
            "ts": START + timedelta(days=n // 6, hours=n % 6),
            "id": f"id {n}",
        }
        for n in range(24)
    ]
    trail.extend(rows[:18]).wait()
    trail.flush()
    trail.extend(rows[18:]).wait()
    return trail


def damage(trail: Trail, day: str, batch: int) -> Trail:
    """Damage one batch of a day's segment and return a reader that has checked nothing yet."""
    (row,) = [row for row in trail.view.snapshot().catalog.segments if row.partition == day]
    path = trail.path / "segments" / row.path
    data = bytearray(path.read_bytes())
    data[row.parts[batch].start + 30] ^= 1
    path.write_bytes(data)
    return ak.open(trail.path)


def test_a_scan_shows_what_was_committed_when_it_was_made(days: Trail) -> None:
    """Later events, flushes and another collection change nothing of it."""
    lazy = days.scan()
    days.append(action="later").wait()
    assert lazy.select(pl.len()).collect().item() == 24
    days.flush()
    assert sorted(lazy.collect()["seq"]) == list(range(24))
    assert days.scan().select(pl.len()).collect().item() == 25


def test_a_scan_survives_that_its_files_go(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """After a prune it shows what is left, or says that events it would show were pruned."""
    trail = make_trail(retention="10d")
    trail.extend([{"action": "old", "ts": START}, {"action": "new", "ts": START + timedelta(days=3)}]).wait()
    trail.flush()
    lazy, recent = trail.scan(), trail.scan("2026-11-22")
    clock.advance(days=8)
    trail.append(action="now").wait()
    trail.prune(now=from_us(clock.us))
    assert trail.range()["action"].to_list() == ["new", "now"]
    with pytest.raises(PrunedError, match="pruned after seq 2"):
        lazy.collect()
    assert recent.collect()["action"].to_list() == ["new"]


def test_later_filters_choose_what_is_read(days: Trail) -> None:
    """Damage where no event can be wanted is not come across, by bounds of ts and by single values."""
    reader = damage(days, "2026-11-21", 1)
    morning = datetime(2026, 11, 21, 2, tzinfo=UTC)
    assert reader.scan().filter(morning > TS).select(pl.len()).collect().item() == 8
    assert reader.scan().filter(morning + timedelta(hours=1) < TS).collect().height == 14
    assert reader.scan().filter(pl.col("id") == "id 7").collect()["seq"].to_list() == [7]
    assert reader.scan().filter(pl.col("id").is_in(["id 7", "id 17"])).collect().height == 2
    assert reader.sql("SELECT count(*) FROM events WHERE ts < '2026-11-21T02:00:00Z'").item() == 8
    assert reader.sql("SELECT seq FROM events WHERE id = 'id 5'").item() == 5
    for needed in (
        reader.scan(),
        reader.scan().filter(morning <= TS),
        reader.scan().filter(pl.col("id") == "id 8"),
    ):
        with pytest.raises(CorruptionError, match="checksum differs"):
            needed.collect()


def test_a_limit_before_a_filter_comes_first(days: Trail) -> None:
    """`head(n).filter(p)` is the first rows, and of these those that match: a filter must not choose before."""
    first = days.scan().head(4).collect()
    assert first.height == 4
    late = first["ts"].max()
    assert days.scan().head(4).filter(late < TS).collect().height == 0
    assert days.scan().head(4).filter(late <= TS).collect()["seq"].to_list() == [first["seq"][-1]]
    assert days.scan().filter(late < TS).head(4).collect().height == 4
    assert days.scan().head(0).collect().height == 0


def test_scans_go_with_any_engine_and_expression(days: Trail) -> None:
    """Columns, joins, groups and windows over scans agree between engines."""
    for engine in ("in-memory", "streaming"):
        lazy = days.scan()
        grouped = lazy.group_by("actor").agg(pl.len(), TS.max()).sort("actor").collect(engine=engine)
        assert grouped["len"].to_list() == [8, 8, 8]
        both = lazy.join(days.scan(), on="seq").select(pl.len()).collect(engine=engine)
        assert both.item() == 24
        assert lazy.select(TS.min()).collect(engine=engine).item() == START
    assert days.range(where=TS.max() == TS)["seq"].to_list() == [23]
