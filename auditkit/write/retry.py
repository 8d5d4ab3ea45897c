"""Dead letters after they were kept: which still wait, retrying, dropping, and removing those that are expired.

The files of letters are never rewritten.  That a letter was retried is recorded by the trail itself: the events made
of letters and an own event that names those letters are one batch, durable together or not at all, so that no letter
becomes an event twice, whatever dies in between.  That one was dropped, and why, is such an event too.  One process at a
time retries or drops (`dead-letters/retry.lock`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from auditkit.disk.durable import FileLock
from auditkit.disk.holder import holder_of
from auditkit.errors import InvalidArgumentError, InvalidEventError, LockedError
from auditkit.event import OWN_SOURCE, Row, Rules
from auditkit.queue.dead_letters import DeadLetter, count_letters, expired_days, read_numbered, remove_day
from auditkit.queue.receipts import Receipt
from auditkit.store.files import retrying
from auditkit.timerange import from_us
from auditkit.trail.events import collected_own
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import own_events
from auditkit.write.append import append_own

RETRIED = "dead-letters.retried"
DROPPED = "dead-letters.dropped"
EXPIRED = "dead-letters.expired"
BATCH_LETTERS = 1_000

Revive = Callable[[DeadLetter], Mapping[str, Any]]
"""Makes an event's fields of a letter, or raises `InvalidEventError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLetter:
    """A dead letter, its name `<date>:<line>`, and the seq of the event that records that it was retried, or dropped."""

    name: str
    letter: DeadLetter
    retried: int | None
    dropped: int | None

    @property
    def is_settled(self) -> bool:
        """Whether it was retried or dropped."""
        return self.retried is not None or self.dropped is not None

    @property
    def waits(self) -> bool:
        """Whether the input has become no event, and was not dropped; what a consumer gave up on is an event."""
        return not self.is_settled and self.letter.consumer is None


@dataclass(frozen=True, slots=True, kw_only=True)
class StillDead:
    """A letter that could not become an event this time either, and why."""

    name: str
    field: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySummary:
    """What a retry did.

    `events` letters became events; `duplicates` of them repeated events that were there, and were not stored again.
    `consumers` letters were left alone: they are events of the trail that a consumer gave up on.
    """

    events: int
    duplicates: int
    first_seq: int | None
    still_dead: tuple[StillDead, ...]
    consumers: int


def kept_letters(handle: Handle) -> Iterator[KeptLetter]:
    """Yield all dead letters with what became of them, oldest first."""
    settled: dict[str, dict[str, int]] | None = None
    for name, letter in read_numbered(handle.layout):
        if settled is None:
            settled = _settled(handle)
        retried, dropped = settled[RETRIED].get(name), settled[DROPPED].get(name)
        yield KeptLetter(name=name, letter=letter, retried=retried, dropped=dropped)


def count_waiting(handle: Handle) -> tuple[int, int]:
    """Return the number of dead letters, and how many of them were expired on arrival.

    They are inputs that have become no event, by a retry either, and were not dropped.  Damaged letters count.  What
    consumers gave up on does not: those are events of the trail, and each consumer's `given_up` counts them.
    """
    late = [kept.letter.late for kept in kept_letters(handle) if kept.waits]
    return len(late), sum(late)


def expire_letters(handle: Handle, cutoff_us: int) -> int:
    """Remove the letters of days that are wholly expired, and return how many.

    An own event records their number first, durably.  If it raises, each day's letters are all there or all gone.
    """
    days = [(path, count_letters(path)) for path in expired_days(handle.layout, cutoff_us)]
    count = sum(letters for _, letters in days)
    if count:
        append_own(handle, EXPIRED, {"letters": count, "cutoff_us": cutoff_us})
    for path, _ in days:
        remove_day(handle.disk, path)
    return count


def retry_letters(
    handle: Handle,
    revive: Revive,
    *,
    names: Collection[str] | None = None,
    dry_run: bool = False,
) -> RetrySummary:
    """Append those dead letters (or those called `names`) that `revive` makes valid events of.

    A letter that was retried already, or dropped, is passed over.  An event without a ts gets the moment its letter was
    kept, which is when the trail was given it.  On return the events are durable.  If it raises, each letter either has
    become an event or waits still.  A name that no letter has is an `InvalidArgumentError`; with `dry_run` nothing is
    written.
    """
    with _alone(handle, dry_run=dry_run):
        return _retry(handle, _chosen(handle, names), revive, dry_run=dry_run)


def drop_letters(handle: Handle, reason: str, *, names: Collection[str] | None = None) -> int:
    """Record of the dead letters that wait (or those called `names`) that they are not wanted, and return of how many.

    On return an event of the trail's own that names them and the reason is durable.  They wait for no retry any more, and
    can be read until they expire.  If it raises, each letter is either dropped or waits still.  A name that no letter has
    is an `InvalidArgumentError`, and so is an empty reason.
    """
    if not reason.strip():
        raise InvalidArgumentError("reason", reason, "is empty", expected="why they are dropped")
    dropped = 0
    with _alone(handle, dry_run=False):
        chosen = (kept.name for kept in _chosen(handle, names) if kept.waits)
        while batch := list(islice(chosen, BATCH_LETTERS)):
            append_own(handle, DROPPED, {"letters": batch, "reason": reason})
            dropped += len(batch)
    return dropped


