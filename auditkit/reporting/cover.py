"""The cover of a report, its first screen: what was asked, of which events, and what that does not prove, in words.

A `CoverModel` depends on the trail and the question: equal questions at the same seq give equal models, but for the two
counts about the moment of asking (`Counts`).  Who asked, when and where is `Prepared`, kept apart.  Both travel through
the notebook as JSON, which may have been changed on its way, so they are read back with their types checked.

The words of the first screen are written here and nowhere else.  Every text returned is visible; HTML is escaped.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Literal

import msgspec

from auditkit.display.cards import LITERAL
from auditkit.text import counted, short_label, visible
from auditkit.timerange import check_zone
from auditkit.where import describe_where

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
        "The trail was not checked against a signed checkpoint: anyone who could write its files could have changed them.",
    ),
)
"""What a report cannot show, each as a short name and a sentence."""
STATED = "Stated by the producer, not checked by you."
FOUND = (
    "Counted by fixed rules over the events shown; a first use is the first among the events that the trail keeps. "
    "What the rules do not name may matter, and what they name may be harmless."
)
"""What the sentences of the summary are worth."""

_UNFILTERED = describe_where(None)

MOST_OUTCOMES = 12
"""So many outcomes are listed as failures, and so many as none."""

Kind = Literal["sum", "part", "beside"]

_MUTED = "color: var(--jp-ui-font-color2, #5b6573)"
_CELL = "padding: 2px 16px 2px 0; text-align: left; vertical-align: top; border: 0"
_NUMBER = "padding: 2px 16px 2px 0; text-align: right; vertical-align: top; border: 0"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many events the window holds and what became of each.

    shown + filtered + expired + own + pruned == accepted; unless `exact`, accepted, expired and pruned are upper
    bounds.  `missing` seqs of the trail are accounted for by nothing, None where that is not known.  `held` of the shown
    would be expired but for a hold.  `queued` and `dead_letters` are as when the report was prepared.
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
    held: int = 0


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One producer among the events shown; times are ISO text in the report's zone."""

    name: str | None
    events: int
    first: str
    last: str


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """How the events shown ended: `failed` of them count as failures, by `rule` in words.

    `failures` and `others` are pairs of an outcome and its events, the most frequent first; so many more kinds of each
    (`more_failures`, `more_others`) are left out.
    """

    rule: str
    failed: int
    failures: tuple[tuple[str, int], ...]
    more_failures: int
    others: tuple[tuple[str | None, int], ...]
    more_others: int


class KeyFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the strip under the answer: what it is, the figure in words, and what is to be known of it."""

    name: str
    value: str
    note: str = ""


class Silent(msgspec.Struct, frozen=True, kw_only=True):
    """One producer with no event in the window, and its last moment before it as ISO text in the report's zone."""

    name: str
    last: str


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """Who made the report, when (ISO text, UTC), on which host, by which version, from which directory."""

    by: str
    at: str
    host: str
    version: str
    path: str


class CoverModel(msgspec.Struct, frozen=True, kw_only=True):
    """The first screen.  `start` and `end` are ISO text with an offset; `where` is None if there is no filter.

    `packed`: whether the report takes its events along.
    """

    version: int
    title: str
    answer: str
    figures: tuple[KeyFigure, ...]
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
    packed: bool
    outcomes: Outcomes
    sources: tuple[Source, ...]
    silent: tuple[Silent, ...]


def read_cover(data: object) -> CoverModel | None:
    """Return the model in a notebook's output, or None where it is not what this version writes."""
    try:
        model = msgspec.convert(data, CoverModel)
    except msgspec.ValidationError:
        return None
    return model if model.version == VERSION else None


def read_prepared(data: object) -> Prepared | None:
    """Return who prepared a report, or None where the notebook does not say."""
    try:
        return msgspec.convert(data, Prepared)
    except msgspec.ValidationError:
        return None


def outcome_rows(model: CoverModel) -> list[tuple[str, str]]:
    """Return which outcomes were counted as failures and which were not, as pairs of a name and words."""
    outcomes = model.outcomes
    return [
        ("Counted as failures", _listed(outcomes.failures, outcomes.more_failures)),
        ("Not counted as failures", _listed(outcomes.others, outcomes.more_others)),
        ("Counted by", visible(outcomes.rule)),
    ]


