"""The command that imports files of records."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import IO, NamedTuple

import click
import polars as pl

from auditkit.api import Trail
from auditkit.cli.failing import FAILED, complain, notes_of, warn
from auditkit.cli.mapping_options import mapping_options, plan_of
from auditkit.cli.options import Command, OneOf, opened, trail_option
from auditkit.cli.output import json_line, show_events
from auditkit.display.progress import BYTES, progress
from auditkit.errors import (
    AuditError,
    ClosedError,
    LockedError,
    QueueFullError,
    StorageError,
)
from auditkit.sources.forecast import foresee
from auditkit.sources.importer import import_records, known_imports, preview
from auditkit.sources.mapping import EventMap
from auditkit.sources.plans import AUTO, ImportPlan, UnknownFormatError, files_in
from auditkit.sources.presets import PRESETS
from auditkit.sources.readers import FORMATS, Format, Input
from auditkit.sources.tally import ImportSummary, Tally
from auditkit.text import counted, minute, visible
from auditkit.timerange import OnAmbiguous, in_zone

_FLUSH_AT = 10_000
_PREVIEWED = 10_000
_STOPPING = (StorageError, LockedError, QueueFullError, ClosedError)
"""What is wrong with the trail, and not with a file."""
_STDIN = "-"


@click.command(
    "import",
    cls=Command,
    examples="""
auditkit import cloudtrail/ --preset cloudtrail
auditkit import events.jsonl.gz --map ts=time --map actor=user.name --map action=event
auditkit import calls.json --records Calls --map ts=when --map outcome=error \\
                --value 'outcome:Denied*=failure' --set outcome=success --set action=call
auditkit import orders.csv --map ts=date+time --ts-format "%d.%m.%Y %H:%M" --tz Europe/Berlin \\
                --set action=order
