"""From a file to an answer: events imported by the command line, asked as a trail, computed anew in plain Python."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import auditkit as ak
from auditkit.timerange import Width
from tests.plain import DEFAULTS, MEASURES, Event, assert_rows, bucket_of, groups, in_order, instant
from tests.questions import assert_answers
from tests.shared_events import NAMES, Asked, assert_expected, needed, number
from tests.sql_questions import ZONES as SQL_ZONES
from tests.sql_questions import assert_sql_agrees

WEEK = Path(__file__).parents[1] / "data" / "firm-week.jsonl.gz"
SHIFTED_DAYS = (-231, -210, 7)
"""What moves the week's Sunday from the end of summer time in Europe to the other three changes of the clock."""

FAR_AHEAD = "30000d"  # the machine that tests may stand in any year
COLUMNS = ["actor", "action", "resource", "outcome", "source", "origin", "correlation", "value"]
ZONES = ["UTC", "Europe/Stockholm", "America/New_York", "Asia/Kolkata"]
CHANGES = ["2026-03-08", "2026-03-29", "2026-10-25", "2026-11-01"]


def import_lines(folder: Path, lines: Iterable[str], *mapping: str, partition: Width = "1d") -> ak.Trail:
    """Make a trail, let the command line import lines into it, and open what is on disk."""
    source = folder / "events.jsonl"
    source.write_text("".join(lines), encoding="utf-8")
    ak.create(folder / "trail", max_ahead=FAR_AHEAD, partition=partition).close()
    command = [
        sys.executable,
        "-m",
        "auditkit.cli.main",
        "import",
        str(source),
        "--trail",
        str(folder / "trail"),
    ]
    done = subprocess.run([*command, *mapping], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ak.open(folder / "trail")


def lines_of_weeks() -> list[str]:
    """Return the firm's week, and every third of its lines three times more around other changes of the clock."""
    with gzip.open(WEEK, "rt", encoding="utf-8") as file:
        lines = file.readlines()
    shifted = []
    for days in SHIFTED_DAYS:
        for line in lines[::3]:
            record = json.loads(line)
            moved = datetime.fromisoformat(record["ts"]) + timedelta(days=days)
            shifted.append(json.dumps({**record, "ts": moved.isoformat()}) + "\n")
    return lines + shifted


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ak.Trail, list[Event]]]:
    """The weeks, as a trail and as plain dictionaries."""
    lines = lines_of_weeks()
    records = map(json.loads, lines)
    events = [
        {**{name: record.get(name) for name in COLUMNS}, "ts": instant(record["ts"])} for record in records
    ]
    with import_lines(tmp_path_factory.mktemp("weeks"), lines) as trail:
        yield trail, numbered(trail, events)


def numbered(trail: ak.Trail, events: list[Event]) -> list[Event]:
    """Return the events with their seqs, which follow each other but for what the import says of itself."""
    seqs = trail.scan().select("seq").collect()["seq"].sort().to_list()
    assert trail.end_seq == trail.range(own=True, columns="seq").height
    return [{"seq": seq, **event} for seq, event in zip(seqs, events, strict=True)]


def day(tz: str, date: str) -> dict[str, Any]:
    """Return the window of one local day."""
    return {"start": date, "end": "+1d", "tz": tz}


def of_day(events: list[Event], tz: str, date: str) -> list[Event]:
    """Return the events of one local day."""
    start = bucket_of(instant(f"{date}T12:00Z"), "1d", tz)
    return [event for event in events if bucket_of(event["ts"], "1d", tz) == start]


def test_every_line_is_an_event(imported: tuple[ak.Trail, list[Event]]) -> None:
    """All lines arrive, in their order, with every field as it was written."""
    trail, events = imported
    found = trail.range(columns=["seq", "ts", *COLUMNS])
    ordered = in_order(events)
    assert found["ts"].to_physical().to_list() == [event["ts"] for event in ordered]
    assert found.drop("ts").rows() == [tuple(event[name] for name in ("seq", *COLUMNS)) for event in ordered]
    assert trail.stats().dead_letters == 0


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("date", CHANGES)
def test_the_days_on_which_clocks_change_are_right(
    imported: tuple[ak.Trail, list[Event]], tz: str, date: str
) -> None:
    """A local day has its own events, its hours and its five minutes are counted right, and empty ones show."""
    trail, events = imported
    inside = of_day(events, tz, date)
    assert len(inside) > 100
    found = trail.range(**day(tz, date), columns="seq")
    assert found["seq"].to_list() == [event["seq"] for event in in_order(inside)]
    assert_rows(trail.downsample("1h", **day(tz, date)), groups(inside, [], "1h", tz))
    assert_rows(trail.downsample("5m", by="source", **day(tz, date)), groups(inside, ["source"], "5m", tz))
    assert_rows(trail.downsample("1d", **day(tz, date)), groups(inside, [], "1d", tz))
    changed = {
        "Europe/Stockholm": ("2026-03-29", "2026-10-25"),
        "America/New_York": ("2026-03-08", "2026-11-01"),
    }
    hours = dict(zip(changed.get(tz, ()), (23, 25), strict=False)).get(date, 24)
    filled = trail.downsample("1h", fill=0, aggs="count", **day(tz, date))
    assert filled.height == hours
    assert filled["count"].sum() == len(inside)


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("every", ["1h", "1d", "1w", "1mo", "1q", "1y"])
def test_series_over_all_weeks_agree(imported: tuple[ak.Trail, list[Event]], tz: str, every: str) -> None:
    """Every bucket of every length in every zone has the count, sum, mean, smallest and largest computed apart."""
    trail, events = imported
    found = trail.group_by(["action", "outcome"], every=every, tz=tz)
    assert found.columns == ["ts", "action", "outcome", *DEFAULTS]
    assert_rows(found, groups(events, ["action", "outcome"], every, tz))


