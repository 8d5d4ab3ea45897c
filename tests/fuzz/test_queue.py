"""Queue files, frames and payloads of any bytes and any structure: events, or an error of ours."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from auditkit.errors import AuditError, CorruptionError, FormatError
from auditkit.event import EventSchema
from auditkit.opening import open_trail
from auditkit.queue.decoding import columns_of, decode_frames, keys_in
from auditkit.queue.frames import (
    EVENTS,
    HEADER_BYTES,
    KINDS,
    Frame,
    frames_after,
    pack_frame,
    parse_frames,
    unpack_header,
)
from auditkit.queue.payload import encode_rows
from tests.fuzz.conftest import FUZZ

PATH = Path("x.wal")
SCHEMA = EventSchema({"n": pl.Int64(), "due": pl.Datetime("us", "UTC"), "done": pl.Boolean()})
TS = 1_795_000_000_000_000
UNSIGNED = st.integers(0, (1 << 64) - 1)
SIGNED = st.integers(-(1 << 63), (1 << 63) - 1)
ANY = st.recursive(
    st.none() | st.booleans() | SIGNED | UNSIGNED | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
GOOD: list[Any] = [[TS, TS], ["a", None], ["b", "c"], *[None] * 8, [1, None], [TS, None], [True, None]]
COLUMNS = st.tuples(*(st.just(column) | st.lists(ANY, min_size=2, max_size=2) | ANY for column in GOOD)).map(
    list
)
ARRAYS = st.sampled_from(
    [
        pa.array([TS, TS], pa.timestamp("us", "UTC")),
        pa.array([TS, None], pa.timestamp("us", "UTC")),
        pa.array([1 << 62, TS], pa.timestamp("us", "UTC")),
        pa.array(["a", "b"]),
        pa.array(["a", None], pa.large_string()),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array(["a", "b"], pa.string_view()),
        pa.nulls(2),
        pa.array([1, 2]),
        pa.array([1.5, None]),
        pa.array([True, False]),
        pa.array([[1], [2]]),
        pa.array([{"a": 1}, None]),
    ]
)
STREAMS = st.dictionaries(st.sampled_from(SCHEMA.row_columns), ARRAYS, min_size=1).map(
    lambda given: stream(
        {"ts": pa.array([TS, TS], pa.timestamp("us", "UTC")), "action": pa.array(["a", "b"]), **given}
    )
)


def stream(columns: dict[str, pa.Array]) -> bytes:
    """Return a payload by columns."""
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, batch.schema) as writer:
        writer.write_batch(batch)
    data: bytes = written.getvalue().to_pybytes()
    return data


@st.composite
def damaged(draw: st.DrawFn, payloads: st.SearchStrategy[bytes]) -> bytes:
    """Draw a payload, some bytes of which differ."""
    data = bytearray(draw(payloads))
    for place, value in draw(
        st.lists(st.tuples(st.integers(0, max(0, len(data) - 1)), st.integers(0, 255)), max_size=6)
    ):
        if data:
            data[place] = value
    return bytes(data[: len(data) - draw(st.sampled_from([0] * 9 + [1, 8, 40]))])


PAYLOADS = damaged(
    st.binary(max_size=200) | ANY.map(msgspec.msgpack.encode) | COLUMNS.map(msgspec.msgpack.encode) | STREAMS
)


@FUZZ
@given(
    st.binary(max_size=300)
    | damaged(st.just(pack_frame(EVENTS, 0, 1, recorded_us=TS, durable=0, payload=b"abc")))
)
def test_any_bytes_are_frames_or_none(data: bytes) -> None:
    """What is found lies inside the bytes; a header is one or an error."""
    for frame in parse_frames(data, 0):
        assert 0 <= frame.offset < frame.end <= len(data)
    list(frames_after(data, 0, 0))
    try:
        unpack_header(data, PATH)
    except (CorruptionError, FormatError):
        return


@FUZZ
@given(PAYLOADS, st.sampled_from([2] * 8 + [0, 1, 3, 100_000_000, (1 << 32) - 1]))
def test_any_payload_is_its_frames_events_or_corruption(payload: bytes, count: int) -> None:
    """As many events as the frame says, all of which can be shown, however they are read."""
    frame = Frame(0, len(payload), EVENTS, 5, count, TS, 0, payload)
    try:
        events = decode_frames([frame], SCHEMA, PATH)
        columns = columns_of(frame, SCHEMA, PATH)
        keys_in(frame, SCHEMA, PATH)
    except CorruptionError:
        return
    assert len(events.to_dicts()) == count
    assert {len(column.to_list()) for column in columns} == {count}


FRAMES = st.lists(
    st.tuples(
        st.sampled_from(sorted(KINDS)),
        st.integers(0, 3) | UNSIGNED,
        st.integers(0, 3) | st.integers(0, (1 << 32) - 1),
        st.just(TS) | SIGNED,
        st.sampled_from([HEADER_BYTES, 0]) | UNSIGNED,
        PAYLOADS | st.just(b"") | st.just(encode_rows([(TS, None, "a", *[None] * 8, False)])),
    ),
    max_size=4,
)


@FUZZ
@given(FRAMES, st.binary(max_size=60))
def test_a_trail_with_any_frames_answers_or_says_why(built: Path, frames: list[Any], rest: bytes) -> None:
    """The queue goes on with frames of any numbers, checksums in order: readers and writers end in an answer or an error."""
    root = built.parent / "with frames"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(built, root)
    path = max((root / "queue").glob("*.wal"))
    seq = open_end(root)
    data = path.read_bytes().rstrip(b"\0")
    for kind, ahead, count, recorded, durable, payload in frames:
        data += pack_frame(
            kind, (seq + ahead) % (1 << 64), count, recorded_us=recorded, durable=durable, payload=payload
        )
    path.write_bytes(data + rest)
    ask(root)


def open_end(root: Path) -> int:
    """Return the seq that comes next in a trail."""
    with open_trail(root, maintain=False) as trail:
        return trail.end_seq


def ask(root: Path) -> None:
    """Ask a trail, and write to it; each ends in an answer or an error of ours."""
    try:
        with open_trail(root, maintain=False) as trail:
            for act in (
                lambda: trail.range().rows(),
                lambda: trail.stats(),
                lambda: trail.append(action="a", id="q").wait(),
                lambda: trail.flush(),
            ):
                try:
                    act()
                except AuditError:
                    continue
    except AuditError:
        return
