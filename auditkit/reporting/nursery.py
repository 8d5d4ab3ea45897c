"""A process that has imported what reports need, and forks a kernel off itself for each one.

A report so runs in a process of its own, which no other report has run in: variables, patched modules, the folder,
the environment and what is bound end with it; files that it writes and programs that it starts do not.  This process itself only imports: it asks no trail and runs no cell,
so that Polars' threads, which a fork would not take along, start in the kernels.  It ends, and ends its kernels,
when whoever started it closes the connection or is gone.
"""

import atexit
import gc
import os
import signal
import sys
import time
import warnings
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection

import msgspec

_PRELOADED = (
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
    """A kernel that is wanted: its command line after the interpreter and module, its folder, its environment."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def main(descriptor: str) -> None:
    """Fork off the kernels that are ordered over a socket.

    Returns in this process at its end, and in each kernel at the kernel's.
    """
    for name in _PRELOADED:
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
            pid = _fork()
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


def _fork() -> int:
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
    sys.argv = ["ipykernel_launcher", *order.arguments]
    kernel = IPKernelApp.instance(parent_handle=os.getppid())  # a kernel ends with its parent
    kernel.initialize(order.arguments)  # type: ignore[no-untyped-call]
    # What is registered there waits, in a race with its own threads, for one that has stopped already.
    atexit.unregister(kernel.close)
    kernel.start()  # type: ignore[no-untyped-call]
