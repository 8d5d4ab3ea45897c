"""Charts of a trail, of its events and of counts: the same figure, and one rule of what is counted already."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from auditkit import charts
from auditkit.api import Trail
from auditkit.charts.swimlanes import MOST_MARKS
from auditkit.errors import InvalidQueryError, InvalidTimeError
from tests.fakes import ManualClock

START = datetime(2026, 11, 16, 23, tzinfo=UTC)
STOCKHOLM = "Europe/Stockholm"
SCOPE: dict[str, Any] = {"start": "2026-11-17", "end": "+2d", "where": {"actor": ["u1", None]}}
Draw = Callable[..., charts.Figure]


@pytest.fixture
def busy(make_trail: Callable[..., Trail]) -> Trail:
    """A trail in Stockholm with an event every 20 minutes for four days."""
    trail = make_trail(tz=STOCKHOLM)
    trail.extend(
        {
            "ts": START + timedelta(minutes=20 * at),
            "action": f"a{at % 4}",
            "actor": f"u{at % 3}" if at % 5 else None,
            "outcome": "failure" if at % 7 == 0 else "success",
            "value": at,
            "user": {"name": f"n{at % 2}"},
        }
        for at in range(288)
    ).wait()
    return trail


def by_hand(trail: Trail, by: list[str], every: str | None = None) -> pl.DataFrame:
    """Return the counts that an analyst would ask for."""
    return trail.group_by(by, every=every, **SCOPE, aggs="count")


@pytest.mark.parametrize(
    ("draw", "options", "keys", "every"),
    [
        (charts.over_time, {"by": "outcome", "every": "1h"}, ["outcome"], "1h"),
        (charts.over_time, {"every": "1d"}, [], "1d"),
        (charts.heat_map, {}, [], "1h"),
        (charts.top, {"by": "actor", "split": "outcome"}, ["actor", "outcome"], None),
        (charts.top, {"by": "attrs.user.name"}, ["attrs.user.name"], None),
        (charts.share, {"of": "outcome"}, ["outcome"], None),
        (charts.share, {"of": "outcome", "by": "action"}, ["action", "outcome"], None),
        (charts.timeline, {"by": "action", "every": "6h"}, ["action", "outcome"], "6h"),
    ],
)
def test_a_trail_its_events_and_counts_give_one_figure(
    busy: Trail, draw: Draw, options: dict[str, Any], keys: list[str], every: str | None
) -> None:
    """Counted by hand or by the chart, of the trail, a frame or a lazy frame, the drawing and its words are the same."""
    counts = by_hand(busy, keys, every)
    window = {key: SCOPE[key] for key in ("start", "end") if draw in (charts.over_time, charts.timeline)}
    expected = draw(counts, **options, **window)
    for events in (busy, busy.range(), busy.scan()):
        figure = draw(events, **options, **SCOPE)
        assert figure.to_dict() == expected.to_dict()
        assert figure.data.equals(expected.data)
        assert (figure.clock, figure.pick) == (expected.clock, expected.pick)
    narrowed = draw(busy.range(**SCOPE), **options, **window)
    assert narrowed.to_dict() == expected.to_dict()


def test_single_events_of_a_trail_are_those_of_its_frame(busy: Trail) -> None:
    """Few events are drawn one by one, with what they were, in the zone asked for, in which days are read too."""
    options: dict[str, Any] = {"detail": ["attrs.user.name"], "tz": "Asia/Kathmandu"}
    figure = charts.timeline(busy, "action", **options, **SCOPE)
    assert figure.spec["mark"]["type"] == "tick"
    assert figure.spec["encoding"]["x"]["title"].endswith("Asia/Kathmandu (UTC+05:45)")
    shown = busy.range(**SCOPE, tz="Asia/Kathmandu")
    assert shown.height > 50
    assert figure.data["ts"].to_list() == shown["ts"].to_list()
    same = charts.timeline(busy.range(), "action", **options, **SCOPE)
    assert same.to_dict() == figure.to_dict()
    assert same.data.equals(figure.data)


@pytest.mark.parametrize("lazy", [False, True])
def test_many_events_of_a_trail_are_counted(trail: Trail, *, lazy: bool) -> None:
    """Of more events than marks each bucket is a dot, and none is lost."""
    trail.extend({"ts": START + timedelta(minutes=at), "action": "a"} for at in range(MOST_MARKS + 1)).wait()
    figure = charts.timeline(trail.scan() if lazy else trail, "action")
    assert figure.spec["mark"]["type"] == "circle"
    assert sum(value["count"] for value in figure.spec["data"]["values"]) == MOST_MARKS + 1
    assert "A dot is the events of 15 minutes" in figure.subtitle


@pytest.mark.parametrize(
    ("days", "every"),
    [
        (0.0001, "100ms"),
        (0.01, "10s"),
        (1, "15m"),
        (7, "1h"),
        (31, "6h"),
        (180, "1d"),
        (4000, "1w"),
    ],
)
def test_a_width_that_suits_the_window_is_chosen(trail: Trail, days: float, every: str) -> None:
    """At most 200 bars are drawn, but for windows of many years: of the window given, else of the events in it."""
    end = START + timedelta(days=days)
    trail.extend([{"ts": START - timedelta(days=days), "action": "a"}, {"ts": START, "action": "a"}]).wait()
    expected = charts.over_time(trail, every=every, start=START, end=end).to_dict()
    assert charts.over_time(trail, start=START, end=end).to_dict() == expected
    assert charts.over_time(trail.range(), start=START, end=end).to_dict() == expected
    for events in (trail, trail.range(), trail.scan()):
        assert charts.over_time(events).subtitle == charts.over_time(trail, every=every).subtitle
    one = {"action": "no such"}
    assert charts.over_time(trail, end=START).subtitle == charts.over_time(trail, every=every).subtitle
    assert charts.over_time(trail.range(), where=one).alt == "Events over time: no events in this window."


def test_what_is_gone_is_drawn_from_its_tier(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A trail is counted where its tiers reach, no finer than they do; its events alone where no tier has the key."""
    trail = make_trail(retention="10d")
    now = datetime.fromtimestamp(clock.us / 1e6, UTC)
    trail.rollup("1d", by=["action"])
    trail.extend(
        {"ts": now - timedelta(hours=at), "action": f"a{at % 2}", "actor": "ann"}
        for at in range(24 * 20, -1, -1)
    ).wait()
    trail.maintain()
    trail.prune()
    kept = trail.range().height
    assert 200 < kept < 300
    figure = charts.over_time(trail, by="action")
    assert figure.subtitle == (
        "Events per day by action. Paler bars come from the tier 1d: their events are no longer kept"
    )
    assert figure.data["count"].sum() == 24 * 20 + 1
    raw = figure.data.filter(pl.col("tier") == "raw")
    assert 0 < raw["count"].sum() <= kept
    assert {*figure.data["tier"]} == {"raw", "1d"}
    recent = charts.over_time(trail, start=now - timedelta(days=2), end=now)
    assert recent.subtitle == "Events per 15m"
    assert charts.over_time(trail, by="actor").data["count"].sum() == kept
    assert charts.over_time(trail, by="action", every="1h").data["count"].sum() == kept
    assert charts.top(trail, "action").data["count"].sum() == kept


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"where": {"actor": "ann"}}, "where"),
        ({"tz": "Asia/Kolkata"}, "tz"),
    ],
)
def test_counts_cannot_be_asked_again(busy: Trail, asked: dict[str, Any], name: str) -> None:
    """Where counts are given, filter and zone were decided before, and the window too but for an axis."""
    counts = by_hand(busy, ["actor"], "1h")
    draws: list[Draw] = [
        lambda **more: charts.over_time(counts, every="1h", **more),
        lambda **more: charts.timeline(counts, "actor", split=None, every="1h", **more),
        lambda **more: charts.heat_map(counts, **more),
        lambda **more: charts.top(counts, "actor", **more),
        lambda **more: charts.share(counts, "actor", **more),
    ]
    for draw in draws:
        with pytest.raises(InvalidQueryError, match=rf"^{name}: cannot be asked of what is counted already"):
            draw(**asked)
        assert draw(tz=STOCKHOLM).alt
    for draw in draws[2:]:
        with pytest.raises(InvalidQueryError, match=r"^start: cannot be asked"):
            draw(start="-1d")
    with pytest.raises(InvalidQueryError, match=r"^every: is not the width of the buckets that were counted"):
        charts.over_time(counts)
    with pytest.raises(InvalidQueryError, match=r"^every: "):
        charts.timeline(counts, "actor", split=None)


