"""Commands about dead letters: list, retry and drop."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import polars as pl

from auditkit.cli.failing import FAILED
from auditkit.cli.mapping_options import mapping_options, plan_of
from auditkit.cli.options import CommandGroup, Form, OneOf, form_options, opened, trail_option
from auditkit.cli.output import TABLE_ROWS, json_line, show_groups
from auditkit.event import UTC_MICROSECONDS
from auditkit.queue.dead_letters import DeadLetter
from auditkit.sources.mapping import EventMap
from auditkit.sources.presets import PRESETS
from auditkit.sources.records import Record
from auditkit.text import counted, visible
from auditkit.write.retry import (
    KeptLetter,
    RetrySummary,
    Revive,
    as_given,
    drop_letters,
    kept_letters,
    record_of,
    retry_letters,
)

_LETTER_COLUMNS = {
    "letter": pl.String(),
    "recorded": pl.Int64(),
    "line": pl.Int64(),
    "field": pl.String(),
    "reason": pl.String(),
    "input": pl.String(),
    "consumer": pl.String(),
    "seq": pl.Int64(),
    "file": pl.String(),
    "retried": pl.Int64(),
    "dropped": pl.Int64(),
}
_MOST_REASONS = 12


@click.group(
    "dead-letters",
    cls=CommandGroup,
    alone="list",
    examples="""
auditkit dead-letters
auditkit dead-letters retry
""",
)
def dead_letters() -> None:
    """List inputs that could not become events, as `dead-letters list` does, retry them, or drop them.

    Imports, and `extend` where it is asked to, keep what they refuse, with the reason, in the trail's folder
    dead-letters; so does `follow` with events that a consumer was given too often.
    """


@dead_letters.command(
    "list",
    short_help="List those that wait for a retry.",
    examples="""
auditkit dead-letters list
auditkit dead-letters list --all --limit 200
auditkit dead-letters list --json | jq -r .input
""",
)
@trail_option
@click.option("--all", "everything", is_flag=True, help="Also those that were retried or dropped.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N letters [default: 50 in a table]."
)
@form_options
def list_letters(trail_path: Path | None, everything: bool, limit: int | None, form: Form) -> None:  # noqa: FBT001 -- click passes options by name
    """List dead letters, oldest first: name, when it was kept, line of its file, field, reason, and the input as given.

    In JSON and CSV, `consumer` and `seq` name an event that a consumer gave up on, and `retried` and
    `dropped` the seq of the event that says so.
    """
    with opened(trail_path) as trail:
        rows = [_row(kept) for kept in kept_letters(trail.handle) if everything or not kept.is_settled]
        frame = pl.DataFrame(rows, schema=_LETTER_COLUMNS, orient="row")
        frame = frame.with_columns(pl.col("recorded").cast(UTC_MICROSECONDS))
        if form == "table":
            empty = [
                name
                for name in ("file", "consumer", "seq", "retried", "dropped")
                if frame[name].null_count() == frame.height
            ]
            show_groups(frame.drop(empty), form, tz=trail.tz, rows=limit or TABLE_ROWS, each="dead letter")
        else:
            show_groups(frame if limit is None else frame.head(limit), form, tz=trail.tz)


@dead_letters.command(
    "retry",
    short_help="Append those that are events by now.",
    examples="""
