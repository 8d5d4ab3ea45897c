"""A process that forges trails and has them opened, asked, written to and copied by processes with limits.

Reads names of cases from standard input and answers each with a line of JSON: what went wrong, and how each step ended.
Each case gets a folder with the trail, canaries outside it, a folder for temporary files and an empty one to work in.
The canaries are watched by inotify: nothing may open them.  A reader must leave the trail as it was, to the byte and
the time; a writer may change the trail, and nothing else.
"""

import ctypes
import fcntl
import hashlib
import json
import os
import resource
import select
import shutil
import signal
import sqlite3
import stat
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from itertools import islice
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, NoReturn

import msgspec
import polars as pl
from msgspec import Struct

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import AuditError
from auditkit.keep.doctor import diagnose
from auditkit.queue import dead_letters
from auditkit.queue.dead_letters import read_letters
from auditkit.trail import handle
from auditkit.write.retry import as_given, kept_letters, retry_letters
from tests.fakes import ManualClock
from tests.forge import trails
from tests.forge.cases import CASES
from tests.forge.place import CANARY, Place, lay_canaries

MEMORY_BYTES = 4_000_000_000
"""What a process may map beyond what it has when it starts; threads and allocators take two thirds without using it."""
RESIDENT_BYTES = 700_000_000
"""What a process may use beyond what it has when it starts."""
CPU_S = 40
WALL_S = 90
FILE_BYTES = 64 * 1024 * 1024
FILES = 256
_IN_TOUCHED = 0x00000FFF & ~0x00000018  # all but that a file was closed
_FORBIDDEN = frozenset(
    ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "socket.connect", "os.fork")
)
_LARGEST_HASHED = 8 * 1024 * 1024

Report = Callable[[str, str], None]


def readers_steps(place: Place, report: Report) -> None:
    """Open a trail and ask it everything there is to ask."""

    def step(name: str, ask: Callable[[], object]) -> Any:
        return _step(name, ask, report)

    clock = ManualClock(trails.NOW)
    trail: Trail | None = step("open", lambda: ak.open(place.trail, clock=clock))
    if trail is not None:
        step("stats", trail.stats)
        step("doctor", lambda: diagnose(trail.view.snapshot(), now_us=clock.us, tz=trail.tz))
        step("end_seq", lambda: trail.end_seq)
        step("card", lambda: trail._repr_mimebundle_()["text/plain"])
        step("range", lambda: trail.range(own=True, limit=None))
        step(
            "range where",
            lambda: trail.range("2026-11-20", "2026-11-24T12:00", where={"actor": "ann", "id": "single 1"}),
        )
        step(
            "range attrs",
            lambda: trail.range(where={"attrs.pages": 3}, columns=["ts", "attrs", "note"]),
        )
        step("range text", lambda: trail.range(where={"text": "single 1", "actor": {"not": "b*"}}))
        step("tail", lambda: trail.tail(20))
        step("group_by", lambda: trail.group_by("action", every="1h"))
        step("group_by aggs", lambda: trail.group_by("actor", aggs={"value": "p99", "amount": "sum"}))
        step("downsample", lambda: trail.downsample("1d", aggs={"value": "max"}))
        step("tiers", lambda: trail.group_by(["outcome", "action"], every="1h", tier="1h"))
        step("tiers together", lambda: trail.downsample("1d", tier="1h", tz="Europe/Stockholm"))
        step("tier", lambda: trail.tier("1h"))
        step("tier of days", lambda: trail.tier("days"))
        step("scan", lambda: trail.scan(own=True).collect())
        step(
            "sql",
            lambda: trail.sql("SELECT actor, count(*) AS n, max(attrs) AS a FROM events GROUP BY actor"),
        )
        step("at", lambda: trail.at(4_400).range(own=True))
        step("plan_prune", trail.plan_prune)
        step(
            "follow", lambda: [delivery.event for delivery in islice(trail.follow(timeout_s=0, own=True), 60)]
        )
        step("follow the end", lambda: [one.event for one in trail.follow(start=4_385, timeout_s=0)])
        step("letters", lambda: list(kept_letters(trail.handle)))
        step("letters read", lambda: list(read_letters(trail.handle.layout)))
        step("backup", lambda: ak.backup(trail, place.backup / "of reader"))
        step("close", trail.close)


