"""Outputs of ours in JupyterLab: tables that sort, search and page as in a report, and what it shows of a report."""

import shutil
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

from auditkit.text import label
from tests.lab.jupyterlab import Lab
from tests.reporting.material import PAYLOADS, ROOT

TEXTS = [*PAYLOADS, None, "", "(none)", "(3 others)", "(٣ others)", '"q"', " a", "a ", "a\u3000", "two\nlines", "\ud800", "\U000e0041", "ﬁ"]  # fmt: skip
TABLE = f"""
import polars as pl
from auditkit.reporting import listing, table
actors = {list(PAYLOADS)!r} + [None, "", "(none)"] + [f"user-{{n}}" for n in range(60)]
table(pl.DataFrame({{"actor": actors, "count": range(1000, 1000 + len(actors))}}), {PAYLOADS[0]!r})
"""
LISTING = "import auditkit as ak\nlisting(ak.create('trail').stats().queue, 'Queue')"
LABELS = "async texts => { const { label } = await import('/lab/extensions/auditkit/static/outputs.js'); return texts.map(label); }"


def rows(output: Any) -> list[list[str]]:
    """Return the texts of the rows that a table shows."""
    found: list[list[str]] = output.locator("tbody tr:not([hidden])").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return found


def test_a_table_sorts_searches_and_pages(lab: Lab, lab_folder: Path) -> None:
    """As in a report; hostile cells are text, keys belong to the table, and all of it works without a kernel too."""
    path = f"{lab_folder.name}/tables.ipynb"
    lab.write(path, "1")
    opened = lab.open(path, color_scheme="dark")
    page = opened.page
    opened.run(TABLE)
    output = opened.output()
    count = len(PAYLOADS) + 63
    assert [actor for actor, _ in rows(output)] == list(map(label, [*PAYLOADS, None, "", "(none)"]))
    assert page.evaluate(LABELS, TEXTS) == list(map(label, TEXTS))

    cells = page.locator(".jp-Cell").count()
    output.get_by_role("searchbox").click()
    page.keyboard.type("ddb")  # as keys of a notebook they would delete and add cells
    assert output.locator("output").inner_text() == f"0 found in {count} rows"
    assert page.locator(".jp-Cell").count() == cells
    output.get_by_role("searchbox").fill("USER-5")
    assert {actor for actor, _ in rows(output)} == {"user-5", *(f"user-5{n}" for n in range(10))}
    output.get_by_role("searchbox").fill("")
    output.get_by_role("button", name="count").click()
    output.get_by_role("button", name="count").click()
    assert rows(output)[0] == ["user-59", f"{1000 + count - 1:,}"]
    output.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    assert output.locator("nav").inner_text().split("\n")[1].startswith("Page 2 of ")
    with page.expect_download() as started:
        output.get_by_role("button", name="Save as CSV").click()
    assert "\ufeffactor,count\r\nuser-59,".encode() in started.value.path().read_bytes()

    opened.run(LISTING)
    assert rows(opened.output())[0][0] == "depth"
    assert opened.output().get_by_role("button").count() == 0
    assert Axe().run(page, context=".jp-OutputArea-output").response["violations"] == []
    opened.save()
    opened.close()
    again = lab.open(path, kernel=False)
    output = again.output(-2)
    output.get_by_role("searchbox").fill("user-59")
    assert rows(output) == [["user-59", f"{1000 + count - 1:,}"]]
    for notebook in (opened, again):
        assert (notebook.elsewhere, notebook.dialogs, notebook.messages) == ([], [], [])


def test_a_report_shows_what_it_says_and_opens(lab: Lab, lab_folder: Path) -> None:
    """Its answer and figures stand in the notebook, and a link opens it with its charts; outside of reach it has none."""
    shutil.copy(ROOT / "notebooks" / "overview.ipynb", lab_folder / "run.ipynb")
    path = f"{lab_folder.name}/sub folder/reports.ipynb"
    lab.write(path, "1")
    opened = lab.open(path)
    assert opened.run("import auditkit as ak\nak.render('../run.ipynb', '../week #1.html')").startswith(
        "ReportPath("
    )
    output = opened.output()
    output.get_by_text("Who did what, when").wait_for()
    assert "13,178 events by 43 actors" in output.locator(".answer").inner_text()
    assert output.locator("dd").all_inner_texts()[0] == "13,178"
    assert Axe().run(opened.page, context=".jp-OutputArea-output").response["violations"] == []
    with opened.page.context.expect_page() as started:
        output.get_by_role("link", name="Open the report").click()
    report = started.value
    report.wait_for_selector("html.ready figure.drawn .live svg")
    assert report.locator("figure.drawn").count() == 5
    assert rows(report.locator("figure.paged").last)
    report.get_by_role("button", name="Save as CSV: All events").click()
    report.get_by_text("download the report, and open it from disk").wait_for()
    with opened.page.expect_download() as saved:
        output.get_by_role("link", name="Download").click()
    assert saved.value.path().read_bytes() == (lab_folder / "week #1.html").read_bytes()

    opened.run(
        "import tempfile, pathlib\nak.render('../run.ipynb', pathlib.Path(tempfile.mkdtemp()) / 'far.html')"
    )
    opened.output().get_by_text("Outside of the folder that JupyterLab serves").wait_for()
    assert opened.output().get_by_role("link").count() == 0
    assert (opened.elsewhere, opened.dialogs, opened.messages) == ([], [], [])
