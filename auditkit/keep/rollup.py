"""Rolling up: events become counts and measures per bucket and key, in the stores of the tiers they are declared for.

Each event is folded once, by its seq, whenever it comes: how far a tier has come and the stores that hold it change in one
transaction of the catalog.  A late event is added to its bucket.  Nothing is ever rebuilt from events: what a bucket holds
stays when these are pruned.  A period's store is written anew under the next generation's name; the one before stays
until the next fold, for who has it open.
"""

import json
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.display.progress import progress
from auditkit.errors import InvalidQueryError
from auditkit.keep.summaries import RollupSummary
from auditkit.queue.payload import as_arrow
from auditkit.retention.visibility import Expiry, Visibility
from auditkit.store.catalog import change_catalog, read_catalog, refuse_unknown_features
from auditkit.store.files import retrying
from auditkit.store.records import MOST_CELLS, MOST_SERIES, CatalogChange, CatalogView, FoldRow, RollupRow
from auditkit.store.rollups import (
    StoredCube,
    cube_of,
    digest_of,
    encode_cube,
    publish_store,
    put_together,
    remove_store,
)
from auditkit.store.scan import everything, execute, frame_of
from auditkit.store.tiers import Tier, declare_tier
from auditkit.text import counted
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import TIER_DECLARED, TIER_PRUNED, Snapshot
from auditkit.write.append import append_own, own_row
from auditkit.write.flush import flush, write_directly

FOLD_AT_EVENTS = 500_000
"""Unasked, a tier is brought up to date once so many events wait: writing a period anew costs as much for few as for many."""
_STEP_EVENTS = 2_000_000
"""Events are folded in steps of about so many, so that memory, and everybody else's waiting, are bounded."""
_MOST_KEY_CHARACTERS = 16 * 1024 * 1024
"""What the keys of the series of one store have together at most."""


class _Fold(Struct, frozen=True, kw_only=True):
    """One step of a tier: what it has come to, and the stores that it wrote and replaces."""

    row: FoldRow
    events: int
    written: Sequence[RollupRow]
    replaced: Sequence[str]


def declare_rollup(
    handle: Handle,
    every: str | timedelta,
    keys: Sequence[str],
    *,
    name: str | None,
    keep: str | timedelta | None,
    tz: str,
) -> RollupSummary:
    """Declare a tier, or another keep time or fewer keys for one that there is, and fold what the trail holds.

    On return that is durable, and recorded as an event.  If it raises before the event is stored, nothing has changed.
    """
    handle.check_query()
    flush(handle)
    snapshot = handle.reader.snapshot()
    refuse_unknown_features(handle.layout.catalog, snapshot.catalog)
    tier = declare_tier(every, keys, name=name, tz=tz, keep=keep)
    known = snapshot.tiers.get(tier.name)
    if known is None:
        _refuse_many_series(handle, snapshot, tier)
        from_us = snapshot.whole_from_us
        if from_us is not None and tier.start_of(from_us) < from_us:
            from_us = tier.end_of(tier.start_of(from_us))
    else:
        if (known.every.text, known.tz) != (tier.every.text, tier.tz) or not set(keys) <= set(known.keys):
            raise InvalidQueryError("name", tier.name, f"is the name of another tier: {known}")
        from_us = known.from_us
    if known is None or (known.keys, known.keep) != (tier.keys, tier.keep):
        attrs = {
            "name": tier.name,
            "every": tier.every.text,
            "by": list(tier.keys),
            "tz": tier.tz,
            "keep": None if tier.keep is None else tier.keep.text,
            "from_us": from_us,
        }
        append_own(handle, TIER_DECLARED, attrs)
        flush(handle)
    return roll_up(handle)


def roll_up(handle: Handle, *, least: int = 1) -> RollupSummary:
    """Fold what is flushed into each tier of which at least `least` events wait, and drop what tiers no longer keep.

    The maintenance lock is held for one step at a time.  If it raises, what was folded so far is, once, and everything
    else waits.  Raises `InvalidQueryError` where a tier would have too many series.
    """
    handle.check_query()
    started = time.perf_counter()
    snapshot = handle.reader.snapshot()
    refuse_unknown_features(handle.layout.catalog, snapshot.catalog)
    waiting = sum(
        snapshot.catalog.flushed_seq - snapshot.catalog.fold_of(name).end_seq for name in snapshot.tiers
    )
    steps: list[_Fold] = []
    with progress("rolling up", total=waiting, unit="events") as advance:
        for name in snapshot.tiers:
            for step in _steps(handle, name, least):
                steps.append(step)
                advance(sum(one.events for one in steps), "")
    expired = _expire(handle) if snapshot.catalog.rollups else []
    return RollupSummary(
        tiers=len(snapshot.tiers),
        events=sum(step.events for step in steps),
        stores=sum(len(step.written) for step in steps),
        bytes=sum(row.size_bytes for step in steps for row in step.written),
        expired=len(expired),
        seconds=time.perf_counter() - started,
    )


