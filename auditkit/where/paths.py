"""Values inside attrs: the one grammar of paths, followed through a record in Python and through a column in Polars.

A path may be read in several ways, because keys may hold dots themselves: first every dot descends, then one run of
its keys is taken for a single one.  Both readers try the same ways in the same order, and take the first that leads
to a value other than null.
"""

import re
from collections.abc import Mapping
from functools import reduce
from itertools import combinations, pairwise
from typing import Any

import polars as pl
from msgspec import Struct

from auditkit.errors import InvalidQueryError
from auditkit.timerange import EARLIEST_US, FULL_INSTANT, LATEST_US, US_PER_SECOND

ATTRS = "attrs"
_UTC = pl.Datetime("us", "UTC")
PREFIX = "attrs."

MOST_STEPS = 64
"""How many keys a path may have: attrs are not nested deeper."""
MOST_CHARACTERS = 10_000
"""How long a path may be."""

MOST_JOINED = 16
"""A longer path has no keys that hold dots, unless they are escaped: there would be thousands of ways."""

_PIECE = re.compile(r"((?:\\[\\.0-9]|[^.])*)\.")
_ESCAPE = re.compile(r"\\([\\.0-9])")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_STRINGS_ONLY = "[?(@ >= '')]"  # a JSONPath filter that only strings pass
_WRITTEN_PLAINLY = re.compile(r"[^\x00-\x1f\x7f\"\\/<>&']*")
"""Text that JSON writes as it is, or with escapes that begin with \\u."""

_Way = tuple[str | int, ...]
Kind = pl.DataType | type[pl.DataType]


class Path(Struct, frozen=True, kw_only=True):
    """A path that was read: the ways in which it may lead to a value, each of keys and of places in arrays."""

    keys: tuple[str, ...]
    ways: tuple[_Way, ...]

    def find(self, record: Mapping[str, Any]) -> Any:
        """Return the value of a record, `None` where it has none.

        >>> parse_path("id.orig_h").find({"id.orig_h": "10.0.0.7"})
        '10.0.0.7'
        >>> parse_path("target.0.name").find({"target": [{"name": "doc"}]})
        'doc'
        """
        for way in self.ways:
            value: Any = record
            for step in way:
                if isinstance(step, int):
                    value = value[step] if isinstance(value, list) and step < len(value) else None
                else:
                    value = value.get(step) if isinstance(value, dict) else None
                if value is None:
                    break
            else:
                return value
        return None

    def expression(self) -> pl.Expr:
        """Return the value in the column `attrs` as text, strings as they are and everything else as JSON."""
        return pl.coalesce(self._found(pl.col(ATTRS)))

    def string(self, where: pl.Expr | None = None) -> pl.Expr:
        """Return the same value where it is a string, null where it is anything else.

        Only the rows for which `where` holds are looked at, as every look costs a walk through the JSON.
        """
        return self._passing(_STRINGS_ONLY, where)

    def equals(self, number: float) -> pl.Expr:
        """Return whether the value is this number, however JSON writes it, and no text."""
        return self._passing(f"[?(@ == {number!r})]").is_not_null()

    def _passing(self, test: str, where: pl.Expr | None = None) -> pl.Expr:
        """Return the value where it passes a filter of JSONPath, null where it does not."""
        attrs = pl.col(ATTRS) if where is None else pl.when(where).then(pl.col(ATTRS))
        found, passing = self._found(attrs), self._found(attrs, test)
        last = passing.pop()
        pairs = list(zip(found, passing, strict=False))
        return reduce(
            lambda rest, pair: pl.when(pair[0].is_not_null()).then(pair[1]).otherwise(rest),
            reversed(pairs),
            last,
        )

    def _found(self, attrs: pl.Expr, tail: str = "") -> list[pl.Expr]:
        """Return what each way finds; keys with dots are looked for only where the text may have one."""
        first, *others = ("".join(map(_json_step, way)) for way in self.ways)
        found = [attrs.str.json_path_match(f"${first}{tail}")]
        if others:
            some = pl.when(attrs.str.contains_any(self._traces())).then(attrs)
            found += [some.str.json_path_match(f"${other}{tail}") for other in others]
        return found

    def _traces(self) -> list[str]:
        """Return pieces of text of which JSON has one if one of its keys is made of several of this path's."""
        plain = _WRITTEN_PLAINLY.fullmatch("".join(self.keys)) is not None
        return [*(f"{one}.{other}" for one, other in pairwise(self.keys)), "\\u" if plain else "\\"]


