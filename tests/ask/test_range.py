"""Asking a trail: snapshots over segments and queue, views, and frames that fit beside others."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import auditkit as ak
from auditkit.api import Trail
from auditkit.ask import grid
from auditkit.ask.population import population
from auditkit.errors import ClosedError, CorruptionError, PrunedError
from auditkit.timerange import from_us
from auditkit.trail import events
from tests.fakes import ManualClock


@pytest.fixture
def half(trail: Trail) -> Trail:
    """Return a trail with ten events, six of them in segments, one per hour from 2026-11-23 20:00 UTC."""
    stamps = [datetime(2026, 11, 23, 20, tzinfo=UTC) + timedelta(hours=hour) for hour in range(10)]
    rows = [
        {"action": "a.x" if n % 2 else "b", "actor": f"u{n % 3}", "ts": ts, "value": n}
        for n, ts in enumerate(stamps)
    ]
    trail.extend(rows[:6]).wait()
    trail.flush()
    trail.extend(rows[6:]).wait()
    return trail


def test_every_question_sees_segments_and_queue(half: Trail) -> None:
    """Each query form counts what is in segments and what is still queued."""
    assert half.range().height == 10
    assert half.scan().select(pl.len()).collect().item() == 10
    assert half.group_by("action")["count"].sum() == 10
    assert half.downsample("1h")["count"].to_list() == [1] * 10
    assert half.sql("SELECT count(*) AS n FROM events").item() == 10
    assert half.tail(3)["seq"].to_list() == [7, 8, 9]


def test_the_last_events_take_only_their_files(trail: Trail) -> None:
    """`tail` opens no segment but those that may hold the last events."""
    for action in ("a", "b"):
        trail.append(action=action).wait()
        trail.flush()
    first = trail.path / "segments" / trail.view.snapshot().catalog.segments[0].path
    first.unlink()
    assert trail.tail(1)["action"].to_list() == ["b"]
    with pytest.raises(CorruptionError, match="it is gone"):
        trail.tail(2)


@pytest.mark.parametrize("enough", [1, 500_000])
def test_sums_of_fractions_are_the_same_each_time(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, enough: int
) -> None:
    """Equal questions have equal answers to the last bit, in one piece or in many, whichever thread is faster."""
    monkeypatch.setattr(grid, "_PIECE_ROWS", enough)
    first = datetime(2026, 11, 20, tzinfo=UTC)
    for _ in range(3):
        rows = [
            {"action": f"a{n % 7}", "ts": first + timedelta(hours=n % 100), "value": 1 / (n + 1)}
            for n in range(1_000)
        ]
        trail.extend(rows).wait()
        trail.flush()
    answer = trail.at(3_000).downsample("90m", by="action")
    assert answer["count"].sum() == 3_000
    for _ in range(5):
        assert_frame_equal(trail.at(3_000).downsample("90m", by="action"), answer, check_exact=True)


def test_windows_are_half_open_and_relative(half: Trail, clock: ManualClock) -> None:
    """Bounds may be instants, dates, texts and durations; the end is exclusive."""
    assert half.range("2026-11-24", "+1d").height == 6
    assert half.range(date(2026, 11, 23), "2026-11-24T00:00Z").height == 4
    assert half.range("-1h")["seq"].to_list() == []
    clock.us = half.range()["ts"].to_physical()[-1] + 1
    assert half.range("-1h")["seq"].to_list() == [9]
    assert half.range("2026-11-24", tz="Europe/Stockholm").height == 7


def test_where_limit_order_and_columns(half: Trail) -> None:
    """Filters, limits, order and columns apply together."""
    answer = half.range(where={"action": "a.*"}, columns=["seq", "actor"], limit=2, descending=True)
    assert answer.rows() == [(9, "u0"), (7, "u1")]
    assert half.range(where=pl.col("value") > 7)["seq"].to_list() == [8, 9]
    texts = pl.col("action").str.starts_with("a.")
    assert half.range(where=texts).height == 5
    assert half.scan(where=texts).collect().height == 5
    assert population(half.view, None, None, where=texts, tz=None).shown == 5


def test_a_view_is_the_trail_as_it_was(half: Trail, clock: ManualClock) -> None:
    """`at(seq)` answers every question over the first seq events, also after more and after a flush."""
    then = half.at(5)
    before = (then.range(), then.group_by("action"), then.downsample("1h"), then.tail(2), then.now())
    assert before[0]["seq"].to_list() == [0, 1, 2, 3, 4]
    clock.advance(days=2)
    half.append(action="later").wait()
    half.flush()
    after = (then.range(), then.group_by("action"), then.downsample("1h"), then.tail(2), then.now())
    for first, second in zip(before[:-1], after[:-1], strict=True):
        assert isinstance(first, pl.DataFrame)
        assert isinstance(second, pl.DataFrame)
        assert first.equals(second)
    assert before[-1] == after[-1] == datetime(2026, 11, 24, 8, tzinfo=UTC)
    assert then.end_seq == 5
    assert half.at(11).range().height == 11
    with pytest.raises(ValueError, match="beyond the committed end"):
        half.at(12)
    with pytest.raises(ValueError, match="beyond the end of this view"):
        then.at(6)
    with pytest.raises(ClosedError, match="read-only"):
        then.append(action="x")


def test_frames_fit_beside_ordinary_ones(half: Trail) -> None:
    """A frame of a trail joins, concatenates and takes string expressions like any other."""
    frame = half.range()
    assert pl.Categorical not in frame.dtypes
    people = pl.DataFrame({"actor": ["u0", "u1", "u2"], "team": ["red", "blue", "red"]})
    assert frame.join(people, on="actor")["team"].to_list().count("blue") == 3
    assert pl.concat([frame, frame]).height == 20
    assert frame.filter(pl.col("action").str.contains(r"^a\.")).height == 5
    lazy = half.scan().filter(pl.col("actor").str.ends_with("1")).join(people.lazy(), on="actor").collect()
    assert lazy.height == 3
    grouped = half.group_by(["action", "actor"])
    assert grouped.join(people, on="actor").height == grouped.height


def test_values_inside_attrs(trail: Trail) -> None:
    """`ak.attr` reads a value inside attrs, in filters and as a column."""
    trail.extend([{"action": "a", "user": {"name": name}} for name in ("ann", "bob")]).wait()
    assert trail.range(where=ak.attr("user.name") == "ann").height == 1
    assert trail.range(where={"attrs.user.name": "bob"})["seq"].to_list() == [1]
    names = trail.scan().select(name=ak.attr("user.name")).collect()
    assert sorted(names["name"]) == ["ann", "bob"]


def test_own_events_are_left_out_unless_asked(half: Trail) -> None:
    """The trail's own events have seqs, and are shown by `own=True` and `tail` only."""
    half.set_retention("90d", confirm=True)
    half.flush()
    assert half.range().height == 10
    assert half.range(own=True).height == 11
    assert half.sql("SELECT count(*) FROM events", own=True).item() == 11
    assert half.tail(1)["source"].to_list() == ["auditkit"]


