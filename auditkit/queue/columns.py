"""Batches of events that came as columns: Arrow record batches, on their way into frames."""

import pyarrow as pa

from auditkit.queue.blocks import LARGEST_BYTES

COLUMN_BLOCK_ROWS = 32_768
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def compacted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch without views, each of which holds on to all the text of the frame that it is part of."""
    fields = list(batch.schema)
    if not any(pa.types.is_string_view(field.type) for field in fields):
        return batch
    kept = [
        field.with_type(pa.large_string()) if pa.types.is_string_view(field.type) else field
        for field in fields
    ]
    return batch.cast(pa.schema(kept))


def column_payloads(events: pa.RecordBatch) -> list[tuple[bytes, int]]:
    """Return (payload, rows) for the row columns and `token` of events."""
    return _stream_payloads(
        events.select([name for name in events.schema.names if events.column(name).null_count < len(events)])
    )


def _stream_payloads(part: pa.RecordBatch) -> list[tuple[bytes, int]]:
    if len(part) <= COLUMN_BLOCK_ROWS:
        payload = b"".join((part.schema.serialize(), part.serialize(), _END_OF_STREAM))
        if len(payload) <= LARGEST_BYTES or len(part) == 1:
            return [(payload, len(part))]
    half = len(part) // 2
    return _stream_payloads(part.slice(0, half)) + _stream_payloads(part.slice(half))
