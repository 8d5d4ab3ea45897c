r"""What a consumer remembers: how far it has come, and how often it was given the event it is at.

One file per consumer, `consumers/<name>.jsonl`, three lines of `SLOT_BYTES` each, never replaced, so that its lock
stays its lock.  Positions go to the first two lines in turn and are synced: the older one stays whole while the newer
is written, and whichever valid one has the higher generation counts.  The third line says which event is out for
delivery and for which time; it is written, not synced, so that it survives the consumer's death at no cost (after a
power cut an event may be given once more than counted).

Every line is a JSON object with the CRC-32 of its other fields, padded with spaces.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from auditkit.disk.durable import Disk, FileLock
from auditkit.disk.holder import holder_of
from auditkit.disk.inside import is_there, read_file
from auditkit.disk.layout import Layout, Modes, is_consumer_name
from auditkit.errors import (
    ClosedError,
    CorruptionError,
    FormatError,
    InvalidArgumentError,
    LockedError,
    shorten,
)
from auditkit.store.records import Count, Instant, Seq

FORMAT = 1
SLOT_BYTES = 512
FILE_BYTES = 3 * SLOT_BYTES
MOST_BYTES = 64 * 1024
"""A consumer's file is not larger, whatever a later version adds."""
MAX_REASON_CHARACTERS = 160

_T = TypeVar("_T", bound=Struct)


class Position(Struct, frozen=True, kw_only=True):
    """How far a consumer has come: every event before `next_seq` is acknowledged, given up or was never for it."""

    next_seq: Seq
    missed: Count = 0
    """Events that were expired or pruned before the consumer came to them."""
    given_up: Count = 0
    """Events that became dead letters after too many deliveries."""
    moved_us: Instant = 0
    """When the position was last moved, in microseconds since 1970 UTC."""


class Attempt(Struct, frozen=True, kw_only=True):
    """The event that is out for delivery, for which time (from 1), and why the delivery before failed."""

    seq: Seq
    count: Count
    reason: str | None = None


class _Moved(Position, frozen=True, kw_only=True):
    """A line that holds a position; the higher generation counts."""

    generation: Count


def check_name(name: str) -> str:
    """Return a consumer's name if it may become a file's name, else raise `ValueError`.

    >>> check_name("mailer-2")
    'mailer-2'
    """
    if not isinstance(name, str) or not is_consumer_name(name):
        raise InvalidArgumentError("consumer", name, "bad name", expected="1 to 64 of a-z, 0-9, _ and -")
    return name


