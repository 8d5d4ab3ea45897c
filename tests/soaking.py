"""The processes of the soak test: forked off one that has imported auditkit, each in one role on the same trail.

Reads `ROLE NAME SEED` lines from standard input and answers with the pid of a new process.  What a process is about to
do and what it was promised it notes in files of its own, a line per fact, each written whole by one call, so that
what a killed process leaves can be held against the trail exactly.
"""

import errno
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

import auditkit as ak
import auditkit.api
import auditkit.backups
import auditkit.keep.maintain
from auditkit.api import Trail
from auditkit.disk.durable import PosixDisk
from auditkit.errors import InvalidEventError, LockedError, PrunedError
from auditkit.follow.follower import Follower
from auditkit.queue.dedup import WINDOW
from auditkit.queue.receipts import Limits, Receipt
from auditkit.write import extend
from auditkit.write.retry import as_given, retry_letters
from tests.aging import accept_late

BULK = 1_500
FLUSH_AT = 4_000
FAILURES = 0.003
LATE = "late"
KEEP = timedelta(days=3)
KEPT = timedelta(days=2)
"""Producers whose events must stay date them at most so far back; questions look no further."""
BODY = ["seq", "ts", "actor", "action", "source", "id", "value", "attrs"]


@dataclass(frozen=True)
class Kind:
    """One way to append: how many events at once, as what, with or without ids, and whether they soon expire."""

    form: str
    counts: tuple[int, int] = (1, 1)
    keyed: bool = False
    waits: bool = True
    doomed: bool = False


KINDS = {
    "one": Kind("fields"),
    "one-id": Kind("fields", keyed=True),
    "forgotten": Kind("fields", waits=False),
    "forgotten-id": Kind("fields", keyed=True, waits=False),
    "dicts": Kind("dicts", (1, 60)),
    "dicts-id": Kind("dicts", (1, 60), keyed=True),
    "arrow": Kind("arrow", (1, 500)),
    "arrow-id": Kind("arrow", (1, 500), keyed=True),
    "bulk": Kind("arrow", (BULK, BULK + 900)),
    "bulk-id": Kind("arrow", (BULK, BULK + 900), keyed=True),
    "refused": Kind("refused", (1, 20)),
    "doomed": Kind("dicts", (1, 60), doomed=True),
    "doomed-bulk-id": Kind("arrow", (BULK, BULK + 900), keyed=True, doomed=True),
}


def event(name: str, number: int, begun: datetime) -> dict[str, Any]:
    """Return one event of a producer: the same number always makes the same event."""
    kind = KINDS[name]
    draw = random.Random(f"{name} {number}")
    if kind.doomed:  # expires within the first minutes of the run
        ts = begun - KEEP + timedelta(seconds=draw.uniform(-5, 200))
    else:
        ts = begun - timedelta(seconds=draw.choice((0, draw.uniform(0, KEPT.total_seconds()))))
    given: dict[str, Any] = {
        "action": name,
        "actor": f"actor-{number % 50}",
        "ts": ts,
        "value": float(number),
        "attrs": {"n": number, "pad": "x" * (number % 60)},
    }
    if kind.keyed:
        given |= {"id": f"{name}/{number}", "source": name}
    return given


def late(number: int, begun: datetime) -> dict[str, Any]:
    """Return an event that is refused as too far ahead at first, and becomes valid during the run."""
    ahead = timedelta(days=1, seconds=random.Random(f"late {number}").uniform(0, 60))
    return {
        "action": LATE,
        "ts": (begun + ahead).isoformat(),
        "value": float(number),
        "attrs": {"n": -number},
    }


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return events as an Arrow table."""
    frame = pl.DataFrame([{**row, "attrs": f'{{"n":{row["attrs"]["n"]}}}'} for row in rows])
    return frame.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC"))).to_arrow()


def submit(trail: Trail, name: str, first: int, count: int, begun: datetime) -> Receipt:
    """Hand a producer's events over in its way."""
    rows = [event(name, first + n, begun) for n in range(count)]
    if KINDS[name].form == "fields":
        return trail.append(**rows[0])
    if KINDS[name].form == "refused":
        return trail.extend([*rows, late(first, begun)], on_invalid="dead-letter")
    return trail.extend(table(rows) if KINDS[name].form == "arrow" else rows)


