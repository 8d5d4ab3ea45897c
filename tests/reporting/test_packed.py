"""Events inside a page: what is packed is what is unpacked, within bounds, and nothing else passes for events."""

import base64
import gzip
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from auditkit.display.tables import CELL_CHARACTERS
from auditkit.reporting.packed import (
    COLUMNS,
    MOST_BYTES,
    MOST_EVENTS,
    TEXTS,
    pack_events,
    page_data,
    unpack_events,
)
from tests.reporting.material import PAYLOADS

START = datetime(2026, 10, 24, 23, tzinfo=UTC)


def events(count: int, **columns: list[Any]) -> pl.DataFrame:
    """Return events 20 minutes apart, from before the night in which summer time ends."""
    given: dict[str, list[Any]] = {
        "seq": list(range(count)),
        "ts": [START + timedelta(minutes=20 * at) for at in range(count)],
        **{name: [f"{name}-{at % 3}" for at in range(count)] for name in TEXTS},
        **columns,
    }
    return pl.DataFrame({name: given[name] for name in COLUMNS})


def opened(text: str | None) -> Any:
    """Return what is packed as JSON."""
    assert text is not None
    return json.loads(gzip.decompress(base64.b64decode(text)))


def packed(content: object) -> str:
    """Return anything packed as events are."""
    return base64.b64encode(gzip.compress(json.dumps(content).encode())).decode()


def test_events_travel_unchanged() -> None:
    """Order, nulls, empty texts and hostile ones come out as they went in."""
    texts = [None, "", *PAYLOADS]
    frame = events(len(texts), actor=texts)
    found = unpack_events(pack_events(frame))
    assert found is not None
    assert found.seq == frame["seq"].to_list()
    assert found.ts == frame["ts"].dt.timestamp("us").to_list()
    actors = found.columns["actor"]
    assert [None if code < 0 else actors.values[code] for code in actors.codes] == texts


def test_the_page_gets_labels_and_local_offsets() -> None:
    """Values are labels without unseen characters, and the hour that comes twice is marked."""
    found = unpack_events(pack_events(events(9, actor=["a\u202eb"] * 9)))
    assert found is not None
    page = opened(page_data(found, "Europe/Stockholm"))
    assert page["runs"] == [[6, 7_200_000_000, ""], [3, 3_600_000_000, " (CET)"]]
    assert page["columns"]["actor"]["values"] == ["a<U+202E>b"]
    assert (page["digits"], page["seq"], page["ts"][1:]) == (0, [0] + [1] * 8, [1_200_000_000] * 8)


def test_bounds() -> None:
    """Too many events, or events too large, are not taken along; a long text is cut as in a table."""
    assert pack_events(events(MOST_EVENTS + 1)) is None
    assert pack_events(events(MOST_EVENTS)) is not None
    large = ["x" * CELL_CHARACTERS + str(at) for at in range(MOST_EVENTS)]
    assert pack_events(events(MOST_EVENTS, resource=large)) is None
    found = unpack_events(pack_events(events(1, resource=["x" * 60_000])))
    assert found is not None
    assert found.columns["resource"].values[0].endswith("(58,000 more characters)")


def good() -> dict[str, Any]:
    """Return two events as they are packed."""
    content: dict[str, Any] = opened(pack_events(events(2)))
    return content


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"seq": [0]},
        {"seq": ["0", "1"]},
        {"ts": [2, 1]},
        {"columns": {}},
        {"columns": {**good()["columns"], "actor": {"values": ["a"], "codes": [0, 1]}}},
        {"columns": {**good()["columns"], "actor": {"values": ["a"], "codes": [0]}}},
        {"columns": {**good()["columns"], "actor": {"values": ["a"], "codes": [0, -2]}}},
        {"columns": {**good()["columns"], "more": {"values": ["a"], "codes": [0, 0]}}},
    ],
)
def test_what_is_not_events_is_left_out(change: dict[str, Any]) -> None:
    """A notebook may have been changed: what does not add up is not shown."""
    assert unpack_events(packed(good())) is not None
    assert unpack_events(packed({**good(), **change})) is None


@pytest.mark.parametrize(
    "data", [None, 7, "", "!", "AAAA", "é", base64.b64encode(zlib.compress(b"{}")).decode()]
)
def test_what_cannot_be_unpacked_is_left_out(data: object) -> None:
    """Neither text that is no base64, nor bytes that are no gzip, nor another type end a report."""
    assert unpack_events(data) is None


def test_a_bomb_is_not_unpacked() -> None:
    """A few kilobytes that would take gigabytes are read up to the bound."""
    bomb = base64.b64encode(gzip.compress(b'"' + b"x" * (MOST_BYTES + 1_000_000) + b'"')).decode()
    assert len(bomb) < 100_000
    assert unpack_events(bomb) is None
