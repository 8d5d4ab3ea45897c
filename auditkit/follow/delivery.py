"""Deliveries: events handed out one at a time, and what became of each.

A consumer's position moves past an event only once the event was acknowledged, or is kept as a dead letter.  How
often an event was given is noted before it leaves our hands, so that one that kills its consumer is counted too.
"""

import os
import threading
import weakref
from types import TracebackType
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from auditkit.errors import ClosedError
from auditkit.follow.stream import Found
from auditkit.queue.consumers import Attempt, ConsumerFile, Position
from auditkit.queue.dead_letters import DeadLetter, describe_input, keep_letters, read_letters
from auditkit.trail.handle import Core

LONGEST_RETRY_S = 60.0


class Terms(Struct, frozen=True, kw_only=True):
    """How events are given: see `Trail.follow`."""

    max_deliver: int | None
    retry_s: float
    timeout_s: float | None
    poll_s: float

    def __post_init__(self) -> None:
        limit = self.max_deliver
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ValueError(f"max_deliver: not a number of deliveries (found {limit!r})")
        bounds = {
            "retry_s": (self.retry_s, 0),
            "timeout_s": (self.timeout_s, 0),
            "poll_s": (self.poll_s, 0.001),
        }
        for name, (value, least) in bounds.items():
            if value is not None and not value >= least:
                raise ValueError(f"{name}: too short (expected at least {least} seconds, found {value!r})")


class Delivery:
    """One event, given to whoever follows.

    `event` is a dict of its columns: times as aware datetimes in UTC, attrs as text.  `attempt` says for which time it
    is given (from 1), `missed` how many events directly before it were gone already.  Settle it with `ack` or `fail`,
    or use it as a context: `with delivery as event:` acknowledges at the end of the block, and notes an exception (by
    its type: messages may hold secrets) as a failure before letting it through.
    """

    __slots__ = ("_desk", "attempt", "event", "missed", "settled")

    def __init__(self, desk: "Desk", event: dict[str, Any], *, attempt: int, missed: int) -> None:
        self._desk = desk
        self.event = event
        self.attempt = attempt
        self.missed = missed
        self.settled = False
        """True once it was acknowledged or failed."""

    @property
    def seq(self) -> int:
        """The event's seq."""
        seq: int = self.event["seq"]
        return seq

    def ack(self) -> None:
        """Say that the event is dealt with; on return that is durable, and the event never comes again.

        If it raises, the event may come again.  A second time changes nothing; without a consumer nothing is kept.
        """
        self._desk.acknowledge(self)

    def fail(self, reason: str) -> None:
        """Say why the event could not be dealt with: it comes again, or becomes a dead letter with this reason.

        The first 160 characters are kept.  An event that is acknowledged already stays so.
        """
        self._desk.note_failure(self, reason)

    def __enter__(self) -> dict[str, Any]:
        return self.event

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.fail(kind.__qualname__)
        elif not self.settled:
            self.ack()

    def __repr__(self) -> str:
        return f"<Delivery of seq {self.seq}, attempt {self.attempt}>"


