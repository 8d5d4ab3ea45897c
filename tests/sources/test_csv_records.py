"""CSV as other programs write it: quotes that are not closed, headers of every kind, logs that name their columns."""

import io
import json
from typing import Any

import pytest

from auditkit.errors import CorruptionError
from auditkit.sources.readers import ReadOptions, open_source
from auditkit.sources.records import Item, Record, Unreadable


def read(
    content: str | bytes, delimiter: str | None = None, encoding: str | None = None
) -> tuple[list[Item], list[str]]:
    """All items of CSV with this content, and what the reader found out."""
    stream = io.BytesIO(content.encode() if isinstance(content, str) else content)
    with open_source(stream, encoding=encoding) as source:
        found = source.read("csv", ReadOptions(delimiter=delimiter))
        return list(found), found.notes


def rows(
    content: str | bytes, delimiter: str | None = None, encoding: str | None = None
) -> list[dict[str, Any]]:
    """The fields of rows that are all records."""
    items, _ = read(content, delimiter, encoding)
    assert [item for item in items if isinstance(item, Unreadable)] == []
    return [dict(item.fields) for item in items if isinstance(item, Record)]


def test_each_stray_quote_costs_one_row() -> None:
    """However many rows open a quote that never closes, each is one letter, and all others are records."""
    lines = [f'{n},"{n} inch' if n % 50 == 7 else f"{n},ok" for n in range(1000)]
    items, _ = read("n,what\n" + "\n".join(lines) + "\n")
    bad = [item for item in items if isinstance(item, Unreadable)]
    assert [item.line for item in bad] == [n + 2 for n in range(1000) if n % 50 == 7]
    assert all(item.lines == 1 for item in bad)
    assert [item.line for item in items] == list(range(2, 1002))


@pytest.mark.parametrize(
    ("row", "is_record"),
    [
        ('a,"b', False),
        ('a,"b"c', False),
        ('"a"b,c', False),
        ('a,b"c', True),
        ('a,17" screen', True),
        ('a,"b ""c"" d"', True),
        ('a,""', True),
        ('a,"""', False),
        ("a,'b", True),
        ("a,b\x00c", True),
        ("a", False),
        ("a,b,c", False),
        ("a,b,,,", True),
        ("", True),
    ],
)
def test_what_a_row_may_be(row: str, *, is_record: bool) -> None:
    """A row that is none is a letter by itself; the rows around it are as they were."""
    items, _ = read(f"x,y\n1,2\n{row}\n3,4\n")
    assert [item.line for item in items if isinstance(item, Unreadable)] == ([] if is_record else [3])
    assert {1: items[0].fields["x"], 3: items[-1].fields["x"]} == {1: "1", 3: "3"}  # type: ignore[union-attr]
    assert items[-1].line == 4


def test_cells_over_several_lines() -> None:
    """A quoted cell may hold lines; where each of these looks like a row, that is noted."""
    items, notes = read('a,b\n1,"two\n\nlines, and more"\n2,x\n')
    assert [(item.line, item.lines) for item in items] == [(2, 3), (5, 1)]
    assert notes == []
    _, notes = read('a,b\n1,"opened\n2,x\n3,y\n4,closed"\n5,z\n')
    assert notes == [
        "the row in line 2 spans 4 lines that each look like a row of their own: is a quote missing, or one too many?"
    ]


def test_a_row_over_several_lines_that_does_not_fit_costs_its_first_line() -> None:
    """Where the rows that a quote swallowed do not fit the header, they are read by themselves."""
    items, _ = read('a,b\n1,"opened\n2,x\n3,closed",too,many\n4,z\n')
    assert [(item.line, isinstance(item, Record)) for item in items] == [
        (2, False),
        (3, True),
        (4, False),
        (5, True),
    ]


def test_long_cells() -> None:
    """A cell of any length that an event holds is read; a longer line is cut, and reading goes on."""
    items, _ = read("a,b\n1," + "x" * 300_000 + "\n2," + "y" * 3_000_000 + "\n3,z\n")
    assert [isinstance(item, Record) for item in items] == [True, False, True]
    assert isinstance(items[1], Unreadable)
    assert len(items[1].input) < 1_100_000
    assert items[1].reason.startswith("longer than an event may be (3000003 bytes)")


@pytest.mark.parametrize(
    ("content", "expected", "note"),
    [
        ("a;b\n1;2,5\n", {"a": "1", "b": "2,5"}, "the delimiter is ';', by the header"),
        ("a\tb\n1\t2\n", {"a": "1", "b": "2"}, "the delimiter is '\\t', by the header"),
        ("a|b\n1|2\n", {"a": "1", "b": "2"}, "the delimiter is '|', by the header"),
        ('"Betrag, EUR";Tag\n1,5;2\n', {"Betrag, EUR": "1,5", "Tag": "2"}, "the delimiter is ';', by the header"),
        ("a\n1\n", {"a": "1"}, None),
        ("sep=;\na;b\n1;2\n", {"a": "1", "b": "2"}, None),
        ('\ufeff"sep=|"\na|b\n1|2\n', {"a": "1", "b": "2"}, None),
        ("\ufeffa,b\r\n1,2\r\n", {"a": "1", "b": "2"}, None),
        ("\n\na,b\n1,2", {"a": "1", "b": "2"}, None),
        ("# made by X, on Monday\n#\na,b\n1,2\n", {"a": "1", "b": "2"}, "2 comment lines before the header passed over"),
        ("#,b\n1,2\n", {"#": "1", "b": "2"}, None),
        ("#id,b\n1,2\n", {"#id": "1", "b": "2"}, None),
        ("a,,b,\n1,2,3,\n", {"a": "1", "column_2": "2", "b": "3", "column_4": None}, None),
        ("a,a,a_2\n1,2,3\n", {"a": "1", "a_2": "2", "a_2_2": "3"}, "a second column 'a' is called 'a_2'"),
        ('"two\nlines",b\n1,2\n', {"two\nlines": "1", "b": "2"}, None),
    ],
)  # fmt: skip
def test_headers(content: str, expected: dict[str, str], note: str | None) -> None:
    """Delimiters are found by the header, what stands before it is passed over, and every column has a name of its own."""
    items, notes = read(content)
    assert [item.fields for item in items if isinstance(item, Record)] == [expected]
    assert notes[:1] == ([] if note is None else [note])


