"""What reaches terminals, spreadsheets and other programs, however hostile the events are."""

import csv
import io
import json
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from auditkit.cli.output import json_line, write_csv, write_json
from auditkit.disk.durable import PosixDisk
from auditkit.disk.layout import Layout, modes_for
from auditkit.display.tables import cell, moments
from auditkit.display.terminal import Column, fit, table_columns
from auditkit.queue.dead_letters import DeadLetter, keep_letters
from tests.cli.conftest import Run, rows

HOSTILE = [
    "\x1b]0;owned\x07\x1b[31mred\x1b[0m",
    "\x9b31m\x90q\x9c",
    "a\rb\x08\x7f\x00",
    "[bold red]markup[/bold red] :smile: [link=http://x]y[/link]",
    "\u202egpj.exe\u2066\u200b\ufeff\u2028\u2029\U000e0041",
    '=HYPERLINK("http://x","y")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "  =1+1",
    "\uff1d1+1",
    'a,"b"\nc',
    "(none)",
    "",
    "zalgo\u0301\u0302",
    "宽字符" * 30,
]


@pytest.fixture
def hostile(started: Run) -> Run:
    """Return the caller, with events whose every text is hostile."""
    lines = [
        {
            "action": text or "empty",
            "actor": text,
            "resource": text,
            "outcome": text,
            "origin": text,
            "x": {text: text},
        }
        for text in HOSTILE
    ]
    started("append", "-", stdin="".join(json.dumps(line) + "\n" for line in lines))
    return started


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("stats",), 0),
        (("consumers", "list"), 0),
        (("consumers", "forget", "bad\x1b[2J\u202e"), 2),
        (("dead-letters", "list"), 0),
        (("dead-letters", "list", "--all"), 0),
        (("dead-letters", "retry"), 1),
        (("dead-letters", "retry", "2026-11-24:1\x1b[2J"), 2),
        (("maintain",), 0),
    ],
)
def test_names_in_a_hostile_folder_do_not_act(
    started: Run, place: Path, args: tuple[str, ...], code: int
) -> None:
    """Names of consumers and what dead letters say are written out, whoever made the folder."""
    layout, modes = Layout(place), modes_for(None)
    (place / "consumers").mkdir()
    (place / "consumers" / "bad\x1b[2J\u202e.jsonl").write_bytes(b"")
    for consumer in (None, "bad\x1b[2J\u202e"):
        letter = DeadLetter(
            recorded_us=1_795_500_000_000_000,
            reason="bad\x1b[2J\u202e",
            field="bad\x1b[2J\u3164",
            input="bad\x1b[2J\u202e",
            consumer=consumer,
            seq=None if consumer is None else 0,
        )
        keep_letters(PosixDisk(), layout, modes, [letter])
    shown = started(*args, code=code)
    assert acting(shown.stdout + shown.stderr) == set()
    assert "\u3164" not in shown.stdout


def acting(text: str) -> set[str]:
    """The characters that act on a terminal or have no look."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") and c != "\n"}


@pytest.mark.parametrize(
    "args",
    [
        ("range",),
        ("range", "--columns", "actor,attrs"),
        ("tail", "-n", "99"),
        ("group-by", "actor"),
        ("group-by", "actor,outcome", "--every", "1d"),
        ("sql", "SELECT actor, attrs FROM events"),
        ("downsample", "1h", "--by", "resource"),
    ],
)
def test_no_event_acts_on_a_terminal(hostile: Run, args: tuple[str, ...]) -> None:
    """Tables hold no control or invisible character, and no markup is interpreted."""
    shown = hostile(*args).stdout
    assert acting(shown) == set()
    assert "[bold red]" in shown
    assert ":smile:" in shown or "…" in shown


def test_json_is_exact_and_inert(hostile: Run) -> None:
    """JSON gives every text back to the letter, and holds no character that acts on a terminal."""
    text = hostile("range", "--json").stdout
    assert acting(text) <= {"\u200b", "\U000e0041"}
    shown = [json.loads(line) for line in text.splitlines()]
    assert [row["actor"] for row in shown] == HOSTILE
    assert [row["attrs"] for row in shown] == [{"x": {text: text}} for text in HOSTILE]


def test_csv_is_safe_in_a_spreadsheet(hostile: Run) -> None:
    """No cell of text begins a formula, and no control character is left but line breaks and tabs."""
    text = hostile("range", "--csv").stdout
    assert acting(text) <= {"\t"}
    for row in csv.DictReader(io.StringIO(text)):
        for name in ("actor", "action", "resource", "outcome", "attrs"):
            assert not row[name].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d")), row[name]
        json.loads(row["attrs"])


def test_csv_headers_are_texts_too(started: Run) -> None:
    """The name of a column, which a question may choose, is made safe as well."""
    started("append", "--action", "x")
    assert started("sql", 'SELECT 1 AS "=1+1" FROM events', "--csv").stdout == "'=1+1\n1\n"


def test_json_keeps_the_seconds_of_old_offsets(run: Run, tmp_path: Path) -> None:
    """A zone's offset of hours, minutes and seconds loses none in JSON, and the events can be imported again."""
    run("init", "--tz", "Asia/Kolkata")
    for ts in ("1900-06-01T00:00:07Z", "2026-06-01T00:00:07Z"):
        run("append", "--action", "a", "--ts", ts)
    lines = run("range", "--json").stdout
    assert [json.loads(line)["ts"] for line in lines.splitlines()] == [
        "1900-06-01T00:00:07Z",
        "2026-06-01T05:30:07+05:30",
    ]
    other = str(tmp_path / "other")
    run("init", other)
    run("import", "-", "--trail", other, stdin=lines)
    copied = run("range", "--json", "--trail", other).stdout
    assert [json.loads(line)["ts"] for line in copied.splitlines()] == [
        "1900-06-01T00:00:07Z",
        "2026-06-01T00:00:07Z",
    ]


