"""Importing files of records, streamed into a trail chunk by chunk, and a forecast of what retention makes of them.

Every record becomes an event or a dead letter; none is dropped, none is invented.  What one chunk holds is durable
before the next is read, so memory is bounded by a chunk and an import that is stopped can say how far it came.  The
forecast reads the file and the trail, and writes nothing.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any

import polars as pl

from auditkit.api import Trail
from auditkit.errors import AuditError, InvalidEventError
from auditkit.event import Rules
from auditkit.queue.dead_letters import MAX_INPUT_CHARACTERS, DeadLetter
from auditkit.queue.receipts import Receipt
from auditkit.sources.mapping import EventMap
from auditkit.sources.readers import Input
from auditkit.sources.records import Item, Unreadable
from auditkit.text import minute
from auditkit.timerange import US_PER_DAY, from_us, to_us
from auditkit.write.flush import keep_dead_letters

CHUNK_RECORDS = 10_000
HOPELESS = 100
"""So many records at the head of a file, all refused, are taken for a wrong mapping rather than bad data."""
_EXAMPLES = 12
_TICK_RECORDS = 10_000
_KINDS = 1000
_DIGITS = re.compile(r"\d+")

Progress = Callable[[Input, "Tally"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One kind of dead letter: what was wrong with how many records, and the line of the first."""

    field: str | None
    reason: str
    count: int
    first_line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """What an import did.

    `events` are new in the trail, `duplicates` were there already (same source, id and body).  Times span both.
    `refusals` names the most frequent kinds of dead letters, `keys` those of the first record, for finding the
    right map.
    """

    events: int
    duplicates: int
    dead_letters: int
    first_seq: int | None
    first_ts: datetime | None
    last_ts: datetime | None
    refusals: tuple[Refusal, ...]
    keys: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Tally:
    """The count of an import that is going on; true of what is durable."""

    events: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    first_seq: int | None = None
    oldest_us: int | None = None
    newest_us: int | None = None
    kinds: dict[tuple[str | None, str], Refusal] = field(default_factory=dict)
    keys: tuple[str, ...] = ()

    def summary(self) -> ImportSummary:
        """Return the count so far."""
        kinds = sorted(self.kinds.values(), key=lambda kind: (-kind.count, kind.first_line))
        return ImportSummary(
            events=self.events,
            duplicates=self.duplicates,
            dead_letters=self.dead_letters,
            first_seq=self.first_seq,
            first_ts=None if self.oldest_us is None else from_us(self.oldest_us),
            last_ts=None if self.newest_us is None else from_us(self.newest_us),
            refusals=tuple(kinds[:_EXAMPLES]),
            keys=self.keys,
        )

    def span(self, moments: list[int]) -> None:
        """Widen the span of time by these, in microseconds."""
        if moments:
            oldest, newest = min(moments), max(moments)
            self.oldest_us = oldest if self.oldest_us is None else min(oldest, self.oldest_us)
            self.newest_us = newest if self.newest_us is None else max(newest, self.newest_us)

    def refuse(self, letters: list[DeadLetter], reasons: list[str]) -> None:
        """Count dead letters by field and reason, whatever numbers a reason names."""
        self.dead_letters += len(letters)
        for letter, reason in zip(letters, reasons, strict=True):
            kind = (letter.field, _DIGITS.sub("#", reason))
            counted = self.kinds.get(kind)
            if counted is not None:
                self.kinds[kind] = replace(counted, count=counted.count + 1)
            elif len(self.kinds) < _KINDS:
                line = letter.line or 0
                self.kinds[kind] = Refusal(field=letter.field, reason=reason, count=1, first_line=line)


