"""Recording real Python programs: what is seen, what is left alone, and that nothing can hang or harm them."""

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import AuditError
from auditkit.sources.record import SHIM, child_environment, record
from tests.fakes import FailingDisk

Event = Mapping[str, Any]

RECORDER = """
import sys
import auditkit
from auditkit.sources.record import record
with auditkit.open(sys.argv[1]) as trail:
    sys.exit(record(trail, sys.argv[2:]).exit_code)
"""
"""What `auditkit record` does, as a program of its own."""


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    """Return a new trail."""
    with ak.create(tmp_path / "trail") as opened:
        yield opened


def python(code: str, *arguments: str) -> list[str]:
    """Return the command that runs this code."""
    return [sys.executable, "-c", code, *arguments]


def recorder(trail: Trail, *command: str) -> list[str]:
    """Return the command that records this command."""
    return [sys.executable, "-c", RECORDER, str(trail.path), *command]


def seen(trail: Trail, **where: object) -> list[Event]:
    """Return the recorded events that match, with attrs read."""
    rows = ak.open(trail.path).range(where=where).iter_rows(named=True)
    return [{**row, "attrs": json.loads(row["attrs"])} for row in rows]


def resources(trail: Trail, action: str) -> list[object]:
    """Return what an action was done to, in order."""
    return [event["resource"] for event in seen(trail, action=action)]


WORK = """
import json, os, socket, subprocess, sys, tempfile
os.chdir(sys.argv[1])
open("notes.txt", "w").close()
open("notes.txt").close()
open("notes.txt", "a").close()
open(os.open("notes.txt", os.O_RDONLY)).close()
os.rename("notes.txt", "old.txt")
os.mkdir("made")
os.listdir("made")
os.rmdir("made")
os.remove("old.txt")
subprocess.run(["true", "hunter2"])
os.system("true hunter2")
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
import sqlite3; sqlite3.connect(":memory:").close()
import this_module_does_not_exist_hopefully
"""


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trail, Path]:
    """Return the trail of a program that does a little of everything, and the folder it did it in."""
    folder = tmp_path_factory.mktemp("worked").resolve()
    with ak.create(folder / "trail") as trail, ak.bind(actor="ann", origin="desk-7"):
        summary = record(trail, python(WORK, str(folder)))
        assert (summary.exit_code, summary.lost, summary.malformed) == (1, 0, 0)
        assert summary.events == trail.end_seq - 2
        trail.flush()
    return trail, folder


@pytest.mark.parametrize(
    ("action", "names"),
    [
        ("file.write", ["notes.txt"]),
        ("file.append", ["notes.txt"]),
        ("file.rename", ["notes.txt"]),
        ("file.delete", ["old.txt"]),
        ("directory.create", ["made"]),
        ("directory.list", ["made"]),
        ("directory.delete", ["made"]),
    ],
)
def test_files_and_directories_are_recorded_by_absolute_path(
    worked: tuple[Trail, Path], action: str, names: list[str]
) -> None:
    """Opening, renaming, listing and deleting are events about the file itself, wherever the program stood."""
    trail, folder = worked
    assert [path for path in resources(trail, action) if str(path).startswith(str(folder))] == [
        str(folder / name) for name in names
    ]


def test_a_path_that_may_be_relative_to_a_descriptor_stays_relative(worked: tuple[Trail, Path]) -> None:
    """`os.open` does not say what its path is relative to, so the event does not pretend to know."""
    trail, folder = worked
    read = [
        event for event in seen(trail, action="file.read") if str(event["resource"]).endswith("notes.txt")
    ]
    assert [event["resource"] for event in read] == [str(folder / "notes.txt"), "notes.txt"]
    assert [event["attrs"].get("relative") for event in read] == [None, True]


