"""`maintain --every` as a process beside writers."""

import json
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from auditkit.api import Trail
from auditkit.keep.maintain import maintain_often
from auditkit.opening import create, open_trail
from tests.cli.conftest import Run
from tests.cli.running import running
from tests.fakes import ManualClock

LONG_AGO = "2020-01-01T00:00:00+00:00"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return an empty trail of a worker whose clock stands in the past, so that what it appends is old."""
    create(tmp_path / "audit", clock=ManualClock(LONG_AGO), maintain=False, retention="30d").close()
    return tmp_path / "audit"


def work(place: Path, count: int) -> None:
    """Append as a worker that leaves maintenance to others."""
    with open_trail(place, clock=ManualClock(LONG_AGO), maintain=False) as trail:
        trail.extend([{"action": "a"}] * count).wait()
        assert trail.stats().queue.depth == count


def loop(place: Path, *args: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run `auditkit maintain --every 1s` until the block ends."""
    return running("maintain", "--every", "1s", "--trail", str(place), *args, PYTHONUNBUFFERED="1")


def line(process: subprocess.Popen[str]) -> str:
    """Wait for a line of output."""
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_what_workers_append_is_flushed(place: Path, ending: signal.Signals) -> None:
    """Round after round it flushes what has become due, and ends cleanly when told to."""
    work(place, 5)
    with loop(place) as process:
        assert line(process).startswith("Flushed 5 events (seq 0-4)")
        work(place, 3)
        assert line(process).startswith("Flushed 3 events (seq 5-7)")
        process.send_signal(ending)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")
    trail = open_trail(place)
    assert (trail.stats().queue.depth, trail.range().height) == (0, 8)


def test_trouble_that_passes(place: Path) -> None:
    """A round that storage fails is told and tried again; the queue keeps its events."""
    work(place, 2)
    with loop(place, "--json") as process:
        assert json.loads(line(process))["flush"]["events"] == 2
        (place / "segments").rename(place / "elsewhere")
        (place / "segments").write_text("in the way")
        work(place, 4)
        assert process.stderr is not None
        assert "trying again in 1s" in process.stderr.readline()
        (place / "segments").unlink()
        (place / "elsewhere").rename(place / "segments")
        assert json.loads(line(process))["flush"]["events"] == 4
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert open_trail(place).range().height == 6


def test_a_moment_is_recorded_once_a_partition(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """Looking often at an idle trail lets it age by one event of its own a day, and flushes that only once it is due."""
    trail = make_trail(retention="2d", maintain=False)
    trail.extend([{"action": "a"}] * 3).wait()
    rounds = []
    for _ in range(4 * 24):
        done = maintain_often(trail.core, now=trail.now())
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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--every", "500ms"], "a second or more"),
        (["--every", "-1m"], "a second or more"),
        (["--every", "often"], "every"),
        (["--every", "1m", "--now", "2026-11-24"], "'now' only"),
    ],
)
def test_misuse(place: Path, run: Run, args: list[str], message: str) -> None:
    """A length that makes no sense, and a moment that stays the same, are refused."""
    assert place.is_dir()
    assert message in run("maintain", *args, code=2).stderr


def test_a_first_round_that_fails_ends_it(tmp_path: Path, run: Run) -> None:
    """Where there is no trail nothing is waited for."""
    result = run("maintain", "--every", "1s", "--trail", str(tmp_path / "nowhere"), code=1)
    assert "no trail here" in result.stderr
