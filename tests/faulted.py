"""A process that appends and flushes while its system calls fail, and tells what it was promised.

Prints one line per fact.  Nothing may hang: an alarm ends the process, which its parent takes for a failure.
"""

import random
import signal
import sys
import threading
from pathlib import Path

import polars as pl  # noqa: F401 -- before any system call is counted

import auditkit as ak
import auditkit.api

PATIENCE_S = 40


def say(*words: object) -> None:
    """Print a fact at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def name_of(exc: BaseException) -> str:
    """Say whether an error is one that a caller can be expected to handle."""
    known = isinstance(exc, (OSError, ak.AuditError))
    return f"{'failed' if known else 'SURPRISE'} {type(exc).__name__} {str(exc)[:120]}"


def append(trail: ak.Trail, tag: str, pad: int = 200) -> None:
    """Append one event and say what became of it."""
    say("intend", tag)
    try:
        seq = trail.append(action=tag, attrs={"pad": random.Random(tag).randbytes(pad // 2).hex()}).wait(10)
        say("ack", tag, seq)
    except BaseException as exc:
        say(name_of(exc))


def together(trail: ak.Trail, rounds: int) -> None:
    """Append from several threads, none of which may be left waiting."""
    threads = [
        threading.Thread(target=append, args=(trail, f"thread{round_}.{number}"))
        for round_ in range(rounds)
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S / 2)
        say("HANGS") if thread.is_alive() else None


def work(root: Path, rounds: int, pad: int) -> None:
    """Append, flush and go on, opening the trail again where it refuses."""
    for round_ in range(rounds):
        trail = ak.open(root, maintain=False)
        try:
            for number in range(3):
                append(trail, f"one{round_}.{number}", pad)
            together(trail, 1) if round_ == 0 else None
            trail.flush()
            say("flushed")
            append(trail, f"last{round_}", pad)
        except BaseException as exc:
            say(name_of(exc))
        try:
            trail.close()
        except BaseException as exc:
            say(name_of(exc))


if __name__ == "__main__":
    signal.alarm(PATIENCE_S)
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    say("end")
