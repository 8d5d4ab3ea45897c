"""The report's file: its policy, its states, and what each output of a notebook becomes."""

import base64
import hashlib
import re
from html import unescape
from typing import Any

import nbformat
import polars as pl
import pytest
from nbconvert.exporters import get_exporter

from auditkit import Trail, charts
from auditkit.charts.figure import LEVELS, PALETTE, REST, VERMILLION
from auditkit.reporting import cover, table
from auditkit.reporting.exporter import AuditReportExporter, template_file, vega_bundle
from auditkit.reporting.outputs import breakable
from tests.reporting.material import (
    PAYLOADS,
    Rendered,
    code,
    display,
    elements,
    exported,
    notebook,
    prose,
    raised,
    scripts_of,
    shown,
    text_of,
)

OURS = "".join(map(template_file, ("tables.js", "events.js", "charts.js", "page.js")))
INERT = {
    "a", "article", "b", "body", "br", "button", "code", "dd", "del", "details", "div", "dl", "dt", "em", "figcaption", "figure",
    "footer", "g", "h1", "h2", "h3", "head", "header", "html", "img", "li", "line", "main", "meta", "nav", "ol", "p", "path",
    "pre", "s", "script", "section", "small", "span", "strong", "style", "summary", "svg", "table", "tbody", "td", "text", "th",
    "thead", "title", "tr", "ul", "wbr",
}  # fmt: skip


def assert_inert(html: str) -> None:
    """Check that a page, parsed as HTML, holds no script but ours and nothing that loads or navigates by itself."""
    for name, attributes in elements(html):
        assert name in INERT, name
        assert not {key for key in attributes if key.startswith("on")} | (
            {"style", "srcdoc"} & attributes.keys()
        )
        assert attributes.get("src", "data:").startswith("data:")
        assert re.match(r"(#|https?:|mailto:|$)", attributes.get("href", ""))
        if name == "meta":
            assert attributes.get("http-equiv", "Content-Security-Policy") == "Content-Security-Policy"
    assert sum(name == "style" for name, _ in elements(html)) == 1
    run, _ = scripts_of(html)
    assert set(run) <= {OURS, vega_bundle()}


def test_nbconvert_knows_the_exporter() -> None:
    """`jupyter nbconvert --to auditreport` and JupyterLab's menu find it by its entry point."""
    assert get_exporter("auditreport") is AuditReportExporter  # type: ignore[no-untyped-call]
    assert AuditReportExporter.export_from_notebook == "Audit report"


def test_a_widget_without_words_is_left_out() -> None:
    """What only a kernel can show is not in a report, neither as text nor as a note; one with words has these."""
    live = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "1f", "version_major": 2, "version_minor": 0}
    }
    outputs = [
        {"output_type": "display_data", "data": data, "metadata": {}}
        for data in (live, {**live, "text/plain": "100%|#####|"})
    ]
    html = exported(notebook(code("trail.explore()", *outputs)))
    assert "widget-view" not in html
    assert "left out" not in html
    assert "100%|#####|" in text_of(html)


