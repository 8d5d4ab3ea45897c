"""`auditkit backup`, and `python -m auditkit`."""

import subprocess
import sys
from pathlib import Path

import auditkit as ak
from auditkit.api import Trail


def auditkit(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a module."""
    command = [sys.executable, "-m", "auditkit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_backup_opens_as_the_trail(trail: Trail, tmp_path: Path) -> None:
    """The copy answers as the original does; a taken place is refused without a traceback."""
    trail.extend([{"action": "a"}] * 5).wait()
    trail.flush()
    trail.append(action="b").wait()
    done = auditkit("backup", tmp_path / "copy", "--trail", trail.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("copied 6 events in 1 segment and the queue")
    assert ak.open(tmp_path / "copy").range().equals(trail.range())
    again = auditkit("backup", tmp_path / "copy", "--trail", trail.path)
    assert again.returncode == 1
    assert "not an empty directory" in again.stderr
    assert "Traceback" not in again.stderr
