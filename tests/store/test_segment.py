"""What a segment file holds, and what the catalog says of it, byte by byte."""

import hashlib
import struct
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pyarrow as pa
import pytest

from auditkit.api import Trail
from auditkit.store.records import BATCH_ROWS, SegmentRow

BATCH = struct.Struct("<IqqQIQQ")
START = datetime(2026, 11, 1, tzinfo=UTC)


def written(trail: Trail, rows: int) -> SegmentRow:
    """Write events of one day, latest first, into one segment, and return its row of the catalog."""
    stamps = [START + timedelta(seconds=rows - n) for n in range(rows)]
    frame = pl.DataFrame({"action": "a", "ts": stamps, "actor": [f"u{n % 7}" for n in range(rows)]})
    trail.extend(frame).wait()
    trail.flush()
    (row,) = trail.view.snapshot().catalog.segments
    return row


def test_the_catalog_describes_every_batch(trail: Trail) -> None:
    """Rows, bounds of ts, end and checksum of each record batch are those of the file."""
    row = written(trail, 2 * BATCH_ROWS + 5)
    data = (trail.path / "segments" / row.path).read_bytes()
    batches = [BATCH.unpack_from(row.batches, at) for at in range(0, len(row.batches), BATCH.size)]
    assert [rows for rows, *_ in batches] == [BATCH_ROWS, BATCH_ROWS, 5]
    file = pa.ipc.open_file(data)
    begin = row.head_bytes
    assert zlib.crc32(data[:begin]) == row.head_crc
    for number, (rows, first, last, end, crc, first_seq, last_seq) in enumerate(batches):
        stamps = file.get_batch(number)["ts"].cast(pa.int64()).to_pylist()
        seqs = file.get_batch(number)["seq"].to_pylist()
        assert (min(seqs), max(seqs)) == (first_seq, last_seq)
        assert (len(stamps), stamps[0], stamps[-1]) == (rows, first, last)
        assert stamps == sorted(stamps)
        assert zlib.crc32(data[begin:end]) == crc
        begin = end
    assert zlib.crc32(data[begin:]) == row.foot_crc
    assert file.num_record_batches == len(batches)


def test_the_catalog_describes_the_file(trail: Trail) -> None:
    """Size, digest, seqs and bounds are those of the file, and its name carries seqs and digest only."""
    row = written(trail, 20)
    data = (trail.path / "segments" / row.path).read_bytes()
    assert (row.size_bytes, row.sha256) == (len(data), hashlib.sha256(data).digest())
    assert row.path == f"2026-11-01/{0:020}-{19:020}-{row.sha256.hex()[:16]}.arrow"
    assert (row.first_seq, row.last_seq, row.rows, row.own_rows) == (0, 19, 20, 0)
    frame = pl.read_ipc(data)
    assert frame["seq"].to_list() == list(range(19, -1, -1))
    assert (row.min_ts_us, row.max_ts_us) == (
        frame["ts"].to_physical().min(),
        frame["ts"].to_physical().max(),
    )
    assert frame.schema["actor"] == pl.Categorical()
    assert frame.schema["resource"] == pl.String()


@pytest.mark.parametrize(("values", "width"), [(128, pa.int8()), (129, pa.int16()), (32_769, pa.int32())])
def test_codes_are_as_wide_as_their_dictionary_asks_for(
    trail: Trail, values: int, width: pa.DataType
) -> None:
    """Dictionaries of 128 values have codes of one byte, of 32,768 two, larger ones four; every form reads the same."""
    actors = [None, *(f"u{n}" for n in range(values))]
    trail.extend(pl.DataFrame({"action": "a", "actor": actors, "ts": START})).wait()
    trail.flush()
    trail.extend(pl.DataFrame({"action": "a", "actor": ["u0", "u1"], "ts": START})).wait()
    trail.flush()
    wide, narrow = sorted((trail.path / "segments").rglob("*.arrow"), key=lambda path: path.name)
    assert pa.ipc.open_file(wide).schema.field("actor").type.index_type == width
    assert pa.ipc.open_file(narrow).schema.field("actor").type.index_type == pa.int8()
    expected = Counter([*actors, "u0", "u1"])
    for counted in (
        trail.group_by("actor", aggs=("count",)),
        pl.scan_ipc([wide, narrow]).group_by("actor").len("count").collect(),
        trail.scan().group_by("actor").len("count").collect(),
    ):
        assert dict(counted.select("actor", "count").iter_rows()) == expected
    for actor in (None, "u0", f"u{values - 1}"):
        assert (
            trail.range(where={"actor": actor}, columns=["actor"])["actor"].to_list()
            == [actor] * expected[actor]
        )


def test_the_catalog_describes_the_values(trail: Trail) -> None:
    """Columns without a value, the moments of acceptance and the distinct (action, source, outcome) are in the row."""
    first = trail.append(action="a", outcome="success", ts=START)
    trail.append(action="a", source="web", ts=START)
    trail.append(action="a", outcome="success", ts=START)
    assert first.wait() == 0
    trail.flush()
    (row,) = trail.view.snapshot().catalog.segments
    assert msgspec.json.decode(row.empty_columns) == [
        *("actor", "resource", "origin", "correlation", "id", "value", "attrs")
    ]
    kept = {tuple(names) for names in msgspec.json.decode(row.combinations or "[]")}
    assert kept == {("a", "web", None), ("a", None, "success")}
    recorded = trail.range(columns=["recorded"])["recorded"].to_physical()
    assert (row.min_recorded_us, row.max_recorded_us) == (recorded.min(), recorded.max())


@pytest.mark.parametrize(("actions", "outcome"), [(257, "x"), (2, "x" * 40_000), (130, None)])
def test_too_many_combinations_are_not_kept(trail: Trail, actions: int, outcome: str | None) -> None:
    """More than 256 distinct (action, source, outcome), or long ones, would take more of the catalog than they save."""
    rows = [
        {"action": f"a{n}", "outcome": outcome or str(other), "ts": START}
        for n in range(actions)
        for other in range(2)
    ]
    trail.extend(rows).wait()
    trail.flush()
    (row,) = trail.view.snapshot().catalog.segments
    assert row.combinations is None
