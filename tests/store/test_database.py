"""The catalog's file: read in memory and replaced whole, whatever another program, or a stranger, has left beside it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from auditkit.api import Trail
from auditkit.disk.durable import PosixDisk
from auditkit.errors import AuditError, CorruptionError, StorageError
from auditkit.opening import open_trail
from auditkit.store.database import read_database
from tests.disk.images import image

DIES = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE trail SET tz = 'Europe/Berlin'")
database.execute("CREATE TABLE large (data BLOB)")
for _ in range(50):
    database.execute("INSERT INTO large VALUES (zeroblob(9000))")
os._exit(9)
"""
"""A program that dies while it writes to a database in place, pages of which have reached the file."""


@pytest.fixture
def root(make_trail: Callable[..., Trail]) -> Path:
    """Return the folder of a trail with an event in a segment and one in the queue, closed."""
    with make_trail() as trail:
        trail.append(action="a").wait()
        trail.flush()
        trail.append(action="b").wait()
    return trail.path


def die_inside(database: Path) -> Path:
    """Let a program die inside a transaction, and return the journal that it leaves."""
    before = database.read_bytes()
    subprocess.run([sys.executable, "-c", DIES, str(database)], check=False)
    assert database.read_bytes() != before
    return database.with_name(f"{database.name}-journal")


