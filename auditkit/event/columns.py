"""Validation of whole frames: a fast screen over columns, and the row's rule for whatever the screen doubts.

The screen may doubt a good row, never pass a bad one; what it doubts is decided by `EventSchema.row`, so that a
frame and a mapping are held to the same words.  A frame whose shape the columns cannot express is left to the rows.
What a whole column rules out is not looked for row by row: small batches are as frequent as large ones.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import polars as pl

from auditkit.errors import InvalidEventError
from auditkit.event.attrs import SURELY_FLAT, AnyObject
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
from auditkit.timerange import from_us

TOKEN = "token"  # noqa: S105 -- the name of a column
_NEWLINE = ord("\n")

_lines = msgspec.json.Decoder(AnyObject)

Refuse = Callable[[int, InvalidEventError], None]


def rows_as_columns(
    schema: EventSchema, frame: pl.DataFrame, rules: Rules, refuse: Refuse
) -> pl.DataFrame | None:
    """Return the frame's events with the row columns and `token`, or `None` where only row by row will do.

    `refuse` hears of every bad row, with its position and the error; it raises, or the row is left out.
    """
    normal = normal_form(schema, frame, rules)
    if normal is None:
        return None
    bad = list(_bad_rows(schema, frame, rules, doubtful_rows(schema, normal, rules), refuse))
    if bad:
        kept = pl.Series(range(frame.height)).is_in(bad).not_()
        frame, normal = frame.filter(kept), normal.filter(kept)
    return normal.hstack([_tokens(frame, normal)])


def _bad_rows(
    schema: EventSchema, frame: pl.DataFrame, rules: Rules, doubtful: list[int], refuse: Refuse
) -> Iterator[int]:
    """Yield the positions of rows that the row's rule refuses."""
    for position in doubtful:
        given = {name: value for name, value in frame.row(position, named=True).items() if value is not None}
        try:
            schema.row(given, rules, spill=True)
        except InvalidEventError as exc:
            refuse(position, exc)
            yield position


def seems_flawless(normal: pl.DataFrame, rules: Rules) -> bool:
    """Say whether a frame in normal form has no ids and no impossible times, which is seen at once."""
    return normal.get_column("id").null_count() == normal.height and not list(
        _outside(normal.get_column("ts"), _latest_us(rules))
    )


def doubtful_rows(schema: EventSchema, normal: pl.DataFrame, rules: Rules) -> list[int]:
    """Return the positions of the rows of a frame in normal form that the screen does not vouch for."""
    doubts = list(_doubts(schema, normal, rules))
    if not doubts:
        return []
    doubtful = normal.select(pl.any_horizontal(doubt.fill_null(value=False) for doubt in doubts))
    return doubtful.to_series().arg_true().to_list()


def normal_form(schema: EventSchema, frame: pl.DataFrame, rules: Rules) -> pl.DataFrame | None:
    """Return the frame with the row columns and their types, or `None` where a column needs the row's care."""
    known = schema.row_columns
    given = {column.name: column for column in frame.iter_columns()}
    extra = [name for name in given if name not in known]
    if extra:
        attrs = given.get("attrs")
        if (attrs is not None and attrs.null_count() < frame.height) or not _all_spill(given, extra):
            return None
        spilled = frame.select(pl.struct(extra).struct.json_encode())
        given["attrs"] = spilled.to_series()
    columns = []
    for name in known:
        column = _cast(given.get(name), schema.columns[name], frame.height)
        if column is None:
            return None
        if name == "ts" and column.null_count():
            column = column.fill_null(from_us(rules.now_us))
        columns.append(column.alias(name))
    return pl.DataFrame(columns) if frame.width else None


def _cast(given: pl.Series | None, wanted: pl.DataType, height: int) -> pl.Series | None:
    """Return a column in its type without losing or inventing anything, `None` where that is not certain."""
    if given is None or given.dtype == pl.Null():
        return pl.Series([None], dtype=wanted).new_from_index(0, height)
    kind = given.dtype
    if kind == wanted:
        return given
    if isinstance(wanted, pl.Datetime):
        return _instants(given)
    certain = (
        (wanted == pl.String() and isinstance(kind, pl.Categorical | pl.Enum))
        or (wanted == pl.Float64() and kind.is_numeric() and not kind.is_decimal())
        or (wanted == pl.Int64() and kind.is_integer() and kind not in (pl.UInt64(), pl.Int128()))
    )
    return given.cast(wanted) if certain else None


