"""How fast events become durable: a trail beside other stores, in one run, interleaved, as ratios.

    python -m tests.benchmarks.throughput [--events 100000] [--rounds 3] [--dir DIRECTORY]

Stores take turns every few milliseconds or seconds, so that whatever else the machine does meets all of them alike;
what they hold is counted afterwards.  Rates are medians over the turns; latencies are those of all turns together.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.stores import STORES, Event, made_events
from tests.benchmarks.workloads import (
    Taken,
    Work,
    batches,
    check_count,
    dict_batches,
    durable,
    group,
    in_processes,
    in_threads,
)

THREADS = 64
PROCESSES = 4
TURNS = 10
SINGLES = 20
"""One event of so many is measured where each waits for its own sync."""


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
class Contestant:
    """A store and what it is to do, under the name of its measure."""

    measure: str
    store: str
    work: Work


def take_turns(
    root: Path, contestants: Sequence[Contestant], events: Sequence[Event], figures: Figures
) -> None:
    """Let every contestant work through the events in a new store, a slice each in turn."""
    slices = [events[len(events) * n // TURNS : len(events) * (n + 1) // TURNS] for n in range(TURNS)]
    with tempfile.TemporaryDirectory(dir=root) as folder:
        stores = [
            STORES[one.store](Path(folder) / f"{number}-{one.measure}")
            for number, one in enumerate(contestants)
        ]
        for part in slices:
            for one, store in zip(contestants, stores, strict=True):
                figures.add(one.measure, one.store, one.work(store, part))
        for one, store in zip(contestants, stores, strict=True):
            check_count(one.store, store, len(events))
            store.close()


def run_processes(root: Path, events: int, figures: Figures) -> None:
    """Let one process and several append to a trail of their own."""
    for measure, processes in (("one process", 1), ("processes", PROCESSES)):
        with tempfile.TemporaryDirectory(dir=root) as folder:
            taken = in_processes("auditkit", Path(folder) / "trail", events, processes=processes)
        figures.add(measure, "auditkit", taken)


def run(root: Path, events: Sequence[Event], stores: Sequence[str], rounds: int) -> Figures:
    """Take every measure `rounds` times."""
    figures = Figures()
    few = [name for name in ("auditkit", "JSON lines", "SQLite") if name in stores]
    singles = events[: len(events) // SINGLES]
    threads = [
        Contestant("one thread", "auditkit", durable),
        Contestant("threads", "auditkit", partial(in_threads, threads=THREADS)),
    ]
    for _ in range(rounds):
        take_turns(root, [Contestant("group", name, group) for name in few], events, figures)
        take_turns(root, [Contestant("durable", name, durable) for name in few], singles, figures)
        take_turns(root, threads, singles, figures)
        take_turns(root, [Contestant("batches", name, batches) for name in stores], events, figures)
        take_turns(root, [Contestant("dict batches", name, dict_batches) for name in few], events, figures)
        run_processes(root, len(singles), figures)
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where the stores lie (default: the system's place)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as root:
        figures = run(Path(root), made_events(given.events), installed(), given.rounds)
    for line in (*ratios(figures), "", *latencies(figures)):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
