"""Following: waiting for committed events, to give them one after the other.

New events are noticed by looking at the names in the queue's folder and the size of the newest file, every `poll_s`:
that costs a few system calls, sees other processes' events on every file system, and needs no thread.  Once in
`LOOK_S` the trail itself is looked at, for what no change of size tells (a writer that died before its mark).
"""

import weakref
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Self

from auditkit.errors import ClosedError, CorruptionError
from auditkit.follow.delivery import Delivery, Desk, Terms, close_left
from auditkit.follow.stream import EventStream, first_seq
from auditkit.queue.consumers import ConsumerFile, Position, check_name, read_positions
from auditkit.trail.handle import Core
from auditkit.trail.view import View
from auditkit.where import Where, compile_where

LOOK_S = 1.0
SAVE_AFTER = 10_000
"""So many events that were none of its business may a consumer pass over before its position is saved."""


class Follower:
    """An iterator of deliveries that waits for events to come; see `Trail.follow`.

    It is for one thread; `close` may be called from any, and ends the iteration.  As a context it closes itself.
    """

    def __init__(self, view: View, stream: EventStream, terms: Terms, memory: ConsumerFile | None) -> None:
        self._core = view.core
        self._stream = stream
        self._terms = terms
        self._remembers = memory is not None
        self._desk = Desk(view.core, terms, memory)
        self._broken = False
        weakref.finalize(self, self._desk.leave)

    @property
    def position(self) -> int:
        """The seq it goes on from: the first one not acknowledged, without a consumer the first one not given."""
        return self._desk.position.next_seq if self._remembers else self._stream.position

    @property
    def missed(self) -> int:
        """How many events were expired or pruned before it came to them, since it was opened."""
        return self._stream.missed

    @property
    def given_up(self) -> int:
        """How many events it has made dead letters since it was opened."""
        return self._desk.given_up

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delivery:
        """Return the next delivery, waiting for it; ends, closed, after `timeout_s` without one."""
        desk = self._desk
        while not desk.closing.is_set():
            desk.check_process()
            if desk.pending is not None:
                desk.closing.wait(desk.pause_s())
            elif not self._await_event():
                break
            with desk.lock:
                delivery = None if desk.closing.is_set() else desk.give()
            if delivery is not None:
                return delivery
        self.close()
        raise StopIteration

    def close(self) -> None:
        """End the iteration and let others follow under this name; what is not acknowledged will come again."""
        self._desk.closing.set()
        with self._desk.lock:
            try:
                self._pass_over(at_least=1)
            finally:
                self._desk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await_event(self) -> bool:
        """Make the next event the pending one, waiting for it up to `timeout_s`; false where none came."""
        timeout = self._terms.timeout_s
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            seen = self._signs()
            with self._desk.lock:  # whoever closes us saves no position of an event on its way
                self._take()
                if self._desk.pending is not None:
                    return True
                self._pass_over(at_least=SAVE_AFTER)
            if self._stream.ends or not self._await_signs(seen, deadline):
                return False

    def _take(self) -> None:
        """Make the next event that is there the pending one; an error ends the iteration, as in a generator."""
        try:
            self._desk.pending = self._stream.take()
        except BaseException as exc:
            # An interrupt too: an event may be on its way, and must not count as passed over.
            self._broken = True
            self._desk.closing.set()
            ended = (
                isinstance(exc, ClosedError) and self._core.closed
            )  # closed under us: an end like any other
            if not ended:
                raise

    def _pass_over(self, *, at_least: int) -> None:
        if not self._broken:
            self._desk.pass_over(self._stream.position, missed=self._stream.missed, at_least=at_least)

    def _await_signs(self, seen: object, deadline: float | None) -> bool:
        """Wait until it is worth to look again; false after the deadline or `close`."""
        look_at = monotonic() + LOOK_S
        while True:
            now = monotonic()
            if deadline is not None and now >= deadline:
                return False
            if now >= look_at or self._signs() != seen:
                return True
            left = look_at if deadline is None else min(look_at, deadline)
            if self._desk.closing.wait(min(self._terms.poll_s, left - now)):
                return False

    def _signs(self) -> object:
        """Return what changes when somebody commits: the queue's files, and the size of the newest."""
        layout = self._core.layout
        names = layout.queue_files()
        size = None
        with suppress(FileNotFoundError):
            size = layout.queue_file(names[-1]).stat().st_size if names else None
        return names, size


def follow(
    view: View, consumer: str | None, *, start: object, where: Where, own: bool, tz: str | None, terms: Terms
) -> Follower:
    """See `Trail.follow`."""
    core = view.core
    core.check_query()
    condition = compile_where(where, core.schema.columns)
    if consumer is None:
        return Follower(view, EventStream(view, first_seq(view, start, tz), condition, own=own), terms, None)
    close_left(core, check_name(consumer))
    memory = ConsumerFile(core.disk, core.layout, core.modes, consumer)
    try:
        position = memory.position
        if position is None:
            position = Position(next_seq=first_seq(view, start, tz), moved_us=core.clock.now_us())
            memory.move(position)
        committed = view.snapshot().committed_seq
        if position.next_seq > committed:
            reason = f"beyond the committed end (expected at most seq {committed}, found {position.next_seq})"
            raise CorruptionError(memory.path, offset=None, reason=f"consumer's position: {reason}")
    except BaseException:
        memory.close()
        raise
    return Follower(view, EventStream(view, position.next_seq, condition, own=own), terms, memory)


def forget_consumer(core: Core, name: str) -> Position:
    """Forget what a consumer has acknowledged, and return where it was; on return that is durable.

    Raises `ValueError` where there is no such consumer, `LockedError` where somebody follows under its name.
    """
    known = dict(read_positions(core.layout))
    if check_name(name) not in known:
        error = ValueError(f"consumer: no such consumer (found {name!r})")
        error.add_note(f"there are: {', '.join(known) or 'none'}")
        raise error
    close_left(core, name)
    memory = ConsumerFile(core.disk, core.layout, core.modes, name)
    try:
        memory.forget()
    finally:
        memory.close()
    return known[name]
