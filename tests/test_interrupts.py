"""Ctrl-C at random moments of append, wait, extend and flush: the object lives, nothing is lost, nothing is there twice."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import auditkit as ak
from tests.oracle import read_trail

SECONDS = 6.0
PATIENCE_S = 120


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a trail."""
    ak.create(tmp_path / "audit").close()
    return tmp_path / "audit"


def check(root: Path, lines: list[list[str]]) -> None:
    """Hold a trail to what its process was promised, with a reader and the oracle."""
    intended = {line[1] for line in lines if line[0] == "intend"}
    with ak.open(root, maintain=False) as trail:
        shown = trail.scan().select("seq", "action", "id").collect().sort("seq")
    assert shown["seq"].to_list() == list(range(shown.height))
    ids = [key for key in shown["id"] if key is not None]
    assert len(set(ids)) == len(ids)
    times = Counter(shown["action"])
    for word, tag, *facts in (line for line in lines if line[0] == "ack"):
        seq, count = map(int, facts)
        assert times[tag] == count, (word, tag, facts)
        assert shown["action"][seq] == tag
    assert set(times) <= intended | {tag for tag in times if tag.startswith("last")}
    assert all(times[tag] in (1, 3, 60) for tag in times)
    stored = read_trail(root)
    assert sorted(stored.events) == list(range(stored.end))


@pytest.mark.parametrize("seed", range(3))
def test_interrupts_at_random_moments_lose_nothing(root: Path, seed: int) -> None:
    """An object that is interrupted again and again goes on, and keeps what it was given exactly once."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("interrupted.py")),
        str(root),
        str(seed),
        str(SECONDS),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[-1:] == [["end"]], done.stderr[-3_000:]
    (count,) = (int(line[1]) for line in lines if line[0] == "interrupts")
    assert count > 20
    check(root, lines)
