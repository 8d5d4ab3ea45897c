"""Real faults: system calls that fail inside a process, a process killed inside a sync, a disk that is full.

The system calls fail through strace, so that SQLite's and the interpreter's own are among them.  Whatever fails,
receipts raise or are kept, nobody hangs, and a trail opened afterwards holds what was acknowledged.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import auditkit as ak
from auditkit.errors import StorageError
from tests.machine import skip_or_fail
from tests.oracle import read_trail

STRACE = shutil.which("strace")
PATIENCE_S = 60


def tracing(strace: str, folder: Path, inject: str) -> list[str]:
    """Return the beginning of a command whose process meets a fault."""
    call = inject.partition(":")[0]
    return [strace, "-f", "-qq", "-o", str(folder / "trace"), "-e", f"trace={call}", "-e", f"inject={inject}"]


@dataclass
class Told:
    """What a process said before its end."""

    lines: list[list[str]]
    code: int
    errors: str

    @property
    def acknowledged(self) -> dict[int, str]:
        """The tags that were acknowledged, by seq."""
        return {int(line[2]): line[1] for line in self.lines if line[0] == "ack"}

    @property
    def intended(self) -> list[str]:
        """The tags that were handed over, in order."""
        return [line[1] for line in self.lines if line[0] == "intend"]

    def count(self, word: str) -> int:
        """Say how often a word began a line."""
        return sum(line[0] == word for line in self.lines)


def listen(command: list[str], root: Path, *, rounds: int, pad: int = 200) -> Told:
    """Run the process that is to meet faults."""
    script = Path(__file__).with_name("faulted.py")
    command = [*command, sys.executable, "-W", "error", str(script), str(root), str(rounds), str(pad)]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment, check=False
    )
    return Told(
        [line.split() for line in done.stdout.splitlines() if " " in line or line],
        done.returncode,
        done.stderr,
    )


@pytest.fixture
def strace() -> str:
    """Return strace, where this machine lets us trace."""
    if STRACE is None:
        skip_or_fail("strace is not installed")
    assert STRACE is not None
    if subprocess.run([STRACE, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        skip_or_fail("strace may not trace on this machine")
    return STRACE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a trail with events in a segment and in the queue."""
    root = tmp_path / "audit"
    with ak.create(root, maintain=False) as trail:
        trail.append(action="old0").wait()
        trail.flush()
        trail.append(action="old1").wait()
    return root


def check(root: Path, told: Told) -> None:
    """Hold a trail to what its process was promised, with a reader, a writer and the oracle."""
    assert "SURPRISE" not in {line[0] for line in told.lines}, told
    assert "HANGS" not in {line[0] for line in told.lines}, told
    owed = {0: "old0", 1: "old1", **told.acknowledged}
    with ak.open(root, maintain=False) as trail:
        assert_kept(trail, owed, told)
        end = trail.append(action="after").wait()
        assert end == trail.end_seq - 1
        trail.flush()
        assert_kept(trail, {**owed, end: "after"}, told)
    stored = read_trail(root)
    assert sorted(stored.events) == list(range(stored.end))
    assert stored.flushed == stored.end
    named = {row["path"] for row in stored.catalog["segments"]}
    assert {str(path.relative_to(root / "segments")) for path in (root / "segments").glob("*/*")} == named
    assert len(list((root / "queue").glob("*.wal"))) == 1


def assert_kept(trail: ak.Trail, owed: dict[int, str], told: Told) -> None:
    """Fail unless a trail shows what is owed, once, and nothing that nobody appended."""
    shown = dict(trail.scan().select("seq", "action").collect().iter_rows())
    assert {seq: shown.get(seq) for seq in owed} == owed
    assert len(set(shown.values())) == len(shown)
    assert set(shown.values()) <= {*told.intended, *owed.values()}


FAILURES = [
    (call, error, number)
    for call, error, numbers in [
        ("fdatasync", "EIO", (1, 3, 5)),
        ("fdatasync", "ENOSPC", (2, 6)),
        ("fsync", "EIO", (1, 2, 4)),
        ("pwrite64", "ENOSPC", (1, 2, 9, 16)),
        ("pwrite64", "EIO", (3, 12)),
        ("renameat", "EIO", (1, 2, 3)),
        ("renameat", "ENOSPC", (3, 6)),
        ("flock", "ENOLCK", (1, 2, 7)),
        ("flock", "EIO", (4,)),
    ]
    for number in numbers
]


