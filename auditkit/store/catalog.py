"""The catalog: one SQLite database that names what counts.  All SQL of auditkit is in this module.

A transaction here is the commit point of flush and prune: a file that the catalog does not name does not exist.
Every row carries a CRC-32 of its columns, because SQLite pages have none; `contents` says how many rows each table
has and what their checksums are in order; and the rows of the segments plus what was pruned must add up to the
flushed seq: damage is an error, never a quietly different answer.  Nothing is written over damage: a transaction
begins by checking the database's structure and `contents`.

`store.records` says what each table holds, and how a later version may add to them.
"""

import sqlite3
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from auditkit.errors import CorruptionError, FormatError
from auditkit.store.consistency import check_tables, check_view, confine
from auditkit.store.database import read_database, replace_database, write_database
from auditkit.store.records import (
    FEATURES,
    CatalogChange,
    CatalogView,
    ContentsRow,
    FeatureRow,
    FlushRow,
    FoldRow,
    HoldRow,
    MomentRow,
    PolicyRow,
    PruneStateRow,
    ReleaseRow,
    ReplacedRow,
    RollupRow,
    SegmentRow,
    TierRow,
    TombstoneRow,
    TrailInfo,
)

FORMAT = 1
_TABLES: dict[str, type[Struct]] = {
    "trail": TrailInfo,
    "policies": PolicyRow,
    "holds": HoldRow,
    "releases": ReleaseRow,
    "moments": MomentRow,
    "flushes": FlushRow,
    "segments": SegmentRow,
    "tombstones": TombstoneRow,
    "replaced": ReplacedRow,
    "prune_states": PruneStateRow,
    "tiers": TierRow,
    "folds": FoldRow,
    "rollups": RollupRow,
    "features": FeatureRow,
}
_CONTENTS, _CRC = "contents", "crc"
_SQL_TYPES = {int: "INTEGER", str: "TEXT", bytes: "BLOB"}
_TICK_NS = 2_500_000_000
"""Longer than the coarsest stamps of a file system, two seconds."""

_Stamp = tuple[int, int, int, int, int]
_T = TypeVar("_T", bound=Struct)


