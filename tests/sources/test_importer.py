"""Importing records into a trail: every one becomes an event or a dead letter."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from auditkit.api import Trail
from auditkit.errors import AuditError, CorruptionError
from auditkit.queue.dead_letters import DeadLetter, read_letters
from auditkit.sources.importer import (
    HOPELESS,
    Forecast,
    ImportSummary,
    Tally,
    foresee,
    import_records,
    preview,
)
from auditkit.sources.mapping import EventMap, plan_mapping
from auditkit.sources.readers import Format, open_input

GOOD = '{"ts":"2026-11-23T10:00:00Z","action":"a"}\n'


def load(
    trail: Trail, content: str | bytes, mapping: EventMap | None = None, **more: object
) -> ImportSummary:
    """Import JSON lines."""
    stream = io.BytesIO(content.encode() if isinstance(content, str) else content)
    with open_input(stream, "jsonl") as source:
        return import_records(trail, source, mapping or plan_mapping(), **more)  # type: ignore[arg-type]


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
    assert trail.tail(100)["action"].to_list() == [f"a{n}" for n in range(50) if n % 7]
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
    assert trail.tail(9)["action"].to_list() == ["a", "c"]


def test_a_wrong_mapping_writes_nothing(trail: Trail) -> None:
    """When a long beginning of the file is refused as a whole, nothing is written and the keys are reported."""
    content = '{"time":"2026-11-23T10:00:00Z","event":"x"}\n' * HOPELESS
    with pytest.raises(AuditError, match=f"none of the first {HOPELESS} records") as failed:
        load(trail, content)
    assert any("time, event" in note for note in failed.value.__notes__)
    assert letters(trail) == []
    assert trail.end_seq == 0
    few = load(trail, content[: len(content) // 2])
    assert (few.events, few.dead_letters, few.keys) == (0, HOPELESS // 2, ("time", "event"))


def test_what_is_in_when_reading_breaks_off(trail: Trail) -> None:
    """When the file breaks off, the whole chunks before are in, and the caller's tally says so."""
    packed = gzip.compress("".join(GOOD.replace('"a"', f'"{n}"') for n in range(5000)).encode())
    tally = Tally()
    with pytest.raises(CorruptionError, match="breaks off"):
        load(trail, packed[:-50], tally=tally, chunk_records=100)
    assert tally.events == trail.end_seq
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


def test_memory_is_bounded(trail: Trail, tmp_path: Path) -> None:
    """A file many times larger than a chunk is imported in the memory of a few chunks."""
    path = tmp_path / "long.jsonl.gz"
    line = json.dumps({"ts": "2026-11-23T10:00:00Z", "action": "a", "fill": "x" * 2000}) + "\n"
    with gzip.open(path, "wt", compresslevel=1) as out:
        for _ in range(120):
            out.write(line * 500)
    tracemalloc.start()
    with open_input(path, "jsonl") as source:
        count = import_records(trail, source, plan_mapping(), chunk_records=500).events
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60_000
    assert peak < count * len(line) / 2


def foreseen(trail: Trail, *times: str) -> Forecast | None:
    """What importing events of these times would expire."""
    content = "".join(json.dumps({"ts": ts, "action": "a"}) + "\n" for ts in times)
    with open_input(io.BytesIO(content.encode()), "jsonl") as source:
        return foresee(trail, source, plan_mapping())


def test_expiry_is_foreseen(make_trail: Callable[..., Trail]) -> None:
    """Before an import, what its newest event would expire is counted, in the file and in the trail."""
    trail = make_trail(retention="30d")
    load(trail, '{"ts":"2020-01-01T00:00:00Z","action":"a"}\n' * 3)
    forecast = foreseen(trail, "2020-01-05T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-21T12:00:00Z")
    assert forecast is not None
    assert (forecast.arriving, forecast.present) == (1, 3)
    assert forecast.cutoff == datetime(2026, 10, 22, 12, tzinfo=UTC)
    assert "keep 30d" in str(forecast)
    load(trail, '{"ts":"2020-01-05T00:00:00Z","action":"a"}\n{"ts":"2026-11-21T12:00:00Z","action":"a"}\n')
    assert trail.range().height == 1


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
    load(trail, GOOD)
    forecast = foreseen(trail, "2020-01-01T00:00:00Z", "2020-01-05T00:00:00Z")
    assert forecast is not None
    assert (forecast.arriving, forecast.present) == (2, 0)
