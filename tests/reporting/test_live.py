"""Live reports in Chromium: charts are drawn and selected in, tables searched, sorted, paged and saved, nothing is asked for."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

import auditkit as ak
from auditkit import charts
from auditkit.reporting import cover, table
from auditkit.text import label
from tests.reporting.browsing import PHONE, Opened, open_report
from tests.reporting.material import code, display, exported, notebook, prose, shown

START = datetime(2026, 10, 19, tzinfo=UTC)
ZONE = "Europe/Stockholm"
ROWS, TOTAL = 2_000, 41_230
EVENTS = "figure.data[data-title='The events']"


def events() -> pl.DataFrame:
    """Return one event every five minutes, in a zone; some cells would be formulas in a spreadsheet."""
    actors = ["ann", "bo", "=HYPERLINK(1)", None, "svc-mail", ""]
    return pl.DataFrame(
        {
            "seq": range(TOTAL),
            "ts": [START + timedelta(minutes=5 * at) for at in range(TOTAL)],
            "actor": [actors[at % 6] for at in range(TOTAL)],
            "action": [f"doc.action-{at % 97}" for at in range(TOTAL)],
            "resource": [f"doc/{at * 7919 % 10_007}" for at in range(TOTAL)],
            "outcome": ["failure" if at % 11 == 0 else "success" for at in range(TOTAL)],
            "source": ["app"] * TOTAL,
            "origin": [f"10.0.{at % 256}.{at % 7}" for at in range(TOTAL)],
        }
    ).with_columns(pl.col("ts").dt.convert_time_zone(ZONE))


def counted(frame: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Return the number of events per group."""
    return frame.group_by(by).agg(count=pl.len().cast(pl.Int64)).sort(by, nulls_last=True)


@pytest.fixture(scope="module")
def document() -> Any:
    """A notebook with six charts, and the first 2,000 of 41,230 events as a table."""
    all_events = events()
    first = all_events.head(2_000)
    hourly = counted(first.with_columns(pl.col("ts").dt.truncate("1h")), "ts", "outcome")
    figures = [
        charts.over_time(hourly, every="1h", by="outcome", start=START, end=START + timedelta(days=7)),
        charts.heat_map(hourly),
        charts.top(counted(first, "actor", "outcome"), "actor", split="outcome"),
        charts.top(counted(first, "action"), "action", title="Top actions"),
        charts.share(counted(first, "outcome"), "outcome"),
        charts.timeline(first.head(300), "actor", detail=["action"]),
    ]
    return notebook(
        prose("# A week\n\n## Charts\n\nSix of them."),
        *(code("figure", shown(figure), number=at) for at, figure in enumerate(figures)),
        prose("## Events"),
        code("events", shown(table(all_events, "The events")), number=7),
        papermill={"parameters": {"case": 42}},
    )


@pytest.fixture(scope="module")
def report(document: Any) -> str:
    """The report of that notebook."""
    return exported(document)


def quiet(opened: Opened) -> None:
    """Check that nothing was asked for, said or left."""
    assert (opened.requests, opened.dialogs, opened.messages) == ([], [], [])
    assert len(opened.navigations) == 1


def texts(page: Any, figure: int) -> list[str]:
    """Return the texts that a live chart shows."""
    return page.locator("figure.chart").nth(figure).locator(".live svg text").all_text_contents()  # type: ignore[no-any-return]


def column(page: Any, number: int) -> list[str]:
    """Return the visible cells of a column of the events."""
    return page.locator(f"{EVENTS} tbody tr:visible td:nth-child({number})").all_inner_texts()  # type: ignore[no-any-return]


def seqs(page: Any) -> list[int]:
    """Return the visible seqs."""
    return [int(text.replace(",", "")) for text in column(page, 1)]


def status(page: Any) -> str:
    """Return what the table of events says of itself."""
    return page.locator(f"{EVENTS} output").inner_text()  # type: ignore[no-any-return]


