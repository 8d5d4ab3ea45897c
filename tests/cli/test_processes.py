"""The command as a process: pipes that break, signals, terminals, streams that are closed."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from auditkit.opening import create
from tests.aging import trust

AUDITKIT = [sys.executable, "-m", "auditkit.cli.main"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a trail with a thousand events, some of them hostile."""
    with create(tmp_path / "audit") as trail:
        trail.extend(
            {
                "action": f"a{n % 5}",
                "actor": "\x1b]0;owned\x07[red]x[/red]" if n % 2 else "ann",
                "fill": "x" * 200,
            }
            for n in range(1000)
        ).wait()
    return tmp_path / "audit"


def environment(place: Path, **more: str) -> dict[str, str]:
    """The environment of a command."""
    return {**os.environ, "AUDITKIT_TRAIL": str(place), **more}


@pytest.mark.parametrize(
    ("args", "unbuffered"),
    [
        (("range", "--json"), ""),
        (("range", "--json"), "1"),
        (("range", "--csv"), "1"),
        (("range", "--limit", "1000"), ""),
    ],
)
def test_a_broken_pipe_is_quiet(place: Path, args: tuple[str, ...], unbuffered: str) -> None:
    """When the reader goes away the command ends without a word, as if by SIGPIPE."""
    with subprocess.Popen(
        [*AUDITKIT, *args],
        env=environment(place, PYTHONUNBUFFERED=unbuffered, COLUMNS="1000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read().decode() == ""
        assert process.wait() == 141


def test_a_full_disk_is_told(place: Path) -> None:
    """Output that cannot be written is a failure."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*AUDITKIT, "range", "--json"], env=environment(place), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "Error: no space left on device\n"


def test_interrupted_append(place: Path) -> None:
    """Ctrl-C ends an append with 130, and says what is in; it is."""
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from auditkit.cli.main import main; sys.argv[0] = 'auditkit'; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "append", "-", "--json"],
        env=environment(place),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b'{"action": "before"}\n')
        process.stdin.flush()
        for _ in range(200):
            shown = subprocess.run(
                [*AUDITKIT, "tail", "-n", "1", "--json"],
                env=environment(place),
                capture_output=True,
                check=True,
            )
            if json.loads(shown.stdout)["action"] == "before":
                break
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
        assert process.wait() == 130
    assert said == "Error: interrupted\n  hint: 1 event before it is in\n"


def test_closed_streams(place: Path) -> None:
    """A command started without standard streams works, and no file of the trail takes their place."""
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *AUDITKIT, "append", "--action", "closed"],
        env=environment(place),
        check=False,
    )
    assert closed.returncode == 0
    shown = subprocess.run(
        [*AUDITKIT, "tail", "-n", "1", "--json"], env=environment(place), capture_output=True, check=True
    )
    assert json.loads(shown.stdout)["action"] == "closed"


def on_terminal(args: list[str], env: dict[str, str], answer: bytes = b"") -> tuple[int, str]:
    """Run a command on a terminal of 100 columns; return its exit code and what the terminal got."""
    main, terminal = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    env = {name: value for name, value in env.items() if name not in ("COLUMNS", "NO_COLOR")} | {
        "TERM": "xterm"
    }
    with subprocess.Popen(
        [*AUDITKIT, *args], env=env, stdin=terminal, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        if answer:
            os.write(main, answer)
        got = b""
        while select.select([main], [], [], 60)[0]:
            try:
                part = os.read(main, 65536)
            except OSError:  # the terminal is gone with its last user
                break
            if not part:
                break
            got += part
        code = process.wait()
    os.close(main)
    return code, got.decode()


def test_tables_on_a_terminal(place: Path) -> None:
    """On a terminal tables have colours and bars, and the only escapes are those of colours."""
    code, got = on_terminal(["group-by", "actor"], environment(place))
    assert code == 0
    assert "█" in got
    plain = re.sub("\x1b\\[[0-9;]*m", "", got)
    assert plain != got
    assert "\x1b" not in plain
    assert "<U+001B>]0;owned<U+0007>[red]x[/red]" in plain
    assert all(len(line) <= 100 for line in plain.split("\r\n"))
    assert "1,000" not in on_terminal(["range", "--json", "--limit", "3"], environment(place))[1]


def test_prune_asks_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal prune shows its plan and asks; no is no."""
    with create(tmp_path / "old", retention="30d") as trail:
        trail.append(action="old", ts="2020-01-01T00:00:00Z").wait()
        trust(trail, trail.now())
    env = environment(tmp_path / "old")
    code, got = on_terminal(["prune"], env, answer=b"n\n")
    assert code == 1
    assert "Remove 1 event for good? [y/N]" in got
    assert "Nothing was pruned." in got
    code, got = on_terminal(["prune"], env, answer=b"y\n")
    assert code == 0
    assert "Pruned 1 event" in got


def test_import_asks_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal an import that would expire events asks; what is quickly done shows no progress."""
    with create(tmp_path / "old", retention="30d"):
        pass
    file = tmp_path / "t.jsonl"
    days = ("2020-01-01", "2026-11-01", "2026-11-03")
    file.write_text("".join(f'{{"ts":"{day}T00:00:00Z","action":"a"}}\n' for day in (*days, "2026-11-05")))
    env = environment(tmp_path / "old")
    code, got = on_terminal(["import", str(file)], env, answer=b"n\n")
    assert code == 1
    assert "Import all the same? [y/N]" in got
    assert "Nothing was imported." in got
    code, got = on_terminal(["import", str(file), "--yes"], env)
    assert code == 0
    assert "importing" not in got
    assert "Imported 4 events" in got


def test_record_keeps_the_exit_code(place: Path) -> None:
    """`record` passes streams through and ends with the program's own exit code."""
    program = "import sys; print('out'); print(sys.stdin.read(), file=sys.stderr); sys.exit(7)"
    done = subprocess.run(
        [*AUDITKIT, "record", "--", sys.executable, "-c", program],
        env=environment(place),
        input="in",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert done.stdout == "out\n"
    assert done.stderr.startswith("in\n")
    assert "exit code 7" in done.stderr
    asked = [*AUDITKIT, "group-by", "action", "--where", "source=auditkit.record", "--json"]
    shown = subprocess.run(asked, env=environment(place), capture_output=True, text=True, check=True).stdout
    assert {json.loads(line)["action"] for line in shown.splitlines()} >= {"run.start", "run.end"}
