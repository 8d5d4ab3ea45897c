"""What an explorer asks of a trail: bars over time, counts of facets, pages; the same answers from the trail or from codes.

A view is pinned at the seq it has come to, so that all answers, and the code copied from them, are about the same events.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from threading import Event, Lock
from typing import Any

import numpy as np
import polars as pl
from msgspec.structs import replace

from auditkit.arrow import Numbers
from auditkit.ask.group import group_by
from auditkit.ask.near import doubts
from auditkit.ask.range import range_
from auditkit.errors import InvalidQueryError
from auditkit.explorer.codes import COLUMNS, Chosen, Codes, StoppedError, TooManyError, load_codes, seqs_of
from auditkit.explorer.selection import FACETS, Facet, Selection, intersection
from auditkit.query.buckets import bucket_starts, parse_every
from auditkit.query.frames import in_zone
from auditkit.store.files import retrying
from auditkit.store.scan import BatchRange, ScanPlan
from auditkit.timerange import (
    EARLIEST_US,
    LATEST_US,
    US_PER_DAY,
    Moment,
    TimeRange,
    check_zone,
    from_us,
    to_us,
)
from auditkit.trail.events import in_order, plan_events
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.view import View, window_and_now
from auditkit.where import Where, checked_mapping, conditions

_BARS = 120
"""About so many bars are drawn at most."""
_STEPS = (
    "1ms",
    "10ms",
    "100ms",
    "1s",
    "5s",
    "15s",
    "1m",
    "5m",
    "15m",
    "1h",
    "3h",
    "6h",
    "12h",
    "1d",
    "1w",
    "1mo",
    "3mo",
    "1y",
)
_MOST_OUTCOMES = 8
"""So many outcomes have bars of their own."""
_TOP = 50
"""So many values of a facet are shown unasked."""
_ALIKE = 5
"""So many values that contain the searched text are named."""
_MOST_TEXT = 20_000
"""So much of a text is in a page."""
_EXACT = 2**53
"""Up to here JavaScript's numbers are exact."""


