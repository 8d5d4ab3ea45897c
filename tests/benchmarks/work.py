"""What a store is asked to do, in the worker process that has it open; each returns what it took, by the clock that is given."""

import resource
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Literal

from tests.benchmarks.events import made_events
from tests.benchmarks.stores import STORES, Event, Store

Clock = Literal["wall", "cpu"]
CLOCKS: dict[Clock, Callable[[], float]] = {"wall": perf_counter, "cpu": process_time}
BATCH = 1_000
BULK = 100_000
_open: dict[Path, Store] = {}


def taken(work: Callable[[], Any], clock: Clock) -> float:
    """Return the seconds that some work takes."""
    started = CLOCKS[clock]()
    work()
    return CLOCKS[clock]() - started


def loads(name: str, place: Path, first: int, count: int, total: int, clock: Clock) -> float:
    """Store events `first` to `first + count` in large batches; return events per second."""
    store = _opened(name, place)
    seconds = 0.0
    for begin in range(first, first + count, BULK):
        table = store.given(made_events(begin, min(BULK, first + count - begin), total))
        seconds += taken(lambda table=table: store.write(table), clock)  # type: ignore[misc]
    return count / seconds


def batches(name: str, place: Path, count: int, clock: Clock) -> float:
    """Store Arrow tables of 1,000 events in a new store, each as one commit; return events per second."""
    store, events = _started(name, place, count)
    tables = [events.slice(begin, BATCH).combine_chunks() for begin in range(0, count, BATCH)]
    seconds = taken(lambda: [store.write(table) for table in tables], clock)
    return _ended(store, place, count) / seconds


def groups(name: str, place: Path, count: int, clock: Clock) -> float:
    """Hand over dicts one at a time, waiting only for the last; return events per second."""
    store, events = _started(name, place, count)
    dicts = events.to_pylist()

    def work() -> None:
        for event in dicts:
            store.accept(event)
        store.settle()

    seconds = taken(work, clock)
    return _ended(store, place, count) / seconds


def singles(name: str, place: Path, count: int, clock: Clock, threads: int = 1) -> float:
    """Store dicts, each durable before its thread goes on to the next; return events per second."""
    store, events = _started(name, place, count)
    dicts = events.to_pylist()

    def each(share: Sequence[Event]) -> None:
        for event in share:
            store.append(event)

    def together() -> None:
        workers = [threading.Thread(target=each, args=[dicts[number::threads]]) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    seconds = taken(together if threads > 1 else lambda: each(dicts), clock)
    return _ended(store, place, count) / seconds


def finished(name: str, place: Path) -> int:
    """Do what the store offers once all is written; return its size in bytes."""
    _opened(name, place).finish()
    return _opened(name, place).size()


def asked(name: str, place: Path, question: str, clock: Clock) -> tuple[float, Any]:
    """Return the seconds that a question takes, and its answer."""
    answers: list[Any] = []
    store = _opened(name, place)
    seconds = taken(lambda: answers.append(getattr(store, question)()), clock)
    return seconds, answers[0]


def drops(name: str, place: Path, copy: Path, clock: Clock) -> float:
    """Return the seconds that dropping the oldest days takes a copy of a store."""
    shutil.copytree(place, copy, ignore=shutil.ignore_patterns("replaced"))
    store = STORES[name](copy)
    store.count()
    seconds = taken(store.drop, clock)
    store.close()
    shutil.rmtree(copy)
    return seconds


def peak_bytes(name: str, place: Path) -> int:
    """Return the most memory that this process has had once it has counted per action and hour."""
    STORES[name](place).hours()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def closes(name: str, place: Path) -> None:
    """Close a store."""
    _opened(name, place).close()
    del _open[place]


def _opened(name: str, place: Path) -> Store:
    if place not in _open:
        _open[place] = STORES[name](place)
    return _open[place]


def _started(name: str, place: Path, count: int) -> tuple[Store, Any]:
    """Return a new store that holds an event already, and events to come."""
    store = STORES[name](place)
    events = store.given(made_events(0, count + 1, count + 1))
    (first,) = events.slice(count).to_pylist()
    store.append(first)
    return store, events.slice(0, count)


def _ended(store: Store, place: Path, count: int) -> int:
    """Check that a store holds what it was given, and remove it."""
    if store.count() != count + 1:
        raise AssertionError(f"{type(store).__name__}: expected {count + 1} events, found {store.count()}")
    store.close()
    shutil.rmtree(place.parent)
    place.parent.mkdir()
    return count
