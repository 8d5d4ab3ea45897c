"""Opening a trail, and what it takes to look at its first events."""

import subprocess
import sys

import pytest

from auditkit.errors import FormatError
from auditkit.store import segment
from auditkit.trail.facade import Trail

LIBRARIES = {
    "numpy",
    "pyarrow",
    "pandas",
    "click",
    "rich",
    "altair",
    "IPython",
    "nbconvert",
    "html",
    "secrets",
}
"""What others need: whoever writes, counts, shows or reports."""
MODULES = {
    "keep": {"plan", "compaction"},
    "query": {"aggregates", "answers", "cells", "comparing", "firsts", "pauses", "sheet"},
    "queue": {"active", "columns", "consumers", "dead_letters", "dedup", "writer"},
    "store": {"filters", "marks", "reading", "segment"},
    "trail": {
        *{
            "accepting",
            "appending",
            "compacting",
            "copying",
            "counting",
            "declaring",
            "decoding",
            "deliveries",
        },
        *{"figures"},
        *{"follow", "founding", "grouping", "keeping", "pruning", "scanning", "showing", "state", "writing"},
    },
}
"""The modules that others need, by folder."""
FOLDERS = {"auditing", "cards", "charts", "cli", "context", "grid", "plaintext", "reporting", "sources"}


def test_the_first_events_wait_for_nothing_that_others_need(trail: Trail) -> None:
    """Opening a trail and reading its first events loads neither Arrow nor what writes, keeps, counts or shows."""
    trail.extend({"action": f"a{n}"} for n in range(10)).wait()
    trail.flush()
    trail.append(action="later").wait()
    probe = """
import sys, auditkit
trail = auditkit.open(sys.argv[1])
assert trail.range(limit=3, where={"action": "a*"}).height == 3
assert trail.range(limit=1, descending=True)["action"].item() == "later"
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", probe, str(trail.path)], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not LIBRARIES & {name.partition(".")[0] for name in loaded}
    assert not {f"auditkit.{folder}" for folder in FOLDERS} & loaded
    assert not {f"auditkit.{folder}.{name}" for folder, names in MODULES.items() for name in names} & loaded


def test_one_event_waits_for_nothing_that_many_need(trail: Trail) -> None:
    """A process that appends an event and ends loads neither Arrow nor what flushes, prunes and merges."""
    probe = """
import sys, auditkit
with auditkit.open(sys.argv[1]) as trail:
    trail.append(action="a").wait()
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", probe, str(trail.path)], capture_output=True, text=True, check=True
    )
    names = set(done.stdout.split())
    assert not {"numpy", "pyarrow"} & names
    assert not {f"auditkit.trail.{theme}" for theme in ("writing", "pruning", "compacting")} & names
    assert trail.range()["action"].to_list() == ["a"]


def test_the_first_prune_waits_for_nothing_that_others_need(trail: Trail) -> None:
    """A prune that writes a segment anew loads neither Arrow's functions nor what takes batches, merges and shows."""
    stamps = ("2026-11-20T00Z", "2026-11-20T10Z", "2026-11-23T05Z")
    trail.extend(
        {"action": "a", "actor": actor, "ts": ts} for ts, actor in zip(stamps, "xyz", strict=True)
    ).wait()
    trail.flush()
    probe = """
import sys, auditkit
with auditkit.open(sys.argv[1]) as trail:
    trail.set_retention("3d")
    assert trail.prune().rewritten == 1
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", probe, str(trail.path)], capture_output=True, text=True, check=True
    )
    names = set(done.stdout.split())
    assert not {"pyarrow.compute", "auditkit.cards"} & names
    assert not {f"auditkit.trail.{theme}" for theme in ("accepting", "compacting", "showing")} & names
    assert trail.range()["actor"].to_list() == ["y", "z"]


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
