"""The catalog: never an old one, parsed once while nothing changes, and open to what a later version adds."""

import sqlite3
import struct
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from auditkit.api import Trail
from auditkit.backups import backup
from auditkit.errors import CorruptionError, FormatError
from auditkit.keep.compact import compact
from auditkit.opening import open_trail
from auditkit.store.catalog import CurrentCatalog, change_catalog, read_catalog, replace_info
from auditkit.store.records import CatalogChange, FeatureRow
from tests.aging import trust
from tests.oracle import read_catalog as read_oracle

LONG_NS = 3_000_000_000


def test_a_catalog_left_alone_is_parsed_once(trail: Trail) -> None:
    """Once the file is older than any clock's tick, the same reading is given until it changes."""
    path = trail.handle.layout.catalog
    current = CurrentCatalog(path, now_ns=lambda: time.time_ns() + LONG_NS)
    first = current.read()
    assert current.read() is first
    trail.append(action="a").wait()
    trail.flush()
    assert current.read().flushed_seq == 1


def test_a_catalog_that_has_just_changed_is_read_again(trail: Trail) -> None:
    """A change within the tick of another, which leaves no mark of its own, is seen."""
    current = CurrentCatalog(trail.handle.layout.catalog)
    for seq in range(4):
        trail.append(action="a").wait()
        trail.flush()
        assert current.read().flushed_seq == seq + 1


@pytest.mark.parametrize(("version", "advice"), [(0, "use an older auditkit"), (99, "use a newer auditkit")])
def test_a_catalog_of_another_format_is_refused(trail: Trail, version: int, advice: str) -> None:
    """The error names both formats and says which auditkit reads it."""
    path = trail.handle.layout.catalog
    replace_info(path, replace(trail.handle.info, format=version))
    with pytest.raises(FormatError, match=f"catalog format {version} .expected 1.; {advice}"):
        read_catalog(path)


def as_a_later_version(path: Path) -> None:
    """Add to a catalog what a later version may: a table with its line in `contents`, and nullable columns."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE leaves (name TEXT NOT NULL, crc INTEGER NOT NULL)")
        crc = zlib.crc32(msgspec.msgpack.encode(["hours"]))
        database.execute("INSERT INTO leaves VALUES ('hours', ?)", (crc,))
        said = ("leaves", 1, zlib.crc32(struct.pack("<I", crc)))
        crc = zlib.crc32(msgspec.msgpack.encode(list(said)))
        database.execute("INSERT INTO contents (name, rows, digest, crc) VALUES (?, ?, ?, ?)", (*said, crc))
        database.execute("ALTER TABLE segments ADD COLUMN leaves BLOB")
        database.execute("ALTER TABLE trail ADD COLUMN place TEXT")
        names, values = _first(database, "trail")
        values[names.index("place")] = "s3://bucket"
        covered = [value for name, value in zip(names, values, strict=True) if name != "crc"]
        crc = zlib.crc32(msgspec.msgpack.encode(covered))
        database.execute("UPDATE trail SET place = 's3://bucket', crc = ?", (crc,))
        digest = zlib.crc32(struct.pack("<I", crc))
        crc = zlib.crc32(msgspec.msgpack.encode(["trail", 1, digest]))
        database.execute("UPDATE contents SET digest = ?, crc = ? WHERE name = 'trail'", (digest, crc))


def _first(database: sqlite3.Connection, table: str) -> tuple[list[str], list[Any]]:
    cursor = database.execute(f"SELECT * FROM {table}")  # noqa: S608 -- the table is the test's
    return [column[0] for column in cursor.description], list(cursor.fetchone())


def test_what_a_later_version_adds_is_read_over_and_kept(trail: Trail, tmp_path: Path) -> None:
    """Unknown tables and nullable columns change no answer, survive flush, prune and copy, and need no other format."""
    trail.append(action="a").wait()
    trail.flush()
    as_a_later_version(trail.handle.layout.catalog)
    trail.append(action="b").wait()
    trail.flush()
    trail.prune()
    assert trail.range(columns=["action"])["action"].to_list() == ["a", "b"]
    backup(trail, tmp_path / "copy")
    with open_trail(tmp_path / "copy") as branch:
        branch.append(action="c").wait()
        assert branch.range(columns=["action"])["action"].to_list() == ["a", "b", "c"]
    for root in (trail.path, tmp_path / "copy"):
        with closing(sqlite3.connect(root / "catalog.sqlite")) as database:
            assert database.execute("SELECT name FROM leaves").fetchall() == [("hours",)]
            assert database.execute("SELECT place FROM trail").fetchall() == [("s3://bucket",)]
        read_oracle(root / "catalog.sqlite")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trail SET place = 's3://other'",
        "UPDATE segments SET leaves = x'00'",
    ],
)
def test_damage_to_what_a_later_version_added_is_corruption(trail: Trail, change: str) -> None:
    """Checksums cover columns that this version does not know."""
    trail.append(action="a").wait()
    trail.flush()
    as_a_later_version(trail.handle.layout.catalog)
    with closing(sqlite3.connect(trail.handle.layout.catalog)) as database, database:
        database.execute(change)
    with pytest.raises(CorruptionError, match="checksum mismatch"):
        read_catalog(trail.handle.layout.catalog)


def test_nothing_is_written_over_damage_to_an_unknown_table(trail: Trail) -> None:
    """Before a transaction the tables of a later version are checked as well."""
    as_a_later_version(trail.handle.layout.catalog)
    with closing(sqlite3.connect(trail.handle.layout.catalog)) as database, database:
        database.execute("DELETE FROM leaves")
    trail.append(action="a").wait()
    with pytest.raises(CorruptionError, match="catalog table leaves"):
        trail.flush()


def test_a_known_column_that_is_missing_is_corruption(trail: Trail) -> None:
    """A table without one of its columns is no table of this format."""
    with closing(sqlite3.connect(trail.handle.layout.catalog)) as database, database:
        database.execute("ALTER TABLE moments DROP COLUMN now_us")
    with pytest.raises(CorruptionError, match="catalog table 'moments': not as the format has it"):
        read_catalog(trail.handle.layout.catalog)


def test_unknown_features_are_refused_by_who_would_lose_them(trail: Trail, tmp_path: Path) -> None:
    """With a feature of a later version reading, appending and flushing work; maintaining is refused, and says why."""
    trail.set_retention("1d", confirm=True)
    trail.append(action="a", ts="2020-01-01T00:00:00Z").wait()
    trail.handle.maintains = True
    change_catalog(trail.handle.layout.catalog, CatalogChange(features=[FeatureRow(name="rollups")]))
    trail.append(action="b").wait()
    trust(trail, trail.now())
    assert trail.flush().events > 0
    assert trail.range(columns=["action"])["action"].to_list() == ["b"]
    files = sorted((trail.path / "segments").rglob("*.arrow"))
    for maintaining in (
        trail.prune,
        trail.maintain,
        lambda: compact(trail.handle, least=2),
        lambda: backup(trail, tmp_path / "copy"),
    ):
        with pytest.raises(
            FormatError, match=r"features that this auditkit does not know \(found rollups\)"
        ) as caught:
            maintaining()
        assert "newer" in caught.value.__notes__[0]
    assert sorted((trail.path / "segments").rglob("*.arrow")) == files
    assert not (tmp_path / "copy").exists()
