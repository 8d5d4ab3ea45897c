"""Real processes, killed at random: what was acknowledged or shown is there, once, in order, without a gap."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from tests.oracle import read_trail

KILLS = 50
LONGEST_S = 45.0
ROLES = ["append"] * 4 + ["flush"] + ["read"] * 2
NOTES = {
    "acks": pl.Schema({"action": pl.String, "seq": pl.Int64, "value": pl.Int64, "count": pl.Int64}),
    "seen": pl.Schema({"seq": pl.Int64, "action": pl.String, "value": pl.Int64, "whole": pl.Int64}),
}


@dataclass
class Party:
    """The processes at work on one trail, and what they have noted."""

    root: Path
    notes: Path
    zygote: subprocess.Popen[bytes]
    alive: dict[int, str] = field(default_factory=dict)
    started: int = 0

    def start(self, role: str) -> None:
        """Start another process."""
        assert self.zygote.stdin is not None
        assert self.zygote.stdout is not None
        self.zygote.stdin.write(f"{role} {role}{self.started}\n".encode())
        self.zygote.stdin.flush()
        self.started += 1
        self.alive[int(self.zygote.stdout.readline())] = role

    def kill(self, pid: int) -> str:
        """Kill a process and return what it did."""
        with suppress(ProcessLookupError):  # it has died of an error, which `check` will find
            os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.001)
        return self.alive.pop(pid)

    def noted(self, kind: str) -> pl.DataFrame:
        """Return all notes of a kind, without a line that is being written."""
        whole = [path.read_bytes().rpartition(b"\n") for path in self.notes.glob(f"*.{kind}")]
        text = b"".join(lines + end for lines, end, _ in whole)
        if not text:
            return pl.DataFrame(schema=NOTES[kind])
        return pl.read_csv(text, has_header=False, separator=" ", schema=NOTES[kind])


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    """Return a party of nobody at an empty trail."""
    root, notes = tmp_path / "audit", tmp_path / "notes"
    notes.mkdir()
    ak.create(root).close()
    command = [
        sys.executable,
        "-W",
        "error",
        str(Path(__file__).with_name("zygote.py")),
        str(root),
        str(notes),
    ]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as zygote:
        party = Party(root, notes, zygote)
        try:
            yield party
        finally:
            for pid in list(party.alive):
                party.kill(pid)
            zygote.kill()


def stored(trail: Trail) -> pl.DataFrame:
    """Return seq, action and value of all events, in the order of their seqs."""
    whole = pl.col("seq", "value").cast(pl.Int64)
    return trail.scan().select("action", whole).collect().sort("seq")


def check(party: Party, trail: Trail) -> int:
    """Hold the trail to everything that was noted before it is asked; returns the number of events."""
    assert [path.read_text() for path in party.notes.glob("*.error")] == []
    acks, seen = party.noted("acks"), party.noted("seen")
    events = stored(trail)
    assert events.get_column("seq").to_list() == list(range(events.height)), "a gap or a repetition"
    in_turn = pl.int_range(pl.len()).over("action")
    wrong = events.filter(pl.col("value") != in_turn)
    assert wrong.is_empty(), f"events of a producer lost, doubled or out of order: {wrong.rows()[:5]}"
    batches = (
        pl.int_ranges(pl.col(name), pl.col(name) + pl.col("count")).alias(name) for name in ("value", "seq")
    )
    owed = acks.select("action", *batches).explode("value", "seq")
    missing = owed.join(events, on=["seq", "action", "value"], how="anti")
    assert missing.is_empty(), f"acknowledged, and not there: {missing.rows()[:5]}"
    assert (seen.get_column("whole") == 1).all(), "a reader was shown a seq without those before it"
    gone = seen.join(events, on=["seq", "action", "value"], how="anti")
    assert gone.is_empty(), f"shown, and gone: {gone.rows()[:5]}"
    return events.height


def test_sigkill_at_random_loses_nothing(party: Party, capsys: pytest.CaptureFixture[str]) -> None:
    """Four processes of four threads append, one flushes, two read; whoever is killed, every promise holds."""
    rng = random.Random(7)
    for role in ROLES:
        party.start(role)
    deadline, kills, events = time.monotonic() + LONGEST_S, 0, 0
    with ak.open(party.root, maintain=False) as trail:
        while kills < KILLS and time.monotonic() < deadline:
            time.sleep(rng.uniform(0.03, 0.35))
            victims = list(party.alive) if kills % 10 == 9 else [rng.choice(list(party.alive))]
            roles = [party.kill(pid) for pid in victims]
            events = check(party, trail)
            kills += len(victims)
            for role in roles:
                party.start(role)
        for pid in list(party.alive):
            party.kill(pid)
        assert check(party, trail) >= events
        end = trail.end_seq
        assert sorted(read_trail(party.root).events) == list(range(end))
        assert trail.append(action="after", value=0).wait() == end
        trail.flush()
        assert check(party, trail) == end + 1
        assert len(list((party.root / "queue").iterdir())) == 1
    assert kills >= KILLS // 2
    assert party.noted("acks").height > kills
    assert party.noted("seen").height > kills
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kills} kills, {end + 1} events, {party.noted('acks').height} acknowledgements\n"
        )
