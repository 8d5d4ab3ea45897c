"""Cells of parts, put together, beside what plain Python counts."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.query.cells import Cells, Gathering, Grid, Key, Runs, count_runs, fold, merge

MEASURES = ("sum", "min", "max")
WIDE = 400_000
"""More numbers than a grid has room for where there are few events."""

Part = list[tuple[tuple[int, ...], float | None]]
"""Events by their numbers, and the value."""


def parts_of(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[list[Part]]:
    """Make parts of events with two keys."""
    values = st.one_of(st.none(), st.floats(-9, 9))
    return st.lists(st.lists(st.tuples(st.tuples(numbers, numbers), values), min_size=1), min_size=1)


NEAR, FAR = st.integers(3, 9), st.sampled_from([0, 7, WIDE, WIDE + 1, 2 * WIDE])
PARTS = st.one_of(parts_of(NEAR), parts_of(FAR), parts_of(st.one_of(NEAR, FAR)))


def folded(part: Part) -> Grid | Cells:
    """Fold a part; what lies in the array where there is no value counts for nothing."""
    keys = [Key.bounded(np.array(numbers)) for numbers in zip(*(key for key, _ in part), strict=True)]
    values = np.array([np.nan if value is None else value for _, value in part])
    present = np.array([value is not None for _, value in part])
    return fold(keys, len(part), MEASURES, values, None if present.all() else present)


def rows_of(cells: Cells) -> dict[tuple[int, ...], tuple[int, int, object]]:
    """Return count, number of values and measures of each cell, in the order of the cells."""
    keys = zip(*(numbers.tolist() for numbers in cells.keys), strict=True)
    columns = [cells.totals[name].tolist() for name in ("count", "value_count", *MEASURES)]
    return {
        key: (count, valued, tuple(measured) if valued else None)
        for key, (count, valued, *measured) in zip(keys, zip(*columns, strict=True), strict=True)
    }


def expected(parts: Sequence[Part]) -> dict[tuple[int, ...], tuple[int, int, object]]:
    """Return the same by adding values of a part in their order, and parts in theirs."""
    groups = defaultdict[tuple[int, ...], list[list[float | None]]](list)
    for number, part in enumerate(parts):
        for key, value in part:
            found = groups[key]
            found += [[] for _ in range(number + 1 - len(found))]
            found[number].append(value)
    answer = dict[tuple[int, ...], tuple[int, int, object]]()
    for key in sorted(groups):
        by_part = [[value for value in part if value is not None] for part in groups[key]]
        values = [value for part in by_part for value in part]
        measured = (sum(map(sum, by_part)), min(values), max(values)) if values else None
        answer[key] = (sum(map(len, groups[key])), len(values), measured)
    return answer


@given(PARTS)
def test_parts_put_together_are_what_all_of_them_hold(parts: list[Part]) -> None:
    """Near and far numbers, alone and mixed, give the cells that plain Python finds, in order, to the last bit."""
    gathering = Gathering()
    for part in parts:
        gathering.add(folded(part))
    assert list(rows_of(gathering.listed([None, None])).items()) == list(expected(parts).items())


@given(PARTS)
def test_merging_now_and_then_changes_nothing(parts: list[Part]) -> None:
    """What was merged before the last parts came is as if all of them had been merged at the end."""
    at_once, by_steps = Gathering(), Gathering()
    for part in parts:
        at_once.add(folded(part))
        by_steps.parts = [merge([*by_steps.parts, folded(part)])]
    tables = [None, None]
    assert rows_of(by_steps.listed(tables)) == rows_of(at_once.listed(tables))


@given(PARTS)
def test_cells_come_in_the_order_of_their_new_numbers(parts: list[Part]) -> None:
    """Renumbering says which cell comes first, and merges none."""
    table = np.arange(2 * WIDE, -1, -1)
    gathering = Gathering([folded(part) for part in parts])
    found = rows_of(gathering.listed([None, table]))
    assert list(found) == sorted(found)
    back = {(first, int(table[second])): row for (first, second), row in found.items()}
    assert back == expected(parts)


@pytest.mark.parametrize(("numbers", "kind"), [(range(9), Grid), (range(0, 9 * WIDE, WIDE), Cells)])
def test_only_near_numbers_make_a_grid(numbers: range, kind: type) -> None:
    """Events with two keys make a grid while it has room, and a list of cells where it would be nearly empty."""
    part: Part = [((number, number), 1.0) for number in numbers]
    assert isinstance(folded(part), kind)


def test_what_is_pending_is_merged_once_it_is_much() -> None:
    """However many parts come with the same cells, few entries are kept."""
    gathering = Gathering()
    for _ in range(70):
        gathering.add(folded([((0, 0), 1.0), ((99, 599), 1.0)]))
    assert len(gathering.parts) < 20
    assert rows_of(gathering.listed([None, None]))[(0, 0)] == (70, 70, (70.0, 1.0, 1.0))


def test_long_runs_are_counted_as_if_one_by_one() -> None:
    """Counting each run for itself finds what folding the events finds, empty runs included."""
    runs = Runs(5, np.array([3_000, 0, 2_000]))
    key = Key(np.arange(5_000) % 3, np.array([7, 2, 4]))
    assert runs.are_long([key])
    counted = count_runs(runs, [key]).listed()
    plain = merge([fold([runs.key(None), key], 5_000)])
    assert isinstance(plain, Grid)
    for found, same in zip(counted.keys, plain.listed().keys, strict=True):
        assert found.tolist() == same.tolist()
    assert counted.totals["count"].tolist() == plain.listed().totals["count"].tolist()


def test_without_keys_there_is_one_cell() -> None:
    """Totals are a cell too."""
    part = fold([], 3, MEASURES, np.array([1.0, 2.0, 4.0]), None)
    gathering = Gathering([part, part])
    assert gathering.listed([]).totals["sum"].tolist() == [14.0]


def test_sums_too_large_for_a_number_are_infinite() -> None:
    """Values near the largest there is add up to infinity, within a part and between parts."""
    part = folded([((0, 0), 1.7e308), ((0, 1), 1.7e308), ((0, 1), 1.7e308)])
    assert Gathering([part, part]).listed([None, None]).totals["sum"].tolist() == [np.inf, np.inf]
