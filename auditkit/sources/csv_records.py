"""Records out of CSV, and of the logs of columns that name them in a line of their own (W3C's, Zeek's).

Rows are read by Python's `csv`, which knows nothing of lines.  Where a row is none (a quote that never closes, text
behind a closing quote, too many cells over several lines), its first line is an `Unreadable` as it stands in the file,
and reading goes on at the next line: a stray quote costs one line.  (DuckDB's, Polars' and Arrow's readers tell no line
of a good row, and at a stray quote they stop, or take the rest of the file for one cell.)  A record never grows beyond
what an event can hold.
"""

import codecs
import csv
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

import msgspec

from auditkit.errors import InvalidArgumentError
from auditkit.event import MAX_ATTRS_BYTES
from auditkit.sources.records import (
    LONGEST,
    OVERLONG,
    Item,
    Line,
    Record,
    Unreadable,
    first_sentence,
    physical_lines,
)
from auditkit.text import counted

_DELIMITERS = ",;\t|"
_SEP = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_SEPARATOR = re.compile(r"#separator (\S+)")
_COMMENT = re.compile(r"#( |$|[A-Za-z][\w-]*([:\t ]|$))")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_WORDS = {
    "unexpected end of data": "a quote is not closed",
    "new-line character seen in unquoted field": "a line ends with a carriage return alone",
}
"""What csv says, in clearer words."""
_LEAST_LOOK = 64 * 1024


class _NoRowError(Exception):
    """Lines that are no row; says why."""


@dataclass(slots=True)
class _Lines:
    """Physical lines as text for the csv module, those of the row that is being read, and those to be read again."""

    source: Iterator[Line]
    again: deque[Line] = field(default_factory=deque)
    row: list[Line] = field(default_factory=list)
    size: int = 0
    most: int = MAX_ATTRS_BYTES
    """How far a closing quote is looked for."""

    def __iter__(self) -> Iterator[str]:
        while (line := self.take()) is not None:
            self.row.append(line)
            self.size += line.length
            if line.overlong:
                raise _NoRowError("longer than an event may be")
            if self.size > self.most and len(self.row) > 1:
                self.most = max(
                    self.most // 2, _LEAST_LOOK
                )  # so that many such lines are not read again and again
                raise _NoRowError("a quote is not closed")
            yield _text(line) + "\n"

    def take(self) -> Line | None:
        """Return the next line, `None` at the end."""
        return self.again.popleft() if self.again else next(self.source, None)

    def peek(self) -> Line | None:
        """Return the next line that does not begin with #, and take none."""
        seen: list[Line] = []
        while (line := self.take()) is not None:
            seen.append(line)
            if not line.content.startswith(b"#"):
                break
        self.again.extendleft(reversed(seen))
        return line

    def begin(self) -> None:
        """Begin a new row."""
        self.row.clear()
        self.size = 0

    def give_up(self, reason: str) -> Unreadable:
        """Return the first line of what is no row, and read the others again."""
        first, *others = self.row
        self.again.extendleft(reversed(others))
        return first.unreadable(OVERLONG.format(first.length) if first.overlong else reason)


@dataclass(slots=True)
class _Header:
    """The names of the columns, and how their rows are written."""

    names: list[str]
    delimiter: str
    quoting: int = csv.QUOTE_MINIMAL
    missing: tuple[str, ...] = ("",)
    """Cells that say that there is no value."""
    declared: bool = False
    """Whether a line that begins with # named the columns; such lines may come again."""

    def reader(self, lines: _Lines) -> Iterator[list[str]]:
        """Return the rows of some lines."""
        return csv.reader(iter(lines), delimiter=self.delimiter, quoting=self.quoting, strict=True)  # type: ignore[arg-type]


def csv_records(stream: IO[bytes], delimiter: str | None, notes: list[str]) -> Iterator[Item]:
    """Yield each row as a record of text; an empty cell is null among the fields and stays `""` in the text.

    The delimiter is the one given, or that of a line `sep=`, or the one the header has most of.  A column without a name
    is called after its place, one whose name repeats after its number; empty cells beyond the header are left out.
    What was found out is added to `notes`.  Raises `ValueError` for a header that cannot be read.
    """
    csv.field_size_limit(
        max(csv.field_size_limit(), LONGEST)
    )  # of the whole process, and far below what an event holds
    lines = _Lines(physical_lines(stream))
    header = _read_header(lines, delimiter, notes)
    while header is not None:
        again = yield from _rows(lines, header, notes)
        if again is None:
            return
        header = again


