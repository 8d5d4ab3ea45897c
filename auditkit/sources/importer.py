"""Importing files of records, streamed into a trail chunk by chunk, exactly once; and what retention makes of them.

Every record becomes an event or a dead letter; none is dropped, none is invented.  Each chunk is one commit: its events,
and an event of the trail's own that says how far the file has come, the SHA-256 of all before that, and by which mapping.
So a file that is in already adds nothing, one that has grown adds what is new, and an import that was stopped goes on
where it was, whatever it was stopped by.  Memory is bounded by a chunk.  The forecast reads the file and the trail, and
writes nothing.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.api import Trail
from auditkit.errors import AuditError, FormatError, InvalidEventError
from auditkit.event import UTC_MICROSECONDS, EventSchema, Row
from auditkit.queue.dead_letters import MAX_INPUT_CHARACTERS, DeadLetter
from auditkit.queue.payload import Batch, without_views
from auditkit.sources.mapping import EventMap
from auditkit.sources.readers import Input
from auditkit.sources.records import Item, Record, Unreadable
from auditkit.sources.suggestions import suggest
from auditkit.store.files import retrying
from auditkit.text import counted, minute
from auditkit.timerange import US_PER_DAY, from_us, to_us
from auditkit.trail.events import collected_own
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import own_events
from auditkit.write.append import own_row, rules_of
from auditkit.write.extend import extend_with_record, validated
from auditkit.write.flush import keep_dead_letters

IMPORTED = "import.stored"
CHUNK_RECORDS = 10_000
CHUNK_CHARACTERS = 16 * 1024 * 1024
_MOST_CHUNKS = 4
"""What is looked for as known is no longer than so many."""
_EXAMPLES = 12
_KINDS = 1000
_DIGITS = re.compile(r"\d+")

Progress = Callable[[Input, "Tally"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One kind of dead letter: what was wrong with how many records, the line of the first, and what would fit that."""

    field: str | None
    reason: str
    count: int
    lines: int
    """How many lines of the file they take."""
    first_line: int
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """What an import did.

    `events` are new in the trail, `duplicates` were there already (same source, id and body), and `known` records
    (unreadable ones too) were imported before.  Times span the events and their duplicates.  `repeated` and `skipped`
    are the local times that the clock showed twice or never, `days` those without a time of day.  `refusals` names the
    most frequent kinds of dead letters, `keys` those of the first record, for finding the right map.
    """

    events: int
    duplicates: int
    known: int
    dead_letters: int
    dead_lines: int
    first_seq: int | None
    first_ts: datetime | None
    last_ts: datetime | None
    repeated: int
    skipped: int
    days: int
    refusals: tuple[Refusal, ...]
    keys: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Tally:
    """The count of imports that are going on; true of what is durable."""

    events: int = 0
    duplicates: int = 0
    known: int = 0
    dead_letters: int = 0
    dead_lines: int = 0
    first_seq: int | None = None
    oldest_us: int | None = None
    newest_us: int | None = None
    repeated: int = 0
    skipped: int = 0
    days: int = 0
    kinds: dict[tuple[str | None, str], Refusal] = field(default_factory=dict)
    keys: tuple[str, ...] = ()

    def summary(self) -> ImportSummary:
        """Return the count so far."""
        kinds = sorted(self.kinds.values(), key=lambda kind: (-kind.count, kind.first_line))
        return ImportSummary(
            events=self.events,
            duplicates=self.duplicates,
            known=self.known,
            dead_letters=self.dead_letters,
            dead_lines=self.dead_lines,
            first_seq=self.first_seq,
            first_ts=None if self.oldest_us is None else from_us(self.oldest_us),
            last_ts=None if self.newest_us is None else from_us(self.newest_us),
            repeated=self.repeated,
            skipped=self.skipped,
            days=self.days,
            refusals=tuple(kinds[:_EXAMPLES]),
            keys=self.keys,
        )

    def span(self, moments: Sequence[int]) -> None:
        """Widen the span of time by these, in microseconds."""
        if moments:
            oldest, newest = min(moments), max(moments)
            self.oldest_us = oldest if self.oldest_us is None else min(oldest, self.oldest_us)
            self.newest_us = newest if self.newest_us is None else max(newest, self.newest_us)

    def refuse(self, refused: "Sequence[_Refused]") -> None:
        """Count dead letters by field and reason, whatever numbers a reason names."""
        for one in refused:
            lines, named = one.item.lines, None if one.error is None else one.error.field
            self.dead_letters += 1
            self.dead_lines += lines
            kind = (named, _DIGITS.sub("#", one.reason))
            known = self.kinds.get(kind)
            if known is not None:
                self.kinds[kind] = replace(known, count=known.count + 1, lines=known.lines + lines)
            elif len(self.kinds) < _KINDS:
                self.kinds[kind] = Refusal(
                    field=named,
                    reason=one.reason,
                    count=1,
                    lines=lines,
                    first_line=one.item.line,
                    hint=one.hint,
                )

    def read_times(self, mapping: EventMap) -> None:
        """Count what reading times has come to since the last look."""
        repeated, skipped, days = mapping.times.taken()
        self.repeated, self.skipped, self.days = (
            self.repeated + repeated,
            self.skipped + skipped,
            self.days + days,
        )


