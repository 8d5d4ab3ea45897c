"""SQL: days of the view's zone, typed answers, nothing but the events in reach, and an end to every query."""

import importlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import auditkit as ak
from auditkit import memory
from auditkit.api import Trail
from auditkit.ask import sql as asking
from auditkit.errors import AuditError, CorruptionError, InvalidQueryError, PrunedError
from auditkit.trail import events
from tests.fakes import ManualClock

NIGHT = ["2024-01-11T23:30:00Z", "2024-01-12T00:30:00Z", "2024-01-12T22:30:00Z", "2024-01-12T23:30:00Z"]


@pytest.fixture
def half(trail: Trail) -> Trail:
    """Return a trail with ten events, six of them in segments, one per hour from 2026-11-23 20:00 UTC."""
    first = datetime(2026, 11, 23, 20, tzinfo=UTC)
    rows = [
        {
            "action": "a.x" if n % 2 else "b",
            "actor": f"u{n % 3}",
            "ts": first + timedelta(hours=n),
            "value": n,
            "user": {"name": f"name {n}"},
        }
        for n in range(10)
    ]
    trail.extend(rows[:6]).wait()
    trail.flush()
    trail.extend(rows[6:]).wait()
    return trail


def test_sql_selects(half: Trail) -> None:
    """Segments and queue are one table, text columns group and compare as text."""
    answer = half.sql(
        "SELECT actor, count(*) AS n FROM events WHERE action LIKE 'a.%' GROUP BY actor ORDER BY actor"
    )
    assert answer.rows() == [("u0", 2), ("u1", 2), ("u2", 1)]
    assert answer.schema == {"actor": pl.String(), "n": pl.Int64()}
    assert half.sql("FROM events").schema == half.range().schema
    assert half.sql("SELECT attrs->>'$.user.name' AS name FROM events WHERE seq = 7").item() == "name 7"
    both = "SELECT count(*) FROM events a JOIN events b USING (seq) WHERE a.actor = b.actor"
    assert half.sql(both).item() == 10


@pytest.mark.parametrize("tz", ["UTC", "Europe/Stockholm", "America/New_York", "Asia/Kathmandu"])
def test_days_are_those_of_the_zone(make_trail: Callable[..., Trail], tz: str) -> None:
    """Dates, hours, bounds and what comes back are local, as in every other question."""
    trail = make_trail(tz=tz)
    trail.extend([{"action": name, "ts": ts} for name, ts in zip("abcd", NIGHT, strict=True)]).wait()
    local = [datetime.fromisoformat(ts).astimezone(ZoneInfo(tz)) for ts in NIGHT]
    counts = {day: sum(ts.date() == day for ts in local) for day in sorted({ts.date() for ts in local})}
    by_day = trail.sql("SELECT ts::date AS day, count(*) AS n FROM events GROUP BY 1 ORDER BY 1")
    assert by_day.rows() == list(counts.items())
    days = trail.downsample("1d", aggs=["count"])
    cut = "SELECT date_trunc('day', ts) AS ts, count(*) AS count FROM events GROUP BY 1 ORDER BY 1"
    assert trail.sql(cut).rows() == days.rows()
    hours = trail.sql("SELECT EXTRACT(hour FROM ts) AS h, ts FROM events ORDER BY seq")
    assert hours["h"].to_list() == [ts.hour for ts in local]
    assert hours.schema["ts"] == pl.Datetime("us", tz)
    after = trail.sql("SELECT seq FROM events WHERE ts >= '2024-01-12' ORDER BY ts")
    assert after["seq"].to_list() == trail.range("2024-01-12")["seq"].to_list()


@pytest.mark.parametrize(
    "bound",
    ["DATE '2026-11-24'", "'2026-11-24'", "'2026-11-24T00:00:00Z'", "TIMESTAMP '2026-11-24 00:00:00'"],
)
def test_times_of_every_spelling(half: Trail, bound: str) -> None:
    """Dates, texts and timestamps compare with `ts`."""
    assert half.sql(f"SELECT count(*) FROM events WHERE ts >= {bound}").item() == 6  # noqa: S608 -- fixed texts


@pytest.mark.parametrize(
    ("expression", "value", "dtype"),
    [
        ("sum(seq)", 45, pl.Int64),
        ("sum(value)", 45.0, pl.Float64),
        ("max(ts) - min(ts)", timedelta(hours=9), pl.Duration("us")),
        ("'x'::ENUM('x', 'y')", "x", pl.String),
        ("map {'a': 1}", "{a=1}", pl.String),
        ("[1::HUGEINT]", "[1]", pl.String),
        ("{'a': [1, 2]}", {"a": [1, 2]}, pl.Struct({"a": pl.List(pl.Int32)})),
        ("'{\"a\": 1}'::JSON->'a'", "1", pl.String),
        ("1::VARIANT", "1", pl.String),
        ("DATE '2026-11-24'", date(2026, 11, 24), pl.Date),
    ],
)
def test_what_comes_back_has_types_of_frames(half: Trail, expression: str, value: Any, dtype: Any) -> None:
    """Sums of integers are Int64, intervals durations, and what Polars lacks is text."""
    answer = half.sql(f'SELECT {expression} AS "a ""b""" FROM events ORDER BY 1 LIMIT 1')  # noqa: S608
    assert answer.to_dict(as_series=False) == {'a "b"': [value]}
    assert answer.schema['a "b"'] == dtype


