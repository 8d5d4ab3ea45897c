"""Filters of single values: never wrong about what is there, rarely about what is not."""

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from auditkit.store.bloom import FILTERED_COLUMNS, candidates, filter_key, hashes, pack_filters

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=80), st.sampled_from(["", "a", "ab"])), max_size=60)


def events(values: list[str | None], *, dictionary: bool = False) -> dict[str, pa.Array]:
    """Return the columns that have filters, of events with these ids."""
    columns = {name: pa.nulls(len(values), pa.large_string()) for name in FILTERED_COLUMNS}
    ids = pa.array(values, pa.large_string())
    return columns | {"id": ids.dictionary_encode() if dictionary else ids}


def borders(rows: int, batch_rows: int) -> list[int]:
    """Return the rows that record batches of so many begin with, and the end."""
    return [*range(0, rows, batch_rows), rows]


@given(TEXTS, st.integers(1, 9), st.booleans())
def test_a_batch_that_has_a_value_is_always_a_candidate(
    values: list[str | None], batch_rows: int, dictionary: bool
) -> None:
    """Every value is found in each batch that holds it, and filters are ASCII."""
    packed = pack_filters(events(values, dictionary=dictionary), borders(len(values), batch_rows))
    if not any(value is not None for value in values):
        assert packed == {}
        return
    assert list(packed) == [filter_key("id")]
    assert max(packed[filter_key("id")]) < 128
    for place, value in enumerate(values):
        if value is not None:
            found = candidates(
                packed[filter_key("id")],
                hashes(pl.Series([value])),
                len(borders(len(values), batch_rows)) - 1,
            )
            assert place // batch_rows in found


def test_values_that_are_nowhere_leave_few_candidates() -> None:
    """Of the batches that do not hold a value, about two in a hundred are looked at."""
    packed = pack_filters(events([f"request/{n}" for n in range(20_000)]), borders(20_000, 200))[
        filter_key("id")
    ]
    looked_at = sum(len(candidates(packed, hashes(pl.Series([f"other/{n}"])), 100)) for n in range(100))
    assert looked_at < 0.05 * 100 * 100
    both = hashes(pl.Series(["request/0", "request/19999"]))
    assert {0, 99} <= set(candidates(packed, both, 100))


def test_hashes_are_part_of_the_format() -> None:
    """The hash of a text is the same everywhere, whatever stands beside it."""
    texts = ["", "a", "ann", "user00007@example.org", "é" * 40]
    known = [0, 0x982C18BC3260172A, 0x84E9BC6A76BCCEF6, 0xD1CCA3D720DD331D, 0xB23B245E80FD5375]
    found = hashes(pl.Series(texts))
    assert [int(hashes(pl.Series([text]))[0]) for text in texts] == found.tolist()
    assert [hex(value) for value in found] == [hex(value) for value in known]
