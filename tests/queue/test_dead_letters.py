"""The files of dead letters, down to the bytes: what is torn, what is damaged, what is removed."""

import json
import threading
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auditkit.disk.durable import PosixDisk
from auditkit.disk.layout import Layout, modes_for
from auditkit.errors import CorruptionError
from auditkit.queue.dead_letters import (
    DeadLetter,
    count_letters,
    describe_input,
    expired_days,
    keep_letters,
    read_letters,
    read_numbered,
    remove_day,
)
from auditkit.timerange import to_us
from tests.fakes import FailingDisk

MODES = modes_for(None)
DAY = "2026-11-24"
NOON_US = to_us(datetime(2026, 11, 24, 12, tzinfo=UTC))
DAY_US = 86_400_000_000


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return the layout of a folder with room for letters."""
    layout = Layout(tmp_path)
    layout.dead_letters.mkdir()
    return layout


@pytest.fixture
def path(layout: Layout) -> Path:
    """Return the file of the day that all tests use."""
    return layout.dead_letters / f"{DAY}.jsonl"


def letter(number: int = 0, **fields: object) -> DeadLetter:
    """Return a letter."""
    given: dict[str, object] = {"recorded_us": NOON_US, "reason": "refused", "input": f"input {number}"}
    return DeadLetter(**{**given, **fields})  # type: ignore[arg-type]


def keep(layout: Layout, *letters: DeadLetter) -> None:
    """Keep letters."""
    keep_letters(PosixDisk(), layout, MODES, letters)


LETTERS = [
    letter(),
    letter(field="ts", line=17),
    letter(line=0, recorded_us=NOON_US + 1),
    letter(input='{"crc": 5, "damaged": true}, "crc": 7}'),
    letter(input="\ud800 \n\r\u2028\0 \x1b[31m é 😀"),
    letter(input="", consumer="mailer", seq=0),
    letter(reason=""),
]


def test_letters_come_back_as_they_were_kept(layout: Layout, path: Path) -> None:
    """Whatever an input holds, it comes back, one line of plain JSON each, under the name of its line."""
    keep(layout, *LETTERS[:3])
    keep(layout, *LETTERS[3:])
    assert list(read_numbered(layout)) == [(f"{DAY}:{n}", given) for n, given in enumerate(LETTERS, 1)]
    lines = path.read_bytes().splitlines()
    assert all(
        {"recorded_us", "reason", "field", "line", "input"} <= json.loads(line).keys() for line in lines
    )
    assert path.read_bytes().isascii()
    assert (path.stat().st_mode & 0o777, count_letters(path)) == (0o600, len(LETTERS))


@pytest.mark.parametrize("torn", [1, 40, -1])
def test_an_unfinished_line_is_cut_off_by_the_next_writer(layout: Layout, path: Path, torn: int) -> None:
    """A writer that died acknowledged nothing of the line it was at: no reader sees it, and no later line suffers."""
    keep(layout, letter(1))
    whole = path.read_bytes()
    keep(layout, letter(2, reason="x" * 70_000))
    path.write_bytes(path.read_bytes()[: torn if torn < 0 else len(whole) + torn])
    assert list(read_letters(layout)) == [letter(1)]
    keep(layout, letter(3))
    assert list(read_numbered(layout)) == [(f"{DAY}:1", letter(1)), (f"{DAY}:2", letter(3))]
    assert path.read_bytes().startswith(whole)


def test_a_first_line_left_unfinished_spoils_none_but_itself(layout: Layout, path: Path) -> None:
    """Also in a file that holds nothing else, whose folder entry was never synced."""
    path.write_bytes(b'{"torn')
    keep(layout, letter())
    assert list(read_letters(layout)) == [letter()]
    assert list(layout.dead_letters.iterdir()) == [path]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"input 2", b"input 9"),
        (b'"recorded_us": 1', b'"recorded_us": 2'),
        (b'{"recorded_us', b'["recorded_us'),
        (b"input 2", b"\0\0\0\0\0\0\0"),
        (b"input 2", b"\xff"),
        (b'"field": null, ', b""),
        (b', "crc": ', b', "crd": '),
    ],
)
def test_a_damaged_letter_is_named(layout: Layout, path: Path, old: bytes, new: bytes) -> None:
    """What does not read as it was written is returned as a letter that names file, line and offset."""
    keep(layout, letter(1), letter(2), letter(3))
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(old, new) + third)
    (_, before), (name, damaged), (_, after) = read_numbered(layout)
    assert (before, name, after) == (letter(1), f"{DAY}:2", letter(3))
    assert damaged.damaged
    assert damaged.reason.startswith(f"damaged: {DAY}.jsonl, line 2, offset {len(first)}")
    assert damaged.input
    assert count_letters(path) == 3


@pytest.mark.parametrize("bit", range(0, 8 * 120, 7))
def test_no_flipped_bit_goes_unnoticed(layout: Layout, path: Path, bit: int) -> None:
    """Whichever bit of a line flips, the letter is damaged, or the line's end is gone and with it the line."""
    keep(layout, letter(), letter(1))
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    found = list(read_letters(layout))
    assert found[-1] == letter(1)
    assert [one.damaged for one in found[:-1]] in ([True], [True, True])


