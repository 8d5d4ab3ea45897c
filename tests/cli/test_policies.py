"""The commands policy show and policy set."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from auditkit.cli.policies import policy
from tests.cli.conftest import Run, rows


@pytest.fixture
def aged(started: Run) -> Run:
    """Return the caller, with events of six years ago, of sixty days ago and of now in the trail."""
    now = datetime.now(UTC)
    for days in (6 * 365, 60, 0):
        started("append", "--action", f"age.{days}", "--ts", (now - timedelta(days=days)).isoformat())
    return started


def actions(run: Run) -> list[str]:
    """Return the actions that a range shows."""
    return [row["action"] for row in rows(run("range", "--json"))]


def test_show_tells_what_is_in_force(aged: Run) -> None:
    """The policy is shown with its horizon, for people and as JSON."""
    assert "keep for ever" in aged("policy", "show").stdout
    assert json.loads(aged("policy", "show", "--json").stdout)["policy"] == "keep for ever"
    aged("policy", "set", "7y")
    shown = aged("policy", "show").stdout
    for part in ("keep 7y", "horizon", "expired before", "to prune"):
        assert part in shown, part


def test_set_is_in_force_at_once_and_recorded(aged: Run) -> None:
    """A policy that nothing expires by is set without asking, says what it replaces, and is an event of the trail."""
    assert aged("policy", "set", "7y").stdout == "From now on: keep 7y (before: keep for ever).\n"
    assert len(actions(aged)) == 3
    (last,) = rows(aged("tail", "-n", "1", "--json"))
    assert (last["source"], last["action"]) == ("auditkit", "retention.set")
    done = json.loads(aged("policy", "set", "forever", "--json").stdout)
    assert done == {"policy": "keep for ever", "before": "keep 7y", "expired": 0}


def test_set_asks_where_events_would_expire(aged: Run) -> None:
    """Where nobody can be asked a shorter policy needs --yes; longer again, it brings back what was not pruned."""
    refused = aged("policy", "set", "90d", code=2)
    assert "1 event would expire: give --yes" in refused.stderr
    assert len(actions(aged)) == 3
    done = aged("policy", "set", "90d", "--yes").stdout
    assert "From now on: keep 90d" in done
    assert "1 event expired by that; `auditkit prune` removes them" in done
    assert actions(aged) == ["age.60", "age.0"]
    assert json.loads(aged("policy", "set", "30d", "-y", "--json").stdout)["expired"] == 1
    aged("policy", "set", "forever")
    assert len(actions(aged)) == 3


@pytest.mark.parametrize(
    ("answer", "code", "policy_after"), [("y\n", 0, "keep 90d"), ("n\n", 1, "keep for ever")]
)
def test_set_takes_an_answer_from_a_terminal(
    aged: Run, place: Path, answer: str, code: int, policy_after: str
) -> None:
    """At a terminal the question is answered there: no leaves the policy as it is."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        terminal.write(answer.encode())
        command = [sys.executable, "-m", "auditkit", "policy", "set", "90d", "--trail", str(place)]
        done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60, check=False)
        os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "Let 1 event expire?" in done.stderr
    assert json.loads(aged("policy", "show", "--json").stdout)["policy"] == policy_after


@pytest.mark.parametrize("text", ["soon", "0d", "-90d", ""])
def test_what_is_no_length_is_refused(started: Run, text: str) -> None:
    """A policy that is no positive duration is the caller's mistake, and changes nothing."""
    assert "retention" in started("policy", "set", "--", text, code=2).stderr
    assert json.loads(started("stats", "--json").stdout)["queue"]["committed"] == 0


def test_an_empty_trail_takes_any_policy(started: Run) -> None:
    """Without events nothing expires, and nothing is asked."""
    assert started("policy", "set", "1d").stdout == "From now on: keep 1d (before: keep for ever).\n"


@pytest.mark.parametrize("name", sorted(policy.commands))
def test_each_command_has_help_with_examples(run: Run, name: str) -> None:
    """Both commands tell what they do and show calls of themselves."""
    shown = run("policy", name, "--help").stdout
    assert shown.startswith(f"Usage: auditkit policy {name}")
    assert f"  auditkit policy {name}" in shown.partition("\nExamples:\n")[2]
