"""Running the command line inside the test's process, on a trail of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from auditkit.cli.main import cli

Run = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return where the test's trail is."""
    return tmp_path / "audit"


@pytest.fixture
def run(place: Path) -> Run:
    """Return a caller of `auditkit` with AUDITKIT_TRAIL set; `code` is the exit code it must end with."""

    def call(*args: str, code: int = 0, stdin: str | bytes | None = None, **environment: str) -> Result:
        result = CliRunner().invoke(
            cli, args, input=stdin, env={"AUDITKIT_TRAIL": str(place), **environment}, prog_name="auditkit"
        )
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call


@pytest.fixture
def started(run: Run) -> Run:
    """Return the caller, with an empty trail created."""
    run("init")
    return run


@pytest.fixture
def filled(started: Run) -> Run:
    """Return the caller, with six events in the trail: four in segments, two queued."""
    events = [
        {"ts": "2026-10-24T22:30:00Z", "action": "auth.login", "actor": "ann", "outcome": "success", "value": 1},
        {"ts": "2026-10-25T00:30:00Z", "action": "auth.login", "actor": "bob", "outcome": "failure", "value": 2.5},
        {"ts": "2026-10-25T01:30:00Z", "action": "doc.read", "actor": "ann", "resource": "doc/7", "ip": "10.0.0.7"},
        {"ts": "2026-10-25T02:30:00Z", "action": "doc.read", "actor": None, "outcome": "success"},
        {"ts": "2026-10-25T22:45:00Z", "action": "doc.write", "actor": "", "attrs": {"deep": {"n": 5}}},
        {"ts": "2026-10-25T23:15:00Z", "action": "doc.write", "actor": "ann", "value": -4, "attrs": {"deep": {"n": 6}}},
    ]  # fmt: skip
    lines = [json.dumps(event) + "\n" for event in events]
    started("append", "-", stdin="".join(lines[:4]))
    started("flush")
    started("append", "-", stdin="".join(lines[4:]))
    return started


def rows(result: Result) -> list[dict[str, Any]]:
    """Return JSON lines of standard output."""
    return [json.loads(line) for line in result.stdout.splitlines()]
