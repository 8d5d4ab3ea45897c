"""Events made up by hypothesis, as a frame and as plain dictionaries: any order, equal times, changes of the clock."""

import polars as pl
from hypothesis import strategies as st

from auditkit.timerange import from_us
from tests.plain import HOUR, SHORT, Event, instant

SCHEMA = pl.Schema(
    {
        "seq": pl.UInt64(),
        "ts": pl.Datetime("us", "UTC"),
        "actor": pl.Categorical(),
        "action": pl.Categorical(),
        "resource": pl.String(),
        "value": pl.Float64(),
        "attrs": pl.String(),
    }
)
EVERY = [*SHORT, "1d", "1w", "1mo", "1q", "1y"]
ZONES = [
    "UTC",
    "Europe/Stockholm",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
]
CHANGES = [
    "2026-03-29T01:00Z",
    "2026-10-25T01:00Z",
    "2026-03-08T07:00Z",
    "2026-11-01T06:00Z",
    "2026-10-03T15:30Z",
]


def frame_of(events: list[Event]) -> pl.DataFrame:
    """Make the frame that a trail would hand to a query: times as Datetime, text as dictionaries."""
    rows = [{**event, "ts": from_us(event["ts"])} for event in events]
    return pl.DataFrame(rows, schema=SCHEMA)


TIMES = st.one_of(
    st.integers(-(10**15), 2 * 10**15),
    st.builds(
        lambda change, shift: instant(change) + shift,
        st.sampled_from(CHANGES),
        st.integers(-2 * HOUR, 2 * HOUR),
    ),
    st.builds(
        lambda change, hours: instant(change) + hours * HOUR, st.sampled_from(CHANGES), st.integers(-30, 30)
    ),
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "ts": TIMES,
            "actor": st.sampled_from([None, "", "ann", "bob", "Åsa"]),
            "action": st.sampled_from(["doc.read", "doc.write"]),
            "resource": st.sampled_from([None, "doc/7", "doc/8"]),
            "value": st.one_of(st.none(), st.integers(-1000, 1000).map(float), st.floats(0, 1e6)),
            "attrs": st.sampled_from([None, "{}", '{"ip":"10.0.0.7"}']),
        }
    ),
    max_size=25,
).map(lambda events: [{"seq": seq, **event} for seq, event in enumerate(events)])
BY: st.SearchStrategy[list[str]] = st.lists(
    st.sampled_from(["actor", "action", "resource"]), max_size=3, unique=True
)

MINUTE = 60 * 1_000_000
CLOSE_TIMES = st.builds(
    lambda base, steps, off: instant(base) + steps * 10 * MINUTE + off,
    st.sampled_from(["1969-12-31T23:00Z", "2026-10-25T00:30Z"]),
    st.integers(0, 30),
    st.sampled_from([0, 0, 0, 1, -1]),
)
"""Times ten minutes apart, give or take a microsecond, around the turn of the epoch and a change of the clock."""
CLOSE_EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "ts": CLOSE_TIMES,
            "actor": st.sampled_from([None, "", "ann", "bob"]),
            "action": st.sampled_from(["doc.read", "doc.write", "doc.list"]),
            "resource": st.sampled_from([None, "doc/7", "doc/8"]),
            "value": st.one_of(st.none(), st.integers(-9, 9).map(float)),
            "attrs": st.none(),
        }
    ),
    max_size=30,
).map(lambda events: [{"seq": seq, **event} for seq, event in enumerate(events)])
