"""A tier as one xarray Dataset: the stores of all its periods, their series put side by side by their keys."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from auditkit.arrow import Numbers
from auditkit.errors import AuditError, InvalidQueryError
from auditkit.memory import available_memory
from auditkit.store.files import retrying
from auditkit.store.rollups import IS_NULL, MEASURE_FILLS, MEASURE_UNITS, MEASURES, StoredCube
from auditkit.text import size
from auditkit.timerange import TimeRange
from auditkit.trail.snapshot import Snapshot
from auditkit.trail.view import View, window_and_now

try:
    import xarray
except ModuleNotFoundError as exc:
    missing = AuditError("tier: xarray, which it is given as, is not installed")
    missing.add_note("install it: pip install '.[xarray]', or auditkit-trail[xarray]")
    raise missing from exc

_MOST_SHARE = 0.5


def tier(view: View, name: str, start: object, end: object) -> Any:
    """See `Trail.tier`."""
    window, _ = window_and_now(view, start, end, None)
    return retrying(lambda: _dataset(view, view.snapshot(), name, window))


def _dataset(view: View, snapshot: Snapshot, name: str, window: TimeRange) -> Any:
    tier = snapshot.tiers.get(name)
    if tier is None:
        error = InvalidQueryError("name", name, "is no tier of this trail")
        error.add_note(f"tiers: {', '.join(snapshot.tiers) or 'none; declare one with trail.rollup'}")
        raise error
    first_us = tier.first_kept_us(snapshot.horizon_us)
    shown = window.intersection(TimeRange(start_us=first_us, end_us=None))
    rows = [
        row
        for row in snapshot.catalog.rollups
        if row.tier == name and shown.overlaps(row.first_us, row.end_us - 1)
    ]
    cubes = [view.handle.reader.cubes.open(row) for row in sorted(rows, key=lambda row: row.first_us)]
    chosen = [_buckets(cube, shown, snapshot.as_of) for cube in cubes]
    together = (
        pl.concat([cube.series.select(tier.keys) for cube in cubes])
        if tier.keys and cubes
        else pl.DataFrame()
    )
    series = together.unique().sort(tier.keys, nulls_last=True) if tier.keys else together
    shape = (sum(map(len, chosen)), series.height if tier.keys else min(1, len(cubes)))
    _check_fits(shape, name)
    places = [_places(cube, series, tier.keys) for cube in cubes]
    starts = np.concatenate(
        [np.empty(0, "<i8"), *(cube.starts[at] for cube, at in zip(cubes, chosen, strict=True))]
    )
    data = {
        measure: (
            ("time", "series"),
            _grid(measure, shape, cubes, chosen, places),
            {"units": MEASURE_UNITS[measure]},
        )
        for measure in MEASURES
    }
    coordinates: dict[str, Any] = {"time": ("time", starts.astype("datetime64[us]").astype("datetime64[ns]"))}
    for key in tier.keys:
        texts = series[key] if series.width else pl.Series(key, [], dtype=pl.String)
        coordinates[key] = ("series", np.array(texts.fill_null("").to_list(), dtype=object))
        coordinates[f"{key}{IS_NULL}"] = ("series", texts.is_null().to_numpy())
    attrs = {"tier": name, "every": tier.every.text, "keys": list(tier.keys), "tz": tier.tz}
    return xarray.Dataset(data, coordinates, {**attrs, "folded_seq": snapshot.catalog.folded_of(name)})


def _buckets(cube: StoredCube, shown: TimeRange, as_of: int) -> Numbers:
    """Return which buckets of a cube are shown: those that start in the window, and hold no event after the view."""
    inside = cube.last_seqs < as_of
    if shown.start_us is not None:
        inside &= cube.starts >= shown.start_us
    if shown.end_us is not None:
        inside &= cube.starts < shown.end_us
    return np.flatnonzero(inside)


def _places(cube: StoredCube, series: pl.DataFrame, keys: Sequence[str]) -> Numbers:
    """Return for each series of a cube its place among all series."""
    if not keys:
        return np.zeros(1, dtype=np.int64)
    numbered = series.with_row_index("\0place")
    found = cube.series.join(numbered, on=list(keys), how="left", nulls_equal=True, maintain_order="left")
    return found["\0place"].to_numpy().astype(np.int64)


def _grid(
    measure: str,
    shape: tuple[int, int],
    cubes: Sequence[StoredCube],
    chosen: Sequence[Numbers],
    places: Sequence[Numbers],
) -> Numbers:
    """Return a measure over all periods; series of a period that a tier of fewer keys has as one are added up."""
    grid: Numbers = np.full(shape, MEASURE_FILLS[measure], dtype=MEASURES[measure])
    joins: dict[str, Callable[[Numbers, Numbers], Numbers]] = {"min": np.fmin, "max": np.fmax, "sum": _added}
    join = joins.get(measure, np.add)
    first = 0
    for cube, at, columns in zip(cubes, chosen, places, strict=True):
        found = cube.measure(measure)[at]
        part = grid[first : first + len(at)]
        if len(np.unique(columns)) == len(columns):
            part[:, columns] = found
        else:
            for number, column in enumerate(columns):
                part[:, column] = join(part[:, column], found[:, number])
        first += len(at)
    return grid


def _added(first: Numbers, second: Numbers) -> Numbers:
    """Return sums, where NaN is no value."""
    return np.where(np.isnan(first), second, first + np.nan_to_num(second))


def _check_fits(shape: tuple[int, int], name: str) -> None:
    """Refuse what would take more than `_MOST_SHARE` of the memory that is there."""
    needed, available = 8 * len(MEASURES) * shape[0] * shape[1], available_memory()
    if needed > available * _MOST_SHARE:
        reason = f"would take about {size(needed)} of memory, of which {size(available)} are there"
        error = InvalidQueryError("tier", name, reason)
        error.add_note("ask for a narrower window: trail.tier(name, start, end)")
        raise error
