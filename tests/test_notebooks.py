"""Our notebooks: committed executed, the same when run again, of use on any trail, and silent about who ran them."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import auditkit as ak
from auditkit.reporting.attest import Rendered, record_rendered, record_reviewed
from auditkit.reporting.page import make_page
from auditkit.timerange import from_us
from tests.execute_notebooks import look_alike
from tests.fakes import ManualClock
from tests.reporting.material import ROOT, run_here

TOUR = ROOT / "notebooks" / "tour.ipynb"
NOTEBOOKS = sorted({*(ROOT / "notebooks").glob("*.ipynb")} - {TOUR})
"""The gallery: notebooks that are reports."""
README = ROOT / "README.md"
WEEK = ROOT / "data" / "firm-week"
COVER = "application/vnd.auditkit.cover+json"


def read(path: Path) -> Any:
    """Return a notebook as JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path: Path) -> list[Any]:
    """Return the code cells of a notebook."""
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def test_they_are_there() -> None:
    """The gallery is what the README says it is, each with a title and a sentence that says what it is for."""
    names = {path.stem for path in NOTEBOOKS}
    assert names == {"access_review", "actor", "compliance", "incident", "operations", "overview", "trends"}
    reports = README.read_text(encoding="utf-8").partition("\n## Reports\n")[2].partition("\n## ")[0]
    assert names == set(re.findall(r"^\| `(\w+)` \|", reports, re.MULTILINE))
    for path in NOTEBOOKS:
        title, _, sentence = "".join(read(path)["cells"][0]["source"]).partition("\n\n")
        assert title.startswith("# ")
        assert sentence.endswith((".", "?"))
        assert "\n" not in sentence


@pytest.mark.parametrize("path", [*NOTEBOOKS, TOUR], ids=lambda path: path.stem)
def test_committed_executed(path: Path) -> None:
    """Every code cell was run in order, and all but the first and answers kept under a name show something to nbval."""
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] or "%%audit --out" in cell["source"][0] for cell in cells[1:])
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_narrative_and_calls(path: Path) -> None:
    """At most 15 cells, the first code cell holds the parameters, and no cell defines anything."""
    cells = code_cells(path)
    assert len(read(path)["cells"]) <= 15
    assert cells[0]["metadata"]["tags"] == ["parameters"]
    assert not [
        cell for cell in cells if "def " in "".join(cell["source"]) or "class " in "".join(cell["source"])
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nobody_is_named(path: Path) -> None:
    """Who ran the notebook, on which host and from which folder is not committed (`tests/execute_notebooks.py`)."""
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    covers = [output for output in outputs if COVER in output.get("data", {})]
    assert len(covers) == 1
    assert covers[0]["metadata"] == {}
    assert str(path.parents[1]) not in path.read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=[path.stem for path in NOTEBOOKS])
def name(request: pytest.FixtureRequest) -> str:
    """The name of one of our notebooks."""
    found: str = request.param
    return found


def page_of(name: str, trail: Path, **parameters: object) -> Any:
    """Return the page of one of our notebooks run on a trail."""
    return make_page(
        run_here(ROOT / "notebooks" / f"{name}.ipynb", trail=str(trail), **parameters), name=name
    )


def shown_of(page: Any) -> list[Any]:
    """Return everything a page shows below its first screen."""
    return [block for step in page.steps for block in step.blocks]


def test_on_an_empty_trail(name: str, tmp_path: Path) -> None:
    """A trail without an event gives a whole report that says so: no error, no figure without words."""
    ak.create(tmp_path / "nothing", tz="Asia/Kolkata").close()
    page = page_of(name, tmp_path / "nothing")
    first = {"operations": "0 events", "compliance": "Keep for ever: 0 events due for removal"}
    assert page.cover.answer.startswith(first.get(name, "No events"))
    assert page.cover.summary == ()
    assert len(shown_of(page)) >= 5
    assert not [block for block in shown_of(page) if block.kind in ("error", "note")]


def test_on_a_recording_of_seconds(name: str) -> None:
    """A trail of another kind, by one actor within seconds, gives a whole report of its events."""
    page = page_of(name, ROOT / "data" / "recording")
    assert page.cover.as_of >= 100
    assert not [block for block in shown_of(page) if block.kind in ("error", "note")]


def test_on_events_that_say_little(name: str, tmp_path: Path) -> None:
    """Events with an action only, and none of them privileged or failed, break nothing."""
    with ak.create(tmp_path / "little") as trail:
        trail.extend([{"action": "a"}] * 3).wait()
    page = page_of(name, tmp_path / "little")
    assert page.cover.counts.shown == (0 if name == "access_review" else 3)
    assert not [block for block in shown_of(page) if block.kind in ("error", "note")]


