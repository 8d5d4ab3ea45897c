"""Parquet as engines and data frames write it: times beyond Python's, maps, nested types, one bad row among good ones."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auditkit.api import Trail
from auditkit.sources.importer import import_records
from auditkit.sources.mapping import plan_mapping
from auditkit.sources.readers import open_input
from auditkit.sources.records import Item, Record, Unreadable

NOW = datetime(2024, 1, 12, 1, 30, 15, tzinfo=UTC)


def read(path: Path, table: pa.Table) -> list[Item]:
    """All rows of a table that was written to a file."""
    pq.write_table(table, path)
    with open_input(path, "parquet") as source:
        return list(source)


def texts(items: list[Item]) -> list[dict[str, Any]]:
    """The records' texts, decoded."""
    return [msgspec.json.decode(item.text) for item in items if isinstance(item, Record)]


def test_far_dates_in_any_zone(tmp_path: Path) -> None:
    """The last moments that Python has are read though their zone would show a later year."""
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    for zone in ("Asia/Tokyo", "+14:00", "America/New_York", "UTC"):
        items = read(
            tmp_path / "t.parquet", pa.table({"at": pa.array([NOW, last], pa.timestamp("us", zone))})
        )
        assert [item.fields["at"] for item in items if isinstance(item, Record)] == [NOW, last]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, -70_000_000_000, 1], pa.timestamp("s")),  # the year -249
        pa.array([0, 300_000_000_000, 1], pa.timestamp("s", "UTC")),  # the year 11476
        pa.array([0, 300_000_000_000_000_000, 1], pa.timestamp("us", "Asia/Tokyo")),
        pa.array([0, -1_000_000, 1], pa.date32()),
        pa.array([[0], [300_000_000_000_000], [1]], pa.list_(pa.timestamp("ms"))),
    ],
)
def test_a_row_beyond_the_years_of_python_is_a_letter(tmp_path: Path, column: pa.Array) -> None:
    """A value in no year that Python has makes its row unreadable, with its number; the others are records."""
    items = read(tmp_path / "t.parquet", pa.table({"n": [1, 2, 3], "at": column}))
    assert [type(item) for item in items] == [Record, Unreadable, Record]
    bad = items[1]
    assert isinstance(bad, Unreadable)
    assert (bad.line, bad.reason.partition(":")[0]) == (2, "holds a value that Python does not have")
    assert '"n":"2"' in bad.input
    assert [item.end for item in items] == [1, 2, 3]


def test_types_of_every_kind(tmp_path: Path) -> None:
    """Whatever a column holds, also inside maps, lists and structs, is written as JSON."""
    table = pa.table(
        {
            "map": pa.array([[("k", 1_705_023_015_000_000_000)], []], pa.map_(pa.string(), pa.timestamp("ns", "UTC"))),
            "deep": pa.array([[{"m": [(1, [1_000_000_001])]}], None], pa.list_(pa.struct([("m", pa.map_(pa.int8(), pa.list_(pa.duration("ns"))))]))),
            "fixed": pa.array([[1_000, 2_000], None], pa.list_(pa.time64("ns"), 2)),
            "large": pa.array([["a"], ["b"]], pa.large_list(pa.large_string())),
            "day": pa.array([date(2024, 1, 12), None], pa.date64()),
            "coded": pa.array([NOW, None], pa.timestamp("ns", "UTC")).dictionary_encode(),
            "cost": pa.array([Decimal("1.10"), Decimal("-0.01")], pa.decimal256(50, 2)),
            "raw": pa.array([b"\x00\xff", b""], pa.large_binary()),
            "f": pa.array([float("inf"), float("nan")]),
            "half": pa.array([1.5, None], pa.float32()),
            "wait": pa.array([timedelta(seconds=1), None], pa.duration("ns")),
            "none": pa.nulls(2),
        }
    )  # fmt: skip
    first, second = texts(read(tmp_path / "t.parquet", table))
    assert first["map"] == [["k", "2024-01-12T01:30:15Z"]]
    assert first["deep"] == [{"m": [[1, ["PT1S"]]]}]
    assert first["fixed"] == ["00:00:00.000001", "00:00:00.000002"]
    assert (first["day"], first["coded"], first["cost"], first["raw"]) == (
        "2024-01-12",
        "2024-01-12T01:30:15Z",
        "1.10",
        "AP8=",
    )
    assert (first["f"], second["f"], first["half"], first["wait"], first["none"]) == (
        "inf",
        "nan",
        1.5,
        "PT1S",
        None,
    )


def test_times_of_columns_become_ts(trail: Trail, tmp_path: Path) -> None:
    """Aware times, naive ones and days by --tz, and numbers by their unit are read as in JSON lines."""
    path = tmp_path / "t.parquet"
    columns: list[tuple[pa.Array, dict[str, Any], list[str]]] = [
        (pa.array([NOW], pa.timestamp("ns", "Asia/Tokyo")), {}, ["2024-01-12T01:30:15+00:00"]),
        (pa.array([NOW.replace(tzinfo=None)], pa.timestamp("ms")), {"tz": "Europe/Berlin"}, ["2024-01-12T00:30:15+00:00"]),
        (pa.array([date(2024, 1, 12)], pa.date32()), {"tz": "Europe/Berlin"}, ["2024-01-11T23:00:00+00:00"]),
        (pa.array([1_705_023_015_123]), {"ts_format": "ms"}, ["2024-01-12T01:30:15.123000+00:00"]),
        (pa.array(["2024-01-12T01:30:15Z"]), {}, ["2024-01-12T01:30:15+00:00"]),
    ]  # fmt: skip
    for number, (column, options, expected) in enumerate(columns):
        pq.write_table(pa.table({"ts": column, "action": [f"a{number}"]}), path)
        with open_input(path, "parquet") as source:
            assert import_records(trail, source, plan_mapping(**options)).events == 1
        found = trail.range(where={"action": f"a{number}"})["ts"].to_list()
        assert [moment.astimezone(UTC).isoformat() for moment in found] == expected


def test_a_missing_number_is_no_number(trail: Trail, tmp_path: Path) -> None:
    """NaN, by which data frames say that there is no value, stays in attrs and is no value of the event."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"ts": [NOW, NOW], "action": ["a", "b"], "value": [1.5, float("nan")]}), path)
    with open_input(path, "parquet") as source:
        assert import_records(trail, source, plan_mapping()).events == 2
    assert trail.range()["value"].to_list() == [1.5, None]
