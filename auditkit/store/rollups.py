"""Rollups on disk: one Zarr v3 store for each tier and period, written whole under a fresh name and never changed.

A store holds a cube with the dimensions `time` and `series`.  Its variables are `count`, `value_count`, `sum`, `min` and
`max` (of `value`, NaN where no event has one); along `time` lie the start of each bucket and `last_seq`, the largest seq in
it; along `series` each key and `<key>_is_null`, as Zarr's text has no null.  Times and seqs of series are not compressed, so that
their bytes say how many they are.  xarray opens a store as it is.

zarr-python writes the format, into memory; publishing is done here: files, folders and a rename, each synced.  A reader
believes nothing: names, sizes and SHA-256 are held against the catalog, the metadata against what a store of that
many buckets and series has, and no buffer is larger than that.
"""

import hashlib
import json
import re
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import Numbers
from auditkit.disk.durable import Disk, write_temporary
from auditkit.disk.inside import is_there, names_in, read_file
from auditkit.disk.layout import TEMPORARY_SUFFIX, Layout, Modes
from auditkit.errors import CorruptionError
from auditkit.store.records import RollupRow

MEASURES: Mapping[str, str] = {
    "count": "<i8",
    "value_count": "<i8",
    "sum": "<f8",
    "min": "<f8",
    "max": "<f8",
}
"""The variables of a store, and how their numbers are stored."""
_TIME, _LAST_SEQ = "time", "last_seq"
IS_NULL = "_is_null"
_ALONG_SERIES = ("text", "|b1")
MEASURE_UNITS: Mapping[str, str] = {
    "count": "events",
    "value_count": "events with a value",
    **dict.fromkeys(("sum", "min", "max"), "as in value"),
}
_FILLS: Mapping[str, Any] = {"<i8": 0, "<f8": np.nan, "|b1": False, "text": ""}
MEASURE_FILLS: Mapping[str, Any] = {name: _FILLS[kind] for name, kind in MEASURES.items()}
"""What each variable has where there is no event, or none with a value."""
_ROOT = "zarr.json"
_ARRAY = re.compile(r"[a-z][a-z_]{0,63}")
_CHUNK = re.compile(r"c(?:\.[0-9]{1,5}){1,2}")
_LENGTH = struct.Struct("<I")
_METADATA_BYTES = 256 * 1024
_CHUNK_CELLS = 1 << 20
_MOST_KEPT_BYTES = 8 * 1024 * 1024
_MOST_HELD_BYTES = 64 * 1024 * 1024
"""A decoded measure up to the first bound is kept, and stores as long as all of them together keep to the second."""
_LEVEL = 3


class Cube(Struct, frozen=True, kw_only=True):
    """What a period holds of a tier: for each bucket and series how many events there are, and what is known of their values."""

    starts: Numbers
    """The start of each bucket, ascending, in microseconds since 1970 UTC."""
    last_seqs: Numbers
    """The largest seq in each bucket, -1 where there is none."""
    series: pl.DataFrame
    """The keys of each series, as text; a row each, in order."""
    measures: Mapping[str, Numbers]
    """`MEASURES`, each of shape (buckets, series)."""

    def measure(self, name: str) -> Numbers:
        """Return a measure."""
        return self.measures[name]


def cube_of(cells: pl.DataFrame, keys: Sequence[str], starts: Numbers) -> Cube:
    """Return the cube of cells (`start`, the keys, `MEASURES`, `last_seq`), all of which lie in buckets of these starts."""
    series = cells.select(keys).unique().sort(keys, nulls_last=True) if keys else pl.DataFrame()
    places = _places(cells.select(keys), series, keys) if keys else np.zeros(cells.height, dtype=np.int64)
    buckets = np.searchsorted(starts, cells["start"].to_numpy())
    shape, measures = (len(starts), max(1, series.height)), {}
    for name, kind in MEASURES.items():
        grid = np.full(shape, 0 if kind == "<i8" else np.nan, dtype=kind)
        grid[buckets, places] = cells[name].fill_null(0 if kind == "<i8" else float("nan")).to_numpy()
        measures[name] = grid
    last_seqs = np.full(len(starts), -1, dtype="<i8")
    np.maximum.at(last_seqs, buckets, cells["last_seq"].to_numpy())
    return Cube(starts=starts, last_seqs=last_seqs, series=series, measures=measures)


