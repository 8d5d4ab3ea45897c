"""Real events of nine systems, with answers computed elsewhere, where a checkout has them beside it.

The data belongs to others and is no part of this repository; without it the tests that use it are skipped.
"""

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pytest

SHARED = Path(__file__).parents[2] / "shared"
NAMES = sorted(path.name.removesuffix(".json.gz") for path in SHARED.glob("check/expected/*.json.gz"))

needed = pytest.mark.skipif(not NAMES, reason="the shared events are not beside this checkout")


class Questions(Protocol):
    """What can be asked: a trail, or a frame with the functions of `auditkit.query`."""

    def range(self, start: Any = None, end: Any = None, *, columns: Any = None) -> pl.DataFrame:
        """The events."""
        ...

    def group_by(self, by: Any, *, every: Any = None, aggs: Any = None) -> pl.DataFrame:
        """The groups."""
        ...

    def downsample(self, every: str, *, aggs: Any = None, tz: str = "UTC") -> pl.DataFrame:
        """The series."""
        ...


class Asked(ABC):
    """What the checker asks, put to one who answers; subclasses say how events are taken in."""

    asked: Questions
    id_column = "id"
    ids = pl.col("id")

    def __init__(self, folder: str, value_key: str) -> None:
        self.folder = Path(folder)
        self.value_key = value_key

    @abstractmethod
    def ingest(self, events: Iterable[dict[str, Any]]) -> None:
        """Take the events as they come."""

    def count(self) -> int:
        """How many there are."""
        return int(self.asked.group_by([], aggs="count").item())

    def distinct_ids(self) -> int:
        """How many ids there are."""
        return int(self.asked.group_by([], aggs={"n": self.ids.drop_nulls().n_unique()}).item())

    def min_max(self) -> tuple[str, str]:
        """The first and the last time."""
        ordered = self.asked.range(columns="ts")["ts"]
        return _iso(ordered[0]), _iso(ordered[-1])

    def group_count(self, fields: list[str]) -> list[tuple[Any, ...]]:
        """How many of each combination."""
        by = ["origin" if field == "source_ip" else field for field in fields]
        return self.asked.group_by(by, aggs="count").rows()

    def hour_action(self) -> list[tuple[Any, ...]]:
        """How many of each action in each hour."""
        found = self.asked.group_by("action", every="1h", aggs="count")
        return [(_iso(hour), action, count) for hour, action, count in found.iter_rows()]

    def downsample(self, every: str, tz: str) -> list[tuple[Any, ...]]:
        """The value over time."""
        aggs = ["count", "value_count", "mean", "min", "max"]
        return [(_iso(ts), *row) for ts, *row in self.asked.downsample(every, tz=tz, aggs=aggs).iter_rows()]

    def range_ids(self, start: str, end: str) -> list[str | None]:
        """The ids in a window."""
        return self.asked.range(start, end, columns=self.id_column)[self.id_column].to_list()

    def retain(self, seconds: int) -> int:
        """How many are at most so many seconds older than the newest."""
        newest = self.asked.group_by([], aggs={"ts": pl.col("ts").max()}).item()
        return self.asked.range(newest - timedelta(seconds=seconds)).height


def number(value: object) -> float | None:
    """Return what the answers count as a value: a number, and nothing that only looks like one."""
    return float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextmanager
def _checker() -> Iterator[Any]:
    """Import the checker that came with the answers, and forget it afterwards."""
    folders = [str(SHARED / folder) for folder in ("check", "data")]
    sys.path[:0] = folders
    before = list(sys.path)
    try:
        yield importlib.import_module("check")
    finally:
        sys.path[:] = [entry for entry in before if entry not in folders]
        for name in ("check", "load"):
            sys.modules.pop(name, None)


def assert_expected(adapter: type[Asked], name: str) -> None:
    """Put all questions about one set of events and compare with the expected answers."""
    with _checker() as checker:
        results, _seconds = checker.run(adapter, name)
    assert len(results) > 20
    assert [result for result in results if result[1] != "ok"] == []