def test_a_given_delimiter_goes_before_what_the_header_says() -> None:
    """What is asked for counts, also where a line `sep=` or the header says something else."""
    assert rows("a;b,c\n1;2,3\n", ",") == [{"a;b": "1;2", "c": "3"}]
    assert rows("sep=,\na;b\n1;2\n", ";") == [{"a": "1", "b": "2"}]


IIS = """#Software: Microsoft Internet Information Services 10.0
#Version: 1.0
#Date: 2024-01-12 01:30:15
#Fields: date time cs-username cs(User-Agent) sc-status
2024-01-12 01:30:15 ann Mozilla/5.0+(X11) 200
2024-01-12 01:30:16 - curl/8 401
#Software: Microsoft Internet Information Services 10.0
#Fields: date time sc-status
2024-01-13 00:00:01 500
"""
CLOUDFRONT = "#Version: 1.0\n#Fields: date time cs(Referer) x-edge\n2024-01-12\t01:30:15\t-\tHit of a cache\n"
ZEEK = """#separator \\x09
#set_separator\t,
#empty_field\t(empty)
#unset_field\t-
#path\tconn
#open\t2024-01-12-01-30-15
#fields\tts\tuid\tid.orig_h\tservice\tnote
#types\ttime\tstring\taddr\tstring\tstring
1705023015.123456\tC1\t10.0.0.7\t-\t"a
1705023016.000000\tC2\t10.0.0.8\tssh\t(empty)
#close\t2024-01-12-02-00-00
"""


def test_logs_that_name_their_columns() -> None:
    """`#Fields:` of W3C's format and `#fields` of Zeek's are the header, again and again; a dash is no value."""
    assert rows(IIS) == [
        {"date": "2024-01-12", "time": "01:30:15", "cs-username": "ann", "cs(User-Agent)": "Mozilla/5.0+(X11)", "sc-status": "200"},
        {"date": "2024-01-12", "time": "01:30:16", "cs-username": None, "cs(User-Agent)": "curl/8", "sc-status": "401"},
        {"date": "2024-01-13", "time": "00:00:01", "sc-status": "500"},
    ]  # fmt: skip
    assert rows(CLOUDFRONT) == [
        {"date": "2024-01-12", "time": "01:30:15", "cs(Referer)": None, "x-edge": "Hit of a cache"}
    ]
    assert rows(ZEEK) == [
        {"ts": "1705023015.123456", "uid": "C1", "id.orig_h": "10.0.0.7", "service": None, "note": '"a'},
        {"ts": "1705023016.000000", "uid": "C2", "id.orig_h": "10.0.0.8", "service": "ssh", "note": None},
    ]
    items, notes = read(ZEEK)
    assert [item.line for item in items] == [9, 10]
    assert notes[0].startswith("line 7 names the columns: ts, uid")
    [first, _] = [item for item in items if isinstance(item, Record)]
    assert json.loads(first.text)["service"] == "-"


@pytest.mark.parametrize(
    ("encoding", "named"),
    [("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("cp1252", "cp1252"), ("latin-1", "latin-1"), ("utf-16-le", "utf-16-le"), ("utf-32", "utf-32")],
)  # fmt: skip
def test_encodings(encoding: str, named: str | None) -> None:
    """Text in the encoding that is named, or that says itself what it is, is read as what it means, with its lines."""
    content = "".join(f"{n};Größe\r\n" for n in range(30_000))
    found = rows(("Zähler;Wort\r\n" + content).encode(encoding), None, named)
    assert found == [{"Zähler": str(n), "Wort": "Größe"} for n in range(30_000)]


def test_wrong_encodings() -> None:
    """A header or a row that is not UTF-8 says how to name its encoding; one that Python does not know is refused."""
    with pytest.raises(ValueError, match=r"csv header: not UTF-8 \(in line 1\)") as failed:
        read("aktör,b\n1,2\n".encode("cp1252"))
    assert "--encoding" in failed.value.__notes__[0]
    items, _ = read("a,b\n1,2\nö,3\n".encode("cp1252"))
    assert isinstance(items[1], Unreadable)
    assert "--encoding" in items[1].reason
    with pytest.raises(ValueError, match="encoding: unknown"):
        read("a,b\n", encoding="klingon")


def test_text_that_is_not_in_its_encoding() -> None:
    """Where a file is not in the encoding that it says or that was named, the error names file and encoding."""
    with pytest.raises(CorruptionError, match="not cp1252"):
        read(b"a,b\n1,\x81\n", encoding="cp1252")
    with pytest.raises(CorruptionError, match="not utf-16"):
        read(b"\xff\xfea\x00,", None)


def test_lines_that_end_with_a_carriage_return_alone() -> None:
    """What old programs wrote is refused by what it is."""
    with pytest.raises(
        ValueError, match=r"csv header: not CSV: a line ends with a carriage return alone \(in line 1\)"
    ):
        read("a,b\r1,2\r3,4\r")
