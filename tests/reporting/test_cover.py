"""The first screen: every event of the window counted once, one window for all cells, nothing later slips in."""

import dataclasses
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from msgspec.structs import replace

from auditkit import Trail
from auditkit.errors import InvalidQueryError
from auditkit.reporting import Cover, cover
from auditkit.reporting.cover import (
    MIME,
    CoverModel,
    checks,
    compact_rows,
    integrity_rows,
    moment_words,
    outcome_rows,
    plain_text,
    population_rows,
    read_cover,
    read_prepared,
    scope_rows,
    source_rows,
    taken_along,
)
from tests.fakes import ManualClock
from tests.reporting.material import PAYLOADS, elements

START = datetime(2026, 11, 16, tzinfo=UTC)


@pytest.fixture
def busy(make_trail: Callable[..., Trail]) -> Trail:
    """A trail with expired, own, flushed, queued and refused events; the seqs are 0 to 9."""
    trail = make_trail(retention="7d")
    trail.append(action="old", ts=START - timedelta(days=9)).wait()
    for hour, (actor, outcome) in enumerate(
        [("ann", "success"), ("bo", "failure"), ("ann", None), (None, "failure")]
    ):
        ts = START + timedelta(hours=hour)
        trail.append(action="doc.read", ts=ts, actor=actor, outcome=outcome, source="app").wait()
    trail.set_retention("8d", confirm=True)
    trail.flush()
    trail.extend(
        [{"action": "doc.read", "actor": "ann", "ts": START}, {"action": ""}], on_invalid="dead-letter"
    ).wait()
    for hour in (35, 36, 37):  # the horizon is trusted to move on by events 36 hours apart
        trail.append(action="doc.write", ts=START + timedelta(hours=hour), actor="bo").wait()
    return trail


def counted(page: Cover) -> dict[str, int]:
    """Return the parts of the population that must add up, and what lies beside them."""
    counts = page.model.counts
    names = ("accepted", "shown", "filtered", "expired", "own", "pruned", "queued", "dead_letters")
    return {name: getattr(counts, name) for name in names}


def test_the_population_adds_up(busy: Trail) -> None:
    """Shown and every exclusion equal an independent count of what the trail holds."""
    page = cover(busy, where={"actor": "ann"}, title="T")
    assert counted(page) == {
        "accepted": 10, "shown": 3, "filtered": 5, "expired": 1, "own": 1, "pruned": 0, "queued": 1,
        "dead_letters": 1,
    }  # fmt: skip
    assert page.trail.range(**page.scope).height == 3
    assert (page.model.counts.first_seq, page.model.counts.last_seq) == (1, 6)


def test_every_count_is_on_the_screen(busy: Trail) -> None:
    """The words of the first screen hold each number with its reason."""
    rows = {
        row.name: row.count for row in population_rows(cover(busy, where={"actor": "ann"}, title="T").model)
    }
    assert rows == {
        "Accepted into this window": "10",
        "Removed": "0",
        "Expired": "\u22121",
        "Not matching the filter": "\u22125",
        "The trail's own": "\u22121",
        "Shown in this report": "3",
        "of these still queued": "1",
        "Never became events": "1",
    }


def test_what_is_held_is_said(busy: Trail) -> None:
    """What a hold keeps is shown, and the population says how many events that are."""
    busy.hold("case", reason="a lawsuit")
    model = cover(busy, title="T").model
    assert {row.name: row.count for row in population_rows(model)}["of these held"] == "1"
    assert " shown (1 of them kept by a legal hold)" in dict(compact_rows(model))["Population"]


def test_what_was_found_comes_first(busy: Trail) -> None:
    """The key figures are counts of the events shown, with what is to be known of each; a notebook may give its own."""
    model = cover(busy, START, "+2d", where={"actor": ["ann", "bo"]}, title="T").model
    assert [(figure.name, figure.value, figure.note) for figure in model.figures] == [
        ("Events", "7", "of 8 accepted"),
        ("Actors", "2", "most: bo, 4"),
        ("Failures", "1", "14.3 %"),
        ("Span", "1.5 days", "16 Nov 2026 to 17 Nov 2026"),
    ]
    given = cover(busy, title="T", figures={"Removed": "none"}).model.figures
    assert [(figure.name, figure.value, figure.note) for figure in given] == [("Removed", "none", "")]
    assert "Events 7 (of 8 accepted) \u00b7 Actors 2" in plain_text(model)


