"""Events as payloads, by rows and by columns, and back."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from auditkit.event import EventSchema, Rules
from auditkit.event.columns import rows_as_columns
from auditkit.queue.decoding import columns_of, decode_frames, keys_in
from auditkit.queue.frames import EVENTS, Frame
from auditkit.queue.payload import column_payloads, encode_rows, without_views

PATH = Path("x.wal")
RULES = Rules(now_us=1_700_000_000_000_000, max_ahead_us=10**12)
SCHEMA = EventSchema({"n": pl.Int64(), "due": pl.Datetime("us", "UTC")})
GIVEN = [
    {"action": "a", "actor": "ann", "value": 1.5, "id": "k", "ts": datetime(2023, 1, 1, tzinfo=UTC), "n": 3},
    {"action": "b", "attrs": '{"x": "\u00e5"}', "due": datetime(1969, 1, 1, tzinfo=UTC), "ts": None},
]


def frame_of(payload: bytes, count: int, seq: int = 0) -> Frame:
    """Return a frame around a payload."""
    return Frame(0, len(payload), EVENTS, seq, count, 7, 0, payload)


def test_rows_and_columns_are_the_same_events() -> None:
    """A frame's block and a row block of the same events decode to equal frames, columns and keys."""
    rows = [SCHEMA.row(given, RULES) for given in GIVEN]
    columns = rows_as_columns(SCHEMA, pl.DataFrame(GIVEN), RULES, lambda *_: None)
    assert columns is not None
    ((payload, count),) = column_payloads(without_views(columns))
    by_rows = decode_frames([frame_of(encode_rows(rows), 2)], SCHEMA, PATH)
    by_columns = decode_frames([frame_of(payload, count)], SCHEMA, PATH)
    assert by_rows.equals(by_columns)
    assert by_rows.schema == by_columns.schema == SCHEMA.stored
    for frame in (frame_of(payload, 2), frame_of(encode_rows(rows), 2)):
        keys = keys_in(frame, SCHEMA, PATH)
        assert keys is not None
        assert list(keys[1]) == ["k", None]
        assert list(zip(*columns_of(frame, SCHEMA, PATH), strict=True)) == [row[:-1] for row in rows]


def test_mixed_blocks_keep_their_order() -> None:
    """Blocks of both kinds in a row decode in seq order."""
    row = SCHEMA.row({"action": "r"}, RULES)
    columns = rows_as_columns(SCHEMA, pl.DataFrame({"action": ["c", "c"]}), RULES, lambda *_: None)
    assert columns is not None
    ((payload, _),) = column_payloads(without_views(columns))
    frames = [frame_of(encode_rows([row]), 1, 5), frame_of(payload, 2, 6), frame_of(encode_rows([row]), 1, 8)]
    events = decode_frames(frames, SCHEMA, PATH)
    assert events["seq"].to_list() == [5, 6, 7, 8]
    assert list(events["action"].cast(pl.String)) == ["r", "c", "c", "r"]


def test_columns_without_a_value_are_left_out() -> None:
    """A frame's block holds the columns that have values, and the others come back as nulls."""
    given = pl.DataFrame(
        {"ts": [datetime(2023, 1, 1, tzinfo=UTC)] * 2, "action": ["c", "d"], "n": [None, None]}
    )
    columns = rows_as_columns(SCHEMA, given, RULES, lambda *_: None)
    assert columns is not None
    ((payload, _),) = column_payloads(without_views(columns))
    assert pl.read_ipc_stream(payload).columns == ["ts", "action"]
    assert keys_in(frame_of(payload, 2), SCHEMA, PATH) is None
    events = decode_frames([frame_of(payload, 2)], SCHEMA, PATH)
    assert events.schema == SCHEMA.stored
    assert events.null_count().row(0) == (0, 0, 0, 2, 0, *[2] * 10)


def test_a_column_of_nulls_takes_one_byte() -> None:
    """Columns that are null throughout are stored as one nil."""
    assert len(encode_rows([(1, None, False)] * 1_000)) < 1_020
