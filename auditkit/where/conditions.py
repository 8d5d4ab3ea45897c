"""From a mapping of conditions to a Polars expression: which events a question is about.

A mapping is data: it can be stored, signed, compared and sent to another version, which an expression cannot.  All
its conditions must hold.  Values from outside are only ever compared with, never executed: they become literals,
escaped patterns or quoted path segments.  The expression of a mapping is true or false for every event, never
null, so that what it keeps and what it leaves out add up.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.errors import InvalidQueryError
from auditkit.text import did_you_mean
from auditkit.timerange import TimeReader
from auditkit.where.paths import ATTRS, PREFIX, Path, parse_path
from auditkit.where.search import SEARCHED, TEXT, has_words
from auditkit.where.values import (
    LIKE_JSON,
    LISTS,
    checked_scalar,
    from_json,
    is_number,
    is_respelled,
    read_glob,
    spellings,
)

Where = Mapping[str, Any] | str | pl.Expr | None
"""What a question may be limited by: conditions by column or path, as a mapping or its JSON text, or an expression."""

_PLAIN_NUMBER = re.compile(r"-?[0-9]+\.[0-9]+")  # without an exponent, which is not sure to be JSONPath
_EXACT_IN_FLOAT = 2**53
_KEPT = "\0kept"
IS, NOT = "is", "not"
_LEAST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**64 - 1  # beyond them Polars reads JSON's numbers as floats
MOST_VALUES = 100_000
"""How many values a list may have."""
MOST_STARRED = 100
"""How many of the values that are left out may hold a star: each may be a regular expression."""
MOST_DEEP = 200
"""How deep an expression may be nested: Polars takes seconds for more, and at tens of thousands has no stack left."""
_MOST_NODES = 100_000


def compile_where(where: Where, columns: Collection[str]) -> pl.Expr | None:
    r"""Return the condition of `where` as an expression, or None where nothing is asked.

    `where` is a mapping of column names or "attrs.…" paths to a value, a glob (`*` stands for any text, `\*` for a
    star), None (missing), or a list of which one must be equal (literally, without globs); or an expression, which
    is returned as it is.  `{"not": …}` leaves out what equals a value or matches a glob, or one of a list of them;
    what is missing stays, unless None is in it; `{"is": …, "not": …}` leaves it out of what else would hold.  The key
    "text" looks for words in resource and attrs.  `columns` are the names there are; a mapping of names to dtypes makes
    numbers, booleans and times comparable with columns of their own kind.  Columns of text may be Categorical or String.

    A list has at most 100,000 values, and an expression is nested at most 200 deep.

    Raises `InvalidQueryError` naming the key for one that does not exist and for a value that cannot be compared.

    >>> frame = pl.DataFrame({"actor": ["ann", "bob", None], "action": ["auth.login", "auth.fail", "doc.read"]})
    >>> frame.filter(compile_where({"actor": ["bob", None], "action": "auth.*"}, frame.schema))["actor"].to_list()
    ['bob']
    """
    if where is None:
        return None
    if isinstance(where, pl.Expr):
        _check_depth(where)
        for name in where.meta.root_names():
            if name not in columns:
                raise unknown_column("where", name, columns)
        return where
    terms = [condition.expression for condition in conditions(where, columns)]
    return pl.all_horizontal(terms) if len(terms) > 1 else terms[0] if terms else None


class Condition(Struct, frozen=True, kw_only=True):
    """One condition of a mapping: an expression over a column or a few, true or false for every event."""

    columns: tuple[str, ...]
    expression: pl.Expr
    texts: Sequence[str] | None = None
    """The only values of its one column for which it can be true, where that is known."""

    def on(self, *values: pl.Series) -> Any:
        """Return for which values of its columns it is true, as a NumPy array."""
        frame = pl.DataFrame([one.alias(name) for name, one in zip(self.columns, values, strict=True)])
        kept = self.expression.fill_null(value=False).alias(_KEPT)
        return frame.with_columns(kept).get_column(_KEPT).to_numpy()


def conditions(where: Mapping[str, Any] | str, columns: Collection[str]) -> list[Condition]:
    """Return the conditions of a mapping, all of which must hold; arguments and errors are `compile_where`'s."""
    return [_condition(key, value, columns) for key, value in checked_mapping(where).items()]


def checked_mapping(where: object) -> Mapping[str, Any]:
    """Return `where`, which may be the JSON text of a mapping; raise `InvalidQueryError` where it is none."""
    found = from_json(where) if isinstance(where, str) else where
    if not isinstance(found, Mapping):
        raise InvalidQueryError("where", where, "is neither a mapping nor a Polars expression")
    return found


def _check_depth(where: pl.Expr) -> None:
    """Refuse an expression that Polars could not work through, level by level, so that no depth is recursed into."""
    depth, level = 0, [where]
    while level:
        depth += 1
        if depth > MOST_DEEP or len(level) > _MOST_NODES:
            reason = f"is an expression nested deeper than {MOST_DEEP} levels, or too wide"
            raise InvalidQueryError("where", f"{depth} levels", reason)
        level = [inner for one in level for inner in one.meta.pop()]


