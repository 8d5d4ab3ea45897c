"""Following: reading committed events in the order of their seqs, waiting for those to come, and delivering each.

New events are noticed by looking at the names in the queue's folder and the size of the newest file, every `poll_s`:
that costs a few system calls, sees other processes' events on every file system, and needs no thread.  Every
`REREAD_S` the trail itself is read, for what no change of size shows (a writer that died before its commit mark).

What a query would not show any more, because it is expired or pruned, is skipped and counted exactly: seqs have no
gaps, so what is missing between two of them is gone.  Memory is bounded by `CHUNK_EVENTS` events.
"""

import weakref
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import polars as pl
from msgspec.structs import replace

from auditkit.errors import ClosedError, CorruptionError, InvalidQueryError
from auditkit.event import OWN_SOURCE
from auditkit.follow.delivery import Delivery, DeliveryPolicy, PendingEvent, RedeliveryState, close_released
from auditkit.query.frames import in_zone
from auditkit.queue.consumers import ConsumerFile, Position, check_name, read_positions
from auditkit.store.files import retrying
from auditkit.timerange import EVERYTHING, from_us, parse_instant, to_us
from auditkit.trail.events import in_order, plan_events
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.view import View
from auditkit.where import Condition, Where, compile_where

REREAD_S = 1.0
SETTLE_S = 5.0
_SETTLE_POLL_S = 0.01
CHUNK_EVENTS = 8_192
SAVE_AFTER = 10_000
"""How many events that were not for it a consumer may skip before its position is saved."""

_MISSED = "\0missed"  # a name no real column has


class _EventStream:
    """The events of a view from a seq on, in order, as far as they are there; used under the follower's lock.

    `position` is the seq that follows the last one taken or skipped; `missed` counts the events before it that no
    query would show any more.
    """

    def __init__(self, view: View, first: int, where: pl.Expr | None, *, own: bool) -> None:
        self._view = view
        self._where = where
        self._own = own
        self._rows: Iterator[dict[str, Any]] = iter(())
        self._read_to = first
        self._read_missed = 0
        self._span = CHUNK_EVENTS
        self.position = first
        self.missed = 0

    @property
    def ends(self) -> bool:
        """Whether no event can come any more: a view of the past stays what it is."""
        return self._view.at is not None

    def take(self) -> PendingEvent | None:
        """Return the next event, `None` where there is none yet."""
        while True:
            for row in self._rows:
                self.missed = row.pop(_MISSED)
                self.position = row["seq"] + 1
                return PendingEvent(seq=row["seq"], event=row, missed=self.missed)
            self.position, self.missed = self._read_to, self._read_missed
            if not retrying(self._read_chunk):
                return None

    def _read_chunk(self) -> bool:
        """Read the next events into memory; false where there are none."""
        snapshot = self._view.snapshot()
        if self._read_to >= snapshot.as_of:
            return False
        first = self._first_live(snapshot)
        end = min(first + self._span, snapshot.as_of)
        seq = pl.col("seq")
        _of_seqs(snapshot, self._read_to, end).refuse_pruned(EVERYTHING)
        wanted = replace(snapshot.visibility(own=True), first_seq=first, as_of=end)
        handle = self._view.handle
        plan = plan_events(snapshot, EVERYTHING, wanted, handle.schema.columns)
        events = in_order(handle.reader.files, snapshot, plan, by=("seq",), limit=CHUNK_EVENTS)
        if events.height == CHUNK_EVENTS:
            end = events["seq"][-1] + 1
        # Where events lie far apart, more seqs are looked at in one go, never more events.
        self._span = self._span * 2 if events.height < CHUNK_EVENTS // 2 else CHUNK_EVENTS
        missed = seq.cast(pl.Int64) - pl.int_range(pl.len()) - self._read_to + self._read_missed
        shown = in_zone(events, self._view.tz).with_columns(missed.alias(_MISSED)).filter(*self._filters())
        self._rows = shown.iter_rows(named=True)
        self._read_missed += end - self._read_to - events.height
        self._read_to = end
        return True

    def _first_live(self, snapshot: Snapshot) -> int:
        """Return the first seq from here on that may be on disk, so that a long pruned stretch costs nothing."""
        firsts = [row.first_seq for row in snapshot.catalog.segments if row.last_seq >= self._read_to]
        return max(self._read_to, min([*firsts, snapshot.catalog.flushed_seq]))

    def _filters(self) -> list[pl.Expr]:
        own = [] if self._own else [pl.col("source").ne_missing(OWN_SOURCE)]
        return own if self._where is None else [*own, self._where]


