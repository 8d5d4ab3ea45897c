"""Values as people read them: one line of visible text each, however hostile the value is."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from auditkit.text import label, number

_SHORTEST = {0: "seconds", 3: "milliseconds"}


def cell(value: Any) -> str:
    """Return a value of a table; null is an empty cell.

    >>> cell(12345), cell(0.25), cell(None), cell("")
    ('12,345', '0.25', '', '""')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    return label(value)


def moments(column: pl.Series) -> list[str]:
    """Return a column of times to the second, or to the millisecond where one of them needs it.

    In UTC without its name (the heading has it); in other zones with the offset, as an hour may come twice.
    """
    whole = column.drop_nulls().dt.timestamp("ms") % 1000 == 0
    return [moment(value, digits=0 if whole.all() else 3) for value in column]


def moment(value: datetime | None, *, digits: int = 0) -> str:
    """Return one time.

    >>> from datetime import UTC
    >>> moment(datetime(2026, 11, 24, 7, 30, tzinfo=UTC))
    '2026-11-24 07:30:00'
    """
    if value is None:
        return ""
    text = value.isoformat(sep=" ", timespec=_SHORTEST[digits])
    return (
        text.removesuffix("+00:00")
        if value.utcoffset() == timedelta(0) and str(value.tzinfo) == "UTC"
        else text
    )
