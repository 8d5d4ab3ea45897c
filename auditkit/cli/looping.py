"""Maintenance as a process of its own: round after round until somebody ends it.

SIGTERM and Ctrl-C end it between two rounds, with exit code 0; a second one ends it at once.  A round that fails
because storage or somebody's lock is in the way is told, and the next one tries again with the trail opened anew; what
no time will heal, and a first round that fails, ends the process.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import FrameType

import click

from auditkit.cli.failing import warn
from auditkit.cli.options import opened
from auditkit.errors import ClosedError, LockedError, TrailNotFoundError
from auditkit.keep.maintain import maintain_often
from auditkit.keep.summaries import MaintainSummary
from auditkit.timerange import US_PER_SECOND, parse_duration

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def maintain_every(
    trail_path: Path | None, every: str, *, record_now: bool, tell: Callable[[MaintainSummary], None]
) -> None:
    """Do what is due every so often (`every` is a duration such as `1m`), and `tell` what was done."""
    seconds = _seconds(every)
    with _ended_by_signal() as ended:
        first = True
        while not ended.is_set():
            began = monotonic()
            try:
                done = _round(trail_path, record_now=record_now)
            except (ClosedError, LockedError, OSError) as exc:
                if first or isinstance(exc, TrailNotFoundError):
                    raise
                warn(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}: {exc}; trying again in {every}")
            else:
                if done != MaintainSummary(flush=None, prune=None, compact=None):
                    tell(done)
            first = False
            ended.wait(max(0.0, seconds - (monotonic() - began)))


def _round(trail_path: Path | None, *, record_now: bool) -> MaintainSummary:
    with opened(trail_path, maintain=True) as trail:
        return maintain_often(trail.core, now=trail.now() if record_now else None)


def _seconds(every: str) -> float:
    duration = parse_duration(every, name="every")
    if duration.negative or duration.shortest_us < US_PER_SECOND:
        raise click.UsageError(f"--every expects a second or more (found {every!r}).")
    return duration.shortest_us / US_PER_SECOND


@contextmanager
def _ended_by_signal() -> Iterator[threading.Event]:
    """Yield what the first SIGTERM or Ctrl-C sets; the second acts as it would without us."""
    ended = threading.Event()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    for number in _SIGNALS:
        signal.signal(number, end)
    try:
        yield ended
    finally:
        restore()