def test_programs_are_recorded_by_name_and_number_of_arguments(worked: tuple[Trail, Path]) -> None:
    """A program's name is kept, its arguments are only counted."""
    trail, _ = worked
    started = seen(trail, action="process.start")
    found = [(event["resource"], event["attrs"]["arguments"]) for event in started]
    assert found == [("true", 1), ("/bin/sh", 2)]
    assert "hunter2" not in str([list(event.values()) for event in seen(trail)])


def test_sockets_modules_and_databases_are_recorded(worked: tuple[Trail, Path]) -> None:
    """Connections have host and port; modules are named even where they do not exist."""
    trail, _ = worked
    connected, bound = resources(trail, "socket.connect"), resources(trail, "socket.bind")
    assert len(connected) == 1
    assert str(connected[0]).startswith("127.0.0.1:")
    assert bound == ["127.0.0.1:0"]
    assert resources(trail, "database.open") == [":memory:"]
    assert {"json", "sqlite3", "this_module_does_not_exist_hopefully"} <= set(
        resources(trail, "module.import")
    )
    assert any(
        str(path).endswith("/json/__init__.py") or "json" in str(path)
        for path in resources(trail, "module.load")
    )


def test_every_event_names_user_host_source_and_run(worked: tuple[Trail, Path]) -> None:
    """One run is one correlation, and outcomes are unknown before the act."""
    trail, _ = worked
    events = seen(trail)
    assert {(event["actor"], event["origin"], event["source"]) for event in events} == {
        ("ann", "desk-7", "auditkit.record")
    }
    assert len({event["correlation"] for event in events}) == 1
    assert {event["outcome"] for event in events if event["action"] != "run.end"} == {None}


def test_a_run_is_bracketed_by_its_start_and_its_end(worked: tuple[Trail, Path]) -> None:
    """The first event says what was started, the last one how it ended and how long it took."""
    trail, _ = worked
    events = sorted(seen(trail), key=lambda event: int(event["seq"]))
    assert (events[0]["action"], events[-1]["action"]) == ("run.start", "run.end")
    assert events[-1]["outcome"] == "failure"
    assert isinstance(events[-1]["value"], float)
    attrs = events[-1]["attrs"]
    assert (attrs["exit_code"], attrs["events"]) == (1, len(events) - 2)


def test_arguments_are_kept_when_asked_for(trail: Trail) -> None:
    """With `arguments` the words after the program's name are in attrs."""
    code = "import subprocess; subprocess.run(['true', 'two words', '\\n'])"
    record(trail, python(code, "a b"), arguments=True)
    started = seen(trail, action="process.start")[0]["attrs"]
    assert started["argv"] == ["two words", "\n"]
    begun = seen(trail, action="run.start")[0]["attrs"]
    assert begun["command"].endswith("'a b'")


