"""Reports of one week's stretches: a batch of ours beside papermill's and nbconvert's commands, one after the other.

`python tests/benchmarks/reports.py [--ours 50] [--theirs 50]`.  Theirs are the same reports, over the first stretches.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRAIL = ROOT / "data" / "firm-week"
NOTEBOOK = ROOT / "notebooks" / "overview.ipynb"
WEEK = ("2026-10-19", "2026-10-26")
SCRIPTS = Path(sys.executable).parent


def run(*command: str | Path, folder: Path) -> None:
    """Run a command, which must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def ours(number: int, folder: Path) -> float:
    """Return the seconds for a batch, from its command to its end."""
    started = time.perf_counter()
    run(
        sys.executable, "-m", "auditkit", "report", "overview", "--trail", TRAIL, "--each", "3h",
        "--start", WEEK[0], "--end", WEEK[1], "--limit", str(number), "-o", folder / "ours",
        folder=folder,
    )  # fmt: skip
    return time.perf_counter() - started


def theirs(number: int, folder: Path) -> float:
    """Return the seconds for the two commands of each report."""
    parts = json.loads((folder / "ours" / "batch.json").read_text())["parts"][:number]
    started = time.perf_counter()
    for part in parts:
        executed = folder / f"{Path(part['file']).stem}.ipynb"
        bounds = ["-p", "start", part["start"], "-p", "end", part["end"]]
        run(SCRIPTS / "papermill", NOTEBOOK, executed, "-p", "trail", str(TRAIL), *bounds, folder=folder)
        run(SCRIPTS / "jupyter", "nbconvert", "--to", "auditreport", executed, folder=folder)
    return time.perf_counter() - started


def main() -> None:
    """Measure both and write a row of the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--ours", type=int, default=50)
    options.add_argument("--theirs", type=int, default=50)
    asked = options.parse_args()
    theirs_made = min(asked.theirs, asked.ours)
    with tempfile.TemporaryDirectory() as folder:
        our_s = ours(asked.ours, Path(folder))
        their_s = theirs(theirs_made, Path(folder))
    our_each, their_each = our_s / asked.ours, their_s / theirs_made
    sys.stdout.write(
        f"| {asked.ours} in {our_s:.0f} s | {our_each:.2f} s "
        f"| {theirs_made} in {their_s:.0f} s | {their_each:.2f} s | {their_each / our_each:.1f} |\n"
    )


if __name__ == "__main__":
    main()
