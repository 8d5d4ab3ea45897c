"""`audited`: one event for each call of a function or run of a block, saying how it ended and how long it took.

(The module does not bear the name of the function: importing it would put itself in the place of `ak.audited`.)

What is wrong with the event itself is found before the call and not behind it.  `Recorder` decides what a failure does
to a running program, here and for what services bring along (`auditkit.sources`): it stops the caller, unless
`on_error="continue"` says that it must not; then it is counted, in the trail's `stats()` too.
"""

import asyncio
import functools
import inspect
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from types import FrameType, TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar

from auditkit.api import Trail
from auditkit.context import bound
from auditkit.errors import ClosedError, InvalidArgumentError
from auditkit.event import Rules
from auditkit.opening import open_trail
from auditkit.timerange import from_us

OnError = Literal["raise", "continue"]
Destination = Trail | str | Path | Callable[[], Trail] | None
"""Where a program's events go: a trail, its path, what returns it; None is what AUDITKIT_TRAIL names."""
_P = ParamSpec("_P")
_R = TypeVar("_R")

MAX_MESSAGE_CHARACTERS = 1_000
_counting = threading.RLock()
_LOCKING = ("auditkit.queue.", "auditkit.store.", "auditkit.disk.", "auditkit.trail.", "auditkit.keep.")


class Recorder:
    """Appends the events of a running program, and decides what becomes of it where one cannot be recorded.

    A trail named by its path is opened at the first event, so that each process of a server opens its own, and closed by
    `close`.
    """

    def __init__(self, trail: Destination, *, name: str, on_error: OnError, wait: bool) -> None:
        if on_error not in ("raise", "continue"):
            raise InvalidArgumentError("on_error", on_error, "unknown", expected="'raise' or 'continue'")
        self._trail = Path(trail).absolute() if isinstance(trail, str | Path) else trail
        self._name = name
        self._on_error = on_error
        self._wait = wait
        self._opened: Trail | None = None
        self._put_off: deque[tuple[Trail, dict[str, Any]]] = deque()
        self.closed = False
        self.unrecorded = 0
        """How many events could not be recorded, with `on_error="continue"`."""
        self.last_error: Exception | None = None
        """Why the last of them could not."""

    @property
    def waits(self) -> bool:
        """Whether each event is durable when it has been appended."""
        return self._wait

    def find(self) -> Trail:
        """Return the trail."""
        if isinstance(self._trail, Trail):
            return self._trail
        if callable(self._trail):
            return self._trail()
        if self.closed:
            raise ClosedError(f"{self._name}: closed")
        if self._opened is None:
            self._opened = open_trail(self._trail)
        return self._opened

    def append(self, trail: Trail, event: Mapping[str, Any]) -> None:
        """Append an event and wait for it where that was asked for.

        What a finalizer or a signal handler records while its thread is in the middle of a commit would wait for that commit:
        it is put off, and appended before the next event or by `flush`.
        """
        if _is_committing():
            context = {"ts": from_us(trail.handle.clock.now_us()), **bound()}
            given = {name: value for name, value in event.items() if value is not None}
            self._put_off.append((trail, {**context, **given}))
            return
        self._catch_up()
        receipt = trail.append(**event)
        if self._wait:
            receipt.wait()

    def failed(self, error: Exception, trail: Trail | None = None, *, stacklevel: int | None = None) -> None:
        """Raise where that was asked for; else count, and the first time warn the caller `stacklevel` calls above."""
        if self._on_error == "raise":
            raise error
        trail = trail or (self._trail if isinstance(self._trail, Trail) else self._opened)
        with _counting:
            first = self.unrecorded == 0
            self.unrecorded += 1
            self.last_error = error
            if trail is not None:
                trail.handle.unrecorded += 1
        if first and stacklevel is not None:
            with suppress(RuntimeWarning):  # where warnings are errors the business goes on all the same
                warnings.warn(
                    f"{self._name} could not be recorded ({type(error).__name__}: {error}); "
                    "more of these are only counted",
                    RuntimeWarning,
                    stacklevel=stacklevel + 1,
                )

    def flush(self) -> None:
        """Make durable what was accepted."""
        self._catch_up()
        trail = self._trail if isinstance(self._trail, Trail) else self._opened
        if trail is not None and trail.handle.writer is not None and not trail.handle.closed:
            trail.handle.writer.commit()

    def close(self) -> None:
        """Close the trail that was opened here; one that was handed over is its owner's to close."""
        self.closed = True
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _catch_up(self) -> None:
        with suppress(IndexError):  # another thread may take the last one
            while self._put_off:
                trail, event = self._put_off.popleft()
                try:
                    trail.append(**event)
                except Exception as exc:
                    self.failed(exc, trail)