def test_given_parameters_are_obeyed(name: str) -> None:
    """Window, filter, zone and seq of a run are those of its first screen."""
    page = page_of(
        name, WEEK, start="2026-10-20", end="+2d", where={"source": ["idp", "backup"]}, tz="UTC", as_of=9000
    )
    assert (page.cover.start, page.cover.end) == ("2026-10-20T00:00:00+00:00", "2026-10-22T00:00:00+00:00")
    assert (page.cover.zone, page.cover.as_of) == ("UTC", 9000)
    assert page.cover.where["source"] == ["idp", "backup"]
    assert {source.name for source in page.cover.sources} <= {"idp", "backup"}


def test_an_actor_of_ones_choice() -> None:
    """The story of a named actor is about nobody else, whatever characters the name has."""
    page = page_of("actor", WEEK, actor="hedda.ekman")
    assert page.title == "The story of hedda.ekman"
    assert page.cover.where == {"actor": ["hedda.ekman"]}
    assert page.cover.counts.shown == 496
    assert page_of("actor", WEEK, actor="hedda.*").cover.counts.shown == 0


def test_a_moment_of_ones_choice() -> None:
    """The incident is around the moment that was given, as long before and after as asked."""
    page = page_of("incident", WEEK, moment="2026-10-25T02:07+01:00", before="10m", after="20m")
    assert (page.cover.start, page.cover.end) == ("2026-10-25T02:57:00+02:00", "2026-10-25T02:27:00+01:00")
    assert any("backup.policy.update" in sentence for sentence in page.cover.summary)


def test_privileges_of_ones_choice() -> None:
    """Access is reviewed for the actions whose patterns were given."""
    page = page_of("access_review", WEEK, privileged=["role.*", "customer.export"])
    assert page.cover.where == {"action": ["customer.export", "role.grant"]}


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    """A trail of two producers that have neither our outcomes nor our names for actions."""
    calls = {
        "AttachUserPolicy": "success", "PutRolePolicy": "AccessDenied", "CreateRole": "AccessDenied",
        "DeleteTrail": "AccessDenied", "GetObject": "success", "AssumeRole": "success",
    }  # fmt: skip
    with ak.create(tmp_path / "cloud", maintain=False) as trail:
        trail.extend(
            [
                {"action": name, "actor": "ann", "origin": "192.0.2.7", "outcome": outcome, "source": "cloud"}
                for name, outcome in calls.items()
            ]
            + [
                {"action": "user.session.start", "actor": "bob", "outcome": outcome, "source": "idp"}
                for outcome in ("SUCCESS", "FAILURE", "DENY")
            ]
        ).wait()
    return tmp_path / "cloud"


def tables_of(page: Any) -> dict[str, Any]:
    """Return the tables of a page by their title."""
    return {block.table.title: block.table for block in shown_of(page) if block.kind == "table"}


def test_failures_in_other_words_are_failures(cloud: Path) -> None:
    """Five of nine failed in the words of their producers, and every report says so: answer, list, tables, colours."""
    page = page_of("overview", cloud)
    assert "5 (55.6 %) failed" in page.cover.answer
    assert page.cover.outcomes.failures == (("AccessDenied", 3), ("DENY", 1), ("FAILURE", 1))
    failed = tables_of(page)["Failures by actor, action and origin"]
    assert {row[:2] for row in failed.rows} == {
        ("ann", "PutRolePolicy"), ("ann", "CreateRole"), ("ann", "DeleteTrail"), ("bob", "user.session.start"),
    }  # fmt: skip
    story = tables_of(page_of("actor", cloud, actor="bob"))["Failures, last first"]
    assert len(story.rows) == 2
    chosen = page_of("overview", cloud, failures=["deny"])
    assert chosen.cover.outcomes.failures == (("DENY", 1),)
    assert len(tables_of(chosen)["Failures by actor, action and origin"].rows) == 1


def test_privileged_actions_of_any_producer(cloud: Path) -> None:
    """An access review finds the calls of a cloud by the same patterns, and which of them failed."""
    rows = tables_of(page_of("access_review", cloud))[
        "Who did what, how often, and from how many origins"
    ].rows
    assert {(row[1], row[3]) for row in rows} == {
        ("AttachUserPolicy", "0"), ("PutRolePolicy", "1"), ("CreateRole", "1"), ("DeleteTrail", "1"), ("AssumeRole", "0"),
    }  # fmt: skip


def test_patterns_that_match_nothing_are_doubted(cloud: Path) -> None:
    """An empty access review says that no action was matched, not that there are no events."""
    page = page_of("access_review", cloud, privileged=["root.*"])
    assert page.cover.answer.startswith("None of the 7 actions that occurred is matched")


