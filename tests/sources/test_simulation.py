"""The simulated week: repeatable, clearly labelled, and with the incidents its README promises."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

DATA = Path(__file__).parents[2] / "data"
STOCKHOLM = ZoneInfo("Europe/Stockholm")
Event = Mapping[str, object]


@pytest.fixture(scope="module")
def week() -> list[Event]:
    """Return the committed week."""
    with gzip.open(DATA / "firm-week.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def wall_clock(event: Event) -> datetime:
    """Return when an event happened on the firm's clock."""
    return datetime.fromisoformat(str(event["ts"])).astimezone(STOCKHOLM)


def test_equal_seeds_give_equal_lines(tmp_path: Path) -> None:
    """The generator's command re-creates the committed lines byte for byte."""
    command = [sys.executable, str(DATA / "simulate_firm.py"), "--output", str(tmp_path / "week.jsonl")]
    subprocess.run(command, check=True, capture_output=True)
    committed = gzip.decompress((DATA / "firm-week.jsonl.gz").read_bytes())
    assert (tmp_path / "week.jsonl").read_bytes() == committed


def test_another_seed_gives_another_week(tmp_path: Path) -> None:
    """The seed decides what happens, not only a label."""
    command = [sys.executable, str(DATA / "simulate_firm.py"), "--seed", "7"]
    subprocess.run([*command, "--output", str(tmp_path / "week.jsonl")], check=True, capture_output=True)
    committed = gzip.decompress((DATA / "firm-week.jsonl.gz").read_bytes())
    assert (tmp_path / "week.jsonl").read_bytes() != committed


def test_every_event_says_that_it_is_simulated(week: list[Event]) -> None:
    """No line of the week can be mistaken for a real event."""
    assert 10_000 < len(week) < 15_000
    attrs = [event["attrs"] for event in week]
    assert all(isinstance(entry, dict) and entry["simulated"] is True for entry in attrs)


def test_office_hours_have_a_lunch_dip_and_the_weekend_is_quiet(week: list[Event]) -> None:
    """People work by day, eat at noon and stay away at weekends."""
    people = [event for event in week if not str(event.get("actor", "svc-")).startswith("svc-")]
    hours = Counter(wall_clock(event).hour for event in people)
    days = Counter(wall_clock(event).weekday() for event in people)
    assert hours[12] < 0.6 * min(hours[10], hours[13])
    assert days[5] + days[6] < 0.05 * min(days[day] for day in range(5))


def test_the_spraying_ends_with_a_role_and_a_token(week: list[Event]) -> None:
    """From one new address: failures on many accounts, one success, then a role and a token."""
    seen = [event for event in week if event.get("origin") == "203.0.113.77"]
    failed = [event for event in seen if event["outcome"] == "failure"]
    assert (len(failed), len({event["actor"] for event in failed})) == (95, 36)
    opened = [event["action"] for event in seen if event["outcome"] == "success"]
    assert opened == ["auth.login", *["directory.read"] * 5, "role.grant", "token.create"]


def test_the_leaver_exports_out_of_hours(week: list[Event]) -> None:
    """Nine of ten exports of an employee about to leave happen in one night."""
    exports = [
        event for event in week if (event.get("actor"), event["action"]) == ("hedda.ekman", "customer.export")
    ]
    night = [event for event in exports if wall_clock(event).hour >= 21]
    assert (len(exports), len(night)) == (40, 36)


def test_the_backups_are_deleted_in_the_second_pass_of_the_repeated_hour(week: list[Event]) -> None:
    """All deletions lie between two and three on the clock that has already gone back."""
    deleted = [wall_clock(event) for event in week if event["action"] == "backup.delete"]
    assert len(deleted) == 21
    assert {(moment.hour, moment.fold) for moment in deleted} == {(2, 1)}


def test_addresses_and_domains_belong_to_nobody(week: list[Event]) -> None:
    """Only documentation ranges, private networks and names under example appear."""
    ranges = ("10.20.", "192.0.2.", "198.51.100.", "203.0.113.", "reader/", "laptop/")
    for event in week:
        origin = str(event.get("origin", "10.20."))
        assert origin.startswith(ranges) or origin.endswith(".example")
