"""Tiers: rows that claim what no store is, and Zarr whose digest is right and whose content is not."""

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.forge.place import Place
from tests.forge.trails import edit, put, rows_of, zstd_bomb

_LARGEST = (1 << 63) - 1
_DEEP = "[" * 100_000 + "]" * 100_000


def store_of(root: Path, number: int = 0) -> Path:
    """Return the store of a row of the catalog."""
    path: str = rows_of(root, "rollups")[number]["path"]
    return root / "rollups" / path


def files_of(store: Path) -> dict[str, bytes]:
    """Return the files of a store."""
    paths = (path for path in sorted(store.rglob("*")) if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in paths}


def put_store(root: Path, files: Mapping[str, bytes], **claims: object) -> None:
    """Let these be the files of the first store, with a row of the catalog that says what they are."""
    store, digest = store_of(root), hashlib.sha256()
    shutil.rmtree(store)
    for name, data in sorted(files.items()):
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(data)
    known = {"size_bytes": sum(map(len, files.values())), "sha256": digest.digest()}
    edit(root, "rollups", 0, **(known | claims))


def _file(name: str, data: bytes | None, place: Place) -> None:
    files = files_of(store_of(place.trail))
    if data is None:
        del files[name]
    else:
        files[name] = data
    put_store(place.trail, files)


def _field(array: str, fields: dict[str, object], place: Place) -> None:
    files = files_of(store_of(place.trail))
    name = f"{array}/zarr.json"
    files[name] = json.dumps({**json.loads(files[name]), **fields}).encode()
    put_store(place.trail, files)


