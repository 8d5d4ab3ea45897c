"""Which events a question is about: a mapping of conditions, or an expression."""

from auditkit.where.conditions import Condition, Where, compile_where, conditions, from_spelling
from auditkit.where.paths import ATTRS, PREFIX, attr
from auditkit.where.pushdown import Implied, implied
from auditkit.where.words import describe_where, parse_where_option

__all__ = [
    "ATTRS",
    "PREFIX",
    "Condition",
    "Implied",
    "Where",
    "attr",
    "compile_where",
    "conditions",
    "describe_where",
    "from_spelling",
    "implied",
    "parse_where_option",
]
