"""What a catalog must say to be taken: its tables, and its rows together.

A catalog may come from anyone.  Each row's values lie within the ranges of `store.records`; here rows are held against
each other and against the format, before anything else relies on them: no claim of events, bytes or names goes beyond
what a segment can be.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from auditkit.arrow import Numbers
from auditkit.disk.layout import Layout, modes_for
from auditkit.errors import CorruptionError, shorten
from auditkit.event import DICTIONARY_COLUMNS, FIELD_TYPES, MAX_TEXT_BYTES, check_fields
from auditkit.store.records import (
    BATCH,
    BATCH_ROWS,
    MOST_CELLS,
    CatalogView,
    FlushRow,
    RollupRow,
    SegmentRow,
    TombstoneRow,
    TrailInfo,
)
from auditkit.store.tiers import TIER_KEYS, Tier, read_tier
from auditkit.timerange import Width, check_width, check_zone, partition_name, partition_start

_PART = np.dtype(
    [
        ("rows", "<u4"),
        ("min_ts", "<i8"),
        ("max_ts", "<i8"),
        ("end", "<u8"),
        ("crc", "<u4"),
        ("first", "<u8"),
        ("last", "<u8"),
    ]
)
_ENTRY = np.dtype([("quarter", "<u2"), ("position", "<u4")])
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1 << 28,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1 << 16,
    sqlite3.SQLITE_LIMIT_COLUMN: 256,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 20,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
}
_MOST_STEPS = 100
"""So often SQLite may count to `_STEP`, which is far more than the rows of any catalog take."""
_STEP = 10_000_000
_END_AT = 20
"""Where the entry of a record batch says where it ends."""
_MOST_BATCH_BYTES = 256 * 1024 * 1024
_ANY_BYTES = 16 * 1024 * 1024
_FOOT_BYTES = 64
"""What of a segment is read at once: a record batch, what lies before them all, and what lies behind, for each event."""
_ALWAYS = frozenset(("seq", "ts", "recorded", "action"))
_MOST_TABLES = 256
_ADDED = re.compile(r'(?:, "?\w+"?(?: [A-Z]+)?)*\)')
"""How SQLite writes down nullable columns that were added to a table."""
_PLAIN = re.compile(
    r'CREATE TABLE "?\w+"? ?\((?:"?\w+"?(?: [A-Z]+)*(?:, |\)$))+|CREATE (?:UNIQUE )?INDEX "?\w+"? ON "?\w+"? ?\([\w", ]+\)'
)
"""A table of a later version, or an index of it: no expressions, which SQLite would evaluate."""


def confine(connection: sqlite3.Connection) -> None:
    """Let a database's own schema call nothing, and bound the time and memory that statements take."""
    for limit, most in _LIMITS.items():
        connection.setlimit(limit, most)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    steps = iter(range(_MOST_STEPS))
    connection.set_progress_handler(lambda: next(steps, None) is None, _STEP)


def check_tables(connection: sqlite3.Connection, path: Path, created: Mapping[str, str]) -> set[str]:
    """Return the names of a database's tables; raises `CorruptionError` unless they are plain ones.

    `created` says how each known table and index was made.  A later version may have added nullable columns, and tables
    of its own.
    """
    entries = connection.execute("SELECT type, name, sql FROM sqlite_master LIMIT ?", (_MOST_TABLES,))
    tables = set()
    for kind, name, sql in entries.fetchall():
        if not (isinstance(sql, str) and kind in ("table", "index") and _is_own(sql, created.get(name))):
            reason = f"catalog {kind} {shorten(name)}: not as the format has it"
            raise CorruptionError(path, offset=None, reason=reason)
        if kind == "table":
            tables.add(name)
    return tables


def _is_own(sql: str, created: str | None) -> bool:
    """Return whether a statement made a table or index as it was `created`, or as a later version makes them."""
    if created is None:
        return _PLAIN.fullmatch(sql) is not None
    begin = created.removesuffix(")")
    return sql.startswith(begin) and _ADDED.fullmatch(sql, len(begin)) is not None


def check_view(view: CatalogView, path: Path) -> None:
    """Raise `CorruptionError` unless the rows of a catalog agree with each other and with the format."""
    reason = next(_faults(view, Layout(path.parent)), None)
    if reason is not None:
        raise CorruptionError(path, offset=None, reason=reason)


