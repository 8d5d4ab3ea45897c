"""The recorder inside a recorded Python: a PEP 578 audit hook that writes one line per audit event to a FIFO.

It uses only what Python loads before `site` anyway, never raises into the program, never writes to a descriptor
that is not the FIFO's, and never waits longer than `PATIENCE_S` for a reader that does not read.  One event is one
write of at most PIPE_BUF bytes, which POSIX keeps whole: threads, forks and killed processes need no buffer and no
lock.

A line is fields joined by 0x1F: microseconds since 1970, process id, audit event, then its texts, escaped like
Python's `unicode_escape` and therefore ASCII without line ends.  `auditkit.sources.python_events` reads it.
Must run on Python 3.8, whatever version auditkit itself needs.
"""

from __future__ import annotations

import _codecs
import os
import sys
import time
from _collections_abc import Callable, Sequence

PATIENCE_S = 5.0
"""How long one stall of the reader may hold up the program; after that, events are counted instead of written."""
LIMIT = (4096 if sys.platform == "linux" else 512) - 64
"""PIPE_BUF, up to which a write is never mixed with another one, less room for the count of lost events."""
DRAINED = 16 * 1024
"""So many bytes written after giving up show that the reader reads again: more than a full pipe's last page takes."""
HIGH_DESCRIPTOR = 240
"""The FIFO's descriptor moves up here, away from the low numbers that programs close, count and reuse."""
IMPORTERS = ("<frozen importlib._bootstrap_external>", "<frozen zipimport>")


def start() -> None:
    """Open the FIFO that the environment names and install the hook; raise where there is none."""
    parent, arguments, fifo = os.environ["AUDITKIT_RECORD"].split(":", 2)
    # For reading too: a dead reader then means a full pipe, which is noticed, and never SIGPIPE, which may kill.
    pipe = Pipe(os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), fifo, int(parent))
    hook = make_hook(pipe.send, picks(with_arguments=arguments == "1"))
    words: list[str] = getattr(sys, "orig_argv", [])  # since Python 3.10
    count = str(len(words) - 1) if words else ""
    texts = [sys.executable or "", count, str(os.getppid()), sys.version.split()[0]]
    pipe.send("interpreter", texts + (words[1:] if arguments == "1" else []))
    sys.addaudithook(hook)


