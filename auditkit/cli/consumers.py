"""Commands about consumers: list and forget."""

from dataclasses import asdict
from pathlib import Path

import click
import polars as pl

from auditkit.cli.options import CommandGroup, Form, form_options, opened, trail_option
from auditkit.cli.output import show_groups
from auditkit.event import UTC_MICROSECONDS
from auditkit.follow.follower import forget_consumer

_CONSUMER_COLUMNS = {
    "name": pl.String(),
    "position": pl.Int64(),
    "lag": pl.Int64(),
    "missed": pl.Int64(),
    "given_up": pl.Int64(),
    "moved": UTC_MICROSECONDS,
}


@click.group(
    "consumers",
    cls=CommandGroup,
    alone="list",
    examples="""
auditkit consumers
auditkit consumers forget mailer
""",
)
def consumers() -> None:
    """List who follows the trail under a name, as `consumers list` does, and forget those who are gone.

    A consumer is made by following: `trail.follow("mailer")` in Python.
    """


@consumers.command(
    "list",
    short_help="List consumers and how far behind they are.",
    examples="""
auditkit consumers list
auditkit consumers list --json | jq 'select(.lag > 1000) | .name'
""",
)
@trail_option
@form_options
def list_consumers(trail_path: Path | None, form: Form) -> None:
    """List consumers: the seq each goes on from, events behind, missed and given up, and when it last moved."""
    with opened(trail_path) as trail:
        rows = [asdict(consumer) for consumer in trail.stats().consumers]
        show_groups(pl.DataFrame(rows, schema=_CONSUMER_COLUMNS), form, tz=trail.tz, each="consumer")


@consumers.command(
    "forget",
    short_help="Forget a consumer's position.",
    examples="""
auditkit consumers forget mailer
""",
)
@click.argument("name")
@trail_option
def forget(name: str, trail_path: Path | None) -> None:
    """Forget what the consumer NAME has acknowledged; it must not be following.

    Who follows under that name again is a new consumer, and begins where it says, or with the first event that is kept.
    """
    with opened(trail_path) as trail:
        position = forget_consumer(trail.handle, name)
    click.echo(f"Forgot consumer {name}, which was at seq {position.next_seq:,}.")
