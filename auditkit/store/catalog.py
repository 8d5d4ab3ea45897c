"""The catalog: one SQLite database that names what counts.  All SQL of auditkit is in this module.

A transaction here is the commit point of flush and prune: a file that the catalog does not name does not exist.
Every row carries a CRC-32 of its columns, because SQLite pages have none; `contents` says how many rows each table
has and what their checksums are in order; and the rows of the segments plus what was pruned must add up to the
flushed seq: damage is an error, never a quietly different answer.  Nothing is written over damage: a transaction
begins by checking the database's structure and `contents`.
"""

import errno
import os
import shutil
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import astuple, fields

from auditkit.errors import CorruptionError, FormatError, LockedError, StorageError
from auditkit.store.records import (
    CatalogChange,
    CatalogView,
    ContentsRow,
    FlushRow,
    KeysRow,
    MomentRow,
    PolicyRow,
    PruneStateRow,
    ReplacedRow,
    SegmentRow,
    TombstoneRow,
    TrailInfo,
)

FORMAT = 1
BUSY_TIMEOUT_S = 10.0
_TABLES: dict[str, type[Struct]] = {
    "trail": TrailInfo,
    "policies": PolicyRow,
    "moments": MomentRow,
    "flushes": FlushRow,
    "segments": SegmentRow,
    "tombstones": TombstoneRow,
    "replaced": ReplacedRow,
    "prune_states": PruneStateRow,
    "keys": KeysRow,
}
_CONTENTS = "contents"
_SQL_TYPES = {int: "INTEGER", str: "TEXT", bytes: "BLOB"}
_T = TypeVar("_T", bound=Struct)


def create_catalog(path: Path, info: TrailInfo, policy: PolicyRow) -> None:
    """Create the database at `path`, which must not exist yet."""
    with _writing(path, create=True) as connection:
        tables: dict[str, type[Struct]] = {**_TABLES, _CONTENTS: ContentsRow}
        for table, row_type in tables.items():
            columns = ", ".join(f"{f.name} {_sql_type(f.type)}" for f in fields(row_type))
            connection.execute(f"CREATE TABLE {table} ({columns}, crc INTEGER NOT NULL)")
        connection.execute("CREATE UNIQUE INDEX segments_path ON segments (path)")
        _insert(connection, "trail", info)
        _insert(connection, "policies", policy)
        _note_contents(connection)


def read_catalog(path: Path) -> CatalogView:
    """Return everything the catalog says, in one read transaction.

    Waits at most for one commit of another process.  Where a writer died inside a transaction, SQLite rolls it
    back if this process may write, and a private copy is read if not.  Raises `CorruptionError`, `FormatError`
    or `LockedError`.
    """
    try:
        with _explained(path, reading=True):
            return _view(path, f"{path.absolute().as_uri()}?mode=ro")
    except _HotJournalError:
        pass
    try:
        with _explained(path, reading=True):
            return _view(path, f"{path.absolute().as_uri()}?mode=rw")
    except _HotJournalError:
        pass
    with tempfile.TemporaryDirectory(prefix="auditkit-") as folder:
        copy = Path(folder) / path.name
        for name in (path.name, path.name + "-journal"):
            if (path.parent / name).exists():
                shutil.copyfile(path.parent / name, copy.with_name(name))
        with _explained(path):
            return _view(path, f"{copy.as_uri()}?mode=rw")


def change_catalog(path: Path, change: CatalogChange) -> None:
    """Apply `change` in one durable transaction: on return it is committed, if it raises nothing changed."""
    with _explained(path), _writing(path) as connection:
        _check_contents(connection, path)
        for removed in change.remove_segments:
            if connection.execute("DELETE FROM segments WHERE path = ?", (removed,)).rowcount != 1:
                raise CorruptionError(
                    path, offset=None, reason=f"catalog does not name the segment {removed}"
                )
        for gone in change.forget_replaced:
            connection.execute("DELETE FROM replaced WHERE path = ?", (gone,))
        for table, rows in (
            ("segments", change.add_segments),
            ("tombstones", change.tombstones),
            ("replaced", change.replaced),
            ("policies", change.policies),
            ("moments", change.moments),
            ("flushes", (change.flush,) if change.flush else ()),
        ):
            for row in rows:
                _insert(connection, table, row)
        if change.keys is not None:
            _insert(connection, "keys", change.keys)
            _forget_keys(connection, change.keep_keys)
        if change.prune_state is not None:
            connection.execute("DELETE FROM prune_states")
            _insert(connection, "prune_states", change.prune_state)
        _note_contents(connection)


