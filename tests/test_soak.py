"""Everything at once on one trail, with processes killed at random: nothing acknowledged is lost or doubled.

Appenders of every kind, a maintainer, readers that compare answers, consumers, and copies, all real processes.  Some
eight seconds by default; `AUDITKIT_SOAK_S=300 pytest tests/test_soak.py` soaks for minutes, and `AUDITKIT_SOAK_SEED`
chooses another course of kills.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec
import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.queue.dead_letters import read_letters
from auditkit.write import extend
from auditkit.write.retry import as_given, kept_letters, retry_letters
from tests.aging import accept_late
from tests.oracle import read_trail
from tests.soaking import BULK, KINDS, LATE, ROLES, Notes, Sent, batches, event, remembered, submit

SOAK_S = float(os.environ.get("AUDITKIT_SOAK_S", "8"))
SEED = int(os.environ.get("AUDITKIT_SOAK_SEED", "7"))
PRODUCERS = 4
"""So many of the appenders run at a time."""
MAX_DESCRIPTORS = 200
MAX_RSS_MB = 600
STALLED_S = 60.0


@dataclass
class Soak:
    """The processes at work, and what they note."""

    root: Path
    notes: Path
    begun: datetime
    parent: subprocess.Popen[bytes]
    draw: random.Random
    alive: dict[str, int] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)

    def start(self, name: str) -> None:
        """Start the process of this name."""
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(f"{name} {SEED}.{self.starts[name]}\n".encode())
        self.parent.stdin.flush()
        self.starts[name] += 1
        self.alive[name] = int(self.parent.stdout.readline())

    def send(self, name: str, what: signal.Signals) -> None:
        """Send a signal to a process."""
        with suppress(ProcessLookupError):  # died of an error, which `check_errors` finds
            os.kill(self.alive[name], what)

    def kill(self, name: str) -> None:
        """Kill a process, and wait until it is gone."""
        self.send(name, signal.SIGKILL)
        pid = self.alive.pop(name)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.001)

    def noted(self) -> int:
        """Return how many bytes of facts there are."""
        return sum(path.stat().st_size for path in self.notes.iterdir())

    def await_notes(self, count: int, deadline: float) -> None:
        """Wait for so many bytes of facts more."""
        target, stalled = self.noted() + count, time.monotonic() + STALLED_S
        while self.noted() < target and time.monotonic() < deadline:
            assert time.monotonic() < stalled, f"nothing happens any more: {self.alive}"
            self.check_errors()
            time.sleep(0.01)

    def check_errors(self) -> None:
        """Raise what a process died of."""
        errors = "\n".join(path.read_text() for path in self.notes.glob("*.error"))
        assert not errors, errors

    def facts(self, name: str) -> list[list[str]]:
        """Return what the processes of one name have noted."""
        return Notes(self.notes / f"{name}.notes").lines()


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    """Return an empty trail with nothing at work on it."""
    root, notes, begun = tmp_path / "audit", tmp_path / "notes", datetime.now(UTC)
    notes.mkdir()
    ak.create(root, retention="3d").close()
    command = [
        sys.executable, "-W", "error", "-m", "tests.soaking", str(root), str(notes), begun.isoformat()
    ]  # fmt: skip
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    folder = Path(__file__).parent.parent
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=folder
    ) as parent:
        soak = Soak(root, notes, begun, parent, random.Random(SEED))
        try:
            yield soak
        finally:
            for name in list(soak.alive):
                soak.kill(name)
            parent.kill()


def run(soak: Soak) -> Counter[str]:
    """Let everything work, and interrupt, halt and kill at random until the time is over; returns how often."""
    kinds, others = list(KINDS), [name for name in ROLES if name not in KINDS]
    for name in [*others, *soak.draw.sample(kinds, PRODUCERS)]:
        soak.start(name)
    deadline, done = time.monotonic() + SOAK_S, Counter[str]()
    while time.monotonic() < deadline:
        soak.await_notes(soak.draw.randint(100, 10_000), deadline)
        what = soak.draw.choices(("kill", "interrupt", "halt"), (5, 3, 1))[0]
        heeding = {*KINDS, "mailer", "picky"}
        victims = [
            name for name in soak.alive if name in heeding or (what != "interrupt" and name != "reader")
        ]
        names = soak.draw.sample(
            victims, soak.draw.choice((1, 1, 1, 2, len(victims))) if what == "kill" else 1
        )
        done[what] += len(names)
        if what == "interrupt":
            soak.send(names[0], signal.SIGINT)
        elif what == "halt":  # perhaps with a lock in its hands
            soak.send(names[0], signal.SIGSTOP)
            soak.await_notes(soak.draw.randint(1, 1_000), min(deadline, time.monotonic() + 0.5))
            soak.send(names[0], signal.SIGCONT)
        else:
            for name in names:
                soak.kill(name)
                resting = [kind for kind in kinds if kind not in soak.alive]
                soak.start(soak.draw.choice(resting) if name in KINDS else name)
    for name in list(soak.alive):
        soak.kill(name)
    soak.check_errors()
    return done


def settle(soak: Soak, trail: Trail) -> dict[str, list[Sent]]:
    """Send again what has ids and was not acknowledged, and return the acknowledged batches of each producer."""
    known = {}
    end = trail.end_seq
    for name, kind in KINDS.items():
        left, known[name], _ = batches(soak.facts(name))
        for sent in left if kind.keyed else ():
            if remembered(sent, end):
                seq = submit(trail, name, sent.first, sent.events, soak.begun).wait()
                assert seq is not None
                known[name].append(Sent(sent.first, sent.events, seq))
    return known


def check_events(soak: Soak, trail: Trail, known: dict[str, list[Sent]]) -> pl.DataFrame:
    """Hold what is stored to what was noted; returns all events, the trail's own included."""
    stored = read_trail(soak.root)
    end = trail.end_seq
    gone = sorted(set(range(end)) - stored.events.keys())
    assert max(stored.events) < end
    assert len(gone) == stored.pruned, f"{len(gone)} seqs are missing, {stored.pruned} were pruned"
    names = [event["action"] for event in stored.events.values()]
    numbers = {name: dict[int, int]() for name in KINDS}
    came: dict[int, int] = {}
    for (seq, found), name in zip(stored.events.items(), names, strict=True):
        if found["source"] == "auditkit":
            continue
        number = int(found["value"])
        if name == LATE:
            assert number not in came, f"{LATE} {number} is there twice: {seq}, {came[number]}"
            came[number] = seq
            continue
        assert number not in numbers[name], f"{name} {number} is there twice: {seq}, {numbers[name][number]}"
        numbers[name][number] = seq
        given = event(name, number, soak.begun)
        body = (found["actor"], found["id"], found["ts"])
        expected = (given["actor"], given.get("id"), int(given["ts"].timestamp() * 1e6))
        assert body[:2] == expected[:2]
        assert abs(body[2] - expected[2]) <= 1, f"{name} {number}: other times"
    for name, acknowledged in known.items():
        left, _, following = batches(soak.facts(name))
        assert max(numbers[name], default=-1) < following, f"{name}: events that were never sent"
        for first, count, seq in acknowledged:
            for n in range(count):
                found_at = numbers[name].get(first + n)
                # Of a batch sent again, what was pruned is new, and the rest is where it was.
                if KINDS[name].doomed and (found_at is None or KINDS[name].keyed):
                    continue
                assert found_at == seq + n, (
                    f"{name} {first + n}: acknowledged at {seq + n}, found at {found_at}"
                )
        for first, count, _ in left if not KINDS[name].doomed else ():
            there = [numbers[name].get(first + n) for n in range(count)]
            whole = [there[0] + n for n in range(count)] if there[0] is not None else [None] * count
            assert there == whole, f"{name}: a part of the batch from {first} on"
    waiting = {
        int(msgspec.json.decode(kept.letter.input)["value"])
        for kept in kept_letters(trail.handle)
        if kept.waits
    }
    owed = {first for first, _, _ in known["refused"]}
    assert owed <= waiting | came.keys(), (
        f"refused, and neither kept nor an event: {owed - waiting - came.keys()}"
    )
    assert not waiting & came.keys(), f"a letter waits whose event is there: {waiting & came.keys()}"
    doomed = [name for name, kind in KINDS.items() if kind.doomed]
    assert len(gone) <= sum(batches(soak.facts(name))[2] for name in doomed)
    return trail.range(own=True)


