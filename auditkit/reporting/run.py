"""A notebook run with parameters and written as one HTML file.

What lies at the output path is a whole report: it appears in one step, and one whose notebook failed says FAILED
at its head.  The notebook that was run is never changed.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from msgspec import Struct
from papermill.parameterize import parameterize_notebook

from auditkit.api import Trail
from auditkit.disk.durable import PosixDisk, write_published
from auditkit.errors import InvalidQueryError, ReportError, StorageError
from auditkit.opening import open_trail
from auditkit.reporting.attest import Rendered, describe, find_cover, record_rendered
from auditkit.reporting.exporter import AuditReportExporter
from auditkit.reporting.kernels import run_cells
from auditkit.reporting.notebooks import declared_parameters, find_notebook, is_shipped
from auditkit.reporting.page import Failure, find_failure, unfinished
from auditkit.reporting.pdf import find_chromium, print_pdf
from auditkit.reporting.preview import ReportPath, report_path
from auditkit.text import did_you_mean, size, visible
from auditkit.timerange import SystemClock, from_us, resolve

_FILE_MODE = 0o600
"""A report holds what the trail holds, so it is as private."""


def report(
    notebook: str | Path,
    *,
    trail: Trail | str | Path | None = None,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    where: Mapping[str, object] | None = None,
    tz: str | None = None,
    as_of: int | None = None,
    parameters: Mapping[str, object] | None = None,
    output: str | Path | None = None,
    timeout_s: float | None = None,
    record: bool = False,
    static: bool = False,
    pdf: bool = False,
) -> Path:
    """Run a notebook over a trail and write the report.

    On return `output` holds the report, complete and durable, readable by its owner only.  If a cell fails, `output` holds the
    report marked FAILED, the notebook is saved beside it as `*.failed.ipynb`, and `ReportError` is raised.  The first report of
    a process takes longest: what it loads is kept for the following ones.

    Parameters
    ----------
    notebook : str or Path
        A path, or the name of a notebook of auditkit's own, such as `"overview"` or `"access_review"`.  It runs in a kernel of
        its own: one of auditkit's in a private, empty directory, another in its own directory, from which it may import.
        Running a notebook runs its code.
    trail : Trail, str, Path or None, default None
        The trail, open or by its directory; None: the one that AUDITKIT_TRAIL names.  A view `at(seq)` sets `as_of`.
    start : str, datetime, date or None, default None
        First instant that counts, as in `Trail.range`.
    end : str, datetime, date or None, default None
        First instant that no longer counts (exclusive), as in `Trail.range`.
    where : mapping or None, default None
        Conditions, as in `Trail.range`.
    tz : str, optional
        IANA zone of days and of times without one, by default the trail's view zone.
    as_of : int or None, default None
        Exclusive end of the seqs that the report is about; None: all that is committed.
    parameters : mapping or None, default None
        Further parameters of the notebook.
    output : str, Path or None, default None
        Where the report goes; None: a new file in the current directory.
    timeout_s : float or None, default None
        Seconds that one cell may take; None: no bound.
    record : bool, default False
        Whether the trail records `report.rendered`, an event of its own with the SHA-256 of the file.
    static : bool, default False
        Whether every script is left out.
    pdf : bool, default False
        Whether the report is also printed, beside `output` with the ending `.pdf`; needs Chromium.

    Returns
    -------
    Path
        Where the report is.  As the value of a notebook's cell it shows what the report says, and a link that opens it.

    Raises
    ------
    ReportError
        Before anything is run: the notebook does not exist, does not take these parameters, or there is no Chromium.  After a
        cell has failed: `.output` is the report marked FAILED.
    StorageError
        The report could not be written, as to a full disk: what lay at `output` is as it was.
    TrailNotFoundError
        There is no trail at this path, or none is named.

    Examples
    --------
    >>> import auditkit as ak
    >>> ak.report("overview", trail="audit", start="-7d", output="week.html")  # doctest: +SKIP
    ReportPath('week.html')
    """
    if pdf:
        find_chromium()  # before a kernel works for nothing
    path = find_notebook(notebook)
    given = parameters_of(trail, start, end, where, tz, as_of, parameters or {})
    target = _target(output, path.stem, Path(str(given["trail"])).name)
    made = make_report(str(notebook), given, target, timeout_s=timeout_s, static=static)
    if pdf:
        print_pdf(target, target.with_suffix(".pdf"))
    if record:
        with nullcontext(trail) if isinstance(trail, Trail) else open_trail(trail, maintain=False) as opened:
            record_rendered(opened, target, made.rendered)
    if made.failure is not None:
        raise made.failure
    return made.path


def render(
    executed: str | Path, output: str | Path | None = None, *, static: bool = False, pdf: bool = False
) -> Path:
    """Write the report of a notebook that was run elsewhere, by papermill or in JupyterLab; runs nothing.

    Parameters
    ----------
    executed : str or Path
        The notebook with its outputs.
    output : str, Path or None, default None
        Where the report goes; None: the notebook's path with the ending `.html`.
    static : bool, default False
        Whether every script is left out.
    pdf : bool, default False
        Whether the report is also printed, beside `output` with the ending `.pdf`; needs Chromium.

    Returns
    -------
    Path
        Where the report is.  As the value of a notebook's cell it shows what the report says, and a link that opens it.

    Raises
    ------
    ReportError
        A cell failed or was not run: `.output` is the report, which is marked FAILED.
    StorageError
        The report could not be written, as to a full disk: what lay at `output` is as it was.

    Examples
    --------
    >>> import auditkit as ak
    >>> ak.render("executed.ipynb", "report.html")  # doctest: +SKIP
    ReportPath('report.html')
    """
    path = find_notebook(Path(executed))
    target = path.with_suffix(".html") if output is None else _target(output, path.stem, "")
    made = _publish(read_notebook(path), path.stem, path.stem, target, keep=None, static=static)
    if pdf:
        print_pdf(target, target.with_suffix(".pdf"))
    if made.failure is not None:
        raise made.failure
    return made.path


class Made(Struct, frozen=True, kw_only=True):
    """A report that lies at its path; `failure` says why it is not complete, if it is not."""

    path: ReportPath
    rendered: Rendered
    failure: ReportError | None


def make_report(
    notebook: str, given: Mapping[str, Any], target: Path, *, timeout_s: float | None, static: bool
) -> Made:
    """Run a notebook with what `parameters_of` returned, and write the report to `target`.

    Raises `ReportError` before anything is run for a notebook that is none or does not take these parameters.
    """
    path = find_notebook(notebook)
    document = read_notebook(path)
    refuse_unknown(path, document, given)
    document = _prepare(document, given, notebook)
    with _working_folder(path) as folder:
        run_cells(document, folder, timeout_s=timeout_s)
    return _publish(document, path.stem, notebook, target, keep=failed_notebook(target), static=static)


@contextmanager
def _working_folder(path: Path) -> Iterator[Path]:
    """Give the folder that a notebook's kernel starts in, and may import from: its own, but of ours a private, empty one."""
    if not is_shipped(path):
        yield path.absolute().parent
        return
    with tempfile.TemporaryDirectory(prefix="auditkit-report-") as private:
        yield Path(private)


