"""Dead letters: inputs that could not become events, kept with the reason, so that none vanishes silently.

One JSON object per line in `dead-letters/<UTC date>.jsonl`, appended and synced: the fields of `DeadLetter` and last
`crc`, the CRC-32 of the object without it.
No line is ever rewritten, so a line's number stays its name.  A last line without its end was never acknowledged: the
next writer cuts it off.  Any other line that does not read is damage, and is returned as a letter that says so.

A day's file is removed once the whole day is expired by the longest retention rule.
"""

import json
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from auditkit.disk.durable import Disk
from auditkit.disk.holder import holder_of
from auditkit.disk.inside import open_file
from auditkit.disk.layout import Layout, Modes
from auditkit.errors import CorruptionError, LockedError, shorten
from auditkit.store.records import Count, Instant, Seq
from auditkit.timerange import from_us, to_us

LOCK_TIMEOUT_S = 30.0
MAX_INPUT_CHARACTERS = 4 * 1024 * 1024
MOST_LINE_BYTES = 64 * 1024 * 1024
"""No line is longer: a character of the input takes up to twelve bytes."""

_DAY_US = 24 * 3600 * 1_000_000
_CRC = b', "crc": '


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One refused input: when, why, which field, where in its source (line, from 1), and the input as given.

    One of an import names the file, how many lines it takes, and the digest of what was imported how: an import that is
    stopped and goes on may keep the same letter, of one digest and line, a second time, which counts for nothing.

    One that a consumer gave up on names the consumer and the event's seq instead of an input: the event is in the
    trail, for as long as that is retained.
    """

    recorded_us: Instant
    reason: str
    field: str | None = None
    line: Count | None = None
    input: str = ""
    lines: Count | None = None
    file: str | None = None
    digest: str | None = None
    consumer: str | None = None
    seq: Seq | None = None
    late: bool = False
    """Whether it was expired on arrival: with a longer policy, or held, it can become an event."""
    damaged: bool = False
    """Whether the stored line does not read any more: `input` is what there is of it."""


def keep_letters(disk: Disk, layout: Layout, modes: Modes, letters: Sequence[DeadLetter]) -> None:
    """Append letters to the file of their day.

    On return they are durable.  If it raises, those of a day are all kept or none of them, as far as the file can be
    cut back to what was durable before: only a process that dies, or a disk that fails again, leaves others.
    """
    by_day: dict[str, list[bytes]] = {}
    for letter in letters:
        by_day.setdefault(f"{from_us(letter.recorded_us):%Y-%m-%d}", []).append(_line(letter))
    for day, lines in by_day.items():
        path = layout.dead_letters / f"{day}.jsonl"
        fd = _open_locked(disk, path, modes)
        try:
            size = disk.size(fd)
            end = _whole_lines(disk, fd, size, path)
            if end < size:  # what a writer that died left unfinished
                disk.truncate(fd, end)
            try:
                disk.write(fd, b"".join(lines), end)
                disk.sync(fd)
            except BaseException:
                with suppress(OSError):
                    disk.truncate(fd, end)
                raise
        finally:
            disk.close(fd)
        # Also where the file was there: the writer that created it may have died before this.
        disk.sync_directory(layout.dead_letters)


def sync_day(disk: Disk, layout: Layout, day: str) -> None:
    """Make a day's letters durable, which a process that died may have written and not synced."""
    fd = disk.open(layout.dead_letters / f"{day}.jsonl", write=True)
    try:
        disk.sync(fd)
    finally:
        disk.close(fd)
    disk.sync_directory(layout.dead_letters)


def read_letters(layout: Layout) -> Iterator[DeadLetter]:
    """Yield all dead letters, oldest first."""
    return (letter for _name, letter in read_numbered(layout))


def read_numbered(layout: Layout) -> Iterator[tuple[str, DeadLetter]]:
    """Yield every dead letter with its name, `<date>:<line>`, oldest first.

    A damaged line is yielded as a letter whose reason names file, line and offset.  A last line without its end is
    left out: it was never acknowledged.  So is what an import kept a second time after it had been stopped.
    """
    seen: dict[str, set[int | None]] = {}
    for day, path in _days(layout):
        offset = 0
        for number, line in enumerate(_lines(path), 1):
            letter = _letter(line) or _damaged(day, path, number, offset, line)
            offset += len(line)
            if letter.digest is not None:
                lines = seen.setdefault(letter.digest, set())
                if letter.line in lines:
                    continue
                lines.add(letter.line)
            yield f"{path.stem}:{number}", letter


def expired_days(layout: Layout, cutoff_us: int) -> list[Path]:
    """Return the files of the days that ended at or before a moment."""
    return [path for day, path in _days(layout) if to_us(day) + _DAY_US <= cutoff_us]


