"""What is chosen in an explorer: a value, checked where it comes from a browser, that is conditions and code.

A selection narrows the window and the conditions that the explorer was opened with.  Both together are a mapping that
every question takes, so that the code copied from an explorer is what it counted itself.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import polars as pl
from msgspec import Meta, Struct
from msgspec.structs import replace

from auditkit.errors import InvalidQueryError
from auditkit.timerange import EARLIEST_US, LATEST_US, TimeRange, check_zone, from_us
from auditkit.where import IS, LISTS, NOT, TEXT, conditions, escape_glob, left_out

Facet = Literal["actor", "action", "outcome", "source", "origin"]
FACETS: tuple[Facet, ...] = ("actor", "action", "outcome", "source", "origin")
"""The columns whose values are counted and chosen."""

_Instant = Annotated[int, Meta(ge=EARLIEST_US, le=LATEST_US)]
_Values = Annotated[tuple[Annotated[str, Meta(max_length=65_536)] | None, ...], Meta(max_length=500)]


class Selection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is chosen: a time, values of facets that are kept or left out, and words of the text."""

    brush: tuple[_Instant, _Instant] | None = None
    """Half-open, in microseconds."""
    keep: dict[Facet, _Values] = {}
    """Of these facets only events with one of the values."""
    leave_out: dict[Facet, _Values] = {}
    """No events with one of these values."""
    text: Annotated[str, Meta(max_length=1_000)] = ""
    """Words, each of which occurs in resource or attrs."""

    @classmethod
    def read(cls, data: object) -> "Selection":
        """Return what a browser sent, or raise `InvalidQueryError`."""
        try:
            found = msgspec.convert(data, cls)
            msgspec.json.encode(found)  # refuses text that is not Unicode
        except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as exc:
            raise InvalidQueryError("selection", data, str(exc)) from None
        if found.brush is not None and found.brush[0] >= found.brush[1]:
            raise InvalidQueryError("selection", found.brush, "is a time that ends before it begins")
        kept, left = ({f: v for f, v in one.items() if v} for one in (found.keep, found.leave_out))
        return replace(found, keep=kept, leave_out=left)

    def without(self, facet: Facet) -> "Selection":
        """Return the selection but for one facet: what its values are counted under."""
        kept, left = ({f: v for f, v in one.items() if f != facet} for one in (self.keep, self.leave_out))
        return replace(self, keep=kept, leave_out=left)

    def chosen(self, facet: Facet) -> tuple[str | None, ...]:
        """Return the values of a facet that are kept or left out."""
        return (*self.keep.get(facet, ()), *self.leave_out.get(facet, ()))

    def within(self, window: TimeRange) -> TimeRange:
        """Return the part of a window that is chosen."""
        if self.brush is None:
            return window
        return intersection(window, TimeRange(start_us=self.brush[0], end_us=self.brush[1]))

    def total(self, counts: Mapping[Facet, pl.DataFrame]) -> int:
        """Return how many events are selected, of counts of a facet's values, each without the facet's own choice."""
        facet = FACETS[2]
        values, kept, left = counts[facet], self.keep.get(facet), self.leave_out.get(facet)
        if kept:
            values = values.filter(
                pl.col(facet).is_in(pl.Series(kept, dtype=pl.String()).implode(), nulls_equal=True)
            )
        if left:
            values = values.filter(
                ~pl.col(facet).is_in(pl.Series(left, dtype=pl.String()).implode(), nulls_equal=True)
            )
        return int(values["count"].sum())

    def where(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """Return the conditions of `base` and those of the selection, as one mapping."""
        found = dict(base)
        for facet in FACETS:
            kept, left = self.keep.get(facet), self.leave_out.get(facet)
            if kept:
                found[facet] = _plainly(_holding(facet, [v for v in kept if v not in (left or ())], base))
            elif left:
                found[facet] = _without(left, base, facet)
        if words := " ".join(self.text.split()):
            found[TEXT] = _with_words(words, base[TEXT]) if TEXT in base else words
        return found

    def code(
        self,
        name: str,
        window: TimeRange,
        base: Mapping[str, Any],
        *,
        zone: str,
        tz: str | None = None,
        as_of: int,
        allow_pruned: bool = False,
        has_tiers: bool = False,
        by: str | None = None,
        every: str | None = None,
    ) -> str:
        """Return the call that gives the selected events of the trail `name`, or with `by` or `every` their groups.

        `window` and `base` are what the explorer was opened with, `zone` is where its times are, and `tz` says so where
        that is not the trail's.  Where a trail has tiers, groups are those of the events alone.
        """
        chosen, where = self.within(window), self.where(base)
        bounds = [_instant(us, zone) for us in (chosen.start_us, chosen.end_us)]
        options = {"where": _literal(where) if where else None, "tz": tz}
        if by is None and every is None:
            method = "range"
            given = bounds if bounds[1] else bounds[:1] if bounds[0] else []
            arguments = [repr(bound) for bound in given]
        else:
            method = "group_by"
            arguments = [repr(by)]
            options = {"every": every, "start": bounds[0], "end": bounds[1], **options}
        arguments += [f"{key}={value!r}" for key, value in options.items() if value is not None]
        arguments += ["tier=None"] if has_tiers and method == "group_by" else []
        at = f"{as_of}, allow_pruned=True" if allow_pruned else f"{as_of}"
        return f"{name}.at({at}).{method}({', '.join(arguments)})"


def read_zoom(data: object) -> tuple[int, int] | None:
    """Return the time that a browser shows bars of, or raise `InvalidQueryError`."""
    return Selection.read({"brush": data}).brush


def intersection(one: TimeRange, other: TimeRange) -> TimeRange:
    """Return what lies in both; where nothing does, a window without length."""
    found = one.intersection(other)
    return TimeRange(start_us=found.start_us, end_us=found.start_us) if found.is_empty else found


def _holding(facet: str, values: Sequence[str | None], base: Mapping[str, Any]) -> list[str | None]:
    """Return the values that the conditions the explorer was opened with let through."""
    if facet not in base:
        return list(values)
    (condition,) = conditions({facet: base[facet]}, pl.Schema({facet: pl.String()}))
    holds = condition.on(pl.Series(values, dtype=pl.String()))
    return [value for value, kept in zip(values, holds, strict=True) if kept]


def _plainly(values: list[str | None]) -> Any:
    """Return a list of values as `where` takes it, one value without the list."""
    return values[0] if len(values) == 1 and "*" not in (values[0] or "") else values


def _without(values: Sequence[str | None], base: Mapping[str, Any], facet: str) -> dict[str, Any]:
    """Return the condition that leaves values out of what the explorer was opened with."""
    left: list[Any] = [value if value is None else escape_glob(value) for value in values]
    before = base.get(facet, {NOT: []})
    if not isinstance(before, Mapping):
        before = {IS: before, NOT: []}
    left = [*left_out(facet, before), *left]
    return {**before, NOT: left[0] if len(left) == 1 else left}


def _with_words(words: str, before: Any) -> Any:
    """Return the condition that words occur beside those that the explorer was opened with."""
    if isinstance(before, Mapping):
        return {**before, IS: _with_words(words, before[IS]) if IS in before else words}
    return [f"{one} {words}" for one in before] if isinstance(before, LISTS) else f"{before} {words}"


def _instant(us: int | None, tz: str) -> str | None:
    """Return an instant as `start` and `end` take it, exactly: in a zone, or in UTC where its offset has seconds."""
    if us is None:
        return None
    there = from_us(us).astimezone(check_zone(tz))
    is_plain = (there.utcoffset() or timedelta()) % timedelta(minutes=1) == timedelta()
    return (there if is_plain else from_us(us)).isoformat()


def _literal(value: Any) -> Any:
    """Return a condition's value made of what `repr` writes as code."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {_literal(key): _literal(one) for key, one in value.items()}
    if isinstance(value, LISTS):
        return [_literal(one) for one in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value
