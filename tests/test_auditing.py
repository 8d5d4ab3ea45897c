"""`audited`: what is recorded of a call, and what a failing trail does to it."""

import asyncio
import errno
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.auditing import Draft
from auditkit.errors import ClosedError, InvalidEventError
from tests.fakes import FailingDisk, ManualClock


def last(trail: Trail) -> dict[str, Any]:
    """Return the last event, attrs as a mapping."""
    event = trail.tail(1).to_dicts()[0]
    return {**event, "attrs": msgspec.json.decode(event["attrs"] or "{}")}


def chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and those that it was raised from or among."""
    return [] if error is None else [error, *chain(error.__cause__), *chain(error.__context__)]


def test_a_call_becomes_one_event(trail: Trail, clock: ManualClock) -> None:
    """A call is recorded with its beginning, its outcome and its seconds; its result is untouched."""
    began = clock.us

    @ak.audited(trail, action="order.refund", source="shop", attrs={"currency": "EUR"})
    def refund(order: int, *, amount: float) -> tuple[int, float]:
        """Give money back."""
        clock.advance(minutes=5)
        return order, amount

    assert refund(7, amount=12.5) == (7, 12.5)
    event = last(trail)
    assert event["action"] == "order.refund"
    assert event["ts"] == datetime(2026, 11, 24, 8, tzinfo=UTC)
    assert event["recorded"].timestamp() == began / 1e6 + 300
    assert (event["outcome"], event["source"], event["attrs"]) == ("success", "shop", {"currency": "EUR"})
    assert 0 <= event["value"] < 5
    assert (refund.__name__, refund.__doc__, trail.end_seq) == ("refund", "Give money back.", 1)


def test_durations_can_be_measured(trail: Trail) -> None:
    """Seconds are the event's value, unless that is taken: then they are in its attrs."""
    with ak.audited(trail, action="plain"):
        pass
    with ak.audited(trail, action="priced", value=3.5):
        pass
    with ak.audited(trail, action="priced") as draft:
        draft.update(value=-2)
    plain, priced, later = trail.tail(3).to_dicts()
    assert (plain["attrs"], plain["value"] >= 0) == (None, True)
    assert [(event["value"], *msgspec.json.decode(event["attrs"])) for event in (priced, later)] == [
        (3.5, "duration_s"),
        (-2.0, "duration_s"),
    ]
    assert trail.group_by("action", where={"action": "plain"})["mean"][0] == plain["value"]


@pytest.mark.parametrize("error_message", [False, True])
def test_an_exception_is_recorded_and_goes_on(trail: Trail, error_message: bool) -> None:
    """The exception's type is kept; its message only where asked for."""
    block = ak.audited(trail, action="a", error_message=error_message, outcome="allow")
    with pytest.raises(InvalidEventError, match="hunter2"), block:
        raise InvalidEventError("password", "hunter2", "weak \ud800")
    event = last(trail)
    assert (event["outcome"], event["attrs"]["exception"]) == ("failure", "auditkit.errors.InvalidEventError")
    message = event["attrs"].get("message")
    assert message == ("password: weak \\ud800 (found 'hunter2')" if error_message else None)
    nothing: dict[str, int] = {}
    with pytest.raises(KeyError):
        ak.audited(trail, action="a")(nothing.__getitem__)("key")
    assert last(trail)["attrs"] == {"exception": "KeyError"}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (SystemExit(), "success"),
        (SystemExit(0), "success"),
        (SystemExit(3), "failure"),
        (KeyboardInterrupt(), "failure"),
        (asyncio.CancelledError(), "failure"),
    ],
)
def test_what_is_no_ordinary_exception(trail: Trail, error: BaseException, outcome: str) -> None:
    """An interrupt is a failure; leaving the program with code 0 is not."""
    with pytest.raises(type(error)), ak.audited(trail, action="a"):
        raise error
    assert last(trail)["outcome"] == outcome


