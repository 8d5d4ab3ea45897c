"""The events of a plan as columns of small numbers in memory, counted by NumPy.

Of an event there are its time, its seq, and for each facet a code of one to four bytes: the place of its value among all
values of the facet.  Codes come from the dictionaries of segments, so that text is looked at once for each value of a
segment.  A choice of values is a table with a flag for each code.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from auditkit.arrow import Numbers, codes_of, joined, series_of, to_numpy
from auditkit.explorer.selection import FACETS, Facet, Selection
from auditkit.memory import available_memory
from auditkit.store.files import SegmentFiles, held
from auditkit.store.scan import BatchRange, ScanPlan, joined_mask, read_chunks, side_by_side
from auditkit.text import size
from auditkit.trail.events import MOST_SHARE, tail_events
from auditkit.trail.snapshot import Snapshot

COLUMNS = ("ts", "seq", *FACETS)
"""What has to be read of an event."""
_EVENT_BYTES = 24
"""What an event takes, about: eight bytes for its time, four or eight for its seq, and its codes."""
_TEXT_BYTES = 150
"""What a value takes, about, as Python and Polars have it."""
_AT_ONCE = 1 << 18
"""So many events are counted at once: what NumPy makes of them stays in the processor's cache."""
_SPARSE = 8
"""A table of seqs has at most so many flags for each event."""
_BATCHES = 8
"""So many record batches are searched at once."""


class TooManyError(Exception):
    """More than memory holds; the message says what."""


class StoppedError(Exception):
    """Codes that were loading are not wanted any more."""


class Chosen(Struct, frozen=True, kw_only=True):
    """What the selection that was chosen last comes to: positions of events, and a bit for each choice."""

    begin: int
    end: int
    bits: int


class _Piece(Struct, frozen=True, kw_only=True):
    """Events on their way into the columns."""

    stamps: Numbers
    seqs: Numbers
    codes: Mapping[Facet, Numbers]


