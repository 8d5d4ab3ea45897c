"""Answers from tiers: the same figures as from the events, where these are there and where they are gone."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from auditkit.api import Trail
from auditkit.ask import routing
from auditkit.errors import InvalidQueryError, PrunedError
from auditkit.store.rollups import StoredCube
from tests.keep.test_rollup import events
from tests.rolling import expected, of_frame

NOW = datetime.fromisoformat("2026-11-24T08:00:00+00:00")
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def every_event_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take tiers of small trails, too."""
    monkeypatch.setattr(routing, "WORTH_EVENTS", 1)


@pytest.fixture
def rolled(make_trail: Callable[..., Trail]) -> Trail:
    """Return a trail of 60 days with tiers, none of whose events is gone."""
    trail = make_trail(maintain=False)
    trail.rollup("1h", by=["action", "outcome"])
    trail.rollup("1d", by=["action", "outcome"], tz="Europe/Stockholm", name="days")
    trail.extend(events(600)).wait()
    trail.maintain()
    return trail


def questions() -> list[dict[str, Any]]:
    """Return questions about groups that a tier answers, or parts of."""
    asked: list[dict[str, Any]] = []
    for every in (None, "1h", "6h", "1d", "1w", "1mo"):
        for by in (None, "action", ["outcome", "action"]):
            asked.append({"every": every, "by": by})
    asked += [
        {"every": every, "by": "action", "tz": "Europe/Stockholm"} for every in ("1h", "1d", "1w", "1mo")
    ]
    asked += [{"every": every, "by": "action", "tz": "Asia/Kolkata"} for every in ("1h", "1d")]
    asked += [
        {"every": "1d", "by": "action", "where": {"outcome": ["success", None]}},
        {"every": "1d", "by": None, "where": {"action": "a*", "outcome": {"success"}}},
        {"every": "1d", "by": "outcome", "where": {"action": "nothing"}},
        {"every": "1d", "by": "action", "where": {"outcome": {"not": ["success", None]}}},
        {"every": "1d", "by": None, "where": {"action": {"not": "a*"}, "outcome": {"not": "success"}}},
        {"every": "1d", "by": "action", "where": {"actor": {"not": "ann"}}},
        {"every": "1d", "by": "action", "where": {"text": "nothing"}},
        {"every": None, "by": None, "where": {"action": "nothing"}},
        {"every": "1d", "by": "action", "aggs": "count"},
        {"every": "1d", "by": "action", "aggs": ["mean", "max"]},
        {"every": "1d", "by": "action", "aggs": {"n": "count", "low": "min"}},
        {"every": "1d", "by": "action", "start": "2026-10-10T07:30:00Z", "end": "2026-11-01T15:10:00Z"},
        {"every": None, "by": "action", "start": "2026-10-10T07:30:00Z", "end": "2026-11-01T15:10:00Z"},
        {"every": "1d", "by": "actor"},
        {"every": "1d", "by": "action", "where": {"actor": "ann"}},
        {"every": "1d", "by": "action", "where": pl.col("actor") == "ann"},
        {"every": "1d", "by": "action", "aggs": "p95"},
        {"every": "1d", "by": "action", "own": True},
    ]
    return asked


@pytest.mark.filterwarnings("ignore::auditkit.errors.EmptyAnswerWarning")
@pytest.mark.parametrize("later", [1, 200])
def test_tiers_say_what_the_events_say(rolled: Trail, later: int) -> None:
    """Whatever is asked for, and however far the tiers have come, the figures are those of the events alone."""
    rolled.extend(events(later, seed=9)).wait()
    for asked in questions():
        found = rolled.group_by(**asked)
        assert "tier" in found.columns, asked
        assert_frame_equal(found.drop("tier"), rolled.group_by(**asked, tier=None), rel_tol=1e-12)


@pytest.mark.parametrize(
    ("asked", "tiers"),
    [
        ({"every": "1h", "by": "action"}, {"1h"}),
        ({"every": "1d", "by": "action"}, {"1h"}),
        ({"every": "1d", "by": "action", "where": {"outcome": {"not": "success"}}}, {"1h"}),
        ({"every": "1d", "by": "action", "where": {"actor": {"not": "ann"}}}, {"raw"}),
        ({"every": "1d", "by": "action", "where": {"text": {"not": "nothing"}}}, {"raw"}),
        ({"every": "1d", "by": "action", "tz": "Europe/Stockholm"}, {"days"}),
        ({"every": "1mo", "by": "action", "tz": "Europe/Stockholm"}, {"days"}),
        ({"every": "30m", "by": "action"}, {"raw"}),
        ({"every": "1h", "by": "action", "tz": "Asia/Kolkata"}, {"raw"}),
        ({"every": "1d", "by": "actor"}, {"raw"}),
        ({"every": "1d", "by": "action", "aggs": "p50"}, {"raw"}),
        ({"every": "1d", "by": "action", "where": pl.col("action") == "a"}, set()),
        ({"every": None, "by": None, "end": "2026-11-01T15:40:00Z"}, {"1h, days, raw"}),
    ],
)
def test_an_answer_says_where_it_comes_from(rolled: Trail, asked: dict[str, Any], tiers: set[str]) -> None:
    """The coarsest tier that has whole buckets of what is asked for, and the events for the rest."""
    assert set(rolled.group_by(**asked)["tier"]) == tiers


