"""The population of a window: everything that was ever accepted into it is counted, once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from auditkit import Trail
from auditkit.ask.population import Population, population
from auditkit.timerange import to_us
from tests.aging import accept_late
from tests.fakes import ManualClock
from tests.oracle import read_trail

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def day(back: float) -> datetime:
    """Return the moment so many days before now."""
    return NOW - timedelta(days=back)


def count(trail: Trail, start: object = None, end: object = None, **options: object) -> Population:
    """Return the population of a window."""
    return population(trail.view, start, end, where=options.get("where"), tz=None)  # type: ignore[arg-type]


def added(found: Population) -> int:
    """Return shown plus each exclusion."""
    return found.shown + found.filtered + found.expired + found.own + found.pruned


@pytest.fixture
def lived(make_trail: Callable[..., Trail]) -> Trail:
    """A trail that keeps 30 days, with pruned, expired, own, flushed, queued and refused events."""
    trail = make_trail(retention="30d", maintain=False)
    trail.extend([{"action": "a", "ts": day(d)} for d in (50, 45, 45, 40)]).wait()
    trail.append(action="a", ts=day(0)).wait()
    trail.prune(now=NOW)
    accept_late(trail)
    trail.extend([{"action": "late", "ts": day(d), "source": "app"} for d in (41, 35, 33)]).wait()
    trail.set_retention("31d", confirm=True)
    trail.extend(
        [{"action": "b" if d % 2 else "c", "ts": day(d), "source": "app"} for d in range(20)]
        + [{"action": ""}, {"action": "b", "ts": "never"}],
        on_invalid="dead-letter",
    ).wait()
    trail.flush()
    trail.extend([{"action": "b", "ts": day(d), "source": "web"} for d in (1, 2, 3)]).wait()
    return trail


@pytest.mark.parametrize("where", [None, {"action": "b"}, {"source": "web"}])
@pytest.mark.parametrize("window", [(None, None), (day(42), None), (day(34), day(2)), (day(60), day(30))])
def test_shown_and_each_exclusion_equal_an_independent_count(
    lived: Trail, where: dict[str, object] | None, window: tuple[datetime | None, datetime | None]
) -> None:
    """What an independent reader of the files finds for each reason is what is counted."""
    found = count(lived, *window, where=where)
    stored = read_trail(lived.path)
    start, end = window
    within = [
        {**event, "seq": seq}
        for seq, event in stored.events.items()
        if (start is None or event["ts"] >= to_us(start)) and (end is None or event["ts"] < to_us(end))
    ]
    own = [event for event in within if event["source"] == "auditkit"]
    cutoff = to_us(day(31))
    kept = [event for event in within if event not in own and event["ts"] >= cutoff]
    shown = [event for event in kept if all(event[name] == value for name, value in (where or {}).items())]
    pruned = [
        row
        for row in stored.catalog["tombstones"]
        if (start is None or row["max_ts_us"] >= to_us(start))
        and (end is None or row["min_ts_us"] < to_us(end))
    ]
    assert found.shown == len(shown) == lived.range(*window, where=where).height
    assert found.filtered == len(kept) - len(shown)
    assert found.expired == len(within) - len(own) - len(kept)
    assert found.own == len(own)
    assert found.pruned == sum(row["rows"] for row in pruned)
    assert found.queued == sum(event["seq"] >= stored.flushed for event in shown)
    assert found.dead_letters == 2
    assert found.accepted == added(found)
    assert (found.first_seq, found.last_seq) == (
        min((event["seq"] for event in shown), default=None),
        max((event["seq"] for event in shown), default=None),
    )
    assert found.missing == 0
    assert found.exact


@pytest.mark.parametrize("where", [None, {"action": "late"}])
def test_what_a_hold_keeps_is_shown_and_counted(lived: Trail, where: dict[str, object] | None) -> None:
    """Events that the policy keeps no more and a hold does are among the shown, and counted as held until its release."""
    before = count(lived, where=where)
    lived.hold("case", day(36), where={"source": "app"}, reason="a lawsuit")
    held = count(lived, where=where)
    assert (before.held, held.held) == (0, 2)
    assert (held.shown, held.expired) == (before.shown + 2, before.expired - 2)
    assert count(lived, day(34), where=where).held == 1
    assert not count(lived, where={"action": "c"}).held
    lived.release("case", reason="over")
    assert count(lived, where=where).held == 0


def test_a_later_removal_changes_nothing(lived: Trail, clock: ManualClock) -> None:
    """A view of a seq counts an event as expired, whether it lies on disk, hidden, or was removed since."""
    view = lived.at(lived.end_seq)
    before = population(view.view, None, None, where=None, tz=None)
    clock.advance(hours=1)
    lived.flush()
    lived.prune()
    lived.append(action="later").wait()
    after = population(view.view, None, None, where=None, tz=None)
    assert before.expired > 0
    assert before.queued == 3
    assert after.queued == 0
    assert [getattr(before, name) for name in Population.__slots__ if name != "queued"] == [
        getattr(after, name) for name in Population.__slots__ if name != "queued"
    ]
    now = count(lived)
    assert (now.expired, now.pruned) == (0, before.pruned + before.expired)
    assert now.accepted == added(now) == now.as_of


def test_a_removal_that_reaches_out_of_the_window_is_a_bound(lived: Trail) -> None:
    """Tombstones know bounds only: where one lies across the window's edge, the count is an upper bound."""
    inside = count(lived, None, day(44))
    assert (inside.pruned, inside.exact) == (3, True)
    lived.extend([{"action": "c", "ts": day(33.05)}, {"action": "c", "ts": day(33.2)}]).wait()
    lived.prune()
    across = count(lived, day(33.1))
    assert (across.pruned, across.exact) == (3, False)
    assert count(lived, None, day(36)).exact


def test_a_view_inside_a_removal_cannot_tell(lived: Trail) -> None:
    """Where a view ends inside the seqs of a removed segment, nobody knows whether one is missing."""
    first = lived.extend([{"action": "c", "ts": day(33.05)}, {"action": "c", "ts": day(33.2)}]).wait()
    assert first is not None
    lived.prune()
    assert count(lived).missing == 0
    for end, missing in ((first, 0), (first + 1, None), (first + 2, 0)):
        view = lived.at(end, allow_pruned=True).view
        assert population(view, None, None, where=None, tz=None).missing == missing


def test_sources_that_fell_silent(lived: Trail) -> None:
    """A source with kept events before the window and none in it is silent; what is expired does not count."""
    assert [(s.source, s.last_ts) for s in count(lived, day(0.5)).silent] == [("web", day(1))]
    assert [s.source for s in count(lived, day(0.5), where={"action": "nothing"}).silent] == ["web"]
    assert count(lived).silent == ()
    assert count(lived, day(34)).silent == ()
    assert [(s.source, s.events) for s in count(lived).sources] == [("app", 20), ("web", 3), (None, 1)]


def test_an_empty_trail(trail: Trail) -> None:
    """Nothing is counted, and nothing is missing."""
    found = count(trail)
    assert (found.accepted, added(found), found.missing, found.first_seq) == (0, 0, 0, None)
