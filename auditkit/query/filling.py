"""Empty buckets: rows for the times in which nothing happened."""

from collections.abc import Sequence
from enum import Enum
from typing import Literal

import polars as pl

from auditkit.errors import InvalidQueryError

MAX_ROWS = 5_000_000

_FOUND, _SOURCE = "\0found", "\0source"


class Unfilled(Enum):
    """The fill of a series that shows only buckets with events."""

    UNFILLED = "unfilled"


UNFILLED = Unfilled.UNFILLED
Fill = Unfilled | float | Literal["forward"] | None
"""What an empty bucket shows: no row at all, nulls (None), a number, or the bucket before ("forward")."""


def check_fill(fill: object) -> Fill:
    """Return the fill, or raise `InvalidQueryError` for what is none."""
    if fill is None or fill == "forward" or isinstance(fill, Unfilled):
        return fill
    if isinstance(fill, (int, float)) and not isinstance(fill, bool):
        return fill
    raise InvalidQueryError("fill", fill, "is neither None, a number nor 'forward'")


def fill_gaps(found: pl.DataFrame, keys: Sequence[str], starts: pl.Series, fill: Fill) -> pl.DataFrame:
    """Return one row per series (combination of keys found) and start, what is missing made as `fill` says.

    `found` has `ts`, the keys and the measures, `starts` the same dtype as `ts`.  Every measure of an empty bucket
    gets the fill, counts too; a number is put into numeric columns only.  Rows come sorted by series, then ts.
    """
    series = found.select(keys).unique(maintain_order=True) if keys else pl.DataFrame({_SOURCE: [0]})
    if series.height * starts.len() > MAX_ROWS:
        rows = series.height * starts.len()
        raise InvalidQueryError("every", rows, f"makes too many rows to fill (expected at most {MAX_ROWS:,})")
    grid = series.join(starts.alias("ts").to_frame(), how="cross", maintain_order="left_right")
    marked = found.with_columns(pl.lit(value=True).alias(_FOUND))
    filled = grid.join(marked, on=["ts", *keys], how="left", nulls_equal=True, maintain_order="left")
    measures = [name for name in found.columns if name not in ("ts", *keys)]
    if fill == "forward":
        filled = _from_before(filled, measures, starts.len())
    elif isinstance(fill, (int, float)):
        filled = filled.with_columns(_number(filled.schema[name], name, fill) for name in measures)
    return filled.select(found.columns)


def _from_before(filled: pl.DataFrame, measures: list[str], length: int) -> pl.DataFrame:
    """Give every empty row the measures of the last row found before it in its series of `length` rows."""
    row = pl.int_range(pl.len())
    source = pl.when(pl.col(_FOUND)).then(row).forward_fill()
    same_series = source // length == row // length
    filled = filled.with_columns(pl.when(same_series).then(source).alias(_SOURCE))
    return filled.with_columns(pl.col(name).gather(pl.col(_SOURCE)) for name in measures)


def _number(dtype: pl.DataType, name: str, number: float) -> pl.Expr:
    if not dtype.is_numeric():
        return pl.col(name)
    whole = dtype.is_integer() and number == int(number)
    kind = dtype if whole or not dtype.is_integer() else pl.Float64()
    return (
        pl.when(pl.col(_FOUND)).then(pl.col(name).cast(kind)).otherwise(pl.lit(number).cast(kind)).alias(name)
    )