def _steps(handle: Handle, name: str, least: int) -> Iterator[_Fold]:
    while not handle.closing:  # which waits for one step at most
        with handle.maintenance():
            snapshot = handle.reader.snapshot()
            catalog, fold = snapshot.catalog, snapshot.catalog.fold_of(name)
            if catalog.flushed_seq - fold.end_seq < least or name not in {row.name for row in catalog.tiers}:
                return
            step = _fold(handle, snapshot, snapshot.tiers[name], fold)
            change = CatalogChange(
                add_rollups=step.written,
                remove_rollups=step.replaced,
                folds=[step.row],
            )
            change_catalog(handle.layout.catalog, change)
            _remove_orphans(handle, step.replaced)
        yield step


def _fold(handle: Handle, snapshot: Snapshot, tier: Tier, fold: FoldRow) -> _Fold:
    """Write the stores of the periods that the next events of a tier lie in, with these events."""
    catalog, begin = snapshot.catalog, fold.end_seq
    ends = [row.end_seq for row in catalog.flushes if row.end_seq > begin]
    end = max((end for end in ends if end - begin <= _STEP_EVENTS), default=ends[0])
    cells = _cells(handle, catalog, tier, begin, end)
    first_us = _first_us(snapshot, tier, fold)
    if first_us is not None:
        cells = cells.filter(pl.col("start") >= first_us)
    periods = {start: tier.period_of(start) for start in cells["start"].unique().to_list()}
    named = cells.with_columns(
        pl.col("start").replace_strict(periods, return_dtype=pl.String).alias("\0period")
    )
    before = {_period(row.path): row for row in catalog.rollups if row.tier == tier.name}
    written = [
        _written(handle, tier, str(period), new.drop("\0period"), before.get(str(period)), first_us)
        for (period,), new in named.partition_by("\0period", as_dict=True).items()
    ]
    replaced = [before[period].path for period in map(_period_of_row, written) if period in before]
    row = FoldRow(tier=tier.name, end_seq=end, dropped_us=first_us)
    return _Fold(row=row, events=int(cells["count"].sum()), written=written, replaced=replaced)


def _first_us(snapshot: Snapshot, tier: Tier, fold: FoldRow) -> int | None:
    """Return where the first bucket starts that a tier keeps, and has not dropped."""
    firsts = (tier.first_kept_us(snapshot.horizon_us), fold.dropped_us)
    return max((us for us in firsts if us is not None), default=None)


def _cells(handle: Handle, catalog: CatalogView, tier: Tier, begin: int, end: int) -> pl.DataFrame:
    """Return the cells of the producers' events with seqs `[begin, end)`."""
    seen = Visibility(first_seq=begin, as_of=end, expiry=Expiry(), own=False)
    plan = everything(catalog.segments, ["seq", "ts", "value", *tier.keys], seen)
    parts = [
        _counted(frame_of(found), tier) for found in execute(plan, handle.reader.files, plan.ranges) if found
    ]
    return _joined(parts or [_counted(pl.DataFrame(schema=handle.schema.columns), tier)], tier)


def _counted(events: pl.DataFrame, tier: Tier) -> pl.DataFrame:
    """Return the cells of some events."""
    stamps = events["ts"].to_physical().to_numpy()
    starts = tier.starts(stamps.min(), stamps.max()) if len(stamps) else stamps
    buckets = starts[np.searchsorted(starts, stamps, side="right") - 1] if len(stamps) else stamps
    value = pl.col("value")
    return (
        events.with_columns(pl.Series("start", buckets, dtype=pl.Int64))
        .group_by("start", *tier.keys)
        .agg(
            count=pl.len().cast(pl.Int64),
            value_count=value.count().cast(pl.Int64),
            sum=pl.when(value.count() > 0).then(value.sum()),
            min=value.min(),
            max=value.max(),
            last_seq=pl.col("seq").max().cast(pl.Int64),
        )
    )


def _joined(parts: Sequence[pl.DataFrame], tier: Tier) -> pl.DataFrame:
    """Return the cells of several parts together, of the tier's keys alone."""
    return (
        pl.concat([part.select("start", *tier.keys, *_TOTALS) for part in parts])
        .group_by("start", *tier.keys)
        .agg(
            pl.col("count", "value_count").sum(),
            pl.when(pl.col("value_count").sum() > 0).then(pl.col("sum").sum()),
            pl.col("min").min(),
            pl.col("max").max(),
            pl.col("last_seq").max(),
        )
    )


_TOTALS = ("count", "value_count", "sum", "min", "max", "last_seq")


