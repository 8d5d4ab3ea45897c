"""Reading parts of segments: what is asked for is checked before it is parsed, and nothing else is."""

from pathlib import Path

import numpy as np
import pytest

from auditkit.api import Trail
from auditkit.errors import CorruptionError
from auditkit.store import segment
from auditkit.store.files import SegmentFiles
from auditkit.store.reading import few, whole
from auditkit.store.records import SegmentRow

ROWS = 10


@pytest.fixture
def row(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> SegmentRow:
    """Return the row of a segment with five batches of two events."""
    monkeypatch.setattr(segment, "BATCH_ROWS", 2)
    trail.extend(
        [{"action": "a", "actor": f"u{n}", "ts": f"2026-11-24T0{n // 2}:0{n % 2}Z"} for n in range(ROWS)]
    ).wait()
    trail.flush()
    (only,) = trail.view.snapshot().catalog.segments
    return only


def files(trail: Trail) -> SegmentFiles:
    """Return a reader that has checked nothing yet."""
    return SegmentFiles(trail.core.layout, list(trail.core.schema.columns))


def flip(path: Path, at: int) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_only_what_is_asked_for_is_read(trail: Trail, row: SegmentRow) -> None:
    """Batches are asked for by number, events by position; columns are those named, in the order of the schema."""
    read = whole(files(trail).open(row), [1, 3], ["actor", "seq"])
    assert read.schema.names == ["seq", "actor"]
    assert read["seq"].to_pylist() == [2, 3, 6, 7]
    assert read["actor"].to_pylist() == ["u2", "u3", "u6", "u7"]
    assert few(files(trail).open(row), np.array([0, 3, 4, 5, 9]), ["actor"])["actor"].to_pylist() == [
        f"u{n}" for n in (0, 3, 4, 5, 9)
    ]


def test_damage_is_told_by_whoever_reads_it(trail: Trail, row: SegmentRow) -> None:
    """A damaged batch is an error with its place, and none of a question that needs other batches."""
    path = trail.path / "segments" / row.path
    damaged = row.parts[2]
    flip(path, damaged.start + 30)
    segment_files = files(trail)
    assert whole(segment_files.open(row), [0, 1, 3, 4], ["seq"]).num_rows == 8
    with pytest.raises(CorruptionError, match="checksum differs") as caught:
        whole(segment_files.open(row), [2], ["seq"])
    assert caught.value.offset == damaged.start
    with pytest.raises(CorruptionError, match="checksum differs"):
        segment_files.whole(row)
    assert trail.range("2026-11-24T03:00Z").height == 4
    with pytest.raises(CorruptionError, match="checksum differs"):
        trail.range("2026-11-24T02:00Z")


@pytest.mark.parametrize("at", [3, 200, -20, -400])
def test_what_is_parsed_with_every_batch_is_always_checked(trail: Trail, row: SegmentRow, at: int) -> None:
    """Damage before the first batch or behind the last is an error to every question."""
    path = trail.path / "segments" / row.path
    flip(path, at)
    with pytest.raises(CorruptionError, match="checksum differs"):
        whole(files(trail).open(row), [4], ["seq"])


def test_a_file_replaced_in_place_is_checked_again(trail: Trail, row: SegmentRow) -> None:
    """What was checked once is not believed of other bytes under the same name."""
    segment_files = files(trail)
    assert segment_files.whole(row).exists()
    flip(trail.path / "segments" / row.path, row.parts[0].start + 30)
    with pytest.raises(CorruptionError, match="checksum differs"):
        whole(segment_files.open(row), [0], ["seq"])
