"""What a Polars predicate implies: the times an event must have, and the texts.

Sound by construction: a part of the predicate that is not known gives no bound, so that another serialisation of
expressions makes a query slower and never wrong.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from msgspec import Struct, field

from auditkit.timerange import TimeRange

_FIRST, _END = -(1 << 63), (1 << 63) - 1
_TS_IN_US = {"input": [{"Column": "ts"}], "function": {"TemporalExpr": {"CastTimeUnit": "Microseconds"}}}
"""What DuckDB makes of `ts` before it compares it."""
_MIRRORED = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq", "Eq": "Eq"}
_TO_US: Mapping[str, Callable[[int], int]] = {"us": int, "ms": lambda value: value * 1000}


class Implied(Struct, frozen=True, kw_only=True):
    """Bounds that every event has for which a predicate is true; `texts` are values of which it has one."""

    first_us: int = _FIRST
    end_us: int = _END
    texts: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def window(self) -> TimeRange:
        """The times, unbounded where nothing is implied."""
        return TimeRange(
            start_us=None if self.first_us == _FIRST else self.first_us,
            end_us=None if self.end_us == _END else self.end_us,
        )

    def both(self, other: "Implied") -> "Implied":
        """Return what holds where both hold."""
        texts = dict(self.texts)
        for column, values in other.texts.items():
            texts[column] = texts[column] & values if column in texts else values
        return Implied(
            first_us=max(self.first_us, other.first_us), end_us=min(self.end_us, other.end_us), texts=texts
        )

    def either(self, other: "Implied") -> "Implied":
        """Return what holds where one of them holds."""
        return Implied(
            first_us=min(self.first_us, other.first_us),
            end_us=max(self.end_us, other.end_us),
            texts={
                column: values | other.texts[column]
                for column, values in self.texts.items()
                if column in other.texts
            },
        )


_NOTHING = Implied()


def implied(predicate: pl.Expr) -> Implied:
    """Return what a predicate implies about `ts` (microseconds, with a zone) and about columns of text.

    >>> found = implied((pl.col("actor") == "ann") & (pl.col("value") > 1))
    >>> dict(found.texts), found.window
    ({'actor': frozenset({'ann'})}, TimeRange(start_us=None, end_us=None))
    """
    try:
        return _walk(json.loads(predicate.meta.serialize(format="json")))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, pl.exceptions.PolarsError):
        return _NOTHING


def _walk(node: Any) -> Implied:
    match node:
        case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
            return _walk(left).both(_walk(right))
        case {"BinaryExpr": {"left": left, "op": "Or" | "LogicalOr", "right": right}}:
            return _walk(left).either(_walk(right))
        case {"BinaryExpr": {"left": {"Function": cast}, "op": op, "right": value}} if cast == _TS_IN_US:
            return _walk({"BinaryExpr": {"left": {"Column": "ts"}, "op": op, "right": value}})
        case {"Ternary": {"truthy": {"Literal": {"Scalar": {"Null": _}}}, "falsy": inner}}:
            return _walk(inner)  # null where a value is missing, as SQL has it
        case {"BinaryExpr": {"left": {"Column": column}, "op": op, "right": value}} if op in _MIRRORED:
            return _compared(column, op, value)
        case {"BinaryExpr": {"left": value, "op": op, "right": {"Column": column}}} if op in _MIRRORED:
            return _compared(column, _MIRRORED[op], value)
        case {
            "Function": {
                "input": [inner, {"Literal": {"Scalar": {"Boolean": False}}}],
                "function": "FillNull",
            }
        }:
            return _walk(inner)
        case {
            "Function": {"input": [{"Column": "ts"}, low, high], "function": {"Boolean": {"IsBetween": how}}}
        }:
            return _between(low, high, how["closed"])
        case {"Function": {"input": [{"Column": column}, values], "function": {"Boolean": {"IsIn": _}}}}:
            return _among(column, values)
    return _NOTHING


def _compared(column: str, op: str, value: Any) -> Implied:
    if column != "ts":
        return _among(column, value) if op == "Eq" else _NOTHING
    us = _instant(value)
    if us is None:
        return _NOTHING
    first = {"Gt": us + 1, "GtEq": us, "Eq": us}.get(op, _FIRST)
    end = {"Lt": us, "LtEq": us + 1, "Eq": us + 1}.get(op, _END)
    return Implied(first_us=first, end_us=end)


def _between(low: Any, high: Any, closed: str) -> Implied:
    first, last = _instant(low), _instant(high)
    return Implied(
        first_us=_FIRST if first is None else first + (closed in ("Right", "None")),
        end_us=_END if last is None else last + (closed in ("Right", "Both")),
    )


def _among(column: str, node: Any) -> Implied:
    values = _constant(node)
    if values is not None and isinstance(values.dtype, pl.List):
        values = values.explode()
    if values is None or values.dtype != pl.String or values.null_count():
        return _NOTHING
    return Implied(texts={column: frozenset(values)})


def _instant(node: Any) -> int | None:
    values = _constant(node)
    if values is None or values.len() != 1 or values.null_count():
        return None
    dtype = values.dtype
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None or dtype.time_unit not in _TO_US:
        return None
    return _TO_US[dtype.time_unit](values.to_physical()[0])


def _constant(node: Any) -> pl.Series | None:
    """Return the value of a node without columns, as Polars itself computes it."""
    if not isinstance(node, dict) or set(node) != {"Literal"}:
        return None
    literal = pl.Expr.deserialize(io.BytesIO(json.dumps(node).encode()), format="json")
    return pl.select(literal).to_series()
