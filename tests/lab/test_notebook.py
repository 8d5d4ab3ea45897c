"""Magics, recorded cells, completion and help in JupyterLab."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import auditkit as ak
from auditkit.api import Trail
from tests.lab.jupyterlab import Lab, Notebook
from tests.reporting.material import PAYLOADS

BEGIN = "import auditkit as ak\ntrail = ak.open('audit')\n%load_ext auditkit\n%audit on"
LISTED = ".jp-Completer .jp-Completer-item"


@pytest.fixture
def trail(lab_folder: Path) -> Iterator[Trail]:
    """Return a trail beside the notebook, with hostile values among others."""
    with ak.create(lab_folder / "audit") as trail:
        for actor in ("ann", "anna", 'it\'s "bob"', *PAYLOADS):
            trail.append(action="doc.read", actor=actor, attrs={"user": {"name": actor}})
        trail.append(action="doc.print", actor="ann").wait()
        yield trail


def typed(notebook: Notebook, text: str) -> None:
    """Type into a new cell at the end, as a person would."""
    notebook.command("notebook:insert-cell-below")
    notebook.command("notebook:enter-edit-mode")
    notebook.page.locator(".jp-Notebook .jp-Cell.jp-mod-active .cm-content").first.wait_for()
    notebook.page.keyboard.insert_text(text)


def source_of(notebook: Notebook) -> str:
    """Return the source of the active cell."""
    text: str = notebook.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.getSource()"
    )
    return text


def test_cells_completion_and_help(lab: Lab, lab_folder: Path, trail: Trail) -> None:
    """A notebook records its cells under its path and their ids; Tab and Shift-Tab answer; nothing acts."""
    lab.write(f"{lab_folder.name}/week.ipynb", BEGIN, "open('/dev/null').close()\n1 / 0")
    notebook = lab.open(f"{lab_folder.name}/week.ipynb")
    page = notebook.page
    assert "recording cells" in notebook.run_cell(0)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run_cell(1)
    events = trail.range(where={"source": "auditkit.cells"}).to_dicts()
    assert [(event["action"], event["resource"], event["outcome"]) for event in events[1:]] == [
        ("cell.start", "cell-1", None),
        ("file.read", "/dev/null", None),
        ("cell.end", "cell-1", "failure"),
    ]
    assert {event["origin"] for event in events} == {str(lab_folder / "week.ipynb")}
    (session,) = [one for one in notebook.server.ask("sessions") if one["path"] == notebook.path]
    assert msgspec.json.decode(events[-1]["attrs"])["kernel"] == session["kernel"]["id"]
    query = "SELECT action, count(*) AS n FROM events WHERE action LIKE 'doc.%' GROUP BY action ORDER BY n"
    assert "doc.print" in notebook.run(f"%%audit\n{query}")

    typed(notebook, 'trail.range(where={"actor": "it')
    page.keyboard.press("Tab")
    listed = page.locator(LISTED)
    listed.get_by_text("bob").wait_for()
    page.keyboard.press("Enter")
    listed.first.wait_for(state="hidden")
    assert source_of(notebook) == 'trail.range(where={"actor": "it' + r"'s \"bob\""
    typed(notebook, 'trail.range(where={"actor": "')
    page.keyboard.press("Tab")
    listed.first.wait_for()
    texts = listed.locator(".jp-Completer-match").all_inner_texts()
    assert {"ann", "anna", r"it's \"bob\"", r"gpj\u202eexe"} <= set(texts)
    page.keyboard.press("Escape")
    typed(notebook, "trail.")
    page.keyboard.press("Tab")
    listed.first.wait_for()
    assert listed.locator(".jp-Completer-match").all_inner_texts() == dir(trail)
    page.keyboard.press("Escape")
    typed(notebook, "trail.range(")
    page.keyboard.press("Shift+Tab")
    tooltip = page.locator(".jp-Tooltip")
    tooltip.get_by_text("Parameters").wait_for()
    assert "Return the events of a window" in tooltip.inner_text()
    assert notebook.elsewhere == notebook.dialogs == []
