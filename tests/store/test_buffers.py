"""Segments that were made to do harm: whatever a file says, it is refused before it is believed."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from auditkit.api import Trail
from auditkit.disk.layout import Layout
from auditkit.errors import CorruptionError, FormatError
from auditkit.event import SCHEMA, EventSchema
from auditkit.store import segment
from auditkit.store.files import FORMAT, METADATA_KEY, SegmentFiles
from auditkit.store.records import SegmentRow
from tests.signing import named

EVENTS = 6
Columns = dict[str, pa.Array]
OPTIONS = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1), use_threads=False)


@pytest.fixture(name="row")
def sealed_segment(trail: Trail) -> SegmentRow:
    """Return the row of a segment with six events."""
    trail.extend(
        [
            {
                "action": f"action {number % 2}",
                "actor": f"actor {number}",
                "resource": f"resource {number}",
                "attrs": {"number": number},
                "ts": f"2026-11-24T07:00:0{number}Z",
            }
            for number in range(EVENTS)
        ]
    ).wait()
    trail.flush()
    (row,) = trail.view.snapshot().catalog.segments
    return row


def columns_of(path: Path) -> Columns:
    """Return the columns of a segment of one record batch."""
    with pa.ipc.open_file(path) as reader:
        batch = reader.get_batch(0)
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def written(path: Path, columns: Columns) -> bytes:
    """Return columns as a segment's bytes, without a look at them."""
    kept = pa.ipc.open_file(path).metadata
    schema = pa.schema([(name, column.type) for name, column in columns.items()], {METADATA_KEY: FORMAT})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=OPTIONS, metadata=kept) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(columns.values()), schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def texts(values: bytes, offsets: list[int]) -> pa.Array:
    """Return texts with these bytes and offsets, right or not."""
    places = pa.py_buffer(np.array(offsets, dtype="<i8").tobytes())
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, [None, places, pa.py_buffer(values)])


