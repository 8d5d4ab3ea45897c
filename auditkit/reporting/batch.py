"""Many reports of one question, one for each part of it, made by several processes.

A folder holds one batch: `batch.json` says what was asked and which file is about what, the numbered files are the
reports, and `index.html` names them for people.  The parts and the seq that all reports are as of are settled once,
when the folder is made, so that a batch that was interrupted goes on where it stopped, whatever was appended since.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from auditkit.api import Trail
from auditkit.disk.durable import PosixDisk, write_published
from auditkit.errors import ReportError
from auditkit.opening import open_trail
from auditkit.reporting.contents import contents
from auditkit.reporting.crew import work
from auditkit.reporting.filing import file_rendered
from auditkit.reporting.gallery import declared_parameters, find_notebook
from auditkit.reporting.logic import code_digest
from auditkit.reporting.parts import Part, plan_parts
from auditkit.reporting.run import failed_notebook, parameters_of, read_notebook, refuse_unknown
from auditkit.reporting.worker import Job

Progress: TypeAlias = Callable[[int], AbstractContextManager[Callable[[int, str], None]]]

_VERSION = 1
_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


class Question(msgspec.Struct, frozen=True):
    """What a batch asks, as it was given."""

    notebook: str
    notebook_sha256: str
    trail_id: str
    each: str
    start: str | None
    end: str | None
    where: dict[str, Any] | None
    tz: str
    as_of: int | None
    parameters: dict[str, Any]
    limit: int | None
    static: bool = False


class _Plan(msgspec.Struct, frozen=True):
    version: int
    question: Question
    as_of: int
    found: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is in a folder of reports: its page of contents, its parts, how many were kept, and which failed why."""

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
    start: object = None,
    end: object = None,
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
    progress: Progress = lambda _total: nullcontext(lambda _done, _beside: None),
) -> Batch:
    """Write one report for each value of a column, or for each stretch of time, into the folder `output`.

    `each` is a column ("actor"), whose values in the window are taken by their number of events; or a duration
    ("1d"), which divides the window; `limit` takes the first of them.  The other arguments are those of `ak.report`.
    `workers` processes work at the same time (default: one for each core, at most eight).  `progress` is called with
    the number of reports to make; what it returns is entered and hears how many are done, and which was the last.

    A folder that holds this batch already is completed: whole reports are kept, missing and FAILED ones are made,
    as of the same seq; `force` makes all anew, as of now.  A report that fails stops no other.  Raises `ReportError`
    before anything is run for a folder that holds something else, and what `ak.report` raises.
    """
    if not isinstance(trail, Trail):
        with open_trail(trail, tz=tz, maintain=False) as opened:
            return report_each(
                notebook, each, output, trail=opened, start=start, end=end, where=where, tz=tz, as_of=as_of,
                parameters=parameters, limit=limit, workers=workers, timeout_s=timeout_s, record=record,
                force=force, static=static, progress=progress,
            )  # fmt: skip
    path = find_notebook(notebook)
    document = read_notebook(path)
    given = parameters_of(trail, start, end, where, tz, as_of, parameters or {})
    question = Question(
        notebook=str(notebook),
        notebook_sha256=code_digest(document),
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
        failures = _make(plan, missing, trail, workers=workers, record=record, progress=progress)
    finally:
        index = _write_index(folder, plan, trail.name)
    return Batch(index=index, parts=plan.parts, kept=len(jobs) - len(missing), failures=failures)


def _make(
    plan: _Plan,
    jobs: Mapping[str, Job],
    trail: Trail,
    *,
    workers: int | None,
    record: bool,
    progress: Progress,
) -> dict[str, str]:
    """Do the jobs, tell how far they are and, where asked, the trail; return by file why one failed."""
    names = {part.file: part.name for part in plan.parts}
    failures: dict[str, str] = {}
    with progress(len(jobs)) as tell, closing(work(jobs, workers)) as results:
        for done, (file, result) in enumerate(results, 1):
            if result.failure is not None:
                failures[file] = result.failure
            if record and result.rendered is not None:
                file_rendered(trail, Path(jobs[file].target), result.rendered)
            tell(done, names[file])
    return failures


def _plan(folder: Path, trail: Trail, question: Question, *, force: bool) -> _Plan:
    """Return what the folder is about, or what it will be; changes nothing."""
    known = _read_plan(folder)
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
    pinned = trail.at(trail.end_seq if question.as_of is None else question.as_of)
    parts = plan_parts(pinned, question.each, question.start, question.end, question.where)
    return _Plan(
        version=_VERSION,
        question=question,
        as_of=pinned.end_seq,
        found=len(parts),
        parts=parts[: question.limit],
    )


def _read_plan(folder: Path) -> _Plan | None:
    try:
        plan = msgspec.json.decode((folder / "batch.json").read_bytes(), type=_Plan)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as exc:
        raise ReportError(f"{folder / 'batch.json'}: is not what a batch of reports writes") from exc
    if plan.version != _VERSION:
        raise ReportError(f"{folder}: written by another version (expected {_VERSION}, found {plan.version})")
    return plan


def _settle(folder: Path, plan: _Plan, *, force: bool) -> None:
    """Make the folder the batch's own: the plan is in it, and no report of another plan."""
    disk = PosixDisk()
    disk.make_directory(folder, _FOLDER_MODE)
    if force:
        for path in folder.glob("[0-9]*.html"):
            disk.unlink(path)
            disk.unlink(failed_notebook(path))
    write_published(disk, folder.absolute() / "batch.json", msgspec.json.encode(plan), _FILE_MODE)


def _job(
    plan: _Plan, part: Part, trail: Trail, folder: Path, declared: frozenset[str], timeout_s: float | None
) -> Job:
    """Return the order for one report: the question, narrowed to the part."""
    question = plan.question
    where = dict(question.where or {})
    if question.each in trail.schema:
        where[question.each] = None if part.value is None else [part.value]
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


def _write_index(folder: Path, plan: _Plan, trail: str) -> Path:
    states = {part.file: _state(folder / part.file) for part in plan.parts}
    question = plan.question
    page = contents(
        plan.parts,
        states,
        found=plan.found,
        where=question.where,
        zone=question.tz,
        notebook=Path(question.notebook).stem,
        trail=trail,
        each=question.each,
        as_of=plan.as_of,
    )
    write_published(PosixDisk(), folder.absolute() / "index.html", page.encode(), _FILE_MODE)
    return folder / "index.html"