def test_json_embeds_attrs_as_given() -> None:
    """attrs appears as the object that its text is, on one line, unless it is no JSON."""
    assert json_line({"attrs": '{\n "n": 1.50,\r\n "n": 12345678901234567890 }'}) == (
        b'{"attrs":{  "n": 1.50,   "n": 12345678901234567890 }}\n'
    )
    assert json.loads(json_line({"attrs": "no json"})) == {"attrs": "no json"}
    assert json.loads(json_line({"attrs": None, "x": float("nan")})) == {"attrs": None, "x": None}


class _Dribble(io.RawIOBase):
    """A stream that takes a few bytes at a time, as an unbuffered pipe may."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def write(self, content: object) -> int:
        """Take at most seven bytes."""
        part = bytes(memoryview(content)[:7])  # type: ignore[arg-type]
        self.taken += part
        return len(part)


def test_unbuffered_streams_get_everything() -> None:
    """A stream that takes only a part at a time is written to until it has all."""
    frame = pl.DataFrame({"a": list(range(100))})
    out = _Dribble()
    write_json(frame, out)  # type: ignore[arg-type]
    assert [json.loads(line)["a"] for line in bytes(out.taken).splitlines()] == list(range(100))
    out = _Dribble()
    write_csv(frame, out)  # type: ignore[arg-type]
    assert len(bytes(out.taken).splitlines()) == 101


def test_cells() -> None:
    """Values are one line of visible text; null is nothing and never looks like a text."""
    shown = [cell(value) for value in (None, "", "(none)", 1234567, 1234.5, 1e-9, -0.0, True, "two\nlines")]
    assert shown == ["", '""', '"(none)"', "1,234,567", "1,234.5", "1e-09", "-0", "true", "two\\nlines"]


def test_moments_tell_the_repeated_hour_apart() -> None:
    """In a zone with a repeated hour the offset is shown; digits are as many as needed."""
    zone = ZoneInfo("Europe/Stockholm")
    twice = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    column = pl.Series([*twice, None]).dt.convert_time_zone(zone.key)
    assert moments(column) == ["2026-10-25 02:30:00+02:00", "2026-10-25 02:30:00+01:00", ""]
    fine = pl.Series([twice[0], datetime(2026, 1, 1, microsecond=250_999, tzinfo=UTC)])
    assert moments(fine) == ["2026-10-25 00:30:00.000", "2026-01-01 00:00:00.250"]


def test_fit_shortens_the_widest_and_drops_the_last() -> None:
    """Columns shrink to the width, numbers and times stay whole, and what cannot fit is named."""
    columns = [
        Column("seq", "seq", ["123456"], firm=True),
        Column("short", "short", ["abc"]),
        Column("long", "long", ["x" * 100]),
        Column("longer", "longer", ["y" * 300]),
    ]
    kept, dropped = fit(columns, 60)
    assert dropped == []
    assert [column.width for column in kept] == [6, 5, 21, 22]
    assert sum(column.width for column in kept) + 2 * 3 == 60
    kept, dropped = fit(columns, 30)
    assert ([column.name for column in kept], dropped) == (["seq", "short", "long"], ["longer"])
    kept, dropped = fit(columns, 1)
    assert ([column.name for column in kept], dropped) == (["seq"], ["short", "long", "longer"])


def test_tables_of_any_frame() -> None:
    """Every dtype that SQL can answer with has a cell."""
    frame = pl.DataFrame(
        {
            "n": [1, None],
            "s": ["x", None],
            "d": [datetime(2026, 1, 1), None],  # noqa: DTZ001 -- as SQL may answer
            "l": [[1, 2], None],
            "o": [{"a": "\x1b"}, {"a": None}],
            "u": [None, None],
        }
    ).with_columns(day=pl.col("d").dt.date(), span=pl.col("d") - pl.col("d"))
    for column in table_columns(frame, missing="(none)"):
        assert acting("".join(column.cells)) == set()
    assert [column.cells[1] for column in table_columns(frame, missing="(none)")][:3] == ["", "(none)", ""]


@pytest.mark.parametrize("width", ["40", "100", "250"])
def test_tables_fit_the_width(hostile: Run, width: str) -> None:
    """No line of a table is wider than the terminal, wide characters counted as such."""
    from rich.cells import cell_len

    for args in (("range",), ("group-by", "actor,resource")):
        shown = hostile(*args, COLUMNS=width).stdout
        assert max(cell_len(line) for line in shown.splitlines()) <= int(width)


def test_hidden_columns_are_named(started: Run) -> None:
    """A table names the columns with content that it leaves out; columns asked for are all shown."""
    started("append", "--action", "x", "--attr", "a=1", "--actor", "ann" * 30, "--resource", "r" * 90)
    assert "not shown: attrs (--json has all)" in started("range", COLUMNS="70").stderr
    assert "not shown" not in started("range", "--columns", "seq,recorded").stderr
    assert len(rows(started("range", "--json"))) == 1