def test_a_window_whose_events_are_partly_gone(tmp_path: Path) -> None:
    """What was removed is drawn from its tier, in another tone, and nothing else of the report counts it."""
    clock = ManualClock()
    now = from_us(clock.us)
    rows = [
        {"action": f"a{at % 3}", "actor": "ann", "source": "app", "outcome": "denied" if at % 5 == 0 else "success",
         "ts": now - timedelta(hours=at)}
        for at in range(24 * 30, 0, -1)
    ]  # fmt: skip
    with ak.create(tmp_path / "tiered", retention="10d", maintain=False, clock=clock) as trail:
        trail.rollup("1h", by=["action", "outcome", "source"])
        trail.extend(rows).wait()
        trail.flush()
        trail.maintain()
        trail.prune()
        kept = trail.range().height
    assert 0 < kept < 300
    page = page_of("overview", tmp_path / "tiered")
    drawn = page.lead.blocks[0]
    assert drawn.subtitle.endswith("Paler bars come from the tier 1h: their events are no longer kept")
    origins = {row[-1] for row in drawn.data.rows}
    assert origins == {"1h", "raw"}
    assert sum(int(row[2]) for row in drawn.data.rows) == len(rows)
    assert sum(int(row[2]) for row in drawn.data.rows if row[-1] == "raw") <= kept
    assert page.cover.counts.shown == kept
    charts_below = [block for block in shown_of(page) if block.kind == "figure"]
    assert charts_below
    assert not [block for block in charts_below if f"{len(rows)} events" in block.subtitle]
    gone = {"start": (now - timedelta(days=25)).isoformat(), "end": (now - timedelta(days=20)).isoformat()}
    page = page_of("overview", tmp_path / "tiered", **gone)
    assert page.cover.counts.shown == 0
    assert {row[-1] for row in page.lead.blocks[0].data.rows} == {"1h"}
    assert page_of("actor", tmp_path / "tiered", actor="ann", **gone).cover.counts.shown == 0
    for name in ("compliance", "operations", "actor", "incident", "access_review"):
        assert not [
            block for block in shown_of(page_of(name, tmp_path / "tiered")) if block.kind in ("error", "note")
        ]


def test_compliance_lists_what_was_removed_and_refused(tmp_path: Path) -> None:
    """Removals with their policy, refused inputs with their reason, and the trail's own records are in its tables."""
    clock = ManualClock()
    with ak.create(tmp_path / "kept", retention="30d", maintain=False, clock=clock) as trail:
        trail.extend(
            [{"action": "a", "ts": from_us(clock.us) - timedelta(days=40)}, {"action": "a"}, {"action": ""}],
            on_invalid="dead-letter",
        ).wait()
        trail.prune(now=from_us(clock.us))
        trail.set_retention("60d", confirm=True)
    page = page_of("compliance", tmp_path / "kept")
    tables = {block.table.title: block.table for block in shown_of(page) if block.kind == "table"}
    removed = tables["What was removed, of which time and by which policy"]
    assert [row[1:3] + row[-1:] for row in removed.rows] == [("1", "2026-10-15 08:00:00", "keep 30d")]
    assert len(tables["Refused inputs"].rows) == 1
    decided = tables["Changes of retention, holds, tiers, and removals, as the trail recorded them"]
    assert "1 event removed so far, 1 input refused" in page.cover.answer
    assert [row[1] for row in decided.rows] == ["retention.now", "retention.pruned", "retention.set"]
    assert page.cover.counts.pruned == page.cover.counts.dead_letters == 1


def test_compliance_shows_rules_holds_tiers_and_what_is_due(tmp_path: Path) -> None:
    """Rules with what they expire, holds with what they keep, tiers with how far they are, and the counts of each."""
    clock = ManualClock()
    now = from_us(clock.us)
    rows = [
        {"action": f"a{at % 2}", "source": "app", "ts": now - timedelta(days=at)} for at in range(30, -1, -1)
    ]
    with ak.create(
        tmp_path / "ruled", retention={"a0": "20d", "*": "10d"}, maintain=False, clock=clock
    ) as trail:
        trail.rollup("1d", by=["source"], keep="5y")
        trail.extend(rows).wait()
        trail.hold("case-42", now - timedelta(days=16), where={"action": "a1"}, reason="a <b>court</b> order")
        trail.flush()
        due = sum(rule.events for rule in trail.retention.due)
    page = page_of("compliance", tmp_path / "ruled")
    assert due > 0
    assert f"{due} events due for removal, 3 events held from it by 1 hold" in page.cover.answer
    figures = {figure.name: figure.value for figure in page.cover.figures}
    assert (figures["Due for removal"], figures["Held"], figures["Tiers"]) == (str(due), "3", "1")
    tables = tables_of(page)
    (hold,) = tables["Holds in force"].rows
    assert (*hold[:3], hold[-1]) == ("case-42", "a <b>court</b> order", 'action is "a1"', "3")
    (tier,) = tables["Tiers, which outlive the events"].rows
    assert tier[:5] == ("1d", "1d", "source", "UTC", "5y")
    decided = tables["Changes of retention, holds, tiers, and removals, as the trail recorded them"]
    assert {row[1] for row in decided.rows} >= {"hold.placed", "rollup.declared"}
    assert "a0 20d" in str(shown_of(page)[0])


