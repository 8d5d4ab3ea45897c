"""Forged trails: whatever lies in a trail's folder, each step ends in an answer or an error of the package.

The processes that open the trails have limits of memory, time, files and bytes written; nothing outside the trail is
opened, and a reader leaves it as it was.  A choice of the cases runs always, so that it takes about a minute;
`AUDITKIT_FORGE=all` runs them all.
"""

import os
import zlib
from collections.abc import Iterator

import pytest

from tests.forge.cases import CASES
from tests.forge.driver import HARMS
from tests.forge.forging import Forge, forging

_ONE_IN = 6
_ALWAYS = (
    "zarr: as large",
    "8 TB",
    "super-journal",
    "partition: link",
    "path of segments: up",
    "bomb",
    "10**8",
    "names: not ours",
)


def _chosen() -> list[str]:
    """Return the cases to run: a choice that depends on nothing but their names."""
    if os.environ.get("AUDITKIT_FORGE") == "all":
        return list(CASES)
    return [
        name
        for name in CASES
        if (zlib.crc32(name.encode()) % _ONE_IN == 0 or any(word in name for word in _ALWAYS))
    ]


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    """Return a forge."""
    with forging() as made:
        yield made


def test_a_trail_that_is_not_forged_answers_everything(forge: Forge) -> None:
    """The steps are right: what they say of a forged trail is about the trail."""
    answer = forge.run("nothing")
    assert answer["faults"] == []
    assert {step for step in answer["steps"]["reader"] if not step.endswith(": answer")} == set()
    assert {step for step in answer["steps"]["writer"] if not step.endswith(": answer")} == set()


@pytest.mark.parametrize("harm", HARMS)
def test_harm_is_seen(forge: Forge, harm: str) -> None:
    """What the other tests rely on."""
    assert forge.run(f"harm {harm}")["faults"] != []


@pytest.mark.parametrize("name", _chosen())
def test_a_forged_trail_ends_in_an_answer_or_an_error(forge: Forge, name: str) -> None:
    """Nothing else happens: no crash, no hang, no step outside."""
    assert forge.run(name)["faults"] == []
