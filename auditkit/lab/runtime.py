"""What the Python of this process sets out to do, given to the cell that caused it (PEP 578 audit events).

An audit hook cannot be taken out again: there is one for the process, installed the first time, that passes over
everything while no `Collector` listens.  An event belongs to the cell whose context it happens in, or during which the thread began that it
happens in; what no cell caused is not recorded.  Nor is what auditkit itself does on disk, and how Python finds what it imports: of imports there are
those that a cell names itself.  The hook runs inside finalizers and signal handlers too: it takes no lock and raises nothing.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from itertools import count
from types import FrameType
from weakref import WeakKeyDictionary, WeakSet

from auditkit.sources.python_events import Recorded, described
from auditkit.sources.shim._auditkit_hook import make_hook, picks

MOST_WAITING = 20_000
"""So many events wait to be appended; more than these are counted."""
_UNASKED = frozenset(
    {
        "auditkit",
        "importlib.metadata",
        "linecache",
        "tokenize",
        "IPython.core.compilerop",
        "IPython.core.tbtools",
    }
)
"""Whose acts are not recorded: auditkit's, those of what looks for installed packages, and of what reads source to show it in a traceback."""
_BY_IMPORT = {"open": 3, "os.listdir": 1, "os.scandir": 1}
"""Where in the texts of an audit event stands whether the import system caused it."""


class Cell:
    """One run of a cell; `lost` counts the events that there was no room for."""

    __slots__ = ("__weakref__", "correlation", "lost", "older")

    def __init__(self, correlation: str) -> None:
        self.correlation = correlation
        self.lost = 0
        self.older = WeakSet(threading.enumerate())
        """Threads that were there before it: what they do is not its doing."""


causing: ContextVar[Cell | None] = ContextVar("auditkit_cell", default=None)
"""The cell that what happens in this context belongs to."""


class Collector:
    """Gathers what the cells of `running` cause; `take` hands it over."""

    def __init__(self) -> None:
        self.running: list[Cell] = []  # changed by the threads of subshells: one step each
        self._pid = os.getpid()
        self._waiting: deque[tuple[Cell, int, str, Sequence[str]]] = deque()
        self._begun: WeakKeyDictionary[threading.Thread, Cell] = WeakKeyDictionary()

    def start(self) -> None:
        """Listen, alone in this process."""
        global _listening
        _listening = self
        if next(_installed) == 0:
            sys.addaudithook(make_hook(_told, picks(with_arguments=False)))

    def stop(self) -> None:
        """Listen no more."""
        global _listening
        if _listening is self:
            _listening = None

    def cause(self) -> Cell | None:
        """Return the cell that caused what happens here."""
        if cell := causing.get():
            return cell
        thread, running = threading.current_thread(), self.running[-1:]
        if running and thread not in self._begun and thread not in running[0].older:
            self._begun[thread] = running[0]
        return self._begun.get(thread)

    def add(self, cell: Cell, event: str, texts: Sequence[str]) -> None:
        """Take an event (called by the hook); a forked child has no part in it."""
        if os.getpid() != self._pid:
            return
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append((cell, time.time_ns() // 1000, event, texts))
        else:
            cell.lost += 1

    def take(self) -> Iterator[tuple[Cell, Recorded]]:
        """Yield what was gathered, in order, and behind it how many events of each cell were lost."""
        full: dict[Cell, int] = {}
        for _ in range(len(self._waiting)):
            cell, ts_us, event, texts = self._waiting.popleft()
            full |= {cell: ts_us} if cell.lost else {}
            yield from self._described(cell, ts_us, event, texts)
        for cell, last_us in full.items():
            lost, cell.lost = cell.lost, 0
            yield from self._described(cell, last_us, "lost", [str(lost)])

    def _described(
        self, cell: Cell, ts_us: int, event: str, texts: Sequence[str]
    ) -> Iterator[tuple[Cell, Recorded]]:
        with suppress(ValueError):  # of no known shape: the call itself raised what is wrong with it
            yield cell, described(ts_us, self._pid, event, [_clean(text) for text in texts])


_listening: Collector | None = None
_installed = count()


def _told(event: str, texts: Sequence[str]) -> None:
    """Hand over an audit event that a cell caused."""
    listening = _listening
    if listening is None or (cell := listening.cause()) is None:
        return
    if not _is_unasked(event, texts, sys._getframe(2)):  # noqa: SLF001 -- the documented way
        listening.add(cell, event, texts)


def _is_unasked(event: str, texts: Sequence[str], caller: FrameType | None) -> bool:
    """Return whether an act is none of a cell's: the innermost code that is not of Python's own library decides."""
    if (place := _BY_IMPORT.get(event)) is not None and texts[place] == "1":
        return True
    while caller is not None:
        module = str(caller.f_globals.get("__name__"))
        package = module.partition(".")[0]
        if package in _UNASKED or module in _UNASKED:
            return True
        if package not in sys.stdlib_module_names:
            break
        caller = caller.f_back
    return event == "import" and (module != "__main__" or texts[1] != "")


def _clean(text: str) -> str:
    """Return text without lone surrogates, as an undecodable name would have them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