def writers_steps(place: Place, report: Report) -> None:
    """Open a trail and do everything to it that changes it."""

    def step(name: str, ask: Callable[[], object]) -> Any:
        return _step(name, ask, report)

    clock = ManualClock(trails.NOW)
    clock.advance(hours=20)
    trail: Trail | None = step("open", lambda: ak.open(place.trail, clock=clock, maintain=False))
    if trail is not None:
        step("append", lambda: trail.append(action="order.paid", id="mine", actor="ann").wait(10))
        step("append again", lambda: trail.append(action="order.paid", actor="ann", id="single 1").wait(10))
        bad: list[Any] = [{"action": "a"}, {"action": ""}]
        step("extend", lambda: trail.extend(bad, on_invalid="dead-letter").wait(10))
        step("follow", lambda: _follow(trail))
        step("follow new", lambda: [one.seq for one in islice(trail.follow("new", timeout_s=0), 1)])
        step("retry", lambda: retry_letters(trail.handle, as_given))
        step("flush", trail.flush)
        step("rollup", lambda: trail.rollup("1h", by="action"))
        step("set_retention", lambda: trail.set_retention("3d", confirm=True))
        clock.advance(hours=1)
        step("maintain", lambda: trail.maintain(now=_now(clock), compact=True))
        clock.advance(days=1)
        step("prune", lambda: trail.prune(now=_now(clock)))
        step("maintain later", lambda: trail.maintain(compact=True))
        step("range", lambda: trail.range(own=True, limit=None))
        step("backup", lambda: ak.backup(trail, place.backup / "of writer"))
        step("close", trail.close)
    again: Trail | None = step("open again", lambda: ak.open(place.trail, clock=clock, maintain=False))
    if again is not None:
        step("tail again", lambda: again.tail(20))
        step("close again", again.close)


