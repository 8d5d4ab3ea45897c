"""Importing records into a trail: every one becomes an event or a dead letter."""

import errno
import gzip
import hashlib
import io
import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from auditkit.api import Trail
from auditkit.errors import AuditError, CorruptionError, StorageError
from auditkit.queue.dead_letters import DeadLetter, read_letters
from auditkit.sources import importer
from auditkit.sources.forecast import Forecast, foresee
from auditkit.sources.importer import (
    IMPORTED,
    import_records,
    preview,
)
from auditkit.sources.mapping import EventMap, plan_mapping
from auditkit.sources.readers import Format, ReadOptions, open_input
from auditkit.sources.tally import ImportSummary, Tally
from tests.aging import trust
from tests.fakes import FailingDisk

GOOD = '{"ts":"2026-11-23T10:00:00Z","action":"a"}\n'


def load(
    trail: Trail, content: str | bytes, mapping: EventMap | None = None, **more: object
) -> ImportSummary:
    """Import JSON lines."""
    stream = io.BytesIO(content.encode() if isinstance(content, str) else content)
    with open_input(stream, "jsonl") as source:
        return import_records(trail, source, mapping or plan_mapping(), **more)  # type: ignore[arg-type]


def producers(trail: Trail) -> pl.DataFrame:
    """The producers' events, in the order of acceptance."""
    return trail.range().sort("seq")


def letters(trail: Trail) -> list[DeadLetter]:
    """All dead letters of the trail."""
    return list(read_letters(trail.handle.layout))


def test_bad_records_become_dead_letters(trail: Trail) -> None:
    """Each bad record is kept with line, field and reason, in the order of the file; the others are events."""
    bad = [
        '{"ts":null,"action":"a"}',
        '{"action":"a"}',
        '{"ts":"2026-11-23T10:00:00Z"}',
        "not json",
        '{"ts":"2026-11-23 10:00","action":"a"}',
        '{"ts":"2126-01-01T00:00:00Z","action":"a"}',
        '{"ts":"1800-01-01T00:00:00Z","action":"a"}',
        '{"ts":"2026-11-23T10:00:00Z","action":"a","source":"auditkit"}',
        '{"ts":"2026-11-23T10:00:00Z","action":"' + "x" * 70_000 + '"}',
        '{"ts":"2026-11-23T10:00:00Z","action":"a","deep":' + "[" * 70 + "]" * 70 + "}",
    ]
    summary = load(trail, "".join(GOOD + line + "\n" for line in bad))
    assert (summary.events, summary.dead_letters) == (len(bad), len(bad))
    assert trail.range()["action"].to_list() == ["a"] * len(bad)
    kept = letters(trail)
    assert [letter.line for letter in kept] == list(range(2, 2 * len(bad) + 1, 2))
    assert [letter.input for letter in kept] == bad
    assert [letter.field for letter in kept] == ["ts", "ts", "action", None, "ts", "ts", "ts", "source", "action", "attrs"]  # fmt: skip
    assert summary.refusals[0].count == 2
    assert (summary.refusals[0].field, summary.refusals[0].first_line) == ("ts", 2)
    assert all(letter.reason for letter in kept)


def test_the_whole_record_is_kept(trail: Trail) -> None:
    """attrs is the record's line to the letter, also where the mapping takes values from it."""
    line = (
        '{"t":"2026-11-23T10:00:00+05:30", "user":{"name":"ann","id":12345678901234567890}, "n":1.50, "n":2}'
    )
    summary = load(trail, line, plan_mapping([("ts", "t"), ("actor", "user.name")], {"action": "x"}))
    [event] = trail.range().iter_rows(named=True)
    assert event["attrs"] == line
    assert event["actor"] == "ann"
    assert event["ts"] == datetime(2026, 11, 23, 4, 30, tzinfo=UTC) == summary.first_ts == summary.last_ts


