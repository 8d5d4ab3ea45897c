"""What is taken as a full instant is one set, and one instant, whatever way it comes in."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import auditkit as ak
from auditkit.errors import InvalidEventError, InvalidTimeError
from auditkit.event import EventSchema, Rules
from auditkit.sources.mapping import plan_mapping
from auditkit.sources.records import Record
from auditkit.timerange import resolve, to_us
from auditkit.where import conditions
from tests.cli.conftest import Run, place, rows, run, started

__all__ = ["place", "run", "started"]

SCHEMA = EventSchema()
NOW = to_us(datetime(2026, 11, 24, tzinfo=UTC))
_NO_INSTANT = re.compile(r"[+-].*|\d{4}-\d\d-\d\d|today|yesterday", re.IGNORECASE)
"""Bounds that are days, or count from now."""


WRITTEN = st.builds(
    "{:%Y-%m-%d}{}{:%H:%M}{}{}".format,
    st.dates(datetime(1901, 1, 1).date(), datetime(2199, 1, 1).date()),  # noqa: DTZ001 -- days
    st.sampled_from(["T", " ", "t"]),
    st.times(),
    st.sampled_from(["", ":07", ":59.5", ":00,25", ":30.1234567"]),
    st.sampled_from(["", "Z", "z", " Z", "+01", "-0500", "+05:30", " +0200", "-00:19:32"]),
)
"""What is read, where a zone is given."""


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """Return what is read with one or two of its characters left out, doubled or another."""
    text = draw(WRITTEN)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.sampled_from(["", text[at] * 2, *"09-:+.TZ /", " UTC"])) + text[at + 1 :]
    return text


TEXTS = st.one_of(WRITTEN, spoilt(), st.text("0123456789-:+TtZz ., /", max_size=30))


def taken(read: Callable[[], int]) -> int | None:
    """Return an instant, `None` where it is refused."""
    try:
        return read()
    except (InvalidEventError, InvalidTimeError):
        return None


def appended(text: object, tz: str | None) -> int:
    """Read a time as `append` and `extend` do."""
    rules = Rules(now_us=to_us(datetime(2200, 12, 1, tzinfo=UTC)), max_ahead_us=0, tz=tz)
    return int(SCHEMA.row({"action": "x", "ts": text}, rules)[0])


def imported(text: str, tz: str | None) -> int:
    """Read a time as `import` does."""
    event = plan_mapping(tz=tz).event(Record(1, {"action": "x", "ts": text}, "{}"))
    return appended(event["ts"], None)


def is_of_an_event(text: str) -> bool:
    """Return whether a text names no year that an event cannot have, and a bound can."""
    year = re.match(r"[ \t]*([0-9]{4})", text)
    return year is None or 1900 < int(year[1]) < 2200


def is_condition(text: str, instant: int | None) -> bool:
    """Return whether `where` takes a text, and for the instant that the other ways read."""
    (condition,) = conditions({"ts": text}, pl.Schema(SCHEMA.columns))
    frame = pl.DataFrame({"ts": pl.Series([instant], dtype=pl.Int64)}).cast(pl.Datetime("us", "UTC"))
    return frame.filter(condition.expression).height == 1


@given(TEXTS)
@example("20240112013015Z")
@example("2024-01-12T01:30:15.1234567Z")
@example("2024-01-12T01Z")
@example("2024-01-12")
@example("1705023015")
def test_an_instant_with_its_zone_is_the_same_everywhere(text: str) -> None:
    """Without a zone to read by, append, import, where and `ak.attr` take the same texts, as the same instants; bounds too."""
    assume(is_of_an_event(text))
    instant = taken(lambda: appended(text, None))
    assert taken(lambda: imported(text, None)) == instant
    attrs = pl.DataFrame({"attrs": [json.dumps({"at": text})]})
    found = attrs.select(ak.attr("at", dtype=pl.Datetime("us", "UTC"))).item()
    assert (None if found is None else to_us(found)) == instant
    if instant is None:
        with pytest.raises(InvalidTimeError):
            is_condition(text, instant)
    else:
        assert is_condition(text, instant)
        assert resolve(text, None, now_us=NOW, tz="Asia/Kolkata").start_us == instant


@given(TEXTS, st.sampled_from(["UTC", "Europe/Stockholm", "Australia/Lord_Howe", "America/New_York"]))
@example("2026-10-25 02:30", "Europe/Stockholm")
@example("2026-03-29 02:30:00.5", "Europe/Stockholm")
def test_an_instant_without_a_zone_is_the_same_everywhere(text: str, tz: str) -> None:
    """With a zone to read by, append, import and bounds take the same texts, as the same instants."""
    assume(is_of_an_event(text) and not _NO_INSTANT.fullmatch(text.strip(" \t")))
    instant = taken(lambda: appended(text, tz))
    assert taken(lambda: imported(text, tz)) == instant
    assert taken(lambda: resolve(text, None, now_us=NOW, tz=tz).start_us or 0) == instant


TAKEN = {
    "2024-01-12T01:30:15Z": "2024-01-12T01:30:15Z",
    "2024-01-12 02:30:15.123456789+01:00": "2024-01-12T01:30:15.123456Z",
    "2024-01-12t01:30z": "2024-01-12T01:30:00Z",
    "2024-01-11 20:30:15,5 -0500": "2024-01-12T01:30:15.500000Z",
}
REFUSED = [
    "20240112013015Z",
    "20240112203015123Z",
    "202401120130Z",
    "20240112T013015+0100",
    "2024-01-12",
    "2024-01-12 01:30:15",
    "2024-01-12 01:30:15 UTC",
    "2024/01/12 01:30:15Z",
    "2024-W02-5T01:30Z",
    "2024-012T01:30Z",
    "2024-01-12T24:00:00Z",
    "2024-01-12T23:59:60Z",
    "1705023015",
    "1705023015.123",
    "Fri, 12 Jan 2024 01:30:15 GMT",
    "Jan 12 01:30:15",
]


def test_the_command_line_and_the_trail_take_the_same(started: Run, place: Path) -> None:
    """`import`, `append --ts`, `append -`, `range --start`, `--where` and `extend` agree on each text, end to end."""
    source = place.with_name("times.jsonl")
    texts = [*TAKEN, *REFUSED]
    lines = [json.dumps({"ts": text, "action": f"a{number}"}) + "\n" for number, text in enumerate(texts)]
    source.write_text("".join(lines))
    started("import", str(source))
    found = rows(started("range", "--json", "--columns", "action,ts"))
    assert sorted(found, key=itemgetter("action")) == [
        {"action": f"a{number}", "ts": TAKEN[text]} for number, text in enumerate(TAKEN)
    ]
    for number, text in enumerate(texts):
        code = 0 if text in TAKEN else 1
        started("append", "--action", "one", "--ts", text, code=code)
        started("append", "-", stdin=lines[number], code=code)
        if text in TAKEN:
            here = rows(
                started("range", "--json", "--start", text, "--columns", "action", "--where", f"ts={text}")
            )
            assert {row["action"] for row in here} == {"one", f"a{number}"}
        else:
            started("range", "--where", f"ts={text}", code=2)
    with ak.open(place) as trail:
        assert len(trail.range()) == 3 * len(TAKEN)
        for number, text in enumerate(texts):
            table = pl.DataFrame({"ts": [text], "action": [f"t{number}"]})
            if text in TAKEN:
                trail.extend(table).wait()
                assert trail.tail(1)["ts"].item() == datetime.fromisoformat(TAKEN[text])
            else:
                with pytest.raises(InvalidEventError, match=r"row 0: ts: "):
                    trail.extend(table)