class _Refused(Struct, frozen=True):
    """An item that becomes no event, why, and which mapping would have fitted."""

    item: Item
    reason: str
    error: InvalidEventError | None
    hint: str | None

    def letter(self, now_us: int, file: str, digest: str) -> DeadLetter:
        """Return the dead letter of it; `digest` says which import of which file it comes from."""
        item, reason = self.item, self.reason if self.error is None else str(self.error)
        given = item.input if isinstance(item, Unreadable) else item.text
        return DeadLetter(
            recorded_us=now_us,
            reason=reason if self.hint is None else f"{reason}; {self.hint}",
            field=None if self.error is None else self.error.field,
            line=item.line,
            lines=item.lines,
            input=given[:MAX_INPUT_CHARACTERS],
            file=file,
            digest=digest,
        )


class _Stored(Struct, frozen=True, kw_only=True):
    """What the trail's own event says of a chunk: where it ends, and the SHA-256 of all before and with it."""

    end: int
    before: str
    sha256: str
    mapping: str
    line: int
    events: int
    dead_letters: int


class _Chunk(Struct):
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
                    stored = msgspec.convert(attrs, _Stored)
                except msgspec.ValidationError as exc:
                    raise FormatError(f"event {seq} of the trail's own does not read: {exc}") from exc
                known.ends.setdefault(stored.before, set()).add(stored.end)
                known.mappings.setdefault(stored.sha256, {})[stored.mapping] = seq
        return known

    return retrying(attempt)


