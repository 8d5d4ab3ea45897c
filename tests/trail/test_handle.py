"""What one open trail holds, and gives back."""

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from time import monotonic

import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import ClosedError
from auditkit.opening import create, open_trail
from auditkit.timerange import EVERYTHING, from_us
from auditkit.trail.events import frames, plan_events
from tests.fakes import ManualClock


def held(root: Path) -> list[str]:
    """Return the files below a folder that this process has mapped or open."""
    maps = [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
    opened = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            opened.append(str(descriptor.readlink()))
    return sorted({path for path in (*maps, *opened) if path.startswith(f"{root}/")})


def use(trail: Trail) -> None:
    """Ask a trail in every way that reads segments."""
    trail.range(where={"actor": "ann"})
    trail.range(where={"attrs.n": 3})
    trail.range(limit=3)
    trail.group_by("actor", every="1h")
    trail.downsample("1d")
    trail.scan().select("seq", "attrs").collect()
    trail.sql("SELECT count(*) FROM events")
    trail.tail(5)
    trail.at(3).range()
    trail.stats()
    list(trail.follow(timeout_s=0))


@pytest.mark.parametrize("writes", [False, True])
def test_a_closed_trail_holds_no_file(make_trail: Callable[..., Trail], writes: bool) -> None:
    """After `close` nothing of the trail is mapped or open, while the object is still there."""
    made = make_trail()
    for day in range(1, 6):
        made.extend(
            [
                {
                    "action": "a",
                    "actor": "ann",
                    "ts": datetime(2026, 11, day, n % 24, tzinfo=UTC),
                    "attrs": {"n": n},
                }
                for n in range(5_000)
            ]
        )
        made.flush()
    made.append(action="queued").wait()
    made.close()
    trail = ak.open(made.path)
    if writes:
        trail.append(action="b", id="1").wait()
        next(trail.follow("mailer")).ack()
    view = trail.at(5)
    use(trail)
    trail.close()
    gc.collect()
    assert held(made.path) == []
    with pytest.raises(ClosedError):
        view.range()


def test_a_prune_takes_no_file_from_a_reader(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """Events that are being read when another process prunes them are read to the end, by every way of reading."""
    trail = make_trail(retention="30d")
    for day in range(1, 21):
        trail.extend([{"action": "a", "ts": datetime(2026, 11, day, tzinfo=UTC)}] * 3_000)
        trail.flush()
    reader = ak.open(trail.path)
    snapshot, files = reader.view.snapshot(), reader.handle.reader.files
    plan = plan_events(snapshot, EVERYTHING, snapshot.visibility(own=False), ["seq", "ts"])
    reading = frames(files, snapshot, plan)
    rows = next(reading).height
    frame = reader.scan()
    pruned, lock = list[int](), Lock()

    def prune(events: pl.DataFrame) -> pl.DataFrame:
        with lock:  # Polars may call this in several threads
            if pruned:
                return events
            clock.advance(days=300)
            pruned.append(trail.prune(now=from_us(clock.us)).events)
        return events

    assert frame.map_batches(prune, streamable=True).collect().height == 60_000
    assert pruned == [60_000]
    assert rows + sum(one.height for one in reading) == 60_000
    with pytest.raises(FileNotFoundError):
        list(frames(ak.open(trail.path).handle.reader.files, snapshot, plan))


def test_commits_do_not_wait_for_maintenance(tmp_path: Path, clock: ManualClock) -> None:
    """What no caller waits for is committed soon, though maintenance is due and waits for its lock."""
    trail = create(tmp_path / "audit", clock=clock)
    trail.append(action="a").wait()
    clock.advance(hours=1)  # the oldest queued event is now old enough for a flush
    with trail.handle.maintenance():
        for _ in range(3):
            receipt, begun = trail.append(action="b"), monotonic()
            while not receipt.done:
                threading.Event().wait(0.005)
            assert monotonic() - begun < 5  # 0.1 s, and a busy machine
        names = {thread.name for thread in threading.enumerate()}
        assert {"auditkit-writer", "auditkit-maintainer"} <= names
    trail.close()
    with open_trail(tmp_path / "audit") as later:
        assert later.range().height == 4


def test_closing_leaves_maintenance_that_others_are_at(tmp_path: Path, clock: ManualClock) -> None:
    """A trail whose maintenance waits for another process closes within seconds, everything it accepted stored."""
    trail, other = create(tmp_path / "audit", clock=clock), open_trail(tmp_path / "audit", clock=clock)
    with other.handle.maintenance():
        trail.append(action="a").wait()
        clock.advance(hours=1)
        trail.append(action="b")
        begun = monotonic()
        trail.close()
        assert monotonic() - begun < 20
    assert other.range().height == 2
    other.close()


def test_a_child_forked_before_polars_was_used_may_ask(tmp_path: Path) -> None:
    """Whether Polars works in a forked child is found out by using it."""
    program = (
        "import os, sys, auditkit as ak\n"
        "trail = ak.open(sys.argv[1])\n"
        "trail.append(action='parent', id='1').wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    trail.append(action='child').wait()\n"
        "    os._exit(0 if list(trail.range()['action']) == ['parent', 'child'] else 3)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    create(tmp_path / "audit").close()
    command = [sys.executable, "-c", program, str(tmp_path / "audit")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
