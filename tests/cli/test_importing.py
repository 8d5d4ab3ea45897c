"""The command import."""

import gzip
import json
from pathlib import Path

import pytest

from auditkit.opening import open_trail
from auditkit.queue.dead_letters import read_letters
from auditkit.sources.presets import PRESETS
from tests.cli.conftest import Run, rows

LINES = (
    '{"time": "2026-11-23T10:00:00Z", "user": {"name": "ann"}, "event": "login", "ms": 12}\n'
    '{"time": "2026-11-23T10:00:01Z", "user": {"name": "bob"}, "event": "login", "error": "denied"}\n'
    '{"time": null, "event": "login"}\n'
    "oops\n"
)
MAPS = (
    "--map", "ts=time", "--map", "actor=user.name", "--map", "action=event", "--map", "outcome=error",
    "--map", "value=ms", "--set", "outcome=success", "--set", "source=app",
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of two good lines and two bad ones."""
    path = tmp_path / "app.jsonl"
    path.write_text(LINES)
    return path


def test_import_by_map_and_set(started: Run, file: Path) -> None:
    """Fields come from paths, constants fill in, the whole record is kept, and the result is reported."""
    reported = started("import", str(file), *MAPS).stdout
    assert reported.startswith("Imported 2 events in ")
    assert "2 dead letters, kept with line and reason:" in reported
    assert "ts: missing; an import never makes up when something happened (first in line 3)" in reported
    assert "not JSON: " in reported
    shown = rows(started("range", "--json"))
    assert [(row["actor"], row["action"], row["outcome"], row["value"], row["source"]) for row in shown] == [
        ("ann", "login", "success", 12.0, "app"),
        ("bob", "login", "denied", None, "app"),
    ]
    assert shown[0]["attrs"] == json.loads(LINES.splitlines()[0])


def test_import_result_as_json(started: Run, file: Path, place: Path) -> None:
    """--json gives counts, span and refusals; the dead letters lie in the trail."""
    result = json.loads(started("import", str(file), *MAPS, "--json").stdout)
    assert (result["events"], result["dead_letters"], result["first_seq"]) == (2, 2, 0)
    assert (result["first_ts"], result["last_ts"]) == ("2026-11-23T10:00:00Z", "2026-11-23T10:00:01Z")
    assert [(refusal["field"], refusal["first_line"]) for refusal in result["refusals"]] == [
        ("ts", 3),
        (None, 4),
    ]
    with open_trail(place) as trail:
        assert [letter.line for letter in read_letters(trail.handle.layout)] == [3, 4]
        assert trail.stats().dead_letters == 2


def test_import_from_standard_input(started: Run) -> None:
    """FILE - reads JSON lines from a pipe, packed or not, or what --format says."""
    started("import", "-", *MAPS, stdin=LINES)
    started("import", "-", *MAPS, stdin=gzip.compress(LINES.encode()))
    csv = "ts;action\n2026-11-23 09:00;x\n"
    started("import", "-", "--format", "csv", "--delimiter", ";", "--tz", "Europe/Stockholm", stdin=csv)
    shown = rows(started("tail", "--json"))
    assert [row["ts"] for row in shown if row["source"] != "auditkit"] == [
        "2026-11-23T10:00:00Z",
        "2026-11-23T10:00:01Z",
        "2026-11-23T08:00:00Z",
    ]
    assert (
        "cannot be read from a pipe" in started("import", "-", "--format", "parquet", stdin="", code=2).stderr
    )


def test_one_event_has_one_time_and_one_seq(started: Run) -> None:
    """What an import of one record came to is said without a range."""
    line = '{"ts": "2026-11-20T10:00:00Z", "action": "a"}\n'
    shown = started("import", "-", stdin=line).stdout
    assert "Imported 1 event " in shown
    assert "  at 2026-11-20 10:00 UTC, seq 0\n" in shown


def test_import_asks_what_a_file_is(started: Run, tmp_path: Path) -> None:
    """Where neither name nor content says what a file is, --format does; else the content is looked at."""
    path = tmp_path / "app.log"
    path.write_text("ts|action\n2026-11-23T10:00:00Z|a\n")
    assert "--format json, jsonl, csv, parquet" in started("import", str(path), code=2).stderr
    assert started("import", str(path), "--format", "csv").stdout.startswith("Imported 1 event ")
    path.write_text(LINES)
    assert started("import", str(path), *MAPS).stdout.startswith("Imported 2 events ")


def test_import_of_nothing_but_bad_lines(started: Run, tmp_path: Path) -> None:
    """When every line is refused the exit code is 1, and the keys of the records are reported."""
    path = tmp_path / "app.jsonl"
    path.write_text(LINES)
    failed = started("import", str(path), code=1)
    assert "none of the first 4 records can become an event; nothing was imported" in failed.stderr
    assert "the records have the keys time, user, event, ms" in failed.stderr
    assert "would fit: --map ts=time" in failed.stderr
    path.write_text((LINES.splitlines()[0] + "\n") * 200)
    failed = started("import", str(path), code=1)
    assert "none of the first 200 records can become an event; nothing was imported" in failed.stderr
    path.write_text("")
    assert started("import", str(path)).stdout.startswith("Imported 0 events")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--map", "who=user"], "who: not a field of an event"),
        (["--map", "ts"], "--map expects NAME=VALUE"),
        (["--map", "attrs=user"], "attrs: cannot be mapped"),
        (["--ts-format", "rfc2822"], "ts format: is unknown"),
        (["--tz", "Mars"], "not the name of a time zone"),
        (["--delimiter", ";;"], "delimiter: not one character"),
        (["--set", "value=much"], "value: not a number"),
    ],
)
def test_import_misused(started: Run, file: Path, place: Path, options: list[str], said: str) -> None:
    """A map that cannot be is refused before anything is read or written."""
    before = sorted(path.name for path in place.rglob("*"))
    result = started("import", str(file), *options, code=1 if "value=much" in options else 2)
    assert said in result.stderr
    assert sorted(path.name for path in place.rglob("*")) == before


def test_import_dry_run(started: Run, file: Path, place: Path) -> None:
    """--dry-run shows the first events and what would be refused, and writes nothing."""
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    reported = started("import", str(file), *MAPS, "--dry-run").stdout
    assert "ann" in reported
    assert "Of the first 4 records 2 would become events; nothing was written." in reported
    assert "2 would be dead letters:" in reported
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_import_says_what_would_expire(run: Run, tmp_path: Path) -> None:
    """Where the policy would expire events at once, that is said beforehand, and done all the same in a script."""
    run("init", "--retention", "30d")
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text('{"ts": "2020-01-01T00:00:00Z", "action": "a"}\n' * 3)
    days = ("2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04")
    new.write_text("".join(f'{{"ts": "{day}T00:00:00Z", "action": "b"}}\n' for day in days))
    assert "expires at once" not in run("import", str(old)).stderr
    warned = run("import", str(new))
    assert "the trail's policy is to keep 30d" in warned.stderr
    assert "3 of the events in the trail" in warned.stderr
    assert [row["action"] for row in rows(run("range", "--json"))] == ["b"] * 4
    assert "at least" not in run("import", str(old)).stderr  # they are in already
    old.write_text('{"ts": "2020-01-01T00:00:00Z", "action": "c"}\n' * 3)
    assert "at least 3 of the events to import" in run("import", str(old)).stderr
    assert "cannot be foreseen" in run("import", "-", stdin=old.read_text()).stderr


def test_import_flushes_what_is_much(started: Run, tmp_path: Path) -> None:
    """A large import ends in segments, with the records of its two chunks; a small one waits in the queue."""
    path = tmp_path / "many.jsonl"
    path.write_text('{"ts": "2026-11-23T10:00:00Z", "action": "a"}\n' * 12_000)
    started("import", str(path))
    numbers = json.loads(started("stats", "--json").stdout)
    assert (numbers["segments"]["rows"], numbers["queue"]["depth"]) == (12_002, 0)


def test_import_of_parquet_and_damage(started: Run, tmp_path: Path) -> None:
    """A file that is not what its name says is an error that names it."""
    path = tmp_path / "t.parquet"
    path.write_bytes(b"no parquet")
    assert "t.parquet: not a readable Parquet file" in started("import", str(path), code=1).stderr
    packed = tmp_path / "t.jsonl.gz"
    packed.write_bytes(gzip.compress((LINES * 5000).encode())[:-30])
    failed = started("import", str(packed), *MAPS, code=1)
    assert "gzip stream breaks off" in failed.stderr
    assert "events and" in failed.stderr


def test_a_folder_says_once_as_what_its_files_are_read(started: Run, tmp_path: Path) -> None:
    """Of each kind the first file is named and the others are counted; one that fails is reported with its own keys."""
    day = tmp_path / "logs" / "2026" / "11"
    day.mkdir(parents=True)
    for number in range(3):
        record = PRESETS["cloudtrail"].example.replace('"e-1"', f'"e-{number}"')
        (day / f"{number}.json.gz").write_bytes(gzip.compress(f'{{"Records":[{record}]}}'.encode()))
    (day / "9-digest.json").write_text('{"digestStartTime": "2026-11-24T06:00:00Z", "logFiles": []}')
    (day / "access.log").write_text(f"{PRESETS['access-log'].example}\n")
    done = started("import", str(tmp_path / "logs"), code=1)
    assert done.stdout.startswith("Imported 4 events from 5 files")
    assert done.stderr.count("is read as") == 2
    assert "0.json.gz is read as AWS CloudTrail" in done.stderr
    assert "3 files in all were read so (--preset cloudtrail)" in done.stderr
    assert "the records have the keys digestStartTime, logFiles\n" in done.stderr