class CurrentCatalog:
    """Reads one trail's catalog, and parses it again only where the file may have changed.

    A file's stamps tell of every change but one: file systems stamp with a clock that ticks, and what changes twice
    within a tick may look the same after both.  So a reading is remembered only of a file that had been left alone
    for longer than any tick when it was read.
    """

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._now_ns = now_ns
        self._known: tuple[_Stamp, CatalogView] | None = None

    def read(self) -> CatalogView:
        """Return everything the catalog says, as `read_catalog` does; the same object where nothing has changed."""
        known, stamp = self._known, self._stamp()
        if known is not None and known[0] == stamp:
            return known[1]
        now_ns = self._now_ns()
        view = read_catalog(self._path)
        settled = stamp is not None and max(stamp[-2:]) < now_ns - _TICK_NS
        self._known = (stamp, view) if stamp is not None and settled else None
        return view

    def _stamp(self) -> _Stamp | None:
        try:
            status = self._path.lstat()
        except OSError:  # reading it says what is wrong
            return None
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def create_catalog(path: Path, info: TrailInfo, policy: PolicyRow) -> None:
    """Create the database at `path`, which must not exist yet; its name is not durable yet."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with _transaction(connection):
            for statement in _created().values():
                connection.execute(statement)
            _insert(connection, "trail", asdict(info))
            _insert(connection, "policies", asdict(policy))
            _note_contents(connection)
        data = connection.serialize()
    write_database(path, data)


def read_catalog(path: Path) -> CatalogView:
    """Return everything the catalog says at one moment; changes nothing, and waits for no writer.

    Raises `CorruptionError`, `FormatError`, or `LockedError` where another program goes on writing to it.
    """
    with _opened(path) as connection:
        return _view(path, connection)


def copy_catalog(source: Path, target: Path) -> None:
    """Copy the database as of one moment to a new file, while other processes may write to it.

    On return the copy's bytes are durable, its name is not.  Raises what `read_catalog` raises.
    """
    with _explained(source):
        data = read_database(source)
    write_database(target, data)


def change_catalog(path: Path, change: CatalogChange) -> None:
    """Apply `change` in one durable transaction; the caller holds the lock of maintenance.

    On return it is committed.  If it raises, nothing of it or all of it is there.
    """
    with _writing(path) as connection:
        for removed in change.remove_segments:
            if connection.execute("DELETE FROM segments WHERE path = ?", (removed,)).rowcount != 1:
                raise CorruptionError(
                    path, offset=None, reason=f"catalog does not name the segment {removed}"
                )
        for removed in change.remove_rollups:
            if connection.execute("DELETE FROM rollups WHERE path = ?", (removed,)).rowcount != 1:
                reason = f"catalog does not name the rollup {removed}"
                raise CorruptionError(path, offset=None, reason=reason)
        for fold in change.folds:
            connection.execute("DELETE FROM folds WHERE tier = ?", (fold.tier,))
        for gone in change.forget_replaced:
            connection.execute("DELETE FROM replaced WHERE path = ?", (gone,))
        for table, rows in (
            ("segments", change.add_segments),
            ("tombstones", change.tombstones),
            ("replaced", change.replaced),
            ("policies", change.policies),
            ("holds", change.holds),
            ("releases", change.releases),
            ("moments", change.moments),
            ("features", change.features),
            ("tiers", change.tiers),
            ("folds", change.folds),
            ("rollups", change.add_rollups),
            ("flushes", (change.flush,) if change.flush else ()),
        ):
            for row in rows:
                _insert(connection, table, asdict(row))
        if change.prune_state is not None:
            connection.execute("DELETE FROM prune_states")
            _insert(connection, "prune_states", asdict(change.prune_state))
        _note_contents(connection)


def replace_info(path: Path, info: TrailInfo) -> None:
    """Change what the catalog says about the trail itself, as `change_catalog` does."""
    with _writing(path) as connection:
        cursor = connection.execute("SELECT * FROM trail")
        kept = dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))
        del kept[_CRC]  # and what else a later version keeps there stays
        connection.execute("DELETE FROM trail")
        _insert(connection, "trail", kept | asdict(info))
        _note_contents(connection)


def refuse_unknown_features(path: Path, catalog: CatalogView) -> None:
    """Raise `FormatError` where a later version keeps what this one would lose by pruning, merging or copying."""
    unknown = sorted({row.name for row in catalog.features} - FEATURES)
    if unknown:
        error = FormatError(f"{path}: features that this auditkit does not know (found {', '.join(unknown)})")
        error.add_note(
            "reading and appending work; prune, compact, maintain and back up with the auditkit that wrote it, or newer"
        )
        raise error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into what it means: the file is not what was written."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as exc:  # a damaged schema gets as far as Python's own decoder
        raise CorruptionError(path, offset=None, reason=f"catalog does not read: {exc}") from exc


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Give the database at `path` as of now, in memory: what is done to it changes no file."""
    with _explained(path), closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(read_database(path))
        confine(connection)
        yield connection


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Give the database in a transaction, and put what the block makes of it in the place of the file."""
    with _opened(path) as connection:
        _check_contents(connection, path)
        with _transaction(connection):
            yield connection
        data = connection.serialize()
    replace_database(path, data)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does; nothing is kept of what it deletes."""
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("BEGIN")
    yield
    connection.execute("COMMIT")


def _view(path: Path, connection: sqlite3.Connection) -> CatalogView:
    contents = _contents(connection, path)
    infos = _select(connection, path, "trail", TrailInfo, contents)
    if len(infos) != 1:
        raise CorruptionError(path, offset=None, reason=f"catalog names {len(infos)} trails")
    if infos[0].format != FORMAT:
        other = "a newer" if infos[0].format > FORMAT else "an older"
        raise FormatError(
            f"{path}: catalog format {infos[0].format} (expected {FORMAT}); use {other} auditkit"
        )
    rows: dict[str, Any] = {
        table: _select(connection, path, table, row_type, contents)
        for table, row_type in _TABLES.items()
        if table != "trail"
    }
    view = CatalogView(info=infos[0], **rows)
    check_view(view, path)
    return view


def _select(
    connection: sqlite3.Connection,
    path: Path,
    table: str,
    row_type: type[_T],
    contents: Mapping[str, ContentsRow] | None,
) -> list[_T]:
    """Return a table's rows in order, each checked, and all of them against `contents`."""
    known = row_type.__struct_fields__
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 -- a name from this module
    names = [column[0] for column in cursor.description]
    at, places = names.index(_CRC), [names.index(name) for name in known]
    rows, crcs, left = [], [], 2 * _size(connection)
    for values in cursor:
        packed = _packed(values[:at] + values[at + 1 :])
        if zlib.crc32(packed) != values[at]:
            raise CorruptionError(path, offset=None, reason=f"catalog row in {table}: checksum mismatch")
        left -= len(packed)
        if left < 0:
            reason = f"catalog table {table}: more than the file can hold"
            raise CorruptionError(path, offset=None, reason=reason)
        crcs.append(values[at])
        rows.append({name: values[place] for name, place in zip(known, places, strict=True)})
    if contents is not None:
        _check_table(path, contents[table], crcs)
    try:
        return msgspec.convert(rows, list[row_type], builtin_types=(bytes,))  # type: ignore[valid-type]
    except msgspec.ValidationError as exc:
        raise CorruptionError(path, offset=None, reason=f"catalog table {table}: {exc}") from exc


