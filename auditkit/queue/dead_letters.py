"""Dead letters: inputs that could not become events, kept with the reason, so that nothing vanishes silently.

One JSON object per line in `dead-letters/<UTC date>.jsonl`; appended and synced, never rewritten.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from auditkit.disk.durable import Disk
from auditkit.disk.layout import Layout, Modes
from auditkit.errors import LockedError
from auditkit.timerange import from_us

LOCK_TIMEOUT_S = 30.0
MAX_INPUT_CHARACTERS = 4 * 1024 * 1024


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One refused input: when, why, which field, where in its source (line, from 1), and the input as given.

    One that a consumer gave up on is an event of the trail: it has the consumer's name and the event's seq.
    """

    recorded_us: int
    reason: str
    field: str | None
    line: int | None
    input: str
    consumer: str | None = None
    seq: int | None = None


def keep_letters(disk: Disk, layout: Layout, modes: Modes, letters: Sequence[DeadLetter]) -> None:
    """Append letters to the file of their day; on return they are durable."""
    by_day: dict[str, list[bytes]] = {}
    for letter in letters:
        by_day.setdefault(f"{from_us(letter.recorded_us):%Y-%m-%d}", []).append(_line(letter))
    for day, lines in by_day.items():
        path = layout.dead_letters / f"{day}.jsonl"
        fd = _open_or_create(disk, path, modes)
        try:
            _lock(disk, fd, path)
            end = disk.status(fd).st_size
            # A line that a dead writer left unfinished is closed first, so that it spoils none but itself.
            torn = end > 0 and disk.read(fd, 1, end - 1) != b"\n"
            disk.write(fd, (b"\n" if torn else b"") + b"".join(lines), end)
            disk.sync(fd)
        finally:
            disk.close(fd)
        disk.sync_directory(
            layout.dead_letters
        )  # also where it was there: its creator may have died before this


def _lock(disk: Disk, fd: int, path: Path) -> None:
    """Take the file's lock, which others hold for one append only; closing the file gives it back."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while not disk.lock(fd):
        if time.monotonic() > deadline:
            raise LockedError(f"{path}: held by another process for more than {LOCK_TIMEOUT_S:g} s")
        time.sleep(0.001)


def _open_or_create(disk: Disk, path: Path, modes: Modes) -> int:
    try:
        return disk.open(path, write=True)
    except FileNotFoundError:
        pass
    try:
        return disk.open(path, write=True, create_mode=modes.file)
    except FileExistsError:  # somebody else was faster
        return disk.open(path, write=True)


def read_letters(layout: Layout) -> Iterator[DeadLetter]:
    """Yield all dead letters, oldest first; an unfinished line of a dead writer is passed over."""
    return (letter for _name, letter in read_numbered(layout))


def read_numbered(layout: Layout) -> Iterator[tuple[str, DeadLetter]]:
    """Yield every dead letter with its name, `<date>:<line>`, which stays its name: no line is ever rewritten."""
    for path in sorted(layout.dead_letters.glob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            try:  # not msgspec, which refuses lone surrogates
                letter = DeadLetter(**json.loads(line))
            except (ValueError, TypeError):
                continue
            yield f"{path.stem}:{number}", letter


def count_letters(layout: Layout) -> int:
    """Return how many dead letters the trail holds."""
    return sum(path.read_bytes().count(b"\n") for path in layout.dead_letters.glob("*.jsonl"))


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
            text = repr(given)
    return text[:MAX_INPUT_CHARACTERS]


def _line(letter: DeadLetter) -> bytes:
    fields = {
        "recorded_us": letter.recorded_us,
        "reason": letter.reason,
        "field": letter.field,
        "line": letter.line,
        "input": letter.input,
    }
    if letter.consumer is not None:
        fields |= {"consumer": letter.consumer, "seq": letter.seq}
    return (
        json.dumps(fields).encode() + b"\n"
    )  # ASCII only: a lone surrogate in the input survives as an escape
