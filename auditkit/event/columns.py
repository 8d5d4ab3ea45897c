"""Validation of whole frames: a fast screen over columns, and the row's rule for whatever the screen doubts.

The screen may doubt a good row, never pass a bad one; what it doubts is decided by `EventSchema.row`, so that a
frame and a mapping are held to the same words.  A frame whose shape the columns cannot express is left to the rows.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import polars as pl

from auditkit.errors import InvalidEventError
from auditkit.event.attrs import AnyObject
from auditkit.event.rows import EventSchema, Rules, token_of
from auditkit.event.schema import (
    FIRST_US,
    LAST_US,
    MAX_ATTRS_BYTES,
    MAX_ATTRS_DEPTH,
    MAX_TEXT_BYTES,
    OWN_SOURCE,
    TEXT_FIELDS,
    UTC_MICROSECONDS,
)

TOKEN = "token"  # noqa: S105 -- the name of a column


_lines = msgspec.json.Decoder(AnyObject)

Refuse = Callable[[int, InvalidEventError], None]


def rows_as_columns(
    schema: EventSchema, frame: pl.DataFrame, rules: Rules, refuse: Refuse
) -> pl.DataFrame | None:
    """Return the frame's events with the row columns and `token`, or `None` where only row by row will do.

    `refuse` hears of every bad row, with its position and the error; it raises, or the row is left out.
    """
    normal = _normal(schema, frame, rules)
    if normal is None:
        return None
    doubtful = _doubtful(schema, normal, rules)
    if doubtful.any():
        bad = []
        for position in doubtful.arg_true():
            given = {
                name: value for name, value in frame.row(position, named=True).items() if value is not None
            }
            try:
                schema.row(given, rules, spill=True)
            except InvalidEventError as exc:
                refuse(position, exc)
                bad.append(position)
        if bad:
            kept = pl.Series(range(frame.height)).is_in(bad).not_()
            frame, normal = frame.filter(kept), normal.filter(kept)
    return normal.with_columns(_tokens(frame, normal))


def _normal(schema: EventSchema, frame: pl.DataFrame, rules: Rules) -> pl.DataFrame | None:
    """Return the frame with the row columns and their types, or `None` where a column needs the row's care."""
    known = set(schema.row_columns)
    extra = [name for name in frame.columns if name not in known]
    if any(name in ("seq", "recorded") for name in extra):
        return None
    columns: dict[str, pl.Expr] = {}
    for name in schema.row_columns:
        dtype = frame.schema.get(name, pl.Null())
        expression = _cast(name, dtype, schema.columns[name], rules)
        if expression is None:
            return None
        columns[name] = expression.alias(name)
    if extra:
        attrs = frame.schema.get("attrs", pl.Null())
        if not (attrs == pl.Null() or frame.get_column("attrs").null_count() == frame.height):
            return None
        if not all(_spills(frame.get_column(name)) for name in extra):
            return None
        columns["attrs"] = pl.struct(extra).struct.json_encode().alias("attrs")
    return frame.select(columns.values()) if frame.width else None


def _cast(name: str, given: pl.DataType, wanted: pl.DataType, rules: Rules) -> pl.Expr | None:
    """Return the expression that brings a column to its type without losing or inventing anything."""
    if given == pl.Null():
        literal = (
            pl.lit(rules.now_us, dtype=pl.Int64).cast(UTC_MICROSECONDS) if name == "ts" else pl.lit(None)
        )
        return literal.cast(wanted)
    column = pl.col(name)
    if wanted == UTC_MICROSECONDS:
        instant = _instant(column, given)
        if instant is not None and name == "ts":
            return instant.fill_null(pl.lit(rules.now_us, dtype=pl.Int64).cast(UTC_MICROSECONDS))
        return instant
    if wanted == pl.String():
        return column.cast(pl.String) if isinstance(given, pl.String | pl.Categorical | pl.Enum) else None
    if wanted == pl.Float64():
        return column.cast(pl.Float64) if given.is_numeric() and not given.is_decimal() else None
    if wanted == pl.Int64():
        return (
            column.cast(pl.Int64) if given.is_integer() and given not in (pl.UInt64(), pl.Int128()) else None
        )
    return column if given == wanted else None


