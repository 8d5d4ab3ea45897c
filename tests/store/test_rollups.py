"""Stores of rollups: what xarray and zarr find in one, and that nothing but what was written is read from it."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import zarr
from msgspec.structs import replace
from polars.testing import assert_frame_equal

from auditkit.disk.durable import PosixDisk
from auditkit.disk.layout import Layout, modes_for
from auditkit.errors import CorruptionError
from auditkit.store.records import RollupRow
from auditkit.store.rollups import (
    StoredCube,
    cube_of,
    digest_of,
    encode_cube,
    publish_store,
    read_store,
    remove_store,
)
from auditkit.store.tiers import declare_tier

HOUR_US = 3_600_000_000
FIRST_US = 1_795_996_800_000_000  # 2026-11-30
PATH = "1h/2026-11.1.zarr"
MODES = modes_for(None)


def cells(keys: Sequence[str], values: Sequence[float | None] = (1.5, None, -2.0, None)) -> pl.DataFrame:
    """Return four cells in three buckets, with an empty key, a null one, and one that is no ASCII."""
    texts = {"action": ["", None, "çağla", "a"], "outcome": [None, None, "x", ""]}
    return pl.DataFrame(
        {
            "start": [FIRST_US, FIRST_US, FIRST_US + HOUR_US, FIRST_US + 3 * HOUR_US],
            **{key: pl.Series(texts[key], dtype=pl.String) for key in keys},
            "count": [3, 1, 2, 4],
            "value_count": [0 if value is None else 1 for value in values],
            "sum": pl.Series(values, dtype=pl.Float64),
            "min": pl.Series(values, dtype=pl.Float64),
            "max": pl.Series(values, dtype=pl.Float64),
            "last_seq": [7, 9, 4, 11],
        }
    )


def cells_of(cube: StoredCube) -> pl.DataFrame:
    """Return the cells of a store that hold events."""
    buckets, places = np.nonzero(cube.measure("count"))
    names = ("count", "value_count", "sum", "min", "max")
    columns = [
        pl.Series("start", cube.starts[buckets]),
        *(column.gather(places) for column in cube.series.iter_columns()),
        *(pl.Series(name, cube.measure(name)[buckets, places]) for name in names),
        pl.Series("last_seq", cube.last_seqs[buckets]),
    ]
    return pl.DataFrame(columns).with_columns(pl.col("sum", "min", "max").fill_nan(None))


def written(
    root: Path, given: pl.DataFrame, keys: Sequence[str], files: Mapping[str, bytes] | None = None
) -> RollupRow:
    """Publish cells as a store and return its row; `files` is written in place of what they make."""
    starts = np.arange(FIRST_US, FIRST_US + 4 * HOUR_US, HOUR_US)
    cube = cube_of(given, keys, starts)
    files = encode_cube(cube, {"tz": "UTC"}) if files is None else files
    publish_store(PosixDisk(root), Layout(root), MODES, PATH, files)
    return RollupRow(
        path=PATH,
        tier="1h",
        by=json.dumps(list(keys)),
        first_us=FIRST_US,
        end_us=FIRST_US + 4 * HOUR_US,
        buckets=4,
        series=max(1, cube.series.height),
        events=10,
        last_seq=11,
        size_bytes=sum(map(len, files.values())),
        sha256=digest_of(files),
    )


KINDS = [(), ("action",), ("action", "outcome")]


@pytest.mark.parametrize("keys", KINDS)
@pytest.mark.parametrize("values", [(1.5, None, -2.0, None), (None, None, None, None)])
def test_what_was_written_is_read(
    tmp_path: Path, keys: Sequence[str], values: Sequence[float | None]
) -> None:
    """Null keys, empty ones, cells without values and stores without any value come back as they were."""
    given = cells(keys, values) if keys else cells(keys, values)[1:]
    row = written(tmp_path, given, keys)
    found = cells_of(StoredCube(Layout(tmp_path), row))
    order = ["start", *keys]
    expected = given.with_columns(last_seq=pl.col("last_seq").max().over("start"))
    assert_frame_equal(found.sort(order), expected.sort(order))


@pytest.mark.parametrize("keys", KINDS)
def test_xarray_opens_a_store_as_it_is(tmp_path: Path, keys: Sequence[str]) -> None:
    """One key, several, none, null keys, no values: with dimensions, coordinates, times and attributes, without a warning."""
    xarray = pytest.importorskip("xarray")
    written(tmp_path, cells(keys)[1:], keys)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(tmp_path / "rollups" / PATH).load()
    assert dict(dataset.sizes) == {"time": 4, "series": max(1, len(set(cells(keys)[1:].select(keys).rows())))}
    assert list(dataset.data_vars) == ["count", "value_count", "sum", "min", "max"]
    assert int(dataset["count"].sum()) == 7
    assert dataset.attrs["tz"] == "UTC"
    assert dataset["count"].attrs["units"] == "events"
    assert str(dataset["time"].values[1]) == "2026-11-30T01:00:00.000000000"
    assert {*dataset.coords} == {"time", "last_seq", *keys, *(f"{key}_is_null" for key in keys)}
    for key in keys:
        texts = [
            None if null else text
            for text, null in zip(dataset[key].values, dataset[f"{key}_is_null"].values, strict=True)
        ]
        assert set(texts) == set(cells(keys)[1:][key])


def test_zarr_reads_what_our_reader_reads(tmp_path: Path) -> None:
    """Every array, of more series than one chunk holds, is what zarr-python makes of it."""
    many = pl.DataFrame(
        {"start": [FIRST_US] * 1_100, "action": [f"a{n}" for n in range(1_100)]}
    ).with_columns(
        count=pl.int_range(1, 1_101),
        value_count=pl.lit(1),
        sum=pl.lit(0.5),
        min=pl.lit(0.5),
        max=pl.lit(0.5),
        last_seq=pl.int_range(1_100),
    )
    starts = np.arange(FIRST_US, FIRST_US + 1_200 * HOUR_US, HOUR_US)
    cube = cube_of(many, ["action"], starts)
    files = encode_cube(cube, {})
    assert {"count/c.0.0", "count/c.0.1"} <= files.keys()
    row = replace(
        written(tmp_path, many, ["action"], files),
        buckets=1_200,
        series=1_100,
        last_seq=1_099,
        end_us=int(starts[-1]) + HOUR_US,
        events=605_550,
    )
    stored = StoredCube(Layout(tmp_path), row)
    group: Any = zarr.open_group(tmp_path / "rollups" / PATH, mode="r")
    for name in ("count", "value_count", "sum", "min", "max"):
        np.testing.assert_array_equal(stored.measure(name), group[name][...])
    assert stored.series["action"].to_list() == list(group["action"][...])
    np.testing.assert_array_equal(stored.last_seqs, group["last_seq"][...])


def damages() -> Iterator[tuple[str, str, Any]]:
    """Yield file, field and value of metadata that claims what the catalog does not say."""
    yield "count/zarr.json", "shape", [1 << 20, 1 << 20]
    yield "count/zarr.json", "shape", [4, 1 << 40]
    yield (
        "sum/zarr.json",
        "chunk_grid",
        {"name": "regular", "configuration": {"chunk_shape": [1 << 30, 1 << 12]}},
    )
    yield "action/zarr.json", "shape", [1 << 40]
    yield "min/zarr.json", "data_type", "float32"
    yield "max/zarr.json", "codecs", [{"name": "bytes", "configuration": {"endian": "little"}}]
    yield "time/zarr.json", "node_type", "group"


@pytest.mark.parametrize(("file", "field", "value"), list(damages()))
def test_metadata_that_claims_more_than_the_catalog_is_corruption(
    tmp_path: Path, file: str, field: str, value: Any
) -> None:
    """A store whose digest is right and whose claims are not is refused before memory is taken for it."""
    cube = cube_of(cells(["action"]), ["action"], np.arange(FIRST_US, FIRST_US + 4 * HOUR_US, HOUR_US))
    files = encode_cube(cube, {})
    files[file] = json.dumps({**json.loads(files[file]), field: value}).encode()
    row = written(tmp_path, cells(["action"]), ["action"], files)
    with pytest.raises(CorruptionError, match=f"{field} is not what the catalog says"):
        StoredCube(Layout(tmp_path), row)


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("count/c.0.0", b""),
        ("count/c.0.0", pa.compress(bytes(1 << 24), codec="zstd", asbytes=True)),
        ("count/c.0.0", b"\x28\xb5\x2f\xfd" + b"\xff" * 20),
        ("action/c.0", b"\xff\xff\xff\xff"),
        ("action/c.0", b"\x04\x00\x00\x00\xff\xff\xff\x7f"),
        ("action/c.0", b"\x04\x00\x00\x00" + b"\x01\x00\x00\x00\xff" * 4),
        ("time/c.0", b"\0" * 32),
        ("time/c.0", b"\0" * 31),
        ("last_seq/c.0", b"\x7f" * 32),
        ("action_is_null/c.0", b"\0"),
        ("action/zarr.json", b"[" * 100_000),
        ("action/zarr.json", b"null"),
    ],
)
def test_bytes_that_make_no_sense_are_corruption(tmp_path: Path, file: str, data: bytes) -> None:
    """Chunks that are too long, too short, no zstd or no text end in a `CorruptionError` that names the store."""
    cube = cube_of(cells(["action"]), ["action"], np.arange(FIRST_US, FIRST_US + 4 * HOUR_US, HOUR_US))
    files = encode_cube(cube, {})
    files[file] = data
    row = written(tmp_path, cells(["action"]), ["action"], files)
    with pytest.raises(CorruptionError, match=r"2026-11\.1\.zarr.*does not read"):
        StoredCube(Layout(tmp_path), row).measure("count")


@pytest.mark.parametrize("damage", ["flip", "cut", "drop", "add"])
def test_other_bytes_than_the_catalog_names_are_corruption(tmp_path: Path, damage: str) -> None:
    """A flipped bit, a shorter file, a missing and an added chunk are found by the digest."""
    row = written(tmp_path, cells(["action"]), ["action"])
    chunk = tmp_path / "rollups" / PATH / "count/c.0.0"
    data = chunk.read_bytes()
    match damage:
        case "flip":
            chunk.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        case "cut":
            chunk.write_bytes(data[:-1])
        case "drop":
            chunk.unlink()
        case "add":
            chunk.with_name("c.0.1").write_bytes(b"")
    with pytest.raises(CorruptionError, match="digest differs"):
        read_store(Layout(tmp_path), row)


def test_a_store_that_is_gone_is_missing_and_a_larger_one_is_not_read(tmp_path: Path) -> None:
    """A reader that comes too late plans anew; more bytes than the catalog names are refused before they are read."""
    row = written(tmp_path, cells(["action"]), ["action"])
    with pytest.raises(CorruptionError, match="too large"):
        read_store(Layout(tmp_path), replace(row, size_bytes=1_000))
    remove_store(PosixDisk(tmp_path), Layout(tmp_path), tmp_path / "rollups" / PATH)
    assert list((tmp_path / "rollups/1h").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        read_store(Layout(tmp_path), row)


def test_removing_takes_nothing_that_is_not_ours(tmp_path: Path) -> None:
    """A stranger's file in a store stays, and so does what a link leads to."""
    written(tmp_path, cells(["action"]), ["action"])
    store = tmp_path / "rollups" / PATH
    (store / "count/notes.txt").write_text("keep me")
    remove_store(PosixDisk(tmp_path), Layout(tmp_path), store)
    assert [path.name for path in (tmp_path / "rollups").rglob("*") if path.is_file()] == ["notes.txt"]


def test_what_a_dead_writer_left_is_written_over(tmp_path: Path) -> None:
    """A half-written store under the temporary name is removed before another is written."""
    left = tmp_path / "rollups" / f"{PATH}.tmp"
    (left / "count").mkdir(parents=True)
    (left / "count/c.0.0").write_bytes(b"half")
    row = written(tmp_path, cells(["action"]), ["action"])
    assert read_store(Layout(tmp_path), row)
    assert Layout(tmp_path).rollup_stores() == [PATH]


def test_tiers_put_their_buckets_into_periods() -> None:
    """Days, months or years by the length of a bucket, on the wall clock of the tier's zone."""
    late = FIRST_US + 23 * HOUR_US + HOUR_US // 2  # 2026-11-30 23:30 UTC, December in Stockholm
    expected = {
        "1m": "2026-12-01",
        "1h": "2026-12",
        "6h": "2026-12",
        "1d": "2026",
        "1w": "2026",
        "1mo": "2026",
    }
    for every, period in expected.items():
        tier = declare_tier(every, [], name=None, tz="Europe/Stockholm", keep=None)
        assert tier.period_of(late) == period
        assert tier.end_of(tier.start_of(late)) > late >= tier.start_of(late)
