"""What a consumer remembers, down to the bytes."""

import errno
import json
import zlib
from pathlib import Path

import pytest

from auditkit.disk.durable import PosixDisk
from auditkit.disk.layout import Layout, modes_for
from auditkit.errors import ClosedError, CorruptionError, FormatError, LockedError
from auditkit.queue.consumers import (
    FILE_BYTES,
    SLOT_BYTES,
    Attempt,
    ConsumerFile,
    Position,
    check_name,
    read_positions,
)
from tests.fakes import FailingDisk

MODES = modes_for(None)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return the layout of a folder that is there."""
    return Layout(tmp_path)


def opened(layout: Layout, disk: PosixDisk | None = None) -> ConsumerFile:
    """Open the consumer that all tests use."""
    return ConsumerFile(disk or PosixDisk(), layout, MODES, "mailer")


def moved(layout: Layout, *nexts: int) -> Path:
    """Leave a file behind whose position was moved to each of these seqs, and return its path."""
    file = opened(layout)
    for seq in nexts:
        file.move(Position(next_seq=seq))
    file.close()
    return layout.consumer_file("mailer")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mailer",
        "a" * 65,
        "../x",
        "a/b",
        "a.b",
        ".",
        "..",
        "a b",
        "é",
        "a\n",
        "a\0",
        "mailer\u202e",
        7,
        None,
    ],
)
def test_names_that_are_no_file_names_are_refused(layout: Layout, name: object) -> None:
    """A name is letters, digits, underscore and hyphen only; nothing is created for another."""
    with pytest.raises(ValueError, match="consumer: bad name"):
        ConsumerFile(PosixDisk(), layout, MODES, name)  # type: ignore[arg-type]
    assert list(layout.root.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "mailer", "mailer-2", "a_b", "-", "0" * 64])
def test_plain_names_are_taken(name: str) -> None:
    """What is plain passes as it is."""
    assert check_name(name) == name


def test_a_position_comes_back(layout: Layout) -> None:
    """The last position and the last attempt are read again, with private modes and in one file only."""
    file = opened(layout)
    assert (file.position, file.attempt) == (None, None)
    for seq in range(5):
        file.move(Position(next_seq=seq, missed=1, given_up=2, moved_us=3))
    file.note(Attempt(seq=4, count=2, reason="no\nroute \u202e to host " + "x" * 500))
    file.close()
    again = opened(layout)
    assert again.position == Position(next_seq=4, missed=1, given_up=2, moved_us=3)
    assert again.attempt is not None
    assert (again.attempt.seq, again.attempt.count) == (4, 2)
    assert again.attempt.reason is not None
    assert again.attempt.reason.startswith(r"no\nroute \u202e to host xxx")
    again.close()
    (path,) = layout.consumers.iterdir()
    assert path.stat().st_size == FILE_BYTES
    assert (path.stat().st_mode & 0o777, layout.consumers.stat().st_mode & 0o777) == (0o600, 0o700)
    assert all(json.loads(line)["format"] == 1 for line in path.read_text().splitlines())
    assert dict(read_positions(layout)) == {"mailer": Position(next_seq=4, missed=1, given_up=2, moved_us=3)}


@pytest.mark.parametrize("moves", [1, 2, 5])
def test_a_forgotten_position_is_gone(layout: Layout, moves: int) -> None:
    """Forgetting blanks the file and keeps it; what is remembered afterwards is as safe as in a new one."""
    moved(layout, *range(10, 10 + moves))
    file = opened(layout)
    file.note(Attempt(seq=20, count=3))
    file.forget()
    assert (file.position, file.attempt) == (None, None)
    assert dict(read_positions(layout)) == {}
    file.close()
    again = opened(layout)
    assert (again.position, again.attempt) == (None, None)
    again.move(Position(next_seq=1))
    again.move(Position(next_seq=2))
    again.close()
    path = layout.consumer_file("mailer")
    data = path.read_bytes()
    path.write_bytes(data[:SLOT_BYTES] + b" " * SLOT_BYTES + data[2 * SLOT_BYTES :])
    assert dict(read_positions(layout)) == {"mailer": Position(next_seq=1)}


@pytest.mark.parametrize("operation", ["write", "sync_data"])
def test_forgetting_that_fails_says_so(layout: Layout, operation: str) -> None:
    """A failed write or sync is raised, and the object takes no more: what counts, the next opening finds out."""
    moved(layout, 1, 2)
    disk = FailingDisk()
    file = opened(layout, disk)
    disk.fail[operation] = OSError(errno.EIO, "input/output error")
    with pytest.raises(OSError, match="input/output"):
        file.forget()
    assert not file.usable
    with pytest.raises(ClosedError):
        file.move(Position(next_seq=3))
    file.close()
    assert dict(read_positions(layout)) in ({"mailer": Position(next_seq=2)}, {})


def test_one_at_a_time(layout: Layout) -> None:
    """A second follower is refused at once; after the first is gone the name is free."""
    first = opened(layout)
    with pytest.raises(LockedError, match="consumer mailer: followed already"):
        opened(layout)
    first.close()
    opened(layout).close()


@pytest.mark.parametrize("torn", [0, 1, 100, SLOT_BYTES - 2])
@pytest.mark.parametrize("moves", [2, 3])
def test_a_torn_move_leaves_the_one_before(layout: Layout, moves: int, torn: int) -> None:
    """Whatever part of a position is written, the older one is still whole."""
    path = moved(layout, *range(10, 10 + moves))
    data = bytearray(path.read_bytes())
    slot = (moves - 1) % 2
    data[slot * SLOT_BYTES + torn : (slot + 1) * SLOT_BYTES] = bytes(SLOT_BYTES - torn)
    path.write_bytes(data)
    file = opened(layout)
    assert file.position == Position(next_seq=10 + moves - 2)
    file.move(Position(next_seq=99))
    file.close()
    assert dict(read_positions(layout))["mailer"].next_seq == 99


@pytest.mark.parametrize("content", [b"", b"{", bytes(FILE_BYTES), bytes(SLOT_BYTES), b" " * FILE_BYTES])
def test_a_creation_that_died_is_a_new_consumer(layout: Layout, content: bytes) -> None:
    """Before the first position was synced nothing can have been acknowledged."""
    layout.consumers.mkdir()
    layout.consumer_file("mailer").write_bytes(content)
    assert list(read_positions(layout)) == []
    file = opened(layout)
    assert file.position is None
    file.move(Position(next_seq=3))
    file.close()
    assert dict(read_positions(layout))["mailer"].next_seq == 3


def test_rot_is_no_new_consumer(layout: Layout) -> None:
    """A file that once held positions and holds none that reads is an error, never a fresh start."""
    path = moved(layout, 1, 2)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"next_seq": ', b'"next_seq": 1'))
    with pytest.raises(CorruptionError, match="no position of this consumer can be read"):
        opened(layout)
    with pytest.raises(CorruptionError):  # and the lock was given back
        opened(layout)


def test_a_later_format_is_refused(layout: Layout) -> None:
    """A file of a version to come is refused with what to do."""
    path = moved(layout, 1)
    line = json.loads(path.read_bytes()[:SLOT_BYTES])
    del line["crc"]
    line["format"] = 2
    crc = zlib.crc32(json.dumps(line).encode())
    path.write_bytes(json.dumps({**line, "crc": crc}).encode().ljust(FILE_BYTES))
    with pytest.raises(FormatError, match="consumer format 2"):
        opened(layout)


@pytest.mark.parametrize("operation", ["write", "sync_data"])
def test_a_failed_move_is_never_tried_again(layout: Layout, operation: str) -> None:
    """After an error of storage this object refuses, and the next one goes on from the old or the new position."""
    moved(layout, 7)
    disk = FailingDisk()
    file = opened(layout, disk)
    disk.fail[operation] = OSError(errno.EIO, "injected")
    with pytest.raises(OSError, match="injected"):
        file.move(Position(next_seq=8))
    disk.fail.clear()
    with pytest.raises(ClosedError, match="a write failed"):
        file.move(Position(next_seq=9))
    assert not file.usable
    file.close()
    assert dict(read_positions(layout))["mailer"].next_seq in (7, 8)


def test_an_attempt_that_is_damaged_counts_as_none(layout: Layout) -> None:
    """The third line is a convenience: losing it gives an event once more than counted."""
    path = moved(layout, 1)
    file = opened(layout)
    file.note(Attempt(seq=1, count=3))
    file.close()
    data = bytearray(path.read_bytes())
    data[2 * SLOT_BYTES + 20] ^= 1
    path.write_bytes(data)
    again = opened(layout)
    assert (again.position, again.attempt) == (Position(next_seq=1), None)
    again.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"generation": 9},
        {"next_seq": 9},
        {"generation": "9", "next_seq": 9},
        {"generation": 9, "next_seq": -1},
        {"generation": 9, "next_seq": 1 << 70},
        {"generation": 9, "next_seq": 9, "missed": "7"},
        {"generation": 9, "next_seq": 9, "moved_us": 1 << 62},
        {"generation": 9, "next_seq": 9, "moved_us": None},
        {"generation": float("nan"), "next_seq": 9},
    ],
)
def test_a_line_that_makes_no_sense_does_not_count_though_its_checksum_is_right(
    layout: Layout, fields: dict[str, object]
) -> None:
    """The other position does."""
    path = moved(layout, 1, 2, 3)
    whole = {"format": 1, **fields}
    line = json.dumps({**whole, "crc": zlib.crc32(json.dumps(whole).encode())}).encode()
    data = path.read_bytes()
    path.write_bytes(line.ljust(SLOT_BYTES - 1) + b"\n" + data[SLOT_BYTES:])
    expected = [("mailer", Position(next_seq=2))]
    assert list(read_positions(layout)) == expected
    file = opened(layout)
    assert file.position == expected[0][1]
    file.close()
