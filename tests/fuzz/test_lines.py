"""Dead letters, consumers' files and the outputs of notebooks, of any content."""

import json
import zlib
from pathlib import Path
from typing import Any

import nbformat
from hypothesis import given
from hypothesis import strategies as st

from auditkit.disk.layout import Layout
from auditkit.display import cards, tables
from auditkit.errors import AuditError
from auditkit.queue.consumers import SLOT_BYTES, read_positions
from auditkit.queue.dead_letters import read_numbered
from auditkit.reporting.cover import MIME as COVER_MIME
from auditkit.reporting.outputs import blocks
from tests.fuzz.conftest import FUZZ

NUMBERS = st.integers(-(1 << 70), 1 << 70) | st.floats()
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
LETTERS = st.dictionaries(
    st.sampled_from(
        ["recorded_us", "reason", "field", "line", "input", "consumer", "seq", "damaged", "more"]
    ),
    JSON,
).map(lambda fields: {"recorded_us": 1_795_000_000_000_000, "reason": "r", **fields})
MOVES = st.dictionaries(
    st.sampled_from(["format", "generation", "next_seq", "missed", "given_up", "moved_us", "more"]), JSON
).map(lambda fields: {"format": 1, "generation": 3, "next_seq": 5, **fields})


def letter(fields: Any) -> bytes:
    """Return a line as a day's file has it."""
    body = json.dumps(fields).encode()
    return body[:-1] + b', "crc": %d}\n' % zlib.crc32(body)


def slot(fields: Any) -> bytes:
    """Return a line as a consumer's file has it."""
    crc = zlib.crc32(json.dumps(fields).encode())
    return json.dumps({**fields, "crc": crc}).encode().ljust(SLOT_BYTES - 1)[: SLOT_BYTES - 1] + b"\n"


@FUZZ
@given(st.lists(LETTERS.map(letter) | JSON.map(letter) | st.binary(max_size=90), max_size=4))
def test_any_lines_are_letters_or_damaged_ones(built: Path, lines: list[bytes]) -> None:
    """A line is never left out without a word, and what is shown of it is text."""
    layout = Layout(built.parent / "letters")
    layout.dead_letters.mkdir(parents=True, exist_ok=True)
    data = b"".join(lines)
    (layout.dead_letters / "2026-11-24.jsonl").write_bytes(data)
    found = list(read_numbered(layout))
    assert len(found) == data.count(b"\n")
    assert all(isinstance(letter.reason, str) and isinstance(letter.input, str) for _, letter in found)


@FUZZ
@given(
    st.lists(
        MOVES.map(slot) | JSON.map(lambda value: slot({"v": value})) | st.binary(max_size=600), max_size=3
    )
)
def test_any_slots_are_positions_or_none(built: Path, slots: list[bytes]) -> None:
    """What is found is a position whose numbers can be used."""
    layout = Layout(built.parent / "consumers of any kind")
    layout.consumers.mkdir(parents=True, exist_ok=True)
    layout.consumer_file("any").write_bytes(b"".join(slots))
    try:
        found = list(read_positions(layout))
    except AuditError:
        return
    assert all(0 <= position.next_seq < 1 << 63 for _, position in found)


MIMES = st.sampled_from(
    [
        "text/plain",
        "text/html",
        "image/png",
        "image/svg+xml",
        "application/json",
        "application/vnd.vegalite.v5+json",
        "application/vnd.vegalite.v6+json",
        COVER_MIME,
        tables.MIME,
        cards.MIME,
    ]
)
BUNDLES = st.dictionaries(MIMES, JSON | st.text(max_size=200), max_size=3)


@FUZZ
@given(BUNDLES, st.dictionaries(MIMES, JSON, max_size=2), st.text(max_size=50), st.booleans())
def test_any_output_becomes_a_block(
    data: dict[str, Any], metadata: dict[str, Any], text: str, static: bool
) -> None:
    """Of whatever a notebook holds: a block, without a script."""
    outputs = [
        nbformat.from_dict({"output_type": "display_data", "data": data, "metadata": metadata}),  # type: ignore[no-untyped-call]
        nbformat.from_dict({"output_type": "stream", "name": "stdout", "text": text}),  # type: ignore[no-untyped-call]
        nbformat.from_dict({"output_type": "error", "ename": text, "evalue": text, "traceback": [text]}),  # type: ignore[no-untyped-call]
    ]
    found = list(blocks(outputs, prefix="cell", static=static))
    assert len(found) == 3
    assert "<script" not in str(getattr(found[0], "html", "")).lower()
