"""An independent reader of a trail's files, written from the description of the format and importing none of ours.

It believes nothing: every checksum, digest, link and order that the format promises is asserted on the way, and a
file or row that does not keep one is a `BrokenError`.  Payloads are MessagePack and segments Arrow IPC: both are read
with their own libraries.
"""

import hashlib
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

COLUMNS = (
    "ts",
    "actor",
    "action",
    "resource",
    "outcome",
    "source",
    "origin",
    "correlation",
    "id",
    "value",
    "attrs",
)
_HEADER = struct.Struct("<8sI16sQqQQI")
_FRAME = struct.Struct("<4sIQIqQI")
_BATCH = struct.Struct("<IqqQIQQ")
_KINDS = (b"AKEV", b"AKPT", b"AKCM", b"AKNF", b"AKBL")


class BrokenError(AssertionError):
    """The files do not keep what the format promises."""


def need(condition: bool, fact: str) -> None:
    """Raise `BrokenError` with a sentence unless a condition holds."""
    if not condition:
        raise BrokenError(fact)


@dataclass(frozen=True)
class Frame:
    """One frame of a queue file."""

    offset: int
    end: int
    kind: bytes
    seq: int
    count: int
    recorded: int
    durable: int
    payload: bytes


@dataclass
class QueueFile:
    """One queue file: its header, the valid frames at its start, and how many bytes follow them."""

    path: Path
    first_seq: int
    recorded: int
    predecessor: int
    predecessor_end: int
    size: int
    frames: list[Frame] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Where the valid frames end."""
        return self.frames[-1].end if self.frames else _HEADER.size

    @property
    def seal(self) -> int | None:
        """The successor's first seq, where the file is sealed."""
        return next((frame.seq for frame in self.frames if frame.kind == b"AKNF"), None)

    @property
    def marked(self) -> int:
        """The last byte that a commit mark or the frame of a rotation stands behind."""
        return max((f.end for f in self.frames if f.kind in (b"AKCM", b"AKNF")), default=_HEADER.size)

    def events(self, end: int | None = None) -> dict[int, dict[str, Any]]:
        """Return the events of whole batches, up to file position `end` where given, by seq."""
        found: dict[int, dict[str, Any]] = {}
        batch: dict[int, dict[str, Any]] = {}
        for frame in self.frames:
            if end is not None and frame.end > end:
                break
            batch.update(decode(frame))
            if frame.kind not in (b"AKPT", b"AKBL"):
                found.update(batch)
                batch = {}
        return found


@dataclass
class Stored:
    """Everything a trail holds: events by seq, and the catalog's rows by table."""

    events: dict[int, dict[str, Any]]
    queued: set[int]
    catalog: dict[str, list[dict[str, Any]]]
    queue: list[QueueFile]

    @property
    def flushed(self) -> int:
        """Events before this seq are in segments or pruned."""
        return self.catalog["flushes"][-1]["end_seq"] if self.catalog["flushes"] else 0

    @property
    def pruned(self) -> int:
        """How many events tombstones account for."""
        return sum(row["rows"] for row in self.catalog["tombstones"])

    @property
    def end(self) -> int:
        """The exclusive end of the seqs."""
        return max([self.flushed, *(seq + 1 for seq in self.events)])


def read_queue_file(path: Path) -> QueueFile:
    """Read one queue file; frames end where the first invalid byte begins."""
    data = path.read_bytes()
    need(len(data) >= _HEADER.size, f"{path.name}: no header")
    magic, version, _, first, recorded, predecessor, predecessor_end, crc = _HEADER.unpack_from(data)
    need(magic == b"AKQUEUE\n" and version == 1, f"{path.name}: magic or version")
    need(zlib.crc32(data[: _HEADER.size - 4]) == crc, f"{path.name}: header checksum")
    need(path.name == f"{first:020}.wal", f"{path.name}: named by another first seq than {first}")
    file = QueueFile(path, first, recorded, predecessor, predecessor_end, len(data))
    file.frames = list(_frames(data))
    _check_frames(file)
    need(file.seal is None or not data[file.end :].strip(b"\0"), f"{path.name}: bytes after the seal")
    return file


def _frames(data: bytes) -> Iterator[Frame]:
    position = _HEADER.size
    while position + _FRAME.size <= len(data):
        kind, size, seq, count, recorded, durable, crc = _FRAME.unpack_from(data, position)
        start, end = position + _FRAME.size, position + _FRAME.size + size
        if kind not in _KINDS or end > len(data):
            return
        if zlib.crc32(data[position : start - 4] + data[start:end]) != crc:
            return
        yield Frame(position, end, kind, seq, count, recorded, durable, data[start:end])
        position = end


