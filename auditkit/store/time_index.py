"""The time index: where in a segment each quarter of an hour begins, so that counting by time reads no times.

Kept in the catalog, for the quarters that have events: six bytes each.  All clocks are whole quarters from UTC today, so an
hour, a day or a month of any zone begins on such a border; where a zone's history differs, times have to be read.
"""

from typing import Any

import numpy as np

from auditkit.store.records import SegmentRow

QUARTER_US = 15 * 60 * 1_000_000
_ENTRY = np.dtype([("quarter", "<u2"), ("position", "<u4")])
"""Quarters are counted from that of the first event; a partition of a month has 2,976."""

Numbers = Any
"""A numpy array."""


def pack_time_index(stamps_us: Numbers) -> bytes:
    """Return the entries of events with these times, in order."""
    quarters = stamps_us // QUARTER_US
    positions = np.flatnonzero(np.diff(quarters, prepend=quarters[0] - 1))
    entries = np.empty(len(positions), dtype=_ENTRY)
    entries["quarter"] = quarters[positions] - quarters[0]
    entries["position"] = positions
    return entries.tobytes()


def positions_of(row: SegmentRow, instants_us: Numbers) -> Numbers:
    """Return for each instant, a border of quarters, how many of a segment's events come before it."""
    entries = np.frombuffer(row.time_index, dtype=_ENTRY)
    quarters = instants_us // QUARTER_US - row.min_ts_us // QUARTER_US
    places = np.searchsorted(entries["quarter"].astype(np.int64), quarters)
    return np.append(entries["position"], row.rows).astype(np.int64)[places]
