"""A small real trail, and the tools of a forger who knows the formats: what is written with them has right checksums.

Nothing here uses the package's own writers of catalog, segments or consumers' files, so that a lie is not corrected
on its way to the disk.  Everything is called in processes of its own.
"""

import hashlib
import json
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from auditkit.api import Trail
from auditkit.disk.layout import Group
from auditkit.opening import create
from auditkit.queue.frames import pack_frame
from tests.fakes import ManualClock

NOW = "2026-11-24T08:00:00+00:00"
ROW_COLUMNS = 16
"""The columns of a queued event: the package's own and the five declared by `build`."""
CATALOG = "catalog.sqlite"
BATCH = struct.Struct("<IqqQIQQ")
_HEADER = struct.Struct("<8sI16sQqQQI")
_FRAME = struct.Struct("<4sIQIqQI")
_FIELDS = {
    "amount": pl.Float64,
    "pieces": pl.Int64,
    "paid": pl.Boolean,
    "due": pl.Datetime("us", "UTC"),
    "note": pl.String,
}
Row = dict[str, Any]


def build(root: Path, *, group: Group | None = None) -> None:
    """Make a trail with every kind of file; what it is opened with later is a clock that stands at `NOW`."""
    clock = ManualClock(NOW)
    clock.advance(days=-5)
    with create(root, retention="4d", fields=_FIELDS, group=group, maintain=False, clock=clock) as trail:
        for _ in range(4):
            trail.extend(events(trail, 40)).wait()
            trail.flush()
            trail.extend(events(trail, 8)).wait()
            trail.flush()
            clock.advance(days=1)
        trail.extend(events(trail, 4_200)).wait()  # two record batches
        trail.maintain(now=trail.now())
        trail.prune()
        clock.advance(days=1, hours=-1)
        trail.extend(events(trail, 30)).wait()
        trail.hold("case 17", "-1d", where={"actor": "ann", "attrs.n": 3}, reason="a lawsuit")
        trail.hold("settled", reason="a mistake")
        trail.release("settled", reason="withdrawn")
        trail.rollup("1h", by=["action", "outcome"])
        trail.rollup("1d", by="actor", keep="3d", name="days")
        trail.maintain(compact=True)
        clock.advance(minutes=59)
        for number in range(3):
            trail.append(action="order.paid", actor="ann", id=f"single {number}").wait()
        trail.extend(pl.DataFrame(events(trail, 20))).wait()  # Arrow
        bad: list[Any] = [{"action": ""}, {"action": "order.paid", "outcome": 7}]
        trail.extend(bad, on_invalid="dead-letter").wait()
        trail.handle.active_queue().rotate()  # as a flush that died
        trail.extend(events(trail, 5)).wait()
        for delivery in trail.follow("mailer", timeout_s=0):
            with delivery:
                pass
            if delivery.seq > 4_300:
                break
        for _ in zip(range(2), trail.follow("mailer", timeout_s=0, retry_s=0), strict=False):
            pass  # an attempt that fails


def events(trail: Trail, count: int) -> list[Row]:
    """Return events of `count` different moments up to now, with every column in use."""
    return [
        {
            "action": ("order.paid", "order.sent", "user.login")[number % 3],
            "ts": trail.now() - timedelta(milliseconds=100 * (count - number)),
            "actor": ("ann", "bob", "eve", None)[number % 4],
            "resource": f"order/{number}",
            "outcome": ("success", "failure", None)[number % 3],
            "source": "shop",
            "origin": "10.0.0.1",
            "correlation": f"c{number // 2}",
            "id": f"{trail.end_seq}-{number}",
            "value": number / 2,
            "amount": number / 4,
            "pieces": number,
            "paid": number % 2 == 0,
            "due": trail.now(),
            "note": "a note",
            "pages": number,
        }
        for number in range(count)
    ]


# --- the catalog


