"""Queue files whose checksums are all right, and whose frames and payloads are not."""

import struct
from collections.abc import Callable

import msgspec
import pyarrow as pa

from tests.forge.cases_segments import bad_utf8, offsets
from tests.forge.place import Place
from tests.forge.trails import (
    ROW_COLUMNS,
    add_frame,
    arrow_payload,
    change_header,
    event_columns,
    frames_of,
    put_frames,
    queue_files,
    stream_of,
    texts,
    with_column,
    zstd_bomb,
)

_MOST = (1 << 64) - 1


def _pack(columns: object) -> bytes:
    return msgspec.msgpack.encode(columns)


def _frame(payload: bytes, **frame: int | bytes | bool) -> Callable[[Place], None]:
    return lambda place: add_frame(place.trail, payload, **frame)  # type: ignore[arg-type]


def _event(count: int = 1, **values: object) -> Callable[[Place], None]:
    return _frame(_pack(event_columns(count, **values)), count=count)


def _nils(count: int) -> Callable[[Place], None]:
    return _frame(_pack([None] * ROW_COLUMNS), count=count)


def _arrow(
    change: Callable[[pa.RecordBatch], pa.RecordBatch], codec: str | None = None
) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        batch = change(arrow_payload(place.trail))
        add_frame(place.trail, stream_of(batch, codec), count=20)

    return make


def _arrow_column(name: str, make: Callable[[pa.Array], pa.Array]) -> Callable[[Place], None]:
    return _arrow(with_column(name, make))


def _arrow_of_type(name: str, kind: pa.DataType) -> Callable[[Place], None]:
    return _arrow_column(name, lambda column: pa.nulls(len(column), kind))


def _null_rows(count: int) -> Callable[[Place], None]:
    """Return so many rows in a few bytes: columns of Arrow's null type."""

    def make(place: Place) -> None:
        names = arrow_payload(place.trail).schema.names
        batch = pa.RecordBatch.from_pydict({name: pa.nulls(count, pa.null()) for name in names})
        add_frame(place.trail, stream_of(batch), count=count)

    return make


def _patched(old: bytes, new: bytes, codec: str | None = None) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        data = stream_of(arrow_payload(place.trail), codec)
        add_frame(place.trail, data.replace(old, new), count=20)

    return make


def _arrow_bomb(place: Place) -> None:
    size, marker = 1 << 30, bytes(range(256)) * 300

    def change(column: pa.Array) -> pa.Array:
        return texts(len(column), [0, *[len(marker)] * len(column)], marker)

    data = bytearray(stream_of(with_column("attrs", change)(arrow_payload(place.trail)), "zstd"))
    at = data.find(struct.pack("<qI", len(marker), 0xFD2FB528))
    if at < 0:
        at = data.find(struct.pack("<q", -1) + marker[:16])
    assert at > 0
    bomb = zstd_bomb(size)
    struct.pack_into("<q", data, at, size)
    data[at + 8 : at + 8 + len(bomb)] = bomb
    add_frame(place.trail, bytes(data), count=20)


def _frames(
    change: Callable[[list[tuple[bytes, int, int, int, bytes]]], list[tuple[bytes, int, int, int, bytes]]],
) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        path = queue_files(place.trail)[-1]
        header, frames = frames_of(path)
        put_frames(path, header, change(frames))

    return make


def _header(newest: bool, **values: int) -> Callable[[Place], None]:
    return lambda place: change_header(queue_files(place.trail)[-1 if newest else 0], **values)


def _durable(value: int) -> Callable[[Place], None]:
    """Let the last frame say that so many bytes are durable."""

    def make(place: Place) -> None:
        from auditkit.queue.frames import pack_frame

        path = queue_files(place.trail)[-1]
        data = path.read_bytes().rstrip(b"\0")
        data += bytes(-len(data) % 8)
        path.write_bytes(data)
        header, frames = frames_of(path)
        put_frames(path, header, frames, space=0)
        _, seq, count, recorded, _ = frames[-1]
        with path.open("ab") as file:
            file.write(pack_frame(b"AKCM", seq + count, 0, recorded_us=recorded, durable=value))

    return make


def _next(seq: int) -> Callable[[Place], None]:
    return _frame(b"", kind=b"AKNF", seq=seq, count=0, is_marked=False)