auditkit dead-letters retry --dry-run
auditkit dead-letters retry 2026-11-24:17 2026-11-24:18
auditkit dead-letters retry --map ts=time --ts-format s --set action=order
auditkit dead-letters retry --tz Europe/Berlin
""",
)
@click.argument("names", metavar="[LETTER]...", nargs=-1)
@trail_option
@mapping_options
@click.option("--preset", type=OneOf(list(PRESETS)), metavar="NAME", help="A preset, as in import.")
@click.option("--dry-run", is_flag=True, help="Show what would become of each, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def retry(
    names: Sequence[str],
    trail_path: Path | None,
    preset: str | None,
    dry_run: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    **mapping: Any,
) -> None:
    """Try dead letters again (all that wait, or those named), and append what is an event now.

    Without options of a mapping an input is read as `extend` reads a row: keys that are no field go into attrs, and one
    without a ts happened when the letter was kept.  With any of them it is read as `import` reads a record: all of it
    becomes attrs, and it needs a ts.

    A letter becomes an event once, however often this is run; the trail's own event dead-letters.retried names it.
    Letters stay where they are.  Events that a consumer gave up on are in the trail already, and are left alone.
    """
    mapped = preset is not None or any(mapping[name] for name in mapping if name != "on_ambiguous")
    with opened(trail_path, maintain=True) as trail:
        revive: Revive = as_given
        if mapped:
            plan = plan_of(trail, **mapping)
            revive = partial(_as_record, plan.mapping(None if preset is None else PRESETS[preset]))
        summary = retry_letters(trail.handle, revive, names=set(names) or None, dry_run=dry_run)
    if as_json:
        click.echo(json_line(asdict(summary)), nl=False)
    else:
        for line in _summary_lines(summary, dry_run=dry_run):
            click.echo(line)
    if summary.still_dead and not summary.events:
        raise click.exceptions.Exit(FAILED)


@dead_letters.command(
    "drop",
    short_help="Record that some are not wanted.",
    examples="""
auditkit dead-letters drop 2026-11-24:17 --reason "a line of the rotation tool"
auditkit dead-letters drop --every --reason "test data of the vendor"
""",
)
@click.argument("names", metavar="[LETTER]...", nargs=-1)
@trail_option
@click.option("--every", is_flag=True, help="All that wait.")
@click.option(
    "--reason", required=True, metavar="TEXT", help="Why; it is kept with the names of the letters."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def drop(
    names: Sequence[str],
    trail_path: Path | None,
    every: bool,  # noqa: FBT001
    reason: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Record that dead letters are not wanted: they wait no longer, and are neither counted nor listed (but by --all).

    The trail's own event dead-letters.dropped names them and the reason.  What was refused can be read until it expires
    with the longest retention.
    """
    if every == bool(names):
        raise click.UsageError("Name the letters to drop, or say --every.")
    with opened(trail_path, maintain=True) as trail:
        dropped = drop_letters(trail.handle, reason, names=set(names) or None)
    if as_json:
        click.echo(json_line({"dropped": dropped}), nl=False)
    else:
        click.echo(f"Dropped {counted(dropped, 'dead letter')}.")


def _as_record(mapping: EventMap, letter: DeadLetter) -> dict[str, Any]:
    return mapping.event(Record(letter.line or 0, record_of(letter), letter.input))


def _row(kept: KeptLetter) -> tuple[Any, ...]:
    letter = kept.letter
    return (
        kept.name,
        letter.recorded_us,
        letter.line,
        letter.field,
        _utf8(letter.reason),
        _utf8(letter.input),
        letter.consumer,
        letter.seq,
        None if letter.file is None else _utf8(letter.file),
        kept.retried,
        kept.dropped,
    )


def _utf8(text: str) -> str:
    """Return text with lone surrogates written out, which no output could carry."""
    return text.encode(errors="backslashreplace").decode()


def _summary_lines(summary: RetrySummary, *, dry_run: bool) -> Iterator[str]:
    tried = summary.events + len(summary.still_dead)
    if not tried:
        yield "No dead letter waits."
    else:
        became = "would become events" if dry_run else "became events"
        at = "" if summary.first_seq is None else f", from seq {summary.first_seq} on"
        yield f"Of {counted(tried, 'dead letter')} {summary.events:,} {became}{at}."
    if summary.duplicates:
        yield f"  {summary.duplicates:,} of them repeat events that were there, and were not stored again"
    kinds = Counter((dead.field, dead.reason) for dead in summary.still_dead)
    firsts = {(dead.field, dead.reason): dead.name for dead in reversed(summary.still_dead)}
    for kind, count in kinds.most_common(_MOST_REASONS):
        yield f"  {count:>9,} x {visible(': '.join(kind))} (first {firsts[kind]})"
    if len(kinds) > _MOST_REASONS:
        yield f"  and {counted(len(kinds) - _MOST_REASONS, 'other reason')}"
    if summary.consumers:
        yield (
            f"{counted(summary.consumers, 'event')} that a consumer gave up on: in the trail already, left alone."
        )
