"""Large batches go straight into segments, in the one order of seqs, wholly or not at all."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import InvalidEventError
from auditkit.queue.dead_letters import read_letters
from auditkit.store.catalog import change_catalog
from auditkit.write import extend, flush

START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _small_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extend, "BULK_ROWS", 50)


def frame(rows: int = 60, **columns: Any) -> pl.DataFrame:
    """Return rows an hour apart, latest first."""
    stamps = [START + timedelta(hours=rows - n) for n in range(rows)]
    return pl.DataFrame({"action": ["bulk"] * rows, "ts": stamps, **columns})


@pytest.mark.parametrize("shape", ["frame", "rows", "lazy", "table"])
def test_a_large_batch_never_touches_the_queue(trail: Trail, shape: str) -> None:
    """A large batch of any shape is in segments when `extend` returns, between what came before and after."""
    shapes: dict[str, Callable[[], Any]] = {
        "frame": frame, "rows": lambda: frame().to_dicts(), "lazy": lambda: frame().lazy(),
        "table": lambda: frame().to_arrow(),
    }  # fmt: skip
    trail.append(action="before")
    receipt = trail.extend(shapes[shape]())
    assert (receipt.done, receipt.first, receipt.count) == (True, 1, 60)
    stats = trail.stats()
    assert (stats.queue.depth, stats.segments.rows) == (0, 61)
    assert trail.append(action="after").wait() == 61
    events = trail.tail(100)
    assert events["seq"].to_list() == list(range(62))
    assert events["action"].to_list() == ["before", *["bulk"] * 60, "after"]
    assert trail.range()["ts"].is_sorted()
    assert events["recorded"].is_sorted()


def test_each_partition_keeps_its_own_values(trail: Trail) -> None:
    """Rows in any order are told apart by day, nulls stay nulls, and a segment's dictionaries hold what it has only."""
    actors = [None if n % 3 == 0 else f"hour {n}" for n in range(60)]
    table = frame(60, actor=actors, outcome=[None] * 36 + ["ok"] * 24, resource=actors).to_arrow()
    table = table.take([n * 7 % 60 for n in range(60)])
    trail.append(action="queued", ts=START, actor="hour 1").wait()
    trail.extend(table)
    expected = pl.DataFrame(table).sort("ts")
    found = trail.range(where={"action": "bulk"}).select(expected.columns)
    assert found.equals(expected)
    files = sorted((trail.path / "segments").rglob("*.arrow"))
    assert len(files) == 3
    for file in files:
        batch = pa.ipc.open_file(file).get_batch(0)
        for name in ("actor", "outcome"):
            values = batch[name].dictionary.to_pylist()
            assert sorted(values) == sorted({value for value in batch[name].to_pylist() if value is not None})