def _listed(outcomes: Sequence[tuple[str | None, int]], more: int) -> str:
    """Return outcomes with their events in one line.

    >>> _listed((("denied", 4), (None, 1)), 2)
    'denied 4, (none) 1, and 2 others'
    """
    names = ", ".join(f"{short_label(name)} {count:,}" for name, count in outcomes) or "none"
    return f"{names}, and {counted(more, 'other')}" if more else names


class Row(msgspec.Struct, frozen=True):
    """One line of the population: what is counted, the count in words, why; `kind` is for the look."""

    name: str
    count: str
    why: str
    kind: Kind


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One producer: its name, its events, its first and its last moment; `silent` without events here."""

    name: str
    events: str
    first: str
    last: str
    silent: bool


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line to copy into a shell, and what it should give."""

    command: str
    gives: str


def scope_rows(model: CoverModel) -> list[tuple[str, str]]:
    """Return what was asked, as pairs of a name and words."""
    return [
        ("Trail", short_label(model.trail)),
        ("Identity", visible(model.trail_id)),
        ("From", "the first event kept" if model.start is None else _moment(model, model.start)),
        ("Up to", "and including the latest event")
        if model.end is None
        else ("Up to, not including", _moment(model, model.end)),
        ("Time zone", visible(model.zone)),
        ("Filter", visible(model.filter)),
        ("Retention", visible(model.retention)),
    ]


def compact_rows(model: CoverModel) -> list[tuple[str, str]]:
    """Return scope and population in a few lines, as pairs of a name and words; the details are in the other rows."""
    outcomes = model.outcomes
    counted_as = _listed(outcomes.failures[:5], outcomes.more_failures + len(outcomes.failures[5:]))
    return [
        ("Window", _window(model)),
        *([] if model.filter == _UNFILTERED else [("Filter", visible(model.filter))]),
        ("Population", _population(model)),
        ("Counted as failures", counted_as),
        ("As of", _as_of(model)),
    ]


def taken_along(model: CoverModel) -> str:
    """Return whether the events shown are in the file of a report, and what that means for a selection."""
    if model.packed:
        return "every event shown: a selection in a chart narrows every table to the events selected"
    shown = counted(model.counts.shown, "event")
    return (
        f"the first rows of each table: {shown} are more than a report takes along, so that a selection in a chart "
        "narrows only the rows that are here"
    )


def _window(model: CoverModel) -> str:
    """Return the window in one line.

    The zone is named where no bound shows its offset.
    """
    start = "from the first event kept" if model.start is None else f"from {_moment(model, model.start)}"
    end = "to the latest event" if model.end is None else f"up to, not including, {_moment(model, model.end)}"
    return f"{start} {end}, time zone {visible(model.zone)}"


def _population(model: CoverModel) -> str:
    """Return in one line what became of the events of the window; every exclusion that is not zero is named."""
    counts = model.counts
    at_most = "" if counts.exact else "at most "
    left_out = [
        f"{bound}{count:,} {words}"
        for count, bound, words in (
            (counts.pruned, at_most, "removed by the retention policy"),
            (counts.expired, at_most, "expired"),
            (counts.filtered, "", "not matching the filter"),
            (counts.own, "", "the trail's own"),
        )
        if count
    ]
    accepted = f"{at_most}{counted(counts.accepted, 'event')} accepted into this window"
    held = f" ({counts.held:,} of them kept by a legal hold)" if counts.held else ""
    if not left_out:
        return f"{accepted}, all of them shown{held}" if counts.shown else accepted
    return f"{accepted}, {counts.shown:,} shown{held}; left out: {', '.join(left_out)}"


