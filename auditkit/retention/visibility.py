"""What a view shows: events before some seq that retention keeps, with or without the trail's own.

The one place for this rule.  It is pure (no disk, no clock), and it is asked in four ways: of a segment's row in the
catalog, which columns it looks at, as a Polars expression, and as a mask over a record batch.  Of a row it says
"nothing", "all" or "some"; of "some", expression and mask tell.

An event is expired while its `ts` lies before the cutoff of the rule that it goes by, unless a hold keeps it.  Rules look at
columns that are dictionaries, so a mask evaluates them once for each value, and the catalog knows which of their
combinations a segment has.  The trail's own events expire only by a rule that names their source.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import Numbers, codes_of, series_of, to_numpy
from auditkit.event import OWN_SOURCE
from auditkit.retention.holds import Hold
from auditkit.retention.policy import IS_OWN, RULE_COLUMNS, Policy
from auditkit.timerange import from_us
from auditkit.where import Condition

Part = Literal["nothing", "some", "all"]
"""How much of the events of a segment a rule applies to."""
Tables = dict[Any, Numbers]
"""What was evaluated for each value of a segment's dictionaries, kept while the segment is read."""
_NEVER = -(1 << 63)


class Extent(Protocol):
    """What the catalog says of the events of a segment; times in microseconds, bounds inclusive."""

    @property
    def first_seq(self) -> int: ...  # noqa: D102
    @property
    def last_seq(self) -> int: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def own_rows(self) -> int: ...  # noqa: D102
    @property
    def min_ts_us(self) -> int: ...  # noqa: D102
    @property
    def max_ts_us(self) -> int: ...  # noqa: D102
    @property
    def producers_max_ts_us(self) -> int | None: ...  # noqa: D102
    @property
    def combinations(self) -> str | None: ...  # noqa: D102


class Expiry(Struct, frozen=True, kw_only=True):
    """Which events the policy no longer keeps: those with `ts` before the cutoff of their rule that no hold keeps."""

    policy: Policy = Policy()
    cutoffs: tuple[int | None, ...] = ()
    """For each rule of the policy the moment before which its events are expired; `None` for never."""
    holds: Sequence[Hold] = ()

    @property
    def cutoff_us(self) -> int | None:
        """The moment from which on nothing is expired, `None` where nothing is at all."""
        return max((us for us in self.cutoffs if us is not None), default=None)

    @property
    def all_before_us(self) -> int | None:
        """The moment before which every producers' event is expired but for held ones; `None` where there is none."""
        certain = [us for us in self.cutoffs if us is not None]
        return min(certain) if self.policy.is_complete and len(certain) == len(self.cutoffs) else None

    def passed(self, newest_us: int) -> "Expiry":
        """Return the rules only whose cutoffs have passed a moment: all their events up to then are expired."""
        left = tuple(us if us is not None and us > newest_us else None for us in self.cutoffs)
        return Expiry(policy=self.policy, cutoffs=left, holds=self.holds)

    def spares(self, min_ts_us: int) -> bool:
        """Return whether nothing is expired among events of which `min_ts_us` is the earliest time."""
        return self.cutoff_us is None or min_ts_us >= self.cutoff_us

    def of(self, extent: Extent) -> Part:
        """Return how many of a segment's producers' events are expired; "some" also where its own ones may be."""
        if self.spares(extent.min_ts_us):
            return "nothing"
        producers, own = self._cutoffs_of(extent)
        newest = extent.producers_max_ts_us
        if not any(us > extent.min_ts_us for us in producers | own):
            return "nothing"
        if newest is None or self.held_in(extent) or any(us > extent.min_ts_us for us in own):
            return "some"
        return "all" if all(us > newest for us in producers) else "some"

    def only_rule(self, extent: Extent) -> int | None:
        """Return the place of the rule that all of a segment's producers' events go by, `None` where they go by several."""
        producers, _ = _places_of(self.policy, extent.combinations)
        return next(iter(producers)) if len(producers) == 1 else None

    def columns(self, extent: Extent) -> frozenset[str]:
        """Return the columns that tell which of a segment's events are expired; none where none is."""
        if self.of(extent) == "nothing":
            return frozenset()
        needed = {"ts", *(column for hold in self.held_in(extent) for column in hold.columns)}
        needed.update(*(condition.columns for rule in self.policy.rules for condition in rule.conditions))
        if extent.own_rows:
            needed.add("source")
        return frozenset(needed)

    @property
    def expression(self) -> pl.Expr:
        """Return whether an event is expired."""
        expired = pl.lit(value=False)
        for rule, us in reversed(list(zip(self.policy.rules, self.cutoffs, strict=True))):
            before = pl.lit(value=False) if us is None else pl.col("ts") < from_us(us)
            if rule.is_general:
                expired = before & ~IS_OWN
            else:
                expired = pl.when(rule.expression).then(before).otherwise(expired)
        for hold in self.holds:
            expired &= ~hold.expression
        return expired

    def mask(self, columns: Mapping[str, pa.Array], tables: Tables) -> Numbers:
        """Return which events of a record batch are expired, from the columns that tell."""
        stamps, _ = to_numpy(columns["ts"])
        expired = stamps < self._cutoffs(columns, tables)
        for number, hold in enumerate(self.holds):
            if not expired.any():
                break
            held = np.ones(len(stamps), dtype=bool)
            if hold.window.start_us is not None:
                held &= stamps >= hold.window.start_us
            if hold.window.end_us is not None:
                held &= stamps < hold.window.end_us
            if not held.any():
                continue
            for place, condition in enumerate(hold.conditions):
                held &= _holds(condition, columns, tables, ("hold", number, place))
            expired &= ~held
        return expired

    def _cutoffs(self, columns: Mapping[str, pa.Array], tables: Tables) -> Numbers:
        """Return for each event the cutoff of the rule that it goes by."""
        size = len(columns["ts"])
        is_own = own_mask(columns["source"]) if "source" in columns else np.zeros(size, dtype=bool)
        found = np.full(size, _NEVER)
        for number, (rule, us) in reversed(
            list(enumerate(zip(self.policy.rules, self.cutoffs, strict=True)))
        ):
            holds = np.ones(size, dtype=bool) if rule.names_own else ~is_own
            for place, condition in enumerate(rule.conditions):
                holds &= _holds(condition, columns, tables, ("rule", number, place))
            found[holds] = _NEVER if us is None else us
        return found

    def _cutoffs_of(self, extent: Extent) -> tuple[frozenset[int], frozenset[int]]:
        """Return the cutoffs by which a segment's producers' events go, and those of the trail's own in it."""
        each = [*(_NEVER if us is None else us for us in self.cutoffs), _NEVER]
        producers, own = _places_of(self.policy, extent.combinations)
        is_own, others = extent.own_rows > 0, extent.rows > extent.own_rows
        return (
            frozenset(each[place] for place in producers) if others else frozenset(),
            frozenset(each[place] for place in own) if is_own else frozenset(),
        )

    def held_in(self, extent: Extent) -> list[Hold]:
        """Return the holds that may keep events of a segment."""
        return [hold for hold in self.holds if hold.window.overlaps(extent.min_ts_us, extent.max_ts_us)]


