"""Rollups as plain Python makes them: what a tier must say of some events."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from auditkit.query.buckets import bucket_starts, parse_every
from auditkit.timerange import to_us

Measures = tuple[int, int, float | None, float | None, float | None]
Series = dict[tuple[Any, ...], Measures]


def expected(events: Iterable[Mapping[str, Any]], every: str, keys: Sequence[str], tz: str = "UTC") -> Series:
    """Return (start, keys) → count, value count, sum, min, max of some events."""
    length, found = parse_every(every), dict[tuple[Any, ...], list[float | None]]()
    for event in events:
        us = to_us(event["ts"])
        (start,) = bucket_starts(length, tz, us, us)
        found.setdefault((start, *(event.get(key) for key in keys)), []).append(event.get("value"))
    return {place: measured(values) for place, values in found.items()}


def measured(values: Sequence[float | None]) -> Measures:
    """Return what is known of some values."""
    present = [value for value in values if value is not None]
    if not present:
        return len(values), 0, None, None, None
    return len(values), len(present), sum(present), min(present), max(present)


def of_dataset(dataset: Any, keys: Sequence[str]) -> Series:
    """Return the same of an xarray Dataset of a tier."""
    found: Series = {}
    starts = dataset["time"].values.astype("datetime64[us]").astype("int64").tolist()
    columns = []
    for key in keys:
        nulls = dataset[f"{key}_is_null"].values.tolist()
        texts = dataset[key].values.tolist()
        columns.append([None if null else text for text, null in zip(texts, nulls, strict=True)])
    count, value_count, *rest = (
        dataset[name].values.tolist() for name in ("count", "value_count", "sum", "min", "max")
    )
    for row, start in enumerate(starts):
        for place in range(dataset.sizes["series"]):
            if count[row][place]:
                some = value_count[row][place]
                numbers = [grid[row][place] if some else None for grid in rest]
                assert some or all(grid[row][place] != grid[row][place] for grid in rest)
                series = (start, *(column[place] for column in columns))
                found[series] = (count[row][place], some, *numbers)
    return found


def of_frame(frame: Any, keys: Sequence[str]) -> Series:
    """Return the same of what `group_by` with `every` answers."""
    found: Series = {}
    for row in frame.iter_rows(named=True):
        moment: datetime = row["ts"]
        place = (to_us(moment), *(row[key] for key in keys))
        found[place] = (row["count"], row["value_count"], row["sum"], row["min"], row["max"])
    return found
