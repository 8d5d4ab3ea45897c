"""Kernels: each notebook in a process of its own, cheaply, and none is left behind."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import auditkit as ak
from auditkit.errors import ReportError
from auditkit.reporting.fork_server import PRELOADED, close_kernels
from auditkit.reporting.kernels import run_cells
from tests.reporting.material import code, notebook


def run(*sources: str, folder: Path, kernel: str = "python3", timeout_s: float | None = None) -> list[str]:
    """Run cells and return what each printed, or the name of what it raised."""
    document = notebook(*(code(source, number=None) for source in sources), kernelspec={"name": kernel})
    run_cells(document, folder, timeout_s=timeout_s)
    return ["".join(said(output) for output in cell.outputs) for cell in document.cells]


def said(output: Any) -> str:
    """Return the text of an output, or the name of the exception."""
    return str(output.get("ename") or output.get("text", "")).strip()


LEAKS = {
    "a variable": ("left = 1", "print('left' in globals())"),
    "a patched module": (
        "import auditkit as ak, polars as pl\nak.open = pl.DataFrame.filter = None",
        "import auditkit as ak, polars as pl\nprint(None in (ak.open, pl.DataFrame.filter))",
    ),
    "the folder": (
        "import os\nos.chdir('/')",
        "import os\nprint(os.getcwd() == '/')",
    ),
    "what is bound": (
        "import auditkit as ak\nkept = ak.bind(actor='left')\nkept.__enter__()",
        "from auditkit.context import bound\nprint('actor' in bound())",
    ),
    "the environment": (
        "import os, time\nos.environ['TZ'] = 'Asia/Kolkata'\ntime.tzset()",
        "import os, time\nprint(os.environ.get('TZ') == 'Asia/Kolkata' or time.timezone == -19800)",
    ),
    "a module": (
        "import sys\nsys.modules['left'] = sys\nsys.path.append('/left')",
        "import sys\nprint('left' in sys.modules or '/left' in sys.path)",
    ),
    "a seed": (
        "import random\nrandom.seed(1)",
        "import random\nprint(random.random() == random.Random(1).random())",
    ),
}


def test_nothing_of_one_notebook_is_seen_by_the_next(tmp_path: Path) -> None:
    """Variables, patches, folder, environment, bound fields, modules and seeds end with their notebook."""
    leave, look = zip(*LEAKS.values(), strict=True)
    seen = run(*map("\n".join, LEAKS.values()), folder=tmp_path)
    assert dict(zip(LEAKS, seen, strict=True)) == dict.fromkeys(LEAKS, "True"), "else the rest shows nothing"
    run(*leave, folder=tmp_path)
    assert dict(zip(LEAKS, run(*look, folder=tmp_path), strict=True)) == dict.fromkeys(LEAKS, "False")


def test_kernels_are_forks_of_one_process_that_has_imported_all(tmp_path: Path) -> None:
    """Two notebooks run in two processes with one parent, in which Polars was loaded before the first cell."""
    cell = "import os, sys\nprint(os.getpid(), os.getppid(), 'polars' in sys.modules)"
    first, second = (run(cell, folder=tmp_path)[0].split() for _ in range(2))
    assert first[0] != second[0]
    assert first[1] == second[1] != str(os.getpid())
    assert first[2] == second[2] == "True"


@pytest.mark.parametrize("name", PRELOADED)
def test_what_is_preloaded_exists(name: str) -> None:
    """A module that moved is named here, and not by every report that fails to start."""
    assert find_spec(name) is not None


def test_folder_and_environment_are_those_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel has the folder it is given and today's environment, and imports what lies in its folder."""
    run("pass", folder=tmp_path)
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    (tmp_path / "beside_it.py").write_text("value = 7")
    cell = "import beside_it, os, time\nprint(beside_it.value, os.getcwd(), time.timezone)"
    assert run(cell, folder=tmp_path) == [f"7 {tmp_path} -19800"]


@pytest.mark.parametrize("victim", ["os.getpid()", "os.getppid()"], ids=["the kernel", "its parent"])
def test_a_kernel_that_dies_fails_its_notebook_alone(tmp_path: Path, victim: str) -> None:
    """The cell in which it died is marked, and the next notebook has a kernel again."""
    marked = run(f"import os, time\nos.kill({victim}, 9)\ntime.sleep(60)", "print('on')", folder=tmp_path)
    assert marked == ["DeadKernelError", ""]
    assert run("print('on')", folder=tmp_path) == ["on"]


def test_a_kernel_ends_as_a_program_does(tmp_path: Path) -> None:
    """What a notebook has appended without waiting is in the trail when the notebook is done."""
    ak.create(tmp_path / "audit").close()
    run("import auditkit as ak\nak.open('audit').append(action='left')", folder=tmp_path)
    assert ak.open(tmp_path / "audit", maintain=False).end_seq == 1


def test_other_kernels_are_started_as_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel specification with a command of its own is obeyed; one that is not installed, or that ends, is an error."""
    folder = tmp_path / "kernels" / "other"
    folder.mkdir(parents=True)
    command = [
        "/usr/bin/env",
        "OTHER=1",
        sys.executable,
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    ]
    (folder / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "o", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    cell = "import os\nprint(os.environ['OTHER'], os.getppid())"
    assert run(cell, folder=tmp_path, kernel="other") == [f"1 {os.getpid()}"]
    with pytest.raises(ReportError, match="kernel missing: not installed here"):
        run("pass", folder=tmp_path, kernel="missing")
    (folder / "kernel.json").write_text(
        json.dumps({"argv": ["/bin/false"], "display_name": "o", "language": "python"})
    )
    with pytest.raises(ReportError, match="kernel: ended before it ran a cell"):
        run("pass", folder=tmp_path, kernel="other")


FOREVER = """
import pathlib, os
pathlib.Path("pids.new").write_text(f"{os.getpid()} {os.getppid()}")
os.rename("pids.new", "pids")
while True: pass
"""
PROGRAM = """
import pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in the background
from auditkit.reporting.kernels import run_cells
from tests.reporting.material import code, notebook
document = notebook(code(sys.argv[1], number=None), kernelspec={"name": "python3"})
run_cells(document, pathlib.Path(sys.argv[2]), timeout_s=None)
"""


@contextmanager
def started(source: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a cell from a program of its own, which ends with the block."""
    command = [sys.executable, "-c", PROGRAM, source, str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def ended(pid: int) -> bool:
    """Wait up to a minute for the end of a process that is not ours."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 60)[0])
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """However a program is ended while a cell runs, the kernel and its parent end too; Ctrl-C is the program's."""
    with started(FOREVER, tmp_path) as program:
        while not (tmp_path / "pids").exists() and program.poll() is None:
            select.select([], [], [], 0.01)
        pids = list(map(int, (tmp_path / "pids").read_text().split()))
        program.send_signal(number)
        _, errors = program.communicate(timeout=60)
    assert [pid for pid in pids if not ended(pid)] == []
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)


def test_a_program_that_ends_ends_its_kernels(tmp_path: Path) -> None:
    """At the normal end of a program, and on demand, nothing of what it has started is left."""
    source = FOREVER.replace("while True: pass", "")
    with started(source, tmp_path) as program:
        assert program.wait(60) == 0
    pids = list(map(int, (tmp_path / "pids").read_text().split()))
    run(source, folder=tmp_path)
    close_kernels()
    pids += map(int, (tmp_path / "pids").read_text().split())
    assert [pid for pid in pids if not ended(pid)] == []
    assert len(set(pids)) == 4