def test_no_event_is_read_where_a_tier_answers(rolled: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything folded, a question of whole buckets opens no segment."""
    whole = rolled.group_by("action", every="1d")
    monkeypatch.setattr(
        "auditkit.store.files.SegmentFiles.reading", lambda *_: pytest.fail("a segment was opened")
    )
    assert_frame_equal(rolled.group_by("action", every="1d"), whole)


@pytest.fixture
def pruned(make_trail: Callable[..., Trail]) -> tuple[Trail, list[dict[str, Any]]]:
    """Return a trail of 60 days, of which ten are left, and its events; the tier keeps 40 days by the hour, days for ever."""
    trail = make_trail(retention="10d", maintain=False)
    trail.rollup("1h", by=["action", "outcome"], keep="40d")
    trail.rollup("1d", by=["action"])
    given = events(600)
    trail.extend(given).wait()
    trail.prune()
    return trail, given


@pytest.mark.parametrize(("every", "tz"), [("1d", "UTC"), ("1w", "UTC"), ("1mo", "UTC")])
def test_what_is_pruned_is_answered_by_tiers(
    pruned: tuple[Trail, list[dict[str, Any]]], every: str, tz: str
) -> None:
    """The whole past is one call, exactly what it was before the prune."""
    trail, given = pruned
    assert trail.range().height < 150
    found = trail.downsample(every, by="action", tz=tz)
    assert of_frame(found, ["action"]) == expected(given, every, ["action"], tz)
    total = trail.group_by("action", aggs=["count", "sum"])
    assert total["count"].sum() == 600
    assert total["sum"].sum() == sum(event["value"] or 0 for event in given)


def test_where_no_tier_reaches_the_events_that_are_left_answer(
    pruned: tuple[Trail, list[dict[str, Any]]],
) -> None:
    """By the hour and outcome 40 days are known, and before that nothing."""
    trail, given = pruned
    found = trail.downsample("1h", by=["action", "outcome"])
    begin = (given[-1]["ts"] - 40 * DAY).replace(minute=0, second=0, microsecond=0)
    kept = [event for event in given if event["ts"] >= begin]
    assert of_frame(found, ["action", "outcome"]) == expected(kept, "1h", ["action", "outcome"])
    assert "1h" in set(found["tier"])


def test_late_events_are_in_the_answer_before_they_are_folded(
    pruned: tuple[Trail, list[dict[str, Any]]],
) -> None:
    """An event of a pruned day's bucket counts at once, and no bucket twice."""
    trail, given = pruned
    late = {"ts": given[-1]["ts"] - 9.9 * DAY, "action": "doc.read", "value": 0.5}
    trail.extend([late]).wait()
    for _ in range(2):
        found = trail.downsample("1d", by="action")
        assert of_frame(found, ["action"]) == expected([*given, late], "1d", ["action"])
        trail.maintain()


def test_what_neither_tier_nor_events_can_answer_is_refused(
    pruned: tuple[Trail, list[dict[str, Any]]],
) -> None:
    """A window without events left, by a key of no tier, is an error that says what tiers answer."""
    trail, _ = pruned
    window: dict[str, Any] = {"start": "2026-10-01T00:00:00Z", "end": "2026-11-01T00:00:00Z"}
    with pytest.raises(InvalidQueryError, match="tier: does not answer this question") as caught:
        trail.group_by("actor", every="1d", **window)
    assert (
        "tier 1h answers by and where action, outcome, in whole buckets of 1h in UTC"
        in caught.value.__notes__[0]
    )
    assert trail.group_by("actor", every="1d", **window, tier=None).height == 0
    assert trail.group_by("actor", every="1d").height > 0
    with pytest.raises(InvalidQueryError, match="does not answer"):
        trail.group_by("outcome", every="1d", tier="1d")
    with pytest.raises(InvalidQueryError, match="is no tier of this trail"):
        trail.group_by("action", every="1d", tier="1w")


def test_a_view_of_the_past_takes_buckets_that_have_not_changed(
    pruned: tuple[Trail, list[dict[str, Any]]],
) -> None:
    """A bucket with a later event is not answered by the tier; where its events are pruned, that is said."""
    trail, given = pruned
    seq = trail.end_seq
    before = trail.at(seq).downsample("1d", by="action")
    assert of_frame(before, ["action"]) == expected(given, "1d", ["action"])
    trail.append(ts=given[-1]["ts"] - 9.9 * DAY, action="doc.read").wait()
    trail.maintain()
    later = before.filter(pl.col("ts") >= datetime(2026, 11, 17, tzinfo=UTC))
    assert_frame_equal(trail.at(seq).downsample("1d", by="action", start="2026-11-17"), later)
    changed = given[-1]["ts"] - 9.9 * DAY
    narrow = {"start": changed.date(), "end": changed.date() + DAY}
    with pytest.raises(PrunedError):
        trail.at(seq).downsample("1d", by="action", **narrow)
    assert trail.downsample("1d", by="action", **narrow)["count"].sum() > 0


def test_a_view_of_the_past_says_what_a_tier_has_dropped(
    pruned: tuple[Trail, list[dict[str, Any]]],
) -> None:
    """What a tier still said at the moment of the view, and no longer keeps, is an error, not a smaller answer."""
    trail, given = pruned
    seq = trail.end_seq
    window: dict[str, Any] = {"start": "2026-10-16T15:00:00Z", "end": "2026-10-16T16:00:00Z"}
    assert trail.at(seq).group_by("outcome", **window)["tier"].unique().to_list() == ["1h"]
    trail.rollup("1h", by=["action", "outcome"], keep="20d")
    for day in range(3):
        trail.extend([{"action": "doc.read", "ts": given[-1]["ts"] + timedelta(hours=day)}]).wait()
        trail.maintain()
    with pytest.raises(PrunedError, match=r"2026-10-16T15:00:00.*the tier has changed after seq"):
        trail.at(seq).group_by("outcome", **window)
    kept = trail.at(seq, allow_pruned=True).group_by("outcome", **window)
    assert kept.height == 0
    trail.rollup("1h", by=["action", "outcome"], keep="40d")
    days = trail.group_by([], every="1d", start="2026-10-16T00:00:00Z", end="2026-11-01T00:00:00Z")
    assert days["tier"].unique().to_list() == ["1d"]


def test_a_gap_is_filled_across_tiers_and_events(pruned: tuple[Trail, list[dict[str, Any]]]) -> None:
    """`fill` fills the tiers' part as it does the rest; an empty bucket comes from nowhere."""
    trail, _ = pruned
    found = trail.downsample(
        "1h", by="action", start="2026-11-01T00:00:00Z", end="2026-11-20T00:00:00Z", fill=0
    )
    assert found.group_by("action").len()["len"].unique().to_list() == [19 * 24]
    assert (
        found.filter(pl.col("count") == 0)["tier"].null_count() == found.filter(pl.col("count") == 0).height
    )


def test_stores_are_read_once(rolled: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second question finds the stores of the first in memory."""
    first = rolled.downsample("1h", by="action")
    monkeypatch.setattr(StoredCube, "__init__", lambda *_: pytest.fail("a store was read again"))
    assert_frame_equal(rolled.downsample("1h", by="action"), first)


def test_random_questions_agree(make_trail: Callable[..., Trail]) -> None:
    """Over random trails, tiers, zones, windows and folds, answers with and without tiers are the same."""
    chance = random.Random(11)
    for number in range(3):
        trail = make_trail(f"audit{number}", maintain=False)
        for every in ("1h", "6h", "1d"):
            tz = chance.choice(["UTC", "Europe/Stockholm", "Australia/Lord_Howe", "America/St_Johns"])
            trail.rollup(every, by=["action", "outcome"][: chance.randrange(3)], tz=tz)
        for _ in range(3):
            trail.extend(events(150, seed=chance.randrange(99))).wait()
            if chance.random() < 0.7:
                trail.maintain()
        for _ in range(15):
            bounds = sorted(NOW - chance.random() * 62 * DAY for _ in range(2))
            if chance.random() < 0.5:
                bounds = [bound.replace(minute=0, second=0, microsecond=0) for bound in bounds]
            asked: dict[str, Any] = {
                "by": chance.choice([None, "action", "outcome", ["action", "outcome"]]),
                "every": chance.choice([None, "1h", "3h", "6h", "12h", "1d", "1w"]),
                "tz": chance.choice(["UTC", "Europe/Stockholm", "Australia/Lord_Howe"]),
                "start": chance.choice([None, bounds[0]]),
                "end": chance.choice([None, bounds[1]]),
                "where": chance.choice([None, {"action": "doc.*"}, {"outcome": None}]),
            }
            found = trail.group_by(**asked)
            assert_frame_equal(found.drop("tier"), trail.group_by(**asked, tier=None), rel_tol=1e-12)