class ConsumerFile:
    """One consumer's file, held by one process (and one object in it) at a time."""

    def __init__(self, disk: Disk, layout: Layout, modes: Modes, name: str) -> None:
        """Open and lock the file, creating it where there is none; raises `LockedError` where it is held."""
        self.name = check_name(name)
        self._disk = disk
        self.path = layout.consumer_file(name)
        _create(disk, layout, modes, self.path)
        self._lock = FileLock(disk, self.path)
        if not self._lock.try_acquire():
            self._lock.close()
            error = LockedError(
                f"consumer {name}: followed already by {holder_of(self.path)} (expected one follower at a time)"
            )
            error.add_note("close the other one, or follow under another name: each name gets every event")
            raise error
        self._fd: int | None = None
        self._failure: BaseException | None = None
        self._generation = 0
        self.position: Position | None = None
        """`None` for a consumer that has never had one."""
        self.attempt: Attempt | None = None
        try:
            self._fd = disk.open(self.path, write=True)
            self._load()
        except BaseException:
            self.close()
            raise

    @property
    def usable(self) -> bool:
        """Whether it is open and no write of it has failed."""
        return self._fd is not None and self._failure is None

    def move(self, position: Position) -> None:
        """Remember a position; on return it is durable.

        If it raises, the old or the new position counts after the next opening, and this object takes no more.
        """
        line = _line({"generation": self._generation + 1, **asdict(position)})
        slot = self._generation % 2
        fd = self._usable()
        try:
            if self.position is None:
                self._disk.write(fd, line + b" " * (FILE_BYTES - SLOT_BYTES), 0)
                self._disk.sync(fd)
                self._disk.sync_directory(self.path.parent)
            else:
                self._disk.write(fd, line, slot * SLOT_BYTES)
                self._disk.sync_data(fd)
        except BaseException as exc:
            self._failure = exc
            raise
        self._generation += 1
        self.position = position

    def forget(self) -> None:
        """Blank the file, so that the consumer is one that never had a position; on return that is durable.

        The file stays, and with it its lock.  If it raises, the position, the one before it or none counts after the
        next opening, and this object takes no more.
        """
        fd = self._usable()
        try:
            self._disk.write(fd, b" " * FILE_BYTES, 0)
            self._disk.sync_data(fd)
        except BaseException as exc:
            self._failure = exc
            raise
        self._generation, self.position, self.attempt = 0, None, None

    def note(self, attempt: Attempt) -> None:
        """Remember that an event is given to the consumer; survives the process, not a power cut."""
        reason = None if attempt.reason is None else ascii(attempt.reason)[1:-1][:MAX_REASON_CHARACTERS]
        kept = Attempt(seq=attempt.seq, count=attempt.count, reason=reason)
        self._disk.write(self._usable(), _line(asdict(kept)), 2 * SLOT_BYTES)
        self.attempt = kept

    def close(self) -> None:
        """Give the file and its lock back."""
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None
        self._lock.close()

    def _usable(self) -> int:
        if self._failure is not None:
            raise ClosedError(f"{self.path}: a write failed: {self._failure}") from self._failure
        if self._fd is None:
            raise ClosedError(f"{self.path}: this consumer is closed")
        return self._fd

    def _load(self) -> None:
        data = self._disk.read(self._usable(), FILE_BYTES, 0)
        found = _positions(data, self.path)
        if not found:
            if _ever_moved(data):
                raise CorruptionError(self.path, offset=0, reason="no position of this consumer can be read")
            return
        self._generation, self.position = found[-1]
        self.attempt = _entry(data[2 * SLOT_BYTES :], self.path, Attempt)


def read_positions(layout: Layout) -> Iterator[tuple[str, Position]]:
    """Yield name and position of every consumer, by name; takes no lock."""
    for name, path in layout.consumer_files():
        if found := _positions(read_file(path, layout.root, most=MOST_BYTES), path):
            yield name, found[-1][1]


def _create(disk: Disk, layout: Layout, modes: Modes, path: Path) -> None:
    if is_there(path):
        return
    disk.make_directory(layout.consumers, modes.directory)
    disk.sync_directory(layout.root)
    try:
        disk.close(disk.open(path, write=True, create_mode=modes.file))
    except FileExistsError:
        return  # created meanwhile by another process; which of them gets the lock is decided next


def _ever_moved(data: bytes) -> bool:
    """Return whether a position was ever synced: until then the file is short, or blank where positions are."""
    return len(data) >= FILE_BYTES and bool(data[: 2 * SLOT_BYTES].strip(b" \0"))


def _positions(data: bytes, path: Path) -> list[tuple[int, Position]]:
    """Return the valid positions with their generations, the newest last."""
    slots = [data[:SLOT_BYTES], data[SLOT_BYTES : 2 * SLOT_BYTES]]
    found = [moved for slot in slots if (moved := _entry(slot, path, _Moved)) is not None]
    return [
        (moved.generation, msgspec.convert(moved, Position, from_attributes=True))
        for moved in sorted(found, key=lambda moved: moved.generation)
    ]


def _line(fields: dict[str, Any]) -> bytes:
    fields = {"format": FORMAT, **fields}
    crc = zlib.crc32(json.dumps(fields).encode())
    return json.dumps({**fields, "crc": crc}).encode().ljust(SLOT_BYTES - 1) + b"\n"


def _entry(line: bytes, path: Path, kind: type[_T]) -> _T | None:
    """Return what a line says, `None` where it is damaged or makes no sense; raises `FormatError` for a later format."""
    try:
        entry = json.loads(line)
        crc = entry.pop("crc")
        if zlib.crc32(json.dumps(entry).encode()) != crc:
            return None
        version = entry.pop("format")
        if version == FORMAT:
            return msgspec.convert(entry, kind)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    raise FormatError(f"{path}: consumer format {shorten(version)} (expected {FORMAT}); use a newer auditkit")