@pytest.mark.parametrize(("call", "error", "number"), FAILURES)
def test_a_failing_system_call_loses_nothing(
    strace: str, root: Path, tmp_path: Path, call: str, error: str, number: int
) -> None:
    """The n-th call of a thread fails: nobody hangs, what raises is an error to handle, and every promise holds."""
    told = listen(tracing(strace, tmp_path, f"{call}:error={error}:when={number}"), root, rounds=3)
    assert "(INJECTED)" in (tmp_path / "trace").read_text(), "the call was never reached"
    assert told.lines[-1:] == [["end"]], told
    assert told.acknowledged, told
    check(root, told)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64", "renameat", "flock"])
def test_where_everything_fails_every_receipt_raises(
    strace: str, root: Path, tmp_path: Path, call: str, error: str
) -> None:
    """Without a single working call of a kind nobody hangs, and later everything acknowledged is there."""
    told = listen(tracing(strace, tmp_path, f"{call}:error={error}"), root, rounds=2)
    assert told.lines[-1:] == [["end"]], told
    assert told.count("failed") > 1, told
    assert told.acknowledged == {} or call == "renameat", told
    check(root, told)


@pytest.mark.parametrize(
    ("call", "number"), [("fdatasync", n) for n in range(1, 11)] + [("fsync", n) for n in range(1, 7)]
)
def test_a_kill_inside_a_sync_loses_nothing(
    strace: str, root: Path, tmp_path: Path, call: str, number: int
) -> None:
    """SIGKILL at the n-th sync, SQLite's among them, leaves a trail that goes on where it was."""
    told = listen(tracing(strace, tmp_path, f"{call}:signal=SIGKILL:when={number}"), root, rounds=2)
    assert told.lines[-1:] != [["end"]], "the sync was never reached"
    check(root, told)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory that holds a mebibyte and nothing more."""
    if os.getuid() != 0:
        skip_or_fail("only root can mount a file system")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        skip_or_fail(f"this machine lets nobody mount a file system: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("free_kib", [96, 104, 112, 128, 160, 200, 240])
def test_a_full_disk_loses_nothing(small_disk: Path, free_kib: int) -> None:
    """A disk that fills up makes receipts raise; with room again, the trail goes on with all it acknowledged."""
    root = small_disk / "audit"
    filler = small_disk / "filler"
    with ak.create(root, maintain=False) as trail:
        assert trail.append(action="old0").wait() == 0
        trail.flush()
        assert trail.append(action="old1").wait() == 1
    used = shutil.disk_usage(small_disk).used
    filler.write_bytes(bytes((1 << 20) - used - (free_kib << 10)))
    told = listen([], root, rounds=4, pad=20_000)
    assert told.lines[-1:] == [["end"]], told
    assert told.count("failed") > 0, told
    filler.unlink()
    check(root, told)


def test_the_same_object_goes_on_when_there_is_room_again(small_disk: Path) -> None:
    """Where the disk is full receipts raise, and once there is room the same object appends, flushes and closes."""
    root, filler = small_disk / "audit", small_disk / "filler"
    trail = ak.create(root, maintain=False)
    acknowledged = {trail.append(action="old").wait(): "old"}
    failures = 0
    for round_ in range(3):
        used = shutil.disk_usage(small_disk).used
        filler.write_bytes(bytes(max(0, (1 << 20) - used - (64 << 10))))
        for number in range(40):
            tag = f"{round_}.{number}"
            try:
                seq = trail.append(action=tag, attrs={"pad": os.urandom(8_000).hex()}).wait()
                acknowledged[seq] = tag
            except StorageError:
                failures += 1
        filler.unlink()
        seq = trail.append(action=f"after{round_}").wait()
        acknowledged[seq] = f"after{round_}"
        trail.flush()
    assert failures > 3
    shown = dict(trail.scan().select("seq", "action").collect().iter_rows())
    assert {seq: shown.get(seq) for seq in acknowledged} == acknowledged
    assert len(set(shown.values())) == len(shown)
    trail.close()
