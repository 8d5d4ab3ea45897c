"""Processes that make reports at the same time, as drawing charts keeps to one core of a process.

They end with the process that asked for them.  The pools of `concurrent.futures` and `multiprocessing` do not do: one
process that dies breaks the whole pool, their children import the caller's main module, and a terminal's Ctrl-C, which
is for the caller alone, reaches them.

A worker reads JSON lines and writes JSON lines.  `main` runs in it, `work` in the process that asks.
"""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from auditkit.errors import AuditError
from auditkit.reporting.attest import Rendered
from auditkit.reporting.fork_server import program
from auditkit.reporting.run import make_report

_PATIENCE_S = 0.2
_MOST_WORKERS = 8


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One report to make, as `make_report` takes it."""

    notebook: str
    given: dict[str, Any]
    target: str
    timeout_s: float | None
    static: bool


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it: what was rendered, if anything, and why it is not complete, if it is not."""

    rendered: Rendered | None = None
    failure: str | None = None


def main() -> None:
    """Do the jobs on standard input and answer each on standard output."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin.buffer:
        result = _make(msgspec.json.decode(line, type=Job))
        answers.write(msgspec.json.encode(result) + b"\n")


def _make(job: Job) -> Result:
    target = Path(job.target)
    try:
        made = make_report(job.notebook, job.given, target, timeout_s=job.timeout_s, static=job.static)
    except (AuditError, OSError) as exc:
        return Result(failure=str(exc))
    return Result(rendered=made.rendered, failure=None if made.failure is None else str(made.failure))


def work(jobs: Mapping[str, Job], workers: int | None) -> Generator[tuple[str, Result], None, None]:
    """Yield the key and the result of each job, as they end.

    `workers` is the number of processes, by default one for each core that this process may use, at most eight.
    Close it to end them all, whatever they are at.
    """
    cores = len(os.sched_getaffinity(0))
    number = min(workers or min(cores, _MOST_WORKERS), len(jobs))
    if not number:
        return
    pool = _Workers(number, max(1, cores // number))
    with closing(pool), ThreadPoolExecutor(number) as threads:
        pending = {threads.submit(pool.do, job): key for key, job in jobs.items()}
        try:
            while pending:
                # In pieces: Polars lets an endless wait go on after Ctrl-C.
                ended, _ = wait(pending, timeout=_PATIENCE_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield pending.pop(future), future.result()
        finally:
            pool.kill()  # so that no thread waits for an answer any more


class _Workers:
    """Worker processes, idle or at work; one that dies takes its report with it, and is replaced for the next."""

    def __init__(self, number: int, threads_each: int) -> None:
        # Together their kernels shall not have many more threads than there are cores.
        self._environment = {"POLARS_MAX_THREADS": str(threads_each), **os.environ}
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        for _ in range(number):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen[bytes]] = []  # guarded by _lock
        self._killed = False  # guarded by _lock

    def do(self, job: Job) -> Result:
        """Have one report made by a worker that is idle."""
        worker = self._idle.get()
        answer = b""
        with suppress(BrokenPipeError):  # it ended, or all were killed: no answer
            worker = worker or self._start()
            answer = _ask(worker, job)
        self._idle.put(worker if answer else None)
        if not answer:
            return Result(failure="the process that was making it ended")
        return msgspec.json.decode(answer, type=Result)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._killed:
                raise BrokenPipeError
            worker = subprocess.Popen(  # noqa: S603 -- our own module
                program("auditkit.reporting.workers"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,  # a terminal's Ctrl-C is for the caller alone
            )
            self._started.append(worker)
        return worker

    def kill(self) -> None:
        """End the processes and whatever they are at."""
        with self._lock:
            self._killed = True
            for worker in self._started:
                worker.kill()

    def close(self) -> None:
        """Wait for the end of the processes, once no thread asks them any more."""
        self.kill()
        for worker in self._started:
            for pipe in filter(None, (worker.stdin, worker.stdout)):
                with suppress(BrokenPipeError):  # of what it was not given any more
                    pipe.close()
            worker.wait()


def _ask(worker: subprocess.Popen[bytes], job: Job) -> bytes:
    """Return the answer, or nothing where the process ended before it answered."""
    assert worker.stdin is not None  # noqa: S101 -- both are pipes
    assert worker.stdout is not None  # noqa: S101
    worker.stdin.write(msgspec.json.encode(job) + b"\n")
    worker.stdin.flush()
    return worker.stdout.readline()
