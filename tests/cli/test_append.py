"""The commands init and append."""

import json
from pathlib import Path

import pytest

from auditkit.opening import open_trail
from tests.cli.conftest import Run, rows
from tests.fakes import ManualClock


def test_init_creates_what_was_decided(run: Run, place: Path) -> None:
    """Retention, fields, zone, partition and sharing are those of the options."""
    shown = run(
        "init", "--retention", "90d", "--field", "amount=float", "--field", "ok=boolean",
        "--tz", "Europe/Stockholm", "--partition", "1mo", "--group", "read",
    ).stdout  # fmt: skip
    with open_trail(place) as trail:
        assert trail.retention.policy == "keep 90d"
        assert list(trail.fields) == ["amount", "ok"]
        assert trail.tz == "Europe/Stockholm"
        assert trail.trail_id in shown
    assert place.stat().st_mode & 0o777 == 0o750


def test_init_takes_a_path(run: Run, tmp_path: Path) -> None:
    """A path given wins over AUDITKIT_TRAIL."""
    run("init", str(tmp_path / "other"))
    assert (tmp_path / "other" / "catalog.sqlite").is_file()
    assert not (tmp_path / "audit").exists()


def test_append_by_options(run: Run) -> None:
    """Each field has an option, attrs can be built from pairs, and the seq is printed."""
    run("init", "--field", "amount=float")
    done = run(
        "append", "--action", "doc.read", "--actor", "ann", "--resource", "doc/7", "--outcome", "success",
        "--source", "app", "--origin", "10.0.0.7", "--correlation", "r-1", "--id", "k", "--value", "2.5",
        "--ts", "2026-10-25 02:30", "--tz", "Europe/Stockholm", "--attr", "bytes=512", "--attr", "name=x",
        "--field", "amount=7",
    )  # fmt: skip
    assert done.stdout == "appended seq 0\n"
    [event] = rows(run("tail", "--json"))
    recorded = event.pop("recorded")
    assert recorded.endswith("Z")
    assert event == {
        "seq": 0, "ts": "2026-10-25T00:30:00Z", "actor": "ann", "action": "doc.read", "resource": "doc/7",
        "outcome": "success", "source": "app", "origin": "10.0.0.7", "correlation": "r-1", "id": "k", "value": 2.5,
        "attrs": {"bytes": 512, "name": "x"}, "amount": 7.0,
    }  # fmt: skip


def test_append_flushes_when_due(started: Run, place: Path) -> None:
    """A call behind old events moves them into segments; where that fails its own event is in, and the failure is reported."""
    with open_trail(place, clock=ManualClock("2026-01-01T00:00:00+00:00"), maintain=False) as worker:
        worker.append(action="old").wait()
    (place / "segments").rename(place / "elsewhere")
    failed = started("append", "--action", "x")
    assert failed.stdout == "appended seq 1\n"
    assert "maintenance failed, and nothing is lost by it: FileNotFoundError" in failed.stderr
    (place / "elsewhere").rename(place / "segments")
    done = started("append", "--action", "y")
    assert (done.stdout, done.stderr) == ("appended seq 2\n", "")
    assert json.loads(started("stats", "--json").stdout)["queue"]["flushed"] == 3


def test_append_keeps_attrs_as_given(started: Run, place: Path) -> None:
    """--attrs is stored to the letter."""
    text = '{ "b":1e2, "b":2 }'
    assert json.loads(started("append", "--action", "x", "--attrs", text, "--json").stdout) == {
        "first": 0,
        "count": 1,
    }
    with open_trail(place) as trail:
        assert trail.tail(1)["attrs"].item() == text


def test_append_json_lines(started: Run) -> None:
    """Lines from standard input become events, unknown keys go into attrs, options fill what a line leaves out."""
    lines = '{"action": "a", "bytes": 5}\n\n{"action": "b", "source": "other", "ts": "2026-01-01T00:00:00+01:00"}\n'
    done = started("append", "-", "--source", "app", "--actor", "ann", stdin=lines)
    assert done.stdout == "appended 2 events, from seq 0 on\n"
    first, second = rows(started("tail", "--json"))
    assert (first["source"], first["actor"], first["attrs"]) == ("app", "ann", {"bytes": 5})
    assert (second["source"], second["ts"]) == ("other", "2025-12-31T23:00:00Z")
    assert started("append", "--actor", "eve", stdin='{"action": "c"}').stdout == "appended seq 2\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nope", "line: not JSON"),
        ("[1]", "line: JSON, but not an object"),
        ('{"action": 5}', "action: not text (found 5)"),
        ('{"actor": "ann"}', "action: missing"),
        ('{"action": "a", "seq": 1}', "seq: assigned by the trail"),
        ('{"action": "a", "source": "auditkit"}', "source: reserved"),
    ],
)
def test_append_stops_at_a_bad_line(started: Run, line: str, said: str) -> None:
    """The first line that is no event is reported with its number; what came before is in, what comes after is not."""
    result = started("append", "-", stdin=f'{{"action": "before"}}\n{line}\n{{"action": "after"}}\n', code=1)
    assert said in result.stderr
    assert "hint: this is line 2; 1 event before it is in" in result.stderr
    assert [event["action"] for event in rows(started("tail", "--json"))] == ["before"]


def test_append_nothing(started: Run) -> None:
    """An empty standard input appends nothing, which is only good where it was asked for."""
    assert started("append", "-", stdin="").stdout == "appended 0 events\n"
    assert "no event on standard input" in started("append", stdin="", code=2).stderr


def test_append_options_of_one_event(started: Run) -> None:
    """--ts, --attr and --attrs are refused together with JSON lines."""
    for option in (("--ts", "2026-01-01T00:00:00Z"), ("--attrs", "{}"), ("--attr", "a=1")):
        assert "belong to one event" in started("append", "-", *option, stdin="{}", code=2).stderr
