"""Several processes that make reports at the same time; they end with the one that asked for them."""

import os
import queue
import subprocess
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, suppress

import msgspec

from auditkit.reporting.kernels import program
from auditkit.reporting.worker import Job, Result

_PATIENCE_S = 0.2
_MOST_WORKERS = 8
_Worker = subprocess.Popen[bytes]


def work(jobs: Mapping[str, Job], workers: int | None) -> Generator[tuple[str, Result], None, None]:
    """Yield the key and the result of each job, as they end.

    `workers` is the number of processes, by default one for each core that this process may use, at most eight.
    Close it to end them all, whatever they are at.
    """
    cores = len(os.sched_getaffinity(0))
    number = min(workers or min(cores, _MOST_WORKERS), len(jobs))
    if not number:
        return
    crew = _Crew(number, max(1, cores // number))
    with closing(crew), ThreadPoolExecutor(number) as threads:
        pending = {threads.submit(crew.do, job): key for key, job in jobs.items()}
        try:
            while pending:
                # In pieces: Polars lets an endless wait go on after Ctrl-C.
                ended, _ = wait(pending, timeout=_PATIENCE_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield pending.pop(future), future.result()
        finally:
            crew.dismiss()  # so that no thread waits for an answer any more


class _Crew:
    """Processes that are idle or at work; one that dies takes its report with it, and is replaced for the next."""

    def __init__(self, number: int, threads_each: int) -> None:
        # Together their kernels shall not have many more threads than there are cores.
        self._environment = {"POLARS_MAX_THREADS": str(threads_each), **os.environ}
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        self._hired: list[_Worker] = []
        self._lock = threading.Lock()
        self._dismissed = False
        for _ in range(number):
            self._idle.put(None)

    def do(self, job: Job) -> Result:
        """Have one report made, by whoever is idle."""
        worker = self._idle.get()
        answer = b""
        try:
            worker = worker or self._hire()
            answer = _ask(worker, job)
        except BrokenPipeError:
            pass  # as if it had not answered
        self._idle.put(worker if answer else None)
        if not answer:
            return Result(rendered=None, failure="the process that was making it ended")
        return msgspec.json.decode(answer, type=Result)

    def _hire(self) -> _Worker:
        with self._lock:
            if self._dismissed:
                raise BrokenPipeError
            worker = subprocess.Popen(  # noqa: S603 -- our own module
                program("auditkit.reporting.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,  # a terminal's Ctrl-C is for us alone
            )
            self._hired.append(worker)
        return worker

    def dismiss(self) -> None:
        """End the processes and whatever they are at."""
        with self._lock:
            self._dismissed = True
            for worker in self._hired:
                worker.kill()

    def close(self) -> None:
        """Wait for the end of the processes, once nobody asks them any more."""
        self.dismiss()
        for worker in self._hired:
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # of what it was not given any more
                        pipe.close()
            worker.wait()


def _ask(worker: _Worker, job: Job) -> bytes:
    """Return the answer, or nothing where the process ended before it answered."""
    assert worker.stdin is not None  # noqa: S101 -- both are pipes
    assert worker.stdout is not None  # noqa: S101
    worker.stdin.write(msgspec.json.encode(job) + b"\n")
    worker.stdin.flush()
    return worker.stdout.readline()