def _check_frames(file: QueueFile) -> None:
    seq, recorded = file.first_seq, file.recorded
    for frame in file.frames:
        where = f"{file.path.name} at {frame.offset}"
        need(
            frame.seq == seq or (frame.kind == b"AKBL" and frame.seq > seq),
            f"{where}: seq {frame.seq}, not {seq}",
        )
        need(frame.recorded >= recorded, f"{where}: recorded went back")
        need(frame.durable <= frame.offset, f"{where}: durable up to {frame.durable}, beyond itself")
        need(bool(frame.count) == (frame.kind in (b"AKEV", b"AKPT")), f"{where}: count {frame.count}")
        seq, recorded = frame.seq + frame.count, frame.recorded


def decode(frame: Frame) -> dict[int, dict[str, Any]]:
    """Return the events of one frame by seq (none for marks and seals)."""
    if not frame.count:
        return {}
    columns: list[list[Any] | None]
    if frame.payload.startswith(b"\xff\xff\xff\xff"):
        table = pa.ipc.open_stream(pa.BufferReader(frame.payload)).read_all()
        given = dict(
            zip(table.column_names, table.columns, strict=True)
        )  # columns without a value are left out
        columns = [_plain(given[name]).to_pylist() if name in given else None for name in COLUMNS]
    else:
        columns = msgspec.msgpack.decode(frame.payload)
    for column in columns:
        need(column is None or len(column) == frame.count, f"frame of seq {frame.seq}: column lengths")
    rows = [[None if column is None else column[row] for column in columns] for row in range(frame.count)]
    return {
        frame.seq + row: {"recorded": frame.recorded, **dict(zip(COLUMNS, values, strict=False))}
        for row, values in enumerate(rows)
    }


