"""Fixtures shared by all tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from auditkit.api import Trail
from auditkit.opening import create
from tests.fakes import ManualClock

settings.register_profile("untimed", deadline=None)  # how fast a machine is decides no test
settings.load_profile("untimed")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands at 2026-11-24 08:00 UTC."""
    return ManualClock()


@pytest.fixture
def make_trail(tmp_path: Path, clock: ManualClock) -> Iterator[Callable[..., Trail]]:
    """Return a maker of trails under the test's folder; they are closed at the end."""
    made: list[Trail] = []

    def make(name: str = "audit", **options: Any) -> Trail:
        trail = create(tmp_path / name, **{"clock": clock, **options})
        made.append(trail)
        return trail

    yield make
    for trail in made:
        trail.close()


@pytest.fixture
def trail(make_trail: Callable[..., Trail]) -> Trail:
    """Return an empty trail that keeps everything."""
    return make_trail()
