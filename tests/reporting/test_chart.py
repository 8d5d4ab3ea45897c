"""Drawings: only shapes and text come out, and nothing from outside goes in."""

import os
import re
import subprocess
import sys
from typing import Any

import polars as pl
import pytest

from auditkit import charts
from auditkit.errors import ReportError
from auditkit.reporting.chart import draw
from tests.reporting.material import PAYLOADS, elements, text_of

ALLOWED = set(
    "svg g path rect circle ellipse line polyline polygon text tspan defs clipPath linearGradient stop".split()  # noqa: SIM905
)


def bars(**extra: Any) -> dict[str, Any]:
    """Return a small specification with further parts."""
    return {
        "data": {"values": [{"a": "x", "b": 1}]},
        "mark": "bar",
        "encoding": {"x": {"field": "a", "type": "nominal"}, "y": {"field": "b", "type": "quantitative"}},
        **extra,
    }


def test_hostile_labels_are_text() -> None:
    """Payloads as categories come out as text in known elements, with known attributes only."""
    frame = pl.DataFrame({"actor": list(PAYLOADS), "count": [1] * len(PAYLOADS)})
    figure = charts.top(frame, "actor", n=30)
    svg = draw(figure.to_dict(), prefix="p-", label=figure.alt)
    assert {name for name, _ in elements(svg)} <= {name.lower() for name in ALLOWED}
    names = {name for _, attributes in elements(svg) for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not {"href", "xlink:href", "style", "class"} & names
    payload = "<script>alert('script')</script>"
    assert f"{payload[:9]}\u2026{payload[-19:]}" in text_of(svg)  # as a long name is shown
    assert "\u202e" not in svg


def test_the_drawing_has_words_for_who_does_not_see_it() -> None:
    """The drawing is an image with the figure's words, escaped."""
    svg = draw(bars(), prefix="p-", label='two "bars" & <more>')
    assert re.match(
        r'<svg viewBox="0 0 [\d.]+ [\d.]+" role="img" aria-label="two &quot;bars&quot; &amp; &lt;more&gt;">',
        svg,
    )


def test_identifiers_are_unique_in_a_page() -> None:
    """Identifiers and references to them carry the prefix."""
    gradient = {
        "gradient": "linear",
        "stops": [{"offset": 0, "color": "red"}, {"offset": 1, "color": "blue"}],
    }
    svg = draw(bars(mark={"type": "bar", "color": gradient, "clip": True}), prefix="left-", label="x")
    identifiers = re.findall(r' id="([^"]*)"', svg)
    assert identifiers
    assert all(name.startswith("left-") for name in identifiers)
    assert set(re.findall(r"url\(#([^)]*)\)", svg)) <= set(identifiers)


@pytest.mark.parametrize(
    "outside",
    [
        {"data": {"url": "https://evil.example/data.csv"}},
        {"data": {"url": "file:///etc/passwd", "format": {"type": "csv"}}},
        {"mark": {"type": "image", "url": "https://evil.example/a.png"}},
        {"mark": {"type": "bar", "href": "javascript:alert(1)"}},
        {"encoding": {"href": {"field": "a"}}},
        {"params": [{"name": "p", "value": 1, "bind": {"input": "range", "element": "body"}}]},
        {"layer": [{"mark": "bar"}, {"mark": "image", "encoding": {"url": {"field": "a"}}}]},
    ],
)
def test_outside_data_is_refused(outside: dict[str, Any]) -> None:
    """A specification that names a URL or a link anywhere is not drawn at all."""
    with pytest.raises(ReportError, match="refers to data outside the notebook"):
        draw(bars(**outside), prefix="p-", label="x")


def test_a_column_may_be_called_url() -> None:
    """Data that happens to have a field `url` is data."""
    assert draw(
        bars(data={"values": [{"a": "x", "b": 1, "url": "https://example.org"}]}), prefix="p-", label="x"
    )


def test_what_vega_refuses_is_a_report_error() -> None:
    """A specification that Vega-Lite cannot read raises with its first line."""
    with pytest.raises(ReportError, match="chart: not drawn"):
        draw({"mark": "no such mark"}, prefix="p-", label="x")


def test_the_renderers_zone_does_not_matter() -> None:
    """The same chart is drawn byte for byte the same on a machine in Tokyo."""
    code = (
        "import polars as pl; from datetime import datetime, UTC; from auditkit import charts\n"
        "from auditkit.reporting.chart import draw\n"
        "ts = pl.Series('ts', [datetime(2026, 11, 16, hour, tzinfo=UTC) for hour in range(5)])\n"
        "figure = charts.over_time(pl.DataFrame([ts, pl.Series('count', [1, 2, 3, 4, 5])]), every='1h')\n"
        "print(draw(figure.to_dict(), prefix='p-', label='x'))"
    )
    drawn = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for zone in ("UTC", "Asia/Tokyo")
    }
    assert len(drawn) == 1
    assert "01:00" in drawn.pop()


def test_no_character_ends_the_process() -> None:
    """Control characters in a specification that is not ours are written out before it is drawn."""
    text = "null\x00bell\x07line\u2028over\u202e"
    svg = draw(bars(title=text, data={"values": [{"a": text, "b": 1}]}), prefix="p-", label="x")
    assert "null<U+0000>bell<U+0007>line<U+2028>over<U+202E>" in text_of(svg)


def test_a_column_name_ends_no_quotation() -> None:
    """Backslashes in a column's name, which Vega-Lite quotes in an expression, stay part of the name."""
    for name in (r"\href \unicode{x}", r'\", "count": datum.rank, "x": "', "\\"):
        figure = charts.top(pl.DataFrame({name: ["a"], "count": [1]}), name)
        assert draw(figure.to_dict(), prefix="p-", label="x")