def read_keys(path: Path) -> list[KeysRow]:
    """Return the remembered keys of flushed events, oldest flush first (for writers, who may roll back)."""
    with _explained(path):
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        try:
            connection.execute("BEGIN")
            return _select(connection, path, "keys", KeysRow, _contents(connection, path))
        finally:
            connection.close()


def _forget_keys(connection: sqlite3.Connection, keep: int) -> None:
    remembered = 0
    for end_seq, count in connection.execute(
        "SELECT end_seq, count FROM keys ORDER BY end_seq DESC"
    ).fetchall():
        if remembered >= keep:
            connection.execute("DELETE FROM keys WHERE end_seq = ?", (end_seq,))
        remembered += count


def replace_info(path: Path, info: TrailInfo) -> None:
    """Change what the catalog says about the trail itself, in one durable transaction."""
    with _explained(path), _writing(path) as connection:
        _check_contents(connection, path)
        connection.execute("DELETE FROM trail")
        _insert(connection, "trail", info)
        _note_contents(connection)


def copy_catalog(source: Path, target: Path) -> None:
    """Copy the database as of one moment, while others may write to it; the copy is not synced."""
    with _explained(source):
        reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        writer = sqlite3.connect(target)
        try:
            reader.backup(writer)
        finally:
            reader.close()
            writer.close()


class _HotJournalError(Exception):
    """A dead writer's transaction waits for somebody who may write."""


@contextmanager
def _explained(path: Path, *, reading: bool = False) -> Iterator[None]:
    """Turn what SQLite raises into what it means; when `reading`, there may be another way to do so."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        name = getattr(exc, "sqlite_errorname", "")  # what Python's module finds by itself has none
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise LockedError(f"{path}: busy for more than {BUSY_TIMEOUT_S:g} s") from exc
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            if reading:
                raise _HotJournalError from exc
            if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
                raise OSError(f"{path}: {exc}") from exc
        if name.startswith(("SQLITE_IOERR", "SQLITE_FULL")):
            number = errno.ENOSPC if name.startswith("SQLITE_FULL") else errno.EIO
            raise StorageError(number, str(exc), str(path)) from exc
        raise CorruptionError(path, offset=None, reason=f"catalog does not read: {exc}") from exc
    except (sqlite3.Error, UnicodeDecodeError) as exc:  # a damaged schema gets as far as Python's own decoder
        raise CorruptionError(path, offset=None, reason=f"catalog does not read: {exc}") from exc


@contextmanager
def _writing(path: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    mode = "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
    )
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    finally:
        connection.close()


def _view(path: Path, uri: str) -> CatalogView:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("BEGIN")
        contents = _contents(connection, path)
        infos = _select(connection, path, "trail", TrailInfo, contents)
        if len(infos) != 1:
            raise CorruptionError(path, offset=None, reason=f"catalog names {len(infos)} trails")
        if infos[0].format != FORMAT:
            other = "a newer" if infos[0].format > FORMAT else "an older"
            raise FormatError(
                f"{path}: catalog format {infos[0].format} (expected {FORMAT}); use {other} auditkit"
            )
        view = CatalogView(
            info=infos[0],
            policies=_select(connection, path, "policies", PolicyRow, contents),
            moments=_select(connection, path, "moments", MomentRow, contents),
            flushes=_select(connection, path, "flushes", FlushRow, contents),
            segments=_select(connection, path, "segments", SegmentRow, contents),
            tombstones=_select(connection, path, "tombstones", TombstoneRow, contents),
            replaced=_select(connection, path, "replaced", ReplacedRow, contents),
            prune_states=_select(connection, path, "prune_states", PruneStateRow, contents),
        )
    finally:
        connection.close()
    total = sum(row.rows for row in view.segments) + sum(row.rows for row in view.tombstones)
    if total != view.flushed_seq:
        reason = (
            f"events do not add up (expected {view.flushed_seq}, found {total} in segments and tombstones)"
        )
        raise CorruptionError(path, offset=None, reason=reason)
    return view


def _select(
    connection: sqlite3.Connection,
    path: Path,
    table: str,
    row_type: type[_T],
    contents: Mapping[str, ContentsRow] | None,
) -> list[_T]:
    """Return a table's rows in order, each checked, and all of them against `contents`."""
    names = row_type.__struct_fields__
    rows, crcs = [], []
    query = f"SELECT {', '.join(names)}, crc FROM {table} ORDER BY rowid"  # noqa: S608 -- names from this module
    for *values, crc in connection.execute(query):
        if _crc(values) != crc:
            raise CorruptionError(path, offset=None, reason=f"catalog row in {table}: checksum mismatch")
        crcs.append(crc)
        rows.append(row_type(**dict(zip(names, values, strict=True))))
    if contents is not None:
        _check_table(path, contents[table], crcs)
    return rows


