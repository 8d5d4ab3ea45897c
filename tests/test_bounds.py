"""What a predicate implies: never more than is so, and as much as can be known."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.timerange import TimeRange, from_us
from auditkit.where import implied

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
US = 1_795_521_600_000_000
TS, ACTOR = pl.col("ts"), pl.col("actor")
EVERYWHERE = TimeRange(start_us=None, end_us=None)


@pytest.mark.parametrize(
    ("predicate", "start", "end"),
    [
        (TS >= NOON, US, None),
        (TS > NOON, US + 1, None),
        (TS < NOON, None, US),
        (TS <= NOON, None, US + 1),
        (TS == NOON, US, US + 1),
        (pl.lit(NOON, dtype=pl.Datetime("us", "UTC")) > TS, None, US),
        (TS.is_between(NOON, NOON, closed="both"), US, US + 1),
        (TS.is_between(NOON, NOON, closed="none"), US + 1, US),
        ((TS >= NOON) & (ACTOR == "ann"), US, None),
        ((TS >= NOON) | (NOON - timedelta(microseconds=5) == TS), US - 5, None),
        ((TS >= NOON) | (ACTOR == "ann"), None, None),
        (~(TS >= NOON), None, None),
        (TS.dt.offset_by("1h") >= NOON, None, None),
        ((TS >= NOON).fill_null(value=False), US, None),
        ((TS >= NOON).fill_null(value=True), None, None),
        (TS.dt.cast_time_unit("us") < NOON, None, US),
        (TS.dt.cast_time_unit("ms") <= NOON, None, None),
        (pl.when(TS.is_null()).then(None).otherwise(TS >= NOON), US, None),
        (pl.when(ACTOR == "ann").then(ACTOR == "ann").otherwise(TS >= NOON), None, None),
        (pl.col("recorded") >= NOON, None, None),
    ],
)
def test_bounds_of_time(predicate: pl.Expr, start: int | None, end: int | None) -> None:
    """Comparisons of ts bound it, together and apart; what is not known bounds nothing."""
    assert implied(predicate).window == TimeRange(start_us=start, end_us=end)


@pytest.mark.parametrize(
    ("predicate", "texts"),
    [
        (ACTOR == "ann", {"actor": {"ann"}}),
        (ACTOR.is_in(["ann", "bob"]), {"actor": {"ann", "bob"}}),
        (ACTOR.is_in(["ann", None]), {}),
        (ACTOR.is_in(pl.Series([], dtype=pl.String()).implode()), {"actor": set()}),
        ((ACTOR == "ann") | (ACTOR == "bob"), {"actor": {"ann", "bob"}}),
        ((ACTOR == "ann") | (pl.col("id") == "x"), {}),
        ((ACTOR == "ann") & (pl.col("id") == "x"), {"actor": {"ann"}, "id": {"x"}}),
        ((ACTOR == "ann") & (ACTOR == "bob"), {"actor": set()}),
        (ACTOR != "ann", {}),
        (pl.col("resource") == ACTOR, {}),
        (ACTOR.str.to_lowercase() == "ann", {}),
        (pl.col("value") == 1.0, {}),
    ],
)
def test_texts_that_an_event_must_have(predicate: pl.Expr, texts: dict[str, set[str]]) -> None:
    """Equality and lists name the values of which an event must have one."""
    assert implied(predicate).texts == texts


COMPARISONS = st.tuples(
    st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]), st.integers(-3, 3), st.booleans()
)
TREES = st.recursive(COMPARISONS, lambda inner: st.tuples(st.sampled_from("&|~"), inner, inner), max_leaves=8)


def built(tree: tuple[object, ...]) -> pl.Expr:
    """Return the predicate of a generated tree."""
    match tree:
        case ("&", left, right):
            return built(left) & built(right)  # type: ignore[arg-type]
        case ("|", left, right):
            return built(left) | built(right)  # type: ignore[arg-type]
        case ("~", left, _):
            return ~built(left)  # type: ignore[arg-type]
        case (op, int(offset), True):
            return getattr(TS, str(op))(from_us(US + offset))  # type: ignore[no-any-return]
        case (op, int(offset), _):
            return getattr(ACTOR, str(op))("abcdefg"[offset + 3])  # type: ignore[no-any-return]
    raise AssertionError(tree)


def grid() -> Iterator[tuple[datetime, str]]:
    """Yield every moment and text that a generated predicate may tell apart."""
    for offset in range(-5, 6):
        for actor in "abcdefgh":
            yield from_us(US + offset), actor


@given(TREES)
def test_no_event_for_which_a_predicate_holds_is_outside(tree: tuple[object, ...]) -> None:
    """Whatever the predicate, an event for which it is true lies inside the bounds and has one of the texts."""
    predicate = built(tree)
    frame = pl.DataFrame(
        list(grid()), schema={"ts": pl.Datetime("us", "UTC"), "actor": pl.String()}, orient="row"
    )
    found = implied(predicate)
    for ts, actor in frame.filter(predicate).iter_rows():
        assert found.window.contains(US + (ts - from_us(US)) // timedelta(microseconds=1))
        assert actor in found.texts.get("actor", {actor})
    assert implied(pl.col("anything").map_batches(lambda series: series)).window == EVERYWHERE
