"""Records out of JSON lines, CSV and Parquet files, and the bad lines between them."""

import gzip
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auditkit.errors import CorruptionError
from auditkit.event import MAX_ATTRS_BYTES
from auditkit.sources.readers import Format, ReadOptions, guess_format, open_input
from auditkit.sources.records import Item, Record, Unreadable


def read(content: bytes, kind: Format, **more: Any) -> list[Item]:
    """All items of a stream with this content, wherever they end."""
    with open_input(io.BytesIO(content), kind, ReadOptions(**more)) as source:
        return [msgspec.structs.replace(item, end=0) for item in source]


def test_json_lines_keep_their_text() -> None:
    """A record's text is its line as it stands, whatever its spelling."""
    line = '{ "b":1e3, "a":"\\u00e9", "a":2 }'
    [record] = read(f"{line}\r\n".encode(), "jsonl")
    assert record == Record(1, {"b": 1000.0, "a": 2}, line)


def test_empty_lines_count_but_are_no_records() -> None:
    """Line numbers are those an editor shows; a byte order mark and a missing last line end do not matter."""
    items = read(b'\xef\xbb\xbf{"a":1}\n\n  \n{"a":2}', "jsonl")
    assert [item.line for item in items] == [1, 4]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a":', "not JSON: Input data was truncated"),
        (b"[1,2]", "JSON, but not an object"),
        (b'"text"', "JSON, but not an object"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'{"a":NaN}', "not JSON: JSON is malformed: invalid character (byte 5)"),
        (b'{"a":' * 5000, "not JSON: "),
        (b"\x00\x1b]0;owned\x07", "not JSON: "),
    ],
)
def test_bad_json_lines(line: bytes, reason: str) -> None:
    """A line that is no JSON object is reported with number, reason and content, and reading goes on."""
    before, bad, after = read(b'{"n":1}\n' + line + b'\n{"n":2}\n', "jsonl")
    assert isinstance(before, Record)
    assert isinstance(after, Record)
    assert isinstance(bad, Unreadable)
    assert (bad.line, after.line) == (2, 3)
    assert bad.reason.startswith(reason)
    assert bad.input == line.decode(errors="backslashreplace")


def test_overlong_lines_are_cut() -> None:
    """Of a line longer than an event can hold only the beginning is kept, and its length is reported."""
    long = b'{"a":"' + b"x" * (5 * MAX_ATTRS_BYTES) + b'"}'
    bad, after = read(long + b'\n{"n":2}\n', "jsonl")
    assert isinstance(bad, Unreadable)
    assert str(len(long) + 1) in bad.reason
    assert len(bad.input) <= MAX_ATTRS_BYTES + 2
    assert after == Record(2, {"n": 2}, '{"n":2}')


def test_the_longest_line_is_read() -> None:
    """A line of exactly as many bytes as attrs may have is a record."""
    line = b'{"a":"' + b"x" * (MAX_ATTRS_BYTES - 8) + b'"}'
    assert len(line) == MAX_ATTRS_BYTES
    [record] = read(line + b"\r\n", "jsonl")
    assert isinstance(record, Record)


def test_csv_rows() -> None:
    """A row is a record of text under the header: an empty cell is null as a field and stays in the text."""
    text = b'time,who,what\r\n2026-01-01,"ann, the ""boss""",\r\n\r\n2026-01-02,bob,"two\nlines"\r\n2026-01-03,c,d'
    first, second, third = read(text, "csv")
    assert first == Record(
        2,
        {"time": "2026-01-01", "who": 'ann, the "boss"', "what": None},
        '{"time":"2026-01-01","who":"ann, the \\"boss\\"","what":""}',
    )
    assert isinstance(second, Record)
    assert (second.line, second.fields["what"]) == (4, "two\nlines")
    assert third.line == 6


@pytest.mark.parametrize(
    ("row", "reason", "kept"),
    [
        (b"1,2", "row does not fit the header (expected 3 cells, found 2)", "1,2"),
        (b"1,2,3,4", "row does not fit the header (expected 3 cells, found 4)", "1,2,3,4"),
        (b'"1"x,2,3', "not CSV: ',' expected after '\"'", '"1"x,2,3'),
        (b"1,\xff,3", "not UTF-8; --encoding says what it is, such as cp1252", "1,\\xff,3"),
    ],
)
def test_bad_csv_rows(row: bytes, reason: str, kept: str) -> None:
    """A row that is no record is reported with the line it begins on, and reading goes on behind it."""
    items = read(b"a,b,c\n1,2,3\n" + row + b"\n4,5,6\n", "csv")
    assert items[1] == Unreadable(3, reason, kept)
    assert items[2] == Record(4, {"a": "4", "b": "5", "c": "6"}, '{"a":"4","b":"5","c":"6"}')
    assert len(items) == 3


@pytest.mark.parametrize("quoted", ['"2', '"17 inch', '"2,2', '"'])
def test_csv_quote_without_end(quoted: str) -> None:
    """A quote that never closes costs its own line; reading goes on at the next one."""
    items = read(f'a,b\n1,{quoted}\n3,4\n"5 ""x""",6\n'.encode(), "csv")
    assert [item.line for item in items] == [2, 3, 4]
    assert isinstance(items[0], Unreadable)
    assert items[0].input == f"1,{quoted}"
    assert [item.fields for item in items[1:] if isinstance(item, Record)] == [
        {"a": "3", "b": "4"},
        {"a": '5 "x"', "b": "6"},
    ]


