"""Retention: the horizon comes from the trail, expired events are hidden, whole segments are pruned."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.ask.population import population
from auditkit.errors import InvalidTimeError
from auditkit.retention.policy import Policy
from auditkit.timerange import from_us, to_us
from auditkit.trail.summaries import PruneWaits
from tests.aging import trust
from tests.fakes import ManualClock

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def day(back: float) -> datetime:
    """Return the moment so many days before now."""
    return NOW - timedelta(days=back)


@pytest.fixture
def aged(make_trail: Callable[..., Trail]) -> Trail:
    """Return a trail keeping 30 days, with flushed events 40, 31, 29 and 0 days old."""
    trail = make_trail(retention="30d")
    trail.extend([{"action": "a", "actor": f"{d}", "ts": day(d)} for d in (40, 31, 29, 0)]).wait()
    trail.flush()
    trust(trail, NOW)
    return trail


def test_expired_events_are_hidden_at_once(aged: Trail) -> None:
    """Every question leaves expired events out, before anything is pruned."""
    assert aged.range()["actor"].to_list() == ["29", "0"]
    assert aged.group_by("action")["count"].to_list() == [2]
    assert aged.scan().collect().height == 2
    assert aged.sql("SELECT count(*) FROM events").item() == 2
    assert aged.tail(10)["actor"].drop_nulls().to_list() == ["29", "0"]
    assert aged.stats().segments.rows == 4


def test_the_bound_is_exclusive(make_trail: Callable[..., Trail]) -> None:
    """An event exactly at the cutoff is kept; one a microsecond older is not."""
    trail = make_trail(retention="30d")
    edge = day(30)
    trail.extend([{"action": "a", "ts": ts} for ts in (edge - timedelta(microseconds=1), edge, NOW)]).wait()
    trust(trail, NOW)
    assert trail.range()["ts"].to_list() == [edge, NOW]


def test_the_cutoff_is_computed_once_for_a_view(aged: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many segments a view has, the calendar is asked once: what is expired is a comparison from there on."""
    asked = []
    usual = Policy.cutoff_us

    def cutoff_us(policy: Policy, horizon_us: int | None) -> int | None:
        asked.append(horizon_us)
        return usual(policy, horizon_us)

    for _ in range(5):
        aged.extend([{"action": "a", "ts": day(d)} for d in range(20)]).wait()
        aged.flush()
    monkeypatch.setattr(Policy, "cutoff_us", cutoff_us)
    assert aged.stats().segments.count > 100
    questions: list[Callable[[], object]] = [
        aged.range,
        aged.tail,
        lambda: aged.group_by("action"),
        lambda: aged.scan().collect(),
    ]
    for question in questions:
        asked.clear()
        question()
        assert len(asked) < 10  # for each look at the trail, not for each segment


def test_a_broken_clock_expires_nothing(make_trail: Callable[..., Trail]) -> None:
    """One event far ahead does not move the horizon beyond what the trail has accepted."""
    trail = make_trail(retention="30d", max_ahead="3650d")
    trail.extend([{"action": "a", "ts": day(20)}, {"action": "a", "ts": day(-3000)}]).wait()
    assert trail.range().height == 2


def test_the_plan_says_what_prune_does(aged: Trail) -> None:
    """The plan is printable, changes nothing, and prune does exactly what it says."""
    plan = aged.plan_prune()
    assert [s.first_seq for s in plan.segments] == [0, 1]
    assert plan.cutoff == day(30)
    assert "would remove 2 events in 2 segments" in str(plan)
    assert aged.plan_prune() == plan
    summary = aged.prune(plan)
    assert (summary.events, summary.segments, summary.bytes) == (2, 2, plan.bytes)
    stats = aged.stats()
    kept_and_records = 2 + 2
    assert stats.segments.rows == kept_and_records
    assert (stats.retention.pruned, stats.retention.tombstones) == (2, 2)
    assert sorted(p.name for p in (aged.path / "segments").iterdir()) == ["2026-10-26", "2026-11-24"]
    assert str(aged.prune()) == "nothing to prune"


def test_a_prune_is_an_event(aged: Trail) -> None:
    """What was pruned is recorded in the trail itself, with policy and counts."""
    aged.prune()
    own = aged.range(own=True, where={"source": "auditkit"})
    assert own["action"].to_list() == ["retention.now", "retention.pruned"]
    assert aged.range(own=True, where={"attrs.events": 2, "attrs.policy": "keep 30d"}).height == 1


def test_a_plan_from_before_removes_nothing_new(aged: Trail, clock: ManualClock) -> None:
    """An old plan removes only what it names, even where more has expired since."""
    plan = aged.plan_prune()
    clock.advance(days=20)
    trust(aged, from_us(clock.us))
    assert aged.prune(plan).events == 2
    assert [s.first_seq for s in aged.plan_prune().segments] == [2]


