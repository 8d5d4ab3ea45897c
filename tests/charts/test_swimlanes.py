"""The timeline: every event at its moment in the lane of its actor, few as ticks and many as dots."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import polars as pl
import pytest

from auditkit import charts
from auditkit.charts.swimlanes import MOST_MARKS
from auditkit.errors import InvalidQueryError
from tests.reporting.material import PAYLOADS

START = datetime(2026, 11, 16, tzinfo=UTC)


def events(
    count: int, zone: str = "UTC", step: timedelta = timedelta(minutes=7), **columns: Any
) -> pl.DataFrame:
    """Return events a step apart, with a few actors and outcomes."""
    at = range(count)
    frame = pl.DataFrame(
        {
            "ts": [START + step * n for n in at],
            "actor": [f"u{n % 3}" if n % 5 else None for n in at],
            "outcome": ["failure" if n % 4 == 0 else "success" for n in at],
            "action": [f"a{n % 2}" for n in at],
            **columns,
        }
    )
    return frame.with_columns(pl.col("ts").dt.convert_time_zone(zone))


def values(figure: charts.Figure) -> list[dict[str, Any]]:
    """Return what is drawn."""
    drawn: list[dict[str, Any]] = figure.spec["data"]["values"]
    return drawn


def test_each_of_few_events_is_a_tick() -> None:
    """Every event lies at its own moment on the wall clock, with what it was in its tooltip."""
    figure = charts.timeline(events(10, "Asia/Kathmandu"), "actor", detail=["action"])
    assert figure.spec["mark"]["type"] == "tick"
    assert len(values(figure)) == 10
    first = values(figure)[0]
    wall = datetime(2026, 11, 16, 5, 45, tzinfo=UTC)
    assert first["from"] == wall.timestamp() * 1000
    assert (first["at"], first["row"], first["group"], first["detail0"]) == (
        "2026-11-16 05:45:00", "(none)", "failure", "a0",
    )  # fmt: skip
    assert figure.spec["encoding"]["x"]["title"] == "Mon 16 Nov 2026, Asia/Kathmandu (UTC+05:45)"
    assert figure.spec["encoding"]["x"]["scale"]["type"] == "utc"
    moved = charts.timeline(events(10), "actor", detail=["action"], tz="Asia/Kathmandu")
    assert moved.spec == figure.spec
    titles = [channel["title"] for channel in figure.spec["encoding"]["tooltip"]]
    assert titles == ["time (Asia/Kathmandu)", "actor", "outcome", "action"]


@pytest.mark.parametrize(("count", "mark"), [(MOST_MARKS, "tick"), (MOST_MARKS + 1, "circle")])
def test_many_events_become_dots(count: int, mark: str) -> None:
    """Beyond the bound events are drawn by slots, none is lost, and the subtitle says how long a slot is."""
    figure = charts.timeline(events(count), "actor")
    assert figure.spec["mark"]["type"] == mark
    assert sum(value.get("count", 1) for value in values(figure)) == count
    assert ("A dot is the events of one hour" in figure.subtitle) == (mark == "circle")


def test_counts_per_bucket_are_dots_in_the_middle_of_their_buckets() -> None:
    """A day of 25 hours in a zone is one dot at its noon, sized by its count; empty buckets are none."""
    days = pl.DataFrame(
        {
            "ts": [datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)],
            "actor": ["ann"] * 2,
        }
    ).with_columns(pl.col("ts").dt.convert_time_zone("Europe/Stockholm"), count=pl.Series([7, 0]))
    figure = charts.timeline(days, "actor", split=None, every="1d")
    assert [(value["from"], value["count"]) for value in values(figure)] == [
        (datetime(2026, 10, 25, 12, tzinfo=UTC).timestamp() * 1000, 7)
    ]
    assert "A dot is the events of one day" in figure.subtitle
    assert figure.alt.startswith("Timeline: ann 7, from 2026-10-25 00:00")


def test_lanes_beyond_the_most_frequent_are_counted() -> None:
    """Who has no lane is said not to be drawn, and the alternative text names the lanes with their numbers."""
    figure = charts.timeline(events(10), "actor", n=2)
    assert figure.subtitle == "Events by actor. 2 others are not drawn"
    assert figure.alt.startswith("Timeline: u0 3, u1 3, from 2026-11-16 00:07 to ")
    assert {value["row"] for value in values(figure)} == {"u0", "u1"}
    assert figure.spec["height"] == 48


def test_it_can_be_zoomed_and_keeps_to_the_window() -> None:
    """The axis spans the window where it is given, and its scale can be moved; marks are clipped to it."""
    end = START + timedelta(days=1)
    spec = charts.timeline(events(3), "actor", start=START, end=end).spec
    assert spec["params"] == [
        {"name": "zoom", "select": {"type": "interval", "encodings": ["x"]}, "bind": "scales"}
    ]
    assert spec["mark"]["clip"]
    scale = spec["encoding"]["x"]["scale"]
    for at, parts in ((START, scale["domainMin"]), (end, scale["domainMax"])):
        assert (parts["year"], parts["month"], parts["date"], parts["hours"]) == (
            at.year,
            at.month,
            at.day,
            at.hour,
        )
        assert parts["utc"]
    assert "domainMin" not in charts.timeline(events(3), "actor").spec["encoding"]["x"]["scale"]


def test_a_repeated_hour_keeps_its_order() -> None:
    """On the night when clocks go back events stay in the order in which they happened, and the subtitle says how."""
    night = events(5, "Europe/Stockholm", timedelta(minutes=30)).with_columns(
        pl.col("ts") + (datetime(2026, 10, 25, tzinfo=UTC) - START)
    )
    figure = charts.timeline(night, "actor")
    places = [value["from"] for value in values(figure)]
    assert places == sorted(set(places))
    assert "The clocks change in this window" in figure.subtitle


def test_nothing_and_no_zone() -> None:
    """Without events there is a sentence; times without a zone are refused."""
    assert charts.timeline(events(1).clear(), "actor").alt == "Timeline: no events in this window."
    with pytest.raises(InvalidQueryError, match="not a time with a zone"):
        charts.timeline(events(1).with_columns(pl.col("ts").dt.replace_time_zone(None)), "actor")


def test_altair_accepts_it() -> None:
    """Ticks, dots and a chart without colours satisfy Altair's schema."""
    for figure in (
        charts.timeline(events(5), "actor"),
        charts.timeline(events(MOST_MARKS + 1), "actor"),
        charts.timeline(events(5), "action", split=None),
    ):
        alt.Chart.from_dict(figure.to_dict())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_is_data(payload: str) -> None:
    """Hostile values and names of columns are data and titles, visible and cut, never a field or an expression."""
    frame = events(3).with_columns(pl.lit(payload + "x" * 200).alias(payload))
    spec = charts.timeline(frame, payload, split=payload, detail=[payload]).to_dict()
    text = json.dumps(spec, ensure_ascii=False)
    fields = {channel["field"] for channel in spec["encoding"]["tooltip"]}
    assert fields == {"at", "row", "group", "detail0"}
    assert not {"\x1b", "\u202e", "\u200b"} & {*text}
    assert max(len(value["detail0"]) for value in spec["data"]["values"]) == 80
