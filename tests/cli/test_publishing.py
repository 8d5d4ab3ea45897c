"""The command report."""

import html
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


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
    done = filled("report", str(notebook), "--where", "actor=ann", "--at", "3", "-o", str(output))
    assert done.stdout == f"{output}\n"
    assert "all {'actor': 'ann'} well" in html.unescape(output.read_text())


def test_a_failed_report_ends_with_3(filled: Run, notebook: Path, tmp_path: Path) -> None:
    """If a cell fails, the report is written, marked FAILED, and the exit code is 3."""
    output = tmp_path / "out.html"
    failed = filled("report", str(notebook), "--param", "fail=true", "-o", str(output), code=3)
    assert failed.stdout == ""
    assert "as asked" in failed.stderr
    assert str(output) in failed.stderr
    assert "FAILED" in output.read_text()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--where", "who=ann"), 2, "where: is not a column of these events"),
        (("--start", "nonsense"), 2, "start: is neither an ISO time nor a duration"),
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
    assert said in filled("report", str(notebook), *options, "-o", str(output), code=code).stderr
    assert not output.exists()
