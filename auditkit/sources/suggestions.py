"""Which mapping would have fitted a record that became no event, in the words of the command line.

A guess is only ever said, never acted upon; where nothing is near, nothing is said.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from auditkit.errors import InvalidEventError, InvalidTimeError
from auditkit.timerange import EPOCH_UNITS, TimeReader

_MOST_LEAVES = 200
_DEEPEST = 4
_TIME_NAME = re.compile(
    r"time|date|stamp|when|created|published|occurred|logged|@t|(^|[^a-z])(ts|at)$", re.IGNORECASE
)
_ACTION_NAME = re.compile(r"^(action|event|operation|op|verb|method|activity|type|kind|name|command|message|msg)$|(event|action|operation|activity)[_.-]?(name|type)$", re.IGNORECASE)  # fmt: skip
_PATTERNS = (
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y",
    "%Y%m%d%H%M%S%z",
    "%Y%m%d%H%M%S.%f%z",
    "%Y%m%d%H%M%S%f%z",
    "%Y%m%dT%H%M%S%z",
)
_READERS = {form: TimeReader(tz="UTC", form=form) for form in ("iso", *EPOCH_UNITS, *_PATTERNS)}
_AWARE = TimeReader()


def suggest(record: Mapping[str, Any], error: InvalidEventError) -> str | None:
    """Return the options with which a record would have had the field that it was refused for.

    >>> refused = InvalidEventError("ts", None, "missing")
    >>> suggest({"time_ms": 1795503600000, "event": "login"}, refused)
    'would fit: --map ts=time_ms --ts-format ms'
    """
    options = None
    if error.field == "ts":
        options = _for_time(record, error.value) or (None if error.value else _for_wrapped(record, ""))
    elif error.field == "action" and not error.value:
        options = next((_map("action", path) for path, _ in _near(record, _ACTION_NAME)), None)
    elif isinstance(error.value, dict):
        inner = next(_leaves(error.value, ""), None)
        path = None if inner is None else _path_of(record, error.value)
        options = None if inner is None or path is None else _map(error.field, f"{path}.{inner[0]}")
    return None if options is None else f"would fit: {options}"


def _for_time(record: Mapping[str, Any], value: Any) -> str | None:
    """Return how a time that could not be read is written, or where one lies."""
    if value is not None:
        return _form_of(value)
    named = list(_near(record, _TIME_NAME))
    others = [(path, value) for path, value in _leaves(record, "") if isinstance(value, str)]
    for path, found in [*named, *others]:
        form = _form_of(found)
        if form is not None and (form != "" or (path, found) in others):
            return f"{_map('ts', path)} {form}".rstrip()
    return None


def _for_wrapped(record: Mapping[str, Any], prefix: str) -> str | None:
    """Return how records are reached that lie in an array of this one."""
    for key, value in record.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            return f"--records {shlex.quote(f'{prefix}{key}')}"
        if isinstance(value, dict) and not prefix and (inner := _for_wrapped(value, f"{key}.")):
            return inner
    return None


def _form_of(value: Any) -> str | None:
    """Return the options that read a time, `""` for none, `None` where no form that is known fits."""
    for form, reader in _READERS.items():
        try:
            us = reader.read("ts", value)
        except InvalidTimeError:
            continue
        options = [] if form == "iso" else [f"--ts-format '{form}'" if "%" in form else f"--ts-format {form}"]
        if form not in EPOCH_UNITS and not _names_zone(form, value, us):
            options.append("--tz ZONE")
        return " ".join(options)
    return None


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


def _map(field: str, path: str) -> str:
    return f"--map {shlex.quote(f'{field}={path}')}"
