"""Records out of JSON: one object per line, or documents whose arrays hold them.

A line that is no record becomes an `Unreadable` in its place, with line number and reason; reading goes on.  A document
is read record by record too, however large it is; behind something that is no JSON there is nothing to go on with, and
the rest of it is one `Unreadable`.  Neither is held beyond what an event can hold.
"""

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

import msgspec

from auditkit.event import MAX_ATTRS_BYTES
from auditkit.sources.records import (
    BYTE_ORDER_MARK,
    OVERLONG,
    Item,
    Record,
    Unreadable,
    first_sentence,
    physical_lines,
)

_BLOCK = 256 * 1024
_SPACE = re.compile(r"[ \t\r\n]*")
_INSIGNIFICANT = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')
_OPEN = re.compile(rb'\{\s*("(?:[^"\\]|\\.)*"\s*:.*[,\[{])?\s*')
"""The first line of an object that goes on in the next one."""
_LONGEST_VALUE = 64 * MAX_ATTRS_BYTES
"""How long a value beside the records may be."""


def json_lines(stream: IO[bytes]) -> Iterator[Item]:
    """Yield the JSON object of each line, with the line itself as its text; empty lines are passed over."""
    decode = msgspec.json.Decoder().decode
    for line in physical_lines(stream):
        try:
            text = line.content.decode().strip()
            if not text:
                continue
            fields = None if line.overlong else decode(text)
        except UnicodeDecodeError as exc:
            yield line.unreadable(f"not UTF-8 at byte {exc.start}")
        except (msgspec.DecodeError, RecursionError, ValueError) as exc:
            yield line.unreadable(f"not JSON: {first_sentence(exc)}")
        else:
            if fields.__class__ is dict:
                yield Record(line.number, fields, text, line.end)
            elif line.overlong:
                yield line.unreadable(OVERLONG.format(line.length))
            else:
                yield line.unreadable("JSON, but not an object")


def json_documents(stream: IO[bytes], path: Sequence[str] = ()) -> Iterator[Item]:
    """Yield the objects that lie at `path` in each document of a stream, arrays on the way gone through.

    Without a path a document is a record, or an array of records; so is what a path does not lead into.  The text of a
    record is as it stands, but for spaces and line ends between its values.  Where a document of one line breaks off,
    reading goes on at the next line.
    """
    text = _Text(stream)
    while text.skip_space():
        begun = text.line
        try:
            yield from _found(text, path)
        except (ValueError, RecursionError) as exc:
            yield text.rest(f"not JSON: {_shown(first_sentence(exc))}", of_line=text.line == begun)


def looks_like_document(head: bytes) -> bool:
    """Return whether a file that begins so holds JSON that goes over several lines, rather than an object per line."""
    begin = head.removeprefix(BYTE_ORDER_MARK).lstrip()
    if begin.startswith(b"["):
        return True
    first, newline, rest = begin.partition(b"\n")
    if not newline or not _OPEN.fullmatch(first):
        return False
    return first.rstrip().endswith(b"[") or not rest.lstrip().startswith(b"{")


def compact(text: str) -> str:
    r"""Return JSON without what stands between its values, each of which stays as it is written.

    >>> compact('{ "a" : 1.50,\n  "b c": "\\" d" }')
    '{"a":1.50,"b c":"\\" d"}'
    """
    return _INSIGNIFICANT.sub(r"\1", text)