def put_together(parts: "Sequence[Cube | StoredCube]", keys: Sequence[str], starts: Numbers) -> Cube:
    """Return one cube of these buckets and keys, each of which all parts have; buckets of parts that are not asked for are left out.

    Series that differ in other keys alone are added up.
    """
    series = pl.DataFrame()
    if keys:
        series = pl.concat([part.series.select(keys) for part in parts]).unique().sort(keys, nulls_last=True)
    places = [_places(part.series, series, keys) for part in parts]
    inside = [np.isin(part.starts, starts) for part in parts]
    rows = [np.searchsorted(starts, part.starts[at]) for part, at in zip(parts, inside, strict=True)]
    measures, last_seqs = {}, np.full(len(starts), -1, dtype="<i8")
    for part, at, row in zip(parts, inside, rows, strict=True):
        np.maximum.at(last_seqs, row, part.last_seqs[at])
    for name, kind in MEASURES.items():
        grid = np.full((len(starts), max(1, series.height)), MEASURE_FILLS[name], dtype=kind)
        for part, at, row, columns in zip(parts, inside, rows, places, strict=True):
            found, width = part.measure(name), max(1, _CHUNK_CELLS // len(part.starts))
            for begin in range(
                0, len(columns), width
            ):  # adding takes memory for what is added at once, several times
                some = slice(begin, begin + width)
                _add(name, grid, row, columns[some], found[:, some][at])
        measures[name] = grid
    return Cube(starts=starts, last_seqs=last_seqs, series=series, measures=measures)


def _add(name: str, grid: Numbers, rows: Numbers, columns: Numbers, found: Numbers) -> None:
    """Add a measure to a larger grid, at these rows and columns; a column may come more than once."""
    _, firsts, counts = np.unique(columns, return_index=True, return_counts=True)
    rounds = [firsts] if (counts == 1).all() else [[number] for number in range(len(columns))]
    for chosen in rounds:
        at, part = np.ix_(rows, columns[chosen]), found[:, chosen]
        if name == "sum":
            grid[at] = np.where(np.isnan(part), grid[at], np.nan_to_num(grid[at]) + part)
        else:
            grid[at] = {"min": np.fmin, "max": np.fmax}.get(name, np.add)(grid[at], part)


def _places(series: pl.DataFrame, among: pl.DataFrame, keys: Sequence[str]) -> Numbers:
    """Return for each series its place among others, by these keys."""
    if not keys:
        return np.zeros(max(1, series.height), dtype=np.int64)
    numbered = among.with_row_index("\0place")
    found = series.select(keys).join(
        numbered, on=list(keys), how="left", nulls_equal=True, maintain_order="left"
    )
    return found["\0place"].to_numpy().astype(np.int64)


# Writing


def encode_cube(cube: Cube, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of the Zarr store of a cube, by their names in it."""
    # zarr takes a fifth of a second to import, and only who folds needs it.
    import zarr
    from zarr.codecs import ZstdCodec
    from zarr.core.buffer import Buffer
    from zarr.storage import MemoryStore

    files: dict[str, Buffer] = {}
    coordinates = " ".join(
        [_LAST_SEQ, *(name for name, kind in _arrays(cube.series.columns) if kind in _ALONG_SERIES)]
    )
    group = zarr.create_group(MemoryStore(files), attributes={**attributes, "coordinates": coordinates})
    for name, kind in _arrays(cube.series.columns):
        data = _data(cube, name, kind)
        is_grid = name in MEASURES
        array = group.create_array(
            name,
            shape=data.shape,
            dtype=str if kind == "text" else kind,
            chunks=_chunks(data.shape),
            compressors=ZstdCodec(level=_LEVEL) if is_grid else None,
            fill_value=_FILLS[kind],
            dimension_names=_dimensions(name),
            chunk_key_encoding={"name": "default", "separator": "."},
            attributes=_attributes(name),
            config={"write_empty_chunks": not is_grid},
        )
        array[...] = data
    return _consolidated({name: data.to_bytes() for name, data in files.items()})


def _data(cube: Cube, name: str, kind: str) -> Numbers:
    if name in MEASURES:
        return cube.measures[name]
    if name in (_TIME, _LAST_SEQ):
        return cube.starts if name == _TIME else cube.last_seqs
    if kind == "text":
        return np.array(cube.series[name].fill_null("").to_list(), dtype=object)
    return cube.series[name.removesuffix(IS_NULL)].is_null().to_numpy()


def _attributes(name: str) -> dict[str, Any]:
    if name == _TIME:
        return {"units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian"}
    return {"units": MEASURE_UNITS[name]} if name in MEASURES else {}


def _consolidated(files: dict[str, bytes]) -> dict[str, bytes]:
    """Add to the root what xarray looks for: the metadata of all arrays, as zarr-python itself would, which warns at it."""
    arrays = {
        name.removesuffix(f"/{_ROOT}"): json.loads(data)
        for name, data in files.items()
        if name.endswith(f"/{_ROOT}")
    }
    root = json.loads(files[_ROOT])
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": arrays}
    return {**files, _ROOT: json.dumps(root).encode()}


def digest_of(files: Mapping[str, bytes]) -> bytes:
    """Return the SHA-256 that the catalog keeps of a store: of the names and bytes of its files, in order."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.digest()


def publish_store(disk: Disk, layout: Layout, modes: Modes, path: str, files: Mapping[str, bytes]) -> None:
    """Write the files of a store and give it its name; the caller holds the maintenance lock.

    On return bytes and names are durable.  If it raises, a folder with a temporary name may remain, or one that the
    catalog does not name: `remove_store` takes both.
    """
    target = layout.rollup_store(path)
    temporary = target.with_name(f"{target.name}{TEMPORARY_SUFFIX}")
    for left in (temporary, target):
        remove_store(disk, layout, left)
    folders = sorted({temporary / Path(name).parent for name in files}, reverse=True)
    for folder in (layout.rollups, target.parent, temporary, *folders[:-1]):
        disk.make_directory(folder, modes.directory)
    for name, data in files.items():
        write_temporary(disk, temporary / name, data, modes.file)
    for folder in folders:
        disk.sync_directory(folder)
    disk.rename(temporary, target)
    for folder in (target.parent, layout.rollups, layout.root):
        disk.sync_directory(folder)


def remove_store(disk: Disk, layout: Layout, store: Path) -> None:
    """Remove a store, or what is left of one, under a temporary name first: a reader finds all of it or nothing.

    Files that are not ours stay, and the folders they lie in.
    """
    if not is_there(store):
        return
    if store.suffix != TEMPORARY_SUFFIX:
        temporary = store.with_name(f"{store.name}{TEMPORARY_SUFFIX}")
        remove_store(disk, layout, temporary)
        disk.rename(store, temporary)
        store = temporary
    for name in names_in(store, layout.root):
        if _ARRAY.fullmatch(name):
            for inner in names_in(store / name, layout.root):
                if inner == _ROOT or _CHUNK.fullmatch(inner):
                    disk.unlink(store / name / inner)
            disk.remove_directory_if_empty(store / name)
        elif name == _ROOT:
            disk.unlink(store / name)
    disk.remove_directory_if_empty(store)


# Reading


class StoredCube:
    """A store whose bytes are those that the catalog names; numbers are decoded when they are asked for."""

    def __init__(self, layout: Layout, row: RollupRow) -> None:
        self.row = row
        self._path = layout.rollup_store(row.path)
        self._files = read_store(layout, row)
        self._decoded: dict[str, Numbers] = {}
        with self._explained():
            for name, kind in _arrays(row.keys):
                self._check(name, kind)
            self.starts: Numbers = self._numbers(_TIME, "<i8")
            self.last_seqs: Numbers = self._numbers(_LAST_SEQ, "<i8")
            self.series = pl.DataFrame([self._texts(key) for key in row.keys])
            self._check_bounds()

    @property
    def held_bytes(self) -> int:
        """How much memory it takes."""
        return self.row.size_bytes + sum(int(grid.nbytes) for grid in self._decoded.values())

    def measure(self, name: str) -> Numbers:
        """Return a measure, of shape (buckets, series); it is kept for the next time unless it is large."""
        known = self._decoded.get(name)
        if known is None:
            known = self._decode(name)
            if known.nbytes <= _MOST_KEPT_BYTES:
                self._decoded[name] = known
        return known

    def _decode(self, name: str) -> Numbers:
        with self._explained():
            found: Numbers = np.full(self._shape(name), _FILLS[MEASURES[name]], dtype=MEASURES[name])
            height, width = _chunks(found.shape)
            for number in range(-(-found.shape[1] // width)):
                packed = self._files.get(f"{name}/c.0.{number}")
                if packed is not None:  # else nothing but the fill value
                    size = height * width * found.itemsize
                    octets = pa.decompress(packed, decompressed_size=size, codec="zstd", asbytes=True)
                    grid = np.frombuffer(octets, dtype=found.dtype).reshape(height, width)
                    part = found[:, number * width : (number + 1) * width]
                    part[...] = grid[:, : part.shape[1]]
            if name == "count" and np.count_nonzero(found) > self.row.events:
                raise ValueError("count: more cells than events")
            return found

    def _shape(self, name: str) -> tuple[int, ...]:
        lengths = {"time": self.row.buckets, "series": self.row.series}
        return tuple(lengths[dimension] for dimension in _dimensions(name))

    def _check(self, name: str, kind: str) -> None:
        """Hold what an array says of itself against what it must be."""
        said = msgspec.json.decode(self._files[f"{name}/{_ROOT}"], type=dict[str, Any])
        for field, expected in _metadata(name, kind, self._shape(name)).items():
            if said.get(field) != expected:
                raise ValueError(f"{name}: {field} is not what the catalog says")

    def _numbers(self, name: str, kind: str) -> Numbers:
        data = self._files[f"{name}/c.0"]
        (length,) = self._shape(name)
        if len(data) != length * np.dtype(kind).itemsize:
            raise ValueError(f"{name}: expected {length} values in {len(data)} bytes")
        return np.frombuffer(data, dtype=kind)

    def _texts(self, key: str) -> pl.Series:
        data, at = self._files[f"{key}/c.0"], 4
        (length,) = self._shape(key)
        if _LENGTH.unpack_from(data)[0] != length:
            raise ValueError(f"{key}: expected {length} values")
        is_null, texts = self._numbers(f"{key}{IS_NULL}", "|u1"), list[str | None]()
        for null in is_null.tolist():
            (size,) = _LENGTH.unpack_from(data, at)
            at += 4 + size
            if at > len(data):
                raise ValueError(f"{key}: ends before its last value")
            texts.append(None if null else data[at - size : at].decode())
        return pl.Series(key, texts, dtype=pl.String)

    def _check_bounds(self) -> None:
        ascending = (np.diff(self.starts) > 0).all()
        if not ascending or self.starts[0] != self.row.first_us or self.starts[-1] >= self.row.end_us:
            raise ValueError("time: not what the catalog says")
        if self.last_seqs.max() != self.row.last_seq or self.last_seqs.min() < -1:
            raise ValueError("last_seq: not what the catalog says")
        if self.series.height and self.series.is_duplicated().any():
            raise ValueError("series: one comes twice")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what is raised where bytes make no sense into what it means: the store was written wrongly."""
        try:
            yield
        except (
            pa.ArrowException,
            OSError,
            ValueError,
            KeyError,
            IndexError,
            struct.error,
            RecursionError,
        ) as exc:
            if isinstance(exc, CorruptionError):
                raise
            raise CorruptionError(self._path, offset=None, reason=f"rollup does not read: {exc}") from exc


class Cubes:
    """The stores that were read last, for who asks again."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, StoredCube] = OrderedDict()  # guarded by _lock

    def open(self, row: RollupRow) -> StoredCube:
        """Return a store; raises `FileNotFoundError` where it is gone, and `CorruptionError`."""
        with self._lock:
            cube = self._known.pop(row.sha256, None)
        if cube is None or cube.row != row:
            cube = StoredCube(self._layout, row)
        with self._lock:
            self._known[row.sha256] = cube
            while (
                len(self._known) > 1
                and sum(one.held_bytes for one in self._known.values()) > _MOST_HELD_BYTES
            ):
                self._known.popitem(last=False)
        return cube


def read_store(layout: Layout, row: RollupRow) -> dict[str, bytes]:
    """Return the files of a store by name, once it is certain that they are those that were written.

    Raises `FileNotFoundError` where it is gone, as another generation has taken its place.
    """
    store, left = layout.rollup_store(row.path), row.size_bytes
    names = [_ROOT]
    for array, _ in _arrays(row.keys):
        names += [
            f"{array}/{name}"
            for name in names_in(store / array, layout.root)
            if name == _ROOT or _CHUNK.fullmatch(name)
        ]
    files = {}
    for name in names:
        most = min(left, _METADATA_BYTES) if name.endswith(_ROOT) else left
        files[name] = read_file(store / name, layout.root, most=most)
        left -= len(files[name])
    if left or digest_of(files) != row.sha256:
        raise CorruptionError(store, offset=None, reason="digest differs from the catalog's")
    return files


def _arrays(keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and kind of each array of a store."""
    yield from MEASURES.items()
    yield _TIME, "<i8"
    yield _LAST_SEQ, "<i8"
    for key in keys:
        yield key, "text"
        yield f"{key}{IS_NULL}", "|b1"


def _dimensions(name: str) -> tuple[str, ...]:
    return (
        ("time", "series") if name in MEASURES else ("time",) if name in (_TIME, _LAST_SEQ) else ("series",)
    )


def _chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a chunk: all of time, and of many series some."""
    return (shape[0], *(max(1, min(width, _CHUNK_CELLS // shape[0])) for width in shape[1:]))


def _metadata(name: str, kind: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what an array's metadata must say for its bytes to be read."""
    codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    if kind == "text":
        codecs = [{"name": "vlen-utf8", "configuration": {}}]
    elif kind == "|b1":
        codecs = [{"name": "bytes"}]
    if name in MEASURES:
        codecs.append({"name": "zstd", "configuration": {"level": _LEVEL, "checksum": False}})
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": {"<i8": "int64", "<f8": "float64", "|b1": "bool", "text": "string"}[kind],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(_chunks(shape))}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": "NaN" if kind == "<f8" else _FILLS[kind],
        "codecs": codecs,
        "dimension_names": list(_dimensions(name)),
    }
