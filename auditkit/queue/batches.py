"""Batches of validated events on their way into frames: weighed when they are accepted, cut into blocks at a commit."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, TypeAlias

import polars as pl

from auditkit.event import EventSchema, Row
from auditkit.queue.blocks import TOKEN, Block, row_payloads
from auditkit.queue.columns import column_payloads

Batch: TypeAlias = Sequence[Row] | Any
"""Validated events: rows, or an Arrow record batch of the row columns and `token`."""
BLOCK_ROWS = 8_192
BLOCK_BYTES = 4 * 1024 * 1024
_ROW_BYTES = 160
"""What a row without attrs weighs about, for bounding memory."""


def weigh_row(row: Row, attrs_at: int) -> int:
    """Return about how many bytes a row takes."""
    return _ROW_BYTES + len(row[attrs_at] or "")


def weigh(batch: Batch, attrs_at: int) -> tuple[int, bool]:
    """Return about how many bytes a batch takes, and whether any of its events has an id."""
    if not isinstance(batch, Sequence):
        whole = batch.get_total_buffer_size()  # of the table that the batch may be a slice of
        return whole if whole <= BLOCK_BYTES else batch.nbytes, has_keys(batch)
    attrs = sum([len(row[attrs_at] or "") for row in batch])
    return _ROW_BYTES * len(batch) + attrs, has_keys(batch)


def has_keys(batch: Batch) -> bool:
    """Say whether any of a batch's events has an id."""
    if not isinstance(batch, Sequence):
        return bool(batch.column(TOKEN).null_count < len(batch))
    return any(row[-1] is not None for row in batch)


def as_rows(batch: Batch) -> Sequence[Row]:
    """Return the rows of a batch."""
    if isinstance(batch, Sequence):
        return batch
    return pl.DataFrame(batch).with_columns(pl.col(pl.Datetime).to_physical()).rows()


def as_arrow(batch: Batch, schema: EventSchema) -> Any:
    """Return a batch as an Arrow record batch of the row columns and perhaps `token`."""
    if not isinstance(batch, Sequence):
        return batch
    columns = {name: schema.columns[name] for name in schema.row_columns}
    physical = {name: pl.Int64() if isinstance(kind, pl.Datetime) else kind for name, kind in columns.items()}
    frame = pl.DataFrame(batch, schema={**physical, TOKEN: pl.Binary()}, orient="row").cast(columns)  # type: ignore[arg-type]
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks().to_batches()[0]


def blocks_of(batches: Sequence[Batch], attrs_at: int, *, events: int, weight: int) -> list[Block]:
    """Return batches as blocks: small ones share a block, a large one goes through several.

    `events` and `weight` are bounds of what they hold together.
    """
    small = [batch for batch in batches if isinstance(batch, Sequence)]
    if events <= BLOCK_ROWS and weight <= BLOCK_BYTES and len(small) == len(batches):
        rows = list(chain.from_iterable(small))
        return _closing(row_payloads(rows))
    return list(_cut(batches, attrs_at))


def _cut(batches: Sequence[Batch], attrs_at: int) -> Iterator[Block]:
    gathered: list[Row] = []
    weight = 0
    for rows in batches:
        if not isinstance(rows, Sequence):
            if gathered:
                yield from _closing(row_payloads(gathered))
                gathered, weight = [], 0
            yield from _closing(column_payloads(rows))
            continue
        last = len(rows) - 1
        for position, row in enumerate(rows):
            gathered.append(row)
            weight += weigh_row(row, attrs_at)
            if len(gathered) >= BLOCK_ROWS or weight >= BLOCK_BYTES:
                yield from _closing(row_payloads(gathered), whole=position == last)
                gathered, weight = [], 0
    if gathered:
        yield from _closing(row_payloads(gathered))


def _closing(payloads: Sequence[tuple[bytes, int]], *, whole: bool = True) -> list[Block]:
    """Return payloads as blocks, the last of which closes the batch where the batch is `whole` with it."""
    *others, (payload, count) = payloads
    return [*(Block(*other, closes=False) for other in others), Block(payload, count, closes=whole)]
