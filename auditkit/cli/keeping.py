"""Commands that keep a trail: stats, flush, maintain, prune."""

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from auditkit.api import Trail
from auditkit.cli.failing import warn
from auditkit.cli.options import Command, opened, trail_option
from auditkit.cli.streams import json_line
from auditkit.keep.plan import PrunePlan
from auditkit.text import counted
from auditkit.timerange import from_us, parse_instant, to_us
from auditkit.trail.summaries import Stats

_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_now_option = click.option(
    "--now",
    metavar="TIME",
    help="Record this moment (not after the clock's; 'now' is the clock's), so that a trail without new events ages.",
)
_PLANNED = 20


@click.command(
    "stats",
    cls=Command,
    examples="""
auditkit stats
auditkit stats --json | jq .queue.depth
auditkit stats --prometheus > /var/lib/node_exporter/auditkit.prom
""",
)
@trail_option
@_json_option
@click.option("--prometheus", is_flag=True, help="Print metrics in the text format of Prometheus.")
def stats(trail_path: Path | None, as_json: bool, prometheus: bool) -> None:  # noqa: FBT001 -- click passes options by name
    """Show the state of queue, segments, retention and consumers, and what waits to be done."""
    if as_json and prometheus:
        raise click.UsageError("Give --json or --prometheus, not both.")
    with opened(trail_path) as trail:
        numbers = trail.stats()
        if prometheus:
            from auditkit.cli.metrics import exposition

            click.echo(exposition(numbers, trail=trail.name, trail_id=trail.trail_id), nl=False)
        elif as_json:
            about = {"trail": str(trail.path), "trail_id": trail.trail_id, "tz": trail.tz}
            click.echo(json_line(about | asdict(numbers)), nl=False)
        else:
            _show_stats(trail, numbers)


@click.command(
    "flush",
    cls=Command,
    examples="""
auditkit flush
""",
)
@trail_option
@_json_option
def flush(trail_path: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Move everything queued into segments; on return it is there."""
    with opened(trail_path) as trail:
        done = trail.flush()
    _tell(done, as_json=as_json)


@click.command(
    "maintain",
    cls=Command,
    examples="""
auditkit maintain
auditkit maintain --now now
auditkit maintain --compact
auditkit maintain --every 1m
*/15 * * * *  auditkit maintain --trail /srv/audit        (in a crontab)
""",
)
@trail_option
@click.option(
    "--every",
    metavar="DURATION",
    help="Go on until SIGTERM or Ctrl-C, looking this often; flush once the queue is large or 15 minutes old.",
)
@click.option("--compact", is_flag=True, help="Merge small segments wherever a partition has two, not eight.")
@_now_option
@_json_option
def maintain(
    trail_path: Path | None,
    every: str | None,
    compact: bool,  # noqa: FBT001
    now: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Do what is due: flush what is queued, enforce the retention policy, and merge small segments.

    For a timer, or with --every as a process beside writers that leave maintenance to it (maintain=False).  Other
    writers do so by themselves; a trail that nobody writes to expires nothing unless --now records that time has
    passed.
    """
    if every is not None:
        from auditkit.cli.looping import maintain_every

        if now not in (None, "now"):
            raise click.UsageError("With --every, --now takes 'now' only.")
        if compact:
            raise click.UsageError("Give --every or --compact, not both.")
        maintain_every(
            trail_path, every, record_now=now is not None, tell=lambda done: _tell(done, as_json=as_json)
        )
        return
    with opened(trail_path, maintain=True) as trail:
        done = trail.maintain(now=_moment(trail, now), compact=compact)
    _tell(done, as_json=as_json)


@click.command(
    "prune",
    cls=Command,
    examples="""
auditkit prune --dry-run
auditkit prune
auditkit prune --now now --yes
""",
)
@trail_option
@_now_option
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_json_option
def prune(
    trail_path: Path | None,
    now: str | None,
    dry_run: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Remove what the retention policy no longer keeps, after showing the plan and asking.

    Every expired event leaves the disk: segments go whole or are written anew without them, and each leaves a
    tombstone that says what went.  What is removed is gone.
    """
    with opened(trail_path) as trail:
        moment = _moment(trail, now)
        if not dry_run:
            trail.flush()
        plan = trail.plan_prune(now=moment)
        if dry_run:
            if waiting := trail.stats().queue.depth:
                warn(
                    f"{counted(waiting, 'queued event')} not counted; `auditkit flush` moves them into segments"
                )
            click.echo(json_line(_plan_row(plan)) if as_json else _plan_text(plan), nl=not as_json)
            return
        if not as_json:
            click.echo(_plan_text(plan))
        if plan.rows and not yes and not _agreed(plan):
            click.echo("Nothing was pruned.")
            raise click.exceptions.Exit(1)
        done = trail.prune(plan, now=moment)
    _tell(done, as_json=as_json)


def _agreed(plan: PrunePlan) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("prune removes events for good: give --yes where nobody can be asked.")
    return click.confirm(f"Remove {counted(plan.rows, 'event')} for good?", err=True)


def _moment(trail: Trail, text: str | None) -> datetime | None:
    if text is None:
        return None
    now_us = to_us(trail.now())
    if text == "now":
        return from_us(now_us)
    moment_us = parse_instant(text, name="now", tz=trail.tz, now_us=now_us)
    if moment_us > now_us:
        raise click.UsageError(f"--now: ahead of the machine's clock (found {text!r}).")
    return from_us(moment_us)


def _tell(done: Any, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(done))
    else:
        click.echo(str(done).capitalize() + ".")


def _plan_row(plan: PrunePlan) -> dict[str, Any]:
    return asdict(plan) | {"rows": plan.rows, "bytes": plan.bytes}


def _plan_text(plan: PrunePlan) -> str:
    lines = str(plan).splitlines()
    left_out = len(plan.segments) - _PLANNED
    if left_out > 0:
        lines[_PLANNED + 2 :] = [f"  and {left_out:,} segments more", *lines[len(plan.segments) + 2 :]]
    return "\n".join(lines)


def _show_stats(trail: Trail, numbers: Stats) -> None:
    from auditkit.cli.tables import print_sections

    about = ("trail", [("id", trail.trail_id), ("zone", trail.tz)])
    print_sections(f"{trail.name}  {trail.path}", [about, *numbers.sections()])
