"""What a Jupyter Server does becomes events: it is listened to where it tells, and nothing of it is changed.

Requests that were answered tell of files (`auditkit.lab.requests`), by whom and from which address. The server's event bus
tells of kernels, and of files that no request of the contents API touched; the session manager which notebook a kernel is of.

| action | when |
|---|---|
| `kernel.start`, `kernel.restart`, `kernel.interrupt`, `kernel.shutdown` | as the kernel manager says, also that it failed |
| `kernel.cull` | a kernel was shut down because it was idle |
| `kernel.die` | a kernel ended by itself; `attrs.restarting` says whether the server starts it again |
| `session.start`, `session.end` | a notebook or console was connected to a kernel, and disconnected |

`resource` is the file's path, `correlation` the id of the kernel that runs it, for as long as one does, `attrs.kernel` too.
`actor` is the user as the server's identity provider names them, none where the server acted by itself, `origin` the address.
Nothing here may break the server or wait for a disk: events go to an `Outbox`, and whatever fails is counted there.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from jupyter_core.utils import ensure_async
from jupyter_server import CallContext
from jupyter_server.base.handlers import AuthenticatedFileHandler, JupyterHandler
from jupyter_server.files.handlers import FilesHandler
from jupyter_server.nbconvert.handlers import NbconvertFileHandler
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.contents.handlers import ContentsHandler, ModifyCheckpointsHandler
from jupyter_server.services.kernels.handlers import KernelActionHandler, KernelHandler, MainKernelHandler
from jupyter_server.services.sessions.handlers import SessionHandler, SessionRootHandler
from tornado.web import RequestHandler

from auditkit.lab.outbox import Outbox
from auditkit.lab.requests import (
    REFUSED,
    Act,
    Request,
    body_of,
    contents_act,
    export_act,
    files_act,
    restore_act,
    session_file,
)
from auditkit.sources.record import user_name
from auditkit.timerange import SystemClock, from_us

SOURCE = "auditkit.server"
CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
KERNELS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
MOST_CHARACTERS = 2_000
_MADE_UP = re.compile(r"[0-9a-f]{32}")
_culling: ContextVar[bool] = ContextVar("culling", default=False)
_OF_FILES = (
    ContentsHandler,
    ModifyCheckpointsHandler,
    AuthenticatedFileHandler,
    FilesHandler,
    NbconvertFileHandler,
)
_OF_KERNELS = (MainKernelHandler, KernelHandler, KernelActionHandler)
_OF_SESSIONS = (SessionRootHandler, SessionHandler)


class Listener:
    """Listens to one server, from `attach` on."""

    def __init__(self, server: ServerApp, outbox: Outbox) -> None:
        self._server = server
        self._outbox = outbox
        self._clock = SystemClock()
        self._account = user_name()
        self._answered: WeakSet[RequestHandler] = WeakSet()
        self._made: WeakKeyDictionary[RequestHandler, str] = WeakKeyDictionary()
        self._watched: set[str] = set()
        self._sessions: dict[str, tuple[str, str]] = {}  # id: path, kernel
        self._looking: set[asyncio.Task[None]] = set()

    def attach(self) -> None:
        """Listen from now on."""
        bus = self._server.event_logger
        if bus is not None:
            bus.register_handler(_Bus(self._guarded(self._heard)))
        settings = self._server.web_app.settings
        log, answered = settings["log_function"], self._guarded(self._answer)

        def log_and_record(handler: RequestHandler) -> None:
            log(handler)
            answered(handler)

        settings["log_function"] = log_and_record
        kernels: Any = self._server.kernel_manager
        if cull := getattr(kernels, "cull_kernel_if_idle", None):

            async def cull_and_say_so(kernel_id: str) -> None:
                token = _culling.set(True)
                try:
                    await cull(kernel_id)
                finally:
                    _culling.reset(token)

            kernels.cull_kernel_if_idle = cull_and_say_so

    def _guarded(self, listen: Callable[[Any], None]) -> Callable[[Any], None]:
        def guarded(reported: Any) -> None:
            try:
                listen(reported)
            except Exception as exc:  # the server goes on, whatever it reported
                self._outbox.failed(exc)

        return guarded

    def _heard(self, reported: Mapping[str, Any]) -> None:
        """Record what the event bus says, unless the request that is being answered will tell it better."""
        handler = CallContext.get(CallContext.JUPYTER_HANDLER)
        if handler in self._answered:
            handler = None  # a timer that a request started, long ago
        if reported["__schema__"] == KERNELS:
            self._kernel(reported, handler)
        elif reported["__schema__"] == CONTENTS:
            if isinstance(handler, _OF_FILES):
                if reported["action"] in ("save", "copy"):
                    self._made[handler] = reported["path"]
            elif reported["action"] != "get":
                came_from = {"from": reported["source_path"].strip("/")} if "source_path" in reported else {}
                act = Act(f"file.{reported['action']}", reported["path"].strip("/"), came_from)
                self._record(act, handler, kernel=self._kernel_of(act.resource))

    def _kernel(self, reported: Mapping[str, Any], handler: JupyterHandler | None) -> None:
        kernel = reported.get("kernel_id")
        action = "cull" if reported["action"] == "shutdown" and _culling.get() else reported["action"]
        names = {"kernel_name": "kernelspec", "status_code": "status"}
        attrs = {name: reported[key] for key, name in names.items() if key in reported}
        path = self._path_of(kernel) or self._path_asked_for(handler)
        self._record(
            Act(f"kernel.{action}", path, attrs),
            handler,
            kernel=kernel,
            failed=reported.get("status") == "error",
        )

    def _path_asked_for(self, handler: JupyterHandler | None) -> str:
        """Return the file that a request wants a kernel for."""
        if isinstance(handler, SessionRootHandler):
            body = body_of(handler.request.body)
            return session_file(body.path, body.name)
        if isinstance(handler, SessionHandler):
            return self._sessions.get(handler.path_kwargs["session_id"], ("", ""))[0]
        return ""

    def _answer(self, handler: RequestHandler) -> None:
        """Record what a request did that has been answered."""
        self._answered.add(handler)
        status = handler.get_status()
        if isinstance(handler, _OF_FILES):
            if status < 300 or status >= 400:  # neither sent elsewhere nor found unchanged
                self._file(handler, status)
        elif isinstance(handler, (*_OF_KERNELS, *_OF_SESSIONS)):
            self._watch_kernels()
            if handler.request.method == "GET":
                return
            if status in REFUSED:
                self._refused(handler, status)
            elif status < 300 and isinstance(handler, _OF_SESSIONS):
                self._later(self._look_at_sessions(handler))

    def _file(self, handler: Any, status: int) -> None:
        path = (handler.path_kwargs.get("path") or next(iter(handler.path_args), "")).strip("/")
        request = Request(
            handler.request.method,
            path,
            {name: handler.get_query_argument(name) for name in handler.request.query_arguments},
            body_of(handler.request.body),
            status,
            self._made.pop(handler, "").strip("/") or None,
        )
        if isinstance(handler, ContentsHandler):
            act = contents_act(request)
        elif isinstance(handler, ModifyCheckpointsHandler):
            act = restore_act(request, handler.path_kwargs["checkpoint_id"])
        elif isinstance(handler, NbconvertFileHandler):
            act = export_act(request, handler.path_kwargs["format"])
        else:
            act = files_act(request)
        if act is None:
            return
        kernel = self._kernel_of(path)
        record = partial(self._record, act, handler, kernel=kernel, status=status)
        if act.action == "file.open" and isinstance(handler, ContentsHandler) and status < 300:
            self._later(self._unless_folder(path, record))
        else:
            record()

    async def _unless_folder(self, path: str, record: Callable[[], None]) -> None:
        contents: Any = self._server.contents_manager
        if not await ensure_async(contents.dir_exists(path)):
            record()

    def _refused(self, handler: Any, status: int) -> None:
        kernel = handler.path_kwargs.get("kernel_id")
        if isinstance(handler, _OF_SESSIONS):
            action = {"POST": "session.start", "DELETE": "session.end"}.get(handler.request.method)
        else:
            action = f"kernel.{handler.path_kwargs.get('action') or {'POST': 'start', 'DELETE': 'shutdown'}[handler.request.method]}"
        if action is not None:
            path = self._path_of(kernel) or self._path_asked_for(handler)
            self._record(Act(action, path), handler, kernel=kernel, status=status)

    async def _look_at_sessions(self, handler: Any) -> None:
        """Record which session a request began or ended, as the session manager knows it."""
        listed = await ensure_async(self._server.session_manager.list_sessions())
        found = {
            each["id"]: (session_file(each["path"], each["name"]), each["kernel"]["id"]) for each in listed
        }
        ended = handler.path_kwargs.get("session_id") if handler.request.method == "DELETE" else None
        wanted = self._path_asked_for(handler) if handler.request.method == "POST" else None
        changed: dict[Any, str] = {}
        changed |= {ended: "session.end"} if ended in self._sessions and ended not in found else {}
        changed |= {
            each: "session.start"
            for each, (path, _) in found.items()
            if each not in self._sessions and path == wanted
        }
        for each, action in changed.items():
            path, kernel = found.get(each) or self._sessions[each]
            self._record(Act(action, path, {"session": each}), handler, kernel=kernel)
        self._sessions = {
            each: where for each, where in found.items() if each in self._sessions or each in changed
        }

    def _watch_kernels(self) -> None:
        """Have the kernel manager tell of each kernel's end."""
        manager = self._server.kernel_manager
        running = set(manager.list_kernel_ids())
        for kernel in running - self._watched:
            for event, restarting in (("restart", True), ("dead", False)):
                died = partial(self._guarded(self._died), (kernel, restarting))
                manager.add_restart_callback(kernel, died, event)
        self._watched = running

    def _died(self, reported: tuple[str, bool]) -> None:
        kernel, restarting = reported
        attrs = {"restarting": restarting}
        self._record(Act("kernel.die", self._path_of(kernel), attrs), None, kernel=kernel, failed=True)

    def _path_of(self, kernel: str | None) -> str:
        return next((path for path, its in self._sessions.values() if its == kernel), "")

    def _kernel_of(self, path: str) -> str | None:
        return next((kernel for its, kernel in self._sessions.values() if its == path), None)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as exc:  # as above
                self._outbox.failed(exc)

        task = asyncio.get_running_loop().create_task(guarded())
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    def _record(
        self,
        act: Act,
        handler: Any,
        *,
        kernel: str | None,
        failed: bool = False,
        status: int = 200,
    ) -> None:
        attrs = dict(act.attrs)
        if kernel:
            attrs["kernel"] = kernel
        if status >= 400:
            attrs["status"] = status
        event = {
            "action": act.action,
            "resource": act.resource or None,
            "outcome": "failure" if failed or status >= 400 else "success",
            "correlation": kernel,
        }
        if handler is not None:
            event["origin"] = handler.request.remote_ip
            event["actor"], of_user = self._who(handler.current_user)
            attrs |= of_user
        fields = {name: _text(value) for name, value in event.items() if value is not None}
        attrs = {name: _text(value) if isinstance(value, str) else value for name, value in attrs.items()}
        ts = from_us(self._clock.now_us())
        self._outbox.put({"ts": ts, "source": SOURCE, **fields, "attrs": attrs or None})

    def _who(self, user: Any) -> tuple[str | None, dict[str, str]]:
        """Return who acts, and what else is known of the user.

        Where a token or password alone opens a server, Jupyter makes a user up for each browser: then it is the account that
        the server runs as, and the made up user tells browsers apart.
        """
        username, name = getattr(user, "username", None), getattr(user, "name", None)
        if username and _MADE_UP.fullmatch(username) and str(name).startswith("Anonymous "):
            return self._account, {"user": username, "user_name": str(name)}
        return username, {"user_name": name} if name and name != username else {}


class _Bus(logging.Handler):
    """What the event bus takes for one of its logs: it hears at once, within the request that did it."""

    def __init__(self, heard: Callable[[Any], None]) -> None:
        super().__init__()
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over an event."""
        self._heard(record.msg)


def _text(value: object) -> str:
    return str(value)[:MOST_CHARACTERS].encode(errors="backslashreplace").decode()
