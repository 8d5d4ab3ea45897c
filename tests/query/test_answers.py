"""The three questions against plain Python: loops over lists of dictionaries, zones from the standard library."""

import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from auditkit import query
from auditkit.errors import InvalidQueryError, InvalidTimeError
from auditkit.timerange import TimeRange, from_us
from auditkit.where import attr
from tests.plain import (
    DAY,
    DEFAULTS,
    HOUR,
    MEASURES,
    SECOND,
    Event,
    assert_rows,
    bucket_of,
    groups,
    in_order,
    instant,
)
from tests.query.generated import BY, CHANGES, EVENTS, EVERY, SCHEMA, TIMES, ZONES, frame_of


@settings(max_examples=150)
@given(EVENTS, BY, st.sampled_from([None, *EVERY]), st.sampled_from(ZONES), st.booleans())
def test_groups_agree_with_plain_python(
    events: list[Event], by: list[str], every: str | None, tz: str, lazy: bool
) -> None:
    """Any events in any order, grouped by any keys and buckets in any zone, measured in every way there is."""
    frame = frame_of(events)
    aggs = ["count", *MEASURES]
    found = query.group_by(frame.lazy() if lazy else frame, by, every=every, aggs=aggs, tz=tz)
    expected = groups(events, by, every, tz, aggs)
    if not by and every is None and not events:
        expected = [(0, *(MEASURES[name]([]) for name in MEASURES))]
    assert_rows(found, expected)
    assert found.columns == [*(["ts"] if every else []), *by, *aggs]
    assert pl.Categorical not in found.dtypes
    assert every is None or found.schema["ts"] == pl.Datetime("us", tz)


@settings(max_examples=75)
@given(EVENTS, TIMES, st.integers(0, 400 * DAY), st.sampled_from(ZONES))
def test_windows_are_half_open(events: list[Event], start: int, length: int, tz: str) -> None:
    """A window takes what happened at its start and not what happened at its end, for all three questions."""
    window: dict[str, Any] = {"start": from_us(start), "end": from_us(start + length)}
    inside = [event for event in events if start <= event["ts"] < start + length]
    frame = frame_of(events)
    ordered = in_order(inside)
    assert query.range(frame, **window, tz=tz)["seq"].to_list() == [event["seq"] for event in ordered]
    backwards = query.range(frame.lazy(), **window, descending=True, limit=3, columns="seq")
    assert backwards["seq"].to_list() == [event["seq"] for event in ordered[::-1][:3]]
    assert_rows(query.group_by(frame, ["actor"], **window), groups(inside, ["actor"], None, tz, DEFAULTS))
    found = query.downsample(frame, "1d", **window, tz=tz)
    assert_rows(found, groups(inside, [], "1d", tz, DEFAULTS))