class Questions:
    """What a pinned view of a trail says of selections.

    `span` is from the first event to the end of the last one in microseconds, `None` where there are none; `end_seq` is the
    seq at which the view is pinned, `window` the window that was asked for, `base` its conditions.
    """

    def __init__(
        self,
        view: View,
        start: Moment | None = None,
        end: Moment | None = None,
        where: Where = None,
        tz: str | None = None,
    ) -> None:
        if isinstance(where, pl.Expr):
            error = InvalidQueryError("where", where, "is an expression, of which an explorer makes no code")
            error.add_note('pass a mapping, such as {"actor": "ann"}, or filter scan() with the expression')
            raise error
        self.base: Mapping[str, Any] = checked_mapping({} if where is None else where)
        self._schema = pl.Schema(view.handle.schema.columns)
        conditions(self.base, self._schema)
        self.tz = tz or view.tz
        check_zone(self.tz)
        window, _ = window_and_now(view, start, end, tz)
        self.window = _bounded(window)
        snapshot = view.snapshot()
        self.end_seq, self._has_tiers = snapshot.as_of, bool(snapshot.tiers)
        self._zone_given = self.tz if self.tz != view.tz else None
        self._view = replace(view, at=self.end_seq, tz=self.tz)
        self.span = self._span()
        self._everything: dict[Facet, pl.DataFrame] = {}
        self._codes: Codes | None = None
        self._last: tuple[Codes, Selection, Chosen] | None = None
        self._note = ""
        self._loading = Lock()  # guards the first setting of `_codes` and `_note`
        self._closed = Event()

    def load(self) -> dict[str, Any]:
        """Bring codes into memory, from which answers come quickly; return what there is to say of it.

        `events` and `bytes` are how many events are held and what they take about; `note` says why there are none.  An answer
        loads them by itself where that was not done.  `close` from another thread ends it; it may be called again after that.
        """
        with self._loading:
            if self._codes is None and not self._note:
                self._closed.clear()
                try:
                    self._codes = retrying(self._loaded)
                except StoppedError:
                    return {"events": 0, "bytes": 0, "note": "the explorer was closed"}
                except TooManyError as exc:
                    self._note = f"{exc}: each question is asked of the trail"
            codes = self._codes
        if codes is None:
            return {"events": 0, "bytes": 0, "note": self._note}
        return {"events": codes.count, "bytes": codes.bytes, "note": ""}

    def _loaded(self) -> Codes:
        snapshot, plan = self._plan(self.window, COLUMNS, self.base)
        return load_codes(self._view.handle.reader.files, snapshot, plan, self._closed.is_set)

    def close(self) -> None:
        """Let go of what is in memory; a load under way ends soon."""
        self._closed.set()
        self._codes = self._last = None

    def _plan(
        self, window: TimeRange, columns: Collection[str], where: Mapping[str, Any]
    ) -> tuple[Snapshot, ScanPlan]:
        snapshot = self._view.snapshot()
        snapshot.refuse_pruned(window)
        asked = conditions(where, self._schema)
        return snapshot, plan_events(snapshot, window, snapshot.visibility(own=False), columns, asked)

    def _span(self) -> tuple[int, int] | None:
        """Return where the events lie that the window shows, conditions or not."""
        ends = [
            self._range({}, self.window, columns=["ts"], limit=1, descending=descending)["ts"].to_list()
            for descending in (False, True)
        ]
        return (to_us(ends[0][0]), to_us(ends[1][0]) + 1) if ends[0] else None

    def answer(self, selection: Selection, zoom: tuple[int, int] | None = None) -> dict[str, Any]:
        """Return what a selection comes to, as JSON has it.

        `edges` are the borders of the bars in microseconds, one more than there are bars, and `every` their width; the bars
        are those of `zoom`, or of all time, not cut by the brush.  `bars` has a list for each bar: a count for each of
        `outcomes`, and last one for all other outcomes together.  `facets` has for each facet `rows`, a list of
        [value or None, count, count before anything was selected], most first, in which what was chosen is never
        missing, and `distinct`, how many values there are; each facet is counted without its own choice.  `total` is how
        many events are selected, `all` of how many.  Without events there are no edges and bars, and `every` is `None`.  `alike` are the most frequent
        [facet, value, count] of which the value contains the searched text, which is looked for elsewhere; `hint` says, where `all` is 0, why.
        """
        self.load()
        edges, every = self._edges(zoom)
        outcomes, bars = self._bars(selection, edges, every)
        counts = {facet: self._counts(selection, facet) for facet in FACETS}
        whole = int(self._before("outcome")["count"].sum())
        return {
            "edges": edges,
            "every": every,
            "outcomes": outcomes,
            "bars": bars,
            "facets": {facet: self._rows(selection, facet, counts[facet]) for facet in FACETS},
            "total": selection.total(counts),
            "all": whole,
            "alike": self._alike(selection.text.strip()),
            "hint": "" if whole else self._hint(),
        }

    def _alike(self, text: str) -> list[tuple[Facet, str, int]]:
        """Return values of facets that contain a text, in any case, most frequent first: `text` is not searched in these."""
        found = [
            (facet, value, count)
            for facet in FACETS
            if text
            for value, count in self._before(facet).filter(_containing(facet, text)).rows()
        ]
        return sorted(found, key=lambda one: -one[2])[:_ALIKE]

    def _hint(self) -> str:
        """Return why there are no events at all: what was near their conditions, or when the trail has some."""
        start, end = _moments(self.window)
        found = doubts(self._view, start, end, where=self.base, own=False, tz=None)
        return "; ".join(doubt.text for doubt in found)

    def find(self, selection: Selection, facet: Facet, text: str) -> dict[str, Any]:
        """Return `rows` and `distinct` of a facet as in `answer`, of the values that contain a text, in any case."""
        counts = self._counts(selection, facet)
        return self._rows(Selection(), facet, counts.filter(_containing(facet, text)))

    def page(self, selection: Selection, offset: int, limit: int) -> list[dict[str, Any]]:
        """Return some of the selected events, newest first, as JSON has them: times in microseconds.

        Of long texts a page has the beginning only; `cut` names their columns, and `event` has the whole.
        """
        if (codes := self._codes) is not None:
            stamps, seqs = codes.newest(self._chosen(codes, selection), offset, limit)
            found = self._events(seqs, stamps)
        else:
            where, window = selection.where(self.base), selection.within(self.window)
            found = self._range(where, window, limit=offset + limit, descending=True).slice(offset)
        return [_shortened(_plain(row)) for row in found.iter_rows(named=True)]

    def event(self, seq: int) -> dict[str, Any] | None:
        """Return one event with all of its text, as JSON has it."""
        found = self._events(np.array([seq]))
        return next((_plain(row) for row in found.iter_rows(named=True)), None)

    def frame(self, selection: Selection) -> pl.DataFrame:
        """Return the selected events, as the copied code does."""
        return self._range(selection.where(self.base), selection.within(self.window))

    def code(
        self, selection: Selection, name: str = "trail", *, by: str | None = None, every: str | None = None
    ) -> str:
        """Return the call that gives the selected events of the trail called `name`, or their groups."""
        return selection.code(
            name,
            self.window,
            self.base,
            zone=self.tz,
            tz=self._zone_given,
            as_of=self.end_seq,
            allow_pruned=self._view.allow_pruned,
            has_tiers=self._has_tiers,
            by=by,
            every=every,
        )

    def _range(self, where: Mapping[str, Any], window: TimeRange, **options: Any) -> pl.DataFrame:
        given = {"columns": None, "limit": None, "descending": False, **options}
        return range_(self._view, *_moments(window), where=where or None, own=False, tz=None, **given)

    def _groups(
        self, by: str | None, every: str | None, selection: Selection, window: TimeRange
    ) -> pl.DataFrame:
        start, end = _moments(window)
        where = selection.where(self.base) or None
        given = {"aggs": ["count"], "own": False, "tz": None, "tier": None}
        return group_by(self._view, by, every=every, start=start, end=end, where=where, **given)  # type: ignore[arg-type]

    def _edges(self, zoom: tuple[int, int] | None) -> tuple[list[int], str | None]:
        """Return the borders of the bars of a time, and how wide they are."""
        if self.span is None:
            return [], None
        first, end = self.span
        if zoom is not None and zoom[0] < end and zoom[1] > first:
            first, end = max(first, zoom[0]), min(end, zoom[1])
        wanted = (end - first) / _BARS
        every = next((step for step in _STEPS if parse_every(step).shortest_us >= wanted), _STEPS[-1])
        length = parse_every(every)
        starts = bucket_starts(length, self.tz, first, end - 1)
        reached = starts[-1] + 2 * length.shortest_us + (US_PER_DAY if length.months or length.days else 0)
        after = bucket_starts(length, self.tz, starts[-1], reached)
        return [*starts, after[1]], every

    def _bars(
        self, selection: Selection, edges: list[int], every: str | None
    ) -> tuple[list[str | None], list[list[int]]]:
        """Return the outcomes that have bars of their own, most first, and the bars."""
        if every is None:
            return [], []
        found = self._cells(selection, edges, every)
        totals = found.group_by("outcome").agg(pl.col("count").sum())
        totals = totals.sort("count", "outcome", descending=[True, False], nulls_last=True)
        outcomes = totals["outcome"].head(_MOST_OUTCOMES).to_list()
        known = {outcome: place for place, outcome in enumerate(outcomes)}
        columns = [known.get(outcome, len(outcomes)) for outcome in found["outcome"].to_list()]
        bars: Numbers = np.zeros((len(edges) - 1, len(outcomes) + 1), dtype=np.int64)
        np.add.at(
            bars, (found["bar"].to_numpy(), np.array(columns, dtype=np.int64)), found["count"].to_numpy()
        )
        return outcomes, bars.tolist()

    def _cells(self, selection: Selection, edges: list[int], every: str) -> pl.DataFrame:
        """Return for each bar, by its place, and outcome how many events there are."""
        if (codes := self._codes) is not None:
            return codes.bars(self._chosen(codes, selection), edges)
        window = intersection(self.window, TimeRange(start_us=edges[0], end_us=edges[-1]))
        found = self._groups("outcome", every, replace(selection, brush=None), window)
        stamps = found["ts"].dt.convert_time_zone("UTC").to_physical().to_numpy()
        bar = pl.Series("bar", np.searchsorted(np.array(edges), stamps, side="right") - 1)
        return found.select(bar, "outcome", "count")

    def _chosen(self, codes: Codes, selection: Selection) -> Chosen:
        """Return what a selection comes to in codes."""

        def seqs() -> Numbers:
            def attempt() -> Numbers:
                words = Selection(text=selection.text).where(self.base)
                return seqs_of(self._view.handle.reader.files, *self._plan(self.window, ["seq"], words))

            return retrying(attempt)

        last = self._last
        if last is None or last[0] is not codes or last[1] != selection:
            last = self._last = (codes, selection, codes.choose(selection, seqs))
        return last[2]

    def _events(self, seqs: Numbers, stamps: Numbers | None = None) -> pl.DataFrame:
        """Return some events, newest first, from the record batches that may hold them; `stamps` are their times."""
        if not len(seqs):
            return pl.DataFrame(schema=self._schema)
        window = self.window
        if stamps is not None:
            window = TimeRange(start_us=int(stamps.min()), end_us=int(stamps.max()) + 1)

        def attempt() -> pl.DataFrame:
            snapshot, plan = self._plan(window, self._schema.names(), {"seq": seqs.tolist()})
            few = [one for part in plan.ranges for one in _holding(part, seqs, stamps)]
            files, plan = self._view.handle.reader.files, replace(plan, ranges=few)
            found = in_order(files, snapshot, plan, descending=True)
            return in_zone(found.select(self._schema.names()), self.tz)

        return retrying(attempt)

    def _counts(self, selection: Selection, facet: Facet) -> pl.DataFrame:
        """Return how often each value of a facet occurs, without its own choice."""
        others = selection.without(facet)
        if others == Selection():
            return self._before(facet)
        if (codes := self._codes) is not None:
            return codes.counts(self._chosen(codes, selection), facet)
        return self._groups(facet, None, others, others.within(self.window))

    def _before(self, facet: Facet) -> pl.DataFrame:
        """Return how often each value of a facet occurs before anything is selected."""
        if facet not in self._everything:
            if (codes := self._codes) is not None:
                self._everything[facet] = codes.counts(self._chosen(codes, Selection()), facet)
            else:
                self._everything[facet] = self._groups(facet, None, Selection(), self.window)
        return self._everything[facet]

    def _rows(self, selection: Selection, facet: Facet, counts: pl.DataFrame) -> dict[str, Any]:
        """Return the values of a facet that are shown, most first."""
        top = counts.top_k(_TOP, by=["count", facet], reverse=[False, True])
        top = top.sort("count", facet, descending=[True, False], nulls_last=True)
        shown = list(dict.fromkeys([*top[facet].to_list(), *selection.chosen(facet)]))
        frame = pl.DataFrame({facet: pl.Series(shown, dtype=pl.String())})
        for name, among in (("count", counts), ("before", self._before(facet))):
            few = among.filter(pl.col(facet).is_in(frame[facet].implode(), nulls_equal=True))
            few = few.rename({"count": name})
            frame = frame.join(few, on=facet, how="left", nulls_equal=True, maintain_order="left")
        rows = frame.fill_null(0).rows()
        return {"rows": [list(row) for row in rows], "distinct": counts.height}


