"""The stores that a trail is measured beside, one small adapter each.  Libraries are imported by the store that needs them.

Every commit is as durable as the store can make it: SQLite has `synchronous=FULL`, DuckDB syncs its log, JSON lines are
synced, Parquet files and their directories too; Delta and LanceDB sync nothing.
"""

import os
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tests.benchmarks.events import DAYS, HOUR, OFTEN, SCHEMA, SELDOM, START

Event = Mapping[str, Any]
GROUP = 1_000
"""So many events share a commit where nobody waits for each."""
CUT = START + timedelta(days=7)


class Store(ABC):
    """What every store does; a store that is asked nothing leaves the questions out."""

    first = ""
    """What a fresh process does to open the store at `place` and to read its first row."""
    is_synced = True
    needs = "auditkit"
    """The library that must be installed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.accepted: list[Event] = []

    def given(self, table: pa.Table) -> pa.Table:
        """Return events as this store's producer has them."""
        return table

    @abstractmethod
    def write(self, table: pa.Table) -> None:
        """Store a batch as one commit; on return it is durable."""

    def append(self, event: Event) -> None:
        """Store one event; on return it is durable."""
        self.write(pa.Table.from_pylist([event], schema=SCHEMA))

    def accept(self, event: Event) -> None:
        """Take one event that shares a commit with others."""
        self.accepted.append(event)
        if len(self.accepted) == GROUP:
            self.settle()

    def settle(self) -> None:
        """Make everything accepted durable."""
        if self.accepted:
            self.write(pa.Table.from_pylist(self.accepted, schema=SCHEMA))
            self.accepted = []

    def finish(self) -> None:  # noqa: B027 -- some have nothing to do
        """Do what the store offers to do once much was written."""

    def hours(self) -> tuple[int, int]:
        """Count events per action and hour; return how many groups there are, and the events in them."""
        raise NotImplementedError

    def minutes(self) -> tuple[int, int]:
        """Return the number of groups per action and minute, with measures of the value, and of values in them."""
        raise NotImplementedError

    def hour(self) -> int:
        """Read all columns of one hour, and return its number of events."""
        raise NotImplementedError

    def seldom(self) -> int:
        """Read all events of an actor that has few, and return their number."""
        return self.of_actor(SELDOM)

    def often(self) -> int:
        """Read all events of an actor that has a tenth of all."""
        return self.of_actor(OFTEN)

    def of_actor(self, actor: str) -> int:
        """Read all columns of an actor's events."""
        raise NotImplementedError

    def drop(self) -> None:
        """Drop the oldest seven days, durably."""
        raise NotImplementedError

    @abstractmethod
    def count(self) -> int:
        """Return how many events the store holds."""

    def size(self) -> int:
        """Return the bytes that the store takes."""
        files = [path for path in self.place.rglob("*") if path.is_file() and "replaced" not in path.parts]
        return sum(path.stat().st_blocks * 512 for path in files)

    def close(self) -> None:  # noqa: B027 -- most have nothing to give back
        """Give everything back."""


class Auditkit(Store):
    """A trail as `ak.create` makes it; what compaction replaced a moment ago is not counted as its size."""

    key = "id"
    first = "import auditkit as ak; ak.open(place).range(limit=1).row(0)"

    def __init__(self, place: Path) -> None:
        import auditkit as ak

        super().__init__(place)
        extra = {} if self.key == "id" else {self.key: pl.String()}
        fields = {"severity": pl.Int64(), **extra}
        self.trail = ak.open(place) if place.exists() else ak.create(place, fields=fields)
        self.last: Any = None

    def write(self, table: pa.Table) -> None:
        self.trail.extend(table).wait()

    def append(self, event: Event) -> None:
        self.trail.append(**event).wait()

    def accept(self, event: Event) -> None:
        self.last = self.trail.append(**event)

    def settle(self) -> None:
        self.last.wait()

    def finish(self) -> None:
        self.trail.maintain()

    def hours(self) -> tuple[int, int]:
        found = self.trail.group_by("action", every="1h", aggs=("count",))
        return found.height, int(found["count"].sum())

    def minutes(self) -> tuple[int, int]:
        found = self.trail.downsample("1m", by="action", aggs=("mean", "min", "max", "value_count"))
        return found.height, int(found["value_count"].sum())

    def hour(self) -> int:
        return self.trail.range(*HOUR).height

    def of_actor(self, actor: str) -> int:
        return self.trail.range(where={"actor": [actor]}).height

    def drop(self) -> None:
        self.trail.set_retention(f"{DAYS - 7}d", confirm=True)
        self.trail.prune()

    def count(self) -> int:
        return self.trail.end_seq

    def close(self) -> None:
        self.trail.close()


class WithoutIds(Auditkit):
    """The same, but what is the id of each event is a declared field, so that nothing is kept from being repeated."""

    key = "event_id"

    def given(self, table: pa.Table) -> pa.Table:
        return table.rename_columns([self.key if name == "id" else name for name in table.column_names])


