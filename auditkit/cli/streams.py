"""Frames for other programs: JSON lines, exact, and CSV, safe to open in a spreadsheet.  Always UTF-8.

JSON keeps every value as it is; characters that act on a terminal are written as escapes, which mean the same.  CSV
is that of `auditkit.query.to_csv`.
"""

import re
from typing import IO, Any

import msgspec
import polars as pl

from auditkit.query.spreadsheet import csv_pieces

_SLICE_ROWS = 10_000
_ACTING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def write_json(frame: pl.DataFrame, out: IO[bytes]) -> None:
    """Write one JSON object per row; a column `attrs` becomes the object that its text is."""
    for rows in frame.iter_slices(_SLICE_ROWS):
        _write_all(out, b"".join(json_line(row) for row in rows.iter_rows(named=True)))


def json_line(row: dict[str, Any]) -> bytes:
    r"""Return a row as one line of JSON.

    >>> json_line({"actor": "\x9b31m", "attrs": '{"bytes": 512}'})
    b'{"actor":"\\u009b31m","attrs":{"bytes": 512}}\n'
    """
    attrs = row.get("attrs")
    if isinstance(attrs, str):
        row = {**row, "attrs": _embedded(attrs)}
    text = msgspec.json.encode(row).decode()
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def write_csv(frame: pl.DataFrame, out: IO[bytes]) -> None:
    """Write a header and one line per row."""
    for piece in csv_pieces(frame):
        _write_all(out, piece.encode())


def _write_all(out: IO[bytes], content: bytes) -> None:
    """Write everything: an unbuffered stream (PYTHONUNBUFFERED) may take only a part at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[out.write(rest) or 0 :]


def _embedded(text: str) -> Any:
    """Return JSON text to be written as it stands, on one line; what is no JSON stays text."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text
    return msgspec.Raw(text.replace("\n", " ").replace("\r", " ").encode())
