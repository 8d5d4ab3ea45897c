"""The explorer's JavaScript alone in a page, its kernel played by the test: what is asked when, and what a late answer does."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditkit import explorer
from auditkit.api import Trail
from auditkit.text import UNSEEN
from tests.machine import skip_or_fail
from tests.reporting.browsing import ARGUMENTS, CHROMIUM

SOURCE, STYLE = (
    (Path(explorer.__file__).parent / name).read_text(encoding="utf-8")
    for name in ("explore.js", "explore.css")
)
PLAY = """async ([source, values]) => {
    const { default: { render } } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    const heard = {}, model = {
        get: (name) => values[name], send: (message) => window.sent.push(structuredClone(message)),
        on: (name, act) => { heard[name] = act; }, off: (name) => { delete heard[name]; },
    };
    window.sent = [];
    window.answer = (shown) => { values.shown = shown; heard["change:shown"](); };
    window.tell = (message) => heard["msg:custom"](message);
    window.clean = render({ model, el: document.body });
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without any server."""
    if not CHROMIUM.exists():
        skip_or_fail(f"no Chromium at {CHROMIUM}: the explorer is not opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield launched
        launched.close()


def opened(chromium: Any, values: Any) -> Any:
    """Return a page that shows an explorer of what the kernel has said; its clock is the test's."""
    page = chromium.new_page()
    page.clock.install()
    values = json.loads(json.dumps(values))
    page.shown = values["shown"]
    page.evaluate(PLAY, [SOURCE, values])
    return page


@pytest.fixture
def page(chromium: Any, trail: Trail) -> Iterator[Any]:
    """A page that shows an explorer of three events, one of which is long."""
    outcomes = ["success", "failure", None]
    trail.extend(
        [
            {
                "action": "a",
                "outcome": one,
                "resource": "invoice 17",
                "attrs": {"text": "x" * 30_000 if one is None else ""},
            }
            for one in outcomes
        ]
    ).wait()
    found = trail.explore()
    page = opened(chromium, {"meta": found.meta, "shown": found.shown})
    yield page
    page.close()


def asked(page: Any, op: str = "ask") -> list[dict[str, Any]]:
    """Return the messages of a kind that were sent."""
    return [message for message in page.evaluate("() => window.sent") if message["op"] == op]


def answer(page: Any, question: dict[str, Any], **more: Any) -> None:
    """Answer a question as the kernel does."""
    state = {name: question[name] for name in ("n", "selection", "zoom")}
    page.evaluate("shown => window.answer(shown)", {**page.shown, **state, **more})


def answered(page: Any, **more: Any) -> dict[str, Any]:
    """Answer the last question and return it."""
    question = asked(page)[-1]
    answer(page, question, **more)
    return question


def names(page: Any, facet: str) -> list[str]:
    """Return the values that a facet shows, in their order."""
    found: list[str] = page.locator(f".facet[aria-label={facet}] .name").all_text_contents()
    return found


def test_one_question_is_in_flight_and_the_last_one_waits(page: Any) -> None:
    """Of what is chosen while a question is unanswered, one more question is asked: the whole of it."""
    for outcome in ("success", "failure", "(none)"):
        page.locator(".facet[aria-label=outcome] .value", has_text=outcome).click()
    (first,) = asked(page)
    assert first["selection"]["keep"] == {"outcome": ["success"]}
    answer(page, first)
    _, second = asked(page)
    assert second["selection"]["keep"] == {"outcome": ["success", "failure", None]}
    assert page.locator(".auditkit-explorer").get_attribute("aria-busy") == "true"
    answer(page, second)
    assert len(asked(page)) == 2
    assert page.locator(".auditkit-explorer").get_attribute("aria-busy") == "false"
    assert page.locator(".chip").count() == 3


def test_a_silent_kernel_is_said_until_it_answers(page: Any) -> None:
    """After five seconds without an answer the page says so; a late answer is shown and takes that back."""
    page.locator(".value", has_text="failure").click()
    alert = page.locator("[role=alert]")
    page.clock.fast_forward(4_000)
    assert alert.is_hidden()
    page.clock.fast_forward(2_000)
    assert "The kernel has not answered yet" in alert.text_content()
    answer(page, asked(page)[0])
    assert alert.is_hidden()
    assert page.locator(".chip").text_content().startswith("outcome is failure")


def test_what_failed_is_not_selected_and_can_be_asked_again(page: Any) -> None:
    """A failure is text, whatever is in it; the selection is what it was, until it is tried again."""
    page.locator(".value", has_text="failure").click()
    page.evaluate("message => window.tell(message)", {"op": "failed", "n": 1, "text": "<img src=x>\u202e"})
    assert page.locator("[role=alert]").text_content().startswith("<img src=x><U+202E>")
    assert page.locator(".chip").count() == 0
    page.get_by_role("button", name="Try again").click()
    assert asked(page)[1]["selection"] == asked(page)[0]["selection"]


def test_the_rest_of_a_long_event_is_asked_for(page: Any) -> None:
    """An event whose text was cut says so, and shows all of it when that is wanted."""
    page.locator(".unfold").first.click()
    page.get_by_role("button", name="Show all").click()
    (question,) = asked(page, "event")
    assert question["seq"] == 2
    whole = {**page.shown["rows"][0], "attrs": json.dumps({"text": "y" * 30_000})}
    del whole["cut"]
    page.evaluate("event => window.tell({ op: 'event', n: 0, event })", whole)
    page.get_by_role("button", name="26,000 more characters").click()
    assert page.locator(".attrs .text").text_content() == "y" * 30_000


def test_a_view_says_when_it_is_drawn_when_it_rests_and_when_it_goes(page: Any) -> None:
    """What is held in the kernel follows the views; the outputs beside them follow a selection that has come to rest."""
    assert asked(page, "notice") == [{"op": "notice", "what": "drawn"}]
    page.locator(".value", has_text="failure").click()
    answer(page, asked(page)[0])
    page.clock.fast_forward(1_500)
    page.evaluate("() => window.clean()")
    assert [message["what"] for message in asked(page, "notice")] == ["drawn", "rested", "gone"]


def test_a_row_unfolds_by_a_click_and_a_new_answer_begins_at_the_top(page: Any) -> None:
    """A click on a row does what its triangle does, unless text is marked; what was answered anew begins with its newest."""
    page.add_style_tag(content=".events { max-height: 60px !important; overflow: auto; }")
    table, row = page.locator(".events"), page.locator("tr[data-seq='1']")
    row.locator("td.action").click()
    detail = page.locator("tr.detail:not([hidden])")
    assert detail.count() == 1
    assert row.locator(".unfold").get_attribute("aria-expanded") == "true"
    assert table.evaluate("one => one.scrollTop") > 0
    row.locator("td.resource").dblclick()  # marks a word: the second click unfolds nothing
    assert page.evaluate("() => getSelection().toString().trim()") in ("invoice", "17")
    detail.wait_for(state="detached")
    page.evaluate("() => getSelection().removeAllRanges()")
    row.locator("td.resource").click()
    detail.get_by_role("button", name="search").click()
    assert answered(page)["selection"]["text"] == "invoice 17"
    assert table.evaluate("one => one.scrollTop") == 0
    assert page.locator(".chip").text_content() == "text has invoice 17 in resource or attrs\u00d7"
    assert page.locator("th.value").count() == 0
    rows = [{**one, "value": 0.1 if one["seq"] == 1 else None} for one in page.shown["rows"]]
    page.get_by_role("button", name="Reset").click()
    answered(page, rows=rows)
    assert page.locator("th").all_text_contents()[5:8] == ["outcome", "value", "source"]
    assert page.locator("td.value").all_text_contents() == ["", "0.1", ""]


def test_reset_clears_what_was_looked_for_and_back_takes_that_back(page: Any) -> None:
    """Reset gives every value again; Back gives the selection that there was."""
    reset, find = page.get_by_role("button", name="Reset"), page.get_by_label("Find values of outcome")
    many = {**page.shown["facets"], "outcome": {"rows": [[f"o{at}", 9, 9] for at in range(9)], "distinct": 9}}
    page.locator(".value", has_text="failure").click()
    answered(page, facets=many)
    find.fill("o7")
    page.clock.fast_forward(300)
    found = {"op": "find", "n": 0, "facet": "outcome", "text": "o7", "rows": [["o7", 9, 9]], "distinct": 1}
    page.evaluate("message => window.tell(message)", found)
    assert names(page, "outcome") == ["o7"]
    reset.click()
    assert answered(page, facets=many)["selection"]["keep"] == {}
    assert find.input_value() == ""
    assert len(names(page, "outcome")) == 9
    assert reset.is_disabled()
    page.get_by_role("button", name="Back").click()
    assert answered(page)["selection"]["keep"] == {"outcome": ["failure"]}


def test_chosen_values_stay_in_sight(page: Any) -> None:
    """Kept values come first, then those left out, then the others by their counts."""
    rows = [["success", 90, 90], ["failure", 3, 3], [None, 2, 2], ["rejected", 1, 1]]
    facets = {**page.shown["facets"], "outcome": {"rows": rows, "distinct": 4}}
    page.get_by_role("button", name="Leave out failure").click()
    answered(page, facets=facets)
    assert names(page, "outcome") == ["failure", "success", "(none)", "rejected"]
    page.locator(".value", has_text="rejected").click()
    answered(page, facets=facets)
    assert names(page, "outcome") == ["rejected", "failure", "success", "(none)"]
    assert "keep it (several: any of them)" in page.locator(".kept .value").get_attribute("title")


def test_words_that_are_a_value_are_offered_as_one(page: Any) -> None:
    """Where a searched text is in values of facets these are offered; why nothing was found is said."""
    words = page.get_by_label("Words in resource and attrs", exact=False)
    words.fill("svc-backup")
    assert page.locator(".search .note").is_visible()
    words.press("Enter")
    answered(
        page, rows=[], total=0, alike=[["actor", "svc-backup", 1538]], hint="Words are searched as they are."
    )
    assert (
        page.locator(".events td.none").text_content() == "No event matches. Words are searched as they are."
    )
    assert page.locator(".alike").text_content() == "As a value:actor svc-backup 1,538"
    page.locator(".alike button").click()
    assert page.locator(".alike").is_hidden()
    selection = answered(page)["selection"]
    assert (selection["text"], selection["keep"]) == ("", {"actor": ["svc-backup"]})
    assert words.input_value() == ""


def test_a_zoomed_view_says_how_much_it_shows(page: Any) -> None:
    """Escape takes the selected time away, not the zoom: the legend says that its counts are not all."""
    edges = [page.shown["edges"][0] + at * 3_600_000_000 for at in range(3)]
    state = {
        "edges": edges,
        "every": "1h",
        "outcomes": ["success"],
        "bars": [[3, 0], [2, 0]],
        "total": 5,
        "all": 5,
    }
    page.locator(".value", has_text="success").click()
    answered(page, **state)
    end = page.get_by_role("slider", name="End of the selected time")
    end.focus()
    page.keyboard.press("PageDown")  # back, but not beyond the start
    page.keyboard.press("ArrowLeft")
    assert answered(page, **{**state, "total": 3})["selection"]["brush"] == edges[:2]
    page.keyboard.press("PageUp")
    assert answered(page, **state)["selection"]["brush"] == edges[::2]
    page.keyboard.press("ArrowLeft")
    answered(page, **{**state, "total": 3})
    page.keyboard.press("Enter")
    zoomed = {**state, "edges": edges[:2], "bars": [[3, 0]]}
    assert answered(page, **{**zoomed, "total": 3})["zoom"] == edges[:2]
    assert page.locator(".legend .note").text_content().endswith("; zoomed: 3 shown")
    page.keyboard.press("Escape")
    answered(page, **zoomed)
    assert page.locator(".legend .note").text_content().endswith("; zoomed: 3 of 5 shown")
    assert page.get_by_role("button", name="Zoom in").is_disabled()
    assert page.get_by_role("button", name="Zoom out").is_enabled()


@pytest.mark.parametrize("given", [{}, {"start": "2026-11-25"}, {"where": {"actor": "Ann"}}])
def test_an_empty_explorer_says_why(chromium: Any, make_trail: Callable[..., Trail], given: Any) -> None:
    """Without events there is nothing to drag over and to zoom; what there would be otherwise is said."""
    trail = make_trail("other")
    if given:
        trail.append(action="a", actor="ann", ts="2026-11-24T08:00:00Z").wait()
    found = trail.explore(**given)
    page = opened(chromium, {"meta": found.meta, "shown": found.shown})
    words = "There are no events in this window"
    if "where" in given:
        words = "No event matches what the explorer was opened with"
    why = found.shown["hint"][:1].upper() + found.shown["hint"][1:] or words
    assert page.locator(".hint").text_content() == page.locator(".events td.none").text_content() == why
    assert page.locator(".time .none").text_content() == words
    if given:
        assert ("2026-11-24 08:00" if "start" in given else "ann") in why
    for name in ("Zoom in", "Zoom out", "Reset", "Back"):
        assert page.get_by_role("button", name=name).is_disabled()
    page.close()


def test_an_hour_that_a_clock_shows_twice_is_told_apart(chromium: Any, trail: Trail) -> None:
    """Times of that hour, and of no other, have their offset: in rows, labels, chips and under the pointer."""
    trail.extend(
        [
            {"action": "a", "ts": f"2026-10-25T{time}Z"}
            for time in ("00:15:16.123457", "01:15:16.123457", "02:10:00")
        ]
    ).wait()
    found = trail.explore(tz="Europe/Stockholm")
    page = opened(chromium, {"meta": found.meta, "shown": found.shown})
    assert page.locator(".events time").all_text_contents() == [
        "2026-10-25 03:10:00",
        "2026-10-25 02:15:16+01:00",
        "2026-10-25 02:15:16+02:00",
    ]
    start, quarter = 1_792_886_400_000_000, 900_000_000  # 2026-10-25T00:00Z
    edges = [start + at * quarter for at in range(-4, 13)]
    page.locator(".facet[aria-label=action] .value").click()
    answered(page, edges=edges, every="15m", bars=[[1]] * 16, outcomes=[])
    ticks = page.locator(".time .tick").all_text_contents()
    assert ticks[0] == "25 Oct 01:00"
    assert {"02:00+2", "02:30+2", "02:00+1", "02:30+1", "03:00"} <= set(ticks)
    page.get_by_role("slider", name="Start of the selected time").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.get_by_role("slider", name="End of the selected time").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    chip = page.locator(".chip bdi").first.text_content()
    assert chip == "2026-10-25 02:15+02:00 \u2013 03:00"
    box = page.locator("svg.time").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 8.5 / 16, box["y"] + 40)
    assert page.locator(".tip b").text_content() == "2026-10-25 02:00+01:00 \u2013 02:15+01:00"
    page.close()


