"""What a trail is told about its reports."""

import getpass
import hashlib
import json
from pathlib import Path

import pytest

import auditkit as ak
from auditkit.errors import ReportError
from auditkit.reporting.attest import record_reviewed
from tests.reporting.material import code, notebook

SHOW = """
import auditkit as ak
from auditkit.reporting import cover
cover(ak.open(trail), start, end, title="Filed")
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A notebook with a first screen, that fails where it is asked to."""
    path = tmp_path / "own.ipynb"
    cells = [
        code("trail = start = end = None\nfail = False", number=None, tags=["parameters"]),
        code(SHOW, number=None),
        code("assert not fail", number=None),
    ]
    path.write_text(json.dumps(notebook(*cells)))
    return path


def test_rendering_is_recorded_where_asked(own: Path, tmp_path: Path) -> None:
    """The event names user, file and notebook, window and seq, and the SHA-256 of the file; unasked there is none."""
    with ak.create(tmp_path / "audit") as trail:
        trail.append(action="doc.read", ts="2026-11-20T10:00:00Z").wait()
        output = ak.report(own, trail=trail, start="2026-11-20", end="+1d", output=tmp_path / "o.html")
        assert trail.end_seq == 1
        ak.report(own, trail=trail, start="2026-11-20", end="+1d", output=output, record=True)
        event = trail.tail(1).row(0, named=True)
    assert (event["action"], event["source"]) == ("report.rendered", "auditkit")
    assert (event["actor"], event["resource"]) == (getpass.getuser(), "o.html")
    attrs = json.loads(event["attrs"])
    assert len(attrs.pop("notebook_sha256")) == 64
    assert attrs == {
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
        "notebook": str(own),
        "start": "2026-11-20T00:00:00+00:00",
        "end": "2026-11-21T00:00:00+00:00",
        "as_of": 1,
        "status": "complete",
    }


def test_a_failed_report_is_recorded_as_such(own: Path, tmp_path: Path) -> None:
    """A report that says FAILED was rendered too; a trail given by its path is opened for it."""
    ak.create(tmp_path / "audit").close()
    with pytest.raises(ReportError):
        ak.report(
            own, trail=tmp_path / "audit", parameters={"fail": True}, output=tmp_path / "o.html", record=True
        )
    with ak.open(tmp_path / "audit", maintain=False) as trail:
        attrs = json.loads(trail.tail(1)["attrs"][0])
    assert attrs["status"] == "failed"
    assert attrs["sha256"] == hashlib.sha256((tmp_path / "o.html").read_bytes()).hexdigest()


def test_who_has_reviewed_which_bytes(own: Path, tmp_path: Path) -> None:
    """A review names the person and the report, whatever its file is called; other bytes are refused."""
    with ak.create(tmp_path / "audit") as trail:
        output = ak.report(own, trail=trail, output=tmp_path / "o.html", record=True)
        moved = output.rename(tmp_path / "moved.html")
        seq = record_reviewed(trail, moved, by="Ann Bell")
        event = trail.tail(1).row(0, named=True)
        assert (event["seq"], event["action"], event["actor"]) == (seq, "report.reviewed", "Ann Bell")
        assert event["resource"] == "o.html"
        digest = hashlib.sha256(moved.read_bytes()).hexdigest()
        assert json.loads(event["attrs"]) == {"sha256": digest, "rendered_seq": seq - 1}
        with pytest.raises(ValueError, match="by: is empty"):
            record_reviewed(trail, moved, by=" ")
        moved.write_text(moved.read_text() + " ")
        with pytest.raises(ReportError, match=r"has no report\.rendered of these bytes"):
            record_reviewed(trail, moved, by="Ann Bell")
        assert trail.end_seq == seq + 1