def _largest(fill: bytes, place: Place) -> None:
    """Let a store have as many cells as one may, of a few bytes: rows, metadata and chunks agree."""
    buckets, series = 750, 10_000
    width = (1 << 20) // buckets
    files = files_of(store_of(place.trail))
    first = struct.unpack_from("<q", files["time/c.0"])[0]
    for name in list(files):
        if "/c." in name:
            del files[name]
    keys = ("action", "action_is_null", "outcome", "outcome_is_null")
    shapes = {"time": [buckets], "last_seq": [buckets], **{key: [series] for key in keys}}
    for array in ("count", "value_count", "sum", "min", "max", *shapes):
        shape = shapes.get(array, [buckets, series])
        chunk = shape if len(shape) == 1 else [buckets, width]
        said = json.loads(files[f"{array}/zarr.json"])
        said |= {"shape": shape, "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}}}
        files[f"{array}/zarr.json"] = json.dumps(said).encode()
        if len(shape) == 2 and fill:
            for number in range(-(-series // width)):
                files[f"{array}/c.0.{number}"] = zstd_bomb(buckets * width * 8, fill)
    hours = [first + 3_600_000_000 * number for number in range(buckets)]
    files["time/c.0"] = struct.pack(f"<{buckets}q", *hours)
    files["last_seq/c.0"] = struct.pack(f"<{buckets}q", *range(buckets))
    texts = [f"{number:05}".encode() for number in range(series)]
    packed = struct.pack("<I", series) + b"".join(struct.pack("<I", len(text)) + text for text in texts)
    for key in ("action", "outcome"):
        files[f"{key}/c.0"] = packed
        files[f"{key}_is_null/c.0"] = bytes(series)
    claims = {
        "buckets": buckets,
        "series": series,
        "end_us": hours[-1] + 3_600_000_000,
        "last_seq": buckets - 1,
        "events": buckets,
    }
    rows = rows_of(place.trail, "rollups")
    put(place.trail, "rollups", [row for row in rows if row["tier"] != "1h" or row is rows[0]])
    put_store(place.trail, files, **claims)


def _instead(name: str, make: Callable[[Path, Place], object], place: Place) -> None:
    """Put something else in the place of a file or folder of the first store."""
    path = store_of(place.trail) / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    make(path, place)


def _row(table: str, values: dict[str, object], place: Place) -> None:
    edit(place.trail, table, 0, **values)


def _other_names(place: Place) -> None:
    """Add what has not our names, and leftovers that have."""
    tier = store_of(place.trail).parent
    (tier / "notes").mkdir()
    (tier / "notes/todo.txt").write_text("not ours")
    (tier / "2026-11.77.zarr.tmp").symlink_to(place.outside)
    (tier / "2026-11.78.zarr").mkdir()
    (tier / "2026-11.78.zarr/count").symlink_to(place.outside)
    (tier.parent / "up").symlink_to(place.outside)


def _twice(place: Place) -> None:
    rows = rows_of(place.trail, "rollups")
    put(place.trail, "rollups", [*rows, rows[0]])


_CHUNK_GRID = {"name": "regular", "configuration": {"chunk_shape": [1 << 40, 1 << 20]}}
_FIELDS: dict[str, tuple[str, dict[str, object]]] = {
    "8 TB": ("count", {"shape": [1 << 20, 1 << 20], "chunk_grid": _CHUNK_GRID}),
    "negative shape": ("count", {"shape": [-1, -1]}),
    "shape of text": ("count", {"shape": "large"}),
    "shape of nothing": ("sum", {"shape": []}),
    "shape of floats": ("sum", {"shape": [1e300, 2]}),
    "deep shape": ("sum", {"shape": [[[[1]]]]}),
    "chunks": ("sum", {"chunk_grid": _CHUNK_GRID}),
    "objects": ("min", {"data_type": "object"}),
    "long text": ("action", {"data_type": "fixed_length_utf32"}),
    "pickles": ("max", {"codecs": [{"name": "numcodecs.pickle"}]}),
    "sharding": ("max", {"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 1]}}]}),
    "a group": ("time", {"node_type": "group"}),
    "format 2": ("time", {"zarr_format": 2}),
    "storage transformers": ("count", {"storage_transformers": [{"name": "evil"}]}),
    "attributes": ("count", {"attributes": {"units": "</script>\x1b[2J" * 1_000}}),
    "dimensions": ("count", {"dimension_names": ["time", "time"]}),
}
_FILES: dict[str, tuple[str, bytes | None]] = {
    "no root": ("zarr.json", None),
    "root of nothing": ("zarr.json", b""),
    "root deep": ("zarr.json", _DEEP.encode()),
    "no metadata": ("count/zarr.json", None),
    "metadata deep": ("count/zarr.json", _DEEP.encode()),
    "metadata of 60 MB": ("count/zarr.json", b"[" + b"[]," * 20_000_000 + b"[]]"),
    "metadata no JSON": ("sum/zarr.json", b"\xff\xfe"),
    "no chunk": ("count/c.0.0", None),
    "empty chunk": ("count/c.0.0", b""),
    "bomb": ("count/c.0.0", zstd_bomb(1 << 31)),
    "bomb of floats": ("sum/c.0.0", zstd_bomb(1 << 31, b"\x7f")),
    "zstd of unknown size": ("count/c.0.0", b"\x28\xb5\x2f\xfd\x00\x58" + b"\x01\x00\x00"),
    "zstd that says 10**8 GB": ("count/c.0.0", b"\x28\xb5\x2f\xfd\xc0\x58" + b"\xff" * 8 + b"\x01\x00\x00"),
    "no zstd": ("max/c.0.0", b"x" * 1_000),
    "more chunks": ("count/c.0.1", b"x"),
    "far chunks": ("count/c.99999.99999", b"x"),
    "times back": ("time/c.0", None),
    "texts beyond": ("action/c.0", struct.pack("<II", 3, (1 << 32) - 1)),
    "texts too many": ("action/c.0", struct.pack("<I", (1 << 32) - 1)),
    "no UTF-8": ("action/c.0", struct.pack("<I", 3) + struct.pack("<I", 1) * 3 + b"\xff\xff\xff"),
    "null flags": ("action_is_null/c.0", b"\x07" * 3),
    "seqs": ("last_seq/c.0", b"\xff" * 8),
}
_ROWS: dict[str, dict[str, object]] = {
    "path up": {"path": "../../outside/secret.1.zarr"},
    "path absolute": {"path": "/etc/2026-11.1.zarr"},
    "path of another tier": {"path": "days/2026-11.1.zarr"},
    "path with NUL": {"path": "1h/2026-11.1.zarr\0"},
    "no such tier": {"tier": "1w"},
    "keys no JSON": {"by": "{"},
    "keys deep": {"by": _DEEP},
    "keys of numbers": {"by": "[1,2]"},
    "keys unknown": {"by": '["action","outcome","colour"]'},
    "keys twice": {"by": '["action","outcome","action"]'},
    "keys missing": {"by": '["action"]'},
    "more keys": {"by": '["action","outcome","actor"]'},
    "first far": {"first_us": -(1 << 62)},
    "first behind the end": {"first_us": 1_900_000_000_000_000},
    "end far": {"end_us": _LARGEST},
    "buckets many": {"buckets": 1_500},
    "buckets too many": {"buckets": 1 << 40},
    "series many": {"series": 10_000},
    "series too many": {"series": 1 << 40},
    "cells too many": {"series": 10_000, "buckets": 1_500},
    "events many": {"events": _LARGEST},
    "last seq far": {"last_seq": _LARGEST},
    "bytes few": {"size_bytes": 1},
    "bytes many": {"size_bytes": 1 << 27},
    "bytes too many": {"size_bytes": 1 << 50},
    "another digest": {"sha256": b"x" * 32},
}
_TIERS: dict[str, dict[str, object]] = {
    "name up": {"name": "../../outside"},
    "name of escapes": {"name": "\x1b[2J"},
    "name auto": {"name": "auto"},
    "every second": {"every": "1s"},
    "every nothing": {"every": "0h"},
    "every back": {"every": "-1h"},
    "every 9999 years": {"every": "9999y"},
    "every microsecond": {"every": "1us"},
    "every no length": {"every": "often"},
    "every long": {"every": "9" * 100_000 + "h"},
    "keys no JSON": {"by": "]"},
    "keys deep": {"by": _DEEP},
    "keys of attrs": {"by": '["attrs"]'},
    "keys 100,000": {"by": json.dumps(["action"] * 100_000)},
    "zone up": {"tz": "../../../etc/passwd"},
    "zone unknown": {"tz": "Mars/Base"},
    "zone another": {"tz": "Asia/Kolkata"},
    "keep nothing": {"keep": "0d"},
    "keep 9999 years": {"keep": "9999y"},
    "keep 900 years": {"keep": "900y"},
    "from far": {"from_us": 7_289_654_399_999_999},
    "seq far": {"seq": _LARGEST},
}
_INSTEAD: dict[str, tuple[str, Callable[[Path, Place], object]]] = {
    "a link outside": ("count/c.0.0", lambda path, place: path.symlink_to(place.outside / "secret.txt")),
    "a FIFO": ("count/c.0.0", lambda path, _: os.mkfifo(path)),
    "a folder": ("count/c.0.0", lambda path, _: path.mkdir()),
    "a folder that leads outside": ("count", lambda path, place: path.symlink_to(place.outside)),
    "a file for a folder": (
        "count",
        lambda path, place: shutil.copyfile(place.trail / "catalog.sqlite", path),
    ),
    "metadata of a device": ("sum/zarr.json", lambda path, _: path.symlink_to("/dev/zero")),
    "a store that leads outside": (".", lambda path, place: path.symlink_to(place.outside)),
}

ROLLUP_CASES: dict[str, Callable[[Place], None]] = {
    **{f"zarr: {what}": partial(_field, array, fields) for what, (array, fields) in _FIELDS.items()},
    **{f"zarr: {what}": partial(_file, name, data) for what, (name, data) in _FILES.items()},
    **{f"zarr: {what}": partial(_instead, name, make) for what, (name, make) in _INSTEAD.items()},
    **{f"rollups: {what}": partial(_row, "rollups", values) for what, values in _ROWS.items()},
    **{f"tiers: {what}": partial(_row, "tiers", values) for what, values in _TIERS.items()},
    "zarr: as large as may be, of nothing": partial(_largest, b""),
    "zarr: as large as may be, a bomb of ones": partial(_largest, b"\x01"),
    "rollups: one twice": _twice,
    "rollups: no tiers": lambda place: put(place.trail, "tiers", []),
    "rollups: no folds": lambda place: put(place.trail, "folds", []),
    "folds: beyond": lambda place: edit(place.trail, "folds", 0, end_seq=_LARGEST),
    "folds: behind": lambda place: edit(place.trail, "folds", 0, end_seq=0),
    "folds: twice": lambda place: put(place.trail, "folds", rows_of(place.trail, "folds") * 2),
    "folds: dropped far": lambda place: edit(place.trail, "folds", 0, dropped_us=7_289_654_399_999_999),
    "rollups: names not ours": _other_names,
    "rollups: gone": lambda place: shutil.rmtree(place.trail / "rollups"),
}
