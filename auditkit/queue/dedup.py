"""Idempotency: an event with an id is accepted once per (source, id) within the window.

The window holds everything unflushed and the last `WINDOW` seqs, across processes and restarts.  Nothing is stored for
it: in memory the index has a hash of each key with the seq of its event.  A hash that is there already makes its event
suspect, and the stored event decides: with the same body it is a duplicate, with another one a conflict.  Events
without an id are never merged, a null source is a value, and a ts that the trail filled in is no part of a body.

An index belongs to the holder of the lock on `queue.lock`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct, field

from auditkit.arrow import Numbers, flags
from auditkit.errors import InvalidEventError
from auditkit.event import ID_AT, SOURCE_AT, Row
from auditkit.queue.decoding import keys_in
from auditkit.queue.frames import Frame
from auditkit.queue.payload import Batch, row_columns, without_views
from auditkit.queue.stored import StoredEvents, Texts
from auditkit.store.files import retrying

WINDOW = 1_000_000
_MANY = 4_096
"""So many keys are sorted rather than looked up one by one."""
_RECENT = 16_384
"""So many keys of small commits are looked up one by one, then sorted."""
_NAMED = 20
"""An error names so many conflicts one by one."""

Hashes: TypeAlias = Sequence[int] | Numbers
"""Signed, of 64 bits, of the same keys the same within one process."""


class Keys(Struct, frozen=True):
    """The keys of a batch: hashes of those events that have an id, and their positions (`None`: all of them)."""

    hashes: Hashes
    positions: Sequence[int] | Numbers | None

    def __len__(self) -> int:
        return len(self.hashes)

    def each(self) -> Sequence[int]:
        """Return the hashes one by one."""
        return self.hashes if isinstance(self.hashes, list) else np.asarray(self.hashes).tolist()

    def places(self) -> Numbers:
        """Return the positions of the events with an id."""
        return (
            np.arange(len(self.hashes)) if self.positions is None else np.asarray(self.positions, dtype="<i8")
        )


class Verdict(Struct):
    """What becomes of one batch: which of its `count` events are new (`None`: all of them).

    `refused` are positions whose key is taken by another body, with the error that says so.
    """

    count: int
    kept: Numbers | None = None
    duplicates: int = 0
    first_duplicate: int | None = None
    """The seq of the event that the first duplicate repeats."""
    refused: list[tuple[int, InvalidEventError]] = field(default_factory=list)

    @property
    def new_count(self) -> int:
        """How many events are new."""
        return self.count if self.kept is None else int(self.kept.sum())

    def new(self, batch: Batch) -> Batch:
        """Return what is new of a batch."""
        if self.kept is None:
            return batch
        if isinstance(batch, pa.RecordBatch):
            return without_views(batch).filter(flags(self.kept))  # Arrow cannot filter views
        return [row for row, kept in zip(batch, self.kept.tolist(), strict=True) if kept]


def keys_of(batch: Batch) -> Keys:
    """Return the keys of a batch."""
    if isinstance(batch, pa.RecordBatch):
        if batch.column("id").null_count == len(batch):
            return Keys([], [])
        sources = batch.column("source")
        return _hashed(
            None if sources.null_count == len(batch) else pl.Series(sources), pl.Series(batch.column("id"))
        )
    ids = [row[ID_AT] for row in batch]
    positions = None
    if None in ids:
        positions = [position for position, key in enumerate(ids) if key is not None]
        ids, batch = [ids[position] for position in positions], [batch[position] for position in positions]
    salts = _Salts()
    return Keys([hash(key) ^ salts[row[SOURCE_AT]] for key, row in zip(ids, batch, strict=True)], positions)


class _Salts(dict[str | None, int]):
    """What the hash of an id is mixed with, by source."""

    def __missing__(self, source: str | None) -> int:
        salt = self[source] = hash((source,))
        return salt


def _hashed(sources: Texts | None, ids: Texts) -> Keys:
    """Return the keys of columns."""
    texts = ids if isinstance(ids, list) else pl.Series(ids).to_list()
    positions = None
    if None in texts:
        positions = np.array([position for position, key in enumerate(texts) if key is not None], dtype="<i8")
        texts = [key for key in texts if key is not None]
    found = np.fromiter(map(hash, texts), "<i8", len(texts))
    if sources is None:
        return Keys(found ^ hash((None,)), positions)
    given, salts = pl.Series(sources).to_list(), _Salts()
    salted = np.fromiter(map(salts.__getitem__, given), "<i8", len(given))
    return Keys(found ^ (salted if positions is None else salted[positions]), positions)


class _Generation(Struct):
    """Many keys at once: hashes in order, and the seqs of their events, the newest of which is `newest`."""

    hashes: Numbers
    seqs: Numbers
    newest: int


class DedupIndex:
    """The keys of the window."""

    def __init__(self, stored: StoredEvents) -> None:
        self._stored = stored
        self._recent: dict[int, int] = {}
        """The keys of small commits, with their seqs."""
        self._generations: list[_Generation] = []
        self._end = self._first = 0
        """The seqs of which the index knows the keys."""

    def fill(self) -> None:
        """Take in what is in segments, which may take a moment; the only call that needs no lock."""
        self._end = self._stored.flushed_seq()
        self._load(max(0, self._end - WINDOW), self._end, sealed=True)

    def catch_up(self, frames: Sequence[tuple[Frame, Path]], first_unflushed: int, end: int) -> None:
        """Take in what other processes stored before seq `end`; `frames` are those they wrote, as far as was read."""
        self._first = max(0, min(first_unflushed, end - WINDOW))
        self._end = max(self._end, self._first)
        for frame, path in frames:
            if frame.seq + frame.count <= self._end:
                continue
            self._load_until(frame.seq)
            found = keys_in(frame, self._stored.schema, path)
            if found is not None:
                self._take(_hashed(*found), frame.seq)
            self._end = frame.seq + frame.count
        self._load_until(end)
        # Generations go as a whole; what they hold of older events is passed over.
        self._generations = [found for found in self._generations if found.newest >= self._first]

    def _load_until(self, end: int) -> None:
        """Take in events without frames to read: they went straight into segments, or were flushed meanwhile."""
        if self._end < end:
            self._load(self._end, end)
            self._end = end

    def _load(self, first: int, end: int, *, sealed: bool = False) -> None:
        def read() -> list[tuple[Numbers, Numbers]]:
            found = self._stored.sealed_keys(first, end) if sealed else self._stored.keys(first, end)
            hashed = [(seqs, _hashed(sources, ids)) for seqs, sources, ids in found]
            return [(np.asarray(keys.hashes), seqs[keys.places()]) for seqs, keys in hashed]

        pieces = retrying(read)
        if pieces:
            self._add(*(np.concatenate([piece[side] for piece in pieces]) for side in (0, 1)))

    def judge(self, batches: Sequence[tuple[Batch, Keys, bool]], next_seq: int) -> list[Verdict]:
        """Decide, as if events came one by one, what of each batch is new; seqs count from `next_seq`.

        Each batch comes with whether it is taken whole or not at all: such a batch loses all its events when one
        is refused.  Nothing is learned: the caller does that once the events are durable.
        """
        if self.all_new([keys for _, keys, _ in batches]):
            return [Verdict(len(batch)) for batch, _, _ in batches]
        self._sort_recent()
        shared = _shared([keys for _, keys, _ in batches])
        fresh: dict[tuple[str | None, str], _First] = {}
        verdicts = []
        for batch, keys, whole in batches:
            judged = _Judged(batch, *self._known(batch, keys))
            added = judged.compare(keys, shared, fresh, next_seq)
            verdict = judged.verdict(next_seq)
            if verdict.refused and whole:
                verdict.kept, added = np.zeros(len(batch), dtype=bool), {}
            fresh |= added
            next_seq += verdict.new_count
            verdicts.append(verdict)
        return verdicts

    def learn(self, keys: Sequence[Keys], verdicts: Sequence[Verdict], first_seq: int, end_seq: int) -> None:
        """Take in the keys of batches, if they have any, whose new events are stored as seqs `[first_seq, end_seq)`."""
        seq, self._end = first_seq, end_seq
        for found, verdict in zip(keys, verdicts, strict=True):
            if verdict.kept is None:
                self._take(found, seq)
                seq += verdict.count
                continue
            places = found.places()
            is_kept = verdict.kept[places]
            seqs = seq + np.cumsum(verdict.kept) - 1
            self._add(np.asarray(found.hashes, dtype="<i8")[is_kept], seqs[places[is_kept]])
            seq += verdict.new_count

    def _take(self, keys: Keys, first_seq: int) -> None:
        """Take in the keys of consecutive events."""
        if len(keys) > _MANY or not isinstance(keys.hashes, list):
            if len(keys):
                self._add(np.asarray(keys.hashes, dtype="<i8"), first_seq + keys.places())
            return
        positions = range(len(keys.hashes)) if keys.positions is None else keys.positions
        self._recent.update(zip(keys.hashes, [first_seq + position for position in positions], strict=True))
        if len(self._recent) > _RECENT:
            self._sort_recent()

    def _sort_recent(self) -> None:
        recent, self._recent = self._recent, {}
        if recent:
            self._add(
                np.fromiter(recent, "<i8", len(recent)), np.fromiter(recent.values(), "<i8", len(recent))
            )

    def _add(self, hashes: Numbers, seqs: Numbers) -> None:
        """Add a generation, merged with those before it as long as they are not much larger."""
        if not len(hashes):
            return
        order = np.argsort(hashes)
        hashes, seqs = hashes[order], seqs[order]
        while self._generations and len(self._generations[-1].hashes) <= 2 * len(hashes) < WINDOW:
            last = self._generations.pop()
            hashes, seqs = np.concatenate([last.hashes, hashes]), np.concatenate([last.seqs, seqs])
            order = np.argsort(
                hashes, kind="stable"
            )  # the only kind that takes two runs as such, and merges them
            hashes, seqs = hashes[order], seqs[order]
        self._generations.append(_Generation(hashes, seqs, int(seqs.max())))

    def all_new(self, keys: Sequence[Keys]) -> bool:
        """Return whether no key is there yet, nor twice among these."""
        count = sum(map(len, keys))
        if not count:
            return True
        if count <= _MANY:
            distinct: set[int] = set()
            for found in keys:
                distinct.update(found.each())
            if len(distinct) < count or not self._recent.keys().isdisjoint(distinct):
                return False
            if not self._generations:
                return True
            hashes = np.fromiter(distinct, "<i8", count)
            hashes.sort()  # what is looked up in order is found several times as fast
        else:
            self._sort_recent()
            hashes = np.concatenate([np.asarray(found.hashes, dtype="<i8") for found in keys])
            hashes.sort()
            if (hashes[1:] == hashes[:-1]).any():
                return False
        return not any(_overlap(generation.hashes, hashes) for generation in self._generations)

    def _known(self, batch: Batch, keys: Keys) -> tuple[Numbers, Numbers]:
        """Return for each event the seq of the stored one with its key (-1: none), and whether that has the same body."""
        known, same = np.full(len(batch), -1, dtype="<i8"), np.zeros(len(batch), dtype=bool)
        places, seqs = self._candidates(keys)
        if not len(seqs):
            return known, same
        stored, columns = self._stored.rows(np.unique(seqs))
        at = np.minimum(np.searchsorted(stored, seqs), max(0, len(stored) - 1))
        is_there = stored[at] == seqs if len(stored) else np.zeros(len(seqs), dtype=bool)
        places, seqs, at = places[is_there], seqs[is_there], at[is_there]
        if not len(seqs):
            return known, same
        schema = self._stored.schema
        *new, defaulted = (column[places] for column in row_columns(batch, schema))
        equal = [mine.eq_missing(theirs[at]).to_numpy() for mine, theirs in zip(new, columns, strict=True)]
        is_key = equal[SOURCE_AT] & equal[ID_AT]
        is_body = np.logical_and.reduce([equal[0] | defaulted.to_numpy(), *equal[1:]])
        order = np.argsort(seqs[is_key], kind="stable")  # of several the newest counts
        known[places[is_key][order]] = seqs[is_key][order]
        same[places[is_key][order]] = is_body[is_key][order]
        return known, same

    def _candidates(self, keys: Keys) -> tuple[Numbers, Numbers]:
        """Return positions of events and the seqs of events of the window that have the same hash."""
        hashes, places = np.asarray(keys.hashes, dtype="<i8"), keys.places()
        order = np.argsort(hashes)
        hashes, places = hashes[order], places[order]
        found = [(places[:0], places[:0])]
        for generation in self._generations:
            begins = np.searchsorted(generation.hashes, hashes, "left")
            counts = np.searchsorted(generation.hashes, hashes, "right") - begins
            hits = np.flatnonzero(counts)
            several = np.repeat(hits, counts[hits])
            within = np.arange(len(several)) - np.repeat(np.cumsum(counts[hits]) - counts[hits], counts[hits])
            found.append((places[several], generation.seqs[begins[several] + within]))
        positions, seqs = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
        is_inside = seqs >= self._first
        return positions[is_inside], seqs[is_inside]


class _First(Struct):
    """The first event of a key inside a commit, on its way to be stored at `seq`."""

    row: Row
    seq: int


class _Judged:
    """One batch on its way to a verdict."""

    def __init__(self, batch: Batch, known: Numbers, same: Numbers) -> None:
        self._batch = batch
        self._known = known
        """The seq of the event that each one repeats or is in conflict with, -1 where there is none."""
        self._kept = known < 0
        self._conflicts = ~self._kept & ~same

    def compare(
        self,
        keys: Keys,
        shared: set[int],
        fresh: Mapping[tuple[str | None, str], _First],
        next_seq: int,
    ) -> "dict[tuple[str | None, str], _First]":
        """Look at the events that share a hash inside the commit one by one; return the first ones of their keys."""
        added: dict[tuple[str | None, str], _First] = {}
        chosen = [
            position
            for position, found in zip(keys.places().tolist(), keys.each(), strict=True)
            if found in shared and self._kept[position]
        ]
        dropped = 0
        before = np.cumsum(self._kept)
        for position, row in zip(chosen, self._rows(chosen), strict=True):
            key = (row[SOURCE_AT], row[ID_AT])
            first = added.get(key) or fresh.get(key)
            if first is None:
                added[key] = _First(row, next_seq + int(before[position]) - 1 - dropped)
                continue
            self._known[position], self._kept[position] = first.seq, False
            self._conflicts[position] = not _same_body(first.row, row)
            dropped += 1
        return added

    def _rows(self, positions: Sequence[int]) -> Sequence[Row]:
        if isinstance(self._batch, pa.RecordBatch):
            columns = [column[positions].to_list() for column in row_columns(self._batch)]
            return list(zip(*columns, strict=True))
        return [self._batch[position] for position in positions]

    def verdict(self, next_seq: int) -> Verdict:
        """Return what becomes of the batch."""
        duplicates = np.flatnonzero(~self._kept & ~self._conflicts)
        return Verdict(
            count=len(self._batch),
            kept=None if self._kept.all() else self._kept,
            duplicates=len(duplicates),
            first_duplicate=int(self._known[duplicates[0]]) if len(duplicates) else None,
            refused=list(self._refused(next_seq)),
        )

    def _refused(self, next_seq: int) -> Iterable[tuple[int, InvalidEventError]]:
        positions = np.flatnonzero(self._conflicts).tolist()
        before = np.cumsum(self._kept) if positions else self._kept
        for position, row in zip(positions, self._rows(positions), strict=True):
            first, seq = int(self._known[position]), next_seq + int(before[position])
            reason = f"seq {first} has this source and id with another body; as seq {seq} it would be another event"
            yield position, InvalidEventError("id", row[ID_AT], reason)


def conflict_error(
    refused: Sequence[tuple[int, InvalidEventError]], first_row: int | None
) -> InvalidEventError:
    """Return the error of a batch that is refused whole, which names all its conflicts.

    Rows are counted from `first_row`, `None` for a single event.
    """
    position, first = refused[0]
    begin = first_row or 0
    reason, others = first.reason, refused[1:]
    if others:
        rows = ", ".join(str(begin + other) for other, _ in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        reason = f"{reason}; so it is with rows {rows}{more}"
    at = None if first_row is None else first_row + position
    error = InvalidEventError(first.field, first.value, reason, position=at)
    error.refused = tuple(refused)
    for other, found in others[:_NAMED]:
        error.add_note(f"row {begin + other}: {found}")
    return error


def _same_body(first: Row, row: Row) -> bool:
    return first[1:-1] == row[1:-1] and (row[-1] or first[0] == row[0])


def _shared(keys: Sequence[Keys]) -> set[int]:
    """Return the hashes that are there more than once."""
    if sum(map(len, keys)) <= _MANY:
        counts: Counter[int] = Counter()
        for found in keys:
            counts.update(found.each())
        return {key for key, count in counts.items() if count > 1}
    hashes = np.concatenate([np.asarray(found.hashes, dtype="<i8") for found in keys])
    hashes.sort()
    return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


def _overlap(known: Numbers, hashes: Any) -> bool:
    """Return whether some hash is among the known ones, which are in order."""
    places = np.searchsorted(known, hashes)
    return bool((known.take(places, mode="clip") == hashes).any())
