"""What is decompressed here is what Arrow reads: whole batches, and single events out of the frames that hold them."""

import zlib
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.api import Trail
from auditkit.errors import CorruptionError
from auditkit.opening import create
from auditkit.store import compression, reading
from auditkit.store.buffers import Everything, Few
from auditkit.store.files import OpenSegment, SegmentFiles
from auditkit.store.message import read_batch
from auditkit.store.records import BATCH

ROWS = 9_001
START = datetime(2026, 11, 1, tzinfo=UTC)
FIELDS = {"flag": pl.Boolean(), "note": pl.String(), "size": pl.Int64()}


@pytest.fixture(scope="module", name="opened")
def _opened(tmp_path_factory: pytest.TempPathFactory) -> OpenSegment:
    """Return a segment of three batches in which every kind of column has values, nulls and long texts."""
    random = Random(7)
    notes = ["", "ü", "long " * 9_000, "\x00", None, "plain"]
    events = pl.DataFrame(
        {
            "action": [f"a{n % 5}" for n in range(ROWS)],
            "ts": [START + timedelta(seconds=n) for n in range(ROWS)],
            "actor": [None if n % 3 else f"u{n % 700}" for n in range(ROWS)],
            "resource": [f"/r/{random.getrandbits(64):x}" for _ in range(ROWS)],
            "value": [None if n < 5_000 else n / 7 for n in range(ROWS)],
            "flag": [None if n % 11 == 0 else n % 2 == 0 for n in range(ROWS)],
            "note": [notes[min(random.randrange(2_000), 5)] if n % 500 else notes[2] for n in range(ROWS)],
            "size": [n - 10 for n in range(ROWS)],
        },
        schema_overrides=FIELDS,
    )
    trail = create(tmp_path_factory.mktemp("trail") / "t", fields=FIELDS)
    trail.extend(events).wait()
    trail.flush()
    (row,) = trail.view.snapshot().catalog.segments
    assert row.batch_count == 3
    return SegmentFiles(trail.core.layout, list(trail.core.schema.columns)).open(row)


def by_arrow(segment: OpenSegment) -> pa.Table:
    """Return a segment as Arrow reads it."""
    return pa.ipc.open_file(segment.path.read_bytes()).read_all()


@pytest.mark.parametrize("numbers", [[0], [2], [0, 1, 2], [0, 2]])
def test_batches_are_those_that_arrow_reads(opened: OpenSegment, numbers: list[int]) -> None:
    """All columns of any batches together, valid in every respect."""
    whole = reading.whole(opened, numbers, opened.names)
    whole.validate(full=True)
    file = pa.ipc.open_file(opened.path.read_bytes())
    expected = pa.Table.from_batches([file.get_batch(number) for number in numbers])
    assert pa.Table.from_batches([whole]) == expected.replace_schema_metadata(None)


@given(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=40, unique=True).map(sorted))
def test_single_events_are_those_that_arrow_reads(opened: OpenSegment, positions: list[int]) -> None:
    """Any events of any batches, also where a text begins in one frame and ends in another."""
    few = reading.few(opened, np.array(positions), opened.names)
    few.validate(full=True)
    expected = by_arrow(opened).take(pa.array(positions)).replace_schema_metadata(None)
    assert pa.Table.from_batches([few]).to_pylist() == expected.to_pylist()


def test_an_event_costs_few_frames() -> None:
    """Of a buffer of several frames, those that hold what is asked for are decompressed."""
    numbers = np.arange(4_096).tobytes()
    pieces = compression.cut(memoryview(numbers), compression.NUMBERS_BYTES)
    packed = compression.LENGTH.pack(len(numbers)) + b"".join(map(bytes, compression.compress(pieces, 1)))
    buffer = compression.Buffer(memoryview(packed))
    assert buffer.between(8_184, 8_192) == numbers[8_184:8_192]
    assert sum(map(len, buffer.contents.values())) == compression.NUMBERS_BYTES
    assert buffer.between(8_184, 8_200) == numbers[8_184:8_200]
    assert sum(map(len, buffer.contents.values())) == 2 * compression.NUMBERS_BYTES


