"""What crash tests share: runs of a workload over a simulated disk, and the ledger of what the trail owes.

A run notes every batch it hands over, what was acknowledged, and what a reader was shown.  Each event carries a
tag of its own as its action, so that a loss, a repetition or another order shows by name.
"""

import copy
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from auditkit.api import Trail
from auditkit.errors import AuditError, CorruptionError
from auditkit.opening import open_trail
from tests.fakes import ManualClock
from tests.simulated_disk import Crash, Fault, SimulatedDisk

PAD = {"pad": "x" * 700}
OWN = ("retention.", "rollup.", "hold.")


@dataclass
class Batch:
    """Events handed over together; `first` is the seq of the first one once they were acknowledged."""

    tags: tuple[str, ...]
    first: int | None = None

    def acknowledged(self) -> Iterator[tuple[int, str]]:
        """Yield (seq, tag) of what was acknowledged."""
        if self.first is not None:
            yield from enumerate(self.tags, self.first)


@dataclass
class Ledger:
    """What a trail owes: the batches in the order of their submission, and what a reader was shown."""

    batches: list[Batch] = field(default_factory=list)
    seen: dict[int, str] = field(default_factory=dict)
    may_go: frozenset[str] = frozenset()

    def check(self, shown: Mapping[int, str], pruned: int = 0) -> None:
        """Fail unless `shown` (tags by seq) is a history that keeps every promise.

        `pruned` says how many events tombstones account for; only those of `may_go` may be among them.
        """
        end = max(shown, default=-1) + 1
        assert len(shown) + pruned == end, f"gaps: {end} seqs, {len(shown)} events, {pruned} pruned"
        tags = [shown[seq] for seq in sorted(shown) if not shown[seq].startswith(OWN)]
        assert len(set(tags)) == len(tags), f"an event is there twice: {tags}"
        order = [tag for batch in self.batches for tag in batch.tags]
        assert set(tags) <= set(order), f"events that were not appended: {set(tags) - set(order)}"
        assert tags == [tag for tag in order if tag in set(tags)], f"not in the order of submission: {tags}"
        owed = {seq: tag for batch in self.batches for seq, tag in batch.acknowledged()}
        for word, promised in (("acknowledged", owed), ("shown before", self.seen)):
            lost = {seq: tag for seq, tag in promised.items() if shown.get(seq) != tag}
            if not pruned or not set(lost.values()) <= self.may_go:
                assert not lost, f"{word}, and gone now: {lost}"
        for batch in self.batches:
            whole = set(batch.tags) - (self.may_go if pruned else frozenset())
            there = set(tags) & whole
            assert there in (set(), whole), f"part of a batch: {there} of {whole}"


class Run:
    """One execution of a workload: trails as several processes would hold them, on one simulated disk."""

    def __init__(self, root: Path, ledger: Ledger, clock_us: int, *faults: Fault) -> None:
        self.root = root
        self.ledger = copy.deepcopy(ledger)
        self.disk = SimulatedDisk(root, *faults)
        self.clock = ManualClock()
        self.clock.us = clock_us
        self.after_failure: Callable[[], None] | None = None
        self._trails: dict[str, Trail] = {}

    def trail(self, name: str) -> Trail:
        """Return the trail as one process holds it, open."""
        if name not in self._trails:
            self._trails[name] = open_trail(self.root, disk=self.disk, clock=self.clock, maintain=False)
        return self._trails[name]

    def go(self, steps: "Sequence[Step]") -> None:
        """Take steps until the machine stops; after a failure every process opens the trail again and goes on."""
        for step in steps:
            failed_before = self.disk.failed
            try:
                step(self)
            except Crash:
                break
            except (OSError, AuditError) as exc:
                if not self.disk.failed or isinstance(exc, CorruptionError):
                    raise
            if self.disk.failed != failed_before:
                self.close()
                if self.after_failure is not None:
                    self.after_failure()
        self.close()

    def close(self) -> None:
        """Let go of all trails, as the end of their processes does."""
        while self._trails:
            with suppress(Crash, OSError, AuditError):
                self._trails.popitem()[1].close()

    def append(self, who: str, *tags: str, **more: Any) -> int | None:
        """Append a batch and wait for it."""
        batch = Batch(tags)
        self.ledger.batches.append(batch)
        rows = [{"action": tag, "attrs": PAD, **more} for tag in tags]
        trail = self.trail(who)
        receipt = trail.append(**rows[0]) if len(rows) == 1 else trail.extend(rows)
        batch.first = receipt.wait()
        return batch.first

    def again(self, who: str, tag: str, key: str) -> None:
        """Append an event with an id that may have been appended before, acknowledged or not."""
        known = next((batch for batch in self.ledger.batches if batch.tags == (tag,)), None)
        if known is None:
            self.append(who, tag, id=key)
            return
        seq = self.trail(who).append(action=tag, attrs=PAD, id=key).wait()
        assert known.first in (None, seq), f"{tag} was acknowledged as {known.first}, and again as {seq}"
        if known.first is None:
            self._settled(known, seq)

    def _settled(self, batch: Batch, seq: int | None) -> None:
        """Note that a batch that was not acknowledged is there: at its old place, or at the end."""
        before = max((b.first + len(b.tags) for b in self.ledger.batches if b.first is not None), default=0)
        batch.first = seq
        if seq is not None and seq >= before:
            self.ledger.batches.remove(batch)
            self.ledger.batches.append(batch)

    def look(self) -> None:
        """Note what a reader is shown."""
        self.ledger.seen.update(shown(self.trail("reader")))


Step = Callable[[Run], object]


def shown(trail: Trail) -> dict[int, str]:
    """Return the tags that a trail shows, by seq."""
    frame = trail.scan(own=True).select("seq", "action").collect()
    assert frame.get_column("seq").is_unique().all(), "a reader is shown a seq twice"
    return dict(frame.select(pl.col("seq").cast(pl.Int64), "action").iter_rows())


def digest(folder: Path) -> bytes:
    """Return a digest of everything in a folder: names and bytes."""
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        total.update(os.fsencode(path.relative_to(folder)) + b"\0")
        if path.is_file():
            total.update(path.read_bytes())
    return total.digest()


@contextmanager
def quiet_threads() -> Iterator[None]:
    """Let a writer's thread that meets a simulated crash end without a word."""
    import threading

    usual = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, Crash):
            usual(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual
