"""Cells as events: what `%audit on` appends for each cell that a kernel executes.

| action | resource | value | attrs |
|---|---|---|---|
| `cell.start` | the cell's id, or `In[7]` where it has none | | `execution`, `sha256` of the source, `kernel`, `pid`; with `--source` the `source` |
| what it caused, as `auditkit record` has it | | | |
| `cell.end` | the cell | seconds | `execution`, `sha256`, `kernel`, `pid`, and the `exception`'s type |
| `audit.on`, `audit.off` | the kernel | | `pid`, and whether sources are kept |

All have the user as actor, the notebook as origin (the host where there is none), and the events of a cell one correlation.
What a cell prints, shows or returns is never recorded, nor an exception's message.  A cell is in the trail before it runs, and its
end before the kernel answers: a kernel that is killed loses what its last cell caused in the last second, and no cell.
What cannot be recorded does not stop a cell: it is counted, and the first time a warning says so.
"""

import atexit
import hashlib
import os
import secrets
import socket
import threading
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

from auditkit.auditing import Draft, Recorder
from auditkit.lab.runtime import Cell, Collector, causing
from auditkit.sources.record import user_name
from auditkit.text import counted, visible
from auditkit.timerange import SystemClock, from_us

SOURCE = "auditkit.cells"
MOST_SOURCE_CHARACTERS = 200_000
_PATIENCE_S = 5.0
"""So long a cell waits until it is on disk, before it runs and before it ends."""
_GATHER_S = 1.0


class _Run:
    """One run of a cell that goes on: what it lies in, its two events, and how far they have been appended."""

    __slots__ = ("appended", "cell", "draft", "end", "error", "info", "outer", "settled", "start", "thread")

    def __init__(self, info: ExecutionInfo, cell: Cell, start: Mapping[str, Any], draft: Draft) -> None:
        self.info = info
        self.cell = cell
        self.start = start
        self.draft = draft
        self.end: Mapping[str, Any] | None = None
        self.outer = causing.get()
        self.thread = threading.get_ident()
        self.appended = 0  # of the two events; the appending thread's
        self.error: Exception | None = None
        self.settled = threading.Event()

    def due(self) -> list[Mapping[str, Any]]:
        """Return the events that are not appended yet."""
        return [event for event in (self.start, self.end)[self.appended :] if event is not None]


