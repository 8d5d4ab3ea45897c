"""Which events a question is about: a mapping of conditions, or an expression."""

from auditkit.where.bounds import Implied, implied
from auditkit.where.mapping import Condition, Where, compile_where, conditions
from auditkit.where.paths import ATTRS, PREFIX, InvalidQueryError, attr
from auditkit.where.words import describe_where, parse_where_option

__all__ = [
    "ATTRS",
    "PREFIX",
    "Condition",
    "Implied",
    "InvalidQueryError",
    "Where",
    "attr",
    "compile_where",
    "conditions",
    "describe_where",
    "implied",
    "parse_where_option",
]
