"""What stays of an explorer where no kernel runs: a picture of the selected events over time, and the first of them.

Both are outputs of their own, such as any chart and any table is: a report, a site and a notebook that is opened again show
these, and while the explorer is alive beside them it hides them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from auditkit.charts import Figure, over_time
from auditkit.display.tables import Table, table
from auditkit.text import counted, visible

ROWS = 10
"""How many events are shown."""
_COLUMNS = ("ts", "actor", "action", "resource", "outcome", "source", "origin")
_MOST_WORDS = 300


def picture(shown: Mapping[str, Any], words: str, tz: str) -> Figure:
    """Return the bars of what an explorer shows as a chart; `words` say what was selected."""
    edges, outcomes, brush = (
        shown["edges"],
        [*shown["outcomes"], "other outcomes"],
        shown["selection"]["brush"],
    )
    counts = [
        (edge, outcome, count)
        for edge, bar in zip(edges, shown["bars"], strict=False)
        if brush is None or brush[0] <= edge < brush[1]
        for outcome, count in zip(outcomes, bar, strict=True)
        if count
    ]
    schema = {"ts": pl.Int64(), "outcome": pl.String(), "count": pl.Int64()}
    frame = pl.DataFrame(counts, schema=schema, orient="row")
    frame = frame.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(tz))
    figure = over_time(frame, every=shown["every"] or "1h", by="outcome", title=_extent(shown))
    said = visible(words)
    said = said if len(said) <= _MOST_WORDS else f"{said[:_MOST_WORDS]}\u2026"
    return replace(figure, subtitle=f"{figure.subtitle}. Selected: {said}")


def first_rows(shown: Mapping[str, Any], tz: str) -> Table:
    """Return the newest of the selected events as a table."""
    schema = {name: pl.Int64() if name == "ts" else pl.String() for name in _COLUMNS}
    rows = [{name: row[name] for name in _COLUMNS} for row in shown["rows"][:ROWS]]
    frame = pl.DataFrame(rows, schema=schema)
    frame = frame.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))
    return table(frame, "Newest of the selected events", total=shown["total"], tz=tz, empty="no events")


def _extent(shown: Mapping[str, Any]) -> str:
    total, every = shown["total"], shown["all"]
    return counted(every, "event") if total == every else f"{total:,} of {counted(every, 'event')}"