def test_scope_and_population_fit_a_few_lines(busy: Trail) -> None:
    """Window, filter, every exclusion that is not zero, what counts as a failure, and the seq are said in a line each."""
    rows = dict(compact_rows(cover(busy, START, where={"actor": "ann"}, title="T").model))
    assert rows["Window"] == "from Mon 16 Nov 2026 00:00:00 UTC to the latest event, time zone UTC"
    assert rows["Filter"] == 'actor is "ann"'
    assert rows["Population"].startswith(
        "9 events accepted into this window, 3 shown; left out: 5 not matching"
    )
    assert rows["Counted as failures"] == "none"
    assert "Filter" not in dict(compact_rows(cover(busy, title="T").model))


def test_a_report_takes_along_20000_events(make_trail: Callable[..., Trail]) -> None:
    """Up to so many are in its file, of more each table has the first 2,000, and the first screen says which it is."""
    trail = make_trail()
    trail.extend(pl.DataFrame({"action": ["a"] * 20_001, "ts": [START] * 20_001})).wait()
    many = cover(trail, title="T")
    assert many.packed is None
    assert "20,001 events are more than a report takes along" in taken_along(many.model)
    table = many.events("All")
    assert (len(table.rows), table.total, table.events) == (2_000, 20_001, "")
    fewer = cover(trail, title="T", as_of=20_000)
    assert fewer.packed is not None
    assert taken_along(fewer.model).startswith("every event shown")
    table = fewer.events("All", without=["actor"], descending=True)
    assert (len(table.rows), table.total, table.events) == (500, 20_000, "descending")
    assert [column.name for column in table.columns][:3] == ["ts (UTC)", "action", "resource"]


def test_later_events_stay_out(busy: Trail) -> None:
    """A cell that asks after somebody appended sees what the first screen counted."""
    page = cover(busy, title="T")
    busy.append(action="late", ts=START).wait()
    assert page.trail.range(**page.scope).height == page.model.counts.shown
    assert page.model.as_of == 10


def test_as_of_goes_back(busy: Trail) -> None:
    """With `as_of` the report is about the trail as it was."""
    page = cover(busy, as_of=2, title="T")
    assert page.model.as_of == 2
    assert page.trail.end_seq == 2
    assert page.model.counts.accepted == 2


def test_a_relative_window_is_resolved_once(busy: Trail) -> None:
    """A duration becomes an instant, in the trail's zone, that every cell shares."""
    page = cover(busy, "-8d", "+1d", title="T")
    assert page.start == datetime(2026, 11, 16, 8, tzinfo=UTC)
    assert page.end == datetime(2026, 11, 17, 8, tzinfo=UTC)
    assert page.model.start == "2026-11-16T08:00:00+00:00"
    assert page.window == {"start": page.start, "end": page.end}


def test_the_window_before_is_as_long(make_trail: Callable[..., Trail]) -> None:
    """It ends where the window starts and has its length in time, not on the clock; without a bound it is empty."""
    trail = make_trail(tz="Europe/Stockholm")
    page = cover(trail, "2026-10-25T01:30", "2026-10-25T03:30", title="T")  # three hours: clocks go back
    assert page.previous == {
        "start": datetime(2026, 10, 24, 20, 30, tzinfo=UTC),
        "end": datetime(2026, 10, 24, 23, 30, tzinfo=UTC),
    }
    assert trail.range(**cover(trail, title="T").previous).is_empty()


def test_further_conditions_hold_beside_the_filter(busy: Trail) -> None:
    """A narrowed scope never shows what the filter hides, also where both are about the same column."""
    page = cover(busy, where={"outcome": "failure", "actor": ["bo", None]}, title="T")
    assert busy.range(**page.only({"actor": "bo"})).height == 1
    assert busy.range(**page.only({"outcome": "success"})).is_empty()
    assert busy.range(**cover(busy, title="T").only({"actor": "ann"})).height == 3
    expression = cover(busy, where=pl.col("actor") == "ann", title="T")
    assert busy.range(**expression.only({"outcome": None})).height == 2


