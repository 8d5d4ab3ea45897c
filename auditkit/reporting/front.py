"""The first screen of a report, made from the trail: what was asked, of which events, and the answer in a sentence.

A notebook calls `cover` once.  It resolves the window, so that `"-1h"` means the same in every cell, and pins the
trail to a seq, so that every cell sees the same events while others append.
"""

import getpass
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

import auditkit
from auditkit.api import Trail
from auditkit.ask.population import Population, population
from auditkit.reporting.card import card
from auditkit.reporting.facts import (
    MIME,
    VERSION,
    Counts,
    Facts,
    Prepared,
    Silent,
    Source,
    to_json,
)
from auditkit.reporting.observing import observe
from auditkit.reporting.screen import plain
from auditkit.reporting.summary import summarise
from auditkit.text import counted, label
from auditkit.timerange import US_PER_SECOND, SystemClock, check_zone, from_us, resolve, to_us
from auditkit.where import Where, compile_where, describe_where

_MOST_BUCKETS = 200
_WIDTHS_S = {"1s": 1, "10s": 10, "1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "6h": 21_600, "1d": 86_400}
_LONGEST = "1w"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """The first screen; shows itself in a notebook, and holds what the following cells ask with.

    `trail` is pinned to the seq that the report is as of, `start` and `end` are the resolved bounds (None is
    unbounded), `every` is a bucket width that gives a readable chart of the window.
    """

    facts: Facts
    prepared: Prepared
    trail: Trail
    start: datetime | None
    end: datetime | None
    where: Where
    every: str

    @property
    def window(self) -> dict[str, datetime | None]:
        """The bounds as keyword arguments."""
        return {"start": self.start, "end": self.end}

    @property
    def previous(self) -> dict[str, Any]:
        """The bounds of the window of equal length before this one; one without events where a bound is missing."""
        if self.start is None or self.end is None:
            return {"start": from_us(0), "end": from_us(0)}
        first, end = to_us(self.start), to_us(self.end)
        return {"start": from_us(2 * first - end), "end": from_us(first)}

    @property
    def scope(self) -> dict[str, Any]:
        """Window and filter as the keyword arguments that the trail's queries take."""
        return {**self.window, "where": self.where}

    def only(self, conditions: Mapping[str, object]) -> dict[str, Any]:
        """The scope narrowed by further conditions, which hold beside the filter and never in its place."""
        if self.where is None:
            return {**self.window, "where": conditions}
        both = [compile_where(where, self.trail.schema) for where in (self.where, conditions)]
        return {**self.window, "where": pl.all_horizontal([one for one in both if one is not None])}

    def __repr__(self) -> str:
        return plain(self.facts)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the facts, what JupyterLab shows of them, and beside them who prepared this."""
        data = {MIME: to_json(self.facts), "text/html": card(self.facts), "text/plain": repr(self)}
        return data, {MIME: to_json(self.prepared)}


def cover(
    trail: Trail,
    start: object = None,
    end: object = None,
    *,
    title: str,
    where: Where = None,
    as_of: int | None = None,
    answer: str | None = None,
) -> Cover:
    """Return the first screen of a report about the events of a window.

    Bounds are as in every query of the trail, read in its zone; durations count from the trail's now.  `as_of`
    shows the trail as it was at that seq; left out, it is as now, and later events stay out.  `answer` is the
    sentence under the title; left out, one is made from the events.  Raises what the trail's queries raise.
    """
    viewed = trail if as_of is None else trail.at(as_of)
    window = resolve(start, end, now_us=to_us(viewed.now()), tz=trail.tz)
    pinned = viewed.at(viewed.end_seq)
    first, last = _moment(window.start_us, trail.tz), _moment(window.end_us, trail.tz)
    found = population(pinned.view, first, last, where=where, tz=trail.tz)
    if answer is None:
        answer = _answer(
            found, pinned.group_by(["actor", "action", "outcome"], start=first, end=last, where=where)
        )
    silent = tuple(span.source for span in found.silent)
    summary = summarise(observe(pinned, first, last, where=where, silent=silent))
    return Cover(
        facts=_facts(pinned, first, last, where, found, title=title, answer=answer, summary=summary),
        prepared=_prepared(trail),
        trail=pinned,
        start=first,
        end=last,
        where=where,
        every=_width(first, last, found),
    )


def _moment(us: int | None, zone: str) -> datetime | None:
    return None if us is None else from_us(us).astimezone(check_zone(zone))


def _facts(
    trail: Trail,
    start: datetime | None,
    end: datetime | None,
    where: Where,
    found: Population,
    *,
    title: str,
    answer: str,
    summary: tuple[str, ...],
) -> Facts:
    zone = check_zone(trail.tz)
    mapping = _json_mapping(where)
    return Facts(
        version=VERSION,
        title=title,
        answer=answer,
        summary=summary,
        trail=trail.name,
        trail_id=trail.trail_id,
        zone=trail.tz,
        start=None if start is None else start.isoformat(),
        end=None if end is None else end.isoformat(),
        where=mapping,
        repeatable=where is None or mapping is not None,
        filter=describe_where(where),
        retention=found.policy,
        as_of=found.as_of,
        as_of_time=trail.now().astimezone(zone).isoformat() if found.as_of else None,
        counts=Counts(**{name: getattr(found, name) for name in Counts.__dataclass_fields__}),
        sources=tuple(
            Source(
                name=span.source,
                events=span.events,
                first=span.first_ts.astimezone(zone).isoformat(),
                last=span.last_ts.astimezone(zone).isoformat(),
            )
            for span in found.sources
        ),
        silent=tuple(
            Silent(name=span.source, last=span.last_ts.astimezone(zone).isoformat()) for span in found.silent
        ),
    )


def _json_mapping(where: Where) -> dict[str, Any] | None:
    """Return a filter as JSON holds it, or None where it is an expression or holds what JSON does not."""
    if not isinstance(where, Mapping):
        return None
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(where), allow_nan=False))
    except (TypeError, ValueError):
        return None
    return copied


def user() -> str:
    """Return the name of the account that runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        return "unknown"


def _prepared(trail: Trail) -> Prepared:
    at = from_us(SystemClock().now_us() // US_PER_SECOND * US_PER_SECOND).isoformat()
    return Prepared(
        by=user(), at=at, host=platform.node(), version=auditkit.__version__, path=str(trail.path)
    )


def _answer(found: Population, groups: pl.DataFrame) -> str:
    """Say in one sentence how many events there are, by how many, and how much failed."""
    if not found.shown:
        left_out = found.filtered + found.expired + found.own + found.pruned
        return (
            f"No events to show: {left_out:,} in this window are left out."
            if left_out
            else "No events in this window."
        )
    actors = groups["actor"].unique().to_list()
    who = label(actors[0]) if len(actors) == 1 and actors[0] is not None else None
    by = who or counted(len(actors) - (None in actors), "actor")
    start = f"{counted(found.shown, 'event')} by {by} from {counted(len(found.sources), 'source')}"
    if groups["outcome"].null_count() == groups.height:
        return f"{start}; their outcome is not stated."
    failures = groups.filter(pl.col("outcome") == "failure")
    if failures.is_empty():
        return f"{start}; {_without_failures(groups)}."
    failed = int(failures["count"].sum())
    return f"{start}; {failed:,} ({100 * failed / found.shown:.1f} %) failed{_most_failed(failures, alone=who is not None)}."


def _without_failures(groups: pl.DataFrame) -> str:
    """Say that nothing failed, and where outcomes go by other names, which is the most frequent."""
    outcomes = groups.drop_nulls("outcome").group_by("outcome").agg(pl.col("count").sum())
    if outcomes["outcome"].to_list() == ["success"]:
        return "none is recorded as a failure"
    name, count = outcomes.sort("count", "outcome", descending=[True, False]).row(0)
    share = f"{count:,} ({100 * count / groups['count'].sum():.1f} %) ended in {label(name)}"
    others = outcomes.height - 1
    rest = f", the others in {counted(others, 'other outcome')}, none of them named failure" if others else ""
    return f"{share}{rest}"


def _most_failed(failures: pl.DataFrame, *, alone: bool) -> str:
    """Name the action that failed most often, and the actor where one has most of it."""
    actions = failures.group_by("action", maintain_order=True).agg(pl.col("count").sum())
    action, times = actions.sort("count", descending=True, maintain_order=True).row(0)
    actors = failures.filter(pl.col("action") == action).sort("count", descending=True, maintain_order=True)
    actor, share = actors["actor"][0], actors["count"][0]
    if failures["count"].sum() == 1:
        return f": {label(action)}" if alone or actor is None else f": {label(action)} by {label(actor)}"
    words = f", most often {label(action)} ({counted(times, 'time')}"
    if alone or actor is None or 2 * share <= times:
        return f"{words})"
    return f"{words}, {'always' if share == times else 'mostly'} by {label(actor)})"


def _width(start: datetime | None, end: datetime | None, found: Population) -> str:
    """Return the finest width that divides the window, as far as events fill it, into few enough buckets."""
    first = start or min((span.first_ts for span in found.sources), default=None)
    last = end or max((span.last_ts for span in found.sources), default=None)
    span_s = (last - first).total_seconds() if first is not None and last is not None else 0
    return next((name for name, width in _WIDTHS_S.items() if span_s / width <= _MOST_BUCKETS), _LONGEST)
