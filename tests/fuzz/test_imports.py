"""Files to import, whatever strangers made of them: each ends in records and reasons, or in an error of ours."""

import io
import json
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from auditkit.api import Trail
from auditkit.errors import AuditError
from auditkit.opening import create
from auditkit.sources.importer import import_records
from auditkit.sources.plans import ImportPlan
from auditkit.sources.presets import PRESETS, read_options, recognise
from auditkit.sources.readers import Format, items_of
from auditkit.sources.records import Item, Record
from auditkit.sources.tally import ImportSummary
from tests.fuzz.conftest import FUZZ
from tests.sources.preset_samples import SAMPLES

PIECES = (
    b"", b"\n", b"\r\n", b" ", b'"', b"'", b",", b":", b"{", b"}", b"[", b"]", b"<", b">", b"</", b"&", b"&x;", b"\\", b"\t",
    b"null", b"true", b"0", b"-1e999", b"NaN", b"99999999999999999999999", b"\xff", b"\x00", b"\xed\xa0\x80", b"\\ud800",
    b"\xef\xbb\xbf", b"\x1f\x8b", b"<!DOCTYPE log [<!ENTITY x 'y'>]>", b"<![CDATA[", b"<event>", b"<trace>", b'"key":', b"-",
    b"Feb 30", b"Foo 99", b"9999-99-99", b"%", b"[[[[[[[[", b'{"a":{"a":{"a":', "é\u2028\u202e".encode(),
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(0, 40), st.sampled_from(PIECES), st.integers(1, 4)),
    max_size=5,
)


def edited(content: bytes, edits: list[tuple[int, int, bytes, int]]) -> bytes:
    """Return content in which pieces were cut out and put in."""
    for at, length, piece, times in edits:
        at %= len(content) + 1
        content = content[:at] + piece * times + content[at + length :]
    return content


def read(content: bytes, kind: Format, name: str) -> list[Item]:
    """All items of a file by a preset's options."""
    stream = io.BufferedReader(io.BytesIO(content))
    options = replace(read_options(PRESETS[name], content), year=2026)
    return list(items_of(stream, kind, options, name=name, notes=[]))


def refusals(name: str) -> tuple[type[Exception], ...]:
    """Return what reading a file may raise: of CSV also what its header is refused with."""
    return (AuditError, ValueError) if PRESETS[name].format == "csv" else (AuditError,)


@FUZZ
@given(st.sampled_from(sorted(SAMPLES)), EDITS)
def test_an_edited_file_is_read_or_refused(name: str, edits: list[tuple[int, int, bytes, int]]) -> None:
    """Records hold JSON objects, ends rise, nothing of a file of lines is passed over, and errors are ours."""
    content = edited(SAMPLES[name].text.encode(), edits)
    preset = PRESETS[name]
    recognise(content)
    items = []
    with suppress(*refusals(name)):
        items = read(content, preset.format, name)
        if preset.format == "text":
            assert len(items) == sum(1 for line in content.split(b"\n") if line.strip())
    ends = [item.end for item in items]
    assert ends == sorted(ends)
    assert all(0 <= end <= len(content) for end in ends)
    for item in items:
        assert item.line >= 1
        item.reason.encode() if not isinstance(item, Record) else item.text.encode()
        if isinstance(item, Record):
            assert isinstance(json.loads(item.text), dict)


@FUZZ
@given(st.sampled_from(sorted(SAMPLES)), EDITS)
def test_what_an_edited_file_says_becomes_events_or_reasons(
    name: str, edits: list[tuple[int, int, bytes, int]]
) -> None:
    """Mapping ends in values of the right kind or a reason for each record."""
    content = edited(SAMPLES[name].text.encode(), edits)
    plan = ImportPlan(preset=name, tz="Europe/Berlin", year=2026)
    try:
        with plan.open(io.BytesIO(content)) as (source, mapping, _):
            records = [item for item in source if isinstance(item, Record)]
    except refusals(name):
        return
    mapped = mapping.columns(records)
    assert len(mapped.positions) + len(mapped.refused) == len(records)
    for column, values in mapped.columns.items():
        kinds = {"ts": int, "value": float}.get(column, str)
        assert all(value is None or isinstance(value, kinds) for value in values), column
    for text in mapped.columns["attrs"]:
        assert isinstance(json.loads(text), dict)


@FUZZ
@given(st.sampled_from(sorted(SAMPLES)), EDITS)
def test_each_record_of_an_edited_file_is_in_once(
    name: str, edits: list[tuple[int, int, bytes, int]]
) -> None:
    """What a file holds is events and dead letters, all of it, and importing it again adds no event."""
    content = edited(SAMPLES[name].text.encode(), edits)
    plan = ImportPlan(preset=name, tz="Europe/Berlin", year=2025)
    with tempfile.TemporaryDirectory() as folder, create(Path(folder) / "audit", maintain=False) as trail:
        try:
            first = import_content(trail, plan, content)
        except refusals(name):
            assert trail.end_seq == 0
            return
        with plan.open(io.BytesIO(content)) as (source, _, _):
            count = sum(1 for _ in source)
        assert first.events + first.duplicates + first.dead_letters == count
        again = import_content(trail, plan, content)
        assert again.events == 0
        assert trail.range().height == first.events


def import_content(trail: Trail, plan: ImportPlan, content: bytes) -> ImportSummary:
    """Import a file with this content."""
    with plan.open(io.BytesIO(content)) as (source, mapping, _):
        return import_records(trail, source, mapping, chunk_records=2)
