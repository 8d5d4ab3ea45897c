"""The trail against a plain list: random histories of appending, flushing, compacting, crashing, following and pruning.

Every event that was acknowledged or shown must stay, at its seq and unchanged.  What a dying writer was about to
commit may be there or not, but as whole batches, in order and never twice.
"""

import errno
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from auditkit.api import Trail
from auditkit.errors import ClosedError, InvalidEventError, LateEventError, PrunedError
from auditkit.keep.compact import compact
from auditkit.opening import create, open_trail
from auditkit.queue.group_commit import Writer
from auditkit.queue.receipts import Receipt
from auditkit.timerange import from_us, to_us
from auditkit.write import extend
from auditkit.write.retry import as_given, kept_letters, retry_letters
from tests import aging
from tests.fakes import FailingDisk, ManualClock
from tests.oracle import read_trail

pytestmark = pytest.mark.timeout(900)  # seconds: each test is a table of its own

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
KEEP_US = 2 * DAY_US
WINDOW_US = 36 * HOUR_US
BULK = 9
OWN = "auditkit"

Row = dict[str, Any]
Shape = tuple[int | None, int]


@dataclass(frozen=True)
class Event:
    """What the list remembers of one event; its place in the list is its seq."""

    action: str
    ts: int
    recorded: int
    key: str | None = None
    own: bool = False
    now: int | None = None


@dataclass
class Pending:
    """A batch that was accepted and not yet acknowledged."""

    receipt: Receipt
    rows: list[Row]


@dataclass
class Verdict:
    """What must become of a batch: the events it adds, or why it adds none."""

    events: list[Event] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    refused: bool = False


@dataclass
class Letter:
    """A dead letter: what it may become an event of, or the seq of the event that a consumer gave up on."""

    recorded: int
    row: Row | None = None
    seq: int | None = None
    retried: bool = False

    @property
    def day(self) -> int:
        """The day it is filed under."""
        return self.recorded // DAY_US


@dataclass
class Consumer:
    """What a consumer remembers: the seq it goes on from, and how often the last event was given."""

    position: int = 0
    last: int = -1
    given: int = 0


def horizon_of(events: Iterable[Event]) -> int | None:
    """Return the moment that retention measures from."""
    return aging.horizon_of(
        (
            (min(event.ts, event.recorded) if event.now is None else event.now, event.now is not None)
            for event in events
            if not event.own or event.now is not None
        ),
        WINDOW_US,
    )


