"""`Outbox`: events go to a trail in a thread of its own, so that no event loop waits for a disk.

Bounded, and it fails open: what cannot be recorded is counted, and the first time the log says so.
"""

import atexit
import queue
import threading
from collections.abc import Mapping
from logging import Logger
from pathlib import Path
from typing import Any

from auditkit.auditing import Recorder
from auditkit.errors import QueueFullError

MOST_WAITING = 10_000
"""So many events wait for a slow disk; further ones are counted as unrecorded."""
_PATIENCE_S = 10.0


class Outbox:
    """Takes events at once and appends them, in order, each until it is durable."""

    def __init__(self, trail: Path, *, name: str, log: Logger) -> None:
        self._recorder = Recorder(trail, name=name, on_error="continue", wait=True)
        self._name = name
        self._log = log
        self._waiting: queue.Queue[Mapping[str, Any] | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._append, name=f"auditkit-{name}", daemon=True)

    @property
    def unrecorded(self) -> int:
        """How many events could not be recorded."""
        return self._recorder.unrecorded

    def open(self) -> bool:
        """Take events from now on; return whether there is a trail for them, which is tried again at each event."""
        self._thread.start()
        atexit.register(self.close)
        try:
            self._recorder.find()
        except Exception as exc:  # the server starts all the same
            self.failed(exc)
            return False
        return True

    def put(self, event: Mapping[str, Any]) -> None:
        """Take an event; it is appended soon."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self.failed(QueueFullError(f"{self._name}: {MOST_WAITING:,} events wait for the trail"))

    def failed(self, error: Exception) -> None:
        """Count what could not be recorded, and log the first of them."""
        first = self._recorder.unrecorded == 0
        self._recorder.failed(error)
        if first:
            self._log.warning(
                "auditkit: %s cannot be recorded (%s: %s); more of this is only counted",
                self._name,
                type(error).__name__,
                error,
            )

    def close(self) -> None:
        """Append what waits, and close the trail."""
        atexit.unregister(self.close)
        try:
            self._waiting.put(None, timeout=_PATIENCE_S)
        except queue.Full:
            return  # the disk hangs, and the process is to end
        self._thread.join(_PATIENCE_S)
        self._recorder.close()

    def _append(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                self._recorder.append(self._recorder.find(), event)
            except Exception as exc:  # whatever ails the recording is not the server's trouble
                self.failed(exc)
