"""Frames on their way in and out: their `ts` checked, their rows limited, their text made plain.

Inside a query text columns stay the dictionaries they are stored as; what a caller gets, and what a caller's own
expressions see, is always `String`.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import polars as pl
from polars import selectors

from auditkit.errors import InvalidQueryError
from auditkit.timerange import Moment, SystemClock, TimeRange, from_us, resolve, to_us
from auditkit.where import ATTRS, PREFIX, Where, attr, compile_where, unknown_column

Frame = pl.DataFrame | pl.LazyFrame
_Frame = TypeVar("_Frame", pl.DataFrame, pl.LazyFrame)

UTC = pl.Datetime("us", "UTC")
_KEPT = "\0kept "  # a prefix no real column has


def window_of(start: Moment | None, end: Moment | None, *, tz: str, now: datetime | None) -> TimeRange:
    """Return the window that a caller asks about; durations count from `now`, or from the clock's now."""
    now_us = SystemClock().now_us() if now is None else to_us(now)
    return resolve(start, end, now_us=now_us, tz=tz)


def zone_of(events: pl.LazyFrame, tz: str | None) -> str:
    """Return the zone that a caller names, or else the one of the events' `ts`."""
    return tz or str(events.collect_schema()["ts"].time_zone)  # type: ignore[attr-defined]


def in_range(window: TimeRange, dtype: pl.DataType = UTC) -> pl.Expr | None:
    """Return the condition that `ts` (a Datetime in microseconds of the given dtype) lies inside, or None.

    >>> frame = pl.DataFrame({"ts": pl.Series([1, 2, 3]).cast(UTC)})
    >>> frame.filter(in_range(TimeRange(start_us=2, end_us=3))).height
    1
    """
    ts = pl.col("ts")
    bounds = []
    if window.start_us is not None:
        bounds.append(ts >= pl.lit(from_us(window.start_us), dtype=UTC).cast(dtype))
    if window.end_us is not None:
        bounds.append(ts < pl.lit(from_us(window.end_us), dtype=UTC).cast(dtype))
    return pl.all_horizontal(bounds) if len(bounds) == 2 else bounds[0] if bounds else None


def text_out(frame: _Frame) -> _Frame:
    """Return the frame, eager or lazy as it came, with every Categorical and Enum as `String`, also inside lists.

    >>> text_out(pl.DataFrame({"a": ["x"]}, schema={"a": pl.Categorical})).schema["a"]
    String
    """
    schema = frame.collect_schema()
    outside = {name: plain_type(dtype) for name, dtype in schema.items()}
    return frame.with_columns(
        pl.col(name).cast(dtype) for name, dtype in outside.items() if dtype != schema[name]
    )


def in_zone(frame: _Frame, tz: str) -> _Frame:
    """Return the frame, eager or lazy as it came, with its instants shown in a zone.

    >>> in_zone(pl.DataFrame({"ts": pl.Series([0]).cast(UTC)}), "Asia/Kolkata")["ts"].dt.hour().item()
    5
    """
    return frame.with_columns(selectors.datetime(time_zone="*").dt.convert_time_zone(tz))


def zoned_type(dtype: pl.DataType, tz: str) -> pl.DataType:
    """Return the type that a column has after `in_zone`."""
    has_zone = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return pl.Datetime(dtype.time_unit, tz) if has_zone else dtype  # type: ignore[attr-defined]


def plain_type(dtype: pl.DataType) -> pl.DataType:
    """Return the type that text of a type has outside: `String` for Categorical and Enum, also inside lists."""
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(plain_type(_instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(field.name, plain_type(_instance(field.dtype))) for field in dtype.fields])
    return dtype


def _instance(dtype: object) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype  # type: ignore[return-value]