class _Frames(Store):
    """What answers through a lazy Polars frame."""

    @abstractmethod
    def scan(self) -> pl.LazyFrame:
        """Return all events."""

    def hours(self) -> tuple[int, int]:
        groups = self.scan().group_by("action", pl.col("ts").dt.truncate("1h")).len()
        found = groups.collect(engine="streaming")
        return found.height, int(found["len"].sum())

    def minutes(self) -> tuple[int, int]:
        value = pl.col("value")
        measures = {"mean": value.mean(), "min": value.min(), "max": value.max(), "n": value.count()}
        groups = self.scan().group_by("action", pl.col("ts").dt.truncate("1m")).agg(**measures)
        found = groups.collect(engine="streaming")
        return found.height, int(found["n"].sum())

    def hour(self) -> int:
        return self._read((pl.col("ts") >= HOUR[0]) & (pl.col("ts") < HOUR[1]))

    def of_actor(self, actor: str) -> int:
        return self._read(pl.col("actor") == actor)

    def _read(self, predicate: pl.Expr) -> int:
        return self.scan().filter(predicate).select(SCHEMA.names).collect().height

    def count(self) -> int:
        return int(self.scan().select(pl.len()).collect().item())


class Parquet(_Frames):
    """A directory of days with a file for each commit and day."""

    first = "import polars as pl; pl.scan_parquet(place + '/**/*.parquet').head(1).collect().row(0)"

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        place.mkdir(parents=True, exist_ok=True)
        self._files = 0

    def write(self, table: pa.Table) -> None:
        events = pl.DataFrame(table).with_columns(day=pl.col("ts").dt.strftime("%Y-%m-%d"))
        self._files += 1
        for (day,), part in events.partition_by("day", as_dict=True, include_key=False).items():
            folder = self.place / f"day={day}"
            if not folder.is_dir():
                folder.mkdir()
                _sync(self.place)
            file = folder / f"{self._files:09}.parquet"
            part.write_parquet(file, compression="zstd", compression_level=1)
            _sync(file)
            _sync(folder)

    def scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(f"{self.place}/**/*.parquet", hive_partitioning=True)

    def drop(self) -> None:
        for folder in self.place.iterdir():
            if folder.name < f"day={CUT:%Y-%m-%d}":
                shutil.rmtree(folder)
        _sync(self.place)


class Delta(_Frames):
    """A Delta table of days, compacted at the end."""

    is_synced = False
    needs = "deltalake"

    def write(self, table: pa.Table) -> None:
        import deltalake

        days = pl.DataFrame(table.select(["ts"]))["ts"].dt.strftime("%Y-%m-%d").to_arrow()
        deltalake.write_deltalake(
            self.place, table.append_column("day", days), mode="append", partition_by=["day"]
        )

    def finish(self) -> None:
        import deltalake

        table = deltalake.DeltaTable(self.place)
        table.optimize.compact()
        table.vacuum(0, dry_run=False, enforce_retention_duration=False)
        table.create_checkpoint()

    def scan(self) -> pl.LazyFrame:
        return pl.scan_delta(str(self.place))

    def hour(self) -> int:
        """Choose the day's files, too, as one who knows the table would."""
        is_day = pl.col("day") == f"{HOUR[0]:%Y-%m-%d}"
        return self._read(is_day & (pl.col("ts") >= HOUR[0]) & (pl.col("ts") < HOUR[1]))


class DuckDB(Store):
    """A DuckDB database without indexes."""

    needs = "duckdb"

    def __init__(self, place: Path) -> None:
        import duckdb

        super().__init__(place)
        place.mkdir(parents=True, exist_ok=True)
        self._db: Any = duckdb.connect(str(place / "events.duckdb"), config={"threads": "2"})
        self._db.execute("SET TimeZone = 'UTC'")
        kinds = {"ts": "TIMESTAMPTZ", "value": "DOUBLE", "severity": "BIGINT"}
        columns = ", ".join(f"{name} {kinds.get(name, 'VARCHAR')}" for name in SCHEMA.names)
        self._db.execute(f"CREATE TABLE IF NOT EXISTS events ({columns})")

    def write(self, table: pa.Table) -> None:
        self._db.register("incoming", table)
        self._db.execute("INSERT INTO events SELECT * FROM incoming")
        self._db.unregister("incoming")

    def _asked(self, query: str, *values: object) -> pa.Table:
        return self._db.sql(query, params=list(values)).to_arrow_table()

    def hours(self) -> tuple[int, int]:
        found = self._asked(
            "SELECT action, time_bucket(INTERVAL 1 HOUR, ts) AS t, count(*) AS n FROM events GROUP BY ALL"
        )
        return len(found), int(pl.DataFrame(found.select(["n"]))["n"].sum())

    def minutes(self) -> tuple[int, int]:
        found = self._asked(
            "SELECT action, time_bucket(INTERVAL 1 MINUTE, ts) AS t, avg(value), min(value), max(value), "
            "count(value) AS n FROM events GROUP BY ALL"
        )
        return len(found), int(pl.DataFrame(found.select(["n"]))["n"].sum())

    def hour(self) -> int:
        return len(self._asked("SELECT * FROM events WHERE ts >= ? AND ts < ?", *HOUR))

    def of_actor(self, actor: str) -> int:
        return len(self._asked("SELECT * FROM events WHERE actor = ?", actor))

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def close(self) -> None:
        self._db.close()


