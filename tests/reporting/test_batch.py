"""Batches: one report for each value or stretch of time, none of which stops another, and none made twice."""

import json
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import auditkit as ak
from auditkit.errors import InvalidQueryError, ReportError
from auditkit.reporting.batch import Batch, as_condition, report_each
from auditkit.reporting.batch_plan import plan_parts
from tests.reporting.material import PAYLOADS, code, elements, notebook, text_of

PARAMETERS = "trail = start = end = where = tz = as_of = None\nbroken = None"
SHOW = """
from pathlib import Path
import auditkit as ak
shown = ak.open(trail, tz=tz).at(as_of).range(start, end, where=where)
assert not (broken and Path(broken).exists() and "*" in shown["actor"]), "as asked"
print("shows", shown.height, sorted(set(shown["actor"]), key=str), start, end)
"""


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[ak.Trail]:
    """A trail whose actors are hostile, missing and repeated, over three days of which the second is silent."""
    with ak.create(tmp_path / "audit", tz="Europe/Stockholm") as opened:
        rows: list[dict[str, Any]] = [{"actor": "ann", "ts": "2026-10-24T10:00:00+02:00"}] * 3
        rows += [{"actor": actor, "ts": "2026-10-26T10:00:00+01:00"} for actor in (None, "*", PAYLOADS[0])]
        opened.extend([{"action": "doc.read", **row} for row in rows]).wait()
        yield opened


@pytest.fixture
def show(tmp_path: Path) -> Path:
    """A notebook that prints what it was asked, and fails for the actor `*` while the file `broken` is there."""
    document = notebook(code(PARAMETERS, number=None, tags=["parameters"]), code(SHOW, number=None))
    path = tmp_path / "show.ipynb"
    path.write_text(json.dumps(document))
    return path


def shows(batch: Batch) -> dict[str, str]:
    """Return what each report of a batch printed."""
    texts = {part.name: text_of((batch.index.parent / part.file).read_text()) for part in batch.parts}
    return {name: text[text.index("shows") :].splitlines()[0] for name, text in texts.items()}


def modified(folder: Path) -> dict[str, int]:
    """Return when each report of a folder was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.html")}


def test_values_are_planned_by_their_number_of_events(trail: ak.Trail) -> None:
    """The most frequent comes first, equals by value, a missing one last; files are numbers."""
    parts = plan_parts(trail, "actor", None, None, None)
    assert [(part.file, part.value, part.events) for part in parts] == [
        ("001.html", "ann", 3),
        ("002.html", "*", 1),
        ("003.html", PAYLOADS[0], 1),
        ("004.html", None, 1),
    ]
    narrowed = plan_parts(trail, "actor", "2026-10-25", None, {"actor": "*"})
    assert [part.value for part in narrowed] == ["*", PAYLOADS[0]]


def test_values_inside_attrs_are_planned_and_asked_for(tmp_path: Path) -> None:
    """A path in attrs has parts as a column has; a number is one part with the text that spells it."""
    statuses = [404, "404", "404", 200, "1.10", "true", True, None]
    with ak.create(tmp_path / "audit") as trail:
        trail.extend([{"action": "a", "http": {"status": status}} for status in statuses]).wait()
        parts = plan_parts(trail, "attrs.http.status", None, None, None)
        assert [(part.value, part.events) for part in parts] == [
            ("404", 3), ("true", 2), ("1.10", 1), ("200", 1), (None, 1),
        ]  # fmt: skip
        for part in parts:
            value = None if part.value is None else [as_condition("attrs.http.status", part.value)]
            assert trail.range(where={"attrs.http.status": value}).height == part.events
    assert as_condition("actor", "404") == "404"


def test_stretches_are_planned_by_the_calendar(trail: ak.Trail) -> None:
    """Days follow the trail's zone, silent ones and one of 25 hours too, and end where the window does."""
    parts = plan_parts(trail, "1d", "2026-10-24", "2026-10-26T12:00", None)
    assert [(part.start, part.end, part.events) for part in parts] == [
        ("2026-10-24T00:00:00+02:00", "2026-10-25T00:00:00+02:00", 3),
        ("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", 0),
        ("2026-10-26T00:00:00+01:00", "2026-10-26T12:00:00+01:00", 3),
    ]
    assert [part.name for part in parts] == ["Sat 24 Oct 2026", "Sun 25 Oct 2026", "Mon 26 Oct 2026"]
    hours = plan_parts(trail, "12h", "2026-10-24", "2026-10-25", None)
    assert [part.name for part in hours] == [
        "Sat 24 Oct 2026 00:00:00 +02:00",
        "Sat 24 Oct 2026 12:00:00 +02:00",
    ]


def test_parts_are_of_events_and_not_of_tiers(tmp_path: Path) -> None:
    """In a trail with tiers a batch is planned from the events that its reports will show."""
    with ak.create(tmp_path / "audit") as trail:
        trail.extend([{"action": "a", "source": "app"}] * 3).wait()
        trail.rollup("1d", by=["source"])
        assert [(part.value, part.events) for part in plan_parts(trail, "source", None, None, None)] == [
            ("app", 3)
        ]
        assert sum(part.events for part in plan_parts(trail, "1d", None, None, None)) == 3


@pytest.mark.parametrize("each", ["seq", "ts", "value", "attrs", "nothing", "-1d", ""])
def test_what_divides_nothing_is_refused(trail: ak.Trail, each: str) -> None:
    """Only columns with values to tell apart, and durations, make parts."""
    with pytest.raises(InvalidQueryError, match="each"):
        plan_parts(trail, each, None, None, None)


