"""Records out of lines of text: what the named groups of a pattern find is the record.

A line that no pattern fits becomes an `Unreadable` in its place.  What a line says stays as it stands in the record's
text; what is derived from it (a time with its year, a name found in a message) is only among the fields.  Bytes that are
not UTF-8 are kept as escapes: a log that attackers write to must not lose the lines they spoil.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import msgspec

from auditkit.sources.records import OVERLONG, Item, Line, Record, physical_lines

_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], start=1
    )
}
_STAMP = re.compile(r"([A-Z][a-z]{2}) +(\d{1,2}) (\d\d:\d\d:\d\d(?:\.\d+)?)")
_HALF_A_YEAR = 6  # months: a larger step is one over the turn of the year


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A field `name` out of what `part` says: what `pattern` finds there (its first group), or `word` where it finds it."""

    name: str
    part: str
    pattern: str
    word: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFormat:
    """What lines look like: `patterns` are tried in turn, each for the whole line, and name the parts of a line.

    A part named `stamp` is a time without a year (`Nov 24 07:00:00`); the field `time` is that moment in the year that was
    stated.  Of several `derived` with one name the first that finds something counts.
    """

    patterns: tuple[str, ...]
    derived: tuple[Derived, ...] = ()


def line_records(stream: IO[bytes], form: LineFormat, *, year: int | None = None) -> Iterator[Item]:
    """Yield each line as a record of its parts; empty lines are passed over.

    `year` is the year of the first line whose time names none.  Lines are taken to be less than half a year apart, so that
    December is followed by January of the next year.
    """
    patterns = [re.compile(pattern) for pattern in form.patterns]
    derived = [(rule, re.compile(rule.pattern)) for rule in form.derived]
    calendar = _Calendar(year)
    for line in physical_lines(stream):
        text = line.shown
        if line.overlong:
            yield line.unreadable(OVERLONG.format(line.length))
        elif text.strip():
            yield _record(line, text, patterns, derived, calendar)


def _record(
    line: Line,
    text: str,
    patterns: Sequence[re.Pattern[str]],
    derived: Sequence[tuple[Derived, re.Pattern[str]]],
    calendar: "_Calendar",
) -> Item:
    match = next((match for pattern in patterns if (match := pattern.fullmatch(text))), None)
    if match is None:
        return line.unreadable("not a line of this format")
    parts: dict[str, str] = {name: part for name, part in match.groupdict().items() if part is not None}
    fields = dict(parts)
    if "stamp" in parts:
        moment = calendar.moment(parts["stamp"])
        if moment is None:
            return line.unreadable("its time names no year; state that of the first line (--year)")
        fields["time"] = moment
    for rule, pattern in derived:
        if rule.name not in fields and (found := pattern.search(parts.get(rule.part, ""))):
            fields[rule.name] = found[1] if rule.word is None else rule.word
    return Record(line.number, fields, msgspec.json.encode(parts).decode(), line.end)


@dataclass(slots=True)
class _Calendar:
    """The year that the lines have come to."""

    year: int | None
    month: int | None = None

    def moment(self, stamp: str) -> str | None:
        """Return a time without a year as ISO 8601, `None` where no year was stated.

        >>> calendar = _Calendar(2023)
        >>> calendar.moment("Dec 31 23:59:59"), calendar.moment("Jan  1 00:00:00")
        ('2023-12-31T23:59:59', '2024-01-01T00:00:00')
        """
        match = _STAMP.fullmatch(stamp)
        if self.year is None or match is None:
            return None
        month = _MONTHS.get(match[1])
        if month is None:
            return stamp
        if self.month is not None and abs(month - self.month) > _HALF_A_YEAR:
            self.year += 1 if month < self.month else -1
        self.month = month
        return f"{self.year:04}-{month:02}-{int(match[2]):02}T{match[3]}"