class Pipe:
    """The writing end: whole lines, bounded waiting, and a count of what could not be written.

    Default arguments hold the functions it calls, so that a program which patches `os` or `time` patches its own
    only, and so that they are still there while the interpreter shuts down.
    """

    __slots__ = ("distrust", "fd", "fifo", "inode", "lost", "reader")

    def __init__(self, fd: int, fifo: str, reader: int) -> None:
        self.fd = move_up(fd)
        status = os.fstat(self.fd)
        self.inode = (status.st_dev, status.st_ino)
        self.fifo = fifo
        self.reader = reader
        self.lost = 0
        self.distrust = 0

    def send(
        self,
        event: str,
        texts: Sequence[str],
        escape: Callable[[str], tuple[bytes, int]] = _codecs.unicode_escape_encode,
        now: Callable[[], int] = time.time_ns,
        getpid: Callable[[], int] = os.getpid,
    ) -> None:
        """Write one event, preceded by the number of those lost before it."""
        if self.fd < 0:
            return
        stamp = b"%d\x1f%d\x1f" % (now() // 1000, getpid())
        head = stamp + event.encode("ascii")
        line = b"\x1f".join([head] + [escape(text)[0] for text in texts]) + b"\n"
        if len(line) > LIMIT:
            line = shortened(head, list(texts))
        lost, self.lost = self.lost, 0
        if lost:
            line = b"%slost\x1f%d\n%s" % (stamp, lost, line)
        if not self.write(line):
            self.lost += lost + 1

    def write(
        self,
        line: bytes,
        write: Callable[[int, bytes], int] = os.write,
        fstat: Callable[[int], os.stat_result] = os.fstat,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> bool:
        """Write one line; return False if the reader is too slow, or gone."""
        deadline = 0.0
        while self.fd >= 0:
            try:
                status = fstat(self.fd)
                if (status.st_dev, status.st_ino) != self.inode:  # the program closed it and uses the number
                    self.fd = -1
                    break
                write(self.fd, line)
            except BlockingIOError:
                if self.recording_is_over():
                    break
                deadline = deadline or clock() + PATIENCE_S
                if self.distrust > 0 or clock() > deadline:
                    self.distrust = DRAINED
                    return False
                sleep(0.002)
            except OSError:
                self.fd = -1
            else:
                self.distrust -= len(line) if self.distrust > 0 else 0
                return True
        return False

    def recording_is_over(
        self,
        stat: Callable[[str], os.stat_result] = os.stat,
        kill: Callable[[int, int], None] = os.kill,
    ) -> bool:
        """Return True, and write nothing from now on, if the FIFO was removed or its reader is dead."""
        try:
            stat(self.fifo)
            kill(self.reader, 0)
        except PermissionError:
            return False  # alive, but no longer this process's to ask
        except OSError:
            self.fd = -1
            return True
        return False


def move_up(fd: int) -> int:
    """Return a free high descriptor of the same file and close this one; or this one where there is none."""
    for number in range(HIGH_DESCRIPTOR, HIGH_DESCRIPTOR - 100, -1):
        try:
            os.fstat(number)
        except OSError:
            try:
                os.dup2(fd, number, inheritable=False)
            except OSError:  # beyond what this process may have
                continue
            os.close(fd)
            return number
    return fd


def shortened(
    head: bytes,
    texts: list[str],
    escape: Callable[[str], tuple[bytes, int]] = _codecs.unicode_escape_encode,
) -> bytes:
    """Return the line with its longest texts cut until it fits; a last field `\\0` says so."""
    while True:
        parts = [escape(text)[0] for text in texts]
        line = b"\x1f".join([head, *parts, b"\\x00"]) + b"\n"
        if len(line) <= LIMIT:
            return line
        longest = max(range(len(parts)), key=lambda index: len(parts[index]))
        if len(parts[longest]) < 16:  # thousands of short arguments
            del texts[len(texts) // 2 :]
        else:
            texts[longest] = texts[longest][: len(texts[longest]) // 2]


def make_hook(
    send: Callable[[str, Sequence[str]], None],
    table: dict[str, Callable[[tuple[object, ...]], list[str] | None]],
) -> Callable[[str, tuple[object, ...]], None]:
    """Return the audit hook: look the event up, pick its texts, send them."""

    def hook(
        event: str,
        args: tuple[object, ...],
        find: Callable[[str], Callable[[tuple[object, ...]], list[str] | None] | None] = table.get,
    ) -> None:
        pick = find(event)
        if pick is not None:
            try:
                texts = pick(args)
                if texts is not None:
                    send(event, texts)
            except (TypeError, ValueError, LookupError, AttributeError, OSError, RecursionError):
                pass  # arguments of no known shape: the call itself will raise what is wrong with them

    return hook


def text_of(value: object) -> str:
    """Return an argument as text without calling code of the program's own classes, but for `__fspath__`."""
    if not isinstance(value, (str, bytes, int)):
        value = os.fspath(value)  # type: ignore[call-overload]
    if isinstance(value, bytes):
        return os.fsdecode(value)
    return value if isinstance(value, str) else int.__repr__(value)


def path_of(value: object, dir_fd: object = -1, getcwd: Callable[[], str] = os.getcwd) -> str:
    """Return a path as text, absolute where it is relative to nothing but the working directory."""
    text = "." if value is None else text_of(value)
    if text.startswith("/") or dir_fd != -1 or isinstance(value, int):
        return text
    try:
        return getcwd() + "/" + text
    except OSError:  # the working directory is gone
        return text


def by_import() -> str:
    """Return "1" if the import system, or the interpreter on its way to the script, does what is being audited."""
    try:
        caller = sys._getframe(3)  # noqa: SLF001 - the documented way
        return "1" if caller.f_code.co_filename in IMPORTERS else ""
    except ValueError:  # no Python code is running yet
        return "1"


def pick_open(args: tuple[object, ...]) -> list[str] | None:
    """Pick path, mode, flags; nothing where only an open descriptor is wrapped."""
    path, mode, flags = args
    if isinstance(path, int):
        return None
    # os.open, without a mode, may be relative to a directory's descriptor, which its audit event does not name.
    where = path_of(path, None if mode is None else -1)
    return [where, "" if mode is None else text_of(mode), text_of(flags), by_import()]


def pick_address(args: tuple[object, ...]) -> list[str]:
    """Pick host and port, or the path of a local socket; a third text marks IPv6."""
    address = args[1]
    if isinstance(address, tuple):
        return [text_of(address[0]), text_of(address[1])] + (["6"] if len(address) == 4 else [])
    return [text_of(address)]


def pick_list(args: tuple[object, ...]) -> list[str]:
    """Pick a directory that is listed."""
    return [path_of(args[0]), by_import()]


def pick_two_paths(args: tuple[object, ...]) -> list[str]:
    """Pick the two paths of a rename or link."""
    return [path_of(args[0], args[2]), path_of(args[1], args[3])]


def picks(*, with_arguments: bool) -> dict[str, Callable[[tuple[object, ...]], list[str] | None]]:
    """Return, per audit event, the function that picks the texts to send (None: send nothing)."""

    def command(program: object, argv: object) -> list[str]:
        words = [argv] if isinstance(argv, (str, bytes)) else list(argv)  # type: ignore[call-overload]
        texts = [text_of(program), str(max(0, len(words) - 1))]
        return texts + [text_of(word) for word in words[1:]] if with_arguments else texts

    def spawn(args: tuple[object, ...]) -> list[str] | None:
        caller = sys._getframe(2)  # noqa: SLF001 - the documented way
        return None if caller.f_globals.get("__name__") == "subprocess" else command(args[0], args[1])

    return {
        "open": pick_open,
        "import": lambda args: [text_of(args[0]), "" if args[1] is None else text_of(args[1])],
        "subprocess.Popen": lambda args: command(args[0], args[1]),
        "os.posix_spawn": spawn,  # subprocess has sent its own event already
        "os.exec": lambda args: command(args[0], args[1]),
        "os.system": lambda args: command("/bin/sh", ("sh", "-c", args[0])),
        "pty.spawn": lambda args: command(args[0][0], args[0]),  # type: ignore[index]
        "os.fork": lambda _: [],
        "os.forkpty": lambda _: [],
        "os.kill": lambda args: [text_of(args[0]), text_of(args[1])],
        "socket.connect": pick_address,
        "socket.bind": pick_address,
        "socket.sendto": pick_address,
        "socket.getaddrinfo": lambda args: ["" if part is None else text_of(part) for part in args[:2]],
        "sqlite3.connect": lambda args: [text_of(args[0])],
        "ctypes.dlopen": lambda args: None if args[0] is None else [text_of(args[0])],
        "os.listdir": pick_list,
        "os.scandir": pick_list,
        "os.mkdir": lambda args: [path_of(args[0], args[2])],
        "os.rmdir": lambda args: [path_of(args[0], args[1])],
        "os.remove": lambda args: [path_of(args[0], args[1])],
        "os.rename": pick_two_paths,
        "os.link": pick_two_paths,
        "os.symlink": lambda args: [text_of(args[0]), path_of(args[1], args[2])],
        "os.chmod": lambda args: [path_of(args[0], args[2]), text_of(args[1])],
        "os.chown": lambda args: [path_of(args[0], args[3]), text_of(args[1]), text_of(args[2])],
        "os.truncate": lambda args: [path_of(args[0]), text_of(args[1])],
    }
