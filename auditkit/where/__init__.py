"""Which events a question is about: a mapping of conditions, or an expression."""

from auditkit.where.conditions import (
    IS,
    NOT,
    Condition,
    Where,
    checked_mapping,
    compile_where,
    conditions,
    left_out,
    unknown_column,
)
from auditkit.where.paths import ATTRS, PREFIX, Path, attr, parse_path
from auditkit.where.pushdown import Implied, implied
from auditkit.where.search import TEXT
from auditkit.where.values import LISTS, escape_glob, read_glob, read_value
from auditkit.where.words import describe_where, parse_where_option

__all__ = [
    "ATTRS",
    "IS",
    "LISTS",
    "NOT",
    "PREFIX",
    "TEXT",
    "Condition",
    "Implied",
    "Path",
    "Where",
    "attr",
    "checked_mapping",
    "compile_where",
    "conditions",
    "describe_where",
    "escape_glob",
    "implied",
    "left_out",
    "parse_path",
    "parse_where_option",
    "read_glob",
    "read_value",
    "unknown_column",
]