auditkit import app.parquet --map ts=time_ms --ts-format ms --dry-run
journalctl -o json | auditkit import - --preset journald
auditkit range --trail old --json | auditkit import -
""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, allow_dash=True, path_type=Path))  # fmt: skip
@trail_option
@click.option(
    "--preset",
    type=OneOf([AUTO, *PRESETS]),
    metavar="NAME",
    help="How a known kind of file is read (auditkit presets lists them); auto finds it out, as do files for which "
    "nothing is mapped.",
)
@mapping_options
@click.option("--format", "kind", type=OneOf(FORMATS), help="What the file is [default: by its name or content].")  # fmt: skip
@click.option("--records", metavar="PATH", help="Where in a JSON document the records are, such as Records.")
@click.option("--delimiter", metavar="CHAR", help="Of a CSV [default: the one its header has most of].")
@click.option("--encoding", metavar="NAME", help="Of the text, such as cp1252 [default: UTF-8, or UTF-16 if it says so].")  # fmt: skip
@click.option("--year", type=click.IntRange(1900, 2200), metavar="YEAR", help="Of the first line of a log whose times name none.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what the first records would become, and write nothing.")
@click.option("--strict", is_flag=True, help="Exit with 1 where anything became a dead letter.")
@click.option("--again", is_flag=True, help="Import what is in already, where that was with other options.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask when events would expire at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def import_(
    files: Sequence[Path],
    trail_path: Path | None,
    preset: str | None,
    maps: Sequence[str],
    constants: Sequence[str],
    values: Sequence[str],
    tz: str | None,
    ts_formats: Sequence[str],
    on_ambiguous: OnAmbiguous,
    decimal: str | None,
    kind: Format | None,
    records: str | None,
    delimiter: str | None,
    encoding: str | None,
    year: int | None,
    dry_run: bool,  # noqa: FBT001 -- click passes options by name
    strict: bool,  # noqa: FBT001
    again: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Import JSON, CSV, Parquet, XES or the logs of known programs (.gz too); FILE may be a folder, or - for standard input.

    Every record becomes an event that keeps the whole record in its attrs, or a dead letter with line number, field and
    reason.  A record without a time of its own is a dead letter.  Each file is imported exactly once: the same file again
    adds nothing, a log that has grown adds what is new, and an import that was stopped goes on when it is run again.
    """
    with opened(trail_path, maintain=True) as trail:
        plan = plan_of(
            trail,
            maps,
            constants,
            values,
            tz,
            ts_formats,
            on_ambiguous,
            decimal,
            preset=preset,
            kind=kind,
            delimiter=_character(delimiter),
            records=records,
            encoding=encoding,
            year=year,
        )
        if dry_run:
            _show_preview(trail, _named(files)[0], plan)
            return
        if not _look_ahead(trail, files, plan, yes=yes):
            click.echo("Nothing was imported.")
            raise click.exceptions.Exit(FAILED)
        started = perf_counter()
        outcome = _import_all(trail, files, plan, again=again)
        if outcome.summary.events >= _FLUSH_AT:
            trail.flush()
    _print_summary(outcome, perf_counter() - started, as_json=as_json)
    summary = outcome.summary
    fruitless = not (summary.events or summary.duplicates or summary.known)
    if outcome.failed or (summary.dead_letters and (strict or fruitless)):
        raise click.exceptions.Exit(FAILED)


class _Outcome(NamedTuple):
    """What the import of all files came to."""

    summary: ImportSummary
    files: int
    failed: int
    passed_over: list[str]
    taken: OnAmbiguous


def _character(delimiter: str | None) -> str | None:
    """Return a delimiter as it was meant: a tab is easier to spell."""
    return {"\\t": "\t", "tab": "\t", "TAB": "\t"}.get(delimiter or "", delimiter)


def _named(files: Sequence[Path]) -> list[Path]:
    """Return the files that are meant, those in folders one by one."""
    return [path for file in files for path in ([file] if str(file) == _STDIN else files_in(file))]


def _content(file: Path) -> Path | IO[bytes]:
    return sys.stdin.buffer if str(file) == _STDIN else file


def _import_all(trail: Trail, files: Sequence[Path], plan: ImportPlan, *, again: bool) -> _Outcome:
    """Import files one after another; one of several that cannot be imported is reported, and the others are."""
    named = _named(files)
    alone = len(named) == 1
    tally, failed, passed_over = Tally(), 0, list[str]()
    known, source = known_imports(trail.handle), None
    found = Counter[str]()
    with _progress("importing", named) as tick:
        try:
            for file in named:
                try:
                    with plan.open(_content(file)) as (source, mapping, preset):
                        if preset is not None and plan.preset in (None, AUTO):
                            found[preset.name] += 1
                            if found[preset.name] == 1:
                                warn(f"{source.name} is read as {preset.title} (--preset {preset.name})")
                        import_records(
                            trail, source, mapping, known=known, again=again, on_progress=tick, tally=tally
                        )
                        for note in source.notes:
                            warn(f"{source.name}: {note}")
                except UnknownFormatError:
                    if file in files:
                        raise
                    passed_over.append(file.name)
                except (AuditError, ValueError) as exc:
                    if alone or isinstance(exc, _STOPPING):
                        raise
                    failed += 1
                    named_by = "" if str(file) in str(exc) else f"{file}: "
                    complain(f"{named_by}{exc}", *notes_of(exc))
            for name, count in found.items():
                if count > 1:
                    warn(f"{count:,} files in all were read so (--preset {name})")
        except (Exception, KeyboardInterrupt) as exc:
            if source is not None and (tally.events or tally.dead_letters):
                exc.add_note(
                    f"{counted(tally.events, 'event')} and {counted(tally.dead_letters, 'dead letter')} are in, of "
                    f"{source.name} up to about line {source.line:,}; the same command goes on from there"
                )
            raise
    return _Outcome(in_zone(tally.summary(), trail.tz), len(named), failed, passed_over, plan.on_ambiguous)


def _look_ahead(trail: Trail, files: Sequence[Path], plan: ImportPlan, *, yes: bool) -> bool:
    """Warn of what the retention policy would expire at once, and ask at a terminal; return whether to go on."""
    policy = trail.view.snapshot().policy
    if not policy.expires:
        return True
    named = _named(files)
    once = next((file for file in named if not file.is_file()), None)
    if once is not None:  # what is read once only
        name = "standard input" if str(once) == _STDIN else str(once)
        warn(f"the policy is to {policy}; what that expires cannot be foreseen in {name}")
        return True
    with _progress("looking ahead", named) as tick:
        forecast = foresee(trail, _readable(named, plan), on_progress=lambda at: tick(at, None))
    if forecast is None:
        return True
    warn(str(in_zone(forecast, trail.tz)))
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    return click.confirm("Import all the same?", err=True)


def _readable(files: Sequence[Path], plan: ImportPlan) -> Iterator[tuple[Input, EventMap]]:
    """Yield what can be read of files; what cannot be is reported when it is imported."""
    for file in files:
        try:
            with plan.open(file) as (source, mapping, _preset):
                yield source, mapping
        except (AuditError, ValueError):
            continue


@contextmanager
def _progress(what: str, files: Sequence[Path]) -> Iterator[Callable[[Input, Tally | None], None]]:
    """Show how much of the files is done."""
    total = None if _STDIN in map(str, files) else sum(file.stat().st_size for file in files)
    before = 0  # what the files before this one hold
    latest: tuple[Input | None, int] = None, 0
    with progress(what, total=total, unit=BYTES) as advance:

        def tick(at: Input, tally: Tally | None) -> None:
            nonlocal before, latest
            if latest[0] is not at:
                before += latest[1]
            latest = at, at.bytes_done
            advance(before + at.bytes_done, _so_far(tally))

        yield tick


def _so_far(tally: Tally | None) -> str:
    if tally is None:
        return ""
    dead = f", {counted(tally.dead_letters, 'dead letter')}" if tally.dead_letters else ""
    return counted(tally.events, "event") + dead


def _show_preview(trail: Trail, file: Path, plan: ImportPlan) -> None:
    with plan.open(_content(file)) as (source, mapping, preset):
        events, tally = preview(trail, source, mapping, limit=_PREVIEWED)
        if preset is not None and plan.preset in (None, AUTO):
            warn(f"{source.name} is read as {preset.title} (--preset {preset.name})")
        for note in source.notes:
            warn(f"{source.name}: {note}")
    schema = {name: kind for name, kind in trail.schema.items() if name not in ("seq", "recorded")}
    show_events(pl.DataFrame(events[:10], schema=schema), "table", tz=trail.tz, chosen=False)
    summary = tally.summary()
    total = summary.events + summary.dead_letters
    click.echo(
        f"\nOf the first {counted(total, 'record')} {summary.events:,} would become events; nothing was written."
    )
    if summary.dead_letters:
        click.echo(f"{summary.dead_letters:,} would be dead letters:")
        _print_refusals(summary)


def _print_summary(outcome: _Outcome, seconds: float, *, as_json: bool) -> None:
    summary = outcome.summary
    if as_json:
        more = {"files": outcome.files, "failed": outcome.failed, "seconds": round(seconds, 3)}
        click.echo(json_line(asdict(summary) | more), nl=False)
        return
    rate = f", {summary.events / seconds:,.0f} per second" if seconds >= 1 and summary.events else ""
    among = f" from {outcome.files:,} files" if outcome.files > 1 else ""
    click.echo(f"Imported {counted(summary.events, 'event')}{among} in {seconds:.1f} s{rate}.")
    for line in _summary_lines(outcome):
        click.echo(f"  {line}")
    if summary.dead_letters:
        lines = (
            "" if summary.dead_lines == summary.dead_letters else f" ({counted(summary.dead_lines, 'line')})"
        )
        click.echo(f"{counted(summary.dead_letters, 'dead letter')}{lines}, kept with line and reason:")
        _print_refusals(summary)


def _summary_lines(outcome: _Outcome) -> Iterator[str]:
    summary = outcome.summary
    if summary.events == 1:
        yield f"at {minute(summary.first_ts)}, seq {summary.first_seq}"
    elif summary.events:
        yield f"from {minute(summary.first_ts)} to {minute(summary.last_ts)}, seq {summary.first_seq} and on"
    if summary.known:
        yield f"{counted(summary.known, 'record')} imported before, and left alone"
    if summary.duplicates:
        yield f"{counted(summary.duplicates, 'more record')} repeated events that the trail has, and changed nothing"
    if summary.repeated:
        yield (
            f"{counted(summary.repeated, 'local time')} happened twice, when clocks went back: taken as the "
            f"{outcome.taken} pass (--on-ambiguous)"
        )
    if summary.skipped:
        yield f"{counted(summary.skipped, 'local time')} never existed, when clocks went forward: moved by as much"
    if summary.days:
        yield (
            f"{counted(summary.days, 'time')} named a day only, and became midnight "
            "(--map ts=date+time joins a time of day)"
        )
    if outcome.passed_over:
        names = ", ".join(map(visible, outcome.passed_over[:5]))
        yield f"{counted(len(outcome.passed_over), 'file')} of no known format passed over: {names}"


def _print_refusals(summary: ImportSummary) -> None:
    for kind in summary.refusals:
        where = "" if kind.field is None else f"{kind.field}: "
        hint = "" if kind.hint is None else f"; {kind.hint}"
        click.echo(
            f"  {kind.count:>9,} x {visible(where + kind.reason + hint)} (first in line {kind.first_line:,})"
        )