def population_rows(model: CoverModel) -> Iterator[Row]:
    """Yield every event of the window, counted once, and what there is besides."""
    counts = model.counts
    at_most = "" if counts.exact else "at most "
    removed = "by the retention policy, counted by the record that each removal left"
    expired = "older than the retention policy keeps, hidden from every query"
    excluded = (
        ("Removed", counts.pruned, at_most, removed),
        ("Expired", counts.expired, at_most, expired),
        ("Not matching the filter", counts.filtered, "", f"filter: {visible(model.filter)}"),
        (
            "The trail's own",
            counts.own,
            "",
            "records of the trail about itself, such as changes of retention",
        ),
    )
    seqs = f"sequence numbers {counts.first_seq:,} to {counts.last_seq:,}" if counts.shown else ""
    queued = "durable, not yet moved into segment files when this was prepared"
    refused = "dead letters: inputs refused with the reason, of all times, when this was prepared"
    yield Row("Accepted into this window", f"{at_most}{counts.accepted:,}", "", "sum")
    for name, count, bound, why in excluded:
        yield Row(name, f"{bound}\u2212{count:,}" if count else "0", why, "part")
    yield Row("Shown in this report", f"{counts.shown:,}", seqs, "sum")
    if counts.held:
        yield Row(
            "of these held",
            f"{counts.held:,}",
            "older than the retention policy keeps, kept by a legal hold",
            "beside",
        )
    yield Row("of these still queued", f"{counts.queued:,}", queued, "beside")
    yield Row("Never became events", f"{counts.dead_letters:,}", refused, "beside")


def source_rows(model: CoverModel) -> Iterator[SourceRow]:
    """Yield each producer that is shown, then those that are known from before the window and silent in it."""
    for source in model.sources:
        yield SourceRow(
            name=short_label(source.name),
            events=f"{source.events:,}",
            first=_moment(model, source.first),
            last=_moment(model, source.last),
            silent=False,
        )
    for silent in model.silent:
        last = f"before the window: {_moment(model, silent.last)}"
        yield SourceRow(name=short_label(silent.name), events="silent", first="", last=last, silent=True)


def integrity_rows(model: CoverModel) -> list[tuple[str, str]]:
    """Return up to where the trail was read and what is signed of it, as pairs of a name and words."""
    return [
        ("As of", _as_of(model)),
        ("Sequence", _sequence(model.as_of, model.counts)),
        ("Checkpoint", "none: no signed statement covers these events"),
    ]


def checks(
    model: CoverModel, *, path: str, notebook: str, parameters: Mapping[str, object]
) -> tuple[Check, ...]:
    """Return the lines that count the same events and make the same report again.

    Every argument is quoted for a POSIX shell.  Values are ASCII JSON, so that nothing in them can act on the
    terminal that they are pasted into.  There are none where the filter is not recorded in a form for that.
    """
    if not model.repeatable:
        return ()
    asked: list[tuple[str, str | None]] = [
        ("--trail", path),
        ("--start", model.start),
        ("--end", model.end),
        ("--tz", model.zone),
        *(("--where", f"{key}={json.dumps(value)}") for key, value in (model.where or {}).items()),
        ("--at", str(model.as_of)),
    ]
    further = [("--param", f"{key}={json.dumps(value)}") for key, value in parameters.items()]
    count = _line("auditkit", "range", *_options(asked), "--columns", "seq", "--json")
    again = _line("auditkit", "report", notebook, *_options([*asked, *further]))
    return (
        Check(command=f"{count} | wc -l", gives=f"{model.counts.shown:,}, the number of events shown"),
        Check(command=again, gives="this report again, of the same events, whatever was appended since"),
    )


def _options(pairs: list[tuple[str, str | None]]) -> Iterator[str]:
    for option, value in pairs:
        if value is not None:
            yield from (option, value)


def _line(*words: str) -> str:
    return visible(shlex.join(words))


def _moment(model: CoverModel, text: str) -> str:
    return moment_words(text, model.zone)


def moment_words(text: str, zone: str) -> str:
    """Return a moment, given as ISO text with an offset, as words in a zone; what is neither comes back visible.

    >>> moment_words("2026-10-25T01:30:00+00:00", "Europe/Stockholm")
    'Sun 25 Oct 2026 02:30:00 +01:00'
    """
    try:
        moment = datetime.fromisoformat(text)  # noqa: TID251 -- a cover's own
        moment = moment.astimezone(check_zone(zone))
    except ValueError:
        return visible(text)
    offset = moment.isoformat()[-6:]
    return f"{moment:%a %d %b %Y %H:%M:%S} {'UTC' if zone == 'UTC' else offset}"


