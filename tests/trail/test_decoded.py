"""Decoded parts on their way into a frame, beside what Polars makes of the same batches."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from auditkit.trail.decoded import Decoded, Part, frame_of

ROWS = 200
FEW = np.arange(ROWS) // 50 == 1
ALTERNATELY = np.arange(ROWS) % 2 == 0


def batch_of(texts: Sequence[str | None], width: pa.DataType, first: int = 0) -> pa.RecordBatch:
    """Make a batch of a number, a text that is stored as it is and one that is stored as a code."""
    count = len(texts)
    coded = (
        pa.array(texts, pa.large_string()).dictionary_encode().cast(pa.dictionary(width, pa.large_string()))
    )
    plain = pa.array([None if place % 3 else f"r/{place}" for place in range(count)], pa.large_string())
    numbers = pa.array(range(first, first + count), pa.uint64())
    return pa.RecordBatch.from_arrays([numbers, coded, plain], names=["seq", "actor", "resource"])


def expected(batch: pa.RecordBatch, mask: np.ndarray | None = None) -> pl.DataFrame:
    """Return what Polars reads."""
    frame = pl.DataFrame(batch).with_columns(pl.col("actor").cast(pl.String))
    return frame if mask is None else frame.filter(pl.Series(mask))


def decoded(*parts: Part) -> Decoded:
    """Return parts as they come out of one segment."""
    return Decoded(["seq", "actor", "resource"], parts, {})


@pytest.mark.parametrize("mask", [None, FEW, ~FEW, ALTERNATELY, ~ALTERNATELY])
def test_wanted_events_are_taken_whether_they_lie_together_or_apart(mask: np.ndarray | None) -> None:
    """Any mask leaves the events it names, in their order, with the texts of their codes."""
    batch = batch_of(["ann", None, "bob", "", "Åsa"] * (ROWS // 5), pa.int8())
    events = decoded(Part(0, 0, batch, mask)).events()
    assert_frame_equal(frame_of(events), expected(batch, mask))


@given(st.lists(st.booleans(), min_size=1, max_size=300).filter(any))
def test_no_mask_takes_another_event(chosen: list[bool]) -> None:
    """Masks of any shape leave what they name."""
    batch = batch_of(["ann" if place % 7 else None for place in range(len(chosen))], pa.int16())
    events = decoded(Part(0, 0, batch, np.array(chosen))).events()
    assert_frame_equal(frame_of(events), expected(batch, np.array(chosen)))


def test_codes_of_any_width_become_one_column() -> None:
    """Segments whose dictionaries differ in size, one of them without any text, lie in one frame."""
    many = [f"user{number}" for number in range(300)]
    batches = [
        batch_of(["ann", "bob"], pa.int8()),
        batch_of(many, pa.int16(), 2),
        batch_of([None], pa.int8(), 302),
    ]
    found = [events for batch in batches for events in decoded(Part(0, 0, batch)).events()]
    assert_frame_equal(frame_of(found), pl.concat(map(expected, batches)))


def test_few_events_keep_nothing_of_their_batch() -> None:
    """One event of a batch takes the memory of one event; a batch most of which is wanted is not copied."""
    batch = batch_of(["ann"] * 4_000, pa.int8())
    (events,) = decoded(Part(0, 7, batch.slice(7, 1))).events()
    assert sum(buffer.size for column in events.batch.columns for buffer in column.buffers() if buffer) < 100


def test_parts_without_events_make_no_frame() -> None:
    """Where nothing was wanted there are no events."""
    assert decoded().events() == []
