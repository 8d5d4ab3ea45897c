"""The command that copies a trail: backup."""

from pathlib import Path

import click

from auditkit.backups import backup as backup_trail
from auditkit.cli.options import Command, opened, trail_option
from auditkit.cli.progress import progress_bar


@click.command(
    "backup",
    cls=Command,
    examples="""
auditkit backup /mnt/backup/audit-2026-11-24
""",
)
@click.argument("target", type=click.Path(path_type=Path))
@trail_option
def backup(target: Path, trail_path: Path | None) -> None:
    """Copy the trail, which others may be writing to, into a new directory, checked and durable.

    The copy is the same trail until somebody appends to it; then it becomes a branch with an id of its own.
    """
    with opened(trail_path) as trail:
        total = trail.stats().segments.bytes
        with progress_bar("copying", total=total, counts_bytes=True) as show:
            summary = backup_trail(trail, target, progress=lambda done, _total: show(done, ""))
    click.echo(str(summary))
