"""Importing files of records, streamed into a trail chunk by chunk, exactly once.

Every record becomes an event or a dead letter; none is dropped, none is invented.  Each chunk is one commit: its events,
and an event of the trail's own that says how far the file has come, the SHA-256 of all before that, and by which mapping.
So a file that is in already adds nothing, one that has grown adds what is new, and an import that was stopped goes on
where it was, whatever it was stopped by.  Memory is bounded by a chunk.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from secrets import token_hex
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.api import Trail
from auditkit.errors import AuditError, FormatError, InvalidEventError
from auditkit.event import UTC_MICROSECONDS, EventSchema, Row
from auditkit.queue.payload import Batch
from auditkit.sources.mapping import EventMap
from auditkit.sources.readers import Input
from auditkit.sources.records import Item, Record, Unreadable
from auditkit.sources.suggestions import suggest
from auditkit.sources.tally import ImportSummary, Refused, Tally
from auditkit.store.files import retrying
from auditkit.timerange import to_us
from auditkit.trail.events import collected_own
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import own_events
from auditkit.write.append import own_row, rules_of
from auditkit.write.extend import extend_with_record, validated, without
from auditkit.write.flush import keep_dead_letters

IMPORTED = "import.stored"
CHUNK_RECORDS = 10_000
CHUNK_CHARACTERS = 16 * 1024 * 1024
_MOST_CHUNKS = 4
"""What is looked for as known is no longer than so many."""

Progress = Callable[[Input, Tally], None]


class Stored(Struct, frozen=True, kw_only=True):
    """What the trail's own event says of a chunk: where it ends, and the SHA-256 of all before and with it."""

    end: int
    before: str
    sha256: str
    mapping: str
    line: int
    events: int
    dead_letters: int
    run: str
    """A number of the import, drawn by lot: no other one makes the same record, and of two at once one is refused."""


class Chunk(Struct):
    """Items that are stored at once, and the digests of all bytes before and with them."""

    items: list[Item]
    before: str
    digest: str


class Known(Struct, frozen=True):
    """What was imported so far, by the digests of what lies before and behind each chunk."""

    ends: dict[str, set[int]]
    """Where chunks have ended that began behind all that has this digest."""
    mappings: dict[str, dict[str, int]]
    """By which mappings all that has this digest was imported, with the seqs that say so."""

    def learn(self, stored: Stored, seq: int) -> None:
        """Take note of a chunk, and of the seq of the event that says so."""
        self.ends.setdefault(stored.before, set()).add(stored.end)
        self.mappings.setdefault(stored.sha256, {})[stored.mapping] = seq

    def has(self, digest: str, mapping: str) -> bool:
        """Return whether all before a place in a file was imported by a mapping."""
        return mapping in self.mappings.get(digest, ())

    def otherwise(self, digest: str) -> int | None:
        """Return the seq that says that all before a place in a file was imported, by whatever mapping."""
        return max(self.mappings.get(digest, {}).values(), default=None)


def known_imports(handle: Handle) -> Known:
    """Return what the trail's own events say of imports so far."""
    if handle.writer is not None:
        handle.writer.commit()  # what an interrupted import has handed over

    def attempt() -> Known:
        known = Known({}, {})
        for seq, action, attrs in own_events(collected_own(handle.reader.files, handle.reader.snapshot())):
            if action == IMPORTED:
                try:
                    stored = msgspec.convert(attrs, Stored)
                except msgspec.ValidationError as exc:
                    raise FormatError(f"event {seq} of the trail's own does not read: {exc}") from exc
                known.learn(stored, seq)
        return known

    return retrying(attempt)


def import_records(
    trail: Trail,
    source: Input,
    mapping: EventMap,
    *,
    known: Known | None = None,
    again: bool = False,
    on_progress: Progress | None = None,
    tally: Tally | None = None,
    chunk_records: int = CHUNK_RECORDS,
) -> ImportSummary:
    """Append every record of `source` that `mapping` makes an event of, and keep the others as dead letters.

    On return all of it is durable.  If it raises, `tally` (given by the caller) says how many events and dead letters
    are, the line last read is `source.line`, and the same call goes on from there.  A file whose first chunk is refused
    as a whole is an `AuditError`, and so is one that another mapping has imported, unless `again`; of these nothing is
    written.  `known` is what `known_imports` has found, for several files; it learns of this one.
    """
    count = tally if tally is not None else Tally()
    known = known_imports(trail.handle) if known is None else known
    importing = _Importing(trail.handle, source, mapping, count)
    begun = False
    for chunk in chunks_of(source, known, chunk_records):
        count.keys = count.keys or _keys(chunk.items)
        if known.has(chunk.digest, importing.digest):
            count.known += len(chunk.items)
        else:
            seq = None if again or begun else known.otherwise(chunk.digest)
            if seq is not None:
                raise _imported_otherwise(source, seq)
            known.learn(*importing.store(chunk, is_first=not begun))
        begun = True
        if on_progress is not None:
            on_progress(source, count)
    return count.summary()


