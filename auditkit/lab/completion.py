"""What Tab offers inside the calls of a trail: columns, the paths and values that occur, times; and of objects their public names.

Names are looked up, and of the calls before them only `at` is understood: nothing of the notebook's is called.  What occurs is taken
from the latest events, and from all where that is quick.  Values become what Python reads as themselves, invisible characters escaped,
and stars too where they would be wildcards.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any
from zoneinfo import available_timezones

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)
from IPython.core.interactiveshell import InteractiveShell
from msgspec import Struct

from auditkit.api import Trail
from auditkit.ask.occurring import occurring, occurring_paths
from auditkit.errors import AuditError
from auditkit.lab.cursor import Item, Key, Quoted, Spot, attribute_before, read_spot
from auditkit.where import IS, NOT, PREFIX, TEXT, attr, escape_glob

MATCHER = "auditkit"
MOST_COUNTED = 10_000_000
FEW = 500
"""Of a trail of so many events, of which the latest have so few values of a key, all are looked at."""
MOST_OFFERED = 200
MAGIC = ("on", "off", "status", "--trail", "--source")
_LENGTHS = ("1m", "5m", "15m", "1h", "6h", "1d", "1w", "1mo")
_BACK = ("-15m", "-1h", "-1d", "-7d", "-30d", "today", "yesterday")
_WORD = re.compile(r"[\w.%-]*\Z")
_ALL = {"start": None, "end": None, "own": False, "tz": None}
"""The window of all events."""
_NEW = Quoted(prefix="", quote='"', start=0)


class Literal(Struct, frozen=True):
    """What stands for itself: a number, or a boolean."""

    text: str


Offer = str | Literal
"""What may stand at the cursor; a text, unless it says otherwise."""


def make_matcher(shell: InteractiveShell) -> Any:
    """Return the matcher of a shell's completer."""

    @context_matcher(identifier=MATCHER, priority=1000)  # type: ignore[untyped-decorator]
    def auditkit_matcher(context: CompletionContext) -> SimpleMatcherResult:
        typed, found, kind = _offered(shell.user_ns, context)
        completions = [SimpleCompletion(text=text, type=kind) for text in found[:MOST_OFFERED]]
        return {
            "completions": completions,
            "matched_fragment": typed,
            "suppress": bool(found),
            "ordered": True,
        }

    return auditkit_matcher


def _offered(space: Mapping[str, Any], context: CompletionContext) -> tuple[str, list[str], str]:
    """Return what is typed at the cursor, what may stand there instead, and what that is."""
    lines = context.full_text.split("\n")
    before = "\n".join([*lines[: context.cursor_line], context.text_until_cursor])
    try:
        if before.lstrip().startswith(("%audit", "%%audit")):
            return _of_magic(space, before.lstrip())
        if spot := read_spot(before):
            return _of_spot(space, spot)
        if (named := attribute_before(before)) and not named[1].startswith("_"):
            names = _public(_value(space, named[0]))
            return named[1], [name for name in names if name.startswith(named[1])], "function"
    except (AuditError, OSError, ValueError):  # a trail that does not answer offers nothing
        pass
    return "", [], ""


def _of_magic(space: Mapping[str, Any], before: str) -> tuple[str, list[str], str]:
    """Return what may stand in a line of `%audit`, or in the query of a cell of `%%audit`."""
    typed = _WORD.findall(before)[0]
    line, newline, _ = before.partition("\n")
    trails = {name: value for name, value in space.items() if isinstance(value, Trail)}
    if newline:
        asked = re.search(r"--trail[ =]+(\S+)", line)
        trail = trails.get(asked[1] if asked else "trail")
        names = ["events", *(trail.schema if trail else ())]
    elif re.search(r"--trail[ =]+\S*\Z", line):
        names = sorted(trails)
    else:
        names = ["--trail", "--out"] if line.startswith("%%") else [*MAGIC]
    return typed, [name for name in names if name.startswith(typed) and name != typed], "magic"


def _of_spot(space: Mapping[str, Any], spot: Spot) -> tuple[str, list[str], str]:
    """Return what may stand in an argument of a call."""
    offers = _offers(space, spot)
    if spot.quoted is None:
        return (
            "",
            [offer.text if isinstance(offer, Literal) else f'"{_inside(offer, _NEW)}"' for offer in offers],
            "value",
        )
    if "\n" in spot.typed or set(spot.quoted.prefix.lower()) - {"r", "u"}:
        return "", [], ""
    bodies = [_inside(offer, spot.quoted) for offer in offers if isinstance(offer, str)]
    start = spot.typed.casefold()
    return (
        spot.typed,
        [body for body in bodies if body is not None and body.casefold().startswith(start)],
        "value",
    )


def _offers(space: Mapping[str, Any], spot: Spot) -> list[Offer]:
    function = _value(space, spot.callee)
    if function is attr:
        trail = _trail_around(space, spot)
        return [*_paths(trail)] if trail and spot.argument in (0, "path") else []
    base, _, method = spot.callee.rpartition(".")
    trail = _value(space, base.strip())
    if not isinstance(trail, Trail) or method.strip() not in _public(trail):
        return []
    argument = spot.argument
    if isinstance(argument, int):
        if spot.quoted is None and not spot.steps:
            return []  # where the name of an argument may come
        places = list(inspect.signature(getattr(trail, method.strip())).parameters)
        if argument >= len(places):
            return []
        argument = places[argument]
    return list(_of_argument(trail, method.strip(), argument, spot.steps))


