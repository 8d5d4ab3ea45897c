"""Cells as events: what `%audit on` appends."""

import hashlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

import auditkit as ak
from auditkit.api import Trail
from auditkit.lab import cells, runtime
from auditkit.lab.cells import CellRecorder
from tests.lab.shells import Kernel, plain_shell, run


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    """Return a trail by the machine's clock, as kernels append to it."""
    with ak.create(tmp_path / "audit") as trail:
        yield trail


@pytest.fixture
def shell(trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Return a shell whose notebook has the trail."""
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/ann/week.ipynb")
    with plain_shell(tmp_path) as shell:
        shell.user_ns["trail"] = trail
        shell.user_ns["folder"] = tmp_path
        yield shell


@pytest.fixture
def kernel(trail: Trail, tmp_path: Path) -> Iterator[Kernel]:
    """Return a kernel that records its cells."""
    kernel = Kernel(trail, tmp_path)
    try:
        assert kernel.run("%load_ext auditkit\n%audit on")["status"] == "ok"
        yield kernel
    finally:
        kernel.end()


def story(trail: Trail, **where: Any) -> list[dict[str, Any]]:
    """Return the events, attrs as mappings."""
    events = trail.range(where=where or None).to_dicts()
    return [{**event, "attrs": msgspec.json.decode(event["attrs"] or "{}")} for event in events]


def told(trail: Trail, cell: str) -> list[tuple[str, str | None]]:
    """Return action and resource of the events of a cell, in their order."""
    (correlation,) = {event["correlation"] for event in story(trail, resource=cell)}
    return [(event["action"], event["resource"]) for event in story(trail, correlation=correlation)]


def ends(trail: Trail) -> list[tuple[str, str | None, str | None]]:
    """Return how each cell ended: its id, the outcome, the exception."""
    return [
        (event["resource"], event["outcome"], event["attrs"].get("exception"))
        for event in story(trail, action="cell.end")
    ]


def test_a_cell_is_two_events(shell: InteractiveShell, trail: Trail) -> None:
    """Start and end say who ran which cell of which notebook, the hash of its source, and how it went; not the source."""
    run(shell, "%audit on")
    run(shell, "secret = 6 * 7\nsecret", cell="abc-1")
    on, start, end = story(trail)
    assert (on["action"], on["attrs"]) == ("audit.on", {"pid": os.getpid(), "source": False})
    about = {
        "execution": 3,
        "sha256": hashlib.sha256(b"secret = 6 * 7\nsecret").hexdigest(),
        "kernel": None,
        "pid": os.getpid(),
    }
    assert (start["action"], start["outcome"], start["attrs"]) == ("cell.start", None, about)
    assert (end["action"], end["outcome"], end["attrs"]) == ("cell.end", "success", about)
    assert 0 <= end["value"] < 10
    for event in (start, end):
        assert (event["resource"], event["source"]) == ("abc-1", "auditkit.cells")
        assert (event["actor"], event["origin"]) == (on["actor"], "/home/ann/week.ipynb")
    assert start["correlation"] == end["correlation"]
    assert start["correlation"].startswith("cell-")


def test_sources_are_kept_where_asked_for(shell: InteractiveShell, trail: Trail) -> None:
    """`--source` keeps what was run, lone surrogates and all, cut where it is too long for an event; the hash is of the whole."""
    run(shell, "%audit on --source")
    run(shell, "x = 'é'", cell="plain")
    long = f"x = '{'y' * 300_000}'"
    run(shell, long, cell="long")
    (plain,) = story(trail, action="cell.start", resource="plain")
    assert plain["attrs"]["source"] == "x = 'é'"
    (cut,) = story(trail, action="cell.start", resource="long")
    assert (cut["attrs"]["source"], cut["attrs"]["cut"]) == (long[:200_000], True)
    assert cut["attrs"]["sha256"] == hashlib.sha256(long.encode()).hexdigest()
    assert "source" not in story(trail, action="cell.end")[0]["attrs"]


@pytest.mark.filterwarnings("ignore:To exit")
def test_how_cells_end(shell: InteractiveShell, trail: Trail) -> None:
    """Errors of the cell and of its syntax, interrupts and exits are told by their types, never by what they say."""
    run(shell, "%audit on")
    for source in ("1 / 0", "def", "raise KeyboardInterrupt('password')", "raise SystemExit(0)", "import os"):
        run(shell, source, cell=source)
    run(shell, "class Odd(Exception): pass\nraise Odd('password')", cell="odd")
    assert ends(trail) == [
        ("1 / 0", "failure", "ZeroDivisionError"),
        ("def", "failure", "SyntaxError"),
        ("raise KeyboardInterrupt('password')", "failure", "KeyboardInterrupt"),
        ("raise SystemExit(0)", "success", None),
        ("import os", "success", None),
        ("odd", "failure", "__main__.Odd"),
    ]
    assert not [event for event in story(trail) if "password" in str(event["attrs"])]


def test_what_a_cell_causes_lies_under_it(shell: InteractiveShell, trail: Trail, tmp_path: Path) -> None:
    """Files, programs and connections, also of threads and tasks that the cell begins, have its correlation and stand in between."""
    run(shell, "%audit on")
    run(shell, "import json, subprocess\n(folder / 'a').write_text('x')", cell="write")
    begun = "import threading\nt = threading.Thread(target=(folder / 'a').read_text)\nt.start()\nt.join()"
    run(shell, begun, cell="thread")
    run(shell, "import asyncio\nawait asyncio.to_thread((folder / 'a').read_text)", cell="task")
    run(shell, "subprocess.run(['true', 'secret'])", cell="program")
    run(shell, "len(__import__('os').listdir(folder))", cell="list")
    wrote, read = ("file.write", str(tmp_path / "a")), ("file.read", str(tmp_path / "a"))
    assert told(trail, "write") == [("cell.start", "write"), wrote, ("cell.end", "write")]
    assert told(trail, "thread") == [("cell.start", "thread"), read, ("cell.end", "thread")]
    assert told(trail, "task") == [("cell.start", "task"), read, ("cell.end", "task")]
    assert ("process.start", "true") in told(trail, "program")
    assert told(trail, "list")[1:-1] == [("directory.list", str(tmp_path))]
    assert {event["origin"] for event in story(trail)} == {"/home/ann/week.ipynb"}
    assert not [event for event in story(trail) if "secret" in str(event["attrs"])]


def test_imports_are_those_that_a_cell_names(
    shell: InteractiveShell, trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a module imports in turn, and where Python looks for it, is not told; what it does while it is imported is."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "inner_module.py").write_text("")
    (tmp_path / "outer_module.py").write_text("import inner_module\nopen('/dev/null').close()\n")
    run(shell, "%audit on")
    run(shell, "import outer_module", cell="import")
    assert told(trail, "import")[1:-1] == [("module.import", "outer_module"), ("file.read", "/dev/null")]


def test_the_trail_itself_and_tracebacks_are_not_told(shell: InteractiveShell, trail: Trail) -> None:
    """What auditkit reads and writes, and what IPython reads to show an error, is none of the cell's doing."""
    run(shell, "%audit on")
    run(shell, "trail.append(action='doc.read').wait()\ntrail.flush()\ntrail.range().height", cell="ask")
    run(shell, "import textwrap\ntextwrap.dedent(7)", cell="error")
    asked = [action for action, _ in told(trail, "ask")]
    assert [action for action in asked if action.startswith(("file.", "database."))] == []
    assert [action for action, _ in told(trail, "error") if action.startswith("file.")] == []


def test_cells_inside_cells(shell: InteractiveShell, trail: Trail) -> None:
    """A cell that runs another one is told around it, and what it does afterwards is its own again."""
    run(shell, "%audit on")
    run(
        shell,
        "get_ipython().run_cell(\"open('/dev/null')\", cell_id='inner')\nopen('/etc/hostname')",
        cell="outer",
    )
    assert ("file.read", "/dev/null") in told(trail, "inner")
    assert [step for step in told(trail, "outer") if step[0] == "file.read"] == [
        ("file.read", "/etc/hostname")
    ]
    assert [event["resource"] for event in story(trail, action="cell.end")] == ["inner", "outer"]


def test_on_off_and_on(shell: InteractiveShell, trail: Trail) -> None:
    """Twice on changes nothing; off ends with the cell that says so, which is told whole; another `on` begins anew."""
    run(shell, "%audit on")
    run(shell, "%audit on", cell="again")
    run(shell, "%audit off", cell="off")
    run(shell, "open('/dev/null')", cell="unseen")
    assert [(event["action"], event["resource"]) for event in story(trail)] == [
        ("audit.on", None),
        ("cell.start", "again"),
        ("cell.end", "again"),
        ("cell.start", "off"),
        ("cell.end", "off"),
        ("audit.off", None),
    ]
    run(shell, "%audit on")
    run(shell, "%audit on --source", cell="switch")
    run(shell, "1", cell="seen")
    assert [event["attrs"]["source"] for event in story(trail, action="audit.on")] == [False, False, True]
    assert len(story(trail, resource="seen")) == 2
    assert len(story(trail, action="audit.off")) == 2


def test_what_cannot_be_recorded_stops_no_cell(shell: InteractiveShell, trail: Trail) -> None:
    """A trail that fails is warned of once and counted; the cell has its value all the same, and status says it."""
    recorder = CellRecorder(shell, trail.path, source=False)
    recorder.start()
    recorder._recorder.find().close()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert run(shell, "6 * 7") == 42
        assert run(shell, "6 * 8") == 48
        recorder.stop()
    assert [str(each.message).partition("(")[0] for each in said] == ["cells could not be recorded "]
    assert "5 events could not be recorded" in repr(recorder)
    with pytest.raises(ak.AuditError, match="no trail"):
        CellRecorder(shell, trail.path / "nowhere", source=False).start()
    assert run(shell, "6 * 9") == 54


def test_memory_is_bounded(shell: InteractiveShell, trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a cell causes, more than there is room for is counted, in an event of its own."""
    monkeypatch.setattr(runtime, "MOST_WAITING", 3)
    monkeypatch.setattr(cells, "_GATHER_S", 3600.0)
    run(shell, "%audit on")
    run(shell, "for _ in range(10):\n    open('/dev/null').close()", cell="many")
    run(shell, "open('/dev/zero').close()", cell="next")
    assert [action for action, _ in told(trail, "many")] == [
        "cell.start",
        *["file.read"] * 3,
        "run.gap",
        "cell.end",
    ]
    (gap,) = story(trail, action="run.gap")
    assert gap["value"] == 7.0
    assert [action for action, _ in told(trail, "next")] == ["cell.start", "file.read", "cell.end"]


def test_long_cells_are_told_while_they_run(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cell causes is in the trail before the cell has ended."""
    monkeypatch.setattr(cells, "_GATHER_S", 0.01)
    run(shell, "%audit on")
    source = "open('/dev/null').close()\nwhile trail.range(where={'resource': '/dev/null'}).is_empty(): pass\n'seen'"
    assert run(shell, source) == "seen"


def test_a_forked_child_tells_nothing(shell: InteractiveShell, trail: Trail) -> None:
    """A child that a cell forks appends nothing, neither of its own nor again of its parent's."""
    run(shell, "%audit on")
    fork = "import os\nchild = os.fork()\nif not child:\n    open('/dev/null').close()\n    recorder.after(None)\n    os._exit(0)\nos.waitpid(child, 0)[1]"
    magic = shell.magics_manager.magics["line"]["audit"].__self__
    shell.user_ns["recorder"] = magic._recording
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        assert run(shell, fork, cell="fork") == 0
    assert [action for action, _ in told(trail, "fork")] == ["cell.start", "process.fork", "cell.end"]


def test_a_cancelled_cell_has_failed(shell: InteractiveShell, trail: Trail) -> None:
    """An async cell that is cancelled, of which IPython has no result to tell, is a failure; the cell around it goes on."""
    recorder = CellRecorder(shell, trail.path, source=False)
    recorder.start()
    for cell in ("outer", "inner"):
        recorder.before(ExecutionInfo("x", True, False, True, cell))  # type: ignore[no-untyped-call]
    recorder.after(None)
    recorder.stop()
    assert ends(trail) == [("inner", "failure", "asyncio.exceptions.CancelledError")]
    recorder.after(None)
    assert [event["action"] for event in story(trail)][-2:] == ["cell.end", "audit.off"]


def test_a_kernel_is_told_to_its_last_cell(kernel: Kernel, trail: Trail) -> None:
    """Interrupts, subshells, a restart and a kill: each cell is in the trail, before it runs and with how it ended."""
    assert kernel.run("x = 1", cell="first")["status"] == "ok"
    asked = kernel.send("import time\nprint('sleeping')\ntime.sleep(600)", cell="interrupted")
    kernel.printed("sleeping")
    kernel.manager.interrupt_kernel()
    assert kernel.reply(asked)["ename"] == "KeyboardInterrupt"
    assert kernel.run("import asyncio\nawait asyncio.sleep(0)", cell="async")["status"] == "ok"
    subshell = kernel.control("create_subshell_request")["subshell_id"]
    slow = kernel.send(
        "import time\nprint('busy')\nwhile x == 1: time.sleep(0.01)\nopen('/dev/zero')", cell="slow"
    )
    kernel.printed("busy")
    assert (
        kernel.reply(kernel.send("x = 2\nopen('/dev/null')", cell="aside", subshell=subshell))["status"]
        == "ok"
    )
    assert kernel.reply(slow)["status"] == "ok"
    assert ends(trail) == [
        ("first", "success", None),
        ("interrupted", "failure", "KeyboardInterrupt"),
        ("async", "success", None),
        ("aside", "success", None),
        ("slow", "success", None),
    ]
    assert told(trail, "aside")[1:-1] == [("file.read", "/dev/null")]
    assert ("file.read", "/dev/zero") in told(trail, "slow")
    (first,) = story(trail, action="cell.end", resource="first")
    assert first["origin"] == "/home/ann/week.ipynb"
    assert first["attrs"]["kernel"] in kernel.manager.connection_file

    kernel.restart()
    assert [event["action"] for event in story(trail)][-1] == "audit.off"
    assert kernel.run("%load_ext auditkit\n%audit on")["status"] == "ok"
    assert kernel.run("y = 3", cell="after the restart")["status"] == "ok"
    kernel.send("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", cell="last")
    kernel.process.wait(60)
    events = story(trail)
    assert [(event["action"], event["resource"]) for event in events][-3:] == [
        ("cell.start", "after the restart"),
        ("cell.end", "after the restart"),
        ("cell.start", "last"),
    ]
    assert -kernel.process.returncode == signal.SIGKILL


def test_interrupts_lose_and_repeat_nothing(shell: InteractiveShell, trail: Trail) -> None:
    """Wherever an interrupt comes while a cell is being told, its start and its end are in the trail, once."""
    recorder = CellRecorder(shell, trail.path, source=False)
    recorder.start()
    line, interrupted = 1, True  # from the second line on: nothing guards the first
    while interrupted:
        line += 1
        info = ExecutionInfo("x", True, False, True, f"cell {line}")  # type: ignore[no-untyped-call]
        interrupted = interrupt(recorder.before, info, line)
        result = ExecutionResult(info)  # type: ignore[no-untyped-call]
        interrupted = interrupt(recorder.after, result, line) or interrupted
    recorder.stop()
    assert line > 20
    told = [(event["action"], event["resource"]) for event in story(trail)]
    each = [
        (action, f"cell {number}") for number in range(2, line + 1) for action in ("cell.start", "cell.end")
    ]
    assert told == [("audit.on", None), *each, ("audit.off", None)]


def interrupt(call: Callable[[Any], None], argument: Any, line: int) -> bool:
    """Call a method of the recorder and interrupt it at so many lines; return whether it has as many."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != cells.__file__:
            return None
        left -= event == "line"
        if left == 0 and event == "line":
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        with suppress(KeyboardInterrupt):
            call(argument)
    finally:
        sys.settrace(None)
    return left <= 0
