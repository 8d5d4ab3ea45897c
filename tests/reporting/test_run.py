"""Running a notebook into a report: what is there afterwards, and what never is."""

import itertools
import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

import auditkit as ak
from auditkit.errors import InvalidQueryError, InvalidTimeError, ReportError, TrailNotFoundError
from auditkit.reporting.notebooks import declared_parameters, find_notebook, shipped
from auditkit.reporting.pdf import print_pdf
from tests.reporting.material import PAYLOADS, ROOT, Rendered, code, elements, notebook, prose, text_of
from tests.reporting.test_exporter import assert_inert


def test_a_report_of_hostile_events(overview: Rendered) -> None:
    """Our own notebook over hostile events, with a hostile filter, gives an inert page that shows them."""
    assert_inert(overview.html)
    text = text_of(overview.html)
    assert "FAILED" not in text
    assert text.count(PAYLOADS[0]) >= 4
    assert "gpj<U+202E>exe" in text


def test_its_first_screen_counts_the_population(overview: Rendered, open_hostile: ak.Trail) -> None:
    """Shown, filtered, expired, queued and refused are those of the trail."""
    rows = dict(
        re.findall(r'<th scope="row">([^<]*).*?<td class="number">([^<]*)</td>', overview.html, re.DOTALL)
    )
    stored = open_hostile.range("2026-11-16", "2026-11-23", tz="UTC")
    assert rows["Shown in this report"] == str(len(PAYLOADS) + 1) == str(stored.height)
    assert rows["of these still queued"] == "1"
    assert rows["Never became events"] == "1"
    assert rows["Accepted into this window"] == str(stored.height)


def test_the_file_is_whole_and_private(overview: Rendered) -> None:
    """Beside the report lies nothing, and only its owner may read it."""
    assert list(overview.path.parent.iterdir()) == [overview.path]
    assert stat.S_IMODE(overview.path.stat().st_mode) == 0o600
    assert overview.html.rstrip().endswith("</html>")


def test_the_command_repeats_the_report(overview: Rendered, hostile_trail: Path) -> None:
    """The first screen names the notebook, the trail, the resolved window, the zone and the seq."""
    command = text_of(overview.html)
    assert "auditkit report overview" in command
    assert "--start 2026-11-16T01:00:00+01:00" in command
    assert "--end 2026-11-23T01:00:00+01:00" in command
    assert f"--at {len(PAYLOADS) + 2}" in command
    assert str(hostile_trail) in command


def test_a_failed_notebook(failed: tuple[ReportError, Path]) -> None:
    """The report says FAILED, the notebook is saved as far as it ran, and the error leads to both."""
    error, folder = failed
    assert error.output == folder / "broken.html"
    html = error.output.read_text(encoding="utf-8")
    assert_inert(html)
    assert "<title>FAILED" in html
    assert "this ran" in html
    assert "ValueError" in str(error)
    assert any("broken.failed.ipynb" in note for note in error.__notes__)
    saved = json.loads((folder / "broken.failed.ipynb").read_text())
    assert [cell.get("execution_count") for cell in saved["cells"] if cell["cell_type"] == "code"] == [
        1,
        2,
        3,
        4,
        None,
    ]
    assert {path.name for path in folder.iterdir()} == {"broken.ipynb", "broken.html", "broken.failed.ipynb"}


def test_the_notebook_that_was_run_is_unchanged(failed: tuple[ReportError, Path]) -> None:
    """The source notebook holds no output and no injected parameters afterwards."""
    source = json.loads((failed[1] / "broken.ipynb").read_text())
    assert len(source["cells"]) == 5