def digest(text: str) -> str:
    """Return how a policy names a script or a style sheet."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize(("chart", "static"), [(True, False), (False, False), (True, True)])
def test_the_policy_allows_what_is_in_the_file_and_nothing_else(chart: bool, static: bool) -> None:
    """The file forbids everything but its own style sheet and scripts, by their digests, and pictures inside it."""
    output = shown(
        charts.top(pl.DataFrame({"actor": ["ann"], "count": [1]}), "actor")
        if chart
        else table(pl.DataFrame({"actor": ["ann"]}), "Actors")
    )
    html = exported(notebook(code("1", output)), static=static)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    run, data = scripts_of(html)
    assert run == [] if static else run == [vega_bundle(), OURS] if chart else run == [OURS]
    assert len(data) == (chart and not static)
    allowed = "" if static else f"script-src {' '.join(map(digest, run))}; "
    policy = next(a["content"] for _, a in elements(html) if a.get("http-equiv"))
    assert policy == (
        f"default-src 'none'; {allowed}style-src {digest(style[1])}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_dark_mode_knows_every_colour_that_needs_it() -> None:
    """Each shade of the heat map, and each colour too dark for a dark page, has a counterpart in the style sheet."""
    style = template_file("style.css")
    for colour in (*LEVELS, PALETTE[0], PALETTE[5], REST, VERMILLION):
        assert f'[fill="{colour}"] {{ fill: light-dark({colour}, #' in style


def test_the_committed_overview(firm_week: Rendered) -> None:
    """The report of the simulated week is inert and holds a picture of each chart, without scripts also a narrow one."""
    static = exported(nbformat.read(firm_week.path, as_version=4), static=True)  # type: ignore[no-untyped-call]
    for html, pictures in ((firm_week.html, 5), (static, 2 * 5)):
        assert_inert(html)
        drawings = [attributes for name, attributes in elements(html) if name == "svg"]
        assert len(drawings) == pictures
        assert all(attributes["aria-label"] for attributes in drawings)
        identifiers = [attributes["id"] for _, attributes in elements(html) if "id" in attributes]
        assert len(identifiers) == len(set(identifiers))
    assert len(firm_week.html) < 2_000_000


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_anywhere(trail: Trail, payload: str) -> None:
    """A payload as title, answer, filter, column, cell, category, printed text and error stays text."""
    frame = pl.DataFrame({payload: [payload, None], "count": [2, 1]})
    page = notebook(
        code(
            payload,
            shown(cover(trail, where={"actor": payload}, title=payload, answer=payload)),
            shown(table(frame, payload)),
            shown(charts.top(frame, payload, title=payload)),
            {"output_type": "stream", "name": "stdout", "text": payload},
            display({"text/plain": payload}),
            display({"text/latex": payload}),
            display({"text/markdown": payload}),
            display({"text/html": payload, "text/plain": payload}),
            display({payload: payload}),
            tags=[payload],
        ),
        prose(payload),
        code(payload, raised(payload, payload), number=2),
        papermill={"parameters": {payload: payload}, "input_path": payload, "start_time": payload},
        language_info={"name": payload, "version": payload},
    )
    html = exported(page, name=payload)
    assert_inert(html)
    first_line = (
        payload.replace("\u202e", "<U+202E>").replace("\x1b", "<U+001B>").replace("\u200b", "<U+200B>")
    )
    first_line = first_line.replace("\ufeff", "<U+FEFF>").replace("\n", "\\n")
    assert text_of(html).count(first_line) >= 8
    assert not {"\x1b", "\u202e", "\u200b", "\ufeff"} & set(html.replace(vega_bundle(), ""))


def test_a_failed_cell_is_marked() -> None:
    """The page says FAILED in title and head, leads to the cell, shows its traceback, and what was not run."""
    html = exported(
        notebook(
            code("print(1)", {"output_type": "stream", "name": "stdout", "text": "1"}),
            code("1 / 0", raised("ZeroDivisionError", "division by zero"), number=2),
            code("never()", number=None),
        )
    )
    assert "<title>FAILED" in html
    assert re.search(
        r'role="alert".*?FAILED\..*?<a href="#failure">cell 2</a>\s+raised ZeroDivisionError', html, re.DOTALL
    )
    assert re.search(
        r'<section class="step failed" id="failure">.*?division by zero.*?<details class="code" open>',
        html,
        re.DOTALL,
    )
    assert "not run" in text_of(html)


def test_an_expected_exception_is_no_failure() -> None:
    """A cell tagged `raises-exception` shows its exception, and the report is complete."""
    html = exported(notebook(code("1 / 0", raised("ZeroDivisionError", "x"), tags=["raises-exception"])))
    assert "FAILED" not in html
    assert "ZeroDivisionError" in html


def test_cells_that_were_not_run_are_named() -> None:
    """A notebook that was not run to its end is UNFINISHED; empty cells do not count."""
    assert "UNFINISHED" in exported(notebook(code("1", number=None)))
    assert "UNFINISHED" not in exported(notebook(code("1"), code("  ", number=None)))


def test_a_report_without_first_screen_says_so() -> None:
    """A notebook that states no scope gets its first heading as title, and a note that nothing is known."""
    html = exported(notebook(prose("# Mine\n\ntext"), code("1")), name="file")
    assert "<h1>Mine</h1>" in html
    assert html.count("Mine") == 2  # title and heading; the prose does not repeat it
    assert "This notebook states no scope" in html
    assert "<h1>file</h1>" in exported(notebook(code("1")), name="file")


def test_a_first_screen_that_does_not_read_is_not_believed(trail: Trail) -> None:
    """Facts of another shape are left alone, and the output's plainer form is shown."""
    output = shown(cover(trail, title="Title"))
    output["data"]["application/vnd.auditkit.cover+json"]["as_of"] = "<script>"
    html = exported(notebook(code("page", output)))
    assert "This notebook states no scope" in html
    assert "Title" in html
    assert_inert(html)


