"""Checksums kept in order by somebody who changes a trail: of the catalog's rows, and of a segment."""

import hashlib
import sqlite3
import struct
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from auditkit.store import segment
from auditkit.store.records import BATCH, SegmentRow


def put(path: Path, table: str, changes: dict[str, Any]) -> None:
    """Change the last row of a table, and keep all checksums as auditkit would have."""
    with closing(sqlite3.connect(path)) as database, database:
        sets = ", ".join(f"{name} = ?" for name in changes)
        last = f"rowid = (SELECT max(rowid) FROM {table})"  # noqa: S608 -- the table is the test's
        database.execute(f"UPDATE {table} SET {sets} WHERE {last}", list(changes.values()))  # noqa: S608
        sign(database, table)


def sign(database: sqlite3.Connection, table: str) -> None:
    """Compute all checksums of a table, and what `contents` says of it."""
    crcs = []
    for rowid, *values, _ in database.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid").fetchall():  # noqa: S608
        while values and values[-1] is None:
            values.pop()
        crcs.append(zlib.crc32(msgspec.msgpack.encode(values)))
        database.execute(f"UPDATE {table} SET crc = ? WHERE rowid = ?", (crcs[-1], rowid))  # noqa: S608
    said = (table, len(crcs), zlib.crc32(struct.pack(f"<{len(crcs)}I", *crcs)))
    database.execute("DELETE FROM contents WHERE name = ?", (table,))
    crc = zlib.crc32(msgspec.msgpack.encode(list(said)))
    database.execute("INSERT INTO contents (name, rows, digest, crc) VALUES (?, ?, ?, ?)", (*said, crc))


def named(row: SegmentRow, data: bytes, **changes: int) -> SegmentRow:
    """Return a row of the catalog that names a file with these bytes, all checksums in order."""
    head = segment._first_batch(pa.py_buffer(data))
    size = pa.ipc.read_message(pa.BufferReader(data[head:]))
    end = head + size.serialize().size
    (part,) = row.parts
    numbers = {
        "rows": part.rows,
        "low": part.min_ts_us,
        "high": part.max_ts_us,
        "end": end,
        "crc": zlib.crc32(data[head:end]),
        "first": part.min_seq,
        "last": part.max_seq,
    }
    return replace(
        row,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).digest(),
        head_bytes=head,
        head_crc=zlib.crc32(data[:head]),
        foot_crc=zlib.crc32(data[end:]),
        batches=BATCH.pack(*{**numbers, **changes}.values()),
        empty_columns="[]",
    )
