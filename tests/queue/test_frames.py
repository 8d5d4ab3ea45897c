"""The queue's file format."""

import zlib
from pathlib import Path

import pytest

from auditkit.errors import CorruptionError, FormatError
from auditkit.queue import frames
from auditkit.queue.frames import (
    COMMIT_MARK,
    EVENTS,
    FileHeader,
    pack_frame,
    pack_header,
    parse_frames,
    unpack_header,
)
from auditkit.queue.payload import encode_rows
from auditkit.queue.recovery import refuse_bit_rot

HEADER = FileHeader(
    trail_id=bytes(range(16)), first_seq=12_288, recorded_us=5, predecessor=7, predecessor_end=99
)
PATH = Path("00000000000000012288.wal")


def sample() -> bytes:
    """Two event frames and a mark."""
    first = pack_frame(EVENTS, 0, 2, recorded_us=1, durable=0, payload=encode_rows([(1, "a"), (2, None)]))
    second = pack_frame(EVENTS, 2, 1, recorded_us=2, durable=0, payload=encode_rows([(3, "b")]))
    return first + second + pack_frame(COMMIT_MARK, 3, 0, recorded_us=2, durable=len(first + second))


def test_header_round_trip() -> None:
    """A header comes back as it was packed."""
    assert unpack_header(pack_header(HEADER), PATH) == HEADER


def test_every_flipped_bit_of_a_header_is_noticed() -> None:
    """No single flipped bit of a file header goes unnoticed."""
    packed = pack_header(HEADER)
    for bit in range(len(packed) * 8):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptionError, FormatError)):
            unpack_header(bytes(damaged), PATH)


def test_a_newer_format_is_refused_with_advice() -> None:
    """A file of an unknown format is refused with a sentence that says what to do."""
    newer = pack_header(HEADER).replace((1).to_bytes(4, "little"), (2).to_bytes(4, "little"), 1)
    body = newer[:-4]
    sealed = body + zlib.crc32(body).to_bytes(4, "little")
    with pytest.raises(FormatError, match="use a newer auditkit"):
        unpack_header(sealed, PATH)


def test_frames_round_trip_with_positions() -> None:
    """Frames come back in order, with file positions that follow from where the data lies."""
    found = list(parse_frames(sample(), 1_000))
    assert [(f.kind, f.seq, f.count) for f in found] == [(EVENTS, 0, 2), (EVENTS, 2, 1), (COMMIT_MARK, 3, 0)]
    assert found[0].offset == 1_000
    assert [f.end for f in found[:-1]] == [f.offset for f in found[1:]]
    assert found[0].payload == encode_rows([(1, "a"), (2, None)])


def test_parsing_stops_at_every_flipped_bit() -> None:
    """A flipped bit ends the valid frames before it, and never changes what a frame says."""
    data = sample()
    good = list(parse_frames(data, 0))
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        expected = [f for f in good if f.end * 8 <= bit]
        assert list(parse_frames(bytes(damaged), 0)) == expected


def test_parsing_stops_at_every_cut() -> None:
    """Any prefix of a file gives the frames that lie in it whole."""
    data = sample()
    good = list(parse_frames(data, 0))
    for cut in range(len(data)):
        assert list(parse_frames(data[:cut], 0)) == [f for f in good if f.end <= cut]


def test_a_frame_is_found_behind_rubbish() -> None:
    """Behind damaged bytes the next whole frame is found wherever it begins."""
    rubbish = bytes(range(256)) + b"AKEV" + b"AKAK"
    data = rubbish + sample()
    found = next(frames.frames_after(data, 0, 0), None)
    assert found is not None
    assert found.offset == len(rubbish)


def test_a_search_for_frames_ends(tmp_path: Path) -> None:
    """Bytes that look like the beginnings of a million frames, each as large as the rest, are refused in little time."""
    needle = b"AKEV" + (2_000_000).to_bytes(4, "little") + bytes(32)
    data = needle * 100_000
    with pytest.raises(ValueError, match="looks like a frame"):
        list(frames.frames_after(data, 0, 0))
    with pytest.raises(CorruptionError, match="looks like a frame"):
        refuse_bit_rot(data, 0, 0, tmp_path, 0)