class Notes:
    """A file of facts, and what an earlier process of the same name has left in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        whole, end, _ = path.read_bytes().rpartition(b"\n")
        os.ftruncate(self._fd, len(whole + end))

    def lines(self) -> list[list[str]]:
        """Return the facts there are."""
        return [line.split() for line in self._path.read_text().splitlines()]

    def write(self, *facts: Sequence[object]) -> None:
        """Note facts, in one call."""
        os.write(self._fd, "".join(" ".join(map(str, fact)) + "\n" for fact in facts).encode())


class FlakyDisk(PosixDisk):
    """A disk that fails now and then, before anything is done."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.fails = False

    def _maybe(self) -> None:
        if self.fails and self.draw.random() < FAILURES:
            raise OSError(errno.EIO, "failing on purpose")

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write, or half of it and fail."""
        try:
            self._maybe()
        except OSError:
            super().write(fd, data[: len(data) // 2], offset)
            raise
        super().write(fd, data, offset)

    def sync_data(self, fd: int) -> None:
        """Fail or sync."""
        self._maybe()
        super().sync_data(fd)

    def sync(self, fd: int) -> None:
        """Fail or sync."""
        self._maybe()
        super().sync(fd)

    def sync_directory(self, path: Path) -> None:
        """Fail or sync."""
        self._maybe()
        super().sync_directory(path)

    def rename(self, source: Path, target: Path) -> None:
        """Fail or rename."""
        self._maybe()
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        """Fail or unlink."""
        self._maybe()
        super().unlink(path)


class Sent(NamedTuple):
    """A batch: its first number, how many events, and its first seq, or where the trail ended when it was begun."""

    first: int
    events: int
    seq: int


def batches(lines: Sequence[Sequence[str]]) -> tuple[list[Sent], list[Sent], int]:
    """Return the batches that were begun and not acknowledged, those that were, and the next number."""
    begun: dict[int, Sent] = {}
    known: list[Sent] = []
    number = 0
    for what, *facts in lines:
        sent = Sent(*map(int, facts))
        if what == "begun":
            begun[sent.first] = sent
            number = max(number, sent.first + sent.events)
        elif what == "acknowledged":
            begun.pop(sent.first, None)
            known.append(sent)
    return sorted(begun.values()), known, number


def remembered(sent: Sent, end: int) -> bool:
    """Return whether the trail that ends at `end` must still know a batch by its ids."""
    return end - sent.seq < WINDOW // 2


class Producer:
    """Appends in one way for ever, and comes back to what an interrupt or the death of a process has left open."""

    def __init__(self, root: Path, notes: Notes, name: str, draw: random.Random, begun: datetime) -> None:
        self.kind = KINDS[name]
        self.name, self.notes, self.draw, self.begun = name, notes, draw, begun
        limits = draw.choice((Limits(), Limits(pending_events=50, backlog_events=2_000)))
        self.disk = FlakyDisk(draw)
        self.trail = ak.open(root, maintain=draw.random() < 0.3, limits=limits, disk=self.disk)
        if self.kind.doomed:  # what expires in the meantime is refused, or hidden: here it is hidden
            accept_late(self.trail)
        self.end = self.trail.end_seq
        self.number = 0
        self.known: list[Sent] = []
        self.open: dict[int, Receipt] = {}
        self.open_counts: dict[int, int] = {}

    def run(self) -> None:
        """Append until killed; an interrupt or a failure of the disk leaves the trail as usable as it was."""
        while True:
            self.resume()
            with suppress(KeyboardInterrupt, OSError):
                signal.signal(signal.SIGINT, signal.default_int_handler)
                self.disk.fails = self.draw.random() < 0.5
                while True:
                    self.step()

    def resume(self) -> None:
        """Settle what was begun and not acknowledged: by its receipt, or by sending it again where it has ids."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.disk.fails = False
        left, self.known, self.number = batches(self.notes.lines())
        for sent in left:
            seq = None
            with suppress(OSError):  # raised once: it failed before the disk was whole again
                seq = self.open[sent.first].wait(60) if sent.first in self.open else None
            if seq is None and self.kind.keyed and remembered(sent, self.end):
                seq = self.resend(sent)
            if seq is not None:
                self.notes.write(("acknowledged", sent.first, sent.events, seq))
        self.open, self.open_counts = {}, {}

    def resend(self, sent: Sent) -> int | None:
        """Send a batch again; a failed commit that no receipt was asked for is raised first, once."""
        with suppress(OSError):
            return self.submit(sent.first, sent.events).wait(60)
        return self.submit(sent.first, sent.events).wait(60)

    def submit(self, first: int, count: int) -> Receipt:
        """Hand events over."""
        return submit(self.trail, self.name, first, count, self.begun)

    def step(self) -> None:
        """Append a batch, and perhaps wait for all that are open."""
        first, count = self.number, self.draw.randint(*self.kind.counts)
        self.notes.write(("begun", first, count, self.end))
        self.number += count
        self.open_counts[first] = count
        self.open[first] = self.submit(first, count)
        if self.kind.waits or self.draw.random() < 0.05:
            self.open[first].wait(60)
            done = [
                Sent(first, self.open_counts[first], one.wait(60) or 0) for first, one in self.open.items()
            ]
            self.notes.write(*(("acknowledged", *sent) for sent in done))
            self.open = {}
            self.known = [*self.known[-100:], *done]
            self.end = done[-1].seq
            old = self.draw.choice(self.known)
            repeats = self.kind.keyed and not self.kind.doomed and remembered(old, self.end)
            if repeats and self.draw.random() < 0.1:
                repeat(self.trail, self.name, old, self.begun)


