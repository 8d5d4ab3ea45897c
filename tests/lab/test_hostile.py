"""What a notebook shows of a hostile trail in JupyterLab: nothing acts, asks for anything or is hidden."""

from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

import auditkit as ak
from auditkit.text import label
from tests.lab.jupyterlab import Lab
from tests.reporting.material import PAYLOADS

NAME = "<img src=x onerror=alert('name')>"
FIELDS = ("action", "actor", "resource", "outcome", "source", "origin", "correlation")
INSIDE = (
    "const inside = one => [one, ...[...one.children, ...(one.shadowRoot?.children ?? [])].flatMap(inside)];"
)
ACTIVE = f"""outputs => {{ {INSIDE} return outputs.flatMap(inside).flatMap(one => [
    ...['script', 'iframe', 'meta', 'link', 'form', 'object', 'embed', 'base', 'mjx-container']
        .filter(name => name === one.localName && !one.matches('.vega-bindings, link[href$="/tables.css"]')),
    ...[...one.attributes].map(each => `${{each.name}}=${{each.value}}`)
        .filter(text => /^on|^(href|xlink:href|src|action|srcdoc|style)=.*(javascript:|evil|alert)/i.test(text)),
]); }}"""
TEXTS = f"areas => {{ {INSIDE} return areas.map(area => inside(area).map(one => (one.shadowRoot ?? one).textContent).join('')); }}"
OURS = ".jp-OutputArea-output:not(:has(.dataframe))"
"""Outputs but those that Polars makes: its frames keep their own look."""
SHOWN = {
    "trail": "import auditkit as ak, pathlib\ntrail = ak.open(next(pathlib.Path('.').glob('<*')))\ntrail",
    "stats": "trail.stats()",
    "retention": "trail.retention",
    "plan": "trail.plan_prune()",
    "cover": "from auditkit.reporting import cover, holds, table\ncover(trail, title=trail.name, start='2026-11-01', end='+30d', where={'actor': {'not': trail.range(limit=1)['actor'][0]}})",
    "events": "table(trail.range(), trail.name)",
    "holds": "table(holds(trail), 'Holds')",
    "top": "ak.charts.top(trail, 'actor', split='outcome')",
    "over time": "ak.charts.over_time(trail, by='action')",
    "timeline": "ak.charts.timeline(trail, 'actor')",
    "frame": "%load_ext auditkit\ntrail.range()",
    "SQL": "%%audit\nSELECT actor, resource, attrs FROM events",
    "nothing": f"trail.range(where={{'actor': {PAYLOADS[0].upper()!r}}})['seq'].to_list()",
    "error": f"trail.range(where={{{PAYLOADS[2]!r}: 1}})",
}


@pytest.fixture
def hostile(lab_folder: Path) -> Path:
    """A trail that is hostile wherever it has text: events, holds, rules and its own name."""
    rules = {**dict.fromkeys(PAYLOADS, "30y"), "*": "90y"}
    with ak.create(lab_folder / NAME, retention=rules) as trail:
        events = [dict.fromkeys(FIELDS, text) | {"attrs": {text: [text]}} for text in PAYLOADS]
        trail.extend(
            {"ts": f"2026-11-{1 + at:02}T12:00:00Z", **each} for at, each in enumerate(events)
        ).wait()
        for text in PAYLOADS[:3]:
            trail.hold(f"case {text}", where={"actor": text}, reason=text)
    return lab_folder


def test_nothing_acts(lab: Lab, hostile: Path) -> None:
    """Each output of ours is text in which axe finds no fault, light and dark, and no request leaves."""
    path = f"{hostile.name}/shown.ipynb"
    lab.write(path, *SHOWN.values())
    opened = lab.open(path, color_scheme="light")
    page = opened.page
    for at, name in enumerate(SHOWN):
        with suppress(AssertionError) if name == "error" else nullcontext():
            opened.run_cell(at)
        opened.output(at).locator(".jp-OutputArea-output").first.wait_for()
    page.wait_for_function(
        "() => document.querySelectorAll('.vega-embed :is(canvas, svg.marks)').length === 3"
    )
    assert page.locator(".jp-OutputArea-output").evaluate_all(ACTIVE) == []
    texts = dict(zip(SHOWN, page.locator(".jp-OutputArea").evaluate_all(TEXTS), strict=True))
    missing = {
        name: [text for text in PAYLOADS if label(text) not in texts[name]]
        for name in ("trail", "stats", "retention", "events")
    }
    assert missing == {"trail": [], "stats": [], "retention": [], "events": []}
    assert f"Trail {NAME}" in texts["trail"]
    assert PAYLOADS[2] in texts["error"]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.locator(f"body[data-jp-theme-light='{str(scheme == 'light').lower()}']").wait_for(
            state="attached"
        )
        # JupyterLab's own menu of a drawing has no name for its button.
        found = Axe().run(page, context=[[OURS]], options={"rules": {"summary-name": {"enabled": False}}})
        assert [
            (one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found.response["violations"]
        ] == []
    assert (opened.elsewhere, opened.dialogs, opened.messages) == ([], [], [])
