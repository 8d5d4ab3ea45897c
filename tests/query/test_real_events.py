"""Real events, asked as a frame."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from auditkit import query
from tests.shared_events import NAMES, Asked, assert_expected, needed, number

SCHEMA = pl.Schema(
    {
        "ts": pl.Datetime("us", "UTC"),
        "id": pl.String(),
        "actor": pl.Categorical(),
        "action": pl.Categorical(),
        "outcome": pl.Categorical(),
        "origin": pl.Categorical(),
        "value": pl.Float64(),
    }
)


class Framed:
    """The functions of `auditkit.query`, each with its frame."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        self.frame = frame

    def range(self, start: Any = None, end: Any = None, *, columns: Any = None) -> pl.DataFrame:
        """Ask for events."""
        return query.range(self.frame, start, end, columns=columns)

    def group_by(self, by: Any, *, every: Any = None, aggs: Any = None) -> pl.DataFrame:
        """Ask for groups."""
        return query.group_by(self.frame, by, every=every, aggs=aggs)

    def downsample(self, every: str, *, aggs: Any = None, tz: str = "UTC") -> pl.DataFrame:
        """Ask for a series."""
        return query.downsample(self.frame, every, aggs=aggs, tz=tz)


class AskedOfAFrame(Asked):
    """The events as a frame with dictionary columns."""

    def ingest(self, events: Iterable[dict[str, Any]]) -> None:
        """Make the frame."""
        rows = [
            {
                **{name: event[name] for name in ("id", "actor", "action", "outcome")},
                "ts": datetime.fromisoformat(event["ts"]),
                "origin": event["source_ip"],
                "value": number(event["attrs"].get(self.value_key)),
            }
            for event in events
        ]
        self.asked = Framed(pl.DataFrame(rows, schema=SCHEMA).lazy())


@needed
@pytest.mark.parametrize("name", NAMES)
def test_real_events_have_the_expected_answers(name: str) -> None:
    """Every answer about real events, in every zone and for every bucket length asked, is the expected one."""
    assert_expected(AskedOfAFrame, name)
