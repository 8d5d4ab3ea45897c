"""The commands range, group-by, downsample, tail and sql; `tail -f` as a process beside writers."""

import csv
import io
import json
import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from auditkit.opening import create, open_trail
from tests.cli.conftest import Run, rows
from tests.cli.running import running


def actions(run: Run, *args: str) -> list[str]:
    """The actions that `range` answers with."""
    return [row["action"] for row in rows(run("range", "--json", *args))]


def test_range_orders_by_time(filled: Run) -> None:
    """Events of the window come in the order of time, from segments and queue alike; the end is exclusive."""
    assert actions(filled) == ["auth.login", "auth.login", "doc.read", "doc.read", "doc.write", "doc.write"]
    assert actions(filled, "--start", "2026-10-25T01:30Z", "--end", "2026-10-25T22:45Z") == [
        "doc.read",
        "doc.read",
    ]
    assert actions(filled, "--limit", "2", "--descending") == ["doc.write", "doc.write"]


def test_range_days_follow_the_zone(filled: Run) -> None:
    """A date is a day of --tz: this one has 25 hours there, and times are shown with its offsets."""
    shown = rows(
        filled("range", "--json", "--start", "2026-10-25", "--end", "+1d", "--tz", "Europe/Stockholm")
    )
    assert [row["ts"] for row in shown] == [
        "2026-10-25T00:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:30:00+01:00",
        "2026-10-25T23:45:00+01:00",
    ]


@pytest.mark.parametrize(
    ("conditions", "seqs"),
    [
        (["actor=ann"], [0, 2, 5]),
        (["actor=ann", "action=doc.*"], [2, 5]),
        (['actor=["ann", null]', "outcome=success"], [0, 3]),
        (["actor=null"], [3]),
        (['actor=""'], [4]),
        (["attrs.ip=10.0.0.7"], [2]),
        (["attrs.deep.n=6"], [5]),
        (["value=2.5"], [1]),
        (["action=a=b"], []),
    ],
)
def test_where(filled: Run, conditions: list[str], seqs: list[int]) -> None:
    """Conditions are key=value, all of them true; values are JSON or else text."""
    options = [part for condition in conditions for part in ("--where", condition)]
    assert [row["seq"] for row in rows(filled("range", "--json", *options))] == seqs


@pytest.mark.parametrize(
    "command", [["range"], ["range", "--json"], ["group-by", "action"], ["downsample", "1h"]]
)
def test_an_empty_answer_says_what_was_near(filled: Run, command: list[str]) -> None:
    """Beside no events stands what may have been meant, on standard error."""
    done = filled(*command, "--where", "actor=ANN")
    assert 'Note: actor is "ANN" in no event here; near it: "ann" (3)' in done.stderr
    assert "near it" not in done.stdout
    done = filled(*command, "--where", "attrs.Ip=10.0.0.7")
    assert "did you mean 'attrs.ip'?" in done.stderr
    assert "Note" not in filled(*command, "--where", "actor=ann").stderr


def test_range_as_csv(filled: Run) -> None:
    """CSV has a header and a line per event; null is empty and an empty text is quoted."""
    text = filled("range", "--csv", "--columns", "seq,ts,actor,value").stdout
    assert text.splitlines() == [
        "seq,ts,actor,value",
        "0,2026-10-24T22:30:00Z,ann,1.0",
        "1,2026-10-25T00:30:00Z,bob,2.5",
        "2,2026-10-25T01:30:00Z,ann,",
        "3,2026-10-25T02:30:00Z,,",
        '4,2026-10-25T22:45:00Z,"",',
        "5,2026-10-25T23:15:00Z,ann,-4.0",
    ]
    assert len(list(csv.DictReader(io.StringIO(filled("range", "--csv").stdout)))) == 6


def test_group_by(filled: Run) -> None:
    """Groups are counted and measured, null and empty keys apart; --sort puts the largest first."""
    groups = rows(filled("group-by", "actor", "--json"))
    assert [(row["actor"], row["count"], row["sum"]) for row in groups] == [
        ("", 1, None),
        ("ann", 3, -3.0),
        ("bob", 1, 2.5),
        (None, 1, None),
    ]
    largest = rows(filled("group-by", "actor", "--json", "--sort", "count", "--limit", "1"))
    assert [row["actor"] for row in largest] == ["ann"]


