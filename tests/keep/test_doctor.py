"""The doctor: what is wrong with a trail, what only needs time, and what needs a person."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.keep.doctor import FAR_BEHIND, MANY_FILES, Diagnosis, Finding, diagnose
from auditkit.store.catalog import change_catalog
from auditkit.store.records import CatalogChange, FeatureRow, SegmentRow
from auditkit.timerange import to_us
from tests.aging import trust
from tests.fakes import ManualClock

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def examine(trail: Trail, *, later: timedelta = timedelta(0)) -> Diagnosis:
    """Ask the doctor, by the trail's clock or a later one."""
    now_us = trail.handle.clock.now_us() + later // timedelta(microseconds=1)
    return diagnose(trail.view.snapshot(), now_us=now_us, tz=trail.tz)


def only(found: Diagnosis, about: str) -> Finding:
    """Return the one finding there is."""
    assert [finding.about for finding in found.findings] == [about]
    return found.findings[0]


def declare(trail: Trail, **rows: Any) -> None:
    """Put rows into the catalog that a later part of the trail's life would."""
    change_catalog(trail.handle.layout.catalog, CatalogChange(**rows))


def test_nothing_is_wrong_with_a_trail_in_use(trail: Trail) -> None:
    """An empty trail and one that is written to and flushed are fine."""
    assert examine(trail) == Diagnosis(findings=())
    assert not examine(trail).needs_person
    trail.append(action="a").wait()
    assert examine(trail, later=timedelta(minutes=59)).findings == ()
    trail.flush()
    assert examine(trail, later=timedelta(days=400)).findings == ()
    assert "Nothing is wrong." in str(examine(trail))


@pytest.mark.parametrize(
    ("hours", "person"), [(0.9, None), (1, False), (23.9, False), (24, True), (80, True)]
)
def test_a_queue_that_nothing_flushes(trail: Trail, hours: float, person: bool | None) -> None:
    """From an hour on it is a note, from a day on nothing maintains the trail."""
    trail.extend([{"action": "a"}] * 3).wait()
    found = examine(trail, later=timedelta(hours=hours))
    if person is None:
        assert found.findings == ()
        return
    finding = only(found, "queue")
    assert finding.needs_person is person
    assert finding.text.endswith("nothing moves the queue into segments: 3 events in it.")
    assert "auditkit maintain" in finding.advice


@pytest.mark.parametrize("flushed", [False, True])
def test_events_from_the_future(make_trail: Callable[..., Trail], clock: ManualClock, flushed: bool) -> None:
    """What is dated further ahead than the trail takes was appended by another clock; a little ahead is a note."""
    trail = make_trail(tz="Europe/Stockholm")
    trail.append(action="a", ts=NOW + timedelta(hours=5)).wait()
    if flushed:
        trail.flush()
    found = {finding.about: finding for finding in examine(trail).findings}
    assert found["future"].needs_person is False
    assert "dated up to 2026-11-24 14:00 CET, 5 h ahead of this clock" in found["future"].text
    assert ("in 1 segment" in found["future"].text) is flushed
    assert "clock" in found if flushed else "clock" not in found
    assert only_persons(examine(trail, later=-timedelta(days=3))) == {"future", "clock"}
    clock.advance(hours=6)
    assert "future" not in {finding.about for finding in examine(trail).findings}


def only_persons(found: Diagnosis) -> set[str]:
    """Return what findings that need a person are about."""
    return {finding.about for finding in found.findings if finding.needs_person}


@pytest.mark.parametrize("flushed", [False, True])
def test_a_clock_that_went_back(trail: Trail, clock: ManualClock, flushed: bool) -> None:
    """Where events were accepted later than now, one of two clocks is wrong, and what comes now bears that time."""
    trail.append(action="a", ts=NOW - timedelta(days=1)).wait()
    if flushed:
        trail.flush()
    clock.advance(seconds=-59)
    assert examine(trail).findings == ()
    clock.advance(days=-365)
    finding = next(f for f in examine(trail).findings if f.about == "clock")
    assert finding.needs_person
    assert "accepted at 2026-11-24 08:00 UTC, 365 days ahead of this clock" in finding.text


def test_a_producer_whose_clock_is_ahead(trail: Trail, clock: ManualClock) -> None:
    """What was dated later than it was accepted stays known when that time has come; the advice names the source."""
    trail.append(action="a", source="ahead", ts=NOW + timedelta(hours=20)).wait()
    trail.append(action="b", source="right").wait()
    trail.flush()
    clock.advance(days=2)
    finding = only(examine(trail), "clock")
    assert not finding.needs_person
    assert "In 1 segment events are dated up to 20 h later than they were accepted" in finding.text
    query = finding.advice.partition('sql "')[2].partition('"')[0]
    assert trail.sql(query).sort("ahead", descending=True)["source"][0] == "ahead"


