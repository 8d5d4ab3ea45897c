"""A trail beside other stores: one run, one table.

    python -m tests.benchmarks.run [--events 10000000] [--rounds 5] [--memory 30000000] [--dir DIRECTORY]

Each store has a worker process of its own.  In every round of a measure the stores take turns, so that whatever else the
machine does meets all of them alike; figures are medians over the rounds.  Answers are held against each other.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from tests.benchmarks import work
from tests.benchmarks.stores import STORES

OURS = ("auditkit", "without ids")
ASKED = tuple(name for name in ("Parquet", "DuckDB", "Delta", "LanceDB") if name in STORES)
SYNCED = tuple(name for name in STORES if STORES[name].is_synced and name not in OURS)
QUESTIONS = ("hours", "minutes", "hour", "seldom", "often")
THREADS = 64


@dataclass(frozen=True, slots=True)
class Claim:
    """A row of the table: a measure, the peers of which the best is held against it, and what its ratio must and should be.

    More of a `rate` is better; of a `time` and a `cost` less is, but times are compared by quickness.
    """

    words: str
    measure: str
    peers: Sequence[str]
    floor: float
    aim: float
    kind: Literal["rate", "time", "cost"]
    unit: str = "ms"


CLAIMS = (
    Claim("bulk ingest, 100k batches / Parquet directory, synced", "bulk", ("Parquet",), 0.7, 1, "rate", "/s"),
    Claim("batches of 1,000 from Arrow / best synced peer", "batches", SYNCED, 1.3, 2, "rate", "/s"),
    Claim("dicts with group commit / SQLite FULL, a commit per 1,000", "groups", ("SQLite",), 1.2, 2, "rate", "/s"),
    Claim("one durable event / JSON lines + fdatasync", "singles", ("JSON lines",), 0.9, 1, "rate", "/s"),
    Claim("64 waiting threads / one", "threads", ("one thread",), 3, 4, "rate", "/s"),
    Claim("count per action per hour / best peer", "hours", ASKED, 1.3, 2, "time"),
    Claim("downsample 1 minute by action / best peer", "minutes", ASKED, 1.1, 1.5, "time"),
    Claim("range of an hour, warm / best peer", "hour", ASKED, 0.9, 1.3, "time"),
    Claim("an actor with few events / DuckDB unindexed", "seldom", ("DuckDB",), 0.6, 1, "time"),
    Claim("an actor with a tenth of all events / DuckDB", "often", ("DuckDB",), 0.2, 0.5, "time"),
    Claim("bytes per event / Parquet", "bytes", ("Parquet",), 1.1, 1, "cost", "B"),
    Claim("drop the oldest 7 of 30 days / Parquet", "drop", ("Parquet",), 2, 1.2, "cost"),
    Claim("open and first row, a fresh process / Parquet", "first", ("Parquet",), 1, 0.7, "cost"),
)  # fmt: skip
MOST_PEAK, AIMED_PEAK = 600, 300
"""Of a count over 30 million events, in MB."""


@dataclass(slots=True)
class Figures:
    """What all rounds gave, by (measure, store): events per second, milliseconds, bytes per event."""

    found: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, measure: str, store: str, figure: float) -> None:
        """Take in what one round gave."""
        self.found.setdefault((measure, store), []).append(figure)

    def median(self, measure: str, store: str) -> float | None:
        """Return the median of the rounds, `None` where nothing was measured."""
        found = self.found.get((measure, store))
        return statistics.median(found) if found else None

    def best(self, claim: Claim) -> tuple[str, float] | None:
        """Return the peer that a claim is held against, and its figure."""
        medians = {peer: self.median(claim.measure, peer) for peer in claim.peers}
        there = [(figure, peer) for peer, figure in medians.items() if figure is not None]
        if not there:
            return None
        figure, peer = (max if claim.kind == "rate" else min)(there)
        return peer, figure


class Workers:
    """A process for each store, and places on disk."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        spawn = get_context("spawn")
        self._pools = {name: ProcessPoolExecutor(1, mp_context=spawn) for name in names}
        self._root = root
        for name in names:
            self.scratch(name).parent.mkdir(parents=True)

    def place(self, name: str) -> Path:
        """Return where a store of all events lies."""
        return self._root / f"{name.replace(' ', '-')}-all"

    def scratch(self, name: str) -> Path:
        """Return where a small store lies, in a folder of its own."""
        return self._root / name.replace(" ", "-") / "store"

    def do(self, name: str, job: Callable[..., Any], *given: object) -> Any:
        """Run a job of `work` in a store's process, and return what it returns."""
        return self._pools[name].submit(job, name, *given).result()

    def close(self) -> None:
        """End all processes."""
        for pool in self._pools.values():
            pool.shutdown()


