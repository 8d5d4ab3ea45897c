"""The three questions: which events, how many of what per group, and how a number went over time.

Each is a function of a frame with a `ts` column and nothing else: no trail, no clock but `now`, no state.  Equal
calls give equal frames.  Intervals are half-open everywhere.
"""

import builtins
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from auditkit.query.aggregates import Aggregations, parse_measures
from auditkit.query.buckets import BucketKey, bucket_starts, parse_every, plan_key
from auditkit.query.filling import UNFILLED, Fill, check_fill, fill_gaps
from auditkit.query.frames import (
    Frame,
    column,
    events_of,
    kept,
    limited,
    output_name,
    text_columns,
    text_out,
    time_order,
    with_plain_text,
)
from auditkit.timerange import Duration, InvalidTimeError, SystemClock, TimeRange, resolve, to_us
from auditkit.where import InvalidQueryError, Where

By = str | pl.Expr | Sequence[str | pl.Expr] | None
"""What to group by: names of columns, "attrs.…" paths, expressions, or a list of them."""

_BUCKET = "\0bucket"
_KEY = "\0key"


def range(  # noqa: A001 -- the name of the question; a module called so would be worse
    frame: Frame,
    start: object = None,
    end: object = None,
    *,
    where: Where = None,
    columns: str | Sequence[str] | None = None,
    limit: int | None = None,
    descending: bool = False,
    tz: str = "UTC",
    now: datetime | None = None,
) -> pl.DataFrame:
    """Return the events with start <= ts < end for which `where` holds, ordered by (ts, seq).

    `frame` has a `ts` column (Datetime with a time zone); without `seq`, equal times keep their order.  `start` and
    `end` are times as `auditkit.timerange.resolve` reads them, in `tz` where they name no zone and before `now`
    where they are durations.  `columns` are names or "attrs.…" paths; `limit` takes the first so many, with
    `descending` the last ones first.  Text leaves as `String`, `ts` in microseconds and the zone it has.

    Raises `InvalidTimeError` and `InvalidQueryError`, both `ValueError`, naming the argument.

    >>> import datetime as dt
    >>> day = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)
    >>> events = pl.DataFrame({"ts": [day, day - dt.timedelta(days=1)], "actor": ["ann", "bob"]})
    >>> range(events, end="2026-11-24")["actor"].to_list()
    ['bob']
    """
    events = events_of(frame)
    schema = events.collect_schema()
    chosen = range_columns(schema, columns, limit)
    events = limited(events, resolve(start, end, now_us=_now_us(now), tz=tz), where)
    events = events.sort(time_order(schema), descending=descending, nulls_last=True, maintain_order=True)
    return text_out((events if limit is None else events.head(limit)).select(chosen)).collect()


