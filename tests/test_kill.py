"""Real processes, killed while they append: what was acknowledged is there, in order."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import auditkit as ak

APPENDER = """
import os, sys
import auditkit as ak
trail = ak.open(sys.argv[1])
name, out = sys.argv[2], sys.stdout.fileno()
n = 0
while True:
    receipts = [trail.append(action=name, value=float(n + k)) for k in range(3)]
    seq = receipts[-1].wait()
    os.write(out, f"{receipts[0].first} {n}\\n".encode())
    n += 3
    if n % 300 == 0:
        trail.flush()
"""


def start(trail: Path, name: str) -> subprocess.Popen[bytes]:
    """Start a process that appends numbered events and prints what was acknowledged."""
    return subprocess.Popen([sys.executable, "-c", APPENDER, str(trail), name], stdout=subprocess.PIPE)


def read_some(process: subprocess.Popen[bytes], lines: int) -> list[tuple[int, int]]:
    """Read acknowledgements, as many as asked for."""
    assert process.stdout is not None
    return [parse(process.stdout.readline()) for _ in range(lines)]


def parse(line: bytes) -> tuple[int, int]:
    """Return (first seq, first number) of an acknowledged batch of three."""
    seq, number = line.split()
    return int(seq), int(number)


def kill(process: subprocess.Popen[bytes]) -> list[tuple[int, int]]:
    """Kill a process and return what it had acknowledged and nobody had read."""
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    return [parse(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]


@pytest.mark.parametrize("round_number", range(4))
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, round_number: int) -> None:
    """After SIGKILL at a random moment every acknowledged event is there, once, at its seq, in order."""
    rng = random.Random(round_number)
    path = tmp_path / "audit"
    ak.create(path).close()
    acknowledged: dict[str, list[tuple[int, int]]] = {}
    for victim in range(2):
        pair = {f"p{victim}.{n}": start(path, f"p{victim}.{n}") for n in range(2)}
        for name, process in pair.items():
            acknowledged[name] = read_some(process, rng.randint(1, 120))
        for name, process in pair.items():
            acknowledged[name] += kill(process)
    trail = ak.open(path)
    events = trail.range(columns=["seq", "action", "value"])
    stored = dict(zip(events["seq"], zip(events["action"], events["value"], strict=True), strict=True))
    assert sorted(stored) == list(range(trail.end_seq))
    for name, batches in acknowledged.items():
        for first, number in batches:
            assert [stored[first + k] for k in range(3)] == [(name, float(number + k)) for k in range(3)]
        own = [value for seq, (action, value) in sorted(stored.items()) if action == name]
        assert own == [float(n) for n in range(len(own))]
    with trail:
        assert trail.append(action="after").wait() == len(stored)
    assert len(list((path / "queue").iterdir())) >= 1