def write_small(workers: Workers, figures: Figures, rounds: int, events: int, clock: work.Clock) -> None:
    """Measure batches, group commits and single events; single ones are a fiftieth as many."""
    few, many = max(1, events // 50), max(THREADS, events // 20)
    groups, singles = (*OURS, "SQLite"), (*OURS, *(["JSON lines"] if "JSON lines" in STORES else []))
    for _ in range(rounds):
        for name in (*OURS, *SYNCED):
            figures.add("batches", name, workers.do(name, work.batches, workers.scratch(name), events, clock))
        for name in groups:
            figures.add("groups", name, workers.do(name, work.groups, workers.scratch(name), events, clock))
        for name in singles:
            figures.add("singles", name, workers.do(name, work.singles, workers.scratch(name), few, clock))
        for name in OURS:
            together = workers.do(name, work.singles, workers.scratch(name), many, clock, THREADS)
            figures.add("threads", name, together)
    figures.found["threads", "one thread"] = list(figures.found["singles", "auditkit"])


def load(workers: Workers, figures: Figures, rounds: int, events: int, clock: work.Clock) -> None:
    """Fill the stores that are asked, a part of all events in each round, and take their sizes."""
    borders = [events * number // rounds for number in range(rounds + 1)]
    for begin, end in pairwise(borders):
        for name in (*OURS, *ASKED):
            rate = workers.do(name, work.loads, workers.place(name), begin, end - begin, events, clock)
            figures.add("bulk", name, rate)
    for name in (*OURS, *ASKED):
        size = workers.do(name, work.finished, workers.place(name))
        figures.add("bytes", name, size / events)


def ask(workers: Workers, figures: Figures, rounds: int, clock: work.Clock) -> None:
    """Ask every question once to warm up, and then in every round."""
    for question in QUESTIONS:
        first = None
        for number in range(rounds + 1):
            for name in (*OURS, *ASKED):
                seconds, answer = workers.do(name, work.asked, workers.place(name), question, clock)
                first = answer if first is None else first
                if answer != first:
                    raise AssertionError(f"{question}: {name} answers {answer}, {OURS[0]} {first}")
                if number:
                    figures.add(question, name, seconds * 1e3)


def open_and_drop(workers: Workers, figures: Figures, rounds: int, clock: work.Clock) -> None:
    """Measure whole processes that read a first row, and what dropping seven days takes a copy of each store."""
    names = (*OURS, "Parquet")
    for name in names:
        workers.do(name, work.closes, workers.place(name))
        first_row(name, workers.place(name), clock)  # which leaves compiled modules behind
    for _ in range(rounds):
        for name in names:
            place = workers.place(name)
            figures.add("first", name, first_row(name, place, clock) * 1e3)
            figures.add("drop", name, workers.do(name, work.drops, place, workers.scratch(name), clock) * 1e3)


def first_row(name: str, place: Path, clock: work.Clock) -> float:
    """Return the seconds in which a fresh process opens a store, whose files are not in memory, and reads its first row."""
    evict(place)
    program = (
        f"import sys, time, pyarrow; place = sys.argv[1]; clock = time.{work.CLOCKS[clock].__name__}; "
        f"started = clock(); {STORES[name].first}; print(clock() - started)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", program, str(place)]
    return float(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)


def evict(place: Path) -> None:
    """Ask the system to forget what it has in memory of a store's files."""
    os.sync()
    for path in place.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def peak_mb(root: Path, events: int) -> float:
    """Return the peak memory of a process that counts so many events per action and hour, in MB."""
    (ours, *_), place = OURS, root / "trail"
    loading, asking = Workers(root / "loading", [ours]), Workers(root / "asking", [ours])
    loading.do(ours, work.loads, place, 0, events, events, "wall")
    loading.do(ours, work.finished, place)
    loading.close()
    peak = asking.do(ours, work.peak_bytes, place) / 1e6
    asking.close()
    return float(peak)


def table(figures: Figures) -> Iterator[str]:
    """Yield the table in Markdown."""
    yield "| measure | with ids | without | beside | ratio with ids | without | floor | aim |"
    yield "|---|---|---|---|---|---|---|---|"
    for claim in CLAIMS:
        best = figures.best(claim)
        if best is None:
            continue
        peer, theirs = best
        ours = [figures.median(claim.measure, name) for name in OURS]
        ratios = [
            "" if one is None else f"{theirs / one if claim.kind == 'time' else one / theirs:.2f}"
            for one in ours
        ]
        bound = "≤ " if claim.kind == "cost" else ""
        cells = [
            claim.words, *("" if one is None else _figure(claim, one) for one in ours),
            f"{_figure(claim, theirs)} ({peer})", *ratios, f"{bound}{claim.floor:g}", f"{bound}{claim.aim:g}",
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    peak = figures.median("peak", "auditkit")
    if peak is not None:
        yield f"| count over 30M, peak memory | {peak:,.0f} MB | | | | | ≤ {MOST_PEAK} MB | ≤ {AIMED_PEAK} MB |"


def _figure(claim: Claim, value: float) -> str:
    return f"{value:,.0f}/s" if claim.unit == "/s" else f"{value:,.1f} {claim.unit}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="A trail beside other stores.")
    parser.add_argument("--events", type=int, default=10_000_000, help="of the stores that are asked")
    parser.add_argument("--small", type=int, default=100_000, help="events that are written in small pieces")
    parser.add_argument("--memory", type=int, help="events of a trail whose count has its peak memory taken")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: time of the processor")
    parser.add_argument("--dir", type=Path, help="where the stores lie (default: the system's place)")
    given = parser.parse_args(arguments)
    figures = Figures()
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        workers = Workers(Path(folder) / "stores", list(STORES))
        try:
            write_small(workers, figures, given.rounds, given.small, given.clock)
            load(workers, figures, given.rounds, given.events, given.clock)
            ask(workers, figures, given.rounds, given.clock)
            open_and_drop(workers, figures, given.rounds, given.clock)
        finally:
            workers.close()
        if given.memory:
            figures.add("peak", OURS[0], peak_mb(Path(folder) / "memory", given.memory))
    sys.stdout.write("\n".join(table(figures)) + "\n")


if __name__ == "__main__":
    main()
