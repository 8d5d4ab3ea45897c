"""`AuditMiddleware`: each request to an ASGI application (Starlette, FastAPI, …) becomes an event."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from auditkit.auditing import Audited, Destination, Draft, OnError, Recorder
from auditkit.context import bind

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_RESOURCE_CHARACTERS = 2_000
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
OTHER_METHOD = "OTHER"
"""The action for any other method: who draws them by chance must not make as many actions."""
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACE_PARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


def user_of(scope: Scope) -> str | None:
    """Return who is authenticated, as Starlette's and FastAPI's `AuthenticationMiddleware` leave it in the scope."""
    user: Any = scope.get("user")
    if not getattr(user, "is_authenticated", False):
        return None
    try:
        return str(user.identity)
    except (AttributeError, RuntimeError):  # Starlette's base class raises where there is none
        return str(getattr(user, "display_name", "")) or None


class AuditMiddleware:
    """ASGI middleware that appends one event for each request and each websocket.

    `action` is the method and the route, such as `"GET /orders/{order_id}"` (the method alone where the application does not
    say which route it took), `resource` the path, without the query, which may hold secrets; `value` the seconds until
    the response was complete, `attrs.status` its status, and `outcome` `"failure"` from 400 on or where the application
    raised: then `attrs.exception` is the type.

    Every event that is appended meanwhile bears, unless it says otherwise, the same `actor`, the address of the client as
    `origin`, and as `correlation` the header `x-request-id`, the trace of `traceparent`, or an id drawn for it.  Behind a proxy
    the address is the proxy's, unless the server is told to trust it (uvicorn's `--forwarded-allow-ips`).

    The event is durable before the last part of the response goes out: who has the whole response can be sure of it, and
    of what the application appended to the same `Trail` object meanwhile.

    Parameters
    ----------
    app : ASGI application
        What it is put around; `add_middleware` gives it.
    trail : Trail, str, Path, callable or None, default None
        Where the events go.  A path is opened at the first request, by each process for itself; a callable returns the
        trail; None means what AUDITKIT_TRAIL names.
    source : str or None, default None
        The `source` of the events, such as the name of the service.
    actor : callable, default user_of
        Takes the scope and returns who acts, or None.  It is asked before the request and, where it returned None, behind it.
    on_error : {"continue", "raise"}, default "continue"
        Whether a request that cannot be recorded is answered all the same: then it is counted in
        `trail.stats().unrecorded`, and warned of once.  With `"raise"` it gets no whole response.
    wait : bool, default True
        Whether the response waits for the event to be durable.

    Examples
    --------
    >>> import asyncio, tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> async def app(scope, receive, send):
    ...     trail.append(action="doc.read")
    ...     await send({"type": "http.response.start", "status": 200, "headers": []})
    ...     await send({"type": "http.response.body", "body": b"hello"})
    >>> scope = {"type": "http", "method": "GET", "path": "/doc", "headers": [(b"x-request-id", b"r-17")]}
    >>> async def nothing(*message): ...
    >>> asyncio.run(AuditMiddleware(app, trail)(scope, nothing, nothing))
    >>> trail.range(columns=["action", "outcome", "correlation"]).rows()
    [('GET', 'success', 'r-17'), ('doc.read', None, 'r-17')]
    """

    def __init__(
        self,
        app: App,
        trail: Destination = None,
        *,
        source: str | None = None,
        actor: Callable[[Scope], str | None] = user_of,
        on_error: OnError = "continue",
        wait: bool = True,
    ) -> None:
        self._app = app
        self._actor = actor
        self._source = source
        recorder = Recorder(trail, name="asgi: a request", on_error=on_error, wait=wait)
        self._audited = Audited(recorder, {"action": _method, "resource": _resource, "source": source})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and append its event."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        context = self._context(scope)
        ask_again = None if "actor" in context else self._actor
        with bind(**context):
            request = _Request(self._audited, self._audited.begin((scope,), {}), scope, ask_again, send)
            try:
                await self._app(scope, receive, request.send)
            except BaseException as exc:
                await request.finish(exc)
                raise
            await request.finish(None)

    def _context(self, scope: Scope) -> dict[str, str]:
        client = scope.get("client")
        known = {
            "actor": self._actor(scope),
            "origin": str(client[0]) if client else None,
            "correlation": _correlation(scope),
            "source": self._source,
        }
        return {name: text for name, text in known.items() if text is not None}


class _Request:
    """One request that is being answered."""

    def __init__(
        self,
        audited: Audited,
        draft: Draft,
        scope: Scope,
        actor: Callable[[Scope], str | None] | None,
        send: Send,
    ) -> None:
        self._audited = audited
        self._draft = draft
        self._scope = scope
        self._actor = actor
        self._send = send
        self._root = scope.get("root_path", "")
        self._status: int | None = None
        self._accepted = False
        self._finished = False

    async def send(self, message: Message) -> None:
        """Send a message of the application on; before the last one of a response the event is appended."""
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self._status = message["status"]
        elif kind == "websocket.accept":
            self._accepted = True
        elif kind == "http.response.body" and not message.get("more_body", False):
            await self.finish(None)
        await self._send(message)

    async def finish(self, error: BaseException | None) -> None:
        """Append the event, once."""
        if self._finished:
            return
        self._finished = True
        if error is not None and self._status is None and not self._accepted:
            self._status = 500  # as every server answers for an application that raised
        fine = self._accepted or (self._status is not None and self._status < 400)
        route = _route(self._scope, self._root)
        if route is not None:
            self._draft.update(action=f"{_method(self._scope)} {route}")
        if self._actor is not None and (actor := self._actor(self._scope)) is not None:
            self._draft.update(actor=actor)
        if self._status is not None:
            self._draft.update(attrs={"status": self._status})
        self._draft.update(outcome="success" if fine and error is None else "failure")
        await self._audited.finish_async(self._draft, error)


def _method(scope: Scope) -> str:
    if scope["type"] == "websocket":
        return "WEBSOCKET"
    return str(scope["method"]) if scope["method"] in METHODS else OTHER_METHOD


def _resource(scope: Scope) -> str:
    return str(scope["path"])[:MAX_RESOURCE_CHARACTERS].encode(errors="backslashreplace").decode()


def _route(scope: Scope, root: str) -> str | None:
    """Return the pattern of the route that Starlette or FastAPI took, below the paths of what it is mounted in."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        return None
    if hasattr(route, "routes"):
        return path  # a mount itself
    return str(scope.get("root_path", "")).removeprefix(root) + path


def _correlation(scope: Scope) -> str:
    headers = dict(reversed(scope["headers"]))
    if found := _REQUEST_ID.fullmatch(headers.get(b"x-request-id", b"")):
        return found[0].decode()
    if trace := _TRACE_PARENT.fullmatch(headers.get(b"traceparent", b"")):
        return trace[1].decode()
    return uuid4().hex
