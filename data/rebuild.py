"""Rebuild everything in data/ that was made by a program: the week's lines, its trail, two years, the recording, and
the history of this repository.

    python data/rebuild.py                       # all of it
    python data/rebuild.py --only firm-week      # one trail

The old trail of the same name is replaced.  See data/README.md for what is made how.
"""

import argparse
import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import polars as pl
import simulate_firm
import simulate_years
from simulation.sighting import local_us

import auditkit as ak
from auditkit.sources.record import record
from auditkit.timerange import to_us

HERE = Path(__file__).parent
COMMIT_EVERY_US = 60_000_000
RECORDED_PROGRAM = HERE / "recorded_program.py"


class SimulatedClock:
    """The clock of the simulated week: it stands where it was last put."""

    def __init__(self, us: int) -> None:
        self.us = us

    def now_us(self) -> int:
        """Return the moment the clock stands at."""
        return self.us


def batches(week: list[simulate_firm.Arrival]) -> Iterator[tuple[int, list[dict[str, object]]]]:
    """Yield the week's events minute by minute, each with the moment (microseconds) the trail takes them."""
    for _, group in groupby(week, key=lambda arrival: arrival.recorded_us // COMMIT_EVERY_US):
        arrived = list(group)
        yield arrived[-1].recorded_us, [arrival.event for arrival in arrived]


def firm_week(target: Path, seed: int) -> None:
    """Make the trail of the simulated week, as if the firm's services had appended to it all the time."""
    clock = SimulatedClock(local_us(0, 0))
    with ak.create(target, retention="90d", tz="Europe/Stockholm", maintain=False, clock=clock) as trail:
        for recorded_us, events in batches(simulate_firm.arrivals(seed)):
            clock.us = recorded_us
            trail.extend(events).wait()
        clock.us = local_us(7, 0)
        trail.flush()


def firm_years(target: Path) -> None:
    """Make a trail of two years of which ninety days are left, and a tier of the rest, maintained monthly."""
    clock = SimulatedClock(to_us(simulate_years.BEGIN))
    zone = {"tz": "Europe/Stockholm"}
    with ak.create(target, retention="90d", partition="1mo", maintain=False, clock=clock, **zone) as trail:
        trail.rollup("1d", by=["action", "outcome"], keep="10y")
        for end, events in simulate_years.days(20_000, each=30):
            clock.us = to_us(end)
            trail.extend(
                events.with_columns(source=pl.lit("shop"), attrs=pl.lit('{"simulated":true}'))
            ).wait()
            trail.maintain(compact=True)
        trail.prune()
        clock.us += 16 * 60_000_000
        trail.flush()


def recording(target: Path, folder: Path, python: str) -> None:
    """Record a tiny harmless program, as anybody on any machine: run in `folder`, by the Python at `python`."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "quarter.py"
    shutil.copyfile(RECORDED_PROGRAM, script)
    before = Path.cwd()
    environment = dict(os.environ)
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(
            {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        )
        with ak.create(target, retention="90d", maintain=False) as trail:
            with ak.bind(actor="analyst", origin="workstation"):
                summary = record(trail, [python, "-s", script.name])
            if summary.exit_code:
                raise SystemExit(f"the recorded program failed: {summary}")
            trail.flush()
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(before)
        for path in (script, folder / "orders.csv", folder / "totals.json"):
            path.unlink(missing_ok=True)
        for path in made:
            path.rmdir()


def git_history(target: Path) -> None:
    """Write the commits of this repository as the preset `git` reads them, the first one first."""
    form = "--pretty=tformat:%H%x09%aI%x09%cI%x09%an%x09%ae%x09%P%x09%s"
    command = ["git", "log", "--reverse", form]
    done = subprocess.run(command, cwd=HERE, check=True, capture_output=True)  # noqa: S603 -- git as installed
    target.write_bytes(gzip.compress(done.stdout, mtime=0))


def replaced(target: Path) -> Path:
    """Remove the old trail, which this script made, and return its place."""
    if target.exists():
        shutil.rmtree(target)
    return target


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", choices=["lines", "firm-week", "firm-years", "recording", "git-history"])
    parser.add_argument("--seed", type=int, default=simulate_firm.SEED)
    parser.add_argument(
        "--folder", type=Path, default=Path("/home/analyst/quarter"), help="where the recorded program runs"
    )
    parser.add_argument("--python", default="/usr/bin/python3", help="the Python that is recorded")
    options = parser.parse_args()
    if options.only in (None, "lines"):
        simulate_firm.write(HERE / "firm-week.jsonl.gz", options.seed)
    if options.only in (None, "firm-week"):
        firm_week(replaced(HERE / "firm-week"), options.seed)
    if options.only in (None, "firm-years"):
        firm_years(replaced(HERE / "firm-years"))
    if options.only in (None, "recording"):
        recording(replaced(HERE / "recording"), options.folder, options.python)
    if options.only in (None, "git-history"):
        git_history(HERE / "git-history.tsv.gz")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
