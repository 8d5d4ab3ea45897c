"""Progress: who looks on sees how far long work is and what came of it; who does not sees nothing."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from auditkit.display.progress import BYTES, progress, tracked, watched

SLOW = """
import time
from auditkit.display.progress import progress, watched
with {within}, progress("storing", total={total}, unit="rows") as advance:
    for number in range(1, {steps}):
        time.sleep(0.1)
        advance(number * 1000, "\x1b]0;evil\x07[red]x[/red]")
print("done")
"""
EXTEND = """
import time
import auditkit as ak
import auditkit.write.extend
auditkit.write.extend.CHUNK_ROWS = 1000
trail = ak.create({path!r})
def rows():
    for number in range({steps}):
        time.sleep(0.1)
        yield from [{{"action": "a"}}] * 1000
receipt = trail.extend(rows())
trail.end_seq
"""


@pytest.fixture(scope="module")
def manager() -> Iterator[KernelManager]:
    """A kernel as a notebook has one."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(manager: KernelManager) -> Iterator[BlockingKernelClient]:
    """What talks to it."""
    client: BlockingKernelClient = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield client
    client.stop_channels()


def outputs_of(
    kernel: BlockingKernelClient, code: str, *, attended: bool, heard: Callable[[str], None] | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run a cell; return what it showed, in order, and the reply; `heard` is told of each."""
    found: list[dict[str, Any]] = []

    def take(message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind in ("display_data", "update_display_data", "error", "stream", "execute_result"):
            found.append({"kind": kind, **content})
            if heard is not None:
                heard(kind)

    reply = kernel.execute_interactive(
        textwrap.dedent(code), allow_stdin=attended, output_hook=take, timeout=60
    )
    return found, reply["content"]


def test_a_cell_shows_how_far_it_is_and_keeps_a_sentence(kernel: BlockingKernelClient) -> None:
    """One output is drawn anew while work is under way, its text only text, and says in the end what was done."""
    code = SLOW.format(within="progress('outer', total=None, unit='rows')", total=20_000, steps=21)
    found, reply = outputs_of(kernel, code, attended=True)
    assert reply["status"] == "ok"
    shown = [one for one in found if one["kind"].endswith("display_data")]
    assert shown == []  # what is within other work is that one's
    code = SLOW.format(within="watched()", total=20_000, steps=21)
    found, _ = outputs_of(kernel, code, attended=True)
    kinds = [one["kind"] for one in found if one["kind"] != "stream"]
    assert kinds[0] == "display_data"
    assert kinds[1:] == ["update_display_data"] * len(kinds[1:])
    assert 2 < len(kinds) <= 8
    assert len({one["transient"]["display_id"] for one in found if one["kind"] != "stream"}) == 1
    first, last = found[0]["data"], [one for one in found if one["kind"] != "stream"][-1]["data"]
    words = r"storing [\d,]+ of 20,000 rows · [\d,]+ rows/s · \d+ s left · <U\+001B>\]0;evil<U\+0007>\[red\]x\[/red\]"
    assert re.fullmatch(words, first["text/plain"])
    assert re.search('<progress value="[0-9]+" max="20000"', first["text/html"])
    assert "&lt;U+001B&gt;" in first["text/html"]
    assert re.fullmatch(r"storing: 20,000 rows in \d+ s", last["text/plain"])
    assert "progress" not in last["text/html"]


def test_a_run_without_a_person_shows_nothing(kernel: BlockingKernelClient) -> None:
    """nbconvert, papermill and our own reports run cells that may not ask: no output of theirs is progress."""
    code = SLOW.format(within="watched()", total=None, steps=14)
    found, _ = outputs_of(kernel, code, attended=False)
    assert [(one["kind"], one["text"]) for one in found] == [("stream", "done\n")]


def test_an_interrupted_extend_says_what_is_in(
    manager: KernelManager, kernel: BlockingKernelClient, tmp_path: Path
) -> None:
    """Progress of a large extend comes unasked; the stop button ends it, and what is stored is said, and there."""
    path = str(tmp_path / "audit")

    def stop(kind: str) -> None:
        if kind == "display_data":
            manager.interrupt_kernel()

    found, reply = outputs_of(kernel, EXTEND.format(path=path, steps=600), attended=True, heard=stop)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    last = [one for one in found if one["kind"] == "update_display_data"][-1]["data"]["text/plain"]
    assert (said := re.fullmatch(r"storing: ([\d,]+) rows when it stopped, after \d+ s", last))
    found, _ = outputs_of(kernel, "trail.end_seq", attended=True)
    stored = int(found[-1]["data"]["text/plain"])
    assert stored >= int(said[1].replace(",", "")) > 0
    assert stored % 1000 == 0


def on_terminal(code: str, *, interrupt: bool = False) -> tuple[int, str]:
    """Run a program at a pseudo terminal; return how it ended, and all that the terminal got."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    got = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        assert ready
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # the other end has gone
            break
        if not piece:
            break
        got += piece
        if interrupt and b"storing" in got:
            interrupt = False
            child.send_signal(signal.SIGINT)
    os.close(ours)
    return child.wait(), got.decode()


def test_a_terminal_shows_a_line_that_goes() -> None:
    """A command at a terminal draws one line, in which no text acts, and takes it away; a script draws none."""
    code, got = on_terminal(SLOW.format(within="watched()", total=20_000, steps=21))
    assert code == 0
    assert re.search(r"storing.* of 20,000 rows", got)
    assert "\x1b]0;evil" not in got
    assert "[red]x[/red]" in got
    assert got.rstrip().endswith("done")
    assert "\x1b[2K" in got  # the line was erased
    assert "\x1b[?25h" in got  # and the cursor is back
    script = SLOW.format(within="__import__('contextlib').nullcontext()", total=20_000, steps=14)
    assert on_terminal(script) == (0, "done\r\n")


def test_an_interrupt_ends_the_line() -> None:
    """Ctrl-C takes the line away, gives the cursor back, and goes on to the caller."""
    code, got = on_terminal(SLOW.format(within="watched()", total=None, steps=600), interrupt=True)
    assert code == -signal.SIGINT
    assert got.rindex("\x1b[?25h") > got.rindex("storing")
    assert "KeyboardInterrupt" in got


def test_nothing_is_drawn_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Where standard error is a pipe, work is passed through and nothing is written."""
    with watched(), progress("storing", total=3, unit=BYTES) as advance:
        advance(3, "")
    assert list(tracked([1, 2, 3], "copying", BYTES, lambda size: size)) == [1, 2, 3]
    assert list(tracked([], "copying", "files")) == []
    assert capfd.readouterr() == ("", "")
