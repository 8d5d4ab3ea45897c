"""The first screen in words: what was asked, of which events, up to where, and what that does not prove.

Everything returned is visible text; who shows it escapes it.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from auditkit.reporting.facts import Counts, Facts
from auditkit.text import counted, label, visible
from auditkit.timerange import check_zone

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
"""What a report cannot show, each as a short name and a sentence."""
STATED = "Stated by the producer, not checked by you."
FOUND = (
    "Counted by fixed rules over the events shown; a first use is the first among the events that the trail keeps. "
    "What the rules do not name may matter, and what they name may be harmless."
)
"""What the sentences of the summary are worth."""

Kind = Literal["sum", "part", "beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the population: what is counted, the count in words, why; `kind` is for the look."""

    name: str
    count: str
    why: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One producer: its name, its events, its first and its last moment; `silent` without events here."""

    name: str
    events: str
    first: str
    last: str
    silent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line to copy into a shell, and what it should give."""

    command: str
    gives: str


def scope_rows(facts: Facts) -> list[tuple[str, str]]:
    """Return what was asked, as pairs of a name and words."""
    return [
        ("Trail", label(facts.trail)),
        ("Identity", visible(facts.trail_id)),
        ("From", "the first event kept" if facts.start is None else _moment(facts, facts.start)),
        ("Up to", "and with the latest event")
        if facts.end is None
        else ("Up to, not including", _moment(facts, facts.end)),
        ("Time zone", visible(facts.zone)),
        ("Filter", visible(facts.filter)),
        ("Retention", visible(facts.retention)),
    ]


def population_rows(facts: Facts) -> Iterator[Row]:
    """Yield every event of the window, counted once, and what there is besides."""
    counts = facts.counts
    at_most = "" if counts.exact else "at most "
    yield Row(name="Accepted into this window", count=f"{at_most}{counts.accepted:,}", why="", kind="sum")
    excluded = (
        (
            "Removed",
            counts.pruned,
            at_most,
            "by the retention policy, counted by the record that each removal left",
        ),
        (
            "Expired",
            counts.expired,
            at_most,
            "older than the retention policy keeps, hidden from every query",
        ),
        ("Not matching the filter", counts.filtered, "", f"filter: {visible(facts.filter)}"),
        (
            "The trail's own",
            counts.own,
            "",
            "records of the trail about itself, such as changes of retention",
        ),
    )
    for name, count, bound, why in excluded:
        words = f"{bound}\u2212{count:,}" if count else "0"
        yield Row(name=name, count=words, why=why, kind="part")
    seqs = f"sequence numbers {counts.first_seq:,} to {counts.last_seq:,}" if counts.shown else ""
    yield Row(name="Shown in this report", count=f"{counts.shown:,}", why=seqs, kind="sum")
    yield Row(
        name="of these still queued",
        count=f"{counts.queued:,}",
        why="durable, not yet moved into segment files when this was prepared",
        kind="beside",
    )
    yield Row(
        name="Never became events",
        count=f"{counts.dead_letters:,}",
        why="dead letters: inputs refused with the reason, of all times, when this was prepared",
        kind="beside",
    )


def source_rows(facts: Facts) -> Iterator[SourceRow]:
    """Yield each producer that is shown, then those that are known from before the window and silent in it."""
    for source in facts.sources:
        yield SourceRow(
            name=label(source.name),
            events=f"{source.events:,}",
            first=_moment(facts, source.first),
            last=_moment(facts, source.last),
            silent=False,
        )
    for silent in facts.silent:
        last = f"before the window: {_moment(facts, silent.last)}"
        yield SourceRow(name=label(silent.name), events="silent", first="", last=last, silent=True)


def integrity_rows(facts: Facts) -> list[tuple[str, str]]:
    """Return up to where the trail was read and what vouches for it, as pairs of a name and words."""
    return [
        ("As of", _as_of(facts)),
        ("Sequence", _sequence(facts.as_of, facts.counts)),
        ("Checkpoint", "none: no signed statement covers these events"),
    ]


def checks(facts: Facts, *, path: str, notebook: str, parameters: Mapping[str, object]) -> tuple[Check, ...]:
    """Return the lines that count the same events and make the same report again.

    Every argument is quoted for a POSIX shell.  Values are ASCII JSON, so that nothing in them can act on the
    terminal that they are pasted into.  There are none where the filter is not recorded in a form for that.
    """
    if not facts.repeatable:
        return ()
    asked: list[tuple[str, str | None]] = [
        ("--trail", path),
        ("--start", facts.start),
        ("--end", facts.end),
        ("--tz", facts.zone),
        *(("--where", f"{key}={json.dumps(value)}") for key, value in (facts.where or {}).items()),
        ("--at", str(facts.as_of)),
    ]
    further = [("--param", f"{key}={json.dumps(value)}") for key, value in parameters.items()]
    count = _line("auditkit", "range", *_options(asked), "--columns", "seq", "--json")
    again = _line("auditkit", "report", notebook, *_options([*asked, *further]))
    return (
        Check(command=f"{count} | wc -l", gives=f"{facts.counts.shown:,}, the number of events shown"),
        Check(command=again, gives="this report again, of the same events, whatever was appended since"),
    )


def _options(pairs: list[tuple[str, str | None]]) -> Iterator[str]:
    for option, value in pairs:
        if value is not None:
            yield from (option, value)


def _line(*words: str) -> str:
    return visible(shlex.join(words))


def _moment(facts: Facts, text: str) -> str:
    return moment_words(text, facts.zone)


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


def _as_of(facts: Facts) -> str:
    if not facts.as_of:
        return "an empty trail"
    words = f"the first {counted(facts.as_of, 'event')} of the trail"
    return (
        words
        if facts.as_of_time is None
        else f"{words}, the last recorded {_moment(facts, facts.as_of_time)}"
    )


def _sequence(as_of: int, counts: Counts) -> str:
    if counts.missing is None:
        return "gaps not known: a removal reached beyond this point"
    if not as_of:
        return "nothing to number yet"
    numbers = f"0 to {as_of - 1:,}"
    if not counts.missing:
        return f"{numbers}, without a gap: each is stored or recorded as removed"
    return f"{numbers}, of which {counts.missing:,} are neither stored nor recorded as removed"


def plain(facts: Facts) -> str:
    """Return the first screen as text for a terminal."""
    lines = [visible(facts.title), visible(facts.answer), ""]
    lines += [f"{name + ':':<22} {words}" for name, words in scope_rows(facts)]
    lines.append("")
    lines += [f"{row.name:<26} {row.count:>12}  {row.why}".rstrip() for row in population_rows(facts)]
    lines.append("")
    lines += [f"{name + ':':<22} {words}" for name, words in integrity_rows(facts)]
    lines += ["", STATED]
    if facts.summary:
        lines += ["", *(f"- {visible(sentence)}" for sentence in facts.summary)]
    return "\n".join(lines)