def _faults(view: CatalogView, layout: Layout) -> Iterator[str]:
    """Yield what is wrong with a catalog."""
    yield from _info_faults(view.info)
    if not view.policies or view.policies[0].from_seq:
        yield "catalog names no policy for the first events"
    ends = [row.end_seq for row in view.flushes]
    if ends != sorted(ends):
        yield "catalog rows in flushes: the ends do not ascend"
    if any(not _is_run(row) for row in view.flushes):
        yield "catalog row in flushes: what waits ahead of the horizon does not fit"
    for tombstone in view.tombstones:
        if not _fits(tombstone, view.flushed_seq):
            yield f"catalog row in tombstones: bounds do not fit (found {shorten(tombstone.path)})"
    width = check_width(view.info.partition)
    for row in view.segments:
        wrong = _segment_fault(row, view.flushed_seq, width, layout)
        if wrong:
            yield f"catalog row in segments: {wrong} (found {shorten(row.path)})"
    if view.segments:
        yield from _part_faults(view.segments)
    yield from _tier_faults(view, layout)
    total = sum(row.rows for row in view.segments) + sum(row.rows for row in view.tombstones)
    if total != view.flushed_seq:
        yield f"events do not add up (expected {view.flushed_seq}, found {total} in segments and tombstones)"


def _is_run(row: FlushRow) -> bool:
    """Return whether the run of events that waits ahead of the horizon has both of its ends, in order, or none."""
    first, last = row.waiting_from_us, row.waiting_to_us
    return first is last is None or (first is not None and last is not None and first <= last)


def _info_faults(info: TrailInfo) -> Iterator[str]:
    try:
        check_width(info.partition)
        check_zone(info.tz)
        modes_for(info.sharing)
        declared = msgspec.json.decode(info.fields, type=dict[str, str])
        check_fields({name: FIELD_TYPES[kind] for name, kind in declared.items()})
    except (ValueError, KeyError) as exc:
        yield f"catalog row in trail: {shorten(str(exc), limit=200)}"


def _segment_fault(row: SegmentRow, flushed_seq: int, width: Width, layout: Layout) -> str | None:
    """Return what is wrong with the row of one segment, its record batches left out."""
    if not _fits(row, flushed_seq) or row.own_rows > row.rows or row.min_recorded_us > row.max_recorded_us:
        return "bounds do not fit"
    start_us = partition_start(row.min_ts_us, width)
    if row.partition != partition_name(start_us, width) or start_us != partition_start(row.max_ts_us, width):
        return "events of another partition"
    if row.path != layout.segment_name(row.partition, row.first_seq, row.last_seq, row.sha256):
        return "another name"
    if len(row.batches) % BATCH.size or not row.batches or len(row.time_index) % _ENTRY.itemsize:
        return "record batches or time index do not read"
    foot_bytes = row.size_bytes - int.from_bytes(row.batches[-BATCH.size + _END_AT :][:8], "little")
    if row.head_bytes > _ANY_BYTES + row.rows * len(DICTIONARY_COLUMNS) * MAX_TEXT_BYTES or (
        foot_bytes > _ANY_BYTES + row.rows * _FOOT_BYTES
    ):
        return "more bytes than its events take"
    try:
        empty = msgspec.json.decode(row.empty_columns, type=list[str])
    except ValueError:
        return "empty columns do not read"
    return "empty columns that no event is without" if _ALWAYS.intersection(empty) else None


def _tier_faults(view: CatalogView, layout: Layout) -> Iterator[str]:
    """Yield what is wrong with tiers, how far they have come, and their stores."""
    tiers: dict[str, Tier] = {}
    for declared in view.tiers:
        try:
            tiers[declared.name] = read_tier(declared)
        except ValueError as exc:  # of msgspec, too
            yield f"catalog row in tiers: {shorten(str(exc), limit=200)}"
            return
    folds = {fold.tier: fold.end_seq for fold in view.folds}
    if len(folds) < len(view.folds) or any(end > view.flushed_seq for end in folds.values()):
        yield "catalog rows in folds: one tier twice, or events that are in no segment"
    periods: dict[str, list[RollupRow]] = {}
    for row in view.rollups:
        wrong = _rollup_fault(row, tiers.get(row.tier), folds.get(row.tier, 0), layout)
        if wrong:
            yield f"catalog row in rollups: {wrong} (found {shorten(row.path)})"
            return
        periods.setdefault(row.tier, []).append(row)
    for rows in periods.values():
        rows.sort(key=lambda row: row.first_us)
        if any(one.end_us > other.first_us for one, other in pairwise(rows)):
            yield f"catalog rows in rollups: periods overlap (found {rows[0].tier})"