def test_chunks_keep_order_and_numbers(trail: Trail) -> None:
    """Chunks change nothing: order, line numbers and counts are those of the file."""
    lines = [f'{{"ts":"2026-11-23T10:00:00Z","action":"a{n}"}}' if n % 7 else "bad" for n in range(50)]
    seen: list[tuple[int, int]] = []
    summary = load(
        trail,
        "\n".join(lines),
        chunk_records=8,
        on_progress=lambda _source, tally: seen.append((tally.events, tally.dead_letters)),
    )
    assert producers(trail)["action"].to_list() == [f"a{n}" for n in range(50) if n % 7]
    assert [letter.line for letter in letters(trail)] == [n + 1 for n in range(50) if n % 7 == 0]
    assert (summary.events, summary.dead_letters) == (42, 8) == seen[-1]
    assert len(seen) == 7


def test_csv_and_declared_fields(make_trail: Callable[..., Trail]) -> None:
    """CSV fills declared fields from text, and its rows are kept as JSON."""
    trail = make_trail(fields={"amount": pl.Float64, "paid": pl.Boolean})
    text = b"when,who,amount,paid\n2026-11-23 10:00,ann,12.5,true\n2026-11-23 11:00,,x,false\n2026-11-23 12:00,,,\n"
    mapping = plan_mapping([("ts", "when"), ("actor", "who"), ("amount", "amount")], {"action": "pay"}, fields=trail.fields, tz="UTC")  # fmt: skip
    with open_input(io.BytesIO(text), "csv") as source:
        summary = import_records(trail, source, mapping)
    frame = trail.range()
    assert frame["amount"].to_list() == [12.5, None]
    assert frame["paid"].to_list() == [True, None]
    assert json.loads(frame["attrs"][0]) == {
        "when": "2026-11-23 10:00",
        "who": "ann",
        "amount": "12.5",
        "paid": "true",
    }
    assert summary.refusals[0].field == "amount"
    [letter] = letters(trail)
    assert letter.line == 3
    assert json.loads(letter.input)["amount"] == "x"


def test_formats_agree(make_trail: Callable[..., Trail], tmp_path: Path) -> None:
    """The same records from JSON lines, CSV and Parquet make the same events."""
    frame = pl.DataFrame(
        {
            "ts": ["2026-11-23T10:00:00Z", "2026-11-23T10:00:01.5Z", "2026-11-23T09:00:00Z"],
            "actor": ["ann", None, "böb"],
            "action": ["a", "b", "c"],
            "value": [1.5, None, -2.0],
        }
    )
    frame.write_ndjson(tmp_path / "t.jsonl")
    frame.write_csv(tmp_path / "t.csv")
    frame.with_columns(pl.col("ts").str.to_datetime(time_unit="ns", time_zone="UTC")).write_parquet(
        tmp_path / "t.parquet"
    )
    packed = gzip.compress((tmp_path / "t.csv").read_bytes())
    (tmp_path / "t.csv.gz").write_bytes(packed)
    answers = []
    names: list[tuple[str, Format]] = [("t.jsonl", "jsonl"), ("t.csv", "csv"), ("t.csv.gz", "csv"), ("t.parquet", "parquet")]  # fmt: skip
    for name, kind in names:
        trail = make_trail(f"from {name}")
        with open_input(tmp_path / name, kind) as source:
            assert import_records(trail, source, plan_mapping()).events == 3
        answers.append(trail.range(columns=["seq", "ts", "actor", "action", "value"]))
    assert all(answer.equals(answers[0]) for answer in answers)
    assert answers[0]["seq"].to_list() == [2, 0, 1]


def test_repeated_ids(trail: Trail) -> None:
    """With an id mapped, what is imported again changes nothing, and another record with that id is a dead letter."""
    first = '{"ts":"2026-11-23T10:00:00Z","action":"a","id":"1"}\n'
    other = '{"ts":"2026-11-23T10:00:00Z","action":"b","id":"1"}\n'
    third = '{"ts":"2026-11-23T11:00:00Z","action":"c","id":"2"}\n'
    mapping = plan_mapping([("id", "id")])
    once = load(trail, first + other + third + first, mapping)
    assert (once.events, once.duplicates, once.dead_letters) == (2, 1, 1)
    assert [(letter.line, letter.field, letter.input + "\n") for letter in letters(trail)] == [
        (2, "id", other)
    ]
    again = load(trail, first + third, mapping)
    assert (again.events, again.duplicates, again.first_seq) == (0, 2, None)
    assert producers(trail)["action"].to_list() == ["a", "c"]


