"""What a report says on its first screen, as plain values and in words.

`Facts` depend on the trail and the question alone: equal questions at the same seq give equal facts.  Who asked,
when and where is `Prepared`, kept apart from them.  Both travel through the notebook as JSON, which whoever had
the notebook may have changed, so they are read back with their types checked.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from auditkit.plaintext import label, visible
from auditkit.timerange import check_zone

MIME = "application/vnd.auditkit.cover+json"
VERSION = 1

NOT_PROVED = (
    (
        "Completeness at the source.",
        "An event that no program appended is not here, and no trail can show that it is missing.",
    ),
    (
        "Truth of the content.",
        "Actors, times and outcomes are what the producers stated when they appended the events.",
    ),
    (
        "Untouched files.",
        "The trail was not checked against a signed checkpoint: whoever could write its files could have changed them.",
    ),
)
"""What this report cannot show, each as a short name and a sentence."""
STATED = "Stated by the producer of this report, not checked by you."


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many events the window holds and what became of each; shown + filtered + expired + own == stored."""

    stored: int
    shown: int
    filtered: int
    expired: int
    own: int
    pruned: int
    pruned_exact: bool
    queued: int
    dead_letters: int
    first_seq: int | None
    last_seq: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One producer among the events shown; times are ISO text in the report's zone."""

    name: str | None
    events: int
    first: str
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
class Row:
    """One line of the population: what is counted, the count in words, why; `kind` is for the look."""

    name: str
    count: str
    why: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The first screen.  `start` and `end` are ISO text with an offset; `where` is None if there is no filter."""

    version: int
    title: str
    answer: str
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

    def scope_rows(self) -> list[tuple[str, str]]:
        """Return what was asked, as pairs of a name and words."""
        return [
            ("Trail", label(self.trail)),
            ("Identity", visible(self.trail_id)),
            ("From", "the first event kept" if self.start is None else self._moment(self.start)),
            ("Up to, not including", "the latest event" if self.end is None else self._moment(self.end)),
            ("Time zone", visible(self.zone)),
            ("Filter", visible(self.filter)),
            ("Retention", visible(self.retention)),
            ("As of", self._as_of()),
        ]

    def population_rows(self) -> list[Row]:
        """Return every event of the window, counted once, and what there is besides."""
        counts = self.counts
        seqs = f"sequence numbers {_seqs(counts)}" if counts.shown else ""
        at_most = "" if counts.pruned_exact or not counts.pruned else "at most "
        return [
            Row(name="Stored in this window", count=f"{counts.stored:,}", why="", kind="sum"),
            Row(
                name="Not matching the filter",
                count=_minus(counts.filtered),
                why=f"filter: {visible(self.filter)}",
                kind="part",
            ),
            Row(
                name="Expired",
                count=_minus(counts.expired),
                why="older than the retention policy keeps, hidden from every query",
                kind="part",
            ),
            Row(
                name="The trail's own",
                count=_minus(counts.own),
                why="records of the trail about itself, such as changes of retention",
                kind="part",
            ),
            Row(name="Shown in this report", count=f"{counts.shown:,}", why=seqs, kind="sum"),
            Row(
                name="of these still queued",
                count=f"{counts.queued:,}",
                why="durable, not yet moved into segment files",
                kind="beside",
            ),
            Row(
                name="Removed before",
                count=f"{at_most}{counts.pruned:,}",
                why="by the retention policy, counted by the records that each removal leaves",
                kind="beside",
            ),
            Row(
                name="Never became events",
                count=f"{counts.dead_letters:,}",
                why="refused inputs kept with the reason, over the whole trail",
                kind="beside",
            ),
        ]

    def source_rows(self) -> list[tuple[str, str, str, str]]:
        """Return for each producer its name, its events, its first and its last moment."""
        return [
            (label(source.name), f"{source.events:,}", self._moment(source.first), self._moment(source.last))
            for source in self.sources
        ]

    def _as_of(self) -> str:
        if not self.as_of:
            return "an empty trail"
        when = (
            "" if self.as_of_time is None else f", the last of them recorded {self._moment(self.as_of_time)}"
        )
        return f"the first {self.as_of:,} events of the trail{when}"

    def _moment(self, text: str) -> str:
        return moment_words(text, self.zone)


def _seqs(counts: Counts) -> str:
    return f"{counts.first_seq:,} to {counts.last_seq:,}"


def _minus(count: int) -> str:
    return f"\u2212{count:,}" if count else "0"


def moment_words(text: str, zone: str) -> str:
    """Return a moment, given as ISO text with an offset, as words in a zone; what is neither comes back visible.

    >>> moment_words("2026-10-25T01:30:00+00:00", "Europe/Stockholm")
    'Sun 25 Oct 2026 02:30:00 +01:00'
    """
    try:
        moment = datetime.fromisoformat(text).astimezone(check_zone(zone))
    except ValueError:
        return visible(text)
    offset = moment.isoformat()[-6:]
    return f"{moment:%a %d %b %Y %H:%M:%S} {'UTC' if zone == 'UTC' else offset}"


def repeat_command(facts: Facts, *, path: str, notebook: str, parameters: Mapping[str, object]) -> str:
    """Return the command that makes the same report again, each argument quoted for a POSIX shell.

    Values are ASCII JSON, so that nothing in them can act on the terminal that they are pasted into.
    """
    options: list[tuple[str, str | None]] = [
        ("--trail", path),
        ("--start", facts.start),
        ("--end", facts.end),
        ("--tz", facts.zone),
        *(("--where", f"{key}={json.dumps(value)}") for key, value in (facts.where or {}).items()),
        *(("--param", f"{key}={json.dumps(value)}") for key, value in parameters.items()),
        ("--at", str(facts.as_of)),
    ]
    lines = [shlex.join(["auditkit", "report", notebook])]
    lines += [shlex.join([option, value]) for option, value in options if value is not None]
    return " \\\n  ".join(map(visible, lines))


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


def plain(facts: Facts) -> str:
    """Return the first screen as text for a terminal."""
    lines = [visible(facts.title), visible(facts.answer), ""]
    lines += [f"{name + ':':<22} {words}" for name, words in facts.scope_rows()]
    lines.append("")
    lines += [f"{row.name:<24} {row.count:>12}  {row.why}".rstrip() for row in facts.population_rows()]
    lines += ["", STATED]
    return "\n".join(lines)
