"""Tables are held to the rule of rows: the same events, the same refusals, whatever lies under the values."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.api import Trail
from auditkit.errors import InvalidEventError
from auditkit.event import (
    FIRST_US,
    LAST_US,
    MAX_ATTRS_BYTES,
    MAX_TEXT_BYTES,
    OWN_SOURCE,
    EventSchema,
    Row,
    Rules,
)
from auditkit.event.columns import Table, rows_as_columns
from auditkit.queue.payload import as_rows, without_views
from auditkit.timerange import from_us, to_us

NOW = datetime(2026, 11, 24, tzinfo=UTC)
RULES = Rules(now_us=to_us(NOW), max_ahead_us=86_400_000_000)
SCHEMA = EventSchema(
    {"due": pl.Datetime("us", "UTC"), "kind": pl.String(), "n": pl.Int64(), "x": pl.Float64()}
)
ARROW = pa.schema(
    [
        *[(name, pa.timestamp("us", "UTC")) for name in ("ts", "due")],
        *[(name, pa.string()) for name in ("action", "source", "resource", "id", "attrs", "kind")],
        *[(name, pa.float64()) for name in ("value", "x")],
        ("n", pa.int64()),
    ]
)
LONG = "x" * (MAX_TEXT_BYTES + 1)
MOMENTS = st.sampled_from(
    [NOW, NOW + timedelta(days=2), *map(from_us, (FIRST_US - 1, FIRST_US, LAST_US - 1, LAST_US))]
)
NUMBERS = st.sampled_from([0.0, -1.5, float("nan"), float("inf")])
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "ts": MOMENTS,
    "due": MOMENTS,
    "action": st.sampled_from(["a", "åäö", "", LONG]),
    "source": st.sampled_from(["shop", "", OWN_SOURCE, "AUDITKIT", "auditkit "]),
    "resource": st.sampled_from(["", "r", LONG]),
    "id": st.sampled_from(["k", "l"]),
    "attrs": st.sampled_from(
        ["{}", '{"a":1}', '{"a":\n1}', "", " ", "[]", "{}\n{}", "{} {}", '{"a":' * 65 + "1" + "}" * 65,
         '{"a":"' + "y" * MAX_ATTRS_BYTES + '"}', '{"å":"{[{["}']
    ),
    "kind": st.sampled_from(["", "k", LONG]),
    "value": NUMBERS,
    "x": NUMBERS,
    "n": st.sampled_from([0, 2**63 - 1, -(2**63)]),
}  # fmt: skip
EVENTS = st.lists(
    st.fixed_dictionaries({}, optional={name: st.none() | kind for name, kind in VALUES.items()})
)


Refused = tuple[int, str, str]
"""The position of a bad row, the field and the reason."""


def by_rows(events: Sequence[Mapping[str, Any]]) -> tuple[list[Row], list[Refused]]:
    """Return the rows of the good events, and what each bad one was refused for."""
    rows, refused = [], []
    for position, event in enumerate(events):
        try:
            rows.append(SCHEMA.row({k: v for k, v in event.items() if v is not None}, RULES, spill=True))
        except InvalidEventError as exc:
            refused.append((position, exc.field, exc.reason))
    return rows, refused


def by_columns(table: Table) -> tuple[list[Row], list[Refused]]:
    """Do the same with a table."""
    refused: list[Refused] = []
    batch = rows_as_columns(
        SCHEMA, table, RULES, lambda at, error, _row: refused.append((at, error.field, error.reason))
    )
    assert batch is not None
    return list(as_rows(without_views(batch))), refused


def shapes(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Table]:
    """Return events as tables of every layout: plain, wide, views, chunks, and a slice of a larger table."""
    table = pa.Table.from_pylist(list(events), schema=ARROW)
    wide = pa.schema(
        [field.with_type(pa.large_string() if field.type == pa.string() else field.type) for field in ARROW]
    )
    around = pa.Table.from_pylist([{"action": "around", "value": 9.0, "attrs": "{}"}], schema=ARROW)
    return {
        "plain": table,
        "wide": table.cast(wide),
        "chunks": pa.concat_tables([table.slice(0, 1), table.slice(1)]),
        "slice": pa.concat_tables([around, table, around]).combine_chunks().slice(1, len(events)),
        "frame": pl.DataFrame(table),
        "frame slice": pl.DataFrame(pa.concat_tables([around, table])).rechunk().slice(1),
        "views": pl.DataFrame(table).to_arrow(compat_level=pl.CompatLevel.newest()),
    }


@given(EVENTS.filter(bool))
def test_tables_become_what_their_rows_become(events: list[dict[str, Any]]) -> None:
    """Every layout of the same events gives the rows, tokens and refusals that the rows give one by one."""
    expected = by_rows(events)
    for name, table in shapes(events).items():
        assert by_columns(table) == expected, name


@pytest.mark.parametrize(
    "attrs",
    [
        ["{} {}", ""],
        ["", "{}{}"],
        ["{} {}", "{}", " "],
        ["{}\n{}", None, " "],
        ['{"a":', "{}}", "{} {}"],
        ['{"a":[{}', "{}]}", "{} {}"],
        ['{"a":"}', '{"}', "{} {}"],
    ],
)
def test_each_of_the_attrs_is_one_object(attrs: list[str | None]) -> None:
    """As many objects as events do not help where one event has two and another has none or a part."""
    events = [{"action": "a", "attrs": one} for one in attrs]
    expected = by_rows(events)
    assert expected[1]
    for name, table in shapes(events).items():
        assert by_columns(table) == expected, name


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_strings_in_disorder_are_refused(trail: Trail, kind: pa.DataType) -> None:
    """Strings of which one ends before it begins are refused before anything looks at them."""
    width = 8 if kind == pa.large_string() else 4
    places = pa.py_buffer(b"".join(place.to_bytes(width, "little") for place in (0, 3, 2)))
    text = pa.Array.from_buffers(kind, 2, [None, places, pa.py_buffer(b"ab")])
    with pytest.raises(InvalidEventError, match="table: damaged"):
        trail.extend(pa.table({"action": text}), ts="now")
    assert trail.end_seq == 0


def test_what_lies_under_nulls_is_nobodys_business() -> None:
    """Values that a null hides are neither doubted nor stored."""
    hidden = pa.array([float("nan"), 1.0]).buffers()[1]
    value = pa.Array.from_buffers(pa.float64(), 2, [pa.py_buffer(b"\x02"), hidden])
    late = pa.Array.from_buffers(
        pa.timestamp("us", "UTC"),
        2,
        [pa.py_buffer(b"\x02"), pa.py_buffer((2**62).to_bytes(8, "little") + bytes(8))],
    )
    rows, refused = by_columns(pa.table({"action": ["a", "b"], "value": value, "due": late}))
    assert not refused
    assert [(row[9], row[11]) for row in rows] == [(None, None), (1.0, 0)]


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int8(), pa.string()), pa.list_(pa.string())])
def test_damaged_arrow_data_is_refused(trail: Trail, kind: pa.DataType) -> None:
    """Text that is not UTF-8, wherever it hides in a table, is refused before anything is taken."""
    ends = pa.py_buffer((0).to_bytes(4, "little") + (2).to_bytes(4, "little"))
    text = pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(b"\xff\xfe")])
    column = {
        pa.string(): text,
        pa.dictionary(pa.int8(), pa.string()): pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), text),
        pa.list_(pa.string()): pa.ListArray.from_arrays([0, 1], text),
    }[kind]
    with pytest.raises(InvalidEventError, match="table: damaged"):
        trail.extend(pa.table({"action": ["a"], "extra": column}), ts="now")
    assert trail.end_seq == 0
