"""What is computed for each group: the named measures of `value`, or a caller's own expressions.

`mean` is always sum / value_count, computed from the two on the finished groups, so that the three never
disagree; every measure but the counts is null where no event of the group has a value.
"""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl
from msgspec import Struct

from auditkit.errors import InvalidQueryError
from auditkit.query.frames import output_name
from auditkit.text import did_you_mean
from auditkit.where import unknown_column

Aggregation = str | pl.Expr
Aggregations = Aggregation | Sequence[Aggregation] | Mapping[str, Aggregation] | None
"""Names of measures, expressions, a list of both, or a mapping of new names to them; None is the usual ones."""

DEFAULTS = ("count", "value_count", "sum", "mean", "min", "max")
_QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
NAMES = (*DEFAULTS, *_QUANTILES, "first", "last", "n_unique")
COUNTS = ("count", "value_count", "n_unique")
"""The measures that are 0, and not null, where there is nothing to measure."""
_FOLDED = {"sum": "sum", "mean": "sum", "min": "min", "max": "max"}
_NEED_ORDER = ("first", "last")

_VALUE = pl.col("value")
_SUM, _VALUE_COUNT = "\0sum", "\0value_count"


class Measures(Struct, frozen=True, kw_only=True):
    """The columns asked for, in order: new name → name of a measure or expression."""

    columns: Mapping[str, Aggregation]

    @property
    def expressions(self) -> list[pl.Expr]:
        """The caller's own expressions among them."""
        return [aggregation for aggregation in self.columns.values() if isinstance(aggregation, pl.Expr)]

    @property
    def merges(self) -> bool:
        """Whether all of them follow from counts, sums, smallest and largest values of parts of the events."""
        return all(isinstance(measure, str) and measure in DEFAULTS for measure in self.columns.values())

    @property
    def looks_at_values(self) -> bool:
        """Whether counting events is not enough."""
        return any(measure != "count" for measure in self.columns.values())

    @property
    def parts(self) -> "Measures":
        """What has to be known of parts of the events for these measures, which merge, to follow for all of them."""
        names = ["count", *(["value_count", *self.folded] if self.looks_at_values else [])]
        return Measures(columns={name: name for name in names})

    @property
    def folded(self) -> list[str]:
        """What has to be known of the values of cells, beside their number."""
        asked = {_FOLDED.get(str(measure)) for measure in self.columns.values()}
        return [name for name in ("sum", "min", "max") if name in asked]

    def of_totals(self, found: pl.DataFrame) -> pl.DataFrame:
        """Return the columns as they leave, from the counts, sums, smallest and largest values of groups."""
        some = pl.col("value_count") > 0
        shown = {
            "count": pl.col("count").cast(pl.Int64),
            "value_count": pl.col("value_count").cast(pl.Int64),
            "sum": pl.when(some).then(pl.col("sum")),
            "mean": pl.when(some).then(pl.col("sum") / pl.col("value_count")),
            "min": pl.when(some).then(pl.col("min")),
            "max": pl.when(some).then(pl.col("max")),
        }
        return found.select(shown[str(measure)].alias(name) for name, measure in self.columns.items())

    def computed(self, order: list[str]) -> list[pl.Expr]:
        """Return what a group computes; `order` are the columns that say which event came first."""
        parts = [
            aggregation.alias(name)
            if isinstance(aggregation, pl.Expr)
            else _measure(aggregation, order).alias(name)
            for name, aggregation in self.columns.items()
            if isinstance(aggregation, pl.Expr) or aggregation not in ("sum", "mean")
        ]
        if len(parts) < len(self.columns):
            parts += [_VALUE.sum().alias(_SUM), _VALUE.count().alias(_VALUE_COUNT)]
        return parts

    def finished(self) -> list[pl.Expr]:
        """Return the columns as they leave, from the computed ones."""
        some = pl.col(_VALUE_COUNT) > 0
        total = pl.col(_SUM)
        derived = {
            "sum": pl.when(some).then(total),
            "mean": pl.when(some).then(total.cast(pl.Float64) / pl.col(_VALUE_COUNT)),
        }
        return [
            derived.get(aggregation, pl.col(name)).alias(name)
            if isinstance(aggregation, str)
            else pl.col(name)
            for name, aggregation in self.columns.items()
        ]


def parse_measures(aggs: Aggregations, schema: pl.Schema, *, taken: Sequence[str]) -> Measures:
    """Return the measures asked for, checked against the columns there are and the names already `taken`.

    Raises `InvalidQueryError` for an unknown measure, a measure of a value that is missing or no number, and a
    name that occurs twice.
    """
    if aggs is None:
        names = DEFAULTS if "value" in schema else DEFAULTS[:1]
        pairs: list[tuple[str, object]] = [(name, name) for name in names]
    elif isinstance(aggs, Mapping):
        pairs = list(aggs.items())
    else:
        listed = [aggs] if isinstance(aggs, (str, pl.Expr)) else aggs
        if not isinstance(listed, Iterable):
            raise InvalidQueryError(
                "aggs", aggs, "is neither a measure, a Polars expression nor a list of them"
            )
        pairs = [
            (output_name(item, argument="aggs") if isinstance(item, pl.Expr) else item, item)
            for item in listed
        ]
    columns: dict[str, Aggregation] = {}
    for name, aggregation in pairs:
        if not isinstance(name, str) or name in columns or name in taken:
            raise InvalidQueryError("aggs", name, "is the name of another column already")
        columns[name] = _check(aggregation, schema)
    if not columns:
        raise InvalidQueryError("aggs", aggs, "asks for nothing")
    return Measures(columns=columns)


def _check(aggregation: object, schema: pl.Schema) -> Aggregation:
    if isinstance(aggregation, pl.Expr):
        for root in aggregation.meta.root_names():
            if root not in schema:
                raise unknown_column("aggs", root, schema)
        return aggregation
    if not isinstance(aggregation, str) or aggregation not in NAMES:
        reason = f"is neither a known measure nor a Polars expression{did_you_mean(aggregation, NAMES)}"
        error = InvalidQueryError("aggs", aggregation, reason)
        error.add_note(f"measures of value: {', '.join(NAMES)}")
        raise error
    if aggregation != "count" and not (dtype := schema.get("value", pl.Null())).is_numeric():
        raise InvalidQueryError("aggs", aggregation, f"needs a numeric column 'value', which is {dtype} here")
    return aggregation


def _measure(name: str, order: list[str]) -> pl.Expr:
    if name in _QUANTILES:
        return _VALUE.quantile(_QUANTILES[name], interpolation="linear")
    if name in _NEED_ORDER:
        ordered = _VALUE.sort_by(order, maintain_order=True).drop_nulls()
        return ordered.first() if name == "first" else ordered.last()
    return {
        "count": pl.len().cast(pl.Int64),
        "value_count": _VALUE.count().cast(pl.Int64),
        "min": _VALUE.min(),
        "max": _VALUE.max(),
        "n_unique": _VALUE.drop_nulls().n_unique().cast(pl.Int64),
    }[name]