def _now(clock: ManualClock) -> datetime:
    return datetime.fromtimestamp(clock.us // 1_000_000, UTC)


def _follow(trail: Trail) -> int:
    given = 0
    with trail.follow("mailer", timeout_s=0, retry_s=0, max_deliver=2) as follower:
        for delivery in follower:
            given += 1
            if given % 50:
                delivery.ack()
            if given > 100:
                break
    return given


def _step(name: str, ask: Callable[[], object], report: Report) -> object:
    """Have one step end in an answer, which is looked at, or an error of the package."""
    report("begin", name)
    try:
        answer = ask()
        shown = _looked_at(answer)
    except AuditError as exc:
        text = f"{type(exc).__name__}: {exc}"
        if isinstance(exc, OSError) and exc.errno == 27:  # EFBIG
            report("fault", f"{name}: wrote more than {FILE_BYTES} bytes ({text[:300]})")
        if CANARY in text:
            report("fault", f"{name}: what lies outside is in the error")
        report("end", f"{name}: {text[:300]}")
        return None
    except BaseException as exc:
        where = traceback.extract_tb(exc.__traceback__)
        ours = [f"{Path(one.filename).stem}.{one.name}" for one in where if "/auditkit/" in one.filename]
        report("fault", f"{name}: {type(exc).__name__}: {str(exc)[:200]} in {' > '.join(ours[-3:])}")
        report("end", name)
        return None
    if CANARY in shown:
        report("fault", f"{name}: what lies outside is in the answer")
    report("end", f"{name}: answer")
    return answer


def _looked_at(answer: object) -> str:
    """Return an answer as text, so that each of its values is read."""
    if isinstance(answer, pl.DataFrame):
        answer.write_ndjson(open(os.devnull, "wb"))  # noqa: SIM115, PTH123 -- ends with the process
        return str(answer) + str(answer.tail(3).to_dicts())
    return str(answer)[:100_000]


# --- processes


def run_limited(
    work: Callable[[Report], None], *, memory: int | None = MEMORY_BYTES
) -> tuple[list[str], list[str]]:
    """Run `work` in a process with limits; return what went wrong and what its steps ended in."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)

        def report(kind: str, text: str) -> None:
            os.write(into, json.dumps([kind, text]).encode() + b"\n")

        code = 1
        try:
            if memory is not None:
                _limit(memory)
                sys.addaudithook(_hook(report))
            work(report)
            code = 0
        except BaseException as exc:
            report("fault", f"driver: {type(exc).__name__}: {exc}: {traceback.format_exc()[-600:]}")
        finally:
            os._exit(code)
    os.close(into)
    lines, ended = _lines(out, pid, RESIDENT_BYTES + _resident() if memory is not None else None)
    os.close(out)
    faults = [text for kind, text in lines if kind == "fault"]
    ends = [text for kind, text in lines if kind == "end"]
    if ended:
        last = next((text for kind, text in reversed(lines) if kind == "begin"), "before the first step")
        faults.append(f"{last}: {ended}")
    return faults, ends


def _lines(out: int, pid: int, most: int | None) -> tuple[list[tuple[str, str]], str]:
    """Return what a process reported, and what ended it, if that was not its end."""
    data, deadline, ended = b"", time.monotonic() + WALL_S, ""
    while True:
        ready, _, _ = select.select([out], [], [], 0.02)
        if not ready:
            used = _resident(str(pid))
            if most is not None and used > most:
                ended = f"used more than {RESIDENT_BYTES // 1_000_000} MB"
            elif time.monotonic() > deadline:
                ended = f"hangs (more than {WALL_S} s)"
            else:
                continue
            os.kill(pid, signal.SIGKILL)
            break
        piece = os.read(out, 65536)
        if not piece:
            break
        data += piece
    _, status, usage = os.wait4(pid, 0)
    if not ended and most is not None and usage.ru_maxrss * 1024 > most:
        ended = f"used {usage.ru_maxrss // 1_000} MB"
    if not ended and os.WIFSIGNALED(status):
        ended = f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    elif not ended and os.WEXITSTATUS(status):
        ended = f"exited with {os.WEXITSTATUS(status)}"
    return [tuple(json.loads(line)) for line in data.splitlines()], ended


def _resident(process: str = "self") -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):  # it has ended
        return 0


def _limit(memory: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _hook(report: Report) -> Callable[[str, tuple[Any, ...]], None]:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            report("fault", f"{event}{arguments!r:.200}")

    return hook


# --- what may not change


class Watch:
    """What inotify tells of a folder and those in it."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders: dict[int, Path] = {}
        for path in (folder, *(path for path in sorted(folder.rglob("*")) if path.is_dir())):
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(path), _IN_TOUCHED)
            self._folders[number] = path

    def seen(self) -> list[str]:
        """Return what happened, and stop watching."""
        found: list[str] = []
        with suppress(BlockingIOError):
            while data := os.read(self._fd, 65536):
                position = 0
                while position < len(data):
                    number, mask, _, length = struct.unpack_from("iIII", data, position)
                    name = data[position + 16 : position + 16 + length].rstrip(b"\0").decode(errors="replace")
                    folder = self._folders.get(number, Path("?"))
                    what = [word for bit, word in _EVENTS.items() if mask & bit]
                    found.append(f"outside: {'/'.join(what) or hex(mask)} {folder.name}/{name}")
                    position += 16 + length
        os.close(self._fd)
        return sorted(set(found))


_EVENTS = {
    0x1: "read", 0x2: "written", 0x4: "attributes", 0x20: "opened", 0x40: "moved away", 0x80: "moved here",
    0x100: "created", 0x200: "deleted", 0x400: "deleted itself", 0x800: "moved itself",
}  # fmt: skip


def image(folder: Path, *without: Path) -> dict[str, tuple[object, ...]]:
    """Return what lies below a folder: kind, mode, size, time and content, of each name."""
    return {str(path.relative_to(folder)): _facts(path) for path in _below(folder, without)}


def _below(folder: Path, without: tuple[Path, ...]) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        path = Path(entry.path)
        if path in without:
            continue
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _below(path, without)


