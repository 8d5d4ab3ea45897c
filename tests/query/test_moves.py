"""Sessions, first sightings and comparisons against plain Python."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from auditkit import query
from auditkit.errors import InvalidQueryError, InvalidTimeError
from auditkit.timerange import from_us
from tests.plain import Event, assert_rows, cut_into_sessions, instant, side_by_side, sightings
from tests.query.generated import BY, CLOSE_EVENTS, CLOSE_TIMES, MINUTE, SCHEMA, frame_of

GAPS = {"10m": 10 * MINUTE, "20m": 20 * MINUTE, "9m59s": 599_000_000, "1us": 1, "1d": 1440 * MINUTE}
MORNING = instant("2026-11-24T07:00Z")


def plain_times(found: pl.DataFrame) -> pl.DataFrame:
    """Return lengths of time as microseconds."""
    return found.with_columns(pl.col(pl.Duration).to_physical())


def at_minutes(*minutes: float, **columns: list[Any]) -> pl.DataFrame:
    """Return events at these minutes of a morning."""
    events = [
        {**dict.fromkeys(SCHEMA), "seq": seq, "action": "doc.read", "ts": MORNING + round(minute * MINUTE)}
        for seq, minute in enumerate(minutes)
    ]
    return frame_of(events).with_columns(pl.Series(name, values) for name, values in columns.items())


@settings(max_examples=150)
@given(CLOSE_EVENTS, BY, st.sampled_from(list(GAPS)), st.booleans())
def test_sessions_agree_with_a_walk(events: list[Event], by: list[str], gap: str, lazy: bool) -> None:
    """Any events in any order, by any keys: each session begins, ends and counts as a walk along the events finds."""
    frame = frame_of(events)
    found = query.sessions(frame.lazy() if lazy else frame, gap, by=by)
    assert found.columns == [*by, "start", "end", "duration", "count", "actions"]
    assert_rows(plain_times(found), cut_into_sessions(events, by, GAPS[gap]))


@settings(max_examples=75)
@given(CLOSE_EVENTS, CLOSE_TIMES, CLOSE_TIMES)
def test_sessions_are_made_of_the_events_inside(events: list[Event], one: int, other: int) -> None:
    """A window and a condition choose events first: what is outside neither bridges a pause nor counts."""
    start, end = sorted((one, other))
    inside = [event for event in events if start <= event["ts"] < end and event["resource"] != "doc/7"]
    where = pl.col("resource").ne_missing(pl.lit("doc/7"))
    found = query.sessions(frame_of(events), "20m", start=from_us(start), end=from_us(end), where=where)
    assert_rows(plain_times(found), cut_into_sessions(inside, ["actor"], 20 * MINUTE))


def test_a_pause_as_long_as_the_gap_ends_no_session() -> None:
    """Exactly the gap is still the same session; a microsecond more is the next one."""
    exact = at_minutes(0, 30, 60)
    assert query.sessions(exact)["count"].to_list() == [3]
    longer = at_minutes(0, 30, 60 + 1 / MINUTE)
    assert query.sessions(longer)["count"].to_list() == [2, 1]
    assert query.sessions(longer)["end"].to_physical().to_list() == [
        MORNING + 30 * MINUTE,
        MORNING + 60 * MINUTE + 1,
    ]


def test_a_day_without_a_pause_is_a_fixed_length_in_any_zone() -> None:
    """A gap of a day is 24 hours on a day of 25 hours too."""
    events = [
        {**dict.fromkeys(SCHEMA), "seq": seq, "ts": instant("2026-10-24T12:00Z") + shift}
        for seq, shift in enumerate((0, 1440 * MINUTE, 1440 * MINUTE * 2 + 1))
    ]
    found = query.sessions(frame_of(events), "1d", by=None, tz="Europe/Stockholm")
    assert found["count"].to_list() == [2, 1]


def test_sessions_are_measured_as_asked() -> None:
    """Measures and expressions replace the counts and see the events of a session in order, text as String."""
    events = at_minutes(50, 0, 10, 0, actor=["ann"] * 4, value=[1.0, 2.0, None, 8.0]).with_columns(
        action=pl.Series(["d", "a", "c", "b"], dtype=pl.Categorical)
    )
    aggs: dict[str, Any] = {
        "n": "count",
        "first": "first",
        "last": "last",
        "way": pl.col("action").str.join(">"),
    }
    found = query.sessions(events, "20m", aggs=aggs)
    assert found.select("n", "first", "last", "way").rows() == [(3, 2.0, 8.0, "a>b>c"), (1, 1.0, 1.0, "d")]
    assert found.columns == ["actor", "start", "end", "duration", *aggs]


@settings(max_examples=150)
@given(CLOSE_EVENTS, BY, CLOSE_TIMES, CLOSE_TIMES, st.booleans())
def test_first_sightings_agree_with_a_look(
    events: list[Event], by: list[str], one: int, other: int, bounded: bool
) -> None:
    """Each combination is found once, at its first event by (ts, seq), if that lies in the window; history counts."""
    start, end = sorted((one, other)) if bounded else (-(10**18), 10**18)
    window: dict[str, Any] = {"start": from_us(start), "end": from_us(end)} if bounded else {}
    found = query.first_seen(frame_of(events).lazy(), by, **window)
    assert found.columns == [*by, "ts", "seq", "followed"]
    assert_rows(found, sightings(events, by, start, end))


def test_first_sightings_need_no_seq() -> None:
    """Events without a seq have no such column in the answer; keys may be paths, expressions and a single name."""
    events = at_minutes(5, 1, 1, attrs=['{"ip":"10.0.0.7"}', None, '{"ip":"10.0.0.7"}']).drop("seq")
    found = query.first_seen(events, "attrs.ip")
    assert found.rows() == [("10.0.0.7", from_us(MORNING + MINUTE), 1), (None, from_us(MORNING + MINUTE), 0)]
    made = query.first_seen(events, [pl.col("action").str.head(3).alias("kind")], start="2026-11-24")
    assert made.drop("ts").rows() == [("doc", 2)]
    assert query.first_seen(events, "action", start="-1h", now=from_us(MORNING + 62 * MINUTE)).height == 0


@settings(max_examples=150)
@given(
    CLOSE_EVENTS,
    CLOSE_EVENTS,
    BY,
    st.sampled_from(["count", "sum", "value_count", "max", "mean", "n_unique"]),
)
def test_comparisons_agree_with_two_counts(
    this: list[Event], last: list[Event], by: list[str], measure: str
) -> None:
    """Every combination in either frame has both measures, their difference and ratio, and is said to be new or gone."""
    found = query.compare(frame_of(this).lazy(), frame_of(last), by, agg=measure)
    assert found.columns == [*by, "this", "last", "difference", "ratio", "change"]
    assert_rows(found, side_by_side(this, last, by, measure))


def test_two_windows_of_one_frame_are_compared() -> None:
    """Half-open windows side by side share no event; a window and a condition given to the comparison limit both."""
    events = at_minutes(0, 10, 20, 30, 40, actor=["ann", "bob", "ann", "eve", None])
    last = query.range(events, end=from_us(MORNING + 20 * MINUTE))
    this = query.range(events, start=from_us(MORNING + 20 * MINUTE))
    assert query.compare(this, last, "actor").rows() == [
        ("ann", 1, 1, 0, 1.0, None),
        ("bob", 0, 1, -1, 0.0, "vanished"),
        ("eve", 1, 0, 1, None, "new"),
        (None, 1, 0, 1, None, "new"),
    ]
    limited = query.compare(
        events, this, "actor", end=from_us(MORNING + 25 * MINUTE), where={"actor": ["ann", "bob"]}
    )
    assert limited.rows() == [("ann", 2, 1, 1, 2.0, None), ("bob", 1, 0, 1, None, "new")]


def test_unsigned_measures_may_shrink() -> None:
    """What an expression counts without a sign has a difference with one."""
    few, many = at_minutes(0, actor=["ann"]), at_minutes(0, 1, actor=["ann", "bob"])
    found = query.compare(few, many, by=[], agg=pl.col("actor").n_unique())
    assert found.rows() == [(1, 2, -1, 0.5, None)]


NONE = pl.DataFrame(schema=SCHEMA)


def test_empty_frames_have_the_promised_columns() -> None:
    """Names and dtypes are the same for many events and none."""
    some = at_minutes(0, 5, actor=["ann", None])
    utc = pl.Datetime("us", "UTC")
    expected: list[tuple[Callable[[pl.DataFrame], pl.DataFrame], list[Any]]] = [
        (lambda frame: query.sessions(frame), [pl.String, utc, utc, pl.Duration("us"), pl.Int64, pl.Int64]),
        (lambda frame: query.first_seen(frame), [pl.String, pl.String, utc, pl.UInt64, pl.Int64]),
        (lambda frame: query.compare(frame, frame), [pl.String, *[pl.Int64] * 3, pl.Float64, pl.String]),
        (
            lambda frame: query.compare(frame, some, "actor", agg="sum"),
            [pl.String, *[pl.Float64] * 4, pl.String],
        ),
    ]
    for ask, dtypes in expected:
        assert ask(some).dtypes == dtypes
        assert ask(NONE).dtypes == dtypes
        assert_frame_equal(ask(some.sample(fraction=1, shuffle=True, seed=1)), ask(some))
    assert query.sessions(NONE, by=None).height == query.first_seen(NONE, []).height == 0
    assert query.compare(NONE, NONE, []).rows() == [(0, 0, 0, None, None)]


def test_events_without_a_time_are_in_no_session_and_no_sighting() -> None:
    """Rows of a foreign frame whose ts is null are left out of what is about time, and counted in comparisons."""
    events = at_minutes(0, 5).with_columns(ts=pl.when(pl.col("seq") == 1).then(pl.col("ts")))
    assert query.sessions(events)["count"].to_list() == [1]
    assert query.first_seen(events)["seq"].to_list() == [1]
    assert query.compare(events, NONE)["this"].to_list() == [2]


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_times_of_any_unit_and_zone_are_read(unit: Any) -> None:
    """Another unit or zone of ts gives the same sessions and sightings, in that zone and in microseconds."""
    frame = at_minutes(0, 5, 50)
    other = frame.with_columns(pl.col("ts").dt.convert_time_zone("Asia/Kathmandu").dt.cast_time_unit(unit))
    asked: list[Callable[..., pl.DataFrame]] = [query.sessions, query.first_seen]
    for ask in asked:
        found = ask(other, by="actor")
        assert found.select(pl.col(pl.Datetime).dt.convert_time_zone("UTC")).equals(
            ask(frame, by="actor").select(pl.col(pl.Datetime))
        )
        assert pl.Datetime("us", "Asia/Kathmandu") in found.dtypes


REFUSED: list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]] = [
    ("gap: has months", lambda frame: query.sessions(frame, "1mo")),
    ("gap: is not a positive", lambda frame: query.sessions(frame, "0s")),
    ("gap: is not a positive", lambda frame: query.sessions(frame, "-5m")),
    ("gap: is not a duration", lambda frame: query.sessions(frame, "soon")),
    ("gap: is not a duration", lambda frame: query.sessions(frame, 3600)),  # type: ignore[arg-type]
    ("by: is not a column", lambda frame: query.sessions(frame, by="nobody")),
    ("by: is the name", lambda frame: query.sessions(frame, by=pl.col("actor").alias("start"))),
    ("aggs: is the name", lambda frame: query.sessions(frame, aggs={"end": "count"})),
    ("aggs: is the name", lambda frame: query.sessions(frame, by=pl.col("actor").alias("count"))),
    ("aggs: is neither", lambda frame: query.sessions(frame, aggs="median")),
    ("start: ", lambda frame: query.sessions(frame, start="soon")),
    ("ts: has no time zone", lambda frame: query.sessions(frame.with_columns(pl.col("ts").dt.replace_time_zone(None)))),
    ("by: is the name", lambda frame: query.first_seen(frame, "ts")),
    ("by: is the name", lambda frame: query.first_seen(frame, ["actor", "actor"])),
    ("by: is not a column", lambda frame: query.first_seen(frame, "nobody")),
    ("where: ", lambda frame: query.first_seen(frame, where={"nobody": 1})),
    ("ts: is not a column", lambda frame: query.first_seen(frame.drop("ts"))),
    ("by: is the name", lambda frame: query.compare(frame, frame, pl.col("actor").alias("this"))),
    ("by: is Int64 in the one", lambda frame: query.compare(frame.with_columns(actor=pl.lit(1, pl.Int64)), frame, "actor")),
    ("agg: is not a number", lambda frame: query.compare(frame, frame, agg=pl.col("actor").first())),
    ("agg: is neither", lambda frame: query.compare(frame, frame, agg="median")),
    ("agg: needs a numeric", lambda frame: query.compare(frame, frame.drop("value"), agg="sum")),
    ("end: ", lambda frame: query.compare(frame, frame, end="+1d")),
]  # fmt: skip


@pytest.mark.parametrize(("message", "ask"), REFUSED)
def test_questions_that_cannot_be_asked_name_the_argument(
    message: str, ask: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """What is misspelt, mistyped or contradictory raises a ValueError that names the argument."""
    with pytest.raises((InvalidQueryError, InvalidTimeError), match=f"^{message}"):
        ask(at_minutes(0, 5))