def failed_notebook(target: Path) -> Path:
    """Return where the notebook of a report is saved if it fails."""
    return target.with_suffix(".failed.ipynb")


def parameters_of(
    trail: Trail | str | Path | None,
    start: object,
    end: object,
    where: Mapping[str, object] | None,
    tz: str | None,
    as_of: int | None,
    others: Mapping[str, object],
) -> dict[str, Any]:
    """Return the notebook's parameters as JSON holds them, checked as far as that needs no query.

    What the notebook would do by itself is left out, so that it need not take a parameter for it.
    """
    if not isinstance(trail, Trail):
        with open_trail(trail, tz=tz, maintain=False) as opened:
            return parameters_of(opened, start, end, where, tz, as_of, others)
    if where is not None and not isinstance(where, Mapping):
        raise InvalidQueryError("where", where, "not a mapping, which a report needs to be repeatable")
    resolve(start, end, now_us=SystemClock().now_us(), tz=tz or trail.tz)
    end_seq = trail.end_seq  # also commits what this process has accepted, as the kernel is another process
    standard = {
        "trail": str(trail.path),
        "start": _time_text(start),
        "end": _time_text(end),
        "where": None if where is None else dict(where),
        "tz": tz or (trail.tz if trail.tz != trail.handle.info.tz else None),
        "as_of": end_seq if as_of is None and trail.view.at is not None else as_of,
    }
    given = {name: value for name, value in standard.items() if value is not None}
    if twice := sorted(given.keys() & others.keys()):
        raise ReportError(f"parameter {twice[0]}: given twice")
    try:
        copied: dict[str, Any] = json.loads(json.dumps({**given, **others}, allow_nan=False))
    except (TypeError, ValueError) as exc:
        raise ReportError(f"parameters: not what JSON can hold ({exc})") from exc
    return copied