def check_consumer(soak: Soak, trail: Trail, name: str, where: object) -> None:
    """Nothing behind the consumer's position was left out, and nothing came again that was acknowledged."""
    position, last, given = -1, -1, set[int]()
    for what, *facts in soak.facts(name):
        seq = int(facts[0])
        if what == "given":
            assert seq > position, f"{name}: seq {seq} again, though {position} was acknowledged"
            assert seq >= last, f"{name}: seq {seq} after {last}"
            last = seq
            given.add(seq)
        elif what == "acknowledged":
            position = seq
    letters = [letter.seq for letter in read_letters(trail.handle.layout) if letter.consumer == name]
    assert len(letters) == len(set(letters)), f"{name}: a letter twice"
    known = {one.name: one for one in trail.stats().consumers}
    end = known[name].position
    shown = trail.range(where=where, columns=["seq"])["seq"].to_list()  # type: ignore[arg-type]
    lost = sorted({seq for seq in shown if seq < end} - given)
    assert lost == [], f"{name}: never given: {lost[:5]} of {len(lost)}"
    assert len(letters) == known[name].given_up
    with trail.follow(name, where=where, timeout_s=0) as follower:  # type: ignore[arg-type]
        following = []
        for delivery in islice(follower, 20):
            following.append(delivery.seq)
            delivery.ack()
    assert following == sorted(seq for seq in shown if seq >= max(end, position + 1))[: len(following)]


def test_everything_at_once(
    soak: Soak, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is killed, every answer agrees, every acknowledged event is there once, and readers stay small."""
    monkeypatch.setattr(extend, "BULK_ROWS", BULK)
    done = run(soak)
    with ak.open(soak.root, maintain=False) as trail:
        accept_late(trail)  # as the producers do
        known = settle(soak, trail)
        for name, where in (("mailer", None), ("picky", {"action": ["one", "dicts", "dicts-id", "doomed"]})):
            check_consumer(soak, trail, name, where)
        events = check_events(soak, trail, known)
        trail.maintain(compact=True)
        trail.prune()
        retry_letters(trail.handle, as_given)
        check_events(soak, trail, known)
        end = trail.end_seq
    held = [[int(fact) for fact in facts] for what, *facts in soak.facts("reader") if what == "held"]
    copies = [facts for facts in soak.facts("copier") if facts[0] == "copied"]
    report = (
        f"{done['kill']} kills, {done['interrupt']} interrupts, {done['halt']} halts, {end} events, {end - events.height} pruned, "
        f"{sum(map(len, known.values()))} acknowledged batches, {len(held)} rounds of questions, {len(copies)} copies, "
        f"reader at most {max(rss for rss, _, _ in held) // 1024} MB and {max(fds for _, fds, _ in held)} descriptors"
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert max(fds for _, fds, _ in held) <= MAX_DESCRIPTORS, report
    assert max(rss for rss, _, _ in held) <= MAX_RSS_MB * 1024, report
    assert done["kill"] >= SOAK_S / 5, report
    assert copies, report
    assert held[-1][2] > 0, f"no answer was compared: {report}"
