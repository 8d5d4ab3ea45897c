"""Segments whose checksums are all right, and whose content is not."""

import struct
from collections.abc import Callable, Sequence
from functools import partial

import pyarrow as pa

from tests.forge.place import Place
from tests.forge.trails import (
    batches_of,
    change_batches,
    edit,
    file_of,
    message_ends,
    put_segment,
    rows_of,
    segment_bytes,
    texts,
    with_column,
    zstd_bomb,
)

_SMALL, _LARGE = 3, 4
"""Numbers of segments: one of some events of today, and one with two record batches."""
_Change = Callable[[pa.RecordBatch], pa.RecordBatch]
_DICTIONARY = pa.dictionary(pa.int8(), pa.large_string())


def _batches(change: _Change, place: Place, *, number: int = _SMALL, codec: str | None = "zstd") -> None:
    change_batches(place.trail, number, change, codec)


def _column(name: str, make: Callable[[pa.Array], pa.Array]) -> Callable[[Place], None]:
    return partial(_batches, with_column(name, make))


def offsets(kind: str) -> Callable[[pa.Array], pa.Array]:
    """Return a change to texts with offsets that are wrong between the first and the last."""

    def make(column: pa.Array) -> pa.Array:
        count = len(column)
        wrong = list(range(0, 10 * (count + 1), 10))
        if kind == "falling":
            wrong[1], wrong[2] = wrong[2], wrong[1]
        else:
            wrong[1] = {"negative": -(1 << 40), "beyond": 1 << 40}[kind]
        return texts(count, wrong, b"x" * wrong[-1])

    return make


def _patched_offsets(name: str, kind: str, place: Place) -> None:
    """Write a file that is not compressed, and damage the first or the last offset in its bytes."""

    def change(batch: pa.RecordBatch) -> pa.RecordBatch:
        count = len(batch)
        return with_column(name, lambda _: texts(count, range(0, 3 * (count + 1), 3), b"abc" * count))(batch)

    batches, metadata = batches_of(segment_bytes(place.trail, _SMALL))
    count = len(batches[0])
    data = bytearray(file_of([change(batch) for batch in batches], metadata, None))
    ends = message_ends(bytes(data))
    at = data.index(struct.pack(f"<{count + 1}q", *range(0, 3 * (count + 1), 3)))
    if kind == "all huge":
        struct.pack_into(f"<{count + 1}q", data, at, *((1 << 62) + n for n in range(count + 1)))
    else:
        where, value = {
            "negative first": (0, -8), "last beyond": (8 * count, 1 << 20), "last huge": (8 * count, 1 << 62)
        }[kind]  # fmt: skip
        struct.pack_into("<q", data, at + where, value)
    put_segment(place.trail, _SMALL, bytes(data), ends=ends)


def bad_utf8(column: pa.Array) -> pa.Array:
    """Return as many texts that are no UTF-8."""
    count = len(column)
    return texts(count, list(range(0, 4 * (count + 1), 4)), b"\xff\xfe\x80\xc3" * count)


def _split_utf8(column: pa.Array) -> pa.Array:
    """Return texts that are valid as a whole, and not one by one."""
    count = len(column)
    return texts(count, list(range(count + 1)), ("é" * count).encode())


