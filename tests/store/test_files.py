"""Reading parts of segments: what is asked for is checked before it is parsed, and nothing else is."""

from pathlib import Path

import pytest

from auditkit.api import Trail
from auditkit.errors import CorruptionError
from auditkit.store import files as store_files
from auditkit.store import segment
from auditkit.store.files import SegmentFiles
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
    return SegmentFiles(trail.handle.layout)


def flip(path: Path, at: int) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_only_what_is_asked_for_is_read(trail: Trail, row: SegmentRow) -> None:
    """Record batches are asked for by number, and have the columns that were named."""
    opened = files(trail).open(row)
    read = [opened.batch(number, ["actor", "seq"]) for number in (1, 3)]
    assert {name for batch in read for name in batch.schema.names} == {"seq", "actor"}
    assert [seq for batch in read for seq in batch["seq"].to_pylist()] == [2, 3, 6, 7]
    assert [actor for batch in read for actor in batch["actor"].to_pylist()] == ["u2", "u3", "u6", "u7"]


def test_columns_without_values_are_not_read(trail: Trail, row: SegmentRow) -> None:
    """A column that holds no value in the whole segment comes as nulls of its type, whatever else is asked for."""
    opened = files(trail).open(row)
    assert {"resource", "origin", "value"} <= opened.empty
    read = opened.batch(0, ["origin", "value"])
    assert read["origin"].null_count == read["value"].null_count == 2
    assert read["value"].type == "double"


def test_a_segment_without_a_column_is_corrupt(trail: Trail, row: SegmentRow) -> None:
    """A column that the file does not have is an error that names file and column."""
    with pytest.raises(CorruptionError, match=r"\.arrow: .*no column 'hue'"):
        files(trail).open(row).batch(0, ["seq", "hue"])


def test_damage_is_an_error_to_a_question_that_reads_it(trail: Trail, row: SegmentRow) -> None:
    """A damaged batch is an error with its place, and none of a question that needs other batches."""
    path = trail.path / "segments" / row.path
    damaged = row.parts[2]
    flip(path, damaged.start + 30)
    segment_files = files(trail)
    assert sum(segment_files.open(row).batch(number, ["seq"]).num_rows for number in (0, 1, 3, 4)) == 8
    with pytest.raises(CorruptionError, match="checksum differs") as caught:
        segment_files.open(row).batch(2, ["seq"])
    assert caught.value.offset == damaged.start
    assert trail.range("2026-11-24T03:00Z").height == 4
    with pytest.raises(CorruptionError, match="checksum differs"):
        trail.range("2026-11-24T02:00Z")


@pytest.mark.parametrize("at", [3, 200, -20, -400])
def test_what_is_parsed_with_every_batch_is_always_checked(trail: Trail, row: SegmentRow, at: int) -> None:
    """Damage before the first batch or behind the last is an error to every question."""
    path = trail.path / "segments" / row.path
    flip(path, at)
    with pytest.raises(CorruptionError, match="checksum differs"):
        files(trail).open(row).batch(4, ["seq"])


def test_a_file_replaced_in_place_is_checked_again(trail: Trail, row: SegmentRow) -> None:
    """What was checked once is not believed of other bytes under the same name."""
    segment_files = files(trail)
    assert segment_files.open(row).batch(0, ["seq"]).num_rows == 2
    flip(trail.path / "segments" / row.path, row.parts[0].start + 30)
    with pytest.raises(CorruptionError, match="checksum differs"):
        segment_files.open(row).batch(0, ["seq"])


def test_what_is_not_kept_open_leaves_nothing_in_memory(
    trail: Trail, row: SegmentRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments are kept with their readers as far as the bound allows; of others nothing stays, and they read again."""
    trail.extend([{"action": "b", "ts": "2026-11-25T01:00Z"}]).wait()
    trail.flush()
    other = trail.view.snapshot().catalog.segments[-1]
    segment_files = files(trail)
    with segment_files.reading(row) as kept:
        monkeypatch.setattr(store_files, "_MOST_BYTES", kept.kept_bytes)
        assert kept.batch(0, ["seq"]).num_rows == 2
    next(segment_files.misses)  # of several misses one is kept in the place of another
    for _ in range(2):
        with segment_files.reading(other) as passing:
            assert passing.batch(0, ["seq", "action"])["action"].to_pylist() == ["b"]
        assert list(segment_files.recent.values()) == [kept]
        assert (len(kept.readers), len(passing.readers), len(passing.texts)) == (1, 0, 0)
