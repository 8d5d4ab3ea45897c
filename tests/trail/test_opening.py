"""Opening a trail, and what it takes to look at its first events."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from auditkit.api import Trail
from auditkit.errors import FormatError, InvalidEventError
from auditkit.store import segment
from auditkit.timerange import from_us
from tests.fakes import ManualClock

LIBRARIES = {"altair", "click", "IPython", "nbconvert", "pandas", "papermill", "rich"}
"""What only reports, notebooks and the command line need."""


def test_opening_and_the_first_events_load_no_library_of_reports(trail: Trail) -> None:
    """Opening a trail, appending, and reading its first events loads nothing that draws, renders or prints."""
    trail.extend({"action": f"a{n}"} for n in range(10)).wait()
    trail.flush()
    probe = """
import sys, auditkit
with auditkit.open(sys.argv[1]) as trail:
    trail.append(action="later").wait()
    assert trail.range(limit=3, where={"action": "a*"}).height == 3
    assert trail.range(limit=1, descending=True)["action"].item() == "later"
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", probe, str(trail.path)], capture_output=True, text=True, check=True
    )
    assert not LIBRARIES & {name.partition(".")[0] for name in done.stdout.split()}


def test_the_first_events_of_an_unknown_format_are_refused(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment of another format is not read, however few of its events are asked for."""
    trail.append(action="a").wait()
    monkeypatch.setattr(segment, "FORMAT", b"2")
    trail.flush()
    with pytest.raises(FormatError, match="unknown segment format"):
        trail.range(limit=1)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [0, 1, 3, 7, 100])
def test_the_first_events_are_those_of_the_whole(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, limit: int, descending: bool
) -> None:
    """With a limit come the events that would come first without, whatever batches, segments and queue hold them."""
    monkeypatch.setattr(segment, "BATCH_ROWS", 2)
    for start in (0, 5):
        trail.extend(
            {
                "action": "a" if n % 3 else "b",
                "actor": f"u{n % 4}",
                "ts": f"2026-11-24T0{(n * 7 + start) % 8}Z",
            }
            for n in range(9)
        ).wait()
        trail.flush()
    trail.append(action="a", actor="u1", ts="2026-11-24T03Z").wait()
    for where in (None, {"action": "b"}, {"actor": "u1"}):
        for window in ((None, None), ("2026-11-24T02Z", "2026-11-24T06Z")):
            whole = trail.range(*window, where=where, descending=descending)
            first = trail.range(
                *window, where=where, descending=descending, limit=limit, columns=["actor", "seq"]
            )
            assert first.equals(whole.head(limit).select("actor", "seq"))


def test_how_far_ahead_an_event_may_be(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A day is 24 hours, to the microsecond, and a tolerance into the past is refused."""
    trail, now = make_trail(), from_us(clock.us)
    trail.append(action="a", ts=now + timedelta(hours=24)).wait()
    with pytest.raises(InvalidEventError, match="ahead of the clock"):
        trail.append(action="a", ts=now + timedelta(hours=24, microseconds=1))
    with pytest.raises(ValueError, match="max_ahead: not a positive duration"):
        make_trail("other", max_ahead="-1d")
