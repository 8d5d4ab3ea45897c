"""First sightings: when each combination of keys occurred for the first time."""

from datetime import datetime

import polars as pl

from auditkit.query.frames import Frame, events_of, limited, text_out, window_of, zone_of
from auditkit.query.keys import By, key_columns, parse_keys, renamed, with_keys
from auditkit.timerange import Moment, TimeRange, from_us
from auditkit.where import Where


def first_seen(
    frame: Frame,
    by: By = ("actor", "action"),
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    tz: str | None = None,
    now: datetime | None = None,
) -> pl.DataFrame:
    """Return one row per combination of keys that occurs for the first time with start <= ts < end.

    All events before `end` for which `where` holds count as history, those before `start` too: a combination that occurred
    earlier is not new.  An event without a time counts for nothing.  What a frame does not hold it does not know: over a
    trail, retention bounds the history.

    Parameters
    ----------
    frame : pl.DataFrame or pl.LazyFrame
        Events, with a column `ts` (Datetime with a zone); without `seq`, equal times keep their order.
    by : str, sequence of str or None, default ("actor", "action")
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
    tz : str or None, default None
        IANA zone in which dates and text without a zone are read.  None: the zone of `ts`.
    now : datetime or None, default None
        Aware moment that durations in `start` and `end` count from; None: the clock's now.

    Returns
    -------
    pl.DataFrame
        The keys, `ts` (Datetime) and, where there is one, `seq` (UInt64) of the first event by (ts, seq), and `followed`
        (Int64): how many events of the combination came after it, before `end`.  Sorted by ts, seq, then keys, nulls last.

    Raises
    ------
    InvalidTimeError, InvalidQueryError
        An argument does not read, or names what is not there; both are `ValueError` and name it.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> days = [dt.datetime(2026, 11, day, tzinfo=dt.timezone.utc) for day in (22, 23, 24, 24)]
    >>> events = pl.DataFrame({"ts": days, "actor": ["ann", "bob", "ann", "bob"], "action": ["read"] * 4})
    >>> first_seen(events, "actor", start="2026-11-23")["actor", "followed"].rows()
    [('bob', 1)]
    """
    events = events_of(frame)
    schema = events.collect_schema()
    order = [name for name in ("ts", "seq") if name in schema]
    keys = parse_keys(by, schema, taken=[*order, "followed"])
    window = window_of(start, end, tz=zone_of(events, tz), now=now)
    events = limited(events, TimeRange(start_us=None, end_us=window.end_us), where)
    events = with_keys(events.filter(pl.col("ts").is_not_null()), keys)
    computed = [pl.col("ts").min().alias("ts"), (pl.len().cast(pl.Int64) - 1).alias("followed")]
    if "seq" in schema:
        computed.append(pl.col("seq").min_by(pl.struct("ts", "seq")).alias("seq"))
    found = events.group_by(key_columns(keys)).agg(computed) if keys else events.select(computed)
    found = found.filter(pl.col("ts").is_not_null())  # without keys there is a row for no events too
    if window.start_us is not None:
        found = found.filter(pl.col("ts") >= pl.lit(from_us(window.start_us)).cast(schema["ts"]))
    answer = text_out(found.select(*renamed(keys), *order, "followed"))
    return answer.sort(*order, *keys, nulls_last=True).collect(engine="streaming")
