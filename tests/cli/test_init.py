"""`auditkit init` and `auditkit backup`, and `python -m auditkit`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import auditkit as ak
from auditkit.api import Trail
from tests.cli.conftest import Run


def auditkit(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a module."""
    command = [sys.executable, "-m", "auditkit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_next_line_works_from_any_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `init` says to export is an absolute path, however the trail was named, quoted for a shell."""
    monkeypatch.chdir(tmp_path)
    (line,) = re.findall(r"export .*", run("init", "my trail").stdout)
    assert line == f"export AUDITKIT_TRAIL='{tmp_path / 'my trail'}'"


def test_a_backup_is_restored_by_a_backup(run: Run, trail: Trail, tmp_path: Path) -> None:
    """The help says how: what is backed up to its old place answers as before, and takes events again."""
    trail.extend([{"action": "a"}] * 5).wait()
    trail.flush()
    trail.append(action="b").wait()
    shown = trail.range()
    run("backup", str(tmp_path / "copy"), "--trail", str(trail.path))
    trail.close()
    shutil.rmtree(trail.path)
    run("backup", "--trail", str(tmp_path / "copy"), str(trail.path))
    restored = ak.open(trail.path)
    assert restored.range().equals(shown)
    assert restored.append(action="c").wait() == 6
    restored.close()
    help_text = " ".join(run("backup", "--help").stdout.split())
    assert "To restore, stop what writes, move what is left of the trail away" in help_text
    assert "auditkit backup --trail /mnt/backup/audit-2026-11-24 /srv/audit" in help_text


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
