"""The demo, run as a newcomer runs it."""

import os
import subprocess
import sys
from pathlib import Path

import auditkit as ak


def test_the_demo_ends_with_a_report_and_leaves_alone_what_was_there(tmp_path: Path) -> None:
    """It records, asks, plans and reports under names that were free; nothing older is touched."""
    (tmp_path / "trail").mkdir()
    (tmp_path / "trail" / "mine.txt").write_text("mine")
    environment = {**os.environ, "HOME": str(tmp_path), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "auditkit.cli.main", "demo", "--output", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = tmp_path / "overview-2.html"
    last = dict(line.split() for line in done.stdout.splitlines()[-3:])
    incident = tmp_path / "incident-2.html"
    assert last == {"Trail": str(tmp_path / "trail-2"), "Report": str(report), "Incident": str(incident)}
    assert "Around a moment" in incident.read_text()
    assert report.read_text().lstrip().lower().startswith("<!doctype html>")
    assert [path.name for path in (tmp_path / "trail").iterdir()] == ["mine.txt"]
    trail = ak.open(tmp_path / "trail-2")
    assert trail.stats().queue.depth == 0
    counts = dict(trail.group_by("action").select("action", "count").iter_rows())
    assert counts["run.start"] == counts["run.end"] >= 1
    assert counts["file.write"] >= 100
    recorded = trail.group_by("source", aggs="count", where={"source": "auditkit.record"})["count"].item()
    assert f"{recorded:,} events by" in report.read_text()  # nothing of the package history
    assert trail.group_by("outcome", where={"action": "run.end"}, aggs="count")["outcome"].to_list() == [
        "failure", "success",
    ]  # fmt: skip
    for words in ("module.load", "file.rename", "policy: keep 90d", "trail.group_by", "trail.downsample"):
        assert words in done.stdout


def test_the_demo_explains_itself() -> None:
    """Its help says what it does and where it writes."""
    command = [sys.executable, "-m", "auditkit.cli.main", "demo", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "auditkit-demo" in shown
    assert "stays as it is" in " ".join(shown.split())