def preview(
    trail: Trail, source: Input, mapping: EventMap, *, limit: int
) -> tuple[list[dict[str, Any]], Tally]:
    """Return the events that the first `limit` records would become, and the count of both kinds; writes nothing."""
    count = Tally()
    importing = _Importing(trail.handle, source, mapping, count)
    items = list(islice(iter(source), limit))
    events, refused = importing.mapped(items)
    importing.look_for_fields(items)
    count.keys, count.events = _keys(items), len(events)
    rows = pl.DataFrame(events).to_dicts() if isinstance(events, pa.RecordBatch) else []
    count.span([to_us(row["ts"]) for row in rows])
    count.refuse(refused)
    count.read_times(mapping)
    return rows, count


@dataclass(slots=True)
class _Importing:
    """One file on its way into a trail."""

    handle: Handle
    source: Input
    mapping: EventMap
    count: Tally
    run: str = field(default_factory=lambda: token_hex(8))

    @property
    def digest(self) -> str:
        """What stands for the mapping and the way the file is read."""
        return digest_of(self.source, self.mapping)

    def mapped(self, items: Sequence[Item]) -> tuple[Batch, list[Refused]]:
        """Return the valid events of items, and what becomes none, in their order."""
        records = [item for item in items if isinstance(item, Record)]
        mapped = self.mapping.columns(records)
        errors = {id(records[position]): error for position, error in mapped.refused.items()}
        events: Batch = []
        if mapped.positions:
            table = _table(mapped.columns, self.handle.schema)
            rules = rules_of(self.handle, None)

            def refuse(position: int, error: InvalidEventError, _row: object) -> None:
                errors[id(records[mapped.positions[position]])] = error

            events = validated(self.handle, table, rules, refuse)
        return events, [
            self._refused(item, errors.get(id(item)))
            for item in items
            if isinstance(item, Unreadable) or id(item) in errors
        ]

    def store(self, chunk: Chunk, *, is_first: bool) -> tuple[Stored, int]:
        """Make a chunk durable, its dead letters first, then its events and the record of both, and return that."""
        events, refused = self.mapped(chunk.items)
        if is_first and not len(events) and not any(one.is_late for one in refused):
            raise _hopeless(self.source, refused)
        if is_first:
            self.look_for_fields(chunk.items)
        self._keep(refused, chunk)
        while True:
            stored = self._stored(chunk, len(events), len(refused))
            receipt = extend_with_record(self.handle, events, self._record(stored))
            try:
                first = receipt.wait()
                break
            except InvalidEventError as exc:  # rare: ids that other events have
                conflicts = dict(exc.refused)
                if len(events) in conflicts:  # the record's: another process has just stored the same chunk
                    self.count.known += len(chunk.items)
                    return stored, 0
                if not conflicts:
                    raise
                events = self._without(chunk, events, refused, conflicts)
        if self.count.first_seq is None and receipt.duplicates < len(events):
            self.count.first_seq = first
        self.count.duplicates += receipt.duplicates
        self.count.events += len(events) - receipt.duplicates
        self.count.refuse(refused)
        self.count.span(_moments(events))
        self.count.read_times(self.mapping)
        return stored, (first or 0) + len(events) - receipt.duplicates

    def look_for_fields(self, items: Sequence[Item]) -> None:
        """Note which fields were mapped to what no record has."""
        self.source.notes += self.mapping.unfound([item for item in items if isinstance(item, Record)])

    def _without(
        self, chunk: Chunk, events: Batch, refused: list[Refused], conflicts: dict[int, InvalidEventError]
    ) -> Batch:
        """Return a chunk's events without those whose id others have, and add these to what is refused."""
        gone = {id(one.item) for one in refused}
        kept = [item for item in chunk.items if id(item) not in gone]
        found = [self._refused(kept[position], error) for position, error in sorted(conflicts.items())]
        self._keep(found, chunk)
        refused.extend(found)
        refused.sort(key=lambda one: one.item.line)
        return without(events, conflicts)

    def _keep(self, refused: Sequence[Refused], chunk: Chunk) -> None:
        if refused:
            now_us, digest = (
                self.handle.clock.now_us(),
                hashlib.sha256(f"{chunk.before} {self.digest}".encode()),
            )
            letters = [one.letter(now_us, self.source.name, digest.hexdigest()) for one in refused]
            keep_dead_letters(self.handle, letters)

    def _stored(self, chunk: Chunk, events: int, dead_letters: int) -> Stored:
        return Stored(
            end=chunk.items[-1].end,
            before=chunk.before,
            sha256=chunk.digest,
            mapping=self.digest,
            line=chunk.items[-1].line,
            events=events,
            dead_letters=dead_letters,
            run=self.run,
        )

    def _record(self, stored: Stored) -> Row:
        key = hashlib.sha256(f"{stored.sha256} {stored.mapping}".encode()).hexdigest()[:32]
        attrs = msgspec.structs.asdict(stored)
        return own_row(self.handle, IMPORTED, attrs, resource=self.source.name[:1000], key=key)

    def _refused(self, item: Item, error: InvalidEventError | None) -> Refused:
        if isinstance(item, Unreadable) or error is None:
            return Refused(item, item.reason if isinstance(item, Unreadable) else "", None, None)
        return Refused(item, error.reason, error, suggest(item.fields, error))