def test_params_are_values(half: Trail) -> None:
    """Names and positions are bound, lists too, and none is read as SQL."""
    evil = "x' OR 1=1 --"
    assert half.sql("SELECT count(*) FROM events WHERE actor = $who", params={"who": evil}).item() == 0
    assert half.sql("SELECT ?::VARCHAR AS it, ? + 1 AS n", params=[evil, 1]).rows() == [(evil, 2)]
    many = "SELECT count(*) FROM events WHERE actor IN (SELECT unnest($who))"
    assert half.sql(many, params={"who": ["u1", "u2"]}).item() == 6
    for params in ({}, {"other": 1}, [1], {"who": object()}):
        with pytest.raises(InvalidQueryError, match="sql: "):
            half.sql(many, params=params)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("DROP TABLE events", "only SELECT is answered"),
        ("delete from events", "only SELECT is answered"),
        ("SELECT 1; SELECT 2", "only one"),
        ("EXPLAIN SELECT 1", "here: EXPLAIN"),
        ("CREATE TABLE x AS SELECT 1", "here: CREATE"),
        ("COPY events TO 'out.csv'", "here: COPY"),
        ("SET threads = 2", "here: SET"),
        ("ATTACH 'other.db'", "here: ATTACH"),
        ("INSTALL httpfs", "here: LOAD"),
        ("", "here: nothing"),
        ("SELECT actr FROM events", "actr"),
        ("SELECT * FROM evnts", "evnts"),
        ("SELECT", "without selection list"),
        ("SELECT 1 AS a, 2 AS a", "two columns have one name"),
        ("SELECT attrs::INT FROM events", "Could not convert"),
        ("SELECT 9223372036854775807::HUGEINT + 1 AS n", "out of range"),
        ("SELECT * FROM half", "half"),
    ],
)
def test_anything_else_is_refused(half: Trail, query: str, reason: str) -> None:
    """What is not one SELECT over the events is an error that says so."""
    with pytest.raises(InvalidQueryError, match="sql: ") as caught:
        half.sql(query)
    assert reason in str(caught.value)


