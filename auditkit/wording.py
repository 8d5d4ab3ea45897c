"""Numbers, sizes and times in words, as people read them.  Pure; nothing here has seen an event."""

from datetime import datetime


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


def minute(value: datetime | None, *, missing: str = "none") -> str:
    """Return one time to the minute, with its zone; `missing` for none."""
    return missing if value is None else f"{value:%Y-%m-%d %H:%M} {value.tzname() or 'UTC'}"


def counted(count: int, what: str, plural: str | None = None) -> str:
    """Return a number of things.

    >>> counted(1, "event"), counted(1200, "event"), counted(2, "delivery", "deliveries")
    ('1 event', '1,200 events', '2 deliveries')
    """
    return f"{count:,} {what if count == 1 else plural or what + 's'}"
