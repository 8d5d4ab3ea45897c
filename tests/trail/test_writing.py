"""Appending, extending and flushing through the facade."""

import errno
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import ClosedError, InvalidEventError, TrailExistsError, TrailNotFoundError
from auditkit.keep import maintain
from auditkit.queue.dead_letters import read_letters
from auditkit.queue.receipts import Limits
from tests.fakes import FailingDisk, ManualClock


def files(trail: Trail) -> list[str]:
    """Return every file of a trail relative to it, locks left out."""
    return sorted(
        str(path.relative_to(trail.path))
        for path in trail.path.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    )


def test_a_new_trail_holds_nothing_but_its_frame(trail: Trail) -> None:
    """Creating appends no event, and lays out exactly what the format says."""
    assert files(trail) == ["catalog.sqlite", "queue/00000000000000000000.wal"]
    assert sorted(p.name for p in trail.path.iterdir() if p.is_dir()) == ["dead-letters", "queue", "segments"]
    assert trail.end_seq == 0
    assert trail.range(own=True).is_empty()


@pytest.mark.parametrize(
    ("group", "directory", "file"), [(None, 0o700, 0o600), ("read", 0o750, 0o640), ("write", 0o2770, 0o660)]
)
def test_permissions(make_trail: Callable[..., Trail], group: Any, directory: int, file: int) -> None:
    """Directories and files get exactly the documented bits, whatever the umask."""
    trail = make_trail(group=group)
    trail.append(action="a").wait()
    trail.flush()
    for path in (trail.path, *trail.path.rglob("*")):
        expected = directory if path.is_dir() else file
        if path.suffix == ".lock" and group == "read":
            expected = 0o600  # who may only read could hold it for ever
        assert path.stat().st_mode & 0o7777 == expected, path


