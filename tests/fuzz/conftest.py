"""How long is fuzzed: `AUDITKIT_FUZZ` is the number of examples for each test (by default few, for every change)."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from auditkit.opening import create
from tests.fakes import ManualClock

EXAMPLES = int(os.environ.get("AUDITKIT_FUZZ", "60"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Failures are not made smaller: an example that ends the process could not be."""


@pytest.fixture(name="built", scope="session")
def built_trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed trail with segments, a tombstone, dead letters, and a queue of rows and columns."""
    root = tmp_path_factory.mktemp("built") / "audit"
    clock = ManualClock()
    with create(root, retention="9d", maintain=False, clock=clock) as trail:
        trail.append(action="old", ts="2020-01-01T00:00:00Z").wait()
        trail.extend(
            [
                {
                    "action": f"action {number % 3}",
                    "actor": None if number % 4 == 0 else f"actor {number % 5}",
                    "resource": f"resource {number} é",
                    "id": f"id {number}",
                    "value": number / 2,
                    "attrs": {"number": number},
                    "ts": f"2026-11-24T07:00:{number:02}Z",
                }
                for number in range(20)
            ]
        ).wait()
        trail.flush()
        trail.prune()
        trail.append(action="queued", id="q", attrs={"deep": [1, {"a": None}]}).wait()
        trail.extend([{"action": ""}, {"action": "b"}], on_invalid="dead-letter").wait()
    return root
