"""The commands hold and release: legal holds, which keep events whatever the policy says."""

from pathlib import Path

import click
import msgspec

from auditkit.cli.options import Command, opened, read_conditions, trail_option, window_options
from auditkit.keep.summaries import PlacedHold

_json_option = click.option("--json", "as_json", is_flag=True, help="Print the hold as JSON.")
_reason_option = click.option("--reason", metavar="TEXT", help="Why; the trail records it.")


@click.command(
    "hold",
    cls=Command,
    examples="""
auditkit hold
auditkit hold case-42 --where actor=bob --start 2026-01-01 --reason 'lawsuit 42'
""",
)
@click.argument("name", required=False)
@trail_option
@window_options
@_reason_option
@_json_option
def hold(
    name: str | None,
    trail_path: Path | None,
    start: str | None,
    end: str | None,
    tz: str | None,
    conditions: tuple[str, ...],
    reason: str | None,
    as_json: bool,  # noqa: FBT001 -- click passes options by name
) -> None:
    """List the holds in force, or place one: events that match stay, and stay visible, until it is released."""
    with opened(trail_path, tz=tz) as trail:
        if name is None:
            found = trail.retention.holds
        elif reason is None:
            raise click.UsageError("Say why with --reason: the trail records it.")
        else:
            found = (trail.hold(name, start, end, where=read_conditions(conditions), reason=reason),)
    _show(found, as_json=as_json)


@click.command(
    "release",
    cls=Command,
    examples="""
auditkit release case-42 --reason settled
""",
)
@click.argument("name")
@trail_option
@_reason_option
@_json_option
def release(name: str, trail_path: Path | None, reason: str | None, as_json: bool) -> None:  # noqa: FBT001
    """End a hold: what it alone kept is hidden, and the next prune removes it."""
    if reason is None:
        raise click.UsageError("Say why with --reason: the trail records it.")
    with opened(trail_path) as trail:
        found = trail.release(name, reason=reason)
    click.echo(msgspec.json.encode(found) if as_json else f"Released {found}.")


def _show(holds: tuple[PlacedHold, ...], *, as_json: bool) -> None:
    for one in holds:
        click.echo(msgspec.json.encode(one) if as_json else str(one))
    if not holds and not as_json:
        click.echo("No hold is in force.")