def coded(codes: list[int], values: pa.Array) -> pa.Array:
    """Return a dictionary column with these codes, right or not."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), values, safe=False)


def stamps(*values: int) -> pa.Array:
    """Return times in microseconds."""
    return pa.array(values, pa.timestamp("us", "UTC"))


SIX = [0, 1, 2, 3, 4, 5, 6]
HOUR = 1_795_503_600_000_000
HARM: dict[str, Callable[[], Columns]] = {
    "offsets that fall": lambda: {"resource": texts(b"abcdef", [0, 5, 1, 3, 4, 5, 6])},
    "offsets beyond the text": lambda: {"resource": texts(b"abcdef", [0, 1, 2, 1 << 40, 4, 5, 6])},
    "an offset before the text": lambda: {"resource": texts(b"abcdef", [0, 1, -900, 3, 4, 5, 6])},
    "texts that are not UTF-8": lambda: {"resource": texts(b"ab\xff\xfeef", SIX)},
    "a character in two texts": lambda: {"resource": texts("aéé".encode() + b"e", SIX)},
    "codes beyond the dictionary": lambda: {"actor": coded([0, 1, 2, 99, 0, 0], texts(b"abc", [0, 1, 2, 3]))},
    "codes below zero": lambda: {"actor": coded([0, 1, -7, 0, 0, 0], texts(b"abc", [0, 1, 2, 3]))},
    "a dictionary that is not UTF-8": lambda: {"actor": coded([0] * 6, texts(b"\xff", [0, 1]))},
    "a dictionary whose offsets fall": lambda: {"actor": coded([0] * 6, texts(b"abcd", [0, 3, 1, 4]))},
    "a dictionary with a null": lambda: {"actor": coded([0] * 6, pa.array([None, "a"], pa.large_string()))},
    "a dictionary of more values than events": lambda: {
        "actor": coded([0] * 6, texts(b"abcdefg", [*SIX, 7]))
    },
    "a dictionary with a long value": lambda: {"actor": coded([0] * 6, texts(b"a" * 70_000, [0, 70_000]))},
    "a long text": lambda: {"resource": texts(b"a" * 70_000, [0] * 6 + [70_000])},
    "long attrs": lambda: {"attrs": texts(b"1" * 1_100_000, [0] * 6 + [1_100_000])},
    "attrs that grow": lambda: {"attrs": texts(bytes(1 << 26), [0] * 6 + [1 << 26])},
    "a dictionary that grows": lambda: {"actor": coded([0] * 6, texts(bytes(1 << 26), [0, 1 << 26]))},
    "times in another order": lambda: {"ts": stamps(*(HOUR + 1_000_000 * n for n in (0, 2, 1, 3, 4, 5)))},
    "times out of range": lambda: {"ts": stamps(*range(5), 1 << 62)},
    "times that are missing": lambda: {"ts": pa.nulls(6, pa.timestamp("us", "UTC"))},
    "seqs out of range": lambda: {"seq": pa.array([0, 1, 2, 3, 4, 1 << 63], pa.uint64())},
    "another type": lambda: {"resource": pa.array(range(6))},
    "codes of another type": lambda: {"actor": pa.array(["a"] * 6).dictionary_encode()},
    "a list of nothing": lambda: {"resource": pa.nulls(6, pa.list_(pa.null(), 1 << 20))},
    "another zone": lambda: {"ts": pa.array([HOUR] * 6, pa.timestamp("us", "Europe/Stockholm"))},
    "one column more": lambda: {"more": pa.array([1.0] * 6)},
}


def read(layout: Layout, row: SegmentRow) -> None:
    """Read all of a segment in both ways; both must refuse it, and the first error is raised."""
    with pytest.raises((CorruptionError, FormatError)):
        segment.read_segment(layout, row, EventSchema())
    SegmentFiles(layout).open(row).batches([0], list(SCHEMA))


@pytest.mark.parametrize("harm", HARM)
def test_a_segment_made_to_do_harm_is_corruption(trail: Trail, row: SegmentRow, harm: str) -> None:
    """Its checksums are in order, and it is refused all the same, in an error that names it."""
    path = trail.path / "segments" / row.path
    data = written(path, columns_of(path) | HARM[harm]())
    path.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        read(trail.handle.layout, named(row, data))
    assert caught.value.path == path


def test_a_segment_that_is_written_again_as_it_was_is_read(trail: Trail, row: SegmentRow) -> None:
    """What the other tests change is what makes the difference."""
    path = trail.path / "segments" / row.path
    data = written(path, columns_of(path))
    path.write_bytes(data)
    (batch,) = SegmentFiles(trail.handle.layout).open(named(row, data)).batches([0], list(SCHEMA))
    assert batch.column("resource").to_pylist() == [f"resource {number}" for number in range(EVENTS)]
    assert segment.read_segment(trail.handle.layout, named(row, data), EventSchema()).height == EVENTS


def test_a_segment_without_a_column_is_corruption(trail: Trail, row: SegmentRow) -> None:
    """The error names what it has."""
    path = trail.path / "segments" / row.path
    columns = columns_of(path)
    del columns["origin"]
    data = written(path, columns)
    path.write_bytes(data)
    with pytest.raises(
        CorruptionError, match=r"segment does not read: no columns of an event .*source, corr"
    ):
        read(trail.handle.layout, named(row, data))


@pytest.mark.parametrize("claim", [1 << 20, 1 << 40, (1 << 63) - 1, -2, -(1 << 63), 0])
def test_a_buffer_that_claims_more_than_its_events_take_is_corruption(
    trail: Trail, row: SegmentRow, claim: int
) -> None:
    """No memory is taken for what a compressed buffer says it will need."""
    path = trail.path / "segments" / row.path
    data = bytearray(path.read_bytes())
    sound = named(row, bytes(data))
    (part,) = sound.parts
    body = pa.ipc.read_message(pa.BufferReader(bytes(data[part.start : part.end]))).body.to_pybytes()
    at = data.index(body, part.start)
    struct.pack_into("<q", data, at, claim)
    path.write_bytes(data)
    with pytest.raises(CorruptionError):
        read(trail.handle.layout, named(row, bytes(data)))


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_a_record_batch_of_other_events_than_the_catalog_says_is_corruption(
    trail: Trail, row: SegmentRow, rows: int
) -> None:
    """The catalog's number of events is what everything is held against."""
    path = trail.path / "segments" / row.path
    with pytest.raises(CorruptionError):
        read(trail.handle.layout, replace(named(row, path.read_bytes(), rows=rows), rows=rows))


def test_filters_of_more_record_batches_than_there_are_are_corruption(trail: Trail, row: SegmentRow) -> None:
    """The number in front of them takes no memory."""
    path = trail.path / "segments" / row.path
    columns = columns_of(path)
    schema = pa.schema([(name, column.type) for name, column in columns.items()], {METADATA_KEY: FORMAT})
    sink = pa.BufferOutputStream()
    filters = {b"auditkit.filter.actor": b"\x7f" * 4 + b"\x0f" + bytes(40)}
    with pa.ipc.new_file(sink, schema, options=OPTIONS, metadata=filters) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(columns.values()), schema=schema))
    data = sink.getvalue().to_pybytes()
    path.write_bytes(data)
    wanted: Any = np.array([7], dtype="<u8")
    with pytest.raises(CorruptionError, match="no filters of 1 record batches"):
        SegmentFiles(trail.handle.layout).open(named(row, data)).candidates({"actor": wanted})


def test_nulls_that_are_nowhere_are_corruption(trail: Trail, row: SegmentRow) -> None:
    """A column that claims nulls, and has no bits that say which, is refused before anyone looks for them."""
    path = trail.path / "segments" / row.path
    data = path.read_bytes()
    (part,) = named(row, data).parts
    head = bytearray(data[part.start : part.end])
    of_seq = (EVENTS).to_bytes(8, "little") + bytes(8)  # the node of the first column: events and nulls
    at = head.index(of_seq)
    head[at + 8] = 2
    data = data[: part.start] + bytes(head) + data[part.end :]
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="nulls that are nowhere"):
        read(trail.handle.layout, named(row, data))
