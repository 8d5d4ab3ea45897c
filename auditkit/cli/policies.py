"""The commands about how long events are kept: policy show, policy set."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from auditkit.api import Trail
from auditkit.cli.options import CommandGroup, opened, trail_option
from auditkit.cli.streams import json_line
from auditkit.cli.tables import print_sections
from auditkit.retention.policy import declare_policy
from auditkit.text import counted
from auditkit.timerange import from_us, to_us

FOR_EVER = "forever"

_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(
    "policy",
    cls=CommandGroup,
    examples="""
auditkit policy show
auditkit policy set 90d
""",
)
def policy() -> None:
    """Show how long events are kept, and decide it anew.

    An event is kept while it is no older than the policy says, counted back from the trail's horizon: the newest of its
    events, or a moment that `auditkit maintain --now` recorded.
    """


@policy.command(
    "show",
    short_help="Show the policy in force and what it means.",
    examples="""
auditkit policy show
auditkit policy show --json | jq -r .policy
""",
)
@trail_option
@_json_option
def show(trail_path: Path | None, as_json: bool) -> None:  # noqa: FBT001 -- click passes options by name
    """Show the policy in force, the horizon it counts from, what is expired, and what was pruned."""
    with opened(trail_path) as trail:
        numbers = trail.stats()
    if as_json:
        click.echo(json_line(asdict(numbers.retention)), nl=False)
    else:
        rows = [section for section in numbers.sections() if section[0] == "retention"]
        print_sections(f"{trail.name}  {trail.path}", rows)


@policy.command(
    "set",
    short_help="Decide how long events are kept from now on.",
    examples="""
auditkit policy set 90d
auditkit policy set 7y
auditkit policy set forever
auditkit policy set 30d --yes
""",
)
@click.argument("retention", metavar="DURATION")
@trail_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask where events would expire.")
@_json_option
def set_(retention: str, trail_path: Path | None, yes: bool, as_json: bool) -> None:  # noqa: FBT001
    """Keep events for DURATION (90d, 18mo, 7y, or `forever`) from now on.  The trail records that as an event.

    Where events expire by it, it asks first: no question shows them any more, and the next prune removes them for good.
    A longer policy brings back what was not pruned yet.
    """
    keep = None if retention == FOR_EVER else retention
    with opened(trail_path) as trail:
        before = trail.retention
        expiring = _expiring(trail, keep)
        if expiring and not yes:
            _ask(expiring)
        after = trail.set_retention(keep)
    if as_json:
        click.echo(json_line({"policy": str(after), "before": str(before), "expired": expiring}), nl=False)
        return
    click.echo(f"From now on: {after} (before: {before}).")
    if expiring:
        click.echo(
            f"{counted(expiring, 'event').capitalize()} expired by that; `auditkit prune` removes them."
        )


def _expiring(trail: Trail, keep: str | None) -> int:
    """Return how many events that are shown now would not be."""
    horizon = trail.stats().retention.horizon
    cutoff_us = declare_policy(keep).cutoff_us(None if horizon is None else to_us(horizon))
    if cutoff_us is None:
        return 0
    return int(trail.group_by([], end=from_us(cutoff_us), aggs="count").item())


def _ask(expiring: int) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{counted(expiring, 'event')} would expire: give --yes where nobody can be asked."
        )
    if not click.confirm(f"Let {counted(expiring, 'event')} expire?", err=True):
        click.echo("The policy stays as it is.")
        raise click.exceptions.Exit(1)