@pytest.mark.parametrize("count", [1, 150])
def test_an_import_of_nothing_but_bad_records_writes_nothing(trail: Trail, count: int) -> None:
    """When the beginning of the file is refused as a whole, nothing is written, and what would fit is said."""
    content = '{"time":"2026-11-23T10:00:00Z","event":"x"}\n' * count
    with pytest.raises(
        AuditError,
        match="its only record cannot become" if count == 1 else f"none of the first {count} records",
    ) as failed:
        load(trail, content)
    notes = "\n".join(failed.value.__notes__)
    assert "line 1: ts: missing" in notes
    assert "would fit: --map ts=time" in notes
    assert "time, event" in notes
    assert letters(trail) == []
    assert trail.end_seq == 0


def test_what_is_in_when_reading_breaks_off(trail: Trail) -> None:
    """When the file breaks off, the whole chunks before are in, and the caller's tally says so."""
    packed = gzip.compress("".join(GOOD.replace('"a"', f'"{n}"') for n in range(5000)).encode())
    tally = Tally()
    with pytest.raises(CorruptionError, match="breaks off"):
        load(trail, packed[:-50], tally=tally, chunk_records=100)
    assert tally.events == producers(trail).height
    assert tally.events % 100 == 0


def test_preview_writes_nothing(trail: Trail) -> None:
    """A preview shows what records would become, the trail's own refusals included."""
    content = GOOD + '{"ts":"2126-01-01T00:00:00Z","action":"a"}\n' + "bad\n" + GOOD
    with open_input(io.BytesIO(content.encode()), "jsonl") as source:
        events, tally = preview(trail, source, plan_mapping(), limit=3)
    assert [event["action"] for event in events] == ["a"]
    assert (tally.events, tally.dead_letters) == (1, 2)
    assert trail.end_seq == 0
    assert letters(trail) == []


@pytest.mark.parametrize(
    ("kind", "begin", "between", "end"),
    [
        ("jsonl", "", "\n", "\n"),
        ("json", '{"Records": [', ",\n", "]}"),
        ("csv", "ts,action,fill\n", "\n", "\n"),
    ],
)
def test_memory_is_bounded(
    trail: Trail, tmp_path: Path, kind: Format, begin: str, between: str, end: str
) -> None:
    """A file many times larger than a chunk is imported in the memory of a few chunks, whatever its layout."""
    path = tmp_path / "long.gz"
    record = {"ts": "2026-11-23T10:00:00Z", "action": "a", "fill": "x" * 2000}
    row = ",".join(record.values()) if kind == "csv" else json.dumps(record)
    with gzip.open(path, "wt", compresslevel=1) as out:
        out.write(begin + between.join([row] * 30_000) + end)
    tracemalloc.start()
    with open_input(path, kind, ReadOptions(records=("Records",) if kind == "json" else ())) as source:
        count = import_records(trail, source, plan_mapping(), chunk_records=500).events
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 40_000_000 < count * len(row) / 1.5