def test_group_by_intervals_and_measures(filled: Run) -> None:
    """--every makes one row per interval and key; --agg chooses the measures."""
    shown = rows(
        filled("group-by", "action", "--every", "1d", "--tz", "Europe/Stockholm", "--agg", "count", "--json")
    )
    assert shown == [
        {"ts": "2026-10-25T00:00:00+02:00", "action": "auth.login", "count": 2},
        {"ts": "2026-10-25T00:00:00+02:00", "action": "doc.read", "count": 2},
        {"ts": "2026-10-25T00:00:00+02:00", "action": "doc.write", "count": 1},
        {"ts": "2026-10-26T00:00:00+01:00", "action": "doc.write", "count": 1},
    ]
    assert rows(filled("group-by", "actor,outcome", "--json"))[0]["outcome"] is None


def test_downsample(filled: Run) -> None:
    """A series has a row per interval with events, or per interval where --fill says with what."""
    window = ("--start", "2026-10-25T00:00Z", "--end", "+4h", "--json")
    assert [(row["ts"], row["count"]) for row in rows(filled("downsample", "1h", *window))] == [
        ("2026-10-25T00:00:00Z", 1),
        ("2026-10-25T01:00:00Z", 1),
        ("2026-10-25T02:00:00Z", 1),
    ]
    filled_up = rows(filled("downsample", "1h", *window, "--fill", "0"))
    assert [row["count"] for row in filled_up] == [1, 1, 1, 0]
    forward = rows(filled("downsample", "1h", *window, "--fill", "forward"))
    assert [row["count"] for row in forward] == [1, 1, 1, 1]
    nulls = rows(filled("downsample", "1h", *window, "--fill", "null", "--agg", "sum"))
    assert [row["sum"] for row in nulls] == [2.5, None, None, None]
    by = rows(filled("downsample", "1d", "--by", "action,actor", "--json"))
    assert {"ts", "action", "actor", "count"} <= by[0].keys()


def test_tail_and_views_of_the_past(filled: Run, place: Path) -> None:
    """`tail` shows the last by seq, the trail's own too; --at shows the trail as it was."""
    assert [row["seq"] for row in rows(filled("tail", "-n", "2", "--json"))] == [4, 5]
    assert [row["seq"] for row in rows(filled("tail", "-n", "2", "--at", "3", "--json"))] == [1, 2]
    assert [row["seq"] for row in rows(filled("tail", "--limit", "2", "--json"))] == [4, 5]
    assert len(rows(filled("range", "--at", "4", "--json"))) == 4
    assert rows(filled("sql", "SELECT count(*) AS n FROM events", "--at", "1", "--json")) == [{"n": 1}]
    with open_trail(place) as trail:
        trail.set_retention("7y", confirm=True)
    assert rows(filled("tail", "-n", "1", "--json"))[0]["source"] == "auditkit"
    assert len(actions(filled)) == 6
    assert len(actions(filled, "--own")) == 7
    shown = filled("tail")
    assert "1 of them the trail's own (source auditkit)" in shown.stderr


def test_sql(filled: Run) -> None:
    """SQL asks the table `events`; the question may come from standard input."""
    question = "SELECT action, count(*) AS n FROM events GROUP BY action ORDER BY n DESC, action LIMIT 1"
    assert rows(filled("sql", question, "--json")) == [{"action": "auth.login", "n": 2}]
    assert filled("sql", "-", "--csv", stdin=question).stdout == "action,n\nauth.login,2\n"


def test_sql_takes_values_and_a_time(filled: Run) -> None:
    """`--param` binds what is never read as SQL, `--timeout` ends what would not end."""
    question = "SELECT $who::VARCHAR AS who, $n + 1 AS n"
    assert rows(filled("sql", question, "--param", "who=x' --", "--param", "n=1", "--json")) == [
        {"who": "x' --", "n": 2}
    ]
    endless = "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x FROM r) SELECT count(*) FROM r"
    assert "took longer than 0.2 s" in filled("sql", endless, "--timeout", "0.2", code=2).stderr
    assert (
        "file system operations are disabled" in filled("sql", "FROM read_csv('/etc/passwd')", code=2).stderr
    )


def test_tables_say_what_they_leave_out(started: Run) -> None:
    """A table shows 50 rows unless more are asked for, and says that there are more; JSON has all."""
    started("append", "-", stdin="".join(f'{{"action": "a{n}"}}\n' for n in range(60)))
    table = started("range")
    assert "the first 50 events; there are more" in table.stderr
    assert "a49" in table.stdout
    assert "a50" not in table.stdout
    assert "a59" in started("range", "--limit", "60").stdout
    assert len(rows(started("range", "--json"))) == 60
    groups = started("group-by", "action")
    assert "the first 50 of 60 rows" in groups.stderr
    assert len(rows(started("group-by", "action", "--json", "--limit", "3"))) == 3


