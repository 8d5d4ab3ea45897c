"""Files whose batches are compressed in frames are files of Arrow's format."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import polars as pl
import pyarrow as pa
import pytest

from auditkit.store.ipcfile import encode_file

BATCH_ROWS = 10
METADATA = {b"a": b"1", b"bc": b"23"}


@pytest.fixture(name="pool")
def _pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(3) as pool:
        yield pool


def table(rows: int) -> pa.Table:
    """Return columns of every layout, with and without nulls, codes of two widths and a dictionary without values."""
    texts = pa.array([f"text {n % 7}" if n % 3 else None for n in range(rows)], pa.large_string())
    nothing = pa.nulls(rows, pa.large_string())
    return pa.table(
        {
            "number": pa.array(range(rows), pa.uint64()),
            "value": pa.array([n / 7 if n % 2 else None for n in range(rows)], pa.float64()),
            "flag": pa.array([n % 5 == 0 for n in range(rows)]),
            "text": texts,
            "nothing": nothing,
            "coded": texts.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.large_string())),
            "wide": texts.dictionary_encode(),
            "never": nothing.dictionary_encode(),
        },
        metadata={"format": "1"},
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("rows", [1, 9, 10, 11, 79, 80, 403])
def test_arrow_and_polars_read_what_was_written(pool: Executor, rows: int, threads: int) -> None:
    """However many threads compress, readers of Arrow's format find the table, its batches and its metadata."""
    events = table(rows)
    encoded = encode_file(events, BATCH_ROWS, lambda: METADATA, pool, threads)
    file = pa.ipc.open_file(encoded.data)
    read = file.read_all()
    read.validate(full=True)
    assert read == events
    assert read.schema.equals(events.schema, check_metadata=True)
    assert file.metadata == METADATA
    assert [file.get_batch(n).num_rows for n in range(file.num_record_batches)] == [
        min(BATCH_ROWS, rows - begin) for begin in range(0, rows, BATCH_ROWS)
    ]
    assert pl.read_ipc(encoded.data).equals(pl.DataFrame(pl.from_arrow(events)))


def test_buffers_of_several_frames_are_read_by_arrow_and_polars(pool: Executor) -> None:
    """Batches that are longer than a frame holds are the same for every reader."""
    events = table(10_000)
    encoded = encode_file(events, 9_000, dict, pool, 2)
    buffers = 2 * (2 * events.num_columns + 1)
    assert encoded.data.count(b"\x28\xb5\x2f\xfd") > buffers  # each frame begins so
    assert pa.ipc.open_file(encoded.data).read_all() == events
    assert pl.read_ipc(encoded.data).equals(pl.DataFrame(pl.from_arrow(events)))


def test_borders_are_where_batches_meet(pool: Executor) -> None:
    """From one border to the next lies the message of one batch."""
    events = table(95)
    encoded = encode_file(events, BATCH_ROWS, dict, pool, 2)
    assert len(encoded.borders) == 11
    source = pa.BufferReader(encoded.data)
    for begin, end in zip(encoded.borders, encoded.borders[1:], strict=False):
        source.seek(begin)
        assert pa.ipc.read_message(source).type == "record batch"
        assert source.tell() == end
    source.seek(encoded.borders[-1])
    with pytest.raises(EOFError):
        pa.ipc.read_message(source)
    assert pa.ipc.open_file(encoded.data).read_all() == events
