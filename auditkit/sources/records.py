"""What readers make of a file: records and what is unreadable between them, lines, and bytes that are counted.

A file is read as the bytes that its gzip stream and its encoding stand for, as UTF-8.  Positions and digests are of
these, so that a log and its compressed rotation are the same to an import.
"""

import codecs
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

from auditkit.errors import CorruptionError
from auditkit.event import MAX_ATTRS_BYTES

LONGEST = MAX_ATTRS_BYTES + 2  # the longest attrs and a line end
BUFFER_BYTES = 64 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Record(Struct, frozen=True, gc=False):
    """One record: its line (or row, from 1), its fields, the whole of it as JSON text, where it ends, and its lines."""

    line: int
    fields: Mapping[str, Any]
    text: str
    end: int = 0
    """How many bytes (or rows) of the file have been read with it."""
    lines: int = 1


class Unreadable(Struct, frozen=True, gc=False):
    """Something that is no record: the line it begins on, why, what stands there, where it ends, and its lines."""

    line: int
    reason: str
    input: str
    end: int = 0
    lines: int = 1


Item = Record | Unreadable


class Line(Struct, frozen=True, gc=False):
    """One physical line without its end.  `length` counts all its bytes; `content` is cut where that is too many."""

    number: int
    content: bytes
    length: int
    end: int
    """Where it ends in the file, before its line end: whether it has one is no difference."""
    begin: int
    """Where the line before it ends."""
    finished: bool = True
    """Whether it has an end: the last line of a file that is being written may have none."""

    @property
    def overlong(self) -> bool:
        """Whether the line is longer than an event may be, and cut."""
        return self.length > LONGEST

    @property
    def shown(self) -> str:
        """The line as text, bytes that are not UTF-8 as escapes."""
        return self.content.decode(errors="backslashreplace")

    def unreadable(self, reason: str) -> Unreadable:
        """Return the line as something that is no record.

        One without an end may still be being written: it ends where the line before it does, and the next import looks at it again.
        """
        return Unreadable(self.number, reason, self.shown, self.end if self.finished else self.begin)


OVERLONG = "longer than an event may be ({} bytes); only its beginning is kept"


def physical_lines(stream: IO[bytes]) -> Iterator[Line]:
    """Yield the lines of a stream, numbered from 1; a byte order mark at its beginning is left out."""
    number = end = begin = 0
    readline = stream.readline
    while content := readline(LONGEST):
        number += 1
        length = len(content)
        finished = content.endswith(b"\n")
        while not finished and (more := readline(MAX_ATTRS_BYTES)):
            length += len(more)
            finished = more.endswith(b"\n")
        end += length
        if number == 1:
            content = content.removeprefix(BYTE_ORDER_MARK)
        bare = content.rstrip(b"\r\n")
        line = Line(number, bare, length, end - (len(content) - len(bare)), begin, finished)
        begin = line.end
        yield line


@dataclass(slots=True, eq=False)
class Digested(io.RawIOBase):
    """A binary stream whose SHA-256 is known at the positions that are asked for, in rising order.

    It fills the buffers it is given, so that a buffered reader above it can look ahead.
    """

    source: IO[bytes]
    _hash: Any = field(default_factory=hashlib.sha256)
    _hashed: int = 0
    _waiting: list[bytes] = field(default_factory=list)
    """What was read and is not hashed yet."""

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return how many bytes there were."""
        view, filled = memoryview(buffer), 0
        while filled < len(view) and (content := self.source.read(len(view) - filled)):
            view[filled : filled + len(content)] = content
            filled += len(content)
        if filled:
            self._waiting.append(bytes(view[:filled]))
        return filled

    def digest(self, position: int) -> str:
        """Return the SHA-256, in hexadecimal, of all bytes before a position."""
        waiting = b"".join(self._waiting)
        rest = position - self._hashed
        self._hash.update(waiting[:rest])
        self._hashed, self._waiting = position, [waiting[rest:]]
        return str(self._hash.hexdigest())


class Transcoded(io.RawIOBase):
    """A binary stream of another encoding, read as UTF-8; raises `CorruptionError` for what is not in it."""

    def __init__(self, source: IO[bytes], encoding: str, name: str) -> None:
        self._source = source
        self._encoding, self._name = encoding, name
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at least a byte of UTF-8 into a buffer, unless the stream is at its end."""
        view = memoryview(buffer)
        while not self._ready:
            content = self._source.read(BUFFER_BYTES)
            try:
                self._ready = self._decoder.decode(content, final=not content).encode()
            except UnicodeError as exc:
                reason = f"not {self._encoding} ({first_sentence(exc)})"
                raise CorruptionError(Path(self._name), offset=None, reason=reason) from exc
            if not content:
                break
        count = min(len(view), len(self._ready))
        view[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


def first_sentence(exc: BaseException) -> str:
    """Return the first line of an error's message, without full stop."""
    return (str(exc).splitlines() or [type(exc).__name__])[0].rstrip(".")
