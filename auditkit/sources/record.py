"""Run a Python program under an audit hook and append what it set out to do.

The program keeps its standard streams, its working directory and its exit code.  It gets two environment variables
more: PYTHONPATH begins with the recorder's folder, and AUDITKIT_RECORD names a FIFO.  Both are inherited, so Python
programs that it starts are recorded as well.  What the hook sees goes through the FIFO to this process, which appends
it in batches; a program is never held up for longer than the hook's patience by a recorder that is slow or dead.

Audit events fire before the act: outcome is null, and `file.write` means "set out to write".  Not seen: Python
started with -I, -E or -S (the hook is not loaded), programs that close all descriptors, whatever is not Python, code
in C that raises no audit event, and what processes do after the program that was started has ended.
"""

import fcntl
import os
import pwd
import secrets
import select
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from auditkit.api import Trail
from auditkit.context import bound
from auditkit.errors import AuditError, InvalidArgumentError
from auditkit.sources.python_events import recorded
from auditkit.text import counted
from auditkit.timerange import from_us

SOURCE = "auditkit.record"
SHIM = Path(__file__).parent / "shim"
VARIABLE = "AUDITKIT_RECORD"

_PIPE_BYTES = 1 << 20
_GATHER_S = 0.01
_LOOK_S = 0.1
_LONGEST_LINE = 64 * 1024
_FORWARDED = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSummary:
    """What a recording came to.

    `exit_code` is the program's own, or 128 + n if signal n ended it.  `events` counts what the program set out to
    do (`run.start` and `run.end` come on top), `lost` what the hook could not hand over in time, `malformed` lines
    that did not come from the hook, or whose event the trail refused (it is a dead letter).  `run` is the correlation of all events.
    """

    run: str
    exit_code: int
    events: int
    lost: int
    malformed: int
    seconds: float

    def __str__(self) -> str:
        text = f"recorded {counted(self.events, 'event')} of {self.run} in {self.seconds:.1f} s, exit code {self.exit_code}"
        if self.lost:
            text += f"; {counted(self.lost, 'event')} lost"
        if self.malformed:
            text += f"; {counted(self.malformed, 'line')} not understood"
        return text


def record(trail: Trail, argv: Sequence[str], *, arguments: bool = False) -> RecordSummary:
    """Run `argv` and append what Python in it sets out to do; return when the program has ended.

    Every event has the user as actor and the host as origin (or what `ak.bind` says), `source="auditkit.record"`,
    outcome null and one correlation for the run.  `run.start` is durable before the program starts, everything once
    this returns.  Programs are recorded by name and number of arguments; `arguments=True` keeps the arguments too,
    which may hold secrets.  The environment is never recorded.

    Raises `AuditError` if the program cannot be started (`run.end` says so in the trail).  If the trail refuses
    events, the program runs on to its end, unrecorded, and then the refusal is raised.
    """
    if not argv:
        raise InvalidArgumentError("argv", argv, "empty", expected="a program and its arguments")
    run = _Run(trail, argv, arguments=arguments)
    run.begin()
    with (
        tempfile.TemporaryDirectory(prefix="auditkit-record-") as folder,
        _reading_end(Path(folder) / "fifo") as fd,
    ):
        environment = child_environment(os.environ, Path(folder) / "fifo", arguments=arguments)
        with _signals() as watched:
            try:
                process = subprocess.Popen(list(argv), env=environment)  # noqa: S603 - the program asked for
            except OSError as exc:
                run.end(127 if isinstance(exc, FileNotFoundError) else 126, reason=exc.strerror)
                raise AuditError(f"{argv[0]}: cannot be started ({exc.strerror})") from exc
            watched.append(process)
            exit_code = run.follow(process, fd)
    run.end(exit_code)
    return run.summary(exit_code)


def child_environment(inherited: Mapping[str, str], fifo: Path, *, arguments: bool = False) -> dict[str, str]:
    """Return the environment in which a Python is recorded: `inherited`, PYTHONPATH led by the shim, the FIFO.

    >>> child_environment({"PYTHONPATH": "/srv/lib"}, Path("/run/fifo"))["PYTHONPATH"].endswith("shim:/srv/lib")
    True
    """
    paths = [str(SHIM), *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(paths),
        VARIABLE: f"{os.getpid()}:{int(arguments)}:{fifo}",
    }


