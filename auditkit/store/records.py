"""What the catalog keeps: one class per table, and what is read or changed in one transaction.  No SQL here.

The catalog (`catalog.sqlite`, format 1) is a SQLite database, and replaced whole by each transaction.  Its tables are the classes below,
their columns the fields, in order: `int` is INTEGER, `str` TEXT, `bytes` BLOB, and NOT NULL unless it may be `None`.
Times are microseconds since 1970 UTC, seq bounds are inclusive unless a name says `end`, rows count in the order of
their `rowid`.

=============  =====================================================================================================
trail          one row: what was decided when the trail was created
policies       retention policies, each from a seq on; the last one is in force
holds          legal holds, each from a seq on
releases       their ends, each from a seq on
moments        what prunes and maintenance recorded as "now"
flushes        one row per flush: how far events have gone from the queue into segments, and the horizon by then
segments       the live segments, each with what a question must know to leave it, or batches of it, alone
tombstones     what was pruned: one row per segment, rule and prune
replaced       files that compaction replaced and that readers may still hold
prune_states   the horizon at which retention was last enforced
tiers          the tiers of rollups, each row a declaration; the last one of a name is in force
folds          for each tier, up to which seq events are in its rollups
rollups        the stores of the tiers, one for each tier and period
features       what else the trail holds that must not be lost by a version that does not know it
contents       for each table: how many rows it has, and the CRC-32 of their checksums
=============  =====================================================================================================

**Checksums.**  Behind its other columns each row has `crc`: the CRC-32 of the MessagePack array of all its columns in
the order of the table, those of a later version included, `crc` and NULLs at the end left out.  `contents` has the
CRC-32 of these numbers, as little-endian uint32, in the order of the rows.  The rows of `segments` and `tombstones`
together must be as many as the last flush's `end_seq`.

**What a later version may add** without another format: a nullable column behind the others (the checksums of the rows
that are there stay the same), a table with a `crc` of each row and its line in `contents`, a feature.  This version
leaves them alone and checks them all the same.  It rewrites rows of segments without such columns; so a version that
must not lose what it added declares a feature, and this one then refuses to prune, merge or copy.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from auditkit.event import FIRST_US, LAST_US
from auditkit.retention.horizon import Horizon

BATCH = struct.Struct("<IqqQIQQ")
"""One record batch in `segments.batches`: rows, smallest and largest ts, end offset, CRC-32, smallest and largest seq."""
BATCH_ROWS = 4_096
BATCH_BYTES = 16 * 1024 * 1024
"""What a record batch holds at most: events, and bytes of text unless one event has more."""
MOST_COMBINATIONS = 256
MOST_COMBINATIONS_CHARACTERS = 64 * 1024
"""The catalog keeps a segment's distinct (action, source, outcome) within both bounds, and none of them beyond."""

MOST_BUCKETS = 1_500
MOST_SERIES = 10_000
MOST_CELLS = 7_500_000
MOST_ROLLUP_BYTES = 1 << 27
"""What the store of one period holds at most: buckets, series, cells of both, and bytes of all its files."""

FEATURES: frozenset[str] = frozenset()
"""The features that this version knows."""

Seq = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Some = Annotated[int, Meta(ge=1)]
Flag = Annotated[int, Meta(ge=0, le=1)]
Instant = Annotated[int, Meta(ge=FIRST_US, lt=LAST_US)]
Near = Annotated[int, Meta(ge=2 * FIRST_US, lt=2 * LAST_US)]
Crc = Annotated[int, Meta(ge=0, lt=1 << 32)]
Sha256 = Annotated[bytes, Meta(min_length=32, max_length=32)]
TrailId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
"""What a column may hold (`Near`: the bounds of buckets, which begin before their events): no row is taken whose values lie outside."""


class TrailInfo(Struct, frozen=True, kw_only=True):
    """What was decided when the trail was created; times in microseconds since 1970 UTC."""

    format: Count
    trail_id: TrailId
    epoch: Count
    """How many times this history went on from a copy; 0 for a trail that was never restored."""
    parent_id: TrailId | None
    """The trail that this one branched from, at `branched_seq`."""
    branched_seq: Seq | None
    branch_id: TrailId | None
    """Set in an untouched copy: the identity it takes on with its first append."""
    created_us: Instant
    tz: str
    partition: str
    max_ahead_us: Count
    sharing: str | None
    fields: str
    """Declared extra fields as a JSON object of name to type name."""


class PolicyRow(Struct, frozen=True, kw_only=True):
    """A retention policy, in force for seqs from `from_seq` on."""

    from_seq: Seq
    spec: str


