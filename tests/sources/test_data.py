"""The committed trails: what they hold, that they open as git gives them, and that they hold nothing of where they were made."""

import gzip
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def firm_week() -> Trail:
    """Return the trail of the simulated week."""
    return ak.open(DATA / "firm-week")


@pytest.fixture
def recording() -> Trail:
    """Return the trail of the recorded program."""
    return ak.open(DATA / "recording")


def test_the_week_holds_exactly_the_committed_lines(firm_week: Trail) -> None:
    """Every line of firm-week.jsonl.gz is an event of the trail, in the order of seq, and there are no others."""
    with gzip.open(DATA / "firm-week.jsonl.gz", "rt", encoding="utf-8") as lines:
        given = [json.loads(line) for line in lines]
    rows = firm_week.scan().sort("seq").collect().to_dicts()
    assert [row["seq"] for row in rows] == list(range(len(given)))
    for row, event in zip(rows, given, strict=True):
        kept = {name: value for name, value in row.items() if value is not None}
        # In UTC: Python holds no time of a repeated hour equal to one of another zone.
        assert kept.pop("ts").astimezone(UTC) == datetime.fromisoformat(event.pop("ts"))
        assert json.loads(kept.pop("attrs")) == event.pop("attrs")
        assert {name: value for name, value in kept.items() if name not in ("seq", "recorded")} == event


def test_the_week_was_recorded_when_it_happened(firm_week: Trail) -> None:
    """Acceptance follows the event by a minute at most, but for the late ones; it never goes back."""
    frame = firm_week.scan().sort("seq").collect()
    delay = (frame["recorded"] - frame["ts"]).dt.total_seconds()
    assert delay.min() == 0
    assert frame.filter(delay > 120)["origin"].unique().to_list() == ["laptop/offline"]
    assert frame["recorded"].is_sorted()


def test_the_week_keeps_ninety_days_and_nothing_is_expired(firm_week: Trail) -> None:
    """All of it is in segments, one per day, and the policy has nothing to prune."""
    stats = firm_week.stats()
    assert (stats.queue.depth, stats.segments.rows, stats.segments.partitions) == (0, 13178, 8)
    assert str(firm_week.retention).splitlines()[0] == "keep 90d"
    assert not firm_week.plan_prune().segments


@pytest.mark.parametrize("name", ["firm-week", "recording"])
def test_a_clone_opens(tmp_path: Path, name: str) -> None:
    """Without the empty folders that git leaves out and with its file modes, the trail answers and takes events."""
    for path in (DATA / name).rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(DATA)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    with ak.open(tmp_path / name) as trail:
        before = trail.end_seq
        assert trail.group_by("source")["count"].sum() == before
        assert trail.append(action="copy.opened").wait() == before


def test_the_recording_shows_what_the_program_set_out_to_do(recording: Trail) -> None:
    """The recorded program's own acts are all there, in order, with unknown outcomes."""
    own = {"action": ["file.write", "file.read", "process.start", "socket.connect", "file.delete"]}
    acts = recording.range(where=own)
    folder = "/home/analyst/quarter/"
    assert list(acts.select("action", "resource").iter_rows()) == [
        ("file.write", folder + "orders.csv"),
        ("file.read", folder + "orders.csv"),
        ("process.start", "date"),
        ("file.write", folder + "totals.json"),
        ("socket.connect", "127.0.0.1:9"),
        ("file.delete", folder + "orders.csv"),
    ]
    assert acts["outcome"].null_count() == acts.height


def test_the_recording_tells_nothing_of_where_it_was_made(recording: Trail) -> None:
    """User, host and paths are neutral, and arguments are only counted."""
    frame = recording.scan().collect()
    assert frame.select("actor", "origin").unique().row(0) == ("analyst", "workstation")
    paths = frame.filter(pl.col("resource").str.starts_with("/"))["resource"]
    assert paths.str.contains(r"^(/usr/(bin|lib|local/lib)/|/home/analyst/quarter)").all()
    assert "argv" not in "".join(frame["attrs"])