def test_the_report_never_vouches_for_itself(firm_week: Rendered) -> None:
    """The words say who states it and what is not proved, and no word calls it verified."""
    text = text_of(firm_week.html).lower()
    assert "stated by the producer, not checked by you" in text
    assert "not proved" in text
    assert not {"verified", "passed", "tamper-proof", "guaranteed"} & set(re.findall(r"[\w-]+", text))


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"image/png": PIXEL}, f'<img src="data:image/png;base64,{PIXEL}"'),
        ({"image/png": "'><script>"}, "cannot be read"),
        ({"image/png": "gpj\u202eexe"}, "cannot be read"),
        ({"image/svg+xml": "<svg onload='alert(1)'/>"}, '<img src="data:image/svg+xml;base64,'),
        ({"application/javascript": "alert(1)"}, "no form that a report shows (application/javascript)"),
        ({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Slider()"}, "Slider()"),
        (
            {"application/vnd.vegalite.v5+json": {"data": {"url": "https://x.example"}}},
            "refers to data outside",
        ),
        ({"text/html": "<script>alert(1)</script>", "text/plain": "plain"}, "plain"),
        ({"text/html": "<table><tr><td onclick=x>cell</td></tr></table>"}, "<td>cell</td>"),
    ],
)
def test_other_outputs(data: dict[str, Any], expected: str) -> None:
    """Pictures are inside the file, what has no safe form is named, and HTML is cleaned."""
    html = exported(notebook(code("x", display(data))))
    assert expected in html
    assert_inert(html)


def test_a_chart_of_stock_altair_is_drawn() -> None:
    """A Vega-Lite output of another version and without our words is drawn as it is."""
    spec = {
        "data": {"values": [{"a": "x", "b": 1}]},
        "mark": "bar",
        "encoding": {"x": {"field": "a"}, "y": {"field": "b", "type": "quantitative"}},
        "title": "Stock",
    }
    html = exported(notebook(code("chart", display({"application/vnd.vegalite.v6+json": spec}))))
    assert sum(name == "svg" for name, _ in elements(html)) == 1
    assert "Stock" in html


def test_the_timeline_stands_under_the_answer(trail: Trail) -> None:
    """What the cell tagged `timeline` shows comes before the scope and not again below; a failed one stays below."""
    chart = charts.top(pl.DataFrame({"actor": ["ann"], "count": [1]}), "actor", title="The chart")
    cells = [code("cover", shown(cover(trail, title="T", answer="The answer"))), prose("## Below")]
    html = exported(notebook(*cells, code("chart", shown(chart), tags=["timeline"])))
    places = [
        html.index(text)
        for text in ("The answer", 'class="figures"', "The chart", 'id="scope"', "Below</h2>")
    ]
    assert places == sorted(places)
    assert html.count('<figure class="chart"') == 1
    failed = exported(notebook(*cells, code("chart", raised("E", "m"), tags=["timeline"])))
    assert failed.index('id="scope"') < failed.index('id="failure"')


@pytest.mark.parametrize(
    "text", ["arn:aws:iam::12:user/ann-bell", "x" * 100, "two words", "<b>/<i>/<u>/<s>/<a>/<p>", "/" * 50]
)
def test_text_breaks_behind_signs_and_in_no_word(text: str) -> None:
    """What is long may be broken behind signs, what is too long for a word every 32 characters, and nothing is added."""
    made = breakable(text)
    assert unescape(made.replace("<wbr>", "")) == text
    parts = [unescape(part) for part in made.split("<wbr>")]
    assert all(len(part) <= 32 or not part.isalnum() for part in parts)
    assert all(part[-1] in "/:" or len(part) == 32 for part in parts[:-1])


def test_code_that_shows_nothing_joins_the_next_output() -> None:
    """Imports are folded with the first output that follows, also across prose."""
    html = exported(
        notebook(
            code("import a"),
            prose("## Part"),
            code("b", display({"text/plain": "B"}), number=2),
            code("c", number=3),
        )
    )
    folds = re.findall(r"<details class=\"code\".*?</details>", html, re.DOTALL)
    assert [fold.count('class="cell"') for fold in folds] == [2, 1]
    assert "Code without output" in folds[1]