def test_budget(report: str) -> None:
    """Six charts and a table of 2,000 rows fit into 2.5 MB, Vega included."""
    assert report.count("<tr data-at") >= ROWS
    assert len(report.encode()) < 2_500_000


@pytest.mark.parametrize("context", [{}, {"viewport": PHONE}, {"color_scheme": "dark"}])
def test_every_chart_is_drawn_by_vega(
    browser: Any, report: str, tmp_path: Path, context: dict[str, Any]
) -> None:
    """Wide, on a phone and in the dark: Vega draws all six in place of their pictures, and no page scrolls sideways."""
    opened = open_report(browser, report, tmp_path / "report.html", **context)
    page = opened.page
    assert page.locator("figure.chart.drawn").count() == 6
    for live in page.locator(".live").all():
        box = live.bounding_box()
        assert box["width"] > 250
        assert box["height"] > 40
        assert live.locator("svg path").count() > 5
    assert not page.locator(".drawing").filter(visible=True).count()
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    quiet(opened)


def test_the_readers_zone_does_not_matter(browser: Any, report: str, tmp_path: Path) -> None:
    """Axes and tooltips say the same to a reader in New York as to one in UTC."""
    said = []
    for zone in ("UTC", "America/New_York"):
        opened = open_report(browser, report, tmp_path / "report.html", timezone_id=zone)
        live = opened.page.locator(".live").first
        live.scroll_into_view_if_needed()
        bar = live.locator("g.mark-rect.marks path").nth(30)
        bar.hover(force=True)
        opened.page.wait_for_selector(".tip:visible")
        said.append((texts(opened.page, 0), texts(opened.page, 5), opened.page.locator(".tip").inner_text()))
    assert said[0] == said[1]
    assert any("Europe/Stockholm" in text for text in said[0][0])
    assert any("Europe/Stockholm" in text for text in said[0][1])
    assert "2026-10-" in said[0][2]


def test_tables_search_sort_and_page(browser: Any, report: str, tmp_path: Path) -> None:
    """The first 2,000 rows are paged, found by any of their text, and sorted by their values; missing ones come last."""
    opened = open_report(browser, report, tmp_path / "report.html")
    page = opened.page
    assert seqs(page) == list(range(25))
    pager = page.locator(f"{EVENTS} .pager")
    assert pager.inner_text().split("\n")[1] == "Page 1 of 80, first 2,000 of 41,230 rows"
    pager.get_by_role("button", name="Next").click()
    assert seqs(page) == list(range(25, 50))
    heading = page.locator(f"{EVENTS} thead th").first
    heading.get_by_role("button").click()
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert seqs(page) == list(range(1999, 1974, -1))
    page.locator(f"{EVENTS} thead th").nth(2).get_by_role("button").click()
    search = page.get_by_label("Search in The events")
    search.fill("ACTION-13")
    assert status(page) == "21 found in the first 2,000 of 41,230 rows"
    actors = column(page, 3)
    assert actors == sorted(actors, key=lambda actor: (actor == "(none)", actor)) != []
    search.fill("no such thing")
    assert status(page) == "0 found in the first 2,000 of 41,230 rows"
    assert column(page, 1) == []
    quiet(opened)


def test_durations_sort_by_their_length(browser: Any, tmp_path: Path) -> None:
    """A column of durations in words goes by how long they are, not by the alphabet."""
    longest = ["1d 29m 53s", "10m 641ms", "23h 55m", None, "2h", "1d 20h"]
    document = notebook(code("table", shown(table(pl.DataFrame({"longest": longest}), "Pauses")), number=1))
    page = open_report(browser, exported(document), tmp_path / "report.html").page
    page.locator("figure.data thead th button").click()
    cells = [cell.text_content() for cell in page.locator("figure.data tbody td").all()]
    assert cells == ["10m 641ms", "2h", "23h 55m", "1d 29m 53s", "1d 20h", "(none)"]