def test_colours_are_of_outcomes_where_these_are_stated(trail: Trail) -> None:
    """Events of which most state no outcome, as those of a recorded run, are coloured by their action."""
    trail.extend([{"action": "a"}, {"action": "b"}]).wait()
    assert cover(trail, title="T").split == "action"
    trail.extend([{"action": "a", "outcome": "success"}] * 2).wait()
    assert cover(trail, title="T").split == "outcome"


def test_an_empty_trail_has_a_first_screen(trail: Trail) -> None:
    """Without an event the answer says so, and nothing is divided by zero."""
    page = cover(trail, title="T")
    assert page.model.answer == "No events in this window."
    assert page.model.as_of == 0
    assert "an empty trail" in repr(page)
    assert page.trail.group_by("actor", **page.scope).is_empty()


def test_the_answer_counts_what_is_left_out(busy: Trail) -> None:
    """Where nothing is shown the answer says how much is left out, and what was near the filter."""
    assert cover(busy, where={"actor": "nobody"}, title="T").model.answer == (
        "No events to show: 10 in this window are left out. "
        'Actor is "nobody" in no event here; there are "bo" (4), "ann" (3).'
    )


def test_the_answer_is_made_from_the_events(busy: Trail) -> None:
    """The sentence counts events, actors, sources and failures, and names the most frequent failure."""
    answer = cover(busy, title="T").model.answer
    assert answer == (
        "8 events by 2 actors from 2 sources; 2 (25.0 %) failed, most often doc.read (2 times)."
    )


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (None, "their outcome is not stated."),
        ("success", "none is recorded as a failure."),
        ("SUCCESS", "none is recorded as a failure."),
        ("CHALLENGE", "1 (100.0 %) ended in CHALLENGE."),
        ("AccessDenied", "1 (100.0 %) failed: a."),
    ],
)
def test_the_answer_without_failures(trail: Trail, outcome: str | None, words: str) -> None:
    """No failure and no stated outcome are different answers."""
    trail.append(action="a", outcome=outcome).wait()
    assert cover(trail, title="T").model.answer.endswith(words)


@pytest.fixture
def mixed(make_trail: Callable[..., Trail]) -> Trail:
    """A trail of several producers, each with its own words for how an event ended."""
    trail = make_trail()
    outcomes = ["success", "AccessDenied", "AccessDenied", "FAILURE", "DENY", "403", "CHALLENGE", None]
    trail.extend([{"action": "call", "actor": "ann", "outcome": outcome} for outcome in outcomes]).wait()
    return trail


def test_failures_are_counted_in_every_vocabulary(mixed: Trail) -> None:
    """The answer counts them, the first screen lists which outcomes were counted and which were not, cells ask by them."""
    page = cover(mixed, title="T")
    assert page.model.answer == (
        "8 events by ann from 1 source; 5 (62.5 %) failed, most often call (5 times)."
    )
    rows = dict(outcome_rows(page.model))
    assert rows["Counted as failures"] == "AccessDenied 2, 403 1, DENY 1, FAILURE 1"
    assert rows["Not counted as failures"] == "CHALLENGE 1, success 1, (none) 1"
    assert "HTTP codes from 400 on" in rows["Counted by"]
    assert page.trail.range(**page.failed).height == 5


def test_what_counts_as_a_failure_can_be_given(mixed: Trail) -> None:
    """Patterns in any case take the place of the rule, and the first screen names them; none is none."""
    page = cover(mixed, title="T", failures=["challenge", "access*"])
    assert page.model.outcomes.failures == (("AccessDenied", 2), ("CHALLENGE", 1))
    assert dict(outcome_rows(page.model))["Counted by"] == "given for this report: challenge, access*"
    nothing = cover(mixed, title="T", failures=[])
    assert (nothing.failures, nothing.model.outcomes.failed) == ((), 0)
    assert nothing.trail.range(**nothing.failed).is_empty()
    with pytest.raises(InvalidQueryError, match="failures: is not a list of texts"):
        cover(mixed, title="T", failures=[403])  # type: ignore[list-item]  # as a parameter of a notebook may be