def checksum(values: Sequence[object]) -> int:
    """Return the checksum of a row of the catalog."""
    kept = list(values)
    while kept and kept[-1] is None:
        kept.pop()
    return zlib.crc32(msgspec.msgpack.encode(kept))


@contextmanager
def catalog_of(root: Path) -> Iterator[sqlite3.Connection]:
    """Open a trail's catalog, and write at the end what each of its tables then holds."""
    with closing(sqlite3.connect(root / CATALOG, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")


def rows_of(root: Path, table: str) -> list[Row]:
    """Return the rows of a table, without their checksums."""
    with closing(sqlite3.connect(root / CATALOG)) as connection:
        return _rows(connection, table)


def edit(root: Path, table: str, number: int = 0, **values: object) -> None:
    """Change columns of one row; all checksums are right afterwards, but for those of `contents` itself."""
    rows = rows_of(root, table)
    rows[number] |= values
    put(root, table, rows)


def put(root: Path, table: str, rows: Sequence[Row]) -> None:
    """Let these be the rows of a table."""
    with catalog_of(root) as connection:
        _put(connection, table, rows)
        if table != "contents":
            recount(connection, table)


def recount(connection: sqlite3.Connection, table: str) -> None:
    """Write what a table holds into `contents`."""
    crcs = [crc for (crc,) in connection.execute(f"SELECT crc FROM {table} ORDER BY rowid")]
    digest = zlib.crc32(struct.pack(f"<{len(crcs)}I", *crcs))
    others = [row for row in _rows(connection, "contents") if row["name"] != table]
    _put(connection, "contents", [*others, {"name": table, "rows": len(crcs), "digest": digest}])


def statements(root: Path, *queries: str) -> None:
    """Execute statements on the catalog, also such as change its schema."""
    with closing(sqlite3.connect(root / CATALOG, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA writable_schema = ON")
        for query in queries:
            connection.execute(query)


def _rows(connection: sqlite3.Connection, table: str) -> list[Row]:
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY rowid")
    names = [column[0] for column in cursor.description]
    return [
        {name: value for name, value in zip(names, values, strict=True) if name != "crc"} for values in cursor
    ]


def _put(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    connection.execute(f"DELETE FROM {table}")
    for row in rows:
        names, marks = ", ".join((*row, "crc")), ", ".join("?" * (len(row) + 1))
        connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})",
            (*row.values(), checksum(list(row.values()))),
        )


# --- segments


def segment_bytes(root: Path, number: int) -> bytes:
    """Return the bytes of the segment of a row of the catalog."""
    path: str = rows_of(root, "segments")[number]["path"]
    return (root / "segments" / path).read_bytes()


def batches_of(data: bytes) -> tuple[list[pa.RecordBatch], dict[bytes, bytes]]:
    """Return the record batches of a segment and the metadata of its footer."""
    reader = pa.ipc.open_file(pa.py_buffer(data))
    return [reader.get_batch(place) for place in range(reader.num_record_batches)], reader.metadata


def file_of(
    batches: Sequence[pa.RecordBatch], metadata: dict[bytes, bytes] | None = None, codec: str | None = "zstd"
) -> bytes:
    """Return batches as an Arrow file."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)
    schema = batches[0].schema.with_metadata({b"auditkit.format": b"1"})
    with pa.ipc.new_file(sink, schema, options=options, metadata=metadata) as writer:
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    return bytes(sink.getvalue())


def message_ends(data: bytes) -> list[int]:
    """Return where the first record batch of a file begins and where each of them ends."""
    source, ends = pa.BufferReader(pa.py_buffer(data)), list[int]()
    source.seek(8)
    while True:
        offset = source.tell()
        try:
            message = pa.ipc.read_message(source)
        except (EOFError, pa.ArrowInvalid):
            return ends
        if message.type == "record batch":
            ends = [*(ends or [offset]), source.tell()]


def put_segment(
    root: Path, number: int, data: bytes, *, ends: Sequence[int] | None = None, **claims: object
) -> None:
    """Put other bytes in the place of a segment, with a row of the catalog that says what they are.

    `ends` are what `message_ends` returns, of the bytes before they were damaged; `claims` go into the row.
    """
    row = rows_of(root, "segments")[number]
    first, *others = message_ends(data) if ends is None else ends
    parts = list(BATCH.iter_unpack(row["batches"]))
    packed, start = [], first
    for place, end in enumerate(others):
        count, low, high, _, _, first_seq, last_seq = parts[min(place, len(parts) - 1)]
        packed.append(BATCH.pack(count, low, high, end, zlib.crc32(data[start:end]), first_seq, last_seq))
        start = end
    digest = hashlib.sha256(data).digest()
    path = f"{row['path'].rpartition('-')[0]}-{digest.hex()[:16]}.arrow"
    known = {
        "path": path,
        "size_bytes": len(data),
        "sha256": digest,
        "head_bytes": first,
        "head_crc": zlib.crc32(data[:first]),
        "foot_crc": zlib.crc32(data[start:]),
        "batches": b"".join(packed),
    }
    (root / "segments" / row["path"]).unlink()
    (root / "segments" / path).write_bytes(data)
    edit(root, "segments", number, **(known | claims))


def change_batches(
    root: Path,
    number: int,
    change: Callable[[pa.RecordBatch], pa.RecordBatch],
    codec: str | None = "zstd",
) -> None:
    """Put what `change` makes of each record batch in the place of a segment."""
    batches, metadata = batches_of(segment_bytes(root, number))
    put_segment(root, number, file_of([change(batch) for batch in batches], metadata, codec))


def with_column(
    name: str, make: Callable[[pa.Array], pa.Array]
) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Return a change of batches: another column of this name."""

    def change(batch: pa.RecordBatch) -> pa.RecordBatch:
        place = batch.schema.get_field_index(name)
        columns, names = list(batch.columns), list(batch.schema.names)
        columns[place] = make(columns[place])
        return pa.RecordBatch.from_arrays(columns, names=names)

    return change


def texts(count: int, offsets: Sequence[int], data: bytes, kind: pa.DataType | None = None) -> pa.Array:
    """Return an array of large strings with any offsets."""
    packed = struct.pack(f"<{count + 1}q", *offsets)
    return pa.Array.from_buffers(
        kind or pa.large_string(), count, [None, pa.py_buffer(packed), pa.py_buffer(data)]
    )


def zstd_bomb(size: int, byte: bytes = b"a") -> bytes:
    """Return a zstd frame of one byte repeated: 4 bytes for 128 kB."""
    piece, blocks = 128 * 1024, []
    for start in range(0, size, piece):
        length = min(piece, size - start)
        is_last = start + length >= size
        blocks.append(struct.pack("<I", length << 3 | 1 << 1 | is_last)[:3] + byte)
    return struct.pack("<IBBQ", 0xFD2FB528, 0xC0, 0x38, size) + b"".join(blocks)


# --- the queue


def queue_files(root: Path) -> list[Path]:
    """Return the queue files, oldest first."""
    return sorted((root / "queue").glob("*.wal"))


def frames_of(path: Path) -> tuple[bytes, list[tuple[bytes, int, int, int, bytes]]]:
    """Return the header of a queue file and its frames: kind, seq, count, recorded, payload."""
    data, frames = path.read_bytes(), []
    position = _HEADER.size
    while position + _FRAME.size <= len(data) and data[position : position + 2] == b"AK":
        kind, size, seq, count, recorded, _, _ = _FRAME.unpack_from(data, position)
        position += _FRAME.size
        frames.append((kind, seq, count, recorded, data[position : position + size]))
        position += size
    return data[: _HEADER.size], frames


def put_frames(
    path: Path, header: bytes, frames: Sequence[tuple[bytes, int, int, int, bytes]], *, space: int = 4096
) -> None:
    """Write a queue file in which everything is said to be durable."""
    parts, end = [header], len(header)
    for kind, seq, count, recorded, payload in frames:
        parts.append(pack_frame(kind, seq, count, recorded_us=recorded, durable=end, payload=payload))
        end += len(parts[-1])
    path.write_bytes(b"".join((*parts, bytes(space))))


def add_frame(
    root: Path,
    payload: bytes = b"",
    *,
    kind: bytes = b"AKEV",
    count: int = 1,
    seq: int | None = None,
    recorded: int | None = None,
    is_marked: bool = True,
) -> None:
    """Append a frame to the newest queue file, and a commit mark that says it is durable."""
    path = queue_files(root)[-1]
    header, frames = frames_of(path)
    _, last_seq, last_count, last_recorded, _ = frames[-1]
    begin = last_seq + last_count if seq is None else seq
    moment = last_recorded if recorded is None else recorded
    frames.append((kind, begin, count, moment, payload))
    if is_marked:
        frames.append((b"AKCM", min(begin + count, (1 << 64) - 1), 0, moment, b""))
    put_frames(path, header, frames)


def change_header(path: Path, **values: int) -> None:
    """Change fields of a queue file's header."""
    data = path.read_bytes()
    names = ("magic", "format", "trail_id", "first", "recorded", "predecessor", "end", "crc")
    fields: Row = dict(zip(names, _HEADER.unpack_from(data), strict=True))
    head = _HEADER.pack(*(fields | values).values())[:-4]
    path.write_bytes(head + struct.pack("<I", zlib.crc32(head)) + data[_HEADER.size :])


def stream_of(batch: pa.RecordBatch, codec: str | None = None) -> bytes:
    """Return a batch as the Arrow stream of a payload."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def arrow_payload(root: Path) -> pa.RecordBatch:
    """Return the record batch of a queued batch of columns."""
    for path in queue_files(root):
        for *_, payload in frames_of(path)[1]:
            if payload.startswith(b"\xff\xff\xff\xff"):
                return pa.ipc.open_stream(payload).read_next_batch()
    raise LookupError("no batch of columns in the queue")


def event_columns(count: int = 1, **values: object) -> list[list[object] | None]:
    """Return the columns of queued events by name; those not given are null."""
    names = (
        "ts", "actor", "action", "resource", "outcome", "source", "origin", "correlation", "id", "value", "attrs",
        "amount", "pieces", "paid", "due", "note",
    )  # fmt: skip
    given: Row = {"ts": 1_795_500_000_000_000, "action": "order.paid"} | values
    return [[given[name]] * count if name in given else None for name in names]


# --- lines of JSON with checksums


def letter_line(**fields: object) -> bytes:
    """Return a line of a file of dead letters."""
    known: Row = {
        "recorded_us": 1_795_500_000_000_000,
        "reason": "bad",
        "field": None,
        "line": None,
        "input": "",
    }
    return letter_bytes(json.dumps(known | fields).encode())


def letter_bytes(body: bytes) -> bytes:
    """Return the body of a letter, a JSON object or what claims to be one, as a line."""
    return body[:-1] + b', "crc": %d}\n' % zlib.crc32(body)


def slot_line(**fields: object) -> bytes:
    """Return a line of a consumer's file."""
    whole = {"format": 1, **fields}
    return json.dumps({**whole, "crc": zlib.crc32(json.dumps(whole).encode())}).encode().ljust(511) + b"\n"


def put_slots(root: Path, *lines: bytes, name: str = "mailer") -> None:
    """Write a consumer's file: two positions and an attempt, blank where none is given."""
    blank = b" " * 512
    whole = [*lines, *[blank] * (3 - len(lines))]
    (root / "consumers" / f"{name}.jsonl").write_bytes(b"".join(whole))