def _contents(connection: sqlite3.Connection, path: Path) -> dict[str, ContentsRow]:
    """Return what each table should hold."""
    rows = _select(connection, path, _CONTENTS, ContentsRow, None)
    if sorted(row.name for row in rows) != sorted(_TABLES):
        raise CorruptionError(path, offset=None, reason="catalog does not say what each table holds")
    return {row.name: row for row in rows}


def _check_contents(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `CorruptionError` where the database is not sound: SQLite would write over what it takes for free."""
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise CorruptionError(path, offset=None, reason=f"catalog does not read: {found}")
    for table, contents in _contents(connection, path).items():
        _check_table(path, contents, _crcs(connection, table))


def _check_table(path: Path, contents: ContentsRow, crcs: Sequence[int]) -> None:
    if (contents.rows, contents.digest) != (len(crcs), _digest(crcs)):
        reason = f"catalog table {contents.name}: expected {contents.rows} rows, found {len(crcs)} or others"
        raise CorruptionError(path, offset=None, reason=reason)


def _note_contents(connection: sqlite3.Connection) -> None:
    """Write down what each table holds now."""
    connection.execute(f"DELETE FROM {_CONTENTS}")  # noqa: S608 -- a name from this module
    for table in _TABLES:
        crcs = _crcs(connection, table)
        digest = _digest(crcs)
        assert digest is not None  # noqa: S101 -- checked before, and written by this module since
        _insert(connection, _CONTENTS, ContentsRow(name=table, rows=len(crcs), digest=digest))


def _crcs(connection: sqlite3.Connection, table: str) -> list[int]:
    query = f"SELECT crc FROM {table} ORDER BY rowid"  # noqa: S608 -- the table is one of this module's
    return [crc for (crc,) in connection.execute(query)]


def _digest(crcs: Sequence[int]) -> int | None:
    """Return the digest of checksums, `None` where one of them cannot be a checksum."""
    try:
        return zlib.crc32(struct.pack(f"<{len(crcs)}I", *crcs))
    except struct.error:
        return None


def _insert(connection: sqlite3.Connection, table: str, row: Any) -> None:
    values = astuple(row)
    marks = ", ".join("?" * (len(values) + 1))
    connection.execute(
        f"INSERT INTO {table} VALUES ({marks})",  # noqa: S608 -- the table is one of this module's
        (*values, _crc(values)),
    )


def _crc(values: Sequence[object]) -> int:
    return zlib.crc32(msgspec.msgpack.encode(list(values)))


def _sql_type(annotation: Any) -> str:
    """Return the column type for a row's field: what may be `None` may be NULL."""
    kinds = get_args(annotation) or (annotation,)
    return _SQL_TYPES[kinds[0]] + ("" if NoneType in kinds else " NOT NULL")
