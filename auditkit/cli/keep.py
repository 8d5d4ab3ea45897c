"""Commands that keep a trail: stats, flush, maintain, prune, policy show, policy set.

`maintain --every` is a process of its own: SIGTERM and Ctrl-C end it between two rounds, with exit code 0; a second one
ends it at once.  A round that fails because storage or a lock is in the way is reported, and the next one tries again
with the trail opened anew; what no time will heal, and a first round that fails, ends the process.
"""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

import click
import msgspec

from auditkit.api import Trail
from auditkit.cli.failing import warn
from auditkit.cli.options import Command, CommandGroup, opened, trail_option
from auditkit.cli.output import json_line
from auditkit.errors import ClosedError, LockedError, TrailNotFoundError
from auditkit.keep.declare import foresee_policy
from auditkit.keep.maintain import maintain_often
from auditkit.keep.plan import PrunePlan
from auditkit.keep.summaries import MaintainSummary
from auditkit.retention.policy import FOR_EVER, RetentionRules, declare_policy
from auditkit.text import counted
from auditkit.timerange import US_PER_SECOND, from_us, parse_duration, parse_instant, to_us
from auditkit.trail.summaries import Stats

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

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
    _print_summary(done, as_json=as_json)


@click.command(
    "maintain",
    cls=Command,
    examples="""
auditkit maintain
auditkit maintain --now now
auditkit maintain --compact
auditkit maintain --every 1m --now now
*/15 * * * *  auditkit maintain --trail /srv/audit --now now        (in a crontab)
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
    writers do so by themselves; a trail without new events expires nothing unless --now records that time has
    passed.
    """
    if every is not None:
        if now not in (None, "now"):
            raise click.UsageError("With --every, --now takes 'now' only.")
        if compact:
            raise click.UsageError("Give --every or --compact, not both.")
        _maintain_every(trail_path, every, record_now=now is not None, as_json=as_json)
        return
    with opened(trail_path, maintain=True) as trail:
        done = trail.maintain(now=_moment(trail, now), compact=compact)
    _print_summary(done, as_json=as_json)


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
    _print_summary(done, as_json=as_json)


def _agreed(plan: PrunePlan) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError(
            "prune removes events for good: give --yes where there is no terminal to ask at."
        )
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


def _print_summary(done: Any, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(done))
    else:
        text = str(done)
        click.echo(f"{text[:1].upper()}{text[1:]}.")


def _plan_row(plan: PrunePlan) -> dict[str, Any]:
    return asdict(plan) | {"rows": plan.rows, "bytes": plan.bytes}


def _plan_text(plan: PrunePlan) -> str:
    lines = str(plan).splitlines()
    left_out = len(plan.segments) - _PLANNED
    if left_out > 0:
        lines[_PLANNED + 2 :] = [f"  and {left_out:,} segments more", *lines[len(plan.segments) + 2 :]]
    return "\n".join(lines)


def _show_stats(trail: Trail, numbers: Stats) -> None:
    from auditkit.display.terminal import print_sections  # loads rich

    about = ("trail", [("id", trail.trail_id), ("zone", trail.tz)])
    print_sections(f"{trail.name}  {trail.path}", [about, *numbers.sections()])


def _maintain_every(trail_path: Path | None, every: str, *, record_now: bool, as_json: bool) -> None:
    """Do what is due every so often (`every` is a duration such as `1m`), and print what was done."""
    seconds = _seconds(every)
    with _ended_by_signal() as ended:
        first = True
        while not ended.is_set():
            began = monotonic()
            try:
                done = _round(trail_path, record_now=record_now)
            except (ClosedError, LockedError, OSError) as exc:
                if first or isinstance(exc, TrailNotFoundError):
                    raise
                warn(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}: {exc}; trying again in {every}")
            else:
                if done.did_something:
                    _print_summary(done, as_json=as_json)
            first = False
            ended.wait(max(0.0, seconds - (monotonic() - began)))


def _round(trail_path: Path | None, *, record_now: bool) -> MaintainSummary:
    with opened(trail_path, maintain=True) as trail:
        return maintain_often(trail.handle, now=trail.now() if record_now else None)


def _seconds(every: str) -> float:
    pause_us = parse_duration(every, name="every").after(0)
    if pause_us < US_PER_SECOND:
        raise click.UsageError(f"--every expects a second or more (found {every!r}).")
    return pause_us / US_PER_SECOND


@contextmanager
def _ended_by_signal() -> Iterator[threading.Event]:
    """Yield what the first SIGTERM or Ctrl-C sets; the second acts as it would without us."""
    ended = threading.Event()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    for number in _SIGNALS:
        signal.signal(number, end)
    try:
        yield ended
    finally:
        restore()


@click.group(
    "policy",
    cls=CommandGroup,
    alone="show",
    examples="""
auditkit policy
auditkit policy set 90d
""",
)
def policy() -> None:
    """Show how long events are kept, and decide it anew; alone it is `policy show`.

    An event is kept while it is no older than the policy says, counted back from the trail's horizon: the newest of its
    events, but for those more than 36 hours ahead of the others, or a moment that `auditkit prune --now` recorded.
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
        from auditkit.display.terminal import print_sections  # loads rich

        rows = [section for section in numbers.sections() if section[0] == "retention"]
        print_sections(f"{trail.name}  {trail.path}", rows)


@policy.command(
    "set",
    short_help="Decide how long events are kept from now on.",
    examples="""
auditkit policy set 90d
auditkit policy set 7y
auditkit policy set forever
auditkit policy set 'auth.*=7y' 'debug.*=7d' '*=90d'
auditkit policy set 30d --yes
""",
)
@click.argument("retention", metavar="DURATION|RULE...", nargs=-1, required=True)
@trail_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask where events would expire.")
@_json_option
def set_(retention: tuple[str, ...], trail_path: Path | None, yes: bool, as_json: bool) -> None:  # noqa: FBT001
    """Keep events for DURATION (90d, 18mo, 7y, or `forever`) from now on, or by RULEs.  The trail records that as an event.

    A RULE is PATTERN=DURATION for actions that match; the first one that matches an event counts, and without one it is kept
    for ever.

    Where events expire by it, it asks first: no question shows them any more, and the next prune removes them for good.
    A longer policy brings back what was not pruned yet.
    """
    rules = _rules(retention)
    with opened(trail_path) as trail:
        before = trail.view.snapshot().policy
        expiring = foresee_policy(trail.handle, declare_policy(rules)).expiring
        if expiring and not yes:
            _ask(expiring)
        after = trail.set_retention(rules, confirm=True)
    if as_json:
        click.echo(json_line({"policy": str(after), "before": str(before), "expired": expiring}), nl=False)
        return
    click.echo(f"From now on: {after} (before: {before}).")
    if expiring:
        click.echo(
            f"{counted(expiring, 'event').capitalize()} expired by that; `auditkit prune` removes them."
        )


def _rules(given: Sequence[str]) -> RetentionRules:
    """Return a policy as the command line has it: a duration, or PATTERN=DURATION for patterns of actions."""
    if len(given) == 1 and "=" not in given[0]:
        return None if given[0] == FOR_EVER else given[0]
    rules = [rule.rpartition("=") for rule in given]
    if not all(pattern and keep for pattern, _, keep in rules):
        raise click.UsageError("Give one DURATION, or rules such as 'auth.*=7y' 'debug.*=7d' '*=90d'.")
    return [({"action": pattern}, None if keep == FOR_EVER else keep) for pattern, _, keep in rules]


def _ask(expiring: int) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{counted(expiring, 'event')} would expire: give --yes where there is no terminal to ask at."
        )
    if not click.confirm(f"Let {counted(expiring, 'event')} expire?", err=True):
        click.echo("The policy stays as it is.")
        raise click.exceptions.Exit(1)