def import_records(
    trail: Trail,
    source: Input,
    mapping: EventMap,
    *,
    again: bool = False,
    on_progress: Progress | None = None,
    tally: Tally | None = None,
    chunk_records: int = CHUNK_RECORDS,
) -> ImportSummary:
    """Append every record of `source` that `mapping` makes an event of, and keep the others as dead letters.

    On return all of it is durable.  If it raises, `tally` (given by the caller) says how many events and dead letters
    are, the line last read is `source.line`, and the same call goes on from there.  A file whose first chunk is refused
    as a whole is an `AuditError`, and so is one that another mapping has imported, unless `again`; of these nothing is
    written.
    """
    count = tally if tally is not None else Tally()
    known = known_imports(trail.handle)
    importing = _Importing(trail.handle, source, mapping, count)
    begun = False
    for chunk in _chunks(source, known, chunk_records):
        count.keys = count.keys or _keys(chunk.items)
        if known.has(chunk.digest, importing.digest):
            count.known += len(chunk.items)
        else:
            seq = None if again or begun else known.otherwise(chunk.digest)
            if seq is not None:
                raise _imported_otherwise(source, seq)
            importing.store(chunk, is_first=not begun)
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

    @property
    def digest(self) -> str:
        """What stands for the mapping and the way the file is read."""
        return hashlib.sha256(f"{self.source.described} {self.mapping.described}".encode()).hexdigest()

    def mapped(self, items: Sequence[Item]) -> tuple[Batch, list[_Refused]]:
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

    def store(self, chunk: _Chunk, *, is_first: bool) -> None:
        """Make a chunk durable: its dead letters first, then its events and the record of both."""
        events, refused = self.mapped(chunk.items)
        if is_first and not len(events):
            raise _hopeless(self.source, refused, self.count.keys)
        self._keep(refused, chunk)
        while True:
            record = self._record(chunk, len(events), len(refused))
            receipt = extend_with_record(self.handle, events, record)
            try:
                first = receipt.wait()
                break
            except InvalidEventError as exc:  # rare: ids that other events have
                if not exc.refused:
                    raise
                events = self._without(chunk, events, refused, dict(exc.refused))
        if self.count.first_seq is None and receipt.duplicates < len(events):
            self.count.first_seq = first
        self.count.duplicates += receipt.duplicates
        self.count.events += len(events) - receipt.duplicates
        self.count.refuse(refused)
        self.count.span(_moments(events))
        self.count.read_times(self.mapping)

    def _without(
        self, chunk: _Chunk, events: Batch, refused: list[_Refused], conflicts: dict[int, InvalidEventError]
    ) -> Batch:
        """Return a chunk's events without those whose id others have, and add these to what is refused."""
        gone = {id(one.item) for one in refused}
        kept = [item for item in chunk.items if id(item) not in gone]
        found = [self._refused(kept[position], error) for position, error in sorted(conflicts.items())]
        self._keep(found, chunk)
        refused.extend(found)
        refused.sort(key=lambda one: one.item.line)
        return _left_out(events, conflicts)

    def _keep(self, refused: Sequence[_Refused], chunk: _Chunk) -> None:
        if refused:
            now_us, digest = (
                self.handle.clock.now_us(),
                hashlib.sha256(f"{chunk.before} {self.digest}".encode()),
            )
            letters = [one.letter(now_us, self.source.name, digest.hexdigest()) for one in refused]
            keep_dead_letters(self.handle, letters)

    def _record(self, chunk: _Chunk, events: int, dead_letters: int) -> Row:
        stored = _Stored(
            end=chunk.items[-1].end,
            before=chunk.before,
            sha256=chunk.digest,
            mapping=self.digest,
            line=chunk.items[-1].line,
            events=events,
            dead_letters=dead_letters,
        )
        return own_row(
            self.handle, IMPORTED, msgspec.structs.asdict(stored), resource=self.source.name[:1000]
        )

    def _refused(self, item: Item, error: InvalidEventError | None) -> _Refused:
        if isinstance(item, Unreadable) or error is None:
            return _Refused(item, item.reason if isinstance(item, Unreadable) else "", None, None)
        return _Refused(item, error.reason, error, suggest(item.fields, error))


def _chunks(source: Input, known: Known, chunk_records: int) -> Iterator[_Chunk]:
    """Yield a file in pieces of bounded length; what former imports of it have stored ends where it ended then."""
    before = source.digest(0)
    items: list[Item] = []
    size, ends = 0, known.ends.get(before, set())
    last = max(ends, default=0)
    for item in source:
        items.append(item)
        size += len(item.input if isinstance(item, Unreadable) else item.text)
        fill = max(len(items) / chunk_records, size / CHUNK_CHARACTERS)
        if fill >= (1 if item.end >= last else _MOST_CHUNKS) or (
            item.end in ends and source.digest(item.end) in known.mappings
        ):
            chunk = _Chunk(items, before, source.digest(item.end))
            yield chunk
            items, size, before = [], 0, chunk.digest
            ends = known.ends.get(before, set())
            last = max(ends, default=0)
    if items:
        yield _Chunk(items, before, source.digest(items[-1].end))


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


