"""`trail.explore()` in JupyterLab and Notebook 7, with the network off: by pointer and by keyboard, light and dark."""

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from nbclient import NotebookClient
from nbconvert import HTMLExporter

import auditkit as ak
from tests.lab.jupyterlab import Lab, Notebook
from tests.reporting.material import PAYLOADS, ROOT, code, elements, exported, notebook, text_of

OPEN = "import auditkit as ak\nweek = ak.open('firm-week')"
EXPLORE = "explorer = week.explore()\nexplorer"
OUTPUTS = "JSON.stringify(window.jupyterapp.shell.currentWidget.content.widgets[1].model.outputs.toJSON())"
DONE = "() => document.querySelector('.auditkit-explorer').getAttribute('aria-busy') === 'false'"


class View:
    """The explorer in a page, as a person uses it."""

    def __init__(self, opened: Notebook) -> None:
        self.opened, self.page = opened, opened.page
        self.root = self.page.locator(".auditkit-explorer")
        self.root.wait_for()

    def settled(self) -> None:
        """Wait until what was asked is answered."""
        self.page.wait_for_function(DONE)

    def total(self) -> int:
        """Return how many events are selected, once that is answered."""
        self.settled()
        return int(self.root.locator(".total b").text_content().replace(",", ""))

    def button(self, name: str) -> Any:
        """Return a button by its name."""
        return self.root.get_by_role("button", name=name, exact=True)

    def copied(self) -> str:
        """Copy the code; what the clipboard has of it."""
        self.page.evaluate("() => navigator.clipboard.writeText('')")
        self.button("Copy as code").click()
        return str(self.page.wait_for_function("() => navigator.clipboard.readText()").json_value())

    def value(self, facet: str, text: str) -> Any:
        """Return the button of a value."""
        return self.root.locator(f".facet[aria-label={facet}] .value", has_text=text).first

    def values(self, facet: str) -> list[str]:
        """Return the values that a facet shows."""
        found: list[str] = self.root.locator(f".facet[aria-label={facet}] .name").all_text_contents()
        return found

    def chips(self) -> list[str]:
        """Return what is said to be selected."""
        self.settled()
        return [
            text.removesuffix("\u00d7").replace("\u2013", "to")
            for text in self.root.locator(".chip").all_text_contents()
        ]

    def press(self, *keys: str) -> None:
        """Press keys, each once the one before is answered."""
        for key in keys:
            self.page.keyboard.press(key)
            self.settled()

    def seqs(self) -> list[int]:
        """Return the seqs of the page that is shown."""
        self.settled()
        return [int(row.get_attribute("data-seq")) for row in self.root.locator("tr[data-seq]").all()]

    def frame(self, expression: str = "explorer.frame()") -> list[int]:
        """Return the seqs of a frame in the next cell, newest first."""
        found: list[int] = json.loads(self.opened.run(f"print(({expression})['seq'].to_list()[::-1])"))
        return found