@settings(max_examples=75)
@given(
    EVENTS.filter(bool),
    st.lists(st.sampled_from(["actor", "action"]), max_size=2, unique=True),
    st.sampled_from(["1d", "1w", "1mo", "1h", "5m"]),
    st.sampled_from(ZONES),
    st.sampled_from([None, 0, -1.5, "forward"]),
    st.booleans(),
)
def test_empty_buckets_are_filled(
    events: list[Event], by: list[str], every: str, tz: str, fill: Any, bounded: bool
) -> None:
    """Every series has a row for every bucket, found by stepping through time; empty ones show what was asked."""
    near = {"1h": 60 * HOUR, "5m": 5 * HOUR}.get(every, 400 * DAY)
    middle = instant(CHANGES[len(events) % len(CHANGES)])
    events = [{**event, "ts": middle + event["ts"] % near - near // 2} for event in events]
    window: dict[str, Any] = {}
    first, last = (extreme(event["ts"] for event in events) for extreme in (min, max))
    if bounded:
        first, last = first - near // 7, last + near // 9
        window = {"start": from_us(first), "end": from_us(last + 1)}
    step = {"1h": HOUR // 2, "5m": 150 * SECOND}.get(every, 12 * HOUR)
    starts = sorted({bucket_of(us, every, tz) for us in [*range(first, last, step), last]})
    rows = {row[: len(by) + 1]: row[len(by) + 1 :] for row in groups(events, by, every, tz, DEFAULTS)}
    expected = []
    for series in {key[1:] for key in rows}:
        before: tuple[Any, ...] = (None,) * len(DEFAULTS)
        for start in starts:
            empty = before if fill == "forward" else (fill,) * len(DEFAULTS)
            before = rows.get((start, *series), empty)
            expected.append((start, *series, *before))
    expected.sort(key=lambda row: [(part is None, part or "") for part in row[: len(by) + 1]])
    if fill == 0:  # in its column's own kind: integers for counts, floats for the rest
        expected = [
            row[: len(by) + 3] + tuple(float(part) if part == 0 else part for part in row[len(by) + 3 :])
            for row in expected
        ]
    if fill == -1.5:
        counts = slice(len(by) + 1, len(by) + 3)
        expected = [
            (*row[: len(by) + 1], *(float(part) for part in row[counts]), *row[len(by) + 3 :])
            for row in expected
        ]
    found = query.downsample(frame_of(events), every, by=by, fill=fill, tz=tz, **window)
    assert_rows(found, expected)


def is_known(tz: str) -> bool:
    """Whether Polars has a zone that Python has: each comes with a list of its own."""
    try:
        pl.Series([0]).cast(pl.Datetime("us", tz))
    except pl.exceptions.ComputeError:
        return False
    return True


ZONE_NAMES = sorted(zoneinfo.available_timezones())


@pytest.mark.parametrize("letter", sorted({name[0] for name in ZONE_NAMES}))
def test_every_zone_has_its_hours_and_days(letter: str) -> None:
    """In each zone that a column can have, an instant's hour has one offset and its day one date, and both begin at the first instant."""
    for texts in (["1968-10-27T02:15Z"], ["2026-03-29T01:30Z", "2026-07-01T12:00Z", "2026-10-25T00:59:59Z"]):
        moments = [instant(text) for text in texts]
        frame = pl.DataFrame({"ts": pl.Series(moments).cast(pl.Datetime("us", "UTC"))})
        for tz in (name for name in ZONE_NAMES if name.startswith(letter) and is_known(name)):
            hours = query.downsample(frame, "1h", tz=tz, aggs="count")["ts"].to_physical()
            assert hours.to_list() == [bucket_of(us, "1h", tz) for us in moments], tz
            days = query.downsample(frame, "1d", tz=tz, aggs="count")["ts"].to_physical()
            for us, start in zip(moments, days, strict=True):
                before, first, date = (
                    from_us(at).astimezone(ZoneInfo(tz)).date() for at in (start - 1, start, us)
                )
                assert before < first == date, tz


MORNING = datetime(2026, 11, 24, 7, tzinfo=UTC)


@pytest.fixture
def events() -> pl.DataFrame:
    """Six events of a morning, out of order, as a trail stores them."""
    rows = [
        (0, 40, "ann", "doc.read", 1.0, '{"ip":"10.0.0.7","tags":["a","b"]}'),
        (1, 5, "bob", "auth.login", None, '{"ip":"10.0.0.8"}'),
        (2, 5, None, "auth.fail", 4.0, "{}"),
        (3, 130, "ann", "doc.write", 2.5, None),
        (4, 70, "ann", "doc.read", None, '{"ip":null}'),
        (5, 5, "bob", "doc.read", 8.0, '{"ip":"10.0.0.7"}'),
    ]
    return pl.DataFrame(
        [
            (seq, MORNING + timedelta(minutes=at), actor, action, None, value, attrs)
            for seq, at, actor, action, value, attrs in rows
        ],
        schema=SCHEMA,
        orient="row",
    )


def test_events_come_in_order_of_time_then_seq(events: pl.DataFrame) -> None:
    """Equal times are ordered by seq; descending turns both around; a limit takes the first of the result."""
    assert query.range(events)["seq"].to_list() == [1, 2, 5, 0, 4, 3]
    assert query.range(events, descending=True, limit=4)["seq"].to_list() == [3, 4, 0, 5]
    assert query.range(events, limit=0).height == 0
    unnumbered = query.range(events.drop("seq").sort("actor", descending=True), columns=["actor"], limit=3)
    assert unnumbered["actor"].to_list() == [None, "bob", "bob"]


def test_chosen_columns_come_in_the_order_asked_for(events: pl.DataFrame) -> None:
    """Columns are named, in any order, paths in attrs among them; text is String."""
    found = query.range(events, columns=["attrs.tags.1", "actor", "seq"], limit=4)
    assert found.columns == ["attrs.tags.1", "actor", "seq"]
    assert found.rows()[3] == ("b", "ann", 0)
    assert found.dtypes == [pl.String, pl.String, pl.UInt64]


def test_a_window_may_be_relative(events: pl.DataFrame) -> None:
    """Durations count from the moment given as now, and dates are read in the zone given."""
    now = MORNING + timedelta(hours=2)
    assert query.range(events, "-1h", now=now)["seq"].to_list() == [4, 3]
    assert query.range(events, "-2h", "+6m", now=now)["seq"].to_list() == [1, 2, 5]
    assert query.range(events, "2026-11-24T12:30", "2026-11-24 12:36", tz="Asia/Kolkata")[
        "seq"
    ].to_list() == [1, 2, 5]


def test_a_condition_limits_every_question(events: pl.DataFrame) -> None:
    """Mappings and expressions choose the events that are returned or counted; an expression sees String."""
    by_mapping = query.range(events, where={"actor": ["bob", None], "action": "auth.*"})
    by_expression = query.range(
        events, where=pl.col("action").str.starts_with("auth") & (pl.col("actor").fill_null("bob") == "bob")
    )
    assert_frame_equal(by_mapping, by_expression)
    assert by_mapping["seq"].to_list() == [1, 2]
    counted = query.group_by(events, "actor", where=pl.col("action").str.ends_with("read"), aggs="count")
    assert counted.rows() == [("ann", 2), ("bob", 1)]
    assert query.downsample(events, "1h", where={"actor": "nobody"}).height == 0


def test_keys_may_be_paths_and_expressions(events: pl.DataFrame) -> None:
    """Events are grouped by values inside attrs and by a caller's expressions, which see text as String."""
    assert query.group_by(events, "attrs.ip", aggs="count").rows() == [
        ("10.0.0.7", 2),
        ("10.0.0.8", 1),
        (None, 3),
    ]
    family = pl.col("action").str.split(".").list.first().alias("family")
    assert query.group_by(events, [family, "actor"], aggs="count").rows() == [
        ("auth", "bob", 1),
        ("auth", None, 1),
        ("doc", "ann", 3),
        ("doc", "bob", 1),
    ]
    same = query.group_by(events, attr("ip").alias("attrs.ip"))
    assert_frame_equal(same, query.group_by(events, "attrs.ip"))


def test_measures_may_be_named_renamed_and_own(events: pl.DataFrame) -> None:
    """Names, expressions and a mapping of new names replace the usual columns; order-dependent ones are in order."""
    found = query.group_by(
        events,
        "action",
        aggs={
            "n": "count",
            "spent": "sum",
            "newest": pl.col("actor").last(),
            "longest": pl.col("actor").str.len_bytes().max(),
            "who": pl.col("actor").sort().unique(maintain_order=True),
        },
    )
    assert found.columns == ["action", "n", "spent", "newest", "longest", "who"]
    assert found.row(2) == ("doc.read", 3, 9.0, "ann", 3, ["ann", "bob"])
    assert found.schema["who"] == pl.List(pl.String)
    listed = query.group_by(events, [], aggs=["p50", pl.col("seq").max().alias("top"), "mean"])
    assert listed.rows() == [(3.25, 5, 15.5 / 4)]
    twice = query.group_by(events, "action", aggs=[pl.col("action").first().alias("same"), "count"])
    assert twice["same"].to_list() == twice["action"].to_list()


def test_without_keys_there_is_one_series(events: pl.DataFrame) -> None:
    """A series without keys has one row per bucket, in the zone asked for."""
    found = query.downsample(events, "1h", tz="Asia/Kathmandu", aggs=["count", "max"])
    assert found["ts"].dtype == pl.Datetime("us", "Asia/Kathmandu")
    assert [moment.isoformat() for moment in found["ts"]] == [
        "2026-11-24T12:00:00+05:45",
        "2026-11-24T13:00:00+05:45",
        "2026-11-24T14:00:00+05:45",
    ]
    assert found.rows(named=False)[0][1:] == (3, 8.0)
    assert found["count"].to_list() == [3, 2, 1]


def test_the_columns_are_those_promised(events: pl.DataFrame) -> None:
    """Names and dtypes are the same for many events, few and none."""
    expected = pl.Schema(
        {
            "ts": pl.Datetime("us", "Europe/Stockholm"),
            "actor": pl.String(),
            "count": pl.Int64(),
            "value_count": pl.Int64(),
            "sum": pl.Float64(),
            "mean": pl.Float64(),
            "min": pl.Float64(),
            "max": pl.Float64(),
        }
    )
    for some in (events, events.head(1), events.clear()):
        for every in ("5m", "1h", "1d", "1mo"):
            found = query.group_by(some, "actor", every=every, tz="Europe/Stockholm")
            assert found.schema == expected
            if some.height:
                filled = query.downsample(some, every, by="actor", fill=0, tz="Europe/Stockholm")
                assert filled.schema == expected


def test_what_a_caller_knows_of_the_events_changes_no_answer(events: pl.DataFrame) -> None:
    """Told where all events lie, a query does not look at them first, and answers the same."""
    times = events["ts"].to_physical()
    looked = 0

    def look(frame: pl.DataFrame) -> pl.DataFrame:
        nonlocal looked
        looked += 1
        return frame

    watched = events.lazy().map_batches(look)
    known = TimeRange(start_us=times.min(), end_us=times.max() + 1)  # type: ignore[arg-type, operator]
    for every in ("7m", "1h", "1d", "1mo"):
        for window in (
            {},
            {"start": MORNING + timedelta(hours=1)},
            {"end": "2026-11-24T08:00Z"},
            {"start": "2027-01-01"},
        ):
            plain = query.downsample(events, every, by="actor", tz="Europe/Stockholm", fill=0, **window)
            looked = 0
            told = query.downsample(
                watched, every, by="actor", tz="Europe/Stockholm", fill=0, within=known, **window
            )
            assert looked == 1
            assert_frame_equal(told, plain)


def test_filling_nothing_makes_nothing(events: pl.DataFrame) -> None:
    """Without events, a bounded series without keys is filled, and one that knows no keys or no bounds is empty."""
    none = events.clear()
    window: dict[str, Any] = {"start": MORNING, "end": "+3h"}
    assert query.downsample(none, "1h", fill=0, aggs="count", **window)["count"].to_list() == [0, 0, 0]
    assert query.downsample(none, "1h", by="actor", fill=0, **window).height == 0
    assert query.downsample(none, "1h", fill=0).height == 0
    assert query.downsample(none, "1h", fill=0, start=MORNING).height == 0
    assert query.downsample(none, "1h", fill=0, start=MORNING, end=MORNING).height == 0


def test_only_numbers_are_filled_with_a_number(events: pl.DataFrame) -> None:
    """Text in an empty bucket stays null; counts stay integers where the number is one."""
    aggs: dict[str, str | pl.Expr] = {"n": "count", "who": pl.col("actor").first()}
    found = query.downsample(events, "30m", fill=0, aggs=aggs)
    assert found.rows()[3][1:] == (0, None)
    assert found.schema["n"] == pl.Int64
    forward = query.downsample(events, "30m", fill="forward", aggs=aggs)
    assert forward.rows()[3][1:] == forward.rows()[2][1:] == (1, "ann")


def test_events_without_a_time_have_a_bucket_of_their_own(events: pl.DataFrame) -> None:
    """Rows of a foreign frame whose ts is null are kept, sorted last, and never filled around."""
    untimed = events.with_columns(ts=pl.when(pl.col("seq") != 3).then(pl.col("ts")))
    for tz in ("UTC", "Europe/Stockholm"):
        for every in ("1h", "1d", "1mo"):
            found = query.downsample(untimed, every, tz=tz, fill=None, aggs="count")
            assert found["ts"].to_list()[-1] is None
            assert found["count"].sum() == 6
    assert query.range(untimed)["seq"].to_list()[-1] == 3


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_times_of_any_unit_and_zone_are_read(unit: Any, zone: str) -> None:
    """A frame whose ts has another unit or zone gives the same answers; below a microsecond it is floored."""
    us = [-1_500_000, -1_000_000, -1, 0, 1_000]
    raw = {
        "ms": [instant // 1000 for instant in us],
        "us": us,
        "ns": [instant * 1000 + 999 for instant in us],
    }[unit]
    frame = pl.DataFrame({"ts": pl.Series(raw, dtype=pl.Int64).cast(pl.Datetime(unit, zone))})
    floored = [instant // 1000 * 1000 for instant in us] if unit == "ms" else us
    assert query.range(frame)["ts"].to_physical().to_list() == floored
    for start, end in ((-1_000_000, 0), (-1, 1), (0, 1_000), (-999_999, 1_001)):
        found = query.range(frame, from_us(start), from_us(end))["ts"].to_physical().to_list()
        assert found == [instant for instant in floored if start <= instant < end]
    seconds = query.downsample(frame, "1s", aggs="count")
    assert seconds["ts"].to_physical().to_list() == sorted(
        {instant // SECOND * SECOND for instant in floored}
    )


def test_a_frame_without_values_is_counted(events: pl.DataFrame) -> None:
    """Any frame with a ts can be asked how many; measures of a value that is not there are refused."""
    bare = events.select("ts", "actor")
    assert query.group_by(bare, "actor").columns == ["actor", "count"]
    with pytest.raises(InvalidQueryError, match="aggs: needs a numeric column 'value'"):
        query.group_by(bare, "actor", aggs="mean")


def test_whole_numbers_stay_exact() -> None:
    """Values of an integer column are summed as integers, beyond what a float can hold."""
    frame = pl.DataFrame({"ts": [MORNING] * 2, "value": [2**53, 1]})
    assert query.group_by(frame, [], aggs=["sum", "max", "mean"]).rows() == [(2**53 + 1, 2**53, float(2**52))]


def test_answers_join_and_concatenate_with_ordinary_frames(events: pl.DataFrame) -> None:
    """Text of an answer joins with String, stacks with it and takes string expressions."""
    people = pl.DataFrame({"actor": ["ann", "bob"], "team": ["red", "blue"]})
    counted = query.group_by(events, "actor", aggs="count")
    assert counted.join(people, on="actor", how="left")["team"].to_list() == ["red", "blue", None]
    assert pl.concat([query.range(events, columns="actor"), people.select("actor")]).height == 8
    assert counted.filter(pl.col("actor").str.contains("^a"))["count"].to_list() == [3]


def test_equal_calls_give_equal_frames(events: pl.DataFrame) -> None:
    """The same question asked again, of the same events in any order, has the same answer."""
    asked: list[Callable[[pl.DataFrame], pl.DataFrame]] = [
        lambda frame: query.range(frame, limit=5),
        lambda frame: query.group_by(frame, ["actor", "action"], every="1h", aggs=["first", "last", "p95"]),
        lambda frame: query.group_by(frame, "action", aggs={"who": pl.col("actor").first()}),
        lambda frame: query.downsample(frame, "15m", by="actor", fill="forward"),
    ]
    for ask in asked:
        answer = ask(events)
        for seed in range(5):
            assert_frame_equal(ask(events.sample(fraction=1, shuffle=True, seed=seed)), answer)


REFUSED: list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]] = [
    ("ts: is not a column of times", lambda frame: query.range(frame.drop("ts"))),
    ("ts: is not a column of times", lambda frame: query.range(frame.with_columns(ts=pl.lit("2026")))),
    (
        "ts: has no time zone",
        lambda frame: query.range(frame.with_columns(pl.col("ts").dt.replace_time_zone(None))),
    ),
    ("start: a datetime needs", lambda frame: query.range(frame, MORNING.replace(tzinfo=None))),
    ("start: is not a time", lambda frame: query.range(frame, 1_764_000_000)),  # type: ignore[arg-type]
    ("end: ", lambda frame: query.group_by(frame, "actor", end="soon")),
    (
        "start: lies after the end",
        lambda frame: query.downsample(frame, "1h", start="2027-01-01", end="2026-01-01"),
    ),
    ("tz: ", lambda frame: query.range(frame, tz="Mars/Olympus")),
    ("tz: ", lambda frame: query.group_by(frame, "actor", every="1h", tz="Mars/Olympus")),
    ("limit: ", lambda frame: query.range(frame, limit=-1)),
    ("limit: ", lambda frame: query.range(frame, limit=True)),
    ("columns: ", lambda frame: query.range(frame, columns=["nobody"])),
    ("where: ", lambda frame: query.range(frame, where={"nobody": 1})),
    ("where: ", lambda frame: query.range(frame, where=pl.col("nobody") == 1)),
    ("by: ", lambda frame: query.group_by(frame, "nobody")),
    ("by: ", lambda frame: query.group_by(frame, pl.col("nobody"))),
    ("by: ", lambda frame: query.group_by(frame, ["actor", "actor"])),
    ("by: ", lambda frame: query.group_by(frame, "ts", every="1h")),
    ("by: ", lambda frame: query.group_by(frame, [7])),  # type: ignore[list-item]
    ("every: ", lambda frame: query.group_by(frame, "actor", every="hourly")),
    ("every: ", lambda frame: query.downsample(frame, "1d12h")),
    ("every: makes", lambda frame: query.downsample(frame, "1us", fill=0)),
    ("every: makes", lambda frame: query.downsample(frame, "5ms", by=["actor", "action", "seq"], fill=0)),
    ("fill: ", lambda frame: query.downsample(frame, "1h", fill="zero")),  # type: ignore[arg-type]
    ("fill: ", lambda frame: query.downsample(frame, "1h", fill=True)),
    ("aggs: ", lambda frame: query.group_by(frame, "actor", aggs="median")),
    ("aggs: ", lambda frame: query.group_by(frame, "actor", aggs=["count", "count"])),
    ("aggs: ", lambda frame: query.group_by(frame, "actor", aggs={"actor": "count"})),
    ("aggs: ", lambda frame: query.group_by(frame, "actor", aggs={"ts": "count"}, every="1h")),
    ("aggs: ", lambda frame: query.group_by(frame, "actor", aggs=[])),
    ("aggs: ", lambda frame: query.group_by(frame, "actor", aggs=[pl.col("nobody").sum()])),
    ("aggs: ", lambda frame: query.group_by(frame, "actor", aggs=[pl.all().max()])),
    ("by: ", lambda frame: query.group_by(frame, pl.all())),
    ("aggs: ", lambda frame: query.group_by(frame, "actor", aggs=[5])),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("message", "ask"), REFUSED)
def test_questions_that_cannot_be_asked_name_the_argument(
    events: pl.DataFrame, message: str, ask: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """What is misspelt, mistyped or contradictory raises a ValueError that names the argument."""
    with pytest.raises((InvalidQueryError, InvalidTimeError), match=f"^{message}") as caught:
        ask(events)
    assert isinstance(caught.value, ValueError)