def test_names_have_room_where_a_facet_is_narrow(page: Any) -> None:
    """Of how many a count is stands beside it only where the name keeps its room; its title has it anyway."""
    page.add_style_tag(content=STYLE)
    facets = {**page.shown["facets"], "outcome": {"rows": [["a" * 40, 5014, 5091]], "distinct": 1}}
    page.locator(".value", has_text="success").click()
    answered(page, facets=facets)
    before, root = page.locator(".before"), page.locator(".auditkit-explorer")
    page.get_by_label("Words in resource and attrs", exact=False).fill("invoice")
    for width, columns, seen in (
        (1000, 5, False),
        (920, 3, True),
        (620, 3, False),
        (420, 2, False),
        (380, 1, True),
    ):
        page.set_viewport_size({"width": width, "height": 900})
        lefts = {one.bounding_box()["x"] for one in page.locator(".facet").all()}
        assert len(lefts) == columns
        assert before.is_visible() == seen
        assert page.locator(".facet").first.bounding_box()["width"] >= 175
        tall = page.locator(".facet ul").first.evaluate("one => getComputedStyle(one).maxHeight")
        assert root.evaluate("one => one.scrollWidth <= one.clientWidth")
        assert tall == {5: "206px", 1: "118px"}.get(columns, "158px")
    assert "of the 5,091" in page.locator(".facet[aria-label=outcome] .value").get_attribute("title")


def test_unseen_characters_are_those_of_the_package() -> None:
    """The page makes the same characters visible as every other output."""
    (pattern,) = re.findall(r"const UNSEEN = /(.*)/gu;", SOURCE)
    theirs = re.compile(re.sub(r"\\u\{(\w+)\}", lambda found: f"\\U{found[1].rjust(8, '0')}", pattern))
    every = [chr(code) for code in range(0x110000)]
    assert [one for one in every if theirs.match(one)] == [one for one in every if UNSEEN.match(one)]
