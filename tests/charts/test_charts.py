"""Charts, tested by their dictionary: what is drawn where, in which zone, and what is left out."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import altair as alt
import polars as pl
import pytest
import vl_convert as vlc

from auditkit import charts
from auditkit.charts.figure import BLUE, FAILED, MIME, PALETTE, VEGA_LITE, read_metadata
from auditkit.charts.time_series import shade_bounds
from auditkit.errors import InvalidQueryError

HOSTILE = [
    "</script><script>alert(1)</script>",
    "datum.count > 1",
    "a.b[0]['c']",
    "gpj\u202eexe",
    "\x1b[31m",
    "",
    "(none)",
]


def hours(start: datetime, count: int, zone: str, **columns: list[Any]) -> pl.DataFrame:
    """Return `count` hourly buckets from an instant, in a zone, one event each."""
    ts = [start + timedelta(hours=hour) for hour in range(count)]
    frame = pl.DataFrame({"ts": ts, "count": [1] * count, **columns})
    return frame.with_columns(pl.col("ts").dt.convert_time_zone(zone))


def ms(text: str) -> float:
    """Return a wall clock time on the `utc` axis, in milliseconds."""
    return datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000


def every_figure(frame: pl.DataFrame) -> list[charts.Figure]:
    """Return each kind of chart of one frame with ts, actor, outcome and count."""
    return [
        charts.over_time(frame, every="1h", by="outcome"),
        charts.over_time(frame, every="1h"),
        charts.heat_map(frame),
        charts.top(frame, "actor", split="outcome"),
        charts.top(frame, "actor"),
        charts.share(frame, "outcome"),
        charts.share(frame, "outcome", by="actor"),
    ]


@pytest.fixture(scope="module")
def week() -> pl.DataFrame:
    """A week of hours with actors and outcomes, nulls among them."""
    return hours(
        datetime(2026, 11, 15, 23, tzinfo=UTC),
        168,
        "Europe/Stockholm",
        actor=[f"user{hour % 20}" if hour % 7 else None for hour in range(168)],
        outcome=["success", "failure", None, "rejected"] * 42,
    )


def parts(spec: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary inside a specification, but for its data."""
    if isinstance(spec, dict):
        yield spec
        for key, value in spec.items():
            if key != "data":
                yield from parts(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from parts(value)


def test_every_time_axis_is_utc_and_names_its_zone(week: pl.DataFrame) -> None:
    """A temporal channel has a `utc` scale and a title that names the zone of the frame."""
    found = 0
    for figure in every_figure(week):
        for part in parts(figure.to_dict()):
            if part.get("type") == "temporal" and "scale" in part:
                assert part["scale"]["type"] == "utc"
                assert part["title"] == "2026, Europe/Stockholm (UTC+01:00)"
                found += 1
    assert found == 2


def test_buckets_lie_where_the_wall_clock_says(week: pl.DataFrame) -> None:
    """The first bucket of a Monday in Stockholm starts at midnight of the axis and is an hour wide."""
    first = min(charts.over_time(week, every="1h").spec["data"]["values"], key=lambda value: value["from"])
    assert (first["from"], first["to"]) == (ms("2026-11-16T00:00"), ms("2026-11-16T01:00"))


@pytest.mark.parametrize(
    ("zone", "offset", "day"),
    [
        ("Asia/Kolkata", "+05:30", "Thu 01 Jan 2026"),
        ("Asia/Kathmandu", "+05:45", "Thu 01 Jan 2026"),
        ("America/New_York", "-05:00", "Wed 31 Dec 2025"),
    ],
)
def test_odd_offsets(zone: str, offset: str, day: str) -> None:
    """Half and quarter hours of offset are shown in full, and the day is the one of the zone."""
    figure = charts.over_time(hours(datetime(2026, 1, 1, tzinfo=UTC), 2, zone), every="1h")
    assert figure.spec["encoding"]["x"]["title"] == f"{day}, {zone} (UTC{offset})"


def test_a_repeated_hour_is_drawn_twice() -> None:
    """On the day with 25 hours hourly bars do not share a place, and the subtitle says how they are drawn."""
    figure = charts.over_time(
        hours(datetime(2026, 10, 24, 22, tzinfo=UTC), 25, "Europe/Stockholm"), every="1h"
    )
    starts = [value["from"] for value in figure.spec["data"]["values"]]
    assert len(set(starts)) == 25
    assert figure.spec["encoding"]["x"]["title"] == "Sun 25 Oct 2026, Europe/Stockholm, drawn at UTC+02:00"
    assert "The clocks change in this window" in figure.subtitle


@pytest.mark.parametrize("first", ["2026-03-27T23:00", "2026-10-23T22:00"])
def test_days_follow_the_calendar(first: str) -> None:
    """Days of 23 and 25 hours are drawn as wide as every other day."""
    start = datetime.fromisoformat(f"{first}+00:00")
    ts = pl.Series("ts", [start]).dt.convert_time_zone("Europe/Stockholm")
    days = pl.concat([ts, ts.dt.offset_by("1d"), ts.dt.offset_by("2d")])
    figure = charts.over_time(pl.DataFrame([days, pl.Series("count", [1, 2, 3])]), every="1d")
    day_ms = 86_400_000
    assert [value["to"] - value["from"] for value in figure.spec["data"]["values"]] == [day_ms] * 3
    assert [value["from"] % day_ms for value in figure.spec["data"]["values"]] == [0] * 3


def test_the_axis_spans_the_window(week: pl.DataFrame) -> None:
    """With both bounds given, the axis shows the whole window and not only where events are."""
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    figure = charts.over_time(week, every="1h", start=start, end=end)
    scale = figure.spec["encoding"]["x"]["scale"]
    rest = {"date": 1, "hours": 1, "minutes": 0, "seconds": 0, "milliseconds": 0, "utc": True}
    assert scale["domainMin"] == {"year": 2026, "month": 11, **rest}
    assert scale["domainMax"] == {"year": 2026, "month": 12, **rest}
    later = charts.over_time(week, every="1h", start=start, end=end.replace(year=2027))
    assert later.spec["encoding"]["x"]["title"].startswith("2026\u20132027, ")


def test_a_column_without_a_zone_is_refused() -> None:
    """Times that do not say their zone raise, naming what was found."""
    frame = pl.DataFrame({"ts": [datetime(2026, 1, 1)], "count": [1]})  # noqa: DTZ001 -- the point of it
    with pytest.raises(InvalidQueryError, match="not a time with a zone"):
        charts.over_time(frame, every="1h")
    with pytest.raises(InvalidQueryError, match="not a time with a zone"):
        charts.heat_map(frame)


def colours_of(figure: charts.Figure) -> dict[str, str]:
    """Return the colour of each group of a chart."""
    scale = figure.spec["encoding"]["color"]["scale"]
    return dict(zip(scale["domain"], scale["range"], strict=True))


def test_outcomes_keep_their_colours() -> None:
    """Success is blue, failure vermillion and null grey, whatever else there is and however often."""
    frame = pl.DataFrame({"outcome": [None, "odd", "failure", "success"], "count": [9, 8, 1, 2]})
    colours = colours_of(charts.share(frame, "outcome"))
    assert colours["success"] == "#0072b2"
    assert colours["failure"] == "#d55e00"
    assert colours["(none)"] == "#5f6771"
    assert len(set(colours.values())) == 4


def test_every_word_for_a_failure_has_a_colour_of_failures() -> None:
    """They have their own colours, the first vermillion; those that a report counts otherwise have not."""
    outcomes = ["SUCCESS", "AccessDenied", "DENY", "403", "CHALLENGE"]
    frame = pl.DataFrame({"outcome": outcomes, "count": [9, 8, 7, 6, 5]})
    assert colours_of(charts.share(frame, "outcome")) == dict(
        zip(outcomes, [BLUE, *FAILED, PALETTE[1]], strict=True)
    )
    chosen = colours_of(charts.share(frame, "outcome", failures=["CHALLENGE"]))
    assert [name for name, colour in chosen.items() if colour in FAILED] == ["CHALLENGE"]


def test_only_outcomes_are_failures() -> None:
    """An actor or an action that is called like a failure has a colour like any other."""
    frame = pl.DataFrame({"actor": ["failure", "bo"], "count": [9, 8]})
    assert not set(colours_of(charts.share(frame, "actor")).values()) & set(FAILED)


def test_what_does_not_fit_is_one_group() -> None:
    """Of ten groups the six largest are drawn by name, and the others as one grey group with their sum."""
    frame = hours(datetime(2026, 1, 1, tzinfo=UTC), 10, "UTC", by=[f"g{i}" for i in range(10)]).with_columns(
        count=pl.int_range(10, 0, -1)
    )
    figure = charts.over_time(frame, every="1h", by="by")
    values = figure.spec["data"]["values"]
    assert figure.spec["encoding"]["color"]["scale"]["domain"] == [
        "g0",
        "g1",
        "g2",
        "g3",
        "g4",
        "g5",
        "(4 others)",
    ]
    assert sum(value["count"] for value in values if value["group"] == "(4 others)") == 4 + 3 + 2 + 1
    assert sum(value["count"] for value in values) == frame["count"].sum()


def test_top_counts_what_it_leaves_out() -> None:
    """The subtitle of the most frequent says how many there are and what share is drawn."""
    frame = pl.DataFrame({"actor": ["a", "b", "c"], "count": [1200, 30, 4]})
    figure = charts.top(frame, "actor", n=2)
    assert figure.subtitle == "The first 2 have 1,230 of 1,234 events; 1 other is not drawn"
    assert figure.alt == "Top actor: a 1,200, b 30."


def test_shares_of_a_row_add_up(week: pl.DataFrame) -> None:
    """The parts of each bar add up to one."""
    values = charts.share(week, "outcome", by="actor").spec["data"]["values"]
    for row in {value["row"] for value in values}:
        assert sum(value["part"] for value in values if value["row"] == row) == pytest.approx(1)


def test_bars_from_tiers_are_paler() -> None:
    """What no event is kept of any more is drawn in another tone, and the subtitle says from which tiers it comes."""
    frame = hours(datetime(2026, 11, 16, tzinfo=UTC), 3, "UTC", tier=["1d", "1h, raw", "raw"])
    figure = charts.over_time(frame, every="1h")
    assert figure.subtitle.endswith(
        "Paler bars come from the tiers 1d and 1h: their events are no longer kept"
    )
    assert [bar.get("rolled") for bar in figure.spec["data"]["values"]] == ["tier", "tier", None]
    assert (
        figure.spec["encoding"]["opacity"]["condition"]["value"] < figure.spec["encoding"]["opacity"]["value"]
    )
    assert "tier" in figure.data.columns
    raw = charts.over_time(frame.with_columns(tier=pl.lit("raw")), every="1h")
    assert ("opacity" in raw.spec["encoding"], "tier" in raw.data.columns) == (False, False)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Stockholm", "America/New_York"])
def test_daily_data_has_no_hours(zone: str) -> None:
    """Of dates without an hour no hours of the week are drawn, in their own zone or another; of a day's start they are."""
    days = hours(datetime(2026, 11, 16, tzinfo=UTC), 24 * 9, zone).gather_every(24)
    figure = charts.heat_map(days)
    assert figure.spec["data"]["values"] == [
        {"text": "All of these events are dated to a day, without an hour"}
    ]
    local = days.with_columns(pl.col("ts").dt.truncate("1d"))
    assert charts.heat_map(local).spec["data"] == figure.spec["data"]
    one = hours(datetime(2026, 11, 16, tzinfo=UTC), 1, "UTC")
    assert len(charts.heat_map(one).spec["data"]["values"]) == 7 * 24


def test_heat_map_has_every_hour_of_the_week(week: pl.DataFrame) -> None:
    """All 168 cells are there, add up to the events, and use the shades that the legend names."""
    spec = charts.heat_map(week.filter(pl.col("ts").dt.hour() > 7)).spec
    values = spec["data"]["values"]
    assert len({(value["day"], value["hour"]) for value in values}) == 168
    assert sum(value["count"] for value in values) == 7 * 16
    assert {value["shade"] for value in values} <= set(spec["encoding"]["color"]["scale"]["domain"])
    assert {value["shade"] for value in values if value["count"] == 0} == {"0"}


@pytest.mark.parametrize(
    ("counts", "bounds"),
    [([1], [1]), ([4], [1, 2, 3, 4]), ([281], [11, 45, 101, 180, 281]), ([5], [1, 2, 3, 4, 5])],
)
def test_shades(counts: list[int], bounds: list[int]) -> None:
    """Shades end at the largest count, and small counts get one shade each."""
    assert shade_bounds(counts) == bounds


def test_null_empty_and_look_alike_stay_apart() -> None:
    """Null, the empty text and the text "(none)" are three groups."""
    figure = charts.top(pl.DataFrame({"actor": [None, "", "(none)"], "count": [3, 2, 1]}), "actor")
    assert [value["row"] for value in figure.spec["layer"][1]["data"]["values"]] == [
        "(none)",
        '""',
        '"(none)"',
    ]


@pytest.mark.parametrize("column", HOSTILE[:4])
def test_hostile_names_are_text_only(column: str) -> None:
    """A hostile column name appears in titles, made visible, and never as a field or an expression."""
    frame = hours(datetime(2026, 1, 1, tzinfo=UTC), len(HOSTILE), "UTC").with_columns(
        pl.Series(column, HOSTILE)
    )
    fields = {"from", "to", "group", "rank", "count", "row", "part", "text", "day", "hour", "shade"}
    for figure in (
        charts.over_time(frame, every="1h", by=column),
        charts.top(frame, column, split=column),
        charts.share(frame, column, by=column),
    ):
        spec = figure.to_dict()
        assert {part["field"] for part in parts(spec) if "field" in part} <= fields
        assert not any(
            {"expr", "signal", "transform", "href", "url", "filter"} & part.keys() for part in parts(spec)
        )
        assert "\u202e" not in json.dumps(spec, ensure_ascii=False)
        assert "\x1b" not in json.dumps(spec, ensure_ascii=False)


def test_empty_frames_say_so() -> None:
    """A frame without rows gives a figure with a sentence in place of marks."""
    frame = hours(datetime(2026, 1, 1, tzinfo=UTC), 1, "UTC", actor=["a"], outcome=["success"]).clear()
    for figure in every_figure(frame):
        assert figure.spec["data"]["values"] == [{"text": "No events in this window"}]
        assert figure.alt.endswith("no events in this window.")
        alt.Chart.from_dict(figure.to_dict())


@pytest.mark.parametrize("filled", [None, 0])
def test_filled_buckets_count_nothing(week: pl.DataFrame, filled: int | None) -> None:
    """Buckets that `downsample` filled in change no chart."""
    empty = week.head(5).with_columns(count=pl.lit(filled, dtype=pl.Int64), actor=pl.lit("nobody"))
    for first, second in zip(every_figure(week), every_figure(pl.concat([week, empty])), strict=True):
        assert first.to_dict() == second.to_dict()


def test_altair_accepts_every_figure(week: pl.DataFrame) -> None:
    """Each specification satisfies Altair's schema and is an Altair chart for who wants to change it."""
    for figure in every_figure(week):
        alt.Chart.from_dict(figure.to_dict())
        assert figure.chart.properties(width=300).to_dict(validate=False)["width"] == 300


def test_jupyterlab_draws_it_offline(week: pl.DataFrame) -> None:
    """One form is the Vega-Lite that JupyterLab bundles, plain JSON, without a way to an outside editor."""
    figure = charts.heat_map(week)
    data, metadata = figure._repr_mimebundle_()
    assert data.keys() == {MIME, VEGA_LITE, "text/plain"}
    assert json.loads(json.dumps(data[VEGA_LITE])) == figure.to_dict()
    assert metadata[VEGA_LITE]["embed_options"]["actions"]["editor"] is False


def test_a_report_reads_words_data_and_clock(week: pl.DataFrame) -> None:
    """The other form is ours: title, words, the whole frame behind the chart, and how its time axis is read."""
    figure = charts.over_time(week, every="1h")
    told = read_metadata(json.loads(json.dumps(figure._repr_mimebundle_()[0][MIME])))
    assert told is not None
    assert (told.title, told.subtitle, told.alt) == (figure.title, figure.subtitle, figure.alt)
    assert (len(told.data.rows), told.data.total) == (week.height, week.height)
    assert told.clock == figure.clock
    for broken in ({}, None, {**figure._repr_mimebundle_()[0][MIME], "version": 2}):
        assert read_metadata(broken) is None


@pytest.mark.parametrize(
    ("zone", "every", "hours_shifted"),
    [("UTC", "1h", [0]), ("Asia/Kolkata", "1h", [5.5]), ("Europe/Stockholm", "1d", [2, 1])],
)
def test_a_time_axis_can_be_read_back(zone: str, every: str, hours_shifted: list[float]) -> None:
    """The clock tells how far a place on the axis is from UTC, also where days have 23 or 25 hours."""
    start = datetime(2026, 10, 24, tzinfo=ZoneInfo(zone))
    days = [start + timedelta(days=at) for at in range(4)]
    frame = pl.DataFrame({"ts": pl.Series(days, dtype=pl.Datetime("us", zone)), "count": [1, 2, 3, 4]})
    clock = charts.over_time(frame, every=every).clock
    assert clock is not None
    assert [shift / 3_600_000 for _, shift in clock.shifts] == hours_shifted


def test_equal_frames_give_equal_figures(week: pl.DataFrame) -> None:
    """The same frame in another order of rows within a bucket draws the same chart."""
    again = week.sort("ts", "outcome", descending=[False, True])
    for first, second in zip(every_figure(week), every_figure(again), strict=True):
        assert first.to_dict() == second.to_dict()


def test_drawing_does_not_wait_for_altair() -> None:
    """Importing the charts and making one loads neither Altair nor vl-convert."""
    code = (
        "import sys, polars as pl; from auditkit import charts; "
        "charts.top(pl.DataFrame({'a': ['x'], 'count': [1]}), 'a')._repr_mimebundle_(); "
        "print({'altair', 'vl_convert'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_names_that_vega_has_taken_are_quoted() -> None:
    """An actor called like a member of every JavaScript object is drawn, its name in quotes."""
    frame = pl.DataFrame({"actor": ["constructor", "__proto__"], "count": [2, 1]})
    assert charts.top(frame, "actor").alt == 'Top actor: "constructor" 2, "__proto__" 1.'


@pytest.mark.parametrize(("span_ms", "labels"), [(190, 1), (4_300, 3), (30_000, 4)])
def test_labels_within_seconds_are_told_apart(span_ms: int, labels: int) -> None:
    """However short the window, no label of its axis stands there twice, and a single one says the whole time."""
    ts = [datetime(2026, 11, 24, 9, 0, 14, 652_000, UTC) + timedelta(milliseconds=at) for at in (0, span_ms)]
    frame = pl.DataFrame({"ts": ts, "actor": ["ann"] * 2})
    spec = charts.timeline(frame, "actor", split=None).to_dict()
    drawn = vlc.vegalite_to_svg(spec, vl_version="5.21")
    shown = re.findall(r">([\d:.]+)</text>", drawn)
    assert len(shown) == len(set(shown)) >= labels
    if labels == 1:
        assert re.fullmatch(r"09:00:14\.\d{3}", shown[0])
