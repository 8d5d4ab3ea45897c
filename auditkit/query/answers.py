"""The three questions: which events, how many of what per group, and how a number went over time.

Each is a function of a frame with a `ts` column and nothing else: no trail, no clock but `now`, no state.  Equal
calls give equal frames.  Intervals are half-open everywhere.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from auditkit.errors import InvalidTimeError
from auditkit.query.aggregates import Aggregations, parse_measures
from auditkit.query.buckets import BucketKey, bucket_starts, parse_every, plan_key
from auditkit.query.filling import UNFILLED, Fill, check_fill, fill_gaps
from auditkit.query.frames import (
    Frame,
    events_of,
    kept,
    limited,
    range_columns,
    text_out,
    time_order,
    window_of,
    zone_of,
)
from auditkit.query.keys import By, as_callers_see, key_columns, parse_keys, renamed, with_keys
from auditkit.timerange import Duration, Moment, TimeRange
from auditkit.where import Where

_BUCKET = "\0bucket"


def range(  # noqa: A001 -- the name of the question; a module called so would be worse
    frame: Frame,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    where: Where = None,
    columns: str | Sequence[str] | None = None,
    limit: int | None = None,
    descending: bool = False,
    tz: str | None = None,
    now: datetime | None = None,
) -> pl.DataFrame:
    """Return the events with start <= ts < end for which `where` holds, ordered by (ts, seq).

    Parameters
    ----------
    frame : pl.DataFrame or pl.LazyFrame
        Events, with a column `ts` (Datetime with a zone); without `seq`, equal times keep their order.
    start : str, datetime, date or None, default None
        First instant that counts: ISO text, an aware datetime, a date (its midnight in `tz`), or a duration before
        `now` such as `"-7d"`, or `"today"` or `"yesterday"`.  None: from the first event on.
    end : str, datetime, date or None, default None
        First instant that no longer counts (exclusive); a duration such as `"+1d"` counts from `start`.  None: to the
        last event.
    where : mapping, pl.Expr or None, default None
        Conditions, all of which must hold: column or `"attrs.path"` to a value, a glob (`"auth.*"`), a list of values,
        None (missing), or `{"not": …}` of these; `"text"` to words that occur in resource or attrs; or one Polars expression.
    columns : str, sequence of str or None, default None
        Columns of the answer, in this order; `"attrs.path"` is the value at a path of attrs, as `String`.  None: all.
    limit : int or None, default None
        At most so many events, the first ones in the order of the answer.
    descending : bool, default False
        Whether the last events come first.
    tz : str or None, default None
        IANA zone in which dates and text without a zone are read.  None: the zone of `ts`.
    now : datetime or None, default None
        Aware moment that durations in `start` and `end` count from; None: the clock's now.

    Returns
    -------
    pl.DataFrame
        The columns of `frame`, or those asked for; text as `String`, `ts` in microseconds and the zone it has.

    Raises
    ------
    InvalidTimeError, InvalidQueryError
        An argument does not read, or names what is not there; both are `ValueError` and name it.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> day = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)
    >>> events = pl.DataFrame({"ts": [day, day - dt.timedelta(days=1)], "actor": ["ann", "bob"]})
    >>> range(events, end="2026-11-24")["actor"].to_list()
    ['bob']
    """
    events = events_of(frame)
    schema = events.collect_schema()
    chosen = range_columns(schema, columns, limit)
    events = limited(events, window_of(start, end, tz=zone_of(events, tz), now=now), where)
    events = events.sort(time_order(schema), descending=descending, nulls_last=True, maintain_order=True)
    return text_out((events if limit is None else events.head(limit)).select(chosen)).collect()


def group_by(
    frame: Frame,
    by: By,
    *,
    every: str | timedelta | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    aggs: Aggregations = None,
    tz: str | None = None,
    now: datetime | None = None,
    within: TimeRange | None = None,
) -> pl.DataFrame:
    """Return one row per group of events, and per bucket of time with `every`.

    Buckets follow the wall clock of `tz`: from a day up the calendar, on days of 23 and 25 hours too.

    Parameters
    ----------
    frame : pl.DataFrame or pl.LazyFrame
        Events, with a column `ts` (Datetime with a zone); without `seq`, equal times keep their order.
    by : str, sequence of str or None
        Keys: columns or `"attrs.path"`.  A null key is a key like any other.  Without keys there is one row per bucket, or
        one row of totals.
    every : str, timedelta or None, default None
        Length of a bucket: `"5m"`, `"1h"`, `"1d"`, `"1w"`, `"1mo"`.  None: no buckets.
    start : str, datetime, date or None, default None
        First instant that counts: ISO text, an aware datetime, a date (its midnight in `tz`), or a duration before
        `now` such as `"-7d"`, or `"today"` or `"yesterday"`.  None: from the first event on.
    end : str, datetime, date or None, default None
        First instant that no longer counts (exclusive); a duration such as `"+1d"` counts from `start`.  None: to the
        last event.
    where : mapping, pl.Expr or None, default None
        Conditions, all of which must hold: column or `"attrs.path"` to a value, a glob (`"auth.*"`), a list of values,
        None (missing), or `{"not": …}` of these; `"text"` to words that occur in resource or attrs; or one Polars expression.
    aggs : str, pl.Expr, list, mapping or None, default None
        Measures of `value` by name (`"count"`, `"value_count"`, `"sum"`, `"mean"`, `"min"`, `"max"`, `"p50"`, `"p95"`,
        `"p99"`, `"first"`, `"last"`, `"n_unique"`), Polars expressions over the events of a group, a list of these, or a
        mapping of column names to them.  None: `count` to `max`.
    tz : str or None, default None
        IANA zone whose wall clock the buckets follow, and in which dates and text without a zone are read.  None: the zone of `ts`.
    now : datetime or None, default None
        Aware moment that durations in `start` and `end` count from; None: the clock's now.
    within : TimeRange or None, default None
        Where all events of the frame lie, where a caller knows it, as a catalog does; saves a look at them and changes
        no answer.

    Returns
    -------
    pl.DataFrame
        `ts` (start of the bucket, Datetime in microseconds and the zone `tz`; only with `every`), the keys, `count` and
        `value_count` (Int64), `sum`, `mean` (always sum / value_count), `min`, `max` (Float64; null where no event has a
        value); or what `aggs` asks for.  Sorted by ts, then keys, nulls last.

    Raises
    ------
    InvalidTimeError, InvalidQueryError
        An argument does not read, or names what is not there; both are `ValueError` and name it.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> day = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)
    >>> events = pl.DataFrame({"ts": [day, day, day], "actor": ["bob", "ann", "ann"], "value": [1.0, 2.0, 4.0]})
    >>> group_by(events, "actor", aggs=["count", "mean"]).rows()
    [('ann', 2, 3.0), ('bob', 1, 1.0)]
    """
    events = events_of(frame)
    zone = zone_of(events, tz)
    window = window_of(start, end, tz=zone, now=now)
    length = None if every is None else parse_every(every)
    return _grouped(events, by, length, window, where, aggs, zone, within)


def downsample(
    frame: Frame,
    every: str | timedelta,
    *,
    by: By = None,
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    aggs: Aggregations = None,
    fill: Fill = UNFILLED,
    tz: str | None = None,
    now: datetime | None = None,
    within: TimeRange | None = None,
) -> pl.DataFrame:
    """Return one row per bucket of time, and per group with `by`.

    Parameters
    ----------
    frame : pl.DataFrame or pl.LazyFrame
        Events, with a column `ts` (Datetime with a zone); without `seq`, equal times keep their order.
    every : str or timedelta
        Length of a bucket: `"5m"`, `"1h"`, `"1d"`, `"1w"`, `"1mo"`; from a day up they follow the calendar of `tz`.
    by : str, sequence of str or None, default None
        Keys, as in `group_by`: one series per combination of their values.
    start : str, datetime, date or None, default None
        First instant that counts: ISO text, an aware datetime, a date (its midnight in `tz`), or a duration before
        `now` such as `"-7d"`, or `"today"` or `"yesterday"`.  None: from the first event on.
    end : str, datetime, date or None, default None
        First instant that no longer counts (exclusive); a duration such as `"+1d"` counts from `start`.  None: to the
        last event.
    where : mapping, pl.Expr or None, default None
        Conditions, all of which must hold: column or `"attrs.path"` to a value, a glob (`"auth.*"`), a list of values,
        None (missing), or `{"not": …}` of these; `"text"` to words that occur in resource or attrs; or one Polars expression.
    aggs : str, pl.Expr, list, mapping or None, default None
        Measures of `value` by name (`"count"`, `"value_count"`, `"sum"`, `"mean"`, `"min"`, `"max"`, `"p50"`, `"p95"`,
        `"p99"`, `"first"`, `"last"`, `"n_unique"`), Polars expressions over the events of a group, a list of these, or a
        mapping of column names to them.  None: `count` to `max`.
    fill : None, float or "forward", optional
        What a bucket without events shows in every column but ts and keys: nulls (None), a number in numeric columns, or
        what the bucket before it shows (null where there is none).  There is a row then for every bucket from `start` to
        before `end`, or from the first to the last bucket with events where a bound is left out, for each group found.
        Left out, only buckets with events are shown.
    tz : str or None, default None
        IANA zone whose wall clock the buckets follow, and in which dates and text without a zone are read.  None: the zone of `ts`.
    now : datetime or None, default None
        Aware moment that durations in `start` and `end` count from; None: the clock's now.
    within : TimeRange or None, default None
        Where all events of the frame lie, where a caller knows it, as a catalog does; saves a look at them and changes
        no answer.

    Returns
    -------
    pl.DataFrame
        Columns and order as in `group_by` with `every`.

    Raises
    ------
    InvalidTimeError, InvalidQueryError
        An argument does not read, or names what is not there; both are `ValueError` and name it.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> at = [dt.datetime(2026, 11, 24, hour, tzinfo=dt.timezone.utc) for hour in (7, 7, 9)]
    >>> events = pl.DataFrame({"ts": at, "value": [1.0, 3.0, 5.0]})
    >>> downsample(events, "1h", aggs=["count", "mean"], fill=0).rows()[1][1:]
    (0, 0.0)
    """
    events = events_of(frame)
    zone = zone_of(events, tz)
    window = window_of(start, end, tz=zone, now=now)
    length, fill = parse_every(every), check_fill(fill)
    found = _grouped(events, by, length, window, where, aggs, zone, within)
    return filled(found, list(parse_keys(by, events.collect_schema())), length, window, fill, zone)


def filled(
    found: pl.DataFrame, names: Sequence[str], length: Duration, window: TimeRange, fill: Fill, tz: str
) -> pl.DataFrame:
    """Return a downsampled frame with what `fill` puts into empty buckets; `names` are those of the keys."""
    starts = None if fill is UNFILLED else _all_starts(found, length, window, tz)
    if starts is None:
        return found
    untimed = found.filter(pl.col("ts").is_null())
    whole = fill_gaps(found.filter(pl.col("ts").is_not_null()), names, starts, fill)
    return pl.concat([whole, untimed.cast(whole.schema)]).sort("ts", *names, nulls_last=True)


def _grouped(
    events: pl.LazyFrame,
    by: By,
    every: Duration | None,
    window: TimeRange,
    where: Where,
    aggs: Aggregations,
    tz: str,
    within: TimeRange | None,
) -> pl.DataFrame:
    schema = events.collect_schema()
    times = [] if every is None else ["ts"]
    keys = parse_keys(by, schema, taken=times)
    measures = parse_measures(aggs, schema, taken=[*times, *keys])
    events = limited(events, window, None)
    bucket = None if every is None else _bucket_key(events, every, window, within, tz)
    events = with_keys(kept(events, where), keys)
    if bucket is not None:
        events = events.with_columns(bucket.expression.alias(_BUCKET))
    if measures.expressions:  # they may depend on the order
        events = events.sort(time_order(schema), nulls_last=True, maintain_order=True)
        events = as_callers_see(events, measures.expressions)
    grouping = [_BUCKET for _ in times] + key_columns(keys)
    computed = measures.computed(time_order(schema))
    found = (events.group_by(grouping).agg(computed) if grouping else events.select(computed)).collect()
    starts = [] if bucket is None else [shown_starts(bucket.starts_of(found[_BUCKET]), tz)]
    answer = text_out(found.select(*starts, *renamed(keys), *measures.finished()))
    return answer.sort(*times, *keys, nulls_last=True) if grouping else answer


def _bucket_key(
    events: pl.LazyFrame, every: Duration, window: TimeRange, within: TimeRange | None, tz: str
) -> BucketKey:
    known = TimeRange(start_us=None, end_us=None) if within is None else within
    inside = TimeRange(
        start_us=max((us for us in (window.start_us, known.start_us) if us is not None), default=None),
        end_us=min((us for us in (window.end_us, known.end_us) if us is not None), default=None),
    )
    return plan_key(pl.col("ts").to_physical(), every, tz, lambda: _bounds(events, inside))


def _bounds(events: pl.LazyFrame, window: TimeRange) -> tuple[int, int] | None:
    """Return the first and last instant that the events may have, looking at them only where a bound is missing."""
    if window.start_us is not None and window.end_us is not None:
        return (window.start_us, window.end_us - 1) if window.start_us < window.end_us else None
    ts = pl.col("ts").to_physical()
    first, last = events.select(first=ts.min(), last=ts.max()).collect().row(0)
    return None if first is None else (first, last)


def shown_starts(starts: pl.Series, tz: str) -> pl.Series:
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
    return shown_starts(pl.Series(bucket_starts(every, tz, first, last), dtype=pl.Int64), tz)