def test_small_batches_of_a_reader_are_gathered(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader's small batches go straight into segments in large ones, the rest as the few events that it is."""
    monkeypatch.setattr(extend, "CHUNK_ROWS", 100)
    reader = pa.Table.from_batches(frame(7).to_arrow().to_batches() * 18).to_reader()
    assert trail.extend(reader).count == 126
    assert (trail.stats().segments.rows, trail.stats().queue.depth) == (98, 28)
    assert trail.range().height == 126


def test_others_follow_a_bulk(trail: Trail) -> None:
    """A writer that was open before goes on behind the bulk, and flushes of both go on."""
    other = ak.open(trail.path)
    assert other.append(action="a").wait() == 0
    assert trail.extend(frame()).wait() == 1
    assert other.append(action="b").wait() == 61
    assert trail.append(action="c").wait() == 62
    other.flush()
    assert trail.append(action="d").wait() == 63
    assert trail.range().height == other.range().height == 64
    other.close()


def test_a_bulk_that_fails_takes_nothing(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the catalog refuses, nothing of the batch counts, and the same writer goes on."""

    def fail(*_: object) -> None:
        raise OSError("injected")

    trail.append(action="a").wait()
    trail.flush()
    with monkeypatch.context() as patched:
        patched.setattr(flush, "change_catalog", fail)
        with pytest.raises(OSError, match="injected"):
            trail.extend(frame())
    assert trail.append(action="b").wait() == 1
    assert trail.range().height == 2
    assert trail.extend(frame()).wait() == 2
    assert not list(trail.path.rglob("*.tmp"))
    assert trail.stats().segments.rows == 62


class Died(BaseException):
    """Stands for the death of a process."""


@pytest.mark.parametrize("committed", [False, True])
def test_death_around_the_commit_of_a_bulk(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """A process that dies just before or just after the catalog's commit leaves all or nothing."""
    trail.append(action="a").wait()
    trail.flush()
    dying = ak.open(trail.path)
    real = change_catalog

    def die(path: Path, change: Any) -> None:
        if committed:
            real(path, change)
        raise Died

    queue = dying.handle.active_queue()
    monkeypatch.setattr(queue, "_cut", lambda _end: None)  # the dead take nothing back
    monkeypatch.setattr(flush, "change_catalog", die)
    with pytest.raises(Died):
        dying.extend(frame())
    monkeypatch.undo()
    monkeypatch.setattr(extend, "BULK_ROWS", 50)
    shown = 61 if committed else 1
    assert ak.open(trail.path).range().height == shown
    assert trail.append(action="next").wait() == shown
    assert sorted(trail.tail(100)["seq"]) == list(range(shown + 1))
    trail.flush()
    assert sorted(ak.open(trail.path).tail(100)["seq"]) == list(range(shown + 1))


@pytest.mark.parametrize(
    ("column", "values", "field"),
    [
        ("action", ["x"] * 59 + [""], "action"),
        ("source", ["x"] * 59 + ["auditkit"], "source"),
        ("value", [1.0] * 59 + [float("nan")], "value"),
        ("attrs", ["{}"] * 59 + ["[]"], "attrs"),
        ("attrs", ["{}"] * 59 + ["{}, {}"], "attrs"),
        ("attrs", ["{}"] * 58 + ['{"a":[1', "2]}"], "attrs"),
        ("attrs", ["{}"] * 59 + ['{"a":' * 65 + "1" + "}" * 65], "attrs"),
        ("ts", [START] * 59 + [datetime(1899, 1, 1, tzinfo=UTC)], "ts"),
        ("actor", ["x"] * 59 + ["y" * 70_000], "actor"),
    ],
)
def test_columns_are_held_to_the_rules_of_rows(
    trail: Trail, column: str, values: list[Any], field: str
) -> None:
    """A frame is refused for the same reasons as rows, naming the first bad one; or its bad rows are kept aside."""
    given = frame().with_columns(pl.Series(column, values))
    with pytest.raises(InvalidEventError) as caught:
        trail.extend(given)
    assert caught.value.field == field
    first_bad = caught.value.position
    assert first_bad in (58, 59)
    assert (trail.end_seq, list(trail.path.rglob("*.arrow"))) == (0, [])
    trail.extend(given, on_invalid="dead-letter").wait()
    letters = list(read_letters(trail.handle.layout))
    assert len(letters) == 60 - first_bad
    assert trail.range().height == first_bad


def test_columns_give_the_events_that_rows_give(make_trail: Callable[..., Trail]) -> None:
    """Whatever its types, a frame becomes the same events as its rows, one by one."""
    given = frame(
        actor=pl.Series(["ann", None] * 30, dtype=pl.Categorical),
        value=pl.Series(range(60), dtype=pl.Int32),
        text=['å\n"x"'] * 60,
        flag=[True, None] * 30,
        number=[1.5] * 60,
    )
    stamps = {
        "us": given,
        "ns": given.with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")) - pl.duration(nanoseconds=1)),
        "local": given.with_columns(pl.col("ts").dt.convert_time_zone("Asia/Kolkata")),
        "text": given.with_columns(pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%SZ")),
    }
    for name, one in stamps.items():
        by_columns, by_rows = make_trail(f"c{name}"), make_trail(f"r{name}")
        by_columns.extend(one).wait()
        by_rows.extend(one.to_dicts()).wait()
        columns = [c for c in by_rows.schema if c != "recorded"]
        assert by_columns.tail(99).select(columns).equals(by_rows.tail(99).select(columns)), name


def test_naive_times_in_a_frame_are_read_in_the_zone_given(trail: Trail) -> None:
    """A frame of naive times needs a zone, and is then read as rows are."""
    naive = frame().with_columns(pl.col("ts").dt.replace_time_zone(None))
    with pytest.raises(InvalidEventError, match="row 0: ts: has no time zone") as refused:
        trail.extend(naive)
    assert "tz='Europe/Stockholm'" in refused.value.__notes__[0]
    trail.extend(naive, tz="Asia/Kolkata")
    assert trail.range()["ts"].max() == START + timedelta(hours=60) - timedelta(hours=5, minutes=30)


def test_events_with_ids_are_told_apart_in_any_number(trail: Trail) -> None:
    """A large batch with ids goes through the queue, where retries are recognised."""
    given = frame(id=[str(n) for n in range(60)])
    assert trail.extend(given).wait() == 0
    repeat = trail.extend(given)
    assert (repeat.wait(), repeat.duplicates) == (0, 60)
    assert trail.range().height == 60


def test_a_large_table_is_taken_in_chunks(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table above the bounds is stored piece by piece, in order, and the receipt stands for all of it."""
    monkeypatch.setattr(extend, "CHUNK_ROWS", 60)
    commits = len(trail.handle.reader.catalog.read().flushes)
    receipt = trail.extend(frame(150, resource=[f"{n}" for n in range(150)]))
    assert (receipt.wait(), receipt.count, trail.end_seq) == (0, 150, 150)
    assert len(trail.handle.reader.catalog.read().flushes) == commits + 3
    assert trail.scan().collect().sort("seq")["resource"].to_list() == [f"{n}" for n in range(150)]
    monkeypatch.setattr(extend, "CHUNK_BYTES", 20_000)
    assert trail.extend(frame(60, attrs=['{"a":"' + "x" * 1_000 + '"}'] * 60).lazy()).wait() == 150
    assert trail.end_seq == 210


def test_an_error_in_a_later_chunk_says_how_many_rows_are_in(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad row or a taken id takes nothing of its chunk, is named by its row in the whole, and the chunks before are in."""
    monkeypatch.setattr(extend, "CHUNK_ROWS", 60)
    actions = ["a"] * 129 + [""] + ["a"] * 20
    with pytest.raises(InvalidEventError, match="row 129: action") as caught:
        trail.extend(frame(150).with_columns(action=pl.Series(actions)))
    assert caught.value.__notes__ == ["stored before this chunk: 100 rows"]
    assert trail.end_seq == 100
    keyed = frame(150).with_columns(id=pl.int_range(150).cast(pl.String))
    trail.append(action="taken", id="140").wait()
    with pytest.raises(InvalidEventError, match="row 140: id: seq 100 ") as caught:
        trail.extend(keyed)
    assert caught.value.__notes__ == ["stored before this chunk: 100 rows"]
    assert trail.end_seq == 201
    receipt = trail.extend(keyed.filter(pl.col("id") != "140"))  # what is in is found again
    assert (receipt.duplicates, trail.end_seq) == (100, 250)


def test_of_mappings_nothing_is_taken_before_all_are_valid(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of mappings with a bad row is refused whole, however long it is; a good one is stored piece by piece."""
    monkeypatch.setattr(extend, "CHUNK_ROWS", 60)
    rows = [{"action": "a"} for _ in range(150)]
    with pytest.raises(InvalidEventError, match="row 149: action"):
        trail.extend([*rows[:-1], {"action": ""}])
    assert trail.end_seq == 0
    assert trail.extend(rows).count == trail.end_seq == 150
    assert trail.extend(iter(rows)).count == 150


def test_a_bulk_of_many_partitions_goes_through_the_queue(trail: Trail) -> None:
    """A batch that would make a segment for each of many days waits in the queue, where others join it."""
    many = frame(60).with_columns(ts=pl.datetime_range(START - timedelta(days=59), START, "1d", eager=True))
    assert trail.extend(many.head(50).tail(31)).wait() == 0
    assert trail.stats().queue.depth == 31
    assert trail.extend(many).wait() == 31
    stats = trail.stats()
    assert (stats.queue.depth, stats.segments.rows) == (91, 0)
    assert trail.extend(frame(60)).wait() == 91
    assert trail.range().height == 151


def test_what_offers_an_arrow_stream_is_a_table(trail: Trail) -> None:
    """Any object with the PyCapsule interface is taken by column, small or large."""

    class Stream:
        def __init__(self, table: pa.Table) -> None:
            self.__arrow_c_stream__ = table.__arrow_c_stream__

    assert trail.extend(Stream(frame(10).to_arrow())).wait() == 0
    assert trail.extend(Stream(frame(60).to_arrow())).wait() == 10
    assert trail.range().height == 70
