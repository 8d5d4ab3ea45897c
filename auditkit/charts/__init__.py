"""Charts of an audit trail: pure functions from a frame to a `Figure`, in one colour-blind-safe theme.

A frame comes from `Trail.group_by` or `Trail.downsample`, for `timeline` from `Trail.range`.  Nothing here reads a trail, a clock or the zone of the
machine that draws.  Column names and values never reach a Vega expression: fields have fixed names, and values
travel as data.
"""

from auditkit.charts.bars import share, top
from auditkit.charts.figure import Figure
from auditkit.charts.swimlanes import timeline
from auditkit.charts.time_series import heat_map, over_time

__all__ = ["Figure", "heat_map", "over_time", "share", "timeline", "top"]