def test_the_environment_is_never_recorded(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even with arguments does a variable's value reach the trail."""
    monkeypatch.setenv("TOKEN", "hunter2")
    record(
        trail, python("import subprocess; subprocess.run(['true'], env={'TOKEN': 'hunter2'})"), arguments=True
    )
    assert "hunter2" not in str([list(event.values()) for event in seen(trail, action="process.*")])


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit(255)", 255),
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
def test_the_exit_code_is_the_programs_own(trail: Trail, code: str, exit_code: int) -> None:
    """Exit codes pass through, and signal n becomes 128 + n, as in a shell."""
    assert record(trail, python(code)).exit_code == exit_code


def test_what_was_set_out_to_do_before_a_kill_is_recorded(trail: Trail, tmp_path: Path) -> None:
    """No buffer in the program loses its last event, however it ends."""
    code = "import os, sys; open(sys.argv[1], 'w'); os.kill(os.getpid(), 9)"
    record(trail, python(code, str(tmp_path / "last")))
    assert resources(trail, "file.write") == [str(tmp_path / "last")]
    assert resources(trail, "process.signal")


def test_standard_streams_are_untouched(trail: Trail) -> None:
    """Bytes go in and out as without a recorder, and nothing is added to them."""
    code = "import sys; sys.stderr.write('mind\\n'); sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])"
    done = subprocess.run(
        recorder(trail, *python(code)), input=b"\x00abc\xff", capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"\xffcba\x00", b"mind\n")


PORTRAIT = """
import sys
print(sorted(sys.modules), sys.path, sys.argv, getattr(sys.modules.get("sitecustomize"), "GREETING", None))
"""


@pytest.mark.parametrize("own", [False, True])
def test_the_program_finds_python_as_it_would_be_without(trail: Trail, tmp_path: Path, *, own: bool) -> None:
    """Modules, path and the program's own sitecustomize, or none, are what they are without a recorder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if own:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text("GREETING = 'hello'\n")
        environment["PYTHONPATH"] = str(tmp_path / "site")
    alone = subprocess.run(python(PORTRAIT), env=environment, capture_output=True, check=True)
    watched = subprocess.run(
        recorder(trail, *python(PORTRAIT)), env=environment, capture_output=True, check=True
    )
    assert (watched.stdout, watched.stderr) == (alone.stdout, alone.stderr)
    assert (b"hello" in watched.stdout) is own


def test_python_children_are_recorded_too(trail: Trail, tmp_path: Path) -> None:
    """A Python started, or forked, by the program is recorded under its own process id and the same run."""
    code = (
        "import os, subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import sys; open(sys.argv[1], \"w\")', sys.argv[1] + '/child'])\n"
        "if os.fork() == 0:\n"
        "    open(sys.argv[1] + '/fork', 'w')\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    record(trail, python(code, str(tmp_path)))
    written = seen(trail, action="file.write")
    assert [event["resource"] for event in written] == [str(tmp_path / "child"), str(tmp_path / "fork")]
    processes = {event["attrs"]["pid"] for event in seen(trail) if "pid" in event["attrs"]}
    assert len(processes) == 3
    assert len(seen(trail, action="interpreter.start")) == 2


def test_threads_and_processes_do_not_mix_their_lines(trail: Trail) -> None:
    """Eight writers at once lose nothing and garble nothing."""
    code = (
        "import os, threading\n"
        "def work(name):\n"
        "    for number in range(300):\n"
        "        try: open(f'/nowhere/{name}/{number}/' + 'x' * 900)\n"
        "        except OSError: pass\n"
        "for name in range(2):\n"
        "    if os.fork() == 0:\n"
        "        threads = [threading.Thread(target=work, args=(f'{name}-{n}',)) for n in range(4)]\n"
        "        [t.start() for t in threads]; [t.join() for t in threads]\n"
        "        os._exit(0)\n"
        "os.wait(); os.wait()\n"
    )
    summary = record(trail, python(code))
    assert (summary.lost, summary.malformed) == (0, 0)
    tried = [path for path in resources(trail, "file.read") if str(path).startswith("/nowhere/")]
    assert len(tried) == len(set(tried)) == 2400
    assert {len(str(path)) for path in tried} <= set(range(914, 921))


def test_hostile_names_and_lines_do_no_harm(trail: Trail) -> None:
    """File names of any bytes are kept as text; what a program writes into the pipe itself is counted, not believed."""
    code = (
        "import os\n"
        "for name in (b'/nowhere/\\xff\\n\\x1f', '/nowhere/\\u2028\\x1b[2J', '/nowhere/' + '\\U0001f600' * 3000):\n"
        "    try: open(name)\n"
        "    except OSError: pass\n"
        "fifo = os.environ['AUDITKIT_RECORD'].split(':', 2)[2]\n"
        "fd = os.open(fifo, os.O_WRONLY)\n"
        "os.write(fd, b'nonsense\\n1\\x1f2\\x1fno.such.event\\n\\xff\\xff\\n')\n"
    )
    summary = record(trail, python(code))
    assert (summary.exit_code, summary.malformed, summary.lost) == (0, 3, 0)
    first, second, third = (
        str(path) for path in resources(trail, "file.read") if str(path).startswith("/nowhere/")
    )
    assert (first, second) == ("/nowhere/\\udcff\n\x1f", "/nowhere/\u2028\x1b[2J")
    assert third.startswith("/nowhere/\U0001f600")
    assert len(third) < 3000
    cut = seen(trail, **{"attrs.truncated": True})
    assert [event["resource"] for event in cut] == [third]


def test_forged_lines_do_not_end_the_recording(trail: Trail) -> None:
    """Numbers that nothing can hold and times that the trail refuses are counted, and what comes after is recorded."""
    code = (
        "import os\n"
        "fifo = os.environ['AUDITKIT_RECORD'].split(':', 2)[2]\n"
        "fd = os.open(fifo, os.O_WRONLY)\n"
        "os.write(fd, b'1\\x1f2\\x1flost\\x1f1' + b'0' * 400 + b'\\n')\n"
        "os.write(fd, b'9999999999999999\\x1f2\\x1fos.fork\\n')\n"
        "try: open('/nowhere/after')\n"
        "except OSError: pass\n"
    )
    summary = record(trail, python(code))
    assert (summary.exit_code, summary.malformed, summary.lost) == (0, 2, 0)
    assert "2 lines not understood" in str(summary)
    assert "/nowhere/after" in resources(trail, "file.read")
    ended = seen(trail, action="run.end")[0]["attrs"]
    assert (ended["malformed"], ended["events"]) == (2, summary.events)


def test_isolated_python_escapes(trail: Trail) -> None:
    """Under -I the hook is not loaded, and the run says that it saw nothing."""
    summary = record(trail, [sys.executable, "-I", "-c", "open('/etc/passwd')"])
    assert (summary.exit_code, summary.events) == (0, 0)


def test_a_program_that_closes_and_reuses_descriptors_is_left_alone(trail: Trail, tmp_path: Path) -> None:
    """The hook never writes into a file that took its descriptor's number."""
    code = (
        "import os, sys\n"
        "os.closerange(3, 1000)\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
        "[os.dup2(fd, number) for number in range(100, 250)]\n"
        "open('/etc/passwd').close()\n"
        "os.write(fd, b'mine')\n"
    )
    assert record(trail, python(code, str(tmp_path / "file"))).exit_code == 0
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_dead_recorder_does_not_stop_the_program(trail: Trail) -> None:
    """After kill -9 of the recorder the program goes on to its end, even with SIGPIPE deadly to it."""
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(20000): open('/dev/null').close()\n"
        "print('done', flush=True)\n"
    )
    with subprocess.Popen(
        recorder(trail, *python(code)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.wait()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"


def test_a_recorder_that_does_not_read_costs_its_patience_once_and_the_gap_is_named(tmp_path: Path) -> None:
    """With the pipe full the hook waits a bounded time, then counts, and says how many when it can write again."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    code = (
        "import time, sys\n"
        f"sys.path.insert(0, {str(SHIM)!r})\n"
        "import _auditkit_hook as hook\n"
        "import os\n"
        "hook.PATIENCE_S = 0.05\n"
        f"fd = os.open({str(fifo)!r}, os.O_RDWR | os.O_NONBLOCK)\n"
        f"pipe = hook.Pipe(fd, {str(fifo)!r}, os.getppid())\n"
        "while not pipe.lost: pipe.send('open', ['/x' * 500, 'r', '0', ''])\n"
        "hook.PATIENCE_S = 3600\n"
        "for _ in range(50): pipe.send('open', ['/x' * 500, 'r', '0', ''])\n"
        "for _ in range(50): pipe.send('open', ['/x' * 1500, 'r', '0', ''])\n"
        "print(pipe.lost, flush=True); sys.stdin.readline()\n"
        "pipe.send('open', ['/last', 'r', '0', ''])\n"
    )
    with subprocess.Popen(python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lost = int(process.stdout.readline())
        assert lost == 101
        while True:
            try:
                os.read(reading, 1 << 20)
            except BlockingIOError:
                break
        process.stdin.write("go\n")
        process.stdin.flush()
    assert process.returncode == 0
    gap, last = os.read(reading, 1 << 20).splitlines()
    os.close(reading)
    assert gap.split(b"\x1f")[2:] == [b"lost", b"101"]
    assert b"/last" in last


def test_a_missing_program_is_an_error_that_the_trail_knows(trail: Trail) -> None:
    """A program that cannot be started raises, and the run has ended with 127."""
    with pytest.raises(AuditError, match="no-such-program: cannot be started"):
        record(trail, ["no-such-program"])
    assert [(event["action"], event["outcome"]) for event in seen(trail)] == [
        ("run.start", None),
        ("run.end", "failure"),
    ]


def test_nothing_to_run_is_refused(trail: Trail) -> None:
    """An empty command is a mistake of the caller."""
    with pytest.raises(ValueError, match="argv: empty"):
        record(trail, [])


def test_a_trail_that_refuses_does_not_stop_the_program(tmp_path: Path) -> None:
    """On a full disk the program runs to its end, and then the refusal is raised."""
    begun, done = tmp_path / "begun", tmp_path / "done"
    full = OSError(28, "No space left on device")
    disk = FailingDisk()
    disk.before["write"] = lambda: disk.fail.update(write=full) if begun.exists() else None
    code = (
        "import sys\n"
        "open(sys.argv[1], 'w').close()\n"
        "for number in range(5000): open('/dev/null').close()\n"
        "open(sys.argv[2], 'w').close()\n"
    )
    trail = ak.create(tmp_path / "trail", disk=disk)
    with pytest.raises((AuditError, OSError)) as caught:
        record(trail, python(code, str(begun), str(done)))
    assert done.exists()
    assert any("ran on unrecorded" in note for note in caught.value.__notes__)
    disk.before.clear()
    disk.fail.clear()
    trail.append(action="after").wait()
    trail.close()


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["terminate", "hang up"]
)
def test_a_request_to_terminate_the_recorder_reaches_the_program(
    trail: Trail, number: signal.Signals, exit_code: int
) -> None:
    """The recorder hands it on, outlives the program and reports its exit code."""
    code = "import sys; print('ready', flush=True); sys.stdin.readline()"
    with subprocess.Popen(
        recorder(trail, *python(code)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait() == exit_code
    assert [event["outcome"] for event in seen(trail, action="run.end")] == ["failure"]


def test_an_interrupt_is_the_programs_to_handle(trail: Trail) -> None:
    """Ctrl-C reaches both; the program decides, the recorder stays until it has ended."""
    code = (
        "import sys\n"
        "try:\n"
        "    print('ready', flush=True); sys.stdin.readline()\n"
        "except KeyboardInterrupt:\n"
        "    print('handled', flush=True); sys.exit(5)\n"
    )
    with subprocess.Popen(
        recorder(trail, *python(code)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "handled\n"
        assert process.wait() == 5


def test_the_shim_parses_in_old_pythons() -> None:
    """The hook needs Python 3.8 at most, and what loads it has nothing that an ancient one could not parse."""
    ast.parse((SHIM / "_auditkit_hook.py").read_text(), feature_version=(3, 8))
    loader = (SHIM / "sitecustomize.py").read_text()
    assert "def " not in loader
    assert loader.isascii()


def test_the_environment_leads_with_the_shim_and_keeps_what_was_there() -> None:
    """PYTHONPATH begins with the recorder's folder; an empty one counts as none."""
    environment = child_environment({"PYTHONPATH": "/a:/b", "HOME": "/h"}, Path("/run/fifo"))
    assert environment["PYTHONPATH"] == f"{SHIM}:/a:/b"
    assert environment["HOME"] == "/h"
    assert child_environment({"PYTHONPATH": ""}, Path("/run/fifo"))["PYTHONPATH"] == str(SHIM)
