"""The scope of a report, resolved once by `cover` and asked with by every cell.

A notebook calls `cover` once.  It resolves the window, so that `"-1h"` means the same in every cell, and pins the
trail to a seq, so that every cell sees the same events while others append.
"""

import getpass
import json
import platform
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

import auditkit
from auditkit.api import Trail
from auditkit.ask.near import doubts
from auditkit.ask.population import Population, population
from auditkit.display.tables import LIMIT, Table, table
from auditkit.errors import EmptyAnswerWarning
from auditkit.reporting.answer import answer_sentence, count_outcomes, key_figures
from auditkit.reporting.cover import (
    MIME,
    VERSION,
    Counts,
    CoverModel,
    KeyFigure,
    Prepared,
    Silent,
    Source,
    card_html,
    plain_text,
)
from auditkit.reporting.packed import COLUMNS, MOST_EVENTS, pack_events
from auditkit.reporting.packed import MIME as EVENTS_MIME
from auditkit.reporting.summary import summary
from auditkit.timerange import US_PER_SECOND, SystemClock, check_zone, from_us, resolve, to_us
from auditkit.where import Where, checked_mapping, compile_where, describe_where
from auditkit.where.vocabulary import failing

_EVENT_COLUMNS = ("ts", "actor", "action", "resource", "outcome", "origin", "source", "seq")
_FIRST_EVENTS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """The first screen; shows itself in a notebook, and holds what the following cells ask with.

    Attributes
    ----------
    model : CoverModel
        What the first screen says.
    prepared : Prepared
        Who made it, when and where.
    trail : Trail
        The trail, pinned to the seq that the report is as of.
    start, end : datetime or None
        The resolved bounds in the trail's zone; None is unbounded.
    where : mapping, polars.Expr or None
        The filter.
    failures : tuple of str
        The outcomes, among all that the trail holds, that count as failures.
    split : str
        The column that colours a chart of these events: "outcome" where half of them state one, else "action".
    span : timedelta
        From the first to the last event shown.
    packed : str or None
        The events of the scope as a report takes them along; None where these are too many.
    """

    model: CoverModel
    prepared: Prepared
    trail: Trail
    start: datetime | None
    end: datetime | None
    where: Where
    failures: tuple[str, ...]
    split: str
    span: timedelta
    packed: str | None

    @property
    def shown(self) -> int:
        """How many events the scope holds."""
        return self.model.counts.shown

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

    @property
    def failed(self) -> dict[str, Any]:
        """The scope narrowed to the events that count as failures."""
        return self.only({"outcome": self.failures})

    def events(
        self, title: str, *, without: Collection[str] = (), descending: bool = False, empty: str = "No events"
    ) -> Table:
        """Return all events of the scope as a table, who, what and when first.

        A report that takes its events along (up to 20,000) shows all of them; this holds the first 500 for where no script
        runs.  Of more events it holds the first 2,000.

        Parameters
        ----------
        title : str
        without : collection of str, default ()
            Columns to leave out.
        descending : bool, default False
            Whether the last event comes first.
        empty : str, default "No events"
            What is said where there are none.

        Returns
        -------
        Table
        """
        columns = [name for name in _EVENT_COLUMNS if name not in without]
        held = self.packed is not None
        limit = _FIRST_EVENTS if held else LIMIT
        first = self.trail.range(**self.scope, columns=columns, limit=limit, descending=descending)
        made = table(first.select(columns), title, total=self.shown, tz=self.trail.tz, empty=empty)
        return replace(made, events="descending" if descending else "ascending") if held else made

    def __repr__(self) -> str:
        return plain_text(self.model)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the model, its events, what JupyterLab shows of it, and beside them who prepared this."""
        shown = {
            MIME: msgspec.to_builtins(self.model),
            "text/html": card_html(self.model),
            "text/plain": repr(self),
        }
        if self.packed is not None:
            shown[EVENTS_MIME] = self.packed
        return shown, {MIME: msgspec.to_builtins(self.prepared)}


def cover(
    trail: Trail,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    *,
    title: str,
    where: Where = None,
    also: Mapping[str, object] | None = None,
    as_of: int | None = None,
    answer: str | None = None,
    failures: Sequence[str] | None = None,
    figures: Mapping[str, str] | None = None,
    summarize: bool = True,
) -> Cover:
    """Return the first screen of a report about the events of a window.

    Parameters
    ----------
    trail : Trail
    start, end : datetime, date or str, optional
        Bounds as in every query of the trail, `[start, end)`, read in its zone; durations count from the trail's now.
        Left out, the window is unbounded.
    title : str
    where : mapping or polars.Expr, optional
        The filter, as in every query.
    also : mapping, optional
        Further conditions, in place of those of a filter on the same columns.
    as_of : int, optional
        Shows the trail as it was at that seq; left out, as it is now.  Later events stay out of every cell.
    answer : str, optional
        The sentence under the title; left out, one is made from the events.
    failures : sequence of str, optional
        Which outcomes count as failures: patterns in any case, `*` stands for any text.  Left out, words that mean one in
        any spelling (`AccessDenied`, `FAILURE`, `timed_out`) and HTTP codes from 400 on.
    figures : mapping of str to str, optional
        The key figures under the answer, by name; left out, they are events, actors, failures and span.
    summarize : bool, default True
        Whether sentences say what stands out of the events; a report about the trail itself does without.

    Returns
    -------
    Cover

    Raises
    ------
    InvalidTimeError, InvalidQueryError
        As the trail's queries do.
    """
    warnings.simplefilter("ignore", EmptyAnswerWarning)  # this screen says it once, for all cells below
    if isinstance(where, str) or also:
        where = {**checked_mapping(where or {}), **(also or {})}
    viewed = trail if as_of is None else trail.at(as_of)
    window = resolve(start, end, now_us=to_us(viewed.now()), tz=trail.tz)
    pinned = viewed.at(viewed.end_seq)
    first, last = _moment(window.start_us, trail.tz), _moment(window.end_us, trail.tz)
    asked: dict[str, Any] = {"start": first, "end": last, "where": where}
    found = population(pinned.view, **asked, tz=trail.tz)
    counts = Counts(**{name: getattr(found, name) for name in Counts.__struct_fields__})
    failed = failing_outcomes(pinned, failures)
    groups = pinned.group_by(["actor", "action", "outcome"], **asked, aggs="count", tier=None)
    if answer is None:
        answer = answer_sentence(counts, len(found.sources), groups, failed)
    if counts.filtered and not counts.shown:
        found_near = doubts(pinned.view, first, last, where=where, own=False, tz=None)
        answer = " ".join([answer, *(f"{doubt.text[:1].upper()}{doubt.text[1:]}." for doubt in found_near)])
    packed = None
    if counts.shown <= MOST_EVENTS:
        packed = pack_events(pinned.range(**asked, columns=list(COLUMNS)))
    zone = check_zone(trail.tz)
    outcomes = count_outcomes(groups, failed, failures)
    stated = groups.drop_nulls("outcome")["count"].sum()
    span = _span(found, zone)
    mapping = _json_mapping(where)
    model = CoverModel(
        version=VERSION,
        title=title,
        answer=answer,
        figures=key_figures(counts, groups, outcomes, span)
        if figures is None
        else tuple(KeyFigure(name=name, value=value) for name, value in figures.items()),
        summary=summary(pinned, **asked, failures=failed, silent=tuple(span.source for span in found.silent))
        if summarize
        else (),
        trail=trail.name,
        trail_id=trail.trail_id,
        zone=trail.tz,
        start=None if first is None else first.isoformat(),
        end=None if last is None else last.isoformat(),
        where=mapping,
        repeatable=where is None or mapping is not None,
        filter=describe_where(where),
        retention=found.policy,
        as_of=found.as_of,
        as_of_time=pinned.now().astimezone(zone).isoformat() if found.as_of else None,
        counts=counts,
        packed=packed is not None,
        outcomes=outcomes,
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
    prepared = Prepared(
        by=user(),
        at=from_us(SystemClock().now_us() // US_PER_SECOND * US_PER_SECOND).isoformat(),
        host=platform.node(),
        version=auditkit.__version__,
        path=str(trail.path),
    )
    return Cover(
        model=model,
        prepared=prepared,
        trail=pinned,
        start=first,
        end=last,
        where=where,
        failures=failed,
        split="outcome" if 2 * stated >= counts.shown else "action",
        span=timedelta(0) if span is None else span[1] - span[0],
        packed=packed,
    )


def failing_outcomes(trail: Trail, failures: Sequence[str] | None) -> tuple[str, ...]:
    """Return the outcomes that a trail holds and that count as failures, by patterns or by auditkit's own rule."""
    return tuple(failing(trail.group_by("outcome", aggs="count")["outcome"], failures))


def user() -> str:
    """Return the name of the account that runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        return "unknown"


def _span(found: Population, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """Return the first and the last moment of the events shown."""
    if not found.sources:
        return None
    first = min(span.first_ts for span in found.sources)
    last = max(span.last_ts for span in found.sources)
    return first.astimezone(zone), last.astimezone(zone)


def _moment(us: int | None, zone: str) -> datetime | None:
    return None if us is None else from_us(us).astimezone(check_zone(zone))


def _json_mapping(where: Where) -> dict[str, Any] | None:
    """Return a filter as JSON holds it, or None where it is an expression or holds what JSON does not."""
    if not isinstance(where, Mapping):
        return None
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(where), allow_nan=False))
    except (TypeError, ValueError):
        return None
    return copied