@lru_cache(maxsize=65_536)
def _places_of(policy: Policy, combinations: str | None) -> tuple[frozenset[int], frozenset[int]]:
    """Return by which rules the producers' events of a segment go, and by which the trail's own; behind the last: by none."""
    everything = range(len(policy.rules) + 1)
    own = frozenset(place for place in everything[:-1] if policy.rules[place].names_own) | {everything[-1]}
    if len(policy.rules) == 1 and policy.rules[0].is_general:
        return frozenset((0,)), own
    if combinations is None:
        return frozenset(everything), own
    rows = msgspec.json.decode(combinations, type=list[tuple[str, str | None, str | None]])
    frame = pl.DataFrame(rows, dict.fromkeys(RULE_COLUMNS, pl.String()), orient="row")
    found = frame.select(IS_OWN.alias("own"), policy.place.alias("place"))
    places = {is_own: frozenset(found.filter(own=is_own)["place"].to_list()) for is_own in (False, True)}
    return places[False], places[True]


def _holds(condition: Condition, columns: Mapping[str, pa.Array], tables: Tables, key: object) -> Numbers:
    """Return for which events a condition holds; for a dictionary it is evaluated once for each value."""
    column, *others = [columns[name] for name in condition.columns]
    if others or not isinstance(column, pa.DictionaryArray):
        return condition.on(*map(series_of, (column, *others)))
    if key not in tables:
        values = series_of(column.dictionary).cast(pl.String())
        tables[key] = condition.on(values.extend_constant(None, 1))
    return tables[key][codes_of(column)]


class Visibility(Struct, frozen=True, kw_only=True):
    """Which events a view shows: seqs `[first_seq, as_of)` that are not expired, the trail's own only with `own`."""

    first_seq: int = 0
    as_of: int
    expiry: Expiry
    own: bool

    def of(self, extent: Extent) -> Part:
        """Return how many of a segment's events are shown."""
        expired = self.expiry.of(extent)
        producers, own = extent.rows > extent.own_rows, extent.own_rows > 0
        shows_producers = producers and expired != "all"
        outside = extent.first_seq >= self.as_of or extent.last_seq < self.first_seq
        if outside or not (shows_producers or (self.own and own)):
            return "nothing"
        return "some" if self.columns(extent) else "all"

    def columns(self, extent: Extent) -> frozenset[str]:
        """Return the columns that tell which of a segment's events are shown; none where all are."""
        needed = set(self.expiry.columns(extent))
        if extent.last_seq >= self.as_of or extent.first_seq < self.first_seq:
            needed.add("seq")
        if extent.own_rows > 0 and not self.own:
            needed.add("source")
        return frozenset(needed)

    @property
    def expression(self) -> pl.Expr:
        """Return whether an event is shown."""
        shown = (pl.col("seq") >= self.first_seq) & (pl.col("seq") < self.as_of)
        if self.expiry.cutoff_us is not None:
            shown &= ~self.expiry.expression
        return shown if self.own else shown & ~IS_OWN

    def mask(self, columns: Mapping[str, pa.Array], size: int, tables: Tables) -> Numbers:
        """Return which of `size` events are shown, from the columns that tell."""
        shown = np.ones(size, dtype=bool)
        if "seq" in columns:
            seqs, _ = to_numpy(columns["seq"])
            shown &= (seqs >= self.first_seq) & (seqs < self.as_of)
        if "ts" in columns and self.expiry.cutoff_us is not None:
            shown &= ~self.expiry.mask(columns, tables)
        if "source" in columns and not self.own:
            shown &= ~own_mask(columns["source"])
        return shown


def own_mask(source: pa.Array) -> Numbers:
    """Return which events of a column `source` are the trail's own."""
    code = series_of(source.dictionary).index_of(OWN_SOURCE)
    if code is None:
        return np.zeros(len(source), dtype=bool)
    own: Any = codes_of(source) == code
    return own
