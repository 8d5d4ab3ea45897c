"""The command that lists the presets of `auditkit import`."""

from typing import Any

import click

from auditkit.cli.options import Command, OneOf
from auditkit.cli.output import json_line
from auditkit.sources.presets import PRESETS, Preset


@click.command(
    "presets",
    cls=Command,
    examples="""
auditkit presets
auditkit presets cloudtrail
auditkit import trail.json.gz --preset cloudtrail
auditkit import /var/log/auth.log --preset auto --year 2026 --tz Europe/Stockholm
""",
)
@click.argument("name", required=False, type=OneOf(list(PRESETS)), metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print an object per preset.")
def presets(name: str | None, as_json: bool) -> None:  # noqa: FBT001 -- click passes options by name
    """List the formats that `auditkit import --preset` knows, each with an example; of NAME also what becomes which field.

    `--preset auto` recognises them by what is in a file.  What the command line adds with --map, --set and --value goes
    before what a preset says.
    """
    for _, preset in sorted(PRESETS.items()) if name is None else [(name, PRESETS[name])]:
        if as_json:
            click.echo(json_line(_described(preset)), nl=False)
            continue
        click.echo(f"{click.style(preset.name, bold=True)}: {preset.title}")
        if name is not None:
            for field, sources in _described(preset)["fields"].items():
                click.echo(f"  {field:<12} {', else '.join(sources)}")
        for line in preset.example.splitlines():
            click.echo(f"  {line}" if name is None else line)


def _described(preset: Preset) -> dict[str, Any]:
    """Return what a preset reads and what becomes which field: paths in the order they are tried, then a constant in quotes."""
    fields: dict[str, list[str]] = {}
    for field, path in preset.paths:
        fields.setdefault(field, []).append(path)
    for field, constant in preset.constants.items():
        fields.setdefault(field, []).append(f'"{constant}"')
    return {"name": preset.name, "title": preset.title, "fields": fields, "example": preset.example}