def _of_seqs(snapshot: Snapshot, first: int, end: int) -> Snapshot:
    """Return a snapshot that knows of no pruned events but those that may have seqs of `[first, end)`."""
    tombstones = [row for row in snapshot.catalog.tombstones if row.last_seq >= first and row.first_seq < end]
    return replace(snapshot, catalog=replace(snapshot.catalog, tombstones=tombstones))


class Follower:
    """An iterator of deliveries that waits for events to come; `Trail.follow` makes it.

    Iterate in one thread; `close` may be called from any, and ends the iteration.  As a context manager it closes
    itself.

    Attributes
    ----------
    position : int
        The seq it goes on from: the first one not acknowledged; without a consumer the first one not delivered.
    missed : int
        How many events were expired or pruned before they could be delivered, since it was opened.
    given_up : int
        How many events it has made dead letters since it was opened.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> trail.extend([{"action": "order.paid"}, {"action": "order.sent"}]).wait()
    0
    >>> with trail.follow("mailer", timeout_s=0) as follower:
    ...     next(follower).ack()
    ...     follower.position, follower.missed, follower.given_up
    (1, 0, 0)
    """

    def __init__(
        self, view: View, stream: _EventStream, policy: DeliveryPolicy, file: ConsumerFile | None
    ) -> None:
        self._handle = view.handle
        self._stream = stream
        self._policy = policy
        self._consumer = None if file is None else file.name
        self._state = RedeliveryState(view.handle, policy, file)
        self._broken = False
        weakref.finalize(self, self._state.release)

    @property
    def position(self) -> int:
        """The seq it goes on from."""
        return self._stream.position if self._consumer is None else self._state.position.next_seq

    @property
    def missed(self) -> int:
        """How many events were expired or pruned before they could be delivered."""
        return self._stream.missed

    @property
    def given_up(self) -> int:
        """How many events it has made dead letters."""
        return self._state.given_up

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delivery:
        """Return the next delivery, waiting for it.

        Raises
        ------
        StopIteration
            After `timeout_s` without an event, at the end of a view of the past, or after `close`; it is closed then.
        ClosedError
            In a child process that was forked since, or where the consumer's file could not be written before.
        OSError
            The consumer's file or a dead letter could not be written; the event may be delivered again.
        CorruptionError
            The queue or a segment is damaged; a follower made anew goes on at the same event.
        """
        state = self._state
        while not state.closing.is_set():
            state.check_process()
            if state.pending is not None:
                state.closing.wait(state.backoff_s())
            elif not self._await_event():
                break
            with state.lock:
                delivery = None if state.closing.is_set() else state.deliver()
            if delivery is not None:
                return delivery
        self.close()
        raise StopIteration

    def close(self) -> None:
        """End the iteration and free the consumer's name; what is not acknowledged will be delivered again."""
        self._state.closing.set()
        with self._state.lock:
            try:
                self._skip_read(at_least=1)
            finally:
                self._state.close()

    def __repr__(self) -> str:
        name = "" if self._consumer is None else f" {self._consumer!r}"
        return f"<Follower{name} at seq {self.position}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await_event(self) -> bool:
        """Make the next event the pending one, waiting for it up to `timeout_s`; false where none came."""
        timeout = self._policy.timeout_s
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            seen = self._signs()
            with self._state.lock:  # a `close` meanwhile saves no position behind an event on its way
                self._take()
                if self._state.pending is not None:
                    return True
                self._skip_read(at_least=SAVE_AFTER)
            if self._stream.ends or not self._await_signs(seen, deadline):
                return False

    def _take(self) -> None:
        """Make the next event that is there the pending one; an error ends the iteration, as in a generator."""
        try:
            self._state.pending = self._stream.take()
        except BaseException as exc:
            # An interrupt too: an event may be on its way, and must not count as skipped.
            self._broken = True
            self._state.closing.set()
            trail_was_closed = isinstance(exc, ClosedError) and self._handle.closed  # an end like any other
            if not trail_was_closed:
                raise

    def _skip_read(self, *, at_least: int) -> None:
        if not self._broken:
            self._state.skip_to(self._stream.position, missed=self._stream.missed, at_least=at_least)

    def _await_signs(self, seen: object, deadline: float | None) -> bool:
        """Wait until it is worth reading again; false after the deadline or `close`."""
        reread_at = monotonic() + REREAD_S
        while True:
            now = monotonic()
            if deadline is not None and now >= deadline:
                return False
            if now >= reread_at or self._signs() != seen:
                return True
            left = reread_at if deadline is None else min(reread_at, deadline)
            if self._state.closing.wait(min(self._policy.poll_s, left - now)):
                return False

    def _signs(self) -> object:
        """Return what changes with a commit: the queue's files, and the size of the newest."""
        layout = self._handle.layout
        names = layout.queue_files()
        size = None
        with suppress(FileNotFoundError):
            size = layout.queue_file(names[-1]).lstat().st_size if names else None
        return names, size


