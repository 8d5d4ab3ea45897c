"""Catalogs and segments of any content, their checksums in order: events, or an error of ours."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from auditkit.disk.layout import Layout
from auditkit.errors import AuditError
from auditkit.event import FIRST_US, LAST_US, SCHEMA, EventSchema
from auditkit.opening import open_trail
from auditkit.store.catalog import read_catalog
from auditkit.store.files import FORMAT, METADATA_KEY, SegmentFiles
from auditkit.store.records import (
    BATCH,
    FlushRow,
    HoldRow,
    MomentRow,
    PolicyRow,
    PruneStateRow,
    ReleaseRow,
    SegmentRow,
    TombstoneRow,
    TrailInfo,
)
from auditkit.store.segment import read_segment
from tests.fuzz.conftest import FUZZ
from tests.signing import named, put

ROWS = (
    TrailInfo,
    PolicyRow,
    HoldRow,
    ReleaseRow,
    MomentRow,
    FlushRow,
    SegmentRow,
    TombstoneRow,
    PruneStateRow,
)
NAMES = (
    "trail",
    "policies",
    "holds",
    "releases",
    "moments",
    "flushes",
    "segments",
    "tombstones",
    "prune_states",
)
CELLS = [(table, name) for table, row in zip(NAMES, ROWS, strict=True) for name in row.__struct_fields__]
SIGNED = st.integers(-(1 << 63), (1 << 63) - 1)
VALUES = (
    st.integers(-3, 30)
    | SIGNED
    | st.integers(FIRST_US - 2, LAST_US + 2)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.binary(max_size=100)
    | st.sampled_from(
        ["[]", "{}", '["id"]', "1h", "1mo", "[[{}, null]]", '[[{"action": "*"}, "999999y"]]', "UTC", "../x"]
    )
    | st.lists(
        st.tuples(
            st.integers(0, 30),
            SIGNED,
            SIGNED,
            st.integers(0, 9_000),
            st.just(0),
            st.integers(0, 30),
            st.integers(0, 30),
        ).map(lambda numbers: BATCH.pack(*numbers)),
        max_size=3,
    ).map(b"".join)
)


def ask(root: Path) -> None:
    """Ask a trail, and change it; each ends in an answer or an error of ours."""
    try:
        with open_trail(root, maintain=False) as trail:
            for act in (
                lambda: trail.range(own=True).rows(),
                lambda: trail.group_by("actor").rows(),
                lambda: trail.range(where={"id": "id 3"}).rows(),
                lambda: trail.at(5).range().rows(),
                lambda: trail.stats(),
                lambda: trail.append(action="a").wait(),
                lambda: trail.flush(),
                lambda: trail.prune(),
            ):
                try:
                    act()
                except AuditError:
                    continue
    except AuditError:
        return


@FUZZ
@given(
    st.lists(
        st.tuples(st.sampled_from(CELLS), VALUES),
        min_size=1,
        max_size=2,
    )
)
def test_a_catalog_with_any_cells_answers_or_says_why(
    built: Path, cells: list[tuple[tuple[str, str], Any]]
) -> None:
    """Whatever one or two cells say."""
    root = built.parent / "with cells"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(built, root)
    for (table, name), value in cells:
        try:
            put(root / "catalog.sqlite", table, {name: value})
        except (sqlite3.Error, OverflowError, UnicodeEncodeError):
            return
    ask(root)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_catalog_with_any_bytes_reads_or_says_why(built: Path, changes: list[tuple[int, int]]) -> None:
    """Whatever some bytes of the database are."""
    path = built.parent / "bytes.sqlite"
    data = bytearray((built / "catalog.sqlite").read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data)
    try:
        read_catalog(path)
    except AuditError:
        return


def row_of(built: Path) -> SegmentRow:
    """Return the row of the segment with the most events."""
    return max(read_catalog(built / "catalog.sqlite").segments, key=lambda row: row.rows)


def read_all(built: Path, row: SegmentRow, data: bytes) -> None:
    """Read a segment of these bytes in every way, and show what comes back."""
    layout = Layout(built.parent / "with bytes")
    path = layout.segments / row.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    wanted: Any = np.array([7], dtype="<u8")
    for act in (
        lambda: read_segment(layout, row, EventSchema()).to_dicts(),
        lambda: SegmentFiles(layout).open(row).batches([0], list(SCHEMA))[0].to_pylist(),
        lambda: SegmentFiles(layout).open(row).batches([0], ["seq", "actor"])[0].to_pylist(),
        lambda: SegmentFiles(layout).open(row).candidates({"id": wanted}),
    ):
        try:
            act()
        except AuditError:
            continue


@FUZZ
@given(
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8), st.booleans()
)
def test_a_segment_with_any_bytes_reads_or_says_why(
    built: Path, changes: list[tuple[int, int]], ends: bool
) -> None:
    """Whatever some bytes are, in its metadata above all, all checksums in order."""
    row = row_of(built)
    data = bytearray((built / "segments" / row.path).read_bytes())
    for place, value in changes:
        at = place % len(data)
        data[max(at, len(data) - 1 - at % 400) if ends else at] = value
    try:
        signed = named(row, bytes(data))
    except (ValueError, OSError, EOFError, pa.ArrowException):
        return
    read_all(built, signed, bytes(data))


TEXTS = st.tuples(
    st.binary(min_size=20, max_size=20), st.lists(st.integers(-5, 30), min_size=21, max_size=21)
)
CODES = st.lists(st.integers(-128, 127), min_size=20, max_size=20)
ARRAYS: st.SearchStrategy[pa.Array] = (
    TEXTS.map(lambda drawn: texts(*drawn))
    | st.tuples(CODES, TEXTS).map(
        lambda drawn: pa.DictionaryArray.from_arrays(
            pa.array(drawn[0], pa.int8()), texts(*drawn[1]), safe=False
        )
    )
    | st.lists(SIGNED, min_size=20, max_size=20).map(lambda drawn: pa.array(drawn, pa.timestamp("us", "UTC")))
    | st.lists(st.integers(0, (1 << 64) - 1), min_size=20, max_size=20).map(
        lambda drawn: pa.array(drawn, pa.uint64())
    )
    | st.lists(st.floats(), min_size=20, max_size=20).map(lambda drawn: pa.array(drawn, pa.float64()))
    | st.sampled_from(
        [pa.large_string(), pa.float64(), pa.null(), pa.dictionary(pa.int8(), pa.large_string())]
    ).map(lambda kind: pa.nulls(20, kind))
)


def texts(values: bytes, offsets: list[int]) -> pa.Array:
    """Return texts with these bytes and offsets, right or not."""
    offsets = [
        max(0, min(20, offset)) if place in (0, 20) else offset for place, offset in enumerate(offsets)
    ]
    offsets[20] = max(offsets[0], offsets[20])
    places = pa.py_buffer(np.array(offsets, dtype="<i8").tobytes())
    return pa.Array.from_buffers(pa.large_string(), 20, [None, places, pa.py_buffer(values)])


@FUZZ
@given(st.dictionaries(st.sampled_from(list(SCHEMA)), ARRAYS, min_size=1, max_size=3))
def test_a_segment_with_any_columns_reads_or_says_why(built: Path, columns: dict[str, pa.Array]) -> None:
    """Whatever some columns hold: any offsets, codes, bytes, numbers and types."""
    row = row_of(built)
    with pa.ipc.open_file(built / "segments" / row.path) as reader:
        batch, kept = reader.get_batch(0), reader.metadata
    arrays = {**dict(zip(batch.schema.names, batch.columns, strict=True)), **columns}
    schema = pa.schema([(name, array.type) for name, array in arrays.items()], {METADATA_KEY: FORMAT})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, schema, options=options, metadata=kept) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(arrays.values()), schema=schema))
    data = sink.getvalue().to_pybytes()
    read_all(built, named(row, data), data)