def test_csv_is_safe_and_names_what_it_holds(browser: Any, report: str, tmp_path: Path) -> None:
    """A file has all rows that are found, numbers as numbers, null apart from empty, no formula, and says of how many."""
    opened = open_report(browser, report, tmp_path / "report.html")
    page = opened.page
    with page.expect_download() as download:
        page.get_by_label("Save as CSV: The events").click()
    assert download.value.suggested_filename == "The events (first 2,000 of 41,230 rows).csv"
    text = download.value.path().read_text(encoding="utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0][:3] == ["seq", f"ts ({ZONE})", "actor"]
    assert [int(row[0]) for row in rows[1:]] == list(range(ROWS))
    assert rows[3][2] == "'=HYPERLINK(1)"
    lines = text.splitlines()
    assert ",,doc.action-3," in lines[4]
    assert ',"",doc.action-5,' in lines[6]
    page.get_by_label("Search in The events").fill("action-13")
    with page.expect_download() as download:
        page.get_by_label("Save as CSV: The events").click()
    assert download.value.suggested_filename == "The events (21 found in first 2,000 of 41,230 rows).csv"
    quiet(opened)


def test_a_brush_narrows_the_tables(browser: Any, report: str, tmp_path: Path) -> None:
    """A stretch drawn on a time axis is said in its zone, and its own data and the events show what lies in it."""
    opened = open_report(browser, report, tmp_path / "report.html")
    page = opened.page
    chart = page.locator("figure.chart").first
    live = chart.locator(".live")
    live.scroll_into_view_if_needed()
    box = live.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 125, steps=4)
    page.mouse.up()
    picked = chart.locator(".picked")
    picked.wait_for()
    first, last = picked.inner_text().removeprefix("Selected: from ").split(",")[0].split(" to ")
    instants = [datetime.fromisoformat(f"{at}+02:00") for at in (first, last)]
    inside = [at for at in range(ROWS) if instants[0] <= START + timedelta(minutes=5 * at) < instants[1]]
    assert len(inside) > 30
    assert status(page).startswith(
        f"{len(inside)} found in the first 2,000 of 41,230 rows, from {first} to {last}"
    )
    assert seqs(page) == inside[:25]
    chart.locator("summary").click()
    own = chart.locator("tbody tr:visible td:first-child").all_inner_texts()
    assert own[0] == f"{first}:00"
    assert all(before <= after for before, after in pairwise(own))
    picked.get_by_role("button").click()
    picked.wait_for(state="hidden")
    assert status(page) == ""
    quiet(opened)


def test_a_brush_beyond_a_table_says_so(browser: Any, report: str, tmp_path: Path) -> None:
    """Where a table holds the first rows only, and not all of the selected time, it says from when to when they go."""
    opened = open_report(browser, report, tmp_path / "report.html")
    page = opened.page
    picked = page.locator("figure.chart").first.locator(".picked")
    page.locator("figure.chart").first.locator(".live").focus()
    page.keyboard.press("ArrowRight")
    picked.wait_for()
    assert "does not cover" not in status(page)
    page.keyboard.press("Escape")
    picked.wait_for(state="hidden")
    page.keyboard.press("ArrowLeft")
    picked.wait_for()
    assert status(page).startswith("8 found in the first 2,000 of 41,230 rows, from 2026-10-26 00:00 ")
    assert status(page).endswith(
        "This table does not cover all of the selected time: "
        "its rows go from 2026-10-19 02:00:00 to 2026-10-25 23:35:00."
    )
    quiet(opened)


def test_a_brush_can_be_moved_by_keys(browser: Any, report: str, tmp_path: Path) -> None:
    """Arrow keys select one bar after the other, with Shift more of them, and Escape none."""
    opened = open_report(browser, report, tmp_path / "report.html")
    chart = opened.page.locator("figure.chart").first
    chart.locator(".live").focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight"):
        opened.page.keyboard.press(key)
    chart.get_by_text("Selected: from 2026-10-19 03:00 to 2026-10-19 05:00").wait_for()
    assert status(opened.page).startswith("24 found in the first 2,000 of 41,230 rows")
    opened.page.keyboard.press("Escape")
    chart.locator(".picked").wait_for(state="hidden")
    quiet(opened)