def test_csv_quote_is_looked_for_within_bounds() -> None:
    """A quote is not looked for beyond what an event can hold; reading goes on behind the line that opens it."""
    hostile = b'1,"' + b"y" * 1000 + b"\n" + (b'y","' + b"y" * 1000 + b"\n") * 2000
    items = read(b"a,b\n" + hostile + b"3,4\n", "csv")
    first = items[0]
    assert isinstance(first, Unreadable)
    assert first.reason == "not CSV: a quote is not closed"
    assert len(first.input) < 2000
    assert items[-1] == Record(2003, {"a": "3", "b": "4"}, '{"a":"3","b":"4"}')


def test_csv_delimiters(tmp_path: Path) -> None:
    """The delimiter is a comma, a tab in .tsv files, or what is asked for."""
    table = tmp_path / "t.tsv"
    table.write_bytes(b"a\tb\n1\t2\n")
    with open_input(table, "csv") as source:
        assert [item.line for item in source] == [2]
    [record] = read(b"a;b\n1;2\n", "csv", delimiter=";")
    assert isinstance(record, Record)
    assert record.fields == {"a": "1", "b": "2"}


@pytest.mark.parametrize("header", [b'"a\n', b'"a"b\n', b"akt\xf6r\n"])
def test_csv_header_must_be_read(header: bytes) -> None:
    """A header that is no CSV, or not UTF-8, is an error, not a dead letter."""
    with pytest.raises(ValueError, match="csv header"):
        read(header + b"1,2,3\n", "csv")


def test_empty_files() -> None:
    """A file with nothing in it has no records."""
    assert read(b"", "jsonl") == []
    assert read(b"", "csv") == []
    assert read(b"a,b\n", "csv") == []


def test_parquet_rows(tmp_path: Path) -> None:
    """Parquet rows come as Python values with times to the microsecond, and as JSON of the whole row."""
    path = tmp_path / "t.parquet"
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    table = pa.table(
        {
            "at": pa.array([moment, None], pa.timestamp("ns", "UTC")),
            "who": pa.array(["ann", "bob"]).dictionary_encode(),
            "n": pa.array([1.5, float("nan")]),
            "deep": pa.array([{"when": [moment + timedelta(seconds=1)]}, None], pa.struct([("when", pa.list_(pa.timestamp("ns", "UTC")))])),
            "cost": pa.array([Decimal("1.10"), None]),
            "raw": pa.array([b"\x00", None]),
        }
    )  # fmt: skip
    pq.write_table(table, path)
    with open_input(path, "parquet") as source:
        assert source.total == 2
        first, second = list(source)
        assert source.done == 2
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert first.fields["at"] == moment
    assert msgspec.json.decode(first.text) == {
        "at": "2026-01-01T12:00:00Z",
        "who": "ann",
        "n": 1.5,
        "deep": {"when": ["2026-01-01T12:00:01Z"]},
        "cost": "1.10",
        "raw": "AA==",
    }
    assert msgspec.json.decode(second.text)["n"] == "nan"
    assert (first.line, second.line) == (1, 2)


def test_gzip_is_recognised_by_its_bytes(tmp_path: Path) -> None:
    """A gzip stream is read whatever the file is called, from a pipe too."""
    packed = gzip.compress(b'{"a":1}\n{"a":2}\n')
    path = tmp_path / "events.jsonl"
    path.write_bytes(packed)
    with open_input(path, "jsonl") as source:
        assert len(list(source)) == 2
        assert source.done == source.total == len(packed)
    assert len(read(packed, "jsonl")) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_torn_gzip(tmp_path: Path, damage: str) -> None:
    """A gzip stream that breaks off is an error that names the file and how far reading came."""
    packed = bytearray(gzip.compress(b'{"a":1}\n' * 50_000))
    if damage == "cut":
        packed = packed[:-20]
    else:
        packed[-6] ^= 1  # the checksum at the end
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(packed)
    with open_input(path, "jsonl") as source, pytest.raises(CorruptionError, match="gzip stream breaks off"):
        list(source)


def test_torn_parquet(tmp_path: Path) -> None:
    """A file that is no Parquet is an error that names it; so is Parquet from a pipe."""
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 but no more")
    with (
        pytest.raises(CorruptionError, match=r"t\.parquet: not a readable Parquet file"),
        open_input(path, "parquet"),
    ):
        pass
    with pytest.raises(ValueError, match="cannot be read from a pipe"):
        read(b"PAR1", "parquet")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "json"),
        ("a.NDJSON.gz", "json"),
        ("a.json", "json"),
        ("a.b.csv", "csv"),
        ("a.tsv.gz", "csv"),
        ("a.parquet", "parquet"),
        ("a.gz", None),
        ("a", None),
        ("a.log", None),
    ],
)
def test_formats_by_name(name: str, kind: str | None) -> None:
    """The format follows from the last suffix before .gz."""
    assert guess_format(Path(name)) == kind
