"""From foreign records to events: which value becomes which field.

Pure: reads no clock and no disk.  A value that cannot become what its field needs is an `InvalidEventError` with
field, value and reason; nothing is guessed.  The record itself is never changed: it travels whole, as attrs.  Many
records are mapped at once, field by field, because calls are what costs.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import msgspec
import polars as pl

from auditkit.errors import InvalidArgumentError, InvalidEventError
from auditkit.event import TEXT_FIELDS
from auditkit.sources.conversions import Convert, Times, as_number, as_text, converter_of
from auditkit.sources.records import Record
from auditkit.text import did_you_mean
from auditkit.timerange import OnAmbiguous, from_us
from auditkit.where import Path, parse_path

_UNASKED = ("ts", "actor", "action", "resource", "outcome", "source", "origin", "correlation", "value")
"""Fields that take the record's key of the same name by themselves.  Not `id`: only a producer can promise it."""

_JOIN = re.compile(r"(?<!\\)\+")
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What records became: the columns of those that are events, with their positions, and what was wrong with others."""

    columns: dict[str, list[Any]]
    positions: list[int]
    refused: dict[int, InvalidEventError]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """How one field gets its value: the first of `paths` that leads to one that fits, else `constant`.

    `asked` is false for a key of the same name that was taken by itself, and for most of a preset; there, a value of
    another kind is left in attrs instead of refused.
    """

    name: str
    paths: tuple[tuple[Path, ...], ...]
    """Of several in one, what they find is joined by a space."""
    constant: Any
    asked: bool
    convert: Convert
    words: "Words | None" = None

    def column(self, records: Sequence[Fields], refused: dict[int, InvalidEventError]) -> list[Any]:
        """Return the field's value of each record, `None` where it has none; what is wrong goes into `refused`."""
        column: list[Any] = [None] * len(records)
        wrong: dict[int, InvalidEventError] = {}
        wanted: Iterable[int] = range(len(records))
        for path in self.paths:
            found = _find(path, records)
            plain = self._plain(found) if wanted.__class__ is range else None
            if plain is not None:
                column = plain
            else:
                self._convert(found, wanted, column, wrong)
            wanted = [position for position in wanted if column[position] is None]
            if not wanted:
                break
        if self.asked and wrong:
            refused |= {position: wrong[position] for position in wanted if position in wrong}
        if self.constant is not None:
            for position in wanted:
                if position not in wrong:
                    column[position] = self.constant
        return column

    def _plain(self, found: list[Any]) -> list[Any] | None:
        """Return values all of which are what the field needs, as is usual; else `None`."""
        if self.words is not None or self.convert not in (as_text, as_number):
            return None
        kinds = {*map(type, found)}
        if self.convert is as_text:
            return found if kinds <= {str, type(None)} else None
        try:
            return (
                [None if value is None else float(value) for value in found]
                if kinds <= {int, float, type(None)}
                else None
            )
        except OverflowError:
            return None

    def _convert(
        self,
        found: list[Any],
        wanted: Iterable[int],
        column: list[Any],
        wrong: dict[int, InvalidEventError],
    ) -> None:
        """Put what was found, as the field needs it, into the column; what does not fit goes into `wrong`."""
        name, convert, words = self.name, self.convert, self.words
        for position in wanted:
            value = found[position]
            if value is None:
                continue
            try:
                if words is not None and isinstance(value, str | int | float):
                    value = words.written(as_text(name, value), value)
                column[position] = convert(name, value)
            except InvalidEventError as exc:
                wrong.setdefault(position, exc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How words of the records are written in events: exact ones first, then those with `*` for anything."""

    exact: Mapping[str, str]
    globs: tuple[tuple[re.Pattern[str], str], ...]

    def written(self, text: str, value: Any) -> Any:
        """Return what is written for a text, or the value where that is left open."""
        if text in self.exact:
            return self.exact[text]
        return next((word for pattern, word in self.globs if pattern.fullmatch(text)), value)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMap:
    """Turns records into events."""

    rules: tuple[FieldRule, ...]
    attrs: str | None
    """The key of what becomes attrs; `None` for the whole record."""
    times: Times
    moments: frozenset[str]
    """The fields that hold times."""
    described: str
    """The same for equal maps."""

    def columns(self, records: Sequence[Record]) -> Mapped:
        """Return the events of records, their ts in microseconds.

        A record without a ts or an action is refused: when something happened is not for an importer to invent.
        """
        fields = [record.fields for record in records]
        refused: dict[int, InvalidEventError] = {}
        columns = {rule.name: rule.column(fields, refused) for rule in self.rules}
        columns["attrs"] = [self._attrs(record) for record in records]
        for name, reason in _NEEDED.items():
            column = columns.get(name) or [None] * len(records)
            for position, value in enumerate(column):
                if value is None or value == "":
                    refused.setdefault(position, InvalidEventError(name, value, reason))
        positions = list(range(len(records)))
        if refused:
            positions = [position for position in positions if position not in refused]
            columns = {name: [column[at] for at in positions] for name, column in columns.items()}
        return Mapped(columns=columns, positions=positions, refused=refused)

    def event(self, record: Record) -> dict[str, Any]:
        """Return the event of one record as fields; raises `InvalidEventError`."""
        mapped = self.columns([record])
        if mapped.refused:
            raise mapped.refused[0]
        event = {name: column[0] for name, column in mapped.columns.items() if column[0] is not None}
        return event | {name: from_us(event[name]) for name in self.moments & event.keys()}

    def instants(self, records: Sequence[Record]) -> list[int]:
        """Return only the times that records have and that can be read, in microseconds."""
        found = self.rules[0].column([record.fields for record in records], {})
        return [moment for moment in found if moment is not None]

    def unfound(self, records: Sequence[Record]) -> list[str]:
        """Return what is to be said of fields that were mapped, and whose paths lead nowhere in any of these records."""
        fields = [record.fields for record in records]
        said = []
        for rule in self.rules:
            if not rule.asked or rule.name in _NEEDED or rule.constant is not None:
                continue
            if all(value is None for path in rule.paths for value in _find(path, fields)):
                names = [".".join(path.keys) for paths in rule.paths for path in paths]
                near = did_you_mean(names[0], fields[0]) if fields else ""
                first = f"the first {len(records):,} records" if len(records) > 1 else "the first record"
                said.append(f"{rule.name}: nothing lies at {' or '.join(names)} in {first}{near}")
        return said

    def _attrs(self, record: Record) -> str | None:
        if self.attrs is None:
            return record.text
        raw = _decode_raw(record.text).get(self.attrs)
        return None if raw is None or bytes(raw) == b"null" else bytes(raw).decode()


_NEEDED = {
    "ts": "missing; an import never makes up when something happened",
    "action": "missing; every event names what was done",
}


def plan_mapping(
    paths: Sequence[tuple[str, str]] = (),
    constants: Mapping[str, str] | None = None,
    *,
    offered: Sequence[tuple[str, str]] = (),
    values: Mapping[str, Mapping[str, str]] | None = None,
    attrs: str | None = None,
    fields: Mapping[str, pl.DataType] | None = None,
    tz: str | None = None,
    ts_format: str | Sequence[str] = "iso",
    on_ambiguous: OnAmbiguous = "first",
    decimal: str | None = None,
) -> EventMap:
    """Return the map that takes `field` from `path`, for each pair; several paths of a field are tried in turn.

    A path is one of attrs: keys separated by dots (`where.parse_path`); for `ts`, `date+time` joins what two find.  Where
    one finds nothing, or what does not fit, the next is tried.  What fits none refuses the record; where the field is only
    `offered` (tried after `paths`) and is neither ts nor action, it stays in attrs alone.  `constants` apply where the paths
    find nothing.  `values` says of a field how words are written, `*` in a word standing for anything.  `fields` are the
    trail's declared ones.
    `tz` is the zone of times that name none, and `on_ambiguous` which pass of a repeated hour they mean.  `ts_format` is
    what `TimeReader` calls a form, or several to be tried in turn.  `decimal` is the mark of decimals where texts of
    numbers have another than a plain point, or groups of thousands.  Raises `InvalidArgumentError` for a field that cannot be mapped.

    >>> plan = plan_mapping([("ts", "time"), ("actor", "user.name")], {"action": "login"})
    >>> record = {"time": "2026-11-24T07:00:00Z", "user": {"name": "ann"}}
    >>> event = plan.event(Record(1, record, "{}"))
    >>> event["actor"], event["action"], f"{event['ts']:%H:%M %Z}"
    ('ann', 'login', '07:00 UTC')
    """
    declared, constants, values = fields or {}, constants or {}, values or {}
    forms = [ts_format] if isinstance(ts_format, str) else list(ts_format)
    times = Times(forms, tz, on_ambiguous)
    chosen: dict[str, list[str]] = {}
    for name, path in (*paths, *offered):
        chosen.setdefault(_mappable(name, declared), []).append(path)
    for name in (*constants, *values):
        _mappable(name, declared)
    for name in constants:
        chosen.setdefault(name, [])
    asked = {"ts", *(name for name, _ in paths), *({"action"} & chosen.keys())}
    rules = []
    for name in ("ts", *TEXT_FIELDS, "value", *declared):
        unasked = [name] if name in _UNASKED or name in declared else []
        convert = times.read if name == "ts" else converter_of(name, declared, tz, on_ambiguous, decimal)
        given = constants.get(name)
        rule = FieldRule(
            name=name,
            paths=tuple(_parsed(name, path) for path in chosen.get(name, unasked)),
            constant=None if given is None else convert(name, given),
            asked=name in asked,
            convert=convert,
            words=_words(values.get(name, {})),
        )
        if rule.paths or given is not None:
            rules.append(rule)
    plan = [
        [*paths, *offered],
        sorted(constants.items()),
        {name: dict(words) for name, words in values.items()},
    ]
    more = [] if decimal is None else [decimal]
    described = msgspec.json.encode([*plan, attrs, tz, forms, on_ambiguous, *more]).decode()
    moments = {name for name, kind in declared.items() if kind.is_temporal()}
    return EventMap(
        rules=tuple(rules), attrs=attrs, times=times, moments=frozenset({"ts", *moments}), described=described
    )


def _parsed(name: str, path: str) -> tuple[Path, ...]:
    parts = _JOIN.split(path) if name == "ts" else [path]
    return tuple(parse_path(part.replace("\\+", "+"), name=f"path of {name}") for part in parts)


def _words(given: Mapping[str, str]) -> Words | None:
    globs = [
        (re.compile(".*".join(map(re.escape, word.split("*"))), re.DOTALL), written)
        for word, written in given.items()
        if "*" in word
    ]
    exact = {word: written for word, written in given.items() if "*" not in word}
    return Words(exact=exact, globs=tuple(globs)) if given else None


def _find(path: tuple[Path, ...], records: Sequence[Fields]) -> list[Any]:
    """Return what a path leads to in each record."""
    if len(path) > 1:
        columns = [_find((part,), records) for part in path]
        return [None if None in parts else " ".join(map(str, parts)) for parts in zip(*columns, strict=True)]
    [only] = path
    if len(only.ways) == 1 and len(only.keys) == 1:
        key = only.keys[0]
        return [record.get(key) for record in records]
    if all(isinstance(key, str) for key in only.ways[0]):  # the usual way, without a call for each record
        found = reduce(_descended, only.ways[0], list(records))
        return [
            only.find(record) if value is None else value
            for value, record in zip(found, records, strict=True)
        ]
    return [only.find(record) for record in records]


def _descended(values: list[Any], key: str | int) -> list[Any]:
    return [value.get(key) if value.__class__ is dict else None for value in values]


def _mappable(name: str, declared: Mapping[str, pl.DataType]) -> str:
    allowed = ("ts", *TEXT_FIELDS, "value", *declared)
    if name in allowed:
        return name
    if name == "attrs":
        raise InvalidArgumentError(
            "map attrs", name, "cannot be mapped; it always holds the whole original record"
        )
    if name in ("seq", "recorded"):
        raise InvalidArgumentError(f"map {name}", name, "cannot be mapped; the trail assigns it")
    near = did_you_mean(name, allowed)
    raise InvalidArgumentError(
        f"map {name}", name, f"not a field of an event{near}", expected=f"one of {', '.join(allowed)}"
    )
