"""Two sets of events side by side: what is more, what is less, what is new and what is gone."""

from datetime import datetime

import polars as pl

from auditkit.errors import InvalidQueryError
from auditkit.query.aggregates import COUNTS
from auditkit.query.answers import group_by
from auditkit.query.frames import Frame
from auditkit.query.keys import By
from auditkit.timerange import Moment
from auditkit.where import Where

_COLUMNS = ("this", "last", "difference", "ratio", "change")
_THIS, _LAST, _EVENTS = "\0this", "\0last", " events"


def compare(
    this: Frame,
    last: Frame,
    by: By = "action",
    *,
    agg: str | pl.Expr = "count",
    start: Moment | None = None,
    end: Moment | None = None,
    where: Where = None,
    tz: str | None = None,
    now: datetime | None = None,
) -> pl.DataFrame:
    """Return one row per group of events in either of two frames, with what was counted in each.

    The window and `where` limit both frames alike: give two trails one window, or one trail's two windows as frames.

    Parameters
    ----------
    this : pl.DataFrame or pl.LazyFrame
        Events, with a column `ts` (Datetime with a zone).
    last : pl.DataFrame or pl.LazyFrame
        The events to compare with; keys are of the same dtypes.
    by : str, sequence of str or None, default "action"
        Keys: columns or `"attrs.path"`.  A null key is a key like any other.  Without keys there is one row.
    agg : str or pl.Expr, default "count"
        The measure, as in the `aggs` of `group_by`; it must be a number.
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
        The keys; `this` and `last`, the measure in each frame (counts are Int64, and 0 where a frame has no event of the
        group; other measures are null there); `difference` (this - last); `ratio` (this / last, Float64; null where last is 0
        or null); `change` (String): "new" where only `this` has events, "vanished" where only `last` has, else null.  Sorted
        by the keys, nulls last.

    Raises
    ------
    InvalidTimeError, InvalidQueryError
        An argument does not read, or names what is not there; both are `ValueError` and name it.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> day = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)
    >>> monday = pl.DataFrame({"ts": [day] * 3, "action": ["read", "read", "delete"]})
    >>> tuesday = pl.DataFrame({"ts": [day] * 4, "action": ["read", "read", "read", "write"]})
    >>> compare(tuesday, monday).rows()
    [('delete', 0, 1, -1, 0.0, 'vanished'), ('read', 3, 2, 1, 1.5, None), ('write', 1, 0, 1, None, 'new')]
    """

    def counted(frame: Frame, name: str) -> pl.DataFrame:
        aggs = {name: agg, name + _EVENTS: "count"}
        try:
            side = group_by(frame, by, start=start, end=end, where=where, aggs=aggs, tz=tz, now=now)
        except InvalidQueryError as exc:
            if exc.name != "aggs":
                raise
            raise InvalidQueryError("agg", agg, exc.reason) from exc
        return _numbered(side, name)

    one, other = counted(this, _THIS), counted(last, _LAST)
    keys = one.columns[:-2]
    if taken := [name for name in keys if name in _COLUMNS]:
        raise InvalidQueryError("by", taken[0], "is the name of another column already")
    joined = _joined(one, other, keys)
    if isinstance(agg, str) and agg in COUNTS:
        joined = joined.with_columns(pl.col(_THIS, _LAST).fill_null(0))
    new, old = pl.col(_THIS), pl.col(_LAST)
    here, there = (pl.col(name + _EVENTS).fill_null(0) > 0 for name in (_THIS, _LAST))
    change = pl.when(here & ~there).then(pl.lit("new")).when(there & ~here).then(pl.lit("vanished"))
    ratio = pl.when(old != 0).then(new.cast(pl.Float64) / old)
    columns = (new, old, new - old, ratio, change)
    answer = joined.select(
        *keys, *(column.alias(name) for column, name in zip(columns, _COLUMNS, strict=True))
    )
    return answer.sort(keys, nulls_last=True) if keys else answer


def _numbered(side: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return one side with its measure as a number that may become negative."""
    dtype = side.schema[name]
    if not dtype.is_numeric():
        raise InvalidQueryError("agg", dtype, "is not a number")
    return side.with_columns(pl.col(name).cast(pl.Int64)) if dtype.is_unsigned_integer() else side


def _joined(this: pl.DataFrame, last: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return the two sides in one frame, a row for each combination of keys in either."""
    for name in keys:
        if this.schema[name] != last.schema[name]:
            kinds = f"is {this.schema[name]} in the one frame and {last.schema[name]} in the other"
            raise InvalidQueryError("by", name, kinds)
    if not keys:
        return this.join(last, how="cross")
    return this.join(last, on=keys, how="full", coalesce=True, nulls_equal=True)
