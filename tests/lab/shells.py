"""IPython for tests: a plain shell in this process, and kernels of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import KernelManager
from traitlets.config import Config

from auditkit.api import Trail

PATIENCE_S = 60.0


@contextmanager
def plain_shell(folder: Path) -> Iterator[InteractiveShell]:
    """Give IPython's shell without a kernel, its files in `folder`; the extension is loaded, and unloaded at the end."""
    config = Config()
    config.HistoryManager.hist_file = ":memory:"
    config.TerminalInteractiveShell.colors = "nocolor"
    before = os.environ.get("IPYTHONDIR")
    os.environ["IPYTHONDIR"] = str(folder / "ipython")
    shell = InteractiveShell.instance(config=config, colors="nocolor")
    try:
        run(shell, "%load_ext auditkit")
        yield shell
    finally:
        run(shell, "%unload_ext auditkit")
        if shell.history_manager is not None:
            shell.history_manager.end_session()
        InteractiveShell.clear_instance()
        if before is None:
            del os.environ["IPYTHONDIR"]
        else:
            os.environ["IPYTHONDIR"] = before


def run(shell: InteractiveShell, source: str, *, cell: str | None = None) -> Any:
    """Run a cell; return its value, or the error it raised."""
    done = shell.run_cell(source, store_history=True, cell_id=cell)  # type: ignore[no-untyped-call]
    return done.error_before_exec or done.error_in_exec or done.result


class Kernel:
    """A kernel as Jupyter Server starts one for a notebook."""

    def __init__(self, trail: Trail, folder: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        environment = {
            **os.environ,
            "AUDITKIT_TRAIL": str(trail.path),
            "JPY_SESSION_NAME": "/home/ann/week.ipynb",
            "IPYTHONDIR": str(folder / "ipython"),
        }
        self.manager.start_kernel(env=environment, cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_S)

    def send(self, source: str, *, cell: str | None = None, subshell: str | None = None) -> str:
        """Ask for a cell to be run; return the message's id."""
        content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}}
        message = self.client.session.msg(
            "execute_request", {**content, "allow_stdin": False, "stop_on_error": False}
        )
        message["metadata"] = {} if cell is None else {"cellId": cell}
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def reply(self, asked: str) -> dict[str, Any]:
        """Return the answer to a message."""
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE_S)
            if reply["parent_header"].get("msg_id") == asked:
                content: dict[str, Any] = reply["content"]
                return content

    def run(self, source: str, *, cell: str | None = None) -> dict[str, Any]:
        """Run a cell to its end."""
        return self.reply(self.send(source, cell=cell))

    def ask(self, kind: str, code: str, cursor: int) -> dict[str, Any]:
        """Ask what stands, or may stand, at a place in code: `complete` or `inspect`."""
        message = self.client.session.msg(
            f"{kind}_request", {"code": code, "cursor_pos": cursor, "detail_level": 0}
        )
        self.client.shell_channel.send(message)
        return self.reply(str(message["header"]["msg_id"]))

    def printed(self, text: str) -> None:
        """Wait until a cell has printed this."""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE_S)
            if message["msg_type"] == "stream" and text in message["content"]["text"]:
                return

    def control(self, kind: str) -> dict[str, Any]:
        """Ask on the control channel; return the answer."""
        message = self.client.session.msg(kind, {})
        self.client.control_channel.send(message)
        content: dict[str, Any] = self.client.get_control_msg(timeout=PATIENCE_S)["content"]
        return content

    @property
    def process(self) -> Any:
        """The kernel's process."""
        provisioner: Any = self.manager.provisioner
        return provisioner.process

    def restart(self) -> None:
        """Restart it as Jupyter does."""
        self.manager.restart_kernel(now=False)
        self.client.wait_for_ready(timeout=PATIENCE_S)

    def end(self) -> None:
        """End it at once."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
