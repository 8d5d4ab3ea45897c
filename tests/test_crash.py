"""Every disk operation of every workload, stopped before, stopped after, torn, or failed: one table, one loop.

For each point the folder is rebuilt as storage might hold it, with all, some or none of what no sync covered, and
recovered; then each course that recovery can take is itself stopped at every operation.  A SQLite transaction
counts as one step between two operations: what happens inside one is `test_faults`.
"""

import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from auditkit.timerange import from_us
from auditkit.trail.facade import create, open_trail
from tests.crashing import PAD, Batch, Ledger, Run, Step, digest, quiet_threads, shown
from tests.fakes import ManualClock
from tests.oracle import read_trail
from tests.simulated_disk import MUTATING, Fault, Keep, Kind, SimulatedDisk

IMAGES: dict[Kind, tuple[Keep, ...]] = {
    "before": ("lost", "kept", "first"),
    "applied": ("lost", "kept"),
    "torn": ("torn", "mixed 0", "mixed 1", "mixed 2"),
    "failed": ("lost", "kept", "first", "mixed 0", "mixed 1"),
}
ERRORS = {"lock": errno.ENOLCK, "write": errno.ENOSPC, "create": errno.ENOSPC, "make_directory": errno.ENOSPC}


@dataclass(frozen=True)
class Workload:
    """Steps over a trail that is there already, with or without events."""

    steps: Sequence[Step]
    history: bool = True
    retention: str | None = None
    later: timedelta = timedelta(seconds=1)
    """How long after the trail's last event the steps begin."""


def letter(run: Run) -> None:
    """Append one good row and one that becomes a dead letter."""
    batch = Batch(("good",))
    run.ledger.batches.append(batch)
    rows = [{"action": "good", "attrs": PAD}, {"action": ""}]
    batch.first = run.trail("one").extend(rows, on_invalid="dead-letter").wait()


def yesterday(run: Run) -> str:
    """Return a moment in another partition than now's."""
    return from_us(run.clock.now_us() - 86_400_000_000).isoformat()


WORKLOADS = {
    "two writers, flush, retry": Workload(
        [
            lambda run: run.append("one", "a0"),
            lambda run: run.append("two", "b0", "b1", ts=yesterday(run)),
            Run.look,
            lambda run: run.again("one", "keyed", "key"),
            lambda run: run.trail("one").flush(),
            Run.look,
            lambda run: run.append("two", "b2"),
            lambda run: run.again("two", "keyed", "key"),
            letter,
            lambda run: run.trail("two").flush(),
            lambda run: run.append("one", "a1"),
            Run.look,
        ]
    ),
    "a new trail": Workload(
        [lambda run: run.append("one", "a0"), lambda run: run.append("two", "b0"), Run.look], history=False
    ),
    "prune": Workload(
        [
            lambda run: run.append("one", "p0"),
            lambda run: run.trail("one").prune(),
            lambda run: run.append("two", "p1"),
        ],
        retention="2d",
        later=timedelta(days=10),
    ),
    "a batch of several blocks": Workload(
        [lambda run: run.append("one", *"vwxyz", attrs={"pad": "x" * 1_000_000}), Run.look]
    ),
}


@dataclass
class Bench:
    """Where images are kept, and what has been found out about each: it is recovered once."""

    folder: Path
    recovered: dict[bytes, "Recovered"] = field(default_factory=dict)
    courses: dict[tuple[str, ...], tuple[Path, "Case"]] = field(default_factory=dict)
    points: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def fresh(self) -> Path:
        """Return a path that nothing has."""
        return self.folder / f"{next(self.numbers):06}"


@dataclass(frozen=True)
class Recovered:
    """What recovery made of an image: tags by seq, before and after it; how many events were pruned."""

    before: dict[int, str]
    after: dict[int, str]
    pruned: int


