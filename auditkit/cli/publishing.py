"""The command that runs a notebook into a report: report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from auditkit.cli.options import Command, opened, read_conditions, read_pairs, trail_option, window_options
from auditkit.where import compile_where


@click.command(
    "report",
    cls=Command,
    examples="""
auditkit report overview --start -7d
auditkit report overview --start 2026-11-01 --end +1mo --where source=app -o november.html
auditkit report operations --trail /srv/audit -o operations.html
auditkit report my/incident.ipynb --at 120000 --param case=42 -o case-42.html
""",
)
@click.argument("notebook")
@trail_option
@window_options
@click.option("--at", type=click.IntRange(min=0), metavar="SEQ", help="As the trail was before this seq.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="A further parameter, JSON or else text."
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the report goes."
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Bound of each cell."
)
def report(
    notebook: str,
    trail_path: Path | None,
    start: str | None,
    end: str | None,
    tz: str | None,
    conditions: Sequence[str],
    at: int | None,
    params: Sequence[str],
    output: Path | None,
    timeout_s: float | None,
) -> None:
    """Run a notebook on a trail and write one HTML file, which needs no network and no script.

    NOTEBOOK is a path, or `overview` (who did what, when) or `operations` (queue, segments, retention).  It runs
    Python code: run only notebooks that you trust.  If a cell fails, the report is written all the same, marked
    FAILED, and the exit code is 3.
    """
    where = read_conditions(conditions)
    more = {name: _json_or_text(text) for name, text in read_pairs("--param", params)}
    with opened(trail_path, tz=tz, at=at) as trail:
        compile_where(where, trail.schema)  # a condition that cannot be is misuse, not a FAILED report
        from auditkit.reporting.run import report as run_report  # nbconvert and its kin load only here

        click.echo(click.style(f"running {notebook} ...", dim=True), err=True)
        written = run_report(
            notebook,
            trail=trail,
            start=start,
            end=end,
            where=where,
            tz=tz,
            parameters=more,
            output=output,
            timeout_s=timeout_s,
        )
    click.echo(str(written))


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
