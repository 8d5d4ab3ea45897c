"""Idempotency: an event with an id is accepted once."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import CorruptionError, InvalidEventError
from auditkit.queue import dedup
from auditkit.queue.dead_letters import read_letters
from auditkit.queue.stored import StoredEvents
from auditkit.store.catalog import CurrentCatalog
from auditkit.store.records import CatalogView
from auditkit.write import extend
from tests.fakes import FailingDisk, ManualClock, interrupting
from tests.queue.conftest import Bench


def test_a_retry_gets_the_first_seq(trail: Trail) -> None:
    """The same body under the same (source, id) is the same event, also without a ts of its own."""
    first = trail.append(action="a", id="1", source="s")
    assert first.wait() == 0
    again = trail.append(action="a", id="1", source="s")
    assert again.wait() == 0
    assert (first.duplicates, again.duplicates, again.count) == (0, 1, 1)
    assert trail.end_seq == 1
    assert trail.stats().queue.duplicates == 1


def test_another_body_is_refused_naming_both_seqs(trail: Trail) -> None:
    """The same key with another body raises for that receipt alone, and closes nothing."""
    trail.append(action="a", id="1").wait()
    trail.append(action="b").wait()
    clash, fine = trail.append(action="c", id="1"), trail.append(action="d")
    with pytest.raises(InvalidEventError, match=r"id: seq 0 has this source and id .* as seq 2"):
        clash.wait()
    assert fine.wait() == 2
    assert list(trail.range()["action"]) == ["a", "b", "d"]


def test_genuine_twins_are_two_events(trail: Trail) -> None:
    """Events without an id are never merged, and a null source is a value of its own."""
    for _ in range(2):
        trail.append(action="a", ts="2026-11-01T00:00:00Z").wait()
    trail.append(action="a", id="1").wait()
    trail.append(action="a", id="1", source="").wait()
    assert trail.end_seq == 4


def test_inside_a_batch_events_count_one_by_one(trail: Trail) -> None:
    """A batch is judged as if its events came one by one."""
    rows = [
        {"action": "a", "id": "1"},
        {"action": "b"},
        {"action": "a", "id": "1"},
        {"action": "c", "id": "2"},
    ]
    receipt = trail.extend(rows)
    assert receipt.wait() == 0
    assert (receipt.count, receipt.duplicates) == (4, 1)
    assert list(trail.range()["action"]) == ["a", "b", "c"]
    repeat = trail.extend(rows[:1] * 3)
    assert (repeat.wait(), repeat.duplicates) == (0, 3)


def test_a_batch_with_a_conflict_is_refused_whole(trail: Trail) -> None:
    """One conflict in a batch takes nothing of it, and its keys stay free."""
    trail.append(action="a", id="1").wait()
    receipt = trail.extend([{"action": "new", "id": "2"}, {"action": "other", "id": "1"}])
    with pytest.raises(InvalidEventError, match="row 1: id"):
        receipt.wait()
    assert trail.append(action="free", id="2").wait() == 1


def test_a_conflict_may_become_a_dead_letter(trail: Trail) -> None:
    """With on_invalid="dead-letter" a conflicting row is kept aside and the others are taken."""
    trail.append(action="a", id="1").wait()
    receipt = trail.extend([{"action": "b", "id": "1"}, {"action": "c"}], on_invalid="dead-letter")
    assert receipt.wait() == 1
    assert receipt.count == 1
    (letter,) = read_letters(trail.handle.layout)
    assert letter.field == "id"
    assert '"action": "b"' in letter.input


@pytest.mark.parametrize("flush", [False, True])
def test_keys_are_known_across_objects_and_restarts(trail: Trail, flush: bool) -> None:
    """Another object, and one opened later, know the keys in queue and segments."""
    other = ak.open(trail.path)
    other.append(action="x", id="0").wait()
    assert trail.append(action="a", id="1").wait() == 1
    if flush:
        trail.flush()
    assert other.append(action="a", id="1").wait() == 1
    assert other.append(action="b", id="2").wait() == 2
    assert trail.append(action="b", id="2").wait() == 2
    trail.close()
    other.close()
    later = ak.open(trail.path)
    assert later.append(action="a", id="1").wait() == 1
    assert later.append(action="x", id="0").wait() == 0
    later.close()


def test_the_window_slides(make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushed keys beyond the window are forgotten, unflushed ones never."""
    monkeypatch.setattr(dedup, "WINDOW", 3)
    trail = make_trail(maintain=False)
    for number in range(8):
        trail.append(action="a", id=str(number)).wait()
    assert trail.append(action="a", id="0").wait() == 0
    trail.flush()
    trail.append(action="a", id="new").wait()
    assert trail.append(action="a", id="0").wait() == 9
    assert trail.append(action="a", id="7").wait() == 7


