"""What `append` and `extend` return, and the bounds of what a writer holds.

A receipt is a promise that becomes a seq once the events are durable.
"""

from collections.abc import Generator, Iterator
from typing import Any, Literal, Protocol

from msgspec import Struct

from auditkit.text import counted, visible


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

    def raised(self, error: BaseException) -> None:
        """Take note that the failure of a commit is raised to a caller."""


class Receipt:
    """The promise of one call of `append` or `extend`: its events become durable and get their seqs.

    `count` is how many events it stands for, `done` whether they are durable or known to have failed, and then `duplicates`
    how many of them repeat earlier events and were not stored again.  `await receipt` waits without blocking the event loop.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> receipt = trail.extend([{"action": "doc.read"}, {"action": "doc.print"}])
    >>> receipt.wait(), receipt.count, receipt.done
    (0, 2, True)
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
        """First new seq, or that of the event it repeats.

        Returns
        -------
        int or None
            None before the commit and for an empty input.
        """
        return self._first

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the first seq once every event of the receipt is durable.

        Commits in the caller's own thread what has gathered, unless another thread is just doing so.  Where it raises what a
        commit raised, the events may or may not be stored, but never twice and never in part; appending them again with the same
        (`source`, `id`) is safe.

        Parameters
        ----------
        timeout_s : float or None, default None
            Seconds to wait for other threads and processes; None: as long as it takes.

        Returns
        -------
        int or None
            The first new seq; where every event repeats an earlier one, the seq of the first one repeated; None for an empty
            input.

        Raises
        ------
        InvalidEventError
            An event's (`source`, `id`) is that of an event with another body; nothing of this receipt is stored.
        StorageError
            The events could not be written.
        TimeoutError
            It took longer than `timeout_s`; the receipt stays open.

        Examples
        --------
        >>> import tempfile
        >>> import auditkit as ak
        >>> trail = ak.create(tempfile.mkdtemp())
        >>> trail.append(action="doc.read").wait(timeout_s=10)
        0
        """
        if not self.done:
            self._committer.settle(self, timeout_s)
        if self._error is not None:
            self._committer.raised(self._error)
            raise self._error
        return self._first

    def __await__(self) -> Generator[Any, None, int | None]:
        import asyncio  # only where a receipt is awaited

        return asyncio.to_thread(self.wait).__await__()

    def resolve(self, first: int | None, *, duplicates: int = 0) -> None:
        """Note that the events are durable (for committers).

        Parameters
        ----------
        first : int or None
            Seq of the first one; None for an empty input.
        duplicates : int, default 0
            How many of the events repeat earlier ones and were not stored again.

        Examples
        --------
        >>> receipt = Receipt(None, 2)
        >>> receipt.resolve(7)
        >>> receipt
        <Receipt: 2 events, from seq 7 on>
        """
        self._first = first
        self.duplicates = duplicates
        self.done = True

    def fail(self, error: BaseException) -> None:
        """Note that the events are not known to be durable (for committers).

        Parameters
        ----------
        error : BaseException
            What `wait` raises from now on.

        Examples
        --------
        >>> receipt = Receipt(None, 2)
        >>> receipt.fail(OSError("no space left on device"))
        >>> receipt
        <Receipt: 2 events, failed: no space left on device>
        """
        self._error = error
        self.done = True

    def __repr__(self) -> str:
        return f"<Receipt: {', '.join([counted(self.count, 'event'), *self._state()])}>"

    def _state(self) -> Iterator[str]:
        if self._error is not None:
            yield f"failed: {visible(str(self._error))}"
        elif not self.done:
            yield "not durable yet"
        else:
            if self.duplicates:
                yield "repeated" if self.duplicates == self.count else f"{self.duplicates:,} of them repeated"
            if self._first is not None:
                yield f"seq {self._first}" if self.count == 1 else f"from seq {self._first} on"
