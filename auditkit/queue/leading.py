"""Leading: of all threads that wait for their events, one at a time commits for everybody.

Whoever's wish is fulfilled by another's commit goes on at once and in any order; none queues behind the others for
a turn that it no longer needs.
"""

import threading
from collections.abc import Callable


class Leadership:
    """Held by one thread at a time; the others wait until it is free, or until they need it no longer."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._held = False

    def take(self, needless: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Become the leader and return true, or false once `needless()`; `TimeoutError` after `timeout_s` seconds."""
        with self._changed:
            if self._held and not self._changed.wait_for(lambda: not self._held or needless(), timeout_s):
                raise TimeoutError
            if needless():
                return False
            self._held = True
            return True

    def release(self) -> None:
        """Let another one lead."""
        with self._changed:
            self._held = False
            self._changed.notify_all()
