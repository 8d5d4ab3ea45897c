"""What `append` and `extend` return, and the bounds of what a writer holds.

A receipt is a promise that becomes a seq once the events are durable.
"""

from collections.abc import Generator
from typing import Any, Literal, Protocol

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds on what a writer holds, and what a caller that finds one reached does.

    `pending_*` bound what is accepted and not yet committed, `backlog_*` what is committed and not yet in segments.
    With `on_full="work"` the caller commits or flushes itself; with `"raise"` it gets `QueueFullError`.
    """

    pending_events: int = 20_000
    pending_bytes: int = 32 * 1024 * 1024
    backlog_events: int = 512 * 1024
    backlog_bytes: int = 256 * 1024 * 1024
    wait_s: float = 30.0
    on_full: Literal["work", "raise"] = "work"


class Committer(Protocol):
    """What can bring a receipt to its end."""

    def settle(self, receipt: "Receipt", timeout_s: float | None) -> None:
        """Commit, in the caller's thread, until `receipt` is done; raises when that takes too long."""


class Receipt:
    """Stands for the events of one call of `append` or `extend`.

    `count` says how many events it stands for; once `done`, `duplicates` how many of them repeat events that were
    accepted before.  `wait` makes sure that all are durable; `await receipt` does so without blocking the loop.
    """

    __slots__ = ("_committer", "_error", "_first", "count", "done", "duplicates")

    def __init__(self, committer: Committer, count: int) -> None:
        self._committer = committer
        self._first: int | None = None
        self._error: BaseException | None = None
        self.count = count
        self.duplicates = 0
        self.done = False
        """True once the events are durable or known to have failed."""

    @property
    def first(self) -> int | None:
        """The first new seq, or that of the event it repeats; `None` before the commit and for an empty input."""
        return self._first

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the first seq once every event of the receipt is durable.

        Commits in the caller's own thread whatever has gathered, unless another thread is just doing so.
        Where every event repeats an earlier one, the seq is that of the first one repeated; for an empty input it
        is `None`.  Raises what the commit raised: then the events may or may not be stored, but never twice and
        never in part.  Raises `InvalidEventError` where an event's (source, id) is taken by another body: then
        nothing of this receipt is stored.  `TimeoutError` after `timeout_s` seconds leaves the receipt
        open.
        """
        if not self.done:
            self._committer.settle(self, timeout_s)
        if self._error is not None:
            raise self._error
        return self._first

    def __await__(self) -> Generator[Any, None, int | None]:
        import asyncio  # only where a receipt is awaited

        return asyncio.to_thread(self.wait).__await__()

    def resolve(self, first: int | None, *, duplicates: int = 0) -> None:
        """Note that the events are durable, the first one at seq `first` (for committers)."""
        self._first = first
        self.duplicates = duplicates
        self.done = True

    def fail(self, error: BaseException) -> None:
        """Note that the events are not known to be durable (for committers)."""
        self._error = error
        self.done = True

    def __repr__(self) -> str:
        if self._error is not None:
            state = f"failed: {self._error}"
        elif self.done:
            state = f"first={self._first}"
        else:
            state = "pending"
        return f"<Receipt {self.count} events, {state}>"
