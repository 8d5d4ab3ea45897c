"""Notebooks run cell by cell, each in a kernel of its own that costs a fork instead of a start.

The first notebook of a process starts a nursery, which the following ones share; kernels of other languages or
interpreters are started as their kernel specification says.  No kernel outlives the notebook that it was for, nor
this process.
"""

import asyncio
import atexit
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output

from auditkit.errors import ReportError
from auditkit.reporting.nursery import Order

_PATIENCE_S = 0.2
_PROGRAM = """
import importlib, sys
sys.path[:] = filter(None, sys.path)
importlib.import_module(sys.argv[1]).main(*sys.argv[2:])
"""


def run_cells(document: Any, folder: Path, *, timeout_s: float | None) -> None:
    """Run the cells of a notebook in their order up to the first that fails, which then holds its error.

    `timeout_s` bounds each cell.  Raises `ReportError` where the kernel that the notebook names is not installed, or
    ends or is silent instead of starting.  An interrupt of the caller ends the kernel and is raised.
    """
    running: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="auditkit-kernel-") as private:
        client = NotebookClient(
            document,
            km=_manager(document, Path(private)),
            timeout=timeout_s,
            resources={"metadata": {"path": str(folder)}},
            on_cell_start=lambda cell, cell_index: running.append(cell),  # noqa: ARG005 -- nbclient's names
        )
        try:
            _complete(client)
        except CellExecutionError:
            return  # the cell holds the error
        except (CellTimeoutError, DeadKernelError) as exc:
            _mark(running[-1], exc)
        finally:
            # Which nbclient forgets where a kernel did not come up, and at the end of the process complains about.
            atexit.unregister(client._cleanup_kernel)  # noqa: SLF001 -- it has no other name


def _mark(cell: Any, error: Exception) -> None:
    words = str(error).splitlines()[0]
    fields = {"ename": type(error).__name__, "evalue": words, "traceback": [words]}
    marked = new_output("error", **fields)  # type: ignore[no-untyped-call]
    # In place of the KeyboardInterrupt by which a cell was stopped: that is not the reason.
    kept = [output for output in cell.outputs if output.output_type != "error"]
    cell.outputs = [*kept, marked]


def _manager(document: Any, private: Path) -> AsyncKernelManager:
    # Events go from kernel to client: through sockets in a folder of this user, not through ports of the machine.
    manager = AsyncKernelManager(
        kernel_name=document.metadata.kernelspec["name"],
        client_factory=_Client,
        transport="ipc",
        connection_file=str(private / "kernel.json"),
    )
    try:
        specification = manager.kernel_spec
    except NoSuchKernel as exc:
        raise ReportError(f"kernel {exc.name}: not installed here") from exc
    manager.provisioner = _Provisioner(kernel_id="report", kernel_spec=specification, parent=manager)
    return manager


def _complete(client: NotebookClient) -> None:
    """Run a notebook to its end, in a loop and a thread of its own.

    The caller may run a loop already, and Ctrl-C is the caller's, not the kernel's.
    """
    loop = asyncio.new_event_loop()
    work: Coroutine[Any, Any, object] = client.async_execute(cleanup_kc=True)
    task = loop.create_task(work)
    done = threading.Event()  # rather than `Thread.join`, which takes an interrupt for the thread's end
    threading.Thread(target=_run_out, args=(loop, task, done), name="auditkit-report").start()
    try:
        while not done.wait(_PATIENCE_S):  # Polars lets an endless wait go on after Ctrl-C
            pass
    except BaseException:
        client.shutdown_kernel = "immediate"
        loop.call_soon_threadsafe(task.cancel)
        done.wait()
        _ = task.cancelled() or task.exception()  # of no interest, and asyncio shall know that
        raise
    task.result()


def _run_out(loop: asyncio.AbstractEventLoop, task: asyncio.Task[object], done: threading.Event) -> None:
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(asyncio.wait([task]))
    finally:
        done.set()


class _Client(AsyncKernelClient):
    """Goes on as soon as a kernel is ready; the parent also waits for a fifth of a second of silence."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Return once the kernel answers and what it publishes comes through; `ReportError` where that never is."""
        try:
            async with asyncio.timeout(timeout):
                while not await self._answers():
                    if not await self.is_alive():
                        raise ReportError("kernel: ended before it ran a cell")
        except TimeoutError as exc:
            raise ReportError(f"kernel: gives no sign of life (waited {timeout} s)") from exc

    async def _answers(self) -> bool:
        self.kernel_info()
        try:
            for channel in (self.shell_channel, self.iopub_channel):
                await channel.get_msg(timeout=1)
        except queue.Empty:
            return False
        return True


class _Provisioner(LocalProvisioner):
    """Has kernels of this interpreter forked, and others started."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        if cmd[:1] != [sys.executable] or "ipykernel_launcher" not in cmd:
            return await super().launch_kernel(cmd, **kwargs)
        self.cwd = kwargs["cwd"]
        order = Order(
            arguments=cmd[cmd.index("ipykernel_launcher") + 1 :],
            folder=str(self.cwd),
            environment=dict(kwargs["env"]),
        )
        forked = _fork(order)
        self.process = forked  # type: ignore[assignment]  # which is all that is asked of a Popen
        self.pid = self.pgid = forked.pid
        return self.connection_info


class _Forked:
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


def program(module: str, *arguments: str) -> list[str]:
    """Return the command that calls a module's `main` with these arguments in a process of its own.

    It imports nothing from the folder that it is started in.
    """
    return [sys.executable, "-Xfrozen_modules=off", "-c", _PROGRAM, module, *arguments]


class _Nursery:
    """The process that forks kernels, and the connection to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603 -- our own module
                program("auditkit.reporting.nursery", str(descriptor)),
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
_nursery: _Nursery | None = None


def _fork(order: Order) -> _Forked:
    """Have the nursery fork a kernel; one that is gone, or is the parent process's, is replaced."""
    global _nursery
    with _lock:
        if _nursery is not None and _nursery.owner == os.getpid():
            try:
                return _Forked(_nursery.fork(order))
            except (EOFError, OSError):
                _nursery.close()
        else:
            atexit.register(close_kernels)
        _nursery = _Nursery()
        try:
            return _Forked(_nursery.fork(order))
        except (EOFError, OSError) as exc:
            raise ReportError("kernel: the process that forks it ended") from exc


def close_kernels() -> None:
    """End the nursery and whatever kernels it still has; the next notebook starts another.

    Called by itself when the interpreter ends.
    """
    global _nursery
    with _lock:
        if _nursery is not None:
            _nursery.close()
            _nursery = None