def name_super_journal(journal: Path, victim: Path) -> None:
    """Let a journal say that its transaction spans several databases, and that `victim` says which."""
    name = bytes(victim)
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.seek(size - size % 512)
        number = 0x40000000 // 4096 + 1
        file.write(number.to_bytes(4, "big") + name + len(name).to_bytes(4, "big"))
        file.write((sum(name) & 0xFFFFFFFF).to_bytes(4, "big") + b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
        file.truncate()


def actions(root: Path) -> list[str]:
    """Return what a trail answers."""
    with open_trail(root, maintain=False) as trail:
        return list(trail.range(columns=["action"])["action"])


def test_a_journal_that_names_a_super_journal_is_refused(root: Path, tmp_path: Path) -> None:
    """SQLite would delete what such a journal names; here neither reader nor writer opens the trail."""
    catalog, victim = root / "catalog.sqlite", tmp_path / "victim"
    victim.write_text("of somebody else")
    opened = open_trail(root, maintain=False)
    name_super_journal(die_inside(catalog), victim)
    harmed = shutil.copytree(root, tmp_path / "harmed")
    before = image(tmp_path)
    for ask in (lambda: actions(root), opened.flush, opened.range):
        with pytest.raises(CorruptionError, match=r"catalog\.sqlite-journal: journal names a super-journal"):
            ask()
    assert victim.exists()
    assert image(tmp_path, without=("queue.lock", "queue")) == {
        name: what for name, what in before.items() if "/queue" not in name
    }
    with closing(sqlite3.connect(harmed / "catalog.sqlite")) as database:
        database.execute("SELECT * FROM trail").fetchall()
    assert not victim.exists(), "the journal was not forged as it should be"


def test_what_a_dead_program_left_is_rolled_back_in_memory(root: Path) -> None:
    """A reader is answered as of before the transaction, and no byte of the trail is another then."""
    sound = read_database(root / "catalog.sqlite")
    die_inside(root / "catalog.sqlite")
    before = image(root)
    assert read_database(root / "catalog.sqlite") == sound
    assert actions(root) == ["a", "b"]
    assert image(root) == before


def test_a_writer_removes_what_a_dead_program_left(root: Path) -> None:
    """The next transaction begins from before that of the dead program, and leaves no journal that undoes it."""
    journal = die_inside(root / "catalog.sqlite")
    with open_trail(root, maintain=False) as trail:
        trail.flush()
    assert not journal.exists()
    assert actions(root) == ["a", "b"]
    with closing(sqlite3.connect(root / "catalog.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT tz FROM trail").fetchone() == ("UTC",)


@pytest.mark.parametrize("cut", [1, 7, 8, 27, 28, 511, 512, 513, 4000, 4623, 4624, 4625, -1, -4000])
def test_a_journal_that_was_not_written_whole_is_played_back_as_sqlite_does(root: Path, cut: int) -> None:
    """Up to the first page that is torn, and a journal without a header counts as none."""
    journal = die_inside(root / "catalog.sqlite")
    os.truncate(journal, cut % journal.stat().st_size)
    found = read_database(root / "catalog.sqlite")
    with closing(sqlite3.connect(root / "catalog.sqlite")) as database:
        database.execute("SELECT 1 FROM sqlite_master").fetchall()
    assert found == (root / "catalog.sqlite").read_bytes()


@pytest.mark.parametrize("finished", [False, True])
def test_a_catalog_with_a_write_ahead_log_is_read_and_not_touched(root: Path, *, finished: bool) -> None:
    """What another program left in its log is answered from a private copy; the next transaction has no log."""
    catalog = root / "catalog.sqlite"
    script = "import os, sqlite3, sys; database = sqlite3.connect(sys.argv[1], isolation_level=None);"
    script += "database.execute('PRAGMA journal_mode = WAL'); database.execute('CREATE TABLE other (a)');"
    script += "database.close()" if finished else "os._exit(9)"
    subprocess.run([sys.executable, "-c", script, str(catalog)], check=False)
    assert catalog.with_name("catalog.sqlite-wal").exists() is not finished
    before = image(root)
    assert actions(root) == ["a", "b"]
    assert image(root) == before
    with open_trail(root, maintain=False) as trail:
        trail.flush()
    assert [path.name for path in sorted(root.glob("catalog*"))] == ["catalog.sqlite"]
    with closing(sqlite3.connect(catalog)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert database.execute("SELECT name FROM sqlite_master WHERE name = 'other'").fetchone()


def _link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def _fifo(path: Path, _outside: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, _outside: Path) -> None:
    path.mkdir()


def _sparse(path: Path, _outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["catalog.sqlite", "catalog.sqlite-journal", "catalog.sqlite-wal"])
@pytest.mark.parametrize("forge", [_link, _fifo, _folder, _sparse])
def test_what_is_no_file_of_its_own_is_refused(
    root: Path, tmp_path: Path, name: str, forge: Callable[[Path, Path], None]
) -> None:
    """Links, FIFOs, folders and endless files in the place of the catalog or beside it end in an error at once."""
    opened = open_trail(root, maintain=False)
    (root / name).unlink(missing_ok=True)
    forge(root / name, Path(shutil.copy(root / "queue.lock", tmp_path / "outside")))
    for ask in (lambda: actions(root), opened.range, opened.flush):
        with pytest.raises(AuditError, match=r"catalog\.sqlite|no trail here"):
            ask()


def test_a_transaction_keeps_the_permissions_of_the_catalog(root: Path) -> None:
    """What replaces the catalog has its permission bits, but for those that make a file a program."""
    (root / "catalog.sqlite").chmod(0o640)
    with open_trail(root, maintain=False) as trail:
        trail.flush()
    assert (root / "catalog.sqlite").stat().st_mode & 0o7777 == 0o640


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_transaction_of_root_leaves_the_catalog_to_its_owner(root: Path) -> None:
    """After root has maintained a trail its owner still reads the catalog."""
    os.chown(root / "catalog.sqlite", 1234, 1235)
    with open_trail(root, maintain=False) as trail:
        trail.flush()
    status = (root / "catalog.sqlite").stat()
    assert (status.st_uid, status.st_gid) == (1234, 1235)


def test_a_catalog_that_cannot_be_replaced_is_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new file cannot be written the old one counts, and the flush can be repeated."""
    before = (root / "catalog.sqlite").read_bytes()
    with open_trail(root, maintain=False) as trail:

        def fail(*_: object) -> None:
            raise StorageError(28, "No space left on device", "catalog.sqlite.tmp")

        with monkeypatch.context() as patched:
            patched.setattr("auditkit.store.database.publish", fail)
            with pytest.raises(StorageError):
                trail.flush()
        assert (root / "catalog.sqlite").read_bytes() == before
        assert trail.flush().events == 1
    assert actions(root) == ["a", "b"]


class _Stopping(PosixDisk):
    """A disk that refuses one operation and all after it."""

    left = 0

    def _count(self) -> None:
        _Stopping.left -= 1
        if _Stopping.left < 0:
            raise StorageError(5, "Input/output error", "catalog.sqlite")

    def unlink(self, path: Path) -> None:
        """Count and remove."""
        self._count()
        super().unlink(path)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Count and write."""
        self._count()
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        """Count and sync."""
        self._count()
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Count and rename."""
        self._count()
        super().rename(source, target)


@pytest.mark.parametrize("dead", [False, True])
def test_wherever_a_transaction_stops_the_trail_is_whole(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, dead: bool
) -> None:
    """After every step of replacing the catalog, also over what a dead program left, all is there once."""
    if dead:
        die_inside(root / "catalog.sqlite")
    monkeypatch.setattr("auditkit.store.database.PosixDisk", _Stopping)
    for steps in range(100):
        copy = shutil.copytree(root, tmp_path / f"copy{steps}")
        with open_trail(copy, maintain=False) as trail:
            _Stopping.left = steps
            try:
                trail.flush()
            except StorageError:
                failed = True
            else:
                failed = False
            _Stopping.left = 1000
            assert actions(copy) == ["a", "b"]
            with open_trail(copy, maintain=False) as other:
                other.flush()
            assert actions(copy) == ["a", "b"]
            assert not (copy / "catalog.sqlite-journal").exists()
        if not failed:
            break
    assert steps > (12 if dead else 4)