def test_compliance_lists_who_has_rendered_and_reviewed_which_bytes(tmp_path: Path) -> None:
    """Reports that were recorded, and their reviews, are in its table under the digest of their file."""
    report = tmp_path / "week.html"
    report.write_text("what was read")
    digest = hashlib.sha256(report.read_bytes()).hexdigest()
    made = Rendered(
        sha256=digest, notebook="overview", notebook_sha256="0" * 64, start=None, end=None, as_of=0, status="complete"
    )  # fmt: skip
    with ak.create(tmp_path / "reviewed", maintain=False) as trail:
        record_rendered(trail, report, made)
        record_reviewed(trail, report, by="Ann <b>Bell</b>")
    page = page_of("compliance", tmp_path / "reviewed")
    tables = {block.table.title: block.table for block in shown_of(page) if block.kind == "table"}
    rows = tables["Reports rendered and reviewed, by the digest of their file"].rows
    assert [(row[1], *row[3:6]) for row in rows] == [
        ("report.rendered", "week.html", "overview", digest),
        ("report.reviewed", "week.html", None, digest),
    ]
    assert rows[1][2] == "Ann <b>Bell</b>"


@pytest.mark.parametrize("name", ["overview", "actor", "access_review", "incident"])
def test_two_renderings_show_the_same(name: str, tmp_path: Path) -> None:
    """At the same seq a report shows the same figures, though events came, moved and were removed in between."""
    clock = ManualClock("2026-10-21T18:00:00+00:00")
    with ak.create(tmp_path / "busy", retention="1d", maintain=False, clock=clock) as trail:
        with ak.open(WEEK, maintain=False) as week:
            trail.extend(week.range(limit=6000).drop("seq", "recorded")).wait()
        trail.flush()
        seq = trail.end_seq
        given = {"as_of": seq, "start": "2026-10-19", "tz": "Europe/Stockholm"}
        first = run_here(ROOT / "notebooks" / f"{name}.ipynb", trail=str(tmp_path / "busy"), **given)
        late = {
            "action": "role.grant",
            "actor": "hedda.ekman",
            "outcome": "failure",
            "ts": "2026-10-21T08:00Z",
        }
        trail.extend([late] * 50).wait()
        clock.advance(minutes=1)
        assert trail.prune().events > 0
        second = run_here(ROOT / "notebooks" / f"{name}.ipynb", trail=str(tmp_path / "busy"), **given)
    assert figures(first) == figures(second)


def figures(document: Any) -> list[Any]:
    """Return what the cells show, but for how much was still queued when the first screen was made."""
    data = json.loads(
        json.dumps([output.data for cell in document.cells for output in cell.get("outputs", [])])
    )
    for shown in data:
        shown.pop("text/html", None)
        shown.pop("text/plain", None)
        shown.get(COVER, {}).get("counts", {}).pop("queued", None)
    return data  # type: ignore[no-any-return]


def nbval(*paths: Path) -> str:
    """Run notebooks, hold their outputs against the committed ones, and return what nbval says."""
    options = ["--nbval", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", *options, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_they_run_and_show_the_same() -> None:
    """nbval runs them on the committed trail, and each output equals the committed one."""
    assert f"{sum(len(code_cells(path)) for path in NOTEBOOKS)} passed" in nbval(*NOTEBOOKS)


def test_the_tour_runs_and_shows_the_same(tmp_path: Path) -> None:
    """Run from its first cell on, it ends with a report; what depends on the moment is tagged and only has to work."""
    place = look_alike(tmp_path)
    shutil.copy(TOUR, place)
    assert f"{len(code_cells(TOUR))} passed" in nbval(place / TOUR.name)
    (report,) = place.glob("tour-*/*.html")
    assert "470 events" in report.read_text(encoding="utf-8")
    varies = [cell for cell in code_cells(TOUR) if "nbval-ignore-output" in cell["metadata"].get("tags", [])]
    assert len(varies) < len(code_cells(TOUR)) / 2
