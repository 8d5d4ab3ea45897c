"""Tiers: each event is folded once, whenever it comes, and what was folded stays as long as the tier says."""

import random
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from auditkit.api import Trail
from auditkit.errors import ClosedError, InvalidQueryError, InvalidTimeError
from auditkit.keep import rollup
from auditkit.keep.rollup import roll_up
from auditkit.opening import open_trail
from auditkit.store.catalog import read_catalog
from tests.aging import accept_late
from tests.fakes import ManualClock
from tests.rolling import Series, expected, of_dataset

NOW = datetime.fromisoformat("2026-11-24T08:00:00+00:00")
DAY = timedelta(days=1)


def events(
    count: int, *, first: datetime = NOW - 60 * DAY, last: datetime = NOW, seed: int = 1
) -> list[dict[str, Any]]:
    """Return events in order of time, with empty and null keys, with and without values that add up exactly."""
    chance = random.Random(seed)
    span = (last - first) / count
    return [
        {
            "ts": first + span * number,
            "action": chance.choice(["auth.login", "doc.read", "çağla", "<b>"]),
            "outcome": chance.choice(["success", "", None]),
            "actor": chance.choice(["ann", "bob"]),
            "value": chance.choice([None, 0.25, -3.0, 1e9]),
        }
        for number in range(count)
    ]


def of_tier(trail: Trail, name: str, keys: Sequence[str]) -> Series:
    """Return what a tier says, read without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return of_dataset(trail.tier(name), keys)


def stores(trail: Trail) -> list[str]:
    """Return the stores on disk, and assert that those the catalog names are among them."""
    there = sorted(
        str(path.relative_to(trail.path / "rollups")) for path in (trail.path / "rollups").glob("*/*")
    )
    assert {row.path for row in read_catalog(trail.handle.layout.catalog).rollups} <= {*there}
    return there


@pytest.mark.parametrize("every", ["15m", "1h", "6h", "1d", "1w", "1mo"])
@pytest.mark.parametrize("tz", ["UTC", "Europe/Stockholm"])
def test_a_tier_says_what_plain_python_says(make_trail: Callable[..., Trail], every: str, tz: str) -> None:
    """Folded at once, in pieces and with late events, over the end of summer time: the same figures."""
    trail = make_trail(maintain=False)
    begin_of_events = datetime.fromisoformat("2026-10-24T12:00:00+00:00")  # the day before summer time ends
    given = events(600, first=begin_of_events, last=begin_of_events + (DAY if every == "15m" else 30 * DAY))
    chance = random.Random(7)
    chance.shuffle(given)  # so that each fold has events of every period
    for begin in range(0, len(given), 200):
        trail.extend(given[begin : begin + 200]).wait()
        if begin == 200:
            trail.rollup(every, by=["action", "outcome"], tz=tz)
    done = trail.maintain()
    assert done.rollup is not None
    assert done.rollup.events == 200
    assert of_tier(trail, every, ["action", "outcome"]) == expected(given, every, ["action", "outcome"], tz)


@pytest.mark.parametrize("keys", [(), ("action",), ("outcome",), ("action", "outcome", "actor")])
def test_tiers_of_every_kind(trail: Trail, keys: Sequence[str]) -> None:
    """Without keys, of one, of several, with null and empty ones, and of events without any value."""
    given = events(200)
    trail.extend(given).wait()
    trail.rollup("1h", by=list(keys))
    trail.rollup("1d", by=list(keys))
    assert of_tier(trail, "1h", keys) == expected(given, "1h", keys)
    bare = [{**event, "value": None, "ts": event["ts"] - 400 * DAY} for event in given]
    trail.extend(bare).wait()
    trail.maintain()
    assert of_tier(trail, "1d", keys) == expected([*bare, *given], "1d", keys)


def test_each_event_is_folded_once(trail: Trail) -> None:
    """Folding again, by another object and after events that are the trail's own, adds nothing."""
    given = events(100)
    trail.extend(given).wait()
    assert trail.rollup("1h", by="action").events == 100
    assert trail.rollup("1h", by="action").events == 0
    trail.set_retention("50y", confirm=True)
    with open_trail(trail.path, clock=trail.handle.clock) as other:
        assert other.maintain().rollup is None
        assert of_tier(other, "1h", ["action"]) == expected(given, "1h", ["action"])


