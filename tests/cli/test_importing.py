"""The command import."""

import gzip
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from auditkit.api import Trail
from auditkit.opening import open_trail
from auditkit.queue.dead_letters import DeadLetter, read_letters
from auditkit.sources.importer import IMPORTED
from auditkit.sources.mapping import EventMap, Mapped
from auditkit.sources.presets import PRESETS
from auditkit.sources.records import Record
from tests.cli.conftest import Run, rows
from tests.cli.running import running

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
        (["--map", "who=user"], "map who: not a field of an event"),
        (["--value", "outcom:a=b"], "did you mean 'outcome'?"),
        (["--value", "outcome=b"], "--value expects FIELD:FROM=TO"),
        (["--map", "ts"], "--map expects NAME=VALUE"),
        (["--map", "attrs=user"], "map attrs: cannot be mapped; it always"),
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
    late = run("import", str(old), code=1)  # nothing but dead letters
    assert "at least 3 of the events to import" in late.stderr
    assert "3 x ts: expired on arrival: rule * 30d keeps what is from 2026-10-05 00:00 UTC on" in late.stdout
    assert "cannot be foreseen" in run("import", "-", stdin=old.read_text()).stderr
    assert json.loads(run("stats", "--json").stdout)["retention"]["late"] == 3
    assert "expired on arrival" in run("dead-letters", "retry", code=1).stdout
    run("policy", "set", "forever")
    assert "Of 3 dead letters 3 became events" in run("dead-letters", "retry").stdout


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


def events(run: Run) -> list[dict[str, object]]:
    """The producers' events of the trail."""
    return rows(run("range", "--json"))


def test_import_by_what_a_file_holds(started: Run, tmp_path: Path) -> None:
    """Where nothing is mapped a known kind is recognised and said; options go before what the preset says."""
    path = tmp_path / "calls.log"
    record = {
        "eventTime": "2024-01-12T01:30:15Z", "eventName": "PutRolePolicy", "eventSource": "iam.amazonaws.com", "eventID": "e1",
        "userIdentity": {"arn": "arn:ann"}, "errorCode": "AccessDenied",
    }  # fmt: skip
    path.write_text(json.dumps({"Records": [record]}))
    done = started("import", str(path))
    assert "calls.log is read as AWS CloudTrail" in done.stderr
    assert "(--preset cloudtrail)" in done.stderr
    options = ["--preset", "cloudtrail", "--value", "outcome:Access*=failure", "--map", "actor=eventName"]
    taken = started("import", str(path), *options, "--again", "--strict", code=1).stdout
    assert "id: seq 0 has this source and id with another body" in taken
    path.write_text(json.dumps({"Records": [{**record, "eventID": "e2"}]}))
    started("import", str(path), *options)
    assert [(event["actor"], event["outcome"]) for event in events(started)] == [
        ("arn:ann", "AccessDenied"),
        ("PutRolePolicy", "failure"),
    ]
    other = tmp_path / "other.jsonl"
    other.write_text('{"ts": "2024-01-12T01:30:15Z", "action": "a"}\n')
    assert "no preset reads it" in started("import", str(other), "--preset", "auto", code=2).stderr
    assert started("import", str(other)).stderr == ""
    assert "cloudtrial" in started("import", str(other), "--preset", "cloudtrial", code=2).stderr


def test_import_of_a_folder_twice(started: Run, tmp_path: Path) -> None:
    """All files of a folder are imported, but hidden and unknown ones; the same folder again adds nothing."""
    folder = tmp_path / "logs"
    (folder / "deep" / ".cache").mkdir(parents=True)
    line = '{"ts": "2024-01-12T01:30:15Z", "action": "%s"}\n'
    (folder / "b.jsonl").write_text(line % "b")
    (folder / "a.json.gz").write_bytes(gzip.compress((line % "a").encode()))
    (folder / "deep" / "c.csv").write_text("ts;action\n2024-01-12T01:30:16Z;c\n")
    (folder / "deep" / ".cache" / "d.jsonl").write_text(line % "d")
    (folder / "readme.txt").write_text("what this is\n")
    done = started("import", str(folder))
    assert done.stdout.startswith("Imported 3 events from 4 files")
    assert "1 file of no known format passed over: readme.txt" in done.stdout
    again = started("import", str(folder), str(folder / "b.jsonl"), "--json")
    summary = json.loads(again.stdout)
    assert (summary["events"], summary["known"], summary["files"]) == (0, 4, 5)
    assert [event["action"] for event in events(started)] == ["a", "b", "c"]
    assert "of no known format" in started("import", str(folder / "readme.txt"), code=2).stderr


