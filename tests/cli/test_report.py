"""The command report."""

import html
import json
import re
from pathlib import Path

import pytest

from auditkit.reporting.notebooks import find_notebook, shipped
from tests.cli.conftest import Run, rows


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """Return a notebook with the parameters of a report, whose only other cell fails when `trail` is asked to."""
    cells = [
        ("trail = start = end = where = tz = as_of = None\nfail = False", ["parameters"]),
        ("assert not fail, 'as asked'\nprint('all', where, 'well')", []),
    ]
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "source": source,
                "metadata": {"tags": tags},
                "outputs": [],
                "execution_count": None,
            }
            for number, (source, tags) in enumerate(cells)
        ],
    }
    path = tmp_path / "own.ipynb"
    path.write_text(json.dumps(content))
    return path


def test_report_writes_the_file_it_prints(filled: Run, notebook: Path, tmp_path: Path) -> None:
    """A report that was made is at the path on standard output; options become parameters of the notebook."""
    output = tmp_path / "out.html"
    done = filled("report", str(notebook), "--yes", "--where", "actor=ann", "--at", "3", "-o", str(output))
    assert done.stdout == f"{output}\n"
    assert "all {'actor': 'ann'} well" in html.unescape(output.read_text())


def test_a_failed_report_ends_with_3(filled: Run, notebook: Path, tmp_path: Path) -> None:
    """If a cell fails, the report is written, marked FAILED, and the exit code is 3."""
    output = tmp_path / "out.html"
    failed = filled("report", str(notebook), "--yes", "--param", "fail=true", "-o", str(output), code=3)
    assert failed.stdout == ""
    assert "as asked" in failed.stderr
    assert str(output) in failed.stderr
    assert "FAILED" in output.read_text()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--where", "who=ann"), 2, "where: is not a column of these events"),
        (("--start", "nonsense"), 2, "start: is not ISO 8601"),
        (("--at", "99"), 2, "99"),
        (("--param", "nope=1"), 1, "takes no parameter nope"),
        (("--param", "nope"), 2, "--param expects NAME=VALUE"),
    ],
)
def test_what_cannot_be_reported_runs_nothing(
    filled: Run, notebook: Path, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    """Options that cannot be are refused before the notebook is run; no report is written."""
    output = tmp_path / "out.html"
    refused = filled("report", str(notebook), "--yes", *options, "-o", str(output), code=code).stderr
    assert said in refused
    assert "running" not in refused
    assert not output.exists()


def test_a_misspelt_notebook_is_not_run(filled: Run) -> None:
    """A name that is none of ours is answered with the nearest, and nothing is said to run."""
    refused = filled("report", "overviw", code=1).stderr
    assert "overviw: no such notebook; did you mean 'overview'?" in refused
    assert "running" not in refused


def test_our_notebooks_are_listed(run: Run) -> None:
    """`--list` names each with a line about it, needing neither notebook nor trail; hyphens name them as well."""
    said = run("report", "--list").stdout
    for name in shipped():
        assert re.search(rf"^ *{name} +[A-Z]", said, re.MULTILINE)
    assert find_notebook("access-review") == find_notebook("access_review")


def test_a_batch_ends_with_3_if_one_of_it_failed(filled: Run, notebook: Path, tmp_path: Path) -> None:
    """The page of contents is named on standard output, what failed and why on standard error; again, it goes on."""
    document = notebook.read_text().replace("assert not fail", "assert where != {'actor': ['bob']}")
    notebook.write_text(document)
    folder = tmp_path / "out"
    failed = filled("report", str(notebook), "--yes", "--each", "actor", "-o", str(folder), code=3)
    assert failed.stdout == f"{folder / 'index.html'}\n"
    assert "3 made, 0 kept, 1 failed" in failed.stderr
    assert "1 of 4 reports failed" in failed.stderr
    assert re.search(r"bob \(00\d\.html\): own: cell 3 raised AssertionError: as asked", failed.stderr)
    again = filled("report", str(notebook), "--yes", "--each", "actor", "-o", str(folder), code=3)
    assert "0 made, 3 kept, 1 failed" in again.stderr


def test_options_of_a_batch_need_one(filled: Run, notebook: Path) -> None:
    """`--limit`, `--workers` and `--force` without `--each` are misuse."""
    assert "belong to --each" in filled("report", str(notebook), "--yes", "--force", code=2).stderr
    assert "each: is neither" in filled("report", str(notebook), "--yes", "--each", "nonsense", code=2).stderr


def test_a_recorded_report_can_be_reviewed(filled: Run, notebook: Path, tmp_path: Path) -> None:
    """What was rendered with `--record` can be reviewed, and nothing else."""
    output = tmp_path / "out.html"
    filled("report", str(notebook), "--yes", "-o", str(output))
    assert "no report.rendered" in filled("reviewed", str(output), "--by", "Ann", code=1).stderr
    filled("report", str(notebook), "--yes", "-o", str(output), "--record")
    assert filled("reviewed", str(output), "--by", "Ann").stdout == "report.reviewed, seq 7\n"
    assert [row["action"] for row in rows(filled("tail", "-n", "2", "--json"))] == [
        "report.rendered",
        "report.reviewed",
    ]
