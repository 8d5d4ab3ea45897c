"""Marks: where in a segment each quarter of an hour begins, so that counting by time reads no times.

Kept in the catalog, for the quarters that have events: six bytes each.  All clocks are whole quarters from UTC today, so an
hour, a day or a month of any zone begins on such a border; where a zone's history differs, times have to be read.
"""

from typing import Any

import numpy as np

from auditkit.store.records import SegmentRow

QUARTER_US = 15 * 60 * 1_000_000
_MARK = np.dtype([("quarter", "<u2"), ("position", "<u4")])
"""Quarters are counted from that of the first event; a partition of a month has 2,976."""

Numbers = Any
"""A numpy array."""


def pack_marks(stamps_us: Numbers) -> bytes:
    """Return the marks of events with these times, in order."""
    quarters = stamps_us // QUARTER_US
    positions = np.flatnonzero(np.diff(quarters, prepend=quarters[0] - 1))
    marks = np.empty(len(positions), dtype=_MARK)
    marks["quarter"] = quarters[positions] - quarters[0]
    marks["position"] = positions
    return marks.tobytes()


def positions_of(row: SegmentRow, instants_us: Numbers) -> Numbers:
    """Return for each instant, a border of quarters, how many of a segment's events come before it."""
    marks = np.frombuffer(row.time_index, dtype=_MARK)
    quarters = instants_us // QUARTER_US - row.min_ts_us // QUARTER_US
    places = np.searchsorted(marks["quarter"].astype(np.int64), quarters)
    return np.append(marks["position"], row.rows).astype(np.int64)[places]