def test_what_is_no_events_is_refused(busy: Trail) -> None:
    """Another object, a frame without times and counts, counts without buckets, and bounds that do not read."""
    with pytest.raises(InvalidQueryError, match=r"^events: is neither a trail nor a Polars frame"):
        charts.top([{"actor": "ann"}], "actor")  # type: ignore[arg-type]
    with pytest.raises(InvalidQueryError, match=r"^events: has neither a column ts nor a column count"):
        charts.top(busy.range(columns=["actor"]), "actor")
    with pytest.raises(InvalidQueryError, match=r"^events: has no column ts"):
        charts.over_time(by_hand(busy, ["actor"]), every="1h")
    with pytest.raises(InvalidQueryError, match="did you mean 'actor'"):
        charts.top(busy, "actr")
    with pytest.raises(InvalidQueryError, match="did you mean 'actor'"):
        charts.top(busy.range(), "actr")
    with pytest.raises(InvalidTimeError, match=r"^start: "):
        charts.top(busy, "actor", start="soon")


def test_a_declared_field_count_is_no_count(make_trail: Callable[..., Trail]) -> None:
    """Events that have a seq are events, though a field of theirs is called count."""
    trail = make_trail(fields={"count": pl.Int64})
    trail.extend([{"action": "a", "count": 40}, {"action": "a", "count": 2}]).wait()
    assert charts.top(trail.range(), "action").alt == charts.top(trail, "action").alt == "Top action: a 2."


def test_a_view_of_the_past_counts_from_its_own_now(busy: Trail, clock: ManualClock) -> None:
    """Durations count from the trail's now: in a view of the past from when its last event was accepted."""
    then = busy.end_seq
    clock.advance(days=30)
    busy.append(action="late").wait()
    assert charts.top(busy, "action", start="-1d").alt == "Top action: late 1."
    past = busy.at(then)
    assert charts.top(past, "action", start="-20d").data["count"].sum() == then
    figure = charts.over_time(past, start="-20d", end="+20d", every="1d")
    assert "domainMin" in figure.spec["encoding"]["x"]["scale"]
