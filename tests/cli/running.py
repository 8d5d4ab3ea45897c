"""The command as a process that goes on until it is reported to end."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run `auditkit` with these arguments and environment variables until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "auditkit", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
        start_new_session=True,  # with the handlers of a fresh session, as a service has them
    ) as process:
        watchdog = threading.Timer(60, process.kill)  # a line that never comes fails the test
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()