def test_selections_in_two_charts_hold_together(browser: Any, report: str, tmp_path: Path) -> None:
    """Tables show what both leave, the bar at the foot names both, and clears both."""
    opened = open_report(browser, report, tmp_path / "report.html")
    for number in (0, 5):
        chart = opened.page.locator("figure.chart").nth(number)
        chart.locator(".live").focus()
        opened.page.keyboard.press("ArrowRight")
        chart.locator(".picked").wait_for()
    assert opened.page.locator("figure.chart").first.locator(".picked").is_visible()
    assert status(opened.page).startswith("1 found in")
    bar = opened.page.locator(".selected")
    assert bar.inner_text().count("from 2026-10-19 02:00") == 2
    bar.get_by_role("button").click()
    bar.wait_for(state="hidden")
    assert not opened.page.locator(".picked").filter(visible=True).count()
    assert status(opened.page) == ""
    quiet(opened)


WEEK = datetime(2026, 10, 22, 22, tzinfo=UTC)
LONG_NAME = "arn:aws:sts::123456789012:assumed-role/" + "deploy-" * 12 + "role"


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The scope of a trail of 3,000 events around the end of summer time, with hostile, long and missing values."""
    actors = ["ann", LONG_NAME, None, "</script><b>", "(none)", ""]
    rows = [
        {
            "action": f"doc.{at % 5}",
            "actor": actors[at % 6],
            "resource": f"/{at}",
            "outcome": "denied" if at % 10 == 0 else "success",
            "source": "app" if at % 3 else "web",
            "origin": f"10.0.0.{at % 4}",
            "ts": WEEK + timedelta(minutes=2 * at, microseconds=at % 2),
        }
        for at in range(3_000)
    ]
    with ak.create(tmp_path_factory.mktemp("taken") / "audit", tz=ZONE, maintain=False) as trail:
        trail.extend(rows).wait()
        yield cover(trail, title="Taken along")


@pytest.fixture(scope="module")
def taken_report(taken: Any) -> str:
    """A report of that scope: charts of each kind, a table of all events, one of groups, and one of first uses."""
    audit, scope = taken.trail, taken.scope
    groups = audit.group_by(["actor", "source"], **scope, aggs="count")
    first = ak.query.first_seen(audit.scan(), ["actor", "origin"])
    return exported(
        notebook(
            code("page", shown(taken)),
            code(
                "charts",
                shown(charts.over_time(audit.downsample("1h", **scope), every="1h")),
                shown(charts.top(audit.group_by(["actor", "outcome"], **scope), "actor", split="outcome")),
                shown(charts.heat_map(audit.downsample("1h", **scope))),
                shown(charts.share(audit.group_by(["source", "outcome"], **scope), "outcome", by="source")),
            ),
            code("events", shown(taken.events("All events"))),
            code("groups", shown(table(groups, "Groups"))),
            code("first", shown(table(first.select("ts", "actor", "origin"), "First uses", tz=ZONE))),
        )
    )


def table_called(page: Any, title: str) -> Any:
    """Return the table with a title."""
    return page.locator(f"figure.data[data-title='{title}']")


def cells_of(rows: Any) -> list[list[str]]:
    """Return the cells of some rows."""
    return [row.locator("td").all_text_contents() for row in rows.all()]


def test_all_events_are_in_the_page(browser: Any, taken_report: str, tmp_path: Path) -> None:
    """Without scripts a table has its first 500 rows, with them all 3,000, and the same text in each of the first."""
    quiet_page = open_report(browser, taken_report, tmp_path / "report.html", java_script_enabled=False).page
    held = cells_of(table_called(quiet_page, "All events").locator("tbody tr"))
    assert len(held) == 500
    opened = open_report(browser, taken_report, tmp_path / "report.html")
    shown_table = table_called(opened.page, "All events")
    assert shown_table.locator("figcaption span").inner_text() == "3,000 rows"
    built = cells_of(shown_table.locator("tbody tr"))
    assert built == held[:100]
    with opened.page.expect_download() as download:
        opened.page.get_by_label("Save as CSV: All events").click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
    assert [int(row[-1]) for row in rows[1:]] == list(range(3_000))
    assert sum(row[0].endswith(" (CET)") for row in rows[1:]) == 30
    quiet(opened)


def test_the_markup_of_built_rows_is_that_of_written_ones(
    browser: Any, taken_report: str, tmp_path: Path
) -> None:
    """Classes and places where a text may be broken are the same whether auditkit or the page made a row."""
    path = tmp_path / "report.html"
    written = open_report(browser, taken_report, path, java_script_enabled=False).page
    built = open_report(browser, taken_report, path).page
    rows = [
        table_called(page, "All events")
        .locator("tbody tr")
        .evaluate_all("all => all.slice(0, 25).map((one) => one.outerHTML)")
        for page in (written, built)
    ]
    assert rows[0] == rows[1]


def test_a_bar_narrows_every_table(browser: Any, taken: Any, taken_report: str, tmp_path: Path) -> None:
    """A click on an actor leaves its events, its groups and its first uses; another click leaves all again."""
    opened = open_report(browser, taken_report, tmp_path / "report.html")
    page = opened.page
    chart = page.locator("figure.chart").nth(1)
    figure = charts.top(
        taken.trail.group_by(["actor", "outcome"], **taken.scope, aggs="count"), "actor", split="outcome"
    )
    rows = [row["row"] for row in figure.spec["layer"][0]["data"]["values"]]
    bar_of_ann = chart.locator(".live .mark-rect path").nth(rows.index("ann"))
    bar_of_ann.click()
    bar = page.locator(".selected")
    bar.wait_for()
    assert bar.inner_text().startswith("Selected: actor ann: 500 of 3,000 events.")
    for title, count in (("All events", 500), ("Groups", 1), ("First uses", 2)):
        found = table_called(page, title)
        assert found.locator("output").inner_text().startswith(f"{count} found in"), title
        assert {row[1 - (title == "Groups")] for row in cells_of(found.locator("tbody tr:visible"))} == {
            "ann"
        }
    chart.locator("summary").first.click()
    assert len(cells_of(chart.locator("tbody tr:visible"))) == 2
    bar_of_ann.click()
    bar.wait_for(state="hidden")
    assert table_called(page, "All events").locator("output").inner_text() == ""
    quiet(opened)


@pytest.mark.parametrize("name", [LONG_NAME, None, "</script><b>", "(none)", ""])
def test_any_value_can_be_selected(
    browser: Any, taken: Any, taken_report: str, tmp_path: Path, name: str | None
) -> None:
    """A long name that the drawing cuts, a hostile, an empty and a missing one each leave their own events."""
    opened = open_report(browser, taken_report, tmp_path / "report.html")
    figure = charts.top(taken.trail.group_by("actor", **taken.scope, aggs="count"), "actor")
    drawn = {row["row"] for row in figure.spec["layer"][0]["data"]["values"]}
    wanted = next(one for one in drawn if figure.pick and figure.pick.labels.get(one, one) == label(name))
    live = opened.page.locator("figure.chart").nth(1).locator(".live")
    live.focus()
    for _ in drawn:
        opened.page.keyboard.press("ArrowDown")
        if opened.page.locator(".selected").inner_text().startswith(f"Selected: actor {wanted}: 500 of"):
            break
    else:
        pytest.fail(f"{wanted} was not selected")
    found = cells_of(table_called(opened.page, "All events").locator("tbody tr:visible"))
    assert {row[1] for row in found} == {label(name)}
    quiet(opened)


def test_an_hour_of_the_week_narrows_every_table(
    browser: Any, taken: Any, taken_report: str, tmp_path: Path
) -> None:
    """A cell of the heat map leaves the events of that hour in the zone of the report, the repeated one twice."""
    opened = open_report(browser, taken_report, tmp_path / "report.html")
    page = opened.page
    cell = page.locator("figure.chart").nth(2).locator(".live .mark-rect path").nth(6 * 24 + 2)
    cell.scroll_into_view_if_needed()
    cell.click()
    page.locator(".selected").wait_for()
    count = (
        taken.trail.range(**taken.scope)
        .filter(
            pl.col("ts").dt.convert_time_zone(ZONE).dt.weekday() == 7,
            pl.col("ts").dt.convert_time_zone(ZONE).dt.hour() == 2,
        )
        .height
    )
    assert count == 60
    assert (
        page.locator(".selected")
        .inner_text()
        .startswith("Selected: hour Sun 02, Europe/Stockholm: 60 of 3,000")
    )
    assert table_called(page, "All events").locator("output").inner_text().startswith("60 found")
    groups = table_called(page, "Groups").locator("output").inner_text()
    assert groups.endswith("their figures are those of all events shown.")
    assert table_called(page, "First uses").locator("output").inner_text().startswith("0 found")
    quiet(opened)


def test_a_page_whose_events_cannot_be_unpacked_keeps_its_rows(
    browser: Any, taken_report: str, tmp_path: Path
) -> None:
    """Where the browser unpacks nothing, or what is packed is none, tables hold what was written into them."""
    broken = re.sub(r'(id="events">)[^<]+', r"\1AAAA", taken_report)
    opened = open_report(browser, broken, tmp_path / "report.html")
    extent = table_called(opened.page, "All events").locator("figcaption span").inner_text()
    assert extent == "first 500 of 3,000 rows"
    quiet(opened)


def test_light_and_dark_can_be_chosen(browser: Any, report: str, tmp_path: Path) -> None:
    """A button turns the page dark and light again, its charts with it."""
    opened = open_report(browser, report, tmp_path / "report.html")
    page = opened.page
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    bar = "getComputedStyle(document.querySelector('.live [fill=\"#0072b2\"]')).fill"
    light = page.evaluate(paper), page.evaluate(bar)
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(paper), page.evaluate(bar)
    assert light[0] == "rgb(255, 255, 255)"
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    page.get_by_role("button", name="Light").click()
    assert (page.evaluate(paper), page.evaluate(bar)) == light
    quiet(opened)


def test_contents_and_data_are_one_click_away(browser: Any, report: str, tmp_path: Path) -> None:
    """The table of contents leads to the notebook's headings, and each chart opens the rows behind it."""
    opened = open_report(browser, report, tmp_path / "report.html")
    page = opened.page
    page.get_by_role("navigation", name="Contents").get_by_role("link", name="Events").click()
    assert page.locator("h2", has_text="Events").last.bounding_box()["y"] < 60
    for chart in page.locator("figure.chart").all():
        chart.get_by_text("Data behind this chart").click()
        assert chart.locator("tbody tr:visible").count() > 0
    assert "Parameter case" in page.locator("#provenance").inner_text()
    assert (opened.requests, opened.messages) == ([], [])


