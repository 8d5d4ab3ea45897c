"""How fast events become durable: a trail beside other stores, in one run, interleaved, as ratios.

    python -m tests.benchmarks.throughput [--events 100000] [--rounds 5] [--dir DIRECTORY]

Every measure makes fresh stores, one after the other within each round, and counts what they hold afterwards.
Rates are medians over the rounds; latencies are those of all rounds together.
"""

import argparse
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import pyarrow as pa

from tests.benchmarks.stores import SCHEMA, STORES, Event, Store, made_events

Part = TypeVar("Part")
THREADS = 64
PROCESSES = 4
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Taken:
    """One run of one measure: how many events within how many seconds, and what each wait took."""

    events: int
    seconds: float
    waits: Sequence[float] = ()


@dataclass(slots=True)
class Figures:
    """What all rounds gave, by (measure, store)."""

    rates: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    waits: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, measure: str, store: str, taken: Taken) -> None:
        """Take in one run."""
        self.rates.setdefault((measure, store), []).append(taken.events / taken.seconds)
        self.waits.setdefault((measure, store), []).extend(taken.waits)

    def rate(self, measure: str, store: str) -> float:
        """Return the median of a store's rates, in events per second."""
        return statistics.median(self.rates[measure, store])

    def best_peer(self, measure: str) -> str:
        """Return the fastest other store of a measure."""
        peers = [store for known, store in self.rates if known == measure and store != "auditkit"]
        return max(peers, key=lambda store: self.rate(measure, store))


@dataclass(frozen=True, slots=True)
class Claim:
    """A ratio that is claimed of two figures."""

    words: str
    measure: str
    other: tuple[str, str] | None
    """(measure, store) that it is compared with; `None` means the best peer."""
    floor: float | None = None
    aim: float | None = None


