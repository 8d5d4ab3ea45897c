"""Who holds a lock, in words."""

import fcntl
import os
from pathlib import Path

import pytest

from auditkit.disk import holder
from auditkit.disk.durable import FileLock, PosixDisk
from auditkit.disk.holder import holder_of
from auditkit.errors import LockedError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file whose lock somebody holds."""
    path = tmp_path / "queue.lock"
    path.touch()
    return path


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists the locks of all processes")
def test_the_process_is_named(path: Path) -> None:
    """The number of the process, its name and its account; also in the error of one that waits."""
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holder_of(path).startswith(f"process {os.getpid()} (")
        with pytest.raises(LockedError, match=f"queue.lock: held by process {os.getpid()} "):
            FileLock(PosixDisk(), path).acquire(timeout_s=0.01)
    assert holder_of(path) == "another process"


@pytest.mark.parametrize("listed", ["", "1: FLOCK", "1: POSIX  ADVISORY  WRITE 12 00:01:5 0 EOF"])
def test_where_nothing_is_known_it_is_another(
    path: Path, tmp_path: Path, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system lists."""
    (tmp_path / "locks").write_text(listed)
    monkeypatch.setattr(holder, "_LOCKS", tmp_path / "locks")
    assert holder_of(path) == "another process"
    monkeypatch.setattr(holder, "_LOCKS", tmp_path / "none")
    assert holder_of(path) == "another process"