def test_paper(browser: Any, report: str, tmp_path: Path) -> None:
    """Printed, the pictures stand where the live charts were, a table has its first 100 rows, and both are said."""
    opened = open_report(browser, report, tmp_path / "report.html")
    page = opened.page
    page.emulate_media(media="print")
    assert not page.locator(".live, .tools, .pager, .theme").filter(visible=True).count()
    assert page.locator(".drawing").filter(visible=True).count() == 6
    assert seqs(page) == list(range(100))
    printed = page.locator(f"{EVENTS} .printed")
    # A heading with the box of a button in it is not repeated on the next page.
    assert (
        page.locator(f"{EVENTS} thead button").first.evaluate("(one) => getComputedStyle(one).display")
        == "contents"
    )
    assert printed.inner_text() == "On paper: 100 of 2,000 rows, the first 2,000 of 41,230 rows."
    assert page.pdf().startswith(b"%PDF")
    quiet(opened)


def test_a_tall_chart_stands_on_the_first_page(browser: Any, tmp_path: Path) -> None:
    """Printed, a chart of many lanes is made small enough for what stands above it to share its page."""
    lanes = events().head(2_000).with_columns(actor=pl.format("actor-{}", pl.col("seq") % 45))
    document = notebook(code("figure", shown(charts.timeline(lanes, "actor", n=45)), number=1))
    page = open_report(browser, exported(document), tmp_path / "report.html").page
    page.emulate_media(media="print")
    picture = page.locator(".drawing svg").filter(visible=True).first
    assert picture.evaluate("(one) => one.viewBox.baseVal.height") > 700
    assert 500 < picture.bounding_box()["height"] <= 165 / 25.4 * 96 + 1


