"""Damage of every kind to every file of a trail: one table, one loop.

Whatever is damaged, an answer is the undamaged one or an error that names the file; only the last bytes of the
queue's last file, where no later frame vouches for them, may count as a torn write and be cut.  Each damaged copy is
asked everything by a new reader, then appended to and flushed, then asked again.  All of it happens in processes of
its own, so that a crash of an interpreter is seen as one.
"""

import itertools
import multiprocessing
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from auditkit.api import Trail
from auditkit.disk.durable import PosixDisk
from auditkit.errors import ClosedError, CorruptionError, FormatError, PrunedError
from auditkit.keep.compact import compact
from auditkit.opening import create, open_trail
from auditkit.queue import payload
from auditkit.store.catalog import change_catalog
from auditkit.store.records import CatalogChange, FeatureRow
from auditkit.timerange import from_us
from auditkit.write import extend
from tests.fakes import ManualClock
from tests.oracle import QueueFile, read_queue_file, read_trail

PAGE = 4096
CATALOG = "catalog.sqlite"
NOTHING_LOST = 1 << 62
SPREAD = 2
CHUNKS = 8
SHARED_MEMORY = Path("/dev/shm")


KEYED: dict[str, Any] = {"action": "keyed", "id": "key of old", "ts": "2026-11-22T06:00:00Z"}


class MemoryDisk(PosixDisk):
    """A disk whose syncs cost nothing."""

    def sync(self, fd: int) -> None:
        """Do nothing."""

    def sync_data(self, fd: int) -> None:
        """Do nothing."""

    def sync_directory(self, path: Path) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Damage:
    """One thing done to one file; `where` says in words what lay there.

    `flip` turns bit `size` of the byte at `at`; `zero` clears `size` bytes from there; `cut` ends the file there;
    `rubbish` appends `size` bytes; `delete` removes the file, `swap` puts the file `other` in its place, and `sql`
    is a statement that changes the catalog as if its own checks had been kept.
    """

    kind: str
    path: str
    at: int = 0
    size: int = 0
    where: str = ""
    other: str = ""
    keeps: int = NOTHING_LOST
    """Events with seqs before this are vouched for: no torn write explains their loss."""

    def do(self, root: Path) -> None:
        """Damage the trail at `root`."""
        path = root / self.path
        if self.kind == "delete":
            path.unlink()
        elif self.kind == "swap":
            shutil.copyfile(root.parent / self.other, path)
        elif self.kind == "sql":
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(self.other)
        else:
            path.write_bytes(self._changed(bytearray(path.read_bytes())))

    def _changed(self, data: bytearray) -> bytearray:
        if self.kind == "flip":
            data[self.at] ^= 1 << self.size
        elif self.kind == "zero":
            end = min(len(data), self.at + self.size)
            data[self.at : end] = bytes(end - self.at)
        elif self.kind == "cut":
            del data[self.at :]
        else:
            data += bytes((7 * number + self.at) % 256 for number in range(self.size))
        return data


