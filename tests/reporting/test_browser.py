"""Reports in Chromium: nothing is requested, nothing runs, every chart is drawn, at every width.

Scripts are allowed in these pages, so that a payload which got through would be seen to run.
"""

from pathlib import Path
from typing import Any

import pytest

from auditkit.query.spreadsheet import csv_line
from auditkit.reporting.exporter import template_file
from tests.reporting.browsing import PHONE, drawn, open_report
from tests.reporting.material import PAYLOADS, Rendered


def test_the_watcher_sees_what_it_looks_for(browser: Any, tmp_path: Path) -> None:
    """A page that does obey is noticed: its dialog, its request, its message and its navigation."""
    obeying = "<script>alert(1); console.error(2); location.hash = '#3'</script><img src=https://evil.example/x.png>"
    opened = open_report(browser, obeying, tmp_path / "obeying.html")
    assert opened.dialogs == ["1"]
    assert set(opened.requests) == {"https://evil.example/x.png"}
    assert "2" in opened.messages
    assert len(opened.navigations) == 2


@pytest.mark.parametrize(
    "context", [{}, {"viewport": PHONE}, {"java_script_enabled": False}, {"color_scheme": "dark"}]
)
def test_the_overview_is_drawn_without_a_request(
    browser: Any, firm_week: Rendered, tmp_path: Path, context: dict[str, Any]
) -> None:
    """Wide, on a phone, without scripts and in the dark: all five charts are there, and nothing was asked for."""
    opened = open_report(browser, firm_week.html, tmp_path / "week.html", **context)
    marks = drawn(opened.page)
    assert len(marks) == 5
    assert min(marks) > 20
    assert (opened.requests, opened.dialogs, opened.messages) == ([], [], [])
    assert opened.navigations == [(tmp_path / "week.html").as_uri()]


def test_a_phone_scrolls_in_one_direction(browser: Any, firm_week: Rendered, tmp_path: Path) -> None:
    """On a phone the page is as wide as the screen; only tables scroll sideways, inside themselves."""
    page = open_report(browser, firm_week.html, tmp_path / "week.html", viewport=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_hostile_events_are_seen_and_not_obeyed(browser: Any, overview: Rendered, tmp_path: Path) -> None:
    """The overview of a trail full of payloads shows them as text: no dialog, request, navigation or complaint."""
    opened = open_report(browser, overview.html, tmp_path / "hostile.html")
    opened.page.locator("details.code summary").first.click()
    text = opened.page.locator("body").inner_text()
    for payload in PAYLOADS:
        if payload.isprintable() and "  " not in payload:
            assert payload in text
    assert "gpj<U+202E>exe" in text
    assert len(drawn(opened.page)) == 5
    assert (opened.requests, opened.dialogs, opened.messages) == ([], [], [])
    assert opened.navigations == [(tmp_path / "hostile.html").as_uri()]


def test_a_saved_table_is_safe_in_a_spreadsheet(browser: Any) -> None:
    """The page writes a text into CSV as the library does: nothing in it is a formula, whatever separates cells."""
    page = browser.new_page()
    page.add_script_tag(content=f"{template_file('tables.js')}\nwindow.csvCell = csvCell;", type="module")
    page.wait_for_function("() => window.csvCell")
    texts = [
        "ann", "=1+1", "-5", "  @SUM(A1)", "\uff1d1", "\ufe63cmd", "a;=1", "a; +1", 'a\n"=1', "a\t-1", "\t=1", "\n", "x=1",
        "a;b", "a,b", 'say "no"', " a", "", "\u3000=1", "'=1",
    ]  # fmt: skip
    for text in texts:
        assert page.evaluate("text => csvCell(text, 'text')", text) + ",0\n" == csv_line([text, 0]), text
    assert page.evaluate("csvCell('-1,234.5', 'number')") == "-1234.5"
    page.close()


def test_print_is_on_white_and_leaves_folds_out(browser: Any, firm_week: Rendered, tmp_path: Path) -> None:
    """Printed from a dark screen the page is white, its code stays folded away, and its charts are there."""
    page = open_report(browser, firm_week.html, tmp_path / "week.html", color_scheme="dark").page
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != "rgb(255, 255, 255)"
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("details.code").first.is_visible()
    assert len(drawn(page)) == 5


def test_text_can_be_read_in_both_schemes(browser: Any, firm_week: Rendered, tmp_path: Path) -> None:
    """Ink, soft text and chart text have a contrast of at least 4.5 against the page, light and dark."""
    for scheme in ("light", "dark"):
        page = open_report(browser, firm_week.html, tmp_path / "week.html", color_scheme=scheme).page
        paper = luminance(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        for selector, name in (("h1", "color"), ("dt", "color"), ("small", "color"), ("svg text", "fill")):
            ink = luminance(page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{name}"))
            bright, dim = max(ink, paper), min(ink, paper)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (scheme, selector)


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2) of a colour written "rgb(r, g, b)"."""
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_failed_report_says_so_at_its_head(browser: Any, failed: tuple[Any, Path], tmp_path: Path) -> None:
    """What one sees first is FAILED, and its link leads to the cell."""
    html = (failed[1] / "broken.html").read_text(encoding="utf-8")
    opened = open_report(browser, html, tmp_path / "failed.html")
    alert = opened.page.get_by_role("alert")
    assert alert.inner_text().startswith("FAILED.")
    assert alert.bounding_box()["y"] < 200
    alert.get_by_role("link").click()
    assert opened.page.locator("#failure").is_visible()
    assert (opened.requests, opened.dialogs) == ([], [])
