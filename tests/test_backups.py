"""Backups: consistent, verified, and another history once something is appended to them."""

import errno
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.disk.durable import PosixDisk
from auditkit.disk.layout import Layout
from auditkit.errors import CorruptionError, TrailExistsError
from auditkit.opening import open_trail
from auditkit.queue.dead_letters import read_letters
from auditkit.store.catalog import copy_catalog, read_catalog
from auditkit.write import extend
from tests.oracle import read_trail
from tests.simulated_disk import Crash, Fault, Keep, Kind, SimulatedDisk

IMAGES: tuple[Keep, ...] = ("lost", "kept", "mixed 0")


@pytest.fixture
def used(trail: Trail) -> Trail:
    """Return a trail with two flushed and two queued events, and a dead letter."""
    trail.extend([{"action": "a", "ts": f"2026-11-0{day}T00:00Z", "id": str(day)} for day in (1, 2)]).wait()
    trail.flush()
    trail.extend([{"action": "b"}, {"action": "c"}, {"bad": 1}], on_invalid="dead-letter").wait()
    return trail


def test_a_copy_is_the_same_trail(used: Trail, tmp_path: Path) -> None:
    """A copy answers as the original does, under the same id, and keeps dead letters."""
    summary = ak.backup(used, tmp_path / "copy")
    copy = ak.open(tmp_path / "copy")
    assert (summary.end_seq, summary.segments) == (4, 2)
    assert copy.range().equals(used.range())
    assert copy.trail_id == used.trail_id
    assert list(read_letters(copy.handle.layout)) == list(read_letters(used.handle.layout))
    assert not list(tmp_path.rglob("copy/**/*.tmp"))


def test_a_copy_that_is_appended_to_is_a_branch(used: Trail, tmp_path: Path) -> None:
    """The first append to a copy gives it an id and epoch of its own, and names parent and seq."""
    ak.backup(used.path, tmp_path / "copy")
    for _ in range(2):
        with ak.open(tmp_path / "copy") as copy:
            copy.append(action="other").wait()
            copy.flush()
    copy = ak.open(tmp_path / "copy")
    info = copy.handle.info
    assert copy.trail_id != used.trail_id
    assert (info.epoch, info.parent_id, info.branched_seq, info.branch_id) == (1, used.trail_id, 4, None)
    assert list(copy.tail(9)["action"]) == ["a", "a", "b", "c", "other", "other"]
    assert used.append(action="mine").wait() == 4
    again = tmp_path / "again"
    ak.backup(copy, again)
    with ak.open(again) as second:
        second.append(action="x").wait()
    assert ak.open(again).handle.info.epoch == 2


def test_a_copy_has_what_was_appended_after_a_bulk(
    trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that wait in a queue file from before a batch that went straight into segments are copied, too."""
    monkeypatch.setattr(extend, "BULK_ROWS", 3)
    trail.append(action="before").wait()
    trail.extend([{"action": "bulk"}] * 3).wait()
    trail.append(action="after").wait()
    summary = ak.backup(trail, tmp_path / "copy")
    assert summary.end_seq == trail.end_seq
    assert ak.open(tmp_path / "copy").range().equals(trail.range())


def test_keys_stay_known_in_a_copy(used: Trail, tmp_path: Path) -> None:
    """A retry that reaches a copy is recognised as in the original."""
    ak.backup(used, tmp_path / "copy")
    with ak.open(tmp_path / "copy") as copy:
        assert copy.append(action="a", ts="2026-11-01T00:00Z", id="1").wait() == 0


def test_places_that_are_taken_are_refused(used: Trail, tmp_path: Path) -> None:
    """A copy never goes into a directory that holds anything."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(TrailExistsError, match="not an empty directory"):
        ak.backup(used, tmp_path / "full")


def test_a_damaged_segment_is_not_copied_silently(used: Trail, tmp_path: Path) -> None:
    """A segment whose digest differs stops the copy, and what is there is no trail."""
    path = next((used.path / "segments").rglob("*.arrow"))
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="digest differs"):
        ak.backup(used, tmp_path / "copy")
    with pytest.raises(FileNotFoundError):
        ak.open(tmp_path / "copy")


def test_copies_of_a_busy_trail_are_whole(trail: Trail, tmp_path: Path) -> None:
    """Copies made while another process appends and flushes have no gap and no event twice."""
    stop = threading.Event()

    def work() -> None:
        writer = ak.open(trail.path)
        while not stop.is_set():
            writer.extend([{"action": "w"}] * 20).wait()
            writer.flush()
        writer.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(8):
            ak.backup(trail.path, tmp_path / f"copy{number}")
    finally:
        stop.set()
        thread.join()
    for number in range(8):
        copy = ak.open(tmp_path / f"copy{number}")
        assert sorted(copy.range()["seq"]) == list(range(copy.end_seq))
        with copy:
            assert copy.append(action="next").wait() == copy.end_seq - 1


def test_a_writer_that_died_leaves_a_trail_that_can_be_copied(used: Trail, tmp_path: Path) -> None:
    """Where a process died inside a transaction, its journal beside the catalog is no damage: the copy is of before it."""
    died = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE large (data BLOB)")
for _ in range(50):
    database.execute("INSERT INTO large VALUES (zeroblob(9000))")
