"""The commands stats, flush, maintain and prune.

`maintain --every` as a process beside writers.

The commands policy show and policy set.
"""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from auditkit.api import Trail
from auditkit.cli import keep
from auditkit.cli.keep import policy
from auditkit.keep.maintain import maintain_often
from auditkit.opening import create, open_trail
from tests.cli.conftest import Run, rows
from tests.cli.running import running
from tests.fakes import ManualClock


def old_and_new(run: Run) -> None:
    """Put an old event and a current one into a trail that keeps 30 days."""
    run("init", "--retention", "30d")
    run("append", "--action", "old", "--ts", "2020-01-01T00:00:00Z")
    for day in ("2026-11-22", "2026-11-23", "2026-11-24"):
        run("append", "--action", "new", "--ts", f"{day}T00:00:00Z")


def test_stats_as_json(filled: Run, place: Path) -> None:
    """JSON has every number of the trail's state."""
    numbers = json.loads(filled("stats", "--json").stdout)
    assert numbers["trail"] == str(place)
    assert (numbers["queue"]["depth"], numbers["queue"]["flushed"], numbers["queue"]["committed"]) == (
        2,
        4,
        6,
    )
    assert numbers["segments"]["rows"] == 4
    assert numbers["segments"]["first_ts"] == "2026-10-24T22:30:00Z"
    assert numbers["retention"]["policy"] == "keep for ever"
    assert numbers["dead_letters"] == 0


def test_stats_for_people(filled: Run) -> None:
    """The state is shown in sections, with what waits."""
    shown = filled("stats").stdout
    for part in (
        "2 events",
        "4 events in 2 segments of 2 partitions",
        "keep for ever",
        "2026-10-25 02:30 UTC",
    ):
        assert part in shown, part


def test_flush(filled: Run) -> None:
    """`flush` says what it moved; afterwards nothing waits."""
    assert filled("flush").stdout.startswith("Flushed 2 events (seq 4-5)")
    assert filled("flush").stdout == "Nothing to flush.\n"
    assert json.loads(filled("flush", "--json").stdout)["events"] == 0


def test_compact(filled: Run) -> None:
    """`maintain --compact` merges what a partition has in two small segments, which stats shows before and after."""
    filled("flush")
    filled("append", "--action", "one")
    filled("flush")
    filled("append", "--action", "two")
    assert "merged 4 segments of 2 partitions into 2 (7 events" in filled("maintain", "--compact").stdout
    shown = " ".join(filled("stats").stdout.split())
    assert "0 small segments; 4 merged files kept for readers a while" in shown
    assert filled("maintain", "--compact").stdout == "Nothing was due.\n"
    assert filled("maintain", "--compact", "--every", "1m", code=2).stdout == ""


def test_maintain(filled: Run) -> None:
    """`maintain` does what is due and says so; --now records the moment as an event of the trail."""
    before = json.loads(filled("stats", "--json").stdout)["queue"]["committed"]
    done = json.loads(filled("maintain", "--json", "--now", "now").stdout)
    assert set(done) >= {"flush", "prune"}
    last = json.loads(filled("tail", "-n", "1", "--json").stdout)
    assert last["source"] == "auditkit"
    assert last["seq"] >= before


def test_prune_asks_for_consent(run: Run) -> None:
    """Without --yes and without anybody to ask, nothing is pruned, and the exit code says misused."""
    old_and_new(run)
    refused = run("prune", code=2)
    assert "give --yes" in refused.stderr
    assert "would remove 1 event" in refused.stdout
    assert json.loads(run("stats", "--json").stdout)["retention"]["prunable"] == 1