def test_an_idle_trail_keeps_longer_than_its_policy(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """Without events nothing expires; a week beyond the policy a person is told, and the advice helps."""
    trail = make_trail(retention="90d", maintain=False)
    trail.extend([{"action": "a", "ts": NOW - timedelta(days=back)} for back in (80, 60, 0)]).wait()
    trust(trail, NOW)
    trail.flush()
    clock.advance(days=16.9)
    assert examine(trail).findings == ()
    clock.advance(days=3)
    finding = only(examine(trail), "retention")
    assert finding.needs_person
    assert (
        "1 segment holds events that the policy (keep 90d) keeps no longer, from 2026-09-05 08:00 UTC on"
        in finding.text
    )
    assert "the horizon stands at 2026-11-24 08:00 UTC" in finding.text
    assert "auditkit maintain --now now" in finding.advice
    trail.prune(now=trail.now())
    assert "retention" not in {finding.about for finding in examine(trail).findings}
    clock.advance(days=80)
    assert "2 segments hold events" in next(f for f in examine(trail).findings if f.about == "retention").text


def test_what_nothing_prunes(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """Where the horizon goes on and what it expires stays on disk, the advice is to prune."""
    trail = make_trail(retention="30d", maintain=False)
    trail.append(action="a").wait()
    for _ in range(45):
        clock.advance(days=1)
        trail.append(action="a").wait()
    trail.flush()
    finding = next(f for f in examine(trail).findings if f.about == "retention")
    assert finding.needs_person
    assert finding.text.endswith("nothing has removed them.")
    trail.prune()
    assert "retention" not in {finding.about for finding in examine(trail).findings}


def test_rules_and_holds_count(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A segment of which one rule keeps all and another nothing is overdue, unless a hold keeps it."""
    trail = make_trail(retention={"auth.*": "7y", "*": "30d"}, maintain=False)
    trail.extend([{"action": "auth.login"}, {"action": "doc.read"}]).wait()
    trail.flush()
    clock.advance(days=36)
    assert examine(trail).findings == ()
    clock.advance(days=3)
    finding = only(examine(trail), "retention")
    assert "1 segment holds events that the policy (keep auth.* 7y, * 30d) keeps no longer" in finding.text
    trail.hold("case-42", reason="a lawsuit")
    trail.flush()
    assert "retention" not in {finding.about for finding in examine(trail).findings}


def test_a_horizon_that_waits(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """After a gap the horizon waits for more events; that is said, and heals by itself."""
    trail = make_trail(retention="90d", tz="Europe/Stockholm", maintain=False)
    trail.append(action="a").wait()
    trust(trail, trail.now())
    clock.advance(days=10)
    trail.append(action="a").wait()
    trail.flush()
    finding = only(examine(trail), "retention")
    assert not finding.needs_person
    assert finding.text == (
        "The horizon stays at 2026-11-24 09:00 CET and expires nothing more: events from 2026-12-04 09:00 CET to "
        "2026-12-04 09:00 CET lie too far ahead of it, and count once they span 36 hours."
    )
    for _ in range(2):
        clock.advance(days=1)
        trail.append(action="a").wait()
    trail.flush()
    assert examine(trail).findings == ()


def test_small_files(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """Small segments that maintenance would merge are a note, very many of them need a person."""
    trail = make_trail(maintain=False)
    for _ in range(9):
        trail.append(action="a").wait()
        trail.flush()
        clock.advance(minutes=1)
    finding = only(examine(trail), "files")
    assert not finding.needs_person
    assert finding.text.startswith("9 small segments in 1 partition would make 1 large one")
    snapshot = trail.view.snapshot()
    (first, *_) = snapshot.catalog.segments
    many = [replaced(first, number) for number in range(MANY_FILES)]
    catalog = msgspec.structs.replace(snapshot.catalog, segments=many)
    crowded = msgspec.structs.replace(snapshot, catalog=catalog)
    found = diagnose(crowded, now_us=to_us(NOW + timedelta(hours=1)), tz="UTC")
    assert only(found, "files").needs_person


def replaced(row: SegmentRow, number: int) -> SegmentRow:
    """Return the row of another segment like this one."""
    return msgspec.structs.replace(row, path=f"{number}", first_seq=number, last_seq=number)


def test_a_tier_that_is_behind(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A tier that has not folded what was accepted a day ago is behind; where a prune waits for it, a person is needed."""
    trail = make_trail(retention="90d", maintain=False)
    trail.append(action="a").wait()
    trail.rollup("1h", by=["action"])
    trail.extend([{"action": "a"}] * 5).wait()
    trail.flush()
    behind = trail.end_seq - trail.view.snapshot().catalog.folded_of("1h")
    assert examine(trail, later=timedelta(hours=23)).findings == ()
    finding = only(examine(trail, later=timedelta(days=2)), "tiers")
    assert not finding.needs_person
    assert finding.text == f"The tier 1h is {behind} events behind, the oldest accepted 2 days ago."
    clock.advance(days=95)
    trust(trail, trail.now())
    trail.flush()
    found = {finding.about: finding for finding in examine(trail).findings}
    assert found["tiers"].needs_person
    assert found["tiers"].text.endswith("accepted 95 days ago, and a prune waits for it.")
    trail.maintain()
    assert "tiers" not in {finding.about for finding in examine(trail).findings}


def test_a_tier_that_nobody_folds(trail: Trail) -> None:
    """Far behind, no writer brings a tier up to date."""
    trail.append(action="a").wait()
    trail.rollup("1h", by=["action"])
    trail.append(action="a").wait()
    trail.flush()
    snapshot = trail.view.snapshot()
    flushes = [msgspec.structs.replace(row, end_seq=FAR_BEHIND + 3) for row in snapshot.catalog.flushes]
    catalog = msgspec.structs.replace(snapshot.catalog, flushes=flushes)
    far = msgspec.structs.replace(snapshot, catalog=catalog)
    assert diagnose(far, now_us=to_us(NOW + timedelta(days=2)), tz="UTC").needs_person


@pytest.mark.parametrize(
    ("retention", "keep", "said"),
    [
        ("90d", "90d", True),
        ("90d", "1y", False),
        ("90d", None, False),
        (None, "1y", True),
        (None, None, False),
    ],
)
def test_a_tier_that_outlives_nothing(
    make_trail: Callable[..., Trail], retention: str | None, keep: str | None, said: bool
) -> None:
    """A tier is kept longer than events, or it is of no use."""
    trail = make_trail(retention=retention)
    trail.append(action="a").wait()
    trail.rollup("1h", by=["action"], keep=keep)
    found = examine(trail)
    assert bool(found.findings) is said
    if said:
        assert f"The tier 1h is kept for {keep}, no longer than the events" in only(found, "tiers").text


@pytest.mark.parametrize(("series", "said"), [(9_000, False), (9_001, True)])
def test_a_tier_near_its_bound(trail: Trail, series: int, said: bool) -> None:
    """A tier that comes near the most series there may be needs a person before it stops."""
    trail.append(action="a").wait()
    trail.rollup("1h", by=["action"])
    snapshot = trail.view.snapshot()
    rollups = [msgspec.structs.replace(row, series=series) for row in snapshot.catalog.rollups]
    catalog = msgspec.structs.replace(snapshot.catalog, rollups=rollups)
    found = diagnose(msgspec.structs.replace(snapshot, catalog=catalog), now_us=to_us(NOW), tz="UTC")
    assert found.needs_person is said
    if said:
        assert "9,001 series in one store" in only(found, "tiers").text


def test_a_trail_of_a_later_version(trail: Trail) -> None:
    """What this version does not know of keeps it from maintaining; the name acts on no terminal."""
    declare(trail, features=[FeatureRow(name="bright\x1b[31m")])
    finding = only(examine(trail), "version")
    assert finding.needs_person
    assert "(bright<U+001B>[31m)" in finding.text


def test_what_needs_a_person_comes_first(trail: Trail) -> None:
    """The card says all of it, in words, and marks what needs a person."""
    trail.append(action="a", ts=NOW + timedelta(hours=2)).wait()
    declare(trail, features=[FeatureRow(name="bright")])
    found = examine(trail)
    assert [finding.about for finding in found.findings] == ["version", "future"]
    assert "version !" in str(found)
    assert ak.open(trail.path).end_seq == 1
    for finding in found.findings:
        assert finding.text.endswith(".")
        assert not finding.advice.endswith(".")


def test_a_hold_that_may_be_forgotten(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """After a year a person is asked whether a hold is still needed."""
    trail = make_trail(maintain=False)
    trail.hold("case-42", reason="a \x1b[2Jlawsuit")
    trail.flush()
    clock.advance(days=364)
    assert examine(trail).findings == ()
    clock.advance(days=2)
    finding = only(examine(trail), "holds")
    assert finding.needs_person
    assert "The hold case-42 was placed 366 days ago" in finding.text
    assert "\x1b" not in finding.text
    trail.release("case-42", reason="settled")
    trail.flush()
    assert examine(trail).findings == ()
