"""`auditkit doctor`: findings for people and for programs, and the exit code."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from auditkit.opening import open_trail
from tests.cli.conftest import Run
from tests.fakes import ManualClock


def test_a_healthy_trail(filled: Run) -> None:
    """Nothing is wrong: the exit code says so."""
    filled("flush")
    assert "Nothing is wrong." in filled("doctor").stdout
    found = json.loads(filled("doctor", "--json").stdout)
    assert (found["needs_person"], found["findings"]) == (False, [])
    assert found["trail"].endswith("/audit")


def test_what_needs_a_person_ends_in_1(started: Run, place: Path) -> None:
    """Each finding says what it is about, and what to do; the count is below."""
    ahead = ManualClock((datetime.now(UTC) + timedelta(days=30)).isoformat())
    with open_trail(place, clock=ahead, maintain=False) as trail:
        trail.append(action="a").wait()
    shown = started("doctor", code=1)
    assert "needs a person" in shown.stdout
    assert "findings need a person." in shown.stdout
    assert shown.stderr == ""
    assert max(map(len, shown.stdout.splitlines())) <= 100
    found = json.loads(started("doctor", "--json", code=1).stdout)
    assert found["needs_person"] is True
    assert {finding["about"] for finding in found["findings"]} == {"future", "clock"}
    assert all(finding["text"] and finding["advice"] for finding in found["findings"])


def test_what_heals_by_itself_ends_in_0(started: Run, place: Path) -> None:
    """A note is shown, and is no reason to wake anybody."""
    with open_trail(place, maintain=False) as trail:
        trail.append(action="a", ts=datetime.now(UTC) + timedelta(hours=3)).wait()
    shown = started("doctor").stdout
    assert "future" in shown
    assert "1 finding; none needs a person." in shown
