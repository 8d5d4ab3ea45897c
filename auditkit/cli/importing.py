"""The command that imports files of records."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import IO

import click
import polars as pl

from auditkit.api import Trail
from auditkit.cli.failing import warn
from auditkit.cli.options import Command, opened, read_pairs, trail_option
from auditkit.cli.output import json_line, show_events
from auditkit.sources.importer import ImportSummary, Tally, foresee, import_records, preview
from auditkit.sources.mapping import EventMap, plan_mapping
from auditkit.sources.readers import FORMATS, Format, Input, ReadOptions, guess_format, open_input
from auditkit.text import counted, minute, visible

_FLUSH_AT = 10_000
_PREVIEWED = 10_000


@click.command(
    "import",
    cls=Command,
    examples="""
auditkit import events.jsonl.gz --map ts=time --map actor=user.name --map action=event
auditkit import cloudtrail.jsonl --map ts=eventTime --map action=eventName --map id=eventID \\
                --map actor=userIdentity.arn --map actor=userIdentity.type \\
                --map outcome=errorCode --set outcome=success --set source=cloudtrail
auditkit import orders.csv --map ts=booked --ts-format "%d.%m.%Y %H:%M" --tz Europe/Berlin \\
                --set action=order
auditkit import app.parquet --map ts=time_ms --ts-format ms --dry-run
journalctl -o json | auditkit import - --map ts=__REALTIME_TIMESTAMP --ts-format us \\
                                       --map action=MESSAGE --map actor=_UID --set source=journal