def violations(view: View) -> list[str]:
    """Return what axe-core finds in the explorer."""
    found = Axe().run(view.page, context=".auditkit-explorer").response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def test_a_selection_by_pointer_and_keyboard_is_code_for_the_next_cell(lab: Lab, lab_folder: Path) -> None:
    """Whatever is selected, and however, the copied code and the next cell have exactly these events."""
    shutil.copytree(ROOT / "data" / "firm-week", lab_folder / "firm-week")
    path = lab.write(f"{lab_folder.name}/explore.ipynb", OPEN, EXPLORE).relative_to(lab.folder)
    opened = lab.open(str(path), permissions=["clipboard-read", "clipboard-write"])
    opened.run_cell(0)
    opened.run_cell(1)
    view, page = View(opened), opened.page
    assert view.total() == 13_178
    assert page.locator(".vega-embed").first.is_hidden()
    page.wait_for_function("() => 'loaded' in document.querySelector('.auditkit-explorer').dataset")
    assert violations(view) == []

    # The timeline by pointer: a drag selects whole bars, a click one, zooming shows it alone, and Back goes back.
    box = view.root.locator("svg.time").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=5)
    page.mouse.up()
    dragged = view.total()
    assert view.chips() == ["time is 2026-10-20 09:00 to 2026-10-22 15:00"]
    assert view.frame() == view.frame("week.range(*explorer.window)")
    assert len(view.frame()) == dragged < 13_178
    view.button("Zoom in").click()
    view.settled()
    assert "one bar is" in view.root.locator(".under .note").text_content()
    page.mouse.click(box["x"] + box["width"] * 0.5, middle)
    assert view.total() < dragged
    view.button("Back").click()
    assert view.total() == dragged
    view.button("Zoom out").click()
    view.settled()
    assert view.button("Zoom out").is_disabled()

    # By keyboard: an edge of the selection moves by bars; values are gone through, kept and left out.
    view.root.get_by_role("slider", name="End of the selected time").focus()
    view.press("ArrowLeft", "PageDown")
    assert view.chips() == ["time is 2026-10-20 09:00 to 2026-10-21 06:00"]
    view.press("Escape")
    assert view.chips() == []
    view.root.get_by_role("slider", name="Start of the selected time").focus()
    view.press("PageUp")
    assert view.chips() == ["time is 2026-10-20 06:00 to 2026-10-26 00:00"]
    view.value("outcome", "success").focus()
    view.press("ArrowDown", "Space")
    assert view.chips()[1:] == ["outcome is failure"]
    view.value("actor", "svc-").first.focus()
    view.press("-")
    focused = page.evaluate("() => document.activeElement.textContent")
    assert focused.startswith("svc-")
    left = view.chips()[2]
    assert left.startswith("actor is not svc-")
    where = opened.run("print(explorer.where)")
    assert where == f"{{'actor': {{'not': {left.removeprefix('actor is not ')!r}}}, 'outcome': 'failure'}}\n"
    counts = view.value("outcome", "failure").locator(".counts").text_content()
    assert counts == f"{view.total()} of 220"
    assert view.seqs() == view.frame()[:50]

    # Values beyond the top are found, and kept.
    view.button("Reset").click()
    assert view.total() == 13_178
    assert "192.0.2.32" not in view.values("origin")[:5]
    view.root.get_by_label("Find values of origin").fill("192.0.2.3")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.facet[aria-label=origin] .name')]"
        ".every(one => one.textContent.includes('192.0.2.3'))"
    )
    view.value("origin", "192.0.2.32").click()
    assert view.chips() == ["origin is 192.0.2.32"]
    view.root.locator(".chip button").click()
    view.root.get_by_label("Find values of origin").fill("")
    assert view.total() == 13_178

    # Words are looked for on Enter alone; pages go through the events; one unfolds.
    words = view.root.get_by_label("Words in resource and attrs", exact=False)
    words.fill("kundregister.csv")
    assert view.total() == 13_178
    words.fill("invoice")
    words.press("Enter")
    found = view.total()
    assert view.chips() == ["text has invoice in resource or attrs"]
    assert found == len(view.frame("week.range(where={'text': 'invoice'})")) > 50
    first = view.seqs()
    view.button("Older").click()
    page.wait_for_function("() => document.querySelector('.auditkit-explorer').dataset.page === '50'")
    assert [*first, *view.seqs()] == view.frame()[:100]
    assert f"51\u2013100 of {found:,}" in view.root.locator(".pager").text_content()
    unfold = view.root.locator(".unfold").first
    unfold.focus()
    view.press("Enter")
    assert unfold.get_attribute("aria-expanded") == "true"
    detail = view.root.locator("tr.detail:not([hidden])")
    assert "simulated true" in detail.locator(".attrs").inner_text()
    detail.get_by_role("button", name="Only actor").click()
    assert view.total() < found

    # The code, in each of its kinds.
    copied = view.copied()
    assert copied.startswith("week.at(13178).range(")
    assert view.frame(copied) == view.frame()
    assert len(view.frame()) == view.total()
    view.root.get_by_label("What the code gives").select_option("by actor")
    copied = view.copied()
    assert opened.run(f"print({copied}['count'].to_list())") == f"[{view.total()}]\n"

    # It fits in 700 pixels, light and dark, without a fault that axe knows.
    view.root.locator(".keys summary").click()
    page.set_viewport_size({"width": 700, "height": 1200})
    assert page.evaluate(
        "() => { const e = document.querySelector('.auditkit-explorer'); return e.scrollWidth <= e.clientWidth; }"
    )
    assert violations(view) == []
    page.emulate_media(color_scheme="dark")
    page.locator("body[data-jp-theme-light=false]").wait_for(state="attached")
    assert (
        page.evaluate("() => getComputedStyle(document.querySelector('.auditkit-explorer')).colorScheme")
        == "dark"
    )
    assert violations(view) == []

    # Saved and opened without its kernel, its last state stays: what was selected, and the newest of it.
    extent = f"{view.total()} of 13,178 events"
    page.wait_for_function(f"words => {OUTPUTS}.includes(words)", arg=extent)
    opened.save()
    newest = opened.run("print(explorer.frame()['ts'][-1].strftime('%H:%M:%S'))").strip()
    # What cannot be answered is said, and is not selected; what was selected stays.
    before = view.chips()
    opened.run("week.close()")
    view.value("source", "").click()
    view.settled()
    assert "the trail is closed" in view.root.get_by_role("alert").text_content()
    assert view.chips() == before
    assert (opened.elsewhere, opened.dialogs, opened.messages) == ([], [], [])
    opened.close()
    opened = lab.open(str(path), kernel=False)
    outputs = opened.output(1)
    outputs.locator(".vega-embed :is(canvas, svg)").first.wait_for()
    assert extent in opened.page.evaluate(f"() => {OUTPUTS}")
    assert outputs.locator("td", has_text=newest).first.is_visible()
    assert opened.elsewhere == []


