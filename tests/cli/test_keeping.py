"""The commands stats, flush, maintain and prune."""

import json
from pathlib import Path

from auditkit.opening import open_trail
from tests.cli.conftest import Run


def old_and_new(run: Run) -> None:
    """Put an old event and a current one into a trail that keeps 30 days."""
    run("init", "--retention", "30d")
    run("append", "--action", "old", "--ts", "2020-01-01T00:00:00Z")
    run("append", "--action", "new")


def test_stats_as_json(filled: Run, place: Path) -> None:
    """JSON has every number of the trail's state."""
    numbers = json.loads(filled("stats", "--json").stdout)
    assert numbers["trail"] == str(place)
    assert (numbers["queue"]["depth"], numbers["queue"]["flushed"], numbers["queue"]["committed"]) == (
        2,
        4,
        6,
    )
    assert numbers["segments"]["rows"] == 4
    assert numbers["segments"]["first_ts"] == "2026-10-24T22:30:00Z"
    assert numbers["retention"]["policy"] == "keep for ever"
    assert numbers["dead_letters"] == 0


def test_stats_for_people(filled: Run) -> None:
    """The state is shown in sections, with what waits."""
    shown = filled("stats").stdout
    for part in (
        "2 events",
        "4 events in 2 segments of 2 partitions",
        "keep for ever",
        "2026-10-25 02:30 UTC",
    ):
        assert part in shown, part


def test_flush(filled: Run) -> None:
    """`flush` says what it moved; afterwards nothing waits."""
    assert filled("flush").stdout.startswith("Flushed 2 events (seq 4-5)")
    assert filled("flush").stdout == "Nothing to flush.\n"
    assert json.loads(filled("flush", "--json").stdout)["events"] == 0


def test_compact(filled: Run) -> None:
    """`maintain --compact` merges what a partition has in two small segments, which stats shows before and after."""
    filled("flush")
    filled("append", "--action", "one")
    filled("flush")
    filled("append", "--action", "two")
    assert "merged 4 segments of 2 partitions into 2 (7 events" in filled("maintain", "--compact").stdout
    shown = filled("stats").stdout
    assert "0 small segments; 4 merged files kept for readers a while" in shown
    assert filled("maintain", "--compact").stdout == "Nothing was due.\n"
    assert filled("maintain", "--compact", "--every", "1m", code=2).stdout == ""


def test_maintain(filled: Run) -> None:
    """`maintain` does what is due and says so; --now records the moment as an event of the trail."""
    before = json.loads(filled("stats", "--json").stdout)["queue"]["committed"]
    done = json.loads(filled("maintain", "--json", "--now", "now").stdout)
    assert set(done) >= {"flush", "prune"}
    last = json.loads(filled("tail", "-n", "1", "--json").stdout)
    assert last["source"] == "auditkit"
    assert last["seq"] >= before


def test_prune_asks_for_consent(run: Run) -> None:
    """Without --yes and without anybody to ask, nothing is pruned, and the exit code says misused."""
    old_and_new(run)
    refused = run("prune", code=2)
    assert "give --yes" in refused.stderr
    assert "would remove 1 event" in refused.stdout
    assert json.loads(run("stats", "--json").stdout)["retention"]["prunable"] == 1


def test_prune_dry_run_changes_nothing(run: Run, place: Path) -> None:
    """--dry-run shows the plan, as text or JSON, and leaves every file as it is."""
    old_and_new(run)
    assert "2 queued events not counted" in run("prune", "--dry-run").stderr
    run("flush")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert "would remove 1 event" in run("prune", "--dry-run").stdout
    plan = json.loads(run("prune", "--dry-run", "--json").stdout)
    assert (plan["rows"], len(plan["segments"]), plan["policy"]) == (1, 1, "keep 30d")
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_prune_removes_what_it_showed(run: Run, place: Path) -> None:
    """With --yes the plan is shown and done, queued events included."""
    old_and_new(run)
    done = run("prune", "--yes").stdout
    assert "would remove 1 event" in done
    assert "Pruned 1 event" in done
    with open_trail(place) as trail:
        assert trail.stats().retention.pruned == 1
        assert trail.range()["action"].to_list() == ["new"]
    assert run("prune").stdout.endswith("Nothing to prune.\n")


def test_prune_of_an_idle_trail(run: Run) -> None:
    """A trail without new events ages only by --now."""
    run("init", "--retention", "30d")
    run("append", "--action", "old", "--ts", "2020-01-01T00:00:00Z")
    assert "Nothing to prune" in run("prune", "--yes").stdout
    assert "Pruned 1 event" in run("prune", "--yes", "--now", "now").stdout
    assert json.loads(run("prune", "--yes", "--json").stdout)["events"] == 0
