"""Our committed notebook in JupyterLab: it opens with its charts, runs, and exports from the menu."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from tests.lab.jupyterlab import Lab
from tests.reporting.material import ROOT, text_of

CHART = ".jp-OutputArea-output .vega-embed :is(canvas, svg.marks)"


def menu(page: Any, *path: str) -> None:
    """Choose an entry of the menu bar."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{path[0]}$")).click()
    for name in path[1:-1]:
        page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{name}")).hover()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{path[-1]}$")).click()


def test_our_notebook_opens_runs_and_exports(lab: Lab, lab_folder: Path, tmp_path: Path) -> None:
    """Its charts are drawn as committed and again when all was run; the menu's report is ours; nothing is fetched."""
    shutil.copytree(ROOT / "data" / "firm-week", lab_folder / "data" / "firm-week")
    (lab_folder / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "overview.ipynb", lab_folder / "notebooks")
    committed = json.loads((ROOT / "notebooks" / "overview.ipynb").read_text())
    outputs = [output for cell in committed["cells"] for output in cell.get("outputs", [])]
    charts = sum("application/vnd.vegalite.v5+json" in output.get("data", {}) for output in outputs)
    cells = sum(cell["cell_type"] == "code" for cell in committed["cells"])
    opened = lab.open(f"{lab_folder.name}/notebooks/overview.ipynb")
    page = opened.page
    page.wait_for_function(
        "([css, number]) => document.querySelectorAll(css).length === number", arg=[CHART, charts]
    )

    menu(page, "Edit", "Clear Outputs of All Cells")
    page.wait_for_function("css => document.querySelectorAll(css).length === 0", arg=CHART)
    menu(page, "Run", "Run All Cells")
    page.wait_for_function(
        "number => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]"
        ".filter(prompt => /\\[\\d+\\]/.test(prompt.textContent)).length === number",
        arg=cells,
    )
    page.wait_for_function(
        "([css, number]) => document.querySelectorAll(css).length === number", arg=[CHART, charts]
    )
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count() == 0

    menu(page, "File", "Save Notebook")
    page.wait_for_function("() => document.querySelector('.jp-mod-dirty') === null")
    with page.expect_download() as started:
        menu(page, "File", "Save and Export Notebook As", "Audit report")
    report = tmp_path / "exported.html"
    started.value.save_as(report)
    assert started.value.suggested_filename == "overview.html"
    html = report.read_text(encoding="utf-8")
    assert "<title>Who did what, when</title>" in html
    assert html.count("<figure") >= charts
    assert "auditkit report overview" in text_of(html)
    assert opened.elsewhere == []