def remove_day(disk: Disk, path: Path) -> None:
    """Remove a day's letters; on return they are gone durably.  A day to which letters are added just now stays."""
    try:
        fd = disk.open(path, write=True)
    except FileNotFoundError:
        return
    try:
        if disk.lock(fd):
            disk.unlink(path)
            disk.sync_directory(path.parent)
    finally:
        disk.close(fd)


def count_letters(path: Path) -> int:
    """Return how many letters a day's file holds."""
    return sum(1 for _ in _lines(path))


def _days(layout: Layout) -> Iterator[tuple[datetime, Path]]:
    """Yield the beginning of each day with letters and its file, oldest first."""
    for day, path in layout.letter_files():
        with suppress(ValueError):  # no date
            yield datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC), path  # noqa: TID251 -- our own name


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the whole lines of a day's file; none where it expired meanwhile."""
    with suppress(FileNotFoundError), os.fdopen(open_file(path, path.parents[1]), "rb") as file:
        while line := file.readline(MOST_LINE_BYTES):
            if line.endswith(b"\n"):
                yield line
            elif len(line) == MOST_LINE_BYTES:
                raise endless_line(path, file.tell() - len(line))


def _open_locked(disk: Disk, path: Path, modes: Modes) -> int:
    """Open a day's file, created where there is none, with its lock, which closing the file releases."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        fd = _open_or_create(disk, path, modes)
        try:
            while not disk.lock(fd):
                if time.monotonic() > deadline:
                    holder = holder_of(path)
                    raise LockedError(f"{path}: held by {holder} for more than {LOCK_TIMEOUT_S:g} s")
                time.sleep(0.001)
            if disk.status(fd).st_nlink:
                return fd
        except BaseException:
            disk.close(fd)
            raise
        disk.close(fd)  # removed between opening and locking


def _open_or_create(disk: Disk, path: Path, modes: Modes) -> int:
    try:
        return disk.open(path, write=True)
    except FileNotFoundError:
        pass
    try:
        return disk.open(path, write=True, create_mode=modes.file)
    except FileExistsError:  # created meanwhile by another writer
        return disk.open(path, write=True)


def _whole_lines(disk: Disk, fd: int, size: int, path: Path) -> int:
    """Return where the last whole line ends, looking backwards from the end of the file."""
    end = size
    while end > 0:
        if size - end > MOST_LINE_BYTES:
            raise endless_line(path, end)
        begin = max(0, end - 65536)
        found = disk.read(fd, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def endless_line(path: Path, offset: int) -> CorruptionError:
    """Return the error for a line that no writer has made, and that reading may never come to the end of."""
    return CorruptionError(path, offset=offset, reason=f"a line of more than {MOST_LINE_BYTES:,} bytes")


def _letter(line: bytes) -> DeadLetter | None:
    """Return the letter of a whole line, `None` where it is damaged."""
    body, mark, crc = line.rpartition(_CRC)
    body += b"}"
    if not mark or crc != b"%d}\n" % zlib.crc32(body):
        return None
    try:
        fields = json.loads(body)  # not msgspec.json, which refuses lone surrogates
        return msgspec.convert(fields, DeadLetter)
    except (ValueError, RecursionError):
        return None


def _damaged(day: datetime, path: Path, number: int, offset: int, line: bytes) -> DeadLetter:
    return DeadLetter(
        recorded_us=to_us(day),
        reason=f"damaged: {path.name}, line {number}, offset {offset}: checksum mismatch, or no letter",
        input=line[:-1].decode(errors="backslashreplace")[:MAX_INPUT_CHARACTERS],
        damaged=True,
    )


def describe_input(given: object) -> str:
    """Return an input as text that can be kept, whatever it is.

    >>> describe_input({"action": None})
    '{"action": null}'
    """
    if isinstance(given, str):
        text = given
    else:
        try:
            text = json.dumps(given, ensure_ascii=False, default=str)
        except (TypeError, ValueError, RecursionError):
            text = shorten(given, limit=MAX_INPUT_CHARACTERS)
    return text[:MAX_INPUT_CHARACTERS]


def _line(letter: DeadLetter) -> bytes:
    fields: dict[str, object] = {
        "recorded_us": letter.recorded_us,
        "reason": letter.reason,
        "field": letter.field,
        "line": letter.line,
        "input": letter.input,
    }
    if letter.digest is not None:
        fields |= {"lines": letter.lines, "file": letter.file, "digest": letter.digest}
    if letter.late:
        fields |= {"late": True}
    if letter.consumer is not None:
        fields |= {"consumer": letter.consumer, "seq": letter.seq}
    body = json.dumps(fields).encode()  # ASCII only: a lone surrogate in the input survives as an escape
    return body[:-1] + _CRC + b"%d}\n" % zlib.crc32(body)