def test_two_notebooks_explore_a_hostile_trail(lab: Lab, lab_folder: Path) -> None:
    """In JupyterLab and Notebook 7 at once, each with its own selection, no text of an event acts or asks for anything."""
    with ak.create(lab_folder / "hostile", tz="Asia/Kolkata") as trail:
        trail.extend(
            [
                {
                    "ts": f"2026-11-{1 + at:02}T12:00:00Z",
                    **dict.fromkeys(
                        ["action", "actor", "resource", "outcome", "source", "origin", "correlation"], text
                    ),
                    "attrs": {text: {text: [text, 12345678901234567890]}},
                }
                for at, text in enumerate(PAYLOADS)
            ]
        ).wait()
    source = "import auditkit as ak\ntrail = ak.open('hostile')\nexplorer = trail.explore()\nexplorer"
    views = []
    for name, app, scheme in (("one", "lab", "dark"), ("two", "notebooks", "light")):
        lab.write(f"{lab_folder.name}/{name}.ipynb", source)
        opened = lab.open(f"{lab_folder.name}/{name}.ipynb", app=app, color_scheme=scheme)
        noise = len(opened.messages)  # Notebook 7 has errors of its own where nothing is opened yet
        opened.run_cell(0)
        views.append((View(opened), noise))
    for at, (view, noise) in enumerate(views):
        assert view.total() == len(PAYLOADS)
        shown = " ".join(view.values("actor"))
        assert "<script>alert('script')</script>" in shown
        assert "gpj<U+202E>exe" in shown
        assert view.root.locator(".grip").count() == 2
        for _ in range(2):  # values kept, and left out: those that are chosen come first
            view.root.locator(".facet[aria-label=actor] .value").nth(at).click()
            view.settled()
            view.root.locator(".facet[aria-label=action] .leave").last.click()
            view.settled()
        view.button("Reset").click()
        assert view.total() == len(PAYLOADS)
        for unfold in view.root.locator(".unfold").all():
            unfold.click()
        assert view.root.locator(".attrs li").count() == 4 * len(PAYLOADS)
        assert "12345678901234567890" in view.root.locator(".attrs").first.inner_text()
        view.root.get_by_label("Words in resource and attrs", exact=False).fill("</script><script>")
        view.press("Enter")
        for label in ("over time", "by source"):
            view.root.get_by_label("What the code gives").select_option(label)
        view.value("actor", "").hover()
        view.page.mouse.move(0, 0)
        made = view.root.evaluate(
            "root => [...root.querySelectorAll('*')].map(one => one.localName)"
            ".filter(name => ['script', 'img', 'iframe', 'meta', 'link', 'style', 'a', 'form', 'object'].includes(name))"
        )
        assert made == []
        assert violations(view) == []
        assert view.opened.run("print(explorer.frame()['actor'].to_list())") == f"{[PAYLOADS[1]]}\n"
        assert (view.opened.elsewhere, view.opened.dialogs, view.opened.messages[noise:]) == ([], [], [])


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A notebook that explores, run without anybody who sees it."""
    source = f"import auditkit as ak\nak.open({str(ROOT / 'data' / 'firm-week')!r}).explore(where={{'outcome': 'failure'}})"
    document = nbformat.from_dict(notebook(code(source, number=None)))  # type: ignore[no-untyped-call]
    client = NotebookClient(
        document, kernel_name="python3", resources={"metadata": {"path": str(tmp_path_factory.mktemp("run"))}}
    )
    return client.execute()


def test_a_report_and_other_exporters_show_what_stays(executed: Any) -> None:
    """A report has the picture and the first rows, as any chart and table of it, and no trace of the widget."""
    report = exported(executed)
    assert [attributes.get("class") for name, attributes in elements(report) if name == "figure"]
    text = text_of(report)
    assert "220 events" in text
    assert 'Selected: outcome is "failure"' in text
    assert "Newest of the selected events" in text
    assert "first 10 of 220 rows" in text
    assert "widget" not in report.split("<main", 1)[1].split("<script", 1)[0]
    html, _ = HTMLExporter().from_notebook_node(executed)  # type: ignore[no-untyped-call]
    assert "first 10 of 220 rows" in html
