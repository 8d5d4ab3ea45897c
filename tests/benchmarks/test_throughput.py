"""The benchmark counts right; what it measures is never a test."""

from pathlib import Path

import pytest

from tests.benchmarks.stores import made_events
from tests.benchmarks.throughput import Bench, Figures, Taken, latencies, ratios


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench of a few events in an empty place."""
    (tmp_path / "stores").mkdir()
    return Bench(tmp_path / "stores", made_events(2_005), singles=16)


def test_every_workload_stores_what_it_says(bench: Bench) -> None:
    """Each workload's number of events is what its store holds afterwards, and each wait is counted once."""
    for store in ("auditkit", "SQLite"):
        assert bench.run(store, bench.group).events == 2_005
        assert len(bench.run(store, bench.durable).waits) == 16
        assert len(bench.run(store, bench.batches).waits) == 3
        assert len(bench.run(store, bench.dict_batches).waits) == 3
    threads = bench.run("auditkit", lambda store: bench.threads(8, store))
    assert (threads.events, len(threads.waits)) == (128, 128)
    processes = bench.processes(2, "auditkit")
    assert (processes.events, len(processes.waits)) == (14, 14)
    assert list(bench.root.iterdir()) == []


def test_a_store_that_holds_less_is_found_out(bench: Bench) -> None:
    """A workload that says more than its store holds ends the run."""
    with pytest.raises(AssertionError, match="expected 3 events, found 0"):
        bench.run("SQLite", lambda _: Taken(3, 1.0))


def test_the_tables_say_medians_ratios_and_tails() -> None:
    """Rates are medians over rounds, ratios are of medians, and waits are those of all rounds in order."""
    figures = Figures()
    for seconds in (1.0, 2.0, 4.0):
        figures.add("batches", "auditkit", Taken(3_000, seconds, [seconds / 1_000]))
        figures.add("batches", "SQLite", Taken(1_000, seconds))
        figures.add("batches", "DuckDB", Taken(500, seconds))
    assert "| batches of 1,000, Arrow / best peer (SQLite) | 1,500 | 500 | 3.00 | 2 | 3 |" in list(
        ratios(figures)
    )
    assert "| batches | auditkit | 1,500 | 2.000 | 4.000 | 4.000 | 4.000 |" in list(latencies(figures))
