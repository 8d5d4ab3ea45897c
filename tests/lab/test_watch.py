"""`trail.watch()` in JupyterLab: events of another process as they come, until the stop button."""

from pathlib import Path

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

import auditkit as ak
from tests.lab.jupyterlab import RUN, Lab
from tests.reporting.material import PAYLOADS

WATCH = "import auditkit as ak\ntrail = ak.open('audit')\ntrail.watch(n=30)"


def test_events_show_as_they_come_until_the_stop_button(lab: Lab, lab_folder: Path) -> None:
    """One output that is drawn anew, in which nothing acts; the button ends it without an error, and it stays as it was."""
    path = f"{lab_folder.name}/watch.ipynb"
    lab.write(path, "1")
    opened = lab.open(path, color_scheme="dark")
    page = opened.page
    with ak.create(lab_folder / "audit") as trail:
        page.evaluate(RUN, [WATCH, None])
        output = opened.output()
        output.get_by_text("Waiting for events…").wait_for()
        trail.extend(
            [{"action": text, "actor": text, "resource": text, "outcome": text} for text in PAYLOADS]
        ).wait()
        output.get_by_text("22 events").wait_for()
        trail.append(action="auth.login", actor="eve", outcome="AccessDenied").wait()
        output.get_by_text("✗ AccessDenied").wait_for()
        assert "auth.login by eve: AccessDenied" in output.inner_text()
        page.locator('.jp-NotebookPanel-toolbar [data-command="notebook:interrupt-kernel"]').click()
        assert page.wait_for_function("() => window.outputsOfRun").json_value()
        text = output.inner_text()
        assert "ended after" in text
        assert "23 events" in text
        assert "$\\href{javascript:alert('math')}{x}$" in text  # and not a formula
        assert output.locator(".jp-OutputArea-child").count() == 1
        assert output.locator("tbody tr").count() == 23
        assert Axe().run(page, context=".jp-OutputArea-output").response["violations"] == []
        assert opened.run("trail.end_seq") == "23"  # the kernel and the trail go on
    assert (opened.elsewhere, opened.dialogs, opened.messages) == ([], [], [])