def write(path: Path, document: object) -> Path:
    """Write a notebook and return its path."""
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def idle(tmp_path: Path) -> Path:
    """A notebook that takes a trail and nothing else."""
    return write(tmp_path / "idle.ipynb", notebook(code("trail = None", number=None, tags=["parameters"])))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"start": "-1d"}, "idle.ipynb: takes no parameter start (expected one of trail)"),
        ({"parameters": {"case": 1}}, "idle.ipynb: takes no parameter case"),
        ({"parameters": {"trail": "other"}}, "parameter trail: given twice"),
        ({"parameters": {"case": object()}}, "parameters: not what JSON can hold"),
        ({"parameters": {"case": float("nan")}}, "parameters: not what JSON can hold"),
        ({"output": "no/such/folder/x.html"}, "no/such/folder/x.html: there is no such folder"),
    ],
)
def test_refused_before_anything_runs(
    idle: Path,
    hostile_trail: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, object],
    reason: str,
) -> None:
    """What cannot work raises at once, and no file appears."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReportError, match=re.escape(reason)):
        ak.report(idle, trail=hostile_trail, **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [idle]


def test_a_missing_trail_and_a_bad_time_raise_their_own_errors(
    idle: Path, hostile_trail: Path, tmp_path: Path
) -> None:
    """The errors are those of opening and asking a trail, before a kernel starts."""
    with pytest.raises(TrailNotFoundError):
        ak.report(idle, trail=tmp_path / "nowhere")
    with pytest.raises(InvalidTimeError, match="start"):
        ak.report("overview", trail=hostile_trail, start="soon")


def test_names_of_notebooks(tmp_path: Path) -> None:
    """Ours are found by name, others by path, and what is neither is an error that names ours."""
    assert {"overview", "operations"} <= shipped().keys()
    assert find_notebook("overview") == shipped()["overview"]
    for name in ("../notebooks/overview", "no-such", "", "OVERVIEW"):
        with pytest.raises(ReportError, match="operations, overview"):
            find_notebook(name)
    with pytest.raises(ReportError, match="no such notebook"):
        find_notebook(tmp_path / "missing.ipynb")


def test_declared_parameters() -> None:
    """Plain and annotated assignments of the tagged cell are the parameters; other cells have none."""
    cells = notebook(code("x = 1"), code("a = 1\nb: int = 2\nc = d = 3", tags=["parameters"])).cells
    assert declared_parameters(cells) == {"a", "b", "c", "d"}
    assert declared_parameters(notebook(code("x = 1")).cells) == frozenset()
    with pytest.raises(ReportError, match="not Python"):
        declared_parameters(notebook(code("a =", tags=["parameters"])).cells)


def test_render_runs_nothing(tmp_path: Path) -> None:
    """An executed notebook is rendered beside itself; one that was not run, or failed, is and raises."""
    done = write(tmp_path / "done.ipynb", notebook(prose("# Done"), code("1 / 0")))
    assert ak.render(done) == tmp_path / "done.html"
    assert "<h1>Done</h1>" in (tmp_path / "done.html").read_text()
    todo = write(tmp_path / "todo.ipynb", notebook(code("1 / 0", number=None)))
    with pytest.raises(ReportError, match="todo: some cells were not run") as caught:
        ak.render(todo, tmp_path / "elsewhere.html")
    assert caught.value.output == tmp_path / "elsewhere.html"
    assert not (tmp_path / "todo.html").exists()
    with pytest.raises(ReportError, match="not a notebook"):
        ak.render(write(tmp_path / "text.ipynb", []))


def test_a_view_sets_what_the_report_is_about(tmp_path: Path) -> None:
    """Given `trail.at(seq)`, the notebook runs at that seq, with hostile parameters as text."""
    source = "trail = as_of = note = None"
    probe = "print(as_of, [ord(letter) for letter in note] == list(map(int, codes.split())))"
    document = notebook(
        code(f"{source}\ncodes = ''", number=None, tags=["parameters"]), code(probe, number=None)
    )
    note = "".join(PAYLOADS)
    codes = " ".join(str(ord(letter)) for letter in note)
    with ak.create(tmp_path / "audit", tz="Asia/Kolkata") as trail:
        trail.append(action="a").wait()
        trail.append(action="b")
        path = ak.report(
            write(tmp_path / "view.ipynb", document),
            trail=trail.at(1),
            parameters={"note": note, "codes": codes},
            output=tmp_path / "view.html",
        )
    assert "1 True" in text_of(path.read_text())


def test_the_clock_bounds_a_cell(tmp_path: Path, hostile_trail: Path) -> None:
    """A cell that runs for longer than `timeout_s` fails the report, and is the one that is marked."""
    document = notebook(
        code("trail = None", number=None, tags=["parameters"]), code("while True: pass", number=None)
    )
    with pytest.raises(ReportError, match="CellTimeoutError") as caught:
        ak.report(
            write(tmp_path / "slow.ipynb", document),
            trail=hostile_trail,
            output=tmp_path / "slow.html",
            timeout_s=1,
        )
    assert caught.value.output is not None
    assert re.search(r'id="failure">.*CellTimeoutError.*while', caught.value.output.read_text(), re.DOTALL)


def test_papermill_and_nbconvert_give_the_same_report(tmp_path: Path) -> None:
    """What papermill runs and nbconvert exports is, line by line, what `ak.report` gives."""
    trail = ROOT / "data" / "firm-week"
    run = tmp_path / "run.ipynb"
    scripts = Path(sys.executable).parent
    parameters = ["-p", "trail", str(trail), "-p", "start", "2026-10-20", "-p", "end", "+1d"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run(
        [scripts / "papermill", ROOT / "notebooks" / "overview.ipynb", run, *parameters],
        check=True,
        env=environment,
        capture_output=True,
    )
    subprocess.run(
        [scripts / "jupyter", "nbconvert", "--to", "auditreport", run],
        check=True,
        env=environment,
        capture_output=True,
    )
    ours = ak.report("overview", trail=trail, start="2026-10-20", end="+1d", output=tmp_path / "ours.html")
    assert lines(run.with_suffix(".html")) == lines(ours)


def lines(path: Path) -> list[str]:
    """Return the lines of a report but for when it was made, whatever the order of parameters and its notebook's place."""
    html = path.read_text(encoding="utf-8").replace(str(ROOT / "notebooks" / "overview.ipynb"), "overview")
    moments = ("<dt>Prepared</dt>", "<dt>Run</dt>")
    return sorted(line for line in html.splitlines() if not any(moment in line for moment in moments))


