"""Two accounts on one trail that its group writes to: what one leaves there, or holds, does no harm to the other."""

import os
from collections.abc import Iterator

import pytest

from tests.forge.cases import CASES
from tests.forge.forging import Forge, forging

_FORGER, _VICTIM, _GROUP = 61_001, 61_002, 61_000
_WORDS = (
    "link to its copy",
    "link to a secret",
    "link to the outside",
    "super-journal",
    "path of",
    "partition: up",
)
"""Cases in which a trail leads to what the other account alone may read."""
_LOCKS = (
    "queue.lock",
    "maint.lock",
    "consumers/mailer.jsonl",
    "dead-letters/2026-11-25.jsonl",
    "catalog.sqlite",
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two accounts")


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    """Return a forge whose trails one account makes and another opens."""
    with forging(_FORGER, _VICTIM, _GROUP) as made:
        yield made


def test_both_work_on_one_trail(forge: Forge) -> None:
    """What one account has made the other reads, writes to, maintains and copies."""
    answer = forge.run("nothing")
    assert answer["faults"] == []
    assert {step for step in answer["steps"]["reader"] if not step.endswith(": answer")} == set()
    assert {step for step in answer["steps"]["writer"] if not step.endswith(": answer")} == set()


@pytest.mark.parametrize("name", [name for name in CASES if any(word in name for word in _WORDS)][::6])
def test_nothing_leads_to_what_the_other_alone_may_read(forge: Forge, name: str) -> None:
    """The victim's commands open nothing of the victim's own outside the trail."""
    assert forge.run(name)["faults"] == []


@pytest.mark.parametrize("lock", _LOCKS)
def test_a_lock_that_is_held_for_ever_stops_no_reader(forge: Forge, lock: str) -> None:
    """Readers need none of the locks; a writer gets an error that names the process that holds it."""
    answer = forge.run(f"hold {lock}")
    assert answer["faults"] == []
    assert {step for step in answer["steps"]["reader"] if not step.endswith(": answer")} == set()
    refused = [step for step in answer["steps"]["writer"] if not step.endswith(": answer")]
    assert bool(refused) == (lock != "catalog.sqlite")  # which is replaced, not written to
    assert [step for step in refused if "LockedError" not in step or "process <holder>" not in step] == []