def test_an_exception_without_a_message_that_works(trail: Trail) -> None:
    """An exception that cannot be put into words is recorded all the same, and a long one is cut."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    for error in (MuteError(), ValueError("x" * 100_000)):
        with pytest.raises(type(error)), ak.audited(trail, action="a", error_message=True):
            raise error
    mute, long = (msgspec.json.decode(event["attrs"]) for event in trail.tail(2).to_dicts())
    assert mute["message"] == "(no message)"
    assert mute["exception"].endswith("MuteError")
    assert long["message"] == "x" * 1000


def test_the_block_decides_about_its_event(trail: Trail) -> None:
    """A draft takes fields and attrs while it runs; an outcome set there stands in spite of an exception."""
    with ak.audited(trail, action="doc.read", attrs={"a": 1, "b": 1}) as draft:
        draft.update(attrs={"b": 2}, resource="doc/7", outcome="partial")
        draft.update(attrs={"c": 3}, resource="doc/8")
    event = last(trail)
    assert (event["resource"], event["outcome"], event["attrs"]) == (
        "doc/8",
        "partial",
        {"a": 1, "b": 2, "c": 3},
    )

    def denied(draft: Draft) -> None:
        draft.update(outcome="denied")
        raise PermissionError

    with pytest.raises(PermissionError), ak.audited(trail, action="doc.read") as draft:
        denied(draft)
    assert (last(trail)["outcome"], last(trail)["attrs"]) == ("denied", {"exception": "PermissionError"})


def test_context_that_is_bound_applies(trail: Trail) -> None:
    """What `bind` holds fills the event, in threads that wait for storage too; explicit fields win."""

    @ak.audited(trail, action="a", actor="explicit")
    async def act() -> None:
        pass

    with ak.bind(actor="ann", origin="10.0.0.7", correlation="r-1", outcome="bound"):
        with ak.audited(trail, action="a"):
            pass
        asyncio.run(act())
    columns = ["actor", "origin", "correlation", "outcome"]
    assert trail.range(columns=columns).rows() == [
        ("ann", "10.0.0.7", "r-1", "success"),
        ("explicit", "10.0.0.7", "r-1", "success"),
    ]


def test_fields_from_the_arguments(trail: Trail) -> None:
    """A callable field sees the arguments of the call, before the call can change them."""

    class Shop:
        @ak.audited(
            trail,
            action="order.refund",
            resource=lambda self, order, **_: f"{self.name}/{order[0]}",
            attrs=lambda _self, order, amount=0: {"items": len(order), "amount": amount},
        )
        def refund(self, order: list[int], amount: float = 0) -> float:
            order.clear()
            return amount

        name = "shop"

    assert Shop().refund([7, 8], amount=2) == 2
    assert last(trail)["resource"] == "shop/7"
    assert last(trail)["attrs"] == {"items": 2, "amount": 2}
    with pytest.raises(TypeError, match="resource is computed from a call's arguments, and a block has none"):
        ak.audited(trail, action="a", resource=lambda: "x").__enter__()


def test_async_functions_and_blocks(trail: Trail) -> None:
    """Coroutines are recorded when they end, concurrently, and stay coroutine functions."""

    @ak.audited(trail, action="fetch", resource=lambda n: str(n))
    async def fetch(n: int) -> int:
        await asyncio.sleep(0)
        if n == 2:
            raise ConnectionError
        return n * 10

    async def run() -> list[Any]:
        async with ak.audited(trail, action="all") as draft:
            draft.update(attrs={"n": 4})
            return await asyncio.gather(*map(fetch, range(4)), return_exceptions=True)

    results = asyncio.run(run())
    assert [results[0], results[1], type(results[2]), results[3]] == [0, 10, ConnectionError, 30]
    assert asyncio.iscoroutinefunction(fetch) or asyncio.iscoroutine(fetch)
    rows = trail.tail(5).select("action", "resource", "outcome").sort("action", "resource").rows()
    assert rows == [
        ("all", None, "success"),
        *(("fetch", str(n), "failure" if n == 2 else "success") for n in range(4)),
    ]


def test_a_cancelled_task_is_recorded(trail: Trail) -> None:
    """A task that is cancelled ends as a failure with its reason, and stays cancelled."""
    started = []

    @ak.audited(trail, action="wait")
    async def wait() -> None:
        started.append(True)
        await asyncio.Event().wait()

    async def run() -> bool:
        task = asyncio.create_task(wait())
        while not started:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert asyncio.run(run())
    assert last(trail)["attrs"] == {"exception": "asyncio.exceptions.CancelledError"}


def test_a_coroutine_that_is_thrown_away_is_recorded(trail: Trail) -> None:
    """Closing a coroutine in the middle awaits nothing more, and leaves its event."""

    @ak.audited(trail, action="a")
    async def act() -> None:
        await asyncio.sleep(0)

    coroutine = act()
    coroutine.send(None)
    coroutine.close()
    assert last(trail)["attrs"] == {"exception": "GeneratorExit"}


def test_a_call_waits_until_its_event_is_durable(make_trail: Callable[..., Trail]) -> None:
    """The event is on disk when the call returns; with `wait=False` the trail sees to it by itself."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    syncs: list[str] = []
    disk.before["sync_data"] = lambda: syncs.append(threading.current_thread().name)
    with ak.audited(trail, action="a"):
        assert syncs == []
    assert syncs == [threading.current_thread().name]
    with ak.audited(trail, action="b", wait=False):
        pass
    assert syncs.count(threading.current_thread().name) == 1
    assert trail.end_seq == 2


