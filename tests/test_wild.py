"""Life in the wild: forks, exits, other users, read-only places, few descriptors, clocks that jump."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import QueueFullError
from auditkit.queue.receipts import Limits
from tests.fakes import ManualClock

AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """Return a directory that every user of the machine can enter."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o777)
        yield place


def test_a_forked_child_gets_a_clean_writer(trail: Trail) -> None:
    """A child appends for itself, and what the parent had accepted stays the parent's to commit."""
    trail.append(action="before").wait()
    mine = trail.append(action="parent")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            try:
                mine.wait()
            except ak.AuditError:
                status = 0 if trail.append(action="child").wait() is not None else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    mine.wait()
    assert sorted(trail.range()["action"]) == ["before", "child", "parent"]


@pytest.mark.parametrize("anew", [False, True])
def test_a_child_forked_after_a_query_says_so_instead_of_hanging(trail: Trail, anew: bool) -> None:
    """Where Polars' threads were lost in a fork, asking raises, and appending works, also where the child opens anew."""
    trail.append(action="before").wait()
    trail.range()
    trail.scan().group_by("action").len().collect()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        status = 1
        try:
            mine = ak.open(trail.path) if anew else trail
            mine.append(action="child").wait()
            try:
                mine.range()
            except ak.AuditError as exc:
                status = 0 if "forked after Polars" in str(exc) else 3
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted(trail.range()["action"]) == ["before", "child"]


@pytest.mark.parametrize(
    "ending", ["", "raise SystemExit(0)", "import os, signal; os.kill(os.getpid(), signal.SIGINT)", "1 / 0"]
)
def test_a_normal_end_commits_what_was_accepted(trail: Trail, ending: str) -> None:
    """At the end of the interpreter, by whatever normal way, accepted events are made durable."""
    code = f"import sys, auditkit as ak\nt = ak.open(sys.argv[1])\nfor n in range(50): t.append(action='a')\n{ending}"
    run(code, trail.path)
    assert trail.range().height == 50


