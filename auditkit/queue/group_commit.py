"""Group commit between the threads of one process: many receipts, one sync.

Leader and followers: of all threads that wait for their events, one at a time, the leader, commits what all have
gathered.  A follower whose events that commit made durable goes on at once and in any order; of the others only the
next leader is woken, so that no thread wakes up just to wait again.  A background thread commits what no caller waits
for within `COMMIT_WITHIN_S` or `COMMIT_AT_EVENTS`.  A failed commit fails every open receipt and closes the
writer; it never hangs a waiter and never retries a sync.  A writer belongs to the process that made it.
"""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, perf_counter
from typing import NoReturn

from msgspec import Struct, field

from auditkit.errors import AuditError, ClosedError, InvalidEventError, QueueFullError
from auditkit.event import ID_AT, Row
from auditkit.queue.active import ActiveQueue
from auditkit.queue.dedup import DedupIndex, Keys, Verdict, conflict_error, keys_of
from auditkit.queue.payload import Batch, merge_rows, payloads_of, weigh, weigh_row
from auditkit.queue.receipts import Limits, Receipt
from auditkit.queue.stored import StoredEvents
from auditkit.timerange import Clock

COMMIT_WITHIN_S = 0.1
COMMIT_AT_EVENTS = 1_000
IDLE_CHECK_S = 30.0
Refused = Callable[[Sequence[tuple[int, InvalidEventError]]], None]


class Counters(Struct):
    """What a writer has done since it was opened."""

    commits: int = 0
    events: int = 0
    duplicates: int = 0
    high_water: int = 0
    commit_s: float = 0.0
    slowest_commit_s: float = 0.0
    blocked_s: float = 0.0


_Pending = tuple[Receipt, Batch, Refused | None]
"""A receipt, its events, and where given, what to call with those whose key is taken while the others are stored."""


class _Follower:
    """A thread that waits until its events are durable, or until it leads; `turn` is held until then."""

    __slots__ = ("is_done", "leads", "turn")

    def __init__(self, is_done: Callable[[], bool]) -> None:
        self.is_done = is_done
        self.leads = False
        self.turn = threading.Lock()
        self.turn.acquire()


class Leadership:
    """Held by one thread at a time; the others wait until it is their turn, or until they need it no longer."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._held = False  # guarded by _changing
        self._followers: list[_Follower] = []  # guarded by _changing

    def take(self, is_done: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Become the leader and return true, or false once `is_done()`; `TimeoutError` after `timeout_s` seconds."""
        with self._changing:
            if is_done():
                return False
            if not self._held:
                self._held = True
                return True
            follower = _Follower(is_done)
            self._followers.append(follower)
        try:
            is_over = follower.turn.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s))
        except BaseException:
            self._forget(follower)
            raise
        if not is_over:
            self._forget(follower)
            if is_done():
                return False
            raise TimeoutError
        return follower.leads

    def release(self) -> None:
        """Let those followers go on that are done, and one of the others lead."""
        with self._changing:
            followers, self._followers, self._held = self._followers, [], False
            for follower in followers:
                if not follower.is_done():
                    if self._held:
                        self._followers.append(follower)
                        continue
                    self._held = follower.leads = True
                follower.turn.release()

    def _forget(self, follower: _Follower) -> None:
        """Take back a thread that waits no longer; what it was given in the meantime goes to the next."""
        with self._changing:
            if follower in self._followers:
                self._followers.remove(follower)
        if follower.leads:
            self.release()


class _Gathered(Struct):
    """What is accepted and waits for a commit."""

    pending: list[_Pending] = field(default_factory=list)
    events: int = 0
    bytes: int = 0
    keyed: bool = False

    def reach(self, limits: Limits, more_events: int = 0, more_bytes: int = 0) -> bool:
        """Return whether a bound is reached, with so much more."""
        return (
            self.events + more_events >= limits.pending_events
            or self.bytes + more_bytes >= limits.pending_bytes
        )


