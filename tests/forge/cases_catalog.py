"""The catalog: rows of the wrong type and out of range, schemas that are not ours, databases that are hard to open."""

import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import msgspec

from tests.forge.place import Place
from tests.forge.trails import BATCH, CATALOG, catalog_of, checksum, edit, put, recount, rows_of, statements

_ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x > 0)"
_LARGEST, _SMALLEST = (1 << 63) - 1, -(1 << 63)
_WRONG_TYPES = {int: ("text", b"blob", 1.5), str: (7, b"\xff\xfe", "\x1b[2J"), bytes: ("text", 7, b"")}
_TABLES: dict[str, dict[str, type]] = {
    "trail": {
        "format": int, "trail_id": str, "epoch": int, "parent_id": str, "branched_seq": int, "branch_id": str,
        "created_us": int, "tz": str, "partition": str, "max_ahead_us": int, "sharing": str, "fields": str,
    },
    "policies": {"from_seq": int, "spec": str},
    "holds": {
        "from_seq": int, "name": str, "start_us": int, "end_us": int, "conditions": str, "reason": str, "placed_us": int,
    },
    "releases": {"from_seq": int, "name": str, "reason": str},
    "moments": {"seq": int, "now_us": int, "confirmed": int},
    "flushes": {
        "end_seq": int, "trusted_us": int, "waiting_from_us": int, "waiting_to_us": int, "last_recorded_us": int,
    },
    "segments": {
        "path": str, "partition": str, "first_seq": int, "last_seq": int, "rows": int, "own_rows": int,
        "min_ts_us": int, "max_ts_us": int, "min_recorded_us": int, "max_recorded_us": int,
        "producers_max_ts_us": int, "size_bytes": int, "sha256": bytes,
        "head_bytes": int, "head_crc": int, "foot_crc": int, "batches": bytes, "time_index": bytes,
        "empty_columns": str, "combinations": str,
    },
    "tombstones": {
        "path": str, "partition": str, "first_seq": int, "last_seq": int, "rows": int, "min_ts_us": int,
        "max_ts_us": int, "sha256": bytes, "policy": str, "rule": str, "horizon_us": int,
        "cutoff_us": int, "pruned_us": int, "end_seq": int,
    },
    "replaced": {"path": str, "min_ts_us": int, "replaced_us": int},
    "prune_states": {"horizon_us": int},
    "tiers": {
        "seq": int, "name": str, "every": str, "by": str, "tz": str, "keep": str, "from_us": int,
    },
    "folds": {"tier": str, "end_seq": int, "dropped_us": int},
    "rollups": {
        "path": str, "tier": str, "by": str, "first_us": int, "end_us": int, "buckets": int, "series": int,
        "events": int, "last_seq": int, "size_bytes": int, "sha256": bytes,
    },
    "features": {"name": str},
    "contents": {"name": str, "rows": int, "digest": int},
}  # fmt: skip


def _set(table: str, column: str, value: object, place: Place) -> None:
    if table == "features":
        put(place.trail, table, [{column: value}])
        return
    number = -1 if table in ("segments", "flushes") else 0
    edit(place.trail, table, number, **{column: value})


_RANGES = (("largest", _LARGEST), ("smallest", _SMALLEST), ("-1", -1))


def _columns() -> Iterator[tuple[str, Callable[[Place], None]]]:
    """Yield a wrong type for each column, and a number that is out of range; all of them for a few."""
    for table, columns in _TABLES.items():
        for place, (column, kind) in enumerate(columns.items()):
            is_chosen = column in (
                "spec",
                "tz",
                "rows",
                "batches",
                "time_index",
                "size_bytes",
                "now_us",
                "end_seq",
            )
            types = _WRONG_TYPES[kind]
            for value in types if is_chosen else (types[place % len(types)],):
                yield f"{table}.{column}: {value!r}", partial(_set, table, column, value)
            for what, number in () if kind is not int else _RANGES if is_chosen else (_RANGES[place % 3],):
                yield f"{table}.{column}: {what}", partial(_set, table, column, number)