def test_a_damaged_segment_is_an_error_and_never_an_answer(half: Trail) -> None:
    """A flipped bit in a segment raises an error that names file and seqs."""
    path = next((half.path / "segments").rglob("*.arrow"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    reader = ak.open(half.path)
    with pytest.raises(CorruptionError, match="checksum differs") as caught:
        reader.range()
    assert caught.value.path == path
    path.write_bytes(data[:-7])
    with pytest.raises(CorruptionError, match="wrong size"):
        reader.group_by("actor")


def test_a_view_over_pruned_events_says_so(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A view that would show events pruned after it raises, naming the tombstone, unless told otherwise."""
    trail = make_trail(retention="10d")
    trail.extend(
        [{"action": "old", "ts": "2026-11-20T00:00Z"}, {"action": "old", "ts": "2026-11-22T00:00Z"}]
    ).wait()
    clock.advance(days=9)
    trail.append(action="new").wait()
    clock.advance(days=1)
    trail.prune(now=datetime(2026, 12, 4, 1, tzinfo=UTC))
    assert trail.range()["action"].to_list() == ["new"]
    then = trail.at(2)
    with pytest.raises(PrunedError, match="pruned after seq 2") as caught:
        then.range()
    assert caught.value.tombstone.startswith("2026-11-2")
    assert then.range("2026-11-23").height == 0
    assert trail.at(2, allow_pruned=True).range().height == 0


def test_a_view_that_ends_among_pruned_events_does_not_guess(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """Where retention removed what a view's horizon or "now" came from, it says so instead of taking an older one."""
    trail = make_trail(retention="10d")
    trail.append(action="kept", ts=datetime(2026, 11, 25, 4, tzinfo=UTC)).wait()
    for _ in range(2):
        clock.advance(hours=10)
        trail.append(action="late", ts=datetime(2026, 11, 23, tzinfo=UTC)).wait()
    before = trail.at(2).stats().retention.horizon, trail.at(3).stats().retention.horizon
    clock.advance(days=10)
    trail.prune(now=from_us(clock.us))
    assert trail.range()["action"].to_list() == ["kept"]
    within = trail.at(2)
    with pytest.raises(PrunedError, match="pruned after seq 2"):
        within.range()
    with pytest.raises(PrunedError, match="pruned after seq 2"):
        within.now()
    assert trail.at(2, allow_pruned=True).range()["action"].to_list() == ["kept"]
    assert within.range("2026-11-25")["action"].to_list() == ["kept"]  # not expired then, whatever there was
    assert trail.at(4).range("2026-11-25")["action"].to_list() == ["kept"]
    assert before == (None, None)
    assert trail.at(4).stats().retention.horizon == from_us(clock.us)
    assert trail.at(1).now() == datetime(2026, 11, 24, 8, tzinfo=UTC)


def test_a_range_that_would_not_fit_names_the_ways_that_do(
    half: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More events than memory can hold are refused before they are read; `limit` and `scan` answer."""
    monkeypatch.setattr(events, "FEW_ROWS", 3)
    monkeypatch.setattr(events, "MOST_SHARE", 0.0)
    for where in (None, {"action": "*"}):
        with pytest.raises(ValueError, match="would take about") as caught:
            half.range(where=where)
        assert "limit" in caught.value.__notes__[0]
        assert "scan()" in caught.value.__notes__[0]
    assert half.range(limit=2)["seq"].to_list() == [0, 1]
    assert half.scan().select(pl.len()).collect().item() == 10


def test_questions_do_without_pandas(tmp_path: Path) -> None:
    """Sealing and asking never load pandas where it is installed: that would take longer than most answers."""
    (tmp_path / "pandas.py").write_text("print('pandas is loaded')\n")
    ask = (
        "import sys, auditkit as ak\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        f"with ak.create({str(tmp_path / 'audit')!r}) as trail:\n"
        "    trail.append(action='read', actor='ann')\n"
        "    trail.flush()\n"
        "    window = {'start': '-1h', 'where': {'actor': 'ann'}}\n"
        "    print(trail.range(**window).height, trail.group_by('action', every='1h', **window).height)\n"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout == "1 1\n"