def _of_argument(
    trail: Trail,
    method: str,
    argument: str,
    steps: Sequence[Key | Item],
) -> Iterator[Offer]:
    """Yield what may stand in an argument of a trail's method."""
    match argument, [step.name if isinstance(step, Key) else step for step in steps]:
        case "where", [None]:
            yield from [*trail.schema, TEXT, *(f"{PREFIX}{path}" for path in _paths(trail))]
        case "where", [str(), None]:
            yield from (NOT, IS)
        case "where", [str(key), *inner]:
            is_glob = IS not in inner and (NOT in inner or Item() not in inner)
            for offer in _values(trail, key):
                yield escape_glob(offer) if is_glob and isinstance(offer, str) else offer
        case "attrs", [None]:
            yield from (path for path in _paths(trail) if "." not in path)
        case (("by" | "columns"), ([] | [Item()])):
            yield from [*trail.schema, *(f"{PREFIX}{path}" for path in _paths(trail))]
        case (("start" | "end"), []):
            yield from [*_BACK, *_days(trail)]
        case "every", []:
            yield from _LENGTHS
        case "tz", []:
            yield from ("UTC", *sorted(available_timezones()))
        case "tier", []:
            yield from ("auto", *trail.view.snapshot().tiers)
        case "name", [] if method in ("release", "tier"):
            snapshot = trail.view.snapshot()
            yield from snapshot.tiers if method == "tier" else [hold.name for hold in snapshot.expiry.holds]
        case str(name), [] if method == "append" and name in trail.schema:
            yield from _values(trail, name)


def _values(trail: Trail, key: str) -> Iterator[Offer]:
    """Yield the values of a key, the most frequent first; those inside attrs that are no text as Python writes them."""
    found = occurring(trail.view, key, _ALL, whole=False)
    if found is not None and found.height < FEW and trail.end_seq <= MOST_COUNTED:
        found = occurring(trail.view, key, _ALL)
    if found is None:
        return
    for text, is_text in found.select("text", "string").iter_rows():
        if is_text:
            yield text
        elif not text.startswith(("{", "[")):
            yield Literal({"true": "True", "false": "False"}.get(text, text))


def _paths(trail: Trail) -> list[str]:
    return occurring_paths(trail.view, _ALL)


def _days(trail: Trail) -> list[str]:
    """Return the last day with an event, the first one, and the one behind the last."""
    ends = [trail.range(columns=["ts"], limit=1, descending=last)["ts"].to_list() for last in (True, False)]
    days = [ts.date() for found in ends for ts in found]
    return [str(day) for day in dict.fromkeys([*days, *(day + timedelta(days=1) for day in days[:1])])]


def _trail_around(space: Mapping[str, Any], spot: Spot) -> Trail | None:
    """Return the trail that one of the calls around a spot asks, else the notebook's `trail`."""
    around: Spot | None = spot.outer
    while around is not None:
        for node in ast.walk(_parsed(around.callee)):
            if isinstance(node, ast.expr) and isinstance(trail := _looked_up(space, node), Trail):
                return trail
        around = around.outer
    return trail if isinstance(trail := space.get("trail"), Trail) else None


def _value(space: Mapping[str, Any], expression: str) -> Any:
    """Return what an expression of names means, without calling anything; None for what is not known."""
    return _looked_up(space, _parsed(expression))


def _parsed(expression: str) -> ast.expr:
    try:
        return ast.parse(f"({expression})", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ast.Constant(None)


def _looked_up(space: Mapping[str, Any], node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name):
            return space.get(name)
        case ast.Attribute(value=inner, attr=name):
            owner = _looked_up(space, inner)
            return getattr(owner, name, None) if _is_ours(owner) else getattr(owner, "__dict__", {}).get(name)
        case ast.Subscript(value=inner, slice=ast.Constant(value=key)):
            owner = _looked_up(space, inner)
            return owner[key] if type(owner) is dict and key in owner else None
        case ast.Call(func=ast.Attribute(value=inner, attr="at")):
            return _looked_up(space, inner)
    return None


def _is_ours(value: object) -> bool:
    return isinstance(value, ModuleType) and value.__name__.partition(".")[0] == "auditkit"


def _public(value: object) -> list[str]:
    """Return the public names of a trail or a module of auditkit; none of anything else."""
    if not isinstance(value, Trail) and not _is_ours(value):
        return []
    return [name for name in getattr(value, "__all__", dir(value)) if not name.startswith("_")]


def _inside(text: str, quoted: Quoted) -> str | None:
    """Return what Python reads as this text inside these quotes; None where there is no such."""
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in text.replace("\\", "\\\\")
    )
    shown = shown.replace(quoted.quote[0], f"\\{quoted.quote[0]}")
    return None if "r" in quoted.prefix.lower() and shown != text else shown