def test_nothing_else_is_in_reach(half: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is read, listed or made, and no network asked, however a query spells it."""
    asked: list[str] = []

    class Asked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

        do_HEAD = do_GET  # noqa: N815

    secret = tmp_path / "secret.csv"
    secret.write_text("user,password\nann,hunter2\n")
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    server = HTTPServer(("127.0.0.1", 0), Asked)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        for place in (str(secret), f"http://127.0.0.1:{server.server_port}/secret.csv"):
            for source in (
                f"'{place}'",
                f"read_csv('{place}')",
                f"read_text('{place}')",
                f"read_blob('{place}')",
                f"read_json('{place}')",
                f"read_parquet('{place}')",
                f"sniff_csv('{place}')",
                f"glob('{place}')",
                f"query('FROM ''{place}''')",
                f"query_table('{place}')",
                f"(WITH x AS (FROM read_csv('{place}')) FROM x)",
                f"sqlite_scan('{place}', 'x')",
            ):
                with pytest.raises(InvalidQueryError):
                    half.sql(f"SELECT s.* FROM events CROSS JOIN {source} s")  # noqa: S608 -- fixed texts
        with pytest.raises(InvalidQueryError):
            half.sql("SELECT * FROM duckdb_secrets()")
        with pytest.raises(InvalidQueryError):
            half.sql("SELECT getenv('HOME')")
        half.sql("SELECT * FROM events ORDER BY attrs, seq")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1" + "+1" * 20_000,
        "SELECT 1" + "+1" * 9_000,
        "SELECT " + "(" * 9_000 + "1" + ")" * 9_000,
        "SELECT * FROM (" * 1_000 + "SELECT 1" + ")" * 1_000,
        "SELECT " + "abs(" * 4_000 + "1" + ")" * 4_000,
        "SELECT " + "NOT " * 4_000 + "true",
        "SELECT " + "[" * 9_000 + "1" + "]" * 9_000,
        "SELECT NULL::INT" + "[]" * 9_000,
        "SELECT 1" + " EXCEPT SELECT 1" * 1_200,
    ],
    ids=["long", "sum", "brackets", "queries", "calls", "not", "lists", "types", "sets"],
)
def test_deep_queries_are_refused(half: Trail, query: str) -> None:
    """Length and depth have limits, so that no expression exhausts the stack."""
    with pytest.raises(InvalidQueryError, match="sql: "):
        half.sql(query)


def test_deep_values_do_not_exhaust_the_stack(trail: Trail) -> None:
    """What DuckDB does recursively with a nested value, it does in a thread with a stack for it."""
    deep = "repeat('[', 200000) || repeat(']', 200000)"
    query = f"SELECT json_contains(x, 'false') AS it FROM (SELECT {deep} AS x)"  # noqa: S608 -- fixed texts
    assert trail.sql(query).item() is False
    assert threading.stack_size() == 0  # as it was


def test_without_room_for_the_stack_it_is_an_error(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is limited too far for the thread, the error says so."""
    monkeypatch.setattr(asking, "_STACK_BYTES", 1 << 50)
    with pytest.raises(AuditError, match="no thread with a stack"):
        trail.sql("SELECT 1")
    monkeypatch.undo()
    assert trail.sql("SELECT 1").item() == 1


@pytest.mark.parametrize(
    "query",
    [
        "WITH RECURSIVE r AS (SELECT 1::HUGEINT AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
        "SELECT sum(a.seq * b.range) FROM events a, range(100000000000) b",
    ],
)
def test_a_query_without_an_end_ends(half: Trail, query: str) -> None:
    """What takes longer than its time is an error soon after, and the trail goes on."""
    begun = time.monotonic()
    with pytest.raises(InvalidQueryError, match=r"took longer than 0\.5 s"):
        half.sql(query, timeout_s=0.5)
    assert time.monotonic() - begun < 10
    assert half.sql("SELECT count(*) FROM events", timeout_s=None).item() == 10


def test_a_timeout_ends_the_scan(half: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on no further than the next frame once time is up."""
    read = events.frames

    def slowly(*given: Any) -> Any:
        for frame in read(*given):
            time.sleep(0.4)
            yield frame

    monkeypatch.setattr(events, "frames", slowly)
    monkeypatch.setattr(asking, "_GRACE_S", 30)
    with pytest.raises(InvalidQueryError, match="took longer"):
        half.sql("SELECT count(*) FROM events a, events b, events c", timeout_s=0.1)


def test_what_does_not_fit_is_refused(half: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events, work and answers that would take all memory are errors."""
    monkeypatch.setattr(asking, "available_memory", lambda: 100_000_000)
    with pytest.raises(InvalidQueryError, match="Out of Memory"):
        half.sql("SELECT list(range) FROM range(100000000)")
    with pytest.raises(InvalidQueryError, match="does not fit into memory"):
        half.sql("SELECT range AS n FROM range(100000000)")
    monkeypatch.setattr(asking, "available_memory", memory.available_memory)
    monkeypatch.setattr(events, "FEW_ROWS", 0)
    monkeypatch.setattr(events, "available_memory", lambda: 1_000)
    with pytest.raises(InvalidQueryError, match="sql: would take about"):
        half.sql("SELECT * FROM events LIMIT 1")
    assert half.sql("SELECT count(*) FROM events WHERE seq = 3").item() == 1


def test_pruned_events_are_the_same_error(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A view of the past that would show pruned events raises as every other question does."""
    trail = make_trail(retention="10d")
    days = ("2026-11-20T00:00Z", "2026-11-23T00:00Z")
    trail.extend([{"action": "a", "ts": day} for day in days]).wait()
    trail.flush()
    clock.advance(days=8)
    trail.append(action="now").wait()
    then = trail.at(2)
    trail.prune(now=trail.now())
    with pytest.raises(PrunedError, match="pruned after seq"):
        then.sql("SELECT * FROM events")


def test_damage_is_the_same_error(half: Trail) -> None:
    """A segment that is not what was written is an error that names it, not one of DuckDB's."""
    path = next((half.path / "segments").rglob("*.arrow"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        ak.open(half.path).sql("SELECT * FROM events")
    assert caught.value.path == path


def test_without_duckdb_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, trail: Trail) -> None:
    """A missing DuckDB is an error with the command that brings it."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "auditkit.ask.sql")
    with pytest.raises(AuditError, match="DuckDB, which answers it, is not installed") as caught:
        trail.sql("SELECT 1")
    assert "pip install '.[sql]'" in caught.value.__notes__[0]
    monkeypatch.undo()
    assert importlib.import_module("auditkit.ask.sql") is asking


def test_ctrl_c_ends_a_query(half: Trail) -> None:
    """An interrupt ends the query and the process."""
    code = (
        "import auditkit as ak, sys\n"
        "print('asking', flush=True)\n"
        "ak.open(sys.argv[1]).sql('WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT 1 FROM r) FROM r', timeout_s=None)"
    )
    command = [sys.executable, "-c", code, str(half.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
