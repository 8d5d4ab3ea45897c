"""What a value of a condition means: a scalar, the text that spells it, JSON on a command line, a glob."""

import json
import math
import re
import sys
from datetime import datetime
from typing import Any, TypeGuard

import numpy as np

from auditkit.errors import InvalidQueryError

LISTS = (list, tuple, set, frozenset)
_STAR = re.compile(r"(\\*)\*")
_LIKE_NUMBERS = tuple("-0123456789")
LIKE_JSON = (*_LIKE_NUMBERS, *"tfn[{")  # how the JSON text of anything but a string begins
_REGEX_SIGNS = re.compile(r"[][\\.^$*+?{}|()]")


def checked_scalar(name: str, value: object) -> Any:
    """Refuse what is neither text, number, boolean nor time; NumPy's scalars become Python's."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidQueryError(name, value, "is not finite, as every value of an event is")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise InvalidQueryError(name, f"{value.bit_length():,} bits", "is larger than any number of an event")
    if isinstance(value, (str, int, float, datetime)):
        return value
    raise InvalidQueryError(name, value, "is not a text, number, boolean or time")


def spellings(scalar: float) -> list[str]:
    """Return how text spells a number or a boolean.

    >>> spellings(404), spellings(404.0), spellings(True)
    (['404'], ['404.0', '404'], ['true'])
    """
    whole = [str(int(scalar))] if isinstance(scalar, float) and scalar.is_integer() else []
    return [json.dumps(scalar), *whole]


def read_value(text: str) -> object:
    """Return what a word on a command line means: JSON, and what is no JSON is text.

    A number written otherwise than JSON writes it is text too, so that it keeps its spelling.

    >>> [read_value(text) for text in ("404", '"404"', "1.10", "ann", "null")]
    [404, '404', '1.10', 'ann', None]
    """
    return text if is_respelled(text) else from_json(text)


def is_respelled(text: str) -> bool:
    """Whether text is a number in JSON that JSON would write otherwise."""
    if not text.startswith(_LIKE_NUMBERS):
        return False
    value = from_json(text)
    return is_number(value) and json.dumps(value) != text


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number, which a boolean is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def from_json(text: str) -> object:
    """Return the value that JSON text means; what is no JSON is the text itself."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON


def read_glob(text: str) -> tuple[str | None, str]:
    r"""Return the pattern of a glob (None without a star) and the text without its escapes.

    Backslashes count only before a star: two of them are one, an odd one left over makes the star literal.
    """
    pattern, literal, at, stars = "", "", 0, 0
    for found in _STAR.finditer(text):
        backslashes, escaped = divmod(len(found[1]), 2)
        before = text[at : found.start()] + "\\" * backslashes + "*" * escaped
        pattern += escape_regex(before) + (".*" if not escaped else "")
        literal += before
        stars += not escaped
        at = found.end()
    pattern, literal = pattern + escape_regex(text[at:]), literal + text[at:]
    return rf"(?s)\A{pattern}\z" if stars else None, literal


def escape_glob(text: str) -> str:
    r"""Return the glob that only this text matches.

    >>> print(escape_glob("a*b"), escape_glob(r"DOMAIN\ann"), escape_glob(r"C:\*"))
    a\*b DOMAIN\ann C:\\\*
    """
    return _STAR.sub(r"\1\1\\*", text)


def escape_regex(text: str) -> str:
    """Return the pattern of a regular expression that only this text matches."""
    return _REGEX_SIGNS.sub(r"\\\g<0>", text)
