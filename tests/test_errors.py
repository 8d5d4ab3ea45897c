"""The errors a caller can catch: where they are, what they say, and that they survive a process border."""

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import auditkit as ak
from auditkit import errors
from auditkit.disk.durable import PosixDisk
from auditkit.errors import AuditError, CorruptionError, InvalidEventError, ReportError, StorageError

EXAMPLES: list[AuditError] = [
    InvalidEventError("ts", "soon", "not an ISO 8601 moment", position=2),
    errors.InvalidQueryError("by", "actr", "is not a column"),
    errors.InvalidTimeError("start", "soon", "is not ISO 8601"),
    errors.PrunedError("seqs 0 to 9 are pruned", tombstone="7"),
    errors.TrailNotFoundError("audit: no trail"),
    CorruptionError(Path("a.wal"), offset=None, reason="checksum mismatch"),
    StorageError(errno.ENOSPC, "No space left on device", "/srv/a.wal"),
    ReportError("cell 3 failed", output=Path("out.html")),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_cross_a_process_border(error: AuditError) -> None:
    """An error that a worker raises arrives with its message, attributes and notes."""
    error.add_note("advice")
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 -- pickled one line above
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
    assert getattr(arrived, "filename", None) == getattr(error, "filename", None)


def test_every_error_has_one_home() -> None:
    """`ak.errors` holds every public error of the package, all of them under `AuditError`."""
    kinds = [AuditError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    assert {kind.__module__ for kind in kinds} == {"auditkit.errors"}
    assert ak.errors is errors


def test_a_full_disk_is_a_storage_error() -> None:
    """What storage refuses is an `OSError` of ours with its number and the path."""
    with Path("/dev/full").open("r+b", buffering=0) as full, pytest.raises(StorageError) as caught:
        PosixDisk().write(full.fileno(), b"x", 0)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.path == Path("/dev/full")
    assert str(caught.value) == "/dev/full: no space left on device"


def test_a_failed_sync_or_rename_names_the_file(tmp_path: Path) -> None:
    """A sync that fails, and a rename that does, say of which file."""
    end, other = os.pipe()
    with pytest.raises(StorageError, match="pipe"):
        PosixDisk().sync_data(other)
    with pytest.raises(StorageError, match="pipe"):
        PosixDisk().sync(other)
    with pytest.raises(StorageError, match="pipe"):
        PosixDisk().truncate(other, 0)
    os.close(end)
    os.close(other)
    target = tmp_path / "missing" / "a.arrow"
    with pytest.raises(StorageError) as caught:
        PosixDisk().rename(tmp_path / "a.tmp", target)
    assert caught.value.path == target


def test_a_word_that_is_near_is_named(tmp_path: Path) -> None:
    """Misspelt columns, measures, fields, zones and notebooks are answered with what may have been meant."""
    trail = ak.create(tmp_path / "audit")
    asked: list[tuple[str, Callable[[], object]]] = [
        ("by: is not a column of these events; did you mean 'actor'? (found 'actr')", lambda: trail.group_by("actr")),
        ("did you mean 'outcome'?", lambda: trail.range(where={"outcom": "failure"})),
        ("did you mean 'actor'?", lambda: trail.range(where={"Actor": "ann"})),
        ("did you mean 'resource'?", lambda: trail.range(columns=["ts", "ressource"])),
        ("did you mean 'source'?", lambda: trail.downsample("1h", by="sorce")),
        ("did you mean 'value'?", lambda: trail.group_by("actor", aggs={"n": pl.col("valeu").sum()})),
        ("did you mean 'action'?", lambda: trail.range(where=pl.col("acton") == "x")),
        ("did you mean 'count'?", lambda: trail.group_by("actor", aggs="cont")),
        ("did you mean 'actor'?", lambda: trail.append(action="x", actr="ann")),
        ("did you mean 'Europe/Stockholm'?", lambda: trail.range(tz="Europe/Stokholm")),
        ("did you mean 'overview'?", lambda: ak.report("overveiw", trail=trail)),
    ]  # fmt: skip
    for words, ask in asked:
        with pytest.raises(AuditError) as caught:
            ask()
        assert words in str(caught.value)
    trail.close()


CELLS = """
import auditkit as ak, polars as pl, tempfile
trail = ak.create(tempfile.mkdtemp())
def mine():
    return trail.group_by("actr")  # the caller's line
"""


@pytest.mark.parametrize(("debug", "inside"), [("", False), ("1", True)])
def test_a_traceback_in_ipython_ends_at_the_callers_line(debug: str, *, inside: bool, tmp_path: Path) -> None:
    """IPython shows the caller's frames, the error and its advice, and none of our own frames unless asked to."""
    script = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(colors='nocolor')\n"
        f"shell.run_cell({CELLS!r})\n"
        "shell.run_cell('mine()')\n"
        "shell.run_cell('trail.range(\"soon\")')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "AUDITKIT_DEBUG": debug, "IPYTHONDIR": str(tmp_path)},
    )
    shown = done.stdout + done.stderr
    assert "the caller's line" in shown
    assert "did you mean 'actor'?" in shown
    assert "a value inside attrs is 'attrs.KEY'" in shown
    assert shown.count("InvalidTimeError") >= 1
    assert ("auditkit/query/keys.py" in shown) == inside
    assert ("auditkit/timerange" in shown) == inside
    assert "Unexpected exception formatting" not in shown