def range_columns(schema: pl.Schema, columns: str | Sequence[str] | None, limit: int | None) -> list[pl.Expr]:
    """Return the expressions of a range's columns; refuse names that do not exist, and a limit that is none."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise InvalidQueryError("limit", limit, "is not a number of events")
    names = [columns] if isinstance(columns, str) else schema.names() if columns is None else list(columns)
    return [column(name, schema, argument="columns") for name in names]


def group_by(
    frame: Frame,
    by: By,
    *,
    every: str | None = None,
    start: object = None,
    end: object = None,
    where: Where = None,
    aggs: Aggregations = None,
    tz: str = "UTC",
    now: datetime | None = None,
    within: TimeRange | None = None,
) -> pl.DataFrame:
    """Return one row per group of events, and per bucket of time with `every`.

    Columns: `ts` (the bucket's start in `tz`; only with `every`), the keys, and what `aggs` asks for, by default
    `count`, `value_count` (Int64), `sum`, `mean` (always sum / value_count), `min`, `max` of `value` (null where no
    event has one).  Names in `aggs` (also p50, p95, p99, linearly interpolated; first and last by (ts, seq);
    n_unique) or expressions replace these.  Groups with null keys are kept; rows are sorted by ts, then keys,
    nulls last.  Without keys there is one row per bucket, or one row of totals.

    `every` is a duration such as "5m", "1h", "1d", "1w", "1mo"; buckets follow the wall clock of `tz` as
    `auditkit.query.buckets` says.  `within` is what a caller knows of where all events of the frame lie, as a
    catalog does; it saves a look at them and changes no answer.  The other arguments and the errors are those of
    `range`.

    >>> import datetime as dt
    >>> day = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)
    >>> events = pl.DataFrame({"ts": [day, day, day], "actor": ["bob", "ann", "ann"], "value": [1.0, 2.0, 4.0]})
    >>> group_by(events, "actor", aggs=["count", "mean"]).rows()
    [('ann', 2, 3.0), ('bob', 1, 1.0)]
    """
    window = resolve(start, end, now_us=_now_us(now), tz=tz)
    length = None if every is None else parse_every(every)
    return _grouped(frame, _listed(by), length, window, where, aggs, tz, within)


def downsample(
    frame: Frame,
    every: str,
    *,
    by: By = None,
    start: object = None,
    end: object = None,
    where: Where = None,
    aggs: Aggregations = None,
    fill: Fill = UNFILLED,
    tz: str = "UTC",
    now: datetime | None = None,
    within: TimeRange | None = None,
) -> pl.DataFrame:
    """Return one row per bucket of time, and per group with `by`; columns and arguments are those of `group_by`.

    With `fill` there is a row for every bucket from `start` to before `end`, or from the first to the last bucket
    with events where a bound is left out, for each group found.  What an empty bucket shows in every column but ts
    and keys: nulls (None), a number (in numeric columns), or what the bucket before it shows ("forward"; null
    where there is none).

    >>> import datetime as dt
    >>> at = [dt.datetime(2026, 11, 24, hour, tzinfo=dt.timezone.utc) for hour in (7, 7, 9)]
    >>> events = pl.DataFrame({"ts": at, "value": [1.0, 3.0, 5.0]})
    >>> downsample(events, "1h", aggs=["count", "mean"], fill=0).rows(named=False)[1][1:]
    (0, 0.0)
    """
    window = resolve(start, end, now_us=_now_us(now), tz=tz)
    length, fill, keys = parse_every(every), check_fill(fill), _listed(by)
    found = _grouped(frame, keys, length, window, where, aggs, tz, within)
    starts = None if fill is UNFILLED else _all_starts(found, length, window, tz)
    if starts is None:
        return found
    names = [_name(key) for key in keys]
    untimed = found.filter(pl.col("ts").is_null())
    filled = fill_gaps(found.filter(pl.col("ts").is_not_null()), names, starts, fill)
    return pl.concat([filled, untimed.cast(filled.schema)]).sort("ts", *names, nulls_last=True)


def _now_us(now: datetime | None) -> int:
    return SystemClock().now_us() if now is None else to_us(now)


def _listed(by: By) -> list[str | pl.Expr]:
    return [] if by is None else [by] if isinstance(by, (str, pl.Expr)) else list(by)


def _name(key: str | pl.Expr) -> str:
    return output_name(key, argument="by") if isinstance(key, pl.Expr) else key


def _grouped(
    frame: Frame,
    by: list[str | pl.Expr],
    every: Duration | None,
    window: TimeRange,
    where: Where,
    aggs: Aggregations,
    tz: str,
    within: TimeRange | None,
) -> pl.DataFrame:
    events = events_of(frame)
    schema = events.collect_schema()
    times = [] if every is None else ["ts"]
    keys = _keys(by, schema, taken=times)
    measures = parse_measures(aggs, schema, taken=[*times, *keys])
    events = limited(events, window, None)
    bucket = None if every is None else _bucket_key(events, every, window, within, tz)
    events = _with_keys(kept(events, where), list(keys.values()), bucket)
    if measures.expressions:
        events = _as_callers_see(events, measures.expressions)
    grouping = [_BUCKET for _ in times] + [_key_name(place) for place in builtins.range(len(keys))]
    computed = measures.computed(time_order(schema))
    found = (events.group_by(grouping).agg(computed) if grouping else events.select(computed)).collect()
    starts = [] if bucket is None else [_shown_starts(bucket.starts_of(found[_BUCKET]), tz)]
    named = [pl.col(_key_name(place)).alias(name) for place, name in enumerate(keys)]
    answer = text_out(found.select(*starts, *named, *measures.finished()))
    return answer.sort(*times, *keys, nulls_last=True) if grouping else answer


def _as_callers_see(events: pl.LazyFrame, expressions: list[pl.Expr]) -> pl.LazyFrame:
    """Prepare for a caller's own aggregations: they may depend on the order, and text is `String` to them."""
    schema = events.collect_schema()
    events = events.sort(time_order(schema), nulls_last=True, maintain_order=True)
    texts = [name for name in text_columns(expressions, schema) if not name.startswith(_KEY)]
    return events.with_columns(pl.col(name).cast(pl.String) for name in texts)


