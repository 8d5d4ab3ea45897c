"""The stores that the throughput of a trail is measured beside: one small adapter each.

Every commit is as durable as the store can make it.  All take the same events: dicts as a producer has them, or
Arrow tables of the same columns.  A library that is not installed raises `ImportError` where its store is made.
"""

import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

import auditkit as ak

Event = Mapping[str, Any]
GROUP = 1_000
"""So many events share a commit where nobody waits for each."""
FIELDS = {"event_id": pl.String, "severity": pl.Int64}
SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("us", "UTC")),
        *[(name, pa.string()) for name in ("actor", "action", "resource", "outcome", "origin")],
        ("value", pa.float64()),
        *[(name, pa.string()) for name in ("attrs", "event_id")],
        ("severity", pa.int64()),
    ]
)
START = datetime(2026, 9, 1, tzinfo=UTC)
VERBS = ("create", "read", "update", "delete", "list", "login")


def made_events(count: int) -> list[dict[str, Any]]:
    """Return `count` events, the same at every call: ten columns, about 250 bytes each, one a second."""
    return [
        {
            "ts": START + timedelta(seconds=number, microseconds=number * 7919 % 1_000_000),
            "actor": f"user{number * 37 % 499:05}@example.org",
            "action": f"doc.{VERBS[number * 13 % 6]}",
            "resource": f"/docs/{number * 7919 % 200_003}",
            "outcome": "denied" if number % 20 == 0 else "ok",
            "origin": f"10.0.{number % 7}.{number * 31 % 251}",
            "value": None if number % 3 == 0 else number * 7919 % 100_000 / 1_000,
            "attrs": f'{{"req":"{number * 2654435761 % 2**64:016x}","ms":{number * 17 % 5000},"region":"eu-west"}}',
            "event_id": f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}",
            "severity": number % 8,
        }
        for number in range(count)
    ]


class Store(Protocol):
    """What a store does: one durable event, events that share commits, a batch as one commit."""

    def append(self, event: Event) -> None:
        """Store one event; on return it is durable."""

    def accept(self, event: Event) -> None:
        """Take one event that shares a commit with others."""

    def settle(self) -> None:
        """Make everything accepted durable."""

    def write(self, table: pa.Table) -> None:
        """Store a batch; on return it is durable."""

    def write_dicts(self, events: Sequence[Event]) -> None:
        """Store a batch of dicts; on return it is durable."""

    def count(self) -> int:
        """Return how many events the store holds."""

    def close(self) -> None:
        """Give everything back."""


class _Grouping(ABC):
    """Buffers what is accepted, and writes a batch of dicts for each group."""

    def __init__(self) -> None:
        self.buffer: list[Event] = []

    def accept(self, event: Event) -> None:
        """See `Store`."""
        self.buffer.append(event)
        if len(self.buffer) == GROUP:
            self.settle()

    def settle(self) -> None:
        """See `Store`."""
        if self.buffer:
            self.write_dicts(self.buffer)
            self.buffer = []

    def append(self, event: Event) -> None:
        """See `Store`."""
        self.write_dicts([event])

    def write_dicts(self, events: Sequence[Event]) -> None:
        """See `Store`."""
        self.write(pa.Table.from_pylist(events, schema=SCHEMA))

    @abstractmethod
    def write(self, table: pa.Table) -> None:
        """See `Store`."""

    def close(self) -> None:  # noqa: B027 -- most have nothing to give back
        """See `Store`."""


class Auditkit:
    """A trail as `ak.create` makes it; it groups by itself what nobody waits for."""

    def __init__(self, root: Path) -> None:
        self.trail = ak.create(root, fields=FIELDS) if not root.exists() else ak.open(root)
        self.last: ak.Receipt | None = None

    def append(self, event: Event) -> None:
        """See `Store`."""
        self.trail.append(**event).wait()

    def accept(self, event: Event) -> None:
        """See `Store`."""
        self.last = self.trail.append(**event)

    def settle(self) -> None:
        """See `Store`."""
        if self.last is not None:
            self.last.wait()

    def write(self, table: pa.Table) -> None:
        """See `Store`."""
        self.trail.extend(table).wait()

    def write_dicts(self, events: Sequence[Event]) -> None:
        """See `Store`."""
        self.trail.extend(events).wait()

    def count(self) -> int:
        """See `Store`."""
        return self.trail.end_seq

    def close(self) -> None:
        """See `Store`."""
        self.trail.close()


class JsonLines(_Grouping):
    """One file of JSON lines, encoded by orjson with integer times, and fdatasync."""

    def __init__(self, root: Path) -> None:
        import orjson

        super().__init__()
        self._dumps = orjson.dumps
        self._newline = orjson.OPT_APPEND_NEWLINE
        self._path = root.with_suffix(".jsonl")
        self._file = self._path.open("ab", buffering=1 << 20)
        self._waiting = 0

    def _line(self, event: Event) -> bytes:
        line = dict(event)
        line["ts"] = int(event["ts"].timestamp() * 1e6)
        return self._dumps(line, option=self._newline)

    def append(self, event: Event) -> None:
        """See `Store`."""
        self._file.write(self._line(event))
        self.settle()

    def accept(self, event: Event) -> None:
        """See `Store`."""
        self._file.write(self._line(event))
        self._waiting += 1
        if self._waiting == GROUP:
            self.settle()

    def settle(self) -> None:
        """See `Store`."""
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._waiting = 0

    def write(self, table: pa.Table) -> None:
        """See `Store`."""
        self.write_dicts(table.to_pylist())

    def write_dicts(self, events: Sequence[Event]) -> None:
        """See `Store`."""
        self._file.writelines(map(self._line, events))
        self.settle()

    def count(self) -> int:
        """See `Store`."""
        return self._path.read_bytes().count(b"\n")

    def close(self) -> None:
        """See `Store`."""
        self._file.close()


