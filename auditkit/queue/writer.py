"""Group commit between the threads of one process: many receipts, one sync.

Whoever waits first commits for everybody whose events have gathered; a background thread commits what nobody
waits for within `COMMIT_WITHIN_S` or `COMMIT_AT_EVENTS`.  A failed commit fails every open receipt and closes the
writer; it never hangs a waiter and never retries a sync.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from auditkit.errors import AuditError, ClosedError
from auditkit.queue.active import ActiveQueue, Block, Commit
from auditkit.queue.frames import encode_rows
from auditkit.queue.receipts import Receipt
from auditkit.timerange import Clock

COMMIT_WITHIN_S = 0.1
COMMIT_AT_EVENTS = 1_000
PENDING_EVENTS = 20_000
PENDING_BYTES = 32 * 1024 * 1024
BLOCK_ROWS = 4_096
BLOCK_BYTES = 4 * 1024 * 1024
_ROW_BYTES = 160
"""What a row without attrs weighs about, for bounding memory."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Pending:
    receipt: Receipt
    rows: Sequence[Row]


class Writer:
    """Takes validated rows, and makes them durable in the order taken."""

    def __init__(
        self, queue: ActiveQueue, clock: Clock, attrs_at: int, *, after_commit: Callable[[], None] | None
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._attrs_at = attrs_at
        self._after_commit = after_commit
        self._gathering = threading.Lock()
        self._committing = threading.Lock()
        self._wake = threading.Condition(self._gathering)
        self._pending: list[_Pending] = []
        self._pending_events = self._pending_bytes = 0
        self._failure: BaseException | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self.commits = 0
        self.committed_events = 0

    @property
    def pending_events(self) -> int:
        """How many events are accepted and not yet committed."""
        return self._pending_events

    def submit(self, rows: Sequence[Row]) -> Receipt:
        """Accept rows as one batch: they become durable together or not at all."""
        receipt = Receipt(self, len(rows))
        if not rows:
            receipt.resolve(None)
            return receipt
        weight = sum(_ROW_BYTES + len(row[self._attrs_at] or "") for row in rows)
        with self._gathering:
            self._refuse_if_closed()
            if not self._pending:
                self._wake_thread()
            self._pending.append(_Pending(receipt, rows))
            self._pending_events += len(rows)
            self._pending_bytes += weight
            full = self._pending_events >= PENDING_EVENTS or self._pending_bytes >= PENDING_BYTES
            if self._pending_events >= COMMIT_AT_EVENTS:
                self._wake.notify()
        if full:
            self.commit()
        return receipt

    def commit(self) -> None:
        """Make everything accepted so far durable; raises what the commit raised."""
        with self._committing:
            self._commit_pending()
        self.raise_failure()

    def settle(self, receipt: Receipt, timeout_s: float | None) -> None:
        """See `Committer.settle`."""
        if not self._committing.acquire(timeout=-1 if timeout_s is None else timeout_s):
            raise TimeoutError(f"receipt: not durable within {timeout_s:g} s")
        try:
            if not receipt.done:
                self._commit_pending()
        finally:
            self._committing.release()

    def raise_failure(self) -> None:
        """Raise the failure that closed this writer, if there was one."""
        if self._failure is not None:
            error = ClosedError(f"the writer is closed after a failed commit: {self._failure}")
            error.add_note("events whose receipts raised may or may not be stored; open the trail again")
            raise error from self._failure

    def close(self) -> None:
        """Commit what is left and stop; raises a failure that nobody has seen yet."""
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
        finally:
            self._queue.close()
        self.raise_failure()

    def _refuse_if_closed(self) -> None:
        if self._failure is not None:
            self.raise_failure()
        if self._closed:
            raise ClosedError("the trail is closed")

    def _commit_pending(self) -> None:
        """Commit as the leader; the caller holds `_committing`."""
        with self._gathering:
            taken, self._pending = self._pending, []
            self._pending_events = self._pending_bytes = 0
        if not taken:
            return
        try:
            commit = self._write(taken)
        except BaseException as exc:
            self._fail(taken, exc)
            if not isinstance(exc, AuditError | OSError):
                raise
            return
        seq = commit.first_seq
        for pending in taken:
            pending.receipt.resolve(seq)
            seq += len(pending.rows)
        self.commits += 1
        self.committed_events += seq - commit.first_seq

    def _write(self, taken: Sequence[_Pending]) -> Commit:
        if self._failure is not None:
            self.raise_failure()
        blocks = list(self._blocks(taken))
        return self._queue.commit(blocks, self._clock.now_us())

    def _blocks(self, taken: Sequence[_Pending]) -> Iterator[Block]:
        """Cut batches into blocks: small batches share one, a large one goes through several."""
        gathered: list[Row] = []
        weight = 0
        for pending in taken:
            last = len(pending.rows) - 1
            for position, row in enumerate(pending.rows):
                gathered.append(row)
                weight += _ROW_BYTES + len(row[self._attrs_at] or "")
                if len(gathered) >= BLOCK_ROWS or weight >= BLOCK_BYTES:
                    yield Block(encode_rows(gathered), len(gathered), closes=position == last)
                    gathered, weight = [], 0
        if gathered:
            yield Block(encode_rows(gathered), len(gathered))

    def _fail(self, taken: Sequence[_Pending], error: BaseException) -> None:
        with self._gathering:
            self._failure = self._failure or error
            taken = [*taken, *self._pending]
            self._pending = []
            self._pending_events = self._pending_bytes = 0
        for pending in taken:
            pending.receipt.fail(error)

    def _wake_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="auditkit-writer", daemon=True)
            self._thread.start()
        self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._gathering:
                while not self._pending and not self._closed and self._failure is None:
                    self._wake.wait()
                if self._closed or self._failure is not None:
                    return
                deadline = monotonic() + COMMIT_WITHIN_S
                while self._pending_events < COMMIT_AT_EVENTS and not self._closed:
                    left = deadline - monotonic()
                    if left <= 0 or not self._wake.wait(left):
                        break
            with self._committing:
                self._commit_pending()
            if self._after_commit is not None and self._failure is None:
                self._after_commit()