def test_only_whole_days_expire(layout: Layout) -> None:
    """A day's letters go once the last moment of the day is expired, and files of other names stay."""
    days = range(3)
    keep(layout, *(letter(day, recorded_us=NOON_US + day * DAY_US) for day in days))
    (layout.dead_letters / "notes.jsonl").write_text("mine\n")
    midnight = NOON_US + DAY_US // 2
    for ago, expired in [(1, 0), (0, 1), (-DAY_US + 1, 1), (-DAY_US, 2)]:
        assert len(expired_days(layout, midnight - ago)) == expired
    for gone in expired_days(layout, midnight):
        remove_day(PosixDisk(), gone)
        remove_day(PosixDisk(), gone)
    assert list(read_letters(layout)) == [letter(day, recorded_us=NOON_US + day * DAY_US) for day in (1, 2)]
    assert (layout.dead_letters / "notes.jsonl").read_text() == "mine\n"


def test_a_day_that_is_written_to_is_not_removed(layout: Layout, path: Path) -> None:
    """While a writer holds the file its day stays."""
    keep(layout, letter())
    disk = PosixDisk()
    fd = disk.open(path, write=True)
    assert disk.lock(fd)
    remove_day(PosixDisk(), path)
    assert path.exists()
    disk.close(fd)
    remove_day(PosixDisk(), path)
    assert not path.exists()


def test_a_letter_kept_while_its_day_is_removed_is_not_lost(layout: Layout, path: Path) -> None:
    """A writer that had opened the file before it was removed writes to a new one."""
    keep(layout, letter(1))
    opened = threading.Event()

    class Waiting(PosixDisk):
        """Waits between opening the file and locking it until the file is removed."""

        def lock(self, fd: int, *, shared: bool = False) -> bool:
            """Say that the file is open, wait, and lock."""
            opened.set()
            removed.wait(20)
            return super().lock(fd, shared=shared)

    removed = threading.Event()
    writer = threading.Thread(target=keep_letters, args=(Waiting(), layout, MODES, [letter(2)]))
    writer.start()
    assert opened.wait(20)
    remove_day(PosixDisk(), path)
    removed.set()
    writer.join(20)
    assert list(read_letters(layout)) == [letter(2)]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[1]",
        b"no JSON}",
        b'{"recorded_us":1.5,"reason":"a"}',
        b'{"recorded_us":' + b"9" * 30 + b',"reason":"a"}',
        b'{"recorded_us":4611686018427387904,"reason":"a"}',
        b'{"recorded_us":1,"reason":7}',
        b'{"recorded_us":1,"reason":"a","line":-1}',
        b'{"recorded_us":1,"reason":"a","input":{}}',
        b'{"recorded_us":1,"reason":"\xff"}',
        b'{"recorded_us":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"recorded_us":' + b"9" * 10_000 + b',"reason":"a"}',
    ],
)
def test_a_line_that_is_no_letter_is_damaged_though_its_checksum_is_right(
    layout: Layout, path: Path, body: bytes
) -> None:
    """What is no letter is shown as one that is damaged, and those beside it are read."""
    keep(layout, letter(1))
    with path.open("ab") as file:
        file.write(body[:-1] + b', "crc": %d}\n' % zlib.crc32(body))
    keep(layout, letter(2))
    assert [one.damaged for one in read_letters(layout)] == [False, True, False]


def test_a_line_without_end_is_an_error_before_it_takes_memory(layout: Layout, path: Path) -> None:
    """A file of holes is refused by who reads it and by who would add to it."""
    keep(layout, letter())
    with path.open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(CorruptionError, match="a line of more than"):
        list(read_letters(layout))
    with pytest.raises(CorruptionError, match="a line of more than"):
        keep(layout, letter())


def test_the_last_day_there_is_expires_never(layout: Layout) -> None:
    """A name may be any date."""
    (layout.dead_letters / "9999-12-31.jsonl").touch()
    assert expired_days(layout, NOON_US) == []


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_letters_that_could_not_be_kept_are_not_there(layout: Layout, path: Path, operation: str) -> None:
    """A failed write or sync leaves the file as it was, so that what is given again is kept once."""
    keep(layout, letter(1))
    whole = path.read_bytes()
    disk = FailingDisk()
    disk.fail[operation] = OSError("injected")
    with pytest.raises(OSError, match="injected"):
        keep_letters(disk, layout, MODES, [letter(2), letter(3)])
    assert path.read_bytes() == whole
    keep(layout, letter(2), letter(3))
    assert list(read_letters(layout)) == [letter(1), letter(2), letter(3)]


def test_an_input_of_any_depth_can_be_kept() -> None:
    """What no JSON and no `repr` can show is kept as a sentence about it."""
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]
    assert describe_input({"action": deep}) == "<dict, nested too deep to be shown>"
