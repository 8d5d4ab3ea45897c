"""Sessions: the events of one actor or other key, cut where nothing happened for longer than a gap."""

from datetime import datetime, timedelta

import polars as pl

from auditkit.errors import InvalidTimeError
from auditkit.query.aggregates import Aggregations, parse_measures
from auditkit.query.frames import Frame, events_of, limited, text_out, time_order, window_of, zone_of
from auditkit.query.keys import By, as_callers_see, key_columns, parse_keys, renamed, with_keys
from auditkit.timerange import Moment, parse_duration
from auditkit.where import Where

_SESSION = "\0session"
_BOUNDS = ("start", "end", "duration")
_USUAL: Aggregations = {"count": "count", "actions": pl.col("action").n_unique().cast(pl.Int64)}


def sessions(
    frame: Frame,
    gap: str | timedelta = "30m",
    *,
    by: By = "actor",
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    aggs: Aggregations = None,
    tz: str | None = None,
    now: datetime | None = None,
) -> pl.DataFrame:
    """Return one row per session: the events of each key between two pauses longer than `gap`.

    A pause as long as `gap` does not end a session, one that is a microsecond longer does.  A session is made of the events
    inside the window only, and an event without a time is in none.

    Parameters
    ----------
    frame : pl.DataFrame or pl.LazyFrame
        Events, with a column `ts` (Datetime with a zone); without `seq`, equal times keep their order.
    gap : str or timedelta, default "30m"
        Longest pause inside a session.  Its length is fixed, so a day in it has 24 hours and months are refused.
    by : str, sequence of str or None, default "actor"
        Keys: columns or `"attrs.path"`.  A null key is a key like any other.
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
        mapping of column names to them.  None: `count` and `actions`.
    tz : str or None, default None
        IANA zone in which dates and text without a zone are read.  None: the zone of `ts`.
    now : datetime or None, default None
        Aware moment that durations in `start` and `end` count from; None: the clock's now.

    Returns
    -------
    pl.DataFrame
        The keys; `start` and `end` (Datetime: `ts` of the first and the last event, both in the session); `duration`
        (Duration: end - start, zero for a single event); and what `aggs` asks for, by default `count` (Int64) and, where
        events have an action, `actions`, how many different ones (Int64).  Expressions, `first` and `last` see the events
        in the order of (ts, seq).  Sorted by start, then keys, nulls last.

    Raises
    ------
    InvalidTimeError, InvalidQueryError
        An argument does not read, or names what is not there; both are `ValueError` and name it.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> at = [dt.datetime(2026, 11, 24, 7, minute, tzinfo=dt.timezone.utc) for minute in (0, 30, 31, 2)]
    >>> events = pl.DataFrame({"ts": at, "actor": ["ann", "ann", "ann", None]})
    >>> sessions(events, "29m")["actor", "duration", "count"].rows()
    [('ann', datetime.timedelta(0), 1), (None, datetime.timedelta(0), 1), ('ann', datetime.timedelta(seconds=60), 2)]
    """
    length = _parse_gap(gap)
    events = events_of(frame)
    schema = events.collect_schema()
    keys = parse_keys(by, schema, taken=_BOUNDS)
    usual = _USUAL if "action" in schema else "count"
    measures = parse_measures(usual if aggs is None else aggs, schema, taken=[*_BOUNDS, *keys])
    events = limited(events, window_of(start, end, tz=zone_of(events, tz), now=now), where)
    events = with_keys(events.filter(pl.col("ts").is_not_null()), keys)
    if aggs is not None and measures.expressions:
        events = as_callers_see(events, measures.expressions)
    events = events.sort(*key_columns(keys), *time_order(schema), maintain_order=True)
    found = (
        events.with_columns(_begins(keys, length).cum_sum().alias(_SESSION))
        .group_by(_SESSION)
        .agg(
            pl.col(key_columns(keys)).first(),
            pl.col("ts").first().alias("\0start"),
            pl.col("ts").last().alias("\0end"),
            *measures.computed(time_order(schema)),
        )
    )
    bounds = (pl.col("\0start").alias("start"), pl.col("\0end").alias("end"))
    duration = (pl.col("\0end") - pl.col("\0start")).alias("duration")
    answer = text_out(found.select(*renamed(keys), *bounds, duration, *measures.finished()))
    return answer.sort("start", *keys, nulls_last=True).collect()


def _begins(keys: dict[str, pl.Expr], gap_us: int) -> pl.Expr:
    """Return whether a session begins with an event, in a frame sorted by keys and time."""
    ts = pl.col("ts").to_physical()
    others = [pl.col(name).ne_missing(pl.col(name).shift()) for name in key_columns(keys)]
    return pl.any_horizontal(ts - ts.shift() > gap_us, *others).fill_null(value=True)


def _parse_gap(gap: str | timedelta) -> int:
    length = parse_duration(gap, name="gap")
    if length.months:
        raise InvalidTimeError("gap", gap, "has months, which have no fixed length")
    us = length.days * 24 * 3600 * 1_000_000 + length.us
    if us <= 0:
        raise InvalidTimeError("gap", gap, "is not a positive length")
    return us