def test_prune_dry_run_changes_nothing(run: Run, place: Path) -> None:
    """--dry-run shows the plan, as text or JSON, and leaves every file as it is."""
    old_and_new(run)
    assert "4 queued events not counted" in run("prune", "--dry-run").stderr
    run("flush")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert "would remove 1 event" in run("prune", "--dry-run").stdout
    plan = json.loads(run("prune", "--dry-run", "--json").stdout)
    assert (plan["rows"], len(plan["segments"]), plan["policy"]) == (1, 1, "keep 30d")
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_prune_removes_what_it_showed(run: Run, place: Path) -> None:
    """With --yes the plan is shown and done, queued events included."""
    old_and_new(run)
    done = run("prune", "--yes").stdout
    assert "would remove 1 event" in done
    assert "Pruned 1 event" in done
    with open_trail(place) as trail:
        assert trail.stats().retention.pruned == 1
        assert trail.range()["action"].to_list() == ["new"] * 3
    assert run("prune").stdout.endswith("Nothing to prune.\n")


def test_prune_of_an_idle_trail(run: Run) -> None:
    """A trail without new events ages only by --now."""
    run("init", "--retention", "30d")
    run("append", "--action", "old", "--ts", "2020-01-01T00:00:00Z")
    assert "Nothing to prune" in run("prune", "--yes").stdout
    assert "Pruned 1 event" in run("prune", "--yes", "--now", "now").stdout
    assert json.loads(run("prune", "--yes", "--json").stdout)["events"] == 0


LONG_AGO = "2020-01-01T00:00:00+00:00"


@pytest.fixture
def worked(tmp_path: Path) -> Path:
    """Return an empty trail of a worker whose clock stands in the past, so that what it appends is old."""
    create(tmp_path / "audit", clock=ManualClock(LONG_AGO), maintain=False, retention="30d").close()
    return tmp_path / "audit"


def work(worked: Path, count: int) -> None:
    """Append as a worker that leaves maintenance to others."""
    with open_trail(worked, clock=ManualClock(LONG_AGO), maintain=False) as trail:
        trail.extend([{"action": "a"}] * count).wait()
        assert trail.stats().queue.depth == count


