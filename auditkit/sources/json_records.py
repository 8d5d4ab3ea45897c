"""Lines of a file, and the records that JSON lines are.

A line that is no record becomes an `Unreadable` in its place, with line number and reason; reading goes on.  No
line is held beyond what an event can hold, however long it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from auditkit.event import MAX_ATTRS_BYTES

_LONGEST = MAX_ATTRS_BYTES + 2  # the longest attrs and a line end
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its line (or row, from 1), its fields, and the whole of it as JSON text."""

    line: int
    fields: Mapping[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that is no record: the line it begins on, why, and what stands there."""

    line: int
    reason: str
    input: str


Item = Record | Unreadable


@dataclass(frozen=True, slots=True)
class Line:
    """One physical line without its end.  `length` counts all its bytes; `content` is cut where that is too many."""

    number: int
    content: bytes
    length: int

    @property
    def overlong(self) -> bool:
        """Whether the line is longer than an event may be, and cut."""
        return self.length > _LONGEST


def physical_lines(stream: IO[bytes]) -> Iterator[Line]:
    """Yield the lines of a stream, numbered from 1; a byte order mark at its beginning is left out."""
    number = 0
    while content := stream.readline(_LONGEST):
        number += 1
        length = len(content)
        ended = content.endswith(b"\n")
        while not ended and (more := stream.readline(MAX_ATTRS_BYTES)):
            length += len(more)
            ended = more.endswith(b"\n")
        if number == 1:
            content = content.removeprefix(_BYTE_ORDER_MARK)
        yield Line(number, content.rstrip(b"\r\n"), length)


def json_lines(stream: IO[bytes]) -> Iterator[Item]:
    """Yield the JSON object of each line, with the line itself as its text; empty lines are passed over."""
    decode = msgspec.json.Decoder().decode
    for line in physical_lines(stream):
        if line.overlong:
            reason = f"longer than an event may be ({line.length} bytes); only its beginning is kept"
            yield Unreadable(line.number, reason, line.content.decode(errors="backslashreplace"))
            continue
        if not line.content.strip():
            continue
        try:
            text = line.content.decode()
            fields = decode(text)
        except UnicodeDecodeError as exc:
            shown = line.content.decode(errors="backslashreplace")
            yield Unreadable(line.number, f"not UTF-8 at byte {exc.start}", shown)
        except (msgspec.DecodeError, RecursionError, ValueError) as exc:
            yield Unreadable(line.number, f"not JSON: {first_sentence(exc)}", text)
        else:
            if isinstance(fields, dict):
                yield Record(line.number, fields, text.strip())
            else:
                yield Unreadable(line.number, "JSON, but not an object", text)


def first_sentence(exc: BaseException) -> str:
    """Return the first line of an error's message, without full stop."""
    return (str(exc).splitlines() or [type(exc).__name__])[0].rstrip(".")
