"""What no catalog may say, however well its checksums are kept."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from auditkit.errors import CorruptionError
from auditkit.opening import create
from auditkit.store.catalog import change_catalog, read_catalog
from auditkit.store.records import BATCH, CatalogChange
from auditkit.timerange import from_us
from tests.fakes import ManualClock
from tests.signing import put, sign

FAR_US = 1 << 62


@pytest.fixture(name="built", scope="module")
def built_trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trail with segments, a tombstone and what retention notes."""
    root = tmp_path_factory.mktemp("built") / "audit"
    with create(root, retention="2d", maintain=False, clock=(clock := ManualClock())) as trail:
        trail.append(action="old", ts="2020-01-01T00:00:00Z").wait()
        trail.append(action="new").wait()
        trail.flush()
        trail.prune(now=from_us(clock.us))
        trail.append(action="newer").wait()
        trail.flush()
    return root


@pytest.fixture(name="path")
def copied_catalog(built: Path, tmp_path: Path) -> Path:
    """Return a copy of its catalog."""
    return Path(shutil.copy(built / "catalog.sqlite", tmp_path / "catalog.sqlite"))


def batch(**changes: int) -> bytes:
    """Return a record batch of one event as the catalog keeps it, of which some numbers differ."""
    numbers = dict(
        zip(("rows", "low", "high", "end", "crc", "first", "last"), (1, 0, 0, 900, 7, 3, 3), strict=True)
    )
    return BATCH.pack(*{**numbers, **changes}.values())


