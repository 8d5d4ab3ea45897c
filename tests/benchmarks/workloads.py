"""What stores are asked to do with events, and how long it took: workloads of a throughput benchmark."""

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import pyarrow as pa

from tests.benchmarks.stores import SCHEMA, STORES, Event, Store, made_events

Part = TypeVar("Part")
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Taken:
    """One piece of work: how many events within how many seconds, and what each wait took."""

    events: int
    seconds: float
    waits: Sequence[float] = ()


Work = Callable[[Store, Sequence[Event]], Taken]


def group(store: Store, events: Sequence[Event]) -> Taken:
    """Hand over events one at a time, waiting only for the last."""
    started = perf_counter()
    for event in events:
        store.accept(event)
    store.settle()
    return Taken(len(events), perf_counter() - started)


def durable(store: Store, events: Sequence[Event]) -> Taken:
    """Store events one at a time, each durable before the next."""
    return _each(store.append, events, len(events))


def batches(store: Store, events: Sequence[Event]) -> Taken:
    """Store Arrow tables of up to 1,000 events, each as one commit."""
    tables = [pa.Table.from_pylist(part, schema=SCHEMA) for part in _parts(events)]
    return _each(store.write, tables, len(events))


def dict_batches(store: Store, events: Sequence[Event]) -> Taken:
    """Store lists of up to 1,000 dicts, each as one commit."""
    return _each(store.write_dicts, list(_parts(events)), len(events))


def in_threads(store: Store, events: Sequence[Event], *, threads: int) -> Taken:
    """Store events from several threads, each of which waits for its own."""
    waits: list[float] = []
    barrier = threading.Barrier(threads + 1)

    def work(share: Sequence[Event]) -> None:
        barrier.wait()
        waits.extend(durable(store, share).waits)

    workers = [threading.Thread(target=work, args=[events[n::threads]]) for n in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = perf_counter()
    for worker in workers:
        worker.join()
    return Taken(len(events), perf_counter() - started, waits)


def in_processes(name: str, place: Path, events: int, *, processes: int) -> Taken:
    """Store events in a new store from several processes, each of which waits for its own."""
    STORES[name](place).close()
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(processes), spawn.SimpleQueue()
    share = events // processes
    workers = [
        spawn.Process(target=_process, args=(name, place, share, barrier, results)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    spans = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    seconds = max(end for _, end, _ in spans) - min(start for start, _, _ in spans)
    store = STORES[name](place)
    check_count(name, store, (share + 1) * processes)
    store.close()
    return Taken(share * processes, seconds, [wait for *_, waits in spans for wait in waits])


def check_count(name: str, store: Store, events: int) -> None:
    """Raise `AssertionError` unless a store holds so many events."""
    if store.count() != events:
        raise AssertionError(f"{name}: expected {events} events, found {store.count()}")


def _process(name: str, place: Path, share: int, barrier: Any, results: Any) -> None:
    """Append from a process of one's own, beginning together with the others."""
    store = STORES[name](place)
    first, *events = made_events(share + 1)
    store.append(first)  # which opens the store for writing
    barrier.wait()
    started = perf_counter()
    waits = durable(store, events).waits
    results.put((started, perf_counter(), waits))
    store.close()


def _parts(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    for start in range(0, len(events), BATCH):
        yield events[start : start + BATCH]


def _each(act: Callable[[Part], None], parts: Sequence[Part], events: int) -> Taken:
    waits = []
    begun = started = perf_counter()
    for part in parts:
        act(part)
        done = perf_counter()
        waits.append(done - started)
        started = done
    return Taken(events, started - begun, waits)