def build(root: Path) -> int:
    """Make a trail that has every kind of frame, row and file; return the moment its clock stands at."""
    clock, disk = ManualClock(), MemoryDisk()
    clock.advance(days=-6)
    with (
        pytest.MonkeyPatch.context() as patched,
        create(root, retention="30d", maintain=False, clock=clock, disk=disk) as trail,
    ):
        patched.setattr(extend, "BULK_ROWS", 40)
        patched.setattr(payload, "STREAM_ROWS", 8)
        patched.setattr(payload, "PAYLOAD_ROWS", 16)
        for _ in range(2):
            trail.extend(events(trail, 4, keyed=True)).wait()
            trail.flush()
            clock.advance(days=1)
        trail.set_retention("3d", confirm=True)
        trail.rollup("1d", by="action")
        trail.hold("case", trail.now(), reason="asked for")
        trail.release("case", reason="settled")
        trail.extend(events(trail, 6, keyed=True)).wait()
        trail.flush()
        clock.advance(days=2)
        trail.extend(events(trail, 3, keyed=True)).wait()
        trail.maintain(now=from_us(clock.now_us()))
        trail.prune(now=from_us(clock.now_us()))
        clock.advance(hours=2)
        trail.append(action="before.bulk", id="key").wait()
        trail.extend(events(trail, 40)).wait()  # leaves a jump in the queue
        compact(trail.handle, least=2)
        for number in range(3):
            trail.append(action="single", id=f"single {number}", value=number).wait()
        trail.extend(events(trail, 20, keyed=True)).wait()  # in two parts
        trail.extend(pl.DataFrame(events(trail, 20))).wait()  # Arrow, in three blocks
        trail.append(**KEYED).wait()
        trail.set_retention("4d", confirm=True)
        trail.handle.active_queue().rotate()  # as a flush that died
        clock.advance(hours=1)
        trail.extend(events(trail, 3, keyed=True)).wait()
        trail.extend(pl.DataFrame(events(trail, 10))).wait()
        trail.extend(events(trail, 2)).wait()
    change_catalog(root / CATALOG, CatalogChange(features=[FeatureRow(name="of a later version")]))
    with max((root / "queue").iterdir()).open("ab") as newest:
        newest.write(bytes(500))  # room, as a writer that died leaves it
    return clock.us


def events(trail: Trail, count: int, *, keyed: bool = False) -> list[dict[str, Any]]:
    """Return events of the hour before now."""
    now = trail.now()
    return [
        {
            "action": ("order.paid", "order.sent")[number % 2],
            "actor": f"actor {number % 3}",
            "resource": f"order {number}",
            "value": number / 4,
            "id": f"{now:%dT%H} {count} {number}" if keyed else None,
            "ts": now - timedelta(minutes=number),
        }
        for number in range(count)
    ]


def damages(root: Path, *, spread: int) -> Iterator[Damage]:
    """Yield the table: about `spread` flips per region, and everything that happens to whole files."""
    for number, name in enumerate(sorted(path.name for path in (root / "queue").iterdir())):
        yield from queue_damages(root, f"queue/{name}", last=number > 0, spread=spread)
    segments = sorted(path.relative_to(root).as_posix() for path in root.glob("segments/*/*"))
    for segment in segments[-2:]:
        yield from segment_damages(root, segment, spread=spread)
    for segment in segments:
        yield Damage("delete", segment)
    for one, other in itertools.permutations(segments[-3:], 2):
        yield Damage("swap", one, other=f"{root.name}/{other}", where="another segment of this trail")
    yield from catalog_damages(root, spread=spread)


