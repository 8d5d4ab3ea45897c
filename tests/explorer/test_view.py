"""The explorer's JavaScript alone in a page, its kernel played by the test: what is asked when, and what a late answer does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditkit import explorer
from auditkit.api import Trail
from auditkit.text import UNSEEN
from tests.machine import skip_or_fail
from tests.reporting.browsing import ARGUMENTS, CHROMIUM

SOURCE = (Path(explorer.__file__).parent / "explore.js").read_text(encoding="utf-8")
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


@pytest.fixture
def page(chromium: Any, trail: Trail) -> Iterator[Any]:
    """A page that shows an explorer of three events, one of which is long; its clock is the test's."""
    outcomes = ["success", "failure", None]
    trail.extend(
        [
            {"action": "a", "outcome": one, "attrs": {"text": "x" * 30_000 if one is None else ""}}
            for one in outcomes
        ]
    ).wait()
    found = trail.explore()
    opened = chromium.new_page()
    opened.clock.install()
    values = json.loads(json.dumps({"meta": found.meta, "shown": found.shown}))
    opened.shown = values["shown"]
    opened.evaluate(PLAY, [SOURCE, values])
    yield opened
    opened.close()


def asked(page: Any, op: str = "ask") -> list[dict[str, Any]]:
    """Return the messages of a kind that were sent."""
    return [message for message in page.evaluate("() => window.sent") if message["op"] == op]


def answer(page: Any, question: dict[str, Any]) -> None:
    """Answer a question as the kernel does."""
    state = {name: question[name] for name in ("n", "selection", "zoom")}
    page.evaluate("shown => window.answer(shown)", {**page.shown, **state})


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


def test_unseen_characters_are_those_of_the_package() -> None:
    """The page makes the same characters visible as every other output."""
    (pattern,) = re.findall(r"const UNSEEN = /(.*)/gu;", SOURCE)
    theirs = re.compile(re.sub(r"\\u\{(\w+)\}", lambda found: f"\\U{found[1].rjust(8, '0')}", pattern))
    every = [chr(code) for code in range(0x110000)]
    assert [one for one in every if theirs.match(one)] == [one for one in every if UNSEEN.match(one)]