def _size(connection: sqlite3.Connection) -> int:
    """Return how many bytes a database has."""
    (pages,), (size,) = (
        connection.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "page_size")
    )
    return int(pages) * int(size)


def _contents(connection: sqlite3.Connection, path: Path) -> dict[str, ContentsRow]:
    """Return what each table should hold, also those that only a later version knows."""
    tables = check_tables(connection, path, _created())
    rows = _select(connection, path, _CONTENTS, ContentsRow, None)
    contents = {row.name: row for row in rows}
    if len(contents) != len(rows) or not tables >= contents.keys() >= _TABLES.keys():
        raise CorruptionError(path, offset=None, reason="catalog does not say what each table holds")
    return contents


def _check_contents(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `CorruptionError` where the database is not sound: SQLite would write over what it takes for free."""
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise CorruptionError(path, offset=None, reason=f"catalog does not read: {found}")
    for table, contents in _contents(connection, path).items():
        _check_table(path, contents, _crcs(connection, table))


def _check_table(path: Path, contents: ContentsRow, crcs: Sequence[int]) -> None:
    if (contents.rows, contents.digest) != (len(crcs), _digest(crcs)):
        reason = (
            f"catalog table {contents.name}: expected {contents.rows} rows, found {len(crcs)} or other ones"
        )
        raise CorruptionError(path, offset=None, reason=reason)


def _note_contents(connection: sqlite3.Connection) -> None:
    """Write down what each known table holds now; what a later version added to the others is as it was."""
    for table in _TABLES:
        connection.execute(f"DELETE FROM {_CONTENTS} WHERE name = ?", (table,))  # noqa: S608 -- as above
        crcs = _crcs(connection, table)
        digest = _digest(crcs)
        assert digest is not None  # noqa: S101 -- checked before, and written by this module since
        _insert(connection, _CONTENTS, {"name": table, "rows": len(crcs), "digest": digest})


def _crcs(connection: sqlite3.Connection, table: str) -> list[int]:
    quoted = table.replace('"', '""')
    query = f'SELECT {_CRC} FROM "{quoted}" ORDER BY rowid'  # noqa: S608 -- quoted
    return [crc for (crc,) in connection.execute(query)]


def _digest(crcs: Sequence[int]) -> int | None:
    """Return the digest of checksums, `None` where one of them cannot be a checksum."""
    try:
        return zlib.crc32(struct.pack(f"<{len(crcs)}I", *crcs))
    except struct.error:
        return None


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    """Add a row: its values by column, in the order of the table."""
    names, marks = ", ".join((*row, _CRC)), ", ".join("?" * (len(row) + 1))
    connection.execute(
        f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 -- names from this module or the catalog
        (*row.values(), zlib.crc32(_packed(tuple(row.values())))),
    )


def _packed(values: Sequence[object]) -> bytes:
    """Return what the checksum of a row is of: its columns in order, without NULLs at the end.

    So that it stays the same where a later version adds a nullable column to the table.
    """
    end = len(values)
    while end and values[end - 1] is None:
        end -= 1
    return msgspec.msgpack.encode(list(values[:end]))


@cache
def _created() -> Mapping[str, str]:
    """Return the statement that makes each table, and the one index."""
    tables: dict[str, type[Struct]] = {**_TABLES, _CONTENTS: ContentsRow}
    statements = {}
    for table, row_type in tables.items():
        columns = ", ".join(f"{name} {_sql_type(kind)}" for name, kind in get_type_hints(row_type).items())
        statements[table] = f"CREATE TABLE {table} ({columns}, {_CRC} INTEGER NOT NULL)"
    return {**statements, "segments_path": "CREATE UNIQUE INDEX segments_path ON segments (path)"}


def _sql_type(annotation: Any) -> str:
    """Return the column type for a row's field: what may be `None` may be NULL."""
    kinds = get_args(annotation) or (annotation,)
    return _SQL_TYPES[kinds[0]] + ("" if NoneType in kinds else " NOT NULL")
