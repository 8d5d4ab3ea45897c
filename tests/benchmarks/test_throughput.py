"""The benchmark counts right; what it measures is never a test."""

from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks.stores import made_events
from tests.benchmarks.throughput import TURNS, Contestant, Figures, latencies, ratios, take_turns
from tests.benchmarks.workloads import (
    Taken,
    Work,
    batches,
    dict_batches,
    durable,
    group,
    in_processes,
    in_threads,
)


def test_stores_take_turns_and_hold_what_they_were_given(tmp_path: Path) -> None:
    """Every workload runs in every turn, its waits are counted once, and nothing is left behind."""
    figures = Figures()
    works: list[Work] = [group, durable, batches, dict_batches, partial(in_threads, threads=8)]
    contestants = [
        Contestant(str(number), store, work)
        for number, work in enumerate(works)
        for store in ("auditkit", "SQLite")[: 1 if isinstance(work, partial) else 2]
    ]
    take_turns(tmp_path, contestants, made_events(203), figures)
    assert {len(rates) for rates in figures.rates.values()} == {TURNS}
    assert [len(figures.waits[str(number), "auditkit"]) for number in range(5)] == [0, 203, TURNS, TURNS, 203]
    assert list(tmp_path.iterdir()) == []


def test_processes_store_what_they_say(tmp_path: Path) -> None:
    """Each process's waits are counted, and the store holds the events of all."""
    taken = in_processes("auditkit", tmp_path / "trail", 16, processes=2)
    assert (taken.events, len(taken.waits)) == (16, 16)


def test_a_store_that_holds_less_is_found_out(tmp_path: Path) -> None:
    """A workload that leaves events out ends the run."""
    idle = Contestant("idle", "SQLite", lambda _store, events: Taken(len(events), 1.0))
    with pytest.raises(AssertionError, match="expected 20 events, found 0"):
        take_turns(tmp_path, [idle], made_events(20), Figures())


def test_the_tables_say_medians_ratios_and_tails() -> None:
    """Rates are medians over turns, ratios are of medians, and waits are those of all turns in order."""
    figures = Figures()
    for seconds in (1.0, 2.0, 4.0):
        figures.add("batches", "auditkit", Taken(3_000, seconds, [seconds / 1_000]))
        figures.add("batches", "SQLite", Taken(1_000, seconds))
        figures.add("batches", "DuckDB", Taken(500, seconds))
    assert "| batches of 1,000, Arrow / best peer (SQLite) | 1,500 | 500 | 3.00 | 2 | 3 |" in list(
        ratios(figures)
    )
    assert "| batches | auditkit | 1,500 | 2.000 | 4.000 | 4.000 | 4.000 |" in list(latencies(figures))
