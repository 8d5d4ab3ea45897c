"""Validation of whole tables: a fast path over columns, and the row's rule for suspect rows.

The fast path may suspect a good row, never pass a bad one; suspect rows are decided by `EventSchema.row`, so that a
table and a mapping are held to the same words.  A table whose shape the columns cannot express is left to the rows.
Small batches are as frequent as large ones: what lies in Arrow's buffers as it should be is only looked at.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from auditkit.arrow import Numbers, flags, is_ascii, lengths, presence, text_of, to_numpy
from auditkit.errors import InvalidEventError
from auditkit.event.attrs import SURELY_FLAT, AnyObject
from auditkit.event.schema import (
    FIRST_US,
    LAST_US,
    MAX_ATTRS_BYTES,
    MAX_ATTRS_DEPTH,
    MAX_TEXT_BYTES,
    OWN_SOURCE,
    UTC_MICROSECONDS,
)
from auditkit.event.validate import EventSchema, Rules
from auditkit.timerange import from_us

DEFAULTED = "defaulted"
"""The column that says whose ts was filled in, in a batch where some were."""
_OPENING, _CLOSING = b"{}"
_JOINABLE_BYTES = 1 << 30
"""Strings with places of 32 bits hold as much together, newlines included."""
_ARROW_TYPES: Mapping[pl.DataType, Sequence[pa.DataType]] = {
    pl.Boolean(): [pa.bool_()],
    pl.Int64(): [pa.int64()],
    pl.Float64(): [pa.float64()],
    pl.String(): [pa.string(), pa.large_string(), pa.string_view()],
    UTC_MICROSECONDS: [pa.timestamp("us", "UTC")],
}
"""What needs no conversion, for every type of a field."""

_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
_DECODED_ROWS = 4_096
"""So many attrs are decoded at once: all threads wait while they are."""

_UNKNOWN_KINDS = (
    pa.types.is_interval,
    pa.types.is_decimal256,
    pa.types.is_run_end_encoded,
    pa.types.is_union,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)

_lines = msgspec.json.Decoder(AnyObject)

Table: TypeAlias = pl.DataFrame | pa.Table
Columns = dict[str, pa.Array]
Refuse = Callable[[int, InvalidEventError, Mapping[str, Any]], None]
_Column: TypeAlias = pl.Series | pa.Array | pa.ChunkedArray


def rows_as_columns(schema: EventSchema, table: Table, rules: Rules, refuse: Refuse) -> pa.RecordBatch | None:
    """Return a table's events with the row columns and perhaps `DEFAULTED`, or `None` where only row by row will do.

    `refuse` is called with every bad row: its position, the error, and the row.  It raises, or the row is left out.
    """
    normal = normal_form(schema, table)
    if normal is None:
        return None
    suspects = suspect_rows(normal, rules)
    bad = list(_bad_rows(schema, table, rules, suspects, refuse)) if suspects else []
    if bad:
        kept = pl.Series(range(len(table))).is_in(bad).not_()
        normal = {name: _array(_series(column).filter(kept)) for name, column in normal.items()}
    return as_batch(normal, rules)


def as_batch(normal: Columns, rules: Rules) -> pa.RecordBatch:
    """Return columns in normal form, without bad rows, as a batch; a missing ts becomes now, and is named as such."""
    columns = dict(normal)
    if columns["ts"].null_count:
        given = presence(columns["ts"])
        columns[DEFAULTED] = flags(np.ones(len(columns["ts"]), bool) if given is None else ~given)
        columns["ts"] = _array(_series(columns["ts"]).fill_null(from_us(rules.now_us)))
    return pa.RecordBatch.from_arrays([*columns.values()], [*columns])


def as_frame(table: Table) -> pl.DataFrame:
    """Return a table as a Polars frame."""
    return table if isinstance(table, pl.DataFrame) else pl.DataFrame(table)


def check_bytes(table: Table) -> None:
    """Raise `InvalidEventError` where an Arrow table's bytes are not what its types say, such as UTF-8.

    Arrow itself never looks, and what is damaged could not be read once it is stored.
    """
    if not isinstance(table, pa.Table):
        return
    for name, column in zip(table.column_names, table.columns, strict=True):
        _check_kind(name, column)
    try:
        table.validate()
        if not all(_is_surely_valid(chunk) for column in table.columns for chunk in column.chunks):
            table.validate(full=True)
    except pa.ArrowInvalid as exc:
        raise InvalidEventError("table", str(exc), "damaged") from exc


def _check_kind(name: str, column: pa.ChunkedArray) -> None:
    """Refuse a column of a kind that Polars has not, and seconds that it would wrap around."""
    kind = column.type
    if any(is_one(kind) for is_one in _UNKNOWN_KINDS):
        error = InvalidEventError(name, str(kind), "a kind of column that cannot be read")
        error.add_note("cast it to text, a number or a time before")
        raise error
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        try:
            column.cast(pa.timestamp("ms", kind.tz))
        except pa.ArrowInvalid as exc:
            raise InvalidEventError(name, str(kind), "holds times that no year has") from exc


def _is_surely_valid(chunk: pa.Array) -> bool:
    """Return whether an array is what its type says; ASCII is UTF-8, and that is seen without a look at each value."""
    as_bytes = _BYTES.get(chunk.type)
    try:
        (chunk if as_bytes is None else chunk.view(as_bytes)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return as_bytes is None or is_ascii(chunk)


def _bad_rows(
    schema: EventSchema, table: Table, rules: Rules, suspects: Sequence[int], refuse: Refuse
) -> Iterator[int]:
    """Yield the positions of rows that the row's rule refuses."""
    frame = as_frame(table)
    for position in suspects:
        row = frame.row(position, named=True)
        try:
            schema.row({name: value for name, value in row.items() if value is not None}, rules, spill=True)
        except InvalidEventError as exc:
            refuse(position, exc, row)
            yield position