def _containing(facet: Facet, text: str) -> pl.Expr:
    return pl.col(facet).str.to_lowercase().str.contains(text.lower(), literal=True)


def _holding(part: BatchRange, seqs: Numbers, stamps: Numbers | None) -> list[BatchRange]:
    """Return the record batches of a range that may hold some events, as a range of which there may be none."""
    numbers = []
    for number in part.numbers:
        batch = part.row.parts[number]
        held = (seqs >= batch.min_seq) & (seqs <= batch.max_seq)
        if stamps is not None:
            held &= (stamps >= batch.min_ts_us) & (stamps <= batch.max_ts_us)
        if held.any():
            numbers.append(number)
    return [replace(part, numbers=numbers)] if numbers else []


def _bounded(window: TimeRange) -> TimeRange:
    """Return a window without bounds that lie where no event can."""
    start, end = window.start_us, window.end_us
    return TimeRange(
        start_us=None if start is None or start <= EARLIEST_US else min(start, LATEST_US),
        end_us=None if end is None or end > LATEST_US else max(end, EARLIEST_US),
    )


def _moments(window: TimeRange) -> tuple[datetime | None, datetime | None]:
    start, end = (None if us is None else from_us(us) for us in (window.start_us, window.end_us))
    return start, end


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return an event as JSON has it."""
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_us(value)
    if isinstance(value, int) and abs(value) > _EXACT:
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _shortened(row: dict[str, Any]) -> dict[str, Any]:
    cut = [name for name, value in row.items() if isinstance(value, str) and len(value) > _MOST_TEXT]
    return {**row, **{name: row[name][:_MOST_TEXT] for name in cut}, "cut": cut}
