"""The command that records a Python program: record."""

from collections.abc import Sequence
from pathlib import Path

import click

from auditkit.cli.options import Command, opened, trail_option
from auditkit.sources.recording import record as record_run


@click.command(
    "record",
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    examples="""
auditkit record -- python script.py --its-own options
auditkit record --trail audit -- python -m compileall src
auditkit record --args -- pip list
""",
)
@trail_option
@click.option(
    "--args", "arguments", is_flag=True, help="Keep the arguments of programs too; they may hold secrets."
)
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND...", type=click.UNPROCESSED)
def record(trail_path: Path | None, arguments: bool, command: Sequence[str]) -> None:  # noqa: FBT001
    """Run a Python program and append what it sets out to do, then exit with its exit code.

    Files opened, programs started, connections made, modules imported: Python announces them before the act, so the
    outcome of each is unknown.  Programs are kept by name and number of arguments only, unless --args; the
    environment never.  Not seen: Python started with -I, -E or -S, programs that close all descriptors, and
    whatever is not Python.
    """
    with opened(trail_path, maintain=True) as trail:
        summary = record_run(trail, list(command), arguments=arguments)
    click.echo(click.style(str(summary), dim=True), err=True)
    raise click.exceptions.Exit(summary.exit_code)
