"""Many reports of one question, one for each part of it, made by several processes.

A folder holds one batch: `batch.json` says what was asked and which file is about what, the numbered files are the
reports, and `index.html` names them for people.  The parts and the seq that all reports are as of are settled once,
when the folder is made, so that a batch that was interrupted goes on where it stopped, whatever was appended since.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec

from auditkit.api import Trail
from auditkit.disk.durable import PosixDisk, write_published
from auditkit.display.progress import progress
from auditkit.errors import ReportError
from auditkit.opening import open_trail
from auditkit.reporting.attest import record_rendered
from auditkit.reporting.batch_plan import (
    PLAN_FILE,
    Part,
    Plan,
    Question,
    index_page,
    is_key,
    plan_batch,
    read_plan,
)
from auditkit.reporting.notebooks import code_digest, declared_parameters, find_notebook
from auditkit.reporting.run import failed_notebook, parameters_of, read_notebook, refuse_unknown
from auditkit.reporting.workers import Job, work
from auditkit.where import PREFIX, read_value

_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is in a folder of reports.

    Attributes
    ----------
    index : Path
        The page that names the reports.
    parts : tuple of Part
        What each report is about, in order.
    kept : int
        How many were whole before.
    failures : mapping of str to str
        Why a report failed, by its file.
    """

    index: Path
    parts: tuple[Part, ...]
    kept: int
    failures: Mapping[str, str]


def report_each(
    notebook: str | Path,
    each: str,
    output: str | Path,
    *,
    trail: Trail | str | Path | None = None,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    where: Mapping[str, object] | None = None,
    tz: str | None = None,
    as_of: int | None = None,
    parameters: Mapping[str, object] | None = None,
    limit: int | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    record: bool = False,
    force: bool = False,
    static: bool = False,
) -> Batch:
    """Write one report for each value of a column, or for each stretch of time.

    A folder that holds this batch already is completed: whole reports are kept, missing and FAILED ones are made, as
    of the same seq.  A report that fails stops no other.  An interrupt leaves whole reports, and an index of them.

    Parameters
    ----------
    notebook : str or Path
        A path, or the name of one of ours.
    each : str
        A column ("actor"), whose values in the window are taken by their number of events; or a duration ("1d"), which
        divides the window.
    output : str or Path
        The folder; made where it is missing.
    trail, start, end, where, tz, as_of, parameters, timeout_s, record, static
        As in `ak.report`.
    limit : int, optional
        Take so many of the first; default: all.
    workers : int, optional
        So many processes work at the same time; default: one for each core, at most eight.
    force : bool, default False
        Make all anew, as of now.

    Returns
    -------
    Batch

    Raises
    ------
    ReportError
        Before anything is run, for a folder that holds something else, and as `ak.report` does.
    InvalidQueryError
        If `each` is neither a column with values to tell apart nor a duration.
    """
    if not isinstance(trail, Trail):
        with open_trail(trail, tz=tz, maintain=False) as opened:
            return report_each(
                notebook, each, output, trail=opened, start=start, end=end, where=where, tz=tz, as_of=as_of,
                parameters=parameters, limit=limit, workers=workers, timeout_s=timeout_s, record=record,
                force=force, static=static,
            )  # fmt: skip
    path = find_notebook(notebook)
    document = read_notebook(path)
    given = parameters_of(trail, start, end, where, tz, as_of, parameters or {})
    question = Question(
        notebook=str(notebook),
        notebook_sha256=code_digest(document.cells),
        trail_id=trail.trail_id,
        each=each,
        start=given.get("start"),
        end=given.get("end"),
        where=given.get("where"),
        tz=trail.tz,
        as_of=given.get("as_of"),
        parameters={name: given[name] for name in parameters or {}},
        limit=limit,
        static=static,
    )
    folder = Path(output)
    plan = _plan(folder, trail, question, force=force)
    declared = declared_parameters(document.cells)
    jobs = {part.file: _job(plan, part, trail, folder, declared, timeout_s) for part in plan.parts}
    for job in jobs.values():
        refuse_unknown(path, document, job.given)
    _settle(folder, plan, force=force)
    missing = {file: job for file, job in jobs.items() if _state(folder / file) != "complete"}
    try:
        failures = _make(plan, missing, trail, workers=workers, record=record)
    finally:
        index = _write_index(folder, plan, trail.name)
    return Batch(index=index, parts=plan.parts, kept=len(jobs) - len(missing), failures=failures)


