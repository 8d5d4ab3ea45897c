"""The command that shows everything on events of this machine: demo.

It runs real programs, reads the real package history, and asks real questions.  It writes only below its output
folder, under names that were free, and never removes or changes anything that was there.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory

import click

from auditkit.api import Trail
from auditkit.cli.options import Command
from auditkit.cli.output import show_events, show_groups
from auditkit.keep.plan import plan_segments
from auditkit.opening import create
from auditkit.retention.policy import declare_policy
from auditkit.sources.apt import import_history
from auditkit.sources.record import SOURCE, record
from auditkit.text import visible

_COMPILED = ("rich", "click", "pyarrow")
"""Packages that are always there with auditkit, and small enough to compile within seconds."""
_FAILS = "import sys; sys.tracebacklimit = -1; open('no-such-file')"


@click.command(
    "demo",
    cls=Command,
    examples="""
auditkit demo
auditkit demo --output look
""",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("auditkit-demo"),
    show_default=True,
    help="The folder for trail and report; what is in it already stays as it is.",
)
def demo(folder: Path) -> None:
    """Record a real run, read this machine's package history, ask questions, write a report.

    Works offline and takes less than a minute.  Everything it makes is in the output folder.
    """
    began = time.monotonic()
    trail_path, report_path, incident_path = _free_names(folder)
    with create(trail_path, maintain=False) as trail:
        click.echo(
            click.style("auditkit demo", bold=True) + f": who did what, when, on this machine, in {folder}"
        )
        _put_in(trail)
        _ask(trail)
        _keep(trail)
        _report(trail, report_path)
    _incident(incident_path)
    click.echo(f"\nMade in {time.monotonic() - began:.0f} s.  Go on with:")
    click.echo(f"  export AUDITKIT_TRAIL={quote(str(trail_path.absolute()))}; auditkit stats\n")
    for name, path in (("Trail", trail_path), ("Report", report_path), ("Incident", incident_path)):
        click.echo(f"{click.style(f'{name:<9}', bold=True)} {path.absolute()}")


def _free_names(folder: Path) -> tuple[Path, Path, Path]:
    """Return names for the trail and two reports that nothing has yet, numbered alike."""
    for number in count(1):
        suffix = "" if number == 1 else f"-{number}"
        names = (
            folder / f"trail{suffix}",
            folder / f"overview{suffix}.html",
            folder / f"incident{suffix}.html",
        )
        if not any(name.exists() for name in names):
            return names
    raise AssertionError


def _put_in(trail: Trail) -> None:
    """Record programs and read the package history, then flush."""
    _step("Record a real run", "auditkit record -- python -m compileall …")
    places = [str(place) for name in _COMPILED if (place := _folder_of(name)) is not None]
    with TemporaryDirectory(prefix="auditkit-demo-") as cache:
        compile_all = [
            sys.executable,
            "-X",
            f"pycache_prefix={cache}",
            "-m",
            "compileall",
            "-q",
            "-f",
            *places,
        ]
        with _unseen_output():
            compiled = record(trail, compile_all)
    click.echo(f"  your {', '.join(_COMPILED)}, compiled into a temporary folder: {compiled}")
    if _folder_of("pip") is not None:
        with _unseen_output():
            listed = record(trail, [sys.executable, "-m", "pip", "--disable-pip-version-check", "list"])
        click.echo(f"  pip list: {listed}")
    with _unseen_output():
        failed = record(trail, [sys.executable, "-c", _FAILS])
    click.echo(f"  a program that opens a file that is not there: {failed}")
    _step("Add this machine's package history", "apt's history log")
    click.echo(f"  {import_history(trail)}")
    _step("Flush the queue into Arrow files, one per day", "trail.flush()")
    click.echo(f"  {trail.flush()}")


def _ask(trail: Trail) -> None:
    """Ask the four kinds of questions."""
    recorded = {"source": SOURCE}
    _step("What did the programs set out to do?", 'trail.group_by("action")', recorded)
    by_action = trail.group_by("action", where=recorded).select("action", "count")
    show_groups(by_action.sort("count", descending=True), "table", tz=trail.tz)
    _say("Python announces each act before it happens, so these are intentions: the outcome is null.")

    wrote = {"source": SOURCE, "action": "file.write"}
    _step("Which files did they write last?", "trail.range(descending=True, limit=5)", wrote)
    columns = ["ts", "actor", "resource"]
    last = trail.range(where=wrote, columns=columns, descending=True, limit=5)
    show_events(last, "table", tz=trail.tz, chosen=True)
    _say("Programs that are started are kept by name and number of arguments, as arguments may hold secrets.")

    _step("When were they busy?", 'trail.downsample("500ms", fill=0)', recorded)
    series = trail.downsample("500ms", where=recorded, fill=0).select("ts", "count")
    show_groups(series, "table", tz=trail.tz, rows=12)
    _say("The same call draws a year by day, right on the days when clocks change.")

    if trail.group_by("source", where={"source": "apt"}).height:
        _ask_about_packages(trail)


def _ask_about_packages(trail: Trail) -> None:
    query = (
        "SELECT action, actor, count(*) AS packages, max(ts) AS last FROM events "
        "WHERE source = 'apt' AND action <> 'package.transaction' GROUP BY action, actor ORDER BY packages DESC"
    )
    _step("Who had packages installed?", f'trail.sql("{query}")')
    show_groups(trail.sql(query), "table", tz=trail.tz, rows=10)
    _say("No actor means that apt noted none: root asked, without sudo.")


def _keep(trail: Trail) -> None:
    """Show what a policy would remove, without declaring it."""
    _step(
        "What would be removed if events were kept for 90 days?",
        'trail.set_retention("90d", confirm=True); print(trail.plan_prune())',
    )
    snapshot = trail.view.snapshot()
    plan = plan_segments(snapshot.catalog.segments, declare_policy("90d"), snapshot.horizon_us)
    lines = str(plan).splitlines()
    for line in lines[:5]:
        click.echo(f"  {line}")
    if len(lines) > 5:
        click.echo(f"    and {len(lines) - 5:,} more")
    _say("This is only a plan. The demo's trail keeps everything, until you declare how long.")


def _report(trail: Trail, path: Path) -> None:
    """Write the overview report of what was recorded."""
    _step("Write a report of the recorded run", 'ak.report("overview", trail=trail)', {"source": SOURCE})
    click.echo("  running the notebook, a few seconds …", err=True)
    from auditkit.reporting.run import report  # nbconvert and its kin load only here

    report("overview", trail=trail, where={"source": SOURCE}, output=path)
    _say("One file that asks nothing of a network: open it anywhere, send it to anybody.")


def _incident(path: Path) -> None:
    """Write the report of an incident of the simulated week, from our notebook as it was executed."""
    _step("See an incident: one of three in a simulated week of a firm", 'ak.render("incident.ipynb")')
    from auditkit.reporting.notebooks import shipped
    from auditkit.reporting.run import render

    render(shipped()["incident"], path)
    _say(
        "Passwords are tried on 36 accounts from one address, until one of them fits. Who is it, and what came next?"
    )


def _folder_of(package: str) -> Path | None:
    """Return where an installed package lies."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@contextmanager
def _unseen_output() -> Iterator[None]:
    """Let programs that are started meanwhile write their standard output to nowhere."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _step(title: str, call: str, where: object = None) -> None:
    """Begin a step: what it is about, and how one would do it."""
    click.echo()
    click.echo(click.style(title, bold=True))
    shown = call if where is None else f"{call.removesuffix(')')}, where={where})".replace("'", '"')
    click.echo(click.style(f"  {visible(shown)}", fg="cyan"))


def _say(text: str) -> None:
    click.echo(f"  {text}")
