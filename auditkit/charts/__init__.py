"""Charts of an audit trail, in one colour-blind-safe theme: each makes a `Figure` of a trail, of its events or of counts.

A trail and a frame of events are asked with `start`, `end`, `where` and `tz`, and counted here; counts come from
`Trail.group_by` or `Trail.downsample`.  Nothing here reads the zone of the machine that draws.  Column names and values
never reach a Vega expression: fields have fixed names, and values travel as data.
"""

from auditkit.charts.bars import share, top
from auditkit.charts.figure import Figure
from auditkit.charts.swimlanes import timeline
from auditkit.charts.time_series import heat_map, over_time

__all__ = ["Figure", "heat_map", "over_time", "share", "timeline", "top"]
