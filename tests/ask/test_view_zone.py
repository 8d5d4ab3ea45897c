"""Instants leave a trail in the zone it is looked at, and expressions see them so."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import auditkit as ak
from auditkit import query
from auditkit.query import group_by
from tests.aging import trust

STOCKHOLM, KOLKATA = ZoneInfo("Europe/Stockholm"), ZoneInfo("Asia/Kolkata")
NIGHT = ["2024-01-11T23:30:00Z", "2024-01-12T00:30:00Z", "2024-01-12T22:30:00Z", "2024-01-12T23:30:00Z"]
"""Four nights of which three are the 12th in Stockholm."""


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[ak.Trail]:
    """A trail of Stockholm with a declared time, half of it in segments and half queued."""
    fields = {"due": pl.Datetime("us", "UTC")}
    with ak.create(tmp_path / "audit", tz="Europe/Stockholm", fields=fields) as made:
        rows = [{"ts": ts, "action": letter, "due": ts} for letter, ts in zip("abcd", NIGHT, strict=True)]
        made.extend(rows[:2]).wait()
        made.flush()
        made.extend(rows[2:]).wait()
        yield made


FRAMES: dict[str, Callable[[ak.Trail], pl.DataFrame]] = {
    "range": lambda trail: trail.range(),
    "range, limited": lambda trail: trail.range(limit=1, descending=True),
    "range, expression": lambda trail: trail.range(where=pl.col("action") == "a"),
    "range, columns": lambda trail: trail.range(columns=["recorded", "due"]),
    "scan": lambda trail: trail.scan().collect(),
    "scan, columns": lambda trail: trail.scan().select("due", "ts").collect(),
    "tail": lambda trail: trail.tail(),
    "sql": lambda trail: trail.sql("SELECT * FROM events"),
    "at": lambda trail: trail.at(2).range(),
    "group_by": lambda trail: trail.group_by("action", every="1h"),
    "group_by, expression": lambda trail: trail.group_by("action", aggs=pl.col("ts").max()),
    "group_by, key": lambda trail: trail.group_by("recorded"),
    "downsample": lambda trail: trail.downsample("1d", fill=0),
    "sessions": lambda trail: query.sessions(trail.scan(), "1h", by="action"),
    "first_seen": lambda trail: query.first_seen(trail.scan(), "action"),
    "frames": lambda trail: query.range(trail.range()),
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_shows_instants_in_the_zone_of_the_trail(trail: ak.Trail, name: str) -> None:
    """Whatever way a frame leaves, all of its instants are in the view's zone."""
    found = FRAMES[name](trail)
    zones = {dtype.time_zone for dtype in found.dtypes if isinstance(dtype, pl.Datetime)}
    assert zones == {"Europe/Stockholm"}
    assert found.height


def test_the_schema_is_that_of_the_frames(trail: ak.Trail) -> None:
    """`schema` and what `scan` and `range` give are one."""
    assert trail.schema == dict(trail.scan().collect_schema()) == dict(trail.range().schema)
    assert trail.now().tzinfo == STOCKHOLM


def test_a_zone_for_one_question(trail: ak.Trail) -> None:
    """`tz=` shows the answer in another zone, also where the trail is opened with one."""
    assert trail.range(tz="Asia/Kolkata")["ts"][0] == datetime(2024, 1, 12, 5, 0, tzinfo=KOLKATA)
    assert trail.scan(tz="Asia/Kolkata").collect_schema()["recorded"] == pl.Datetime("us", "Asia/Kolkata")
    with ak.open(trail.path, tz="UTC") as other:
        assert other.range().schema["ts"] == pl.Datetime("us", "UTC")
        assert other.range()["ts"].to_list() == [datetime.fromisoformat(ts) for ts in NIGHT]


@pytest.mark.parametrize(
    "count",
    [
        lambda trail, where: trail.range(where=where).height,
        lambda trail, where: trail.scan(where=where).collect().height,
        lambda trail, where: trail.scan().filter(where).collect().height,
        lambda trail, where: trail.group_by(None, where=where)["count"].item(),
        lambda trail, where: trail.downsample("1w", where=where)["count"].sum(),
        lambda trail, where: trail.range().filter(where).height,
    ],
)
def test_expressions_see_the_zone(trail: ak.Trail, count: Callable[[ak.Trail, pl.Expr], int]) -> None:
    """The day of an event is the same in a condition as in what comes back, and as in a bucket."""
    assert count(trail, pl.col("ts").dt.date() == datetime(2024, 1, 12, tzinfo=UTC).date()) == 3
    assert count(trail, pl.col("ts").dt.hour() == 0) == 2


