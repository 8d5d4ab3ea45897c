"""Tables of any make: what becomes an event, and that nothing is made up."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import auditkit as ak
from auditkit.errors import InvalidArgumentError, InvalidEventError

DAY = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS: dict[str, Any] = {
    "n": pl.Int64,
    "amount": pl.Float64,
    "ok": pl.Boolean,
    "note": pl.String,
    "at": pl.Datetime("us", "UTC"),
}


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[ak.Trail]:
    """A trail with a declared field of each kind."""
    with ak.create(tmp_path / "audit", fields=FIELDS) as made:
        yield made


def pandas_frame() -> pd.DataFrame:
    """Two events, with what pandas knows of missing values."""
    return pd.DataFrame(
        {
            "ts": pd.to_datetime(["2026-01-01T00:00Z", "2026-01-02T00:00Z"]),
            "action": ["a", "b"],
            "actor": ["ann", None],
            "value": [1.5, np.nan],
            "n": pd.array([1, None], dtype="Int64"),
            "kind": pd.Categorical(["p", "q"]),
            "extra": [1, 2],
        }
    )


def taken(trail: ak.Trail, table: Any, *columns: str, **options: Any) -> list[Any]:
    """Return what a table's rows became."""
    count = trail.extend(table, **options).count
    return trail.tail(count).select(columns).rows()