def produce(root: Path, notes: Notes, name: str, draw: random.Random, begun: datetime) -> None:
    """Append in one way for ever."""
    Producer(root, notes, name, draw, begun).run()


def repeat(trail: Trail, name: str, sent: Sent, begun: datetime) -> None:
    """Send a batch that is there again, and an event that contradicts one: neither is stored."""
    first, count, seq = sent
    receipt = submit(trail, name, first, count, begun)
    found = receipt.wait(60)
    assert (found, receipt.duplicates) == (seq, count), (
        f"{name}: {count} events from number {first} on are at seq {seq}; sent again, "
        f"{receipt.duplicates} of them counted as duplicates, at seq {found}"
    )
    try:
        trail.append(**{**event(name, first, begun), "value": -1.0}).wait(60)
    except InvalidEventError:
        return
    raise AssertionError(f"{name}: another body under the id of number {first} was taken")


def maintain(root: Path, _notes: Notes, _name: str, draw: random.Random, _begun: datetime) -> None:
    """Flush, compact and prune for ever, in any order, also where a disk fails now and then."""
    disk = FlakyDisk(draw)
    trail = ak.open(root, maintain=False, disk=disk)
    while True:
        disk.fails = draw.random() < 0.5
        with suppress(OSError):  # of this disk, or of the queue in another process, raised once
            keep(trail, draw)
        disk.fails = False
        if draw.random() < 0.1:
            with suppress(OSError):
                trail.close()
            trail = ak.open(root, maintain=False, disk=disk)


def keep(trail: Trail, draw: random.Random) -> None:
    """Do something that keeping a trail consists of."""
    match draw.choice(("flush", "flush", "compact", "prune", "retry", "maintain", "stats")):
        case "flush":
            trail.flush()
        case "compact":
            trail.maintain(compact=True)
        case "maintain":
            trail.maintain()
        case "prune":
            trail.prune(trail.plan_prune() if draw.random() < 0.5 else None)
        case "retry":
            retry_letters(trail.handle, as_given)
        case "stats":
            trail.stats()


