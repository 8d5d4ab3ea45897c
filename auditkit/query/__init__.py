"""Questions about any frame of events: `range`, `group_by` and `downsample` over whatever has a `ts` column.

A trail's methods of the same names call these, and so may notebooks and workers of a cluster.
"""

from auditkit.query.aggregates import Aggregations
from auditkit.query.answers import (  # ak.query.range is its name
    By,
    downsample,
    group_by,
    range,  # noqa: A004
    range_columns,
)
from auditkit.query.filling import UNFILLED, Fill
from auditkit.query.frames import in_range, kept, limited, text_out

__all__ = [
    "UNFILLED",
    "Aggregations",
    "By",
    "Fill",
    "downsample",
    "group_by",
    "in_range",
    "kept",
    "limited",
    "range",
    "range_columns",
    "text_out",
]
