"""JupyterLab, with the network off: our notebook opens with its charts, runs, and exports from the menu."""

import json
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.machine import skip_or_fail
from tests.reporting.browsing import ARGUMENTS, CHROMIUM
from tests.reporting.material import ROOT, text_of

TOKEN = secrets.token_hex()
PATIENCE_MS = 120_000
CHART = ".jp-OutputArea-output .vega-embed :is(canvas, svg.marks)"


@dataclass(slots=True)
class Lab:
    """JupyterLab's page, and what it asked for elsewhere."""

    page: Any
    elsewhere: list[str]


def serving(process: subprocess.Popen[str]) -> str:
    """Return the address that a server says it has, and go on reading what it says."""
    found: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                found.put(address[0])

    threading.Thread(target=read, daemon=True).start()
    return found.get(timeout=PATIENCE_MS / 1000)


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """Serve JupyterLab in a folder on a free port of this machine; its address.  It draws cells out of sight too."""
    settings = folder / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    environment = {
        **os.environ,
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }
    options = ["ip=127.0.0.1", "port=0", f"root_dir={folder}", "open_browser=False", "allow_root=True"]
    command = [sys.executable, "-m", "jupyter", "lab", *(f"--ServerApp.{option}" for option in options)]
    command += [
        f"--IdentityProvider.token={TOKEN}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            yield serving(process)
        finally:
            process.terminate()  # the server ends its kernels
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """The overview notebook in JupyterLab, as it is committed, beside its trail."""
    if not CHROMIUM.exists():
        skip_or_fail(f"no Chromium at {CHROMIUM}: JupyterLab is not opened in a browser")
    from playwright.sync_api import sync_playwright

    shutil.copytree(ROOT / "data" / "firm-week", tmp_path / "data" / "firm-week")
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "overview.ipynb", tmp_path / "notebooks")
    with jupyterlab(tmp_path) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
        page.set_default_timeout(PATIENCE_MS)
        elsewhere: list[str] = []

        def answer(route: Any) -> None:
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                elsewhere.append(route.request.url)
                route.abort()

        page.route("**/*", answer)
        page.goto(f"{address}lab/tree/notebooks/overview.ipynb?token={TOKEN}")
        yield Lab(page=page, elsewhere=elsewhere)
        browser.close()


def menu(page: Any, *path: str) -> None:
    """Choose an entry of the menu bar."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{path[0]}$")).click()
    for name in path[1:-1]:
        page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{name}")).hover()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{path[-1]}$")).click()


def test_our_notebook_opens_runs_and_exports(lab: Lab, tmp_path: Path) -> None:
    """Its charts are drawn as committed and again when all was run; the menu's report is ours; nothing is fetched."""
    committed = json.loads((ROOT / "notebooks" / "overview.ipynb").read_text())
    outputs = [output for cell in committed["cells"] for output in cell.get("outputs", [])]
    charts = sum("application/vnd.vegalite.v5+json" in output.get("data", {}) for output in outputs)
    cells = sum(cell["cell_type"] == "code" for cell in committed["cells"])
    page = lab.page
    page.wait_for_function(
        "([css, number]) => document.querySelectorAll(css).length === number", arg=[CHART, charts]
    )
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()

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
        menu(page, "File", "Save and Export Notebook As", "Auditreport")
    report = tmp_path / "exported.html"
    started.value.save_as(report)
    assert started.value.suggested_filename == "overview.html"
    html = report.read_text(encoding="utf-8")
    assert "<title>Who did what, when</title>" in html
    assert html.count("<figure") >= charts
    assert "auditkit report overview" in text_of(html)
    assert lab.elsewhere == []
