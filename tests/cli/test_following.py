"""`tail -f` as a process beside writers."""

import json
import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from auditkit.opening import create, open_trail
from tests.cli.conftest import Run
from tests.cli.running import running


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a trail with three events."""
    with create(tmp_path / "audit", tz="Europe/Stockholm", maintain=False) as trail:
        trail.extend(
            [
                {"action": f"a{n}", "actor": "ann", "ts": f"2026-11-24T08:00:0{n}Z", "attrs": {"n": n}}
                for n in range(3)
            ]
        ).wait()
    return tmp_path / "audit"


def following(place: Path, *args: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run `auditkit tail -f` until the block ends."""
    return running("tail", "-f", "--trail", str(place), *args, COLUMNS="100")


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """Wait for lines of output."""
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


def append(place: Path, **fields: str) -> None:
    """Append as another process would."""
    with open_trail(place, maintain=False) as trail:
        trail.append(ts="2026-11-24T09:00:00Z", **fields).wait()  # type: ignore[arg-type]


def end(process: subprocess.Popen[str]) -> None:
    """End it as a user does, and see that it ends without a word."""
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_json_lines_as_they_come(place: Path) -> None:
    """After the last events each new one is a line at once, the trail's own included, without a gap."""
    with following(place, "-n", "2", "--json") as process:
        assert [json.loads(line)["seq"] for line in lines(process, 2)] == [1, 2]
        append(place, action="b", actor="bob")
        event = json.loads(lines(process, 1)[0])
        assert (event["seq"], event["actor"], event["ts"]) == (3, "bob", "2026-11-24T10:00:00+01:00")
        with open_trail(place) as trail:
            trail.set_retention("90d")
            trail.flush()
            trail.append(action="c").wait()
        assert [json.loads(line)["action"] for line in lines(process, 2)] == ["retention.set", "c"]
        end(process)


def test_a_table_that_goes_on(place: Path) -> None:
    """Lines stay in their columns, and what events hold acts on nothing."""
    with following(place) as process:
        heading, *first = lines(process, 4)
        assert heading.split()[:4] == ["seq", "ts", "(Europe/Stockholm)", "actor"]
        assert "2026-11-24 09:00:02.000+01:00" in first[2]
        append(place, action="evil\x1b[31m\nline", actor="x" * 500, resource="\u202egpj.exe")
        (line,) = lines(process, 1)
        assert "\x1b" not in line
        assert "evil<U+001B" in line
        assert "xxx…" in line
        assert line.index("evil") == heading.index("action") == first[0].index("a0")
        assert len(line) <= 101
        end(process)


def test_csv_goes_on_without_a_second_heading(place: Path) -> None:
    """The heading comes first, once, and a cell of a later line is as safe as of an earlier one."""
    with following(place, "-n", "1", "--csv", "--tz", "UTC") as process:
        heading, _ = lines(process, 2)
        append(place, action="=1+1")
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


def test_a_reader_that_goes_away_ends_it(place: Path) -> None:
    """When the pipe is closed the next event ends the command as SIGPIPE would."""
    with following(place, "--json") as process:
        lines(process, 3)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        append(place, action="unseen")
        assert process.wait(timeout=20) == 141
        assert process.stderr.read() == ""


def test_the_past_is_not_followed(place: Path, run: Run) -> None:
    """`--at` and `-f` together are a misuse."""
    assert place.is_dir()
    assert "--at shows what was" in run("tail", "-f", "--at", "2", code=2).stderr
