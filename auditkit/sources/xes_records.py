"""Records out of XES (IEEE 1849), the event logs of process mining: one record for each event of each trace.

The attributes of the trace are those of the event too, with `case:` before their keys.  An attribute that holds others is
an object of these, with its own value as `value`.  The file is read as a stream and never held.  It may come from a
stranger: a document type, and with it every entity of its own, is refused; nothing is fetched.
"""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import msgspec

from auditkit.errors import CorruptionError
from auditkit.event import MAX_ATTRS_BYTES
from auditkit.sources.records import Record

_BLOCK = 1 << 16
_LONGEST = 2 * MAX_ATTRS_BYTES
"""So many characters of one event and its trace are read; attrs could not hold them."""
_DEEPEST = 40
_LOG, _TRACE = 1, 2
_SEVERAL = ("list", "values", "container")
_INTEGER = re.compile(
    r"[+-]?[0-9]{1,18}"
)  # what Python's int and float take besides, such as 1_0, is no number of XML
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


class _RefusedError(Exception):
    """Well-formed XML that is not read."""


def xes_records(stream: IO[bytes], name: str) -> Iterator[Record]:
    """Yield each event of a log, at the line its element begins on; `name` is the file's, for errors.

    Raises `CorruptionError` where the file is no well-formed XML, has a document type, or is no event log.
    """
    log = _Log()
    parser = log.parser
    fed = 0
    block = None
    try:
        while block != b"":
            block = stream.read(_BLOCK)
            fed += len(block)
            try:
                parser.Parse(block, not block)
            finally:
                yield from log.taken()  # also those before what is wrong
            if fed - max(parser.CurrentByteIndex, 0) > _LONGEST:
                raise _RefusedError("a tag longer than an event may be")
    except expat.ExpatError as exc:
        raise CorruptionError(Path(name), offset=None, reason=f"not XML: {exc}") from exc
    except _RefusedError as exc:
        reason = f"line {parser.CurrentLineNumber}: {exc}"
        raise CorruptionError(Path(name), offset=None, reason=reason) from exc


class _Log:
    """The part of the tree that is open, and the records that are complete."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._builder = TreeBuilder()
        self._open: list[Element] = []
        self._size = 0
        self._case_size = 0
        self._line = 0
        self._records: list[Record] = []

    def taken(self) -> list[Record]:
        """Return the complete records, and forget them."""
        records, self._records = self._records, []
        return records

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise _RefusedError("a document type, which no event log has")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition("}")[2]
        if not self._open and tag != "log":
            raise _RefusedError(f"not an event log (expected the element log, found {tag[:40]!a})")
        if len(self._open) > _DEEPEST:
            raise _RefusedError(f"attributes deeper than {_DEEPEST} levels")
        if tag == "event":
            self._line = self.parser.CurrentLineNumber
            self._case_size = self._size
        self._size += sum(map(len, attributes.values()))
        if self._size > _LONGEST:
            raise _RefusedError("more attributes than an event may have")
        self._open.append(self._builder.start(tag, attributes))

    def _end(self, tag: str) -> None:
        tag = tag.rpartition("}")[2]
        element = self._builder.end(tag)
        self._open.pop()
        if tag == "event" and len(self._open) in (_LOG, _TRACE):
            self._records.append(self._record(element))
            self._size = self._case_size
        if self._open and (tag == "event" or len(self._open) == _LOG):
            self._open[-1].remove(element)
        if len(self._open) == _LOG:
            self._size = 0

    def _record(self, event: Element) -> Record:
        fields = _attributes(event)
        if len(self._open) == _TRACE:
            fields |= {f"case:{key}": value for key, value in _attributes(self._open[-1]).items()}
        text = msgspec.json.encode(fields).decode()
        lines = self.parser.CurrentLineNumber - self._line + 1
        return Record(self._line, fields, text, self.parser.CurrentByteIndex, lines)


def _attributes(holder: Iterable[Element]) -> dict[str, Any]:
    return {element.get("key", element.tag): _value(element) for element in holder if element.tag != "event"}


def _value(element: Element) -> Any:
    if element.tag in _SEVERAL:
        return [{inner.get("key", inner.tag): _value(inner)} for inner in element]
    value = _typed(element.tag, element.get("value"))
    return {"value": value, **_attributes(element)} if len(element) else value


def _typed(kind: str, text: str | None) -> Any:
    """Return a value of its own kind; what is none of that kind stays text."""
    if text is None:
        return None
    if kind == "int" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "float" and _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return {"true": True, "false": False}.get(text, text) if kind == "boolean" else text