def unknown_column(argument: str, key: object, columns: Collection[str]) -> InvalidQueryError:
    """Return the error for an argument that names a column which is not there."""
    reason = f"is not a column of these events{did_you_mean(key, columns)}"
    error = InvalidQueryError(argument, key, reason)
    error.add_note(f"columns: {', '.join(columns)}; a value inside attrs is 'attrs.KEY'")
    return error


def _condition(key: object, value: object, columns: Collection[str]) -> Condition:
    if isinstance(value, Mapping):
        others = _leaving_out(key, left_out(key, value), columns)
        if IS not in value:
            return others
        wanted = _condition(key, value[IS], columns)
        return replace(wanted, expression=wanted.expression & others.expression)
    if isinstance(value, LISTS) and len(value) > MOST_VALUES:
        reason = f"has more than {MOST_VALUES:,} values; join scan() with a frame of them"
        raise InvalidQueryError(f"where {key}", f"{len(value):,} values", reason)
    searched = tuple(name for name in SEARCHED if name in columns)
    looked_at, texts = searched, None
    if isinstance(key, str) and key in columns:
        dtype = columns[key] if isinstance(columns, Mapping) else None
        looked_at, term, texts = (key,), _column_term(key, value, dtype), _only_texts(key, value, dtype)
    elif isinstance(key, str) and key.startswith(PREFIX) and ATTRS in columns:
        looked_at, term = (ATTRS,), _attrs_term(key, value)
    elif key == TEXT and searched:
        term = _text_term(value, searched)
    else:
        raise unknown_column("where", key, columns)
    return Condition(columns=looked_at, expression=term.fill_null(value=False), texts=texts)


def left_out(key: object, value: Mapping[Any, Any]) -> list[object]:
    """Return what `{"not": …}` leaves out, with `"is"` beside it or not; refuse a mapping of another form."""
    if not ({NOT} <= set(value) <= {IS, NOT}) or any(isinstance(one, Mapping) for one in value.values()):
        error = InvalidQueryError(f"where {key}", value, "is a mapping of another form than {'not': …}")
        error.add_note("{'not': 'backup'} leaves out one value, {'not': ['backup', 'cron*']} each of some")
        error.add_note("{'is': 'svc-*', 'not': 'svc-backup'} leaves out some of what is like the other")
        raise error
    given = value[NOT]
    return list(given) if isinstance(given, LISTS) else [given]


def _leaving_out(key: object, given: Sequence[object], columns: Collection[str]) -> Condition:
    """Return the condition that an event has none of the values and globs."""
    starred = [one for one in given if isinstance(one, str) and "*" in one]
    if len(starred) > MOST_STARRED:
        reason = f"leaves out more than {MOST_STARRED} values with a star"
        raise InvalidQueryError(f"where {key}", f"{len(starred):,} values", reason)
    literal = [one for one in given if not (isinstance(one, str) and "*" in one)]
    found = [_condition(key, literal, columns), *(_condition(key, one, columns) for one in starred)]
    term = ~pl.any_horizontal(condition.expression for condition in found)
    return Condition(columns=found[0].columns, expression=term)


def _only_texts(key: str, value: object, dtype: pl.DataType | None) -> list[str] | None:
    """Return the texts of which a column must hold one, where a condition says so."""
    if not _is_text(dtype):
        return None
    if isinstance(value, LISTS):
        return None if None in value else [text for item in value for text in _literals(key, item, dtype)]
    if value is None:
        return None
    pattern, literal = read_glob(value) if isinstance(value, str) else (None, value)
    return _literals(key, literal, dtype) if pattern is None else None


def _column_term(key: str, value: object, dtype: pl.DataType | None) -> pl.Expr:
    column = pl.col(key).cast(pl.String) if isinstance(dtype, pl.Enum) else pl.col(key)
    if value is None:
        return column.is_null()
    if isinstance(value, LISTS):
        given = [item for item in value if item is not None]
        found = [literal for item in given for literal in _literals(key, item, dtype)]
        term = _equals_any(column, found, dtype)
        return term.fill_null(value=False) | column.is_null() if len(given) < len(value) else term
    if isinstance(value, str) and _is_text(dtype):
        pattern, literal = read_glob(value)
        if pattern is not None:
            return column.cast(pl.String).str.contains(pattern)
        return column == literal
    return _equals_any(column, _literals(key, value, dtype), dtype)


def _equals_any(column: pl.Expr, values: list[Any], dtype: pl.DataType | None) -> pl.Expr:
    if not values:
        return pl.lit(value=False)
    if len(values) == 1:
        return column.eq(values[0])
    if dtype is None:  # values of several kinds cannot share one list
        return pl.any_horizontal((column == value).fill_null(value=False) for value in values)
    return column.is_in(pl.Series(values, dtype=pl.String() if _is_text(dtype) else dtype).implode())


def _is_text(dtype: pl.DataType | None) -> bool:
    return dtype is None or isinstance(dtype, (pl.String, pl.Categorical, pl.Enum))


