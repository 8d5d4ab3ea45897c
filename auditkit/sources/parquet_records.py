"""Records out of Parquet, a batch of rows at a time.

Times are kept to the microsecond, as everywhere here; what JSON cannot express (NaN, binary) becomes text in the
record's own text.  Among its fields NaN is no value: data frames say so what is missing.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from auditkit.errors import CorruptionError, InvalidArgumentError
from auditkit.sources.records import Item, Record, Unreadable, first_sentence

ROWS_PER_BATCH = 10_000


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file and read its footer; raises `OSError`, or `CorruptionError` for what is no Parquet file."""
    try:
        return pq.ParquetFile(path)
    except pa.ArrowException as exc:
        raise _unreadable(path, exc) from exc


def parquet_records(path: Path, file: pq.ParquetFile) -> Iterator[Item]:
    """Yield the rows as records, numbered from 1; raises `CorruptionError` where the file is damaged.

    A row with a value that Python does not have, such as a time in the year 0, is an `Unreadable`.
    """
    schema = pa.schema([(column.name, _readable(column.type)) for column in file.schema_arrow])
    if len(set(schema.names)) < len(schema.names):
        raise InvalidArgumentError(str(path), schema.names, "a column name appears twice")
    number = 0
    try:
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
            table = pa.Table.from_batches([batch]).cast(schema, safe=False)
            for item in _rows(table, number):
                number += 1
                yield item
    except pa.ArrowException as exc:
        raise _unreadable(path, exc) from exc


def _rows(table: pa.Table, before: int) -> Iterator[Item]:
    """Yield rows, `before` of which came earlier: all at once, or one by one where there are some that do not read."""
    try:
        rows = table.to_pylist()
    except (OverflowError, ValueError):
        rows = None
    numbers = [column.name for column in table.schema if kinds.is_floating(column.type)]
    for place in range(len(table)):
        number = before + place + 1
        try:
            fields = rows[place] if rows is not None else table.slice(place, 1).to_pylist()[0]
            text = msgspec.json.encode(_expressible(fields)).decode()
            for name in numbers:
                if fields[name] is not None and math.isnan(fields[name]):
                    fields[name] = None
            yield Record(number, fields, text, number)
        except (OverflowError, ValueError, TypeError) as exc:
            reason = f"holds a value that Python does not have: {first_sentence(exc)}"
            yield Unreadable(number, reason, _shown(table.slice(place, 1)), number)


def _shown(row: pa.Table) -> str:
    """Return a row as text, value by value as far as Arrow can write it."""
    shown = {}
    for name, column in zip(row.column_names, row.columns, strict=True):
        try:
            shown[name] = column.cast(pa.string())[0].as_py()
        except (pa.ArrowException, ValueError):
            shown[name] = f"a value of {column.type}"
    return msgspec.json.encode(shown).decode()


def _unreadable(path: Path, exc: BaseException) -> CorruptionError:
    return CorruptionError(path, offset=None, reason=f"not a readable Parquet file: {first_sentence(exc)}")


def _readable(kind: Any) -> Any:
    """Return the Arrow type as Python has it: times to the microsecond, in UTC, where no zone leads beyond the last year."""
    if kinds.is_timestamp(kind):
        return pa.timestamp("us" if kind.unit == "ns" else kind.unit, kind.tz and "UTC")
    if kinds.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if kinds.is_time(kind) and kind.unit == "ns":
        return pa.time64("us")
    if kinds.is_struct(kind):
        return pa.struct([(inner.name, _readable(inner.type)) for inner in kind])
    if kinds.is_map(kind):
        return pa.map_(_readable(kind.key_type), _readable(kind.item_type))
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        return pa.list_(_readable(kind.value_type))
    return _readable(kind.value_type) if kinds.is_dictionary(kind) else kind


def _expressible(value: Any) -> Any:
    """Return a value that JSON can express: numbers that are not finite as text, a map's pairs as an array."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _expressible(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_expressible(inner) for inner in value]
    return value