def segments_of(events: Sequence[Event], first: int) -> list[list[int]]:
    """Return the seqs of the segments that a flush of the events from seq `first` on writes: one for each day."""
    days: dict[int, list[int]] = {}
    for seq, event in enumerate(events[first:], first):
        days.setdefault(event.ts // DAY_US, []).append(seq)
    return [days[day] for day in sorted(days)]


def in_turn(shown: pl.DataFrame) -> list[tuple[int, str, int, int, str | None]]:
    """Return the rows of an answer, as `TrailMachine.said` has them."""
    numbers = pl.col("ts", "recorded").dt.epoch("us")
    return shown.select("seq", "action", numbers, "id").rows()


def framed(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows as a frame."""
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "action": pl.String,
        "ts": pl.Datetime("us", "UTC"),
        "id": pl.String,
    }
    return pl.DataFrame(rows, schema=schema)


NUMBERS = st.integers(0, 2**16)
OLD = st.sampled_from([-5, 0, 0, 0, 1, 30, 60, 100])
PLAIN = st.tuples(st.none(), OLD)
KEYED = st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 0, 0, 1]))
SHAPE = st.one_of(PLAIN, PLAIN, KEYED)
SHAPES = st.lists(SHAPE, max_size=4)


class TrailMachine(RuleBasedStateMachine):
    """Does to a trail and to a list the same, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "audit"
        self.clock = ManualClock()
        self.start = self.clock.us
        self.disk = FailingDisk()
        create(self.root, retention="2d", clock=self.clock, maintain=False).close()
        self.trail = self.opened()
        self.other = open_trail(self.root, clock=self.clock, maintain=False)  # as another process reads it
        self.events: list[Event] = []
        self.pending: list[Pending] = []
        self.unsure: list[list[Event]] = []
        self.keys: dict[str, int] = {}
        self.segments: list[list[int]] = []
        self.stones: list[list[int]] = []
        self.flushed = 0
        self.flush_ends = [0]
        self.rotated = 0
        self.direct: set[int] = set()
        self.consumer = Consumer()
        self.letters: list[Letter] = []
        self.made = 0

    def opened(self) -> Trail:
        """Open the trail; but for `append_late` it takes what is late, and hides it."""
        trail = open_trail(self.root, clock=self.clock, maintain=False, disk=self.disk)
        aging.accept_late(trail)
        return trail

    def row(self, shape: Shape) -> Row:
        """Return a new event; two of the same key and body are the same event."""
        key, what = shape
        if key is None:
            self.made += 1
            return {"action": f"plain.{self.made}", "ts": from_us(self.clock.us - what * HOUR_US - self.made)}
        return {"action": f"keyed.{what}", "ts": from_us(self.start - key), "id": f"key-{key}"}

    # What must be

    def judged(self, rows: Iterable[Row], known: Sequence[Event], keys: dict[str, int]) -> Verdict:
        """Say what becomes of a batch, where `known` are the events before it."""
        verdict, mine = Verdict(), dict(keys)
        for row in rows:
            event = Event(
                action=row["action"],
                ts=int(row["ts"].timestamp()) * 1_000_000 + row["ts"].microsecond,
                recorded=self.clock.us,
                key=row.get("id"),
            )
            if event.key in mine:
                seq = mine[event.key]
                twin = [*known, *verdict.events][seq]
                verdict.repeats.append(seq)
                verdict.refused = verdict.refused or twin.action != event.action
                continue
            if event.key is not None:
                mine[event.key] = len(known) + len(verdict.events)
            verdict.events.append(event)
        if verdict.refused:
            return Verdict(refused=True)
        return verdict

    def take(self, events: Iterable[Event]) -> None:
        """Put events on the list."""
        for event in events:
            if event.key is not None:
                self.keys[event.key] = len(self.events)
            self.events.append(event)

    def settle(self) -> None:
        """Everything accepted was committed: put it on the list, and hold the receipts to it."""
        pending, self.pending = self.pending, []
        for batch in pending:
            verdict = self.judged(batch.rows, self.events, self.keys)
            assert batch.receipt.done
            if verdict.refused:
                with pytest.raises(InvalidEventError):
                    batch.receipt.wait()
                continue
            first = len(self.events) if verdict.events else verdict.repeats[0]
            assert batch.receipt.wait() == first
            assert batch.receipt.duplicates == len(verdict.repeats)
            self.take(verdict.events)

    def flush_list(self) -> None:
        """Note the segments that a flush wrote."""
        self.segments += segments_of(self.events, self.flushed)
        self.flushed = len(self.events)
        self.flush_ends.append(self.flushed)

    def take_own(self, action: str, now: int | None = None) -> None:
        """Put an event of the trail's own on the list."""
        self.take([Event(action, self.clock.us, self.clock.us, own=True, now=now)])

    def expired(self, seq: int, at: int | None = None) -> bool:
        """Say whether a producer's event is expired, as seen when `at` events were committed."""
        horizon = horizon_of(self.events[:at])
        event = self.events[seq]
        return not event.own and horizon is not None and event.ts < horizon - KEEP_US

    def visible(self, at: int | None = None) -> list[int]:
        """Return the seqs that a view shows."""
        return [seq for seq in range(len(self.events[:at])) if not self.expired(seq, at)]

    def said(self, seqs: Iterable[int]) -> list[tuple[int, str, int, int, str | None]]:
        """Return rows of the list as `in_turn` has them."""
        events = ((seq, self.events[seq]) for seq in seqs)
        return [(seq, e.action, e.ts, e.recorded, e.key) for seq, e in events]

    def by_time(self, seq: int) -> tuple[int, int]:
        """Return what ranges are sorted by."""
        return self.events[seq].ts, seq

    def learn(self) -> None:
        """After a crash: what is there of the batches that nobody knows of is a beginning of them, batch by batch."""
        end = self.other.end_seq
        while self.unsure and len(self.events) < end:
            self.take(self.unsure.pop(0))
        assert end == len(self.events)

    # What is done

    @rule(shape=SHAPE, wait=st.booleans())
    def append(self, shape: Shape, wait: bool) -> None:
        """Append one event, and perhaps wait for it."""
        row = self.row(shape)
        self.pending.append(Pending(self.trail.append(**row), [row]))
        if wait:
            self.wait(0, True)

    @rule(shapes=st.lists(SHAPE, max_size=5), frame=st.booleans(), wait=st.booleans())
    def extend(self, shapes: list[Shape], frame: bool, wait: bool) -> None:
        """Append a batch, as rows or as a frame."""
        rows = [self.row(shape) for shape in shapes]
        receipt = self.trail.extend(framed(rows) if frame else rows)
        assert receipt.count == len(rows)
        if not rows:
            assert receipt.wait() is None
            return
        self.pending.append(Pending(receipt, rows))
        if wait:
            self.wait(0, True)

    @rule(
        shapes=st.lists(PLAIN, max_size=3),
        early=st.lists(st.sampled_from([None, 25, 30, 60]), max_size=3),
        frame=st.booleans(),
        wait=st.booleans(),
    )
    def extend_with_refused(
        self, shapes: list[Shape], early: list[int | None], frame: bool, wait: bool
    ) -> None:
        """Append a batch of which some rows become dead letters: those too far ahead are events once their time comes."""
        good = [self.row(shape) for shape in shapes]
        bad = [{**self.row((None, 0)), **({"action": ""} if hours is None else {})} for hours in early]
        for row, hours in zip(bad, early, strict=True):
            row["ts"] = from_us(self.clock.us + (hours or 0) * HOUR_US)
        rows = [row for pair in zip_longest(good, bad) for row in pair if row is not None]
        receipt = self.trail.extend(framed(rows) if frame else rows, on_invalid="dead-letter")
        self.letters += [Letter(self.clock.us, row) for row in bad]
        if good:
            self.pending.append(Pending(receipt, good))
            if wait:
                self.wait(0, True)
        else:
            assert receipt.wait() is None

    @precondition(lambda self: not self.pending)
    @rule(hours=st.lists(st.integers(0, 100), min_size=1, max_size=4), frame=st.booleans())
    def append_late(self, hours: list[int], frame: bool) -> None:
        """Append by the horizon as it is: what would be hidden at once becomes a dead letter, all else an event."""
        aging.accept_late(self.trail, accept=False)
        rows, horizon = [self.row((None, hour)) for hour in hours], horizon_of(self.events)
        late = [row for row in rows if horizon is not None and to_us(row["ts"]) < horizon - KEEP_US]
        if late:
            with pytest.raises(LateEventError) as caught:
                self.trail.extend(framed(rows) if frame else rows)
            assert caught.value.position == rows.index(late[0])
        receipt = self.trail.extend(framed(rows) if frame else rows, on_invalid="dead-letter")
        aging.accept_late(self.trail)
        self.letters += [Letter(self.clock.us, row) for row in late]
        if len(late) < len(rows):
            self.pending.append(Pending(receipt, [row for row in rows if row not in late]))
            self.wait(0, True)
        else:
            assert receipt.wait() is None

    @rule()
    def retry(self) -> None:
        """Append the dead letters whose time has come."""
        waiting = [letter for letter in self.letters if not letter.retried and letter.row is not None]
        ready = [
            letter
            for letter in waiting
            if letter.row and letter.row["action"] and letter.row["ts"] <= from_us(self.clock.us + DAY_US)
        ]
        summary = retry_letters(self.trail.handle, as_given)
        assert (summary.events, len(summary.still_dead)) == (len(ready), len(waiting) - len(ready))
        assert summary.consumers == len([letter for letter in self.letters if letter.row is None])
        if ready:
            self.settle()
            self.take(
                self.judged([letter.row for letter in ready if letter.row], self.events, self.keys).events
            )
            self.take_own("dead-letters.retried")
            for letter in ready:
                letter.retried = True

    @precondition(lambda self: self.letters)
    @rule(torn=st.binary(min_size=1, max_size=30).filter(lambda torn: b"\n" not in torn))
    def tear_a_letter(self, torn: bytes) -> None:
        """Leave a line unfinished, as a process that died while it kept a letter."""
        newest = sorted((self.root / "dead-letters").glob("*.jsonl"))[-1]
        with newest.open("ab") as file:
            file.write(torn)

    @rule(shapes=st.lists(SHAPE, min_size=BULK, max_size=BULK + 3), frame=st.booleans())
    def extend_in_bulk(self, shapes: list[Shape], frame: bool) -> None:
        """Append so many events that what is new of them goes straight into segments."""
        rows = [self.row(shape) for shape in shapes]
        given = framed(rows) if frame else rows
        pending = [event for events in self.judge_pending() for event in events]
        keys = self.keys | {e.key: len(self.events) + n for n, e in enumerate(pending) if e.key is not None}
        verdict = self.judged(rows, [*self.events, *pending], keys)
        if verdict.refused:
            with pytest.raises(InvalidEventError):
                self.trail.extend(given)
            self.settle()
            return
        receipt = self.trail.extend(given)
        assert receipt.done
        self.settle()
        first = len(self.events) if verdict.events else verdict.repeats[0]
        assert (receipt.wait(), receipt.duplicates) == (first, len(verdict.repeats))
        if verdict.events:
            self.direct.update(range(len(self.events), len(self.events) + len(verdict.events)))
            self.take(verdict.events)
            self.flush_list()

    @precondition(lambda self: self.pending)
    @rule(which=NUMBERS, last=st.booleans())
    def wait(self, which: int, last: bool) -> None:
        """Wait for a receipt: what was accepted before and after it is committed with it."""
        batch = self.pending[-1 if last else which % len(self.pending)]
        with suppress(InvalidEventError):
            batch.receipt.wait()
        self.settle()

    @rule()
    def flush(self) -> None:
        """Flush, which commits first."""
        summary = self.trail.flush()
        self.settle()
        before = len(self.segments)
        assert (summary.first_seq, summary.end_seq) == (self.flushed, len(self.events))
        self.flush_list()
        self.rotated = self.flushed
        assert summary.segments == len(self.segments) - before

    @rule()
    def compact(self) -> None:
        """Merge the segments of every day that has two."""
        summary = compact(self.trail.handle, least=2)
        days: dict[int, list[list[int]]] = {}
        for segment in self.segments:
            days.setdefault(self.events[segment[0]].ts // DAY_US, []).append(segment)
        self.segments = [sorted(chain.from_iterable(segments)) for segments in days.values()]
        merged = [segments for segments in days.values() if len(segments) > 1]
        assert summary.replaced == sum(map(len, merged))
        assert summary.segments == len(merged)

    @rule(hours=st.sampled_from([0.001, 1, 20, 50]))
    def pass_time(self, hours: float) -> None:
        """Let time pass."""
        self.clock.advance(hours=hours)

    @rule(record=st.booleans(), hours=st.sampled_from([0, 30, 60]))
    def prune(self, record: bool, hours: int) -> None:
        """Prune, perhaps after some time, and perhaps record the moment first."""
        self.clock.advance(hours=hours)
        moment = from_us(self.clock.us) if record else None
        summary = self.trail.prune(now=moment)
        self.settle()
        if record:
            self.take_own("retention.now", self.clock.us)
        queued = range(self.rotated, len(self.events))
        if any(seq not in self.direct and not self.events[seq].own for seq in queued):
            self.flush_list()
            self.rotated = self.flushed
        cuts = []
        for segment in list(self.segments):
            gone = [seq for seq in segment if self.expired(seq)]
            if gone:
                cuts.append(all(seq in gone or self.events[seq].own for seq in segment))
                self.segments.remove(segment)
                self.segments += [rest] if (rest := [seq for seq in segment if seq not in gone]) else []
                self.stones.append(gone)
                for key in [key for key, seq in self.keys.items() if seq in gone]:
                    del self.keys[key]  # what was pruned counts as unknown
        assert (summary.segments, summary.rewritten) == (cuts.count(True), cuts.count(False))
        assert summary.events == sum(map(len, self.stones[len(self.stones) - len(cuts) :]))
        if cuts:
            self.direct.add(len(self.events))
            self.take_own("retention.pruned")
            self.flush_list()
        horizon = horizon_of(self.events)
        kept = [
            letter
            for letter in self.letters
            if horizon is None or (letter.day + 1) * DAY_US > horizon - KEEP_US
        ]
        if len(kept) < len(self.letters):
            self.letters = kept
            self.take_own("dead-letters.expired")
        assert not any(self.expired(seq) for seq in read_trail(self.root).events)

    @rule()
    def reopen(self) -> None:
        """Close the trail, which commits, and open it again."""
        self.trail.close()
        self.settle()
        self.trail = self.opened()

    @rule(
        shapes=SHAPES,
        cut=st.sampled_from([None, 0, 0.2, 0.5, 0.8, 0.9, 0.97, 1]),
        torn=st.one_of(
            st.just(b""), st.binary(max_size=60), st.just(bytes(50)), st.just(b"AKEV" + b"\1" * 30)
        ),
        writes=st.booleans(),
    )
    def crash(self, shapes: list[Shape], cut: float | None, torn: bytes, writes: bool) -> None:
        """Let the process die, perhaps in the middle of a commit, of which a part has reached the disk."""
        self.submit(shapes)
        self.die(cut if self.pending else None, torn)
        self.recover(writes)

    def submit(self, shapes: Sequence[Shape]) -> None:
        """Accept a batch for each shape, in turn as a row and as a frame of two, so that a commit has several frames."""
        for turn, shape in enumerate(shapes):
            rows = [self.row(shape)] if turn % 2 == 0 else [self.row(shape), self.row((None, 1))]
            self.pending.append(Pending(self.trail.extend(framed(rows) if turn % 2 else rows), rows))

    def die(self, cut: float | None, torn: bytes) -> None:
        """Let go of the trail without closing it, leaving a part of a commit and torn bytes behind."""
        handle = self.trail.handle
        newest = handle.layout.queue_file(handle.layout.queue_files()[-1])
        if cut is not None:
            with handle.active_queue().locked():
                pass  # what another crash has left is cut now
            batches = self.judge_pending()
            before = newest.stat().st_size
            handle.writing().commit()
            after = newest.stat().st_size
            with newest.open("r+b") as file:
                file.truncate(before + round(cut * (after - before)))
            self.unsure = batches
        writer = handle.writer
        handle.after_fork()
        if writer is not None:
            writer._closed = True  # a process that died commits nothing when it is collected
        with newest.open("ab") as file:
            file.write(torn)
        self.pending = []

    def judge_pending(self) -> list[list[Event]]:
        """Return what each pending batch adds where all of them are committed now."""
        events, keys = list(self.events), dict(self.keys)
        batches = []
        for batch in self.pending:
            added = self.judged(batch.rows, events, keys).events
            keys.update({e.key: seq for seq, e in enumerate(added, len(events)) if e.key is not None})
            events += added
            batches.append(added)
        return [added for added in batches if added]

    def recover(self, writes: bool) -> None:
        """Open the trail after a crash; a reader or a writer is the first to look."""
        self.trail = self.opened()
        if writes:
            with self.trail.handle.active_queue().locked():
                pass
        self.learn()
        self.unsure = []
        self.look(False)

    @rule(shapes=SHAPES, operation=st.sampled_from(["sync_data", "write"]), writes=st.booleans())
    def fail(self, shapes: list[Shape], operation: str, writes: bool) -> None:
        """Let the disk fail a commit: receipts raise, and the trail is opened again."""
        self.submit(shapes)
        batches = self.judge_pending()
        self.disk.fail[operation] = OSError(errno.EIO, "failing on purpose")
        if batches:
            for batch in self.pending:
                with pytest.raises((OSError, ClosedError)):
                    batch.receipt.wait()
        self.disk.fail.clear()
        if not batches:
            self.reopen()
            return
        with suppress(OSError, ClosedError):
            self.trail.close()
        self.pending, self.unsure = [], batches
        self.recover(writes)

    # What is asked

    @invariant()
    def ends(self) -> None:
        """The trail shows what was committed and nothing else."""
        self.learn()

    def asked(self, mine: bool) -> Trail:
        """Return the trail as its writer, who commits before an answer, or as another process sees it."""
        return self.trail if mine else self.other

    def answered(self, mine: bool) -> None:
        """Put on the list what was committed before an answer."""
        if mine:
            self.settle()

    @rule(mine=st.booleans())
    def look(self, mine: bool) -> None:
        """Read everything that is kept."""
        shown = self.asked(mine).range(own=True)
        self.answered(mine)
        assert in_turn(shown) == self.said(sorted(self.visible(), key=self.by_time))

    @rule(mine=st.booleans(), start=st.integers(-80, 20), hours=st.integers(0, 60), descending=st.booleans())
    def ask(self, mine: bool, start: int, hours: int, descending: bool) -> None:
        """Read a window."""
        low = self.clock.us + start * HOUR_US
        high = low + hours * HOUR_US
        shown = self.asked(mine).range(from_us(low), from_us(high), descending=descending)
        self.answered(mine)
        producers = [seq for seq in self.visible() if not self.events[seq].own]
        seqs = [seq for seq in producers if low <= self.events[seq].ts < high]
        assert in_turn(shown) == self.said(sorted(seqs, key=self.by_time, reverse=descending))

    @rule(mine=st.booleans(), n=st.integers(0, 12))
    def tail(self, mine: bool, n: int) -> None:
        """Read the last events."""
        shown = self.asked(mine).tail(n)
        self.answered(mine)
        seqs = self.visible()
        assert in_turn(shown) == self.said(seqs[max(0, len(seqs) - n) :])

    @rule(back=st.integers(0, 30))
    def at(self, back: int) -> None:
        """Read the trail as it was, unless a prune took something of that."""
        at = max(0, len(self.events) - back)
        horizon = horizon_of(self.events[:at])
        cutoff = None if horizon is None else horizon - KEEP_US
        gone = False
        for stone in self.stones:
            newest = max(self.events[seq].ts for seq in stone)
            gone = gone or (min(stone) < at and (cutoff is None or newest >= cutoff))
            gone = gone or self.is_unknown(at, stone, newest)
        if gone:
            with pytest.raises(PrunedError):
                self.other.at(at).range(own=True)
            return
        shown = self.other.at(at).range(own=True)
        assert in_turn(shown) == self.said(sorted(self.visible(at), key=self.by_time))

    def is_unknown(self, at: int, stone: list[int], newest: int) -> bool:
        """Say whether the horizon by then is not known any more, as `stone` went from the flush that `at` lies in."""
        begin = max(end for end in self.flush_ends if end <= at)
        end = min((end for end in self.flush_ends if end > begin), default=at)
        before, after = horizon_of(self.events[:begin]), horizon_of(self.events[:end])
        counted = before is None or newest >= before - WINDOW_US
        if not (begin < at and counted and min(stone) < at and max(stone) >= begin):
            return False
        seen = [
            min(e.ts, e.recorded) if e.now is None else e.now
            for e in self.events[begin:at]
            if not e.own or e.now
        ]
        most = max(us for us in (before, newest, *seen) if us is not None)
        return after is not None and before != min(most, after)

    @rule(mine=st.booleans())
    def look_at_letters(self, mine: bool) -> None:
        """Read the dead letters, under their names, and count them."""
        shown = [
            (kept.name, kept.letter.recorded_us, kept.letter.seq, kept.retried is not None)
            for kept in kept_letters(self.asked(mine).handle)
        ]
        lines: Counter[int] = Counter()
        expected = []
        for letter in self.letters:
            lines[letter.day] += 1
            name = f"{from_us(letter.recorded):%Y-%m-%d}:{lines[letter.day]}"
            expected.append((name, letter.recorded, letter.seq, letter.retried))
        assert shown == expected
        waiting = [letter for letter in self.letters if letter.row is not None and not letter.retried]
        assert self.asked(mine).stats().dead_letters == len(waiting)
        self.answered(mine)

    @rule(
        acknowledges=st.lists(st.sampled_from([True, True, True, False]), min_size=1, max_size=12),
        dies=st.booleans(),
        limit=st.sampled_from([None, None, 1, 2]),
    )
    def follow(self, acknowledges: list[bool], dies: bool, limit: int | None) -> None:
        """Follow as a consumer that acknowledges some of what it is given, or gives it up, and then stops or dies."""
        consumer = self.consumer
        follower = self.trail.follow("reader", retry_s=0, timeout_s=0, max_deliver=limit)
        self.settle()
        assert follower.position == consumer.position
        left = [s for s in self.visible() if s >= consumer.position and not self.events[s].own]
        ended = False
        for acknowledge in acknowledges:
            delivery = next(follower, None)
            while left and limit is not None and consumer.last == left[0] and consumer.given >= limit:
                self.letters.append(Letter(self.clock.us, seq=left[0]))
                consumer.position = left.pop(0) + 1
            if delivery is None:
                assert not left
                ended = True
                break
            assert delivery.seq == left[0]
            assert delivery.event["action"] == self.events[left[0]].action
            consumer.given = consumer.given + 1 if consumer.last == left[0] else 1
            consumer.last = left[0]
            assert delivery.attempt == consumer.given
            if acknowledge:
                delivery.ack()
                consumer.position = left.pop(0) + 1
        if ended:
            consumer.position = len(self.events)
        if dies and not ended:
            self.die(None, b"")
            self.recover(False)
        else:
            follower.close()

    def teardown(self) -> None:
        """Read the files with other eyes at the end."""
        self.disk.fail.clear()
        self.trail.close()
        self.other.close()
        self.settle()
        stored = read_trail(self.root)
        gone = set(chain.from_iterable(self.stones))
        assert sorted(stored.events) == [seq for seq in range(len(self.events)) if seq not in gone]
        for seq, found in stored.events.items():
            event = self.events[seq]
            assert (found["action"], found["ts"], found["recorded"], found["id"]) == (
                event.action, event.ts, event.recorded, event.key,
            )  # fmt: skip
        self.folder.cleanup()


HISTORIES = settings(
    max_examples=40,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_random_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trail and a list agree at every step of the same random histories in every run."""
    monkeypatch.setattr(Writer, "_call_thread", lambda _: True)  # nobody commits but who asks for it
    monkeypatch.setattr(extend, "BULK_ROWS", BULK)
    run_state_machine_as_test(TrailMachine, settings=HISTORIES)