class Desk:
    """Where one follower's events are given out, and their fate is noted.

    Without a memory nothing is remembered.  `lock` guards `pending`, the event that is out and not acknowledged.
    """

    def __init__(self, core: Core, terms: Terms, memory: ConsumerFile | None) -> None:
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.pending: Found | None = None
        self._core = core
        self._terms = terms
        self._memory = memory
        self._begun = self.position
        self._told_missed = 0
        self._settled_any = False
        self._process = os.getpid()
        if memory is not None:
            weakref.finalize(self, memory.close)
        core.followers.add(self)

    @property
    def position(self) -> Position:
        """What the consumer remembers."""
        known = self._memory.position if self._memory is not None else None
        return known or Position(next_seq=0)

    @property
    def given_up(self) -> int:
        """How many events became dead letters here."""
        return self.position.given_up - self._begun.given_up

    def give(self) -> Delivery | None:
        """Hand the pending event over; `None` where it was given too often, and is a dead letter now."""
        found = self.pending
        if found is None:
            return None  # acknowledged meanwhile, by another thread
        missed = found.missed - self._told_missed
        if self._memory is None:
            self.pending, self._told_missed = None, found.missed
            return Delivery(self, found.event, attempt=1, missed=missed)
        last = self._memory.attempt
        if last is None or last.seq != found.seq:
            last = Attempt(seq=found.seq, count=0)
        if self._given_too_often(last):
            self._give_up(found, last)
            return None
        self._memory.note(replace(last, count=last.count + 1))
        return Delivery(self, found.event, attempt=last.count + 1, missed=missed)

    def acknowledge(self, delivery: Delivery) -> None:
        """See `Delivery.ack`."""
        with self.lock:
            found = self.pending
            if self._memory is not None and found is not None and found.seq == delivery.seq:
                self._move(found.seq + 1, missed=found.missed)
                self.pending, self._settled_any = None, True
            delivery.settled = True

    def note_failure(self, delivery: Delivery, reason: str) -> None:
        """See `Delivery.fail`."""
        with self.lock:
            found = self.pending
            if self._memory is not None and found is not None and found.seq == delivery.seq:
                self._memory.note(Attempt(seq=found.seq, count=delivery.attempt, reason=reason))
            delivery.settled = True

    def pass_over(self, next_seq: int, *, missed: int, at_least: int) -> None:
        """Remember that the events before `next_seq` were not for this consumer, if there are `at_least` so many."""
        if self._memory is None or not self._memory.usable or self.pending is not None:
            return
        if next_seq - self.position.next_seq >= at_least:
            self._move(next_seq, missed=missed)

    def pause_s(self) -> float:
        """Return how long to wait before the pending event is given again."""
        last = self._memory.attempt if self._memory is not None else None
        if last is None or self._given_too_often(last):
            return 0
        return min(LONGEST_RETRY_S, self._terms.retry_s * 2.0 ** min(last.count - 1, 16))

    def check_process(self) -> None:
        """Raise `ClosedError` in a child forked since."""
        if os.getpid() != self._process:
            raise ClosedError("follow: begun before a fork, it belongs to the parent process")

    def close(self) -> None:
        """End it, and let others follow under this name."""
        self.closing.set()
        if self._memory is not None:
            with self.lock:
                self._memory.close()

    def abandon(self) -> None:
        """Let go in a forked child: the consumer stays with the parent."""
        self.lock = threading.RLock()
        if self._memory is not None:
            self._memory.close()

    def leave(self) -> None:
        """Nobody iterates any more: close, or, while the last event may still be acknowledged, hold the name loosely."""
        if self.pending is None:
            self.close()
        else:
            _left.add(self)

    def holds_loosely(self, core: Core, name: str) -> bool:
        """Say whether this is a left desk of that trail's consumer."""
        return self._memory is not None and self._memory.path == core.layout.consumer_file(name)

    def _given_too_often(self, last: Attempt) -> bool:
        return self._terms.max_deliver is not None and last.count >= self._terms.max_deliver

    def _give_up(self, found: Found, last: Attempt) -> None:
        """Make the pending event a dead letter, once, and go on behind it."""
        memory, core = self._memory, self._core
        assert memory is not None  # noqa: S101 -- only a consumer gives up
        times = f"{last.count} deliveries" if last.count != 1 else "1 delivery"
        letter = DeadLetter(
            recorded_us=core.clock.now_us(),
            reason=f"given up after {times}: {last.reason or 'not acknowledged'}",
            field=None,
            line=None,
            input=describe_input({name: value for name, value in found.event.items() if value is not None}),
            consumer=memory.name,
            seq=found.seq,
        )
        if not self._is_kept(found.seq):
            keep_letters(core.disk, core.layout, core.modes, [letter])
        self._move(found.seq + 1, missed=found.missed, given_up=1)
        self.pending, self._settled_any = None, True

    def _is_kept(self, seq: int) -> bool:
        """Say whether a consumer that died before its position moved has left the letter of this event behind."""
        if self._settled_any or self._memory is None:
            return False  # only the first event after an opening can be such a one
        name = self._memory.name
        return any((known.consumer, known.seq) == (name, seq) for known in read_letters(self._core.layout))

    def _move(self, next_seq: int, *, missed: int, given_up: int = 0) -> None:
        memory = self._memory
        assert memory is not None  # noqa: S101 -- only a consumer has a position
        memory.move(
            Position(
                next_seq=next_seq,
                missed=self._begun.missed + missed,
                given_up=self.position.given_up + given_up,
                moved_us=self._core.clock.now_us(),
            )
        )
        self._told_missed = missed


_left: "weakref.WeakSet[Desk]" = weakref.WeakSet()
"""Desks that only a delivery still holds, such as a notebook's loop variable after an interrupt."""


def close_left(core: Core, name: str) -> None:
    """Close the desks of a consumer whose iteration was given up, so that it can be followed anew."""
    for desk in list(_left):
        if desk.holds_loosely(core, name):
            desk.close()
            _left.discard(desk)