def digest(events: pl.DataFrame) -> tuple[int, int]:
    """Return what two frames of the same events agree in, in whatever order they are."""
    rows = events.select(BODY)
    return rows.height, int(rows.hash_rows(7).sum() or 0) if rows.height else 0


def ask(root: Path, notes: Notes, name: str, draw: random.Random, begun: datetime) -> None:
    """Ask for ever: answers at one seq agree with each other, and what a view has shown stays."""
    trail = ak.open(root, maintain=False)
    seen: list[tuple[int, tuple[int, int]]] = []
    tail, rounds = 0, 0
    while True:
        end = trail.end_seq
        with suppress(PrunedError):  # of what a prune took since
            agree(trail.at(end), None, draw)
        with suppress(PrunedError):  # a view that ends among pruned events cannot tell what was expired
            look_again(trail, end, begun - KEPT, seen, draw)
        with suppress(PrunedError):
            tail = read_on(trail, max(tail, end - 500), end)
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        notes.write(("held", int(status["RssAnon"].split()[0]), descriptors, len(seen)))
        rounds += 1
        if name == "brief" and rounds % 5 == 0:
            trail.close()
            trail = ak.open(root, maintain=False)


def look_again(
    trail: Trail, end: int, start: datetime, seen: list[tuple[int, tuple[int, int]]], draw: random.Random
) -> None:
    """Ask for the events that stay, and hold an earlier view to what it showed."""
    seen.append((end, agree(trail.at(end), start, draw)))
    at, before = draw.choice(seen)
    if at > trail.end_seq:  # left without a mark by a dead writer, and just being adopted by another one
        return
    after = digest(trail.at(at).range(start, columns=BODY))
    assert before == after, f"at seq {at}: {before[0]} events, now {after[0]}, or others"
    if len(seen) > 40:
        seen.pop(draw.randrange(len(seen)))


def agree(view: Trail, start: datetime | None, draw: random.Random) -> tuple[int, int]:
    """Ask a view the same in different ways, and return the digest of what it shows."""
    events = view.range(start, columns=BODY)
    since = f"WHERE ts >= '{start.isoformat()}'" if start else ""
    counts = {
        "group_by": view.group_by("action", start=start)["count"].sum(),
        "group_by every": view.group_by(["actor", "source"], every="1h", start=start)["count"].sum(),
        "downsample": view.downsample("1d", start=start)["count"].sum(),
        "scan": view.scan(start).select(pl.len()).collect().item(),
        "sql": view.sql(f"SELECT count(*) AS n FROM events {since}").item(),  # noqa: S608 -- a date
        "limit": view.range(start, limit=events.height + 1, columns=["seq"]).height,
    }
    assert set(counts.values()) <= {events.height}, f"range shows {events.height} events, and {counts}"
    assert events["seq"].n_unique() == events.height, "an event is shown twice"
    stamps = events.select("ts", "seq")
    assert stamps.equals(stamps.sort("ts", "seq")), "a range is out of order"
    if start is None:
        assert view.tail(30).equals(view.range(own=True).sort("seq").tail(30)), "a tail shows others"
    n = pl.col("attrs").str.json_path_match("$.n")
    if events.height:
        value = int(events.select(n.sample(1, seed=draw.randrange(1 << 30))).item())
        found = view.range(start, where={"attrs.n": value}, columns=BODY)
        assert digest(found) == digest(events.filter(n == str(value))), f"where attrs.n={value}: others"
    for column in ("action", "actor", "id"):
        values = events[column].drop_nulls()
        if values.len():
            value = values[draw.randrange(values.len())]
            found = view.range(start, where={column: value}, columns=BODY)
            expected = events.filter(pl.col(column) == value)
            assert digest(found) == digest(expected), (
                f"where {column}={value!r}: {found.height} events, expected {expected.height}"
            )
            listed = view.range(start, where={column: [value]}, limit=5)["seq"].to_list()
            assert listed == expected["seq"].head(5).to_list(), f"where {column}: other events with a limit"
    return digest(events)