def test_places_that_are_taken_are_refused(tmp_path: Path) -> None:
    """A trail is created in a new or empty directory only, and opened only where there is one."""
    (tmp_path / "empty").mkdir()
    ak.create(tmp_path / "empty").close()
    with pytest.raises(TrailExistsError, match="a trail already"):
        ak.create(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(TrailExistsError, match=r"not empty \(found 'notes.txt'\)"):
        ak.create(tmp_path / "full")
    with pytest.raises(TrailNotFoundError, match="no trail here"):
        ak.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_environment_names_the_trail(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path, AUDITKIT_TRAIL says which trail to open."""
    monkeypatch.setenv("AUDITKIT_TRAIL", str(trail.path))
    assert ak.open().trail_id == trail.trail_id
    monkeypatch.delenv("AUDITKIT_TRAIL")
    with pytest.raises(TrailNotFoundError, match="AUDITKIT_TRAIL"):
        ak.open()


def test_opening_writes_nothing(trail: Trail) -> None:
    """Opening and asking change no byte, no time and no name in the directory."""
    trail.append(action="a").wait()
    trail.flush()
    trail.append(action="b").wait()

    def state() -> dict[str, tuple[int, bytes]]:
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in trail.path.rglob("*") if p.is_file()}

    before = state()
    reader = ak.open(trail.path)
    assert reader.range().height == 2
    assert reader.stats().queue.depth == 1
    assert str(reader.plan_prune()) == "policy: keep for ever; nothing expires"
    assert state() == before


def test_an_event_comes_back_as_given(trail: Trail, clock: ManualClock) -> None:
    """Every field of an event is read back as it was appended, from the queue and from a segment alike."""
    given: dict[str, Any] = {
        "ts": datetime(2026, 11, 20, 12, 30, 1, 42, tzinfo=UTC), "actor": "ann", "action": "doc.read",
        "resource": "doc/7", "outcome": "success", "source": "svc", "origin": "10.0.0.7", "correlation": "r-1",
        "id": "e-1", "value": 2.5, "attrs": '{ "k": [1, 2] }',
    }  # fmt: skip
    trail.append(**given).wait()
    expected = {"seq": 0, "recorded": datetime(2026, 11, 24, 8, tzinfo=UTC), **given}
    assert trail.range().to_dicts() == [expected]
    trail.flush()
    assert trail.range().to_dicts() == [expected]
    assert dict(trail.range().schema) == trail.schema
    trail.append(action="only").wait()
    nulls = trail.range(where={"action": "only"}).to_dicts()[0]
    assert {name for name, value in nulls.items() if value is not None} == {"seq", "ts", "recorded", "action"}
    assert clock.now_us() == trail.range(where={"action": "only"})["ts"].to_physical()[0]


def test_bound_context_is_taken_and_explicit_arguments_win(trail: Trail) -> None:
    """`bind` fills what the call leaves out."""
    with ak.bind(actor="ann", origin="here", action="bound"):
        trail.append(action="a", actor="bob")
        trail.append().wait()
    rows = trail.range(columns=["actor", "origin", "action"]).rows()
    assert rows == [("bob", "here", "a"), ("ann", "here", "bound")]


def test_declared_fields_are_stored_and_asked(make_trail: Callable[..., Trail]) -> None:
    """Declared fields are columns of their own, before and after a flush and after reopening."""
    trail = make_trail(fields={"amount": pl.Float64, "paid": pl.Boolean})
    trail.append(action="order", amount=12.5, paid=False).wait()
    trail.extend([{"action": "order", "amount": 3, "extra": 1}]).wait()
    trail.flush()
    reader = ak.open(trail.path)
    assert reader.range(columns=["amount", "paid", "attrs"]).rows() == [
        (12.5, False, None),
        (3.0, None, '{"extra":1}'),
    ]
    assert reader.range(where={"amount": 3}).height == 1


def rows_as(kind: str) -> Any:
    """Return the same three events as rows, frame, lazy frame, Arrow table and reader."""
    rows = [{"action": "a", "actor": name, "ts": datetime(2026, 11, 1, tzinfo=UTC), "k": 1} for name in "xyz"]
    frame = pl.DataFrame(rows)
    return {
        "list": rows,
        "generator": iter(rows),
        "frame": frame,
        "lazy": frame.lazy(),
        "table": frame.to_arrow(),
        "reader": pa.Table.to_reader(frame.to_arrow()),
    }[kind]


@pytest.mark.parametrize("kind", ["list", "generator", "frame", "lazy", "table", "reader"])
def test_extend_takes_rows_of_every_kind(trail: Trail, kind: str) -> None:
    """The same events arrive whatever holds them."""
    receipt = trail.extend(rows_as(kind))
    assert receipt.wait() == 0
    assert receipt.count == 3
    assert trail.range(columns=["seq", "actor", "attrs"]).rows() == [
        (n, "xyz"[n], '{"k":1}') for n in range(3)
    ]


def test_a_bad_row_stops_the_whole_batch(trail: Trail) -> None:
    """The first bad row is named by its position, and nothing is taken."""
    with pytest.raises(InvalidEventError, match="row 2: value: not finite") as caught:
        trail.extend([{"action": "a"}, {"action": "b"}, {"action": "c", "value": float("nan")}])
    assert caught.value.position == 2
    assert trail.end_seq == 0
    assert trail.extend([]).wait() is None


def test_bad_rows_may_be_kept_aside(trail: Trail) -> None:
    """With on_invalid="dead-letter" bad rows are kept with reason and position, and the others are taken."""
    receipt = trail.extend(
        [{"action": "a"}, {"actor": "no action"}, {"action": "c"}], on_invalid="dead-letter"
    )
    assert receipt.count == 2
    receipt.wait()
    (letter,) = read_letters(trail.handle.layout)
    assert (letter.field, letter.line, letter.input) == ("action", 2, '{"actor": "no action"}')
    assert trail.stats().dead_letters == 1
    with pytest.raises(ValueError, match="on_invalid"):
        trail.extend([], on_invalid="ignore")  # type: ignore[arg-type]


def test_a_flush_moves_events_exactly_once(trail: Trail) -> None:
    """After a flush the queue is empty, segments lie in their days, and each event is shown once."""
    trail.extend([{"action": "a", "ts": f"2026-11-{day:02}T12:00:00Z"} for day in (3, 1, 2, 1)]).wait()
    summary = trail.flush()
    assert (summary.events, summary.segments, summary.first_seq, summary.end_seq) == (4, 3, 0, 4)
    days = [path.split("/")[1] for path in files(trail) if path.startswith("segments/")]
    assert days == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert files(trail)[-4:-3] != ["queue/00000000000000000000.wal"]
    assert [p for p in files(trail) if p.startswith("queue/")] == ["queue/00000000000000000004.wal"]
    assert trail.range()["seq"].to_list() == [1, 3, 2, 0]
    assert str(trail.flush()) == "nothing to flush"
    assert trail.append(action="b").wait() == 4
    assert sorted(trail.range()["seq"]) == [0, 1, 2, 3, 4]


def test_a_writer_flushes_by_itself(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the queue has grown enough, the writer's thread flushes; the events of others count as well."""
    monkeypatch.setattr(maintain, "FLUSH_AT_EVENTS", 50)
    trail = make_trail(maintain=True)
    trail.extend([{"action": "a"}] * 60).wait()
    while trail.stats().segments.rows < 60:
        threading.Event().wait(0.01)
    monkeypatch.setattr(maintain, "LOOK_EVERY_S", 0.0)
    trail.append(action="seen").wait()
    trail.handle.next_look = 0.0
    with ak.open(trail.path, maintain=False) as other:
        other.extend([{"action": "b"}] * 60).wait()
    while trail.stats().segments.rows < 121:
        trail.append(action="more").wait()
        threading.Event().wait(0.01)


@pytest.mark.parametrize(
    ("partition", "folders"), [("1h", ["2026-11-01T05", "2026-11-01T06"]), ("1mo", ["2026-11"])]
)
def test_partitions(make_trail: Callable[..., Trail], partition: Any, folders: list[str]) -> None:
    """A trail may be partitioned by hour or month instead of the day."""
    trail = make_trail(partition=partition)
    trail.extend([{"action": "a", "ts": f"2026-11-01T0{hour}:59:59Z"} for hour in (5, 6)]).wait()
    trail.flush()
    assert sorted(p.name for p in (trail.path / "segments").iterdir()) == folders


@pytest.mark.parametrize("operation", ["sync", "rename", "unlink", "write"])
def test_a_failed_flush_keeps_every_event(tmp_path: Path, operation: str) -> None:
    """A flush that fails at any operation loses and doubles nothing; the next one finishes."""
    disk = FailingDisk()
    trail = ak.create(tmp_path / "audit", disk=disk)
    trail.extend([{"action": "a", "ts": f"2026-11-{day:02}T12:00:00Z"} for day in (1, 2, 3)]).wait()
    disk.fail[operation] = OSError(errno.ENOSPC, "injected")
    with pytest.raises((OSError, ClosedError)):
        trail.flush()
    disk.fail.clear()
    again = ak.open(tmp_path / "audit")
    assert sorted(again.range()["seq"]) == [0, 1, 2]
    again.flush()
    assert sorted(again.range()["seq"]) == [0, 1, 2]
    assert again.stats().segments.rows == 3
    assert not list((tmp_path / "audit").rglob("*.tmp"))
    again.close()


def test_a_full_backlog_that_cannot_be_flushed_grows_no_more(tmp_path: Path) -> None:
    """Where segments find no room the queue stays whole and bounded: appends raise saying so, until there is room."""
    disk = FailingDisk()
    trail = ak.create(tmp_path / "audit", disk=disk, limits=Limits(backlog_events=10))
    disk.fail["rename"] = OSError(errno.ENOSPC, "injected")
    for _ in range(10):
        trail.append(action="a").wait()
    for _ in range(5):
        with pytest.raises(OSError, match="injected") as caught:
            trail.append(action="b")
        assert any("backlog is full" in note for note in caught.value.__notes__)
    kept = files(trail)
    for _ in range(5):
        with pytest.raises(OSError, match="injected"):
            trail.extend([{"action": "b"}] * 3)
    assert files(trail) == kept
    assert (trail.stats().queue.depth, trail.range().height) == (10, 10)
    disk.fail.clear()
    assert trail.append(action="c").wait() == 10
    assert trail.stats().queue.flushed == 10
    trail.close()


def test_use_after_close_is_refused(trail: Trail) -> None:
    """A closed trail answers nothing and takes nothing; closing twice is fine."""
    trail.append(action="a")
    trail.close()
    trail.close()
    for use in (trail.range, trail.flush, lambda: trail.append(action="b")):
        with pytest.raises(ClosedError):
            use()
    assert ak.open(trail.path).range().height == 1


def test_two_objects_append_to_one_trail(trail: Trail) -> None:
    """Two open objects share one order, also across flushes of either."""
    other = ak.open(trail.path)
    assert trail.append(action="a").wait() == 0
    assert other.append(action="b").wait() == 1
    other.flush()
    assert trail.append(action="c").wait() == 2
    trail.flush()
    assert other.append(action="d").wait() == 3
    assert [list(t.tail()["action"]) for t in (trail, other)] == [list("abcd")] * 2
    other.close()


def test_relative_paths_survive_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trail opened by a relative path stays the same trail after `chdir`."""
    monkeypatch.chdir(tmp_path)
    trail = ak.create("audit")
    monkeypatch.chdir("/")
    trail.append(action="a").wait()
    trail.flush()
    assert trail.range().height == 1
    trail.close()


def test_short_lived_writers_flush_when_due(trail: Trail, clock: ManualClock) -> None:
    """A writer that is closed behind its only event flushes what has become due, and waits for nobody who does so."""
    for hour, depth in ((0, 1), (1, 0), (1.1, 1), (1.2, 2), (2.2, 0)):
        clock.advance(hours=hour)
        with ak.open(trail.path, clock=clock) as short:
            short.append(action="a").wait()
        clock.advance(hours=-hour)
        assert trail.stats().queue.depth == depth, hour
    clock.advance(hours=9)
    with trail.handle.maintenance(), ak.open(trail.path, clock=clock) as short:
        short.append(action="a").wait()
        short.close()
        assert trail.stats().queue.depth == 1
    with ak.open(trail.path, clock=clock, maintain=False) as worker:
        worker.append(action="a").wait()
    assert trail.stats().queue.depth == 2
    assert trail.range().height == 7


def test_failing_maintenance_shows_and_stops_nothing(tmp_path: Path, clock: ManualClock) -> None:
    """A flush that fails by itself shows in stats; appends, also those nobody waits for, go on."""
    disk = FailingDisk()
    trail = ak.create(tmp_path / "audit", disk=disk, clock=clock)
    trail.append(action="a").wait()
    clock.advance(hours=1)  # the oldest queued event is now old enough for a flush
    disk.fail["rename"] = OSError(errno.ENOSPC, "injected")
    last = trail.append(action="b")
    while not last.done or trail.stats().maintenance_failure is None:
        threading.Event().wait(0.005)
    assert "injected" in str(trail.stats())
    disk.fail.clear()
    unwaited = trail.append(action="c")
    while not unwaited.done:
        threading.Event().wait(0.005)
    trail.flush()
    assert list(trail.tail()["action"]) == ["a", "b", "c"]
    trail.close()