class Draft:
    """The event of a call that is still going on; `with ak.audited(...) as draft:` gives it to the block."""

    __slots__ = ("_attrs", "_began", "_decided", "_fields", "_trail")

    def __init__(self, trail: Trail | None, fields: Mapping[str, Any]) -> None:
        self._trail = trail
        self._fields = dict(fields)
        self._attrs = _copied(self._fields.pop("attrs", None))
        self._decided: set[str] = set()
        self._began = perf_counter()

    def update(self, *, attrs: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Set fields of the event, by the names that `trail.append` takes; `attrs` are added to those there are.

        An `outcome` set here stands, also where the block raises.
        """
        self._attrs |= _copied(attrs)
        self._fields |= fields
        self._decided |= fields.keys()

    def ended(self, error: BaseException | None, *, with_message: bool) -> dict[str, Any]:
        """Return the whole event, of a call that ended now."""
        seconds = round(perf_counter() - self._began, 6)
        fields, attrs = dict(self._fields), dict(self._attrs)
        if _is_failure(error):
            if "outcome" not in self._decided:
                fields["outcome"] = "failure"
            attrs["exception"] = type_name(error)
            if with_message:
                attrs["message"] = _message(error)
        elif fields.get("outcome") is None:
            fields["outcome"] = "success"
        if fields.get("value") is None:
            fields["value"] = seconds
        else:
            attrs["duration_s"] = seconds
        return {**fields, "attrs": attrs or None}

    @property
    def trail(self) -> Trail | None:
        """Where it will go; `None` where that could not be found out, and was counted."""
        return self._trail


class Audited:
    """What `audited` returns: a decorator, and a context manager, both for `async` code as well."""

    def __init__(
        self,
        recorder: Recorder,
        fields: Mapping[str, Any],
        *,
        error_message: bool = False,
    ) -> None:
        self._recorder = recorder
        self._fields = fields
        self._error_message = error_message
        self._block: Draft | None = None

    def __repr__(self) -> str:
        return f"<audited {self._fields['action']!r}>"

    @property
    def unrecorded(self) -> int:
        """How many calls could not be recorded, with `on_error="continue"`."""
        return self._recorder.unrecorded

    @property
    def last_error(self) -> Exception | None:
        """Why the last of them could not."""
        return self._recorder.last_error

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Return the function with its calls recorded; refuses classes and generators with `TypeError`."""
        _refuse_undecorable(function)
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):

            @functools.wraps(function)
            async def recorded(*args: _P.args, **kwargs: _P.kwargs) -> Any:
                async with _Call(self, args, kwargs):
                    return await function(*args, **kwargs)  # type: ignore[misc]
        else:

            @functools.wraps(function)
            def recorded(*args: _P.args, **kwargs: _P.kwargs) -> Any:
                with _Call(self, args, kwargs):
                    return _finished(function(*args, **kwargs))

        recorded.audited = self  # type: ignore[attr-defined]
        return recorded  # type: ignore[return-value]

    def __enter__(self) -> Draft:
        self._block = self._enter_block()
        return self._block

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(self._leave_block(), error)

    async def __aenter__(self) -> Draft:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.finish_async(self._leave_block(), error)

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Draft:
        """Return the event of a call with these arguments, checked as far as it is known."""
        try:
            trail = self._recorder.find()
            fields = {
                name: value(*args, **kwargs) if callable(value) else value
                for name, value in self._fields.items()
            }
            handle = trail.handle
            handle.check_open()
            now_us = handle.clock.now_us()
            draft = Draft(trail, {"ts": from_us(now_us), **fields})
            event = {**bound(), **draft.ended(None, with_message=False)}
            handle.schema.row(event, Rules(now_us=now_us, max_ahead_us=handle.info.max_ahead_us))
        except Exception as exc:
            self._recorder.failed(exc, None, stacklevel=4)
            return Draft(None, {})
        return draft

    def finish(self, draft: Draft, error: BaseException | None) -> None:
        """Record a call that ended, with `error` or without."""
        if draft.trail is None:
            return  # counted when it began
        try:
            self._recorder.append(draft.trail, draft.ended(error, with_message=self._error_message))
        except Exception as exc:
            self._recorder.failed(exc, draft.trail, stacklevel=4)

    async def finish_async(self, draft: Draft, error: BaseException | None) -> None:
        """Record a call that ended without blocking the event loop while storage is waited for."""
        if self._recorder.waits and not isinstance(
            error, GeneratorExit
        ):  # a coroutine being closed may not await
            await asyncio.to_thread(self.finish, draft, error)
        else:
            self.finish(draft, error)

    def _enter_block(self) -> Draft:
        needy = sorted(name for name, value in self._fields.items() if callable(value))
        if needy:
            raise TypeError(f"audited: {needy[0]} is computed from a call's arguments, and a block has none")
        if self._block is not None:
            raise RuntimeError("audited: entered already; make one for each block")
        return self.begin((), {})

    def _leave_block(self) -> Draft:
        draft, self._block = self._block, None
        assert draft is not None  # noqa: S101 -- entered before it is left
        return draft


