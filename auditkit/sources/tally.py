"""What an import came to: events, what was in already, and dead letters by kind."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from msgspec import Struct

from auditkit.errors import InvalidEventError, LateEventError
from auditkit.queue.dead_letters import MAX_INPUT_CHARACTERS, DeadLetter
from auditkit.sources.mapping import EventMap
from auditkit.sources.records import Item, Unreadable
from auditkit.timerange import from_us

_EXAMPLES = 12
_KINDS = 1000
_DIGITS = re.compile(r"\d+")


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


class Refused(Struct, frozen=True):
    """An item that becomes no event, why, and which mapping would have fitted."""

    item: Item
    reason: str
    error: InvalidEventError | None
    hint: str | None

    @property
    def is_late(self) -> bool:
        """Whether it is an event, and expired on arrival."""
        return isinstance(self.error, LateEventError)

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
            late=self.is_late,
        )


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

    def refuse(self, refused: Sequence[Refused]) -> None:
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
