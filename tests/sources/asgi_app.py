"""A small service, run by real servers in `test_asgi`."""

import asyncio
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import auditkit as ak
from auditkit.sources.asgi import AuditMiddleware


class NamedBackend(AuthenticationBackend):
    """Believes the header `x-user`."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Return who is named."""
        name = conn.headers.get("x-user")
        return None if name is None else (AuthCredentials(["known"]), SimpleUser(name))


async def order(request: Request) -> Response:
    """Append an event of its own, and say which process did."""
    request.app.state.trail.append(action="order.read", resource=f"order/{request.path_params['order_id']}")
    return PlainTextResponse(str(os.getpid()))


def order_in_thread(request: Request) -> Response:
    """Do the same outside of the event loop."""
    request.app.state.trail.append(action="order.read", resource=f"order/{request.path_params['order_id']}")
    return PlainTextResponse(str(os.getpid()))


async def missing(_request: Request) -> Response:
    """Find nothing."""
    return PlainTextResponse("no", status_code=404)


async def broken(_request: Request) -> Response:
    """Fail."""
    raise LookupError("hunter2")


async def stream(request: Request) -> Response:
    """Answer piece by piece, then work on in the background."""

    async def pieces() -> AsyncIterator[str]:
        for number in range(3):
            await asyncio.sleep(0.01)
            yield str(number)

    async def afterwards() -> None:
        request.app.state.trail.append(action="mail.sent")
        await asyncio.sleep(0.5)

    return StreamingResponse(pieces(), background=BackgroundTask(afterwards))


async def chat(socket: WebSocket) -> None:
    """Say hello."""
    await socket.accept()
    socket.app.state.trail.append(action="chat.hello")
    await socket.send_text("hello")
    await socket.close()


async def closed_door(socket: WebSocket) -> None:
    """Take no connection."""
    await socket.close(code=4003)


def make_app() -> Starlette:
    """Return the service, for the trail that AUDITKIT_TRAIL names."""
    trail = ak.open()
    inner = [Route("/orders/{order_id}", order), Route("/files/{name:path}", missing)]
    app = Starlette(
        routes=[
            Route("/orders/{order_id}", order),
            Route("/thread/{order_id}", order_in_thread, methods=["GET", "POST"]),
            Route("/missing", missing),
            Route("/broken", broken),
            Route("/stream", stream),
            Mount("/v2", routes=inner),
            WebSocketRoute("/chat/{room}", chat),
            WebSocketRoute("/door", closed_door),
        ],
        middleware=[
            Middleware(AuthenticationMiddleware, backend=NamedBackend()),
            Middleware(AuditMiddleware, trail, source="shop"),
        ],
    )
    app.state.trail = trail
    return app
