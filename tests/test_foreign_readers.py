"""A trail is read without auditkit: with Polars, pyarrow, DuckDB and sqlite3 alone, as the README shows."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import auditkit as ak
from auditkit.api import Trail
from tests.fakes import ManualClock

README = Path(ak.__file__).parent.parent / "README.md"
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def counted(trail: Trail) -> int:
    """Return the number of events that every reader finds which runs the README's block where auditkit cannot be imported."""
    section = README.read_text().partition("## Reading without auditkit")[2]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['auditkit'] = None\n" + block[1]],
        cwd=trail.path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [int(line) for line in done.stdout.splitlines()]
    assert len(found) == 4  # the catalog, Polars, pyarrow, DuckDB
    assert len(set(found)) == 1, found
    return found[0]


def test_every_reader_finds_the_same_events_whatever_maintenance_did(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """After flushes, a compaction, a prune and both once more, the README's readers count what the trail holds."""
    pytest.importorskip("duckdb", reason="DuckDB is not installed: pip install '.[test]'")
    trail = make_trail(maintain=False)
    for batch in range(3):
        trail.extend(
            {"action": "a", "actor": f"u{batch} {n}", "ts": NOW - timedelta(days=n % 4, minutes=batch)}
            for n in range(200)
        ).wait()
        trail.flush()
    assert counted(trail) == 600
    assert trail.maintain(compact=True).compact is not None
    assert counted(trail) == 600
    trail.set_retention("2d", confirm=True)
    assert trail.prune().events == 3 * 50 + 2 * 50
    assert counted(trail) == trail.stats().segments.rows
    kept = trail.range(own=True).height
    assert counted(trail) == kept
    trail.append(action="b").wait()
    assert trail.maintain(compact=True).compact is not None
    assert counted(trail) == kept + 1
    clock.advance(minutes=16)
    trail.maintain(compact=True)
    assert counted(trail) == kept + 1


def test_what_a_crash_left_behind_is_not_counted(trail: Trail) -> None:
    """A file that the catalog does not name is no part of the trail for other readers either."""
    pytest.importorskip("duckdb", reason="DuckDB is not installed: pip install '.[test]'")
    trail.append(action="a").wait()
    trail.flush()
    (file,) = (trail.path / "segments").rglob("*.arrow")
    file.with_stem(file.stem.replace("0000", "0001")).write_bytes(file.read_bytes())
    assert counted(trail) == 1
