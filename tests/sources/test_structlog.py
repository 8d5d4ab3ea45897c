"""`AuditProcessor`: what a program logs through structlog becomes events."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

import auditkit as ak
from auditkit.api import Trail
from auditkit.sources.structlog import AuditProcessor
from tests.fakes import FailingDisk


def logger(audit: AuditProcessor) -> Any:
    """Return a logger as programs have them, which returns what would be printed."""
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        audit,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    return structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(20),
    )


def last(trail: Trail) -> dict[str, Any]:
    """Return the last event, attrs as a mapping."""
    event = trail.tail(1).to_dicts()[0]
    return {**event, "attrs": msgspec.json.decode(event["attrs"] or "{}")}


def test_an_entry_becomes_an_event(trail: Trail) -> None:
    """Fields are fields, bound values count, and the entry goes on as it was."""
    log = logger(AuditProcessor(trail, source="shop", wait=True)).bind(resource="order/7")
    with (
        structlog.contextvars.bound_contextvars(correlation="r-1"),
        ak.bind(origin="10.0.0.7", actor="bound"),
    ):
        printed = log.info("order.refund", actor="ann", value=12.5, currency="EUR")
    event = last(trail)
    assert (event["action"], event["actor"], event["resource"]) == ("order.refund", "ann", "order/7")
    assert (event["correlation"], event["origin"], event["source"]) == ("r-1", "10.0.0.7", "shop")
    assert (event["value"], event["outcome"]) == (12.5, None)
    assert event["attrs"] == {"level": "info", "currency": "EUR"}
    assert msgspec.json.decode(printed).keys() == {
        "resource", "correlation", "actor", "value", "currency", "event", "timestamp",
    }  # fmt: skip


@pytest.mark.parametrize("how", ["exception", "error", "given", "tuple"])
def test_a_failure_is_recorded(trail: Trail, how: str) -> None:
    """Of an exception the type is kept, however it is handed over; printing has the rest."""
    log = logger(AuditProcessor(trail, wait=True))
    try:
        raise LookupError("hunter2")
    except LookupError as exc:
        given = {"given": exc, "tuple": (type(exc), exc, exc.__traceback__)}.get(how, True)
        printed = log.exception("lost") if how == "exception" else log.error("lost", exc_info=given)  # noqa: TRY400
    assert "hunter2" in printed
    event = last(trail)
    assert (event["action"], event["outcome"]) == ("lost", "failure")
    assert event["attrs"] == {"level": "error", "exception": "LookupError"}


def test_an_outcome_of_its_own(trail: Trail) -> None:
    """An entry may name its outcome, its action and its attrs."""
    log = logger(AuditProcessor(trail, wait=True))
    log.error("no", outcome="denied", action="door.open", attrs={"door": 3}, exc_info=None)
    event = last(trail)
    assert (event["action"], event["outcome"], event["attrs"]) == (
        "door.open", "denied", {"level": "error", "door": 3, "message": "no"},
    )  # fmt: skip


def test_levels_that_are_filtered_leave_none(trail: Trail) -> None:
    """What structlog drops before its processors is no event; an entry without text is one all the same."""
    log = logger(AuditProcessor(trail, wait=True))
    log.debug("a")
    log.info("", a=1)
    assert trail.range(columns=["action"]).rows() == [("log.info",)]


def test_asynchronous_logging(trail: Trail) -> None:
    """Processors that run in a thread see what was bound around the call."""
    log = logger(AuditProcessor(trail, wait=True))

    async def work() -> None:
        with ak.bind(actor="ann"):
            await log.ainfo("a")

    asyncio.run(work())
    assert trail.range(columns=["actor", "action"]).rows() == [("ann", "a")]


def test_what_cannot_be_recorded_is_counted(make_trail: Callable[..., Trail]) -> None:
    """The entry goes on to be printed; or the call raises, where that was asked for."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    audit = AuditProcessor(trail, wait=True)
    disk.fail["write"] = OSError(errno.ENOSPC, "no space left on device")
    with pytest.warns(RuntimeWarning, match="structlog: an entry could not be recorded"):
        assert '"event": "a"' in logger(audit).info("a")
    assert '"event": "b"' in logger(audit).info("b")
    assert (audit.unrecorded, trail.stats().unrecorded) == (2, 2)
    with pytest.raises(OSError, match="no space left"):
        logger(AuditProcessor(trail, on_error="raise", wait=True)).info("a")
    disk.fail.clear()


def test_a_path_is_opened_at_the_first_entry(tmp_path: Path) -> None:
    """Configuring needs no trail; closing closes what was opened here, and nothing is recorded after it."""
    audit = AuditProcessor(tmp_path / "audit", on_error="raise")
    ak.create(tmp_path / "audit").close()
    logger(audit).info("a")
    audit.close()
    assert ak.open(tmp_path / "audit").range(columns=["action"]).rows() == [("a",)]
    with pytest.raises(ak.errors.ClosedError, match="closed"):
        logger(audit).info("b")
