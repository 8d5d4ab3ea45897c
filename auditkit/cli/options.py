"""Options that several commands share, and the trail they lead to."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal, TypeVar

import click

from auditkit.api import Trail
from auditkit.cli.failing import warn
from auditkit.display.progress import watched
from auditkit.opening import TRAIL_VARIABLE, open_trail
from auditkit.text import did_you_mean, nearest
from auditkit.where import IS, parse_where_option

Form = Literal["table", "json", "csv"]
_F = TypeVar("_F", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose help ends in examples: the lines of `examples`, as they would be typed."""

    def __init__(self, *args: Any, examples: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        self.examples = dedent(examples).strip().splitlines()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples below the options."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"  {line}\n")


class CommandGroup(Command, click.Group):
    """Commands that belong together, under one name of the command line; that name `alone` is the one so called."""

    command_class = Command

    def __init__(self, *args: Any, alone: str, **more: Any) -> None:
        super().__init__(*args, **more)
        self.alone = alone

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take options without a command for those of the command that shows what there is."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [self.alone, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a name that is none is answered with those there are."""
        if args and args[0] not in self.commands:
            there = ", ".join(sorted(self.commands))
            raise click.UsageError(
                f"No such command {args[0]!r}{did_you_mean(args[0], self.commands)} (there are {there}).", ctx
            )
        return super().resolve_command(ctx, args)


class OneOf(click.Choice[str]):
    """One of some words; another one is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word that is meant; a misspelt one is misuse."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as exc:
            near = nearest(value, self.choices)
            if not near:
                raise
            raise click.BadParameter(
                f"{exc.message.rstrip('.')}; did you mean {near[0]!r}?", ctx, param
            ) from None


def trail_option(function: _F) -> _F:
    """Add `--trail`."""
    return click.option(
        "--trail",
        "trail_path",
        type=click.Path(path_type=Path),
        envvar=TRAIL_VARIABLE,
        show_envvar=True,
        metavar="PATH",
        help="The trail's directory.",
    )(function)


def window_options(function: _F) -> _F:
    """Add `--start`, `--end`, `--tz` and `--where`: which events are asked about."""
    for option in (
        click.option(
            "--where",
            "conditions",
            multiple=True,
            metavar="KEY=VALUE",
            help="Only events with this value; repeat for more conditions.  KEY is a column or attrs.PATH; VALUE is "
            "text (* stands for any), or JSON: a list means one of these, null means missing.  404 finds the number and "
            'the text 404, "404" in quotes the text only.  KEY!=VALUE leaves such events out; text=WORDS finds those with '
            "all of these words in resource or attrs.",
        ),
        click.option(
            "--tz", metavar="ZONE", help="Zone of days, buckets and times shown [default: the trail's]."
        ),
        click.option(
            "--end", metavar="TIME", help="Before this time (exclusive); +1d is a day after the start."
        ),
        click.option(
            "--start",
            metavar="TIME",
            help="From this time on: 2026-11-24, 2026-11-24T07:30Z, yesterday, or -7d for before now.",
        ),
    ):
        function = option(function)
    return function


def view_options(function: _F) -> _F:
    """Add `--at` and `--own`: as of when, and whether the trail's own events are shown."""
    for option in (
        click.option("--own", is_flag=True, help="Show the trail's own events (source auditkit) too."),
        click.option(
            "--at", type=click.IntRange(min=0), metavar="SEQ", help="As the trail was before this seq."
        ),
    ):
        function = option(function)
    return function


def form_options(function: _F) -> _F:
    """Add `--json` and `--csv`: how the answer is written."""
    for option in (
        click.option("--csv", "form", flag_value="csv", help="Write CSV, safe to open in a spreadsheet."),
        click.option("--json", "form", flag_value="json", help="Write JSON lines."),
        click.option("--table", "form", flag_value="table", default="table", hidden=True),
    ):
        function = option(function)
    return function


@contextmanager
def opened(
    trail_path: Path | None, *, tz: str | None = None, at: int | None = None, maintain: bool = False
) -> Iterator[Trail]:
    """Open the trail that the command names, as of `at` where given, and close it behind."""
    if trail_path is None:
        raise click.UsageError(f"No trail is named: give --trail PATH, or set {TRAIL_VARIABLE}.")
    # Polars has Ctrl-C restart what was interrupted, so that waiting for standard input would go on for ever.
    signal.siginterrupt(signal.SIGINT, True)  # noqa: FBT003 -- its only argument
    with watched(), open_trail(trail_path, tz=tz, maintain=maintain) as trail:
        yield trail if at is None else trail.at(at)
    if trail.handle.maintenance_failure is not None:
        warn(f"maintenance failed, and nothing is lost by it: {trail.handle.maintenance_failure}")


def read_conditions(given: Sequence[str]) -> dict[str, object] | None:
    """Return the mapping that `--where` options make; a key given twice is refused, but once with `=` and once with `!=`."""
    where: dict[str, object] = {}
    for text in given:
        key, value = parse_where_option(text)
        if key in where:
            one, other = (form if isinstance(form, dict) else {IS: form} for form in (where[key], value))
            if not set(one) & set(other):
                where[key] = one | other
                continue
            raise click.UsageError(
                f'--where {key} is given twice; for one of several values write \'{key}=["a", "b"]\', '
                f'for none of them \'{key}!=["a", "b"]\'.'
            )
        where[key] = value
    return where or None


def read_pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """Return `name=value` options as pairs, in order."""
    pairs = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} expects NAME=VALUE (found {text!r}).")
        pairs.append((name, value))
    return pairs