def test_the_trails_own_events_survive_a_prune(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """Own events in a pruned segment move to one of their own and keep their seqs."""
    trail = make_trail(retention="30d")
    trail.append(action="old").wait()
    trail.set_retention("20d", confirm=True)
    trail.flush()
    clock.advance(days=25)
    assert trail.prune(now=from_us(clock.us)).events == 1
    assert trail.range(own=True)["action"].to_list() == ["retention.set", "retention.now", "retention.pruned"]
    assert trail.range(own=True)["seq"].to_list() == [1, 2, 3]
    assert ak.open(trail.path).retention == trail.retention
    assert trail.retention.policy == "keep 20d"


def test_opening_and_asking_delete_nothing(aged: Trail, clock: ManualClock) -> None:
    """However old the events, opening and asking remove no file."""
    aged.flush()  # nothing waits for its own thread
    clock.advance(days=4000)
    before = sorted(aged.path.rglob("*"))
    ak.open(aged.path, clock=clock).range()
    assert sorted(aged.path.rglob("*")) == before


def test_an_idle_trail_ages_only_when_told(aged: Trail, clock: ManualClock) -> None:
    """Time alone expires nothing; a recorded "now" does, and one ahead of the clock is refused."""
    clock.advance(days=25)
    assert aged.range().height == 2
    with pytest.raises(ValueError, match="ahead of the machine's clock"):
        aged.prune(now=NOW + timedelta(days=26))
    with pytest.raises(InvalidTimeError, match="now: lies ahead of the machine's clock"):
        aged.plan_prune(now=NOW + timedelta(days=26))
    assert aged.plan_prune(now=NOW + timedelta(days=25)).rows == 3
    assert aged.prune(now=NOW + timedelta(days=25)).events == 3
    assert aged.range()["actor"].to_list() == ["0"]


def test_flush_and_maintain_enforce_the_policy(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A trail that is used day by day loses its oldest day by itself, once per day."""
    trail = make_trail(retention="3d", maintain=False)  # the test's calls alone decide when
    pruned = []
    for _ in range(8):
        trail.append(action="a").wait()
        done = trail.maintain()
        pruned.append(0 if done.prune is None else done.prune.events)
        clock.advance(days=1)
    assert pruned == [0, 0, 0, 0, 1, 1, 1, 1]
    assert trail.range().height == 4
    assert trail.stats().segments.rows == 4 + 4  # and the trail's own records of the four prunes


def test_flush_alone_enforces_the_policy(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A trail that is only appended to and flushed loses what is expired, unless it was opened not to."""
    for name, maintains, kept in (("by itself", True, 4), ("by others", False, 8)):
        trail = make_trail(name, retention="3d", maintain=maintains)
        for _ in range(8):
            trail.append(action="a").wait()
            trail.flush()
            clock.advance(days=1)
        counted = population(trail.view, None, None, where=None, tz=None)  # at one moment
        assert counted.shown + counted.expired == kept
        assert trail.range().height == 4


def test_after_an_outage_pruning_goes_on(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A silence longer than the keep time expires nothing at once; a few days later the policy is enforced as ever."""
    trail = make_trail(retention="7d", maintain=False)
    on_disk = []
    for day in [*range(15), *range(25, 75)]:
        clock.us = to_us(NOW + timedelta(days=day))
        hours = [clock.us - back * 3_600_000_000 for back in (16, 8, 0)]
        trail.extend([{"action": "a", "ts": from_us(us)} for us in hours]).wait()
        done = trail.maintain()
        if day == 25:
            assert done.prune is None
            assert "the horizon stays at 2026-12-08 08:00 UTC" in str(done)
            assert trail.range().height == 8 * 3 + 1  # of the last 7 days of the 15, and the night's
        on_disk.append(trail.range().height + trail.plan_prune().rows)
    assert trail.stats().retention.waiting == ()
    assert on_disk[14] == on_disk[-1] == 23


def test_one_current_event_after_an_old_import_expires_nothing(make_trail: Callable[..., Trail]) -> None:
    """An import of old events with a current one among them stays as it is: one event confirms no time."""
    trail = make_trail(retention="30d")
    trail.extend([{"action": "a", "ts": day(400)}, {"action": "a", "ts": NOW}]).wait()
    assert trail.maintain().prune is None
    assert trail.range().height == 2
    assert trail.plan_prune().rows == 0
    assert trail.plan_prune(now=NOW).rows == 1
    assert trail.prune(now=NOW).events == 1


def test_what_maintain_says_is_what_stats_count(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """Prune is due in the statistics where maintenance would prune, and where it would not, both say what for."""
    trail = make_trail(retention="2d", maintain=False)
    waited = set()
    for _ in range(40):
        trail.append(action="a").wait()
        trail.flush()
        is_due = "prune" in trail.stats().due
        done = trail.maintain()
        assert (done.prune is not None) == is_due
        stats = trail.stats()
        assert "prune" not in stats.due
        assert done.waiting == stats.retention.waiting
        assert bool(stats.retention.prunable) == any(isinstance(one, PruneWaits) for one in done.waiting)
        waited.add(bool(done.waiting))
        clock.advance(hours=5)
    assert waited == {False, True}


def test_policies_in_force_follow_the_seq(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A view applies the policy that was in force at its seq, also before that was flushed."""
    trail = make_trail(retention="10d")
    trail.append(action="a", ts=day(8)).wait()
    trail.append(action="b").wait()
    trust(trail, NOW)
    for _ in range(2):
        assert trail.at(3).range()["action"].to_list() == ["a", "b"]
        trail.flush()
    trail.set_retention("5d", confirm=True)
    for _ in range(2):
        assert trail.range()["action"].to_list() == ["b"]
        assert trail.at(3).range()["action"].to_list() == ["a", "b"]
        assert trail.at(4).range()["action"].to_list() == ["b"]
        trail.flush()
    clock.advance(days=1)
    trail.set_retention(None)
    assert trail.range()["action"].to_list() == ["a", "b"]


@pytest.mark.parametrize("retention", ["90", "-3d", "0d", 90, "soon"])
def test_bad_policies_are_refused(make_trail: Callable[..., Trail], retention: object) -> None:
    """A retention that is no positive duration creates nothing."""
    with pytest.raises(ValueError, match=r"retention|duration"):
        make_trail("bad", retention=retention)