def _literals(key: str, value: object, dtype: pl.DataType | None) -> list[Any]:
    """Return the value as the column's own kind: none where it can equal nothing there; refuse another kind."""
    name = f"where {key}"
    if dtype is None:
        return [checked_scalar(name, value)]
    if _is_text(dtype):
        scalar = checked_scalar(name, value)
        if isinstance(scalar, datetime):
            raise InvalidQueryError(name, value, "is a time, and the column is text")
        return [scalar] if isinstance(scalar, str) else spellings(scalar)
    if isinstance(dtype, pl.Datetime):
        if isinstance(value, (datetime, str)):
            us = TimeReader().read(name, value)
            return pl.Series([us]).cast(pl.Datetime("us", "UTC")).cast(dtype).to_list()
        raise InvalidQueryError(name, value, "is not a time, as the column is")
    scalar = checked_scalar(name, from_json(value) if isinstance(value, str) else value)
    if isinstance(dtype, pl.Boolean) and isinstance(scalar, bool):
        return [scalar]
    if dtype.is_numeric() and isinstance(scalar, (int, float)) and not isinstance(scalar, bool):
        return _number_literals(scalar, dtype)
    raise InvalidQueryError(name, value, f"cannot be compared with a column of {dtype}")


def _number_literals(number: float, dtype: pl.DataType) -> list[Any]:
    try:
        if dtype.is_integer() and number != int(number):
            return []
        return pl.Series([int(number) if dtype.is_integer() else float(number)], dtype=dtype).to_list()
    except (OverflowError, TypeError):  # larger than the column can hold
        return []


def _text_term(value: object, columns: Collection[str]) -> pl.Expr:
    """Return whether the words of a text occur, or of one of several."""
    texts = []
    for one in value if isinstance(value, LISTS) else [value]:
        scalar = checked_scalar(f"where {TEXT}", one)
        if isinstance(scalar, datetime):
            raise InvalidQueryError(f"where {TEXT}", one, "is a time, and words are looked for")
        texts.append(scalar if isinstance(scalar, str) else spellings(scalar)[0])
    return has_words(texts, columns)


def _attrs_term(key: str, value: object) -> pl.Expr:
    """Return a condition on a value inside attrs: text equals text, a number the number and its spelling."""
    path = parse_path(key.removeprefix(PREFIX))
    if isinstance(value, LISTS):
        return _attrs_among(key, value, path)
    if isinstance(value, str):
        pattern, literal = read_glob(value)
        if pattern is None:
            return _attrs_among(key, [literal], path)
        matches = path.expression().str.contains(pattern)
        if not value.startswith((*LIKE_JSON, "*")):
            return matches
        return path.string(matches).is_not_null()
    return _attrs_among(key, [value], path)


def _attrs_among(key: str, values: Collection[object], path: Path) -> pl.Expr:
    """Return whether the value at a path is one of some."""
    texts: list[str] = []
    ambiguous: list[str] = []  # which a number, say, could have as its text
    spelled: list[str] = []
    numbers: list[float] = []
    huge: list[int] = []
    for value in values:
        scalar = None if value is None else checked_scalar(f"where {key}", value)
        if isinstance(scalar, datetime):
            raise InvalidQueryError(f"where {key}", value, "is a time, which JSON does not have")
        if isinstance(scalar, str):
            (ambiguous if scalar.startswith(LIKE_JSON) else texts).append(scalar)
            scalar = from_json(scalar) if is_respelled(scalar) else None
        elif scalar is not None:
            spelled += spellings(scalar)
        if not is_number(scalar):
            continue
        if isinstance(scalar, int) and not _LEAST_INTEGER <= scalar <= _LARGEST_INTEGER:
            huge.append(scalar)
        elif isinstance(scalar, float) or abs(scalar) < _EXACT_IN_FLOAT:
            numbers.append(float(scalar))
    found = path.expression()
    number = found.cast(pl.Float64, strict=False)
    terms = [found.is_null()] if None in values else []
    if texts:
        terms.append(_is_one_of(found, texts))
    if ambiguous:
        terms.append(path.string(_is_one_of(found, ambiguous)).is_not_null())
    if spelled:
        terms.append(_is_one_of(found, spelled))
    if len(numbers) == 1 and _PLAIN_NUMBER.fullmatch(repr(numbers[0])):
        terms.append(path.equals(numbers[0]))
    elif numbers:
        like = _is_one_of(number, numbers)
        terms.append(like & path.string(like).is_null())
    if huge:  # Polars has no more than their first digits
        like = _is_one_of(number, [float(one) for one in huge])
        digits = pl.col(ATTRS).str.contains_any([str(one) for one in huge])
        terms.append(like & path.string(like).is_null() & digits)
    return pl.any_horizontal(term.fill_null(value=False) for term in terms) if terms else pl.lit(value=False)


def _is_one_of(column: pl.Expr, values: Sequence[Any]) -> pl.Expr:
    return column.eq(values[0]) if len(values) == 1 else column.is_in(pl.Series(values).implode())
