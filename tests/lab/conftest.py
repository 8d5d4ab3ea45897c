"""One JupyterLab for all tests of a session, and a browser for each module that opens it."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import auditkit as ak
from tests.lab.jupyterlab import Lab, Server, jupyter_server
from tests.machine import skip_or_fail
from tests.reporting.browsing import ARGUMENTS, CHROMIUM


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one JupyterLab of a test session; it serves an empty folder, and records what is done into `audit` beside it."""
    if not CHROMIUM.exists():
        skip_or_fail(f"no Chromium at {CHROMIUM}: JupyterLab is not opened in a browser")
    if find_spec("jupyterlab") is None:
        skip_or_fail("JupyterLab is not installed")
    folder = tmp_path_factory.mktemp("lab") / "work"
    folder.mkdir()
    audit = folder.with_name("audit")
    ak.create(audit).close()
    with jupyter_server(folder, f"--AuditKit.trail={audit}") as server:
        yield server


@pytest.fixture(scope="module")
def browsing_lab(lab_server: Server) -> Iterator[Lab]:
    """A browser; it ends with the module, as its event loop would be in the way of kernels started here."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield Lab(server=lab_server, browser=browser)
        browser.close()


@pytest.fixture
def lab(browsing_lab: Lab) -> Iterator[Lab]:
    """JupyterLab in a browser; notebooks that a test opened are closed and their kernels ended."""
    yield browsing_lab
    browsing_lab.close()


@pytest.fixture
def lab_folder(lab: Lab, request: pytest.FixtureRequest) -> Path:
    """A folder of the test's own within the one that is served."""
    folder = lab.folder / str(request.node.name)
    folder.mkdir()
    return folder
