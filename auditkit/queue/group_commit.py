"""Group commit between the threads of one process: many receipts, one sync.

Leader and followers: of all threads that wait for their events, one at a time, the leader, commits what all have
gathered.  A follower whose events that commit made durable goes on at once and in any order; of the others only the
next leader is woken, so that no thread wakes up just to wait again.  A background thread commits what no caller waits
for within `COMMIT_WITHIN_S` or `COMMIT_AT_EVENTS`.  A failed commit fails its receipts, and is raised once more
where no caller had waited for one; the next commit opens the queue anew.  What could not be tried, because a lock was
not to be had in time, waits for the next try.  After an interrupt in the middle of a commit its outcome is found out
before the interrupt goes on.  A writer belongs to the process that made it.
"""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import get_ident
from time import monotonic, perf_counter

from msgspec import Struct, field

from auditkit.errors import AuditError, ClosedError, InvalidEventError, LockedError, QueueFullError
from auditkit.event import ID_AT, Row
from auditkit.queue.active import ActiveQueue, Attempt
from auditkit.queue.dedup import DedupIndex, Keys, Verdict, conflict_error, keys_of
from auditkit.queue.payload import ROW_BYTES, Batch, merge_rows, payloads_of, weigh
from auditkit.queue.receipts import Limits, Receipt
from auditkit.queue.stored import StoredEvents
from auditkit.text import counted
from auditkit.timerange import Clock

COMMIT_WITHIN_S = 0.1
COMMIT_AT_EVENTS = 1_000
IDLE_CHECK_S = 30.0
CLOSE_WITHIN_S = 5.0
"""How long closing waits for the queue's lock."""
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


_Pending = tuple[Receipt, Batch, Refused | None, int]
"""A receipt and its events; where given, what to call with those whose key is taken while the others are stored; and the
row of the input that they begin with."""


class _Follower:
    """A thread that waits until its events are durable, or until it leads; `turn` is held until then."""

    __slots__ = ("is_done", "leads", "thread", "turn")

    def __init__(self, is_done: Callable[[], bool]) -> None:
        self.is_done = is_done
        self.leads = False
        self.thread = get_ident()
        self.turn = threading.Lock()
        self.turn.acquire()