def _facts(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content: object = None
    if stat.S_ISLNK(status.st_mode):
        content = str(path.readlink())
    elif stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_HASHED:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, content


def changes(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> list[str]:
    """Return in words how two images differ."""
    words = []
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            how = "appeared" if name not in before else "is gone" if name not in after else "changed"
            words.append(f"{name} {how}")
    return words


# --- cases


class Accounts(Struct, frozen=True):
    """Who forges the trail, and who opens it; -1 is the account of this process."""

    forger: int = -1
    victim: int = -1
    group: int = -1

    def become(self, account: int) -> None:
        """Let this process be one of both, with nothing but the group that they share."""
        if account >= 0:
            os.setgroups([])
            os.setresgid(self.group, self.group, self.group)
            os.setresuid(account, account, account)
            os.umask(0o077)


def run_case(base: Path, folder: Path, name: str, accounts: Accounts) -> dict[str, Any]:
    """Forge a case twice, let a reader and a writer at it, and return what went wrong."""
    found: dict[str, Any] = {"faults": [], "steps": {}}
    for who, steps in (("reader", readers_steps), ("writer", writers_steps)):
        place = Place(folder=folder / f"{name.replace('/', '-').replace(' ', '_')}-{who}")
        _make(base, place, CASES[name], accounts)
        faults, ends = _go(place, steps, accounts, is_reader=who == "reader")
        found["faults"] += [f"{who}: {fault}" for fault in faults]
        found["steps"][who] = ends
        shutil.rmtree(place.folder)
    return found


def run_held(base: Path, folder: Path, lock: str, accounts: Accounts) -> dict[str, Any]:
    """Have the forger hold a lock for ever while the victim reads and writes; also return the holder's pid."""
    found: dict[str, Any] = {"faults": [], "steps": {}}
    for who, steps in (("reader", readers_steps), ("writer", writers_steps)):
        place = Place(folder=folder / f"{lock.replace('/', '-')}-{who}")
        _make(base, place, lambda _: None, accounts)
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            _hold(place, lock, into, accounts)
        os.read(out, 1)

        def impatient(place: Place, report: Report, steps: Callable[[Place, Report], None] = steps) -> None:
            handle.LOCK_TIMEOUT_S = dead_letters.LOCK_TIMEOUT_S = 0.5
            steps(place, report)

        faults, ends = _go(place, impatient, accounts, is_reader=who == "reader")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(out)
        os.close(into)
        found["faults"] += [f"{who}: {fault}" for fault in faults]
        found["steps"][who] = [end.replace(f"process {pid}", "process <holder>") for end in ends]
        shutil.rmtree(place.folder)
    return found


def run_harm(base: Path, folder: Path, harm: str, accounts: Accounts) -> dict[str, Any]:
    """Do harm in the place of a reader, and return whether it was seen."""
    place = Place(folder=folder / harm)
    _make(base, place, lambda _: None, accounts)

    def steps(place: Place, report: Report) -> None:
        report("begin", harm)
        HARMS[harm](place)

    faults, ends = _go(place, steps, accounts, is_reader=True)
    shutil.rmtree(place.folder)
    return {"faults": faults, "steps": {"reader": ends}}


def _use_memory(place: Place) -> None:
    del place
    kept = [b"x" * 100_000_000 for _ in range(20)]
    time.sleep(len(kept))


HARMS: dict[str, Callable[[Place], object]] = {
    "read a canary": lambda place: (place.outside / "secret.txt").read_text(),
    "list a canary's folder": lambda place: list((place.outside / "empty").iterdir()),
    "create outside": lambda place: (place.folder / "new").touch(),
    "create in the trail": lambda place: (place.trail / "new").touch(),
    "touch in the trail": lambda place: os.utime(place.trail / "queue.lock"),
    "crash": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "use memory": _use_memory,
    "start a program": lambda _: os.system("true"),  # noqa: S605 -- what nothing may do
    "write much": lambda place: (place.temporary / "large").write_bytes(bytes(FILE_BYTES + 1)),
}
"""What the driver must see; by what is done."""


def _hold(place: Place, lock: str, into: int, accounts: Accounts) -> NoReturn:
    """Hold a lock until killed: the one of a file that was opened for reading, or SQLite's."""
    try:
        accounts.become(accounts.forger)
        os.umask(0o007)
        if lock == trails.CATALOG:
            connection = sqlite3.connect(place.trail / lock, isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
        else:
            fcntl.flock(os.open(place.trail / lock, os.O_RDONLY | os.O_CREAT, 0o660), fcntl.LOCK_EX)
        os.write(into, b"x")
        signal.pause()
    finally:
        os._exit(1)


def _make(base: Path, place: Place, forge: Callable[[Place], None], accounts: Accounts) -> None:
    def lay(report: Report) -> None:
        del report
        accounts.become(accounts.victim)
        lay_canaries(place, base)

    def work(report: Report) -> None:
        del report
        accounts.become(accounts.forger)
        os.umask(0o007)
        shutil.copytree(base, place.trail)
        _share(place.trail, accounts)
        forge(place)
        _share(place.trail, accounts)

    for folder in (place.folder, place.temporary, place.working, place.backup):
        folder.mkdir(parents=True)
        if accounts.victim >= 0:
            os.chown(folder, accounts.victim, accounts.group)
            folder.chmod(0o777 if folder == place.folder else 0o700)
    for part in (lay, work):
        faults, _ = run_limited(part, memory=None)
        if faults:
            raise RuntimeError(f"{place.folder.name}: not forged: {faults}")


def _share(root: Path, accounts: Accounts) -> None:
    """Let the group write to the trail, as in one that was created so."""
    if accounts.group >= 0:
        for path in (root, *root.rglob("*")):
            with suppress(PermissionError):
                if not path.is_symlink():
                    path.chmod(0o2770 if path.is_dir() else 0o660)


def _go(
    place: Place, steps: Callable[[Place, Report], None], accounts: Accounts, *, is_reader: bool
) -> tuple[list[str], list[str]]:
    def work(report: Report) -> None:
        accounts.become(accounts.victim)
        os.environ["TMPDIR"] = str(place.temporary)
        tempfile.tempdir = None
        os.chdir(place.working)
        steps(place, report)

    mine = (place.temporary, place.backup, place.outside, *(() if is_reader else (place.trail,)))
    before, outside = image(place.folder, *mine), image(place.outside)
    watch = Watch(place.outside)
    faults, ends = run_limited(work)
    faults += watch.seen()
    faults += changes(before, image(place.folder, *mine))
    faults += [f"outside: {change}" for change in changes(outside, image(place.outside))]
    return faults, ends


def _import_all() -> None:
    """Import what the steps need: another account may not be allowed to read where it lies."""
    for name in ("_strptime", "encodings.ascii", "encodings.latin_1", "pwd", "pyarrow.compute", "duckdb"):
        import_module(name)
    for room in ("ask", "follow", "keep", "query", "queue", "retention", "store", "trail", "where", "write"):
        for module in walk_packages([str(Path(ak.__file__).parent / room)], f"auditkit.{room}."):
            import_module(module.name)


def main(base: Path, folder: Path, accounts: Accounts) -> None:
    """Make the trail that all cases begin with, then run what standard input asks for.

    That is the name of a case, `hold` and the name of a lock, or `harm` and one of `HARMS`.
    """
    if accounts.group >= 0:
        _import_all()
    if not base.exists():

        def build(report: Report) -> None:
            del report
            accounts.become(accounts.forger)
            trails.build(base, group="write" if accounts.group >= 0 else None)

        faults, _ = run_limited(build, memory=None)
        if faults:
            raise RuntimeError(f"no trail: {faults}")
        if accounts.group >= 0:
            for path in (base, *base.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
    for line in sys.stdin:
        name = json.loads(line)
        try:
            kind, _, what = name.partition(" ")
            run = {"hold": run_held, "harm": run_harm}.get(kind)
            answer = run(base, folder, what, accounts) if run else run_case(base, folder, name, accounts)
        except (OSError, RuntimeError) as exc:
            answer = {"faults": [f"driver: {exc}"], "steps": {}}
        os.write(1, msgspec.json.encode(answer) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Accounts(*map(int, sys.argv[3:])))
