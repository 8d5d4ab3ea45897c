"""A trail is read without auditkit: with Polars, pyarrow and sqlite3 alone, as the README shows."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import auditkit as ak
from auditkit.api import Trail

README = Path(ak.__file__).parent.parent / "README.md"


def test_the_readmes_lines_read_a_trail_without_auditkit(make_trail: Callable[..., Trail]) -> None:
    """The block under "Reading without auditkit" runs where auditkit cannot be imported."""
    trail = make_trail()
    trail.extend(
        [{"action": "a", "ts": f"2026-11-0{day}T12:00:00Z", "actor": "ann"} for day in (1, 2, 3)]
    ).wait()
    trail.flush()
    section = README.read_text().partition("## Reading without auditkit")[2]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    refuse = "import sys; sys.modules['auditkit'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", refuse + block[1]],
        cwd=trail.path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["3", "3", "3"]