class _Call:
    """One call of a decorated function."""

    __slots__ = ("_audited", "_draft")

    def __init__(self, audited: Audited, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._audited = audited
        self._draft = audited.begin(args, kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._audited.finish(self._draft, error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._audited.finish_async(self._draft, error)


def audited(
    trail: Trail | Callable[[], Trail],
    *,
    action: str,
    on_error: OnError = "raise",
    wait: bool = True,
    error_message: bool = False,
    **fields: Any,
) -> Audited:
    """Record every call of a function, or one run of a block, as an event of `trail`.

    The event's `ts` is when the call began, `value` how many seconds it took (where a `value` is given, the seconds are
    `attrs.duration_s`), `outcome` is `"success"`, or `"failure"` where it raised; then `attrs.exception` is the type of the
    exception, which itself goes on unchanged.  What `ak.bind` holds applies as in `append`.

    Parameters
    ----------
    trail : Trail or callable
        Where the events go; a callable that returns a trail is called for each event, for code that is imported before
        there is one.
    action : str
        What is done, such as `"order.refund"`.
    on_error : {"raise", "continue"}, default "raise"
        `"raise"`: an event that is not valid, or a closed trail, raises before the call; where storage fails behind it,
        that is raised instead of the result, or from the call's own exception.  `"continue"`: the call goes on and its
        result counts; what could not be recorded is counted in `unrecorded` of what this returns (`refund.audited`) and in
        `trail.stats().unrecorded`, and warned of once.
    wait : bool, default True
        Whether the event is durable when the call returns; else it is within a tenth of a second.
    error_message : bool, default False
        Whether the first 1,000 characters of an exception's message become `attrs.message`; they may hold secrets.
    **fields : str, float, mapping or callable
        Further fields of the event, as `Trail.append` takes them; a callable is called with the arguments of the call, before
        it.

    Returns
    -------
    Audited
        A decorator, and a context manager that gives the block a `Draft` to `update`; both for `async` code as well, where
        waiting happens in a thread.

    Raises
    ------
    TypeError
        A generator is decorated, which runs when it is iterated over (put `with ak.audited(...)` inside), or a class.
    ValueError
        `on_error` is something else.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> @ak.audited(trail, action="order.refund", resource=lambda order, amount: f"order/{order}")
    ... def refund(order: int, amount: float) -> str:
    ...     return f"refunded {amount}"
    >>> refund(7, 12.5)
    'refunded 12.5'
    >>> with ak.audited(trail, action="doc.read", resource="doc/7") as draft:
    ...     draft.update(outcome="partial", attrs={"bytes": 512})
    >>> trail.range(columns=["action", "resource", "outcome", "attrs"]).rows()
    [('order.refund', 'order/7', 'success', None), ('doc.read', 'doc/7', 'partial', '{"bytes":512}')]
    """
    recorder = Recorder(trail, name=f"audited: {action}", on_error=on_error, wait=wait)
    return Audited(recorder, {"action": action, **fields}, error_message=error_message)


def _is_committing() -> bool:
    """Return whether the calling thread is inside what holds the locks of a trail."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 -- the cheap way to walk a stack
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(_LOCKING):
            return True
        frame = frame.f_back
    return False


def _refuse_undecorable(function: object) -> None:
    name = getattr(function, "__qualname__", type(function).__name__)
    if isinstance(function, type) or not callable(function):
        error = TypeError(f"audited: {name} is no function")
        error.add_note("decorate its methods; below @classmethod, @staticmethod and @property, not above")
        raise error
    if any(
        kind(part)
        for kind in (inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        for part in (function, type(function).__call__)
    ):
        error = TypeError(
            f"audited: {name} is a generator; it runs when it is iterated over, not when it is called"
        )
        error.add_note("put `with ak.audited(...)` inside it, or around the loop")
        raise error


def _finished(result: _R) -> _R:
    """Return the result of a call, if that is one."""
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(
            "audited: the call returned a coroutine, which has not run; decorate the async function itself"
        )
    return result


def _is_failure(error: BaseException | None) -> bool:
    if isinstance(error, SystemExit):
        return error.code not in (None, 0)
    return error is not None


def _copied(attrs: Any) -> dict[str, Any]:
    if attrs is None:
        return {}
    if not isinstance(attrs, Mapping):
        raise TypeError(f"audited: attrs: expected a mapping, found {type(attrs).__name__}")
    return dict(attrs)


def type_name(error: BaseException | None) -> str:
    """Return the name of an exception's type, with its module unless it is Python's own."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException | None) -> str:
    try:
        text = str(error)
    except Exception:  # a message that cannot be had must not hide the exception
        return "(no message)"
    return text[:MAX_MESSAGE_CHARACTERS].encode(errors="backslashreplace").decode()
