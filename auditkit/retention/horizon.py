"""The horizon R: the moment that retention measures from.

It comes from the events of a trail, never from a reader's clock, so that the same trail gives the same answer on
every machine and in every year.
"""

from msgspec import Struct


class Newest(Struct, frozen=True, kw_only=True):
    """The largest times among the producers' events before some seq, and the newest recorded "now".

    All in microseconds since 1970 UTC; `None` where there is none.
    """

    ts_us: int | None = None
    recorded_us: int | None = None
    now_us: int | None = None

    def joined(self, other: "Newest") -> "Newest":
        """Return the newest of both."""
        return Newest(
            ts_us=_newer(self.ts_us, other.ts_us),
            recorded_us=_newer(self.recorded_us, other.recorded_us),
            now_us=_newer(self.now_us, other.now_us),
        )


def horizon_us(newest: Newest) -> int | None:
    """Return R: max(min(newest ts, newest recorded), newest now); with none of them nothing expires.

    The minimum keeps one event with a broken clock from expiring everything else.

    >>> horizon_us(Newest(ts_us=5_000, recorded_us=2_000))
    2000
    >>> horizon_us(Newest(ts_us=5_000, recorded_us=2_000, now_us=3_000))
    3000
    """
    seen = None
    if newest.ts_us is not None and newest.recorded_us is not None:
        seen = min(newest.ts_us, newest.recorded_us)
    return _newer(seen, newest.now_us)


def _newer(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return first if second is None else second
    return max(first, second)
