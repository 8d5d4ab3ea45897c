"""Commands that begin a trail and copy one: init, backup."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import click

from auditkit.backups import backup as backup_trail
from auditkit.cli.options import Command, OneOf, opened, read_pairs, trail_option
from auditkit.event import FIELD_TYPES
from auditkit.opening import TRAIL_VARIABLE, create


@click.command(
    "init",
    cls=Command,
    examples="""
auditkit init audit
auditkit init audit --retention 90d --tz Europe/Stockholm
auditkit init /srv/audit --retention 7y --field amount=float --field approved=boolean --group read
""",
)
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--trail", "trail_path", type=click.Path(path_type=Path), envvar=TRAIL_VARIABLE, hidden=True)
@click.option(
    "--retention", metavar="DURATION", help="How long events are kept, such as 90d or 7y [default: for ever]."
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=TYPE",
    help=f"Declare a typed column of its own; repeat for more.  TYPE is one of {', '.join(FIELD_TYPES)}.",
)
@click.option(
    "--tz", default="UTC", show_default=True, metavar="ZONE", help="Zone of days and of times without one."
)
@click.option(
    "--partition",
    type=OneOf(["1h", "1d", "1mo"]),
    default="1d",
    show_default=True,
    help="Time slot of a segment.",
)
@click.option(
    "--max-ahead",
    default="1d",
    show_default=True,
    metavar="DURATION",
    help="How far ahead of the clock a ts may lie.",
)
@click.option("--group", type=OneOf(["read", "write"]), help="Let the group of the files read, or write too.")
def init(
    path: Path | None,
    trail_path: Path | None,
    retention: str | None,
    fields: Sequence[str],
    tz: str,
    partition: Any,
    max_ahead: str,
    group: Any,
) -> None:
    """Create a trail in the new or empty directory PATH.

    Fields, zone and partition are decided here, once.  What is not a field of an event goes into its attrs, so declare
    a field only for what is asked often.
    """
    place = path or trail_path
    if place is None:
        raise click.UsageError("Say where: auditkit init PATH.")
    with create(
        place,
        retention=retention,
        fields=_declared(fields),
        tz=tz,
        partition=partition,
        max_ahead=max_ahead,
        group=group,
        maintain=False,
    ) as trail:
        click.echo(f"Created trail {trail.path}")
        click.echo(f"  id         {trail.trail_id}")
        click.echo(f"  retention  {trail.retention.policy}")
        click.echo(f"  zone       {trail.tz}")
        if trail.fields:
            click.echo(f"  fields     {', '.join(fields)}")
        shown = quote(str(trail.path))
        click.echo(f"\nNext: export {TRAIL_VARIABLE}={shown}")
        click.echo("      auditkit append --action hello.world --actor $USER")
        click.echo("      auditkit import events.jsonl --map ts=time")


def _declared(given: Sequence[str]) -> dict[str, Any]:
    fields = {}
    for name, kind in read_pairs("--field", given):
        if kind not in FIELD_TYPES:
            raise click.UsageError(
                f"--field {name}: unknown type {kind!r} (there are {', '.join(FIELD_TYPES)})."
            )
        if name in fields:
            raise click.UsageError(f"--field {name} is given twice.")
        fields[name] = FIELD_TYPES[kind]
    return fields


@click.command(
    "backup",
    cls=Command,
    examples="""
auditkit backup /mnt/backup/audit-2026-11-24
auditkit stats --trail /mnt/backup/audit-2026-11-24
auditkit backup --trail /mnt/backup/audit-2026-11-24 /srv/audit        (restores it)
""",
)
@click.argument("target", type=click.Path(path_type=Path))
@trail_option
def backup(target: Path, trail_path: Path | None) -> None:
    """Copy the trail, which other processes may be writing to, into a new directory, checked and durable.

    The copy is a whole trail, to be asked where it lies.  To restore, stop what writes, move what is left of the trail away,
    and back the copy up to its place.  A copy is the same trail until something is appended to it; then it becomes a branch
    with an id of its own, so that two histories never pass as one.
    """
    with opened(trail_path) as trail:
        summary = backup_trail(trail, target)
    click.echo(str(summary))