def test_import_is_strict_on_demand(started: Run, file: Path) -> None:
    """With --strict a dead letter makes the exit code 1; what fits is imported all the same, and only once."""
    assert "2 dead letters" in started("import", str(file), *MAPS, "--strict", code=1).stdout
    assert len(events(started)) == 2
    assert "4 records imported before" in started("import", str(file), *MAPS, "--strict").stdout


def test_import_goes_on_to_the_next_path(started: Run, tmp_path: Path) -> None:
    """A path that finds nothing, or what does not fit, gives way to the next; so do forms of times."""
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"when": "soon", "time": "2024-01-12T01:30:15Z", "who": {"id": 7}, "name": "ann", "action": "a", "ms": "n/a", "size": 5}\n'
        '{"when": 1705023016, "who": "bob", "action": "b", "ms": 3}\n'
    )
    maps = ["ts=when", "ts=time", "actor=who", "actor=name", "value=ms", "value=size"]
    options = [option for pair in maps for option in ("--map", pair)]
    started("import", str(path), *options, "--ts-format", "iso", "--ts-format", "s")
    assert [(event["ts"], event["actor"], event["value"]) for event in events(started)] == [
        ("2024-01-12T01:30:15Z", "ann", 5.0),
        ("2024-01-12T01:30:16Z", "bob", 3.0),
    ]


def test_import_of_two_columns_joined(started: Run, tmp_path: Path) -> None:
    """Day and time of day in two columns are one time; a day alone is its midnight, and counted."""
    path = tmp_path / "two.csv"
    path.write_text("date,time,actor,action\n2024-01-12,01:30:15,ann,login\n2024-01-12,23:59:15,bob,login\n")
    said = started("import", str(path), "--map", "ts=date", "--tz", "UTC").stdout
    assert "2 times named a day only, and became midnight (--map ts=date+time joins a time of day)" in said
    started("import", str(path), "--map", "ts=date+time", "--tz", "Europe/Berlin", "--again")
    assert [event["ts"] for event in events(started)][2:] == ["2024-01-12T00:30:15Z", "2024-01-12T22:59:15Z"]


def test_import_of_a_table_as_spreadsheets_write_it(started: Run, tmp_path: Path) -> None:
    """A German table is read by following what each refusal says: encoding, day and time of day, decimal comma."""
    path = tmp_path / "bestellungen.csv"
    table = "Datum;Uhrzeit;Nutzer;Betrag\r\n12.01.2024;8:15;Jürgen;1.234,50\r\n12.01.2024;17:05;Änne;0,5\r\n"
    path.write_bytes(table.encode("cp1252"))
    options = ["--set", "action=order", "--map", "actor=Nutzer", "--map", "value=Betrag"]
    for said, further in (
        ("--encoding says what it is, such as cp1252", ["--encoding", "cp1252"]),
        ("value: not a number; would fit: --decimal ,", ["--decimal", ","]),
        ("--map ts=Datum+Uhrzeit --ts-format '%d.%m.%Y %H:%M' --tz ZONE", ["--map", "ts=Datum+Uhrzeit"]),
        (
            "would fit: --ts-format '%d.%m.%Y %H:%M' --tz ZONE",
            ["--ts-format", "%d.%m.%Y %H:%M", "--tz", "UTC"],
        ),
    ):
        refused = started("import", str(path), *options, code=1)
        assert said in refused.stderr
        options += further
    assert started("import", str(path), *options).stdout.startswith("Imported 2 events")
    assert [(event["actor"], event["value"]) for event in events(started)] == [
        ("Jürgen", 1234.5),
        ("Änne", 0.5),
    ]


def test_import_says_which_fields_lead_nowhere(started: Run, tmp_path: Path) -> None:
    """A path that no record has is said, in a dry run as well, with the key that is near; one with a constant is not."""
    path = tmp_path / "app.jsonl"
    path.write_text('{"ts": "2026-11-23T10:00:00Z", "action": "a", "user": "ann"}\n' * 2)
    options = [
        "--map",
        "actor=usr",
        "--map",
        "value=n.m",
        "--map",
        "outcome=error",
        "--set",
        "outcome=success",
    ]
    said = (
        f"Note: {path}: actor: nothing lies at usr in the first 2 records; did you mean 'user'?\n"
        f"Note: {path}: value: nothing lies at n.m in the first 2 records\n"
    )
    assert started("import", str(path), *options, "--dry-run").stderr.startswith(said)
    assert started("import", str(path), *options).stderr == said
    assert started("import", str(path), "--map", "actor=user", "--again").stderr == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "cloudtrial"], "did you mean 'cloudtrail'?"),
        (["--format", "jsnl"], "did you mean 'jsonl'?"),
        (
            ["--on-ambiguous", "frist"],
            "'frist' is not one of 'first', 'second', 'raise'; did you mean 'first'?",
        ),
        (["--decimal", "x"], "'x' is not one of ',', '.'."),
    ],
)
def test_words_to_choose_from(started: Run, file: Path, options: list[str], said: str) -> None:
    """A misspelt word is answered with those there are, and the nearest."""
    assert said in started("import", str(file), *options, code=2).stderr