class Codes:
    """Columns of codes, in order of (ts, seq)."""

    def __init__(self, rows: int, as_of: int) -> None:
        self.count = 0
        self._stamps: Numbers = np.empty(rows, dtype=np.int64)
        self._seqs: Numbers = np.empty(rows, dtype=np.uint32 if as_of <= 1 << 32 else np.uint64)
        self._columns: dict[Facet, Numbers] = {facet: np.empty(rows, dtype=np.uint8) for facet in FACETS}
        self._values: dict[Facet, pl.Series] = {
            facet: pl.Series(facet, [], dtype=pl.String()) for facet in FACETS
        }
        """For each facet its values; the code of one is its place."""
        self._locks = {facet: Lock() for facet in FACETS}  # each guards the values of a facet while they grow
        self._flags: Numbers = np.zeros(0, dtype=np.uint8)
        """For each event a bit for each choice that lets it through."""
        self._flagged: dict[int, Any] = {}
        """Which choice each bit stands for."""
        self._totals: dict[str, tuple[Any, Numbers]] = {}
        """For each facet, and for bars, the counts without a choice, and of which span they are."""
        self._bars: tuple[Any, Numbers] = ((), np.zeros(0, dtype=np.uint32))

    @property
    def bytes(self) -> int:
        """What the columns and their values take, about."""
        columns = [self._stamps, self._seqs, *self._columns.values()]
        values = sum(map(len, self._values.values()))
        return self.count * sum(int(column.itemsize) for column in columns) + values * _TEXT_BYTES

    # Loading

    def load(
        self, files: SegmentFiles, snapshot: Snapshot, plan: ScanPlan, stopped: Callable[[], bool]
    ) -> None:
        """Read the events of a plan; raise `TooManyError` where memory is short, and `StoppedError` once `stopped` says so."""
        segments = held(files, [part.row for part in plan.ranges])
        tail = tail_events(snapshot, plan).sort("ts", "seq")
        borders = [0]
        for piece in side_by_side(partial(self._read, files, plan), plan.ranges):
            if stopped():
                raise StoppedError
            if piece is not None:
                self._add(piece)
                borders.append(self.count)
        del segments
        pa.default_memory_pool().release_unused()
        if tail.height:
            codes = {facet: self._coded(facet, tail[facet]) for facet in FACETS}
            stamps, seqs = (tail[name].to_physical().to_numpy() for name in ("ts", "seq"))
            self._add(_Piece(stamps=stamps, seqs=seqs, codes=codes))
            borders.append(self.count)
        self._cut_to_size()
        self._put_in_order(sorted(set(borders)))

    def _read(self, files: SegmentFiles, plan: ScanPlan, part: BatchRange) -> "_Piece | None":
        """Return times, seqs and codes of the wanted events of a range, in order."""
        with files.reading(part.row) as segment:
            chunks = list(read_chunks(plan, segment, part))
            if not chunks:
                return None
            columns = {name: joined([segment.column(c.batch, name) for c in chunks]) for name in COLUMNS}
            mask = joined_mask(chunks)
            wanted = slice(None) if mask is None else mask
            codes = {}
            for facet in FACETS:
                texts = series_of(columns[facet].dictionary).extend_constant(None, 1)
                codes[facet] = self._coded(facet, texts)[codes_of(columns[facet])[wanted]]
            segment.forget()  # dictionaries take more memory than codes
        stamps, seqs = (to_numpy(columns[name])[0][wanted] for name in ("ts", "seq"))
        return _Piece(stamps=stamps, seqs=seqs, codes=codes)

    def _coded(self, facet: Facet, texts: pl.Series) -> Numbers:
        """Return the code of each text."""
        with self._locks[facet]:
            codes = _places(texts, self._values[facet])
            if codes.null_count():
                new = texts.filter(codes.is_null()).unique(maintain_order=True)
                self._values[facet] = pl.concat([self._values[facet], new.alias(facet)])
                codes = _places(texts, self._values[facet])
        found = codes.to_numpy()
        return found.astype(np.min_scalar_type(int(found.max(initial=0))))

    def _add(self, piece: "_Piece") -> None:
        """Put events behind those that are there."""
        begin, end = self.count, self.count + len(piece.stamps)
        if end > len(self._stamps):
            raise TooManyError(f"more than {begin:,} events")
        self._stamps[begin:end], self._seqs[begin:end] = piece.stamps, piece.seqs
        for facet, found in piece.codes.items():
            column = self._columns[facet]
            if found.dtype.itemsize > column.dtype.itemsize:
                wider = np.empty(len(column), dtype=found.dtype)
                wider[:begin] = column[:begin]
                column = self._columns[facet] = wider
            column[begin:end] = found
        self.count = end
        values = sum(map(len, self._values.values()))
        if values * _TEXT_BYTES > available_memory() * MOST_SHARE:
            raise TooManyError(f"{values:,} values")

    def _cut_to_size(self) -> None:
        self._stamps, self._seqs = self._stamps[: self.count], self._seqs[: self.count]
        self._columns = {facet: column[: self.count] for facet, column in self._columns.items()}
        self._flags = np.zeros(self.count, dtype=np.uint8)

    def _put_in_order(self, borders: Sequence[int]) -> None:
        """Sort what lies between borders, where it is in order, together with what it overlaps."""
        spans = list(pairwise(borders))
        reached = np.maximum.accumulate([self._stamps[begin:end].max() for begin, end in spans] or [0])
        first = np.array([self._stamps[begin:end].min() for begin, end in spans] or [0])
        first = np.minimum.accumulate(first[::-1])[::-1]
        block = 0
        for place, (begin, end) in enumerate(spans):
            if place + 1 < len(spans) and reached[place] >= first[place + 1]:
                continue
            if begin > block:
                self._sort(slice(block, end))
            block = end

    def _sort(self, block: slice) -> None:
        """Sort a block of runs, each of which is in order."""
        stamps, seqs = self._stamps[block], self._seqs[block]
        order = np.argsort(stamps, kind="stable")
        ties = np.diff(stamps[order]) == 0
        if (seqs[order][1:] < seqs[order][:-1])[ties].any():
            order = np.lexsort((seqs, stamps))
        for column in (stamps, seqs, *(column[block] for column in self._columns.values())):
            column[:] = column[order]

    # Counting

    def choose(self, selection: Selection, text: Callable[[], Numbers]) -> Chosen:
        """Return what a selection comes to; `text` gives the seqs of the events that its words occur in."""
        chosen = dict[int, tuple[Any, Callable[[], Callable[[slice], Numbers]]]]()
        for place, facet in enumerate(FACETS):
            kept, left = selection.keep.get(facet, ()), selection.leave_out.get(facet, ())
            if kept or left:
                chosen[1 << place] = (kept, left), partial(self._with_values, facet, kept, left)
        if words := selection.text.split():
            chosen[1 << len(FACETS)] = words, lambda: self._with_seqs(text())
        for bit, (key, make) in chosen.items():
            if self._flagged.get(bit) != key:  # most choices are those of the last selection
                self._flagged.pop(bit, None)
                holds = make()
                for span in _spans(0, self.count):
                    self._flags[span] &= np.uint8(~bit & 255)
                    self._flags[span] |= holds(span) * np.uint8(bit)
                self._flagged[bit] = key
        begin, end = 0, self.count
        if selection.brush is not None:
            begin, end = np.searchsorted(self._stamps, selection.brush).tolist()
        return Chosen(begin=begin, end=end, bits=sum(chosen))

    def _with_values(
        self, facet: Facet, kept: Sequence[str | None], left: Sequence[str | None]
    ) -> Callable[[slice], Numbers]:
        """Return what says of events whether they have one of the values kept, or any, and none of those left out."""
        table = np.full(len(self._values[facet]), not kept)
        for flag, chosen in ((True, kept), (False, left)):
            places = _places(pl.Series(chosen, dtype=pl.String()), self._values[facet])
            table[places.drop_nulls().to_numpy()] = flag
        return lambda span: table[self._columns[facet][span]]

    def _with_seqs(self, seqs: Numbers) -> Callable[[slice], Numbers]:
        """Return what says of events whether they have one of these seqs."""
        first, last = (int(self._seqs.min()), int(self._seqs.max())) if self.count else (0, 0)
        if last - first > _SPARSE * self.count:
            return lambda span: np.isin(self._seqs[span], seqs)
        table = np.zeros(last - first + 1, dtype=bool)
        table[seqs - first] = True
        return lambda span: table[self._seqs[span] - first]

    def _passes(self, span: slice, bits: int) -> Numbers:
        """Return which events pass all choices."""
        return (self._flags[span] & np.uint8(bits)) == bits

    def counts(self, chosen: Chosen, facet: Facet) -> pl.DataFrame:
        """Return how often each value of a facet occurs, without its own choice."""
        values, others = self._values[facet], chosen.bits & ~(1 << FACETS.index(facet))
        codes = self._columns[facet][chosen.begin : chosen.end]
        found = self._tally((facet, chosen.begin, chosen.end), codes, len(values), chosen.begin, others)
        return pl.DataFrame([values, pl.Series("count", found)]).filter(pl.col("count") > 0)

    def bars(self, chosen: Chosen, edges: Sequence[int]) -> pl.DataFrame:
        """Return for each bar, by its place, and outcome how many events there are, whatever the brush."""
        borders, outcomes = np.searchsorted(self._stamps, edges), self._values["outcome"]
        if outcomes.is_empty():  # no event fulfils the conditions of the explorer
            return pl.DataFrame(schema={"bar": pl.Int64(), "outcome": pl.String(), "count": pl.Int64()})
        sides, cells = len(outcomes), (len(edges) - 1) * len(outcomes)
        key = ("bars", edges[0], edges[-1], len(edges))
        if self._bars[0] != key:
            starts = np.arange(0, cells, sides, dtype=np.min_scalar_type(cells))
            placed = np.repeat(starts, np.diff(borders))
            placed += self._columns["outcome"][borders[0] : borders[-1]]
            self._bars = (key, placed)
        found = self._tally(key, self._bars[1], cells, int(borders[0]), chosen.bits).reshape(-1, sides)
        places, codes = np.nonzero(found)
        counts = pl.Series("count", found[places, codes])
        return pl.DataFrame([pl.Series("bar", places), outcomes.gather(codes), counts])

    def _tally(self, key: Any, codes: Numbers, sides: int, first: int, bits: int) -> Numbers:
        """Return how often each code of the events from `first` on occurs, of those that pass all choices.

        What passes without a choice is counted once; with one, what passes or what does not, whichever is less.
        """
        if self._totals.get(key[0], (None,))[0] != key:
            self._totals[key[0]] = (key, _counted(codes, sides, lambda _: slice(None)))
        total = self._totals[key[0]][1]
        if not bits:
            return total
        passed = sum(
            int(np.count_nonzero(self._passes(span, bits))) for span in _spans(first, first + len(codes))
        )
        if passed * 2 <= len(codes):
            return _counted(codes, sides, lambda at: np.flatnonzero(self._passes(_moved(at, first), bits)))
        return total - _counted(
            codes, sides, lambda at: np.flatnonzero(~self._passes(_moved(at, first), bits))
        )

    def newest(self, chosen: Chosen, offset: int, limit: int) -> tuple[Numbers, Numbers]:
        """Return times and seqs of some of the chosen events, newest first."""
        end, places = chosen.end, list[int]()
        while end > chosen.begin and len(places) < limit:
            begin = max(chosen.begin, end - _AT_ONCE)
            found = begin + np.flatnonzero(self._passes(slice(begin, end), chosen.bits))[::-1]
            places += found[offset : offset + limit - len(places)].tolist()
            offset = max(0, offset - len(found))
            end = begin
        return self._stamps[places], self._seqs[places]