def _instant(column: pl.Expr, given: pl.DataType) -> pl.Expr | None:
    if not isinstance(given, pl.Datetime) or given.time_zone is None:
        return None
    if given.time_unit == "ns":
        floored = column.to_physical().floordiv(1_000)
    else:
        floored = column.to_physical() * (1_000 if given.time_unit == "ms" else 1)
    return floored.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _spills(column: pl.Series) -> bool:
    """Say whether a column's values have one obvious form in JSON."""
    if column.dtype == pl.Float64():
        return bool(column.is_finite().fill_null(value=True).all())
    return column.dtype in (pl.String(), pl.Boolean()) or column.dtype.is_integer()


def _doubtful(schema: EventSchema, normal: pl.DataFrame, rules: Rules) -> pl.Series:
    """Return which rows the screen does not vouch for."""
    stamps = pl.col("ts").to_physical()
    doubts = [
        pl.col("action").is_null() | (pl.col("action") == ""),
        pl.col("source").eq_missing(pl.lit(OWN_SOURCE)),
        (stamps < FIRST_US) | (stamps >= LAST_US) | (stamps > rules.now_us + rules.max_ahead_us),
        pl.col("attrs").str.len_bytes() > MAX_ATTRS_BYTES,
        pl.col("attrs").str.count_matches(r"[{\[]") > MAX_ATTRS_DEPTH,
    ]
    texts = [*TEXT_FIELDS, *(name for name, dtype in schema.fields.items() if dtype == pl.String())]
    doubts += [pl.col(name).str.len_bytes() > MAX_TEXT_BYTES for name in texts]
    numbers = ["value", *(name for name, dtype in schema.fields.items() if dtype == pl.Float64())]
    doubts += [~pl.col(name).is_finite() for name in numbers]
    instants = [
        pl.col(name).to_physical() for name, dtype in schema.fields.items() if dtype == UTC_MICROSECONDS
    ]
    doubts += [(instant < FIRST_US) | (instant >= LAST_US) for instant in instants]
    doubtful = normal.select(pl.any_horizontal(doubt.fill_null(value=False) for doubt in doubts)).to_series()
    return (
        doubtful
        if _all_objects(normal.get_column("attrs"))
        else doubtful | normal.get_column("attrs").is_not_null()
    )


def _all_objects(attrs: pl.Series) -> bool:
    """Say whether every value is one JSON object, in one pass; a value over several lines is not vouched for."""
    present = attrs.drop_nulls()
    if present.is_empty():
        return True
    joined = present.str.join("\n").item()
    try:
        return len(_lines.decode_lines(joined)) == present.len() and joined.count("\n") == present.len() - 1
    except (msgspec.DecodeError, RecursionError):
        return False


def _tokens(frame: pl.DataFrame, normal: pl.DataFrame) -> pl.Series:
    """Return the tokens of the rows with an id."""
    keyed = normal.get_column("id").is_not_null()
    if not keyed.any():
        return pl.Series(TOKEN, [None] * normal.height, dtype=pl.Binary)
    given_ts = frame.get_column("ts") if "ts" in frame.columns else pl.Series([None] * frame.height)
    defaulted = given_ts.is_null()
    plain = normal.with_columns(pl.col(pl.Datetime).to_physical())
    source_at, id_at = (plain.columns.index(name) for name in ("source", "id"))
    tokens: list[Any] = [
        token_of(row[source_at], row[id_at], row, defaulted=missing) if row[id_at] is not None else None
        for row, missing in zip(plain.iter_rows(), defaulted, strict=True)
    ]
    return pl.Series(TOKEN, tokens, dtype=pl.Binary)