def test_a_restarted_kernel_commits_what_was_accepted(trail: Trail) -> None:
    """A notebook's kernel that is restarted leaves nothing behind that it had accepted."""
    manager, client = start_new_kernel()
    try:
        reply = client.execute_interactive(
            "import auditkit as ak, auditkit.queue.group_commit as writer\n"
            "writer.COMMIT_WITHIN_S = 3600  # nobody but the end commits\n"
            f"trail = ak.open({str(trail.path)!r})\n"
            "for n in range(50): trail.append(action='a')\n"
            "assert trail.handle.writer.pending_events",
            timeout=60,
        )
        assert reply["content"]["status"] == "ok"
        manager.restart_kernel()
        assert trail.range().height == 50
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_appending_at_the_end_of_the_interpreter(trail: Trail) -> None:
    """An exit handler can still append."""
    code = "import sys, atexit, auditkit as ak\nt = ak.open(sys.argv[1])\natexit.register(lambda: t.append(action='a').wait())"
    done = run(code, trail.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert trail.range().height == 1


def test_a_forgotten_trail_commits(trail: Trail) -> None:
    """A trail object that is dropped without close commits what it accepted."""
    code = (
        "import sys, gc, auditkit as ak\ndef work():\n    ak.open(sys.argv[1]).append(action='a')\n"
        "work(); gc.collect()\nprint(ak.open(sys.argv[1]).range().height)"
    )
    done = run(code, trail.path)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_receipts_can_be_awaited(trail: Trail) -> None:
    """`await receipt` gives the seq without blocking the loop."""

    async def many() -> list[int | None]:
        return list(await asyncio.gather(*(wait(trail.append(action="a")) for _ in range(20))))

    async def wait(receipt: ak.Receipt) -> int | None:
        return await receipt

    assert sorted(seq for seq in asyncio.run(many()) if seq is not None) == list(range(20))


def test_clock_jumps_change_only_ts(trail: Trail, clock: ManualClock) -> None:
    """A clock that goes back changes `ts`; `recorded` and the order of seqs never go back."""
    for hours in (0, 5, -48, 1):
        clock.advance(hours=hours)
        trail.append(action="a").wait()
    trail.flush()
    clock.advance(hours=-2)
    reopened = ak.open(trail.path, clock=clock)
    reopened.append(action="a").wait()
    reopened.close()
    events = trail.tail(10)
    assert events["seq"].to_list() == [0, 1, 2, 3, 4]
    assert events["recorded"].is_sorted()
    assert not events["ts"].is_sorted()


def test_bounds_make_the_caller_work_or_raise(make_trail: Callable[..., Trail]) -> None:
    """At a bound the caller commits or flushes itself, or gets QueueFullError; nothing is dropped."""
    trail = make_trail(maintain=False, limits=Limits(pending_events=10, backlog_events=50))
    for _ in range(200):
        trail.append(action="a")
    stats = trail.stats()
    assert stats.queue.high_water <= 10
    assert stats.queue.depth <= 70
    assert stats.segments.rows >= 130
    assert trail.range().height == 200
    strict = ak.open(trail.path, limits=Limits(backlog_events=50, on_full="raise"), maintain=False)
    accepted = 0
    with pytest.raises(QueueFullError, match="backlog"):  # noqa: PT012 -- which append it is does not matter
        while accepted < 200:
            strict.append(action="b").wait()
            accepted += 1
    strict.flush()
    assert strict.range(where={"action": "b"}).height == accepted
    strict.close()


def test_few_descriptors_are_enough(trail: Trail) -> None:
    """Forty segments are asked with far fewer file descriptors."""
    rows = [
        {"action": "a", "ts": f"2026-{month:02}-{day:02}T00:00Z"} for month in (9, 10) for day in range(1, 21)
    ]
    trail.extend(rows).wait()
    trail.flush()
    code = (
        "import sys, resource, auditkit as ak\nresource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))\n"
        "t = ak.open(sys.argv[1])\nprint(t.range().height, t.group_by('action')['count'].to_list())\n"
        "print(t.append(action='b').wait())"
    )
    done = run(code, trail.path)
    assert done.stdout.splitlines() == ["40 [40]", "40"], done.stderr
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 32


BECOME_ANOTHER = """
import os, sys, tempfile
import auditkit as ak

def ask(path):
    trail = ak.open(path)
    return f"{trail.range().height} {trail.stats().queue.depth}"

def append(path):
    with ak.open(path) as trail:
        seq = trail.append(action="x").wait()
        trail.flush()
        return seq

with tempfile.TemporaryDirectory() as rehearsal:  # loads every module while they can be read
    ak.create(rehearsal + "/audit").close()
    append(rehearsal + "/audit"), ask(rehearsal + "/audit")
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(65533)
print({"ask": ask, "append": append}[sys.argv[3]](sys.argv[1]))
"""


def as_another(path: Path, group: int, act: str) -> subprocess.CompletedProcess[str]:
    """Ask or append as a user who owns nothing, in the given group."""
    return run(BECOME_ANOTHER, path, group, act)


@AS_ROOT
@pytest.mark.parametrize(
    ("group", "may_ask", "may_append"), [(None, False, False), ("read", True, False), ("write", True, True)]
)
def test_two_users_share_a_trail_as_declared(
    open_place: Path, group: str | None, may_ask: bool, may_append: bool
) -> None:
    """Another user of the group asks, or appends, exactly where the trail was created for it."""
    trail = ak.create(open_place / "audit", group=group)  # type: ignore[arg-type]
    trail.append(action="a").wait()
    trail.flush()
    trail.append(action="b").wait()
    os.chown(open_place / "audit", -1, 65534)
    for path in (open_place / "audit").rglob("*"):
        os.chown(path, -1, 65534)
        if group == "write" and path.is_dir():
            path.chmod(0o2770)
    asked = as_another(trail.path, 65534, "ask")
    assert (asked.stdout.strip() == "2 1") is may_ask, asked.stderr
    appended = as_another(trail.path, 65534, "append")
    assert (appended.stdout.strip() == "2") is may_append, appended.stderr
    assert trail.append(action="c").wait() == (3 if may_append else 2)
    trail.flush()
    assert trail.range().height == (4 if may_append else 3)
    trail.close()


@AS_ROOT
def test_a_read_only_directory_can_be_asked(open_place: Path) -> None:
    """Where nothing may be written, everything committed can still be asked, and appending says why not."""
    trail = ak.create(open_place / "audit")
    trail.append(action="a").wait()
    trail.flush()
    trail.append(action="b").wait()
    trail.close()
    for path in ((open_place / "audit"), *(open_place / "audit").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    asked = as_another(open_place / "audit", 65533, "ask")
    assert asked.stdout.strip() == "2 1", asked.stderr
    appended = as_another(open_place / "audit", 65533, "append")
    assert "PermissionError" in appended.stderr
    for path in ((open_place / "audit"), *(open_place / "audit").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
