"""Which mapping would have fitted a record that became no event, in the words of the command line.

A guess is only ever said, never acted upon; where nothing is near, nothing is said.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product
from typing import Any

from auditkit.errors import InvalidEventError, InvalidTimeError, LateEventError
from auditkit.sources.conversions import DECIMAL_MARKS, plain_number
from auditkit.timerange import EPOCH_UNITS, TimeReader

_MOST_LEAVES = 200
_DEEPEST = 4
_TIME_NAME = re.compile(
    r"time|date|stamp|when|created|published|occurred|logged|datum|zeit|fecha|@t|(^|[^a-z])(ts|at)$",
    re.IGNORECASE,
)
_ACTION_NAME = re.compile(r"^(action|event|operation|op|verb|method|activity|type|kind|name|command|message|msg)$|(event|action|operation|activity)[_.-]?(name|type)$", re.IGNORECASE)  # fmt: skip
_PATTERNS = (
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y",
    "%Y%m%d%H%M%S%z",
    "%Y%m%d%H%M%S.%f%z",
    "%Y%m%d%H%M%S%f%z",
    "%Y%m%dT%H%M%S%z",
)
_DAY_PATTERNS = ("%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y")
_DAY = re.compile(r"[0-9]{1,4}([-./])[0-9]{1,2}\1[0-9]{2,4}")
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?[AaPp][Mm])?")
_READERS = {form: TimeReader(tz="UTC", form=form) for form in ("iso", *EPOCH_UNITS, *_PATTERNS)}
_DAY_READERS = {form: TimeReader(tz="UTC", form=form) for form in _DAY_PATTERNS}
_AWARE = TimeReader()


def suggest(record: Mapping[str, Any], error: InvalidEventError) -> str | None:
    """Return the options with which a record would have had the field that it was refused for.

    >>> refused = InvalidEventError("ts", None, "missing")
    >>> suggest({"time_ms": 1795503600000, "event": "login"}, refused)
    'would fit: --map ts=time_ms --ts-format ms'
    """
    options = None
    if isinstance(error, LateEventError):
        return None  # its ts was read as it was meant
    if error.field == "ts":
        options = _for_time(record, error.value) or (None if error.value else _for_wrapped(record, ""))
    elif error.field == "action" and not error.value:
        options = next((_map("action", path) for path, _ in _near(record, _ACTION_NAME)), None)
    elif isinstance(error.value, str) and error.reason.startswith(("not a number", "not an integer")):
        options = _for_number(error.value)
    elif isinstance(error.value, dict):
        inner = next(_leaves(error.value, ""), None)
        path = None if inner is None else _path_of(record, error.value)
        options = None if inner is None or path is None else _map(error.field, f"{path}.{inner[0]}")
    return None if options is None else f"would fit: {options}"


def _for_time(record: Mapping[str, Any], value: Any) -> str | None:
    """Return how a time that could not be read is written, or where one lies."""
    if value is not None:
        is_day = isinstance(value, str) and _DAY.fullmatch(value)
        return (_for_joined(record) if is_day else None) or _form_of(value) or _form_of(value, _DAY_READERS)
    named = list(_near(record, _TIME_NAME))
    others = [(path, value) for path, value in _leaves(record, "") if isinstance(value, str)]
    for path, found in [*named, *others]:
        form = _form_of(found)
        if form is not None and (form != "" or (path, found) in others):
            return f"{_map('ts', _whole(path))} {form}".rstrip()
    days = ((path, _form_of(found, _DAY_READERS)) for path, found in others)
    return _for_joined(record) or next(
        (f"{_map('ts', _whole(path))} {form}" for path, form in days if form), None
    )


def _for_joined(record: Mapping[str, Any]) -> str | None:
    """Return how a day and a time of day that lie beside each other are joined."""
    texts = [(path, value) for path, value in _leaves(record, "") if isinstance(value, str)]
    days = [one for one in texts if _DAY.fullmatch(one[1])]
    clocks = [one for one in texts if _CLOCK.fullmatch(one[1])]
    for (path, day), (other, clock) in product(days, clocks):
        form = _form_of(f"{day} {clock}")
        if form is not None:
            return f"{_map('ts', f'{_whole(path)}+{_whole(other)}')} {form}"
    return None


def _for_number(value: str) -> str | None:
    """Return how a number with another decimal mark, or with thousands in groups, is read."""
    marks = [mark for mark in DECIMAL_MARKS if plain_number(value, mark) is not None]
    return " or ".join(f"--decimal {mark}" for mark in marks) or None


def _for_wrapped(record: Mapping[str, Any], prefix: str) -> str | None:
    """Return how records are reached that lie in an array of this one."""
    for key, value in record.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            return f"--records {shlex.quote(f'{prefix}{key}')}"
        if isinstance(value, dict) and not prefix and (inner := _for_wrapped(value, f"{key}.")):
            return inner
    return None


def _form_of(value: Any, readers: Mapping[str, TimeReader] = _READERS) -> str | None:
    """Return the options that read a time, `""` for none, `None` where no form that is known fits.

    Where a day and a month may be meant the other way round, that is said.
    """
    read: dict[str, int] = {}
    for form, reader in readers.items():
        with suppress(InvalidTimeError):
            read[form] = reader.read("ts", value)
    if not read:
        return None
    form, us = next(iter(read.items()))
    options = [] if form == "iso" else [f"--ts-format '{form}'" if "%" in form else f"--ts-format {form}"]
    if form not in EPOCH_UNITS and not _names_zone(form, value, us):
        options.append("--tz ZONE")
    if "%" in form:
        options += [f"(or '{other}')" for other, moment in read.items() if moment != us]
    return " ".join(options)


def _names_zone(form: str, value: Any, us: int) -> bool:
    if form != "iso":
        return "%z" in form
    try:
        return _AWARE.read("ts", value) == us
    except InvalidTimeError:
        return False


def _near(record: Mapping[str, Any], name: re.Pattern[str]) -> Iterator[tuple[str, Any]]:
    """Yield paths and values whose last key has such a name, the outermost first."""
    found = [
        (path, value)
        for path, value in _leaves(record, "")
        if name.search(path.rpartition(".")[2]) and isinstance(value, str | int | float) and value != ""
    ]
    return iter(sorted(found, key=lambda one: one[0].count(".")))


def _leaves(record: Mapping[str, Any], prefix: str, depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Yield paths and values that are no objects."""
    for key, value in list(record.items())[:_MOST_LEAVES]:
        path = prefix + re.sub(r"[.\\]", r"\\\g<0>", str(key))
        if isinstance(value, dict):
            if depth < _DEEPEST:
                yield from _leaves(value, f"{path}.", depth + 1)
        elif value is not None and not isinstance(value, list | bool):
            yield path, value


def _path_of(record: Mapping[str, Any], value: Any) -> str | None:
    return next((str(key) for key, found in record.items() if found is value), None)


def _whole(path: str) -> str:
    """Return a path of a time, in which a bare `+` would join two."""
    return path.replace("+", "\\+")


def _map(field: str, path: str) -> str:
    return f"--map {shlex.quote(f'{field}={path}')}"
