"""Our notebooks: committed executed, the same when run again, and without a trace of who ran them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
COVER = "application/vnd.auditkit.cover+json"


def read(path: Path) -> Any:
    """Return a notebook as JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path: Path) -> list[Any]:
    """Return the code cells of a notebook."""
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def test_they_are_there() -> None:
    """The overview and the operations notebook are among them."""
    assert {"overview", "operations"} <= {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_executed(path: Path) -> None:
    """Every code cell was run in order, and every one but the parameters shows something: no nbval of nothing."""
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells[1:])
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_narrative_and_calls(path: Path) -> None:
    """At most 15 cells, the first code cell holds the parameters, and no cell defines anything."""
    cells = code_cells(path)
    assert len(read(path)["cells"]) <= 15
    assert cells[0]["metadata"]["tags"] == ["parameters"]
    assert not [
        cell for cell in cells if "def " in "".join(cell["source"]) or "class " in "".join(cell["source"])
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nobody_is_named(path: Path) -> None:
    """Who ran the notebook, on which host and from which folder is not committed (`tests/execute_notebooks.py`)."""
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    covers = [output for output in outputs if COVER in output.get("data", {})]
    assert len(covers) == 1
    assert covers[0]["metadata"] == {}
    assert str(path.parents[1]) not in path.read_text(encoding="utf-8")


def test_they_run_and_show_the_same() -> None:
    """nbval runs them on the committed trail, and each output equals the committed one."""
    options = ["--nbval", "-q", "-c", "/dev/null", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *map(str, NOTEBOOKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{sum(len(code_cells(path)) for path in NOTEBOOKS)} passed" in done.stdout
