"""Instants, durations, half-open time ranges and partitions, in whole microseconds since 1970 in UTC.

The one place that turns what people write ("-7d", "2026-11-24", an aware datetime) into exact instants.
"""

from auditkit.timerange.durations import Duration, parse_duration, parse_keep_time
from auditkit.timerange.instants import (
    US_PER_DAY,
    US_PER_SECOND,
    Clock,
    SystemClock,
    check_zone,
    from_us,
    in_zone,
    instant_of_local,
    instant_of_naive,
    local_us,
    to_us,
    utc_offset_us,
)
from auditkit.timerange.ranges import (
    EVERYTHING,
    WIDTHS,
    Moment,
    TimeRange,
    Width,
    check_width,
    counts_from_now,
    parse_instant,
    partition_end,
    partition_name,
    partition_start,
    resolve,
)
from auditkit.timerange.reading import (
    EARLIEST_US,
    EPOCH_UNITS,
    FULL_INSTANT,
    LATEST_US,
    OnAmbiguous,
    TimeReader,
)

__all__ = [
    "EARLIEST_US",
    "EPOCH_UNITS",
    "EVERYTHING",
    "FULL_INSTANT",
    "LATEST_US",
    "US_PER_DAY",
    "US_PER_SECOND",
    "WIDTHS",
    "Clock",
    "Duration",
    "Moment",
    "OnAmbiguous",
    "SystemClock",
    "TimeRange",
    "TimeReader",
    "Width",
    "check_width",
    "check_zone",
    "counts_from_now",
    "from_us",
    "in_zone",
    "instant_of_local",
    "instant_of_naive",
    "local_us",
    "parse_duration",
    "parse_instant",
    "parse_keep_time",
    "partition_end",
    "partition_name",
    "partition_start",
    "resolve",
    "to_us",
    "utc_offset_us",
]
