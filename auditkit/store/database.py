"""The catalog's file: read as of one moment, and replaced whole.

SQLite is given no path in a trail.  A reader takes the bytes of the file, and SQLite reads them in memory; a writer
changes them in memory, writes a new file and renames it: readers see the old file or the new one, and wait for nothing.

Another program may have written to the file in place, as SQLite does, and have died.  Its rollback journal is then
played back by SQLite on private copies; the next writer publishes the result before it removes the journal.  A journal that names a
super-journal is refused: SQLite would delete what it names.
"""

import os
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

from auditkit.disk.durable import PosixDisk, publish, write_temporary
from auditkit.disk.inside import is_there, open_file, read_file, read_open
from auditkit.errors import CorruptionError, LockedError

MOST_BYTES = 1 << 30
"""A catalog is not larger: SQLite lets a database in memory grow to so much."""
_ATTEMPTS = 100
_PAUSE_S = 0.01
_PRIVATE = 0o600
_PERMISSIONS = 0o666
_JOURNALS = ("-journal", "-wal", "-shm")
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
_VERSIONS, _IN_PLACE, _WRITE_AHEAD = slice(18, 20), b"\x01\x01", b"\x02\x02"
"""Where the header says how the file is written, and the two ways."""


def read_database(path: Path) -> bytes:
    """Return a database as of one moment, rolled back where a program died while it wrote to it; changes nothing.

    Raises `CorruptionError` where it is none, and `LockedError` where another program never stops writing to it.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S)
        before = [_beside(path, ending) for ending in _JOURNALS[:2]]
        fd = open_file(path, path.parent)
        try:
            data = read_open(fd, path, most=MOST_BYTES)
            after = [_beside(path, ending) for ending in _JOURNALS[:2]]
            header = os.pread(fd, _HEADER_BYTES, 0)
        finally:
            os.close(fd)
        if before == after and header == data[:_HEADER_BYTES]:
            break
    else:
        raise LockedError(f"{path}: another program goes on writing to it")
    journal, log = before
    if journal:
        data = _recovered(data, journal, "-journal", path)
    if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC):
        raise CorruptionError(path, offset=0, reason="catalog does not read: not a SQLite database")
    if data[_VERSIONS] == _WRITE_AHEAD:
        data = _recovered(data, log, "-wal", path) if log else data[:18] + _IN_PLACE + data[20:]
    return data


def replace_database(path: Path, data: bytes) -> None:
    """Put a database in the place of the one that is there.

    On return that is durable.  If it raises, the old or the new one is there, whole.
    """
    disk = PosixDisk(path.parent)
    if any(is_there(Path(f"{path}{ending}")) for ending in _JOURNALS):
        _publish(disk, path, read_database(path))  # so that the journal can go, whatever happens then
        for ending in _JOURNALS:
            disk.unlink(Path(f"{path}{ending}"))
        disk.sync_directory(path.parent)
    _publish(disk, path, data)


def write_database(path: Path, data: bytes) -> None:
    """Write a database to a new file, which only its owner may read; on return its bytes are durable, its name is not."""
    write_temporary(PosixDisk(path.parent), path, data, _PRIVATE)


def _publish(disk: PosixDisk, path: Path, data: bytes) -> None:
    """Write a new file with the permissions of the old one, and its owner where that may be, and rename it."""
    old = path.lstat()
    temporary = path.with_name(f"{path.name}.tmp")
    disk.unlink(temporary)
    fd = disk.open(temporary, write=True, create_mode=old.st_mode & _PERMISSIONS)
    try:
        new = os.fstat(fd)
        for user, group in ((-1, old.st_gid), (old.st_uid, -1)):
            if user not in (-1, new.st_uid) or group not in (-1, new.st_gid):
                with suppress(PermissionError):
                    os.fchown(fd, user, group)
        disk.write(fd, data, 0)
        disk.sync(fd)
    finally:
        disk.close(fd)
    publish(disk, temporary, path)


def _beside(path: Path, ending: str) -> bytes:
    """Return the journal beside a database, nothing where there is none."""
    journal = f"{path}{ending}"
    if not os.path.lexists(journal):
        return b""
    try:
        return read_file(Path(journal), path.parent, most=MOST_BYTES)
    except FileNotFoundError:  # gone meanwhile
        return b""


def _recovered(data: bytes, beside: bytes, ending: str, path: Path) -> bytes:
    """Return a database after what a dead program left in a journal or log beside it, by SQLite on private copies.

    A journal that names a super-journal is refused before SQLite sees it: SQLite would look for that file.
    """
    if ending == "-journal" and len(beside) >= 16 and beside.endswith(_JOURNAL_MAGIC):
        reason = "journal names a super-journal, which no catalog has"
        raise CorruptionError(Path(f"{path}-journal"), offset=None, reason=reason)
    with tempfile.TemporaryDirectory(prefix="auditkit-") as folder:
        copy = Path(folder) / "catalog.sqlite"
        copy.write_bytes(data)
        Path(f"{copy}{ending}").write_bytes(beside)
        with closing(sqlite3.connect(copy)) as database:
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("SELECT count(*) FROM sqlite_master")
        return copy.read_bytes()