def follow(
    view: View,
    consumer: str | None,
    *,
    start: object,
    where: Where,
    own: bool,
    tz: str | None,
    policy: DeliveryPolicy,
) -> Follower:
    """See `Trail.follow`."""
    handle = view.handle
    handle.check_query()
    condition = compile_where(where, handle.schema.columns)
    if consumer is None:
        return Follower(
            view, _EventStream(view, _first_seq(view, start, tz), condition, own=own), policy, None
        )
    close_released(handle, check_name(consumer))
    file = ConsumerFile(handle.disk, handle.layout, handle.modes, consumer)
    try:
        position = file.position
        if position is None:
            position = Position(next_seq=_first_seq(view, start, tz), moved_us=handle.clock.now_us())
            file.move(position)
        committed = _committed_seq(view, position.next_seq)
        if position.next_seq > committed:
            reason = f"beyond the committed end (expected at most seq {committed}, found {position.next_seq})"
            raise CorruptionError(file.path, offset=None, reason=f"consumer's position: {reason}")
    except BaseException:
        file.close()
        raise
    return Follower(view, _EventStream(view, position.next_seq, condition, own=own), policy, file)


def _committed_seq(view: View, expected: int) -> int:
    """Return where the committed events end, having waited up to `SETTLE_S` for an expected seq.

    Events that a dead writer left without a commit mark are shown to readers while no writer is at work, and not
    while the next one is just adopting them.
    """
    deadline = monotonic() + SETTLE_S
    while (committed := view.snapshot().committed_seq) < expected and monotonic() < deadline:
        sleep(_SETTLE_POLL_S)
    return committed


def _first_seq(view: View, start: object, tz: str | None) -> int:
    """Return the seq that `start` means: itself, or the first one accepted at or after a moment."""
    if start is None:
        return 0
    if isinstance(start, int) and not isinstance(start, bool):
        end = view.snapshot().as_of
        if not 0 <= start <= end:
            raise InvalidQueryError("start", start, "no seq of this trail", expected=f"0 to {end}")
        return start
    now_us = to_us(view.now())
    start_us = parse_instant(start, name="start", tz=tz or view.tz, now_us=now_us, anchor_us=now_us)

    def attempt() -> int:
        snapshot = view.snapshot()
        known = [row.end_seq for row in snapshot.catalog.flushes if row.last_recorded_us < start_us]
        rest = replace(snapshot.stored, first_seq=max(known, default=0))
        later = Condition(columns=("recorded",), expression=pl.col("recorded") >= from_us(start_us))
        plan = plan_events(snapshot, EVERYTHING, rest, ["seq"], [later])
        first = in_order(view.handle.reader.files, snapshot, plan, by=("seq",), limit=1)
        return int(first["seq"].item()) if first.height else snapshot.as_of

    return retrying(attempt)


def forget_consumer(handle: Handle, name: str) -> Position:
    """Forget what a consumer has acknowledged, and return where it was; on return that is durable.

    Raises `ValueError` where there is no such consumer, `LockedError` while a follower has its name.
    """
    known = dict(read_positions(handle.layout))
    if check_name(name) not in known:
        error = ValueError(f"consumer: no such consumer (found {name!r})")
        error.add_note(f"there are: {', '.join(known) or 'none'}")
        raise error
    close_released(handle, name)
    file = ConsumerFile(handle.disk, handle.layout, handle.modes, name)
    try:
        file.forget()
    finally:
        file.close()
    return known[name]