def digest_of(source: Input, mapping: EventMap) -> str:
    """Return what stands for a mapping and the way a file is read: the same for equal imports."""
    return hashlib.sha256(f"{source.described} {mapping.described}".encode()).hexdigest()


def chunks_of(source: Input, known: Known, chunk_records: int) -> Iterator[Chunk]:
    """Yield a file in pieces of bounded length; what former imports of it have stored ends where it ended then."""
    before = source.digest(0)
    items: list[Item] = []
    size, is_ready, ends = 0, False, known.ends.get(before, set())
    last = max(ends, default=0)
    for item in source:
        if (
            is_ready and item.end > items[-1].end
        ):  # an unfinished line ends where it begins, and goes with those before
            chunk = Chunk(items, before, source.digest(items[-1].end))
            yield chunk
            items, size, before = [], 0, chunk.digest
            ends = known.ends.get(before, set())
            last = max(ends, default=0)
        items.append(item)
        size += len(item.input if isinstance(item, Unreadable) else item.text)
        times = 1 if item.end >= last else _MOST_CHUNKS
        is_full = len(items) >= chunk_records * times or size >= CHUNK_CHARACTERS * times
        is_ready = is_full or (item.end in ends and source.digest(item.end) in known.mappings)
    if items:
        yield Chunk(items, before, source.digest(items[-1].end))


def _table(columns: dict[str, list[Any]], schema: EventSchema) -> pl.DataFrame:
    """Return mapped columns as a table, their times as such."""
    kinds = {name: schema.columns[name] for name in columns}
    return pl.DataFrame(
        [
            pl.Series(name, column, pl.Int64()).cast(UTC_MICROSECONDS)
            if kinds[name] == UTC_MICROSECONDS
            else pl.Series(name, column, kinds[name])
            for name, column in columns.items()
        ]
    )


def _moments(events: Batch) -> list[int]:
    """Return the oldest and the newest ts of events, in microseconds."""
    if not len(events):
        return []
    if isinstance(events, pa.RecordBatch):
        stamps = pl.Series(events.column("ts")).to_physical()
    else:
        stamps = pl.Series([row[0] for row in events])
    return [int(stamps.min()), int(stamps.max())]  # type: ignore[arg-type]


def _keys(batch: Sequence[Item]) -> tuple[str, ...]:
    return next((tuple(item.fields) for item in batch if isinstance(item, Record)), ())


def _hopeless(source: Input, refused: Sequence[Refused]) -> AuditError:
    count, keys = len(refused), _keys([one.item for one in refused])
    none = "its only record cannot" if count == 1 else f"none of the first {count:,} records can"
    error = AuditError(f"{source.name}: {none} become an event; nothing was imported")
    kinds = Tally()
    kinds.refuse(refused)
    for kind in kinds.summary().refusals[:3]:
        where = "" if kind.field is None else f"{kind.field}: "
        error.add_note(
            f"line {kind.first_line:,}: {where}{kind.reason}" + (f"; {kind.hint}" if kind.hint else "")
        )
    if keys:
        error.add_note(f"the records have the keys {', '.join(_shown(keys))}")
    return error


def _imported_otherwise(source: Input, seq: int) -> AuditError:
    error = AuditError(f"{source.name}: is in already, imported with other options; nothing was imported")
    error.add_note(
        f"the event {seq:,} of the trail's own says so (auditkit range --own --where action={IMPORTED})"
    )
    error.add_note(
        "what was refused then: auditkit dead-letters retry --map ...; all of it once more: --again"
    )
    return error


def _shown(keys: tuple[str, ...]) -> Iterator[str]:
    return (ascii(key)[1:-1] for key in keys[:12])