class LanceDB(_Frames):
    """A LanceDB table, with indexes on time and actor at the end."""

    is_synced = False
    needs = "lancedb"

    def __init__(self, place: Path) -> None:
        import lancedb

        super().__init__(place)
        self._table: Any = lancedb.connect(place).create_table("events", schema=SCHEMA, exist_ok=True)

    def write(self, table: pa.Table) -> None:
        self._table.add(table)

    def finish(self) -> None:
        self._table.optimize(cleanup_older_than=timedelta(0))
        for column in ("actor", "ts"):
            self._table.create_scalar_index(column, index_type="BTREE")

    def scan(self) -> pl.LazyFrame:
        return self._found(columns=["ts", "action", "value"])

    def hour(self) -> int:
        start, end = (f"timestamp '{moment:%Y-%m-%d %H:%M:%S}+00:00'" for moment in HOUR)
        return self._found(f"ts >= {start} AND ts < {end}").collect().height

    def of_actor(self, actor: str) -> int:
        return self._found(f"actor = '{actor}'").collect().height

    def _found(self, where: str | None = None, columns: Sequence[str] = SCHEMA.names) -> pl.LazyFrame:
        query = self._table.search().select(list(columns)).limit(1_000_000_000)
        return pl.DataFrame((query if where is None else query.where(where)).to_arrow()).lazy()

    def count(self) -> int:
        return int(self._table.count_rows())


class SQLite(Store):
    """SQLite with a write-ahead log and indexes on time and actor; asked nothing, as it would take minutes."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._db = sqlite3.connect(place.with_suffix(".sqlite"), isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-262144"):
            self._db.execute(f"PRAGMA {pragma}")
        kinds = {"ts": "INTEGER", "value": "REAL", "severity": "INTEGER"}
        columns = ", ".join(f"{name} {kinds.get(name, 'TEXT')}" for name in SCHEMA.names)
        self._db.execute(f"CREATE TABLE events (seq INTEGER PRIMARY KEY, {columns})")
        self._db.execute("CREATE INDEX by_ts ON events (ts)")
        self._db.execute("CREATE INDEX by_actor ON events (actor, ts)")
        self._insert = f"INSERT INTO events VALUES (NULL{', ?' * len(SCHEMA.names)})"  # noqa: S608 -- no input

    def _row(self, event: Event) -> tuple[Any, ...]:
        moment, *others = event.values()
        return (_us(moment), *others)

    def write(self, table: pa.Table) -> None:
        times = table.set_column(0, "ts", table["ts"].cast(pa.int64()))
        self._db.execute("BEGIN")
        rows = zip(*(column.to_pylist() for column in times.columns), strict=True)
        self._db.executemany(self._insert, rows)
        self._db.execute("COMMIT")

    def append(self, event: Event) -> None:
        self._db.execute(self._insert, self._row(event))

    def accept(self, event: Event) -> None:
        if not self.accepted:
            self._db.execute("BEGIN")
        self._db.execute(self._insert, self._row(event))
        super().accept(event)

    def settle(self) -> None:
        if self.accepted:
            self._db.execute("COMMIT")
            self.accepted = []

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def close(self) -> None:
        self._db.close()


class JsonLines(Store):
    """One file of JSON lines, encoded by orjson with integer times; asked nothing."""

    needs = "orjson"

    def __init__(self, place: Path) -> None:
        import orjson

        super().__init__(place)
        self._dumps, self._newline = orjson.dumps, orjson.OPT_APPEND_NEWLINE
        self._file = place.with_suffix(".jsonl").open("ab", buffering=1 << 20)

    def _line(self, event: Event) -> bytes:
        line: bytes = self._dumps({**event, "ts": _us(event["ts"])}, option=self._newline)
        return line

    def write(self, table: pa.Table) -> None:
        self._file.writelines(map(self._line, table.to_pylist()))
        self._sync()

    def append(self, event: Event) -> None:
        self._file.write(self._line(event))
        self._sync()

    def accept(self, event: Event) -> None:
        self._file.write(self._line(event))
        super().accept(event)

    def settle(self) -> None:
        self._sync()
        self.accepted = []

    def _sync(self) -> None:
        self._file.flush()
        os.fdatasync(self._file.fileno())

    def count(self) -> int:
        return self.place.with_suffix(".jsonl").read_bytes().count(b"\n")

    def close(self) -> None:
        self._file.close()


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


_ALL: Mapping[str, type[Store]] = {
    "auditkit": Auditkit,
    "without ids": WithoutIds,
    "Parquet": Parquet,
    "DuckDB": DuckDB,
    "Delta": Delta,
    "LanceDB": LanceDB,
    "SQLite": SQLite,
    "JSON lines": JsonLines,
}
STORES = {name: store for name, store in _ALL.items() if find_spec(store.needs)}
"""What is installed."""