def normal_form(schema: EventSchema, table: Table) -> Columns | None:
    """Return the row columns in their types, or `None` where a column needs the row's care."""
    height, given = len(table), _by_name(table)
    if not height or not given:
        return None
    extra = [name for name in given if name not in schema.columns or name in ("seq", "recorded")]
    if extra:
        spilled = _spilled([_series(given[name], name) for name in extra])
        if spilled is None or ("attrs" in given and not _is_null(given["attrs"])):
            return None
        given["attrs"] = spilled
    normal = {}
    for name in schema.row_columns:
        column = _cast(given.get(name), schema.columns[name], height)
        if column is None:
            return None
        normal[name] = column
    return normal


def _by_name(table: Table) -> dict[str, _Column]:
    if isinstance(table, pa.Table) and len(set(table.column_names)) < table.num_columns:
        table = as_frame(table)  # which refuses names that repeat
    if isinstance(table, pa.Table):
        return dict(zip(table.column_names, table.columns, strict=True))
    return {column.name: column for column in table.iter_columns()}


def _series(column: _Column, name: str = "") -> pl.Series:
    return column if isinstance(column, pl.Series) else pl.Series(name, column)


def _array(column: pl.Series) -> pa.Array:
    return column.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())


def _is_null(column: _Column) -> bool:
    nulls = column.null_count() if isinstance(column, pl.Series) else column.null_count
    return bool(nulls == len(column))


def _cast(given: _Column | None, wanted: pl.DataType, height: int) -> pa.Array | None:
    """Return a column in its type without losing or inventing anything, `None` where that is not certain."""
    kept = _ARROW_TYPES[wanted]
    if given is None or _is_null(given):
        return pa.nulls(height, kept[0])
    if isinstance(given, pa.ChunkedArray) and given.num_chunks == 1 and given.type in kept:
        return given.chunk(0)
    certain = _certain(_series(given), wanted)
    return None if certain is None else _array(certain)


def _certain(given: pl.Series, wanted: pl.DataType) -> pl.Series | None:
    kind = given.dtype
    if kind == wanted:
        return given
    if isinstance(wanted, pl.Datetime):
        return _instants(given)
    certain = (
        (wanted == pl.String() and isinstance(kind, pl.Categorical | pl.Enum))
        or (wanted == pl.Float64() and kind.is_numeric() and not kind.is_decimal())
        or (wanted == pl.Int64() and kind.is_integer() and kind not in (pl.UInt64(), pl.Int128()))
    )
    return given.cast(wanted) if certain else None


def _instants(given: pl.Series) -> pl.Series | None:
    """Return aware moments in UTC, floored to microseconds."""
    if not isinstance(given.dtype, pl.Datetime) or given.dtype.time_zone is None:
        return None
    physical = given.to_physical()
    if given.dtype.time_unit == "ns":
        physical = physical // 1_000
    elif given.dtype.time_unit == "ms":
        physical = physical * 1_000
    return physical.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _spilled(extra: Sequence[pl.Series]) -> pl.Series | None:
    """Return columns that are no field as attrs, `None` where only the row can tell what becomes of them."""
    if any(column.name in ("seq", "recorded") or not _spills(column) for column in extra):
        return None
    return pl.DataFrame(extra).to_struct().struct.json_encode()


