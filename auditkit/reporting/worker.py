"""A process that makes the reports of a batch one after the other: JSON lines in, JSON lines out.

Drawing charts keeps to one core of a process, so that a batch needs several.  A worker ends when its input does.
"""

import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from auditkit.errors import AuditError
from auditkit.reporting.filing import Rendered
from auditkit.reporting.run import make_report


class Job(msgspec.Struct, frozen=True):
    """One report that is wanted, as `make_report` takes it."""

    notebook: str
    given: dict[str, Any]
    target: str
    timeout_s: float | None
    static: bool


class Result(msgspec.Struct, frozen=True):
    """What became of it: what was rendered, if anything, and why it is not complete, if it is not."""

    rendered: Rendered | None
    failure: str | None


def main() -> None:
    """Do the jobs on standard input and answer each on standard output."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin.buffer:
        result = _do(msgspec.json.decode(line, type=Job))
        answers.write(msgspec.json.encode(result) + b"\n")


def _do(job: Job) -> Result:
    try:
        made = make_report(
            job.notebook, job.given, Path(job.target), timeout_s=job.timeout_s, static=job.static
        )
    except (AuditError, OSError) as exc:
        return Result(rendered=None, failure=str(exc))
    return Result(rendered=made.rendered, failure=None if made.failure is None else str(made.failure))
