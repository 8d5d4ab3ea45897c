"""Readers of a trail that the group may only read: they hold none of its locks, and miss nothing that is committed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from auditkit.api import Trail

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another account")
READER, GROUP = 1234, 1235


ASKS = """
import auditkit, os, sys
def ask():
    with auditkit.open(sys.argv[1]) as trail:
        return list(trail.range()["action"])
ask()  # loads what it takes, which other accounts may not read
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[2]))
for name in ("queue.lock", "maint.lock"):
    try:
        open(os.path.join(sys.argv[1], name))
    except PermissionError:
        print("refused")
print(*ask())
"""


@pytest.fixture
def shared(make_trail: Callable[..., Trail], tmp_path: Path) -> Trail:
    """Return a trail with two events that the group reads, whose way there is open."""
    trail = make_trail(group="read", maintain=False)
    trail.append(action="a").wait()
    trail.flush()
    trail.append(action="b").wait()
    for path in (trail.path, *trail.path.rglob("*")):
        os.chown(path, 0, GROUP)
    for parent in [tmp_path, *tmp_path.parents]:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return trail


@pytest.mark.parametrize("torn", [False, True])
def test_a_reader_of_the_group_is_shown_what_is_committed(shared: Trail, *, torn: bool) -> None:
    """It cannot hold the locks, reads all that has a commit mark, and leaves what lies behind it to a writer."""
    path = shared.handle.layout.queue_file(shared.handle.layout.queue_files()[-1])
    shared.close()
    if torn:
        with path.open("ab") as file:
            file.write(b"torn")
    done = subprocess.run(
        [sys.executable, "-c", ASKS, str(shared.path), str(READER), str(GROUP)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["refused", "refused", "a", "b"], done.stderr