def events_of(frame: Frame) -> pl.LazyFrame:
    """Return the frame, lazily, with `ts` in whole microseconds, floored; refuse one without an aware `ts`."""
    lazy = frame.lazy()
    dtype = lazy.collect_schema().get("ts")
    if not isinstance(dtype, pl.Datetime):
        raise InvalidQueryError("ts", dtype, "is not a column of times")
    if dtype.time_zone is None:
        error = InvalidQueryError("ts", dtype, "has no time zone")
        error.add_note("say which it is: frame.with_columns(pl.col('ts').dt.replace_time_zone('UTC'))")
        raise error
    if dtype.time_unit == "us":
        return lazy
    raw = pl.col("ts").to_physical()
    us = raw // 1000 if dtype.time_unit == "ns" else raw * 1000
    return lazy.with_columns(us.cast(pl.Datetime("us", dtype.time_zone)).alias("ts"))


def limited(events: pl.LazyFrame, window: TimeRange, where: Where) -> pl.LazyFrame:
    """Return the events inside the window for which `where` holds; dictionaries stay what they are."""
    inside = in_range(window, events.collect_schema()["ts"])
    return kept(events if inside is None else events.filter(inside), where)


def kept(events: pl.LazyFrame, where: Where) -> pl.LazyFrame:
    """Return the events for which `where` holds; an expression sees text as `String`."""
    condition = compile_where(where, events.collect_schema())
    if condition is None:
        return events
    if isinstance(where, pl.Expr):
        return with_plain_text(events, [where], lambda plain: plain.filter(condition))
    return events.filter(condition)


def with_plain_text(
    events: pl.LazyFrame, expressions: Sequence[pl.Expr], step: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> pl.LazyFrame:
    """Apply a step whose expressions come from a caller: for it text is `String`, afterwards what it was.

    Where a selector might take any column, text stays `String`: a copy kept aside would be selected as well.
    """
    schema = events.collect_schema()
    coded = [name for name in text_columns(expressions, schema) if schema[name] != pl.String]
    plain = [pl.col(name).cast(pl.String) for name in coded]
    if not coded or any(_is_selective(expression) for expression in expressions):
        return step(events.with_columns(plain))
    aside = events.with_columns(pl.col(name).alias(_KEPT + name) for name in coded)
    done = step(aside.with_columns(plain))
    return done.with_columns(pl.col(_KEPT + name).alias(name) for name in coded).drop(
        _KEPT + name for name in coded
    )


def _is_selective(expression: pl.Expr) -> bool:
    """Whether an expression does not tell which columns it will take."""
    return not expression.meta.root_names()


def text_columns(expressions: Sequence[pl.Expr], schema: pl.Schema) -> list[str]:
    """Return the columns of text that expressions may look at."""
    roots = {root for expression in expressions for root in expression.meta.root_names()}
    every = any(_is_selective(expression) for expression in expressions)
    return [
        name for name, dtype in schema.items() if (every or name in roots) and plain_type(dtype) == pl.String
    ]


def column(name: str, schema: pl.Schema, *, argument: str) -> pl.Expr:
    """Return the expression of a column, or of a path in attrs, under its name."""
    if name in schema:
        return pl.col(name)
    if name.startswith(PREFIX) and ATTRS in schema:
        return attr(name.removeprefix(PREFIX)).alias(name)
    raise unknown_column(argument, name, schema)


def range_columns(schema: pl.Schema, columns: str | Sequence[str] | None, limit: int | None) -> list[pl.Expr]:
    """Return the expressions of a range's columns; refuse names that do not exist, and a limit that is none."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise InvalidQueryError("limit", limit, "is not a number of events")
    if columns is None:
        return [pl.col(name) for name in schema]
    names = [columns] if isinstance(columns, str) else columns
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise InvalidQueryError("columns", columns, "is neither a name nor a list of names")
    return [column(name, schema, argument="columns") for name in names]


def output_name(expression: pl.Expr, *, argument: str) -> str:
    """Return the one name of an expression's result; refuse an expression that makes several columns."""
    name = expression.meta.output_name(raise_if_undetermined=False)
    if name is None:
        raise InvalidQueryError(argument, str(expression), "is not an expression for one column")
    return name


def time_order(schema: pl.Schema) -> list[str]:
    """Return the columns that order events: ts, and seq where there is one."""
    return ["ts", "seq"] if "seq" in schema else ["ts"]
