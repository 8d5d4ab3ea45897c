"""Real servers in a process group of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
LISTENING = re.compile(r"(http://127\.0\.0\.1:\d+)")


@dataclass
class Server:
    """A server that listens."""

    url: str
    process: subprocess.Popen[str]
    log: list[str]

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.process.terminate()
        self.process.wait()

    def kill(self) -> None:
        """Kill it and its workers at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _answers(url: str) -> bool:
    """Return whether a worker takes connections: uvicorn says that it listens before any does."""
    parts = urlsplit(url)
    try:
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def serving(arguments: Sequence[str], trail: Path) -> Iterator[Server]:
    """Run `python -m` with these arguments until the block ends; AUDITKIT_TRAIL names the trail."""
    environment = {
        **os.environ,
        "AUDITKIT_TRAIL": str(trail),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(trail.parent),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    assert process.stdout is not None
    try:
        lines: list[str] = []
        found = None
        while found is None:
            line = process.stdout.readline()
            assert line, "".join(lines)
            lines.append(line)
            found = LISTENING.search(line)
        reader = threading.Thread(target=lambda out=process.stdout: lines.extend(out), daemon=True)
        reader.start()
        while not _answers(found[1]):
            assert process.poll() is None, "".join(lines)
            time.sleep(0.05)
        yield Server(found[1], process, lines)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        reader.join(10)
        process.stdout.close()
