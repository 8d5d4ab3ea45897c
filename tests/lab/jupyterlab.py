"""JupyterLab in Chromium: a server of its own, and notebooks opened in pages that reach nothing else."""

import json
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import threading
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

from tests.reporting.material import ROOT

PATIENCE_MS = 120_000
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are drawn too
    "apputils-extension/themes": {"adaptive-theme": True},  # light or dark as the page's colour scheme says
    "apputils-extension/notification": {"fetchNews": "false"},
}
RUN = """([source, at]) => {
    const { shell, commands } = window.jupyterapp, notebook = shell.currentWidget.content;
    if (source !== null) {
        notebook.model.sharedModel.addCell({ cell_type: "code", source, metadata: { trusted: true } });
    }
    notebook.activeCellIndex = at ?? notebook.widgets.length - 1;
    notebook.deselectAll();
    window.outputsOfRun = null;
    const cell = notebook.activeCell;
    commands.execute("notebook:run-cell").then(() => { window.outputsOfRun = cell.model.outputs.toJSON(); });
}"""
IDLE = "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A Jupyter server with JupyterLab and Notebook 7, which serves a folder."""

    address: str
    token: str
    folder: Path
    said: list[str]

    def ask(self, path: str, *, method: str = "GET", body: Any = None) -> Any:
        """Ask the server's REST interface, as another program would; the answer, or None where it has none."""
        text = self.fetch(f"api/{path}", method=method, body=body, token=self.token)
        return json.loads(text) if text else None

    def fetch(self, path: str, *, method: str = "GET", body: Any = None, token: str | None = None) -> bytes:
        """Ask the server for anything, by default as a stranger without a token."""
        request = urllib.request.Request(  # noqa: S310  # this machine's own
            f"{self.address}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={} if token is None else {"Authorization": f"token {token}"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_MS / 1000) as answer:  # noqa: S310
            return bytes(answer.read())


@dataclass(slots=True)
class Notebook:
    """A notebook open in a page, its kernel idle.  What the page asked for elsewhere, showed and said is noted."""

    page: Any
    server: Server
    path: str
    elsewhere: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def run(self, source: str) -> str:
        """Run a source in a new cell at the end, until it has finished; the text that it put out."""
        return self.run_cell(None, source)

    def run_cell(self, at: int | None, source: str | None = None) -> str:
        """Run a cell that is there, until it has finished; the text that it put out."""
        self.page.evaluate(RUN, [source, at])
        return said(self.page.wait_for_function("() => window.outputsOfRun").json_value())

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab, until it is done."""
        self.page.evaluate("async ([name, given]) => { await window.jupyterapp.commands.execute(name, given); }",
                           [name, arguments])  # fmt: skip

    def save(self) -> None:
        """Save the notebook, with the state of its widgets."""
        self.command("docmanager:save")

    def output(self, at: int = -1) -> Any:
        """Return the place of a cell's outputs."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(at).locator(".jp-OutputArea").first

    def close(self, *, kernel: bool = True) -> None:
        """Close the page, and end the notebook's kernel unless it is to live on."""
        self.page.context.close()
        if kernel:
            for session in self.server.ask("sessions"):
                if session["path"] == self.path:
                    self.server.ask(f"sessions/{session['id']}", method="DELETE")


@dataclass(slots=True)
class Lab:
    """A server and a browser for it."""

    server: Server
    browser: Any
    opened: list[Notebook] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The folder that is served; a kernel starts in its notebook's folder."""
        return self.server.folder

    def write(self, path: str, *sources: str) -> Path:
        """Write a notebook of code cells into the folder."""
        cells: list[dict[str, Any]] = [
            {
                "cell_type": "code",
                "id": f"cell-{at}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for at, source in enumerate(sources)
        ]
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"cells": cells, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}))
        return file

    def open(self, path: str, *, kernel: bool = True, app: str = "lab", **context: Any) -> Notebook:
        """Open a notebook in a page of its own and wait until its kernel is idle, or open it without a kernel.

        `app="notebooks"` opens it in Notebook 7.  Options of the browser's context: `color_scheme="dark"`, `viewport=…`.
        """
        if not kernel:  # a notebook that names no kernel and no language asks for one
            document = json.loads((self.folder / path).read_text())
            document["metadata"] = {}
            (self.folder / path).write_text(json.dumps(document))
        options = {"viewport": {"width": 1400, "height": 1000}, "accept_downloads": True, **context}
        page = self.browser.new_context(**options).new_page()
        page.set_default_timeout(PATIENCE_MS)
        notebook = Notebook(page=page, server=self.server, path=path)
        watch(notebook)
        self.opened.append(notebook)
        place = f"lab/workspaces/{secrets.token_hex(4)}/tree" if app == "lab" else app
        page.goto(f"{self.server.address}{place}/{path}?token={self.server.token}")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.content?.widgets")
        if not kernel:
            page.locator(".jp-Dialog").get_by_role("button", name="No Kernel").click()
        else:
            page.wait_for_function(IDLE)
        return notebook

    def close(self) -> None:
        """Close what is open."""
        for notebook in self.opened:
            notebook.close()
        self.opened.clear()