def _rows(lines: _Lines, header: _Header, notes: list[str]) -> Generator[Item, None, _Header | None]:
    """Yield the rows under a header; return the one for what follows, `None` at the end."""
    rows = header.reader(lines)
    while True:
        lines.begin()
        try:
            cells = next(rows)
        except StopIteration:
            return None
        except (csv.Error, _NoRowError) as exc:
            yield lines.give_up(f"not CSV: {_reason(exc)}")
            return header
        if not cells:
            continue
        if header.declared and cells[0].startswith("#"):
            renewed = _declared(_text(lines.row[0]), lines, header.delimiter)
            if renewed is not None:
                return renewed
            continue
        item = _record(lines, header, cells)
        if isinstance(item, Unreadable) and len(lines.row) > 1:
            yield lines.give_up(item.reason)
            return header
        if len(lines.row) > 2:
            _doubt(lines.row, header, notes)
        yield item


def _record(lines: _Lines, header: _Header, cells: list[str]) -> Item:
    first, last, names = lines.row[0], lines.row[-1], header.names
    while len(cells) > len(names) and not cells[-1]:
        cells.pop()
    if len(cells) != len(names):
        return first.unreadable(
            f"row does not fit the header (expected {len(names)} cells, found {len(cells)})"
        )
    whole = dict(zip(names, cells, strict=True))
    try:
        text = msgspec.json.encode(whole).decode()
    except UnicodeEncodeError:
        return first.unreadable("not UTF-8; --encoding says what it is, such as cp1252")
    fields = {name: None if cell in header.missing else cell for name, cell in whole.items()}
    return Record(first.number, fields, text, last.end, len(lines.row))


def _doubt(row: Sequence[Line], header: _Header, notes: list[str]) -> None:
    """Note a row over several lines whose inner lines look like rows themselves."""
    commas = len(header.names) - 1
    if commas and all(_text(line).count(header.delimiter) == commas for line in row[1:-1]):
        notes.append(
            f"the row in line {row[0].number:,} spans {len(row)} lines that each look like a row of their own: "
            "is a quote missing, or one too many?"
        )


def _read_header(lines: _Lines, delimiter: str | None, notes: list[str]) -> _Header | None:
    """Read up to the names of the columns; `None` where there are none."""
    passed, separator = 0, delimiter
    while (line := lines.take()) is not None:
        text = _text(line)
        if found := _SEP.fullmatch(text):
            separator = delimiter or found[1]
        elif found := _SEPARATOR.fullmatch(text):
            separator = delimiter or codecs.decode(found[1], "unicode_escape")
        elif header := _declared(text, lines, separator):
            notes.append(f"line {line.number:,} names the columns: {', '.join(header.names[:20])}")
            return header
        elif _COMMENT.match(text):
            passed += 1
        elif text.strip():
            break
    if line is None:
        return None
    lines.again.appendleft(line)
    if passed:
        notes.append(f"{counted(passed, 'comment line')} before the header passed over")
    return _plain_header(lines, line, separator, notes)


def _plain_header(lines: _Lines, first: Line, delimiter: str | None, notes: list[str]) -> _Header:
    text = _QUOTED.sub("", _text(first))
    chosen = delimiter or max(_DELIMITERS, key=text.count)
    lines.begin()
    try:
        names = next(_Header([], chosen).reader(lines))
    except (csv.Error, _NoRowError) as exc:
        reason = f"not CSV: {_reason(exc)} (in line {first.number:,})"
        raise InvalidArgumentError("csv header", text, reason) from exc
    if any(map(_is_broken, names)):
        error = InvalidArgumentError("csv header", text, f"not UTF-8 (in line {first.number:,})")
        error.add_note("--encoding says what it is, such as cp1252 or latin-1")
        raise error
    if delimiter is None and chosen != _DELIMITERS[0]:
        notes.append(f"the delimiter is {chosen!r}, by the header")
    return _Header(_distinct(names, notes), chosen)


def _declared(text: str, lines: _Lines, separator: str | None) -> _Header | None:
    """Return the header that a line `#Fields:` (of W3C's extended log format) or `#fields` (of Zeek) is."""
    if text.startswith("#Fields:"):
        if separator is None:
            after = lines.peek()
            separator = "\t" if after is not None and b"\t" in after.content else " "
        return _Header(_distinct(text[8:].split(), []), separator, missing=("", "-"), declared=True)
    if text.startswith("#fields"):
        separator = separator or "\t"
        names = text.split(separator)[1:]
        return _Header(_distinct(names, []), separator, csv.QUOTE_NONE, ("", "-", "(empty)"), declared=True)
    return None


def _distinct(names: Sequence[str], notes: list[str]) -> list[str]:
    """Return names that are there, and different."""
    found: dict[str, None] = {}
    for place, given in enumerate(names, 1):
        name = wanted = given or f"column_{place}"
        number = 1
        while name in found:
            number += 1
            name = f"{wanted}_{number}"
        if number > 1:
            notes.append(f"a second column {wanted!r} is called {name!r}")
        found[name] = None
    return list(found)


def _text(line: Line) -> str:
    return line.content.decode(errors="surrogateescape")


def _reason(exc: Exception) -> str:
    """Return why there is no row."""
    said = first_sentence(exc)
    return next((words for begin, words in _WORDS.items() if said.startswith(begin)), said)


def _is_broken(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)
