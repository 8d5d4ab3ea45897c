"""Options that say which value of a record becomes which field, for all commands that read records."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args

import click

from auditkit.api import Trail
from auditkit.cli.options import OneOf, read_pairs
from auditkit.sources.conversions import DECIMAL_MARKS
from auditkit.sources.plans import ImportPlan
from auditkit.timerange import OnAmbiguous

_F = TypeVar("_F", bound=Callable[..., Any])


def mapping_options(function: _F) -> _F:
    """Add what says which value of a record becomes which field."""
    for option in (
        click.option(
            "--decimal",
            type=OneOf(DECIMAL_MARKS),
            help="Mark of decimals in numbers, the other one and spaces grouping thousands  [default: . without groups].",
        ),
        click.option(
            "--on-ambiguous",
            type=OneOf(get_args(OnAmbiguous)),
            default="first",
            show_default=True,
            help="Which pass of an hour that a zone's clocks show twice; raise makes those times, and skipped ones, dead letters.",
        ),
        click.option(
            "--ts-format",
            "ts_formats",
            multiple=True,
            metavar="FORMAT",
            help="iso, a unit of numbers since 1970 (s, ms, us, ns), or a pattern such as '%d/%b/%Y:%H:%M:%S %z'; repeat it for "
            "others to try  [default: iso].",
        ),
        click.option(
            "--tz", metavar="ZONE", help="Zone of times that name none; without it they are dead letters."
        ),
        click.option(
            "--value",
            "values",
            multiple=True,
            metavar="FIELD:FROM=TO",
            help="Write TO where a field's value is FROM (* stands for any).",
        ),
        click.option(
            "--set",
            "constants",
            multiple=True,
            metavar="FIELD=TEXT",
            help="A field's value where no path finds one.",
        ),
        click.option(
            "--map",
            "maps",
            multiple=True,
            metavar="FIELD=PATH",
            help="Take a field from this key of the record (dots lead inside, numbers into arrays); repeat a field for "
            "paths to try where one finds nothing, or what does not fit.  ts=date+time joins two.  A field that is not mapped "
            "takes the key of its own name (but never id).",
        ),
    ):
        function = option(function)
    return function


def plan_of(
    trail: Trail,
    maps: Sequence[str],
    constants: Sequence[str],
    values: Sequence[str],
    tz: str | None,
    ts_formats: Sequence[str],
    on_ambiguous: OnAmbiguous,
    decimal: str | None,
    **reading: Any,
) -> ImportPlan:
    """Return the plan that the options of a command make; what cannot be mapped is refused."""
    plan = ImportPlan(
        paths=read_pairs("--map", maps),
        constants=dict(read_pairs("--set", constants)),
        values=_read_values(values),
        fields=trail.fields,
        tz=tz,
        ts_formats=ts_formats,
        on_ambiguous=on_ambiguous,
        decimal=decimal,
        **reading,
    )
    plan.mapping()
    return plan


def _read_values(given: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return `FIELD:FROM=TO` options as what is written for which words of a field."""
    values: dict[str, dict[str, str]] = {}
    for text in given:
        name, colon, rest = text.partition(":")
        word, equals, written = rest.rpartition("=")
        if not (colon and equals and name):
            raise click.UsageError(f"--value expects FIELD:FROM=TO (found {text!r}).")
        values.setdefault(name, {})[word] = written
    return values