def _rollup_fault(row: RollupRow, tier: Tier | None, end_seq: int, layout: Layout) -> str | None:
    """Return what is wrong with the row of one store."""
    layout.rollup_store(row.path)  # raises where it is no name
    if tier is None or not row.path.startswith(f"{tier.name}/"):
        return "no tier of this name"
    try:
        keys = row.keys
    except ValueError:
        return "keys do not read"
    if not set(tier.keys).issubset(keys) or not set(keys).issubset(TIER_KEYS) or len(set(keys)) < len(keys):
        return "other keys than the tier's"
    if row.buckets * row.series > MOST_CELLS:
        return "more cells than a store has"
    if row.first_us >= row.end_us or row.last_seq >= end_seq or row.events > row.last_seq + 1:
        return "bounds do not fit"
    return None


def _fits(row: SegmentRow | TombstoneRow, flushed_seq: int) -> bool:
    """Return whether bounds of seq and time are in order, and hold as many events as a row says."""
    span = row.last_seq - row.first_seq + 1
    return row.rows <= span and row.last_seq < flushed_seq and row.min_ts_us <= row.max_ts_us


def _part_faults(rows: Sequence[SegmentRow]) -> Iterator[str]:
    """Yield what is wrong with the record batches and time indexes of segments; looks at all of them at once."""
    counts = np.array([row.batch_count for row in rows])
    parts = np.frombuffer(b"".join([row.batches for row in rows]), dtype=_PART)
    yield from _named(rows, counts, _bad_parts(rows, parts, counts), "record batches do not fit")
    sizes = np.array([len(row.time_index) // _ENTRY.itemsize for row in rows])
    entries = np.frombuffer(b"".join([row.time_index for row in rows]), dtype=_ENTRY)
    if not sizes.all():
        yield "catalog row in segments: no time index"
        return
    firsts = np.cumsum(sizes) - sizes
    positions, quarters = entries["position"].astype("<i8"), entries["quarter"].astype("<i8")
    bad = (np.diff(positions, prepend=0) <= 0) | (np.diff(quarters, prepend=0) <= 0)
    bad[firsts] = (positions[firsts] != 0) | (quarters[firsts] != 0)
    bad |= positions >= np.repeat(_of(rows, "rows"), sizes)
    yield from _named(rows, sizes, bad, "time index does not fit")


def _bad_parts(rows: Sequence[SegmentRow], parts: Numbers, counts: Numbers) -> Numbers:
    """Return which record batches do not fit the segment that they are part of, or each other."""
    of, firsts = np.repeat(np.arange(len(rows)), counts), np.cumsum(counts) - counts
    ends, low, high = parts["end"].view("<i8"), parts["min_ts"], parts["max_ts"]
    first, last, held = parts["first"].view("<i8"), parts["last"].view("<i8"), parts["rows"].astype("<i8")
    begins, earlier = np.roll(ends, 1), np.roll(high, 1)
    begins[firsts], earlier[firsts] = _of(rows, "head_bytes"), _of(rows, "min_ts_us")
    bad = (held < 1) | (held > BATCH_ROWS) | (begins >= ends) | (ends > _of(rows, "size_bytes")[of])
    bad |= ends - begins > _MOST_BATCH_BYTES
    bad |= (low < earlier) | (low > high) | (high > _of(rows, "max_ts_us")[of])
    bad |= (
        (first < _of(rows, "first_seq")[of]) | (last > _of(rows, "last_seq")[of]) | (last - first < held - 1)
    )
    return bad | (np.add.reduceat(held, firsts) != _of(rows, "rows"))[of]


def _of(rows: Sequence[SegmentRow], field: str) -> Numbers:
    return np.array([getattr(row, field) for row in rows], dtype="<i8")


def _named(rows: Sequence[SegmentRow], counts: Numbers, bad: Numbers, wrong: str) -> Iterator[str]:
    """Yield what is wrong with the first segment of which a part is bad."""
    if bad.any():
        place = int(np.searchsorted(np.cumsum(counts), np.argmax(bad), side="right"))
        yield f"catalog row in segments: {wrong} (found {shorten(rows[place].path)})"