def _time_text(moment: object) -> object:
    return moment.isoformat() if isinstance(moment, date | datetime) else moment


def refuse_unknown(path: Path, document: Any, given: Mapping[str, object]) -> None:
    """Raise `ReportError` where a notebook does not take one of these parameters."""
    declared = declared_parameters(document.cells)
    if unknown := sorted(given.keys() - declared):
        known = ", ".join(sorted(declared)) or "no cell tagged parameters"
        near = did_you_mean(unknown[0], declared)
        raise ReportError(f"{path.name}: takes no parameter {unknown[0]}{near} (expected one of {known})")


def read_notebook(path: Path) -> Any:
    """Return a notebook that lies on disk; raises `ReportError` for what is none."""
    try:
        return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except (ValueError, KeyError, AttributeError) as exc:
        raise ReportError(f"{path}: not a notebook") from exc


def _target(output: str | Path | None, notebook: str, trail: str) -> Path:
    """Return where the report goes; a folder that is missing is refused before anything runs."""
    stamp = f"{from_us(SystemClock().now_us()):%Y%m%dT%H%M%SZ}"
    target = Path(output) if output is not None else Path(f"{notebook}-{trail}-{stamp}.html")
    if not target.parent.is_dir():
        raise ReportError(f"{target}: there is no such folder")
    if target.is_dir():
        raise ReportError(f"{target}: is a folder")
    return target


def _now() -> str:
    return from_us(SystemClock().now_us()).isoformat(timespec="seconds")


def _prepare(document: Any, given: Mapping[str, object], name: str) -> Any:
    """Return the notebook with its parameters, and without what an earlier run left: nothing old passes for new."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document.metadata.setdefault("kernelspec", kernel)
    document.metadata["papermill"] = {"start_time": _now()}
    for cell in document.cells:
        cell.metadata.setdefault("tags", [])
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    prepared = parameterize_notebook(document, given)
    prepared.metadata["auditkit"] = {"notebook": name}
    return prepared


@cache
def _exporter(*, static: bool) -> AuditReportExporter:
    """Return the exporter of this process, whose templates are compiled once."""
    return AuditReportExporter(static=static)  # type: ignore[no-untyped-call]


def _publish(
    document: Any, name: str, notebook: str, target: Path, *, keep: Path | None, static: bool
) -> Made:
    """Write the report; of a failed notebook also the notebook itself, where `keep` says."""
    html, _ = _exporter(static=static).from_notebook_node(document, {"metadata": {"name": name}})
    failure = find_failure(document)
    if keep is not None and failure is not None:
        _write(keep, nbformat.writes(document))  # type: ignore[no-untyped-call]
    _write(target, html)
    if keep is not None and failure is None:
        PosixDisk().unlink(keep)  # of an earlier run that failed
    error, status = None, "complete"
    if failure is not None:
        error, status = _failed(name, failure, target, keep), "failed"
    elif unfinished(document):
        error, status = ReportError(f"{name}: some cells were not run", output=target), "unfinished"
    cover = find_cover(document)
    rendered = describe(document, target, cover=cover, notebook=notebook, status=status)
    return Made(path=report_path(target, cover), rendered=rendered, failure=error)


def _write(path: Path, text: str) -> None:
    data = text.encode()
    try:
        write_published(PosixDisk(), path.absolute(), data, _FILE_MODE)
    except StorageError as exc:
        exc.add_note(f"the report of {size(len(data))} is not written, and what lay there is unchanged")
        raise


def _failed(name: str, failure: Failure, target: Path, keep: Path | None) -> ReportError:
    where = "a cell" if failure.number is None else f"cell {failure.number}"
    error = ReportError(f"{name}: {where} raised {failure.name}: {visible(failure.message)}", output=target)
    error.add_note(f"the report marked FAILED is {target}")
    if keep is not None:
        error.add_note(f"the notebook as far as it ran is {keep}")
    return error