class _Run:
    """One run: its identity, and the way of its lines into the trail."""

    def __init__(self, trail: Trail, argv: Sequence[str], *, arguments: bool) -> None:
        self.trail = trail
        self.run = f"run-{secrets.token_hex(6)}"
        self.started = time.monotonic()
        self.events = self.lost = self.malformed = 0
        self.refusal: AuditError | OSError | None = None
        self.argv, self.arguments = argv, arguments
        self.common: dict[str, str | None] = {
            "source": SOURCE,
            "correlation": self.run,
            "actor": bound().get("actor") or user_name(),
            "origin": bound().get("origin") or socket.gethostname() or None,
        }
        self._rest = b""

    def begin(self) -> None:
        """Append, durably, what is about to be started."""
        attrs: dict[str, object] = {"arguments": len(self.argv) - 1, "cwd": _working_directory()}
        if self.arguments:
            attrs["command"] = shlex.join(self.argv)
        self.bracket(action="run.start", attrs=attrs)

    def follow(self, process: subprocess.Popen[bytes], fd: int) -> int:
        """Take lines until the program has ended and the pipe is empty; return the exit code."""
        with _exit_descriptor(process) as ended:
            while process.poll() is None:
                ready, _, _ = select.select([fd, *ended], [], [], _LOOK_S if ended else _GATHER_S)
                if fd in ready:
                    self.take(fd)
                    time.sleep(_GATHER_S)  # gather a batch; the pipe holds what comes meanwhile
        self.take(fd)
        code = process.returncode
        return 128 - code if code < 0 else code

    def take(self, fd: int) -> None:
        """Append everything the pipe holds; once the trail has refused, only drain it."""
        try:
            chunk = os.read(fd, _PIPE_BYTES)
        except BlockingIOError:
            return
        if self.refusal is not None:
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self._rest, self.malformed = b"", self.malformed + 1
        rows = [row for row in map(self.row, lines) if row is not None]
        try:
            taken = self.trail.extend(rows, on_invalid="dead-letter").count
        except (AuditError, OSError) as exc:
            self.refusal = exc
        else:
            self.events += taken
            self.malformed += len(rows) - taken

    def row(self, line: bytes) -> dict[str, object] | None:
        """Return the event of one line, or None if it is not one of the hook's."""
        try:
            event = recorded(line)
        except ValueError:
            self.malformed += 1
            return None
        if event.action == "run.gap":
            self.lost += int(event.value or 0)
        return {
            "ts": from_us(event.ts_us),
            "action": event.action,
            "resource": event.resource,
            "value": event.value,
            "attrs": dict(event.attrs),
            **self.common,
        }

    def end(self, exit_code: int, *, reason: str | None = None) -> None:
        """Append, durably, how the program ended; raise what the trail refused."""
        attrs: dict[str, object] = {"exit_code": exit_code, "events": self.events, "unit": "seconds"}
        attrs.update({"lost": self.lost} if self.lost else {})
        attrs.update({"malformed": self.malformed} if self.malformed else {})
        attrs.update({"reason": reason} if reason else {})
        if self.refusal is not None:
            self.refusal.add_note(f"the program ran on unrecorded and ended with exit code {exit_code}")
            raise self.refusal
        seconds = round(time.monotonic() - self.started, 6)
        self.bracket(
            action="run.end", outcome="failure" if exit_code else "success", value=seconds, attrs=attrs
        )

    def bracket(self, **fields: object) -> None:
        """Append an event about the run as a whole and wait until it is durable."""
        self.trail.extend([{"resource": _clean(self.argv[0]), **fields, **self.common}]).wait()

    def summary(self, exit_code: int) -> RecordSummary:
        """Return what the recording came to."""
        return RecordSummary(
            run=self.run,
            exit_code=exit_code,
            events=self.events,
            lost=self.lost,
            malformed=self.malformed,
            seconds=time.monotonic() - self.started,
        )


def user_name() -> str:
    """Return who runs this process: the name of its user id, not what the environment claims."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container without a user database
        return str(os.getuid())


@contextmanager
def _reading_end(fifo: Path) -> Iterator[int]:
    """Create the FIFO and hold its reading end, roomy where the system allows."""
    os.mkfifo(fifo, 0o600)
    # For writing too: so there is always a writer, and reading never sees an end of file.
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(OSError, AttributeError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _exit_descriptor(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Give a descriptor that becomes readable when the process ends, where the system has such (Linux)."""
    opened: list[int] = []
    with suppress(OSError, AttributeError):
        opened.append(os.pidfd_open(process.pid))
    try:
        yield opened
    finally:
        for fd in opened:
            os.close(fd)


@contextmanager
def _signals() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Outlive the program: leave an interrupt to it, and hand a request to terminate on to it.

    Handlers are handlers, not "ignore", because the program would inherit that.  Outside the main thread Python
    allows none.
    """
    watched: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: object) -> None:
        for process in watched:
            process.send_signal(number)

    def leave(_number: int, _frame: object) -> None:
        """Do nothing: the terminal has signalled the program as well."""

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *_FORWARDED):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, leave if number == signal.SIGINT else forward)
    try:
        yield watched
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _working_directory() -> str | None:
    try:
        return _clean(os.getcwd())  # noqa: PTH109 - as text
    except FileNotFoundError:
        return None


def _clean(text: str) -> str:
    """Return text without lone surrogates, as an undecodable name would have them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
