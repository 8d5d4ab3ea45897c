"""SQL over the events of a view, in the dialect of Polars."""

import polars as pl

from auditkit.ask.scan import scanned
from auditkit.errors import InvalidQueryError
from auditkit.timerange import EVERYTHING
from auditkit.trail.view import View

_SQL_TIMES = (
    "times: ts >= DATE '2026-11-24', ts < '2026-11-24T07:00:00Z' or '2026-11-24T07:00:00Z'::timestamptz; "
    "a TIMESTAMP literal has no zone and cannot be compared with ts"
)
_SQL_ATTRS = (
    "values inside attrs: this dialect has no json_extract and no ->>; use where={'attrs.key': ...} of the other "
    "questions, or ak.attr('key') with trail.scan()"
)


def sql(view: View, query: str, *, own: bool) -> pl.DataFrame:
    """See `Trail.sql`."""
    statement = query.lstrip().partition(" ")[0].partition("\n")[0].upper().lstrip("(")
    if statement not in ("SELECT", "WITH"):
        raise ValueError(f"sql: only SELECT is answered (found {statement or query!r})")

    with pl.SQLContext(events=scanned(view, EVERYTHING, own=own)) as context:
        try:
            return context.execute(query).collect()
        except pl.exceptions.PolarsError as exc:
            error = InvalidQueryError("sql", query, str(exc).partition("\n")[0])
            error.add_note(_SQL_TIMES)
            error.add_note(_SQL_ATTRS)
            raise error from exc
