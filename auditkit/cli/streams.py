"""Frames for other programs: JSON lines, exact, and CSV, safe to open in a spreadsheet.  Always UTF-8.

JSON keeps every value as it is; characters that act on a terminal are written as escapes, which mean the same.  CSV
is for people with spreadsheets: a cell that would start a formula gets an apostrophe, control characters are written
out, and null is an empty cell where `""` is quoted.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any

import msgspec
import polars as pl

from auditkit.plaintext import visible_lines

_SLICE_ROWS = 10_000
_ACTING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_FORMULA = re.compile("\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_QUOTED = re.compile('[",\r\n]|^$|^\\s|\\s$')


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
    _write_all(out, (",".join(_quoted(_disarmed(name)) for name in frame.columns) + "\n").encode())
    for rows in frame.iter_slices(_SLICE_ROWS):
        _write_all(out, "".join(_csv_lines(rows)).encode())


def csv_cell(value: Any) -> str:
    """Return a value as one cell.

    >>> csv_cell('=HYPERLINK("//x")'), csv_cell(-5), csv_cell(None), csv_cell("")
    ('"\\'=HYPERLINK(""//x"")"', '-5', '', '""')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(_disarmed(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return _quoted(_disarmed(msgspec.json.encode(value).decode()))


def _write_all(out: IO[bytes], content: bytes) -> None:
    """Write everything: an unbuffered stream (PYTHONUNBUFFERED) may take only a part at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[out.write(rest) or 0 :]


def _csv_lines(rows: pl.DataFrame) -> Iterator[str]:
    for row in rows.iter_rows():
        yield ",".join(map(csv_cell, row)) + "\n"


def _disarmed(text: str) -> str:
    return ("'" if _FORMULA.match(text) else "") + visible_lines(text)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _embedded(text: str) -> Any:
    """Return JSON text to be written as it stands, on one line; what is no JSON stays text."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text
    return msgspec.Raw(text.replace("\n", " ").replace("\r", " ").encode())