def _many_parts(place: Place) -> None:
    """A batch of very many frames that never ends."""
    path = queue_files(place.trail)[-1]
    header, frames = frames_of(path)
    _, seq, count, recorded, _ = frames[-1]
    payload = _pack(event_columns())
    frames += [(b"AKPT", seq + count + number, 1, recorded, payload) for number in range(20_000)]
    put_frames(path, header, frames)


def _many_empty(place: Place) -> None:
    path = queue_files(place.trail)[-1]
    header, frames = frames_of(path)
    _, seq, count, recorded, _ = frames[-1]
    frames += [(b"AKEV", seq + count, 0, recorded, b"")] * 50_000
    put_frames(path, header, frames)


def _many_files(place: Place) -> None:
    data = queue_files(place.trail)[-1].read_bytes()
    for number in range(500):
        (place.trail / "queue" / f"{90_000 + number:020}.wal").write_bytes(data)


def _circle(place: Place) -> None:
    first, last = queue_files(place.trail)
    change_header(first, predecessor=int(last.stem), end=64)
    change_header(last, predecessor=int(last.stem), end=64)


def _space(place: Place) -> None:
    """A hundred megabytes of zeros behind the frames, and what begins like a frame at the end."""
    path = queue_files(place.trail)[-1]
    with path.open("r+b") as file:
        file.truncate(100 << 20)
        file.seek(-40, 2)
        file.write(b"AKEV" + b"\xff" * 36)


def _needles(place: Place) -> None:
    """Megabytes of what looks like the beginning of frames, behind a damaged one."""
    path = queue_files(place.trail)[-1]
    header, frames = frames_of(path)
    put_frames(path, header, frames, space=0)
    with path.open("ab") as file:
        file.write(b"AKEV" + struct.pack("<I", 16 << 20) + b"x" * 100)
        file.write(
            struct.pack("<4sIQIqQI", b"AKEV", 15 << 20, 4_452, 1, 1_795_500_000_000_000, 0, 7) * 400_000
        )


def _lock(epoch: int, first: int, end: int) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        from zlib import crc32

        head = struct.pack("<8sQQQI", b"AKLOCK\n\0", epoch, first, end, 0)[:-4]
        (place.trail / "queue.lock").write_bytes(head + struct.pack("<I", crc32(head)))

    return make


def _long_lock(place: Place) -> None:
    with (place.trail / "queue.lock").open("ab") as file:
        file.truncate(1 << 40)


_DEEP = b"\x91" * 200_000 + b"\xc0"
_ARRAY = b"\xdc" + struct.pack(">H", ROW_COLUMNS)

