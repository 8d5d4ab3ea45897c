"""What the report tests share: a trail full of hostile text, and reports rendered once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest

import auditkit as ak
from auditkit import Trail
from auditkit.errors import ReportError
from tests.machine import skip_or_fail
from tests.reporting.browsing import ARGUMENTS, CHROMIUM
from tests.reporting.material import PAYLOADS, ROOT, Rendered, code, exported, notebook, prose

START = datetime(2026, 11, 16, tzinfo=UTC)


@pytest.fixture(scope="session")
def hostile_trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trail with each payload in each field, an old event that is expired, and one refused input."""
    path = tmp_path_factory.mktemp("trails") / "<b>hostile"
    with ak.create(path, retention="30d", tz="Europe/Stockholm") as trail:
        trail.append(action="old", ts=START - timedelta(days=60)).wait()
        for at, text in enumerate(PAYLOADS):
            trail.append(
                action=text,
                ts=START + timedelta(hours=at),
                actor=text,
                resource=text,
                outcome="failure" if at % 3 else text,
                source=text,
                origin=text,
                attrs={text: text},
            )
        trail.extend([{"action": ""}], on_invalid="dead-letter").wait()
        trail.flush()
        trail.append(action="queued", ts=START + timedelta(days=2), source="late").wait()
    return path


@pytest.fixture(scope="session")
def overview(hostile_trail: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The overview of the hostile trail, run in a kernel."""
    path = ak.report(
        "overview",
        trail=hostile_trail,
        start=START,
        end="+7d",
        where={"action": [*PAYLOADS, "queued"]},
        output=tmp_path_factory.mktemp("reports") / "overview.html",
    )
    return Rendered(path=path, html=path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def failed(hostile_trail: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportError, Path]:
    """The error and the folder of a report whose third code cell raises."""
    folder = tmp_path_factory.mktemp("failed")
    document = notebook(
        prose("# A report that fails"),
        code("trail = start = None", tags=["parameters"]),
        code("print('this ran')"),
        code("raise ValueError('<script>alert(1)</script>')"),
        code("print('this did not run')"),
    )
    (folder / "broken.ipynb").write_text(json.dumps(document))
    with pytest.raises(ReportError) as caught:
        ak.report(folder / "broken.ipynb", trail=hostile_trail, output=folder / "broken.html")
    return caught.value, folder


@pytest.fixture(scope="session")
def firm_week() -> Rendered:
    """The report of the committed overview notebook, rendered without running it."""
    path = ROOT / "notebooks" / "overview.ipynb"
    return Rendered(path=path, html=exported(nbformat.read(path, as_version=4)))  # type: ignore[no-untyped-call]


@pytest.fixture
def open_hostile(hostile_trail: Path) -> Iterator[Trail]:
    """The hostile trail, open for reading."""
    with ak.open(hostile_trail, maintain=False) as trail:
        yield trail


@pytest.fixture(scope="module")
def browser(overview: Rendered, firm_week: Rendered, failed: object) -> Iterator[Any]:  # noqa: ARG001
    """Chromium, started after the reports: its event loop and a kernel's would be in each other's way."""
    if not CHROMIUM.exists():
        skip_or_fail(f"no Chromium at {CHROMIUM}: reports are not opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield launched
        launched.close()
