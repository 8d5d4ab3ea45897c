"""The state of a trail: its numbers, and the card that shows them."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest
from rich.console import Console

from auditkit.api import Trail
from auditkit.trail.summaries import Stats
from tests.aging import trust
from tests.fakes import ManualClock


def drawn(stats: Stats) -> str:
    """Return what rich shows of it."""
    console = Console(width=200, color_system="truecolor", force_terminal=True)
    with console.capture() as capture:
        console.print(stats)
    return capture.get()


def test_consumers_are_part_of_the_state(trail: Trail, clock: ManualClock) -> None:
    """Each consumer is named with its position, how far it is behind, and when it last moved."""
    trail.extend([{"action": "a"}] * 5).wait()
    assert trail.stats().consumers == ()
    for name, taken in (("mailer", 3), ("indexer", 0)):
        with trail.follow(name) as follower:
            for _ in range(taken):
                clock.advance(seconds=1)
                next(follower).ack()
    indexer, mailer = trail.stats().consumers
    assert (mailer.position, mailer.lag, mailer.missed, mailer.given_up) == (3, 2, 0, 0)
    assert mailer.moved.timestamp() == clock.us / 1e6
    assert (indexer.name, indexer.position, indexer.lag) == ("indexer", 0, 5)


def test_the_card_says_what_there_is(make_trail: Callable[..., Trail]) -> None:
    """`print` and rich show the same sections, and mention only what there is."""
    trail = make_trail(retention="90d")
    empty = str(trail.stats())
    assert "waiting" in empty
    assert "consumers" not in empty
    assert "not recorded" not in empty
    trail.extend([{"action": "a"}] * 3).wait()
    with trail.follow("mailer", retry_s=0, max_deliver=1) as follower:
        next(follower)
        next(follower).ack()
    trail.handle.unrecorded = 2
    stats = trail.stats()
    card = str(stats)
    for part in ("3 events", "keep 90d", "mailer", "at seq 2, 1 event behind, 1 given up", "commits here"):
        assert part in card, part
    lines = card.splitlines()
    assert {line[12:14] for line in lines if line[14:15] != " "} == {"  "}  # names begin in one column
    styled = drawn(stats)
    assert "\x1b[" in styled
    assert all(line.split()[-1] in styled for line in lines)
    assert "dead letters" in card
    assert "calls" in card


def test_what_is_due_is_told(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A flush is due once the queue is old, a prune once whole segments are expired, a merge of eight small segments."""
    trail = make_trail(retention="1d", maintain=False)
    trail.append(action="a").wait()
    assert trail.stats().due == ()
    assert "maintenance" not in str(trail.stats())
    clock.advance(minutes=15)
    assert trail.stats().due == ("flush",)
    trail.flush()
    assert trail.stats().due == ()
    clock.advance(days=3)
    trail.append(action="b").wait()
    trust(trail, trail.now())
    assert trail.stats().due == ("prune",)
    clock.advance(minutes=15)
    assert "flush, prune" in str(trail.stats())
    trail.prune()
    assert trail.stats().due == ()
    for _ in range(8):
        trail.append(action="c").wait()
        trail.flush()
    assert trail.stats().due == ("compact",)
    trail.maintain()
    assert trail.stats().due == ()


def test_the_state_is_a_value(trail: Trail) -> None:
    """Numbers do not change once they were taken."""
    stats = trail.stats()
    with pytest.raises(FrozenInstanceError):
        stats.dead_letters = 5  # type: ignore[misc]
    assert repr(stats).startswith("Stats(queue=QueueStats(depth=0")