@pytest.mark.parametrize(
    "form", ["as it is", "indexed by ts", "text", "pyarrow", "polars", "duckdb", "reader"]
)
def test_tables_of_any_make_are_taken(trail: ak.Trail, form: str) -> None:
    """What has the Arrow PyCapsule interface is a table, whoever made it."""
    frame = pandas_frame()
    con: Any = duckdb.connect()
    con.register("frame", frame)
    forms: dict[str, Callable[[], Any]] = {
        "as it is": lambda: frame,
        "indexed by ts": lambda: frame.set_index("ts"),
        "text": lambda: frame.assign(ts=["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
        "pyarrow": lambda: pa.Table.from_pandas(frame),
        "polars": lambda: pl.DataFrame(pa.Table.from_pandas(frame)),
        "duckdb": lambda: con.sql("SELECT * FROM frame"),
        "reader": lambda: pa.Table.from_pandas(frame).to_reader(),
    }
    assert taken(trail, forms[form](), "ts", "action", "actor", "value", "n", "attrs") == [
        (DAY, "a", "ann", 1.5, 1, '{"kind":"p","extra":1}'),
        (DAY + timedelta(days=1), "b", None, None, None, '{"kind":"q","extra":2}'),
    ]


def test_duckdbs_own_types_are_taken(trail: ak.Trail) -> None:
    """Decimals, structs, lists and enums of DuckDB become numbers, JSON and text."""
    asked = (
        "SELECT TIMESTAMPTZ '2026-01-01 00:00:00+00' AS ts, 'a'::ENUM('a', 'b') AS action, 5 AS n, "
        "2.5::DECIMAL(5, 2) AS value, {'q': 1} AS s, [1, 2] AS l, uuid '00000000-0000-0000-0000-000000000001' AS u"
    )
    assert taken(trail, duckdb.sql(asked), "ts", "action", "n", "value", "attrs") == [
        (DAY, "a", 5, 2.5, '{"s":{"q":1},"l":[1,2],"u":"00000000-0000-0000-0000-000000000001"}')
    ]


def test_a_table_needs_the_time(trail: ak.Trail) -> None:
    """No moment is made up for a table; the error names what looks like times, and how now is said."""
    frame = pd.DataFrame({"action": ["a"], "created_at": ["x"], "EventTime": ["y"], "late": ["z"]})
    for table in (frame, pl.DataFrame(frame), pl.DataFrame(frame).lazy(), pa.Table.from_pandas(frame)):
        with pytest.raises(InvalidEventError, match="ts: missing; a table needs this column") as caught:
            trail.extend(table)
        notes = " ".join(caught.value.__notes__)
        assert "times: created_at, EventTime;" in notes
        assert 'ts="now"' in notes
    day = pl.DataFrame({"action": ["a"], "day": [DAY.date()]})
    with pytest.raises(InvalidEventError) as caught:
        trail.extend(day)
    assert "times: day;" in caught.value.__notes__[0]
    assert trail.end_seq == 0


def test_now_may_be_meant(trail: ak.Trail) -> None:
    """`ts="now"` gives a table's rows the moment of their acceptance; mappings need not say so."""
    before = datetime.now(UTC)
    trail.extend(pl.DataFrame({"action": ["a", "b"]}), ts="now").wait()
    trail.extend([{"action": "c"}]).wait()
    assert all(before <= at <= datetime.now(UTC) for at in trail.tail(3)["ts"])
    with pytest.raises(InvalidArgumentError, match="ts: not a moment for all rows"):
        trail.extend(pl.DataFrame({"action": ["a"]}), ts="2026-01-01T00:00:00Z")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rows", [5, None, "text", b"bytes", {"action": "a"}, pd.Series(["a"]), pl.Series(["a"])]
)
def test_what_is_no_table_is_refused(trail: ak.Trail, rows: Any) -> None:
    """One mapping, one column and one value are not rows, and the error is one of ours."""
    with pytest.raises(InvalidArgumentError, match="rows: one"):
        trail.extend(rows)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (lambda: pa.array([pa.MonthDayNano([1, 2, 3])]), "cannot be read"),
        (lambda: pa.array([1], pa.decimal256(60, 2)), "cannot be read"),
        (lambda: pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a"])), "cannot be read"),
        (lambda: pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]), "cannot be read"),
        (lambda: pa.array([[1]], pa.list_view(pa.int64())), "cannot be read"),
        (lambda: pa.array([2**62], pa.timestamp("s", "UTC")), "holds times that no year has"),
    ],
)  # fmt: skip
def test_columns_that_polars_has_not_are_refused(trail: ak.Trail, column: Any, reason: str) -> None:
    """A kind of column that would bring Polars down, or be wrapped around, is named."""
    table = pa.table({"ts": [DAY], "action": ["a"], "odd": column()})
    with pytest.raises(InvalidEventError, match=f"odd: .*{reason}"):
        trail.extend(table)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"n": np.int32(7)}, 7),
        ({"amount": np.float32(1.5)}, 1.5),
        ({"ok": np.bool_(1)}, True),
        ({"note": np.str_("x")}, "x"),
        ({"value": np.int64(2)}, 2.0),
        ({"actor": np.str_("ann")}, "ann"),
        ({"attrs": {"i": np.int64(3), "f": np.float16(0.5), "b": np.bool_(0), "l": [np.uint8(1)]}}, '{"i":3,"f":0.5,"b":false,"l":[1]}'),
        ({"attrs": {"in": {"deep": [np.float64(2.5), np.str_("x")]}}}, '{"in":{"deep":[2.5,"x"]}}'),
    ],
)  # fmt: skip
def test_scalars_of_numpy_are_pythons(trail: ak.Trail, given: dict[str, Any], stored: object) -> None:
    """What comes out of an array is taken like the number, boolean or text that it is."""
    (name,) = given
    trail.append(action="a", **given).wait()
    trail.extend([{"action": "a", **given}]).wait()
    assert trail.tail(2)[name].to_list() == [stored, stored]


@pytest.mark.parametrize(
    "given",
    [
        {"attrs": {"x": np.float32("nan")}},
        {"attrs": {"x": np.float64("inf")}},
        {"attrs": {"x": np.datetime64("2026-01-01")}},
        {"attrs": {"x": np.timedelta64(1, "s")}},
        {"attrs": {"x": np.longdouble(1)}},
        {"attrs": {"x": np.complex64(1)}},
        {"attrs": {"x": np.array([1])}},
        {"attrs": {"x": pd.NA}},
        {"n": np.uint64(2**63)},
        {"n": np.float64(1.5)},
        {"ok": np.int8(1)},
        {"value": np.bool_(1)},
        {"value": np.float32("inf")},
        {"at": np.datetime64("2026-01-01T00:00:00")},
    ],
)
def test_what_json_and_the_fields_do_not_have_is_refused(trail: ak.Trail, given: dict[str, Any]) -> None:
    """Arrays, complex numbers, times without a zone and what is not finite are refused by name."""
    (name,) = given
    with pytest.raises(InvalidEventError, match=f"^{name}: "):
        trail.append(action="a", **given)
