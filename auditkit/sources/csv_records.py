"""Records out of CSV: rows under one header, quoted fields over several lines included.

A row that does not fit the header, or is no CSV, becomes an `Unreadable` with the line it begins on and its text
as it stands in the file; reading goes on behind it.  A record never grows beyond what an event can hold.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

import msgspec

from auditkit.errors import shorten
from auditkit.event import MAX_ATTRS_BYTES
from auditkit.sources.json_records import Item, Line, Record, Unreadable, first_sentence, physical_lines


class _OverlongError(Exception):
    """A record that grows beyond what an event can hold."""


@dataclass(slots=True)
class _Remembering:
    """Physical lines as text for the csv module; remembers those of the record that is being read."""

    lines: Iterator[Line]
    number: int = 0
    record: list[str] = field(default_factory=list)
    size: int = 0

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.number = line.number
            text = line.content.decode(errors="surrogateescape") + "\n"
            self.record.append(text)
            self.size += line.length
            if self.size > MAX_ATTRS_BYTES:
                raise _OverlongError
            yield text

    def forget(self) -> None:
        """Begin a new record."""
        self.record.clear()
        self.size = 0

    @property
    def text(self) -> str:
        """The record as it stands in the file, bytes that are not UTF-8 as escapes."""
        joined = "".join(self.record).rstrip("\n")
        return joined.encode(errors="surrogateescape").decode(errors="backslashreplace")


def csv_records(stream: IO[bytes], delimiter: str) -> Iterator[Item]:
    """Yield each row as a record of text; an empty cell is null among the fields and stays `""` in the text.

    Raises `ValueError` for a header that cannot be read or names a column twice.
    """
    lines = _Remembering(physical_lines(stream))
    header: list[str] | None = None
    while True:
        for start, row in _rows(lines, csv.reader(iter(lines), delimiter=delimiter, strict=True)):
            if header is None:
                header = _checked_header(row)
            elif isinstance(row, str):
                yield Unreadable(start, row, lines.text)
            else:
                yield _record(start, header, row, lines.text)
        if not lines.record:
            return


def _rows(lines: _Remembering, rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the line a row begins on, and the row; or, and then stop, why there is none."""
    while True:
        lines.forget()
        start = lines.number + 1
        try:
            row = next(rows)
        except StopIteration:
            lines.forget()
            return
        except _OverlongError:
            yield start, "longer than an event may be; only its beginning is kept"
            return
        except csv.Error as exc:
            yield start, f"not CSV: {first_sentence(exc)}"
            return
        if row:
            yield start, row


def _checked_header(names: list[str] | str) -> list[str]:
    if isinstance(names, str):
        raise ValueError(f"csv header: {names}")
    seen = set()
    for name in names:
        if name in seen:
            raise ValueError(f"csv header: column named twice (found {shorten(name)})")
        seen.add(name)
    return names


def _record(line: int, header: Sequence[str], cells: Sequence[str], raw: str) -> Item:
    if len(cells) != len(header):
        return Unreadable(
            line, f"row does not fit the header (expected {len(header)} cells, found {len(cells)})", raw
        )
    whole = dict(zip(header, cells, strict=True))
    try:
        text = msgspec.json.encode(whole).decode()
    except UnicodeEncodeError:
        return Unreadable(line, "not UTF-8", raw)
    return Record(line, {name: cell or None for name, cell in whole.items()}, text)
