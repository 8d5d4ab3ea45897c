"""How far long work has come, for a person who waits for it: a line in a terminal, or below a notebook's cell.

It shows where a person looks on: in a cell that a person runs, in an interactive interpreter, and for a command of ours
at a terminal (`watched`).  A service, a script, nbconvert, papermill and threads of their own see nothing of it, and pay
nothing.  What is within a second shows nothing either.  In a notebook a sentence stays of what was done; a terminal's line goes.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from time import monotonic
from typing import Any, TypeVar

from auditkit.display.cards import LITERAL
from auditkit.text import ago, size, visible

Advance = Callable[[int, str], None]
"""Takes how much is done by now, and what is shown beside it."""

BYTES = "bytes"
"""The unit that is shown as a size."""
_AFTER_S = 1.0
_EVERY_S = 0.25
_is_watched = ContextVar("auditkit_progress_is_watched", default=False)
_is_shown = ContextVar("auditkit_progress_is_shown", default=False)
_T = TypeVar("_T")


@contextmanager
def watched() -> Iterator[None]:
    """Show progress at a terminal, though the interpreter is not interactive: a command was given there."""
    token = _is_watched.set(True)
    try:
        yield
    finally:
        _is_watched.reset(token)


@contextmanager
def progress(what: str, *, total: int | None, unit: str) -> Iterator[Advance]:
    """Show how much of `total` units is done, or how much at all where that is unknown.

    Work within other work that shows its progress shows none.  However the work ends, what was shown ends with it.
    """
    screen = None if _is_shown.get() else _screen()
    if screen is None:
        yield lambda _done, _beside: None
        return
    _is_shown.set(True)
    work = _Work(what, total or None, unit)  # a FIFO, say, has a size of 0
    try:
        with screen(work) as draw:
            yield work.advancing(draw)
            work.is_complete = True
    finally:
        _is_shown.set(False)


def tracked(
    items: Sequence[_T], what: str, unit: str, weight: Callable[[_T], int] | None = None
) -> Iterator[_T]:
    """Yield items, showing how many of them are done, or how much of what they weigh together."""
    weigh = weight or (lambda _item: 1)
    done = 0
    with progress(what, total=sum(map(weigh, items)), unit=unit) as advance:
        for item in items:
            yield item
            done += weigh(item)
            advance(done, "")


class _Work:
    """What is known of work under way."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what = what
        self.total = total
        self.unit = unit
        self.done = 0
        self.beside = ""
        self.begun = monotonic()
        self.is_complete = False

    def advancing(self, draw: Callable[[], None]) -> Advance:
        """Return what takes note of progress, and draws it now and then."""
        due = self.begun + _AFTER_S

        def advance(done: int, beside: str) -> None:
            nonlocal due
            self.done, self.beside = done, beside
            if monotonic() >= due:
                due = monotonic() + _EVERY_S
                draw()

        return advance

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return monotonic() - self.begun

    def now(self) -> str:
        """Return how much is done, how fast, and how long it will take, in words."""
        rate = self.done / max(self.seconds, 1e-9)
        known = [self._amount(self.done)]
        if self.total is not None:
            known = [f"{self._amount(self.done).removesuffix(f' {self.unit}')} of {self._amount(self.total)}"]
        if self.done:
            known.append(f"{self._amount(int(float(f'{rate:.3g}')))}/s")
        if self.done and self.total is not None:
            known.append(f"{ago(max(0, self.total - self.done) / rate)} left")
        return " · ".join([*known, *([visible(self.beside)] if self.beside else [])])

    def outcome(self) -> str:
        """Return what came of it, in a sentence that stays."""
        ended = "in" if self.is_complete else "when it stopped, after"
        return f"{self.what}: {self._amount(self.done)} {ended} {ago(self.seconds)}"

    def _amount(self, count: int) -> str:
        return size(count) if self.unit == BYTES else f"{count:,} {self.unit}"


_Screen = Callable[[_Work], Any]


def _screen() -> _Screen | None:
    """Return where progress shows, `None` where no person looks on."""
    if threading.current_thread() is not threading.main_thread():
        return None
    if _in_attended_cell():
        return _notebook
    is_interactive = _is_watched.get() or hasattr(sys, "ps1")
    return _terminal if is_interactive and sys.stderr is not None and sys.stderr.isatty() else None


def _in_attended_cell() -> bool:
    """Return whether a cell of a notebook runs that could ask the person at it: that of nbconvert or papermill may not."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return False
    request = kernel.get_parent("shell")
    return bool(request.get("content", {}).get("allow_stdin", False))


@contextmanager
def _notebook(work: _Work) -> Iterator[Callable[[], None]]:
    """Show work below the cell, as one output that is drawn anew, and stays as a sentence."""
    output = sys.modules["IPython"].display.DisplayHandle()
    is_shown = False  # set before it is drawn: an interrupt may come between the two

    def draw() -> None:
        nonlocal is_shown
        share = "" if work.total is None else f' value="{work.done}" max="{work.total}"'
        bar = (
            f'<progress{share} style="width: 16em; accent-color: var(--jp-brand-color1, #1976d2)"></progress>'
        )
        words = f"{work.what} {work.now()}"
        page = {"text/plain": words, "text/html": _line(f"{escape(work.what)} {bar} {escape(work.now())}")}
        put, is_shown = output.update if is_shown else output.display, True
        put(page, raw=True)

    try:
        yield draw
    finally:
        if is_shown:
            said = work.outcome()
            output.update({"text/plain": said, "text/html": _line(escape(said))}, raw=True)


def _line(content: str) -> str:
    style = "padding: 0 8px; font-variant-numeric: tabular-nums; color: var(--jp-ui-font-color1, inherit)"
    return f'<div {LITERAL} style="{style}">{content}</div>'


@contextmanager
def _terminal(work: _Work) -> Iterator[Callable[[], None]]:
    """Show work in a line of standard error, which goes when it ends."""
    live: Any = None

    def draw() -> None:
        nonlocal live
        if live is None:
            live = _live(work)
            live.start()

    try:
        yield draw
    finally:
        if live is not None:
            live.stop()


def _live(work: _Work) -> Any:
    """Return what draws a line again and again, once it is started and until it is stopped."""
    from rich.console import Console  # only where a line is drawn
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    spinner = Spinner("dots")

    def line() -> Any:
        bar = [] if work.total is None else [ProgressBar(total=work.total, completed=work.done, width=30)]
        grid = Table.grid(padding=(0, 1))
        grid.add_row(spinner, Text(work.what), *bar, Text(work.now()))
        return grid

    return Live(get_renderable=line, console=Console(stderr=True), transient=True)
