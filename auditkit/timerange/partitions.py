"""Partitions: the UTC hour, day or month whose events lie together on disk."""

from typing import Literal

from auditkit.timerange.instants import US_PER_DAY, US_PER_SECOND, from_us, to_us

Width = Literal["1h", "1d", "1mo"]
WIDTHS: tuple[Width, ...] = ("1h", "1d", "1mo")


def partition_start(us: int, width: Width) -> int:
    """Return the start of the UTC hour, day or month that an instant lies in.

    >>> partition_start(-1, "1d") == -US_PER_DAY
    True
    """
    if width == "1h":
        return us - us % (3600 * US_PER_SECOND)
    if width == "1d":
        return us - us % US_PER_DAY
    return to_us(from_us(us).replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def partition_name(us: int, width: Width) -> str:
    """Return the folder name of the partition that an instant lies in; names sort like time.

    >>> partition_name(0, "1d"), partition_name(0, "1h"), partition_name(0, "1mo")
    ('1970-01-01', '1970-01-01T00', '1970-01')
    """
    text = from_us(us).isoformat()
    return text[: {"1h": 13, "1d": 10, "1mo": 7}[width]]


def check_width(text: str) -> Width:
    """Return `text` as a partition width; another one is a `ValueError`.

    >>> check_width("1d")
    '1d'
    """
    for width in WIDTHS:
        if text == width:
            return width
    raise ValueError(f"partition: expected one of {', '.join(WIDTHS)}, found {text!r}")
