"""What was found in a window, in a sentence and a few figures: how many events, by whom, and how they ended."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from auditkit.reporting.cover import MOST_OUTCOMES, Counts, KeyFigure, Outcomes
from auditkit.text import counted, short_label

_DEFAULT_RULE = "words that mean a failure, in any case, and HTTP codes from 400 on"
_LENGTHS = ((365.25 * 86_400, "year"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def answer_sentence(counts: Counts, sources: int, groups: pl.DataFrame, failures: Sequence[str]) -> str:
    """Return in one sentence how many events are shown, by how many, and how much failed.

    `groups` counts the events shown by actor, action and outcome, which come from so many sources; `failures` are the
    outcomes that count as such.
    """
    shown = counts.shown
    if not shown:
        left_out = counts.filtered + counts.expired + counts.own + counts.pruned
        held_back = f" to show: {left_out:,} in this window are left out."
        return f"No events{held_back if left_out else ' in this window.'}"
    actors = groups["actor"].unique().to_list()
    who = short_label(actors[0]) if len(actors) == 1 and actors[0] is not None else None
    by = who or counted(len(actors) - (None in actors), "actor")
    start = f"{counted(shown, 'event')} by {by} from {counted(sources, 'source')}"
    if groups["outcome"].null_count() == groups.height:
        return f"{start}; their outcome is not stated."
    failed = groups.filter(pl.col("outcome").is_in(failures))
    if failed.is_empty():
        return f"{start}; {_without_failures(groups)}."
    count = int(failed["count"].sum())
    return (
        f"{start}; {count:,} ({_percent(count, shown)}) failed{_most_failed(failed, alone=who is not None)}."
    )


def _without_failures(groups: pl.DataFrame) -> str:
    """Return that nothing failed, and where outcomes go by other names, which is the most frequent."""
    outcomes = groups.drop_nulls("outcome").group_by("outcome").agg(pl.col("count").sum())
    if {outcome.casefold() for outcome in outcomes["outcome"]} == {"success"}:
        return "none is recorded as a failure"
    name, count = outcomes.sort("count", "outcome", descending=[True, False]).row(0)
    share = f"{count:,} ({_percent(count, int(groups['count'].sum()))}) ended in {short_label(name)}"
    others = outcomes.height - 1
    return share + (
        f", the others in {counted(others, 'other outcome')}, none of them counted as a failure"
        if others
        else ""
    )


def _most_failed(failures: pl.DataFrame, *, alone: bool) -> str:
    """Return the action that failed most often, and the actor where one has most of it."""
    actions = failures.group_by("action", maintain_order=True).agg(pl.col("count").sum())
    action, times = actions.sort("count", descending=True, maintain_order=True).row(0)
    actors = failures.filter(pl.col("action") == action).sort("count", descending=True, maintain_order=True)
    actor, share = actors["actor"][0], actors["count"][0]
    if failures["count"].sum() == 1:
        return (
            f": {short_label(action)}"
            if alone or actor is None
            else f": {short_label(action)} by {short_label(actor)}"
        )
    if times == 1:
        return ""
    words = f", most often {short_label(action)} ({counted(times, 'time')}"
    if alone or actor is None or 2 * share <= times:
        return f"{words})"
    return f"{words}, {'always' if share == times else 'mostly'} by {short_label(actor)})"


def count_outcomes(groups: pl.DataFrame, failures: Sequence[str], patterns: Sequence[str] | None) -> Outcomes:
    """Return how events ended, of a frame with `outcome` and `count`; `failures` are the outcomes that count as such."""
    sums = groups.group_by("outcome").agg(pl.col("count").sum())
    sums = sums.sort("count", "outcome", descending=[True, False], nulls_last=True)
    failed = pl.col("outcome").is_in(failures).fill_null(value=False)
    counted_as, rest = sums.filter(failed), sums.filter(~failed)
    return Outcomes(
        rule=_DEFAULT_RULE if patterns is None else f"given for this report: {', '.join(patterns) or 'none'}",
        failed=int(counted_as["count"].sum()),
        failures=tuple(counted_as.head(MOST_OUTCOMES).iter_rows()),
        more_failures=max(0, counted_as.height - MOST_OUTCOMES),
        others=tuple(rest.head(MOST_OUTCOMES).iter_rows()),
        more_others=max(0, rest.height - MOST_OUTCOMES),
    )


def key_figures(
    counts: Counts, groups: pl.DataFrame, outcomes: Outcomes, span: tuple[datetime, datetime] | None
) -> tuple[KeyFigure, ...]:
    """Return events, actors, failures and span; `groups` counts the events shown by actor, `span` is in the report's zone."""
    accepted = "" if counts.shown == counts.accepted else f"of {counts.accepted:,} accepted"
    share = _percent(outcomes.failed, counts.shown) if outcomes.failed else ""
    actors = groups.drop_nulls("actor").group_by("actor").agg(pl.col("count").sum())
    most = actors.sort("count", "actor", descending=[True, False]).row(0) if actors.height > 1 else None
    length, note = ("none", "") if span is None else _span_words(*span)
    return (
        KeyFigure(name="Events", value=f"{counts.shown:,}", note=accepted),
        KeyFigure(
            name="Actors",
            value=f"{actors.height:,}",
            note="" if most is None else f"most: {short_label(most[0])}, {most[1]:,}",
        ),
        KeyFigure(name="Failures", value=f"{outcomes.failed:,}", note=share),
        KeyFigure(name="Span", value=length, note=note),
    )


def _span_words(first: datetime, last: datetime) -> tuple[str, str]:
    """Return the length of time between two moments, and the moments, both in the same zone.

    >>> from datetime import UTC
    >>> _span_words(datetime(2026, 10, 19, 8, tzinfo=UTC), datetime(2026, 10, 19, 17, 30, tzinfo=UTC))
    ('9.5 hours', 'Mon 19 Oct 2026, 08:00 to 17:30')
    """
    seconds = (last - first).total_seconds()
    size, unit = next((size, unit) for size, unit in _LENGTHS if seconds >= size or size == 1)
    length = f"{seconds / size:,.1f}".removesuffix(".0")
    words = f"{length} {unit}{'' if length == '1' else 's'}"
    if first.date() == last.date():
        clock = "%H:%M" if seconds >= 60 else "%H:%M:%S"
        return words, f"{first:%a %d %b %Y}, {first:{clock}} to {last:{clock}}"
    return words, f"{first:%d %b %Y} to {last:%d %b %Y}"


def _percent(count: int, of: int) -> str:
    """Return a share in percent; one that is not none does not look like none.

    >>> _percent(1, 8), _percent(1, 5000)
    ('12.5 %', 'less than 0.1 %')
    """
    percent = 100 * count / of
    return "less than 0.1 %" if 0 < percent < 0.05 else f"{percent:.1f} %"
