"""The command that says what is wrong with a trail: doctor."""

from dataclasses import asdict
from pathlib import Path
from textwrap import fill

import click

from auditkit.cli.failing import FAILED
from auditkit.cli.options import Command, opened, trail_option
from auditkit.cli.output import json_line
from auditkit.keep.doctor import Diagnosis, diagnose
from auditkit.text import counted

_WIDTH = 100


@click.command(
    "doctor",
    cls=Command,
    examples="""
auditkit doctor
auditkit doctor --trail /srv/audit --json | jq -r '.findings[] | select(.needs_person).text'
auditkit doctor > health.txt || mail -s 'audit trail' ops@example.org < health.txt
""",
)
@trail_option
@click.option("--tz", metavar="ZONE", help="Zone of times shown [default: the trail's].")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(trail_path: Path | None, tz: str | None, as_json: bool) -> None:  # noqa: FBT001 -- click passes options by name
    """Say what is wrong with the trail, or will be: what lies in the queue, clocks, retention, holds, tiers, small files.

    It goes by the catalog, the queue and this machine's clock, reads no segment and changes nothing.  The exit code is 1
    where something needs a person, and 0 where it heals by itself or nothing is wrong.
    """
    with opened(trail_path, tz=tz) as trail:
        found = diagnose(trail.view.snapshot(), now_us=trail.handle.clock.now_us(), tz=trail.tz)
        if as_json:
            about = {"trail": str(trail.path), "needs_person": found.needs_person}
            click.echo(json_line(about | asdict(found)), nl=False)
        else:
            _show(found, f"{trail.name}  {trail.path}")
    if found.needs_person:
        raise click.exceptions.Exit(FAILED)


def _show(found: Diagnosis, title: str) -> None:
    from auditkit.display.terminal import console  # loads rich

    click.echo(click.style(title, bold=True))
    width = min(_WIDTH, console().width)
    for finding in found.findings:
        head = click.style(finding.about, fg="red" if finding.needs_person else "yellow", bold=True)
        click.echo(f"\n{head}{'  needs a person' if finding.needs_person else ''}")
        for text in (finding.text, f"{finding.advice[0].upper()}{finding.advice[1:]}."):
            click.echo(fill(text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))
    persons = sum(finding.needs_person for finding in found.findings)
    if not found.findings:
        click.echo("\nNothing is wrong.")
    elif persons:
        click.echo(
            f"\n{persons:,} of {counted(len(found.findings), 'finding')} {'needs' if persons == 1 else 'need'} a person."
        )
    else:
        click.echo(f"\n{counted(len(found.findings), 'finding')}; none needs a person.")
