"""Legal holds: what stays, and stays visible, whatever the policy says, from a decision until it is taken back."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import polars as pl
from msgspec import Struct

from auditkit.errors import AuditError, FormatError, InvalidQueryError, shorten
from auditkit.timerange import TimeRange, from_us
from auditkit.where import Condition, Where, conditions

MOST_CHARACTERS = 10_000
"""What the conditions of a hold may have, as JSON."""
MOST_HOLDS = 1_000
"""So many may be in force at once."""


class Hold(Struct, frozen=True, kw_only=True):
    """One hold in force: the events of a window for which all conditions are true."""

    name: str
    reason: str
    placed_us: int
    window: TimeRange
    where: str
    """The mapping of conditions, as JSON."""
    conditions: Sequence[Condition]

    @property
    def columns(self) -> frozenset[str]:
        """The columns that tell what is held."""
        return frozenset(("ts", *(name for condition in self.conditions for name in condition.columns)))

    @property
    def expression(self) -> pl.Expr:
        """Return whether an event is held."""
        terms = [condition.expression for condition in self.conditions]
        if self.window.start_us is not None:
            terms.append(pl.col("ts") >= from_us(self.window.start_us))
        if self.window.end_us is not None:
            terms.append(pl.col("ts") < from_us(self.window.end_us))
        return pl.all_horizontal(pl.lit(value=True), *terms)

    @property
    def mapping(self) -> dict[str, Any]:
        """The mapping of conditions."""
        found: dict[str, Any] = msgspec.json.decode(self.where)
        return found


def spec_of(where: Where) -> str:
    """Return a mapping of conditions as a hold stores it."""
    given = {} if where is None else where
    assert isinstance(given, Mapping)  # noqa: S101 -- the caller has refused expressions
    return msgspec.json.encode(given, enc_hook=_plain).decode()


def _plain(value: Any) -> Any:
    """Return what JSON has for a mapping of another kind, or a scalar of NumPy's."""
    return dict(value) if isinstance(value, Mapping) else value.item()


def read_hold(
    name: str,
    reason: str,
    placed_us: int,
    window: TimeRange,
    spec: str,
    columns: Mapping[str, pl.DataType],
) -> Hold:
    """Return a hold as the catalog or an event of the trail has it; one that does not read is a `FormatError`."""
    try:
        found = _conditions(spec, tuple(columns.items()))
    except (msgspec.DecodeError, AuditError, RecursionError) as exc:
        raise FormatError(f"hold {shorten(name)}: does not read (found {shorten(spec)})") from exc
    return Hold(name=name, reason=reason, placed_us=placed_us, window=window, where=spec, conditions=found)


@lru_cache(maxsize=4096)
def _conditions(spec: str, columns: tuple[tuple[str, pl.DataType], ...]) -> Sequence[Condition]:
    if len(spec) > MOST_CHARACTERS:
        raise InvalidQueryError(
            "where", f"{len(spec):,} characters", f"has more than {MOST_CHARACTERS:,} as JSON"
        )
    found = conditions(msgspec.json.decode(spec, type=dict[str, Any]), dict(columns))
    empty = pl.DataFrame(schema=dict(columns)).clear(1)
    for condition in found:  # a pattern may be beyond what regular expressions can be
        try:
            condition.on(*empty.select(condition.columns))
        except pl.exceptions.PolarsError as exc:
            raise InvalidQueryError(f"where {condition.columns[0]}", spec, "cannot be evaluated") from exc
    return found
