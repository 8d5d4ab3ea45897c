"""Frames on their way in and out: bounds of time, conditions beside dictionaries, text made plain."""

import polars as pl
import polars.selectors as cs
import pytest

from auditkit.query.frames import in_range, kept, limited, text_out
from auditkit.timerange import TimeRange

UTC = pl.Datetime("us", "UTC")


@pytest.fixture
def events() -> pl.LazyFrame:
    """Four events with a dictionary column beside a plain one."""
    return pl.LazyFrame(
        {
            "ts": pl.Series([1, 2, 3, 4]).cast(UTC),
            "actor": ["ann", "bob", None, "ann"],
            "id": ["a", "b", "c", None],
        },
        schema_overrides={"actor": pl.Categorical},
    )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [1, 2, 3, 4]),
        (2, None, [2, 3, 4]),
        (None, 3, [1, 2]),
        (2, 3, [2]),
        (2, 2, []),
        (9, None, []),
    ],
)
def test_bounds_are_half_open(
    events: pl.LazyFrame, start: int | None, end: int | None, expected: list[int]
) -> None:
    """The condition takes the start and leaves the end out; without bounds there is none."""
    window = TimeRange(start_us=start, end_us=end)
    assert (in_range(window) is None) == (start is None and end is None)
    found = limited(events, window, None).collect()["ts"].to_physical().to_list()
    assert found == expected


@pytest.mark.parametrize(
    "where",
    [
        pl.col("actor") == "ann",
        pl.col("actor").str.starts_with("an"),
        pl.col("actor").str.len_bytes() + pl.col("id").str.len_bytes() > 0,
    ],
)
def test_expressions_see_text_and_leave_dictionaries(events: pl.LazyFrame, where: pl.Expr) -> None:
    """A caller's condition works on dictionary columns as on text, and they are dictionaries afterwards."""
    as_text = text_out(events).filter(where).collect()
    found = kept(events, where).collect()
    assert found.schema == events.collect_schema()
    assert text_out(found).equals(as_text)


@pytest.mark.parametrize(
    "where",
    [pl.any_horizontal(cs.string() == "ann"), pl.all_horizontal(pl.all().is_not_null()), pl.lit(value=True)],
)
def test_selectors_see_the_columns_there_are(events: pl.LazyFrame, where: pl.Expr) -> None:
    """A condition on whatever columns there are takes text columns as text, and no others."""
    assert text_out(kept(events, where)).collect().equals(text_out(events).filter(where).collect())


def test_mappings_leave_dictionaries_alone(events: pl.LazyFrame) -> None:
    """A mapping is compared on the dictionaries themselves, without a cast in the plan."""
    condition = kept(events, {"actor": "ann"})
    assert "String" not in condition.explain()
    assert condition.collect().height == 2


def test_text_leaves_as_text() -> None:
    """Categorical and Enum become String at any depth, in eager and lazy frames, and nothing else changes."""
    frame = pl.DataFrame(
        {"c": ["x", None], "e": ["y", "x"], "n": [1, 2], "l": [["x"], []], "s": [{"a": ["x"]}, {"a": None}]},
        schema={
            "c": pl.Categorical(),
            "e": pl.Enum(["x", "y"]),
            "n": pl.Int32(),
            "l": pl.List(pl.Categorical()),
            "s": pl.Struct({"a": pl.List(pl.Categorical())}),
        },
    )
    expected = pl.Schema(
        {
            "c": pl.String(),
            "e": pl.String(),
            "n": pl.Int32(),
            "l": pl.List(pl.String()),
            "s": pl.Struct({"a": pl.List(pl.String())}),
        }
    )
    assert text_out(frame).schema == expected
    assert text_out(frame.lazy()).collect_schema() == expected
    assert text_out(frame).rows() == frame.rows()
