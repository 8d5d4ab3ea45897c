"""A process that has imported auditkit and forks others off it, each in some part of a trail's life.

Reads `ROLE NAME` lines from standard input and answers with the pid of a new process.  Those processes note what
they were promised in files of the folder given: one line per fact, written whole by one call, so that a killed
process leaves no half of a fact that anybody could take for a whole one.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import polars as pl  # noqa: F401 -- imported before the forks, so that they need not; no thread of it runs yet

import auditkit as ak
import auditkit.api

THREADS = 4


def append(root: Path, notes: Path, name: str) -> None:
    """Append batches of one to three events from several threads, each waiting for its own."""
    trail = ak.open(root, maintain=False)
    out = os.open(notes / f"{name}.acks", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def work(thread: int) -> None:
        producer, number = f"{name}.{thread}", 0
        rng = random.Random(producer)
        while True:
            count = rng.choice((1, 1, 2, 3))
            if count == 1:
                receipt = trail.append(action=producer, value=float(number))
            else:
                rows = ({"action": producer, "value": float(number + n)} for n in range(count))
                receipt = trail.extend(rows)
            first = receipt.wait(30)
            os.write(out, f"{producer} {first} {number} {count}\n".encode())
            number += count
            time.sleep(0.002)  # leaves the machine some room for the others

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def flush(root: Path, notes: Path, name: str) -> None:
    """Flush again and again."""
    del notes, name
    trail = ak.open(root, maintain=False)
    while True:
        trail.flush()
        time.sleep(0.1)


def read(root: Path, notes: Path, name: str) -> None:
    """Ask again and again, and note what is shown: the number of events, and the last ones."""
    trail = ak.open(root, maintain=False)
    out = os.open(notes / f"{name}.seen", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    while True:
        events = trail.scan().select("seq", "action", "value").collect().sort("seq")
        whole = events.height == (events.item(-1, "seq") + 1 if events.height else 0)
        lines = [f"{seq} {action} {value:.0f} {whole:d}\n" for seq, action, value in events.tail(25).rows()]
        os.write(out, "".join(lines).encode())
        time.sleep(0.1)


ROLES = {"append": append, "flush": flush, "read": read}


def main(root: Path, notes: Path) -> None:
    """Fork off what standard input asks for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        role, name = line.split()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                ROLES[role](root, notes, name)
            except BaseException as exc:
                (notes / f"{name}.error").write_text(f"{type(exc).__name__}: {exc}")
            finally:
                os._exit(1)
        os.write(1, f"{pid}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