CLAIMS = (
    Claim("one dict at a time, group commit / JSON lines, fdatasync per 1,000", "group", ("group", "JSON lines"), 1.2, 2),
    Claim("one dict at a time, group commit / SQLite FULL, a commit each", "group", ("durable", "SQLite"), 4, 5),
    Claim("one dict at a time, group commit / SQLite FULL, a commit per 1,000", "group", ("group", "SQLite"), 4, 5),
    Claim("one durable event at a time / JSON lines + fdatasync", "durable", ("durable", "JSON lines"), 0.85, 1),
    Claim("one durable event at a time / SQLite FULL", "durable", ("durable", "SQLite"), 0.95, 1.3),
    Claim("64 threads that each wait / one thread", "threads", ("one thread", "auditkit"), 3, 4),
    Claim("4 processes that each wait / one process", "processes", ("one process", "auditkit"), 0.6, 1),
    Claim("batches of 1,000, Arrow / best peer", "batches", None, 2, 3),
    Claim("batches of 1,000, dicts / best peer", "dict batches", None),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """The events of a run, and where its stores lie."""

    root: Path
    events: Sequence[Event]
    singles: int
    """How many events are measured where each waits for its own sync."""
    numbers: Iterator[int] = field(default_factory=count)

    def place(self) -> Path:
        """Return where nothing lies yet."""
        return self.root / f"store-{next(self.numbers)}"

    def run(self, name: str, work: Callable[[Store], Taken]) -> Taken:
        """Let a fresh store do its work, count what it holds, and remove it."""
        store = STORES[name](self.place())
        try:
            taken = work(store)
            if store.count() != taken.events:
                raise AssertionError(f"{name}: expected {taken.events} events, found {store.count()}")
        finally:
            store.close()
            shutil.rmtree(self.root)
            self.root.mkdir()
        return taken

    def group(self, store: Store) -> Taken:
        """Hand over events one at a time, waiting only for the last."""
        started = perf_counter()
        for event in self.events:
            store.accept(event)
        store.settle()
        return Taken(len(self.events), perf_counter() - started)

    def durable(self, store: Store) -> Taken:
        """Store events one at a time, each durable before the next."""
        return _each(store, self.events[: self.singles])

    def threads(self, threads: int, store: Store) -> Taken:
        """Store events from several threads, each of which waits for its own."""
        share = max(1, self.singles * min(threads, 8) // threads)
        waits: list[float] = []
        barrier = threading.Barrier(threads + 1)

        def work(events: Sequence[Event]) -> None:
            barrier.wait()
            waits.extend(_each(store, events).waits)

        workers = [threading.Thread(target=work, args=[self.events[:share]]) for _ in range(threads)]
        for worker in workers:
            worker.start()
        barrier.wait()
        started = perf_counter()
        for worker in workers:
            worker.join()
        return Taken(share * threads, perf_counter() - started, waits)

    def processes(self, processes: int, name: str) -> Taken:
        """Store events from several processes, each of which waits for its own."""
        place, share = self.place(), max(2, self.singles // processes)
        STORES[name](place).close()
        spawn = multiprocessing.get_context("spawn")
        barrier, results = spawn.Barrier(processes), spawn.SimpleQueue()
        workers = [
            spawn.Process(target=_process, args=(name, place, share, barrier, results))
            for _ in range(processes)
        ]
        for worker in workers:
            worker.start()
        spans = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
        store = STORES[name](place)
        if store.count() != share * processes:
            raise AssertionError(f"{name}: expected {share * processes} events, found {store.count()}")
        store.close()
        shutil.rmtree(place)
        seconds = max(end for _, end, _ in spans) - min(start for start, _, _ in spans)
        return Taken((share - 1) * processes, seconds, [wait for *_, waits in spans for wait in waits])

    def batches(self, store: Store) -> Taken:
        """Store Arrow tables, each as one commit."""
        tables = [pa.Table.from_pylist(part, schema=SCHEMA) for part in self._parts()]
        return _each_of(store.write, tables, len(self.events))

    def dict_batches(self, store: Store) -> Taken:
        """Store lists of dicts, each as one commit."""
        return _each_of(store.write_dicts, list(self._parts()), len(self.events))

    def _parts(self) -> Iterator[Sequence[Event]]:
        for start in range(0, len(self.events), BATCH):
            yield self.events[start : start + BATCH]


def _each(store: Store, events: Sequence[Event]) -> Taken:
    return _each_of(store.append, events, len(events))


def _each_of(act: Callable[[Part], None], parts: Sequence[Part], events: int) -> Taken:
    waits = []
    begun = started = perf_counter()
    for part in parts:
        act(part)
        done = perf_counter()
        waits.append(done - started)
        started = done
    return Taken(events, started - begun, waits)


def _process(name: str, place: Path, share: int, barrier: Any, results: Any) -> None:
    """Append from a process of one's own, beginning together with the others."""
    store = STORES[name](place)
    events = made_events(share)
    store.append(events[0])  # the first one opens the queue
    barrier.wait()
    started = perf_counter()
    waits = _each(store, events[1:]).waits
    results.put((started, perf_counter(), waits))
    store.close()


def measure(bench: Bench, stores: Sequence[str], rounds: int) -> Figures:
    """Run every measure once per round, the stores in turn."""
    figures = Figures()
    few = [name for name in ("auditkit", "JSON lines", "SQLite") if name in stores]
    for _ in range(rounds):
        for name in few:
            figures.add("group", name, bench.run(name, bench.group))
            figures.add("durable", name, bench.run(name, bench.durable))
            figures.add("dict batches", name, bench.run(name, bench.dict_batches))
        for name in stores:
            figures.add("batches", name, bench.run(name, bench.batches))
        for label, workers in (("one thread", 1), ("threads", THREADS)):
            figures.add(label, "auditkit", bench.run("auditkit", partial(bench.threads, workers)))
        for label, workers in (("one process", 1), ("processes", PROCESSES)):
            figures.add(label, "auditkit", bench.processes(workers, "auditkit"))
    return figures


def ratios(figures: Figures) -> Iterator[str]:
    """Yield the table of the claims, floors and aims beside what was found."""
    yield "| what / beside what | events/s | beside | ratio | floor | aim |"
    yield "|---|---|---|---|---|---|"
    for claim in CLAIMS:
        measured = (claim.measure, "auditkit") in figures.rates
        if not measured or (claim.other and claim.other not in figures.rates):
            continue
        other = claim.other or (claim.measure, figures.best_peer(claim.measure))
        ours, theirs = figures.rate(claim.measure, "auditkit"), figures.rate(*other)
        words = claim.words if claim.other else f"{claim.words} ({other[1]})"
        bounds = " | ".join("" if bound is None else f"{bound:g}" for bound in (claim.floor, claim.aim))
        yield f"| {words} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f} | {bounds} |"


def latencies(figures: Figures) -> Iterator[str]:
    """Yield the table of what each wait took, in milliseconds."""
    yield "| measure | store | events/s | p50 | p99 | p99.9 | max |"
    yield "|---|---|---|---|---|---|---|"
    for (label, store), waits in figures.waits.items():
        ordered = sorted(waits)
        shown = [
            f"{ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1e3:.3f}" if ordered else ""
            for part in (0.5, 0.99, 0.999, 1)
        ]
        yield f"| {label} | {store} | {figures.rate(label, store):,.0f} | {' | '.join(shown)} |"


def installed() -> list[str]:
    """Return the stores whose libraries are there."""
    needs = {"JSON lines": "orjson", "DuckDB": "duckdb", "Delta": "deltalake", "LanceDB": "lancedb"}
    return [name for name in STORES if name not in needs or find_spec(needs[name])]


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description="Throughput of a trail beside other stores.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where the stores lie (default: the system's place)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as root:
        bench = Bench(
            Path(root) / "stores", made_events(given.events), singles=max(PROCESSES, given.events // 50)
        )
        bench.root.mkdir()
        figures = measure(bench, installed(), given.rounds)
    for line in (*ratios(figures), "", *latencies(figures)):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