@dataclass(slots=True)
class _Chunk:
    """Records on their way: the events they became, with line and text, and those that became none."""

    now_us: int
    lines: list[tuple[int, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def refuse(self, line: int, text: str, reason: str, error: InvalidEventError | None = None) -> None:
        """Turn a record into a dead letter."""
        self.reasons.append(reason)
        self.letters.append(
            DeadLetter(
                recorded_us=self.now_us,
                reason=reason if error is None else str(error),
                field=None if error is None else error.field,
                line=line,
                input=text[:MAX_INPUT_CHARACTERS],
            )
        )


def import_records(
    trail: Trail,
    source: Input,
    mapping: EventMap,
    *,
    on_progress: Progress | None = None,
    tally: Tally | None = None,
    chunk_records: int = CHUNK_RECORDS,
) -> ImportSummary:
    """Append every record of `source` that `mapping` makes an event of, and keep the others as dead letters.

    On return all of it is durable.  If it raises, `tally` (given by the caller) says how many events and dead
    letters are; the line last read is `source.line`.  A file whose whole first chunk is refused, of at least
    `HOPELESS` records, is taken for a wrong mapping: `AuditError`, and nothing is written.
    """
    count = tally if tally is not None else Tally()
    items = iter(source)
    while batch := list(islice(items, chunk_records)):
        source.digest(batch[-1].end)
        chunk = _mapped(batch, mapping, trail)
        count.keys = count.keys or _keys(batch)
        if not chunk.events and not count.events and len(batch) >= HOPELESS:
            raise _hopeless(source, chunk, count.keys)
        _store(trail, chunk, count)
        if on_progress is not None:
            on_progress(source, count)
    return count.summary()


def preview(
    trail: Trail, source: Input, mapping: EventMap, *, limit: int
) -> tuple[list[dict[str, Any]], Tally]:
    """Return the events that the first `limit` records would become, and the count of both kinds; writes nothing."""
    count = Tally()
    batch = list(islice(iter(source), limit))
    chunk = _valid(trail, _mapped(batch, mapping, trail))
    count.keys = _keys(batch)
    count.events = len(chunk.events)
    count.span([to_us(event["ts"]) for event in chunk.events])
    count.refuse(chunk.letters, chunk.reasons)
    return chunk.events, count


def _mapped(batch: list[Item], mapping: EventMap, trail: Trail) -> _Chunk:
    chunk = _Chunk(trail.handle.clock.now_us())
    for item in batch:
        if isinstance(item, Unreadable):
            chunk.refuse(item.line, item.input, item.reason)
            continue
        try:
            chunk.events.append(mapping.event(item.fields, item.text))
        except InvalidEventError as exc:
            chunk.refuse(item.line, item.text, exc.reason, exc)
        else:
            chunk.lines.append((item.line, item.text))
    return chunk


def _valid(trail: Trail, chunk: _Chunk) -> _Chunk:
    """Move the events that the trail would refuse to the dead letters."""
    handle = trail.handle
    rules = Rules(now_us=handle.clock.now_us(), max_ahead_us=handle.info.max_ahead_us)
    kept = _Chunk(chunk.now_us, letters=chunk.letters, reasons=chunk.reasons)
    for (line, text), event in zip(chunk.lines, chunk.events, strict=True):
        try:
            handle.schema.row(event, rules)
        except InvalidEventError as exc:
            kept.refuse(line, text, exc.reason, exc)
        else:
            kept.lines.append((line, text))
            kept.events.append(event)
    return kept


def _store(trail: Trail, chunk: _Chunk, count: Tally) -> None:
    try:
        receipts = [trail.extend(chunk.events)]
        receipts[0].wait()
    except InvalidEventError:  # rare: nothing of the chunk was taken, and every event is tried by itself
        chunk, receipts = _one_by_one(trail, _valid(trail, chunk))
    for receipt in receipts:
        if count.first_seq is None and receipt.duplicates < receipt.count:
            count.first_seq = receipt.first
        count.duplicates += receipt.duplicates
        count.events += receipt.count - receipt.duplicates
    count.span([to_us(event["ts"]) for event in chunk.events])
    if chunk.letters:
        keep_dead_letters(trail.handle, sorted(chunk.letters, key=lambda letter: letter.line or 0))
        count.refuse(chunk.letters, chunk.reasons)


def _one_by_one(trail: Trail, chunk: _Chunk) -> tuple[_Chunk, list[Receipt]]:
    """Append each event for itself; one whose id another event has becomes a dead letter."""
    kept = _Chunk(chunk.now_us, letters=chunk.letters, reasons=chunk.reasons)
    taken = []
    receipts = [trail.extend([event]) for event in chunk.events]
    for (line, text), event, receipt in zip(chunk.lines, chunk.events, receipts, strict=True):
        try:
            receipt.wait()
        except InvalidEventError as exc:
            kept.refuse(line, text, "taken by another event of this source", exc)
        else:
            kept.lines.append((line, text))
            kept.events.append(event)
            taken.append(receipt)
    return kept, taken


def _keys(batch: list[Item]) -> tuple[str, ...]:
    return next((tuple(item.fields) for item in batch if not isinstance(item, Unreadable)), ())


def _hopeless(source: Input, chunk: _Chunk, keys: tuple[str, ...]) -> AuditError:
    error = AuditError(
        f"{source.name}: none of the first {len(chunk.letters):,} records can become an event; nothing was imported"
    )
    error.add_note(f"the first: line {chunk.letters[0].line}: {chunk.letters[0].reason}")
    if keys:
        error.add_note(f"map fields to keys of the records, such as {', '.join(_shown(keys))}")
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
    newest, days = _times(source, mapping, now_us + trail.handle.info.max_ahead_us, on_progress)
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
    source: Input, mapping: EventMap, latest_us: int, on_progress: Callable[[Input], None] | None
) -> tuple[int | None, Counter[int]]:
    """Return the newest ts and how many events each UTC day has: bounded by the days of three centuries."""
    newest: int | None = None
    days: Counter[int] = Counter()
    for number, item in enumerate(source):
        if number % _TICK_RECORDS == 0:
            source.digest(item.end)
            if on_progress is not None:
                on_progress(source)
        moment = None if isinstance(item, Unreadable) else mapping.instant(item.fields)
        if moment is None or moment > latest_us:
            continue
        days[moment // US_PER_DAY] += 1
        newest = moment if newest is None else max(newest, moment)
    return newest, days
