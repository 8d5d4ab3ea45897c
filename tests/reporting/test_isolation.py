"""What a report's kernel may import and where it works, and what the command asks before it runs foreign code."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.reporting.exporter import cache_folder, vega_bundle

TRAP = "raise SystemExit('code of the current folder was run')\n"
NAMES = ("psutil", "importlib", "polars", "altair", "ipykernel", "debugpy", "json")
"""Modules that reports import, as files in a folder that somebody else filled."""


def run_auditkit(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder, without a terminal."""
    command = Path(sys.executable).with_name("auditkit")
    return subprocess.run(
        [command, *arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a current folder full of modules that must not be imported."""
    folder = tmp_path / "trapped"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(TRAP)
    monkeypatch.chdir(folder)
    return folder


def test_our_notebooks_import_nothing_from_the_current_folder(trail: Trail, trapped: Path) -> None:
    """A report of ours runs in a private folder, whatever lies where the command was given."""
    trail.append(action="doc.read", actor="ann").wait()
    done = run_auditkit("report", "overview", "--trail", str(trail.path), "-o", "out.html", cwd=trapped)
    assert done.returncode == 0, done.stderr
    assert (trapped / "out.html").stat().st_size > 100_000
    assert {path.name for path in trapped.iterdir()} == {*(f"{name}.py" for name in NAMES), "out.html"}


def test_a_notebook_by_its_path_imports_from_its_own_folder(
    trail: Trail, tmp_path: Path, trapped: Path
) -> None:
    """A notebook that the user named by its path may have modules beside it; the current folder is nothing to it."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "helper.py").write_text("answer = 42\n")
    cells = [
        nbformat.v4.new_code_cell("trail = None", metadata={"tags": ["parameters"]}),  # type: ignore[no-untyped-call]
        nbformat.v4.new_code_cell("import helper, os\nprint(helper.answer, os.getcwd())"),  # type: ignore[no-untyped-call]
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), own / "mine.ipynb")  # type: ignore[no-untyped-call]
    report = ak.report(own / "mine.ipynb", trail=trail, output=trapped / "mine.html")
    assert f"42 {own}" in report.read_text()


def test_a_foreign_notebook_is_run_only_when_that_was_said(trail: Trail, tmp_path: Path) -> None:
    """Without a terminal to ask at, a notebook by its path needs --yes; --list runs nothing."""
    cell = nbformat.v4.new_code_cell("open('ran', 'w')\ntrail = None", metadata={"tags": ["parameters"]})  # type: ignore[no-untyped-call]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "foreign.ipynb")  # type: ignore[no-untyped-call]
    command = ("report", "foreign.ipynb", "--trail", str(trail.path), "-o", "foreign.html")
    refused = run_auditkit(*command, cwd=tmp_path)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert not (tmp_path / "ran").exists()
    assert run_auditkit("report", "--list", cwd=tmp_path).returncode == 0
    assert run_auditkit(*command, "--yes", cwd=tmp_path).returncode == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("way", ["others may write", "a link"])
def test_a_cached_script_counts_only_where_no_one_else_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A script in the cache that another user could have written is made anew, though its digest is right."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    vega_bundle.cache_clear()
    vega_bundle()
    (cached,) = cache_folder().glob("*.js")
    before = cached.stat().st_ino
    if way == "a link":
        cached.rename(tmp_path / "elsewhere.js")
        cached.symlink_to(tmp_path / "elsewhere.js")
    else:
        cached.chmod(0o666)
    vega_bundle.cache_clear()
    assert "BSD 3-Clause License" in vega_bundle()
    assert not cached.is_symlink()
    assert cached.stat().st_ino != before
    assert stat.S_IMODE(cached.stat().st_mode) == 0o600
    assert cached.stat().st_uid == os.geteuid()
    vega_bundle.cache_clear()