def test_many_outcomes_are_not_all_listed(make_trail: Callable[..., Trail]) -> None:
    """A producer that writes a message into each outcome does not fill the first screen."""
    trail = make_trail()
    trail.extend([{"action": "a", "outcome": f"error {n:03}"} for n in range(300)]).wait()
    page = cover(trail, title="T")
    assert page.model.outcomes.failed == 300
    assert dict(outcome_rows(page.model))["Counted as failures"].endswith("error 011 1, and 288 others")


@pytest.mark.parametrize(
    ("actors", "words"),
    [
        (["bo", "bo"], "2 events by bo from 1 source; 2 (100.0 %) failed, most often a (2 times)."),
        (["bo", "bo", None], "most often a (3 times, mostly by bo)."),
        (["bo", "bo", "ann"], "most often a (3 times, mostly by bo)."),
        (["bo", "ann"], "most often a (2 times)."),
        ([None], "1 (100.0 %) failed: a."),
        (["bo"], "1 event by bo from 1 source; 1 (100.0 %) failed: a."),
    ],
)
def test_who_failed_is_named_only_where_one_stands_out(
    trail: Trail, actors: list[str | None], words: str
) -> None:
    """A failure spread over many actors is not put down to one of them."""
    for actor in actors:
        trail.append(action="a", actor=actor, outcome="failure").wait()
    assert cover(trail, title="T").model.answer.endswith(words)


def test_the_same_question_gives_the_same_facts(busy: Trail, clock: ManualClock) -> None:
    """Facts depend on trail, question and seq; who asks and when is kept apart from them."""
    first = cover(busy, START, where={"actor": "ann"}, title="T")
    clock.advance(days=1)
    again = cover(busy, START, where={"actor": "ann"}, title="T")
    assert first.model == again.model
    data, metadata = first._repr_mimebundle_()
    assert first.prepared.host not in json.dumps(data)
    assert read_prepared(metadata[MIME]) == first.prepared


def test_facts_survive_the_notebook(busy: Trail) -> None:
    """What is read back from JSON is what was written; what has other types is refused."""
    model = cover(busy, where={"actor": ["ann", None]}, title="T").model
    data = json.loads(
        json.dumps(cover(busy, where={"actor": ["ann", None]}, title="T")._repr_mimebundle_()[0][MIME])
    )
    assert read_cover(data) == model
    for broken in ({**data, "version": 9}, {**data, "as_of": "10"}, {"title": "T"}, "T", None):
        assert read_cover(broken) is None


def test_a_filter_that_is_an_expression_cannot_be_repeated(busy: Trail) -> None:
    """An expression is described in words, and the report says that no command repeats it."""
    model = cover(busy, where=pl.col("actor") == "ann", title="T").model
    assert model.where is None
    assert not model.repeatable
    assert model.filter.startswith("the expression")


def hostile_model(model: CoverModel) -> CoverModel:
    """Return model in which every text is hostile."""
    text = "'; $(touch x) `id` \n\x1b]0;<script>\u202e"
    return replace(model, trail=text, start=text, end=text, zone=text, where={text: text})


def words_of(command: str) -> list[str]:
    """Return what a POSIX shell makes of a line up to its first pipe."""
    return shlex.split(command.removesuffix(" | wc -l"))


def test_the_lines_to_copy_are_quoted(busy: Trail) -> None:
    """Whatever trail, notebook, filter and parameters are called, a shell reads them back as single words."""
    model = replace(cover(busy, START, title="T").model, where={"attrs.a b": ["it's", None, "\u202e"]})
    count, again = checks(model, path="/srv/it's here", notebook="my report.ipynb", parameters={"n": 1})
    asked = [
        "--trail", "/srv/it's here", "--start", "2026-11-16T00:00:00+00:00",
        "--tz", "UTC", "--where", 'attrs.a b=["it\'s", null, "\\u202e"]', "--at", "10",
    ]  # fmt: skip
    assert words_of(count.command) == ["auditkit", "range", *asked, "--columns", "seq", "--json"]
    assert words_of(again.command) == ["auditkit", "report", "my report.ipynb", *asked, "--param", "n=1"]
    assert "\n" not in count.command + again.command