def _spills(column: pl.Series) -> bool:
    """Return whether a column's values have one obvious form in JSON."""
    if column.dtype == pl.Float64():
        return bool(column.is_finite().fill_null(value=True).all())
    return column.dtype in (pl.String(), pl.Boolean()) or column.dtype.is_integer()


def suspect_rows(normal: Columns, rules: Rules) -> list[int]:
    """Return the positions of the rows of columns in normal form that the fast path does not pass."""
    named = presence(normal["action"])
    found = [_suspects(name, column, rules) for name, column in normal.items()]
    suspects = [some for some in (None if named is None else ~named, *found) if some is not None]
    return np.flatnonzero(np.logical_or.reduce(suspects)).tolist() if suspects else []


def _suspects(name: str, column: pa.Array, rules: Rules) -> Numbers | None:
    """Return which values of a column are suspect, `None` where none is; nulls never are."""
    suspects = None if _is_null(column) else _look_at(name, column, rules)
    if suspects is None or not suspects.any():
        return None
    present = presence(column)
    return suspects if present is None else suspects & present


def _look_at(name: str, column: pa.Array, rules: Rules) -> Numbers | None:
    """Return which values of a column are suspect; of nulls, anything."""
    kind = column.type
    if name == "attrs":
        is_joinable = pa.types.is_string(kind) and column.get_total_buffer_size() <= _JOINABLE_BYTES
        attrs = column if is_joinable else column.cast(pa.large_string())
        begins = range(0, len(attrs), _DECODED_ROWS)
        return np.concatenate([_suspect_attrs(attrs.slice(begin, _DECODED_ROWS)) for begin in begins])
    if name == "action":
        return (lengths(column) == 0) | (lengths(column) > MAX_TEXT_BYTES)
    if name == "source":
        return _series(column).eq_missing(OWN_SOURCE).to_numpy() | (lengths(column) > MAX_TEXT_BYTES)
    if pa.types.is_timestamp(kind):
        latest = min(LAST_US - 1, rules.now_us + rules.max_ahead_us) if name == "ts" else LAST_US - 1
        moments, _ = to_numpy(column)
        return (moments < FIRST_US) | (moments > latest)
    if pa.types.is_floating(kind):
        return ~np.isfinite(to_numpy(column)[0])
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return None
    if column.get_total_buffer_size() <= MAX_TEXT_BYTES:  # so no text is longer
        return None
    return lengths(column) > MAX_TEXT_BYTES


def _suspect_attrs(attrs: pa.Array) -> Numbers:
    """Return which attrs may be no JSON object, too long or too deep, from one pass over all of them."""
    present = attrs.drop_null() if attrs.null_count else attrs
    if not _are_objects(present):
        return np.ones(len(attrs), dtype=bool)
    sizes = lengths(attrs)
    if sizes.max() <= SURELY_FLAT:
        return np.zeros(len(attrs), dtype=bool)
    import pyarrow.compute as pc  # loads for 30 ms, which reading need not wait

    depths, _ = to_numpy(pc.count_substring_regex(attrs, r"[{\[]"))
    return (sizes > MAX_ATTRS_BYTES) | (depths > MAX_ATTRS_DEPTH)


def _are_objects(texts: pa.Array) -> bool:
    """Return whether some strings, none of them null, are a JSON object each.

    As many objects as strings are not enough: one string may hold two, and two hold one.  But where each begins with a
    brace and ends with one, no object goes on from one string to the next: nothing else joins `}` and `{`.
    """
    if not len(texts):
        return True
    ends, data = text_of(texts)
    if np.diff(ends).min() < len("{}"):
        return False
    octets = np.frombuffer(data or b"", dtype="u1")
    if not ((octets[ends[:-1]] == _OPENING) & (octets[ends[1:] - 1] == _CLOSING)).all():
        return False
    try:
        return len(_lines.decode_lines(_joined(texts))) == len(texts)
    except (msgspec.DecodeError, RecursionError):
        return False


def _joined(texts: pa.Array) -> pa.Buffer:
    """Return strings as UTF-8, one to a line."""
    # From buffers: Arrow's own way from Python's values imports pandas where it is installed.
    borders = pa.Array.from_buffers(pa.int32(), 2, [None, pa.py_buffer(struct.pack("<2i", 0, len(texts)))])
    ends = pa.py_buffer(struct.pack("<2q" if pa.types.is_large_string(texts.type) else "<2i", 0, 1))
    newline = pa.Array.from_buffers(texts.type, 1, [None, ends, pa.py_buffer(b"\n")])
    import pyarrow.compute as pc  # loads for 30 ms, which reading need not wait

    return pc.binary_join(pa.ListArray.from_arrays(borders, texts), newline)[0].as_buffer()