@pytest.mark.parametrize("operation", ["write", "sync_data", "sync", "sync_directory"])
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_full_disk_stops_an_import_that_then_goes_on(
    make_trail: Callable[..., Trail], operation: str, calls: int
) -> None:
    """Where storage refuses a chunk or its letters, the import says so; run again it gives each line once."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    content = "".join(numbered(number) + ("bad\n" if number % 3 == 0 else "") for number in range(12))
    left = calls

    def count_down() -> None:
        nonlocal left
        left -= 1
        if not left:
            disk.fail[operation] = OSError(errno.ENOSPC, "No space left on device")

    tally = Tally()
    disk.before[operation] = count_down
    with suppress(StorageError, OSError):
        load(trail, content, chunk_records=4, tally=tally)
    disk.before.clear()
    disk.fail.clear()
    known = load(trail, content, chunk_records=4).known
    assert known >= tally.events
    assert producers(trail)["action"].to_list() == [str(number) for number in range(12)]
    assert [letter.line for letter in letters(trail)] == [2, 6, 10, 14]
    assert load(trail, content).known == 16


def foreseen(trail: Trail, *times: str) -> Forecast | None:
    """What importing events of these times would expire."""
    content = "".join(json.dumps({"ts": ts, "action": "a"}) + "\n" for ts in times)
    with open_input(io.BytesIO(content.encode()), "jsonl") as source:
        return foresee(trail, [(source, plan_mapping())])


def test_expiry_is_foreseen(make_trail: Callable[..., Trail]) -> None:
    """Before an import, what its newest event would expire is counted, in the file and in the trail."""
    trail = make_trail(retention="30d")
    load(trail, '{"ts":"2020-01-01T00:00:00Z","action":"a"}\n' * 3)
    forecast = foreseen(trail, "2020-01-05T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-21T12:00:00Z")
    assert forecast is not None
    assert (forecast.arriving, forecast.present) == (1, 3)
    assert forecast.cutoff == datetime(2026, 10, 22, 12, tzinfo=UTC)
    assert "keep 30d" in str(forecast)
    times = ("2020-01-05T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-21T12:00:00Z")
    load(trail, "".join(f'{{"ts":"{ts}","action":"a"}}\n' for ts in times))
    assert trail.range().height == 2


def test_nothing_to_foresee(make_trail: Callable[..., Trail]) -> None:
    """Where nothing would expire there is no forecast: no policy, recent events, times that are refused anyway."""
    assert foreseen(make_trail("kept"), "2020-01-01T00:00:00Z", "2026-11-20T00:00:00Z") is None
    trail = make_trail(retention="30d")
    assert foreseen(trail) is None
    assert foreseen(trail, "2020-01-01T00:00:00Z", "2020-01-05T00:00:00Z") is None
    assert foreseen(trail, "2020-01-01T00:00:00Z", "2126-01-05T00:00:00Z", "nonsense") is None


def test_behind_the_horizon_is_foreseen(make_trail: Callable[..., Trail]) -> None:
    """Old events for a trail that is further on are reported to expire at once."""
    trail = make_trail(retention="30d")
    trust(trail, trail.now())
    forecast = foreseen(trail, "2020-01-01T00:00:00Z", "2020-01-05T00:00:00Z")
    assert forecast is not None
    assert (forecast.arriving, forecast.present) == (2, 0)


def stored(trail: Trail) -> list[dict[str, object]]:
    """What the trail's own events say of imports."""
    own = trail.range(where={"action": IMPORTED}, own=True).sort("seq")
    return [json.loads(attrs) for attrs in own["attrs"]]


def numbered(*numbers: int) -> str:
    """Lines of events whose actions are these numbers."""
    return "".join(GOOD.replace('"a"', f'"{number}"') for number in numbers)


def test_the_same_file_adds_nothing(trail: Trail) -> None:
    """A second import of a file, dead letters included, changes nothing, packed or not, in chunks of any size."""
    content = numbered(*range(10)) + "bad\n" + numbered(*range(10))
    load(trail, content, chunk_records=4)
    before = trail.end_seq
    for again in (content.encode(), gzip.compress(content.encode())):
        for chunk_records in (1, 3, 4, 1000):
            summary = load(trail, again, chunk_records=chunk_records)
            assert (summary.events, summary.dead_letters, summary.known) == (0, 0, 21)
    assert trail.end_seq == before
    assert len(letters(trail)) == 1


