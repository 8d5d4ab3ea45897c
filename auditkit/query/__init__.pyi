from auditkit.query.aggregates import Aggregations as Aggregations
from auditkit.query.answers import downsample as downsample
from auditkit.query.answers import group_by as group_by
from auditkit.query.answers import range as range  # noqa: A004
from auditkit.query.comparing import compare as compare
from auditkit.query.filling import UNFILLED as UNFILLED
from auditkit.query.filling import Fill as Fill
from auditkit.query.firsts import first_seen as first_seen
from auditkit.query.frames import in_range as in_range
from auditkit.query.frames import kept as kept
from auditkit.query.frames import limited as limited
from auditkit.query.frames import range_columns as range_columns
from auditkit.query.frames import text_out as text_out
from auditkit.query.keys import By as By
from auditkit.query.pauses import sessions as sessions
from auditkit.query.sheet import to_csv as to_csv

__all__ = [
    "UNFILLED",
    "Aggregations",
    "By",
    "Fill",
    "compare",
    "downsample",
    "first_seen",
    "group_by",
    "in_range",
    "kept",
    "limited",
    "range",
    "range_columns",
    "sessions",
    "text_out",
    "to_csv",
]