_CASES: dict[str, Callable[[Place], None]] = {
    "10**8 events in no bytes": _nils(100_000_000),
    "2**32-1 events in no bytes": _nils((1 << 32) - 1),
    "one event in no bytes": _nils(1),
    "more events than values": _frame(_pack(event_columns(1)), count=1_000),
    "fewer events than values": _frame(_pack(event_columns(50)), count=2),
    "no event": _frame(_pack(event_columns(0)), count=0),
    "no columns": _frame(_pack([]), count=1),
    "more columns": _frame(_pack([*event_columns(), [1]]), count=1),
    "fewer columns": _frame(_pack(event_columns()[:5]), count=1),
    "no payload": _frame(b"", count=1),
    "not MessagePack": _frame(b"\xc1\xc1\xc1", count=1),
    "a map": _frame(_pack({"ts": 1}), count=1),
    "deep": _frame(_DEEP, count=1),
    "deep in a column": _frame(_ARRAY + b"\x91" + _DEEP + b"\xc0" * (ROW_COLUMNS - 1), count=1),
    "array that claims 2**32-1 values": _frame(b"\xdd\xff\xff\xff\xff", count=1),
    "column that claims 2**32-1 values": _frame(_ARRAY + b"\xdd\xff\xff\xff\xff" + b"\xc0", count=1),
    "text that claims 4 GB": _frame(_ARRAY + b"\x91\xdb\xff\xff\xff\xff" + b"abc", count=1),
    "bytes behind it": _frame(_pack(event_columns()) + b"more", count=1),
    "text not UTF-8": _frame(_pack(event_columns(action="xxxx")).replace(b"xxxx", b"\xff\xfe\x80\xc3"), count=1),
    "ts is text": _event(ts="2026-11-24"),
    "ts is null": _event(ts=None),
    "ts is a float": _event(ts=1.5),
    "ts is infinite": _event(ts=float("inf")),
    "ts 2**63-1": _event(ts=(1 << 63) - 1),
    "ts 2**64-1": _event(ts=_MOST),
    "ts -2**63": _event(ts=-(1 << 63)),
    "ts of year 10000": _event(ts=253_402_300_800_000_000),
    "ts of year 0": _event(ts=-62_167_219_200_000_000),
    "ts far ahead": _event(ts=4_000_000_000_000_000),
    "action is null": _event(action=None),
    "action is empty": _event(action=""),
    "action is a number": _event(action=7),
    "action is bytes": _event(action=b"\xff"),
    "action is a list": _event(action=["a"]),
    "action is long": _event(action="a" * 5_000_000),
    "action is our own": _event(action="retention.policy-set", source="auditkit", attrs='{"policy":"x"}'),
    "our own prune": _event(action="retention.pruned", source="auditkit", attrs="{}"),
    "our own moment": _event(action="retention.now", source="auditkit", attrs='{"now_us":99999999999999999999,"confirmed":1}'),
    "our own letters": _event(action="dead-letters.retried", source="auditkit", attrs='{"letters":{"a":[1]}}'),
    "our own, deep": _event(action="retention.policy-set", source="auditkit", attrs="[" * 100_000),
    "value is text": _event(value="7"),
    "value is huge": _event(value=1 << 63),
    "value is NaN": _event(value=float("nan")),
    "attrs no JSON": _event(attrs="{"),
    "attrs deep": _event(attrs='{"pages":' * 100_000 + "1" + "}" * 100_000),
    "attrs a list": _event(attrs=[1]),
    "attrs with a lone surrogate": _event(attrs='{"pages":"\\ud800"}'),
    "attrs with a long number": _event(attrs='{"pages":' + "9" * 100_000 + "}"),
    "attrs of 40 MB": _event(attrs='{"a":"' + "x" * 40_000_000 + '"}'),
    "pieces too large": _event(pieces=1 << 63),
    "paid is a number": _event(paid=7),
    "due out of range": _event(due=(1 << 63) - 1),
    "an extension": _frame(_ARRAY + b"\x91" + b"\xd6\x2a\0\0\0\0" + b"\xc0" * (ROW_COLUMNS - 1), count=1),
    "a timestamp": _frame(_ARRAY + b"\x91" + b"\xd6\xff\0\0\0\1" + b"\xc0" * (ROW_COLUMNS - 1), count=1),
    "id twice": _frame(_pack(event_columns(2, id="a", source="s")), count=2),
    "id is a number": _event(id=7),
    # frames
    "seq too early": _frame(_pack(event_columns()), seq=3),
    "seq too late": _frame(_pack(event_columns()), seq=9_999),
    "seq 2**63": _frame(_pack(event_columns()), seq=1 << 63),
    "seq 2**64-1": _frame(_pack(event_columns()), seq=_MOST),
    "bulk load of 2**63": _frame(b"", kind=b"AKBL", seq=1 << 63, count=0),
    "bulk load of 2**64-1": _frame(b"", kind=b"AKBL", seq=_MOST, count=0),
    "bulk load backwards": _frame(b"", kind=b"AKBL", seq=1, count=0),
    "bulk load of some": _frame(b"", kind=b"AKBL", seq=5_000, count=0),
    "commit mark with a count": _frame(b"", kind=b"AKCM", count=1_000),
    "commit mark with a payload": _frame(b"x" * 100, kind=b"AKCM", count=0),
    "next file is itself": _next(4_447),
    "next file is before": _next(4_424),
    "next file is none": _next(4_452),
    "next file 2**64-1": _next(_MOST),
    "recorded 2**63-1": _frame(_pack(event_columns()), recorded=(1 << 63) - 1),
    "recorded -2**63": _frame(_pack(event_columns()), recorded=-(1 << 63)),
    "recorded before": _frame(_pack(event_columns()), recorded=0),
    "durable beyond": _durable(1 << 62),
    "durable 0": _durable(0),
    "parts without end": _many_parts,
    "frames without events": _many_empty,
    "one part": _frame(_pack(event_columns()), kind=b"AKPT", is_marked=False),
    "frames the other way round": _frames(lambda frames: frames[::-1]),
    "frames twice": _frames(lambda frames: frames * 2),
    "no frames": _frames(lambda _: []),
    "rotation in the middle": _frames(lambda frames: [(b"AKNF", 4_447, 0, 0, b""), *frames]),
    "header of another trail": _header(True, trail_id=b"x" * 16),  # type: ignore[arg-type]
    "header of another format": _header(True, format=2),
    "header first seq": _header(True, first=1),
    "header first seq 2**64-1": _header(True, first=_MOST),
    "header recorded largest": _header(True, recorded=(1 << 63) - 1),
    "header recorded smallest": _header(True, recorded=-(1 << 63)),
    "header predecessor none": _header(True, predecessor=_MOST),
    "header predecessor missing": _header(True, predecessor=77),
    "header predecessor is itself": _header(True, predecessor=4_447),
    "header predecessor's end beyond": _header(True, end=1 << 62),
    "header predecessor's end 0": _header(True, end=0),
    "header predecessor's end in a frame": _header(True, end=70),
    "header of the first file: predecessor": _header(False, predecessor=4_447),
    "headers in a circle": _circle,
    "many files": _many_files,
    "a hundred megabytes of space": _space,
    "needles": _needles,
    # columns
    "Arrow: 5*10**7 rows in no bytes": _null_rows(50_000_000),
    "Arrow: offsets of attrs falling": _arrow_column("attrs", offsets("falling")),
    "Arrow: offsets of attrs negative": _arrow_column("attrs", offsets("negative")),
    "Arrow: offsets of attrs beyond": _arrow_column("attrs", offsets("beyond")),
    "Arrow: offsets of id beyond": _arrow_column("id", offsets("beyond")),
    "Arrow: UTF-8 of attrs": _arrow_column("attrs", bad_utf8),
    "Arrow: UTF-8 of action": _arrow_column("action", bad_utf8),
    "Arrow: ts is text": _arrow_of_type("ts", pa.large_string()),
    "Arrow: ts is null": _arrow_of_type("ts", pa.timestamp("us", "UTC")),
    "Arrow: ts in another zone": _arrow_of_type("ts", pa.timestamp("us", "Mars/Olympus")),
    "Arrow: attrs is a struct": _arrow_of_type("attrs", pa.struct([pa.field("a", pa.int8())])),
    "Arrow: attrs is a deep list": _arrow_of_type("attrs", pa.list_(pa.list_(pa.list_(pa.int8())))),
    "Arrow: action is binary": _arrow_of_type("action", pa.binary()),
    "Arrow: action is a dictionary": _arrow_column(
        "action",
        lambda column: pa.DictionaryArray.from_arrays(
            pa.array([100] * len(column), pa.int8()), pa.array(["a"], pa.large_string()), safe=False
        ),
    ),
    "Arrow: column seq": _arrow(lambda batch: batch.append_column("seq", pa.array([1] * len(batch), pa.uint64()))),
    "Arrow: column more": _arrow(lambda batch: batch.append_column("more", pa.array([1] * len(batch)))),
    "Arrow: column twice": _arrow(lambda batch: batch.append_column("ts", batch.column("ts"))),
    "Arrow: without action": _arrow(lambda batch: batch.drop_columns(["action"])),
    "Arrow: without columns": _arrow(lambda batch: batch.select([])),
    "Arrow: fewer rows": _arrow(lambda batch: batch.slice(0, 3)),
    "Arrow: compressed": _arrow(lambda batch: batch, "zstd"),
    "Arrow: bomb of a gigabyte": _arrow_bomb,
    "Arrow: claims a huge message": _frame(b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100), count=1),
    "Arrow: claims a negative message": _frame(b"\xff\xff\xff\xff\xf0\xff\xff\xff" + bytes(100), count=1),
    "Arrow: nothing": _frame(b"\xff\xff\xff\xff\0\0\0\0", count=1),
    "Arrow: rows in metadata": _patched(struct.pack("<q", 20), struct.pack("<q", 1 << 40)),
    "Arrow: rows in metadata negative": _patched(struct.pack("<q", 20), struct.pack("<q", -20)),
    "Arrow: rows in metadata, one more": _patched(struct.pack("<q", 20), struct.pack("<q", 21)),
    # the note in the lock
    "note: another file failed": _lock(5, 4_447, 64),
    "note: a file that is not there": _lock(5, 12, 1 << 62),
    "note: largest numbers": _lock(_MOST, 4_447, _MOST),
    "note: first file": _lock(1, 4_424, 0),
    "note: terabyte": _long_lock,
}  # fmt: skip

QUEUE_CASES: dict[str, Callable[[Place], None]] = {f"queue: {what}": make for what, make in _CASES.items()}
