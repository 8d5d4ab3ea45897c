"""Values as people read them: one line of visible text each, however hostile the value is."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from auditkit.plaintext import label

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


def number(value: float) -> str:
    """Return a float with at most three decimals, or in scientific form where that would hide it.

    >>> number(1234.5), number(3.0), number(0.00012), number(1e20)
    ('1,234.5', '3', '0.00012', '1e+20')
    """
    if value and not 0.001 <= abs(value) < 1e15:
        return f"{value:.4g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def size(count: int) -> str:
    """Return a number of bytes.

    >>> size(512), size(20_480), size(5_300_000)
    ('512 B', '20.5 kB', '5.3 MB')
    """
    scaled, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if scaled < 1000:
            break
        scaled, unit = scaled / 1000, larger
    return f"{count} B" if unit == "B" else f"{scaled:.1f} {unit}"


def ago(seconds: float) -> str:
    """Return a length of time in its largest unit.

    >>> ago(0.2), ago(75), ago(200_000)
    ('0 s', '1 min', '2 days')
    """
    for length, unit in ((86_400, "day"), (3600, "h"), (60, "min")):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if unit == 'day' and count != 1 else ''}"
    return f"{int(seconds)} s"


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


def minute(value: datetime | None, *, missing: str = "none") -> str:
    """Return one time to the minute, with its zone; `missing` for none."""
    return missing if value is None else f"{value:%Y-%m-%d %H:%M} {value.tzname() or 'UTC'}"


def counted(count: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, "event"), counted(1200, "event")
    ('1 event', '1,200 events')
    """
    return f"{count:,} {what}" + ("" if count == 1 else "s")
