"""What a report says on its first screen, as plain values.

`Facts` depend on the trail and the question: equal questions at the same seq give equal facts, but for the two
counts about the moment of asking (`Counts`).  Who asked, when and where is `Prepared`, kept apart from them.  Both
travel through the notebook as JSON, which whoever had the notebook may have changed, so they are read back with
their types checked.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

MIME = "application/vnd.auditkit.cover+json"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many events the window holds and what became of each.

    shown + filtered + expired + own + pruned == accepted; unless `exact`, accepted, expired and pruned are upper
    bounds.  `missing` seqs of the trail are accounted for by nothing, None where that is not known.  `queued` and
    `dead_letters` are as when the report was prepared.
    """

    accepted: int
    shown: int
    filtered: int
    expired: int
    own: int
    pruned: int
    exact: bool
    queued: int
    dead_letters: int
    first_seq: int | None
    last_seq: int | None
    missing: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One producer among the events shown; times are ISO text in the report's zone."""

    name: str | None
    events: int
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """One producer with no event in the window, and its last moment before it as ISO text in the report's zone."""

    name: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Who made the report, when (ISO text, UTC), on which host, by which version, from which directory."""

    by: str
    at: str
    host: str
    version: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The first screen.  `start` and `end` are ISO text with an offset; `where` is None if there is no filter."""

    version: int
    title: str
    answer: str
    summary: tuple[str, ...]
    trail: str
    trail_id: str
    zone: str
    start: str | None
    end: str | None
    where: dict[str, Any] | None
    repeatable: bool
    filter: str
    retention: str
    as_of: int
    as_of_time: str | None
    counts: Counts
    sources: tuple[Source, ...]
    silent: tuple[Silent, ...]


def read_facts(data: object) -> Facts | None:
    """Return the facts in a notebook's output, or None where they are not what this version writes."""
    try:
        facts = msgspec.convert(data, Facts)
    except msgspec.ValidationError:
        return None
    return facts if facts.version == VERSION else None


def read_prepared(data: object) -> Prepared | None:
    """Return who prepared a report, or None where the notebook does not say."""
    try:
        return msgspec.convert(data, Prepared)
    except msgspec.ValidationError:
        return None


def to_json(value: Facts | Prepared) -> dict[str, Any]:
    """Return a value as what JSON can hold."""
    converted: dict[str, Any] = msgspec.to_builtins(value)
    return converted