def test_one_report_for_each_value(trail: ak.Trail, show: Path, tmp_path: Path) -> None:
    """Each report is about its value alone, taken literally; the page of contents names them as text."""
    batch = report_each(show, "actor", tmp_path / "out", trail=trail, where={"action": "doc.*"})
    assert (batch.kept, batch.failures) == (0, {})
    assert [text.rpartition("]")[0] + "]" for text in shows(batch).values()] == [
        "shows 3 ['ann']",
        "shows 1 ['*']",
        f"shows 1 {[PAYLOADS[0]]}",
        "shows 1 [None]",
    ]
    page = batch.index.read_text()
    assert PAYLOADS[0] in text_of(page)
    assert [attributes["href"] for name, attributes in elements(page) if name == "a"] == [
        part.file for part in batch.parts
    ]
    assert "script" not in {name for name, _ in elements(page)}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"001.html", "002.html", "003.html", "004.html", "batch.json", "index.html"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o600}


def test_a_failed_report_stops_no_other_and_is_made_again(
    trail: ak.Trail, show: Path, tmp_path: Path
) -> None:
    """The failed one is there, marked, and named; run again, only it is made, as of the same events."""
    folder, broken = tmp_path / "out", tmp_path / "broken"
    broken.touch()
    batch = report_each(show, "actor", folder, trail=trail, workers=1, parameters={"broken": str(broken)})
    assert list(batch.failures) == ["002.html"]
    assert "as asked" in batch.failures["002.html"]
    assert "FAILED" in (folder / "002.html").read_text()
    assert "FAILED" in text_of(batch.index.read_text())
    assert (folder / "002.failed.ipynb").exists()
    before = modified(folder)
    trail.append(action="doc.read", actor="*", ts="2026-10-26T11:00:00Z").wait()
    broken.unlink()
    again = report_each(show, "actor", folder, trail=trail, workers=1, parameters={"broken": str(broken)})
    assert (again.kept, again.failures) == (3, {})
    assert shows(again)["*"].startswith("shows 1 ")
    after = modified(folder)
    assert [name for name in before if before[name] != after[name]] == ["002.html"]
    assert not (folder / "002.failed.ipynb").exists()


def test_an_interrupted_batch_goes_on(trail: ak.Trail, show: Path, tmp_path: Path) -> None:
    """What interrupts it leaves whole reports and a page that says what is missing; the rest is made later."""

    folder = tmp_path / "out"

    def interrupt() -> None:
        while not list(folder.glob("[0-9]*.html")):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    waiting = threading.Thread(target=interrupt, daemon=True)
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        report_each(show, "1d", folder, trail=trail, workers=1)
    waiting.join()
    assert "not made yet" in text_of((folder / "index.html").read_text())
    made = modified(folder)
    assert 1 <= len(made) < 3
    batch = report_each(show, "1d", folder, trail=trail, workers=1)
    assert batch.kept == len(made)
    assert modified(folder).items() >= made.items()
    assert [text.split()[1] for text in shows(batch).values()] == ["3", "0", "3"]


def test_a_folder_is_one_batch(trail: ak.Trail, show: Path, tmp_path: Path) -> None:
    """Another question, or a folder with something else in it, is refused; `force` makes all anew, as of now."""
    folder = tmp_path / "out"
    first = report_each(show, "actor", folder, trail=trail, limit=2, workers=1)
    assert "2 of 4 that there are" in text_of(first.index.read_text())
    with pytest.raises(ReportError, match="holds the reports of another question"):
        report_each(show, "actor", folder, trail=trail)
    trail.append(action="doc.read", actor="ann", ts="2026-10-26T11:00:00Z").wait()
    batch = report_each(show, "actor", folder, trail=trail, limit=1, workers=1, force=True)
    assert shows(batch)["ann"].startswith("shows 4 ")
    assert {path.name for path in folder.iterdir()} == {"001.html", "batch.json", "index.html"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    with pytest.raises(ReportError, match="holds something else"):
        report_each(show, "actor", tmp_path / "other", trail=trail, force=True)
    with pytest.raises(ReportError, match="takes no parameter nope"):
        report_each(show, "actor", tmp_path / "new", trail=trail, parameters={"nope": 1})
    assert not (tmp_path / "new").exists()


def test_a_worker_that_dies_is_replaced(trail: ak.Trail, show: Path, tmp_path: Path) -> None:
    """The report that it was at has failed, and the others are made."""
    worker = "int(Path(f'/proc/{os.getppid()}/stat').read_text().rpartition(')')[2].split()[1])"
    killing = f"import os\nif where == {{'actor': ['*']}}: os.kill({worker}, 9)"
    cells = [code(PARAMETERS, number=None, tags=["parameters"]), code(SHOW + killing, number=None)]
    show.write_text(json.dumps(notebook(*cells)))
    batch = report_each(show, "actor", tmp_path / "out", trail=trail, workers=1)
    assert batch.failures == {"002.html": "the process that was making it ended"}
    assert not (tmp_path / "out" / "002.html").exists()
    assert (tmp_path / "out" / "003.html").exists()


def test_each_report_of_a_batch_can_be_recorded(trail: ak.Trail, show: Path, tmp_path: Path) -> None:
    """With `record`, the trail gets one event for each file, FAILED ones too."""
    report_each(
        show, "actor", tmp_path / "out", trail=trail, record=True, workers=1, parameters={"broken": str(show)}
    )
    events = trail.range(where={"action": "report.rendered"}, own=True).sort("resource")
    assert events["resource"].to_list() == ["001.html", "002.html", "003.html", "004.html"]
    states = events["attrs"].str.json_path_match("$.status")
    assert states.to_list() == ["complete", "failed", "complete", "complete"]