def _make(
    plan: Plan,
    jobs: Mapping[str, Job],
    trail: Trail,
    *,
    workers: int | None,
    record: bool,
) -> dict[str, str]:
    """Do the jobs, show progress, record each in the trail where asked; return by file why one failed."""
    names = {part.file: part.name for part in plan.parts}
    failures: dict[str, str] = {}
    with (
        progress("making", total=len(jobs), unit="reports") as advance,
        closing(work(jobs, workers)) as results,
    ):
        for done, (file, result) in enumerate(results, 1):
            if result.failure is not None:
                failures[file] = result.failure
            if record and result.rendered is not None:
                record_rendered(trail, Path(jobs[file].target), result.rendered)
            advance(done, names[file])
    return failures


def _plan(folder: Path, trail: Trail, question: Question, *, force: bool) -> Plan:
    """Return what the folder is about, or what it will be; changes nothing."""
    known = read_plan(folder)
    if known is None and folder.is_dir() and any(folder.iterdir()):
        raise ReportError(f"{folder}: holds something else than a batch of reports")
    if known is not None and not force:
        if known.question != question:
            error = ReportError(f"{folder}: holds the reports of another question")
            error.add_note("name another folder, or replace them with --force")
            raise error
        return known
    if not folder.is_dir() and (folder.exists() or not folder.parent.is_dir()):
        raise ReportError(f"{folder}: cannot be a folder for reports")
    return plan_batch(trail, question)


def _settle(folder: Path, plan: Plan, *, force: bool) -> None:
    """Make the folder the batch's own: the plan is in it, and no report of another plan."""
    disk = PosixDisk()
    disk.make_directory(folder, _FOLDER_MODE)
    if force:
        for path in folder.glob("[0-9]*.html"):
            disk.unlink(path)
            disk.unlink(failed_notebook(path))
    write_published(disk, folder.absolute() / PLAN_FILE, msgspec.json.encode(plan), _FILE_MODE)


def as_condition(key: str, value: Any) -> Any:
    """Return the value of a part as a condition finds it; inside attrs `404` was grouped with the text that spells it."""
    read = read_value(value) if key.startswith(PREFIX) else value
    return read if isinstance(read, int | float) else value


def _job(
    plan: Plan, part: Part, trail: Trail, folder: Path, declared: frozenset[str], timeout_s: float | None
) -> Job:
    """Return the order for one report: the question, narrowed to the part."""
    question = plan.question
    where = dict(question.where or {})
    if is_key(trail, question.each):
        where[question.each] = None if part.value is None else [as_condition(question.each, part.value)]
    as_of = plan.as_of if "as_of" in declared else None
    given = parameters_of(trail, part.start, part.end, where or None, question.tz, as_of, question.parameters)
    return Job(
        notebook=question.notebook,
        given=given,
        target=str(folder / part.file),
        timeout_s=timeout_s,
        static=question.static,
    )


def _state(path: Path) -> str:
    if not path.is_file():
        return "missing"
    return "failed" if failed_notebook(path).exists() else "complete"


def _write_index(folder: Path, plan: Plan, trail: str) -> Path:
    states = {part.file: _state(folder / part.file) for part in plan.parts}
    page = index_page(plan, states, trail)
    write_published(PosixDisk(), folder.absolute() / "index.html", page.encode(), _FILE_MODE)
    return folder / "index.html"
