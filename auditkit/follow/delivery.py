"""Deliveries: events delivered one at a time, redelivered until acknowledged, and given up as dead letters.

A consumer's position moves past an event only once the event was acknowledged, or a dead letter names it.  The
number of deliveries is noted before an event leaves our hands, so that one that kills its consumer is counted too.
"""

import os
import threading
import weakref
from types import TracebackType
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from auditkit.errors import ClosedError, InvalidArgumentError
from auditkit.queue.consumers import Attempt, ConsumerFile, Position
from auditkit.queue.dead_letters import DeadLetter, keep_letters, read_numbered, sync_day
from auditkit.trail.handle import Handle

MAX_BACKOFF_S = 60.0


class DeliveryPolicy(Struct, frozen=True, kw_only=True):
    """How often and how fast events are delivered: see `Trail.follow`."""

    max_deliver: int | None
    retry_s: float
    timeout_s: float | None
    poll_s: float

    def __post_init__(self) -> None:
        limit = self.max_deliver
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise InvalidArgumentError("max_deliver", limit, "not a number of deliveries")
        bounds = {
            "retry_s": (self.retry_s, 0),
            "timeout_s": (self.timeout_s, 0),
            "poll_s": (self.poll_s, 0.001),
        }
        for name, (value, least) in bounds.items():
            if value is not None and not value >= least:
                raise InvalidArgumentError(name, value, "too short", expected=f"at least {least} seconds")

    def exhausted(self, attempt: Attempt) -> bool:
        """Return whether an event was delivered as often as it may be."""
        return self.max_deliver is not None and attempt.count >= self.max_deliver

    def backoff_s(self, attempt: Attempt) -> float:
        """Return how long to wait before the next delivery: twice as long after each, up to `MAX_BACKOFF_S`."""
        if self.exhausted(attempt):
            return 0
        return min(MAX_BACKOFF_S, self.retry_s * 2.0 ** min(attempt.count - 1, 16))


class PendingEvent(Struct, frozen=True, kw_only=True):
    """The next event to deliver; `missed` events before it were expired or pruned since the follower began."""

    seq: int
    event: dict[str, Any]
    missed: int


class Delivery:
    """One event, delivered by a follower.

    Settle it with `ack` or `fail`, or use it as a context: `with delivery as event:` acknowledges at the end of the
    block; an exception is noted as a failure (by its type: messages may hold secrets) and goes through.

    Attributes
    ----------
    event : dict of str to value
        The event's columns by name, in the order of the schema: `ts` and `recorded` as aware `datetime` in the trail's zone,
        `attrs` as JSON text, `None` where there is no value.
    seq : int
        The event's seq.
    attempt : int
        Which delivery of this event to this consumer it is, from 1; always 1 without a consumer.
    missed : int
        How many events directly before it were expired or pruned before they could be delivered.
    settled : bool
        Whether it was acknowledged or failed.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> trail.append(action="order.paid").wait()
    0
    >>> delivery = next(trail.follow("mailer", timeout_s=0))
    >>> delivery.seq, delivery.attempt, delivery.event["action"]
    (0, 1, 'order.paid')
    >>> delivery.ack()
    >>> delivery.settled
    True
    """

    __slots__ = ("_state", "attempt", "event", "missed", "settled")

    def __init__(self, state: "RedeliveryState", event: dict[str, Any], *, attempt: int, missed: int) -> None:
        self._state = state
        self.event = event
        self.attempt = attempt
        self.missed = missed
        self.settled = False

    @property
    def seq(self) -> int:
        """The event's seq."""
        seq: int = self.event["seq"]
        return seq

    def ack(self) -> None:
        """Acknowledge the event; on return that is durable, and the event is never delivered to this consumer again.

        If it raises, the event may be delivered again.  A second call changes nothing; without a consumer nothing is
        remembered.

        Raises
        ------
        OSError
            The consumer's position could not be written or synced.
        ClosedError
            The follower or the trail was closed meanwhile, or an earlier write failed.
        """
        self._state.acknowledge(self)

    def fail(self, reason: str) -> None:
        """Report that the event could not be processed: it is delivered again, or becomes a dead letter.

        The reason survives the process, not a power cut.  An event that is acknowledged already stays so.

        Parameters
        ----------
        reason : str
            Why, for the dead letter; the first 160 characters are kept.

        Raises
        ------
        OSError
            The reason could not be written.
        ClosedError
            The follower or the trail was closed meanwhile, or an earlier write failed.
        """
        self._state.note_failure(self, reason)

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


