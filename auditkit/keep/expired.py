"""What of a segment is expired, by which rule, and what of it a hold keeps: counted from the catalog where that tells, or read."""

from collections.abc import Collection, Sequence

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from auditkit.retention.visibility import Expiry, Visibility
from auditkit.store.records import SegmentRow
from auditkit.store.scan import everything, execute, frame_of
from auditkit.trail.handle import Handle
from auditkit.trail.snapshot import Snapshot


class Expired(Struct, frozen=True, kw_only=True):
    """How many events of a segment go, by the place of their rule, and how many more would but for each hold."""

    rules: dict[int, int]
    held: dict[str, int]

    @property
    def rows(self) -> int:
        """How many events go."""
        return sum(self.rules.values())


def count_expired(handle: Handle, snapshot: Snapshot, row: SegmentRow, expiry: Expiry) -> Expired:
    """Count what of a segment is expired; it is read only where the catalog does not tell."""
    part, rule = expiry.of(row), expiry.only_rule(row)
    if part == "nothing":
        return Expired(rules={}, held={})
    if part == "all" and rule is not None:
        return Expired(rules={rule: row.rows - row.own_rows}, held={})
    marked = mark_expired(handle, snapshot, row, expiry)
    found = marked.filter("expired").group_by("rule").len().sort("rule")
    held = {hold.name: int(marked[_column(number)].sum()) for number, hold in enumerate(expiry.held_in(row))}
    return Expired(rules=dict(found.iter_rows()), held={name: count for name, count in held.items() if count})


def mark_expired(handle: Handle, snapshot: Snapshot, row: SegmentRow, expiry: Expiry) -> pl.DataFrame:
    """Return seq and ts of the events of a segment, the place of the rule that each goes by, and whether it is `expired`.

    A column for each hold says which are expired but for it.
    """
    expiry = replace(expiry, holds=expiry.held_in(row))
    columns = expiry.columns(row).union(("seq", "ts", "source"))
    read = read_events(handle, row, columns, snapshot.stored)
    past = replace(expiry, holds=()).expression
    return read.select(
        "seq",
        "ts",
        expiry.policy.place.alias("rule"),
        expiry.expression.alias("expired"),
        *((past & hold.expression).alias(_column(number)) for number, hold in enumerate(expiry.holds)),
    )


def read_events(
    handle: Handle,
    row: SegmentRow,
    columns: Collection[str],
    visibility: Visibility,
    numbers: Sequence[int] | None = None,
) -> pl.DataFrame:
    """Return columns of the events of a segment that are to be seen, all of which lie in these record batches."""
    plan = everything([row], columns, visibility)
    ranges = plan.ranges if numbers is None else [replace(part, numbers=numbers) for part in plan.ranges]
    found = [one for events in execute(plan, handle.reader.files, ranges) for one in events]
    return frame_of(found) if found else pl.DataFrame(schema=handle.schema.columns).select(columns)


def _column(number: int) -> str:
    return f"held by {number}"
