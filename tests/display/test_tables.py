"""Tables: the first rows as they are, and how much they are of the whole."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pytest

from auditkit.display.tables import MIME, read_table
from auditkit.reporting import listing, table


def test_a_table_is_never_a_sample() -> None:
    """The first rows are shown in their order, and the caption says of how many."""
    shown = table(pl.DataFrame({"n": range(41_230)}), "Numbers", limit=3)
    assert shown.rows == (("0",), ("1",), ("2",))
    assert shown.caption == "Numbers (first 3 of 41,230 rows)"
    assert table(pl.DataFrame({"n": [1]}), "One", total=7).extent == "first 1 of 7 rows"


def test_values_are_exact() -> None:
    """Numbers are shown in full with thousands apart, null is no text, and an empty text is one."""
    frame = pl.DataFrame({"i": [12_345], "f": [0.1], "b": [True], "t": [""], "n": [None]})
    assert table(frame, "Values").rows == (("12,345", "0.1", "true", "", None),)


def test_times_name_their_zone() -> None:
    """The heading names the zone, which `tz` changes, and a repeated hour is marked."""
    frame = pl.DataFrame(
        {"ts": [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]}
    )
    assert table(frame, "UTC").columns[0].name == "ts (UTC)"
    local = table(frame, "Local", tz="Europe/Stockholm")
    assert local.columns[0].name == "ts (Europe/Stockholm)"
    assert local.rows == (("2026-10-25 02:30:00",), ("2026-10-25 02:30:00 (CET)",))


def test_times_of_a_column_have_the_same_digits() -> None:
    """A column shows as many digits of a second as its finest value needs."""
    moments = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, microsecond=570_000, tzinfo=UTC)]
    assert table(pl.DataFrame({"ts": moments}), "T").rows == (
        ("2026-01-01 00:00:00.000",),
        ("2026-01-01 00:00:00.570",),
    )


def test_hostile_cells_are_escaped_in_jupyterlab_and_visible_in_a_terminal() -> None:
    """Cells, headings and titles cannot act where the notebook shows them."""
    shown = table(pl.DataFrame({"<b>": ["<script>\x1b[31m\u202e"]}), "<i>title\x1b")
    data = shown._repr_mimebundle_()
    assert "<script" not in data["text/html"]
    assert "<i>" not in data["text/html"]
    assert data["text/html"].startswith(
        '<table class="tex2jax_ignore mathjax_ignore">'
    )  # `$x$` is no formula
    assert "<b>" not in data["text/html"]
    assert "\x1b" not in data["text/plain"]
    assert "<U+202E>" in data["text/plain"]


def test_a_table_survives_the_notebook() -> None:
    """What is read back from JSON is the same table; what is not one is refused."""
    shown = table(pl.DataFrame({"a": [1, None]}), "T")
    data = json.loads(json.dumps(shown._repr_mimebundle_()[MIME]))
    assert read_table(data) == shown
    broken: object
    for broken in ({**data, "version": 2}, {**data, "rows": [["1", "2"]]}, {**data, "rows": [[1]]}, [], None):
        assert read_table(broken) is None


@dataclass
class _State:
    depth: int
    last_prune: datetime | None


def test_a_listing_shows_the_fields_of_a_value() -> None:
    """A dataclass becomes names and values; anything else is refused."""
    shown = listing(_State(depth=1200, last_prune=None), "State")
    assert shown.rows == (("depth", "1,200"), ("last prune", None))
    assert shown.extent == ""
    with pytest.raises(TypeError, match="not a dataclass"):
        listing({}, "State")


def test_an_empty_frame_is_a_table_without_rows() -> None:
    """No rows is a table as well."""
    assert table(pl.DataFrame({"a": []}), "None").extent == "0 rows"
    empty = table(pl.DataFrame({"a": []}), "Failures", empty="No failures")
    assert repr(empty).startswith("Failures (No failures)")
    assert table(pl.DataFrame({"a": [1]}), "Failures", empty="No failures").extent == "1 row"
