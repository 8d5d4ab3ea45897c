"""Arrow's messages and buffers, checked before anything relies on them: what they claim, and what they hold.

Arrow and Polars believe what a file says: they take the memory that a compressed buffer claims to need, and follow
offsets and codes wherever these lead.  So what a message claims is held against the events it may have before it is
decoded, and each column is looked at once before it is used.  What is wrong is a `ValueError`.

Of a message's metadata, flatbuffers (https://arrow.apache.org/docs/format/Columnar.html, `Message.fbs` and `File.fbs`),
only what claims memory is read here; Arrow verifies the rest.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

from auditkit.arrow import Numbers, is_ascii, lengths, to_numpy
from auditkit.event import (
    DICTIONARY_COLUMNS,
    FIRST_US,
    LAST_US,
    MAX_ATTRS_BYTES,
    MAX_TEXT_BYTES,
    EventSchema,
)
from auditkit.store.records import BATCH_BYTES, BatchInfo, SegmentRow

SCHEMA_MESSAGE, DICTIONARY_MESSAGE, BATCH_MESSAGE = 1, 2, 3
TEXT_TYPES = (pa.large_string(), pa.string())
_ARROW_TYPES = {
    "seq": pa.uint64(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.large_string(),
    "datetime": pa.timestamp("us", "UTC"),
}
_CODES = (pa.int8(), pa.int16(), pa.int32())
_PADDING_BYTES = 64
_PADDING_BITS = 8 * _PADDING_BYTES
"""A buffer may be filled up to a multiple of so much."""
_PREFIX_BYTES = 8
_MOST_FIELDS = 4
"""No field behind so many of a table is looked at."""
_CLAIM, _UNCOMPRESSED = struct.Struct("<q"), -1
"""Before a compressed buffer lies how many bytes it has once it is decompressed, or that it is not compressed."""
_MAGIC = b"ARROW1"
_BLOCK = np.dtype([("start", "<i8"), ("head", "<i4"), ("padding", "<i4"), ("body", "<i8")])
_PAIR = np.dtype([("first", "<i8"), ("second", "<i8")])


class Shape(Struct, frozen=True, kw_only=True):
    """What columns take of memory."""

    columns: int
    buffers: Sequence[tuple[int, int, int, bool]]
    """For each buffer the bits per event at least and at most, the bits that are added, and whether it is text, which is
    bounded apart."""

    @classmethod
    def of(cls, types: Sequence[pa.DataType]) -> "Shape":
        """Return the shape of columns of these types."""
        buffers = []
        for kind in types:
            buffers.append((0, 1, _PADDING_BITS, False))
            if kind in TEXT_TYPES:
                bits = 32 if kind == pa.string() else 64
                buffers += [(bits, bits, bits + _PADDING_BITS, False), (0, 0, 0, True)]
            else:
                stored = kind.index_type if pa.types.is_dictionary(kind) else kind
                buffers.append((stored.bit_width, stored.bit_width, _PADDING_BITS, False))
        return cls(columns=len(types), buffers=buffers)

    @property
    def texts(self) -> int:
        """The number of buffers of text."""
        return sum(is_text for *_, is_text in self.buffers)


_DICTIONARY = Shape.of([pa.large_string()])


class Message(Struct, frozen=True):
    """One message among some bytes: its kind, where its table lies, and where its body begins and ends."""

    data: bytes
    kind: int
    table: int
    body: int
    end: int


def message_at(data: bytes, start: int) -> Message:
    """Return the message that begins at a position."""
    marker, size = _unpack("<iI", data, start)
    body = start + _PREFIX_BYTES + size
    if marker != -1 or not size or body > len(data):
        raise ValueError(f"no message at {start}")
    table = start + _PREFIX_BYTES + _unpack("<I", data, start + _PREFIX_BYTES)[0]
    places = _fields(data, table)
    length = _number(data, places[3], "<q")
    if not 0 <= length <= len(data) - body:
        raise ValueError(f"the message at {start} is cut short")
    return Message(data, _number(data, places[1], "<B"), _table(data, places[2]), body, body + length)


def check_claims(message: Message, table: int, shape: Shape, *, most_rows: int, most_text: int) -> int:
    """Return how many events a message with a record batch, whose table is given, claims.

    Its buffers, decompressed, take no more memory than these, and than `most_text` bytes of text.
    """
    data, body, space = message.data, message.body, message.end - message.body
    places = _fields(data, table)
    rows = _number(data, places[0], "<q")
    nodes, buffers = _vector(data, places[1], _PAIR), _vector(data, places[2], _PAIR)
    if not 0 <= rows <= most_rows:
        raise ValueError(f"a record batch of {rows} events (expected {most_rows} at most)")
    if len(nodes) != shape.columns or len(buffers) != len(shape.buffers):
        raise ValueError(f"a record batch with {len(nodes)} columns in {len(buffers)} buffers")
    if not all(count == rows and 0 <= nulls <= rows for count, nulls in nodes.tolist()):
        raise ValueError(f"a record batch of {rows} events with columns of another length")
    is_compressed, text, nulls = places[3] > 0, 0, iter(nodes["second"].tolist())
    for (start, size), (least, bits, added, is_text) in zip(buffers.tolist(), shape.buffers, strict=True):
        if start < 0 or size < 0 or start + size > space:
            raise ValueError("a record batch with a buffer that lies outside of it")
        claimed = size
        if is_compressed and size:
            (claimed,) = _CLAIM.unpack_from(data, body + start) if size >= _CLAIM.size else (0,)
            claimed = size - _CLAIM.size if claimed == _UNCOMPRESSED else claimed
        if bits == 1 and not least and next(nulls) and 8 * claimed < rows:
            raise ValueError("a record batch with nulls that are nowhere")
        text += claimed if is_text else 0
        claimed_bits = 8 * claimed
        if claimed_bits < least * rows or (
            text > most_text if is_text else claimed_bits > bits * rows + added
        ):
            raise ValueError(f"a record batch of {rows} events claims a buffer of {claimed} bytes")
    return rows


class Blocks(Struct, frozen=True, kw_only=True):
    """Where the footer of a segment says that its dictionaries lie, and how long the metadata of each message are."""

    dictionaries: Sequence[int]
    dictionary_heads: Sequence[int]
    heads: Sequence[int]


def read_footer(foot: bytes, row: SegmentRow) -> Blocks:
    """Return what the footer, in the bytes behind the last record batch, says of a segment.

    The record batches are where the catalog says, and nothing lies between the dictionaries and them.
    """
    place = len(foot) - len(_MAGIC) - 4
    start = place - _unpack("<I", foot, place)[0]
    if start < 0 or not foot.endswith(_MAGIC):
        raise ValueError("no footer")
    places = _fields(foot, start + _unpack("<I", foot, start)[0])
    dictionaries, batches = _vector(foot, places[2], _BLOCK), _vector(foot, places[3], _BLOCK)
    parts = [(part.start, part.end) for part in row.parts]
    if list(zip(batches["start"].tolist(), _ends(batches), strict=True)) != parts:
        raise ValueError("record batches lie elsewhere than the catalog says")
    begins = dictionaries["start"].tolist()
    if [*begins[1:], row.head_bytes][: len(begins)] != _ends(dictionaries) or len(begins) > len(
        DICTIONARY_COLUMNS
    ):
        raise ValueError("dictionaries lie elsewhere than before the record batches")
    return Blocks(
        dictionaries=begins,
        dictionary_heads=dictionaries["head"].tolist(),
        heads=batches["head"].tolist(),
    )


def _ends(blocks: Numbers) -> list[int]:
    ends: list[int] = (blocks["start"] + blocks["head"] + blocks["body"]).tolist()
    return ends


def check_dictionary_claims(head: bytes, blocks: Blocks, row: SegmentRow) -> None:
    """Hold the dictionaries, in the bytes before the first record batch, against the events of a segment."""
    for start, size in zip(blocks.dictionaries, blocks.dictionary_heads, strict=True):
        message = message_at(head, start)
        if message.kind != DICTIONARY_MESSAGE or message.body - start != size:
            raise ValueError("no dictionary where the footer names one")
        table = _table(head, _fields(head, message.table)[1])
        values = _number(head, _fields(head, table)[0], "<q")
        most_text = max(0, values) * MAX_TEXT_BYTES + _PADDING_BYTES
        check_claims(message, table, _DICTIONARY, most_rows=row.rows, most_text=most_text)


def check_batch_claims(data: bytes, head: int, part: BatchInfo, shape: Shape) -> None:
    """Hold the message of a record batch against what the catalog says of it, and what it may have of text."""
    message = message_at(data, 0)
    if message.kind != BATCH_MESSAGE or message.body != head or message.end != len(data):
        raise ValueError("no record batch where the footer names one")
    most_text = BATCH_BYTES + (MAX_ATTRS_BYTES + _PADDING_BYTES) * shape.texts
    rows = check_claims(message, message.table, shape, most_rows=part.rows, most_text=most_text)
    if rows != part.rows:
        raise ValueError(f"a record batch of {rows} events (expected {part.rows})")


def check_schema(found: pa.Schema, schema: EventSchema) -> Shape:
    """Return what record batches of a segment take, whose schema must be that of its trail."""
    if found.names != list(schema.columns):
        raise ValueError(f"no columns of an event (found {', '.join(found.names)[:200]})")
    for name, kind in (("seq", "seq"), ("recorded", "datetime"), *schema.row_kinds):
        given, expected = found.field(name).type, _ARROW_TYPES[kind]
        if name in DICTIONARY_COLUMNS:
            sound = pa.types.is_dictionary(given) and (given.value_type, given.index_type in _CODES) == (
                expected,
                True,
            )
        else:
            sound = given == expected
        if not sound:
            raise ValueError(f"column {name}: not of its type (found {given})"[:200])
    return Shape.of(found.types)


def check_column(name: str, column: pa.Array, part: BatchInfo, row: SegmentRow) -> None:
    """Look at all values of a column of a record batch whose buffers have their sizes; of a dictionary, at the codes."""
    if isinstance(column, pa.DictionaryArray):
        codes = _present(column.indices)
        if len(codes) and (codes.min() < 0 or codes.max() >= len(column.dictionary)):
            raise ValueError(
                f"column {name}: a code beyond the {len(column.dictionary)} values of its dictionary"
            )
    elif column.type in TEXT_TYPES:
        check_texts(name, column, MAX_ATTRS_BYTES if name == "attrs" else MAX_TEXT_BYTES)
    elif name in ("seq", "ts", "recorded"):
        _check_numbers(name, column, part, row)
    elif pa.types.is_timestamp(column.type):
        stamps = _present(column)
        if ((stamps < FIRST_US) | (stamps >= LAST_US)).any():
            raise ValueError(f"column {name}: a time out of range")


def check_dictionary(name: str, values: pa.Array) -> None:
    """Look at all values of a dictionary."""
    if values.null_count:
        raise ValueError(f"column {name}: a dictionary with nulls")
    check_texts(name, values, MAX_TEXT_BYTES)


def check_texts(name: str, texts: pa.Array, most: int) -> None:
    """Hold texts, whose buffers were validated, against UTF-8 and the length that one may have."""
    sizes = lengths(texts)
    if len(sizes) and (sizes.min() < 0 or not is_ascii(texts)):
        texts.validate(full=True)
    if len(sizes) and sizes.max() > most:
        raise ValueError(f"column {name}: a text of {sizes.max()} bytes (expected {most} at most)")


def _check_numbers(name: str, column: pa.Array, part: BatchInfo, row: SegmentRow) -> None:
    """Hold the column that says which event it is, or when, against the catalog."""
    low, high = {
        "seq": (part.min_seq, part.max_seq),
        "ts": (part.min_ts_us, part.max_ts_us),
        "recorded": (row.min_recorded_us, row.max_recorded_us),
    }[name]
    numbers, present = to_numpy(column)
    if present is not None or numbers.min() < low or numbers.max() > high:
        raise ValueError(f"column {name}: values beyond the bounds in the catalog")
    if name == "ts" and (numbers[1:] < numbers[:-1]).any():
        raise ValueError("column ts: not in order")


def _present(column: pa.Array) -> Numbers:
    """Return the numbers of a column that are not null."""
    numbers, present = to_numpy(column)
    return numbers if present is None else numbers[present]


def _unpack(form: str, data: bytes, at: int) -> tuple[Any, ...]:
    if at < 0:
        raise ValueError(f"a position before the beginning ({at})")
    try:
        return struct.unpack_from(form, data, at)
    except struct.error as exc:
        raise ValueError(f"a position beyond the end ({at})") from exc


def _fields(data: bytes, table: int) -> Sequence[int]:
    """Return where the first fields of a table lie, 0 where one has its default."""
    start = table - _unpack("<i", data, table)[0]
    count = min(_MOST_FIELDS, _unpack("<H", data, start)[0] // 2 - 2)
    offsets = _unpack(f"<{max(0, count)}H", data, start + 4)
    return [*(table + offset if offset else 0 for offset in offsets), *[0] * (_MOST_FIELDS - len(offsets))]


def _number(data: bytes, place: int, form: str) -> int:
    return int(_unpack(form, data, place)[0]) if place else 0


def _table(data: bytes, place: int) -> int:
    """Return where a table lies that is a field of another."""
    if not place:
        raise ValueError("a message without its content")
    return place + int(_unpack("<I", data, place)[0])


def _vector(data: bytes, place: int, kind: Any) -> Numbers:
    if not place:
        return np.empty(0, dtype=kind)
    start = place + _unpack("<I", data, place)[0]
    return np.frombuffer(data, dtype=kind, count=_unpack("<I", data, start)[0], offset=start + 4)