def test_empty_answers(started: Run) -> None:
    """No events are no failure: an empty answer, and a remark beside it."""
    assert started("range", "--json").stdout == ""
    assert started("range", "--csv", "--columns", "ts,actor").stdout == "ts,actor\n"
    assert "no events" in started("range").stderr
    assert "no rows" in started("group-by", "actor").stderr
    assert "no events" in started("tail").stderr


@pytest.fixture
def followed(tmp_path: Path) -> Path:
    """Return a trail with three events."""
    with create(tmp_path / "audit", tz="Europe/Stockholm", maintain=False) as trail:
        trail.extend(
            [
                {"action": f"a{n}", "actor": "ann", "ts": f"2026-11-24T08:00:0{n}Z", "attrs": {"n": n}}
                for n in range(3)
            ]
        ).wait()
    return tmp_path / "audit"


def following(followed: Path, *args: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run `auditkit tail -f` until the block ends."""
    return running("tail", "-f", "--trail", str(followed), *args, COLUMNS="100")


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """Wait for lines of output."""
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


def append(followed: Path, **fields: str) -> None:
    """Append as another process would."""
    with open_trail(followed, maintain=False) as trail:
        trail.append(ts="2026-11-24T09:00:00Z", **fields).wait()  # type: ignore[arg-type]


def end(process: subprocess.Popen[str]) -> None:
    """End it as a user does, and see that it ends without a word."""
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_json_lines_as_they_come(followed: Path) -> None:
    """After the last events each new one is a line at once, the trail's own included, without a gap."""
    with following(followed, "-n", "2", "--json") as process:
        assert [json.loads(line)["seq"] for line in lines(process, 2)] == [1, 2]
        append(followed, action="b", actor="bob")
        event = json.loads(lines(process, 1)[0])
        assert (event["seq"], event["actor"], event["ts"]) == (3, "bob", "2026-11-24T10:00:00+01:00")
        with open_trail(followed) as trail:
            trail.set_retention("90d", confirm=True)
            trail.flush()
            trail.append(action="c").wait()
        assert [json.loads(line)["action"] for line in lines(process, 2)] == ["retention.set", "c"]
        end(process)


def test_a_table_that_goes_on(followed: Path) -> None:
    """Lines stay in their columns, and what events hold acts on nothing."""
    with following(followed) as process:
        heading, *first = lines(process, 4)
        assert heading.split()[:4] == ["seq", "ts", "(Europe/Stockholm)", "actor"]
        assert "2026-11-24 09:00:02.000+01:00" in first[2]
        append(followed, action="evil\x1b[31m\nline", actor="x" * 500, resource="\u202egpj.exe")
        (line,) = lines(process, 1)
        assert "\x1b" not in line
        assert "evil<U+001B" in line
        assert "xxx…" in line
        assert line.index("evil") == heading.index("action") == first[0].index("a0")
        assert len(line) <= 101
        end(process)


def test_csv_goes_on_without_a_second_heading(followed: Path) -> None:
    """The heading comes first, once, and a cell of a later line is as safe as of an earlier one."""
    with following(followed, "-n", "1", "--csv", "--tz", "UTC") as process:
        heading, _ = lines(process, 2)
        append(followed, action="=1+1")
        (line,) = lines(process, 1)
        row = dict(zip(heading.strip().split(","), line.strip().split(","), strict=True))
        assert (row["seq"], row["action"], row["ts"]) == ("3", "'=1+1", "2026-11-24T09:00:00Z")
        end(process)


def test_an_empty_trail_is_waited_for(tmp_path: Path) -> None:
    """Where there is nothing yet the heading comes, and then the first event."""
    create(tmp_path / "audit").close()
    with following(tmp_path / "audit") as process:
        assert lines(process, 1)[0].split()[:4] == ["seq", "ts", "(UTC)", "actor"]
        append(tmp_path / "audit", action="first")
        assert "first" in lines(process, 1)[0]
        end(process)


def test_a_reader_that_goes_away_ends_it(followed: Path) -> None:
    """When the pipe is closed the next event ends the command as SIGPIPE would."""
    with following(followed, "--json") as process:
        lines(process, 3)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        append(followed, action="unseen")
        assert process.wait(timeout=20) == 141
        assert process.stderr.read() == ""


def test_the_past_is_not_followed(followed: Path, run: Run) -> None:
    """`--at` and `-f` together are a misuse."""
    assert followed.is_dir()
    assert "--at shows what was" in run("tail", "-f", "--at", "2", code=2).stderr
