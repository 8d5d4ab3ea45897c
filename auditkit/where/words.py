"""Conditions in words for people to read, and from a command line's words."""

import json
import re
from collections.abc import Mapping
from datetime import datetime

import polars as pl

from auditkit.errors import InvalidQueryError
from auditkit.where.conditions import IS, NOT, Where, checked_mapping, left_out
from auditkit.where.search import TEXT
from auditkit.where.values import LISTS, read_glob, read_value


def describe_where(where: Where) -> str:
    r"""Return the condition in words, as plain text in which values are quoted like JSON.

    >>> describe_where({"actor": "ann", "action": "auth.*", "outcome": ["failure", None]})
    'actor is "ann" and action is like "auth.*" and outcome is "failure" or missing'
    >>> describe_where({"actor": {"not": ["backup", "cron*"]}, "text": "invoice 17"})
    'actor is neither "backup" nor like "cron*" and text has the words "invoice 17"'
    """
    if isinstance(where, pl.Expr):
        return f"the expression {where}"
    asked = {} if where is None else checked_mapping(where)
    return " and ".join(_in_words(key, value) for key, value in asked.items()) or "all events"


def parse_where_option(option: str) -> tuple[str, object]:
    """Split a command line's `key=value` or `key!=value` into key and value, which `read_value` reads.

    >>> parse_where_option("attrs.port=22"), parse_where_option('actor!=["ann", null]')
    (('attrs.port', 22), ('actor', {'not': ['ann', None]}))
    """
    key, equals, text = option.partition("=")
    name = key.removesuffix("!")
    if not equals or not name:
        raise InvalidQueryError("where", option, "is not of the form key=value or key!=value")
    return name, read_value(text) if name == key else {NOT: read_value(text)}


def _shown_key(key: object) -> str:
    return key if isinstance(key, str) and re.fullmatch(r"[\w.]+", key) else _quoted(key)


def _quoted(value: object) -> str:
    return str(value) if isinstance(value, datetime) else json.dumps(value, ensure_ascii=False, default=str)


def _in_words(key: object, value: object) -> str:
    if isinstance(value, Mapping) and IS in value:
        return f"{_in_words(key, value[IS])} and {_in_words(key, {NOT: left_out(key, value)})}"
    verb, kind = ("has", "the words ") if key == TEXT else ("is", "")
    if isinstance(value, Mapping):
        given = [_wanted(key, item) for item in left_out(key, value)]
        said = f"not {kind}{given[0]}" if len(given) == 1 else f"neither {kind}{' nor '.join(given)}"
        said = said if given else "anything"
    elif isinstance(value, LISTS):
        words = [_quoted(item) for item in value if item is not None]
        words += ["missing"] if len(words) < len(value) else []
        said = kind + " or ".join(words) if words else "one of none"
    else:
        said = kind + _wanted(key, value)
    return f"{_shown_key(key)} {verb} {said}"


def _wanted(key: object, value: object) -> str:
    """Return one value in words; a star in a text that is searched for is only a star."""
    if value is None:
        return "missing"
    if isinstance(value, str) and key != TEXT:
        pattern, literal = read_glob(value)
        return f"like {_quoted(value)}" if pattern else _quoted(literal)
    return _quoted(value)
