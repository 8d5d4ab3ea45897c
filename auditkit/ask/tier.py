"""A tier as one xarray Dataset: the stores of all its periods, their series put side by side by their keys."""

from typing import Any

import numpy as np
import polars as pl

from auditkit.arrow import Numbers
from auditkit.errors import AuditError, InvalidQueryError
from auditkit.memory import available_memory
from auditkit.store.files import retrying
from auditkit.store.rollups import IS_NULL, MEASURE_UNITS, MEASURES, StoredCube, put_together
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
    chosen = [np.empty(0, "<i8"), *(cube.starts[_buckets(cube, shown, snapshot.as_of)] for cube in cubes)]
    starts = np.concatenate(chosen)
    _check_fits(len(starts) * sum(cube.row.series for cube in cubes), name)
    whole = put_together(cubes, tier.keys if cubes else (), starts)
    series, series_shown = whole.series, slice(None) if cubes else slice(0)
    data = {
        measure: (
            ("time", "series"),
            whole.measure(measure)[:, series_shown],
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


def _check_fits(cells: int, name: str) -> None:
    """Refuse what would take more than `_MOST_SHARE` of the memory that is there."""
    needed, available = 8 * len(MEASURES) * cells, available_memory()
    if needed > available * _MOST_SHARE:
        reason = f"would take about {size(needed)} of memory, of which {size(available)} are there"
        error = InvalidQueryError("tier", name, reason)
        error.add_note("ask for a narrower window: trail.tier(name, start, end)")
        raise error
