"""The command `auditkit`: finds the subcommand, loads its module, and turns failures into messages and exit codes.

`auditkit --help` loads nothing but click.
"""

import difflib
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click

from auditkit import __version__
from auditkit.cli.failing import EXIT_CODES, debugging, explain


class _Entry(NamedTuple):
    home: str
    help: str


_SECTIONS: dict[str, dict[str, _Entry]] = {
    "Put in": {
        "init": _Entry("auditkit.cli.init:init", "Create a trail."),
        "append": _Entry("auditkit.cli.append:append", "Append an event, or JSON lines from standard input."),
        "import": _Entry("auditkit.cli.importing:import_", "Import JSON, CSV, Parquet and well-known logs."),
        "presets": _Entry("auditkit.cli.presets:presets", "List the formats that import knows."),
        "record": _Entry(
            "auditkit.cli.append:record", "Run a Python program and record what it sets out to do."
        ),
    },
    "Ask": {
        "range": _Entry("auditkit.cli.ask:range_", "Show the events of a window, in the order of time."),
        "group-by": _Entry("auditkit.cli.ask:group_by", "Count and measure events per key."),
        "downsample": _Entry("auditkit.cli.ask:downsample", "Show a series: events per interval of time."),
        "tail": _Entry("auditkit.cli.ask:tail", "Show the last events, in the order of acceptance."),
        "sql": _Entry("auditkit.cli.ask:sql", "Ask in SQL."),
    },
    "Keep": {
        "stats": _Entry("auditkit.cli.keep:stats", "Show the state of queue, segments and retention."),
        "flush": _Entry("auditkit.cli.keep:flush", "Move queued events into segments."),
        "maintain": _Entry("auditkit.cli.keep:maintain", "Do what is due: flush, roll up, prune, merge."),
        "prune": _Entry("auditkit.cli.keep:prune", "Remove what the retention policy no longer keeps."),
        "policy": _Entry("auditkit.cli.keep:policy", "Show how long events are kept; decide it anew."),
        "hold": _Entry("auditkit.cli.holds:hold", "List legal holds, or place one."),
        "release": _Entry("auditkit.cli.holds:release", "End a legal hold."),
        "consumers": _Entry("auditkit.cli.consumers:consumers", "List who follows the trail; forget one."),
        "dead-letters": _Entry(
            "auditkit.cli.dead_letters:dead_letters", "List inputs that were refused; retry or drop them."
        ),
        "doctor": _Entry("auditkit.cli.doctor:doctor", "Say what is wrong with the trail, or will be."),
        "backup": _Entry("auditkit.cli.init:backup", "Copy a trail that is being written to."),
    },
    "Show": {
        "report": _Entry("auditkit.cli.report:report", "Run a notebook on a trail and write an HTML report."),
        "reviewed": _Entry("auditkit.cli.report:reviewed", "Record that a report was reviewed."),
        "demo": _Entry("auditkit.cli.demo:demo", "See all of it, on events of this machine."),
    },
}
_EXAMPLES = (
    "auditkit demo",
    "auditkit init audit --retention 90d",
    "auditkit import access.jsonl --trail audit --map ts=time --map actor=user.name",
    "auditkit group-by action --trail audit --start -7d",
    "auditkit report overview --trail audit --start -7d -o report.html",
)
_GENERAL = (
    "--trail names the trail; the variable AUDITKIT_TRAIL does so for all commands.  Every command's --help has examples "
    "of it."
)
_ENTRIES = {name: entry for section in _SECTIONS.values() for name, entry in section.items()}


class Commands(click.Group):
    """A group whose commands are loaded when they are called, and whose failures end in exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names of the commands, loading none."""
        return list(_ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load and return one command."""
        entry = _ENTRIES.get(cmd_name)
        if entry is None:
            return None
        module, _, member = entry.home.partition(":")
        command: click.Command = getattr(import_module(module), member)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a name that is none is answered with the nearest ones."""
        if args and not args[0].startswith("-") and args[0] not in _ENTRIES:
            near = difflib.get_close_matches(args[0], _ENTRIES, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands by what they are for."""
        for title, entries in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(12), entry.help) for name, entry in entries.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write what newcomers try first, and what holds for all commands."""
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in _EXAMPLES))
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])
        formatter.write_paragraph()
        formatter.write_text(_GENERAL)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; failures are reported on standard error and become the exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (Exception, KeyboardInterrupt) as exc:
            if debugging():
                raise
            raise click.exceptions.Exit(explain(exc)) from exc
        return result


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="auditkit")
def cli() -> None:
    """An append-only audit trail: who did what, when.

    Events go in through a durable queue, lie in Arrow files by day, are asked in Polars, kept exactly as long as
    decided, and shown in HTML reports.
    """


def main() -> None:
    """Run the command line and exit."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if (
            getattr(sys, name) is None
        ):  # closed by the parent process; a file of the trail must not take its place
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 -- open to the end
    cli(prog_name="auditkit")


if __name__ == "__main__":
    main()
