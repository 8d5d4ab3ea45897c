"""The scan: a plan as a value, and what executing it finds."""

import pickle
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.api import Trail
from auditkit.store import segment
from auditkit.store.files import SegmentFiles
from auditkit.store.scan import Chunk, ScanPlan, execute, frame_of, plan_scan, read_chunks
from auditkit.timerange import EVERYTHING, TimeRange, to_us
from auditkit.where import conditions

ROWS = 40
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


@pytest.fixture
def trail_of_batches(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> Trail:
    """Return a trail with one segment of ten record batches of four events."""
    monkeypatch.setattr(segment, "BATCH_ROWS", 4)
    trail.extend(
        {"action": f"a{n % 3}", "actor": f"u{n}", "resource": "r", "ts": NOW - timedelta(minutes=ROWS - n)}
        for n in range(ROWS)
    ).wait()
    trail.flush()
    return trail


def planned(trail: Trail, window: TimeRange = EVERYTHING, **where: object) -> ScanPlan:
    """Return a plan to read seq and actor of a window."""
    snapshot = trail.view.snapshot()
    asked = conditions(where, trail.handle.schema.columns)
    shown = snapshot.visibility(own=False)
    return plan_scan(snapshot.catalog.segments, window, shown, ["seq", "actor"], asked)


def seqs(trail: Trail, plan: ScanPlan) -> list[int]:
    """Execute a plan with nothing checked or kept before."""
    files = SegmentFiles(trail.handle.layout)
    found = [one for events in execute(plan, files, plan.ranges) for one in events]
    return sorted(frame_of(found)["seq"]) if found else []


def test_a_plan_can_be_pickled(trail_of_batches: Trail) -> None:
    """What comes out of a pickle finds the same events, so that another process may execute it."""
    plan = planned(trail_of_batches, actor=["u3", "u17"], action="a*")
    assert seqs(trail_of_batches, pickle.loads(pickle.dumps(plan))) == [3, 17]  # noqa: S301 -- made here


def test_only_record_batches_of_the_window_are_read(trail_of_batches: Trail) -> None:
    """A window leaves the record batches that overlap it, and of their events those inside."""
    start = to_us(NOW - timedelta(minutes=ROWS - 5))
    plan = planned(trail_of_batches, TimeRange(start_us=start, end_us=start + 60_000_000 * 4))
    (part,) = plan.ranges
    assert list(part.numbers) == [1, 2]
    assert seqs(trail_of_batches, plan) == [5, 6, 7, 8]


def test_a_look_up_reads_the_other_columns_of_hits_only(
    trail_of_batches: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The columns of conditions are read of what Bloom filters leave, the others where a condition holds."""
    plan = planned(trail_of_batches, actor="u22")
    opened = SegmentFiles(trail_of_batches.handle.layout).open(plan.ranges[0].row)
    asked = list[tuple[int, frozenset[str]]]()
    original = type(opened).batches

    def noting(_self: object, numbers: Sequence[int], columns: frozenset[str]) -> object:
        asked.extend((number, frozenset(columns)) for number in numbers)
        return original(opened, numbers, columns)

    monkeypatch.setattr(type(opened), "batches", noting)
    (chunk,) = read_chunks(plan, opened, plan.ranges[0])
    assert chunk.first == 20
    assert (5, frozenset({"actor"})) in asked
    assert [number for number, columns in asked if "seq" in columns] == [5]


def test_long_text_makes_smaller_record_batches(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record batch ends before it holds more text than its bound, unless one event alone does."""
    monkeypatch.setattr(segment, "BATCH_BYTES", 1_000)
    trail = make_trail()
    trail.extend({"action": "a", "attrs": {"text": "x" * size}} for size in (400, 400, 400, 5_000, 1)).wait()
    trail.flush()
    (row,) = trail.view.snapshot().catalog.segments
    assert [part.rows for part in row.parts] == [2, 1, 1, 1]
    assert trail.range(columns=["attrs"])["attrs"].str.len_bytes().to_list() == [411, 411, 411, 5_011, 12]


@given(st.lists(st.booleans(), max_size=300))
def test_a_mask_leaves_what_it_names(chosen: list[bool]) -> None:
    """Whether the wanted events lie together or apart, they are taken in their order and no other is."""
    batch = pl.DataFrame({"seq": range(len(chosen))}).to_arrow().combine_chunks().to_batches()
    if batch:
        mask = pl.Series(chosen, dtype=pl.Boolean).to_numpy()
        found = [seq for piece in Chunk(0, batch[0], mask).wanted() for seq in piece["seq"].to_pylist()]
        assert found == [place for place, is_wanted in enumerate(chosen) if is_wanted]