def test_filters_on_instants_choose_record_batches(trail: ak.Trail) -> None:
    """A filter on a scan in another zone means the same instants, with the bounds either way round."""
    noon = datetime(2024, 1, 12, 12, tzinfo=STOCKHOLM)
    assert trail.scan().filter(pl.col("ts") < noon).collect()["action"].to_list() == ["a", "b"]
    assert trail.scan().filter(pl.lit(noon) <= pl.col("ts")).collect()["action"].to_list() == ["c", "d"]
    assert trail.scan().filter(pl.col("ts") > trail.now() - timedelta(days=1)).collect().is_empty()
    assert trail.sql("SELECT action FROM events WHERE ts >= '2024-01-12 12:00' ORDER BY ts")["action"].to_list() == [
        "c",
        "d",
    ]  # fmt: skip


def test_deliveries_are_in_the_zone(trail: ak.Trail) -> None:
    """A follower shows times as frames do, and its condition sees them so."""
    late = pl.col("ts").dt.hour() == 23
    with trail.follow(start=0, where=late, timeout_s=0) as follower:
        events: list[dict[str, Any]] = [delivery.event for delivery in follower]
    assert [event["ts"] for event in events] == [datetime(2024, 1, 12, 23, 30, tzinfo=STOCKHOLM)]
    assert events[0]["due"].tzinfo == STOCKHOLM


def test_frames_alone_are_asked_in_their_zone(trail: ak.Trail) -> None:
    """The questions to any frame read days in the zone that its `ts` has, unless one is named."""
    days = trail.downsample("1d", aggs="count")
    assert days["count"].to_list() == [3, 1]
    assert query.downsample(trail.scan(), "1d", aggs="count").equals(days)
    assert query.downsample(trail.range(), "1d", aggs="count").equals(days)
    assert group_by(trail.range(), None, start="2024-01-12", end="+1d")["count"].item() == 3
    assert query.downsample(trail.range(), "1d", aggs="count", tz="UTC")["count"].to_list() == [1, 3]


def test_days_in_words_are_those_of_the_zone(tmp_path: Path) -> None:
    """`"today"` and `"yesterday"` begin at midnight in the view's zone, in any case, and durations may be words."""
    with ak.create(tmp_path / "audit", tz="Asia/Kolkata") as trail:
        midnight = trail.now().replace(hour=0, minute=0, second=0, microsecond=0)
        moments = [midnight - timedelta(days=1, seconds=1), midnight - timedelta(seconds=1), midnight]
        trail.extend([{"ts": ts, "action": letter} for letter, ts in zip("abc", moments, strict=True)]).wait()
        assert trail.range("today")["action"].to_list() == ["c"]
        assert trail.range("Yesterday", "TODAY")["action"].to_list() == ["b"]
        assert trail.group_by([], start="yesterday", aggs="count").item() == 2
        assert trail.scan("-90 days").collect().height == 3
        assert trail.downsample(timedelta(days=1), aggs="count").equals(
            trail.downsample("1 day", aggs="count")
        )
        assert trail.group_by("action", every=timedelta(hours=1)).equals(trail.group_by("action", every="1h"))


def test_cards_show_the_zone(tmp_path: Path) -> None:
    """Stats, plans, summaries and the trail's card name times in the view's zone, and hold them so."""
    with ak.create(tmp_path / "audit", tz="Asia/Kolkata", retention="30d") as trail:
        trail.extend([{"ts": ts, "action": "a"} for ts in (NIGHT[0], "2024-06-01T00:00:00Z")]).wait()
        trail.flush()
        trust(trail, datetime(2024, 6, 1, tzinfo=UTC))
        stats, plan = trail.stats(), trail.plan_prune()
        assert stats.segments.first_ts is not None
        assert stats.segments.first_ts.tzinfo == stats.retention.horizon.tzinfo == KOLKATA  # type: ignore[union-attr]
        assert plan.cutoff == datetime(2024, 5, 2, 5, 30, tzinfo=KOLKATA)
        assert plan.segments[0].min_ts.tzinfo == KOLKATA
        done = trail.prune(plan)
        assert (done.events, done.plan.cutoff.tzinfo) == (1, KOLKATA)  # type: ignore[union-attr]
        card = str(trail._repr_mimebundle_()["text/plain"])
        for shown in (str(stats), str(plan), card):
            assert "IST" in shown
            assert "UTC" not in shown