class HoldRow(Struct, frozen=True, kw_only=True):
    """A legal hold, in force for views of seqs from `from_seq` on, until it is released; `conditions` are a mapping, as JSON."""

    from_seq: Seq
    name: str
    start_us: Instant | None
    end_us: Instant | None
    conditions: str
    reason: str
    placed_us: Instant


class ReleaseRow(Struct, frozen=True, kw_only=True):
    """The release of the hold of this name, from `from_seq` on."""

    from_seq: Seq
    name: str
    reason: str


class MomentRow(Struct, frozen=True, kw_only=True):
    """A moment that a prune or maintenance recorded as "now" (event `seq`)."""

    seq: Seq
    now_us: Instant
    confirmed: Flag
    """1 where a person asked to prune by it: the horizon trusts it at once; 0 where it counts as an event."""


class FlushRow(Struct, frozen=True, kw_only=True):
    """The state after a flush: everything before `end_seq` is in segments.

    `trusted_us`, `waiting_from_us` and `waiting_to_us` are the horizon after all events before `end_seq`, as
    `retention.horizon` folds them; `last_recorded_us` is the moment the last of these was accepted.
    """

    end_seq: Seq
    trusted_us: Instant | None
    waiting_from_us: Instant | None
    waiting_to_us: Instant | None
    last_recorded_us: Instant

    @property
    def horizon(self) -> Horizon:
        """The horizon after the flush."""
        return Horizon(
            trusted_us=self.trusted_us,
            waiting_from_us=self.waiting_from_us,
            waiting_to_us=self.waiting_to_us,
        )


class BatchInfo(Struct, frozen=True, kw_only=True, gc=False):  # thousands of numbers only
    """One record batch of a segment: rows, bounds of ts and seq (inclusive), its bytes in the file, their CRC-32."""

    rows: int
    min_ts_us: int
    max_ts_us: int
    min_seq: int
    max_seq: int
    start: int
    end: int
    crc: int


class SegmentRow(Struct, frozen=True, kw_only=True):
    """One live segment.  `path` is relative to the segments folder, bounds are inclusive."""

    path: str
    partition: str
    first_seq: Seq
    last_seq: Seq
    rows: Some
    own_rows: Count
    min_ts_us: Instant
    max_ts_us: Instant
    min_recorded_us: Instant
    max_recorded_us: Instant
    producers_max_ts_us: Instant | None
    size_bytes: Some
    sha256: Sha256
    head_bytes: Some
    """Where the first record batch begins: behind the schema and the dictionaries."""
    head_crc: Crc
    foot_crc: Crc
    """CRC-32 of what comes before the first record batch, and of what comes after the last."""
    batches: bytes
    """The record batches in order, each packed by `BATCH`."""
    time_index: bytes
    """Where quarters of an hour begin, as `store/time_index` packs it."""
    empty_columns: str
    """The columns without any value, as a JSON array of names."""
    combinations: str | None
    """The distinct [action, source, outcome], as a JSON array; `None` of too many."""

    @property
    def batch_count(self) -> int:
        """The number of record batches."""
        return len(self.batches) // BATCH.size

    @property
    def parts(self) -> Sequence[BatchInfo]:
        """The record batches, in order."""
        return _parts(self.head_bytes, self.batches)


class TombstoneRow(Struct, frozen=True, kw_only=True):
    """The record of events that were pruned from one segment by one rule; bounds are inclusive."""

    path: str
    partition: str
    first_seq: Seq
    last_seq: Seq
    rows: Some
    min_ts_us: Instant
    max_ts_us: Instant
    sha256: Sha256
    policy: str
    rule: str
    """The rule of the policy that they went by, in words as the policy."""
    horizon_us: Instant
    cutoff_us: int
    pruned_us: Instant
    end_seq: Seq
    """The committed end when it was pruned: views of earlier seqs may miss these events."""


class ReplacedRow(Struct, frozen=True, kw_only=True):
    """A file whose events are in another segment since `replaced_us`; readers may hold it for a while."""

    path: str
    min_ts_us: Instant
    replaced_us: Instant


class PruneStateRow(Struct, frozen=True, kw_only=True):
    """The horizon at which retention was last enforced."""

    horizon_us: Instant


class TierRow(Struct, frozen=True, kw_only=True):
    """A tier of rollups, declared by the trail's own event `seq`."""

    seq: Seq
    name: str
    every: str
    by: str
    """Its keys, as a JSON array of columns."""
    tz: str
    keep: str | None
    """How long a bucket is kept; `None` for ever."""
    from_us: Instant | None
    """Events before were expired or pruned when it was declared, and are not in it; `None` where none were."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Its keys: names of columns."""
        return _keys(self.by)