class Writer:
    """Takes validated rows, and makes them durable in the order taken."""

    def __init__(
        self,
        queue: ActiveQueue,
        clock: Clock,
        stored: StoredEvents,
        *,
        limits: Limits | None = None,
        after_commit: Callable[[], None] | None = None,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._stored = stored
        self._attrs_at = stored.schema.row_columns.index("attrs")
        self._after_commit = after_commit
        self._gathering = threading.Lock()
        self._leadership = Leadership()
        self._wake = threading.Condition(self._gathering)
        self._gathered = _Gathered()
        self._index: DedupIndex | None = None
        """Made at the first keyed event; guarded by the lock on `queue.lock`."""
        self._failure: BaseException | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._called = False
        """Whether the thread knows that there is work; else it sleeps until it is called."""
        self._napping = False
        """The thread looks again within `COMMIT_WITHIN_S`, or when it is called."""
        self._process = os.getpid()
        self.limits = limits or Limits()
        self.counters = Counters()

    @property
    def pending_events(self) -> int:
        """How many events are accepted and not yet committed."""
        return self._gathered.events

    @property
    def backlog_full(self) -> bool:
        """Whether as much is committed and not yet in segments as the limits allow."""
        return self._queue.backlog_reached(self.limits.backlog_events, self.limits.backlog_bytes)

    def append(self, row: Row) -> Receipt:
        """Accept one row; see `submit`."""
        return self._accept([row], 1, weigh_row(row, self._attrs_at), keyed=row[ID_AT] is not None)

    def submit(self, rows: Batch, *, keep_refused: Refused | None = None) -> Receipt:
        """Accept rows as one batch: they become durable together or not at all.

        Raises `QueueFullError` at a bound where the limits say so, `ClosedError` after a failure or `close`.
        """
        if not len(rows):
            receipt = Receipt(self, 0)
            receipt.resolve(None)
            return receipt
        weight, keyed = weigh(rows, self._attrs_at)
        return self._accept(rows, len(rows), weight, keyed=keyed, keep_refused=keep_refused)

    def _accept(
        self, rows: Batch, count: int, weight: int, *, keyed: bool, keep_refused: Refused | None = None
    ) -> Receipt:
        receipt = Receipt(self, count)
        limits = self.limits
        with self._gathering:
            gathered = self._gathered
            if self._over():
                self._refuse()
            if limits.on_full == "raise" and gathered.pending and gathered.reach(limits, count, weight):
                raise QueueFullError(f"queue: {gathered.events} events are waiting to be committed")
            # A caller with many events mostly waits for them: only those that gathered before are overdue.
            due = not self._called or (self._napping and gathered.events >= COMMIT_AT_EVENTS)
            gathered.pending.append((receipt, rows, keep_refused))
            gathered.events += count
            gathered.bytes += weight
            if keyed:
                gathered.keyed = True
            alone = due and not self._call_thread()
            full = gathered.reach(limits)
        if alone or full:
            started = perf_counter()
            self.commit()
            self.counters.blocked_s += perf_counter() - started
        return receipt

    def commit(self) -> None:
        """Make everything accepted so far durable; raises what the commit raised."""
        self._refuse_other_process()
        try:
            self._lead(lambda: False, self.limits.wait_s)
        except TimeoutError:
            raise TimeoutError(
                f"queue: another thread's commit takes longer than {self.limits.wait_s:g} s"
            ) from None
        self.raise_failure()

    def settle(self, receipt: Receipt, timeout_s: float | None) -> None:
        """See `Committer.settle`."""
        self._refuse_other_process()
        try:
            self._lead(lambda: receipt.done, timeout_s)
        except TimeoutError:
            raise TimeoutError(f"receipt: not durable within {timeout_s:g} s") from None

    def _lead(self, is_done: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Commit what has gathered unless another thread does so first."""
        if self._leadership.take(is_done, timeout_s):
            try:
                self._commit_gathered()
            finally:
                self._leadership.release()

    def raise_failure(self) -> None:
        """Raise the failure that closed this writer, if there was one."""
        if self._failure is not None:
            error = ClosedError(f"the writer is closed after a failed commit: {self._failure}")
            error.add_note("events whose receipts raised may or may not be stored; open the trail again")
            raise error from self._failure

    def close(self) -> None:
        """Commit what is left and stop; raises a failure that no caller has seen yet.

        In a forked child it only lets go: what the parent accepted is the parent's to commit.
        """
        if os.getpid() != self._process:
            return
        with self._gathering:
            if self._closed:
                return
            self._closed = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        try:
            if self._failure is None:
                self.commit()
                with suppress(AuditError, OSError):  # the next process finds out by itself
                    self._queue.trim_space()
        finally:
            self._queue.close()
        self.raise_failure()

    def abandon(self) -> None:
        """Let go in a forked child; receipts that it inherits say so when they are waited for."""
        self._closed = True
        self._leadership = Leadership()
        self._gathering = threading.Lock()
        self._queue.abandon()

    def _refuse(self) -> NoReturn:
        self.raise_failure()
        raise ClosedError("the trail is closed")

    def _refuse_other_process(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError("this event was accepted before a fork: it belongs to the parent process")

    def _commit_gathered(self) -> None:
        """Commit as the leader."""
        with self._gathering:
            taken, self._gathered = self._gathered, _Gathered()
        if not taken.pending:
            return
        self.counters.high_water = max(self.counters.high_water, taken.events)
        started = perf_counter()
        try:
            if self._failure is not None:
                self.raise_failure()
            self._commit_together(taken)
        except BaseException as exc:
            self._fail(taken.pending, exc)
            if not isinstance(exc, AuditError | OSError):
                raise
            return
        elapsed = perf_counter() - started
        self.counters.commits += 1
        self.counters.commit_s += elapsed
        self.counters.slowest_commit_s = max(self.counters.slowest_commit_s, elapsed)

    def _commit_together(self, taken: _Gathered) -> None:
        """Commit what was taken, all of it new: encoded before the lock is taken, which is where ids are looked up."""
        batches: Sequence[Batch] = [batch for _, batch, _ in taken.pending]
        payloads = payloads_of(batches, self._attrs_at, events=taken.events, weight=taken.bytes)
        keys: list[Keys] = []
        if taken.keyed:
            batches = merge_rows(batches)
            keys = [keys_of(batch) for batch in batches]
            self.prepare_index()
        with self._queue.locked():
            index = None if self._index is None else self.index()
            if index is not None and not index.all_new(keys):
                self._commit_judged(taken, index)
                return
            first = self._queue.write(payloads, self._clock.now_us()).first_seq
            if index is not None:
                verdicts = [Verdict(len(batch)) for batch in batches] if keys else []
                index.learn(keys, verdicts, first, self._queue.next_seq)
        for receipt, _, _ in taken.pending:
            receipt.resolve(first)
            first += receipt.count
        self.counters.events += taken.events

    def _commit_judged(self, taken: _Gathered, index: DedupIndex) -> None:
        """Commit what is new of what was taken; the caller holds the queue's lock."""
        batches = [batch for _, batch, _ in taken.pending]
        keys = [keys_of(batch) for batch in batches]
        wholes = [keep_refused is None for _, _, keep_refused in taken.pending]
        first = self._queue.next_seq
        verdicts = index.judge(list(zip(batches, keys, wholes, strict=True)), first)
        new = [verdict.new(batch) for verdict, batch in zip(verdicts, batches, strict=True)]
        if any(map(len, new)):
            stored = [batch for batch in new if len(batch)]
            payloads = payloads_of(stored, self._attrs_at, events=taken.events, weight=taken.bytes)
            self._queue.write(payloads, self._clock.now_us())
        index.learn(keys, verdicts, first, self._queue.next_seq)
        self.counters.events += self._queue.next_seq - first
        for pending, verdict in zip(taken.pending, verdicts, strict=True):
            self._answer(pending, verdict, first)
            first += verdict.new_count

    def prepare_index(self) -> None:
        """Read what the index must know of segments, the first time that it is needed: before the lock is taken."""
        if self._index is None:
            index = DedupIndex(self._stored)
            index.fill()
            self._index = index

    def index(self) -> DedupIndex:
        """Return the index, having read everything that is stored; the caller holds the queue's lock."""
        self.prepare_index()
        assert self._index is not None  # noqa: S101 -- see above
        self._index.catch_up(self._queue.take_frames(), self._queue.first_seq, self._queue.next_seq)
        return self._index

    def _answer(self, pending: _Pending, verdict: Verdict, first: int) -> None:
        """Resolve or fail one receipt after its batch was judged and written."""
        receipt, batch, keep_refused = pending
        if verdict.refused and keep_refused is None:
            receipt.fail(conflict_error(verdict.refused, single=len(batch) == 1))
            return
        if verdict.refused and keep_refused is not None:
            try:
                keep_refused(verdict.refused)
            except BaseException as exc:
                receipt.fail(exc)
                raise
            receipt.count -= len(verdict.refused)
        self.counters.duplicates += verdict.duplicates
        receipt.resolve(
            first if verdict.new_count else verdict.first_duplicate, duplicates=verdict.duplicates
        )

    def _fail(self, taken: Sequence[_Pending], error: BaseException) -> None:
        with self._gathering:
            self._failure = self._failure or error
            taken = [*taken, *self._gathered.pending]
            self._gathered = _Gathered()
        for receipt, _, _ in taken:
            if not receipt.done:
                receipt.fail(error)

    def _call_thread(self) -> bool:
        """Let the writer's thread know of work; false where there can be none, at the interpreter's end."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="auditkit-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        self._called, self._napping = True, False
        self._wake.notify()
        return True

    def _run(self) -> None:
        while self._sleep():
            self._lead(lambda: not self._gathered.pending)
            if self._after_commit is not None and self._failure is None:
                self._after_commit()

    def _sleep(self) -> bool:
        """Wait until there is something to commit or to look after; false once the writer is closed.

        A caller that waits for each event commits it itself, and calls the thread no more than once per nap.
        """
        with self._gathering:
            if not self._called and not self._over():
                self._wake.wait(IDLE_CHECK_S)
            deadline = monotonic() + COMMIT_WITHIN_S
            while self._gathered.events < COMMIT_AT_EVENTS and not self._over():
                left = deadline - monotonic()
                self._napping = True
                if left <= 0 or not self._wake.wait(left):
                    break
            self._called = self._napping = False
            return not self._over()

    def _over(self) -> bool:
        return self._closed or self._failure is not None
