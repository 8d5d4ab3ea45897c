"""Opening a trail, and what it takes to look at its first events."""

import subprocess
import sys

import pytest

from auditkit.errors import FormatError
from auditkit.store import segment
from auditkit.trail.facade import Trail

OTHERS = {"numpy", "pyarrow", "pandas", "click", "rich", "altair", "IPython", "nbconvert", "html", "secrets"}
"""What others need: whoever writes, counts, shows or reports."""
LOADED = {
    "disk": {"durable", "layout"},
    "event": {"attrs", "rows", "schema", "shape"},
    "keep": {"horizon", "policy"},
    "query": {"filling", "frames"},
    "queue": {"blocks", "failure", "files", "finding", "frames", "limits", "receipts", "tail"},
    "store": {"catalog", "current", "files", "records"},
    "timerange": {"durations", "instants", "partitions", "ranges"},
    "trail": {"asking", "core", "due", "facade", "opening", "reading", "snapshot", "source", "wanting"},
    "where": {"bounds", "mapping", "paths", "words"},
}
"""The modules that a first look takes, by folder."""


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
    names = done.stdout.split()
    assert not OTHERS & {name.partition(".")[0] for name in names}
    ours = [name.split(".")[1:] for name in names if name.startswith("auditkit.")]
    assert {(folder, module) for folder, module in (name for name in ours if len(name) == 2)} == {
        (folder, module) for folder, modules in LOADED.items() for module in modules
    }
    assert {name[0] for name in ours if len(name) == 1} == {*LOADED, "errors", "homes", "wording"}


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