class FoldRow(Struct, frozen=True, kw_only=True):
    """How far a tier has come: events before `end_seq` are in its rollups."""

    tier: str
    end_seq: Seq
    dropped_us: Near | None
    """Buckets that begin before were dropped, as the tier no longer kept them; `None` where none were."""


class RollupRow(Struct, frozen=True, kw_only=True):
    """The store of one tier and period.  `path` is relative to the rollups folder."""

    path: str
    tier: str
    by: str
    """The keys of its series, as a JSON array of columns: those of the tier, or more."""
    first_us: Near
    end_us: Near
    """Where its first bucket starts, and its last one ends."""
    buckets: Annotated[int, Meta(ge=1, le=MOST_BUCKETS)]
    series: Annotated[int, Meta(ge=1, le=MOST_SERIES)]
    events: Some
    last_seq: Seq
    """The largest seq in it."""
    size_bytes: Annotated[int, Meta(ge=1, le=MOST_ROLLUP_BYTES)]
    sha256: Sha256
    """Of the names and bytes of its files, as `store/rollups` has it."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its series: names of columns."""
        return _keys(self.by)


class FeatureRow(Struct, frozen=True, kw_only=True):
    """Something in the trail that a version of auditkit must know before it prunes, merges or copies."""

    name: str


class ContentsRow(Struct, frozen=True, kw_only=True):
    """What one table holds: how many rows, and the CRC-32 of their checksums, in order, 4 bytes each."""

    name: str
    rows: Count
    digest: Crc


class CatalogView(Struct, frozen=True, kw_only=True):
    """Everything the catalog says, read in one transaction."""

    info: TrailInfo
    policies: Sequence[PolicyRow]
    holds: Sequence[HoldRow]
    releases: Sequence[ReleaseRow]
    moments: Sequence[MomentRow]
    flushes: Sequence[FlushRow]
    segments: Sequence[SegmentRow]
    tombstones: Sequence[TombstoneRow]
    replaced: Sequence[ReplacedRow]
    prune_states: Sequence[PruneStateRow]
    tiers: Sequence[TierRow]
    folds: Sequence[FoldRow]
    rollups: Sequence[RollupRow]
    features: Sequence[FeatureRow]

    @property
    def flushed_seq(self) -> int:
        """Events before this seq are in segments, or were pruned."""
        return self.flushes[-1].end_seq if self.flushes else 0

    def fold_of(self, tier: str) -> FoldRow:
        """Return how far a tier has come."""
        begin = FoldRow(tier=tier, end_seq=0, dropped_us=None)
        return next((fold for fold in self.folds if fold.tier == tier), begin)

    def folded_of(self, tier: str) -> int:
        """Return the exclusive end of the seqs that are in a tier's rollups."""
        return self.fold_of(tier).end_seq

    @property
    def enforced_horizon_us(self) -> int | None:
        """The horizon at which retention was last enforced, if it ever was."""
        return self.prune_states[-1].horizon_us if self.prune_states else None


class CatalogChange(Struct, frozen=True, kw_only=True):
    """What one transaction adds and removes."""

    add_segments: Sequence[SegmentRow] = ()
    remove_segments: Sequence[str] = ()
    tombstones: Sequence[TombstoneRow] = ()
    replaced: Sequence[ReplacedRow] = ()
    forget_replaced: Sequence[str] = ()
    """Paths of replaced files that are gone."""
    policies: Sequence[PolicyRow] = ()
    holds: Sequence[HoldRow] = ()
    releases: Sequence[ReleaseRow] = ()
    moments: Sequence[MomentRow] = ()
    features: Sequence[FeatureRow] = ()
    tiers: Sequence[TierRow] = ()
    folds: Sequence[FoldRow] = ()
    """How far tiers have come, each in place of what was said of it before."""
    add_rollups: Sequence[RollupRow] = ()
    remove_rollups: Sequence[str] = ()
    flush: FlushRow | None = None
    prune_state: PruneStateRow | None = None


@lru_cache(maxsize=4096)
def _parts(head_bytes: int, packed: bytes) -> Sequence[BatchInfo]:
    parts: list[BatchInfo] = []
    start = head_bytes
    for rows, low, high, end, crc, first, last in BATCH.iter_unpack(packed):
        parts.append(
            BatchInfo(
                rows=rows,
                min_ts_us=low,
                max_ts_us=high,
                min_seq=first,
                max_seq=last,
                start=start,
                end=end,
                crc=crc,
            )
        )
        start = end
    return tuple(parts)


@lru_cache(maxsize=256)
def _keys(by: str) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(by, type=list[str]))
