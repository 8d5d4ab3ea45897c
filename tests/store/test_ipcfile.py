"""Files that are compressed in shares are the files that Arrow writes."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

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
def test_the_bytes_are_those_of_arrows_own_writer(pool: Executor, rows: int, threads: int) -> None:
    """However many threads compress, not a byte differs."""
    events, sink = table(rows), pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, events.schema, options=options, metadata=METADATA) as writer:
        writer.write_table(events, max_chunksize=BATCH_ROWS)
    encoded = encode_file(events, BATCH_ROWS, lambda: METADATA, pool, threads)
    assert encoded.data == sink.getvalue().to_pybytes()


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
