"""`AuditHandler`: what a program logs becomes events, in threads, forked workers and at the program's end."""

import errno
import logging
import logging.config
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.sources.log_events import MAX_ACTION_CHARACTERS
from auditkit.sources.logging import AuditHandler
from tests.fakes import FailingDisk
from tests.sources.serving import serving


class Silly:
    """What cannot even be shown."""

    def __repr__(self) -> str:
        """Fail."""
        raise LookupError


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[logging.Logger]:
    """Return a logger of the test's own, without handlers."""
    logger = logging.getLogger(f"audited.{request.node.name}")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def last(trail: Trail) -> dict[str, Any]:
    """Return the last event, attrs as a mapping."""
    event = trail.tail(1).to_dicts()[0]
    return {**event, "attrs": msgspec.json.decode(event["attrs"] or "{}")}


def test_a_record_becomes_an_event(make_trail: Callable[..., Trail], log: logging.Logger) -> None:
    """The template is the action, fields are fields, and everything else is kept in attrs."""
    trail = make_trail(clock=None, fields={"amount": pl.Float64})
    log.addHandler(AuditHandler(trail, source="shop", wait=True))
    with ak.bind(actor="bound", origin="10.0.0.7"):
        log.warning(
            "refunded %s to %s", "order/7", "ann", extra={"actor": 17, "amount": 12.5, "currency": "EUR"}
        )
    event = last(trail)
    assert (event["action"], event["actor"], event["origin"]) == ("refunded %s to %s", "17", "10.0.0.7")
    assert (event["source"], event["amount"], event["outcome"]) == ("shop", 12.5, None)
    assert event["attrs"] == {
        "logger": log.name, "level": "WARNING", "message": "refunded order/7 to ann", "currency": "EUR",
    }  # fmt: skip
    assert abs((event["recorded"] - event["ts"]).total_seconds()) < 5


def test_an_action_can_be_named(make_trail: Callable[..., Trail], log: logging.Logger) -> None:
    """`extra` names any field, attrs among them."""
    trail = make_trail(clock=None)
    log.addHandler(AuditHandler(trail, wait=True))
    extra = {
        "action": "order.refund",
        "id": "r-1",
        "outcome": "denied",
        "attrs": {"lines": 3},
        "logger": "mine",
    }
    log.error("no", extra=extra)
    log.error("no", extra=extra)
    event = last(trail)
    assert (event["action"], event["id"], event["outcome"]) == ("order.refund", "r-1", "denied")
    assert event["attrs"] == {"logger": "mine", "level": "ERROR", "lines": 3, "message": "no"}


def test_a_failure_is_recorded(make_trail: Callable[..., Trail], log: logging.Logger) -> None:
    """Of an exception the type is kept; its message may hold secrets."""
    trail = make_trail(clock=None)
    log.addHandler(AuditHandler(trail, wait=True))
    try:
        raise LookupError("hunter2")
    except LookupError:
        log.exception("order lost")
    event = last(trail)
    assert (event["action"], event["outcome"]) == ("order lost", "failure")
    assert event["attrs"] == {"logger": log.name, "level": "ERROR", "exception": "LookupError"}