def test_import_of_local_times(started: Run, tmp_path: Path) -> None:
    """Times of the night the clocks change are counted; --on-ambiguous says which pass they mean."""
    path = tmp_path / "door.csv"
    path.write_text("ts,action\n2024-03-31 02:30:00,never\n2024-10-27 02:10:00,twice\n")
    said = started("import", str(path), "--tz", "Europe/Berlin").stdout
    assert (
        "1 local time happened twice, when clocks went back: taken as the first pass (--on-ambiguous)" in said
    )
    assert "1 local time never existed, when clocks went forward: moved by as much" in said
    said = started("import", str(path), "--tz", "Europe/Berlin", "--on-ambiguous", "second", "--again").stdout
    assert "taken as the second pass" in said
    assert [event["ts"] for event in events(started) if event["action"] == "twice"] == [
        "2024-10-27T00:10:00Z",
        "2024-10-27T01:10:00Z",
    ]
    failed = started(
        "import", str(path), "--tz", "Europe/Berlin", "--on-ambiguous", "raise", "--again", code=1
    )
    assert "is shown twice in Europe/Berlin" in failed.stderr


def test_import_of_wrapped_records_and_other_encodings(started: Run, tmp_path: Path) -> None:
    """--records leads to the records of a document, --encoding says how text is written."""
    path = tmp_path / "calls.json"
    path.write_text(
        json.dumps({"page": 1, "Calls": [{"ts": "2024-01-12T01:30:15Z", "action": "a"}]}, indent=2)
    )
    assert "would fit: --records Calls" in started("import", str(path), code=1).stderr
    started("import", str(path), "--records", "Calls")
    table = tmp_path / "t.csv"
    table.write_bytes("ts;aktör;action\n2024-01-12T01:30:15Z;Jörg;b\n".encode("cp1252"))
    assert "--encoding says what it is" in started("import", str(table), code=2).stderr
    started("import", str(table), "--encoding", "cp1252", "--map", "actor=aktör")
    assert [(event["action"], event["actor"]) for event in events(started)] == [("a", None), ("b", "Jörg")]


def test_import_of_a_file_that_is_in_otherwise(started: Run, file: Path) -> None:
    """With other options a file that is in is refused, with the ways out; --again takes it once more."""
    started("import", str(file), *MAPS)
    refused = started("import", str(file), "--map", "ts=time", "--map", "action=event", code=1).stderr
    assert "is in already, imported with other options; nothing was imported" in refused
    assert "dead-letters retry" in refused
    assert "--again" in refused
    assert len(events(started)) == 2
    started("import", str(file), "--map", "ts=time", "--map", "action=event", "--again")
    assert len(events(started)) == 4


