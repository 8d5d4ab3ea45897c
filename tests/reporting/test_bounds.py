"""Reports over events as large as events may be, and charts of more than can be drawn: bounded, and said."""

from pathlib import Path

import polars as pl
import pytest

import auditkit as ak
from auditkit import charts
from auditkit.api import Trail
from auditkit.display.tables import CELL_CHARACTERS, table
from auditkit.errors import ReportError
from auditkit.event import MAX_TEXT_BYTES
from auditkit.reporting.chart import MOST_CHARACTERS, MOST_ROWS, draw, readable
from auditkit.text import LABEL_CHARACTERS

FIELDS = ("actor", "action", "resource", "outcome", "source", "origin", "correlation")


def test_a_report_over_the_largest_events_is_small(trail: Trail, tmp_path: Path) -> None:
    """Fields of 64 KiB, all different, are cut in drawings, labels and cells; the page says how much more there is."""
    rows = [{field: f"{n} {field} " + "x" * (MAX_TEXT_BYTES - 40) for field in FIELDS} for n in range(20)]
    trail.extend(rows).wait()
    page = ak.report("overview", trail=trail, output=tmp_path / "out.html").read_text()
    assert len(page) < 6_000_000
    assert "more characters)" in page
    assert "x" * (CELL_CHARACTERS + 1) not in page


def test_labels_are_cut_and_stay_apart() -> None:
    """Values that begin and end alike have labels of their own in a chart, none of them long."""
    values = ["a" * 300, "a" * 301, "b"]
    figure = charts.top(pl.DataFrame({"actor": values, "count": [3, 2, 1]}), "actor")
    labels = {row["row"] for row in figure.to_dict()["layer"][0]["data"]["values"]}
    assert len(labels) == 3
    assert max(map(len, labels)) <= LABEL_CHARACTERS + 4


def test_a_cell_says_how_much_of_it_is_left_out() -> None:
    """A long text is shown up to a bound; one at the bound is shown whole."""
    shown = table(pl.DataFrame({"text": ["x" * CELL_CHARACTERS, "y" * 5_000]}), "Texts")
    assert shown.rows[0] == ("x" * CELL_CHARACTERS,)
    assert shown.rows[1] == ("y" * CELL_CHARACTERS + "\u2026 (3,000 more characters)",)


def test_texts_of_a_foreign_chart_are_cut() -> None:
    """Names and texts of a specification are no longer than a bound, in pictures and for the script."""
    assert readable({"k" * 1_000: ["v" * 1_000]}) == {
        "k" * (MOST_CHARACTERS - 1) + "\u2026": ["v" * (MOST_CHARACTERS - 1) + "\u2026"]
    }


@pytest.mark.parametrize("held", ["values", "datasets"])
def test_a_chart_of_too_many_rows_is_not_drawn(held: str) -> None:
    """What carries more rows than can be drawn is refused before anything draws."""
    rows = [{"x": n} for n in range(MOST_ROWS + 1)]
    data = (
        {"data": {"values": rows}} if held == "values" else {"data": {"name": "a"}, "datasets": {"a": rows}}
    )
    with pytest.raises(ReportError, match="100,001 rows of data"):
        draw({"mark": "point", **data}, prefix="a", label="a")
