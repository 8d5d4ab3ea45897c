"""The commands around reports: report runs notebooks into them, reviewed records who has read one."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from auditkit.cli.failing import FAILED_REPORT, complain
from auditkit.cli.options import Command, opened, read_conditions, read_pairs, trail_option, window_options
from auditkit.text import counted
from auditkit.where import compile_where, read_value

_NAMED_FAILURES = 20


def _list_notebooks(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 -- click's
    if not wanted:
        return
    from auditkit.reporting.notebooks import introductions

    formatter = ctx.make_formatter()
    formatter.write_dl(list(introductions().items()))
    click.echo(formatter.getvalue(), nl=False)
    ctx.exit()


@click.command(
    "report",
    cls=Command,
    examples="""
auditkit report --list
auditkit report overview --start -7d
auditkit report overview --start 2026-11-01 --end +1mo --where source=app -o november.html
auditkit report overview --start -1mo --static --pdf -o month.html
auditkit report actor --each actor --start -30d -o actors
auditkit report overview --each 1d --start 2026-11-01 --end +1mo -o november
auditkit report my/incident.ipynb --yes --at 120000 --param case=42 -o case-42.html
""",
)
@click.argument("notebook")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_notebooks,
    help="Name our notebooks.",
)
@trail_option
@window_options
@click.option("--at", type=click.IntRange(min=0), metavar="SEQ", help="As the trail was before this seq.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="A further parameter, JSON or else text."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where the report goes; with --each a folder.",
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Bound of each cell."
)
@click.option("--static", is_flag=True, help="Write no script at all, for mail gateways.")
@click.option("--pdf", is_flag=True, help="Also print it through Chromium, beside the report.")
@click.option(
    "--record", is_flag=True, help="Append report.rendered to the trail, with the SHA-256 of the file."
)
@click.option(
    "--each",
    metavar="COLUMN|DURATION",
    help="Many reports: one for each value of a column, or for each stretch of time (1d, 1w, 1mo).  Run again, it "
    "keeps those that are complete and makes the rest.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="With --each: only the most frequent values, or the first stretches.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="With --each: so many at a time [default: cores]."
)
@click.option("--force", is_flag=True, help="With --each: make all anew.")
@click.option("--yes", is_flag=True, help="Run a notebook that is not ours without asking.")
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
    static: bool,  # noqa: FBT001
    pdf: bool,  # noqa: FBT001
    record: bool,  # noqa: FBT001 -- click's way to hand over a flag
    each: str | None,
    limit: int | None,
    workers: int | None,
    force: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
) -> None:
    """Run a notebook on a trail and write one HTML file, which needs no network.

    NOTEBOOK is a path, or one of those that --list names.  A notebook by its path runs its own Python code, in its own
    folder: the command asks before it does, and without a terminal needs --yes.  If a cell fails, the report is written all the same, marked FAILED, and the exit code is 3.
    """
    if each is None and (limit or workers or force):
        raise click.UsageError("--limit, --workers and --force belong to --each.")
    if each is not None and pdf:
        raise click.UsageError("--pdf prints one report: it does not go with --each.")
    where = read_conditions(conditions)
    asked: dict[str, Any] = {
        "start": start,
        "end": end,
        "where": where,
        "tz": tz,
        "parameters": {name: read_value(text) for name, text in read_pairs("--param", params)},
        "timeout_s": timeout_s,
        "record": record,
        "static": static,
    }
    with opened(trail_path, tz=tz, at=at) as trail:
        compile_where(where, trail.schema)  # a condition that cannot be is misuse, not a FAILED report
        if not yes:
            _ask_to_run(notebook)
        if each is None:
            from auditkit.reporting.notebooks import find_notebook  # nbconvert and its kin load only here
            from auditkit.reporting.run import parameters_of, read_notebook, refuse_unknown
            from auditkit.reporting.run import report as run_report

            path = find_notebook(notebook)
            given = parameters_of(trail, start, end, where, tz, None, asked["parameters"])
            refuse_unknown(path, read_notebook(path), given)
            click.echo(click.style(f"running {notebook} ...", dim=True), err=True)
            written = run_report(notebook, trail=trail, output=output, pdf=pdf, **asked)
            click.echo(str(written))
            if pdf:
                click.echo(str(written.with_suffix(".pdf")))
            return
        folder = output or Path(f"{Path(notebook).stem}-{trail.name}-by-{each}")
        _report_each(notebook, each, folder, trail=trail, limit=limit, workers=workers, force=force, **asked)


def _ask_to_run(notebook: str) -> None:
    """Make sure that a notebook by its path may run its code."""
    if not notebook.endswith(".ipynb") or not Path(notebook).is_file():
        return  # one of ours, or an error that names what there is
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{notebook} is a notebook by its path, which runs its own code: say --yes if you trust it."
        )
    click.confirm(f"{notebook} runs its own Python code as you.  Run it?", abort=True, err=True)


def _report_each(notebook: str, each: str, folder: Path, **asked: Any) -> None:
    """Make a batch, and report what failed."""
    from auditkit.reporting.batch import report_each
    from auditkit.reporting.batch_plan import each_words

    words = f"running {Path(notebook).stem} for each {each_words(each)} ..."
    click.echo(click.style(words, dim=True), err=True)
    batch = report_each(notebook, each, folder, **asked)
    made = len(batch.parts) - batch.kept - len(batch.failures)
    summary = f"{made:,} made, {batch.kept:,} kept, {len(batch.failures):,} failed"
    click.echo(click.style(summary, dim=True), err=True)
    click.echo(str(batch.index))
    if batch.failures:
        names = {part.file: part.name for part in batch.parts}
        lines = [f"{names[file]} ({file}): {why}" for file, why in sorted(batch.failures.items())]
        more = len(lines) - _NAMED_FAILURES
        hints = lines[:_NAMED_FAILURES] + ([f"and {more:,} more"] if more > 0 else [])
        complain(f"{len(lines):,} of {counted(len(batch.parts), 'report')} failed", *hints)
        raise click.exceptions.Exit(FAILED_REPORT)


@click.command(
    "reviewed",
    cls=Command,
    examples="""
auditkit report compliance --trail audit -o november.html --record
auditkit reviewed november.html --trail audit --by 'Ann Bell'
""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@trail_option
@click.option("--by", required=True, metavar="NAME", help="Who has reviewed it.")
def reviewed(file: Path, trail_path: Path | None, by: str) -> None:
    """Append to a trail that a report was reviewed.

    FILE is a report that was rendered with --record: the trail knows its bytes, and a file that was changed since is
    refused.
    """
    with opened(trail_path) as trail:
        from auditkit.reporting.attest import record_reviewed

        click.echo(f"report.reviewed, seq {record_reviewed(trail, file, by=by)}")
