"""The wheel: what is in it, and that reports work from it."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from auditkit.reporting.notebooks import shipped

ROOT = Path(__file__).parents[1]
BUILD = "from hatchling.builders.wheel import WheelBuilder; import sys; print(*WheelBuilder(sys.argv[1]).build(directory=sys.argv[2]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", BUILD, str(ROOT), str(folder)]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def test_it_holds_the_package_and_the_notebooks(wheel: Path) -> None:
    """Every file of the package is in it, each report's notebook beside the code that looks for it, and nothing else."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {path for path in (ROOT / "auditkit").rglob("*") if path.is_file()}
    expected = {str(path.relative_to(ROOT)) for path in package if "__pycache__" not in path.parts}
    expected |= {f"auditkit/reporting/shipped/{path.name}" for path in shipped().values()}
    static = {
        *(ROOT / "auditkit/lab/labextension/static").iterdir(),
        *(ROOT / "auditkit/display").glob("tables.[cj]s*"),
    }
    extension = "auditkit_trail-0.1.0.data/data/share/jupyter/labextensions/auditkit"
    expected |= {f"{extension}/package.json", *(f"{extension}/static/{path.name}" for path in static)}
    expected.add("auditkit_trail-0.1.0.data/data/etc/jupyter/jupyter_server_config.d/auditkit.json")
    assert names == expected


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is installed, without the repository."""
    folder = tmp_path_factory.mktemp("site")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder),
    ]
    subprocess.run([*pip, str(wheel)], check=True)
    return folder


def test_reports_work_from_it(site: Path, tmp_path: Path) -> None:
    """Installed somewhere, without the repository, it finds and runs a notebook of ours by name."""
    command = [sys.executable, "-m", "auditkit", "report", "compliance", "-o", "out.html"]
    environment = {**os.environ, "PYTHONPATH": str(site), "AUDITKIT_TRAIL": str(ROOT / "data" / "recording")}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, capture_output=True)
    assert "compliance, as shipped with auditkit" in (tmp_path / "out.html").read_text()


def test_jupyter_servers_know_it(site: Path, tmp_path: Path) -> None:
    """Installed, it is an extension of every Jupyter Server of the environment."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "JUPYTER_CONFIG_PATH": str(site / "etc" / "jupyter"),
    }
    command = [sys.executable, "-m", "jupyter", "server", "extension", "list"]
    listed = subprocess.run(
        command, check=True, env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert re.search(r"auditkit\.lab\.server .*enabled", listed.stdout + listed.stderr)