class RedeliveryState:
    """Which event one follower has out for delivery, and what the consumer's file remembers of it.

    Without a file nothing is remembered.
    """

    def __init__(self, handle: Handle, policy: DeliveryPolicy, file: ConsumerFile | None) -> None:
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.pending: PendingEvent | None = (
            None  # guarded by lock: delivered next, or out and not acknowledged
        )
        self._handle = handle
        self._policy = policy
        self._file = file  # guarded by lock
        self._begun = self.position
        self._reported_missed = 0  # guarded by lock: counted in a delivery or a position already
        self._may_have_letter = True  # guarded by lock: kept by a process that died, or by a call that failed
        self._process = os.getpid()
        if file is not None:
            weakref.finalize(self, file.close)
        handle.followers.add(self)

    @property
    def position(self) -> Position:
        """What the consumer's file remembers."""
        known = self._file.position if self._file is not None else None
        return known or Position(next_seq=0)

    @property
    def given_up(self) -> int:
        """How many events became dead letters here."""
        return self.position.given_up - self._begun.given_up

    def deliver(self) -> Delivery | None:
        """Return the pending event's next delivery; `None` where there is none, or it was given up just now."""
        pending = self.pending
        if pending is None:
            return None  # acknowledged meanwhile, by another thread
        missed = pending.missed - self._reported_missed
        if self._file is None:
            self.pending, self._reported_missed = None, pending.missed
            return Delivery(self, pending.event, attempt=1, missed=missed)
        last = self._file.attempt
        if last is None or last.seq != pending.seq:
            last = Attempt(seq=pending.seq, count=0)
        if self._policy.exhausted(last):
            self._give_up(self._file, pending, last)
            return None
        self._file.note(replace(last, count=last.count + 1))
        return Delivery(self, pending.event, attempt=last.count + 1, missed=missed)

    def acknowledge(self, delivery: Delivery) -> None:
        """See `Delivery.ack`."""
        with self.lock:
            pending = self.pending
            if self._file is not None and pending is not None and pending.seq == delivery.seq:
                self._move(self._file, pending.seq + 1, missed=pending.missed)
                self.pending, self._may_have_letter = None, False
            delivery.settled = True

    def note_failure(self, delivery: Delivery, reason: str) -> None:
        """See `Delivery.fail`."""
        with self.lock:
            pending = self.pending
            if self._file is not None and pending is not None and pending.seq == delivery.seq:
                self._file.note(Attempt(seq=pending.seq, count=delivery.attempt, reason=reason))
            delivery.settled = True

    def skip_to(self, next_seq: int, *, missed: int, at_least: int) -> None:
        """Remember that the events before `next_seq` were not for this consumer, if there are `at_least` so many."""
        if self._file is None or not self._file.usable or self.pending is not None:
            return
        if next_seq - self.position.next_seq >= at_least:
            self._move(self._file, next_seq, missed=missed)

    def backoff_s(self) -> float:
        """Return how long to wait before the pending event is delivered again."""
        last = self._file.attempt if self._file is not None else None
        return 0 if last is None else self._policy.backoff_s(last)

    def check_process(self) -> None:
        """Raise `ClosedError` in a child forked since."""
        if os.getpid() != self._process:
            raise ClosedError("follow: begun before a fork, it belongs to the parent process")

    def close(self) -> None:
        """End the iteration, and free the consumer's name."""
        self.closing.set()
        if self._file is not None:
            with self.lock:
                self._file.close()

    def abandon(self) -> None:
        """Let go in a forked child: the consumer stays with the parent."""
        self.lock = threading.RLock()
        if self._file is not None:
            self._file.close()

    def release(self) -> None:
        """The iterator is gone: close, or, while the last delivery may still be acknowledged, keep the name until then."""
        if self.pending is None:
            self.close()
        else:
            _released.add(self)

    def belongs_to(self, handle: Handle, name: str) -> bool:
        """Return whether this is the state of that trail's consumer."""
        return self._file is not None and self._file.path == handle.layout.consumer_file(name)

    def _give_up(self, file: ConsumerFile, pending: PendingEvent, last: Attempt) -> None:
        """Make the pending event a dead letter, once, and go on behind it."""
        handle = self._handle
        times = f"{last.count} deliveries" if last.count != 1 else "1 delivery"
        letter = DeadLetter(
            recorded_us=handle.clock.now_us(),
            reason=f"given up after {times}: {last.reason or 'not acknowledged'}",
            consumer=file.name,
            seq=pending.seq,
        )
        kept_on = self._day_of_letter(file.name, pending.seq)
        if kept_on is None:
            self._may_have_letter = True
            keep_letters(handle.disk, handle.layout, handle.modes, [letter])
        else:
            sync_day(handle.disk, handle.layout, kept_on)
        self._move(file, pending.seq + 1, missed=pending.missed, given_up=1)
        self.pending, self._may_have_letter = None, False

    def _day_of_letter(self, consumer: str, seq: int) -> str | None:
        """Return the day of the pending event's letter, if it was kept and the position not moved behind the event."""
        if self._may_have_letter:
            for name, letter in read_numbered(self._handle.layout):
                if (letter.consumer, letter.seq) == (consumer, seq):
                    return name.partition(":")[0]
        return None

    def _move(self, file: ConsumerFile, next_seq: int, *, missed: int, given_up: int = 0) -> None:
        file.move(
            Position(
                next_seq=next_seq,
                missed=self._begun.missed + missed,
                given_up=self.position.given_up + given_up,
                moved_us=self._handle.clock.now_us(),
            )
        )
        self._reported_missed = missed


_released: "weakref.WeakSet[RedeliveryState]" = weakref.WeakSet()
"""States that only a delivery still holds, such as a notebook's loop variable after an interrupt."""


def close_released(handle: Handle, name: str) -> None:
    """Close the states of a consumer whose iterators are gone, so that its name can be followed anew."""
    for state in list(_released):
        if state.belongs_to(handle, name):
            state.close()
            _released.discard(state)
