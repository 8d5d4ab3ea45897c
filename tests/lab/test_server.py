"""The Jupyter Server extension: the trail tells what was done through a server, in order, and no more."""

import fcntl
import json
import os
import re
import subprocess
import sys
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

import auditkit as ak
from auditkit.sources.record import user_name
from tests.lab.jupyterlab import IDLE, Lab, Notebook, Server, jupyter_server

NOBODY = "00000000-0000-0000-0000-000000000000"


def told(audit: Path, seen: int, number: int) -> list[dict[str, Any]]:
    """Return the events from `seen` on, once there are as many as the caller expects."""
    deadline = monotonic() + 60
    with ak.open(audit) as trail:
        while trail.end_seq < seen + number and monotonic() < deadline:
            sleep(0.05)
        rows = trail.range(where=pl.col("seq") >= seen).sort("seq").to_dicts()
    return [{**row, "attrs": json.loads(row["attrs"] or "{}")} for row in rows]


def story(events: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what was done to what, and whether it went well."""
    return [(each["action"], each["resource"], each["outcome"]) for each in events]


def end(audit: Path) -> int:
    """Return the seq that the next event gets."""
    with ak.open(audit) as trail:
        return trail.end_seq


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that records into `audit` beside its folder, and culls kernels of the kind `brief` once they are idle."""
    folder = tmp_path_factory.mktemp("recorded") / "work"
    folder.mkdir()
    ak.create(folder.with_name("audit")).close()
    brief = folder.with_name("share") / "kernels" / "brief"
    brief.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Brief", "language": "python", "metadata": {"cull_idle_timeout": 1}}
    (brief / "kernel.json").write_text(json.dumps(spec))
    options = [
        f"--AuditKit.trail={folder.with_name('audit')}",
        "--MappingKernelManager.cull_idle_timeout=100000",
        "--MappingKernelManager.cull_interval=1",
    ]
    with jupyter_server(folder, *options, JUPYTER_PATH=str(brief.parents[1])) as server:
        yield server


@pytest.fixture
def audit(recorded: Server) -> Path:
    """Where it records."""
    return recorded.folder.with_name("audit")


def test_files(recorded: Server, audit: Path) -> None:
    """Files made, saved, uploaded in chunks, renamed, copied, restored, downloaded, exported and deleted, and what failed."""
    ask, seen = recorded.ask, end(audit)
    text = {"type": "file", "format": "text", "content": "one"}
    ask("contents/a.txt", method="PUT", body=text)
    ask("contents/a.txt", method="PUT", body=text)
    ask("contents/a.txt")
    ask("contents/a.txt?content=0")  # what Lab polls: neither of these is told
    ask("contents")
    made = ask("contents", method="POST", body={"type": "directory"})
    ask(f"contents/{quote(made['path'])}")
    for chunk in (1, 2, -1):
        ask("contents/big.bin", method="PUT", body={"type": "file", "format": "base64", "content": "YWJj", "chunk": chunk})  # fmt: skip
    ask("contents/a.txt", method="PATCH", body={"path": f"{made['path']}/b.txt"})
    ask(f"contents/{quote(made['path'])}", method="POST", body={"copy_from": "big.bin"})
    checkpoint = ask("contents/big.bin/checkpoints", method="POST")
    ask(f"contents/big.bin/checkpoints/{checkpoint['id']}", method="POST")
    recorded.fetch("files/big.bin?download=1", token=recorded.token)
    ask("contents/n.ipynb", method="PUT", body={"type": "notebook"})
    recorded.fetch("nbconvert/script/n.ipynb?download=true", token=recorded.token)
    ask("contents/big.bin", method="DELETE")
    refused: list[Callable[[], Any]] = [
        lambda: ask("contents/none.txt"),
        lambda: ask("contents/none.txt", method="DELETE"),
        lambda: recorded.fetch("api/contents/n.ipynb"),
        lambda: recorded.fetch("api/kernels", method="POST"),
    ]
    for attempt in refused:
        with pytest.raises(urllib.error.HTTPError, match=r"40[34]"):
            attempt()
    folder = made["path"]
    expected = [
        ("file.create", "a.txt", "success"),
        ("file.save", "a.txt", "success"),
        ("file.open", "a.txt", "success"),
        ("file.create", folder, "success"),
        ("file.upload", "big.bin", "success"),
        ("file.rename", f"{folder}/b.txt", "success"),
        ("file.copy", f"{folder}/big.bin", "success"),
        ("file.restore", "big.bin", "success"),
        ("file.download", "big.bin", "success"),
        ("file.create", "n.ipynb", "success"),
        ("file.export", "n.ipynb", "success"),
        ("file.delete", "big.bin", "success"),
        ("file.open", "none.txt", "failure"),
        ("file.delete", "none.txt", "failure"),
        ("file.open", "n.ipynb", "failure"),
        ("kernel.start", None, "failure"),
    ]
    events = told(audit, seen, len(expected))
    assert story(events) == expected
    assert (recorded.folder / folder / "big.bin").read_bytes() == b"abc" * 3
    assert {each["source"] for each in events} == {"auditkit.server"}
    assert {each["origin"] for each in events} == {"127.0.0.1"}
    assert {each["actor"] for each in events[:-2]} == {user_name()}
    assert [each["actor"] for each in events[-2:]] == [None, None]  # nobody was let in
    assert [each["attrs"].get("status") for each in events[-4:]] == [404, 404, 403, 403]
    assert events[5]["attrs"]["from"] == "a.txt"
    assert events[6]["attrs"]["from"] == "big.bin"
    assert events[10]["attrs"]["format"] == "script"
    assert re.fullmatch(r"Anonymous \w+", events[0]["attrs"]["user_name"])


@contextmanager
def client(server: Server, kernel: str) -> Iterator[Any]:
    """Connect to a kernel, past the server."""
    runtime = server.folder.with_name(f"{server.folder.name}-jupyter") / "runtime"
    made = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
    made.load_connection_file()
    made.start_channels()
    try:
        made.wait_for_ready(60)
        yield made
    finally:
        made.stop_channels()


def test_kernels_and_sessions(recorded: Server, audit: Path) -> None:
    """A kernel is started for a notebook, interrupted, dies, is started again, and ended with its session; one that cannot start fails."""
    ask, seen = recorded.ask, end(audit)
    wanted = {"type": "notebook", "name": "k.ipynb", "kernel": {"name": "python3"}}
    session = ask("sessions", method="POST", body={"path": f"d/{NOBODY}", **wanted})
    kernel, number = session["kernel"]["id"], session["id"]
    ask(f"sessions/{number}", method="PATCH", body={"path": "d/k.ipynb"})
    assert ask("sessions", method="POST", body={"path": "d/k.ipynb", **wanted})["id"] == number  # as it is
    ask("kernels")
    with client(recorded, kernel) as connected:  # ready: an interrupt may end a kernel that is starting
        ask(f"kernels/{kernel}/interrupt", method="POST")
        connected.execute("import os; os._exit(1)")
        told(audit, seen, 5)
    with pytest.raises(urllib.error.HTTPError, match=r"50[01]"):
        ask("kernels", method="POST", body={"name": "nonsense"})
    other = ask("kernels", method="POST", body={"name": "python3"})["id"]
    ask(f"kernels/{other}", method="DELETE")
    ask(f"sessions/{number}", method="DELETE")
    expected = [
        ("kernel.start", "d/k.ipynb", "success"),
        ("session.start", "d/k.ipynb", "success"),
        ("kernel.interrupt", "d/k.ipynb", "success"),
        ("kernel.die", "d/k.ipynb", "failure"),
        ("kernel.restart", "d/k.ipynb", "success"),
        ("kernel.start", None, "failure"),
        ("kernel.start", None, "success"),
        ("kernel.shutdown", None, "success"),
        ("kernel.shutdown", "d/k.ipynb", "success"),
        ("session.end", "d/k.ipynb", "success"),
    ]
    events = told(audit, seen, len(expected))
    assert story(events) == expected
    mine = [each for each in events if each["resource"]]
    assert {each["correlation"] for each in mine} == {each["attrs"]["kernel"] for each in mine} == {kernel}
    assert [each["attrs"].get("session") for each in mine] == [None, number, None, None, None, None, number]
    assert [each["action"] for each in mine if each["actor"] is None] == ["kernel.die", "kernel.restart"]
    assert {each["actor"] for each in events} == {user_name(), None}
    assert events[3]["attrs"]["restarting"] is True
    assert events[6]["correlation"] == other


def test_culled(recorded: Server, audit: Path) -> None:
    """A kernel that the server ends because it is idle is told as that, and as no user's act."""
    seen = end(audit)
    kernel = recorded.ask("kernels", method="POST", body={"name": "brief"})["id"]
    events = told(audit, seen, 2)
    assert story(events) == [("kernel.start", None, "success"), ("kernel.cull", None, "success")]
    assert [(each["correlation"], each["actor"]) for each in events] == [
        (kernel, user_name()),
        (kernel, None),
    ]


def test_the_server_waits_for_no_disk(recorded: Server, audit: Path) -> None:
    """While another process holds the trail the server answers, and what it did is recorded afterwards."""
    seen = end(audit)
    with (audit / "queue.lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in range(20):
            body = {"type": "file", "format": "text", "content": str(number)}
            recorded.ask("contents/w.txt", method="PUT", body=body)
        assert end(audit) == seen
    events = told(audit, seen, 20)
    assert story(events) == [("file.create", "w.txt", "success"), *19 * [("file.save", "w.txt", "success")]]


def test_without_a_trail_the_server_goes_on(tmp_path: Path) -> None:
    """A trail that is not there is one warning; the server serves, and records once it is there, up to its own end."""
    audit, folder = tmp_path / "audit", tmp_path / "work"
    folder.mkdir()
    body = {"type": "file", "format": "text", "content": "one"}
    with jupyter_server(folder, f"--AuditKit.trail={audit}") as server:
        for _ in range(3):
            server.ask("contents/a.txt", method="PUT", body=body)
        ak.create(audit).close()
        server.ask("contents/b.txt", method="PUT", body=body)
        server.ask("kernels", method="POST", body={"name": "python3"})
    assert story(told(audit, 0, 3)) == [
        ("file.create", "b.txt", "success"),
        ("kernel.start", None, "success"),
        ("kernel.shutdown", None, "success"),
    ]
    warnings = [line for line in server.said if "auditkit" in line and re.match(r"\[[WEC]", line)]
    assert len(warnings) == 1
    assert "what this server does cannot be recorded (TrailNotFoundError" in warnings[0]
    assert not any("auditkit/lab" in line for line in server.said)  # a line of a traceback


def test_it_is_off_unless_a_trail_is_named(tmp_path: Path) -> None:
    """A server that names no trail loads nothing for it, whatever AUDITKIT_TRAIL says."""
    code = """if True:
        import sys
        from jupyter_server.serverapp import ServerApp
        from auditkit.lab import server
        assert server._jupyter_server_extension_points() == [{"module": "auditkit.lab.server"}]
        server._load_jupyter_server_extension(ServerApp())
        assert not {"auditkit.api", "polars"} & set(sys.modules)
    """
    environment = {**os.environ, "AUDITKIT_TRAIL": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_story_of_a_notebook(lab: Lab, lab_folder: Path) -> None:
    """Opened, run, saved, renamed, its kernel restarted, copied and the copy deleted in a browser: that, in order, and no more."""
    audit, folder = lab.folder.with_name("audit"), lab_folder.name
    lab.write(f"{folder}/a.ipynb", "1 + 1")
    seen = end(audit)
    opened = lab.open(f"{folder}/a.ipynb")
    page = opened.page
    assert opened.run("2 + 3") == "5"
    opened.save()
    begin(opened, "docmanager:rename")
    page.locator("dialog input").fill("b.ipynb")
    page.locator("dialog .jp-mod-accept").click()
    told(audit, seen, 5)
    begin(opened, "notebook:restart-kernel")
    page.locator("dialog .jp-mod-accept").click()
    told(audit, seen, 6)
    page.wait_for_function(IDLE)
    assert opened.run("6 * 7") == "42"
    opened.save()
    opened.command("docmanager:duplicate")
    told(audit, seen, 8)
    copied = page.locator(".jp-DirListing-item", has_text="b-Copy1.ipynb")
    copied.click(button="right")
    page.locator(".lm-Menu-item[data-command='filebrowser:delete']").click()
    page.locator("dialog .jp-mod-accept").click()
    copied.wait_for(state="detached")
    expected = [
        ("file.open", f"{folder}/a.ipynb"),
        ("kernel.start", f"{folder}/a.ipynb"),
        ("session.start", f"{folder}/a.ipynb"),
        ("file.save", f"{folder}/a.ipynb"),
        ("file.rename", f"{folder}/b.ipynb"),
        ("kernel.restart", f"{folder}/b.ipynb"),
        ("file.save", f"{folder}/b.ipynb"),
        ("file.copy", f"{folder}/b-Copy1.ipynb"),
        ("file.delete", f"{folder}/b-Copy1.ipynb"),
    ]
    events = told(audit, seen, len(expected))
    assert story(events) == [(*each, "success") for each in expected]
    [kernel] = {each["attrs"]["kernel"] for each in events if each["action"].startswith("kernel.")}
    ran = [each["correlation"] == kernel for each in events]
    assert ran == [False, *6 * [True], False, False]
    assert {(each["actor"], each["origin"]) for each in events} == {(user_name(), "127.0.0.1")}
    assert len({each["attrs"]["user"] for each in events}) == 1


def begin(notebook: Notebook, command: str) -> None:
    """Begin a command that asks something in a dialog."""
    notebook.page.evaluate("name => { window.jupyterapp.commands.execute(name); }", command)
    notebook.page.locator("dialog").wait_for()