def read_catalog(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the catalog's rows by table, each with its checksum checked."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        need(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), "catalog: integrity check")
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = {name: list(_rows(connection, name)) for name in names}
        said = {row["name"]: (row["rows"], row["digest"]) for row in tables.pop("contents")}
        need(said.keys() == tables.keys(), f"catalog: contents of {sorted(said)}")
        for name, rows in tables.items():
            crcs = [_checksum(row) for row in rows]
            found = (len(crcs), zlib.crc32(struct.pack(f"<{len(crcs)}I", *crcs)))
            need(found == said[name], f"catalog: contents of {name}")
        return tables
    finally:
        connection.close()


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 -- from sqlite_master
    names = [column[0] for column in cursor.description]
    for values in cursor:
        row = dict(zip(names, values, strict=True))
        crc = row.pop("crc")
        need(_checksum(row) == crc, f"catalog: a row of {table}")
        yield row


def _checksum(row: dict[str, Any]) -> int:
    """Return the checksum of a row of the catalog: of its values, without NULLs at the end."""
    values = list(row.values())
    while values and values[-1] is None:
        values.pop()
    return zlib.crc32(msgspec.msgpack.encode(values))


def read_segment(root: Path, row: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the events of one segment by seq, after checking all that the catalog says of it."""
    data = (root / "segments" / row["path"]).read_bytes()
    need(len(data) == row["size_bytes"], f"{row['path']}: size")
    need(hashlib.sha256(data).digest() == row["sha256"], f"{row['path']}: digest")
    name = f"{row['first_seq']:020}-{row['last_seq']:020}-{row['sha256'].hex()[:16]}.arrow"
    need(row["path"] == f"{row['partition']}/{name}", f"{row['path']}: not named by seqs and digest")
    reader = pa.ipc.open_file(pa.BufferReader(data))
    need(reader.schema.metadata == {b"auditkit.format": b"1"}, f"{row['path']}: format")
    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    _check_batches(data, row, batches)
    table = pa.Table.from_batches(batches)
    columns = {name: _plain(table[name]) for name in table.column_names}
    events = [
        dict(zip(columns, values, strict=True))
        for values in zip(*(c.to_pylist() for c in columns.values()), strict=True)
    ]
    keys = [(event["ts"], event["seq"]) for event in events]
    need(keys == sorted(keys), f"{row['path']}: not sorted by (ts, seq)")
    need(len(events) == row["rows"], f"{row['path']}: rows")
    seqs = [event["seq"] for event in events]
    need((min(seqs), max(seqs)) == (row["first_seq"], row["last_seq"]), f"{row['path']}: seq bounds")
    need((keys[0][0], keys[-1][0]) == (row["min_ts_us"], row["max_ts_us"]), f"{row['path']}: ts bounds")
    _check_contents(row, events)
    return {event.pop("seq"): event for event in events}


def _check_contents(row: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """Check what the catalog says of the values in a segment."""
    recorded = [event["recorded"] for event in events]
    bounds = (row["min_recorded_us"], row["max_recorded_us"])
    need((min(recorded), max(recorded)) == bounds, f"{row['path']}: recorded bounds")
    empty = {name for name in events[0] if all(event[name] is None for event in events)}
    need(set(msgspec.json.decode(row["empty_columns"])) == empty, f"{row['path']}: columns without a value")
    distinct = {tuple(event[name] for name in ("action", "source", "outcome")) for event in events}
    kept = row["combinations"]
    if kept is None:
        need(len(distinct) > 256 or len(str(distinct)) > 30_000, f"{row['path']}: no combinations")
    else:
        found = [tuple(names) for names in msgspec.json.decode(kept)]
        need(len(found) == len(distinct) and set(found) == distinct, f"{row['path']}: combinations")


def _plain(column: Any) -> Any:
    """Return a column with times as integer microseconds."""
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column


def _check_batches(data: bytes, row: dict[str, Any], batches: list[Any]) -> None:
    start = row["head_bytes"]
    need(zlib.crc32(data[:start]) == row["head_crc"], f"{row['path']}: checksum before the batches")
    said = list(_BATCH.iter_unpack(row["batches"]))
    need(len(said) == len(batches), f"{row['path']}: number of batches")
    for (rows, low, high, end, crc, first, last), batch in zip(said, batches, strict=True):
        stamps = batch.column("ts").cast(pa.int64()).to_pylist()
        seqs = batch.column("seq").to_pylist()
        need((first, last) == (min(seqs), max(seqs)), f"{row['path']}: a batch's seqs")
        need((rows, low, high) == (len(stamps), stamps[0], stamps[-1]), f"{row['path']}: a batch's bounds")
        need(zlib.crc32(data[start:end]) == crc, f"{row['path']}: a batch's checksum")
        start = end
    need(zlib.crc32(data[start:]) == row["foot_crc"], f"{row['path']}: checksum behind the batches")


def read_trail(root: Path) -> Stored:
    """Read a whole trail; a `BrokenError` tells what does not fit together.

    Counts every whole batch in the newest queue file, marked or not; in files with a successor, what lies before
    the end that the successor names.
    """
    catalog = read_catalog(root / "catalog.sqlite")
    events: dict[int, dict[str, Any]] = {}
    rows = 0
    for row in catalog["segments"]:
        found = read_segment(root, row)
        need(not events.keys() & found.keys(), f"{row['path']}: seqs that another segment has")
        events.update(found)
        rows += row["rows"]
    flushed = catalog["flushes"][-1]["end_seq"] if catalog["flushes"] else 0
    rows += sum(row["rows"] for row in catalog["tombstones"])
    need(rows == flushed, f"catalog: {rows} events in segments and tombstones, {flushed} flushed")
    queue = [read_queue_file(path) for path in sorted((root / "queue").glob("*.wal"))]
    need(bool(queue), "queue: no file")
    queued = _queued(queue, flushed)
    need(not events.keys() & queued.keys(), "queue: unflushed seqs that a segment has")
    stored = Stored(events | queued, set(queued), catalog, queue)
    accepted = [stored.events[seq]["recorded"] for seq in sorted(stored.events)]
    need(accepted == sorted(accepted), "recorded goes back while seq goes on")
    need(sorted(queued) == list(range(flushed, flushed + len(queued))), f"queue: a gap after seq {flushed}")
    return stored


def _queued(queue: list[QueueFile], flushed: int) -> dict[int, dict[str, Any]]:
    queued: dict[int, dict[str, Any]] = {}
    for number, file in enumerate(queue):
        later = queue[number + 1] if number + 1 < len(queue) else None
        end = later.predecessor_end if later is not None and later.predecessor == file.first_seq else None
        if end is not None:
            need(file.end >= end, f"{file.path.name}: valid up to {file.end}, durable up to {end}")
        found = file.events(end)
        need(not queued.keys() & found.keys(), f"{file.path.name}: seqs that an earlier file has")
        queued.update(found)
    return {seq: event for seq, event in queued.items() if seq >= flushed}