def _instants(given: pl.Series) -> pl.Series | None:
    """Return aware moments in UTC, floored to microseconds."""
    if not isinstance(given.dtype, pl.Datetime) or given.dtype.time_zone is None:
        return None
    physical = given.to_physical()
    if given.dtype.time_unit == "ns":
        physical = physical // 1_000
    elif given.dtype.time_unit == "ms":
        physical = physical * 1_000
    return physical.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _all_spill(given: dict[str, pl.Series], extra: list[str]) -> bool:
    return not {"seq", "recorded"} & set(extra) and all(_spills(given[name]) for name in extra)


def _spills(column: pl.Series) -> bool:
    """Say whether a column's values have one obvious form in JSON."""
    if column.dtype == pl.Float64():
        return bool(column.is_finite().fill_null(value=True).all())
    return column.dtype in (pl.String(), pl.Boolean()) or column.dtype.is_integer()


def _doubts(schema: EventSchema, normal: pl.DataFrame, rules: Rules) -> Iterator[pl.Expr]:
    """Yield what the screen does not vouch for, leaving out what no row of this frame can be."""
    action, source = normal.get_column("action"), normal.get_column("source")
    if action.null_count() or (action == "").any():
        yield pl.col("action").is_null() | (pl.col("action") == "")
    if (source == OWN_SOURCE).any():
        yield pl.col("source") == OWN_SOURCE
    yield from _outside(normal.get_column("ts"), _latest_us(rules))
    yield from _doubtful_attrs(normal.get_column("attrs"))
    for name in (*TEXT_FIELDS, "value", *schema.fields):
        column = normal.get_column(name)
        if column.dtype == pl.String() and column.estimated_size() > MAX_TEXT_BYTES:
            yield pl.col(name).str.len_bytes() > MAX_TEXT_BYTES
        elif column.dtype == pl.Float64() and not math.isfinite(column.sum()):
            yield ~pl.col(name).is_finite()
        elif column.dtype == UTC_MICROSECONDS:
            yield from _outside(column, LAST_US - 1)


def _latest_us(rules: Rules) -> int:
    return min(LAST_US - 1, rules.now_us + rules.max_ahead_us)


def _outside(moments: pl.Series, latest_us: int) -> Iterator[pl.Expr]:
    """Yield which moments are too early or too late, where there are any."""
    instants = moments.cast(pl.Int64)
    earliest, latest = instants.min(), instants.max()
    if (
        isinstance(earliest, int)
        and isinstance(latest, int)
        and not FIRST_US <= earliest <= latest <= latest_us
    ):
        yield ~pl.col(moments.name).to_physical().is_between(FIRST_US, latest_us)


def _doubtful_attrs(attrs: pl.Series) -> Iterator[pl.Expr]:
    """Yield which attrs may be no JSON object, too long or too deep, from one pass over all of them.

    A value that goes over several lines is not vouched for.
    """
    present = attrs.drop_nulls()
    lines = _joined(present)
    try:
        objects = len(_lines.decode_lines(lines)) if len(present) else 0
    except (msgspec.DecodeError, RecursionError):
        objects = -1
    newlines = np.count_nonzero(np.frombuffer(lines, dtype="u1") == _NEWLINE)
    if objects != len(present) or newlines >= max(1, len(present)):
        yield pl.col("attrs").is_not_null()
        return
    longest = present.str.len_bytes().max()
    if isinstance(longest, int) and longest > SURELY_FLAT:
        yield pl.col("attrs").str.len_bytes() > MAX_ATTRS_BYTES
        yield pl.col("attrs").str.count_matches(r"[{\[]") > MAX_ATTRS_DEPTH


def _joined(texts: pl.Series) -> bytes | memoryview:
    """Return texts as UTF-8, one to a line."""
    _, _, data = texts.str.join("\n").to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()
    return b"" if data is None else memoryview(data)


def _tokens(frame: pl.DataFrame, normal: pl.DataFrame) -> pl.Series:
    """Return the tokens of the rows with an id."""
    if normal.get_column("id").null_count() == normal.height:
        return pl.Series(TOKEN, [None], dtype=pl.Binary).new_from_index(0, normal.height)
    given_ts = frame.get_column("ts") if "ts" in frame.columns else pl.Series([None] * frame.height)
    defaulted = given_ts.is_null()
    plain = normal.with_columns(pl.col(pl.Datetime).to_physical())
    source_at, id_at = (plain.columns.index(name) for name in ("source", "id"))
    tokens: list[Any] = [
        token_of(row[source_at], row[id_at], row, defaulted=missing) if row[id_at] is not None else None
        for row, missing in zip(plain.iter_rows(), defaulted, strict=True)
    ]
    return pl.Series(TOKEN, tokens, dtype=pl.Binary)