def parse_path(path: str, *, name: str = ATTRS) -> Path:
    r"""Return what a path means: keys separated by dots, digits after a dot for a place in an array (from 0).

    A backslash makes a dot or a digit behind it a part of a key, and is itself where anything but these or another
    backslash follows.  Errors call the path `name`.  Raises `InvalidQueryError` for an empty path, and for what is too
    long or too deep.

    >>> parse_path(r"user.na\.me.0").ways[0]
    ('user', 'na.me', 0)
    """
    if not path:
        raise InvalidQueryError(name, path, "is no path")
    if len(path) > MOST_CHARACTERS:
        raise InvalidQueryError(name, path, f"is longer than {MOST_CHARACTERS:,} characters")
    pieces = _PIECE.findall(f"{path}.")
    if len(pieces) > MOST_STEPS:
        raise InvalidQueryError(name, path, f"has more than {MOST_STEPS} keys, deeper than attrs can be")
    keys = [_ESCAPE.sub(r"\1", piece) for piece in pieces]
    steps = [int(key) if place and _INDEX.fullmatch(pieces[place]) else key for place, key in enumerate(keys)]
    ways = [tuple(steps)]
    for first, end in combinations(range(len(keys) + 1), 2):
        if end - first > 1 and len(keys) <= MOST_JOINED:
            ways.append((*steps[:first], ".".join(keys[first:end]), *steps[end:]))
    whole = tuple(way for way in ways if "" not in way)
    if not whole:
        raise InvalidQueryError(name, path, "a key is missing between the dots")
    return Path(keys=tuple(keys), ways=whole)


def attr(path: str, dtype: Kind | None = None) -> pl.Expr:
    r"""Return the expression for the value at a path inside attrs, named after its path.

    Parameters
    ----------
    path : str
        Keys separated by dots; a key that holds dots itself is found as well.  Digits after a dot are a place in an array (from
        0), and a backslash makes a dot or digit behind it a part of a key (`a\.b` is one key, `a.\0` the key 0 of an object).
    dtype : pl.DataType or None, default None
        What the value is taken for: an integer, a float, `Boolean`, `Datetime` (from text such as `2026-11-24T07:30:00Z`) or
        `String`; a number as text counts as a number.  None: `String`.

    Returns
    -------
    pl.Expr
        Of a frame with the column `attrs`; of `dtype`, null where the value is missing, JSON null, or none of `dtype`.  As
        `String`, numbers, booleans, arrays and objects are their JSON text.

    Raises
    ------
    InvalidQueryError
        The path is empty, has more than 64 keys or 10,000 characters, or a key cannot be reached because it holds a backslash or
        quotes of both kinds; `dtype` is of another kind.

    Examples
    --------
    >>> import polars as pl
    >>> frame = pl.DataFrame({"attrs": ['{"user": {"name": "ann", "ips": ["10.0.0.7"]}, "http.status": 404}']})
    >>> frame.select(attr("user.name"), attr("user.ips.0"), attr("http.status", dtype=pl.Int64)).row(0, named=True)
    {'user.name': 'ann', 'user.ips.0': '10.0.0.7', 'http.status': 404}
    """
    found = parse_path(path).expression()
    kind = pl.String() if dtype is None else dtype() if isinstance(dtype, type) else dtype
    return _of_kind(found, kind).alias(path)


def _of_kind(found: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Return text as values of a kind, null where it is none."""
    if kind == pl.String:
        return found
    if kind == pl.Boolean:
        return pl.when(found == "true").then(True).when(found == "false").then(False)  # noqa: FBT003 -- literals
    if isinstance(kind, pl.Datetime):
        instants = _instants(found).cast(pl.Datetime(kind.time_unit, "UTC"), strict=False)
        return instants.dt.convert_time_zone(kind.time_zone or "UTC")
    number = found.cast(pl.Float64, strict=False)
    number = pl.when(number.is_finite()).then(number)  # JSON has no other ones
    if kind.is_float():
        return number.cast(kind)
    if kind.is_integer():
        whole = pl.when(number == number.floor()).then(number).cast(kind, strict=False)
        return pl.coalesce(found.cast(kind, strict=False), whole)
    raise InvalidQueryError("dtype", kind, "is not a kind of value that attrs have")


def _instants(found: pl.Expr) -> pl.Expr:
    """Return text as instants, null where it is none: what `TimeReader` reads, for columns."""
    parts = found.str.strip_chars(" \t").str.extract_groups(f"^{FULL_INSTANT}$").struct
    clock, offset = parts.field("1"), parts.field("2").str.replace_all(":", "", literal=True)
    time, zeros = clock.str.slice(11), pl.lit("000000")
    whole = clock.str.head(10) + "T" + (time.str.head(8) + ":00:00").str.head(8)
    shown = whole.str.strptime(pl.Datetime("us"), "%Y-%m-%dT%H:%M:%S", strict=False).to_physical()
    below_second = (time.str.slice(9) + zeros).str.head(6).cast(pl.Int64)
    digits = (offset.str.slice(1) + zeros).str.head(6).cast(pl.Int64)
    ahead_s = digits // 10_000 * 3600 + digits // 100 % 100 * 60 + digits % 100
    ahead_s *= pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    us = shown + below_second - ahead_s * US_PER_SECOND
    return pl.when(us.is_between(EARLIEST_US, LATEST_US)).then(us).cast(_UTC)


def _json_step(step: str | int) -> str:
    """Return a step as JSONPath has it, quoted."""
    if isinstance(step, int):
        return f"[{step}]"
    if "\\" in step:
        raise InvalidQueryError(ATTRS, step, "a key that holds a backslash cannot be reached")
    quote = '"' if "'" in step else "'"
    if quote in step:
        raise InvalidQueryError(ATTRS, step, "a key that holds both kinds of quotes cannot be reached")
    return f"[{quote}{step}{quote}]"
