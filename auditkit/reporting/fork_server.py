"""A fork server for kernels: a process that has imported what reports need, and forks a kernel off itself for each one.

So each report runs in a process in which no other report has run: variables, patched modules, the folder, the
environment and what is bound end with it; files that it writes and programs that it starts do not.  The server itself
only imports: it asks no trail and runs no cell, so that Polars' threads, which a fork would not take along, start in
the kernels.  It ends, and ends its kernels, when the process that started it closes the connection or is gone.

The first half of this module runs in that process, the second in the one that asks it.  The server of
`multiprocessing` does not do: its children import the caller's main module, and outlive a caller that is killed.
"""

import atexit
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection

import msgspec

from auditkit.errors import ReportError

_PROGRAM = """
import importlib, sys
sys.path[:] = filter(None, sys.path)
importlib.import_module(sys.argv[1]).main(*sys.argv[2:])
"""
PRELOADED = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.extensions.storemagic",
    "tornado.platform.asyncio",
    "auditkit.charts",
    "auditkit.query.comparison",
    "auditkit.query.sightings",
    "auditkit.query.session",
    "auditkit.query.spreadsheet",
    "auditkit.reporting",
    "auditkit.keep.maintain",
    "auditkit.opening",
    "auditkit.ask.scan",
    "auditkit.ask.card",
)


class Order(msgspec.Struct, frozen=True):
    """A kernel to fork: its command line after the interpreter and module, its folder, its environment."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def main(descriptor: str) -> None:
    """Fork off the kernels that are ordered over a socket.

    Returns in this process at its end, and in each kernel at the kernel's.
    """
    for name in PRELOADED:
        import_module(name)
    gc.freeze()  # what all kernels share stays shared: no collection of theirs writes to these pages
    connection = Connection(int(descriptor))
    order = _serve(connection)
    connection.close()
    if order is not None:
        _become_kernel(order)


def _serve(connection: Connection) -> Order | None:
    """Fork for each order and answer with the pid; return the order in the new process, None at the end."""
    children: set[int] = set()
    try:
        while True:
            order = msgspec.json.decode(connection.recv_bytes(), type=Order)
            # Only now: until its next order the parent may signal a kernel that has ended.
            children -= {pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]}
            pid = _fork_quietly()
            if pid == 0:
                children.clear()
                return order
            os.setpgid(pid, pid)
            children.add(pid)
            connection.send_bytes(str(pid).encode())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return None
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _fork_quietly() -> int:
    with warnings.catch_warnings():
        # Python warns of forks beside threads; these are the allocators', which know of forks.
        warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
        return os.fork()


def _become_kernel(order: Order) -> None:
    """Run IPython's kernel as if this process had been started for it."""
    from ipykernel.kernelapp import IPKernelApp

    with suppress(PermissionError):  # done already by the other side of the fork
        os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    os.chdir(order.folder)
    sys.path.insert(0, order.folder)
    sys.argv = ["ipykernel_launcher", *order.arguments]
    kernel = IPKernelApp.instance(parent_handle=os.getppid())  # a kernel ends with its parent
    try:
        kernel.initialize(order.arguments)  # type: ignore[no-untyped-call]
    except OSError as exc:  # as where the home or the temporary folder is full
        sys.exit(f"kernel: cannot start ({exc})")
    # What is registered there waits, in a race with its own threads, for one that has stopped already.
    atexit.unregister(kernel.close)
    kernel.start()  # type: ignore[no-untyped-call]


def program(module: str, *arguments: str) -> list[str]:
    """Return the command that calls a module's `main` with these arguments in a process of its own.

    It imports nothing from the folder that it is started in.
    """
    return [sys.executable, "-P", "-Xfrozen_modules=off", "-c", _PROGRAM, module, *arguments]


class ForkedProcess:
    """A kernel's process, in the way of `subprocess.Popen`; it is another process's child."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return None while it runs, then 0: what it ended with is not known here."""
        ready, _, _ = select.select([self._descriptor], [], [], 0)
        return 0 if ready else None

    def wait(self) -> int:
        """Wait for its end."""
        select.select([self._descriptor], [], [])
        os.close(self._descriptor)
        return 0

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class _ForkServer:
    """The process that forks kernels, and the connection to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603 -- our own module
                program("auditkit.reporting.fork_server", str(descriptor)),
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor],
                start_new_session=True,  # a terminal's Ctrl-C is not for kernels
            )
        self.connection = Connection(ours.detach())
        self.owner = os.getpid()

    def fork(self, order: Order) -> int:
        """Have a kernel forked and return its pid; raises what a connection does whose other end is gone."""
        self.connection.send_bytes(msgspec.json.encode(order))
        return int(self.connection.recv_bytes())

    def close(self) -> None:
        """Let the process and its kernels end, and wait for that."""
        self.connection.close()
        if self.owner == os.getpid():
            self._process.wait()


_lock = threading.Lock()
_server: _ForkServer | None = None


def fork_kernel(order: Order) -> ForkedProcess:
    """Have the fork server fork a kernel; one that is gone, or is the parent process's, is replaced."""
    global _server
    with _lock:
        if _server is not None and _server.owner == os.getpid():
            try:
                return ForkedProcess(_server.fork(order))
            except (EOFError, OSError):
                _server.close()
        else:
            atexit.register(close_kernels)
        _server = _ForkServer()
        try:
            return ForkedProcess(_server.fork(order))
        except (EOFError, OSError) as exc:
            raise ReportError("kernel: the process that forks it ended") from exc


def close_kernels() -> None:
    """End the fork server and whatever kernels it still has; the next notebook starts another.

    Called by itself when the interpreter ends.
    """
    global _server
    with _lock:
        if _server is not None:
            _server.close()
            _server = None
