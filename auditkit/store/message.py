"""What the message of a record batch says of its buffers, read and written where it lies (Arrow's Message.fbs).

Arrow tells nobody where in a file a column's bytes are.  A message's metadata is a table of FlatBuffers: the places of
its numbers are found once, then they are read, or others are put there.
"""

import struct
from collections.abc import Sequence

from msgspec import Struct

PREFIX = struct.Struct("<4xi")
"""What begins a message: a marker, and how long its metadata is."""
ALIGNMENT = 8
_HEADER, _BODY_LENGTH = 2, 3
_LENGTH, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3
_PAIR_BYTES = 16

Bytes = bytes | bytearray | memoryview
Pairs = Sequence[tuple[int, int]]


class Batch(Struct, frozen=True, kw_only=True):
    """One record batch: its events, how many nulls each column has, and where each buffer begins and ends in the file."""

    rows: int
    nulls: Sequence[int]
    buffers: Pairs


def read_batch(file: Bytes, begin: int) -> Batch:
    """Return what the message that begins there says; one that is not compressed is a `ValueError`."""
    places = _Places.of(file, begin)
    if not places.compression:
        raise ValueError("record batch is not compressed")
    nodes = struct.unpack_from(f"<{2 * places.columns}q", file, places.nodes)
    buffers = struct.unpack_from(f"<{2 * places.count}q", file, places.buffers)
    return Batch(
        rows=struct.unpack_from("<q", file, places.length)[0],
        nulls=nodes[1::2],
        buffers=[
            (places.body + offset, places.body + offset + size)
            for offset, size in zip(buffers[::2], buffers[1::2], strict=True)
        ],
    )


def metadata_like(
    message: Bytes, rows: int, nulls: Sequence[int], buffers: Pairs, body_bytes: int
) -> bytearray:
    """Return the metadata of a batch with the same columns, and with these events and buffers (offset, length)."""
    places = _Places.of(message, 0)
    metadata = bytearray(message[: places.body])
    struct.pack_into("<q", metadata, places.length, rows)
    struct.pack_into("<q", metadata, places.body_length, body_bytes)
    struct.pack_into(
        f"<{2 * len(nulls)}q", metadata, places.nodes, *(n for null in nulls for n in (rows, null))
    )
    struct.pack_into(
        f"<{2 * len(buffers)}q", metadata, places.buffers, *(n for pair in buffers for n in pair)
    )
    return metadata


class _Places(Struct, frozen=True, kw_only=True):
    """Where in a file the numbers of a message lie, and where its body begins."""

    length: int
    body_length: int
    nodes: int
    columns: int
    buffers: int
    count: int
    compression: int
    body: int

    @classmethod
    def of(cls, file: Bytes, begin: int) -> "_Places":
        (metadata_bytes,) = PREFIX.unpack_from(file, begin)
        root = begin + PREFIX.size
        message = root + _number(file, "I", root)
        batch = _followed(file, message, _HEADER)
        nodes, buffers = _followed(file, batch, _NODES), _followed(file, batch, _BUFFERS)
        return cls(
            length=_place(file, batch, _LENGTH),
            body_length=_place(file, message, _BODY_LENGTH),
            nodes=nodes + 4,
            columns=_number(file, "I", nodes),
            buffers=buffers + 4,
            count=_number(file, "I", buffers),
            compression=_place(file, batch, _COMPRESSION),
            body=root + metadata_bytes,
        )


def _followed(file: Bytes, table: int, number: int) -> int:
    """Return where a table's field with this number points to."""
    place = _place(file, table, number)
    return place + _number(file, "I", place)


def _place(file: Bytes, table: int, number: int) -> int:
    """Return where a table's field with this number lies, 0 where the table leaves it out."""
    fields = table - _number(file, "i", table)
    offset = _number(file, "H", fields + 4 + 2 * number) if 4 + 2 * number < _number(file, "H", fields) else 0
    return table + offset if offset else 0


def _number(file: Bytes, kind: str, position: int) -> int:
    return int(struct.unpack_from(f"<{kind}", file, position)[0])