def _bucket_key(
    events: pl.LazyFrame, every: Duration, window: TimeRange, within: TimeRange | None, tz: str
) -> BucketKey:
    known = TimeRange(start_us=None, end_us=None) if within is None else within
    inside = TimeRange(
        start_us=max((us for us in (window.start_us, known.start_us) if us is not None), default=None),
        end_us=min((us for us in (window.end_us, known.end_us) if us is not None), default=None),
    )
    return plan_key(pl.col("ts").to_physical(), every, tz, lambda: _bounds(events, inside))


def _key_name(place: int) -> str:
    return f"{_KEY}{place}"


def _keys(by: list[str | pl.Expr], schema: pl.Schema, *, taken: list[str]) -> dict[str, pl.Expr]:
    keys: dict[str, pl.Expr] = {}
    for key in by:
        if not isinstance(key, (str, pl.Expr)):
            raise InvalidQueryError("by", key, "is neither a name nor a Polars expression")
        name = _name(key)
        if name in keys or name in taken:
            raise InvalidQueryError("by", name, "is the name of another column already")
        for root in key.meta.root_names() if isinstance(key, pl.Expr) else ():
            column(root, schema, argument="by")
        keys[name] = key if isinstance(key, pl.Expr) else column(key, schema, argument="by")
    return keys


def _with_keys(events: pl.LazyFrame, keys: list[pl.Expr], bucket: BucketKey | None) -> pl.LazyFrame:
    """Add what is grouped by under names of its own; dictionaries stay dictionaries, which group fastest."""
    named = [key.alias(_key_name(place)) for place, key in enumerate(keys)]
    stored = [key for key, given in zip(named, keys, strict=True) if given.meta.is_column()]
    made = [key for key, given in zip(named, keys, strict=True) if not given.meta.is_column()]
    if stored:
        events = events.with_columns(stored)
    if made:
        events = with_plain_text(events, made, lambda plain: plain.with_columns(made))
    return events if bucket is None else events.with_columns(bucket.expression.alias(_BUCKET))


def _bounds(events: pl.LazyFrame, window: TimeRange) -> tuple[int, int] | None:
    """Return the first and last instant that the events may have, looking at them only where a bound is missing."""
    if window.start_us is not None and window.end_us is not None:
        return (window.start_us, window.end_us - 1) if window.start_us < window.end_us else None
    ts = pl.col("ts").to_physical()
    first, last = events.select(first=ts.min(), last=ts.max()).collect().row(0)
    return None if first is None else (first, last)


def _shown_starts(starts: pl.Series, tz: str) -> pl.Series:
    """Return bucket starts, given in UTC microseconds, as the column `ts` in a zone."""
    try:
        return starts.cast(pl.Datetime("us", tz)).alias("ts")
    except pl.exceptions.ComputeError as exc:
        raise InvalidTimeError("tz", tz, "is not a time zone that a column can have") from exc


def _all_starts(found: pl.DataFrame, every: Duration, window: TimeRange, tz: str) -> pl.Series | None:
    """Return the starts of all buckets of the window, as far as it or the events found bound it."""
    present = found["ts"].to_physical()
    first = present.min() if window.start_us is None else window.start_us
    last = present.max() if window.end_us is None else window.end_us - 1
    if not isinstance(first, int) or not isinstance(last, int) or first > last:
        return None
    return _shown_starts(pl.Series(bucket_starts(every, tz, first, last), dtype=pl.Int64), tz)