def spots(start: int, end: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield about `count` (byte, bit) pairs of a region, each bit in turn."""
    step = max(1, (end - start) // count)
    for number, at in enumerate(range(start, end, step)):
        yield at, (number * 3 + at) % 8


def queue_damages(root: Path, name: str, *, last: bool, spread: int) -> Iterator[Damage]:
    """Yield what happens to a queue file."""
    file = read_queue_file(root / name)
    regions = [("header", 0, 64)]
    for frame in file.frames:
        kind = frame.kind.decode()
        regions.append((f"{kind} header", frame.offset, frame.end - len(frame.payload)))
        if frame.payload:
            regions.append((f"{kind} payload", frame.end - len(frame.payload), frame.end))
    regions.append(("room", file.end, file.size))
    for where, start, end in regions:
        for at, bit in spots(start, end, spread):
            yield Damage("flip", name, at, bit, where)
        yield Damage("cut", name, start, where=where, keeps=torn(file, start, file.size, last))
        middle = (start + end) // 2
        yield Damage("cut", name, middle, where=where, keeps=torn(file, middle, file.size, last))
        yield Damage("zero", name, start, end - start, where, keeps=torn(file, start, end, last))
        yield Damage("zero", name, start, file.size, where, keeps=torn(file, start, file.size, last))
    yield Damage("cut", name, 0)
    yield Damage("rubbish", name, 5, 3)
    yield Damage("rubbish", name, 6, 900)
    if not last:
        yield Damage("delete", name, where="a queue file with a successor")
    yield Damage("swap", name, other=f"other/{name}", where="another trail's")
    for path in (root / "queue").iterdir():
        if path.name != Path(name).name:
            yield Damage(
                "swap", name, other=f"{root.name}/queue/{path.name}", where="another of this trail's"
            )


def torn(file: QueueFile, start: int, end: int, last: bool) -> int:
    """Return which seqs must survive when the bytes `[start, end)` are gone: all that a later frame vouches for."""
    later = any(frame.offset >= end and frame.durable > start for frame in file.frames)
    if not last or later or start < 64:
        return NOTHING_LOST
    whole = [frame for frame in file.frames if frame.end <= start and frame.kind not in (b"AKPT", b"AKBL")]
    return whole[-1].seq + whole[-1].count if whole else file.first_seq


def segment_damages(root: Path, name: str, *, spread: int) -> Iterator[Damage]:
    """Yield what happens to a segment: magic, schema, dictionaries, batches, footer, all of it."""
    size = (root / name).stat().st_size
    for start, end in ((0, 16), (16, size - 900), (size - 900, size - 10), (size - 10, size)):
        for at, bit in spots(start, end, spread * 2):
            yield Damage("flip", name, at, bit, f"bytes {start} to {end} of {size}")
    for at in (0, 7, size // 2, size - 1):
        yield Damage("cut", name, at)
    for at in (0, size // 2, size - 64):
        yield Damage("zero", name, at, 64)
    yield Damage("rubbish", name, 5, 1)
    yield Damage("rubbish", name, 5, 5000)


TABLES = (
    "trail",
    "policies",
    "moments",
    "flushes",
    "segments",
    "tombstones",
    "replaced",
    "prune_states",
    "features",
    "contents",
)

DELETE_ONE = "DELETE FROM {table} WHERE rowid = (SELECT {row}(rowid) FROM {table})"
DELETE_ALL = "DELETE FROM {table}"
REPEAT = "INSERT INTO {table} SELECT * FROM {table} LIMIT 1"
TURN = "UPDATE {table} SET rowid = 1000 WHERE rowid = (SELECT min(rowid) FROM {table})"


def catalog_damages(root: Path, *, spread: int) -> Iterator[Damage]:
    """Yield what happens to the catalog: header, schema, every cell of every table, free space, pages, rows."""
    data = (root / CATALOG).read_bytes()
    for at in range(100):
        for bit in (at % 8, (at + 5) % 8) if at > 15 else (at % 8,):
            yield Damage("flip", CATALOG, at, bit, "header")
    for page in range(0, len(data), PAGE):
        where = f"page {page // PAGE + 1}"
        start = page + (100 if page == 0 else 0)
        content = page + (int.from_bytes(data[start + 5 : start + 7]) or PAGE)
        used = min(max(content, start + 8), page + PAGE)
        for at, bit in spots(start, start + 24, 24):
            yield Damage("flip", CATALOG, at, bit, f"{where}: header")
        for at, bit in spots(start + 24, used, 3):
            yield Damage("flip", CATALOG, at, bit, f"{where}: free space")
        for at, bit in spots(used, page + PAGE, spread * 5):
            yield Damage("flip", CATALOG, at, bit, f"{where}: cells")
        yield Damage("zero", CATALOG, page, PAGE, where)
        yield Damage("zero", CATALOG, page + PAGE // 2, PAGE // 2, where)
        yield Damage("cut", CATALOG, page, where=where)
        yield Damage("cut", CATALOG, page + PAGE // 2, where=where)
    yield Damage("rubbish", CATALOG, 5, 1)
    yield Damage("rubbish", CATALOG, 5, PAGE)
    yield Damage("swap", CATALOG, other=f"other/{CATALOG}", where="another trail's")
    for table in TABLES:
        for row in ("min", "max"):
            yield Damage("sql", CATALOG, other=DELETE_ONE.format(table=table, row=row))
        yield Damage("sql", CATALOG, other=DELETE_ALL.format(table=table))
        if table not in ("contents", "segments"):
            yield Damage("sql", CATALOG, other=REPEAT.format(table=table))
    for table in ("policies", "flushes"):
        yield Damage("sql", CATALOG, other=TURN.format(table=table))


Answers = dict[str, Any]
PAST = (3, 6, 13, 19, 45, 75, 90)


def questions(trail: Trail, seqs: Sequence[int]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield everything that is asked, by name; `seqs` are views of the past."""
    yield "rows", lambda: trail.range(own=True).sort("seq").rows()
    yield "range", lambda: trail.range("2026-11-20", columns=["seq", "ts", "id"]).rows()
    yield "group_by", lambda: trail.group_by(["actor", "action"], every="1d").rows()
    yield "tail", lambda: trail.tail(7).rows()
    yield "stats", lambda: figures(trail)
    for seq in seqs:
        yield f"at {seq}", partial(past, trail, seq)


def figures(trail: Trail) -> Any:
    """Return what stats say, but for sizes of the queue."""
    found = trail.stats()
    queue = found.queue
    counts = (queue.depth, queue.accepted, queue.committed, queue.flushed)
    return counts, found.segments, found.retention, trail.tz, trail.trail_id, trail.retention


def past(trail: Trail, seq: int) -> Any:
    """Return what a view of the past says."""
    view = trail.at(seq)
    whole: Any
    try:
        whole = view.range(own=True).rows()
    except PrunedError as exc:
        view = trail.at(seq, allow_pruned=True)
        whole = str(exc), view.range(own=True).rows()
    return whole, view.now(), view.stats().retention


def asked(root: Path, us: int, seqs: Sequence[int] = PAST) -> Answers:
    """Return what a new reader answers; an error of the right kind is an answer too."""
    try:
        with open_trail(root, clock=clock_at(us), maintain=False, disk=MemoryDisk()) as trail:
            return {name: outcome(root, question) for name, question in questions(trail, seqs)}
    except (CorruptionError, FormatError) as exc:
        return {"rows": named(root, exc)}


def clock_at(us: int) -> ManualClock:
    """Return a clock that stands at a moment."""
    clock = ManualClock()
    clock.us = us
    return clock


def outcome(root: Path, question: Callable[[], Any]) -> Any:
    """Return the answer or the error, if that is one that may be."""
    try:
        return question()
    except (CorruptionError, FormatError) as exc:
        return named(root, exc)
    except ClosedError as exc:  # what a writer says from its first failure on
        if not isinstance(exc.__cause__, CorruptionError):
            raise
        return named(root, exc.__cause__)


def named(root: Path, error: Exception) -> Exception:
    """Return an error of damage, having checked that it says where."""
    assert str(root) in str(error), f"names no file: {error}"
    if isinstance(error, CorruptionError):
        assert error.path.is_relative_to(root), f"names another place: {error}"
        exact = error.offset is not None or "seq" in error.reason
        vague = error.path.name in (CATALOG, "queue") or error.path.suffix == ".arrow"
        assert exact or vague, f"says not where: {error}"
    return error


def unlike(found: Answers, expected: Answers, keeps: int) -> str | None:
    """Say what is wrong with the answers, if anything is."""
    torn_tail = False
    rows = found["rows"]
    if not isinstance(rows, Exception) and rows != expected["rows"]:
        last = rows[-1][0] if rows else -1
        if rows != [row for row in expected["rows"] if row[0] <= last]:
            return f"other rows: {len(rows)} for {len(expected['rows'])}"
        if last + 1 < keeps:
            return f"silently lost what was vouched for: ends at {last}, {keeps} to be kept"
        torn_tail = True
    for name, answer in found.items():
        if name == "rows" or isinstance(answer, Exception) or torn_tail:
            continue
        if answer != expected[name]:
            return f"{name}: found {str(answer)[:300]}, expected {str(expected[name])[:300]}"
    return None


def tried(root: Path, us: int, damage: Damage, expected: Answers) -> str | None:
    """Damage a trail, ask it, append to it and flush it, ask again; say what was wrong, if anything."""
    damage.do(root)
    before = asked(root, us, PAST if damage.kind in ("sql", "swap") else PAST[damage.at % len(PAST) :][:1])
    problem = unlike(before, expected, damage.keeps)
    if problem is not None:
        return f"asked: {problem}"
    appended = outcome(root, lambda: appended_and_flushed(root, us))
    after = outcome(root, lambda: rows_of(root, us))
    if isinstance(after, Exception):
        return None
    if isinstance(before["rows"], Exception):
        return None if after == expected["rows"] else "after a write, rows that could not be read before"
    base = before["rows"]
    if after[: len(base)] != base or len(after) - len(base) > 1:
        return f"after a write: {len(after)} rows for {len(base)}"
    if not isinstance(appended, Exception) and (len(after) != len(base) + 1 or after[-1][0] != appended):
        return f"acknowledged seq {appended} is not there"
    return None


def appended_and_flushed(root: Path, us: int) -> int:
    """Repeat a queued event, append a new one and flush; return its seq."""
    with open_trail(root, clock=clock_at(us), maintain=False, disk=MemoryDisk()) as trail:
        again = trail.append(**KEYED)
        assert again.wait() is not None
        assert again.duplicates == 1, f"took {KEYED} for new"
        seq = trail.append(action="after").wait()
        assert seq is not None
        trail.flush()
        return seq


def rows_of(root: Path, us: int) -> list[tuple[Any, ...]]:
    """Return all rows, as a new reader sees them."""
    with open_trail(root, clock=clock_at(us), maintain=False, disk=MemoryDisk()) as trail:
        return trail.range(own=True).sort("seq").rows()


def try_all(folder: Path, us: int, chunk: list[Damage]) -> list[str]:
    """Try each damage on a fresh copy; return a line for each that was not told rightly."""
    expected = asked(folder / "audit", us)
    problems = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for damage in chunk:
            root = Path(scratch) / "audit"
            for name in ("audit", "other"):
                shutil.copytree(folder / name, Path(scratch) / name, dirs_exist_ok=True)
            try:
                problem = tried(root, us, damage, expected)
            except BaseException as exc:
                problem = f"leaked {type(exc).__module__}.{type(exc).__name__}: {exc}"
            if problem is not None:
                problems.append(f"{damage}: {problem}")
            shutil.rmtree(root)
    return problems


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, where there is one."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else tmp_path) as made:
        yield Path(made)


def test_no_damage_changes_an_answer_silently(folder: Path) -> None:
    """Each damage is an error that names the file, a torn tail, or of no consequence."""
    us = build(folder / "audit")
    build(folder / "other")
    stored = read_trail(folder / "audit")
    assert all(stored.catalog.values())
    kinds = {frame.kind for file in stored.queue for frame in file.frames}
    assert kinds == {b"AKEV", b"AKPT", b"AKCM", b"AKNF", b"AKBL"}
    assert not any(isinstance(answer, Exception) for answer in asked(folder / "audit", us).values())
    table = list(damages(folder / "audit", spread=SPREAD))
    chunks = [table[start::CHUNKS] for start in range(CHUNKS)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.map(try_all, [folder] * CHUNKS, [us] * CHUNKS, chunks)
        problems = sorted(itertools.chain.from_iterable(found))
    assert not problems, f"{len(problems)} of {len(table)}:\n" + "\n".join(problems)


def test_a_trail_without_any_queue_file_is_no_trail(folder: Path) -> None:
    """There always is one: its absence is told, not taken for an empty queue."""
    us = build(folder / "audit")
    for path in (folder / "audit" / "queue").iterdir():
        path.unlink()
    found = asked(folder / "audit", us)
    assert all(isinstance(answer, CorruptionError) for answer in found.values())
    assert isinstance(
        outcome(folder / "audit", lambda: appended_and_flushed(folder / "audit", us)), CorruptionError
    )