def _keeping_sums(values: dict[str, object], place: Place) -> None:
    """Claim other numbers of rows in a segment, and let the sums of the catalog agree."""
    rows = rows_of(place.trail, "segments")
    old = int(rows[-1]["rows"])
    rows[-1] |= values
    put(place.trail, "segments", rows)
    added = int(rows[-1]["rows"]) - old
    last = rows_of(place.trail, "flushes")[-1]
    edit(place.trail, "flushes", -1, end_seq=last["end_seq"] + added)


def _batches(change: Callable[[list[tuple[int, ...]]], list[tuple[int, ...]]], place: Place) -> None:
    row = rows_of(place.trail, "segments")[-1]
    parts = change(list(BATCH.iter_unpack(row["batches"])))
    edit(place.trail, "segments", -1, batches=b"".join(BATCH.pack(*part) for part in parts))


def _field(number: int, value: int) -> Callable[[list[tuple[int, ...]]], list[tuple[int, ...]]]:
    def change(parts: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        first = list(parts[0])
        first[number] = value
        return [tuple(first), *parts[1:]]

    return change


_BATCHES: dict[str, Callable[[list[tuple[int, ...]]], list[tuple[int, ...]]]] = {
    "none": lambda _: [],
    "too many": lambda parts: parts * 50_000,
    "the other way round": lambda parts: parts[::-1],
    "twice the first": lambda parts: [parts[0], parts[0]],
    "rows": _field(0, (1 << 32) - 1),
    "no rows": _field(0, 0),
    "min ts": _field(1, _SMALLEST),
    "max ts": _field(2, _LARGEST),
    "end": _field(3, (1 << 64) - 1),
    "end at 0": _field(3, 0),
    "end behind the file": _field(3, 1 << 40),
    "min seq": _field(5, (1 << 64) - 1),
    "max seq": _field(6, (1 << 64) - 1),
}

_DEEP = "[" * 100_000 + "]" * 100_000
_TEXTS: dict[str, tuple[str, str, object]] = {
    "trail.fields: deep": ("trail", "fields", '{"a":' * 100_000 + "1" + "}" * 100_000),
    "trail.fields: list": ("trail", "fields", "[]"),
    "trail.fields: unknown type": ("trail", "fields", '{"amount":"callable"}'),
    "trail.fields: our column": ("trail", "fields", '{"ts":"text","seq":"integer"}'),
    "trail.fields: odd names": ("trail", "fields", '{"../x":"text","\\u001b[2J":"text","":"text","a b":"integer"}'),
    "trail.fields: 100,000 of them": (
        "trail", "fields", msgspec.json.encode({f"f{n}": "text" for n in range(100_000)}).decode(),
    ),
    "trail.fields: none": ("trail", "fields", "{}"),
    "trail.fields: other types": (
        "trail", "fields", '{"amount":"text","pieces":"float","paid":"integer","due":"boolean","note":"time"}',
    ),
    "trail.tz: path": ("trail", "tz", "../../../../outside/secret.txt"),
    "trail.tz: absolute": ("trail", "tz", "/etc/passwd"),
    "trail.tz: unknown": ("trail", "tz", "Mars/Olympus"),
    "trail.tz: NUL": ("trail", "tz", "UTC\0x"),
    "trail.tz: empty": ("trail", "tz", ""),
    "trail.tz: long": ("trail", "tz", "A" * 1_000_000),
    "trail.trail_id: short": ("trail", "trail_id", "abc"),
    "trail.trail_id: not hex": ("trail", "trail_id", "z" * 32),
    "trail.trail_id: path": ("trail", "trail_id", "../../outside/secret.txt"),
    "trail.trail_id: spaces": ("trail", "trail_id", "ab " * 16),
    "trail.branch_id: not hex": ("trail", "branch_id", "z" * 32),
    "trail.branch_id: path": ("trail", "branch_id", "../" * 10),
    "trail.branch_id: long": ("trail", "branch_id", "ab" * 1_000),
    "trail.parent_id: escape": ("trail", "parent_id", "\x1b[2J" * 100),
    "trail.partition: unknown": ("trail", "partition", "1y"),
    "trail.partition: another": ("trail", "partition", "1h"),
    "trail.partition: month": ("trail", "partition", "1mo"),
    "trail.sharing: unknown": ("trail", "sharing", "everybody"),
    "trail.sharing: write": ("trail", "sharing", "write"),
    "trail.format: later": ("trail", "format", 99),
    "policies.spec: no JSON": ("policies", "spec", "keep everything"),
    "policies.spec: deep": ("policies", "spec", _DEEP),
    "policies.spec: endless keep": ("policies", "spec", '[[{"action":"*"},"999999999999999999999d"]]'),
    "policies.spec: negative": ("policies", "spec", '[[{"action":"*"},"-4d"]]'),
    "policies.spec: zero": ("policies", "spec", '[[{"action":"*"},"0d"]]'),
    "policies.spec: months": ("policies", "spec", '[[{"action":"*"},"99999mo"]]'),
    "policies.spec: unknown column": ("policies", "spec", '[[{"colour":"*"},"4d"]]'),
    "policies.spec: wild": ("policies", "spec", '[[{"action":"' + "*a" * 5_000 + '"},"4d"],[{"action":"*"},"4d"]]'),
    "policies.spec: 100,000 rules": (
        "policies", "spec", msgspec.json.encode([[{"action": f"a{n}"}, "4d"] for n in range(100_000)]).decode(),
    ),
    "holds.conditions: no JSON": ("holds", "conditions", "everything"),
    "holds.conditions: deep": ("holds", "conditions", _DEEP),
    "holds.conditions: unknown column": ("holds", "conditions", '{"colour":"red"}'),
    "holds.conditions: wild": ("holds", "conditions", '{"actor":"' + "*a" * 4_000 + '"}'),
    "holds.conditions: 100,000 keys": (
        "holds", "conditions", msgspec.json.encode({f"attrs.a{n}": n for n in range(100_000)}).decode(),
    ),
    "holds.conditions: a path": ("holds", "conditions", '{"attrs.' + "a." * 4_000 + 'b":1}'),
    "holds.conditions: empty": ("holds", "conditions", "{}"),
    "policies.spec: null": ("policies", "spec", "null"),
    "policies.spec: empty": ("policies", "spec", "[]"),
    "segments.empty_columns: all": (
        "segments", "empty_columns", '["ts","seq","recorded","source","action","actor"]',
    ),
    "segments.empty_columns: unknown": ("segments", "empty_columns", '["colour","ts\\u0000"]'),
    "segments.empty_columns: no JSON": ("segments", "empty_columns", "{"),
    "segments.empty_columns: object": ("segments", "empty_columns", '{"a":1}'),
    "segments.empty_columns: deep": ("segments", "empty_columns", _DEEP),
    "segments.combinations: no JSON": ("segments", "combinations", "{"),
    "segments.combinations: deep": ("segments", "combinations", _DEEP),
    "segments.combinations: numbers": ("segments", "combinations", "[[1,2,3]]"),
    "segments.combinations: short": ("segments", "combinations", '[["a"],["b","c"]]'),
    "segments.combinations: empty": ("segments", "combinations", "[]"),
    "segments.combinations: a million": ("segments", "combinations", "[" + '["a","b","c"],' * 999_999 + '["a","b","c"]]'),
    "segments.time_index: random": ("segments", "time_index", bytes(range(250)) + b"ab"),
    "segments.time_index: beyond": ("segments", "time_index", struct.pack("<HIHI", 0, (1 << 32) - 1, 5, 1 << 31)),
    "segments.time_index: not sorted": ("segments", "time_index", struct.pack("<HIHI", 9, 20, 3, 10)),
    "segments.time_index: odd length": ("segments", "time_index", b"abcde"),
    "segments.time_index: 60 MB": ("segments", "time_index", bytes(60_000_000)),
    "segments.batches: odd length": ("segments", "batches", b"x" * 53),
    "segments.head_bytes: 0": ("segments", "head_bytes", 0),
    "segments.head_bytes: behind the file": ("segments", "head_bytes", 1 << 40),
    "segments.size_bytes: 0": ("segments", "size_bytes", 0),
    "segments.first_seq: behind the last": ("segments", "first_seq", 4_999),
    "segments.min_ts_us: behind the last": ("segments", "min_ts_us", 1_795_600_000_000_000),
    "flushes.end_seq: 0": ("flushes", "end_seq", 0),
    "tombstones.rows: many": ("tombstones", "rows", 1 << 40),
    "features.name: escape": ("features", "name", "\x1b[2J" * 1_000),
    "features.name: of a later version": ("features", "name", "signed"),
}  # fmt: skip


# --- schemas and databases


def _schema(*queries: str) -> Callable[[Place], None]:
    return lambda place: statements(place.trail, *queries)


def _view_of(table: str, select: str) -> Callable[[Place], None]:
    return _schema(f"DROP TABLE {table}", f"CREATE VIEW {table} AS {select}")


def _rebuilt(table: str, definition: str) -> Callable[[Place], None]:
    """Let a table have another definition, and the same rows."""
    return _schema(
        f"CREATE TABLE other {definition}",
        f"INSERT INTO other SELECT * FROM {table}",
        *(("DROP INDEX segments_path",) if table == "segments" else ()),
        f"DROP TABLE {table}",
        f"ALTER TABLE other RENAME TO {table}",
    )


def _view_in_contents(place: Place) -> None:
    statements(place.trail, f"CREATE VIEW later AS {_ENDLESS} SELECT x, 0 AS crc FROM c WHERE x < 0")
    rows = rows_of(place.trail, "contents")
    put(place.trail, "contents", [*rows, {"name": "later", "rows": 0, "digest": 0}])


def _row_twice(place: Place) -> None:
    statements(place.trail, "DROP INDEX segments_path")
    rows = rows_of(place.trail, "segments")
    put(place.trail, "segments", [rows[-1], *rows])


def _null(table: str, column: str, place: Place) -> None:
    """Let columns be null, which the definition of the table then allows."""
    columns = ", ".join(_TABLES[table])
    _rebuilt(table, f"({columns}, crc)")(place)
    edit(place.trail, table, -1, **{column: None})


def _extra_column(kind: str, value: object, place: Place) -> None:
    with catalog_of(place.trail) as connection:
        connection.execute(f"ALTER TABLE moments ADD COLUMN more {kind}")
    put(place.trail, "moments", [row | {"more": value} for row in rows_of(place.trail, "moments")])


def _extra_table(definition: str, place: Place) -> None:
    with catalog_of(place.trail) as connection:
        connection.execute(definition)
        recount(connection, "later")


def _many(statement: str, count: int, place: Place) -> None:
    with closing(sqlite3.connect(place.trail / CATALOG)) as connection, connection:
        for number in range(count):
            connection.execute(statement.format(number))


def _many_rows(table: str, count: int, place: Place) -> None:
    rows = rows_of(place.trail, table)
    values = list(rows[0].values())
    names, marks = ", ".join((*rows[0], "crc")), ", ".join("?" * (len(values) + 1))
    row = (*values, checksum(values))
    with catalog_of(place.trail) as connection:
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", (row for _ in range(count)))
        recount(connection, table)


def _pragma(*pragmas: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        with closing(sqlite3.connect(place.trail / CATALOG, isolation_level=None)) as connection:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("VACUUM")

    return make


def _encoded(encoding: str, place: Place) -> None:
    """Write the same tables into a database with another encoding of text."""
    path = place.trail / CATALOG
    with closing(sqlite3.connect(path)) as connection:
        dump = "\n".join(connection.iterdump())
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.executescript(dump)


def _left_wal(place: Place) -> None:
    """Leave a catalog in WAL mode, with changes that are in its log alone."""
    path = place.trail / CATALOG
    reader = sqlite3.connect(path)
    reader.execute("PRAGMA journal_mode = WAL")
    with reader:
        reader.execute("CREATE TABLE later (x, crc)")
    data = {name: (place.trail / name).read_bytes() for name in (CATALOG, f"{CATALOG}-wal")}
    reader.close()
    for name, content in data.items():
        (place.trail / name).write_bytes(content)


def _journal(place: Place, super_journal: str | None, *, end: bytes = b"") -> None:
    """Leave the journal of a writer that died, which may name a journal of several databases."""
    data = (place.trail / CATALOG).read_bytes()
    size = int.from_bytes(data[16:18], "big")
    nonce = 12345
    header = struct.pack(
        ">8sIIIII", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", 1, nonce, len(data) // size, 512, size
    ).ljust(512, b"\0")
    page = data[:size]
    total = nonce + sum(page[place_] for place_ in range(size - 200, 0, -200))
    journal = header + struct.pack(">I", 1) + page + struct.pack(">I", total & 0xFFFFFFFF)
    if super_journal is not None:
        name = super_journal.encode()
        journal += struct.pack(">I", (1 << 30) // size + 1) + name
        journal += struct.pack(">II", len(name), sum(name)) + b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
    (place.trail / f"{CATALOG}-journal").write_bytes(journal + end)


def _short_journal(place: Place) -> None:
    _journal(place, None)
    path = place.trail / f"{CATALOG}-journal"
    path.write_bytes(path.read_bytes()[:700])


def _super_journal(place: Place) -> None:
    _journal(place, str(place.outside / "secret.txt"))


def _super_journal_up(place: Place) -> None:
    _journal(place, "../outside/secret.txt")


def _super_journal_of_lists(place: Place) -> None:
    (place.trail / "list").write_bytes(
        str(place.outside / "trail" / "catalog.sqlite-journal").encode() + b"\0"
    )
    _journal(place, str(place.trail / "list"))


def _flip(at: int, value: bytes, place: Place) -> None:
    path = place.trail / CATALOG
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)


def _appended(size: int, place: Place) -> None:
    path = place.trail / CATALOG
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + size)


def _plain(data: bytes, place: Place) -> None:
    (place.trail / CATALOG).write_bytes(data)


def _tree_of_itself(place: Place) -> None:
    """Let a page of a tree be its own child."""
    statements(
        place.trail,
        "CREATE TABLE later (x, crc)",
        "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'segments') "
        "WHERE name = 'moments'",
    )


_SCHEMAS: dict[str, Callable[[Place], None]] = {
    "endless view as moments": _view_of(
        "moments", f"{_ENDLESS} SELECT x AS seq, x AS now_us, 0 AS confirmed, 0 AS crc FROM c"
    ),
    "endless view without rows": _view_of(
        "moments", f"{_ENDLESS} SELECT x AS seq, x AS now_us, 0 AS confirmed, 0 AS crc FROM c WHERE x < 0"
    ),
    "endless view as contents": _view_of(
        "contents", f"{_ENDLESS} SELECT 'a' AS name, x AS rows, 0 AS digest, 0 AS crc FROM c WHERE x < 0"
    ),
    "endless view as trail": _view_of("trail", f"{_ENDLESS} SELECT x AS format, 0 AS crc FROM c WHERE x < 0"),
    "huge blob from a view": _view_of(
        "moments", "SELECT zeroblob(900000000) AS seq, 1 AS now_us, 0 AS confirmed, 0 AS crc"
    ),
    "huge text from a view": _view_of(
        "moments", "SELECT hex(zeroblob(400000000)) AS seq, 1 AS now_us, 0 AS confirmed, 0 AS crc"
    ),
    "cross join as moments": _view_of(
        "moments",
        "SELECT a.rows AS seq, b.rows AS now_us, 0 AS confirmed, 0 AS crc FROM segments a, segments b, segments c, segments d, "
        "segments e, segments f, segments g, segments h, segments i, segments j, segments k, segments l "
        "WHERE a.rows < 0",
    ),
    "one more endless view": _schema(
        f"CREATE VIEW later AS {_ENDLESS} SELECT x, 0 AS crc FROM c WHERE x < 0"
    ),
    "endless view in contents": _view_in_contents,
    "quoted name in contents": lambda place: put(
        place.trail,
        "contents",
        [*rows_of(place.trail, "contents"), {"name": 'a" UNION SELECT 1 --', "rows": 0, "digest": 0}],
    ),
    "trigger that deletes": _schema(
        "CREATE TRIGGER t AFTER INSERT ON segments BEGIN DELETE FROM segments; DELETE FROM tombstones; END"
    ),
    "trigger that never ends": _schema(
        f"CREATE VIEW v AS {_ENDLESS} SELECT x FROM c WHERE x < 0",
        "CREATE TRIGGER t AFTER INSERT ON contents BEGIN DELETE FROM moments WHERE seq IN (SELECT x FROM v); END",
    ),
    "trigger that raises": _schema(
        "CREATE TRIGGER t AFTER INSERT ON flushes BEGIN SELECT RAISE(ABORT, 'no'); END"
    ),
    "trigger on the schema": _schema(
        "CREATE TRIGGER t BEFORE INSERT ON contents BEGIN UPDATE trail SET tz = 'x'; END"
    ),
    "virtual table": _schema(
        "DROP TABLE moments", "CREATE VIRTUAL TABLE moments USING fts5(seq, now_us, confirmed, crc)"
    ),
    "rtree": _schema(
        "DROP TABLE moments", "CREATE VIRTUAL TABLE moments USING rtree(seq, now_us, confirmed, crc)"
    ),
    "unknown module": _schema(
        "INSERT INTO sqlite_schema VALUES ('table', 'later', 'later', 0, 'CREATE VIRTUAL TABLE later USING csv(x)')"
    ),
    "generated column": _rebuilt(
        "moments", "(seq, now_us, confirmed, crc, more AS (hex(zeroblob(100000000))) VIRTUAL)"
    ),
    "index of an expression": _schema("CREATE INDEX i ON segments (hex(zeroblob(1000000)))"),
    "unique index": _schema("CREATE UNIQUE INDEX i ON policies (from_seq > -1)"),
    "without rowid": _rebuilt("features", "(name PRIMARY KEY, crc) WITHOUT ROWID"),
    "column named rowid": _schema("ALTER TABLE segments ADD COLUMN rowid"),
    "columns twice": _schema("DROP TABLE features", 'CREATE TABLE features (name, "NAME ", crc)'),
    "no crc": _schema("DROP TABLE features", "CREATE TABLE features (name)"),
    "no table": _schema("DROP TABLE segments"),
    "no contents": _schema("DROP TABLE contents"),
    "not strict": _rebuilt("moments", "(seq TEXT, now_us TEXT, confirmed INTEGER, crc INTEGER)"),
    "check that is slow": _schema("CREATE TABLE later (x CHECK (length(hex(zeroblob(400000000))) > 0), crc)"),
    "collation unknown": _schema(
        "DROP TABLE features",
        "CREATE TABLE features (name TEXT, crc INTEGER)",
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE features (name TEXT COLLATE odd, crc INTEGER)' "
        "WHERE name = 'features'",
    ),
    "definition is garbage": _schema("UPDATE sqlite_schema SET sql = 'garbage' WHERE name = 'moments'"),
    "definition is deep": _schema(
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE moments (seq DEFAULT (' || replace(hex(zeroblob(50000)), '00', '(') "
        "|| '), now_us, confirmed, crc)' WHERE name = 'moments'"
    ),
    "definition is not UTF-8": _schema(
        "UPDATE sqlite_schema SET sql = CAST(x'FFFE' AS TEXT) WHERE name = 'moments'"
    ),
    "definition is huge": _schema(
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE moments (seq, now_us, confirmed, crc) -- ' || hex(zeroblob(20000000)) "
        "WHERE name = 'moments'"
    ),
    "page of another table": _tree_of_itself,
    "root page beyond": _schema("UPDATE sqlite_schema SET rootpage = 2147483646 WHERE name = 'moments'"),
    "root page 0": _schema("UPDATE sqlite_schema SET rootpage = 0 WHERE name = 'moments'"),
    "many tables": partial(_many, "CREATE TABLE later{} (x, crc)", 2_000),
    "many columns": partial(_many, "ALTER TABLE features ADD COLUMN more{}", 1_900),
    "many moments": partial(_many_rows, "moments", 50_000),
    "many flushes": partial(_many_rows, "flushes", 50_000),
    "segment twice": _row_twice,
    "column of a later version": partial(_extra_column, "INTEGER", 7),
    "column that is huge": partial(_extra_column, "BLOB", bytes(5_000_000)),
    "table of a later version": partial(_extra_table, "CREATE TABLE later (x INTEGER, crc INTEGER NOT NULL)"),
    **{
        f"null in {table}.{column}": partial(_null, table, column)
        for table, column in (
            ("trail", "tz"),
            ("trail", "format"),
            ("policies", "spec"),
            ("moments", "now_us"),
            ("flushes", "end_seq"),
            ("segments", "path"),
            ("segments", "batches"),
            ("segments", "min_ts_us"),
            ("tombstones", "rows"),
            ("prune_states", "horizon_us"),
            ("contents", "digest"),
        )
    },
    "text in UTF-16": partial(_encoded, "UTF-16le"),
    "pages of 512 bytes": _pragma("page_size = 512"),
    "pages of 64 kB": _pragma("page_size = 65536"),
    "auto vacuum": _pragma("auto_vacuum = FULL"),
    "application id": _pragma("application_id = 7", "user_version = 99"),
    "WAL mode": _pragma("journal_mode = WAL"),
    "WAL left behind": _left_wal,
    "journal": partial(_journal, super_journal=None),
    "journal cut short": _short_journal,
    "journal with zeros": partial(_journal, super_journal=None, end=bytes(100_000)),
    "super-journal": _super_journal,
    "super-journal by a relative name": _super_journal_up,
    "super-journal with a list": _super_journal_of_lists,
    "page size 1": partial(_flip, 16, b"\0\1"),
    "write version 9": partial(_flip, 18, b"\x09\x09"),
    "reserved space": partial(_flip, 20, b"\xff"),
    "size in header": partial(_flip, 28, b"\x7f\xff\xff\xff"),
    "freelist": partial(_flip, 32, b"\0\0\0\2\0\0\0\7"),
    "schema format": partial(_flip, 44, b"\0\0\0\x63"),
    "encoding": partial(_flip, 56, b"\0\0\0\x09"),
    "first page": partial(_flip, 100, b"\x05\0\0\0\x7f\xff\0\0\0\0\0\1"),
    "holes behind it": partial(_appended, 1 << 36),
    "not a database": partial(_plain, b"SQLite format 3\0" + bytes(range(256)) * 100),
    "text": partial(_plain, b"hello"),
}


CATALOG_CASES: dict[str, Callable[[Place], None]] = {
    **dict(_columns()),
    **{name: partial(_set, *values) for name, values in _TEXTS.items()},
    **{f"segments.batches: {what}": partial(_batches, change) for what, change in _BATCHES.items()},
    "segments.rows: many, and the sums agree": partial(_keeping_sums, {"rows": 50_000_000}),
    "segments.rows: 2**62, and the sums agree": partial(_keeping_sums, {"rows": 1 << 62}),
    "segments.own_rows: more than rows": partial(_keeping_sums, {"own_rows": 100}),
    **{f"catalog: {what}": make for what, make in _SCHEMAS.items()},
}
