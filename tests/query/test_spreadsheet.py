"""CSV for spreadsheets: hostile text stays text, and everything reads back."""

import csv
import io
import json
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.query import to_csv
from auditkit.query.spreadsheet import csv_line

MORNING = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"
BLANKS = " \t\r\n\u00a0\u3000\u2003"
PIECES = st.one_of(
    st.sampled_from([*SIGNS, *BLANKS, "'", '"', ",", ";", "|", "\x00", "\u200b", "\u202e", "\ufeff"]),
    st.sampled_from(["1+1", "cmd|' /C calc'!A0", 'HYPERLINK("http://x")', "ann", "\r\n", "Åsa"]),
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=8).map("".join)


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet might take a cell for a formula."""
    return cell.lstrip().startswith(tuple(SIGNS))


def cells_of(text: str, delimiter: str = ",") -> list[list[str]]:
    """Read CSV as a spreadsheet does whose lists are separated so."""
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def written(frame: pl.DataFrame | pl.LazyFrame) -> str:
    """Return a frame as text."""
    text = to_csv(frame)
    assert text is not None
    return text


@settings(max_examples=300)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_no_text_becomes_a_formula(rows: list[tuple[str, str]]) -> None:
    """However text is put together, no cell of it is a formula, nor any line or cell that other separators make."""
    text = written(pl.DataFrame(rows, schema={"actor": pl.String, "resource": pl.String}, orient="row"))
    read = cells_of(text)
    assert len(read) == len(rows) + 1
    assert all(len(row) == 2 for row in read)
    assert not any(is_formula(cell) or cell.startswith(("\t", "\r", "\n")) for row in read for cell in row)
    assert not any(is_formula(part) for line in text.split("\n") for part in re.split("[;\t]", line)[1:])
    for row in cells_of(text, ";"):
        assert not any(is_formula(cell) for cell in row)


@settings(max_examples=100)
@given(
    st.lists(
        st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters=";")), max_size=5
    )
)
def test_harmless_text_reads_back_to_the_letter(texts: list[str]) -> None:
    """What does not begin like a formula is not changed; what does has an apostrophe before it and nothing else."""
    read = cells_of(
        written(pl.DataFrame({"n": 1, "actor": texts}, schema={"n": pl.Int64, "actor": pl.String}))
    )
    for text, (_, cell) in zip(texts, read[1:], strict=True):
        assert cell == (f"'{text}" if is_formula(text) else text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        ("", '""'),
        ("ann", "ann"),
        ("a,b", '"a,b"'),
        ('say "no"', '"say ""no"""'),
        (" a", '" a"'),
        ("a;b", '"a;b"'),
        ("-5", "'-5"),
        ("=1", "'=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("  @SUM(A1)", "'  @SUM(A1)"),
        ("\tx", '"\'\tx"'),
        ("x; =1", '"x;\' =1"'),
        ("x\n=1", '"x\n\'=1"'),
        ("x=1", "x=1"),
        ("x, -5", '"x, -5"'),
        ("a\x1b[31m\u202eb", "a<U+001B>[31m<U+202E>b"),
        ("\x00=1", "<U+0000>=1"),
        (-5, "-5"),
        (-0.5, "-0.5"),
        (2**63, "9223372036854775808"),
        (Decimal("-1.50"), "-1.50"),
        (True, "true"),
        (MORNING, "2026-11-24T07:30:00Z"),
        (MORNING.replace(microsecond=5), "2026-11-24T07:30:00.000005Z"),
        (datetime.fromisoformat("2026-10-25T02:30+01:00"), "2026-10-25T02:30:00+01:00"),
        (date(2026, 11, 24), "2026-11-24"),
        (time(7, 30), "07:30:00"),
        (timedelta(minutes=30), "PT1800S"),
        (timedelta(minutes=-30), "'-PT1800S"),
        (b"\x00\xff", "AP8="),
        (["=1", -1, None], '"[""=1"",-1,null]"'),
        ({"a": MORNING}, '"{""a"":""2026-11-24T07:30:00Z""}"'),
    ],
)  # fmt: skip
def test_cells(value: object, expected: str) -> None:
    """Every kind of value has its form: texts quoted and disarmed, numbers bare, times and lists in words of a standard."""
    line = csv_line([value, 0])
    assert line == f"{expected},0\n"
    assert next(csv.reader(io.StringIO(line, newline="")))[1] == "0"


def test_null_and_empty_differ() -> None:
    """Null is an empty cell and the empty text is quoted, so that a reader that looks can tell; in one column too."""
    for frame in (
        pl.DataFrame({"n": [1, 2, 3], "actor": [None, "", "ann"]}),
        pl.DataFrame({"actor": [None, "", "ann"]}),
    ):
        text = written(frame)
        assert pl.read_csv(io.StringIO(text)).equals(frame)


def test_columns_of_numbers_are_numbers_to_readers() -> None:
    """Negative numbers, whole and fractional, and booleans are read back as what they were."""
    frame = pl.DataFrame({"n": [-5, None, 2**62], "x": [-0.1, 1e300, None], "b": [True, False, None]})
    assert pl.read_csv(io.StringIO(written(frame))).equals(frame)


def test_dictionaries_lists_and_structs_are_written() -> None:
    """Dictionary columns are text, nested ones JSON, which stays JSON however hostile it is."""
    frame = pl.DataFrame(
        {"actor": ["=1", None], "tags": [["-1", "x;=2"], None], "who": [{"a": "\n=3"}, None]},
        schema_overrides={"actor": pl.Categorical},
    )
    header, first, second = cells_of(written(frame))
    assert header == ["actor", "tags", "who"]
    assert first[0] == "'=1"
    assert json.loads(first[1]) == ["-1", "x;'=2"]
    assert json.loads(first[2]) == {"a": "\n=3"}
    assert second == ["", "", ""]


def test_headers_are_texts_too() -> None:
    """A column's name is made safe as a cell is; a frame without rows is its header, one without columns a line."""
    assert written(pl.DataFrame({"=1+1": [], "a,b": []})) == '\'=1+1,"a,b"\n'
    assert written(pl.DataFrame()) == "\n"


@pytest.mark.parametrize("rows", [0, 3, 25_000])
def test_lazy_frames_and_files_have_the_same_text(rows: int, tmp_path: Path) -> None:
    """A frame that is written batch by batch, to a path or an open file, is the text of the whole, in its order."""
    frame = pl.DataFrame(
        {"n": range(rows), "actor": ["Åsa\n"] * rows}, schema={"n": pl.Int64, "actor": pl.String}
    )
    text = written(frame)
    assert [row[0] for row in cells_of(text)[1:]] == [str(n) for n in range(rows)]
    assert written(frame.lazy()) == text
    assert to_csv(frame, tmp_path / "a.csv") is None
    assert to_csv(frame.lazy(), str(tmp_path / "b.csv")) is None
    for name in ("a.csv", "b.csv"):
        assert (tmp_path / name).read_bytes() == text.encode()
    opened: Any = io.StringIO(newline="")
    to_csv(frame, opened)
    assert opened.getvalue() == text