@pytest.mark.parametrize("static", [False, True])
def test_without_scripts(browser: Any, document: Any, tmp_path: Path, static: bool) -> None:
    """Where no script runs, or the file has none, its charts are pictures and its tables show every row they have."""
    opened = open_report(
        browser, exported(document, static=static), tmp_path / "report.html", java_script_enabled=static
    )
    page = opened.page
    assert page.locator(".drawing svg").filter(visible=True).count() == 6
    assert seqs(page) == list(range(ROWS))
    assert not page.locator(".live, .tools, .pager, .picked, .theme").filter(visible=True).count()
    assert (page.locator("script").count() == 0) == static
    quiet(opened)


@pytest.mark.parametrize("context", [{}, {"viewport": PHONE}, {"color_scheme": "dark"}])
def test_axe_finds_nothing(browser: Any, report: str, tmp_path: Path, context: dict[str, Any]) -> None:
    """axe-core names no violation, with everything unfolded and a table searched and sorted."""
    page = open_report(browser, report, tmp_path / "report.html", **context).page
    page.evaluate("document.querySelectorAll('details').forEach((folded) => (folded.open = true))")
    page.get_by_label("Search in The events").fill("action-13")
    page.locator(f"{EVENTS} thead button").first.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("mime", ["application/vnd.vegalite.v5+json", "application/vnd.vegalite.v6+json"])
