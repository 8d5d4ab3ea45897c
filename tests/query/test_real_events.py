"""Real events of nine systems, with answers computed elsewhere, where a checkout has them beside it.

The data belongs to others and is not part of this repository; without it these tests are skipped.
"""

import importlib
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from auditkit import query

SHARED = Path(__file__).parents[3] / "shared"
NAMES = sorted(path.name.removesuffix(".json.gz") for path in SHARED.glob("check/expected/*.json.gz"))
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
COLUMNS = {"source_ip": "origin"}

pytestmark = pytest.mark.skipif(not NAMES, reason="the shared events are not beside this checkout")


def iso(moment: datetime) -> str:
    """Spell an instant as the answers do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def number(value: object) -> float | None:
    """Return what the answers count as a value: a number, and nothing that only looks like one."""
    return float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]


class Asked:
    """What the checker asks, put to the functions of `auditkit.query`."""

    def __init__(self, _folder: str, value_key: str) -> None:
        self.value_key = value_key
        self.events = pl.LazyFrame(schema=SCHEMA)

    def ingest(self, events: Iterable[dict[str, Any]]) -> None:
        """Take the events as they come."""
        rows = [
            {
                **{name: event[name] for name in ("id", "actor", "action", "outcome")},
                "ts": datetime.fromisoformat(event["ts"]),
                "origin": event["source_ip"],
                "value": number(event["attrs"].get(self.value_key)),
            }
            for event in events
        ]
        self.events = pl.DataFrame(rows, schema=SCHEMA).lazy()

    def count(self) -> int:
        """How many there are."""
        return int(query.group_by(self.events, [], aggs="count").item())

    def distinct_ids(self) -> int:
        """How many ids there are."""
        return int(query.group_by(self.events, [], aggs={"n": pl.col("id").drop_nulls().n_unique()}).item())

    def min_max(self) -> tuple[str, str]:
        """The first and the last time."""
        ordered = query.range(self.events, columns="ts")["ts"]
        return iso(ordered[0]), iso(ordered[-1])

    def group_count(self, fields: list[str]) -> list[tuple[Any, ...]]:
        """How many of each combination."""
        by = [COLUMNS.get(field, field) for field in fields]
        return query.group_by(self.events, by, aggs="count").rows()

    def hour_action(self) -> list[tuple[Any, ...]]:
        """How many of each action in each hour."""
        found = query.group_by(self.events, "action", every="1h", aggs="count")
        return [(iso(hour), action, count) for hour, action, count in found.iter_rows()]

    def downsample(self, every: str, tz: str) -> list[tuple[Any, ...]]:
        """The value over time."""
        aggs = ["count", "value_count", "mean", "min", "max"]
        return [
            (iso(ts), *row) for ts, *row in query.downsample(self.events, every, tz=tz, aggs=aggs).iter_rows()
        ]

    def range_ids(self, start: str, end: str) -> list[str | None]:
        """The ids in a window."""
        return query.range(self.events, start, end, columns="id")["id"].to_list()

    def retain(self, seconds: int) -> int:
        """How many are at most so many seconds older than the newest."""
        newest = query.group_by(self.events, [], aggs={"ts": pl.col("ts").max()}).item()
        return query.range(self.events, newest - timedelta(seconds=seconds)).height


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The checker that came with the answers."""
    for folder in ("check", "data"):
        monkeypatch.syspath_prepend(str(SHARED / folder))
    yield importlib.import_module("check")
    for name in ("check", "load"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", NAMES)
def test_real_events_have_the_expected_answers(checker: Any, name: str) -> None:
    """Every answer about real events, in every zone and for every bucket length asked, is the expected one."""
    results, _seconds = checker.run(Asked, name)
    assert len(results) > 20
    assert [result for result in results if result[1] != "ok"] == []
