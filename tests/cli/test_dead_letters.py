"""The commands dead-letters list, retry and drop."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from auditkit.cli.dead_letters import dead_letters
from auditkit.opening import open_trail
from auditkit.queue.dead_letters import DeadLetter
from auditkit.write.flush import keep_dead_letters
from tests.cli.conftest import Run, rows

RECORDS = [
    {"time": "2026-11-20T10:00:00", "who": "ann", "what": "read"},
    {"time": "2026-11-20 11:00", "who": "bob"},
    {"time": "soon", "who": "bob", "what": "write"},
    {"time": "2026-11-20T12:00:00Z", "who": "eve\x1b[31m", "what": "=write"},
]


@pytest.fixture
def refused(started: Run, tmp_path: Path) -> Run:
    """Return the caller; three of four imported records were refused."""
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS) + "{broken\n")
    started("import", str(file), "--map", "ts=time", "--map", "actor=who", "--map", "action=what")
    return started


def names(run: Run, *args: str) -> list[str]:
    """Return the lines in their files of the letters that `list` shows."""
    return [row["letter"].partition(":")[2] for row in rows(run("dead-letters", "list", "--json", *args))]


def test_list_as_json(refused: Run) -> None:
    """Every letter has a name, its line in the imported file, field, reason, and the input as given."""
    listed = rows(refused("dead-letters", "list", "--json"))
    assert [row["line"] for row in listed] == [1, 2, 3, 5]
    assert [row["field"] for row in listed] == ["ts", "ts", "ts", None]
    assert [json.loads(row["input"]) for row in listed[:3]] == RECORDS[:3]
    assert listed[3]["input"] == "{broken"
    assert all(row["reason"] and row["recorded"].endswith("Z") for row in listed)
    assert {(row["consumer"], row["seq"], row["retried"]) for row in listed} == {(None, None, None)}


def test_list_as_table_and_csv(refused: Run) -> None:
    """The table leaves out columns without a value; in both nothing that was put in acts."""
    table = refused("dead-letters", "list", COLUMNS="200")
    assert "consumer" not in table.stdout
    assert "{broken" in table.stdout
    assert "4 dead letters" in table.stderr
    refused("append", "--action", "x")
    text = refused("dead-letters", "list", "--csv").stdout
    assert [row["line"] for row in csv.DictReader(io.StringIO(text))] == ["1", "2", "3", "5"]
    assert "\x1b" not in text + table.stdout
    assert "the first 2 of 4 dead letters" in refused("dead-letters", "list", "--limit", "2").stderr
    assert names(refused, "--limit", "2") == ["1", "2"]


def test_nothing_to_list(started: Run) -> None:
    """A trail without dead letters says so."""
    assert "no dead letters" in started("dead-letters", "list").stderr
    assert "no dead letters" in started("dead-letters").stderr
    assert started("dead-letters", "list", "--json").stdout == ""
    assert started("dead-letters", "retry").stdout == "No dead letter waits.\n"


def test_retry_with_what_was_missing(refused: Run, place: Path) -> None:
    """The options of an import, given at last, make events of what waits; the whole record is kept, once."""
    options = ["--map", "ts=time", "--map", "actor=who", "--map", "action=what", "--tz", "Europe/Berlin"]
    tried = refused("dead-letters", "retry", "--dry-run", *options).stdout
    assert "Of 4 dead letters 1 would become events" in tried
    assert "action: missing" in tried
    assert names(refused) == ["1", "2", "3", "4"]
    reported = refused("dead-letters", "retry", *options).stdout
    assert "Of 4 dead letters 1 became events, from seq 2 on." in reported
    assert "input: not JSON" in reported
    assert names(refused) == ["2", "3", "4"]
    assert names(refused, "--all") == ["1", "2", "3", "4"]
    done = json.loads(refused("dead-letters", "retry", "--set", "action=unknown", "--json", *options).stdout)
    assert (done["events"], len(done["still_dead"])) == (1, 2)
    events = rows(refused("range", "--json"))
    assert [(row["actor"], row["action"], row["ts"]) for row in events[:2]] == [
        ("ann", "read", "2026-11-20T09:00:00Z"),
        ("bob", "unknown", "2026-11-20T10:00:00Z"),
    ]
    assert events[0]["attrs"] == RECORDS[0]
    again = refused("dead-letters", "retry", "--set", "action=unknown", *options, code=1)
    assert "Of 2 dead letters 0 became events" in again.stdout
    assert open_trail(place).stats().dead_letters == 2  # of four, two became events


def test_retry_of_what_was_fine_all_along(started: Run, place: Path) -> None:
    """Without options an input is read as a row of `extend`, and letters may be named."""
    with open_trail(place) as trail:
        now_us = trail.handle.clock.now_us()
        rows_in = [{"action": "launch", "pad": n, "ts": "2020-01-01T00:00:00Z"} for n in range(3)]
        letters = [
            DeadLetter(recorded_us=now_us, reason="too far ahead", field="ts", input=json.dumps(row))
            for row in rows_in
        ]
        keep_dead_letters(trail.handle, letters)  # whose day has come
    (path,) = (place / "dead-letters").iterdir()
    day = path.stem
    assert "2 became events" in started("dead-letters", "retry", f"{day}:1", f"{day}:3").stdout
    assert [row["attrs"] for row in rows(started("range", "--json"))] == [{"pad": 0}, {"pad": 2}]
    assert "none of this name" in started("dead-letters", "retry", "2026-01-01:7", code=2).stderr


def test_events_that_a_consumer_gave_up_on(filled: Run, place: Path) -> None:
    """They are listed with consumer and seq, and a retry leaves them alone and says so."""
    with open_trail(place) as trail, trail.follow("mailer", max_deliver=1, retry_s=0) as follower:
        next(follower).fail("mailbox full")
        next(follower)
    (letter,) = rows(filled("dead-letters", "list", "--json"))
    assert (letter["consumer"], letter["seq"]) == ("mailer", 0)
    assert letter["reason"] == "given up after 1 delivery: mailbox full"
    reported = filled("dead-letters", "retry").stdout
    assert "1 event that a consumer gave up on: in the trail already, left alone." in reported


@pytest.mark.parametrize("name", sorted(dead_letters.commands))
def test_help_shows_examples(run: Run, name: str) -> None:
    """All commands show calls of themselves, with options that they have."""
    shown = run("dead-letters", name, "--help").stdout
    examples = shown.partition("\nExamples:\n")[2]
    assert f"  auditkit dead-letters {name}" in examples
    known = {option for parameter in dead_letters.commands[name].params for option in parameter.opts}
    used = {word for word in examples.split() if re.fullmatch("--[a-z-]+", word)}
    assert used <= known


def test_dropped_letters_wait_no_longer(refused: Run, place: Path) -> None:
    """What is dropped is neither listed nor counted nor retried; the trail says who it was and why."""
    waiting = [row["letter"] for row in rows(refused("dead-letters", "list", "--json"))]
    assert "Name the letters to drop" in refused("dead-letters", "drop", "--reason", "x", code=2).stderr
    assert "--reason" in refused("dead-letters", "drop", "--every", code=2).stderr
    assert "reason: is empty" in refused("dead-letters", "drop", "--every", "--reason", " ", code=2).stderr
    assert (
        "none of this name" in refused("dead-letters", "drop", "2026-01-01:7", "--reason", "x", code=2).stderr
    )
    first = refused("dead-letters", "drop", waiting[3], "--reason", "a line of the rotation").stdout
    assert first == "Dropped 1 dead letter.\n"
    assert [row["letter"] for row in rows(refused("dead-letters", "list", "--json"))] == waiting[:3]
    assert json.loads(
        refused("dead-letters", "drop", "--every", "--reason", "test data", "--json").stdout
    ) == {"dropped": 3}
    assert refused("dead-letters", "retry").stdout == "No dead letter waits.\n"
    assert open_trail(place).stats().dead_letters == 0
    own = rows(refused("range", "--own", "--where", "action=dead-letters.dropped", "--json"))
    assert [(row["attrs"]["reason"], row["attrs"]["letters"]) for row in own] == [
        ("a line of the rotation", waiting[3:]),
        ("test data", waiting[:3]),
    ]
    listed = rows(refused("dead-letters", "list", "--all", "--json"))
    assert [row["dropped"] for row in listed] == [own[1]["seq"]] * 3 + [own[0]["seq"]]


def test_what_an_import_refused_is_retried_with_another_mapping(started: Run, tmp_path: Path) -> None:
    """The records that a mapping did not fit become events by another one, words and preset included."""
    path = tmp_path / "x.jsonl"
    good = {"ts": "2026-11-20T10:00:00Z", "action": "a"}
    bad = {"when": 1795503600, "action": "b", "outcome": "AccessDenied"}
    path.write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
    reported = started("import", str(path)).stdout
    assert "1 dead letter, kept with line and reason:" in reported
    assert "would fit: --map ts=when --ts-format s (first in line 2)" in reported
    options = ["--map", "ts=when", "--ts-format", "s", "--value", "outcome:AccessDenied=failure"]
    assert "1 became events" in started("dead-letters", "retry", *options).stdout
    shown = rows(started("range", "--json"))
    assert [(row["action"], row["outcome"], row["ts"]) for row in shown] == [
        ("a", None, "2026-11-20T10:00:00Z"),
        ("b", "failure", "2026-11-24T07:00:00Z"),
    ]
    assert "2 records imported before, and left alone" in started("import", str(path)).stdout