def test_bounds_may_be_dates_and_datetimes(overview: Rendered) -> None:
    """The session's report was asked with a datetime and a duration, which the provenance shows as text."""
    parameters = text_of(overview.html).partition("Provenance")[2]
    assert datetime(2026, 11, 16, tzinfo=UTC).isoformat() in parameters
    assert '"+7d"' in parameters


def test_an_expression_is_refused(hostile_trail: Path) -> None:
    """A report's filter is a mapping, as an expression has no form that could be repeated."""
    with pytest.raises(InvalidQueryError, match="where: not a mapping"):
        ak.report("overview", trail=hostile_trail, where=pl.col("actor") == "ann")  # type: ignore[arg-type]


def test_the_page_has_one_main_heading(overview: Rendered) -> None:
    """There is one heading of the first level, and none is skipped below it."""
    levels = [int(name[1]) for name, _ in elements(overview.html) if re.fullmatch(r"h\d", name)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_what_was_accepted_is_in_the_report(tmp_path: Path) -> None:
    """An open trail commits what it has accepted before the notebook, another process, looks; its zone goes along."""
    document = notebook(
        code("trail = tz = None", number=None, tags=["parameters"]),
        code("import auditkit as ak\nprint(ak.open(trail).end_seq, tz)", number=None),
    )
    path = write(tmp_path / "probe.ipynb", document)
    with ak.create(tmp_path / "audit") as trail:
        trail.append(action="a")
        report = ak.report(path, trail=trail, tz="Asia/Kolkata", output=tmp_path / "probe.html")
    assert "1 Asia/Kolkata" in text_of(report.read_text())


@pytest.mark.parametrize("name", ["overview", "compliance"])
def test_a_report_is_in_the_zone_of_the_trail(tmp_path: Path, name: str) -> None:
    """Every time that a report shows, those of its making too, is in the trail's zone."""
    with ak.create(tmp_path / "audit", tz="Asia/Kolkata", retention="30d") as trail:
        trail.extend([{"action": "a", "ts": ts} for ts in ("2026-01-01T20:00Z", "2026-03-01T20:00Z")]).wait()
        trail.flush()
        report = ak.report(name, trail=trail, output=tmp_path / "report.html")
    shown = text_of(report.read_text())
    assert not re.search(r"UTC(?![+-])", shown)
    assert "02 Mar 2026" in shown


def test_a_report_for_mail_gateways_and_on_paper(executed: Path, tmp_path: Path) -> None:
    """`static` leaves out every script, and `pdf` prints the report beside it, private to its owner."""
    written = ak.render(executed, tmp_path / "mail.html", static=True, pdf=True)
    assert "<script" not in written.read_text(encoding="utf-8")
    printed = tmp_path / "mail.pdf"
    assert printed.read_bytes().startswith(b"%PDF")
    assert printed.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mail.html", "mail.pdf"]


def test_without_chromium_there_is_no_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is said before anything is run, and nothing is written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReportError, match="a PDF needs Chromium: none is found") as caught:
        ak.report("overview", trail=ROOT / "data" / "firm-week", pdf=True)
    assert "prints the same from any browser" in caught.value.__notes__[0]
    assert list(tmp_path.iterdir()) == []


def test_a_pdf_that_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that fails is quoted, and no file appears."""
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho no display >&2\nexit 3\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ReportError, match=r"out\.pdf: not printed by chromium \(no display\)"):
        print_pdf(tmp_path / "report.html", tmp_path / "out.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["chromium"]


@pytest.fixture(scope="module")
def executed() -> Path:
    """A notebook that was run."""
    return ROOT / "notebooks" / "overview.ipynb"


FULL = """
import resource, signal, sys
import auditkit as ak
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    ak.render(sys.argv[1], sys.argv[2])
except ak.errors.StorageError as exc:
    print(exc, *exc.__notes__, sep="\\n")
"""


def test_a_report_that_does_not_fit(tmp_path: Path) -> None:
    """The error names the report and its size, the earlier one stays, and nothing half-written takes up room."""
    target = tmp_path / "out.html"
    target.write_text("an earlier report")
    notebook = ROOT / "notebooks" / "operations.ipynb"
    command = [sys.executable, "-c", FULL, str(notebook), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, note = done.stdout.splitlines()
    assert said.startswith(f"{target}: ")
    assert re.fullmatch(r"the report of \d\.\d MB is not written, and what lay there is unchanged", note)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("out.html", "an earlier report")
    ]


def test_a_kernel_that_cannot_start_says_so_in_a_line(
    idle: Path,
    hostile_trail: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Where the home cannot be written the kernel says why without a traceback, and the error what it needs."""
    (tmp_path / "ipython").mkdir()
    (tmp_path / "ipython" / "profile_default").write_text("no folder")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    with pytest.raises(ReportError, match="ended before it ran a cell") as caught:
        ak.report(idle, trail=hostile_trail, output=tmp_path / "out.html")
    assert "needs some room" in caught.value.__notes__[0]
    assert "Traceback" not in capfd.readouterr().err
