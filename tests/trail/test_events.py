"""The events of a snapshot: what is found stays what it was while others prune, compact and append."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import PrunedError
from auditkit.store.files import most_descriptors
from auditkit.timerange import EVERYTHING
from auditkit.trail.events import frames, plan_events

START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 30


@pytest.fixture
def month(make_trail: Callable[..., Trail]) -> Trail:
    """Return a trail with thirty days of four events, each day in two small segments."""
    trail = make_trail(maintain=False)
    for half in range(2):
        trail.extend(
            {"action": "a", "ts": START + timedelta(days=day, hours=12 * half + n)}
            for day in range(DAYS)
            for n in range(2)
        ).wait()
        trail.flush()
    return trail


def test_a_prune_takes_no_file_from_under_a_reader(month: Trail) -> None:
    """A reader that has begun ends with the events of the beginning, pruned, compacted or not."""
    reader = ak.open(month.path)
    snapshot, files = reader.view.snapshot(), reader.handle.reader.files
    begun = frames(
        files,
        snapshot,
        plan_events(snapshot, EVERYTHING, snapshot.visibility(own=False), ["seq"]),
    )
    first = next(begun)
    month.set_retention("3d", confirm=True)
    done = month.maintain(compact=True)
    assert done.compact is not None
    assert done.prune is not None
    assert done.prune.events + month.prune().events == 4 * 26 + 3  # those before 13:00 of the 27th
    assert not set(month.path.glob("segments/2026-10-0*"))
    seqs = pl.concat([first, *begun])["seq"]
    assert sorted(seqs) == list(range(4 * DAYS))


def test_a_question_after_a_prune_sees_the_prune(month: Trail) -> None:
    """A scan that was made before and is collected afterwards says what was pruned, or shows what it may."""
    lazy = month.scan()
    late = month.scan(START + timedelta(days=28))
    month.set_retention("3d", confirm=True)
    month.prune()
    with pytest.raises(PrunedError):
        lazy.collect()
    assert late.collect().height == 8


def test_what_is_held_open_is_bounded_by_the_descriptors(month: Trail) -> None:
    """A trail of more segments than a process may open is read all the same."""
    assert 1_000 <= most_descriptors() <= 1 << 20
    seen = month.scan().select(pl.len()).collect().item()
    assert seen == 4 * DAYS
    assert len(month.handle.reader.files.recent) <= 128
