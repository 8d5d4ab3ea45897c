"""The benchmark counts right and compares what it says; what it measures is never a test."""

from pathlib import Path

import pytest

from tests.benchmarks import explore, work
from tests.benchmarks.events import OFTEN, SCHEMA, made_events
from tests.benchmarks.run import CLAIMS, Figures, main, table
from tests.benchmarks.stores import STORES, Auditkit


def test_events_are_the_same_however_they_are_asked_for_again() -> None:
    """A chunk of events is the same in every process, ids differ, and one actor has a tenth of them."""
    events = made_events(1_000, 2_000, 10_000)
    assert events.equals(made_events(1_000, 2_000, 10_000))
    assert events.schema == SCHEMA
    assert len(set(events["id"].to_pylist())) == 2_000
    assert 100 < events["actor"].to_pylist().count(OFTEN) < 300


def test_a_small_run_prints_every_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One command fills all stores, finds the same answers in them, prints a row for each claim and leaves nothing."""
    main(["--events", "3000", "--small", "1000", "--rounds", "2", "--memory", "500", "--dir", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in printed[2:]] == [
        *(claim.words for claim in CLAIMS if STORES.keys() & claim.peers or claim.measure == "threads"),
        "count over 30M, peak memory",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_holds_less_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that leaves events out ends the run."""
    monkeypatch.setattr(Auditkit, "accept", Auditkit.append)
    monkeypatch.setattr(Auditkit, "settle", lambda _: None)
    (tmp_path / "folder").mkdir()
    assert work.groups("auditkit", tmp_path / "folder" / "store", 20, "cpu") > 0
    monkeypatch.setattr(Auditkit, "accept", lambda *_: None)
    with pytest.raises(AssertionError, match="expected 21 events, found 1"):
        work.groups("auditkit", tmp_path / "folder" / "store", 20, "cpu")


def test_ratios_are_of_medians_and_of_the_best_peer() -> None:
    """Rates, times and costs are each turned the right way, beside the best of the peers that were measured."""
    figures = Figures()
    for seconds in (2.0, 1.0, 9.0):
        figures.add("hour", "auditkit", seconds)
    for measure, store, figure in (
        ("hour", "Parquet", 10.0), ("hour", "DuckDB", 8.0), ("hour", "SQLite", 1.0), ("batches", "auditkit", 700.0),
        ("batches", "Parquet", 350.0), ("batches", "SQLite", 1.0), ("bytes", "without ids", 55.0), ("bytes", "Parquet", 50.0),
    ):  # fmt: skip
        figures.add(measure, store, figure)
    assert list(table(figures))[2:] == [
        "| batches of 1,000 from Arrow / best synced peer | 700/s |  | 350/s (Parquet) | 2.00 |  | 1.3 | 2 |",
        "| range of an hour, warm / best peer | 2.0 ms |  | 8.0 ms (DuckDB) | 4.00 |  | 0.9 | 1.3 |",
        "| bytes per event / Parquet |  | 55.0 B | 50.0 B (Parquet) |  | 1.10 | ≤ 1.1 | ≤ 1 |",
    ]


def test_every_store_holds_what_it_was_given(tmp_path: Path) -> None:
    """Every way of writing leaves as many events as were handed over, which is checked as each ends."""
    for name in STORES:
        (tmp_path / name).mkdir()
        for job in (work.batches, work.groups, work.singles):
            assert job(name, tmp_path / name / "store", 15, "cpu") > 0


def test_an_explorer_and_duckdb_count_the_same(tmp_path: Path) -> None:
    """Each of the clicks that are measured selects as many events as the SQL written for it."""
    explore.fill(tmp_path / "audit", tmp_path / "parquet", 3_000)
    shown, found = explore.ask_widget(tmp_path / "audit"), explore.ask_duckdb(tmp_path / "parquet")
    assert shown["totals"] == found["totals"]
    assert set(shown["totals"].values()) > {0, 3_000}
    assert shown["rows"].keys() >= found["rows"].keys()
