"""The table of the storage benchmark says what the lines say; what it measures is never a test."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.storage import compared, main, table

DRIVER = Path(__file__).parents[3] / "shared" / "bench" / "peers.py"


def line(peer: str, measure: str, **figures: Any) -> dict[str, Any]:
    """Return a line as the driver prints it."""
    return {"peer": peer, "measure": measure, "store_rows": 1000, **figures}


def test_ratios_are_of_medians_and_of_the_best_peer() -> None:
    """Rates, quickness and costs are each turned the right way, beside the best of the peers that answered."""
    lines = [
        *(line("auditkit", "range_warm", s=s) for s in (0.001, 0.002, 0.009)),
        line("parquet", "range_warm", s=0.010),
        line("duckdb", "range_warm", s=0.008),
        line("lancedb", "range_warm", error="died"),
        line("auditkit", "load", rows_per_s=700.0),
        line("parquet", "load", rows_per_s=1000.0),
        line("auditkit", "bytes_per_event", bytes_per_event=55.0),
        line("parquet", "bytes_per_event", bytes_per_event=50.0),
    ]
    found = {row.claim.measure: (row.peer, round(row.ratio, 3)) for row in compared(lines)}
    assert found == {
        "range_warm": ("duckdb", 4.0),
        "load": ("parquet", 0.7),
        "bytes_per_event": ("parquet", 1.1),
    }
    words = list(table(lines))
    assert (
        "| 1,000 | range, 1 hour of 30 days, warm | 2.0 ms | 8.0 ms (duckdb) | 4.00 | 1.5 | 3 | aim |"
        in words
    )
    assert (
        "| 1,000 | bulk ingest, 100k batches | 700/s | 1,000/s (parquet) | 0.70 | 0.8 | 1.2 | below |"
        in words
    )
    assert "| 1,000 | bytes per event | 55.0 B | 50.0 B (parquet) | 1.10 | ≤ 1.2 | ≤ 1 | floor |" in words
    assert "\nlancedb, range_warm: died" in words


@pytest.mark.skipif(not DRIVER.exists(), reason="no driver beside the repository")
def test_a_small_run_makes_table_and_chart(tmp_path: Path) -> None:
    """One command runs the driver and growth, and leaves lines, table and chart that another command makes again."""
    main(
        ["--driver", os.fspath(DRIVER), "--sizes", "3000", "--growth", "2000", "--peers", "parquet", "--rounds", "1",
         "--dir", os.fspath(tmp_path), "--out", os.fspath(tmp_path)]
    )  # fmt: skip
    words = (tmp_path / "storage.md").read_text()
    assert "MISMATCH" not in words
    for part in (
        "| 3,000 | bulk ingest",
        "| 3,000 | drop the oldest 7",
        "| 2,000 | group_by | ",
        "| 2,000 | ingest | ",
    ):
        assert part in words
    assert "another answer" not in words
    steps = [json.loads(text) for text in (tmp_path / "storage.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps if "step" in step] == [
        "ingest",
        "range",
        "group_by",
        "downsample",
        "lookup",
    ]
    chart = (tmp_path / "storage.svg").read_bytes()
    (tmp_path / "again").mkdir()
    main(["--from", os.fspath(tmp_path / "storage.jsonl"), "--out", os.fspath(tmp_path / "again")])
    assert (tmp_path / "again" / "storage.md").read_text() == words
    assert chart.startswith(b"<svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again",
        "storage.jsonl",
        "storage.md",
        "storage.svg",
    ]