def test_an_unexpected_error_says_what_is_in(
    started: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stops an import, it says how many events are in, and the same command goes on from there."""
    path = tmp_path / "many.jsonl"
    path.write_text('{"ts": "2026-11-23T10:00:00Z", "action": "a"}\n' * 25_000)
    columns, calls = EventMap.columns, 0

    def broken(self: EventMap, records: Sequence[Record]) -> Mapped:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("out of luck")
        return columns(self, records)

    with monkeypatch.context() as patched:
        patched.setattr(EventMap, "columns", broken)
        failed = started("import", str(path), code=1)
    assert "unexpected RuntimeError: out of luck" in failed.stderr
    assert "20,000 events and 0 dead letters are in, of" in failed.stderr
    assert "many.jsonl up to about line 25,000; the same command goes on from there" in failed.stderr
    said = started("import", str(path)).stdout
    assert said.startswith("Imported 5,000 events")
    assert "20,000 records imported before, and left alone" in said


def test_what_range_writes_is_read_again(run: Run, place: Path, tmp_path: Path) -> None:
    """`range --json` of one trail imported into another gives the same events, with ids, attrs and declared fields."""
    other = tmp_path / "other"
    run("init", "--field", "amount=float", "--field", "due=datetime", "--field", "ok=boolean")
    run("init", str(other), "--field", "amount=float", "--field", "due=datetime", "--field", "ok=boolean")
    lines = [
        {"ts": "2026-11-20T10:00:00.000001Z", "action": "pay", "actor": "", "id": "k1", "source": "app", "value": 5, "amount": 1.5},
        {"ts": "2026-11-20T10:00:00Z", "action": "a\u202eb\u001b", "attrs": '{"big":12345678901234567890123, "f":1.50,"n":null}'},
        {"ts": "2026-11-19T10:00:00Z", "action": "c", "attrs": {"attrs": {"ts": 1}, "é.x": "\n"}, "due": "2026-12-01T00:00:00Z", "ok": False},
        {"ts": "2026-11-18T10:00:00Z", "action": "d", "resource": "r", "outcome": "o", "origin": "x", "correlation": "y"},
    ]  # fmt: skip
    run("append", "-", stdin="".join(json.dumps(line) + "\n" for line in lines))
    exported = run("range", "--json", "--tz", "Asia/Kolkata").stdout
    said = run("import", "-", "--trail", str(other), stdin=exported).stderr
    assert "what `auditkit range --json` writes (--preset auditkit)" in said
    assert "4 records imported before" in run("import", "-", "--trail", str(other), stdin=exported).stdout
    with open_trail(other) as copy, open_trail(place) as trail:
        assert copy.range().drop("seq", "recorded").equals(trail.range().drop("seq", "recorded"))
        assert copy.range(where={"attrs.f": 1.5}).height == 1
    assert "auditkit import -" in run("append", "-", "--trail", str(other), stdin=exported, code=1).stderr


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_killed_import_goes_on(started: Run, place: Path, tmp_path: Path, chunks: int) -> None:
    """An import killed by SIGKILL and run again has each record once, and each bad line as one dead letter."""
    path, count = tmp_path / "many.jsonl", 60_000
    good = '{{"ts": "2026-11-23T10:00:00Z", "action": "{}"}}\n'
    path.write_text("".join(good.format(n) if n % 1000 else "bad\n" for n in range(count)))
    with running("import", str(path), AUDITKIT_TRAIL=str(place)) as process:
        while process.poll() is None and len(chunks_in(place)) < chunks:
            pass
        process.kill()
    assert started("import", str(path)).exit_code == 0
    with open_trail(place) as trail:
        seen = trail.scan().select("action").collect()["action"]
        assert len(seen) == seen.n_unique() == count - count // 1000
        assert [letter.line for letter in trail_letters(trail)] == [n + 1 for n in range(0, count, 1000)]
        assert trail.stats().dead_letters == count // 1000


def chunks_in(place: Path) -> list[int]:
    """The seqs of the events that say of a chunk that it is in."""
    with open_trail(place, maintain=False) as trail:
        return trail.range(where={"action": IMPORTED}, own=True, columns="seq")["seq"].to_list()


def trail_letters(trail: Trail) -> list[DeadLetter]:
    """The dead letters of a trail, each once."""
    return list(read_letters(trail.handle.layout))


def test_a_file_of_a_folder_that_cannot_be_read_stops_no_other(started: Run, tmp_path: Path) -> None:
    """Each is reported by its name; what is of no known kind is passed over."""
    (tmp_path / "a.csv").write_bytes(b"t\xe9,action\n1,a\n")
    (tmp_path / "b.xes").write_text("<!DOCTYPE log><log></log>")
    (tmp_path / "c.csv").write_text("ts,action\n2026-11-23T10:00:00Z,a\n")
    (tmp_path / "d.bin").write_bytes(b"\x00\x01")
    done = started("import", str(tmp_path), code=1)
    assert done.stdout.startswith("Imported 1 event ")
    assert "a.csv: csv header: not UTF-8" in done.stderr
    assert "b.xes" in done.stderr
    assert "d.bin" in done.stdout + done.stderr
    assert started("range", "--json").stdout.count("\n") == 1


def test_a_preset_that_is_to_be_found_and_is_not(started: Run, file: Path) -> None:
    """One file is refused; of a folder it is passed over."""
    refused = started("import", str(file), "--preset", "auto", code=2)
    assert "no preset reads it (`auditkit presets` lists them)" in refused.stderr
    (file.parent / "access.log").write_text(f"{PRESETS['access-log'].example}\n")
    assert started("import", str(file.parent), "--preset", "auto").stdout.startswith("Imported 1 event ")


def test_import_from_a_named_pipe(run: Run, tmp_path: Path) -> None:
    """What can be read only once is read once, though a policy would have it looked at beforehand."""
    run("init", "--retention", "90d")
    pipe = tmp_path / "events.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(
        target=pipe.write_text, args=('{"ts": "2026-11-23T10:00:00Z", "action": "a"}\n',)
    )
    writer.start()
    said = run("import", str(pipe))
    writer.join()
    assert said.stdout.startswith("Imported 1 event ")
    assert "cannot be foreseen in" in said.stderr
