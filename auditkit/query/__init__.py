"""Questions about any frame of events, over whatever has a `ts` column.

`range`, `group_by` and `downsample` are what a trail's methods of the same names call, and so may notebooks and
workers of a cluster; `sessions`, `first_seen` and `compare` stand beside them, and `to_csv` takes an answer out.
"""

from auditkit.query.aggregates import Aggregations
from auditkit.query.answers import downsample, group_by, range  # noqa: A004 -- the question's name, here and on a trail
from auditkit.query.comparison import compare
from auditkit.query.filling import UNFILLED, Fill
from auditkit.query.keys import By
from auditkit.query.session import sessions
from auditkit.query.sightings import first_seen
from auditkit.query.spreadsheet import to_csv

__all__ = [
    "UNFILLED",
    "Aggregations",
    "By",
    "Fill",
    "compare",
    "downsample",
    "first_seen",
    "group_by",
    "range",
    "sessions",
    "to_csv",
]
