"""Conditions in words for people to read, and from a command line's words."""

import json
import re
from datetime import datetime

import polars as pl

from auditkit.errors import InvalidQueryError
from auditkit.where.conditions import LISTS, Where, checked_mapping, read_glob, read_value


def describe_where(where: Where) -> str:
    r"""Return the condition in words, as plain text in which values are quoted like JSON.

    >>> describe_where({"actor": "ann", "action": "auth.*", "outcome": ["failure", None]})
    'actor is "ann" and action is like "auth.*" and outcome is "failure" or missing'
    """
    if isinstance(where, pl.Expr):
        return f"the expression {where}"
    asked = {} if where is None else checked_mapping(where)
    return (
        " and ".join(f"{_shown_key(key)} {_in_words(value)}" for key, value in asked.items()) or "all events"
    )


def parse_where_option(option: str) -> tuple[str, object]:
    """Split a command line's `key=value` into key and value, which `read_value` reads.

    >>> parse_where_option("attrs.port=22"), parse_where_option('actor=["ann", null]')
    (('attrs.port', 22), ('actor', ['ann', None]))
    """
    key, equals, text = option.partition("=")
    if not equals or not key:
        raise InvalidQueryError("where", option, "is not of the form key=value")
    return key, read_value(text)


def _shown_key(key: object) -> str:
    return key if isinstance(key, str) and re.fullmatch(r"[\w.]+", key) else _quoted(key)


def _quoted(value: object) -> str:
    return str(value) if isinstance(value, datetime) else json.dumps(value, ensure_ascii=False, default=str)


def _in_words(value: object) -> str:
    if value is None:
        return "is missing"
    if isinstance(value, LISTS):
        words = [_quoted(item) for item in value if item is not None]
        words += ["missing"] if len(words) < len(value) else []
        return f"is {' or '.join(words)}" if words else "is one of none"
    if isinstance(value, str):
        pattern, literal = read_glob(value)
        return f"is like {_quoted(value)}" if pattern else f"is {_quoted(literal)}"
    return f"is {_quoted(value)}"
