"""What stays of an explorer: a chart of what is selected, and its newest events."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from auditkit.api import Trail
from auditkit.explorer.still import first_rows, picture
from auditkit.timerange import to_us
from tests.reporting.material import PAYLOADS

FIRST = datetime(2026, 11, 24, 8, tzinfo=UTC)


def test_the_picture_is_of_the_selection(trail: Trail) -> None:
    """It has the bars that are selected, what was selected in words, and the zone of the explorer."""
    rows = [
        {"ts": FIRST + timedelta(minutes=n), "action": "a", "outcome": "ok" if n % 2 else "failed"}
        for n in range(60)
    ]
    trail.extend(rows).wait()
    explorer = trail.explore(tz="Europe/Stockholm")
    figure = picture(explorer.shown, "all events", "Europe/Stockholm")
    assert figure.title == "60 events"
    assert figure.subtitle == "Events per minute by outcome. Selected: all events"
    assert figure.data["count"].sum() == 60
    brush = (to_us(FIRST), to_us(FIRST + timedelta(minutes=10)))
    selection = {"brush": brush, "keep": {}, "leave_out": {"outcome": ["ok"]}, "text": ""}
    explorer._heard(explorer, {"op": "ask", "n": 1, "selection": selection}, [])
    figure, table = explorer._still()
    assert figure.title == "5 of 60 events"
    assert figure.subtitle.endswith(
        'Selected: outcome is not "ok", 2026-11-24 09:00:00 CET to 2026-11-24 09:10:00 CET'
    )
    assert (figure.data["count"].sum(), figure.data["outcome"].unique().to_list()) == (5, ["failed"])
    assert table.caption == "Newest of the selected events (5 rows)"
    assert table.columns[0].name == "ts (Europe/Stockholm)"
    assert table.rows[0][0] == "2026-11-24 09:08:00"


def test_hostile_text_is_text(make_trail: Callable[..., Trail]) -> None:
    """Values of events are in the chart and the table as text that a reader sees."""
    trail = make_trail("hostile")
    trail.extend(
        [{"ts": FIRST, "action": text, "outcome": text, "resource": text} for text in PAYLOADS]
    ).wait()
    shown = trail.explore(where={"action": list(PAYLOADS)}).shown
    figure = picture(shown, "\u202e".join(PAYLOADS) * 20, "UTC")
    assert "\u202e" not in json.dumps(figure.to_dict(), ensure_ascii=False)
    assert len(figure.subtitle) < 400
    html = first_rows(shown, "UTC")._repr_mimebundle_()["text/html"]
    assert "<script" not in html
    assert "&lt;" in html