@pytest.mark.parametrize("rows", [1, 7, 93])
def test_batches_of_arrows_own_writer_are_read(rows: int) -> None:
    """Buffers of one frame, with the bytes that Arrow puts behind what belongs to an event, are read alike."""
    numbers = pa.array([None if n % 3 == 0 else n for n in range(rows)], pa.int8())
    texts = pa.array([f"text {n * n}" for n in range(rows)], pa.large_string())
    table = pa.table({"number": pa.concat_arrays([numbers] * 2), "text": pa.concat_arrays([texts] * 2)})
    sink, options = pa.BufferOutputStream(), pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    file, source = memoryview(sink.getvalue()), pa.BufferReader(sink.getvalue())
    begins = []
    for _ in range(3):
        begins.append(source.tell())
        pa.ipc.read_message(source)
    batches = [read_batch(file, begin) for begin in begins[1:]]
    all_places = [list(range(rows))] * 2
    for held in (
        Everything(file=file, batches=batches),
        Few(file=file, batches=batches, places=all_places),
    ):
        ends, data = held.texts(3)
        assert ends.tolist() == [0, *np.cumsum([len(f"text {n * n}") for n in [*range(rows)] * 2])]
        assert bytes(data).decode() == "".join(table["text"].to_pylist())
        assert held.bits(0).tolist() == [n % 3 > 0 for n in [*range(rows)] * 2]
        found = np.frombuffer(held.numbers(1, 1), dtype="i1")
        assert found[held.bits(0).astype(bool)].tolist() == table["number"].drop_null().to_pylist()


@pytest.mark.parametrize("cut_at", [1, 9, 30])
def test_frames_that_end_too_soon_are_an_error(cut_at: int) -> None:
    """Neither a part nor the whole of a shortened buffer is taken for what it says to hold."""
    (frame,) = compression.compress([memoryview(bytes(range(256)) * 8)], 1)
    buffer = compression.LENGTH.pack(2_048) + bytes(frame)
    shortened = memoryview(buffer)[: compression.LENGTH.size + cut_at]
    with pytest.raises(compression.FrameError):
        compression.decompress([shortened], [2_048])
    with pytest.raises(compression.FrameError):
        compression.Buffer(shortened).between(0, 8)


def test_frames_that_hold_less_than_belongs_to_them_are_an_error() -> None:
    """A buffer that is too short for its events is none."""
    (frame,) = compression.compress([memoryview(b"1234567890")], 1)
    with pytest.raises(compression.FrameError, match="hold less"):
        compression.decompress([memoryview(compression.LENGTH.pack(11) + bytes(frame))], [11])


@pytest.mark.parametrize("at", [8, 12, 40, 60, 100])
def test_what_was_written_wrongly_is_corruption(trail: Trail, at: int) -> None:
    """A batch whose checksum is right and whose message makes no sense is an error that names the file."""
    trail.append(action="a").wait()
    trail.flush()
    (row,) = trail.view.snapshot().catalog.segments
    path = trail.path / "segments" / row.path
    data, part = bytearray(path.read_bytes()), row.parts[0]
    data[part.start + at : part.start + at + 8] = b"\x7f" * 8
    path.write_bytes(data)
    crc = zlib.crc32(data[part.start : part.end])
    described = BATCH.pack(
        part.rows, part.min_ts_us, part.max_ts_us, part.end, crc, part.min_seq, part.max_seq
    )
    files = SegmentFiles(trail.core.layout, list(trail.core.schema.columns))
    segment = files.open(msgspec.structs.replace(row, batches=described))
    with pytest.raises(CorruptionError, match="segment does not read") as caught:
        reading.whole(segment, [0], segment.names)
    assert caught.value.path == path