@pytest.mark.parametrize(
    ("message", "extra", "action", "kept"),
    [
        ("", {}, None, {"message": ""}),
        ("two\nlines", {}, "two", {"message": "two\nlines"}),
        ("x" * 100_000, {}, "x" * (MAX_ACTION_CHARACTERS - 1) + "…", {"message": "x" * 100_000}),
        ("lone \ud800", {}, "lone \\ud800", {}),
        ("a", {"thing": Silly()}, "a", {"thing": "(Silly)"}),
        ("a", {"thing": {1, 2}}, "a", {"thing": [1, 2]}),
        ("a", {"thing": float("nan")}, "a", {"thing": "nan"}),
        ("a", {"thing": "\ud800"}, "a", {"thing": "'\\ud800'"}),
        ("a", {"thing": 2**70}, "a", {"thing": 2**70}),
        ("a", {"actor": "\ud800"}, "a", {}),
        ("a", {"attrs": "text"}, "a", {"attrs": "text"}),
    ],
    ids=(
        "empty", "lines", "long", "lone surrogate", "object", "set", "nan", "surrogate within", "large",
        "surrogate as actor", "attrs",
    ),
)  # fmt: skip
def test_nothing_is_lost_for_its_form(
    make_trail: Callable[..., Trail],
    log: logging.Logger,
    message: str,
    extra: dict[str, Any],
    action: str | None,
    kept: dict[str, Any],
) -> None:
    """Objects, keys and text that an event cannot hold are kept as they can be shown."""
    trail = make_trail(clock=None)
    log.addHandler(AuditHandler(trail, on_error="raise", wait=True))
    log.info(message, extra=extra)
    event = last(trail)
    assert event["action"] == (action or log.name)
    assert event["attrs"] == {"logger": log.name, "level": "INFO", **kept}