class Sqlite(_Grouping):
    """SQLite with a write-ahead log, synchronous=FULL, and indexes on time and actor."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._db = sqlite3.connect(root.with_suffix(".sqlite"), isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-262144"):
            self._db.execute(f"PRAGMA {pragma}")
        kinds = {"ts": "INTEGER", "value": "REAL", "severity": "INTEGER"}
        columns = ", ".join(f"{name} {kinds.get(name, 'TEXT')}" for name in SCHEMA.names)
        self._db.execute(f"CREATE TABLE events (seq INTEGER PRIMARY KEY, {columns})")
        self._db.execute("CREATE INDEX by_ts ON events (ts)")
        self._db.execute("CREATE INDEX by_actor ON events (actor, ts)")
        self._insert = f"INSERT INTO events VALUES (NULL{', ?' * len(SCHEMA.names)})"  # noqa: S608 -- no input

    @staticmethod
    def _row(event: Event) -> tuple[Any, ...]:
        moment, *others = event.values()
        return (int(moment.timestamp() * 1e6), *others)

    def append(self, event: Event) -> None:
        """See `Store`."""
        self._db.execute(self._insert, self._row(event))

    def accept(self, event: Event) -> None:
        """See `Store`."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN")
        self._db.execute(self._insert, self._row(event))
        self.buffer.append(event)
        if len(self.buffer) == GROUP:
            self.settle()

    def settle(self) -> None:
        """See `Store`."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self.buffer.clear()

    def write(self, table: pa.Table) -> None:
        """See `Store`."""
        times = table.set_column(0, "ts", table["ts"].cast(pa.int64()))
        self._write_rows(zip(*(column.to_pylist() for column in times.columns), strict=True))

    def write_dicts(self, events: Sequence[Event]) -> None:
        """See `Store`."""
        self._write_rows(map(self._row, events))

    def _write_rows(self, rows: Any) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(self._insert, rows)
        self._db.execute("COMMIT")

    def count(self) -> int:
        """See `Store`."""
        return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def close(self) -> None:
        """See `Store`."""
        self._db.close()


class DuckDB(_Grouping):
    """DuckDB, whose log is synced at every commit."""

    def __init__(self, root: Path) -> None:
        import duckdb

        super().__init__()
        self._db = duckdb.connect(str(root.with_suffix(".duckdb")), config={"threads": "2"})
        kinds = {"ts": "TIMESTAMPTZ", "value": "DOUBLE", "severity": "BIGINT"}
        columns = ", ".join(f"{name} {kinds.get(name, 'VARCHAR')}" for name in SCHEMA.names)
        self._db.execute(f"CREATE TABLE events ({columns})")

    def write(self, table: pa.Table) -> None:
        """See `Store`."""
        self._db.register("incoming", table)
        self._db.execute("INSERT INTO events SELECT * FROM incoming")
        self._db.unregister("incoming")

    def count(self) -> int:
        """See `Store`."""
        row = self._db.execute("SELECT count(*) FROM events").fetchone()
        return 0 if row is None else int(row[0])

    def close(self) -> None:
        """See `Store`."""
        self._db.close()


class ParquetFiles(_Grouping):
    """A directory with one Parquet file per commit; file and directory are synced."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root.with_suffix(".parquet")
        self._root.mkdir()
        self._files = 0

    def write(self, table: pa.Table) -> None:
        """See `Store`."""
        path = self._root / f"{self._files:09}.parquet"
        self._files += 1
        frame = pl.DataFrame(table)
        frame.write_parquet(path, compression="zstd", compression_level=1)
        for place in (path, self._root):
            fd = os.open(place, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    def count(self) -> int:
        """See `Store`."""
        return int(pl.scan_parquet(self._root).select(pl.len()).collect().item())


class Delta(_Grouping):
    """A Delta table: one file and one log entry per commit, which Delta does not sync."""

    def __init__(self, root: Path) -> None:
        import deltalake

        super().__init__()
        self._delta = deltalake
        self._root = str(root.with_suffix(".delta"))

    def write(self, table: pa.Table) -> None:
        """See `Store`."""
        self._delta.write_deltalake(self._root, table, mode="append")

    def count(self) -> int:
        """See `Store`."""
        return int(pl.scan_delta(self._root).select(pl.len()).collect().item())


class Lance(_Grouping):
    """A LanceDB table: one fragment and one manifest per commit, which LanceDB does not sync."""

    def __init__(self, root: Path) -> None:
        import lancedb

        super().__init__()
        self._table = lancedb.connect(root.with_suffix(".lance")).create_table("events", schema=SCHEMA)

    def write(self, table: pa.Table) -> None:
        """See `Store`."""
        self._table.add(table)

    def count(self) -> int:
        """See `Store`."""
        return int(self._table.count_rows())


STORES: Mapping[str, Callable[[Path], Store]] = {
    "auditkit": Auditkit,
    "JSON lines": JsonLines,
    "SQLite": Sqlite,
    "DuckDB": DuckDB,
    "Parquet": ParquetFiles,
    "Delta": Delta,
    "LanceDB": Lance,
}