@dataclass(frozen=True)
class Case:
    """A workload that has run up to some point."""

    ledger: Ledger
    clock_us: int
    retention: bool


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Return a bench in memory where there is any to be had."""
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="auditkit-crash-", dir=base) as folder, quiet_threads():
        yield Bench(Path(folder))


def begin(bench: Bench, workload: Workload) -> tuple[Path, Case]:
    """Create the trail that a workload starts with: some events in a segment, some in the queue."""
    root, clock, ledger = bench.fresh(), ManualClock(), Ledger()
    with create(root, clock=clock, retention=workload.retention, maintain=False) as trail:
        for number in range(5 if workload.history else 0):
            tag = f"old{number}"
            ledger.batches.append(Batch((tag,), trail.append(action=tag, attrs=PAD).wait()))
            if number == 2:
                trail.set_retention(workload.retention)
                trail.flush()
    if workload.retention is not None:
        ledger.may_go = frozenset(f"old{number}" for number in range(5))
    clock.advance(seconds=workload.later.total_seconds())
    return root, Case(ledger, clock.us, workload.retention is not None)


def execute(
    bench: Bench, base: Path, case: Case, steps: Sequence[Step], *faults: Fault
) -> tuple[Run, list[Ledger]]:
    """Run steps on a copy of `base`; returns the run and the ledgers that belong to images taken on the way."""
    root = bench.fresh()
    shutil.copytree(base, root)
    run = Run(root, case.ledger, case.clock_us, *faults)
    ledgers: list[Ledger] = []
    run.go(steps)
    return run, ledgers


def faults_of(log: Sequence[str]) -> Iterator[Fault]:
    """Yield every fault for a run that asked for these operations."""
    for at, entry in enumerate(log):
        operation = entry.split()[0]
        yield Fault(at, "failed", ERRORS.get(operation, errno.EIO))
        if operation in MUTATING:
            yield Fault(at, "before")
            yield Fault(at, "applied")
            if operation in ("write", "sync", "sync_data", "sync_directory"):
                yield Fault(at, "torn")


def check_images(bench: Bench, run: Run, case: Case, kind: Kind) -> None:
    """Check every image that a crash at the end of this run may leave."""
    for keep in IMAGES[kind]:
        image = bench.fresh()
        run.disk.image(image, keep)
        found = recover(bench, image, Case(run.ledger, run.clock.us, case.retention))
        for tags in (found.before, found.after):
            run.ledger.check(tags, found.pruned)
        bench.points += 1
    shutil.rmtree(run.root)


def recover(bench: Bench, image: Path, case: Case) -> Recovered:
    """Recover an image, checking what holds for any: twice is once, and all readers agree."""
    key = digest(image)
    if key not in bench.recovered:
        stored = read_trail(image)
        stored_before = {seq: event["action"] for seq, event in stored.events.items()}
        work = bench.fresh()
        shutil.copytree(image, work)
        disk = SimulatedDisk(work)
        for _ in range(2):
            with open_trail(work, disk=disk, maintain=False) as trail:
                before = {**stored_before, **shown(trail)} if case.retention else shown(trail)
                assert before.items() <= stored_before.items()
                with trail.core.active_queue().locked():
                    settled = digest(work)
        course = tuple(disk.log)
        with open_trail(work, maintain=False) as trail, trail.core.active_queue().locked():
            assert digest(work) == settled, "a second recovery changed something"
        stored = read_trail(work)
        after = {seq: event["action"] for seq, event in stored.events.items()}
        assert before.items() <= after.items() or case.retention
        bench.recovered[key] = Recovered(before, after, stored.pruned)
        shutil.rmtree(work)
        if course not in bench.courses:
            bench.courses[course] = (image, case)
            return bench.recovered[key]
    shutil.rmtree(image)
    return bench.recovered[key]


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_crash_at_any_operation_keeps_every_promise(
    name: str, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever operation is the last, torn or failed, nothing acknowledged or shown is lost, doubled or moved."""
    workload = WORKLOADS[name]
    base, case = begin(bench, workload)
    rehearsal, _ = execute(bench, base, case, workload.steps)
    rehearsal.ledger.check(
        {s: e["action"] for s, e in read_trail(rehearsal.root).events.items()},
        read_trail(rehearsal.root).pruned,
    )
    for fault in faults_of(rehearsal.disk.log):
        run, _ = execute(bench, base, case, workload.steps, fault)
        try:
            check_images(bench, run, case, fault.kind)
        except BaseException as exc:
            exc.add_note(f"{fault} ({rehearsal.disk.log[fault.at]})")
            raise
    with capsys.disabled():
        print(
            f"{name}: {len(rehearsal.disk.log)} operations, {bench.points} points, {len(bench.recovered)} images, {len(bench.courses)} courses"
        )
