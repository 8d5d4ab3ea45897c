"""A report on paper: Chromium prints its file to a PDF, without a network.

Chromium is a program of the machine, not of ours: where there is none, the error says so and what would help.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from auditkit.disk.durable import PosixDisk, write_published
from auditkit.errors import ReportError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-pdf-header-footer",
)
_TIMEOUT_S = 120.0
_FILE_MODE = 0o600


def print_pdf(report: Path, target: Path) -> Path:
    """Print a report's file to `target`, which appears whole and durable, readable by its owner only; return it.

    Raises `ReportError` where no Chromium is found, or where it fails or writes no PDF within two minutes.
    """
    browser = find_chromium()
    with tempfile.TemporaryDirectory(prefix="auditkit-") as folder:
        printed = Path(folder) / "report.pdf"
        command = [
            browser,
            *_OPTIONS,
            *_unconfined(),
            f"--user-data-dir={folder}/profile",
            f"--print-to-pdf={printed}",
        ]
        try:
            done = subprocess.run(  # noqa: S603 -- a program found by its name, and a path
                [*command, report.absolute().as_uri()], capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise ReportError(
                f"{target.name}: not printed, {Path(browser).name} took over {_TIMEOUT_S:g} s"
            ) from exc
        content = printed.read_bytes() if printed.exists() else b""
    if not content.startswith(b"%PDF"):
        words = (
            done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        )[-1]
        raise ReportError(f"{target.name}: not printed by {Path(browser).name} ({words})")
    write_published(PosixDisk(), target.absolute(), content, _FILE_MODE)
    return target


def find_chromium() -> str:
    """Return the path of Chromium or of a browser made from it; `ReportError` where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        error = ReportError(
            "a PDF needs Chromium: none is found (expected one of " + ", ".join(_NAMES) + " in PATH)"
        )
        error.add_note("the HTML report prints the same from any browser")
        raise error
    return found


def _unconfined() -> tuple[str, ...]:
    """Return what Chromium needs to start as root, as in a container: its sandbox does not."""
    return ("--no-sandbox",) if os.geteuid() == 0 else ()