def _places(texts: pl.Series, values: pl.Series) -> pl.Series:
    """Return where each text stands among values, null where it does not."""
    known = values.alias("text").to_frame().with_row_index("place")
    asked = texts.alias("text").to_frame()
    return asked.join(known, on="text", how="left", nulls_equal=True, maintain_order="left")["place"]


def _spans(begin: int, end: int, step: int = _AT_ONCE) -> Iterator[slice]:
    """Yield spans of positions, each of which is looked at at once."""
    return (slice(first, min(first + step, end)) for first in range(begin, end, step))


def _moved(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _counted(codes: Numbers, sides: int, which: Callable[[slice], Any]) -> Numbers:
    """Return how often each code occurs; `which` says of a span which of its events count."""
    found = np.zeros(sides, dtype=np.int64)
    for span in _spans(0, len(codes), max(_AT_ONCE, sides)):
        found += np.bincount(codes[span][which(span)], minlength=sides)
    return found


def load_codes(files: SegmentFiles, snapshot: Snapshot, plan: ScanPlan, stopped: Callable[[], bool]) -> Codes:
    """Return the codes of a plan's events, or raise `TooManyError` or `StoppedError`."""
    most = int(available_memory() * MOST_SHARE) // _EVENT_BYTES
    rows = plan.rows + snapshot.tail.height
    if rows > most and not plan.conditions:
        raise TooManyError(f"{rows:,} events take about {size(rows * _EVENT_BYTES)}")
    codes = Codes(min(rows, most), snapshot.as_of)
    codes.load(files, snapshot, replace(plan, columns=COLUMNS), stopped)
    return codes


def seqs_of(files: SegmentFiles, snapshot: Snapshot, plan: ScanPlan) -> Numbers:
    """Return the seqs of a plan's events, in no particular order; few record batches of a segment are held at once."""
    plan = replace(plan, columns=("seq",))
    segments = held(files, [part.row for part in plan.ranges])

    def read(part: BatchRange) -> Numbers:
        found = [np.zeros(0, dtype=np.uint64)]
        with files.reading(part.row) as segment:
            for first in range(0, len(part.numbers), _BATCHES):
                few = replace(part, numbers=part.numbers[first : first + _BATCHES])
                for chunk in read_chunks(plan, segment, few):
                    seqs, _ = to_numpy(segment.column(chunk.batch, "seq"))
                    found.append(seqs if chunk.mask is None else seqs[chunk.mask])
            segment.forget()
        return np.concatenate(found)

    found = [*side_by_side(read, plan.ranges), tail_events(snapshot, plan)["seq"].to_numpy()]
    del segments
    pa.default_memory_pool().release_unused()
    return np.concatenate(found)