def _written(
    handle: Handle, tier: Tier, period: str, new: pl.DataFrame, before: RollupRow | None, first_us: int | None
) -> RollupRow:
    """Write the next generation of a period's store: what the one before holds, and new cells."""
    series, parts, generation = [new.select(tier.keys)], list[StoredCube](), 1
    first, last = new.select(pl.col("start").min(), last=pl.col("start").max()).row(0)
    if before is not None:
        parts.append(retrying(lambda: StoredCube(handle.layout, before)))
        kept = parts[0].starts if first_us is None else parts[0].starts[parts[0].starts >= first_us]
        first, last = min([first, *kept[:1]]), max([last, *kept[-1:]])
        series.append(parts[0].series.select(tier.keys))
        generation = int(before.path.rsplit(".", 2)[1]) + 1
    starts = tier.starts(first, last)
    _check_series(pl.concat(series).unique() if tier.keys else pl.DataFrame(), tier, len(starts))
    cube = put_together([*parts, cube_of(new, tier.keys, starts)], tier.keys, starts)
    attributes = {
        "title": f"events of {tier.name} in {period}",
        "tier": tier.name,
        "every": tier.every.text,
        "keys": list(tier.keys),
        "tz": tier.tz,
    }
    files = encode_cube(cube, attributes)
    path = f"{tier.name}/{period}.{generation}.zarr"
    publish_store(handle.disk, handle.layout, handle.modes, path, files)
    return RollupRow(
        path=path,
        tier=tier.name,
        by=json.dumps(tier.keys),
        first_us=int(starts[0]),
        end_us=tier.end_of(int(starts[-1])),
        buckets=len(starts),
        series=max(1, cube.series.height),
        events=int(cube.measure("count").sum()),
        last_seq=int(cube.last_seqs.max()),
        size_bytes=sum(map(len, files.values())),
        sha256=digest_of(files),
    )


def _period_of_row(row: RollupRow) -> str:
    return _period(row.path)


def _period(path: str) -> str:
    """Return the period of a store, from its path."""
    return path.partition("/")[2].partition(".")[0]


def _refuse_many_series(handle: Handle, snapshot: Snapshot, tier: Tier) -> None:
    """Refuse a tier for which the events that there are make too many series already."""
    if tier.keys:
        plan = everything(snapshot.catalog.segments, tier.keys, snapshot.visibility(own=False))
        series = pl.DataFrame(schema=dict.fromkeys(tier.keys, pl.String()))
        for found in execute(plan, handle.reader.files, plan.ranges):
            if found:
                series = pl.concat([series, frame_of(found).select(tier.keys).unique()]).unique()
                _check_series(series, tier)


def _check_series(series: pl.DataFrame, tier: Tier, buckets: int = 1) -> None:
    """Refuse more series than a store may have, and say which key makes them."""
    characters = sum(int(column.str.len_chars().sum()) for column in series.iter_columns())
    most_series = min(MOST_SERIES, MOST_CELLS // buckets)
    if series.height <= most_series and characters <= _MOST_KEY_CHARACTERS:
        return
    most = max(series.columns, key=lambda key: series[key].n_unique())
    reason = f"makes too many series for tier {tier.name} (expected at most {most_series:,})"
    error = InvalidQueryError("by", list(tier.keys), reason)
    rest = [key for key in tier.keys if key != most]
    error.add_note(
        f"{most!r} has {counted(series[most].n_unique(), 'value')}: leave it out, "
        f"trail.rollup({tier.every.text!r}, by={rest!r}, name={tier.name!r})"
    )
    raise error


def _expire(handle: Handle) -> list[RollupRow]:
    """Remove the stores none of whose buckets are kept any more, and record that as an event."""
    with handle.maintenance():
        snapshot = handle.reader.snapshot()
        folds = {name: snapshot.catalog.fold_of(name) for name in snapshot.tiers}
        firsts = {name: _first_us(snapshot, tier, folds[name]) for name, tier in snapshot.tiers.items()}
        expired = [
            row
            for row in snapshot.catalog.rollups
            if (first_us := firsts.get(row.tier)) is not None and row.end_us <= first_us
        ]
        if expired:
            names = sorted({row.tier for row in expired})
            attrs = {
                "stores": len(expired),
                "events": sum(row.events for row in expired),
                "bytes": sum(row.size_bytes for row in expired),
                "tiers": names,
                "first_us": min(row.first_us for row in expired),
                "end_us": max(row.end_us for row in expired),
            }
            queue = handle.active_queue()
            with queue.locked():
                event = as_arrow([own_row(handle, TIER_PRUNED, attrs)], handle.schema)
                change = CatalogChange(
                    remove_rollups=[row.path for row in expired],
                    folds=[replace(folds[name], dropped_us=firsts[name]) for name in names],
                )
                write_directly(handle, event, change)
            _remove_orphans(handle, ())
    return expired


def _remove_orphans(handle: Handle, spared: Sequence[str]) -> None:
    """Remove the stores that the catalog does not name, but those spared; the caller holds the maintenance lock."""
    named = {row.path for row in read_catalog(handle.layout.catalog).rollups}
    orphans = [path for path in handle.layout.rollup_stores() if path not in named and path not in spared]
    for path in orphans:
        store = handle.layout.rollups / path
        remove_store(handle.disk, handle.layout, store)
        handle.disk.sync_directory(store.parent)