ENDLESS = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS seq, i AS now_us, i AS crc FROM n
"""


ROWS: list[tuple[str, dict[str, Any]]] = [
    ("trail", {"tz": "../../etc/passwd"}),
    ("trail", {"partition": "1y"}),
    ("trail", {"sharing": "everyone"}),
    ("trail", {"fields": "{"}),
    ("trail", {"fields": '{"amount": "blob"}'}),
    ("trail", {"fields": '{"ts": "float"}'}),
    ("trail", {"fields": "[" * 10_000}),
    ("trail", {"trail_id": "../../x"}),
    ("trail", {"branch_id": "0"}),
    ("trail", {"created_us": FAR_US}),
    ("trail", {"max_ahead_us": -1}),
    ("trail", {"epoch": "many"}),
    ("policies", {"from_seq": -1}),
    ("moments", {"now_us": FAR_US}),
    ("flushes", {"end_seq": 1 << 40}),
    ("flushes", {"end_seq": -1}),
    ("flushes", {"trusted_us": FAR_US}),
    ("flushes", {"waiting_from_us": None, "waiting_to_us": 0}),
    ("flushes", {"waiting_from_us": 0, "waiting_to_us": None}),
    ("flushes", {"waiting_from_us": 1, "waiting_to_us": 0}),
    ("flushes", {"last_recorded_us": -FAR_US}),
    ("segments", {"path": "../../secret"}),
    ("segments", {"path": "/etc/passwd"}),
    ("segments", {"partition": "2026-11-23"}),
    ("segments", {"rows": 50_000_000}),
    ("segments", {"rows": 1.5}),
    ("segments", {"own_rows": 5_000}),
    ("segments", {"min_ts_us": -FAR_US}),
    ("segments", {"max_ts_us": FAR_US}),
    ("segments", {"max_recorded_us": FAR_US}),
    ("segments", {"producers_max_ts_us": FAR_US}),
    ("segments", {"size_bytes": 10}),
    ("segments", {"size_bytes": -1}),
    ("segments", {"size_bytes": 1 << 40}),
    ("segments", {"head_bytes": (1 << 40) - 1, "size_bytes": 1 << 40}),
    ("segments", {"batches": batch(end=1 << 40), "size_bytes": 1 << 40}),
    ("segments", {"sha256": b"short"}),
    ("segments", {"sha256": "0" * 32}),
    ("segments", {"head_bytes": 1 << 40}),
    ("segments", {"head_crc": 1 << 40}),
    ("segments", {"batches": b""}),
    ("segments", {"batches": b"1234567"}),
    ("segments", {"batches": bytes(BATCH.size)}),
    ("segments", {"batches": b"\xff" * BATCH.size}),
    ("segments", {"batches": batch(rows=50_000_000)}),
    ("segments", {"time_index": b""}),
    ("segments", {"time_index": b"1"}),
    ("segments", {"time_index": b"\xff" * 6}),
    ("segments", {"time_index": bytes(12)}),
    ("segments", {"empty_columns": "["}),
    ("segments", {"empty_columns": "[1]"}),
    ("tombstones", {"rows": 0}),
    ("tombstones", {"rows": -(1 << 50)}),
    ("tombstones", {"min_ts_us": FAR_US}),
    ("tombstones", {"last_seq": 1 << 60}),
    ("tombstones", {"sha256": b""}),
    ("prune_states", {"horizon_us": FAR_US}),
]


@pytest.mark.parametrize(("table", "changes"), ROWS)
def test_a_row_out_of_range_is_corruption(path: Path, table: str, changes: dict[str, Any]) -> None:
    """Each is an error that names the catalog, before anything else is done with the value."""
    put(path, table, changes)
    with pytest.raises(CorruptionError, match="catalog") as caught:
        read_catalog(path)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "change", [{"rows": 4_097}, {"low": 9}, {"end": 0}, {"end": 1 << 63}, {"first": 1}, {"last": 99}]
)
def test_a_record_batch_that_does_not_fit_is_corruption(path: Path, change: dict[str, int]) -> None:
    """Rows, times, seqs and bytes of a record batch lie within those of its segment."""
    row = read_catalog(path).segments[-1]
    (part,) = row.parts
    sound = {
        "rows": part.rows,
        "low": part.min_ts_us,
        "high": part.max_ts_us,
        "end": part.end,
        "first": part.min_seq,
        "last": part.max_seq,
    }
    put(path, "segments", {"batches": batch(**sound)})
    assert read_catalog(path).segments[-1].rows == row.rows
    wrong = {name: sound[name] + value if name == "low" else value for name, value in change.items()}
    put(path, "segments", {"batches": batch(**{**sound, **wrong})})
    with pytest.raises(CorruptionError, match="record batches do not fit"):
        read_catalog(path)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW extra AS SELECT 1",
        "CREATE TRIGGER watch AFTER INSERT ON flushes BEGIN DELETE FROM segments; END",
        "CREATE VIRTUAL TABLE extra USING fts5(text)",
        "CREATE TABLE extra (a INTEGER, crc INTEGER AS (abs(a)))",
        "CREATE TABLE extra (crc INTEGER CHECK (length(zeroblob(100000000)) > 0))",
        "CREATE INDEX extra ON segments (abs(rows))",
        "ALTER TABLE flushes ADD COLUMN more INTEGER AS (end_seq)",
        "ALTER TABLE flushes RENAME TO others",
        "DROP INDEX segments_path; CREATE INDEX segments_path ON segments (rows)",
        "ALTER TABLE flushes RENAME TO kept; CREATE VIEW flushes AS SELECT * FROM kept",
        f"ALTER TABLE moments RENAME TO kept; CREATE VIEW moments AS {ENDLESS}",
    ],
)
def test_a_schema_of_its_own_is_corruption(path: Path, statement: str) -> None:
    """Views, triggers, virtual tables and expressions have no place in a catalog, and run nothing."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(statement)
    for act in (read_catalog, lambda path: change_catalog(path, CatalogChange())):
        with pytest.raises(CorruptionError, match=r"not as the format has it|does not say"):
            act(path)


def test_rows_beyond_the_files_size_are_refused(path: Path) -> None:
    """A database whose inner page names one leaf six hundred times is refused before memory is taken for its rows."""
    with closing(sqlite3.connect(path)) as database, database:
        for number in range(3_000):
            database.execute(
                "INSERT INTO moments (seq, now_us, confirmed, crc) VALUES (?, 0, 0, 0)", (number,)
            )
        sign(database, "moments")
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'moments'").fetchone()
    data = bytearray(path.read_bytes())
    page = memoryview(data)[(root - 1) * 4096 : root * 4096]
    assert page[0] == 5, page[0]
    place = int.from_bytes(page[12:14], "big")
    leaf = bytes(page[place : place + 4])
    head = b"\5\0\0" + (600).to_bytes(2, "big") + (4_000).to_bytes(2, "big") + b"\0" + leaf
    page[: len(head)] = head
    page[12:1212] = (4_000).to_bytes(2, "big") * 600
    page[4_000:4_005] = leaf + b"\1"
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="more than the file can hold"):
        read_catalog(path)
