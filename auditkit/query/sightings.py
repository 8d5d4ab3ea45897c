"""First sightings: when each combination of keys occurred for the first time."""

from datetime import datetime

import polars as pl

from auditkit.query.frames import Frame, events_of, limited, text_out, window_of
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
    tz: str = "UTC",
    now: datetime | None = None,
) -> pl.DataFrame:
    """Return one row per combination of `by` that occurs for the first time with start <= ts < end.

    All events before `end` for which `where` holds count as history, those before `start` too: a combination that
    occurred earlier is not new.  Columns: the keys, `ts` and `seq` (where there is one) of the first event by
    (ts, seq), and `followed` (Int64), how many events of the combination came after it, before `end`.  Rows are sorted
    by ts, seq, then keys, nulls last; a null key is a key like any other, and an event without a time counts for
    nothing.  The other arguments and the errors are those of `range`.

    What a frame does not hold it does not know: over a trail, retention bounds the history.

    >>> import datetime as dt
    >>> days = [dt.datetime(2026, 11, day, tzinfo=dt.timezone.utc) for day in (22, 23, 24, 24)]
    >>> events = pl.DataFrame({"ts": days, "actor": ["ann", "bob", "ann", "bob"], "action": ["read"] * 4})
    >>> first_seen(events, "actor", start="2026-11-23")["actor", "followed"].rows()
    [('bob', 1)]
    """
    events = events_of(frame)
    schema = events.collect_schema()
    order = [name for name in ("ts", "seq") if name in schema]
    keys = parse_keys(by, schema, taken=[*order, "followed"])
    window = window_of(start, end, tz=tz, now=now)
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