class Leadership:
    """Held by one thread at a time; the others wait until it is their turn, or until they need it no longer."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._leader: int | None = None  # guarded by _changing
        self._followers: list[_Follower] = []  # guarded by _changing

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread leads, perhaps because an interrupt has kept it from giving that up."""
        return self._leader == get_ident()

    def take(self, is_done: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Become the leader and return true, or false once `is_done()`; `TimeoutError` after `timeout_s` seconds.

        After an interrupt in here, `leave` takes back what was begun.
        """
        with self._changing:
            if is_done():
                return False
            if self._leader is None or self.is_mine:
                self._leader = get_ident()
                return True
            follower = _Follower(is_done)
            self._followers.append(follower)
        if not follower.turn.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s)):
            self.leave()
            if is_done():
                return False
            raise TimeoutError
        return follower.leads

    def leave(self) -> None:
        """Lead and follow no longer: those followers go on that are done, and one of the others leads."""
        me = get_ident()
        with self._changing:
            followers = [follower for follower in self._followers if follower.thread != me]
            if self._leader not in (None, me):
                self._followers = followers
                return
            waiting: list[_Follower] = []
            leader: _Follower | None = None
            for follower in followers:
                if follower.is_done():
                    follower.turn.release()
                elif leader is None:
                    leader = follower
                else:
                    waiting.append(follower)
            self._followers = waiting
            if leader is None:
                self._leader = None
                return
            self._leader, leader.leads = leader.thread, True
            leader.turn.release()


class _Gathered(Struct):
    """What is accepted and waits for a commit."""

    pending: list[_Pending] = field(default_factory=list)
    events: int = 0
    bytes: int = 0
    keyed: bool = False
    full: bool = False
    """Whether a bound is reached: the next caller commits before anything else is accepted."""
    before: Attempt | None = None
    """Once it is being committed: the last write of events before."""
    verdicts: Sequence[Verdict] = ()
    """What becomes of each batch, where some of it is not new."""

    def reach(self, limits: Limits, more_events: int = 0, more_bytes: int = 0) -> bool:
        """Return whether a bound is reached, with so much more."""
        return (
            self.events + more_events >= limits.pending_events
            or self.bytes + more_bytes >= limits.pending_bytes
        )


class Writer:
    """Takes validated rows, and makes them durable in the order taken.

    Its thread, `auditkit-writer`, commits what no caller waits for.  `activity` is set where that may have made
    maintenance due.
    """

    def __init__(
        self,
        queue: ActiveQueue,
        clock: Clock,
        stored: StoredEvents,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._stored = stored
        self._attrs_at = stored.schema.row_columns.index("attrs")
        self._gathering = threading.Lock()
        self._leadership = Leadership()
        self._wake = threading.Condition(self._gathering)
        self._gathered = _Gathered()  # guarded by _gathering
        self._in_flight: _Gathered | None = None  # guarded by _leadership
        """What is being committed, or was when an interrupt came."""
        self._index: DedupIndex | None = None  # guarded by the lock on queue.lock
        """Made at the first keyed event."""
        self._unseen: BaseException | None = None  # guarded by _gathering
        """The failure of a commit that was not raised to any caller yet."""
        self._closed = False  # guarded by _gathering
        self._thread: threading.Thread | None = None  # guarded by _gathering
        self._called = False  # guarded by _gathering
        """Whether the thread knows that there is work; else it sleeps until it is called."""
        self._napping = False  # guarded by _gathering
        """The thread looks again within `COMMIT_WITHIN_S`, or when it is called."""
        self._process = os.getpid()
        self.activity = threading.Event()
        self.limits = limits or Limits()
        self.counters = Counters()

    @property
    def pending_events(self) -> int:
        """How many events are accepted and not yet committed."""
        return self._gathered.events

    def append(self, row: Row) -> Receipt:
        """Accept one row; see `submit`."""
        pending = (Receipt(self, 1), [row], None, 0)
        return self._accept(pending, ROW_BYTES + len(row[self._attrs_at] or ""), keyed=row[ID_AT] is not None)

    def submit(self, rows: Batch, *, keep_refused: Refused | None = None, first_row: int = 0) -> Receipt:
        """Accept rows as one batch: they become durable together or not at all.

        Raises `QueueFullError` at a bound where the limits say so, `ClosedError` after `close`, and once what a commit
        raised that no caller waited for.
        """
        if not len(rows):
            receipt = Receipt(self, 0)
            receipt.resolve(None)
            return receipt
        weight, keyed = weigh(rows, self._attrs_at)
        pending = (Receipt(self, len(rows)), rows, keep_refused, first_row)
        return self._accept(pending, weight, keyed=keyed)

    def _accept(self, pending: _Pending, weight: int, *, keyed: bool) -> Receipt:
        receipt, count = pending[0], pending[0].count
        limits, gathered = self.limits, self._gathered
        if gathered.full and limits.on_full == "work":
            self._commit_counted()  # what this raises leaves the new events out
        with self._gathering:
            gathered = self._gathered
            if self._closed:
                raise ClosedError("trail: closed")
            if self._unseen is not None:
                self._raise_unseen()
            if limits.on_full == "raise" and gathered.pending and gathered.reach(limits, count, weight):
                raise QueueFullError(
                    f"queue: {counted(gathered.events, 'event')} waiting to be committed (expected {limits.pending_events:,} at most)"
                )
            # A caller with many events mostly waits for them: only those that gathered before are overdue.
            due = not self._called or (self._napping and gathered.events >= COMMIT_AT_EVENTS)
            gathered.events += count
            gathered.bytes += weight
            if keyed:
                gathered.keyed = True
            gathered.pending.append(pending)  # at last: an interrupt may come between
            alone = due and not self._call_thread()
            gathered.full = gathered.events >= limits.pending_events or gathered.bytes >= limits.pending_bytes
        if alone:
            self._commit_counted()
        elif gathered.full:
            with suppress(LockedError, TimeoutError):  # accepted they are: the next caller waits again
                self._commit_counted()
        return receipt

    def _commit_counted(self) -> None:
        """Commit for a caller that would rather go on."""
        started = perf_counter()
        try:
            self.commit()
        finally:
            self.counters.blocked_s += perf_counter() - started

    def commit(self) -> None:
        """Make everything accepted so far durable; raises a failure that was not raised yet.

        `LockedError` and `TimeoutError` leave what was accepted for the next try.
        """
        self._refuse_other_process()
        try:
            self._lead(lambda: False, self.limits.wait_s)
        except TimeoutError:
            raise TimeoutError(
                f"queue: another thread's commit takes longer than {self.limits.wait_s:g} s"
            ) from None
        self._raise_unseen()

    def settle(self, receipt: Receipt, timeout_s: float | None) -> None:
        """See `Committer.settle`."""
        self._refuse_other_process()
        try:
            self._lead(lambda: receipt.done, timeout_s)
        except TimeoutError:
            raise TimeoutError(f"receipt: not durable within {timeout_s:g} s") from None
        except Exception:  # what is below is for interrupts only
            raise
        except BaseException as exc:
            self.after_interrupt()
            exc.add_note(f"auditkit: {_outcome(receipt)}")
            exc.__context__ = None  # whose frames would hold what they have opened
            raise exc.with_traceback(None) from None

    def raised(self, error: BaseException) -> None:
        """See `Committer.raised`."""
        if self._unseen is error:
            self._unseen = None

    def _lead(self, is_done: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Commit what has gathered unless another thread does so first."""
        if self._leadership.take(is_done, timeout_s):
            try:
                self._commit_gathered()
            finally:
                self._leadership.leave()

    def after_interrupt(self) -> None:
        """Bring to its end what an interrupt left half done in the calling thread; another one cannot cut it short."""
        while True:
            try:
                if self._leadership.is_mine:
                    self._finish_in_flight()
                self._queue.after_interrupt()
                return self._leadership.leave()
            except KeyboardInterrupt:
                continue

    def _raise_unseen(self) -> None:
        failure, self._unseen = self._unseen, None
        if failure is not None:
            failure.add_note(
                "what was accepted before this call is not known to be stored; the next call goes on"
            )
            raise failure.with_traceback(None)

    def close(self) -> None:
        """Commit what is left and stop; raises a failure that was not raised yet.

        Waits for the queue's lock no longer than `CLOSE_WITHIN_S`; then raises `LockedError`, and what is left is
        not stored.  In a forked child it only lets go: what the parent accepted is the parent's to commit.
        """
        if os.getpid() != self._process or self._queue.is_closed:
            return
        with self._gathering:
            self._closed = True
            self._wake.notify()
        self._queue.hurry(CLOSE_WITHIN_S)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        try:
            self.commit()
            with suppress(AuditError, OSError):  # the next process finds out by itself
                self._queue.trim_space()
        except (LockedError, TimeoutError) as exc:
            left = self._gathered
            error = LockedError(f"{exc}: {left.events} accepted events could not be committed")
            self._fail(left, error)
            raise error from exc
        finally:
            self._queue.close()

    def abandon(self) -> None:
        """Let go in a forked child; receipts that it inherits say so when they are waited for."""
        self._closed = True
        self._leadership = Leadership()
        self._gathering = threading.Lock()
        self._queue.abandon()

    def _refuse_other_process(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError("this event was accepted before a fork: it belongs to the parent process")

    def _commit_gathered(self) -> None:
        """Commit as the leader: afterwards every receipt is resolved, has failed, or waits for the next try."""
        if self._in_flight is not None:  # since an interrupt inside an interrupt
            self._finish_in_flight()
        with self._gathering:
            taken = self._gathered
            taken.before = self._queue.attempt
            self._in_flight, self._gathered = taken, _Gathered()
        if not taken.pending:
            self._in_flight = None
            return
        self.counters.high_water = max(self.counters.high_water, taken.events)
        started = perf_counter()
        try:
            interrupt = self._commit_together(taken)
        except LockedError:
            self._put_back(taken)
            raise
        except Exception as exc:
            self._fail(taken, exc)
            if not isinstance(exc, AuditError | OSError):
                raise
            return
        except BaseException:
            self._finish_in_flight()
            raise
        self._in_flight = None
        elapsed = perf_counter() - started
        self.counters.commits += 1
        self.counters.commit_s += elapsed
        self.counters.slowest_commit_s = max(self.counters.slowest_commit_s, elapsed)
        if interrupt is not None:
            raise interrupt

    def _finish_in_flight(self) -> None:
        """Find out what became of a commit that was interrupted, and resolve its receipts or put it back.

        Repeated where it is interrupted itself.
        """
        taken = self._in_flight
        if taken is None:
            return
        self._queue.after_interrupt()
        attempt = self._queue.attempt
        if attempt is None or attempt is taken.before:
            self._put_back(taken)
            return
        try:
            first = None if attempt.failure else self._queue.outcome(attempt)
        except (AuditError, OSError) as exc:
            self._fail(taken, exc)
            return
        if attempt.failure is not None:
            self._fail(taken, attempt.failure)
        elif first is None:
            self._put_back(taken)
        else:
            self._resolve(taken, first)
            self._in_flight = None

    def _put_back(self, taken: _Gathered) -> None:
        """Leave what could not be tried, or not be written, for the next try."""
        open_ = [pending for pending in taken.pending if not pending[0].done]
        with self._gathering:
            later = self._gathered
            merged = _Gathered(
                pending=[*open_, *later.pending],
                events=sum(receipt.count for receipt, *_ in open_) + later.events,
                bytes=taken.bytes + later.bytes,
                keyed=taken.keyed or later.keyed,
                full=taken.full or later.full,
            )
            self._in_flight, self._gathered, self._called = None, merged, True
            self._wake.notify()

    def _commit_together(self, taken: _Gathered) -> BaseException | None:
        """Commit what was taken, all of it new: encoded before the lock is taken, which is where ids are looked up.

        Returns an interrupt that came in the middle.
        """
        batches: Sequence[Batch] = [batch for _, batch, *_ in taken.pending]
        payloads = payloads_of(batches, self._attrs_at, events=taken.events, weight=taken.bytes)
        keys: list[Keys] = []
        if taken.keyed:
            batches = merge_rows(batches)
            keys = [keys_of(batch) for batch in batches]
            self.prepare_index()
        with self._queue.locked():
            index = None if self._index is None else self.take_index()
            if index is not None and not index.all_new(keys):
                return self._commit_judged(taken, index)
            commit = self._queue.write(payloads, self._clock.now_us())
            if index is not None:
                verdicts = [Verdict(len(batch)) for batch in batches] if keys else []
                index.learn(keys, verdicts, commit.first_seq, self._queue.next_seq)
                self.keep_index(index)
        self._resolve(taken, commit.first_seq)
        return commit.interrupt

    def _commit_judged(self, taken: _Gathered, index: DedupIndex) -> BaseException | None:
        """Commit what is new of what was taken; the caller holds the queue's lock."""
        batches = [batch for _, batch, *_ in taken.pending]
        keys = [keys_of(batch) for batch in batches]
        wholes = [keep_refused is None for _, _, keep_refused, _ in taken.pending]
        first, interrupt = self._queue.next_seq, None
        taken.verdicts = verdicts = index.judge(list(zip(batches, keys, wholes, strict=True)), first)
        new = [verdict.new(batch) for verdict, batch in zip(verdicts, batches, strict=True)]
        if any(map(len, new)):
            stored = [batch for batch in new if len(batch)]
            payloads = payloads_of(stored, self._attrs_at, events=taken.events, weight=taken.bytes)
            interrupt = self._queue.write(payloads, self._clock.now_us()).interrupt
        index.learn(keys, verdicts, first, self._queue.next_seq)
        self.keep_index(index)
        self._resolve(taken, first)
        return interrupt

    def _resolve(self, taken: _Gathered, first: int) -> None:
        """Resolve or fail the receipts of what is stored from seq `first` on."""
        for number, pending in enumerate(taken.pending):
            receipt, batch, keep_refused, first_row = pending
            verdict = taken.verdicts[number] if taken.verdicts else None
            count = receipt.count if verdict is None else verdict.new_count
            if receipt.done:
                pass  # before an interrupt came
            elif verdict is None:
                receipt.resolve(first)
            elif verdict.refused and keep_refused is None:
                receipt.fail(conflict_error(verdict.refused, first_row if len(batch) > 1 else None))
            else:
                self._answer(receipt, verdict, first, keep_refused)
            self.counters.events += count
            first += count

    def _answer(self, receipt: Receipt, verdict: Verdict, first: int, keep_refused: Refused | None) -> None:
        """Resolve a receipt of which some events are not new."""
        if verdict.refused and keep_refused is not None:
            try:
                keep_refused(verdict.refused)
            except Exception as exc:
                receipt.fail(exc)
                raise
            receipt.count -= len(verdict.refused)
        self.counters.duplicates += verdict.duplicates
        receipt.resolve(
            first if verdict.new_count else verdict.first_duplicate, duplicates=verdict.duplicates
        )

    def prepare_index(self) -> None:
        """Read what the index must know of segments, the first time that it is needed: before the lock is taken."""
        if self._index is None:
            index = DedupIndex(self._stored)
            index.fill()
            self._index = index

    def take_index(self) -> DedupIndex:
        """Return the index, having read everything that is stored; the caller holds the queue's lock.

        It is given back by `keep_index` once it has learned of what is stored: one that an interrupt or a failure has
        left in the middle is made anew.
        """
        index, self._index = self._index, None
        if index is None:
            index = DedupIndex(self._stored)
            index.fill()
        index.catch_up(self._queue.take_frames(), self._queue.first_seq, self._queue.next_seq)
        return index

    def keep_index(self, index: DedupIndex) -> None:
        """Keep an index for the next commit."""
        self._index = index

    def _fail(self, taken: _Gathered, error: BaseException) -> None:
        """Fail the receipts of a commit, and remember the failure for the next call where no caller waits for one."""
        self._unseen = error
        for receipt, *_ in taken.pending:
            if not receipt.done:
                receipt.fail(error)
        self._in_flight = None

    def _call_thread(self) -> bool:
        """Let the writer's thread know of work; false where there can be none, at the interpreter's end."""
        if self._thread is None or self._thread.ident is None:  # an interrupt may have kept it from starting
            self._thread = threading.Thread(target=self._run, name="auditkit-writer", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None
                return False
        self._called, self._napping = True, False
        self._wake.notify()
        return True

    def _run(self) -> None:
        while self._sleep():
            with suppress(Exception):  # the receipts have it, or are tried again; the next call raises it
                self._lead(lambda: not self._gathered.pending)
            self.activity.set()

    def _sleep(self) -> bool:
        """Wait until there is something to commit or to look after; false once the writer is closed.

        A caller that waits for each event commits it itself, and calls the thread no more than once per nap.
        """
        with self._gathering:
            if not self._called and not self._closed:
                self._wake.wait(IDLE_CHECK_S)
            deadline = monotonic() + COMMIT_WITHIN_S
            while self._gathered.events < COMMIT_AT_EVENTS and not self._closed:
                left = deadline - monotonic()
                self._napping = True
                if left <= 0 or not self._wake.wait(left):
                    break
            self._called = self._napping = False
            return not self._closed


def _outcome(receipt: Receipt) -> str:
    """Return what is known of the events of an interrupted receipt, in words."""
    if not receipt.done:
        return "accepted, and stored by the next commit"
    if receipt.first is None:
        return repr(receipt)
    return f"stored as seqs {receipt.first} to {receipt.first + receipt.count - receipt.duplicates - 1}"
