"""`AuditMiddleware`: what is recorded of a request, under real servers too."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.sources.asgi import MAX_RESOURCE_CHARACTERS, AuditMiddleware, Message, Receive, Scope, Send
from tests.fakes import FailingDisk
from tests.sources.asgi_app import make_app
from tests.sources.serving import serving

SERVERS = {
    "uvicorn": ["uvicorn", "tests.sources.asgi_app:make_app", "--factory", "--workers=2", "--port=0"],
    "gunicorn": [
        "gunicorn", "tests.sources.asgi_app:make_app()", "--preload", "--workers=2", "--bind=127.0.0.1:0", "-k", "asgi",
    ],
}  # fmt: skip


@pytest.fixture
def service(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the service, with this trail."""
    monkeypatch.setenv("AUDITKIT_TRAIL", str(trail.path))
    return make_app()


def ask(app: Any, method: str, path: str, **headers: str) -> httpx.Response:
    """Ask an application without a server."""

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("10.0.0.7", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asked())


def events(trail: Trail, **where: Any) -> list[dict[str, Any]]:
    """Return the events that match, attrs as a mapping."""
    found = ak.open(trail.path).range(where=where or None).to_dicts()
    return [{**event, "attrs": msgspec.json.decode(event["attrs"] or "{}")} for event in found]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("server", SERVERS)
def test_two_workers_record_every_request_once(make_trail: Callable[..., Trail], server: str) -> None:
    """Whoever has a response has its event on disk, whichever worker gave it and though all are killed then."""
    path = make_trail(clock=None).path
    with serving(SERVERS[server], path) as running, httpx.Client(base_url=running.url) as client:
        answered: dict[str, str] = {}
        for number in range(600):
            route = "thread" if number % 3 else "orders"
            headers = {"x-request-id": f"r-{number}", "x-user": f"user-{number % 7}", "connection": "close"}
            answer = client.get(f"/{route}/{number}?token=hunter2", headers=headers)
            answered[f"r-{number}"] = answer.raise_for_status().text
            if number >= 60 and len(set(answered.values())) == 2:
                break
        running.kill()
    assert len(set(answered.values())) == 2
    frame = ak.open(path).range(where={"source": "shop"})
    requests = {
        event["correlation"]: event for event in frame.to_dicts() if event["action"].startswith("GET ")
    }
    assert requests.keys() == answered.keys()
    assert frame.height == 2 * len(answered), "each of them is there once, with the event appended inside"
    for event in frame.to_dicts():
        number = int(event["correlation"].removeprefix("r-"))
        route = "thread" if number % 3 else "orders"
        assert (event["actor"], event["origin"]) == (f"user-{number % 7}", "127.0.0.1")
        if event["action"] == "order.read":
            assert event["resource"] == f"order/{number}"
            continue
        assert (event["action"], event["resource"]) == (f"GET /{route}/{{order_id}}", f"/{route}/{number}")
        assert (event["outcome"], event["attrs"]) == ("success", '{"status":200}')
        assert 0 < event["value"] < 30


@pytest.mark.parametrize(
    ("method", "path", "action", "outcome", "attrs"),
    [
        ("GET", "/orders/7", "GET /orders/{order_id}", "success", {"status": 200}),
        ("POST", "/thread/7", "POST /thread/{order_id}", "success", {"status": 200}),
        ("POST", "/orders/7", "POST /orders/{order_id}", "failure", {"status": 405}),
        ("GET", "/v2/orders/7", "GET /v2/orders/{order_id}", "success", {"status": 200}),
        ("GET", "/v2/files/a/b", "GET /v2/files/{name:path}", "failure", {"status": 404}),
        ("GET", "/missing", "GET /missing", "failure", {"status": 404}),
        ("GET", "/wp-login.php", "GET", "failure", {"status": 404}),
        ("GET", "/broken", "GET /broken", "failure", {"status": 500, "exception": "LookupError"}),
        ("BREW", "/pot", "OTHER", "failure", {"status": 404}),
    ],
)
def test_what_a_request_becomes(
    trail: Trail, service: Any, method: str, path: str, action: str, outcome: str, attrs: dict[str, Any]
) -> None:
    """Method and route are the action; the status decides the outcome."""
    answer = ask(service, method, path)
    assert answer.status_code == attrs["status"]
    event = next(event for event in events(trail) if event["action"] != "order.read")
    assert (event["action"], event["outcome"], event["attrs"]) == (action, outcome, attrs)
    assert (event["resource"], event["origin"], event["source"]) == (path, "10.0.0.7", "shop")


