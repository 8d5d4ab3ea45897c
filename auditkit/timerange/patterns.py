"""Patterns of times: the directives of `datetime.strptime` that need no guess, and their texts read to the letter.

Of `strptime` only the names are taken: it reads 9 where 99 stands, drops `%p` beside `%H`, takes a weekday of
another day, and makes a year that is not named 1900.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from auditkit.errors import InvalidTimeError

Shown = tuple[datetime, timedelta | None]
"""What a clock shows, and its offset from UTC where that is named."""

OFFSET = r"[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9](?::?[0-5][0-9])?)?"
"""The offsets that are read, as a regular expression."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAMES = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SHAPES = {
    "Y": "[0-9]{4}",
    "f": "[0-9]{1,9}",
    "j": "[0-9]{3}",
    "b": "|".join(_MONTHS),
    "B": "|".join(_MONTH_NAMES),
    "a": "|".join(_DAYS),
    "A": "|".join(_DAY_NAMES),
    "p": "am|pm",
    "z": OFFSET,
} | dict.fromkeys("ymdHIMS", "[0-9]{2}")
_MAY_BE_SHORT = "mdHIMS"
_DIRECTIVE = re.compile(r"%(.?)|\s+|[^%\s]+", re.DOTALL)


def offset_of(text: str) -> timedelta:
    """Return an offset from UTC: `Z`, or a sign and hours, minutes and seconds of two digits each."""
    if text in "Zz":
        return timedelta(0)
    digits = text[1:].replace(":", "").ljust(6, "0")
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:]))
    return -ahead if text[0] == "-" else ahead


def pattern_parts(pattern: str) -> Callable[[str], Shown]:
    """Return what reads texts of a pattern, made of the directives of `datetime.strptime` that need no guess."""
    shape = _compiled(pattern)

    def parse(text: str) -> Shown:
        found = shape.fullmatch(text)
        if found is None:
            raise ValueError(f"does not match {pattern}")
        given = found.groupdict()
        try:
            shown = _shown(given)
        except ValueError as exc:
            raise ValueError(f"is not a time: {exc}") from None
        return shown, None if given.get("z") is None else offset_of(given["z"])

    return parse


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the shape of a pattern's texts; an `InvalidTimeError` says what cannot be read by it without guessing."""
    parts = list(_DIRECTIVE.finditer(pattern))
    named = [part[1] for part in parts if part[1] is not None and part[1] != "%"]
    for directive in named:
        if directive == "Z":
            raise _unreadable(
                pattern, "names of zones are not read (%z reads Z and +01:00; else state the zone)"
            )
        if directive not in _SHAPES:
            raise _unreadable(
                pattern, f"%{directive} is not read (expected one of {' '.join('%' + d for d in _SHAPES)})"
            )
        if named.count(directive) > 1:
            raise _unreadable(pattern, f"%{directive} stands twice")
    _check_named(pattern, frozenset(named))
    shape = ""
    for before, part, after in zip([None, *parts[:-1]], parts, [*parts[1:], None], strict=True):
        if part[1] is None:
            shape += r"\s+" if part[0].isspace() else re.escape(part[0])
        elif part[1] == "%":
            shape += "%"
        elif part[1] in _MAY_BE_SHORT and not (_is_digits(before, -1) or _is_digits(after, 0)):
            shape += f"(?P<{part[1]}>[0-9]{{1,2}})"
        else:
            shape += f"(?P<{part[1]}>{_SHAPES[part[1]]})"
    return re.compile(shape, re.IGNORECASE | re.ASCII)


def _is_digits(part: re.Match[str] | None, at: int) -> bool:
    """Return whether digits stand at this end of a part, so that a number beside it must have its full width."""
    return part is not None and (part[1] in {*_MAY_BE_SHORT, "Y", "y", "f", "j"} or part[0][at].isdigit())


def _check_named(pattern: str, named: frozenset[str]) -> None:
    """Refuse a pattern that leaves open what a time needs, or names what would not be used."""
    if not named & {"Y", "y"}:
        raise _unreadable(pattern, "names no year, and one is not guessed (%Y)")
    is_date = "j" in named or ("d" in named and named & {"m", "b", "B"})
    if not is_date:
        raise _unreadable(pattern, "names no month and day (%m and %d, %b and %d, or %j)")
    if len(named & {"m", "b", "B", "j"}) > 1 or len(named & {"Y", "y"}) > 1 or len(named & {"H", "I"}) > 1:
        raise _unreadable(pattern, "names the year, the month or the hour twice")
    if ("p" in named) != ("I" in named):
        raise _unreadable(pattern, "%p and %I need each other: an hour of 24 is %H, without %p")
    for finer, coarser in (("M", "HI"), ("S", "M"), ("f", "S")):
        if finer in named and not named & {*coarser}:
            raise _unreadable(pattern, f"%{finer} needs %{coarser[0]}")


def _unreadable(pattern: str, fact: str) -> InvalidTimeError:
    return InvalidTimeError("ts format", pattern, fact)


def _shown(given: Mapping[str, str | None]) -> datetime:
    """Return what the clock shows, from the texts of a pattern's directives."""
    number = {key: int(text) for key, text in given.items() if text is not None and text.isdigit()}
    century = 0 if "Y" in number else 1900 if number["y"] >= 69 else 2000  # as POSIX says
    year = century + number.get("Y", number.get("y", 0))
    hour = number.get("H", 0)
    if "I" in number:
        if not 1 <= number["I"] <= 12:
            raise ValueError("hour must be in 1..12")
        hour = number["I"] % 12 + (12 if str(given["p"]).lower() == "pm" else 0)
    below_second = int((given.get("f") or "")[:6].ljust(6, "0"))
    clock = (hour, number.get("M", 0), number.get("S", 0), below_second)
    if "j" in number:
        shown = datetime(year, 1, 1, *clock) + timedelta(days=number["j"] - 1)  # noqa: DTZ001 -- its zone follows
        if shown.year != year:
            raise ValueError("day is out of range for year")
    else:
        month = number["m"] if "m" in number else _month(given)
        shown = datetime(year, month, number["d"], *clock)  # noqa: DTZ001 -- its zone follows
    weekday = (given.get("a") or given.get("A") or "")[:3].lower()
    if weekday and _DAYS[shown.weekday()] != weekday:
        raise ValueError(f"{shown.date()} is a {_DAY_NAMES[shown.weekday()].capitalize()}")
    return shown


def _month(given: Mapping[str, str | None]) -> int:
    return _MONTHS.index((given.get("b") or given.get("B") or "")[:3].lower()) + 1