def test_a_stock_altair_notebook(browser: Any, tmp_path: Path, mime: str) -> None:
    """Charts that Altair made elsewhere are drawn live too, with their data, a date as domain and a calculated field."""
    frame = pl.DataFrame({"day": [START + timedelta(days=at) for at in range(5)], "n": [3, 1, 4, 1, 5]})
    lines = (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            alt.X("day:T", scale=alt.Scale(domain=["2026-10-18", "2026-10-25"])), y="twice:Q", tooltip=["n:Q"]
        )
        .transform_calculate(twice="datum.n * 2")
        .add_params(alt.selection_interval())
    )
    both = lines | alt.Chart(frame).mark_bar().encode(x="n:O", y="count()")
    outputs = [display({mime: chart.to_dict(), "text/plain": "alt.Chart(...)"}) for chart in (lines, both)]
    opened = open_report(browser, exported(notebook(code("chart", *outputs))), tmp_path / "altair.html")
    page = opened.page
    assert page.locator("figure.chart.drawn .live svg").count() == 2
    marks = (
        page.locator(".live")
        .first.locator("g.mark-symbol path")
        .evaluate_all("all => all.map((one) => one.getAttribute('transform'))")
    )
    assert len(marks) == 5
    assert not any("NaN" in mark for mark in marks)
    page.get_by_text("Data behind this chart").first.click()
    assert page.locator("figure.chart").first.locator("tbody tr:visible").count() == 5
    quiet(opened)
