"""Event logs of process mining: events with their case, nested attributes, and XML that strangers wrote."""

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import IO, cast

import pytest

from auditkit.errors import CorruptionError
from auditkit.sources.records import Record
from auditkit.sources.xes_records import xes_records

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<log xes.version="1849-2016" xmlns="http://www.xes-standard.org/">\n'


def read(body: str, head: str = HEAD) -> list[Record]:
    """The records of a log with this content."""
    return list(xes_records(io.BytesIO(f"{head}{body}</log>".encode()), "orders.xes"))


def test_events_bring_their_case() -> None:
    """Each event is a record with its own attributes, typed, and those of its trace as `case:…`."""
    first, second, alone = read(
        """<extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
        <global scope="event"><string key="concept:name" value="?"/></global>
        <string key="origin" value="csv"/>
        <trace><string key="concept:name" value="order 7"/><int key="amount" value="12"/>
          <event><string key="concept:name" value="pay &amp; ship"/><date key="time:timestamp" value="2026-11-24T07:00:00Z"/>
            <float key="cost" value="1.5"/><boolean key="rush" value="true"/><id key="identity:id" value="u-1"/></event>
          <event><string key="concept:name" value="close"/></event>
        </trace>
        <trace><string key="concept:name" value="order 8"/></trace>
        <event><string key="concept:name" value="without a case"/></event>"""
    )
    assert first.fields == {
        "concept:name": "pay & ship",
        "time:timestamp": "2026-11-24T07:00:00Z",
        "cost": 1.5,
        "rush": True,
        "identity:id": "u-1",
        "case:concept:name": "order 7",
        "case:amount": 12,
    }
    assert second.fields == {"concept:name": "close", "case:concept:name": "order 7", "case:amount": 12}
    assert alone.fields == {"concept:name": "without a case"}
    assert [record.line for record in (first, second, alone)] == [7, 9, 12]
    assert json.loads(first.text) == first.fields


def test_nested_attributes_are_objects_and_lists() -> None:
    """An attribute with attributes of its own keeps its value; lists and containers keep their order and repeats."""
    [record] = read(
        """<event><string key="who" value="ann"><string key="role" value="clerk"/></string>
        <list key="parts"><values><string key="part" value="a"/><string key="part" value="b"/></values></list>
        <container key="box"><int key="n" value="1"/></container></event>"""
    )
    assert record.fields == {
        "who": {"value": "ann", "role": "clerk"},
        "parts": [{"values": [{"part": "a"}, {"part": "b"}]}],
        "box": [{"n": 1}],
    }


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "1_0", "1_0"),
        ("int", "٣", "٣"),
        ("int", "1" * 30, "1" * 30),
        ("float", "NaN", "NaN"),
        ("float", "1e999", "1e999"),
        ("float", "1_0.5", "1_0.5"),
        ("boolean", "yes", "yes"),
        ("int", "-7", -7),
        ("float", "-7.5E3", -7500.0),
    ],
)
def test_what_is_none_of_its_kind_stays_text(kind: str, text: str, value: object) -> None:
    """A number that is none, or none that JSON can hold, is kept as it stands."""
    [record] = read(f'<event><{kind} key="x" value="{text}"/></event>')
    assert record.fields == {"x": value}
    assert json.loads(record.text) == record.fields


BOMB = """<!DOCTYPE log [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<log><event><string key="concept:name" value="&b;"/></event>"""


@pytest.mark.parametrize(
    ("body", "head", "reason"),
    [
        ("", BOMB, "line 1: a document type, which no event log has"),
        ("", '<!DOCTYPE log SYSTEM "file:///etc/passwd"><log>', "line 1: a document type, which no event log has"),
        ('<event><string key="x" value="&own;"/></event>', HEAD, "not XML: undefined entity"),
        ("<event>", HEAD, "not XML: mismatched tag"),
        ("", "<html><log>", "line 1: not an event log (expected the element log, found 'html')"),
        ("<list>" * 60, HEAD, "line 3: attributes deeper than 40 levels"),
        (f'<event><string key="x" value="{"y" * 3_000_000}"/></event>', HEAD, "line 3: a tag longer than an event may be"),
        ('<event>' + '<string key="x" value="yyyyyyyy"/>' * 300_000, HEAD, "line 3: more attributes than an event may have"),
    ],
)  # fmt: skip
def test_what_no_event_log_is_is_refused(body: str, head: str, reason: str) -> None:
    """No entity is expanded, nothing is fetched, and nothing that an event could not hold is gathered."""
    with pytest.raises(CorruptionError, match=r"orders\.xes") as caught:
        read(body, head)
    assert caught.value.reason.startswith(reason)


def test_a_broken_file_gives_what_stood_before() -> None:
    """The events before the damage are there when the error comes."""
    whole = HEAD + '<event><int key="n" value="1"/></event>' * 5000 + "<event"
    records = xes_records(io.BytesIO(whole.encode()), "orders.xes")
    taken = []
    with pytest.raises(CorruptionError, match="not XML"):  # noqa: PT012 -- which record is the last does not matter
        for record in records:
            taken.append(record)
    assert len(taken) == 5000


class _Endless(io.RawIOBase):
    """A log of one long trace, made while it is read."""

    def __init__(self, events: int) -> None:
        self._parts = self._made(events)

    @staticmethod
    def _made(events: int) -> Iterator[bytes]:
        yield f'{HEAD}<trace><string key="concept:name" value="one"/>'.encode()
        for _ in range(events // 100):
            yield b'<event><string key="concept:name" value="step"/></event>' * 100
        yield b"</trace></log>"

    def read(self, _size: int = -1) -> bytes:
        """Return the next piece, whatever is asked for."""
        return next(self._parts, b"")


def test_memory_stays_flat() -> None:
    """Nothing of a log is held beyond the records not yet taken."""
    peaks = []
    for events in (1_000, 30_000):
        tracemalloc.start()
        stream = cast("IO[bytes]", _Endless(events))
        assert sum(1 for _ in xes_records(stream, "x")) == events
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000
