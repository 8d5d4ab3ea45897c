"""Notebooks run cell by cell, each in a kernel of its own that costs a fork instead of a start.

The first notebook of a process starts a fork server, which the following ones share; kernels of other languages or
interpreters are started as their kernel specification says.  No kernel outlives the notebook that it was for, nor
this process.
"""

import asyncio
import atexit
import queue
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output

from auditkit.display.progress import progress
from auditkit.errors import ReportError
from auditkit.reporting.fork_server import Order, fork_kernel

_PATIENCE_S = 0.2


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
            with progress("running", total=len(document.cells), unit="cells") as advance:
                _complete(client, lambda: advance(len(running), ""))
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


def _complete(client: NotebookClient, look: Callable[[], None]) -> None:
    """Run a notebook to its end, in a loop and a thread of its own.

    The caller may run a loop already, and Ctrl-C is the caller's, not the kernel's; it is also called to `look` how far it is.
    """
    loop = asyncio.new_event_loop()
    work: Coroutine[Any, Any, object] = client.async_execute(cleanup_kc=True)
    task = loop.create_task(work)
    done = threading.Event()  # rather than `Thread.join`, which takes an interrupt for the thread's end
    threading.Thread(target=_run_out, args=(loop, task, done), name="auditkit-report").start()
    try:
        while not done.wait(_PATIENCE_S):  # Polars lets an endless wait go on after Ctrl-C
            look()
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
                        error = ReportError("kernel: ended before it ran a cell")
                        error.add_note("a kernel needs some room in the home and in the temporary folder")
                        raise error
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
        forked = fork_kernel(order)
        self.process = forked  # type: ignore[assignment]  # which is all that is asked of a Popen
        self.pid = self.pgid = forked.pid
        return self.connection_info
