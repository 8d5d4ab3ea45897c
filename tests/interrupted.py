"""A process whose main thread is interrupted at random moments, and that tells what it was promised.

Every interrupt is a real signal: the handler raises `KeyboardInterrupt` as Python's own for Ctrl-C does, but only inside
a call of the trail, so that the notes of this script are whole.  Nothing may hang: an alarm ends the process.
"""

import faulthandler
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl

import auditkit as ak
from auditkit.write import extend

PATIENCE_S = 100
LONGEST_S = 0.004


class Interrupts:
    """Real signals at random moments inside calls."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.inside = False
        self.count = 0
        for number in (signal.SIGALRM, signal.SIGINT):
            signal.signal(number, self._raise)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.inside:
            raise KeyboardInterrupt

    def call(self, work: Callable[[], Any], longest_s: float = LONGEST_S) -> Any:
        """Do something that may be interrupted; return what it returned, or what it raised."""
        signal.setitimer(signal.ITIMER_REAL, self.random.uniform(1e-6, longest_s), longest_s / 3)
        try:
            self.inside = True
            found = work()
            self.inside = False
        except (
            KeyboardInterrupt,
            TypeError,
        ) as exc:  # Polars makes a `TypeError` of what is raised while it converts
            self.inside = False
            self.count += 1
            found = exc
        signal.setitimer(signal.ITIMER_REAL, 0)
        return found


def say(*words: object) -> None:
    """Print a fact."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def work(root: Path, seed: int, seconds: float) -> None:
    """Append, wait, extend and flush on one object, whatever interrupts."""
    interrupts = Interrupts(seed)
    extend.BULK_ROWS = 50
    trail = ak.open(root)
    trail.extend(
        pl.DataFrame({"action": ["warm"], "ts": [trail.handle.clock.now_us()]}).cast(
            {"ts": pl.Datetime("us", "UTC")}
        )
    )
    say("intend", "warm")
    trail.flush()
    trail.range()
    end = time.monotonic() + seconds
    open_: list[tuple[str, ak.Receipt]] = []
    number = 0
    while time.monotonic() < end:
        number += 1
        tag, verb = (
            f"t{seed}.{number}",
            interrupts.random.choice(["append", "keyed", "batch", "bulk", "flush"]),
        )
        say("intend", tag)
        if verb == "flush":
            interrupts.call(trail.flush, 0.05)
            continue
        key = tag if verb == "keyed" else None
        count = {"batch": 3, "bulk": 60}.get(verb, 1)
        rows = pl.DataFrame(
            {"ts": [trail.handle.clock.now_us()] * count, "action": [tag] * count}
        ).with_columns(
            pl.col("ts").cast(pl.Datetime("us", "UTC")),
            id=pl.lit(tag + "-") + pl.int_range(count).cast(pl.String),
        )
        if count > 1:
            receipt = interrupts.call(partial(trail.extend, rows), 0.02)
        else:
            receipt = interrupts.call(partial(trail.append, action=tag, id=key))
        if isinstance(receipt, BaseException):
            if verb != "append":  # with ids it can be repeated
                again = trail.extend(rows) if count > 1 else trail.append(action=tag, id=key)
                say("ack", tag, again.wait(), count)
            continue
        open_.append((tag, receipt))
        if interrupts.random.random() < 0.7:
            interrupts.call(receipt.wait)
        if len(open_) > 20:
            settle(open_)
    settle(open_)
    say("interrupts", interrupts.count)
    say("ack", f"last{seed}", trail.append(action=f"last{seed}").wait(10), 1)
    trail.flush()
    trail.close()
    say("end")


def settle(open_: list[tuple[str, ak.Receipt]]) -> None:
    """Wait for receipts, without an interrupt: each has been accepted, and so is stored."""
    for tag, receipt in open_:
        say("ack", tag, receipt.wait(20), receipt.count)
    open_.clear()


if __name__ == "__main__":
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    work(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    sys.stdout.flush()