def loop(worked: Path, *args: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run `auditkit maintain --every 1s` until the block ends."""
    return running("maintain", "--every", "1s", "--trail", str(worked), *args, PYTHONUNBUFFERED="1")


def line(process: subprocess.Popen[str]) -> str:
    """Wait for a line of output."""
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_what_workers_append_is_flushed(worked: Path, ending: signal.Signals) -> None:
    """Round after round it flushes what has become due, and ends cleanly when reported to."""
    work(worked, 5)
    with loop(worked) as process:
        assert line(process).startswith("Flushed 5 events (seq 0-4)")
        work(worked, 3)
        assert line(process).startswith("Flushed 3 events (seq 5-7)")
        process.send_signal(ending)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")
    trail = open_trail(worked)
    assert (trail.stats().queue.depth, trail.range().height) == (0, 8)


def test_trouble_that_passes(worked: Path) -> None:
    """A round that storage fails is reported and tried again; the queue keeps its events."""
    work(worked, 2)
    with loop(worked, "--json") as process:
        assert json.loads(line(process))["flush"]["events"] == 2
        (worked / "segments").rename(worked / "elsewhere")
        work(worked, 4)
        assert process.stderr is not None
        assert "trying again in 1s" in process.stderr.readline()
        (worked / "elsewhere").rename(worked / "segments")
        assert json.loads(line(process))["flush"]["events"] == 4
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert open_trail(worked).range().height == 6


def test_a_moment_is_recorded_once_a_partition(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """Looking often at an idle trail lets it age by one event of its own a day, and flushes that only once it is due."""
    trail = make_trail(retention="2d", maintain=False)
    trail.extend([{"action": "a"}] * 3).wait()
    rounds = []
    for _ in range(4 * 24):
        done = maintain_often(trail.handle, now=trail.now())
        rounds.append((done.flush.events if done.flush else 0, done.prune.events if done.prune else 0))
        clock.advance(hours=1)
    assert trail.range(own=True)["action"].to_list().count("retention.now") == 4
    assert [round_ for round_ in rounds if round_ != (0, 0)] == [
        (3, 0),  # due a quarter of an hour later
        (1, 0),  # the first and the second midnight
        (1, 0),
        (0, 3),  # the third, two days after the events: the record of the prune takes along what is queued
        (1, 0),
    ]
    assert trail.range().is_empty()


@pytest.mark.parametrize(("every", "seconds"), [("1s", 1), ("90s", 90), ("1d", 86_400), ("1d2h", 93_600)])
def test_how_long_a_pause_is(every: str, seconds: float) -> None:
    """A day of --every is 24 hours."""
    assert keep._seconds(every) == seconds


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--every", "500ms"], "a second or more"),
        (["--every", "-1m"], "a second or more"),
        (["--every", "often"], "every"),
        (["--every", "1m", "--now", "2026-11-24"], "'now' only"),
    ],
)
def test_misuse(worked: Path, run: Run, args: list[str], message: str) -> None:
    """A length that makes no sense, and a moment that stays the same, are refused."""
    assert worked.is_dir()
    assert message in run("maintain", *args, code=2).stderr


def test_a_first_round_that_fails_ends_it(tmp_path: Path, run: Run) -> None:
    """Where there is no trail nothing is waited for."""
    result = run("maintain", "--every", "1s", "--trail", str(tmp_path / "nowhere"), code=1)
    assert "no trail here" in result.stderr


@pytest.fixture
def aged(started: Run) -> Run:
    """Return the caller, with events of six years ago, of sixty days ago and of now in the trail, which is told of now."""
    now = datetime.now(UTC)
    for days in (6 * 365, 60, 0):
        started("append", "--action", f"age.{days}", "--ts", (now - timedelta(days=days)).isoformat())
    started("prune", "--now", "now", "--yes")
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
    assert aged("policy").stdout == shown
    assert json.loads(aged("policy", "--json").stdout) == json.loads(aged("policy", "show", "--json").stdout)


@pytest.mark.parametrize("option", [["--trail", "elsewhere"], ["--json"]])
def test_options_before_a_command_are_not_lost(aged: Run, option: list[str]) -> None:
    """What belongs to `set` and stands before it is refused, where it would be without effect."""
    assert "unexpected extra arguments (set 7y)" in aged("policy", *option, "set", "7y", code=2).stderr
    assert "keep for ever" in aged("policy").stdout


def test_the_crontab_in_the_help_ages_an_idle_trail(aged: Run) -> None:
    """What is copied from the help enforces a policy though no event comes."""
    (line,) = re.findall(r"\*/15.*", aged("maintain", "--help").stdout)
    arguments = line.partition("auditkit ")[2].partition("  ")[0].split()
    assert arguments == ["maintain", "--trail", "/srv/audit", "--now", "now"]


def test_set_is_in_force_at_once_and_recorded(aged: Run) -> None:
    """A policy that nothing expires by is set without asking, says what it replaces, and is an event of the trail."""
    assert aged("policy", "set", "7y").stdout == "From now on: keep 7y (before: keep for ever).\n"
    assert len(actions(aged)) == 3
    (last,) = rows(aged("tail", "-n", "1", "--json"))
    assert (last["source"], last["action"]) == ("auditkit", "retention.set")
    done = json.loads(aged("policy", "set", "forever", "--json").stdout)
    assert done == {"policy": "keep for ever", "before": "keep 7y", "expired": 0}


def test_set_asks_where_events_would_expire(aged: Run) -> None:
    """Without a terminal to ask at, a shorter policy needs --yes; longer again, it brings back what was not pruned."""
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
    """Both commands say what they do and show calls of themselves."""
    shown = run("policy", name, "--help").stdout
    assert shown.startswith(f"Usage: auditkit policy {name}")
    assert f"  auditkit policy {name}" in shown.partition("\nExamples:\n")[2]


def test_a_release_says_that_it_is_one(started: Run) -> None:
    """What ends a hold does not read as if it had placed it."""
    started("hold", "case-42", "--reason", "a lawsuit")
    assert "case-42" in started("hold").stdout
    done = started("release", "case-42", "--reason", "settled").stdout
    assert done.startswith("Released hold case-42: ")
    assert started("hold").stdout == "No hold is in force.\n"
