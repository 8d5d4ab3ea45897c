"""Payloads that were made to do harm: a frame's checksum is in order, and its events are none."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from auditkit.errors import CorruptionError
from auditkit.event import EventSchema
from auditkit.queue.decoding import columns_of, decode_frames, keys_in
from auditkit.queue.frames import COMMIT_MARK, EVENTS, Frame, pack_frame, parse_frames
from auditkit.queue.payload import END_OF_STREAM

PATH = Path("x.wal")
SCHEMA = EventSchema({"n": pl.Int64(), "due": pl.Datetime("us", "UTC"), "done": pl.Boolean()})
TS = 1_700_000_000_000_000
ROWS = [[TS, TS], ["ann", None], ["a", "b"], *[None] * 8, [1, None], [TS, None], [True, None]]


def rows(**changes: Any) -> bytes:
    """Return a payload of two events by rows, of which some columns differ."""
    names = list(SCHEMA.row_columns)
    assert len(names) == len(ROWS)
    return msgspec.msgpack.encode([changes.get(name, value) for name, value in zip(names, ROWS, strict=True)])


def stream(
    *, end: bytes = END_OF_STREAM, compression: str | None = None, **columns: pa.Array | None
) -> bytes:
    """Return a payload of two events by columns, of which some differ."""
    given: dict[str, pa.Array | None] = {
        "ts": pa.array([datetime(2023, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")),
        "action": pa.array(["a", "b"]),
        **columns,
    }
    kept = {name: column for name, column in given.items() if column is not None}
    batch = pa.RecordBatch.from_arrays(list(kept.values()), list(kept))
    options = pa.ipc.IpcWriteOptions(compression=compression)
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    data: bytes = written.getvalue().to_pybytes()
    return data[: -len(END_OF_STREAM)] + end


def texts(values: bytes, offsets: Sequence[int]) -> pa.Array:
    """Return texts with these bytes and offsets, right or not."""
    places = pa.py_buffer(np.array(offsets, dtype="<i8").tobytes())
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, [None, places, pa.py_buffer(values)])


HARM: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no array": lambda: b"\x01",
    "an array that claims a billion columns": lambda: b"\xdd\x3b\x9a\xca\x00",
    "a column that claims a billion values": lambda: b"\x9e\xdd\x3b\x9a\xca\x00",
    "no columns": lambda: b"\x90",
    "columns without values": lambda: msgspec.msgpack.encode([None] * len(ROWS)),
    "too few columns": lambda: msgspec.msgpack.encode(ROWS[:-1]),
    "too many columns": lambda: msgspec.msgpack.encode([*ROWS, None]),
    "deep columns": lambda: b"\x91" * 100_000,
    "fewer values": lambda: rows(actor=["ann"]),
    "more values": lambda: rows(actor=["ann"] * 900),
    "an action that is null": lambda: rows(action=["a", None]),
    "times that are text": lambda: rows(ts=["2026-11-24", "2026-11-24"]),
    "times that are fractions": lambda: rows(ts=[1.5, 1.5]),
    "times out of range": lambda: rows(ts=[1 << 62, 0]),
    "other times out of range": lambda: rows(due=[-(1 << 62), 0]),
    "numbers out of range": lambda: rows(n=[1 << 63, 0]),
    "numbers as truth": lambda: rows(done=[1, 0]),
    "texts that are numbers": lambda: rows(resource=[1, 2]),
    "texts that are bytes": lambda: rows(resource=[b"a", b"b"]),
    "a long text": lambda: rows(resource=["a" * 70_000, None]),
    "long attrs": lambda: rows(attrs=["1" * 1_100_000, None]),
    "a stream of one event": lambda: stream(ts=None, action=pa.array(["a"])),
    "a stream without times": lambda: stream(ts=None),
    "a stream with null actions": lambda: stream(action=pa.array([None, "a"])),
    "a stream of times out of range": lambda: stream(ts=pa.array([1 << 62, 0], pa.timestamp("us", "UTC"))),
    "a stream of times in another unit": lambda: stream(ts=pa.array([1, 0], pa.timestamp("s", "UTC"))),
    "a stream of nothing": lambda: stream(n=pa.nulls(2)),
    "a stream with an unknown column": lambda: stream(more=pa.array([1, 2])),
    "a stream that numbers its events": lambda: stream(seq=pa.array([1, 2], pa.uint64())),
    "a stream of dictionaries": lambda: stream(action=pa.array(["a", "b"]).dictionary_encode()),
    "a stream of views": lambda: stream(action=pa.array(["a", "b"], pa.string_view())),
    "a stream of texts that are not UTF-8": lambda: stream(action=texts(b"\xffa", [0, 1, 2])),
    "a stream of offsets that fall": lambda: stream(action=texts(b"abc", [0, 3, 2])),
    "a stream that grows": lambda: stream(compression="zstd", attrs=pa.array(["0" * (1 << 26), "1"])),
    "a stream without end": lambda: stream(end=b""),
    "a stream that goes on": lambda: stream(end=END_OF_STREAM + b"more"),
    "a stream of streams": lambda: stream() + stream(),
    "the beginning of a stream": lambda: stream()[:40],
    "a message that claims to be large": lambda: b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100),
    "a message of zeros": lambda: b"\xff\xff\xff\xff\x40\0\0\0" + bytes(100),
}


def frame_of(payload: bytes, count: int = 2) -> Frame:
    """Return a frame around a payload."""
    return Frame(0, len(payload), EVENTS, 5, count, 7, 0, payload)


@pytest.mark.parametrize("payload", [rows, stream])
def test_what_the_others_are_made_of_is_read(payload: Callable[[], bytes]) -> None:
    """What the harmful payloads change is what makes the difference."""
    frame = frame_of(payload())
    assert decode_frames([frame], SCHEMA, PATH).get_column("action").to_list() == ["a", "b"]
    assert len(columns_of(frame, SCHEMA, PATH)) == len(SCHEMA.row_columns)
    assert keys_in(frame, SCHEMA, PATH) is None


@pytest.mark.parametrize("harm", HARM)
def test_a_payload_made_to_do_harm_is_corruption(harm: str) -> None:
    """Every way to read it is refused with an error that names the file and the place."""
    frame = frame_of(HARM[harm]())
    for read in (
        lambda: decode_frames([frame], SCHEMA, PATH),
        lambda: columns_of(frame, SCHEMA, PATH),
        lambda: keys_in(frame, SCHEMA, PATH),
    ):
        with pytest.raises(CorruptionError, match="frame does not decode") as caught:
            read()
        assert (caught.value.path, caught.value.offset) == (PATH, 0)


@pytest.mark.parametrize("payload", [rows, stream])
@pytest.mark.parametrize("count", [0, 1, 3, 100_000_000, (1 << 32) - 1])
def test_a_frame_claims_no_more_events_than_it_holds(payload: Callable[[], bytes], count: int) -> None:
    """160 bytes that claim 10^8 events are an error, and take no memory."""
    with pytest.raises(CorruptionError):
        decode_frames([frame_of(payload(), count)], SCHEMA, PATH)


@pytest.mark.parametrize(
    ("kind", "seq", "count", "recorded_us"),
    [
        (EVENTS, (1 << 63) - 1, 1, TS),
        (EVENTS, (1 << 64) - 1, 0, TS),
        (COMMIT_MARK, (1 << 64) - 1, 0, TS),
        (COMMIT_MARK, 5, 100_000_000, TS),
        (EVENTS, 5, 1, 1 << 62),
        (EVENTS, 5, 1, -(1 << 62)),
    ],
)
def test_a_frame_out_of_range_is_none(kind: bytes, seq: int, count: int, recorded_us: int) -> None:
    """No reader takes its numbers, whatever its checksum says."""
    assert not list(parse_frames(pack_frame(kind, seq, count, recorded_us=recorded_us, durable=0), 0))