def test_what_cannot_be_decorated_is_refused() -> None:
    """Generators, classes, descriptors and things that are no functions are refused with what to do."""

    def generate() -> Iterator[int]:
        yield 1

    async def generate_async() -> AsyncIterator[int]:
        yield 1

    class Generates:
        def __call__(self) -> Iterator[int]:
            yield 1

    decorate = ak.audited(lambda: pytest.fail("asked for the trail"), action="a")
    for function in (generate, generate_async, functools.partial(generate), Generates()):
        with pytest.raises(TypeError, match="is a generator; it runs when it is iterated over"):
            decorate(function)
    others: list[Any] = [Generates, classmethod(lambda _: None), property(lambda _: None), 7]
    for other in others:
        with pytest.raises(TypeError, match="is no function"):
            decorate(other)


def test_a_coroutine_out_of_an_ordinary_function_is_refused(trail: Trail) -> None:
    """A function that returns a coroutine has not done its work yet, and is not called a success."""

    async def work() -> None:
        pytest.fail("ran")

    with pytest.raises(TypeError, match="returned a coroutine"):
        _ = ak.audited(trail, action="a")(lambda: work())()
    assert last(trail)["outcome"] == "failure"


def test_a_block_is_entered_once_at_a_time(trail: Trail) -> None:
    """One object stands for one block; it may be used again afterwards."""
    guard = ak.audited(trail, action="a")
    with guard, pytest.raises(RuntimeError, match="entered already"):
        guard.__enter__()
    with guard:
        pass
    assert trail.end_seq == 2


def test_a_bad_event_stops_the_call_before_it_begins(trail: Trail) -> None:
    """What is wrong with the event raises before the business is done, and nothing is recorded."""
    ran: list[int] = []
    for fields in ({"actor": 7}, {"resource": "x" * 70_000}, {"attrs": {"x": object()}}, {"nonsense": 1}):
        with pytest.raises(InvalidEventError):
            ak.audited(trail, action="a", **fields)(ran.append)(1)
    with pytest.raises(TypeError, match="attrs: expected a mapping"):
        ak.audited(trail, action="a", attrs="{}")(ran.append)(1)
    with pytest.raises(InvalidEventError, match="reserved"):
        ak.audited(trail, action="a", source="auditkit")(ran.append)(1)
    trail.close()
    with pytest.raises(ClosedError):
        ak.audited(trail, action="a")(ran.append)(1)
    assert ran == []


