"""Records out of Parquet, a batch of rows at a time.

Times are kept to the microsecond, as everywhere here; what JSON cannot express (NaN, binary) becomes text in the
record's own text and stays what it is among its fields.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from auditkit.errors import CorruptionError
from auditkit.sources.json_records import first_sentence
from auditkit.sources.records import Record

ROWS_PER_BATCH = 10_000


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file and read its footer; raises `OSError`, or `CorruptionError` for what is no Parquet file."""
    try:
        return pq.ParquetFile(path)
    except pa.ArrowException as exc:
        raise _unreadable(path, exc) from exc


def parquet_records(path: Path, file: pq.ParquetFile) -> Iterator[Record]:
    """Yield the rows as records, numbered from 1; raises `CorruptionError` where the file is damaged."""
    schema = pa.schema([(column.name, _to_microseconds(column.type)) for column in file.schema_arrow])
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"{path}: a column name appears twice")
    number = 0
    try:
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
            for fields in pa.Table.from_batches([batch]).cast(schema, safe=False).to_pylist():
                number += 1
                yield Record(number, fields, msgspec.json.encode(_expressible(fields)).decode(), number)
    except pa.ArrowException as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: BaseException) -> CorruptionError:
    return CorruptionError(path, offset=None, reason=f"not a readable Parquet file: {first_sentence(exc)}")


def _to_microseconds(kind: Any) -> Any:
    """Return the Arrow type with every nanosecond inside it turned into a microsecond: Python has no finer."""
    if kinds.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if kinds.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if kinds.is_time(kind) and kind.unit == "ns":
        return pa.time64("us")
    if kinds.is_struct(kind):
        return pa.struct([(inner.name, _to_microseconds(inner.type)) for inner in kind])
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        return pa.list_(_to_microseconds(kind.value_type))
    return kind.value_type if kinds.is_dictionary(kind) else kind


def _expressible(value: Any) -> Any:
    """Return a value that JSON can express: numbers that are not finite as text, a map's pairs as an array."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _expressible(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_expressible(inner) for inner in value]
    return value
