"""Every disk operation of every workload, stopped before, stopped after, torn, or failed: one table, one loop.

For each point the folder is rebuilt as storage might hold it, with all, some or none of what no sync covered, and
recovered; then each course that recovery can take is itself stopped at every operation.  A SQLite transaction
counts as one step between two operations: what happens inside one is `test_faults`.
"""

import copy
import errno
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from auditkit.event import Rules
from auditkit.keep.compact import compact
from auditkit.opening import create, open_trail
from auditkit.queue.payload import as_arrow
from auditkit.timerange import from_us
from auditkit.trail.snapshot import PRUNED
from auditkit.write.flush import write_bulk
from tests.crashing import OWN, PAD, Batch, Ledger, Run, Step, digest, quiet_threads, shown
from tests.fakes import ManualClock
from tests.oracle import Stored, read_trail
from tests.simulated_disk import MUTATING, Fault, Keep, Kind, SimulatedDisk

pytestmark = pytest.mark.timeout(900)  # seconds: each test is a table of its own

IMAGES: dict[Kind, tuple[Keep, ...]] = {
    "before": ("lost", "kept", "first"),
    "applied": ("lost", "kept"),
    "torn": ("torn", "mixed 0", "mixed 1", "mixed 2"),
    "failed": (
        "lost",
        "kept",
        "first",
        "mixed 0",
        "mixed 1",
    ),  # right after it, and at the end but for the last
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
    tier: str | None = None
    """A tier that holds the trail's events when the steps begin."""
    floor: int = 15
    """At least how many operations the steps ask for: fewer, and something is not reached any more."""


def letter(run: Run) -> None:
    """Append one good row and one that becomes a dead letter."""
    batch = Batch(("good",))
    run.ledger.batches.append(batch)
    rows = [{"action": "good", "attrs": PAD}, {"action": ""}]
    batch.first = run.trail("one").extend(rows, on_invalid="dead-letter").wait()


def bulk(run: Run) -> None:
    """Append a batch as large ones are, straight into segments, and set the clock back."""
    handle = run.trail("one").handle
    batch = Batch(("bulk0", "bulk1", "bulk2"))
    run.ledger.batches.append(batch)
    rules = Rules(now_us=run.clock.now_us(), max_ahead_us=0)
    rows = [handle.schema.row({"action": tag, "attrs": PAD}, rules) for tag in batch.tags]
    batch.first, _ = write_bulk(handle, as_arrow(rows, handle.schema))
    run.clock.advance(hours=-1)


def crossed(run: Run) -> None:
    """Put two events into one segment, and go on so far that the first of them expires."""
    batch = Batch(("goes", "stays"))
    run.ledger.batches.append(batch)
    run.ledger.may_go |= {"goes"}
    now_us = run.clock.now_us()
    moments = [from_us(now_us - 3_600_000_000), from_us(now_us)]
    rows = [{"action": tag, "attrs": PAD, "ts": ts} for tag, ts in zip(batch.tags, moments, strict=True)]
    batch.first = run.trail("one").extend(rows).wait()
    run.trail("one").flush()
    run.clock.advance(days=2)


def ruled(run: Run) -> None:
    """Put events of two rules into one segment, some of them held, and go on so far that all expire that may."""
    tags = ("goes", "held", "stays")
    batch = Batch(tags)
    run.ledger.batches.append(batch)
    run.ledger.may_go |= {"goes"}
    trail = run.trail("one")
    trail.set_retention({"stays": "90d", "*": "2d"}, confirm=True)
    trail.hold("case", where={"action": "held"}, reason="a lawsuit")
    rows = [{"action": tag, "attrs": PAD, "ts": from_us(run.clock.now_us())} for tag in tags]
    batch.first = trail.extend(rows).wait()
    trail.flush()
    run.clock.advance(days=5)


def merged(run: Run) -> None:
    """Merge what has gathered."""
    compact(run.trail("one").handle, least=2)


def appending(tag: str) -> Step:
    """Return the step that appends one event."""
    return lambda run: run.append("one", tag)


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
            lambda run: run.trail("one").prune(now=from_us(run.clock.now_us())),
            lambda run: run.append("two", "p1"),
        ],
        retention="2d",
        later=timedelta(days=10),
    ),
    "prune through a segment": Workload(
        [
            crossed,
            lambda run: run.append("one", "p0"),
            lambda run: run.trail("one").prune(now=from_us(run.clock.now_us())),
            lambda run: run.append("two", "p1"),
        ],
        history=False,
        retention="2d",
    ),
    "compaction": Workload(
        [
            lambda run: run.append("two", "a0"),
            lambda run: run.trail("two").flush(),
            merged,
            Run.look,
            lambda run: run.append("two", "a1"),
            lambda run: run.clock.advance(minutes=16),
            lambda run: run.trail("one").flush(),
            merged,
            Run.look,
        ]
    ),
    "prune behind a compaction": Workload(
        [
            crossed,
            lambda run: run.append("one", "p0", ts=from_us(run.clock.now_us() - 172_800_000_000)),
            lambda run: run.trail("one").flush(),
            merged,
            lambda run: run.append("two", "p1"),
            lambda run: run.trail("one").prune(now=from_us(run.clock.now_us())),
            Run.look,
            lambda run: run.append("two", "p2"),
            merged,
        ],
        history=False,
        retention="2d",
    ),
    "a rollup": Workload(
        [
            lambda run: run.append("one", "r0"),
            lambda run: run.trail("one").prune(now=from_us(run.clock.now_us())),
            Run.look,
        ],
        retention="2d",
        later=timedelta(days=10),
        tier="1d",
        floor=150,
    ),
    "a rollup that expires": Workload(
        [
            lambda run: run.trail("one").rollup("1d", keep="2d"),
            lambda run: run.clock.advance(days=400),
            lambda run: run.trail("one").prune(now=from_us(run.clock.now_us())),
            Run.look,
        ],
        floor=120,
    ),
    "prune by rules, and what is held": Workload(
        [
            ruled,
            lambda run: run.append("one", "p0"),
            lambda run: run.trail("one").prune(now=from_us(run.clock.now_us())),
            Run.look,
            lambda run: run.append("two", "p1"),
        ],
        history=False,
        retention="2d",
    ),
    "a bulk": Workload(
        [
            lambda run: run.append("two", "a0"),
            bulk,
            lambda run: run.append("two", "a1"),
            Run.look,
            lambda run: run.trail("two").flush(),
        ]
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
    """What recovery makes of an image: tags by seq before and after it, and how many events were pruned."""

    before: dict[int, str]
    after: dict[int, str]
    pruned: int


@dataclass(frozen=True)
class Case:
    """What has happened to a trail so far, and when."""

    ledger: Ledger
    clock_us: int
    expires: bool


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
                trail.set_retention(workload.retention, confirm=True)
                trail.flush()
        if workload.tier is not None:
            trail.rollup(workload.tier)
    if workload.retention is not None:
        ledger.may_go = frozenset(f"old{number}" for number in range(5))
    clock.advance(seconds=workload.later.total_seconds())
    return root, Case(ledger, clock.us, workload.retention is not None)


def execute(bench: Bench, base: Path, case: Case, steps: Sequence[Step], *faults: Fault) -> Run:
    """Run steps on a copy of `base`, with faults."""
    root = bench.fresh()
    shutil.copytree(base, root)
    run = Run(root, case.ledger, case.clock_us, *faults)
    if faults and faults[0].kind == "failed":
        run.after_failure = lambda: check_images(bench, run, case, IMAGES["failed"])
    run.go(steps)
    return run


def faults_of(log: Sequence[str]) -> Iterator[Fault]:
    """Yield every fault of a run that asked for these operations."""
    for at, entry in enumerate(log):
        operation = entry.split()[0]
        yield Fault(at, "failed", ERRORS.get(operation, errno.EIO))
        if operation in MUTATING:
            yield Fault(at, "before")
            yield Fault(at, "applied")
            if operation in ("write", "sync", "sync_data", "sync_directory"):
                yield Fault(at, "torn")


def check_images(bench: Bench, run: Run, case: Case, keeps: Sequence[Keep]) -> None:
    """Check images that a crash at this moment may leave."""
    for keep in keeps:
        image = bench.fresh()
        run.disk.image(image, keep)
        found = recover(bench, image, Case(copy.deepcopy(run.ledger), run.clock.us, case.expires))
        try:
            for tags in (found.before, found.after):
                run.ledger.check(tags, found.pruned)
        except AssertionError as exc:
            exc.add_note(f"{keep}; the run went on with {run.disk.log[-3:]}")
            raise
        bench.points += 1


def recover(bench: Bench, image: Path, case: Case) -> Recovered:
    """Recover an image once, and check what holds for any: a second recovery finds nothing to do."""
    key = digest(image)
    if key in bench.recovered:
        shutil.rmtree(image)
        return bench.recovered[key]
    work = bench.fresh()
    shutil.copytree(image, work)
    disk = SimulatedDisk(work)
    there = tags_of(read_trail(work))
    with open_trail(work, disk=disk, maintain=False) as trail:
        before = shown(trail)
        assert before.items() <= there.items(), "a reader is shown what is not there"
        with trail.handle.active_queue().locked():
            settled = digest(work)
    with open_trail(work, maintain=False) as trail, trail.handle.active_queue().locked():
        assert digest(work) == settled, "a second recovery changed something"
    stored = read_trail(work)
    recorded = [event for event in stored.events.values() if event["action"] == PRUNED]
    assert sum(json.loads(event["attrs"])["events"] for event in recorded) == stored.pruned, (
        "not recorded once"
    )
    after = tags_of(stored)
    with open_trail(work, maintain=False) as trail:
        assert shown(trail) == after or case.expires, "a reader is not shown what is there"
        if any(tier.keep is None for tier in trail.handle.reader.snapshot().tiers.values()):
            producers = sum(not tag.startswith(OWN) for tag in after.values())
            assert trail.group_by([], aggs="count")["count"].to_list() == [producers + stored.pruned], (
                "a tier does not say each event once"
            )
    bench.recovered[key] = Recovered(there if case.expires else before, after, stored.pruned)
    bench.courses.setdefault(tuple(entry.split()[0] for entry in disk.log), (image, case))
    shutil.rmtree(work)
    return bench.recovered[key]


def tags_of(stored: Stored) -> dict[int, str]:
    """Return the actions of stored events by seq."""
    return {seq: event["action"] for seq, event in stored.events.items()}


def attack(bench: Bench, base: Path, case: Case, steps: Sequence[Step]) -> Run:
    """Run steps once without a fault, then with every fault there is; returns the first run."""
    rehearsal = execute(bench, base, case, steps)
    stored = read_trail(rehearsal.root)
    rehearsal.ledger.check(tags_of(stored), stored.pruned)
    for fault in faults_of(rehearsal.disk.log):
        run = execute(bench, base, case, steps, fault)
        try:
            check_images(bench, run, case, IMAGES[fault.kind][:4])
        except BaseException as exc:
            exc.add_note(f"{fault} at `{rehearsal.disk.log[fault.at]}`")
            raise
        shutil.rmtree(run.root)
    return rehearsal


@pytest.fixture(scope="module")
def attacked() -> set[tuple[str, ...]]:
    """Return the courses of recovery that were attacked already, whichever workload led to them."""
    return set()


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_crash_at_any_operation_keeps_every_promise(
    name: str, bench: Bench, attacked: set[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever operation is the last, torn or failed, nothing acknowledged or shown is lost, doubled or moved."""
    workload = WORKLOADS[name]
    base, case = begin(bench, workload)
    operations = len(attack(bench, base, case, workload.steps).disk.log)
    points = bench.points
    courses = {course: begun for course, begun in bench.courses.items() if course not in attacked}
    attacked.update(courses)
    for number, (image, found) in enumerate(courses.values()):
        attack(bench, image, found, [appending(f"again{number}"), Run.look])
    assert operations >= workload.floor
    assert points >= 6 * operations
    assert bench.points - points >= 50 * len(courses)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{name}: {operations} operations, {points} crash points, and {bench.points - points} more in "
            f"{len(courses)} courses of recovery; {len(bench.recovered)} different images\n"
        )