def _as_of(model: CoverModel) -> str:
    if not model.as_of:
        return "an empty trail"
    recorded = "" if model.as_of_time is None else f", the last recorded {_moment(model, model.as_of_time)}"
    return f"the first {counted(model.as_of, 'event')} of the trail{recorded}"


def _sequence(as_of: int, counts: Counts) -> str:
    if counts.missing is None:
        return "gaps not known: a removal reached beyond this point"
    if not as_of:
        return "nothing to number yet"
    numbers = f"0 to {as_of - 1:,}"
    if not counts.missing:
        return f"{numbers}, without a gap: each is stored or recorded as removed"
    return f"{numbers}, of which {counts.missing:,} are neither stored nor recorded as removed"


def plain_text(model: CoverModel) -> str:
    """Return the first screen as text for a terminal."""
    lines = [visible(model.title), visible(model.answer)]
    lines += [" \u00b7 ".join(_figure_words(figure) for figure in model.figures), ""]
    if model.summary:
        lines += [*(f"- {visible(sentence)}" for sentence in model.summary), ""]
    lines += [f"{name + ':':<22} {words}" for name, words in scope_rows(model)]
    lines.append("")
    lines += [f"{row.name:<26} {row.count:>12}  {row.why}".rstrip() for row in population_rows(model)]
    lines.append("")
    lines += [f"{name + ':':<22} {words}" for name, words in outcome_rows(model)]
    lines.append("")
    lines += [f"{name + ':':<22} {words}" for name, words in integrity_rows(model)]
    lines += ["", STATED]
    return "\n".join(lines)


def _figure_words(figure: KeyFigure) -> str:
    return visible(f"{figure.name} {figure.value}{f' ({figure.note})' if figure.note else ''}")


def card_html(model: CoverModel) -> str:
    """Return the first screen for JupyterLab: HTML without style sheet or script, every text escaped."""
    population = "".join(
        f'<tr style="background: none"><td style="{_CELL}{"; font-weight: 600" if row.kind == "sum" else ""}">{escape(row.name)}</td>'
        f'<td style="{_NUMBER}">{escape(row.count)}</td><td style="{_CELL}; {_MUTED}">{escape(row.why)}</td></tr>'
        for row in population_rows(model)
    )
    sentences = "".join(f"<li>{escape(visible(sentence))}</li>" for sentence in model.summary)
    figures = "".join(
        f'<td style="{_CELL}; padding-right: 32px"><div style="{_MUTED}">{escape(visible(figure.name))}</div>'
        f'<div style="font-size: 1.4em; font-weight: 600">{escape(visible(figure.value))}</div>'
        f'<div style="{_MUTED}">{escape(visible(figure.note))}</div></td>'
        for figure in model.figures
    )
    return (
        f'<div {LITERAL} style="max-width: 60em; line-height: 1.45">'
        f'<div style="font-size: 1.6em; font-weight: 600; line-height: 1.25">{escape(visible(model.title))}</div>'
        f'<div style="font-size: 1.1em; margin: 0.4em 0 1em">{escape(visible(model.answer))}</div>'
        f'<table style="margin: 0 0 1em"><tr style="background: none">{figures}</tr></table>'
        f'<ul style="margin: 0 0 1em; padding-left: 1.2em">{sentences}</ul>'
        f"{_pairs(scope_rows(model))}"
        f'<table style="margin: 0 0 1em">{population}</table>'
        f"{_pairs(outcome_rows(model))}"
        f"{_pairs(integrity_rows(model))}"
        f'<div style="{_MUTED}">{escape(STATED)}</div></div>'
    )


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f'<tr style="background: none"><td style="{_CELL}; {_MUTED}">{escape(name)}</td><td style="{_CELL}">{escape(words)}</td></tr>'
        for name, words in rows
    )
    return f'<table style="margin: 0 0 1em">{cells}</table>'