def read_on(trail: Trail, first: int, end: int) -> int:
    """Follow as a plain tail from a seq to another: each event is the one that `range` shows."""
    followed = [delivery.event for delivery in trail.at(end).follow(start=first, timeout_s=0)]
    seqs = [given["seq"] for given in followed]
    assert seqs == sorted(set(seqs)), "a tail repeats events or changes their order"
    assert all(first <= seq < end for seq in seqs), "a tail shows others than asked for"
    return end


def consume(root: Path, notes: Notes, name: str, draw: random.Random, _begun: datetime) -> None:
    """Follow as a consumer that fails now and then, for ever; an interrupt ends an iteration and nothing else."""
    where = {"action": ["one", "dicts", "dicts-id", "doomed"]} if name == "picky" else None
    trail = ak.open(root, maintain=False)
    while True:
        try:
            follower = trail.follow(name, where=where, max_deliver=3, retry_s=0, poll_s=0.01, timeout_s=1)
        except LockedError:  # the process before is being killed
            continue
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            take(follower, notes, draw)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        follower.close()
        if draw.random() < 0.3:
            trail.close()
            trail = ak.open(root, maintain=False)


def take(follower: Follower, notes: Notes, draw: random.Random) -> None:
    """Acknowledge most of what is delivered."""
    for delivery in follower:
        seq = delivery.seq
        notes.write(("given", seq, delivery.attempt, delivery.missed))
        if seq % 997 == 5 or draw.random() < 0.01:
            delivery.fail("would not")
        else:
            delivery.ack()
            notes.write(("acknowledged", seq))
        if draw.random() < 0.001:
            break


def copy(root: Path, notes: Notes, name: str, draw: random.Random, begun: datetime) -> None:
    """Make copies for ever, and hold each to the trail it was made of."""
    start = begun - KEPT
    target = root.with_name(f"copy-{name}")
    source = ak.open(root, maintain=False)
    while True:
        shutil.rmtree(target, ignore_errors=True)
        summary = auditkit.backups.backup(source if draw.random() < 0.5 else root, target)
        with ak.open(target, maintain=False) as made:
            end = made.end_seq
            assert end == summary.end_seq, f"a copy of {summary.end_seq} events ends at {end}"
            found = digest(made.range(start, columns=BODY))
            if (
                end > source.end_seq
            ):  # left without a mark by a dead writer, and just being adopted by another one
                continue
            with suppress(PrunedError):  # the source cannot tell any more what was expired then
                expected = digest(source.at(end).range(start, columns=BODY))
                assert found == expected, f"a copy shows {found}, its source {expected}"
            if draw.random() < 0.3:
                assert made.append(action="branch").wait(60) == end
                made.flush()
        notes.write(("copied", end))


Role = Callable[[Path, Notes, str, random.Random, datetime], None]
ROLES: dict[str, Role] = {
    **dict.fromkeys(KINDS, produce),
    "maintainer": maintain,
    "reader": ask,
    "brief": ask,
    "mailer": consume,
    "picky": consume,
    "copier": copy,
}


def main(root: Path, notes: Path, begun: datetime) -> None:
    """Fork off what standard input asks for."""
    extend.BULK_ROWS = BULK
    auditkit.keep.maintain.FLUSH_AT_EVENTS, auditkit.keep.maintain.LOOK_EVERY_S = FLUSH_AT, 0.2
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reaped by the system
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only for producers that append
    for line in sys.stdin:
        name, seed = line.split()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.nice(0 if name == "reader" else 5)  # questions keep up with what is appended
            try:
                ROLES[name](root, Notes(notes / f"{name}.notes"), name, random.Random(seed), begun)
            except BaseException as exc:
                import traceback

                (notes / f"{name}.error").write_text(f"{name}: {''.join(traceback.format_exception(exc))}")
            finally:
                os._exit(1)
        os.write(1, f"{pid}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), datetime.fromisoformat(sys.argv[3]).astimezone(UTC))