class _Text:
    """The text of a stream, of which so much is held as a value needs; knows line and byte of where it stands."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
        self._scan = json.JSONDecoder(strict=True).raw_decode
        self._held = ""
        self._at = 0
        self._more = True
        self.line = 1
        self.end = 0

    def skip_space(self) -> bool:
        """Go on to what is no space, and return whether there is anything."""
        while True:
            self._go(_SPACE.match(self._held, self._at).end())  # type: ignore[union-attr]  # it always matches
            if self._at < len(self._held):
                return True
            if not self._read():
                return False

    def next(self) -> str:
        """Return the character that comes next behind spaces, `""` at the end."""
        return self._held[self._at] if self.skip_space() else ""

    def take(self, wanted: str) -> bool:
        """Go past a character if it comes next."""
        if self.next() != wanted:
            return False
        self._go(self._at + 1)
        return True

    def expect(self, wanted: str) -> None:
        """Go past a character; raises `ValueError` where another one comes next."""
        if not self.take(wanted):
            found = self.next()
            raise ValueError(f"expected {wanted}, found {found or 'the end'} in line {self.line:,}")

    def value(self) -> tuple[Any, str]:
        """Go past a value, and return it decoded and as it stands."""
        self.skip_space()
        while True:
            try:
                decoded, end = self._scan(self._held, self._at)
            except json.JSONDecodeError as exc:
                reason = f"{exc.msg} in line {self.line + self._held.count(chr(10), self._at, exc.pos):,}"
                # What is wrong may only be that the value goes on in what is not read yet.
                if self._is_early(exc) and self._read():
                    continue
                raise ValueError(reason) from None
            if end == len(self._held) and self._held[-1] not in '}]"' and self._read():
                continue  # a number may go on
            text = self._held[self._at : end]
            self._go(end)
            return decoded, text

    def rest(self, reason: str, *, of_line: bool) -> Unreadable:
        """Go to the end, or only to that of the line, and return what was there as something unreadable."""
        line, kept = self.line, ""
        while True:
            found = self._held.find("\n", self._at) if of_line else -1
            end = len(self._held) if found < 0 else found
            kept += self._held[self._at : end][: MAX_ATTRS_BYTES - len(kept)]
            self._go(end)
            if found >= 0 or not self._read():
                return Unreadable(line, reason, _shown(kept.rstrip()), self.end, self.line - line + 1)

    def _is_early(self, mistake: json.JSONDecodeError) -> bool:
        """Return whether a mistake may be one only because the text breaks off."""
        if len(self._held) - self._at > _LONGEST_VALUE:
            return False
        return mistake.pos + 16 >= len(self._held) or mistake.msg.startswith("Unterminated string")

    def _go(self, to: int) -> None:
        passed = self._held[self._at : to]
        self.line += passed.count("\n")
        self.end += len(passed) if passed.isascii() else len(passed.encode(errors="surrogateescape"))
        self._at = to

    def _read(self) -> bool:
        """Read on, letting go of what lies behind; false at the end of the stream."""
        if not self._more:
            return False
        # Twice as much each time, so that a long value is not begun too often.
        block = self._stream.read(max(_BLOCK, len(self._held) - self._at))
        self._more = bool(block)
        more = self._decoder.decode(block, final=not block)
        if more:
            self._held = self._held[self._at :] + more
            self._at = 0
        return bool(more)


def _found(text: _Text, path: Sequence[str]) -> Iterator[Item]:
    """Yield the records at a path of the value that comes next."""
    if text.take("["):
        if not text.take("]"):
            yield from _found(text, path)
            while text.take(","):
                yield from _found(text, path)
            text.expect("]")
    elif path and text.take("{"):
        yield from _members(text, path)
    else:
        line = text.line
        yield _record(line, text.value()[1], text)


def _members(text: _Text, path: Sequence[str]) -> Iterator[Item]:
    """Yield the records at a path of an object that has been entered; where the path leads nowhere, it is a record itself."""
    line, others, size, is_found = text.line, list[str](), 0, False
    is_done = text.take("}")
    while not is_done:
        if text.next() != '"':
            text.expect('"')
        key, written = text.value()
        text.expect(":")
        text.skip_space()
        if key == path[0]:
            is_found = True
            yield from _found(text, path[1:])
        elif size <= MAX_ATTRS_BYTES:
            others.append(f"{written}:{text.value()[1]}")
            size += len(others[-1])
        else:
            text.value()
        is_done = not text.take(",")
        if is_done:
            text.expect("}")
    if not is_found:
        yield _record(line, f"{{{','.join(others)}}}", text)


def _record(line: int, raw: str, text: _Text) -> Item:
    lines = text.line - line + 1
    written = compact(raw) if lines > 1 or "  " in raw else raw
    if len(written) > MAX_ATTRS_BYTES:
        reason = OVERLONG.format(len(written))
    else:
        try:
            fields = msgspec.json.decode(written)  # as a line is: Python's own reader takes more than JSON
        except (msgspec.DecodeError, ValueError, RecursionError) as exc:
            reason = f"not JSON: {first_sentence(exc)}"
        else:
            if isinstance(fields, dict):
                return Record(line, fields, written, text.end, lines)
            reason = "JSON, but not an object"
    return Unreadable(line, reason, _shown(written[:MAX_ATTRS_BYTES]), text.end, lines)


def _shown(raw: str) -> str:
    """Return text with the bytes in it that are not UTF-8 as escapes."""
    return raw.encode(errors="surrogateescape").decode(errors="backslashreplace")