def test_a_grown_log_adds_what_is_new(trail: Trail) -> None:
    """Of a file that has grown only the new lines become events, with the line numbers of the file."""
    content = ""
    for step in range(5):
        content += numbered(step) + ("bad\n" if step == 3 else "")
        summary = load(trail, content, chunk_records=2)
        assert summary.events == 1
    assert producers(trail)["action"].to_list() == ["0", "1", "2", "3", "4"]
    assert [letter.line for letter in letters(trail)] == [5]
    assert [entry["line"] for entry in stored(trail)] == [1, 2, 3, 5, 6]


def test_a_line_that_is_still_being_written(trail: Trail) -> None:
    """The half of a last line is a dead letter, and the whole line an event of the next import."""
    whole = numbered(1, 2)
    load(trail, whole[:-10])
    load(trail, whole[:-10])
    assert len(letters(trail)) == 1
    assert load(trail, whole).events == 1
    assert producers(trail)["action"].to_list() == ["1", "2"]
    assert load(trail, whole[:-1]).events == 0


@pytest.mark.parametrize("kind", ["jsonl", "csv", "json"])
def test_other_files_that_look_alike_are_not_taken_for_known(trail: Trail, kind: Format) -> None:
    """Files whose lines are as long as those of an imported one, or that go on otherwise, are imported."""

    def content(*names: str) -> bytes:
        rows = [{"ts": "2026-11-23T10:00:00Z", "action": name} for name in names]
        if kind == "jsonl":
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        if kind == "json":
            return json.dumps(rows, indent=1).encode()
        return ("ts,action\n" + "".join(f"{row['ts']},{row['action']}\n" for row in rows)).encode()

    def take(*names: str) -> int:
        with open_input(io.BytesIO(content(*names)), kind) as source:
            return import_records(trail, source, plan_mapping(), chunk_records=2).events

    assert take("a", "b", "c") == 3
    assert take("d") == 1
    assert take("d", "d", "d") == 2
    assert take("a", "b", "x", "c") == 2
    assert take("a", "b", "c") == 0


def test_another_mapping_of_a_file_that_is_in(trail: Trail) -> None:
    """Importing a file again with other options is refused, unless that is asked for: its events would be in twice."""
    load(trail, numbered(1, 2))
    other = plan_mapping(constants={"actor": "ann"})
    with pytest.raises(AuditError, match="is in already, imported with other options"):
        load(trail, numbered(1, 2), other)
    with pytest.raises(AuditError, match="is in already"):
        load(trail, numbered(1, 2, 3), other)
    assert trail.end_seq == 3
    assert load(trail, numbered(1, 2), other, again=True).events == 2
    assert load(trail, numbered(1, 2), other, again=True).events == 0


@pytest.mark.parametrize("stopped_after", range(1, 9))
def test_an_import_goes_on_where_it_was_stopped(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch, stopped_after: int
) -> None:
    """Whatever step of keeping letters and events an import is stopped at, running it again gives each line once."""
    trail = make_trail()
    content = "".join(numbered(number) + ("bad\n" if number % 3 == 0 else "") for number in range(12))
    steps = 0

    def counted(step: Callable[..., object]) -> Callable[..., object]:
        def taken(*args: object, **more: object) -> object:
            nonlocal steps
            result = step(*args, **more)
            steps += 1
            if steps == stopped_after:
                raise KeyboardInterrupt
            return result

        return taken

    with monkeypatch.context() as patched:
        for name in ("keep_dead_letters", "extend_with_record"):
            patched.setattr(f"auditkit.sources.importer.{name}", counted(getattr(importer, name)))
        with pytest.raises(KeyboardInterrupt):
            load(trail, content, chunk_records=4)
    load(trail, content, chunk_records=4)
    assert producers(trail)["action"].to_list() == [str(number) for number in range(12)]
    assert [letter.line for letter in letters(trail)] == [2, 6, 10, 14]
    assert trail.stats().dead_letters == 4
    assert load(trail, content).known == 16