os._exit(9)
"""
    opened, catalog = ak.open(used.path), used.handle.layout.catalog
    expected = opened.range()

    def die() -> None:
        subprocess.run([sys.executable, "-c", died, str(catalog)], check=False)
        assert catalog.with_name("catalog.sqlite-journal").stat().st_size

    die()
    copy_catalog(catalog, tmp_path / "catalog.sqlite")
    assert read_catalog(tmp_path / "catalog.sqlite") == read_catalog(catalog)
    die()
    ak.backup(opened, tmp_path / "copy")
    assert ak.open(tmp_path / "copy").range().equals(expected)


class WatchedDisk(PosixDisk):
    """A disk that notes what was created on it, and the largest piece that was read or written at once."""

    def __init__(self) -> None:
        self.created: set[Path] = set()
        self.largest = 0

    def open(self, path: Path, *, write: bool = False, create_mode: int | None = None) -> int:
        """Note what is created."""
        if create_mode is not None:
            self.created.add(path)
        return super().open(path, write=write, create_mode=create_mode)

    def rename(self, source: Path, target: Path) -> None:
        """Note the new name."""
        self.created.add(target)
        super().rename(source, target)

    def read(self, fd: int, count: int, offset: int) -> bytes:
        """Note how much is read."""
        found = super().read(fd, count, offset)
        self.largest = max(self.largest, len(found))
        return found

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Note how much is written."""
        self.largest = max(self.largest, len(data))
        super().write(fd, data, offset)


def test_files_are_copied_in_bounded_pieces_through_the_trails_disk(trail: Trail, tmp_path: Path) -> None:
    """However large a segment or a file of dead letters is, a piece of it is in memory; and nothing goes round the disk."""
    noise = random.Random(7)
    trail.extend([{"action": "a", "attrs": {"x": noise.randbytes(400_000).hex()}} for _ in range(8)]).wait()
    trail.extend([{"bad": "x" * 900_000}] * 3, on_invalid="dead-letter").wait()
    trail.flush()
    (row,) = trail.view.snapshot().catalog.segments
    assert row.size_bytes > 3 << 20
    disk = WatchedDisk()
    with ak.open(trail.path) as reader:
        reader.handle.disk = disk
        ak.backup(reader, tmp_path / "copy")
    assert disk.largest <= 1 << 20
    assert {path for path in (tmp_path / "copy").rglob("*") if path.is_file()} <= disk.created
    assert ak.open(tmp_path / "copy").range().equals(trail.range())
    assert list(read_letters(Layout(tmp_path / "copy"))) == list(read_letters(trail.handle.layout))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as made:
        yield Path(made)


@pytest.mark.parametrize("kind", ["before", "torn", "failed"])
def test_a_copy_that_dies_anywhere_is_no_trail_or_a_whole_one(used: Trail, folder: Path, kind: Kind) -> None:
    """Whatever operation of a copy is its last, torn or failed: what a crash leaves opens whole, or not at all."""
    used.handle.active_queue().rotate()
    expected = used.range().rows()
    begun, copies = folder / "begun", iter(range(1 << 30))
    outcomes = set()
    for at in itertools.count():
        shutil.copytree(used.path, begun / "audit")
        disk = SimulatedDisk(begun, Fault(at, kind, errno.EIO))
        trail = open_trail(begun / "audit", disk=disk, maintain=False)
        with suppress(Crash, OSError):
            ak.backup(trail, begun / "copy")
        reached = len(disk.log) > at
        for keep in IMAGES:
            image = folder / f"image{next(copies)}"
            disk.image(image, keep)
            if (image / "copy" / "catalog.sqlite").exists():
                read_trail(image / "copy")
                assert ak.open(image / "copy").range().rows() == expected
            outcomes.add((image / "copy" / "catalog.sqlite").exists())
            shutil.rmtree(image)
        shutil.rmtree(begun)
        if not reached:
            break
    assert at > 40
    assert outcomes == {False, True}


def test_letters_without_end_are_refused(used: Trail, tmp_path: Path) -> None:
    """A file of dead letters that is a terabyte of holes is not copied."""
    (letters,) = (used.path / "dead-letters").glob("*.jsonl")
    with letters.open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(CorruptionError, match="a line of more than"):
        ak.backup(used, tmp_path / "copy")


def test_a_copy_has_the_tiers(trail: Trail, tmp_path: Path) -> None:
    """Rollups are copied with their digests checked, answer in the copy, and go on there."""
    trail.rollup("1h", by="action")
    trail.extend([{"action": "a", "actor": "ann", "value": 1.5}, {"action": "b"}]).wait()
    trail.maintain()
    ak.backup(trail, tmp_path / "copy")
    with open_trail(tmp_path / "copy", clock=trail.handle.clock) as copy:
        assert copy.tier("1h").identical(trail.tier("1h"))
        copy.append(action="a", value=2.0).wait()
        copy.maintain()
        assert float(copy.tier("1h")["sum"].sum()) == 3.5
    (store,) = (trail.path / "rollups/1h").glob("*.zarr")
    (store / "count/c.0.0").write_bytes(b"other")
    with pytest.raises(CorruptionError, match="digest differs"):
        ak.backup(trail, tmp_path / "second")
    assert not (tmp_path / "second/catalog.sqlite").exists()