def watch(notebook: Notebook) -> None:
    """Refuse and note each request but for those to the notebook's server; note dialogs and errors."""
    page = notebook.page

    def answer(route: Any) -> None:
        if route.request.url.startswith((notebook.server.address, "data:", "blob:")):
            route.continue_()
        else:
            notebook.elsewhere.append(route.request.url)
            route.abort()

    def refuse(dialog: Any) -> None:
        notebook.dialogs.append(dialog.message)
        dialog.dismiss()

    page.route("**/*", answer)
    page.on("dialog", refuse)
    page.on("pageerror", lambda error: notebook.messages.append(str(error)))


def said(outputs: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of outputs.  An error is one of the test."""
    texts = []
    for output in outputs:
        if output["output_type"] == "error":
            raise AssertionError("\n".join(output["traceback"]))
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        texts.append(text if isinstance(text, str) else "".join(text))
    return "".join(texts)


def address_of(process: subprocess.Popen[str], said: list[str]) -> str:
    """Return the address that a server says it has, and go on noting what it says."""
    found: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                found.put(address[0])

    threading.Thread(target=read, daemon=True).start()
    return found.get(timeout=PATIENCE_MS / 1000)


def install_shared(folder: Path) -> str:
    """Put what the wheel brings for Jupyter where a server looks for it, as installing does; the place in a folder."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, place in wheel["shared-data"].items():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / source, folder / place)
    return "share/jupyter"


def answers(server: Server) -> bool:
    """Return whether a server answers yet: it names its address a moment before."""
    try:
        return bool(server.fetch("api"))
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError:
        return False


@contextmanager
def jupyter_server(folder: Path, *options: str, **environment: str) -> Iterator[Server]:
    """Serve a folder on a free port of this machine, with settings and history of its own.

    `options` are added to the command line, `environment` to what the server and its kernels inherit.
    """
    own = folder.parent / f"{folder.name}-jupyter"
    for name, values in SETTINGS.items():
        place, schema = name.split("/")
        (own / "settings" / "@jupyterlab" / place).mkdir(parents=True, exist_ok=True)
        (own / "settings" / "@jupyterlab" / place / f"{schema}.jupyterlab-settings").write_text(
            json.dumps(values)
        )
    folders = {
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    folders |= {"JUPYTER_PATH": install_shared(own), "JUPYTER_CONFIG_PATH": "etc/jupyter"}
    variables = {**os.environ, **{name: str(own / value) for name, value in folders.items()}, **environment}
    token = secrets.token_hex()
    served = ["ip=127.0.0.1", "port=0", f"root_dir={folder}", "open_browser=False", "allow_root=True"]
    command = [sys.executable, "-m", "jupyter", "lab", *(f"--ServerApp.{option}" for option in served)]
    command += [
        f"--IdentityProvider.token={token}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.expose_app_in_browser=True",
        "--JupyterNotebookApp.expose_app_in_browser=True",
        *options,
    ]
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            said: list[str] = []
            server = Server(address=address_of(process, said), token=token, folder=folder, said=said)
            while not answers(server):
                sleep(0.05)
            yield server
        finally:
            process.terminate()  # the server ends its kernels
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