def test_an_unfinished_line_goes_with_the_chunk_before_it(trail: Trail) -> None:
    """A file that breaks off within a line leaves a dead letter, also behind a full chunk; the whole line is new."""
    begun = numbered(1, 2) + numbered(3)[:20]
    summary = load(trail, begun, chunk_records=2)
    assert (summary.events, summary.dead_letters, summary.known) == (2, 1, 0)
    summary = load(trail, begun, chunk_records=2)
    assert (summary.events, summary.dead_letters, summary.known) == (0, 0, 3)
    assert load(trail, numbered(1, 2, 3), chunk_records=2).events == 1
    assert producers(trail)["action"].to_list() == ["1", "2", "3"]


def test_parquet_is_imported_once(trail: Trail, tmp_path: Path) -> None:
    """The rows of a Parquet file are known again by the file's bytes."""
    path = tmp_path / "t.parquet"
    frame = pl.DataFrame({"ts": ["2026-11-23T10:00:00Z"] * 5, "action": [str(number) for number in range(5)]})
    frame.write_parquet(path)
    for expected in (5, 0):
        with open_input(path, "parquet") as source:
            assert import_records(trail, source, plan_mapping(), chunk_records=2).events == expected
    frame.reverse().write_parquet(path)
    with open_input(path, "parquet") as source:
        assert import_records(trail, source, plan_mapping(), chunk_records=2).events == 5


def test_the_record_of_an_import_is_bound_to_its_chunk(trail: Trail) -> None:
    """Each chunk leaves one event of the trail's own, behind its events: where it ends and what it came to."""
    content = numbered(1, 2) + "bad\n" + numbered(3)
    load(trail, content, chunk_records=3)
    first, second = stored(trail)
    assert (first["events"], first["dead_letters"], first["line"]) == (2, 1, 3)
    assert (second["events"], second["dead_letters"], second["line"], second["end"]) == (
        1,
        0,
        4,
        len(content) - 1,
    )
    assert second["sha256"] == hashlib.sha256(content.strip().encode()).hexdigest()
    assert second["before"] == first["sha256"]
    assert trail.range(own=True).sort("seq")["action"].to_list() == ["1", "2", IMPORTED, "3", IMPORTED]


def test_times_of_the_night_the_clocks_change_are_counted(trail: Trail) -> None:
    """Local times that were shown twice or never are imported as documented, and counted; so are days."""
    times = [
        "2024-03-31T02:30:00",
        "2024-10-27T02:10:00",
        "2024-10-27T02:50:00",
        "2024-10-28T02:50:00",
        "2024-10-28",
    ]
    lines = "".join(json.dumps({"ts": ts, "action": "a"}) + "\n" for ts in times)
    summary = load(trail, lines, plan_mapping(tz="Europe/Berlin"))
    assert (summary.events, summary.repeated, summary.skipped, summary.days) == (5, 2, 1, 1)
    strict = load(trail, lines, plan_mapping(tz="Europe/Berlin", on_ambiguous="raise"), again=True)
    assert (strict.events, strict.dead_letters) == (2, 3)
    later = load(trail, lines, plan_mapping(tz="Europe/Berlin", on_ambiguous="second"), again=True)
    assert later.first_seq is not None
    second = trail.range(where={"action": "a"}).filter(pl.col("seq") == later.first_seq + 1)["ts"][0]
    assert second == datetime(2024, 10, 27, 1, 10, tzinfo=UTC)


def test_two_imports_of_a_file_at_once(trail: Trail) -> None:
    """Of two imports that store the same chunk at the same time one is refused, whole, and takes it for known."""
    content = numbered(*range(6)) + "bad\n"
    nothing_known = [importer.known_imports(trail.handle) for _ in range(2)]
    results = []
    for known in nothing_known:  # both have looked before either has stored anything
        with open_input(io.BytesIO(content.encode()), "jsonl") as source:
            results.append(import_records(trail, source, plan_mapping(), known=known, chunk_records=4))
    assert [(result.events, result.known) for result in results] == [(6, 0), (0, 7)]
    assert producers(trail)["action"].to_list() == [str(number) for number in range(6)]
    assert len(letters(trail)) == 1
