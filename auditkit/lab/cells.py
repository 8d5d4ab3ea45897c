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
from contextlib import suppress
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

from auditkit.auditing import Draft, Recorder
from auditkit.lab.runtime import Cell, Collector, causing
from auditkit.sources.record import user_name
from auditkit.text import counted, visible
from auditkit.timerange import from_us

SOURCE = "auditkit.cells"
MOST_SOURCE_CHARACTERS = 200_000
_PATIENCE_S = 5.0
"""So long a cell waits until it is on disk, before it runs and before it ends."""
_GATHER_S = 1.0


class _Run:
    """One run of a cell that goes on: its identity, what it lies in, and the event of its end."""

    __slots__ = ("cell", "end", "info", "outer", "thread")

    def __init__(self, info: ExecutionInfo, cell: Cell, end: Draft) -> None:
        self.info = info
        self.cell = cell
        self.end = end
        self.outer = causing.get()
        self.thread = threading.get_ident()


class CellRecorder:
    """Appends the cells of one shell to a trail, from `start` to `stop`."""

    def __init__(self, shell: InteractiveShell, trail: Path, *, source: bool) -> None:
        self.trail = trail.absolute()
        self.source = source
        self.cells = self.caused = 0
        self._shell = shell
        self._recorder = Recorder(trail, name="cells", on_error="continue", wait=True)
        self._collector = Collector()
        self._running: list[
            _Run
        ] = []  # appended to and removed from by the threads of subshells: one step each
        self._appending = threading.Lock()  # so that what cells caused is appended in order
        self._closed = threading.Event()
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
        threading.Thread(target=self._gather, name="auditkit-cells", daemon=True).start()

    def stop(self) -> None:
        """Record no more, once the cells that are running have ended."""
        self._leaving = True
        if not self._running:
            self.close()

    def close(self) -> None:
        """Record no more, now; the trail says so."""
        if self._closed.is_set():
            return
        self._closed.set()
        atexit.unregister(self.close)
        self._shell.events.unregister("pre_run_cell", self.before)
        self._shell.events.unregister("post_run_cell", self.after)
        self._collector.stop()
        self._try([self._about("audit.off")])
        self._recorder.close()

    def before(self, info: ExecutionInfo) -> None:
        """Append that a cell is about to run (called by IPython)."""
        if self._leaving:
            return
        cell = Cell(f"cell-{secrets.token_hex(6)}")
        about, source = self._described(info)
        fields = {"resource": about.pop("resource"), **self._common(cell)}
        started = {"action": "cell.start", **fields, "attrs": {**about, **source}}
        run = _Run(info, cell, Draft(None, {"action": "cell.end", **fields, "attrs": about}))
        self._running.append(run)
        self._collector.running.append(cell)
        self.cells += 1
        try:
            self._try([started])
        finally:  # an interrupt goes on, and the cell all the same
            causing.set(cell)

    def after(self, result: ExecutionResult | None) -> None:
        """Append what a cell caused and how it ended (called by IPython)."""
        with suppress(KeyboardInterrupt):  # came too late for this cell, whose end is in the trail by now
            run = self._run_of(result)
            if run is not None:
                causing.set(run.outer)
                self._running.remove(run)
                self._collector.running.remove(run.cell)
                error = (
                    CancelledError() if result is None else result.error_before_exec or result.error_in_exec
                )
                self._try([run.end.ended(error, with_message=False)])
            if self._leaving and not self._running:
                self.close()

    def _run_of(self, result: ExecutionResult | None) -> _Run | None:
        """Return the run that ended: the one of this result, else the last one that this thread began."""
        mine = [run for run in reversed(self._running) if run.thread == threading.get_ident()]
        same = [run for run in self._running if result is not None and run.info is result.info]
        return next(iter(same or mine), None)

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

    def _gather(self) -> None:
        """Append what long cells cause while they run."""
        while not self._closed.wait(_GATHER_S):
            self._try([])

    def _try(self, events: Sequence[Mapping[str, Any]]) -> None:
        try:
            self._append(events)
        except Exception as exc:  # whatever ails the recording is not the cell's trouble
            self._recorder.failed(exc, stacklevel=2)

    def _append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Append what was caused up to now, and then these events; return once they are on disk."""
        with self._appending:
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
            if os.getpid() != self._pid or not (caused or events):
                return  # a forked child runs no cells
            receipt = self._recorder.find().extend([*caused, *events], on_invalid="dead-letter")
            self.caused += len(caused)
        receipt.wait(_PATIENCE_S)


def notebook_path(shell: InteractiveShell) -> str | None:
    """Return the notebook that a kernel runs, as Jupyter Server or VS Code name it when they start the kernel."""
    named = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return str(named) if named else None


def _kernel_id(shell: InteractiveShell) -> str | None:
    """Return the id that Jupyter Server gave this kernel; it is in the name of the connection file."""
    application = getattr(getattr(shell, "kernel", None), "parent", None)
    return Path(getattr(application, "connection_file", "")).stem.removeprefix("kernel-") or None
