"""Leading: of all threads that wait for their events, one at a time commits for everybody.

Whoever's wish is fulfilled by another's commit goes on at once and in any order; of the others only the next leader
is woken, so that nobody wakes up just to wait again.
"""

import threading
from collections.abc import Callable


class _Waiter:
    """A thread that waits until it need not lead, or may; `turn` is held until then."""

    __slots__ = ("leads", "needless", "turn")

    def __init__(self, needless: Callable[[], bool]) -> None:
        self.needless = needless
        self.leads = False
        self.turn = threading.Lock()
        self.turn.acquire()


class Leadership:
    """Held by one thread at a time; the others wait until it is their turn, or until they need it no longer."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._held = False
        self._waiting: list[_Waiter] = []

    def take(self, needless: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Become the leader and return true, or false once `needless()`; `TimeoutError` after `timeout_s` seconds."""
        with self._changing:
            if needless():
                return False
            if not self._held:
                self._held = True
                return True
            waiter = _Waiter(needless)
            self._waiting.append(waiter)
        try:
            is_over = waiter.turn.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s))
        except BaseException:
            self._forget(waiter)
            raise
        if not is_over:
            self._forget(waiter)
            if needless():
                return False
            raise TimeoutError
        return waiter.leads

    def release(self) -> None:
        """Let those go on who need not lead, and one of the others lead."""
        with self._changing:
            waiting, self._waiting, self._held = self._waiting, [], False
            for waiter in waiting:
                if not waiter.needless():
                    if self._held:
                        self._waiting.append(waiter)
                        continue
                    self._held = waiter.leads = True
                waiter.turn.release()

    def _forget(self, waiter: _Waiter) -> None:
        """Take back a thread that waits no longer; what it was given in the meantime goes to the next."""
        with self._changing:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        if waiter.leads:
            self.release()