def test_an_explicit_ts_is_part_of_the_body(trail: Trail) -> None:
    """Two different explicit times under one key are two bodies."""
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    assert trail.append(action="a", id="1", ts=moment).wait() == 0
    assert trail.append(action="a", id="1", ts=moment).wait() == 0
    with pytest.raises(InvalidEventError, match="another body"):
        trail.append(action="a", id="1", ts=moment.replace(day=2)).wait()


@pytest.mark.parametrize("how", ["dicts", "batch", "bulk"])
@pytest.mark.parametrize("where", ["queued", "flushed"])
def test_importing_everything_again_stores_nothing(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch, how: str, where: str
) -> None:
    """The same events again, however they come and wherever they lie, are duplicates, and new ones among them are not."""
    monkeypatch.setattr(extend, "BULK_ROWS", 50)
    trail = make_trail(fields={"n": pl.Int64, "due": pl.Datetime("us", "UTC")}, maintain=False)
    events = pl.DataFrame(
        {
            "ts": [datetime(2026, 11, 1 + n % 3, tzinfo=UTC) for n in range(120)],
            "action": ["a", "b"] * 60,
            "actor": [None, "ann", "bob"] * 40,
            "source": ["s", None, "", "t"] * 30,
            "id": [str(n) if n % 10 else None for n in range(120)],
            "value": [n / 7 for n in range(120)],
            "n": [n if n % 2 else None for n in range(120)],
            "due": [datetime(1969, 1, 1, tzinfo=UTC)] * 120,
        }
    )
    shapes: dict[str, tuple[int, Callable[[pl.DataFrame], Any]]] = {
        "dicts": (40, lambda frame: frame.to_dicts()),
        "batch": (40, lambda frame: frame),
        "bulk": (120, lambda frame: frame),
    }
    rows, shape = shapes[how]
    events = events.head(rows)
    trail.extend(shape(events)).wait()
    if where == "flushed":
        trail.flush()
    keyed = events.filter(pl.col("id").is_not_null())
    more = keyed.head(1).with_columns(id=pl.lit("new"))
    again = ak.open(trail.path)
    for one in (trail, again):
        receipt = one.extend(shape(keyed))
        assert (receipt.wait(), receipt.duplicates) == (1, rows * 9 // 10)
        receipt = one.extend(shape(pl.concat([keyed, more])))
        receipt.wait()
        assert (receipt.first, receipt.duplicates) == (
            (1, rows * 9 // 10 + 1) if one is again else (rows, rows * 9 // 10)
        )
    again.close()
    assert trail.end_seq == rows + 1
    assert trail.range()["id"].sort().equals(pl.concat([events, more])["id"].sort())


def test_bulk_by_one_process_and_retries_in_another(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one object loads in bulk another one knows when it retries single events, and the other way round."""
    monkeypatch.setattr(extend, "BULK_ROWS", 50)
    other = ak.open(trail.path, maintain=False)
    assert other.append(action="x", id="mine", source="s").wait() == 0
    table = pl.DataFrame(
        {
            "ts": [datetime(2026, 11, 1, tzinfo=UTC)] * 100,
            "action": ["a"] * 100,
            "id": [f"{n}" for n in range(100)],
        }
    )
    assert trail.extend(table).wait() == 1
    retry = other.append(action="a", id="42", ts=datetime(2026, 11, 1, tzinfo=UTC))
    assert (retry.wait(), retry.duplicates) == (43, 1)
    assert other.append(action="b", id="100").wait() == 101
    mixed = pl.concat([table.tail(60), table.head(1).with_columns(id=pl.lit("new"))])
    receipt = trail.extend(mixed)
    assert (receipt.wait(), receipt.count, receipt.duplicates) == (102, 61, 60)
    assert trail.append(action="x", id="mine", source="s").wait() == 0
    with pytest.raises(InvalidEventError, match="seq 101"):
        trail.append(action="c", id="100").wait()
    other.close()


def test_all_conflicts_of_a_batch_are_named(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error names each row whose key is taken, in a small batch as in bulk, and nothing is stored."""
    monkeypatch.setattr(extend, "BULK_ROWS", 50)
    trail.extend([{"action": "a", "id": f"{n}"} for n in range(3)]).wait()
    rows = [{"action": "b", "id": f"{n}"} for n in range(5)]
    with pytest.raises(InvalidEventError, match=r"row 0: id: seq 0 .* rows 1, 2 ") as caught:
        trail.extend(rows).wait()
    assert caught.value.position == 0
    assert [note.split(" has")[0] for note in caught.value.__notes__] == [
        "row 1: id: seq 1",
        "row 2: id: seq 2",
    ]
    bulk = pl.DataFrame(
        {
            "ts": [datetime(2026, 11, 1, tzinfo=UTC)] * 60,
            "action": ["b"] * 60,
            "id": [f"{n}" for n in range(60)],
        }
    )
    with pytest.raises(InvalidEventError, match=r"rows 1, 2 "):
        trail.extend(bulk)
    assert trail.end_seq == 3
    receipt = trail.extend(bulk, on_invalid="dead-letter")
    assert (receipt.wait(), receipt.count) == (3, 57)
    assert len(list(read_letters(trail.handle.layout))) == 3


def test_inside_a_bulk_events_count_one_by_one(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a key that is in a bulk several times the first event is stored, and counts for those after it."""
    monkeypatch.setattr(extend, "BULK_ROWS", 50)
    ids = [f"{n % 30}" for n in range(90)]
    table = pl.DataFrame({"ts": [datetime(2026, 11, 1, tzinfo=UTC)] * 90, "action": ["a"] * 90, "id": ids})
    receipt = trail.extend(table)
    assert (receipt.wait(), receipt.duplicates, trail.end_seq) == (0, 60, 30)
    clash = table.with_columns(id=pl.lit("k"), action=pl.Series(["a"] * 89 + ["b"]))
    with pytest.raises(InvalidEventError, match=r"row 89: id: seq 30 .* as seq 31 "):
        trail.extend(clash)
    assert trail.end_seq == 30
    assert sorted(trail.range()["id"], key=int) == [f"{n}" for n in range(30)]


def test_an_event_that_was_pruned_counts_as_unknown(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """A key is free again once its event was pruned, in the object that knew it and in others."""
    trail = make_trail(retention="1d", maintain=False)
    trail.append(action="a", id="1").wait()
    clock.advance(hours=36)
    trail.append(action="now").wait()
    trail.flush()
    assert trail.append(action="a", id="1").wait() == 0
    trail.prune()
    assert trail.append(action="a", id="1").wait() == 3
    other = ak.open(trail.path, maintain=False)
    assert other.append(action="a", id="1").wait() == 3
    other.close()


def test_the_window_is_read_back_from_segments(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that opens later knows the ids of the last seqs, and no older ones."""
    monkeypatch.setattr(dedup, "WINDOW", 10)
    trail = make_trail(maintain=False)
    trail.extend([{"action": "a", "id": f"{n}"} for n in range(30)]).wait()
    trail.flush()
    trail.append(action="unkeyed").wait()
    later = ak.open(trail.path, maintain=False)
    assert later.append(action="a", id="29").wait() == 29
    assert later.append(action="a", id="21").wait() == 21
    assert later.append(action="a", id="20").wait() == 31
    assert trail.append(action="a", id="20").wait() == 31
    later.close()


def test_two_processes_know_what_each_other_stores(trail: Trail) -> None:
    """Two processes that append the same events at the same time store each of them once."""
    program = (
        "import sys, auditkit as ak\n"
        "with ak.open(sys.argv[1], maintain=False) as trail:\n"
        "    for n in range(300):\n"
        "        trail.append(action='a', source='s', id=str(n)).wait()\n"
        "        if n % 100 == 50: trail.flush()\n"
    )
    command = [sys.executable, "-c", program, str(trail.path)]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert sorted(map(int, trail.range()["id"])) == list(range(300))
    assert trail.append(action="a", source="s", id="7").duplicates == 0
    assert trail.end_seq == 300


@pytest.mark.parametrize("committed", [False, True])
def test_a_crash_inside_a_keyed_bulk(trail: Trail, monkeypatch: pytest.MonkeyPatch, committed: bool) -> None:
    """Whether the catalog had committed or not when the process died, the bulk again is there once."""
    monkeypatch.setattr(extend, "BULK_ROWS", 50)
    ids = [f"{n}" for n in range(60)]
    table = pl.DataFrame({"ts": [datetime(2026, 11, 1, tzinfo=UTC)] * 60, "action": ["a"] * 60, "id": ids})
    file = trail.path.with_name("table.arrow")
    table.write_ipc(file)
    trail.append(action="before", id="0", source="other").wait()
    program = (
        "import os, sys, polars as pl, auditkit as ak\n"
        "from auditkit.write import extend, flush\n"
        "extend.BULK_ROWS, real = 50, flush.change_catalog\n"
        f"def die(*args):\n    {'real(*args)' if committed else 'pass'}\n    os._exit(9)\n"
        "flush.change_catalog = die\n"
        "ak.open(sys.argv[1], maintain=False).extend(pl.read_ipc(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", program, str(trail.path), str(file)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9
    assert trail.append(action="b", id="after").wait() == (61 if committed else 1)
    receipt = trail.extend(table)
    assert (receipt.wait(), receipt.duplicates) == ((1, 60) if committed else (2, 0))
    assert trail.range(where={"action": "a"}).height == 60


def test_a_null_source_is_a_value(trail: Trail) -> None:
    """No source, an empty one and another one are three, and retries of each find their own."""
    for seq, source in enumerate((None, "", "s")):
        assert trail.append(action="a", id="1", source=source).wait() == seq
    for seq, source in enumerate((None, "", "s")):
        assert trail.append(action="a", id="1", source=source).wait() == seq


def test_equal_hashes_of_different_keys_are_different_events(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash only raises a suspicion: the stored event decides, in the queue, in segments and inside a batch."""
    monkeypatch.setattr(dedup, "hash", lambda _: 7, raising=False)
    monkeypatch.setattr(dedup, "_RECENT", 3)
    for flush in (False, True):
        for n in range(6):
            seq = trail.append(action="a", id=f"{flush}{n}").wait()
            assert trail.append(action="a", id=f"{flush}{n}").wait() == seq
        receipt = trail.extend([{"action": "a", "id": f"{flush}b{n % 3}"} for n in range(6)])
        assert (receipt.wait(), receipt.duplicates) == ((15 if flush else 6), 3)
        trail.flush()
    assert trail.end_seq == 18
    assert trail.append(action="a", id="False0").wait() == 0


def test_a_forked_child_tells_retries(trail: Trail) -> None:
    """A child whose Polars has lost its threads knows the ids in queue and segments, and their bodies."""
    trail.append(action="a", id="sealed").wait()
    trail.flush()
    trail.append(action="a", id="queued").wait()
    trail.scan().group_by("action").len().collect()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        status = 1
        try:
            seqs = [trail.append(action="a", id=key).wait() for key in ("sealed", "queued", "new", "new")]
            status = 0 if seqs == [0, 1, 2, 2] else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert trail.append(action="a", id="new").wait() == 2


@pytest.mark.parametrize("before", [True, False])
def test_a_flush_that_ends_while_a_retry_is_looked_up(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """What a flush moves while the stored event is read is found where it was or where it is, and nothing is damaged."""
    trail.extend([{"action": "a", "id": str(n)} for n in range(3)]).wait()
    handle, flusher = trail.handle, ak.open(trail.path, maintain=False)
    stored = StoredEvents(
        handle.disk,
        handle.layout,
        trail_id=handle.queue_id,
        schema=handle.schema,
        catalog=handle.reader.catalog,
        files=handle.reader.files,
    )
    read, flushes = CurrentCatalog.read, list[object]()

    def read_beside_a_flush(catalog: CurrentCatalog) -> CatalogView:
        if catalog is not handle.reader.catalog or flushes:
            return read(catalog)
        view = None if before else read(catalog)
        flushes.append(flusher.flush())
        return read(catalog) if view is None else view

    monkeypatch.setattr(CurrentCatalog, "read", read_beside_a_flush)
    seqs, columns = stored.rows(np.array([0, 2]))
    assert (len(flushes), seqs.tolist()) == (1, [0, 2])
    assert columns[handle.schema.row_columns.index("id")].to_list() == ["0", "2"]


@pytest.mark.parametrize("operation", ["write", "sync_data", "lock"])
def test_an_interrupt_forgets_no_id(make_trail: Callable[..., Trail], operation: str) -> None:
    """Ctrl-C while ids are looked up, or their events stored, leaves no index that does not know them."""
    disk = FailingDisk()
    trail = make_trail(disk=disk, maintain=False)
    assert trail.append(action="a", id="0").wait() == 0
    rows = [{"action": "a", "id": f"{n}"} for n in range(3)]
    receipt = trail.extend(rows)
    disk.before[operation] = interrupting()
    with pytest.raises(KeyboardInterrupt):
        receipt.wait()
    assert (receipt.wait(), receipt.duplicates) == (1, 1)
    again = trail.extend(rows)
    assert (again.wait(), again.duplicates, trail.end_seq) == (0, 3, 3)


@pytest.mark.parametrize("operation", ["write", "sync", "sync_data", "rename", "lock"])
def test_an_interrupted_bulk_is_there_once(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Ctrl-C inside a bulk with ids, and the bulk again, store each of its events once."""
    monkeypatch.setattr(extend, "BULK_ROWS", 50)
    disk = FailingDisk()
    trail = make_trail(disk=disk, maintain=False)
    ids = [f"{n}" for n in range(60)]
    table = pl.DataFrame({"ts": [datetime(2026, 11, 1, tzinfo=UTC)] * 60, "action": ["a"] * 60, "id": ids})
    assert trail.append(action="a", id="before").wait() == 0
    disk.before[operation] = interrupting()
    with pytest.raises(KeyboardInterrupt) as caught:
        trail.extend(table)
    assert any("of this call so far stored: " in note for note in caught.value.__notes__)
    assert trail.append(action="b").wait() in (1, 61)
    assert trail.extend(table).wait() in (1, 2)
    assert trail.range(where={"action": "a"}).height == 61
    trail.flush()
    assert trail.range(where={"action": "a"}).height == 61


def test_a_queue_file_that_lost_its_header_is_corruption(bench: Bench) -> None:
    """Ids are looked up in a file that is shorter than a header, and whose durable end the next one knows."""
    queue = bench.active()
    queue.commit([bench.payload("a")], 9)
    queue.rotate()
    queue.close()
    os.truncate(bench.layout.queue_file(0), 0)
    with pytest.raises(CorruptionError, match="damaged frame among durable ones"):
        list(bench.stored().keys(0, 1))
