"""Which code made a report: ours as shipped or another, told apart by a digest that nothing harmless changes."""

import hashlib
import json
from typing import Any

import nbformat
import pytest
from papermill.parameterize import parameterize_notebook

from auditkit.reporting.notebooks import code_digest, describe_code, shipped
from tests.reporting.material import code, notebook, prose


def ours() -> Any:
    """Return our overview."""
    return nbformat.read(shipped()["overview"], as_version=4)  # type: ignore[no-untyped-call]


def run_with(parameters: dict[str, Any]) -> Any:
    """Return our overview as papermill would run it."""
    document = ours()
    document.metadata["papermill"] = {}
    for cell in document.cells:
        cell.metadata.setdefault("tags", [])
    return parameterize_notebook(document, parameters)


def test_the_digest_is_of_the_code() -> None:
    """It is the SHA-256 of the JSON array of the code cells' sources."""
    document = notebook(prose("# T"), code("a = 1", tags=["parameters"]), code(""), code("print('\u00e9')"))
    assert code_digest(document.cells) == hashlib.sha256(b'["a = 1", "print(\'\\u00e9\')"]').hexdigest()


def test_parameters_and_prose_leave_it_ours() -> None:
    """A run of our notebook under another name, with other prose and given parameters, is ours, unmodified."""
    given = {"trail": "/srv/audit", "start": "-7d", "where": {"actor": ["a", None], "n": -1.5}, "as_of": 7}
    run = run_with(given)
    run.cells[0].source = "# Vem gjorde vad"
    assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in run.cells)
    assert code_digest(run.cells) == code_digest(ours().cells)
    assert describe_code(run.cells, "copy.ipynb")[0].startswith("overview, as shipped with auditkit")
    assert describe_code(run.cells, "copy.ipynb")[0].endswith("unmodified")


@pytest.mark.parametrize(
    "source",
    [
        "start = __import__('os').getcwd()",
        "start = '2026'; page = 1",
        "import os",
        "ak = None",
        "start = [x for x in ()]",
        "def cover(): ...",
        "start = (",
        "start: str = '2026'",
    ],
)
def test_code_that_calls_itself_parameters_is_code(source: str) -> None:
    """The tag of injected parameters does not hide a cell that does more than give values to parameters."""
    run = run_with({"start": "-7d"})
    injected = next(cell for cell in run.cells if "injected-parameters" in cell.metadata.get("tags", []))
    injected.source = source
    assert describe_code(run.cells, "overview.ipynb")[0] == "overview.ipynb, a custom notebook"


def test_parameters_elsewhere_are_code() -> None:
    """A cell tagged so behind the cell that uses the parameters would change what is asked midway."""
    document = json.loads(json.dumps(ours()))
    document["cells"].append(code("start = '2026-01-01'", tags=["injected-parameters"]))
    changed = nbformat.from_dict(document)  # type: ignore[no-untyped-call]
    assert code_digest(changed.cells) != code_digest(ours().cells)


def test_any_other_change_makes_it_custom() -> None:
    """One character of code is enough, and the name does not help."""
    document = ours()
    document.cells[-1].source += "#"
    assert describe_code(document.cells, "overview")[0] == "overview, a custom notebook"
    assert "<U+202E>" in describe_code(document.cells, "a\u202eb.ipynb")[0]