@pytest.mark.parametrize("by", [["actor"], ["source", "origin"], ["resource"], []])
def test_groups_over_all_weeks_agree(imported: tuple[ak.Trail, list[Event]], by: list[str]) -> None:
    """Groups by any keys, the missing ones too, have every measure computed apart."""
    trail, events = imported
    aggs = ["count", *MEASURES]
    assert_rows(trail.group_by(by, aggs=aggs), groups(events, by, aggs=aggs))


def test_conditions_choose_the_events_asked_about(imported: tuple[ak.Trail, list[Event]]) -> None:
    """Mappings, expressions and values inside attrs keep the events that a loop keeps."""
    trail, events = imported
    asked: list[tuple[Any, Any]] = [
        ({"action": "auth.*", "outcome": ["failure", None]}, lambda event: event["action"].startswith("auth.") and event["outcome"] in ("failure", None)),
        ({"actor": None}, lambda event: event["actor"] is None),
        ({"attrs.actor": "svc-*"}, lambda event: (event["actor"] or "").startswith("svc-")),
        ({"attrs.value": 16}, lambda event: event["value"] == 16),
        ({"actor": {"not": ["svc-*", None]}}, lambda event: not (event["actor"] or "svc-").startswith("svc-")),
        ({"attrs.actor": {"not": "svc-*"}}, lambda event: not (event["actor"] or "").startswith("svc-")),
        ({"text": "SVC- Failure"}, lambda event: all(word in json.dumps(event).lower() for word in ("svc-", "failure"))),
        (ak.attr("origin").str.starts_with("203."), lambda event: (event["origin"] or "").startswith("203.")),
    ]  # fmt: skip
    for where, holds in asked:
        inside = [event for event in events if holds(event)]
        assert inside
        assert trail.range(where=where, columns="seq")["seq"].to_list() == [
            event["seq"] for event in in_order(inside)
        ]
        assert_rows(
            trail.group_by("actor", every="1d", where=where, tz="Europe/Stockholm"),
            groups(inside, ["actor"], "1d", "Europe/Stockholm"),
        )


def test_sql_agrees_where_clocks_change(imported: tuple[ak.Trail, list[Event]]) -> None:
    """SQL has the same days and hours as the trail's methods around all changes of the clock."""
    assert_sql_agrees(imported[0], (*SQL_ZONES, "America/St_Johns", "Asia/Kathmandu"))


def test_an_earlier_moment_has_its_own_answers(imported: tuple[ak.Trail, list[Event]]) -> None:
    """The trail as it was at a seq answers from the lines before it only."""
    trail, events = imported
    third = len(events) // 3
    assert_rows(trail.at(events[third]["seq"]).group_by("action"), groups(events[:third], ["action"]))


class AskedOfATrail(Asked):
    """The events as a trail that the command line imported, and as plain dictionaries."""

    id_column = "attrs.id"
    ids = ak.attr("id")

    def ingest(self, events: Iterable[dict[str, Any]]) -> None:
        """Write JSON lines and import them."""
        given = list(events)
        lines = (json.dumps(event, ensure_ascii=False) + "\n" for event in given)
        mapping = ["--map", "origin=source_ip", "--map", f"value=attrs.{self.value_key}"]
        self.trail = import_lines(self.folder, lines, *mapping, partition="1mo")  # some sets span years
        self.asked = self.trail
        events = [
            {**event, "ts": instant(event["ts"]), "origin": event["source_ip"]}
            | {"value": number(event["attrs"].get(self.value_key))}
            for event in given
        ]
        self.events = numbered(self.trail, events)

    def close(self) -> None:
        """Put every other question too, and compare with answers computed here."""
        with self.trail:
            assert_answers(self.trail, self.events)
            third = len(self.events) // 3
            assert_answers(self.trail.at(self.events[third]["seq"]), self.events[:third], tz="UTC")
            assert_sql_agrees(self.trail)


@needed
@pytest.mark.filterwarnings("ignore::auditkit.errors.EmptyAnswerWarning")
@pytest.mark.parametrize("name", NAMES)
def test_real_events_have_the_expected_answers(name: str) -> None:
    """Real events, imported and asked as a trail, have the answers that others computed."""
    assert_expected(AskedOfATrail, name)