def test_a_failing_trail_stops_its_caller(make_trail: Callable[..., Trail]) -> None:
    """Where storage fails behind the call, that is raised, from the call's own exception where it has one."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    trail.append(action="first").wait()
    disk.fail["sync_data"] = OSError(errno.EIO, "injected")
    ran: list[int] = []
    with pytest.raises(OSError, match="injected"):
        ak.audited(trail, action="a")(ran.append)(1)
    assert ran == [1]
    with pytest.raises(OSError, match="injected") as caught, ak.audited(trail, action="a"):
        raise KeyError("mine")
    assert "mine" in repr(chain(caught.value))
    assert trail.handle.unrecorded == 0
    disk.fail.clear()
    ak.audited(trail, action="after")(ran.append)(2)
    trail.close()
    assert ak.open(trail.path).tail(1)["action"].item() == "after"


def test_a_choice_to_go_on_is_counted(make_trail: Callable[..., Trail]) -> None:
    """With `on_error="continue"` results and exceptions stay the caller's; failures are counted, and warned of once."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    trail.append(action="first").wait()

    @ak.audited(trail, action="halve", on_error="continue")
    def halve(n: int) -> float:
        return n / (n - 1)

    assert halve(2) == 2
    disk.fail["sync_data"] = OSError(errno.EIO, "injected")
    with pytest.warns(RuntimeWarning, match=r"halve could not be recorded \(OSError: .*injected\)"):
        assert halve(3) == 1.5
    with pytest.raises(ZeroDivisionError):
        halve(1)  # warnings are errors here: there is no second one
    guard = halve.audited  # type: ignore[attr-defined]
    assert (guard.unrecorded, type(guard.last_error)) == (2, OSError)
    assert trail.handle.unrecorded == 2
    assert ak.open(trail.path).range()["action"].to_list() == ["first", "halve"]
    disk.fail.clear()
    assert halve(4) == 4 / 3
    trail.close()
    assert ak.open(trail.path).range()["action"].to_list() == ["first", "halve", "halve"]


def test_going_on_covers_what_is_found_before_the_call(trail: Trail) -> None:
    """A bad field or a trail that cannot be had is counted too, and the block still gets a draft."""
    block = ak.audited(trail, action="a", actor=7, on_error="continue")
    with pytest.warns(RuntimeWarning, match="a could not be recorded"), block as draft:
        draft.update(outcome="fine")

    def nowhere() -> Trail:
        return ak.open("/nonexistent")

    guard = ak.audited(nowhere, action="a", on_error="continue")
    with pytest.warns(RuntimeWarning, match="no trail here"):
        assert guard(lambda: 5)() == 5
    assert (trail.end_seq, trail.handle.unrecorded, guard.unrecorded) == (0, 1, 1)


def test_a_warning_never_stops_the_business(trail: Trail) -> None:
    """Where warnings are errors, as in these tests, going on means going on."""
    trail.close()
    guard = ak.audited(trail, action="a", on_error="continue")
    assert guard(lambda: 5)() == 5
    assert guard.unrecorded == 1


def test_a_trail_that_comes_later(make_trail: Callable[..., Trail]) -> None:
    """A callable gives the trail at each call, for code that is imported before there is one."""
    trails: list[Trail] = []
    act = ak.audited(lambda: trails[-1], action="a")(lambda: None)
    for name in ("one", "two"):
        trails.append(make_trail(name))
        act()
    assert [trail.end_seq for trail in trails] == [1, 1]


def test_an_unknown_choice_is_refused(trail: Trail) -> None:
    """`on_error` is one of two words."""
    with pytest.raises(
        ValueError, match=r"on_error: unknown .expected 'raise' or 'continue', found 'ignore'"
    ):
        ak.audited(trail, action="a", on_error="ignore")  # type: ignore[arg-type]


def test_it_says_what_it_records(trail: Trail) -> None:
    """What `audited` returns shows its action."""
    assert repr(ak.audited(trail, action="order.refund")) == "<audited 'order.refund'>"
