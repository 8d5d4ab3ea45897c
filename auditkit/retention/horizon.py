"""The trusted horizon T: the moment that retention measures from, and that tiers and compaction go by.

It comes from the events of a trail, never from a reader's clock, so that the same trail gives the same answer on every
machine and in every year.  It is a fold over the producers' events in the order of their seqs, each with the smaller of
its `ts` and `recorded`.  One event moves it by `WINDOW_US` at most: what lies further ahead waits in a run, and moves it
once the events of the run have moved on by as much.  So a clock that is wrong for a while, or one writer whose clock is
always ahead, expires nothing; a trail that was silent for weeks goes on by itself, about one batch later.
"""

import numpy as np
from msgspec import Struct

from auditkit.arrow import Numbers

WINDOW_US = 36 * 3_600 * 1_000_000
"""How far ahead of the horizon an event may lie to move it by itself: a night's batch, and the next one a bit late."""
_BLOCK = 4_096
"""So many events are looked at together; where they do not go one way, one by one."""


class Horizon(Struct, frozen=True, kw_only=True):
    """The fold's state: the horizon, and the run of events that waits ahead of it.

    All in microseconds since 1970 UTC, `None` where there is none.  The horizon never goes back.
    """

    trusted_us: int | None = None
    waiting_from_us: int | None = None
    """The earliest moment of the run: it is trusted once an event lies `WINDOW_US` behind it."""
    waiting_to_us: int | None = None

    def after(self, moments: Numbers) -> "Horizon":
        """Return the state after events with these moments, in this order.

        >>> day = 24 * 3_600 * 1_000_000
        >>> Horizon().after(np.array([0, day, 2 * day])).trusted_us // day
        2
        >>> Horizon(trusted_us=0).after(np.array([9 * day, day])).trusted_us // day
        1
        """
        state = self
        for begin in range(0, len(moments), _BLOCK):
            block = moments[begin : begin + _BLOCK]
            state = state._moved(block) or state._waited(block) or state._one_by_one(block.tolist())
        return state

    def after_moment(self, now_us: int, *, confirmed: bool) -> "Horizon":
        """Return the state after a recorded "now": one that a person confirmed is trusted at once, others as events are."""
        if not confirmed:
            return self._one_by_one([now_us])
        if self.trusted_us is not None and now_us < self.trusted_us:
            return self
        return Horizon(trusted_us=now_us)

    def _moved(self, block: Numbers) -> "Horizon | None":
        """Return the state after events none of which lies too far ahead, `None` where one does."""
        if self.trusted_us is None:
            return None
        reached = np.maximum.accumulate(np.concatenate(([self.trusted_us], block)))
        if (block > reached[:-1] + WINDOW_US).any():
            return None
        trusted = int(reached[-1])
        if self.waiting_from_us is None or (block >= reached[1:] - WINDOW_US).any():
            return Horizon(trusted_us=trusted)
        return Horizon(
            trusted_us=trusted, waiting_from_us=self.waiting_from_us, waiting_to_us=self.waiting_to_us
        )

    def _waited(self, block: Numbers) -> "Horizon | None":
        """Return the state after events all of which join the run, `None` where one does not."""
        first = int(block[0]) if self.waiting_from_us is None else self.waiting_from_us
        low, high = int(block.min()), int(block.max())
        is_ahead = self.trusted_us is None or low > self.trusted_us + WINDOW_US
        if not (is_ahead and low >= first and high < first + WINDOW_US):
            return None
        newest = high if self.waiting_to_us is None else max(high, self.waiting_to_us)
        return Horizon(trusted_us=self.trusted_us, waiting_from_us=first, waiting_to_us=newest)

    def _one_by_one(self, block: list[int]) -> "Horizon":
        """Return the state after events, whatever they are."""
        trusted, first, newest = self.trusted_us, self.waiting_from_us, self.waiting_to_us
        for moment in block:
            if trusted is None or moment > trusted + WINDOW_US:
                if first is None or newest is None or moment < first:
                    first = newest = moment
                    continue
                if moment < first + WINDOW_US:
                    newest = max(newest, moment)
                    continue
                trusted = newest if trusted is None else max(trusted, newest)
                if moment > trusted + WINDOW_US:
                    first = newest = moment
                    continue
            trusted = max(trusted, moment)
            if moment >= trusted - WINDOW_US:
                first = newest = None
        return Horizon(trusted_us=trusted, waiting_from_us=first, waiting_to_us=newest)
