"""Frames as CSV for people with spreadsheets: nothing that an event holds is taken for a formula.

Spreadsheets run what begins like a formula, quoted or not, and cut lines at `;` or tabs where their language says so.
So text that begins with = + - @ (full-width and small forms too, also after blanks), a tab or a line break gets an
apostrophe before it, and so does such a beginning after a `;`, a tab or a line break inside, also after quotes.  Characters without a
look of their own are written out, as in `auditkit.text`.  JSON is the exact form; this one is the safe one.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import msgspec
import polars as pl

from auditkit.query.frames import Frame
from auditkit.text import visible_lines

_ROWS = 10_000
_SIGNS = r"[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]"
_FORMULA = re.compile(rf'\A(?=\s*{_SIGNS}|[\t\r\n])|(?<=[;\t\r\n])(?=(?:[^\S\t\r\n]|")*{_SIGNS})')
_QUOTED = re.compile('[",;\r\n\t]|^$|^\\s|\\s$')


def to_csv(frame: Frame, file: str | Path | IO[str] | None = None) -> str | None:
    """Write a frame as CSV that is safe to open in a spreadsheet.

    There is a header, then a line per row, ending in a line feed; cells are quoted as RFC 4180 says.  Null is an empty cell
    and the empty text is `""` (Polars reads both back as they were; the csv module reads them alike).  Numbers and booleans
    stand bare, negative ones too; times are ISO 8601 with the offset of their column's zone, `Z` in UTC; durations are ISO
    8601, lists and structs JSON.

    Parameters
    ----------
    frame : pl.DataFrame or pl.LazyFrame
        Any frame; a lazy one is written batch by batch.
    file : str, Path, open text file or None, default None
        A path is written anew in UTF-8.  None: the text is returned.

    Returns
    -------
    str or None
        The text where no `file` is given.

    Examples
    --------
    >>> import polars as pl
    >>> print(to_csv(pl.DataFrame({"actor": ["=1+1", "", None], "value": [-5, 1, None]})), end="")
    actor,value
    '=1+1,-5
    "",1
    ,
    """
    if file is None:
        return "".join(csv_pieces(frame))
    if isinstance(file, (str, Path)):
        with Path(file).open("w", encoding="utf-8", newline="") as opened:
            opened.writelines(csv_pieces(frame))
    else:
        file.writelines(csv_pieces(frame))
    return None


def csv_pieces(frame: Frame) -> Iterator[str]:
    """Give a frame's CSV piece by piece: the header, then many lines at a time."""
    yield csv_line(frame.collect_schema().names())
    for batch in _batches(frame):
        yield "".join(",".join(cells) + "\n" for cells in zip(*map(_column, batch), strict=True))


def _batches(frame: Frame) -> Iterator[pl.DataFrame]:
    if isinstance(frame, pl.DataFrame):
        return frame.iter_slices(_ROWS)
    return iter(frame.collect_batches(maintain_order=True, chunk_size=_ROWS))


def _column(values: pl.Series) -> Iterable[str]:
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return map(_cell, values.to_list())
    known = {value: _cell(value) for value in values.unique().to_list()}  # texts repeat, and cost most
    return [known[value] for value in values.to_list()]


def csv_line(values: Iterable[Any]) -> str:
    r"""Return values as one line.

    >>> csv_line(['=HYPERLINK("//x")', -5, None, ""])
    '"\'=HYPERLINK(""//x"")",-5,,""\n'
    """
    return ",".join(map(_cell, values)) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, time)):
        return value.isoformat()
    return _text(value if isinstance(value, str) else _json(value))


def _json(value: Any) -> str:
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text[1:-1] if isinstance(value, (timedelta, bytes)) else text


def _text(text: str) -> str:
    safe = _FORMULA.sub("'", text)
    safe = safe if safe.isprintable() else visible_lines(safe)
    return '"' + safe.replace('"', '""') + '"' if _QUOTED.search(safe) else safe
