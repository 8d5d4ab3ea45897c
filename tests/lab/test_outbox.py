"""The outbox: events go to a trail without making anyone wait, and without harm where they cannot."""

import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

import auditkit as ak
from auditkit.lab import outbox as module
from auditkit.lab.outbox import Outbox

LOG = logging.getLogger("tests.outbox")


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged."""
    messages: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Noting()
    LOG.addHandler(handler)
    yield messages
    LOG.removeHandler(handler)


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """An empty trail."""
    ak.create(tmp_path / "audit").close()
    return tmp_path / "audit"


@pytest.fixture
def outbox(audit: Path) -> Iterator[Outbox]:
    """An outbox for it."""
    made = Outbox(audit, name="what happens", log=LOG)
    assert made.open()
    yield made
    made.close()


def test_events_arrive_in_order(outbox: Outbox, audit: Path) -> None:
    """Whatever was taken is in the trail when it is closed, in the order in which it was taken."""
    for number in range(50):
        outbox.put({"action": "a", "value": float(number)})
    outbox.close()
    assert ak.open(audit).range(columns=["value"])["value"].to_list() == [*map(float, range(50))]
    assert outbox.unrecorded == 0


def test_nobody_waits_for_a_disk(outbox: Outbox, audit: Path) -> None:
    """While another process holds the queue, events are taken at once and appended once it is free."""
    outbox.put({"action": "first"})
    with (audit / "queue.lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = monotonic()
        for _ in range(100):
            outbox.put({"action": "later"})
        assert monotonic() - began < 5  # the lock is waited for for longer than that
    outbox.close()
    assert ak.open(audit).group_by("action")["count"].to_list() == [1, 100]


def test_it_is_bounded(audit: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    """What a full outbox cannot take is counted, and the first of it is warned of."""
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    outbox = Outbox(audit, name="what happens", log=LOG)
    for _ in range(5):
        outbox.put({"action": "a"})  # not opened: nothing is appended meanwhile
    assert outbox.unrecorded == 2
    assert len(logged) == 1
    assert "what happens cannot be recorded (QueueFullError: what happens: 3 events wait for" in logged[0]
    outbox.open()
    outbox.close()
    assert ak.open(audit).end_seq == 3


def test_a_trail_that_comes_later(tmp_path: Path, logged: list[str]) -> None:
    """Without a trail there is one warning; one that is made later is found by the next event."""
    outbox = Outbox(tmp_path / "audit", name="what happens", log=LOG)
    assert not outbox.open()
    outbox.put({"action": "lost"})
    outbox.put({"action": "no", "ts": "nonsense"})
    while outbox.unrecorded < 3:
        pass
    assert len(logged) == 1
    assert "TrailNotFoundError" in logged[0]
    ak.create(tmp_path / "audit").close()
    outbox.put({"action": "kept"})
    outbox.close()
    assert ak.open(tmp_path / "audit").range(columns=["action"])["action"].to_list() == ["kept"]