def _chosen(handle: Handle, names: Collection[str] | None) -> Iterator[KeptLetter]:
    """Return the letters that are neither retried nor dropped, all or those of some names."""
    letters = kept_letters(handle)
    if names is not None:
        letters = iter(known := list(letters))
        unknown = sorted(set(names) - {kept.name for kept in known})
        if unknown:
            raise InvalidArgumentError("letter", unknown[0], "there is none of this name")
    return (kept for kept in letters if not kept.is_settled and (names is None or kept.name in names))


def as_given(letter: DeadLetter) -> dict[str, Any]:
    """Return the event of a letter, read as `extend` reads a row."""
    given = record_of(letter)
    if given.get("ts") is None:
        if letter.field == "ts":
            raise InvalidEventError("ts", None, "missing; what was refused for its ts is not given another")
        given["ts"] = from_us(letter.recorded_us)
    return given


def record_of(letter: DeadLetter) -> dict[str, Any]:
    """Return the JSON object that a letter's input is; raises `InvalidEventError` for another input."""
    try:
        record = msgspec.json.decode(letter.input)
    except (msgspec.DecodeError, RecursionError, ValueError) as exc:
        raise InvalidEventError("input", letter.input, "not JSON") from exc
    if not isinstance(record, dict):
        raise InvalidEventError("input", letter.input, "not a JSON object")
    return record


def _retry(handle: Handle, chosen: Iterator[KeptLetter], revive: Revive, *, dry_run: bool) -> RetrySummary:
    rules = Rules(now_us=handle.clock.now_us(), max_ahead_us=handle.info.max_ahead_us)
    events, duplicates, consumers = 0, 0, 0
    first: int | None = None
    dead: list[StillDead] = []
    while batch := list(islice(chosen, BATCH_LETTERS)):
        rows: list[Row] = []
        names: list[str] = []
        for kept in batch:
            if kept.letter.consumer is not None:
                consumers += 1
                continue
            if kept.letter.damaged:
                dead.append(StillDead(name=kept.name, field="letter", reason=kept.letter.reason))
                continue
            try:
                rows.append(handle.schema.row(revive(kept.letter), rules, spill=True))
                names.append(kept.name)
            except InvalidEventError as exc:
                dead.append(StillDead(name=kept.name, field=exc.field, reason=exc.reason))
        for place, error in reversed(handle.late.late_of(rows, rules.now_us)):
            dead.append(StillDead(name=names[place], field=error.field, reason=error.reason))
            del rows[place], names[place]
        if rows and not dry_run:
            receipt = _append(handle, rows, names, rules, dead)
            if receipt is not None:
                duplicates += receipt.duplicates
                if first is None and receipt.duplicates < len(rows):
                    first = receipt.first
        events += len(rows)
    return RetrySummary(
        events=events,
        duplicates=duplicates,
        first_seq=first,
        still_dead=tuple(dead),
        consumers=consumers,
    )


def _append(
    handle: Handle, rows: list[Row], names: list[str], rules: Rules, dead: list[StillDead]
) -> Receipt | None:
    """Append events together with the record of their letters, without those whose (source, id) is taken."""
    while rows:
        given = {"action": RETRIED, "source": OWN_SOURCE, "attrs": {"letters": names}}
        record = handle.schema.row(given, rules, own=True)
        receipt = handle.writing().submit([*rows, record])
        try:
            receipt.wait()
        except InvalidEventError as exc:
            if exc.position is None:
                raise
            dead.append(StillDead(name=names[exc.position], field=exc.field, reason=exc.reason))
            del rows[exc.position], names[exc.position]
        else:
            return receipt
    return None


def _settled(handle: Handle) -> dict[str, dict[str, int]]:
    """Return the names of letters that became events, and of those dropped, with the seqs of the events that say so."""

    def attempt() -> dict[str, dict[str, int]]:
        snapshot = handle.reader.snapshot()
        found: dict[str, dict[str, int]] = {RETRIED: {}, DROPPED: {}}
        for seq, action, attrs in own_events(collected_own(handle.reader.files, snapshot)):
            letters = attrs.get("letters")
            if action in found and isinstance(letters, Sequence):
                found[action] |= dict.fromkeys(map(str, letters), seq)
        return found

    return retrying(attempt)


@contextmanager
def _alone(handle: Handle, *, dry_run: bool) -> Iterator[None]:
    """Hold the lock of retries; a dry run needs none."""
    if dry_run:
        yield
        return
    path = handle.layout.retry_lock
    handle.check_query()
    with suppress(FileExistsError):
        handle.disk.close(handle.disk.open(path, write=True, create_mode=handle.modes.lock))
    lock = FileLock(handle.disk, path)
    if not lock.try_acquire():
        lock.close()
        raise LockedError(f"dead letters: another process retries or drops them ({holder_of(path)})")
    try:
        yield
    finally:
        lock.close()