class CellRecorder:
    """Appends the cells of one shell to a trail, from `start` to `stop`."""

    def __init__(self, shell: InteractiveShell, trail: Path, *, source: bool) -> None:
        self.trail = trail.absolute()
        self.source = source
        self.cells = self.caused = 0
        self._shell = shell
        self._recorder = Recorder(trail, name="cells", on_error="continue", wait=True)
        self._collector = Collector()
        self._running: list[_Run] = []  # changed by the threads of subshells: one step each
        self._tasks: SimpleQueue[_Run | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="auditkit-cells", daemon=True)
        self._ended: ExecutionInfo | None = None
        self._closed = False
        self._leaving = False
        self._pid = os.getpid()
        self._user = user_name()
        self._kernel = _kernel_id(shell)

    def __repr__(self) -> str:
        kept = "their source" if self.source else "the SHA-256 of their source"
        said = f"{'recorded' if self._leaving else 'recording'} cells, with {kept}, into {visible(str(self.trail))}"
        if self.cells:
            said += f": {counted(self.cells, 'cell')} and {counted(self.caused, 'event')} they caused"
        lost = self._recorder.unrecorded
        if lost:
            said += f"; {counted(lost, 'event')} could not be recorded ({visible(str(self._recorder.last_error))})"
        return said

    def start(self) -> None:
        """Record from the next cell on; raises where the trail cannot be written to."""
        self._append([self._about("audit.on")])
        self._collector.start()
        self._shell.events.register("pre_run_cell", self.before)
        self._shell.events.register("post_run_cell", self.after)
        atexit.register(self.close)
        self._thread.start()

    def stop(self) -> None:
        """Record no more, once the cells that are running have ended."""
        self._leaving = True
        if not self._running:
            self.close()

    def close(self) -> None:
        """Record no more, now; the trail says so."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._shell.events.unregister("pre_run_cell", self.before)
        self._shell.events.unregister("post_run_cell", self.after)
        self._collector.stop()
        self._tasks.put(None)
        self._thread.join(_PATIENCE_S)
        if error := self._failed([self._about("audit.off")]):
            self._recorder.failed(error, stacklevel=2)
        self._recorder.close()

    def before(self, info: ExecutionInfo) -> None:
        """Append that a cell is about to run (called by IPython)."""
        try:
            self._begin(info)
        except KeyboardInterrupt:
            self._begin(info)  # goes on where it was
            raise

    def after(self, result: ExecutionResult | None) -> None:
        """Append what a cell caused and how it ended (called by IPython)."""
        try:
            self._end(result)
        except KeyboardInterrupt:  # came too late for this cell
            self._end(result)

    def _begin(self, info: ExecutionInfo) -> None:
        if self._leaving or os.getpid() != self._pid:  # a forked child tells nothing
            return
        run = next((run for run in self._running if run.info is info), None)
        if run is None:
            run = self._new(info)
            self._running.append(run)
        self._collector.running = [one.cell for one in self._running]
        self._settle(run)
        causing.set(run.cell)

    def _end(self, result: ExecutionResult | None) -> None:
        run = self._run_of(result) if os.getpid() == self._pid else None
        if run is not None:
            causing.set(run.outer)
            if run.end is None:
                error = (
                    CancelledError() if result is None else result.error_before_exec or result.error_in_exec
                )
                run.end = {"ts": _now(), **run.draft.ended(error, with_message=False)}
            self._settle(run)
            self._collector.running = [one.cell for one in self._running if one is not run]
            self._ended = run.info
            self._running.remove(run)
        if self._leaving and not self._running:
            self.close()

    def _settle(self, run: _Run) -> None:
        """Have the events of a run appended that are due, and wait until they are on disk; asked again, it appends none twice."""
        run.settled.clear()
        self._tasks.put(run)
        late = not run.settled.wait(_PATIENCE_S)
        error, run.error = run.error, None
        if late or error:
            self._recorder.failed(
                error or TimeoutError(f"not on disk within {_PATIENCE_S:g} s"), stacklevel=5
            )

    def _work(self) -> None:
        """Append what is asked for, and what long cells cause while they run; no interrupt reaches this thread."""
        while True:
            try:
                run = self._tasks.get(timeout=_GATHER_S)
            except Empty:
                if error := self._failed([]):
                    self._recorder.failed(error, stacklevel=2)
                continue
            if run is None:
                return
            events = run.due()
            run.error = self._failed(events)
            self.cells += run.start in events
            run.appended += len(events)
            run.settled.set()

    def _run_of(self, result: ExecutionResult | None) -> _Run | None:
        """Return the run that ended: the one of this result, else the last one that this thread began."""
        info = None if result is None else result.info
        same = [run for run in self._running if run.info is info]
        if not same and (info is None or info is not self._ended):
            same = [run for run in reversed(self._running) if run.thread == threading.get_ident()]
        return next(iter(same), None)

    def _new(self, info: ExecutionInfo) -> _Run:
        cell = Cell(f"cell-{secrets.token_hex(6)}")
        about, source = self._described(info)
        fields = {"resource": about.pop("resource"), **self._common(cell)}
        start = {"ts": _now(), "action": "cell.start", **fields, "attrs": {**about, **source}}
        return _Run(info, cell, start, Draft(None, {"action": "cell.end", **fields, "attrs": about}))

    def _described(self, info: ExecutionInfo) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what both events of a cell say of it, and what only the first says."""
        number = self._shell.execution_count - bool(info.store_history)
        text = str(info.raw_cell).encode("utf-8", "backslashreplace")
        about = {
            "resource": info.cell_id or f"In[{number}]",
            "execution": number,
            "sha256": hashlib.sha256(text).hexdigest(),
            "kernel": self._kernel,
            "pid": self._pid,
        }
        if not self.source:
            return about, {}
        source = text.decode()
        cut = {"cut": True} if len(source) > MOST_SOURCE_CHARACTERS else {}
        return about, {"source": source[:MOST_SOURCE_CHARACTERS], **cut}

    def _about(self, action: str) -> dict[str, Any]:
        attrs = {"pid": self._pid, "source": self.source}
        return {"action": action, "resource": self._kernel, **self._common(None), "attrs": attrs}

    def _common(self, cell: Cell | None) -> dict[str, Any]:
        return {
            "actor": self._user,
            "source": SOURCE,
            "origin": notebook_path(self._shell) or socket.gethostname(),
            "correlation": None if cell is None else cell.correlation,
        }

    def _failed(self, events: Sequence[Mapping[str, Any]]) -> Exception | None:
        """Append events; return what went wrong, which is not the cell's trouble."""
        try:
            self._append(events)
        except Exception as exc:
            return exc
        return None

    def _append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Append what was caused up to now, and then these events; return once they are on disk."""
        caused = [
            {
                "ts": from_us(event.ts_us),
                "action": event.action,
                "resource": event.resource,
                "value": event.value,
                "attrs": dict(event.attrs),
                **self._common(cell),
            }
            for cell, event in self._collector.take()
        ]
        if caused or events:
            self._recorder.find().extend([*caused, *events], on_invalid="dead-letter").wait()
            self.caused += len(caused)


def _now() -> datetime:
    return from_us(SystemClock().now_us())


def notebook_path(shell: InteractiveShell) -> str | None:
    """Return the notebook that a kernel runs, as Jupyter Server or VS Code name it when they start the kernel."""
    named = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return str(named) if named else None


def _kernel_id(shell: InteractiveShell) -> str | None:
    """Return the id that Jupyter Server gave this kernel; it is in the name of the connection file."""
    application = getattr(getattr(shell, "kernel", None), "parent", None)
    return Path(getattr(application, "connection_file", "")).stem.removeprefix("kernel-") or None
