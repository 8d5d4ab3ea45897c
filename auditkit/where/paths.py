"""Values inside attrs: paths as callers write them, and as Polars reads them."""

import re

import polars as pl

from auditkit.errors import InvalidQueryError

ATTRS = "attrs"
PREFIX = "attrs."

MOST_STEPS = 64
"""How many keys a path may have: attrs are not nested deeper."""
MOST_CHARACTERS = 10_000
"""How long a path may be."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def attr(path: str) -> pl.Expr:
    r"""Return the expression for the value at a path inside attrs.

    Numbers, booleans, arrays and objects come out as their JSON text; what is missing or JSON null is null.

    Parameters
    ----------
    path : str
        Keys separated by dots; digits index arrays (from 0), and a backslash takes the next character literally (`a\.b` is one
        key, `\0` a key of an object).

    Returns
    -------
    pl.Expr
        Of a frame with the column `attrs`; `String`.

    Raises
    ------
    InvalidQueryError
        A key is missing between the dots, or cannot be reached because it holds a backslash or quotes of both kinds; the path has
        more than 64 keys or 10,000 characters.

    Examples
    --------
    >>> import polars as pl
    >>> frame = pl.DataFrame({"attrs": ['{"user": {"name": "ann", "ips": ["10.0.0.7"]}}']})
    >>> frame.select(name=attr("user.name"), ip=attr("user.ips.0")).row(0)
    ('ann', '10.0.0.7')
    """
    return pl.col(ATTRS).str.json_path_match(json_path(path))


def json_path(path: str) -> str:
    """Return the JSONPath of a dotted path, every key quoted."""
    if len(path) > MOST_CHARACTERS:
        raise InvalidQueryError("attrs", path, f"is longer than {MOST_CHARACTERS:,} characters")
    steps, segment, escaped = [], "", False
    characters = iter(path)
    for character in characters:
        if character == ".":
            steps.append(_step(segment, path, index=not escaped))
            segment, escaped = "", False
        elif character == "\\":
            escaped, literal = True, next(characters, "\\")
            if literal == "\\":
                raise InvalidQueryError("attrs", path, "a key that holds a backslash cannot be reached")
            segment += literal
        else:
            segment += character
    steps.append(_step(segment, path, index=not escaped))
    if len(steps) > MOST_STEPS:
        raise InvalidQueryError("attrs", path, f"has more than {MOST_STEPS} keys, deeper than attrs can be")
    return "$" + "".join(steps)


def _step(segment: str, path: str, *, index: bool) -> str:
    if index and _INDEX.fullmatch(segment):
        return f"[{segment}]"
    if not segment:
        raise InvalidQueryError("attrs", path, "a key is missing between the dots")
    quote = '"' if "'" in segment else "'"
    if quote in segment:
        raise InvalidQueryError("attrs", path, "a key that holds both kinds of quotes cannot be reached")
    return f"[{quote}{segment}{quote}]"