def test_what_cannot_be_recorded_is_counted(
    make_trail: Callable[..., Trail], log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program goes on, the trail counts, and logging prints; or it raises, where that was asked for."""
    disk = FailingDisk()
    trail = make_trail(disk=disk, clock=None)
    handler = AuditHandler(trail, wait=True)
    log.addHandler(handler)
    disk.fail["write"] = OSError(errno.ENOSPC, "no space left on device")
    log.info("a")
    handler.handle(logging.makeLogRecord({"msg": "wrong %d", "args": ("number",), "levelno": logging.INFO}))
    assert (handler.unrecorded, trail.stats().unrecorded) == (2, 2)
    printed = capsys.readouterr().err
    assert "no space left on device" in printed
    assert "a real number is required" in printed
    log.addHandler(AuditHandler(trail, on_error="raise", wait=True))
    with pytest.raises(OSError, match="no space left"):
        log.info("a")
    disk.fail.clear()
    log.info("b")
    assert {event["action"] for event in trail.range().to_dicts()} == {"b"}


def test_a_failure_behind_the_call_is_counted(make_trail: Callable[..., Trail], log: logging.Logger) -> None:
    """Without waiting, a full disk is noticed by the next flush."""
    disk = FailingDisk()
    trail = make_trail(disk=disk, clock=None)
    handler = AuditHandler(trail)
    log.addHandler(handler)
    disk.fail["write"] = OSError(errno.ENOSPC, "no space left on device")
    log.info("a")
    with pytest.warns(RuntimeWarning, match="logging could not be recorded"):
        handler.flush()
    assert handler.unrecorded == 1
    disk.fail.clear()


def test_threads_share_a_sync(make_trail: Callable[..., Trail], log: logging.Logger) -> None:
    """Threads that wait do not wait for each other: no lock of logging's is held meanwhile."""
    trail = make_trail(clock=None)
    handler = AuditHandler(trail, wait=True)
    log.addHandler(handler)
    ready = threading.Barrier(8)

    def work(number: int) -> None:
        ready.wait()
        for _ in range(25):
            log.info("a", extra={"actor": number})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    handler.acquire()  # by this thread, and nobody minds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.release()
    assert (trail.end_seq, handler.unrecorded) == (200, 0)
    assert trail.stats().queue.commits < 200


def test_what_is_logged_inside_a_commit_is_recorded_later(
    make_trail: Callable[..., Trail], log: logging.Logger
) -> None:
    """A finalizer that logs while its own thread commits does not wait for that commit, and loses nothing."""
    disk = FailingDisk()
    trail = make_trail(disk=disk, clock=None)
    handler = AuditHandler(trail, wait=True)
    log.addHandler(handler)

    def finalize() -> None:
        disk.before.clear()
        with ak.bind(actor="ann"):
            log.info("task was destroyed")

    disk.before["sync_data"] = finalize
    trail.append(action="a").wait()
    assert trail.range(columns=["action"]).rows() == [("a",)]
    log.info("b")
    rows = trail.tail(3).select("action", "actor").rows()
    assert rows == [("a", None), ("task was destroyed", "ann"), ("b", None)]
    disk.before["sync_data"] = finalize
    trail.append(action="c").wait()
    handler.flush()
    assert trail.tail(1)["action"].to_list() == ["task was destroyed"]
    assert handler.unrecorded == 0


def test_filters_and_levels_apply(make_trail: Callable[..., Trail], log: logging.Logger) -> None:
    """What a filter or the level drops is no event."""
    trail = make_trail(clock=None)
    handler = AuditHandler(trail, level="WARNING", wait=True)

    def only_orders(record: logging.LogRecord) -> bool:
        return record.getMessage().startswith("order")

    handler.addFilter(only_orders)
    log.addHandler(handler)
    for say, message in ((log.info, "order"), (log.warning, "other"), (log.warning, "order")):
        say(message)
    assert trail.range(columns=["action"]).rows() == [("order",)]


def test_a_configuration_names_the_trail(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`dictConfig` needs a path, or AUDITKIT_TRAIL; the path means what it did when it was configured."""
    path = make_trail("first", clock=None).path
    monkeypatch.setenv("AUDITKIT_TRAIL", str(make_trail("second", clock=None).path))
    monkeypatch.chdir(path.parent)
    kind = "auditkit.sources.logging.AuditHandler"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "named": {"class": kind, "trail": path.name, "source": "shop", "level": "INFO"},
                "told": {"class": kind},
            },
            "loggers": {"configured": {"handlers": ["named", "told"], "level": "INFO", "propagate": False}},
        }
    )
    monkeypatch.chdir("/")
    logger = logging.getLogger("configured")
    logger.info("a")
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
    for name in ("first", "second"):
        assert ak.open(tmp_path / name).range(columns=["action"]).rows() == [("a",)]


def test_the_end_of_a_program_commits(make_trail: Callable[..., Trail]) -> None:
    """What was logged last is stored when the program has ended, though nobody waited."""
    path = make_trail(clock=None).path
    program = (
        "import logging\nfrom auditkit.sources.logging import AuditHandler\n"
        "logging.basicConfig(level='INFO', handlers=[AuditHandler()])\n"
        "for n in range(100): logging.info('step %d', n)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={"AUDITKIT_TRAIL": str(path)}, cwd=Path(ak.__file__).parents[1])  # fmt: skip
    assert ak.open(path).range().height == 100


@pytest.mark.timeout(150)
def test_workers_forked_from_a_loaded_program(make_trail: Callable[..., Trail]) -> None:
    """Under `gunicorn --preload` the workers append through what the master has opened, written to and asked."""
    path = make_trail(clock=None).path
    command = [
        "gunicorn",
        "tests.sources.wsgi_app:make_application()",
        "--preload",
        "--workers=2",
        "--bind=127.0.0.1:0",
    ]
    with serving(command, path) as running, httpx.Client(base_url=running.url) as client:
        answered: dict[int, int] = {}
        for number in range(600):
            answered[number] = int(client.get(f"/{number}").raise_for_status().text)
            if number >= 60 and len(set(answered.values())) == 2:
                break
        running.stop()
    assert len(set(answered.values())) == 2, "".join(running.log)
    by_action: dict[str, list[dict[str, Any]]] = {}
    for event in ak.open(path).range().to_dicts():
        by_action.setdefault(event["action"], []).append(event)
    assert by_action.keys() == {"service.start", "loaded", "order.price", "priced %d"}
    assert len(by_action["service.start"]) == len(by_action["loaded"]) == 1
    for action in ("order.price", "priced %d"):
        assert sorted(event["correlation"] for event in by_action[action]) == sorted(
            f"request-{number}" for number in answered
        )
    for event in by_action["priced %d"]:
        number = int(event["resource"].removeprefix("order/"))
        assert event["actor"] == f"user-{number}"
        attrs = msgspec.json.decode(event["attrs"])
        assert (attrs["pid"], attrs["message"]) == (answered[number], f"priced {number * 100}")
