"""Commands that put events in as they happen: append (by options, or JSON lines from standard input), record."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from auditkit.api import Trail
from auditkit.cli.options import Command, opened, read_pairs, trail_option
from auditkit.errors import InvalidEventError, placed
from auditkit.queue.receipts import Receipt
from auditkit.sources.json_records import json_lines
from auditkit.sources.record import record as record_run
from auditkit.sources.records import Item, Unreadable
from auditkit.text import counted

_TEXTS = ("actor", "action", "resource", "outcome", "source", "origin", "correlation", "id")
_MEANINGS = {
    "actor": "Who did it.",
    "action": "What was done, such as doc.read.",
    "resource": "On what.",
    "outcome": "success, failure, or a word of your own.",
    "source": "The program that observed it.",
    "origin": "Where the actor came from: address, device, notebook.",
    "correlation": "What ties events together: request, session, run.",
    "id": "The producer's own key, unique within its source.",
}


def _field_options(function: Any) -> Any:
    for name in reversed(_TEXTS):
        function = click.option(f"--{name}", name, metavar="TEXT", help=_MEANINGS[name])(function)
    return function


@click.command(
    "append",
    cls=Command,
    examples="""
auditkit append --action doc.read --actor ann --resource doc/7 --attr bytes=512
auditkit append --action payment --value 12.5 --ts "2026-11-24 07:30" --tz Europe/Stockholm
auditkit append --action pay --field approved=true --attrs '{"order": {"id": 7}}'
echo '{"action": "doc.read", "actor": "ann", "bytes": 512}' | auditkit append -
tail -F app.jsonl | auditkit append - --source app
""",
)
@click.argument("stdin", metavar="[-]", required=False)
@trail_option
@_field_options
@click.option("--ts", metavar="TIME", help="When it happened, as ISO 8601 [default: now].")
@click.option("--tz", metavar="ZONE", help="Zone of a --ts (or of ts in JSON) that names none.")
@click.option("--value", type=float, metavar="NUMBER", help="The number to measure, where there is one.")
@click.option(
    "--attr", "attr_pairs", multiple=True, metavar="KEY=VALUE", help="One value of attrs, JSON or else text."
)
@click.option("--attrs", metavar="JSON", help="The whole of attrs, one JSON object, kept as it is.")
@click.option(
    "--field", "fields", multiple=True, metavar="NAME=VALUE", help="A declared field, JSON or else text."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def append(
    stdin: str | None,
    trail_path: Path | None,
    ts: str | None,
    tz: str | None,
    value: float | None,
    attr_pairs: Sequence[str],
    attrs: str | None,
    fields: Sequence[str],
    as_json: bool,  # noqa: FBT001 -- click passes options by name
    **texts: str | None,
) -> None:
    """Append one event, and print its seq once it is durable.

    With - (or without --action in a pipe), read one JSON object per line from standard input and append each as it
    comes: keys that are no field of an event go into its attrs, options give the fields that a line does not name.
    The first line that is no event ends the command; what came before it is in.
    """
    given: dict[str, Any] = {name: text for name, text in texts.items() if text is not None}
    given |= {name: _json_or_text(text) for name, text in read_pairs("--field", fields)}
    if value is not None:
        given["value"] = value
    from_stdin = stdin == "-" or (stdin is None and "action" not in given and not sys.stdin.isatty())
    if stdin not in (None, "-"):
        raise click.UsageError(f"Unexpected argument {stdin!r}; fields are options, such as --action.")
    if from_stdin and (ts is not None or attrs is not None or attr_pairs):
        raise click.UsageError("--ts, --attr and --attrs belong to one event; JSON lines bring their own.")
    if not from_stdin and "action" not in given:
        raise click.UsageError("Missing --action: every event names what was done.")
    with opened(trail_path, maintain=True) as trail:
        if from_stdin:
            first, count = _append_lines(trail, given, tz)
            if not count and stdin is None:
                raise click.UsageError("Missing --action, and no event on standard input.")
        else:
            receipt = trail.append(ts=ts, tz=tz, attrs=_attrs(attrs, attr_pairs), **given)
            first, count = receipt.wait(), 1
    if as_json:
        click.echo(msgspec.json.encode({"first": first, "count": count}))
    elif count == 1:
        click.echo(f"appended seq {first}")
    else:
        click.echo(f"appended {count:,} events" + ("" if first is None else f", from seq {first} on"))


def _append_lines(trail: Trail, defaults: dict[str, Any], tz: str | None) -> tuple[int | None, int]:
    """Append JSON lines as they come; what is not waited for is committed by the trail within a tenth of a second."""
    first: int | None = None
    receipt: Receipt | None = None
    count = 0
    try:
        for item in json_lines(sys.stdin.buffer):
            receipt = trail.extend([_event(item, defaults)], tz=tz)
            count += 1
            if first is None:
                first = receipt.wait()
    except InvalidEventError as exc:
        refused = placed(exc, None)
        refused.add_note(f"this is line {item.line}; {_settled(receipt, count)}")
        if exc.field in ("seq", "recorded"):
            refused.add_note("what `auditkit range --json` writes is read again by `auditkit import -`")
        raise refused from None
    except KeyboardInterrupt as exc:
        exc.add_note(_settled(receipt, count))
        raise
    if receipt is not None:
        receipt.wait()
    return first, count


def _settled(receipt: Receipt | None, count: int) -> str:
    """Make what was appended durable and return how much that is."""
    if receipt is not None:
        receipt.wait()
    return f"{counted(count, 'event')} before it {'is' if count == 1 else 'are'} in"


def _event(item: Item, defaults: dict[str, Any]) -> dict[str, Any]:
    if isinstance(item, Unreadable):
        raise InvalidEventError("line", item.input, item.reason)
    return {**defaults, **item.fields}


def _attrs(whole: str | None, pairs: Sequence[str]) -> dict[str, Any] | str | None:
    if whole is not None and pairs:
        raise click.UsageError("Give --attrs or --attr, not both.")
    if whole is not None:
        return whole
    return {name: _json_or_text(text) for name, text in read_pairs("--attr", pairs)} or None


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


@click.command(
    "record",
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    examples="""
auditkit record -- python script.py --its-own options
auditkit record --trail audit -- python -m compileall src
auditkit record --args -- pip list
""",
)
@trail_option
@click.option(
    "--args", "arguments", is_flag=True, help="Keep the arguments of programs too; they may hold secrets."
)
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND...", type=click.UNPROCESSED)
def record(trail_path: Path | None, arguments: bool, command: Sequence[str]) -> None:  # noqa: FBT001
    """Run a Python program and append what it sets out to do, then exit with its exit code.

    Files opened, programs started, connections made, modules imported: Python announces them before the act, so the
    outcome of each is unknown.  Programs are kept by name and number of arguments only, unless --args; the
    environment never.  Not seen: Python started with -I, -E or -S, programs that close all descriptors, and
    whatever is not Python.
    """
    with opened(trail_path, maintain=True) as trail:
        summary = record_run(trail, list(command), arguments=arguments)
    click.echo(click.style(str(summary), dim=True), err=True)
    raise click.exceptions.Exit(summary.exit_code)