""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@trail_option
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="FIELD=PATH",
    help="Take a field from this key of the record (dots lead inside, numbers into arrays); repeat a field for "
    "paths to try in turn.  A field that is not mapped takes the key of its own name (but never id).",
)
@click.option(
    "--set", "constants", multiple=True, metavar="FIELD=TEXT", help="A field's value where no path finds one."
)
@click.option("--tz", metavar="ZONE", help="Zone of times that name none; without it they are dead letters.")
@click.option(
    "--ts-format",
    default="iso",
    show_default=True,
    metavar="FORMAT",
    help="iso, a unit of numbers since 1970 (s, ms, us, ns), or a pattern such as '%d/%b/%Y:%H:%M:%S %z'.",
)
@click.option("--format", "kind", type=click.Choice(FORMATS), help="What the file is [default: by its name].")
@click.option("--delimiter", metavar="CHAR", help="Of a CSV [default: a comma, a tab for .tsv].")
@click.option("--dry-run", is_flag=True, help="Show what the first records would become, and write nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask when events would expire at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def import_(
    file: Path,
    trail_path: Path | None,
    maps: Sequence[str],
    constants: Sequence[str],
    tz: str | None,
    ts_format: str,
    kind: Format | None,
    delimiter: str | None,
    dry_run: bool,  # noqa: FBT001 -- click passes options by name
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Import JSON lines, CSV or Parquet (.gz too); FILE - reads standard input.

    Every record becomes an event that keeps the whole record in its attrs, or a dead letter with line number, field and
    reason.  A record without a time of its own is a dead letter.  What is imported is durable; an import that is
    stopped says how far it came.
    """
    from_stdin = str(file) == "-"
    kind = kind or ("json" if from_stdin else guess_format(file))
    if kind is None:
        raise click.UsageError(f"What is {file.name}?  Say --format {', '.join(FORMATS)}.")
    options = ReadOptions(delimiter=delimiter)
    source: Path | IO[bytes] = sys.stdin.buffer if from_stdin else file
    with opened(trail_path, maintain=True) as trail:
        mapping = plan_mapping(
            read_pairs("--map", maps),
            dict(read_pairs("--set", constants)),
            fields=trail.fields,
            tz=tz,
            ts_format=ts_format,
        )
        if dry_run:
            with open_input(source, kind, options) as records:
                _show_preview(trail, records, mapping)
            return
        if not _look_ahead(trail, source, kind, options, mapping, yes=yes):
            click.echo("Nothing was imported.")
            raise click.exceptions.Exit(1)
        started = perf_counter()
        with open_input(source, kind, options) as records:
            summary = _import(trail, records, mapping)
        if summary.events >= _FLUSH_AT:
            trail.flush()
    _print_summary(summary, perf_counter() - started, as_json=as_json)
    if summary.dead_letters and not summary.events and not summary.duplicates:
        raise click.exceptions.Exit(1)


def _import(trail: Trail, records: Input, mapping: EventMap) -> ImportSummary:
    tally = Tally()
    try:
        with _progress("importing", records) as tick:
            return import_records(trail, records, mapping, on_progress=tick, tally=tally)
    except (Exception, KeyboardInterrupt) as exc:
        if tally.events or tally.dead_letters:
            exc.add_note(
                f"{tally.events:,} events and {tally.dead_letters:,} dead letters are in, "
                f"of the file up to about line {records.line:,}"
            )
        raise


def _look_ahead(
    trail: Trail,
    source: Path | IO[bytes],
    kind: Format,
    options: ReadOptions,
    mapping: EventMap,
    *,
    yes: bool,
) -> bool:
    """Warn of what the retention policy would expire at once, and ask at a terminal; return whether to go on."""
    if trail.retention.keep is None:
        return True
    if not isinstance(source, Path):
        warn(f"the policy is to {trail.retention}; what that expires cannot be foreseen in standard input")
        return True
    with (
        open_input(source, kind, options) as records,
        _progress("looking ahead", records) as tick,
    ):
        forecast = foresee(trail, records, mapping, on_progress=lambda at: tick(at, None))
    if forecast is None:
        return True
    warn(str(forecast))
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    return click.confirm("Import all the same?", err=True)


@contextmanager
def _progress(what: str, source: Input) -> Iterator[Callable[[Input, Tally | None], None]]:
    """Draw a progress bar on standard error while it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _at, _tally: None
        return
    from auditkit.cli.output import progress_bar

    with progress_bar(what, total=source.total, counts_bytes=source.format != "parquet") as advance:
        yield lambda at, tally: advance(at.done, _so_far(tally))


def _so_far(tally: Tally | None) -> str:
    if tally is None:
        return ""
    dead = f", {tally.dead_letters:,} dead letters" if tally.dead_letters else ""
    return f"{tally.events:,} events{dead}"


def _show_preview(trail: Trail, records: Input, mapping: EventMap) -> None:
    events, tally = preview(trail, records, mapping, limit=_PREVIEWED)
    schema = {name: kind for name, kind in trail.schema.items() if name not in ("seq", "recorded")}
    show_events(pl.DataFrame(events[:10], schema=schema), "table", tz=trail.tz, chosen=False)
    summary = tally.summary()
    total = summary.events + summary.dead_letters
    click.echo(
        f"\nOf the first {total:,} records {summary.events:,} would become events; nothing was written."
    )
    if summary.dead_letters:
        click.echo(f"{summary.dead_letters:,} would be dead letters:")
        _print_refusals(summary)


def _print_summary(summary: ImportSummary, seconds: float, *, as_json: bool) -> None:
    if as_json:
        click.echo(json_line(asdict(summary) | {"seconds": round(seconds, 3)}), nl=False)
        return
    rate = f", {summary.events / seconds:,.0f} per second" if seconds >= 1 else ""
    click.echo(f"Imported {counted(summary.events, 'event')} in {seconds:.1f} s{rate}.")
    if summary.events:
        click.echo(
            f"  from {minute(summary.first_ts)} to {minute(summary.last_ts)}, seq {summary.first_seq} and on"
        )
    if summary.duplicates:
        click.echo(
            f"  {counted(summary.duplicates, 'more record')} repeated events that the trail has, and changed nothing"
        )
    if summary.dead_letters:
        click.echo(f"{counted(summary.dead_letters, 'dead letter')}, kept with line and reason:")
        _print_refusals(summary)


def _print_refusals(summary: ImportSummary) -> None:
    for kind in summary.refusals:
        where = "" if kind.field is None else f"{kind.field}: "
        click.echo(f"  {kind.count:>9,} x {visible(where + kind.reason)} (first in line {kind.first_line:,})")
    if summary.keys and not summary.events:
        click.echo(f"The first record has the keys {', '.join(map(visible, summary.keys[:20]))}.")
