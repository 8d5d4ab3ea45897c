"""A series from a tier, from the events, and from Polars and DuckDB over Parquet: CPU time, in interleaved rounds.

`python -m tests.benchmarks.tiers [--events 10000000] [--rounds 5]` writes a row for each to the standard output.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import auditkit as ak
from auditkit.api import Trail
from tests.benchmarks.events import DAYS, START, made_events
from tests.fakes import ManualClock

CHUNK = 250_000
KEYS = ["action", "outcome"]
_QUERY = """
SELECT time_bucket(INTERVAL 1 hour, ts) AS ts, action, outcome, count(*) AS count, count(value) AS value_count,
       sum(value) AS sum, avg(value) AS mean, min(value) AS min, max(value) AS max
FROM read_parquet($1) GROUP BY ALL ORDER BY ALL
"""


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU seconds that something takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def of_parquet(path: Path) -> pl.DataFrame:
    """Return the series by Polars."""
    value = pl.col("value")
    return (
        pl.scan_parquet(path)
        .group_by(pl.col("ts").dt.truncate("1h"), *KEYS)
        .agg(
            pl.len().alias("count"),
            value.count().alias("value_count"),
            value.sum().alias("sum"),
            value.mean().alias("mean"),
            value.min().alias("min"),
            value.max().alias("max"),
        )
        .sort("ts", *KEYS)
        .collect()
    )


def _take(trail: Trail, table: pa.Table) -> None:
    trail.extend(table).wait()


def fill(trail: Trail, parquet: Path, count: int) -> tuple[float, float]:
    """Write events into a trail and a Parquet file; return the CPU seconds of taking and of rolling up."""
    taken = rolled = 0.0
    with pq.ParquetWriter(parquet, made_events(0, 1, count).schema, compression="zstd") as writer:
        for first in range(0, count, CHUNK):
            table = made_events(first, min(CHUNK, count - first), count)
            writer.write_table(table)
            taken += cpu_s(partial(_take, trail, table))
            taken += cpu_s(trail.flush)
            if first // CHUNK % 2:  # as a writer's own thread does, at half a million events
                rolled += cpu_s(trail.maintain)
    return taken, rolled + cpu_s(trail.maintain)


def main() -> None:
    """Measure, and write a row for each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=10_000_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--folder", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        root, parquet = Path(folder, "audit"), Path(folder, "events.parquet")
        clock = ManualClock((START + timedelta(days=DAYS)).isoformat())
        with ak.create(root, clock=clock, maintain=False) as trail:
            trail.rollup("1h", by=KEYS)
            taken, rolled = fill(trail, parquet, asked.events)
            connection = duckdb.connect()
            ways: dict[str, Callable[[], object]] = {
                "tier": lambda: trail.downsample("1h", by=KEYS),
                "tier, opened anew": lambda: ak.open(root, clock=clock).downsample("1h", by=KEYS),
                "events": lambda: trail.downsample("1h", by=KEYS, tier=None),
                "Polars on Parquet": lambda: of_parquet(parquet),
                "DuckDB on Parquet": lambda: connection.sql(_QUERY, params=[str(parquet)]).to_arrow_table(),
            }
            spent: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(asked.rounds + 1):  # the first one warms up
                for name, ask in ways.items():
                    spent[name].append(cpu_s(ask))
            size = sum(path.stat().st_size for path in (root / "rollups").rglob("*") if path.is_file())
            for name, times in spent.items():
                sys.stdout.write(f"{name}: {median(times[1:]) * 1e3:,.1f} ms CPU\n")
            sys.stdout.write(f"taking {taken:.1f} s, rolling up {rolled:.1f} s CPU ({rolled / taken:.1%})\n")
            sys.stdout.write(f"{size:,} bytes of rollups, {size / asked.events:.3f} an event\n")


if __name__ == "__main__":
    main()