def _codes(codes: Callable[[int, int], Sequence[int]], width: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    def make(column: pa.Array) -> pa.Array:
        values = codes(len(column), len(column.dictionary))
        return pa.DictionaryArray.from_arrays(pa.array(values, width), column.dictionary, safe=False)

    return make


def _dictionary(make: Callable[[pa.Array], pa.Array]) -> Callable[[pa.Array], pa.Array]:
    def change(column: pa.Array) -> pa.Array:
        return pa.DictionaryArray.from_arrays(column.indices, make(column.dictionary), safe=False)

    return change


def _of_type(kind: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    return lambda column: pa.nulls(len(column), kind)


def _numbers(kind: pa.DataType, value: int) -> Callable[[pa.Array], pa.Array]:
    return lambda column: pa.array([value] * len(column), pa.int64()).view(kind)


def _deep_type(depth: int) -> pa.DataType:
    kind: pa.DataType = pa.int8()
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


def _without(name: str) -> _Change:
    return lambda batch: batch.drop_columns([name])


def _twice(name: str) -> _Change:
    return lambda batch: batch.append_column(name, batch.column(name))


def _more(count: int) -> _Change:
    def change(batch: pa.RecordBatch) -> pa.RecordBatch:
        names = [*batch.schema.names, *(f"more{number}" for number in range(count))]
        more = [pa.nulls(len(batch), pa.int8())] * count
        return pa.RecordBatch.from_arrays([*batch.columns, *more], names=names)

    return change


def _reordered(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(batch.schema.names[::-1])


def _renamed(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.rename_columns(["../" + name for name in batch.schema.names])


def _sliced(count: int) -> _Change:
    return lambda batch: batch.slice(0, count)


def _null_rows(count: int) -> _Change:
    """Return a change to so many rows without any value."""

    def change(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(
            [pa.nulls(count, field.type) for field in batch.schema], schema=batch.schema
        )

    return change


def _order(name: str, keys: Callable[[int], Sequence[int]]) -> _Change:
    return lambda batch: batch.set_column(
        batch.schema.get_field_index(name), name, batch.column(name).take(pa.array(keys(len(batch))))
    )


def _filters(change: Callable[[dict[bytes, bytes]], dict[bytes, bytes]], place: Place) -> None:
    batches, metadata = batches_of(segment_bytes(place.trail, _SMALL))
    put_segment(place.trail, _SMALL, file_of(batches, change(dict(metadata or {}))))


def _schema_metadata(metadata: dict[bytes, bytes], place: Place) -> None:
    batches, footer = batches_of(segment_bytes(place.trail, _SMALL))
    sink = pa.BufferOutputStream()
    schema = batches[0].schema.with_metadata(metadata)
    with pa.ipc.new_file(sink, schema, metadata=footer) as writer:
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(metadata))
    put_segment(place.trail, _SMALL, bytes(sink.getvalue()))


# --- bytes of the file itself


def _patched(
    change: Callable[[bytearray, list[int]], None], place: Place, *, codec: str | None = "zstd"
) -> None:
    """Damage the bytes of a file; its checksums are those of the damaged ones."""
    batches, metadata = batches_of(segment_bytes(place.trail, _LARGE))
    data = bytearray(file_of(batches, metadata, codec))
    ends = message_ends(bytes(data))
    change(data, ends)
    put_segment(place.trail, _LARGE, bytes(data), ends=ends)


def _metadata_at(data: bytearray, ends: list[int], batch: int = 0) -> tuple[int, int]:
    """Return where the metadata of a record batch lies."""
    start = ends[batch]
    (size,) = struct.unpack_from("<i", data, start + 4)
    return start + 8, start + 8 + size


def _number_in_batch(nth: int, value: int) -> Callable[[bytearray, list[int]], None]:
    """Put a number in the place of the nth number of 64 bits in a record batch's metadata that is not 0."""

    def change(data: bytearray, ends: list[int]) -> None:
        start, end = _metadata_at(data, ends)
        places = [
            place
            for place in range(end - 8, start, -8)
            if 0 < struct.unpack_from("<q", data, place)[0] < 1 << 32
        ]
        struct.pack_into("<q", data, places[nth % len(places)], value)

    return change


def _rows_in_batch(value: int) -> Callable[[bytearray, list[int]], None]:
    """Claim another number of rows in the record batch and in all its columns."""

    def change(data: bytearray, ends: list[int]) -> None:
        start, end = _metadata_at(data, ends)
        for place in range(start, end - 7, 8):
            if struct.unpack_from("<q", data, place)[0] == 4_096:
                struct.pack_into("<q", data, place, value)

    return change


def _message_length(value: int) -> Callable[[bytearray, list[int]], None]:
    return lambda data, ends: struct.pack_into("<i", data, ends[0] + 4, value)


def _uncompressed(value: int) -> Callable[[bytearray, list[int]], None]:
    """Claim another size of what the first buffers decompress to."""

    def change(data: bytearray, ends: list[int]) -> None:
        _, body = _metadata_at(data, ends)
        body += -body % 8
        magic, place = struct.pack("<I", 0xFD2FB528), body
        for _ in range(20):
            place = data.find(magic, place, ends[1])
            if place < 0:
                return
            struct.pack_into("<q", data, place - 8, value)
            place += 4

    return change


def _footer(
    change: Callable[[bytearray, int, int, list[int]], None],
) -> Callable[[bytearray, list[int]], None]:
    def work(data: bytearray, ends: list[int]) -> None:
        (size,) = struct.unpack_from("<i", data, len(data) - 10)
        change(data, len(data) - 10 - size, len(data) - 10, ends)

    return work


def _block(value: int, *, length: int | None = None) -> Callable[[bytearray, list[int]], None]:
    """Let the footer say that the first record batch lies elsewhere, or is longer."""

    def change(data: bytearray, start: int, end: int, ends: list[int]) -> None:
        for place in range(start, end - 24):
            if struct.unpack_from("<q", data, place)[0] == ends[0]:
                struct.pack_into("<q", data, place, value if length is None else ends[0])
                if length is not None:
                    struct.pack_into("<q", data, place + 16, length)

    return _footer(change)


def _second_block(data: bytearray, start: int, end: int, ends: list[int]) -> None:
    """Let the footer name the first record batch twice."""
    for place in range(start, end - 24):
        if struct.unpack_from("<q", data, place)[0] == ends[1]:
            struct.pack_into("<q", data, place, ends[0])


def _footer_size(value: int) -> Callable[[bytearray, list[int]], None]:
    return lambda data, ends: struct.pack_into("<i", data, len(data) - 10 + 0 * len(ends), value)


def _garbage(data: bytearray, start: int, end: int, ends: list[int]) -> None:
    del ends
    for place in range(start, end):
        data[place] = place * 7 % 256


def _ones(data: bytearray, start: int, end: int, ends: list[int]) -> None:
    del ends
    data[start:end] = b"\xff" * (end - start)


def _head(at: int, value: bytes) -> Callable[[bytearray, list[int]], None]:
    def change(data: bytearray, ends: list[int]) -> None:
        del ends
        data[at : at + len(value)] = value

    return change


def _dictionaries(value: int) -> Callable[[bytearray, list[int]], None]:
    """Claim other numbers in all dictionaries: whatever is a small number of 64 bits in what lies before the batches."""

    def change(data: bytearray, ends: list[int]) -> None:
        (schema,) = struct.unpack_from("<i", data, 12)
        for place in range(16 + schema + 16, ends[0] - 8, 8):
            if struct.unpack_from("<q", data, place)[0] == 3:
                struct.pack_into("<q", data, place, value)

    return change


def _bomb(place: Place) -> None:
    """Put a bomb in the place of the text of a column: few bytes that become a gigabyte, as its buffers say."""
    size = 1 << 30
    batches, metadata = batches_of(segment_bytes(place.trail, _SMALL))
    marker = bytes(range(256)) * 300  # does not compress

    def change(column: pa.Array) -> pa.Array:
        offsets = [0, *[len(marker)] * len(column)]
        return texts(len(column), offsets, marker)

    changed = [with_column("attrs", change)(batch) for batch in batches]
    data = bytearray(file_of(changed, metadata))
    ends = message_ends(bytes(data))
    at = data.find(struct.pack("<q", len(marker)) + struct.pack("<I", 0xFD2FB528), ends[0])
    if at < 0:  # not compressed: -1, then the bytes
        at = data.find(struct.pack("<q", -1) + marker[:16], ends[0])
    assert at > 0
    bomb = zstd_bomb(size)
    assert len(bomb) < len(marker)
    struct.pack_into("<q", data, at, size)
    data[at + 8 : at + 8 + len(bomb)] = bomb
    put_segment(place.trail, _SMALL, bytes(data), ends=ends)


def _many_rows(place: Place) -> None:
    """Fifty million rows without a value, in a few kilobytes; the catalog says the same."""
    count = 50_000_000
    batches, metadata = batches_of(segment_bytes(place.trail, _SMALL))
    row = rows_of(place.trail, "segments")[_SMALL]
    more = count - row["rows"]
    nulls = {name: pa.nulls(count, pa.null()) for name in batches[0].schema.names}
    data = file_of([pa.RecordBatch.from_pydict(nulls)], metadata)
    put_segment(place.trail, _SMALL, data, rows=count)
    flush = rows_of(place.trail, "flushes")[-1]
    edit(place.trail, "flushes", -1, end_seq=flush["end_seq"] + more)
    parts = bytearray(rows_of(place.trail, "segments")[_SMALL]["batches"])
    struct.pack_into("<I", parts, 0, count)
    edit(place.trail, "segments", _SMALL, batches=bytes(parts))


def _swapped(place: Place) -> None:
    """Let a row name the bytes of another segment."""
    put_segment(place.trail, _SMALL, segment_bytes(place.trail, 0))


def _whole(data: bytes, place: Place) -> None:
    put_segment(place.trail, _SMALL, data, ends=[min(8, len(data)), len(data)])


def _as_parquet(place: Place) -> None:
    _whole(b"PAR1" + bytes(1_000) + b"PAR1", place)


_TYPES = {
    "text": pa.large_string(),
    "view": pa.string_view(),
    "binary": pa.large_binary(),
    "int8": pa.int8(),
    "float16": pa.float16(),
    "decimal": pa.decimal256(70, 3),
    "deep list": _deep_type(20),
    "deeper list": _deep_type(60),
    "struct": pa.struct([pa.field("a", pa.int8())]),
    "map": pa.map_(pa.string(), pa.int8()),
    "null": pa.null(),
    "run ends": pa.run_end_encoded(pa.int32(), pa.int64()),
    "wide": pa.binary(1 << 20),
    "other zone": pa.timestamp("us", "Mars/Olympus"),
    "seconds": pa.timestamp("s", "UTC"),
    "list view": pa.large_list_view(pa.int8()),
}

_COLUMNS: dict[str, Callable[[Place], None]] = {
    **{
        f"{name} of type {what}": _column(name, _of_type(kind))
        for name, kinds in {
            "ts": ("text", "int8", "seconds", "other zone", "null", "struct"),
            "seq": ("text", "float16", "null"),
            "recorded": ("text", "null"),
            "value": ("text", "decimal", "binary"),
            "attrs": ("view", "binary", "int8", "deep list", "deeper list", "map", "run ends", "null", "wide", "list view"),
            "action": ("text", "int8", "null"),
            "source": ("text", "binary", "null"),
            "amount": ("text",),
            "due": ("other zone",),
            "paid": ("int8",),
        }.items()
        for what, kind in ((what, _TYPES[what]) for what in kinds)
    },
    **{
        f"offsets of attrs {kind}": partial(_patched_offsets, "attrs", kind)
        for kind in ("negative first", "last beyond", "last huge", "all huge")
    },
    **{
        f"offsets of {name} {kind}": _column(name, offsets(kind))
        for name in ("attrs", "id")
        for kind in ("falling", "negative", "beyond")
    },
    **{
        f"offsets of the dictionary of {name} {kind}": _column(name, _dictionary(offsets(kind)))
        for name in ("actor", "action")
        for kind in ("falling", "negative", "beyond")
    },
    "UTF-8 of attrs": _column("attrs", bad_utf8),
    "UTF-8 of id": _column("id", bad_utf8),
    "UTF-8 of resource, split": _column("resource", _split_utf8),
    "UTF-8 of note": _column("note", bad_utf8),
    "UTF-8 of the dictionary of actor": _column("actor", _dictionary(bad_utf8)),
    "UTF-8 of the dictionary of action, split": _column("action", _dictionary(_split_utf8)),
    "codes of actor beyond": _column("actor", _codes(lambda n, _: [100] * n, pa.int8())),
    "codes of actor by one": _column("actor", _codes(lambda n, k: [k] * n, pa.int8())),
    "codes of action beyond": _column("action", _codes(lambda n, _: [1 << 30] * n, pa.int32())),
    "codes of action negative": _column("action", _codes(lambda n, _: [-1] * n, pa.int8())),
    "codes of source negative": _column("source", _codes(lambda n, _: [-100_000] * n, pa.int32())),
    "codes of source 64 bits": _column("source", _codes(lambda n, _: [1 << 62] * n, pa.int64())),
    "codes of outcome unsigned": _column("outcome", _codes(lambda n, _: [255] * n, pa.uint8())),
    "dictionary with null": _column(
        "action", lambda c: pa.DictionaryArray.from_arrays(pa.array([0] * len(c), pa.int8()), pa.array([None], pa.large_string()))
    ),
    "dictionary with a value twice": _column(
        "action",
        lambda c: pa.DictionaryArray.from_arrays(
            pa.array([n % 2 for n in range(len(c))], pa.int8()), pa.array(["a", "a"], pa.large_string())
        ),
    ),
    "dictionary that is empty": _column(
        "action", lambda c: pa.DictionaryArray.from_arrays(pa.array([0] * len(c), pa.int8()), pa.array([], pa.large_string()), safe=False)
    ),
    "dictionary of numbers": _column(
        "action", lambda c: pa.DictionaryArray.from_arrays(pa.array([0] * len(c), pa.int8()), pa.array([7]))
    ),
    "dictionary of short strings": _column(
        "action", lambda c: pa.DictionaryArray.from_arrays(pa.array([0] * len(c), pa.int8()), pa.array(["a"]))
    ),
    "dictionary for attrs": _column("attrs", lambda c: pa.array(["{}"] * len(c), pa.large_string()).dictionary_encode()),
    "ts null": _column("ts", lambda c: pa.nulls(len(c), c.type)),
    "ts smallest": _column("ts", _numbers(pa.timestamp("us", "UTC"), -(1 << 63))),
    "ts largest": _column("ts", _numbers(pa.timestamp("us", "UTC"), (1 << 63) - 1)),
    "ts of another day": _column("ts", _numbers(pa.timestamp("us", "UTC"), 0)),
    "ts not in order": partial(_batches, _order("ts", lambda n: range(n - 1, -1, -1))),
    "recorded largest": _column("recorded", _numbers(pa.timestamp("us", "UTC"), (1 << 63) - 1)),
    "due largest": _column("due", _numbers(pa.timestamp("us", "UTC"), (1 << 63) - 1)),
    "seq null": _column("seq", lambda c: pa.nulls(len(c), c.type)),
    "seq largest": _column("seq", _numbers(pa.uint64(), -1)),
    "seq all the same": _column("seq", lambda c: pa.array([c[0].as_py()] * len(c), c.type)),
    "action null": _column("action", lambda c: pa.nulls(len(c), c.type)),
    "attrs no JSON": _column("attrs", lambda c: pa.array(["{"] * len(c), pa.large_string())),
    "attrs deep": _column("attrs", lambda c: pa.array(['{"pages":' * 50_000 + "1" + "}" * 50_000] * len(c), pa.large_string())),
    "attrs with the canary's name": _column("attrs", lambda c: pa.array(['{"pages":"../../outside"}'] * len(c), pa.large_string())),
    "attrs long": _column("attrs", lambda c: pa.array(["{" + " " * 4_000_000 + "}"] * len(c), pa.large_string())),
    "without ts": partial(_batches, _without("ts")),
    "without seq": partial(_batches, _without("seq")),
    "without source": partial(_batches, _without("source")),
    "without attrs": partial(_batches, _without("attrs")),
    "ts twice": partial(_batches, _twice("ts")),
    "attrs twice": partial(_batches, _twice("attrs")),
    "20,000 more columns": partial(_batches, _more(20_000)),
    "columns in another order": partial(_batches, _reordered),
    "columns with other names": partial(_batches, _renamed),
    "fewer rows": partial(_batches, _sliced(3)),
    "no rows": partial(_batches, _sliced(0)),
    "rows without values": partial(_batches, _null_rows(31)),
    "a million rows without values": partial(_batches, _null_rows(1_000_000)),
    "not compressed": partial(_batches, lambda batch: batch, codec=None),
    "compressed with lz4": partial(_batches, lambda batch: batch, codec="lz4"),
}  # fmt: skip

_FILES: dict[str, Callable[[Place], None]] = {
    **{
        f"number {nth} of a batch's metadata {what}": partial(_patched, _number_in_batch(nth, value), codec=codec)
        for nth in (0, 1, 2, 7, 20, 31)
        for what, value, codec in (("huge", 1 << 60, "zstd"), ("negative", -16, None))
    },
    "rows of a batch's metadata": partial(_patched, _rows_in_batch(50_000_000)),
    "rows of a batch's metadata, not compressed": partial(_patched, _rows_in_batch(50_000_000), codec=None),
    "rows of a batch's metadata negative": partial(_patched, _rows_in_batch(-1)),
    "rows of a batch's metadata one more": partial(_patched, _rows_in_batch(4_097)),
    "length of a message huge": partial(_patched, _message_length((1 << 31) - 1)),
    "length of a message negative": partial(_patched, _message_length(-2)),
    "length of a message 0": partial(_patched, _message_length(0)),
    "size of what is compressed huge": partial(_patched, _uncompressed(1 << 60)),
    "size of what is compressed a gigabyte": partial(_patched, _uncompressed(1 << 30)),
    "size of what is compressed negative": partial(_patched, _uncompressed(-5)),
    "size of what is compressed 0": partial(_patched, _uncompressed(0)),
    "size of what is compressed small": partial(_patched, _uncompressed(8)),
    "size of what is compressed as if it were not": partial(_patched, _uncompressed(-1)),
    "block of the footer beyond": partial(_patched, _block(1 << 40)),
    "block of the footer negative": partial(_patched, _block(-8)),
    "block of the footer at 0": partial(_patched, _block(0)),
    "block of the footer long": partial(_patched, _block(0, length=1 << 50)),
    "block of the footer negative length": partial(_patched, _block(0, length=-64)),
    "block of the footer twice": partial(_patched, _footer(_second_block)),
    "footer garbage": partial(_patched, _footer(_garbage)),
    "footer ones": partial(_patched, _footer(_ones)),
    "footer's size huge": partial(_patched, _footer_size((1 << 31) - 1)),
    "footer's size negative": partial(_patched, _footer_size(-1)),
    "footer's size 0": partial(_patched, _footer_size(0)),
    "schema garbage": partial(_patched, _head(40, bytes(range(200)))),
    "schema's size huge": partial(_patched, _head(12, b"\xff\xff\xff\x7f")),
    "magic": partial(_patched, _head(0, b"NOTARROW")),
    "dictionaries' numbers huge": partial(_patched, _dictionaries(1 << 50)),
    "dictionaries' numbers negative": partial(_patched, _dictionaries(-3)),
    "dictionaries' numbers a million": partial(_patched, _dictionaries(1_000_000)),
    "bomb of a gigabyte": _bomb,
    "fifty million rows in kilobytes": _many_rows,
    "bytes of another segment": _swapped,
    "no bytes": partial(_whole, b""),
    "eight bytes": partial(_whole, b"ARROW1\0\0"),
    "Parquet": _as_parquet,
    "Feather, first version": partial(_whole, b"FEA1" + bytes(100) + b"FEA1"),
    **{
        f"filters {what}": partial(_filters, change)
        for what, change in {
            "none": lambda _: {},
            "empty": lambda old: dict.fromkeys(old, b""),
            "garbage": lambda old: dict.fromkeys(old, bytes(range(1, 120)) * 3),
            "not ASCII": lambda old: dict.fromkeys(old, "é".encode() * 99),
            "short": lambda old: {key: value[:5] for key, value in old.items()},
            "huge": lambda old: dict.fromkeys(old, b"\x7f" * 3_000_000),
            "twice as long": lambda old: {key: value * 2 for key, value in old.items()},
            "many": lambda old: old | {b"more%d" % number: b"x" for number in range(50_000)},
        }.items()
    },
    "format of a later version": partial(_schema_metadata, {b"auditkit.format": b"2"}),
    "no format": partial(_schema_metadata, {}),
    "pandas metadata": partial(_schema_metadata, {b"auditkit.format": b"1", b"pandas": b"{" * 1_000}),
    "extension type": partial(
        _schema_metadata, {b"auditkit.format": b"1", b"ARROW:extension:name": b"arrow.json"}
    ),
}  # fmt: skip

SEGMENT_CASES: dict[str, Callable[[Place], None]] = {
    f"segment: {what}": make for what, make in (_COLUMNS | _FILES).items()
}