@pytest.mark.parametrize(
    ("headers", "correlation"),
    [
        ({"x-request-id": "r-1"}, "r-1"),
        ({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, "a" * 32),
        ({"x-request-id": "r-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, "r-1"),
        ({"x-request-id": "r" * 129}, None),
        ({"x-request-id": "two words"}, None),
        ({"traceparent": "00-short"}, None),
        ({}, None),
    ],
)
def test_the_correlation_of_a_request(
    trail: Trail, service: Any, headers: dict[str, str], correlation: str | None
) -> None:
    """A request's own id is taken where it is one; else an id is drawn that its events share."""
    ask(service, "GET", "/orders/7", **headers)
    shared = {event["correlation"] for event in events(trail)}
    assert len(shared) == 1
    found = shared.pop()
    assert found == correlation if correlation else len(found) == 32


def test_the_time_is_that_of_the_response(trail: Trail, service: Any) -> None:
    """What goes on in the background once the response is complete does not count, and bears the same correlation."""
    answer = ask(service, "GET", "/stream", **{"x-request-id": "r-1"})
    assert answer.text == "012"
    request, mail = sorted(events(trail), key=lambda event: event["seq"])
    assert (request["action"], mail["action"], mail["correlation"]) == ("GET /stream", "mail.sent", "r-1")
    assert 0.03 <= request["value"] < 0.5


@pytest.mark.parametrize(
    ("path", "outcome", "sent"),
    [
        ("/chat/{room}", "success", ["websocket.accept", "websocket.send", "websocket.close"]),
        ("/door", "failure", ["websocket.close"]),
    ],
)
def test_websockets(trail: Trail, service: Any, path: str, outcome: str, sent: list[str]) -> None:
    """A connection is one event, and a failure where it is not taken."""
    kinds: list[str] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        kinds.append(message["type"])

    scope = {"type": "websocket", "path": path, "headers": [(b"x-request-id", b"w-1")], "subprotocols": []}
    asyncio.run(service(scope, receive, send))
    assert kinds == sent
    event, *inside = events(trail)
    assert (event["action"], event["outcome"]) == (f"WEBSOCKET {path}", outcome)
    assert [(each["action"], each["correlation"]) for each in inside] == [("chat.hello", "w-1")] * (
        len(sent) == 3
    )


def test_who_is_known_only_inside_is_named(trail: Trail) -> None:
    """An application that finds out who acts leaves it in the scope; a question of one's own goes first."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        scope["user"] = type("User", (), {"is_authenticated": True, "display_name": "ann"})()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    ask(AuditMiddleware(app, trail), "GET", "/")
    ask(AuditMiddleware(app, trail, actor=lambda scope: dict(scope["headers"])[b"x-key"].decode()), "GET", "/", **{"x-key": "k"})  # fmt: skip
    assert [event["actor"] for event in events(trail)] == ["ann", "k"]


def test_hostile_requests_are_recorded(trail: Trail) -> None:
    """A path of any length, with any character, is no reason to lose the event."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise LookupError

    middleware = AuditMiddleware(app, trail)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/\ud800" + "x" * 100_000,
        "headers": [(b"x-request-id", b"\xff")],
    }
    with pytest.raises(LookupError):
        asyncio.run(middleware(scope, none, none))
    event = events(trail)[0]
    assert event["resource"].startswith("/\\ud800xx")
    assert len(event["resource"]) == MAX_RESOURCE_CHARACTERS + len("\\ud800") - 1
    assert event["origin"] is None


async def none(*_message: Any) -> Any:
    """Say and hear nothing."""


def test_what_is_no_request_passes(trail: Trail) -> None:
    """Lifespan messages go through untouched."""
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    asyncio.run(AuditMiddleware(app, trail)({"type": "lifespan"}, none, none))
    assert (seen, trail.end_seq) == ([{"type": "lifespan"}], 0)


def test_a_cancelled_request_is_a_failure(trail: Trail) -> None:
    """A client that goes away leaves an event as well."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.Event().wait()

    async def cancelled() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        task = asyncio.create_task(AuditMiddleware(app, trail)(scope, none, none))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    event = events(trail)[0]
    assert (event["outcome"], event["attrs"]["exception"]) == ("failure", "asyncio.exceptions.CancelledError")


def test_a_full_disk(make_trail: Callable[..., Trail]) -> None:
    """A request goes on and is counted, or gets no whole response, as was asked for."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    sent: list[str] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    disk.fail["write"] = OSError(errno.ENOSPC, "no space left on device")
    with pytest.warns(RuntimeWarning, match="asgi: a request could not be recorded"):
        asyncio.run(AuditMiddleware(app, trail)(scope, none, send))
    assert sent == ["http.response.start", "http.response.body"]
    assert trail.stats().unrecorded == 1
    sent.clear()
    with pytest.raises(OSError, match="no space left"):
        asyncio.run(AuditMiddleware(app, trail, on_error="raise")(scope, none, send))
    assert sent == ["http.response.start"]
    disk.fail.clear()
    asyncio.run(AuditMiddleware(app, trail, on_error="raise")(scope, none, send))
    assert trail.end_seq == 1


def test_a_trail_that_is_missing(tmp_path: Path) -> None:
    """Fail-closed refuses before the application has acted."""
    acted: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        acted.append(scope["path"])

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(ak.errors.TrailNotFoundError):
        asyncio.run(AuditMiddleware(app, tmp_path / "nowhere", on_error="raise")(scope, none, none))
    with pytest.warns(RuntimeWarning, match="no trail here"):
        asyncio.run(AuditMiddleware(app, tmp_path / "nowhere")(scope, none, none))
    assert acted == ["/"]