def test_the_first_line_to_copy_counts_the_events_shown(busy: Trail) -> None:
    """Run as it stands, it prints the number of the first screen."""
    page = cover(busy, START, where={"actor": "ann"}, title="T")
    count, _ = checks(page.model, path=str(busy.path), notebook="overview", parameters={})
    line = count.command.replace("auditkit", f"{sys.executable} -m auditkit", 1)
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)  # noqa: S602 -- the point
    assert int(done.stdout) == page.model.counts.shown == 3
    assert count.gives.startswith("3,")


def test_hostile_model_cannot_act_on_a_terminal(busy: Trail) -> None:
    """Neither the lines to copy nor the plain form holds a control or direction character."""
    model = hostile_model(cover(busy, title="T").model)
    lines = checks(model, path=model.trail, notebook=model.trail, parameters={model.trail: model.trail})
    commands = "".join(line.command for line in lines)
    assert not {"\x1b", "\u202e", "\n"} & {*commands}
    assert not {"\x1b", "\u202e"} & {*repr(dataclasses.replace(cover(busy, title="T"), model=model))}


def test_silent_sources_are_named(busy: Trail) -> None:
    """A source known from before the window is named with its last moment, unless only the filter hides it."""
    page = cover(busy, START + timedelta(hours=5), title="T")
    assert [(row.name, row.events, row.silent) for row in source_rows(page.model)] == [
        ("(none)", "3", False),
        ("app", "silent", True),
    ]
    assert "before the window: Mon 16 Nov 2026 03:00:00 UTC" in [row.last for row in source_rows(page.model)]
    assert "No event came from app, known from before the window." in page.model.summary
    filtered = cover(busy, START, where={"source": None}, title="T")
    assert [row.name for row in source_rows(filtered.model)] == ["(none)"]


def test_gaps_are_stated(busy: Trail) -> None:
    """The sequence is said to be whole where everything adds up, and otherwise how much is missing."""
    model = cover(busy, title="T").model
    assert dict(integrity_rows(model))["Sequence"].startswith("0 to 9, without a gap")
    broken = replace(model, counts=replace(model.counts, missing=3))
    assert "of which 3 are neither stored nor recorded as removed" in dict(integrity_rows(broken))["Sequence"]
    unknown = replace(model, counts=replace(model.counts, missing=None))
    assert dict(integrity_rows(unknown))["Sequence"].startswith("gaps not known")


def test_an_upper_bound_says_so(busy: Trail) -> None:
    """Where a removal is known by its bounds only, the counts that rest on it are said to be at most."""
    model = cover(busy, title="T").model
    rows = population_rows(replace(model, counts=replace(model.counts, pruned=4, exact=False)))
    assert {row.name: row.count for row in rows if "at most" in row.count} == {
        "Accepted into this window": "at most 10",
        "Removed": "at most \u22124",
        "Expired": "at most \u22121",
    }


def test_scope_names_the_window(busy: Trail) -> None:
    """Both bounds are given in the zone, and a bound left out in words."""
    rows = dict(scope_rows(cover(busy, START, title="T").model))
    assert rows["From"] == "Mon 16 Nov 2026 00:00:00 UTC"
    assert rows["Up to"] == "and including the latest event"
    ended = dict(scope_rows(cover(busy, START, "+1d", title="T").model))
    assert ended["Up to, not including"] == "Tue 17 Nov 2026 00:00:00 UTC"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_card_in_jupyterlab_is_text(busy: Trail, payload: str) -> None:
    """A hostile title, answer or filter is escaped in what JupyterLab shows."""
    html = cover(busy, where={"actor": payload}, title=payload, answer=payload)._repr_mimebundle_()[0][
        "text/html"
    ]
    assert {name for name, _ in elements(html)} <= {"div", "table", "tr", "td", "ul", "li"}


def test_moments_in_words() -> None:
    """A moment names its offset, and what is no moment is shown as it is."""
    assert moment_words("2026-10-25T00:30:00+00:00", "Europe/Stockholm") == "Sun 25 Oct 2026 02:30:00 +02:00"
    assert moment_words("2026-10-25T00:30:00+00:00", "UTC") == "Sun 25 Oct 2026 00:30:00 UTC"
    assert moment_words("<b>", "UTC") == "<b>"
    assert moment_words("2026-10-25T00:30:00+00:00", "No/Where") == "2026-10-25T00:30:00+00:00"