def test_prune_waits_for_what_is_not_folded(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a tier cannot be brought up to date, nothing of what it lacks is removed; then it goes, and stays counted."""
    trail = make_trail(retention="10d", maintain=False)
    trail.rollup("1h", by="action")
    first = events(50)
    trail.extend(first).wait()
    trail.maintain()
    left = 50 - trail.stats().retention.pruned
    second = events(80, seed=2)
    accept_late(trail)
    trail.extend(second).wait()
    with monkeypatch.context() as patched:
        patched.setattr(rollup, "MOST_SERIES", 1)
        with pytest.raises(InvalidQueryError, match="too many series"):
            trail.prune()
    kept = sum(row.rows - row.own_rows for row in read_catalog(trail.handle.layout.catalog).segments)
    assert kept == left + 80
    pruned = trail.prune()
    assert pruned.events > 40
    assert of_tier(trail, "1h", ["action"]) == expected([*first, *second], "1h", ["action"])


def test_a_late_event_is_added_to_its_bucket(make_trail: Callable[..., Trail]) -> None:
    """Events for a bucket whose others are pruned are added, in another generation of their period alone."""
    trail = make_trail(retention="10d", maintain=False)
    trail.rollup("1h", by="action")
    given = events(300)
    trail.extend(given).wait()
    trail.prune()
    before = stores(trail)
    assert before == ["1h/2026-09.1.zarr", "1h/2026-10.1.zarr", "1h/2026-11.1.zarr"]
    late: dict[str, Any] = {"ts": NOW - 9 * DAY, "action": "doc.read", "value": 0.5}
    trail.append(**late).wait()
    trail.maintain()
    # What was replaced stays until the next fold, for who has it open.
    assert stores(trail) == [*before, "1h/2026-11.2.zarr"]
    assert of_tier(trail, "1h", ["action"]) == expected([*given, late], "1h", ["action"])
    trail.append(action="doc.read").wait()
    trail.maintain()
    assert stores(trail) == [*before[:2], "1h/2026-11.2.zarr", "1h/2026-11.3.zarr"]


def test_a_tier_keeps_its_buckets_as_long_as_it_says(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """A store goes with its last bucket, buckets of one that stays are hidden, and the trail records it."""
    trail = make_trail(maintain=False)
    given = events(400)
    trail.extend(given).wait()
    trail.rollup("1h", by="action", keep="30d")
    kept = [event for event in given if event["ts"] >= hour_of(given[-1]["ts"] - 30 * DAY)]
    assert of_tier(trail, "1h", ["action"]) == expected(kept, "1h", ["action"])
    assert stores(trail) == ["1h/2026-10.1.zarr", "1h/2026-11.1.zarr"]
    clock.advance(days=10)
    trail.append(action="doc.read").wait()
    clock.advance(days=1)
    trail.append(action="doc.read").wait()
    clock.advance(days=1)
    trail.append(action="doc.read").wait()
    clock.advance(days=2)
    trail.append(action="doc.read").wait()
    trail.prune(now=clock_now(clock))
    assert "1h/2026-10.1.zarr" not in stores(trail)
    (told,) = trail.range(own=True, where={"action": "rollup.pruned"})["attrs"].to_list()
    assert '"stores":1' in told
    assert min(start for start, *_ in of_tier(trail, "1h", ["action"])) >= (NOW - 16 * DAY).timestamp() * 1e6


def clock_now(clock: ManualClock) -> datetime:
    """Return the moment a clock stands at."""
    return datetime.fromtimestamp(clock.us / 1e6, tz=NOW.tzinfo)


def test_a_tier_says_from_when_on_it_is_whole(make_trail: Callable[..., Trail]) -> None:
    """Declared when events had expired already, it leaves out the buckets that it could not fill."""
    trail = make_trail(retention="10d", maintain=False)
    given = events(300)
    trail.extend(given).wait()
    trail.flush()
    trail.rollup("1h", by="action")
    cutoff = given[-1]["ts"] - 10 * DAY
    whole = [event for event in given if event["ts"] >= hour_of(cutoff + timedelta(hours=1))]
    assert hour_of(cutoff) < cutoff
    assert 0 < len(whole) < len(given)
    assert of_tier(trail, "1h", ["action"]) == expected(whole, "1h", ["action"])


def hour_of(moment: datetime) -> datetime:
    """Return where the hour starts that a moment lies in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def test_a_tier_can_be_given_fewer_keys_and_another_keep_time(make_trail: Callable[..., Trail]) -> None:
    """Stores with more keys are added up, also where events are pruned; nothing else may change."""
    trail = make_trail(retention="10d", maintain=False)
    trail.rollup("1h", by=["action", "outcome"])
    given = events(300)
    trail.extend(given).wait()
    trail.prune()
    trail.rollup("1h", by="action", keep="5y")
    assert of_tier(trail, "1h", ["action"]) == expected(given, "1h", ["action"])
    assert trail.handle.reader.snapshot().tiers["1h"].keep is not None
    more = events(20, first=NOW - DAY, seed=3)
    trail.extend(more).wait()
    trail.maintain()
    assert of_tier(trail, "1h", ["action"]) == expected([*given, *more], "1h", ["action"])
    for other in ({"by": "outcome"}, {"by": "action", "tz": "Asia/Kolkata"}):
        with pytest.raises(InvalidQueryError, match="is the name of another tier: 1h"):
            trail.rollup("1h", **other)
    with pytest.raises(InvalidQueryError, match="is the name of another tier"):
        trail.rollup("1d", by="action", name="1h")
    trail.rollup("1h", by="outcome", name="outcomes")
    assert [*trail.handle.reader.snapshot().tiers] == ["1h", "outcomes"]


def test_a_tier_of_too_many_series_is_refused(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which key makes them and how to declare it without; nothing is written."""
    monkeypatch.setattr(rollup, "MOST_SERIES", 10)
    trail.extend([{"action": "a", "actor": f"user {n}", "outcome": "ok"} for n in range(11)]).wait()
    with pytest.raises(
        InvalidQueryError, match=r"too many series for tier 1h \(expected at most 10\)"
    ) as caught:
        trail.rollup("1h", by=["actor", "action"])
    assert (
        "'actor' has 11 values: leave it out, trail.rollup('1h', by=['action'], name='1h')"
        in caught.value.__notes__[0]
    )
    assert trail.handle.reader.snapshot().tiers == {}
    assert not (trail.path / "rollups").exists()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"every": "30s"}, InvalidTimeError),
        ({"every": "11y"}, InvalidTimeError),
        ({"every": "-1h"}, InvalidTimeError),
        ({"every": "1d", "by": "value"}, InvalidQueryError),
        ({"every": "1d", "by": "attrs.x"}, InvalidQueryError),
        ({"every": "1d", "by": ["actor", "actor"]}, InvalidQueryError),
        ({"every": "1d", "name": "../x"}, InvalidQueryError),
        ({"every": "1d", "name": "Hours"}, InvalidQueryError),
        ({"every": "1d", "name": "auto"}, InvalidQueryError),
        ({"every": "1d", "keep": "0d"}, InvalidTimeError),
        ({"every": "1d", "keep": "soon"}, InvalidTimeError),
        ({"every": "1d", "tz": "Mars/Base"}, InvalidTimeError),
    ],
)
def test_what_is_no_tier_is_refused(trail: Trail, given: dict[str, Any], error: type[Exception]) -> None:
    """Bad lengths, keys, names, keep times and zones are errors that name them, and nothing is recorded."""
    with pytest.raises(error):
        trail.rollup(**given)
    assert trail.end_seq == 0


def test_a_view_of_the_past_sees_the_tier_as_it_was(make_trail: Callable[..., Trail]) -> None:
    """A bucket that holds a later event is left out, and so are tiers that were not declared yet."""
    trail = make_trail(maintain=False)
    given = events(100)
    trail.extend(given).wait()
    trail.rollup("1h", by="action")
    seq = trail.end_seq
    late = {"ts": given[0]["ts"], "action": "doc.read"}
    trail.append(**late).wait()
    trail.maintain()
    found = of_tier(trail.at(seq), "1h", ["action"])
    whole = expected(given, "1h", ["action"])
    changed = {place for place in whole if place[0] == min(whole)[0]}
    assert changed
    assert found == {place: value for place, value in whole.items() if place not in changed}
    with pytest.raises(InvalidQueryError, match="is no tier"):
        trail.at(50).tier("1h")
    with pytest.raises(ClosedError):
        trail.at(seq).rollup("1d")


def test_what_a_dead_fold_left_goes(trail: Trail) -> None:
    """Stores that were never named, and halves of such, are removed by the next fold; other names are left alone."""
    trail.extend(events(50)).wait()
    trail.rollup("1h")
    folder = trail.path / "rollups/1h"
    for name in ("2026-11.9.zarr", "2026-11.2.zarr", "2026-11.7.zarr.tmp"):
        (folder / name / "count").mkdir(parents=True)
        (folder / name / "count/c.0.0").write_bytes(b"half")
    (folder / "notes").mkdir()
    trail.append(action="a").wait()
    trail.maintain()
    assert {"notes", "2026-11.2.zarr"} <= {path.name for path in folder.iterdir()}
    assert not {"2026-11.9.zarr", "2026-11.7.zarr.tmp"} & {path.name for path in folder.iterdir()}
    trail.append(action="a").wait()
    trail.maintain()
    named = {row.path for row in read_catalog(trail.handle.layout.catalog).rollups}
    assert {path.name for path in folder.iterdir()} - {Path(path).name for path in named} == {
        "notes",
        "2026-11.2.zarr",
    }


def test_folding_in_steps_gives_the_same(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few events one step takes, each is folded once; with `least`, fewer wait."""
    trail = make_trail(maintain=False)
    given = events(500)
    trail.rollup("1h", by="action")
    for begin in range(0, 500, 100):
        trail.extend(given[begin : begin + 100]).wait()
        trail.flush()
    monkeypatch.setattr(rollup, "_STEP_EVENTS", 150)
    assert roll_up(trail.handle, least=1_000).events == 0
    assert roll_up(trail.handle).events == 500
    assert of_tier(trail, "1h", ["action"]) == expected(given, "1h", ["action"])
    assert trail.maintain().rollup is None