def _left_out(events: Batch, positions: dict[int, InvalidEventError]) -> Batch:
    kept = [position for position in range(len(events)) if position not in positions]
    return (
        without_views(events).take(kept)
        if isinstance(events, pa.RecordBatch)
        else [events[at] for at in kept]
    )


def _keys(batch: Sequence[Item]) -> tuple[str, ...]:
    return next((tuple(item.fields) for item in batch if isinstance(item, Record)), ())


def _hopeless(source: Input, refused: Sequence[_Refused], keys: tuple[str, ...]) -> AuditError:
    error = AuditError(
        f"{source.name}: none of the first {counted(len(refused), 'record')} can become an event; nothing was imported"
    )
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the policy would make of an import: events before `cutoff` are hidden at once and pruned later.

    `arriving` of the file's events (a lower bound: whole days are counted) and `present` of those that the trail
    shows today.
    """

    policy: str
    newest: datetime
    cutoff: datetime
    arriving: int
    present: int

    def __str__(self) -> str:
        who = []
        if self.arriving:
            who.append(f"at least {self.arriving:,} of the events in the file")
        if self.present:
            who.append(f"{self.present:,} of the events in the trail")
        return (
            f"the trail's policy is to {self.policy}, and the newest event would be of {minute(self.newest)}: "
            f"what is older than {minute(self.cutoff)} expires at once ({' and '.join(who)})"
        )


def foresee(
    trail: Trail, source: Input, mapping: EventMap, *, on_progress: Callable[[Input], None] | None = None
) -> Forecast | None:
    """Read `source` to its end and return what would expire; `None` where nothing would.

    Records whose ts cannot be read, or lies too far ahead, would be dead letters and do not count.
    """
    now_us = trail.handle.clock.now_us()
    newest, days = _times(trail, source, mapping, on_progress)
    if newest is None:
        return None
    before = trail.stats().retention
    horizon = min(newest, now_us)
    if before.horizon is not None:
        horizon = max(horizon, to_us(before.horizon))
    cutoff = trail.retention.cutoff_us(horizon)
    if cutoff is None:
        return None
    arriving = sum(count for day, count in days.items() if (day + 1) * US_PER_DAY <= cutoff)
    present = 0
    if before.cutoff is None or to_us(before.cutoff) < cutoff:
        present = trail.scan(end=from_us(cutoff)).select(pl.len()).collect().item()
    if not arriving and not present:
        return None
    return Forecast(
        policy=str(trail.retention),
        newest=from_us(horizon),
        cutoff=from_us(cutoff),
        arriving=arriving,
        present=present,
    )


def _times(
    trail: Trail,
    source: Input,
    mapping: EventMap,
    on_progress: Callable[[Input], None] | None,
) -> tuple[int | None, Counter[int]]:
    """Return the newest ts and how many events each UTC day has: bounded by the days of three centuries.

    What is in the trail already does not count.
    """
    handle = trail.handle
    known, importing = known_imports(handle), _Importing(handle, source, mapping, Tally())
    latest_us = handle.clock.now_us() + handle.info.max_ahead_us
    newest: int | None = None
    days: Counter[int] = Counter()
    for chunk in _chunks(source, known, CHUNK_RECORDS):
        if on_progress is not None:
            on_progress(source)
        if known.has(chunk.digest, importing.digest):
            continue
        records = [item for item in chunk.items if isinstance(item, Record)]
        moments = [moment for moment in mapping.instants(records) if moment <= latest_us]
        days.update(moment // US_PER_DAY for moment in moments)
        newest = max(moments, default=newest) if newest is None else max([newest, *moments])
    return newest, days
