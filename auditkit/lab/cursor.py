r"""Where in a piece of Python the cursor stands: in which argument of which call, however far the code is from complete.

Pure text: nothing is evaluated, and the text may end anywhere.

>>> spot = read_spot('trail.range("-1d", where={"actor": {"not": ["ba')
>>> spot.callee, spot.argument, spot.steps, spot.typed
('trail.range', 'where', (Key(name='actor'), Key(name='not'), Item()), 'ba')
>>> read_spot('trail.at(7).group_by(\n    ["actor", ').steps
(Item(),)
"""

import ast
import keyword
import re

from msgspec import Struct, field

_TOKEN = re.compile(
    r"""(?x) (?P<comment>\#[^\n]*) | (?P<prefix>(?<!\w)[a-zA-Z]{1,2})? (?P<quote>"{3}|'{3}|"|') | (?P<open>[\[({]) | (?P<close>[\])}])
    | (?P<comma>,) | (?P<colon>:)"""
)
_KEYWORD = re.compile(r"\s*(\w+)\s*=(?!=)")


class Key(Struct, frozen=True):
    """Inside a mapping: at the value of a key, or, without a name, at a key."""

    name: str | None


class Item(Struct, frozen=True):
    """Inside a list."""


class Quoted(Struct, frozen=True, kw_only=True):
    """A text that is open at the cursor: its prefix, its quotes, and where its content begins."""

    prefix: str
    quote: str
    start: int


class Spot(Struct, frozen=True, kw_only=True):
    """Where the cursor stands: the call, its argument by name or place, the way inwards, and what is typed of a value there."""

    callee: str
    argument: str | int
    steps: tuple[Key | Item, ...]
    quoted: Quoted | None
    typed: str
    outer: "Spot | None" = None
    """The spot in which the call itself stands."""


class _Bracket(Struct, kw_only=True):
    """An open bracket, and what came in it since the last comma."""

    kind: str
    start: int
    since: int
    commas: int = 0
    colon: int | None = None


class _Scan(Struct, kw_only=True):
    """What is open at the end of a text, and which brackets are closed before it."""

    text: str
    open: list[_Bracket] = field(default_factory=list)
    pairs: dict[int, int] = field(default_factory=dict)
    quoted: Quoted | None = None


def read_spot(text: str) -> Spot | None:
    """Return where the cursor stands behind this text; None where it is in no call, or within an expression."""
    scan = _scanned(text)
    quoted = scan.quoted
    if quoted is None:
        return _spot(scan, len(scan.open), len(text.rstrip()), None, "")
    typed = text[quoted.start :]
    return _spot(scan, len(scan.open), quoted.start - len(quoted.quote) - len(quoted.prefix), quoted, typed)


def attribute_before(text: str) -> tuple[str, str] | None:
    """Return the expression before the last dot and what is typed of the name behind it; None inside a text or elsewhere."""
    scan = _scanned(text)
    whole = _expression(scan, len(text))
    base, dot, typed = whole.rpartition(".")
    return None if scan.quoted is not None or not dot or not base else (base, typed)


def _scanned(text: str) -> _Scan:
    scan = _Scan(text=text)
    at = 0
    while token := _TOKEN.search(text, at):
        at = token.end()
        if token["comment"]:
            text = scan.text = text[: token.start()] + " " * (at - token.start()) + text[at:]
        elif token["quote"]:
            end = _end_of_text(text, at, token["quote"])
            if end is None:
                scan.quoted = Quoted(prefix=token["prefix"] or "", quote=token["quote"], start=at)
                break
            at = end
        elif token["open"]:
            scan.open.append(_Bracket(kind=token["open"], start=token.start(), since=at))
        elif token["close"] and scan.open:
            scan.pairs[token.start()] = scan.open.pop().start
        elif token["comma"] and scan.open:
            bracket = scan.open[-1]
            bracket.since, bracket.colon, bracket.commas = at, None, bracket.commas + 1
        elif token["colon"] and scan.open and scan.open[-1].colon is None:
            scan.open[-1].colon = token.start()
    return scan


def _end_of_text(text: str, start: int, quote: str) -> int | None:
    """Return where a text ends, behind its quotes or at the end of its line; None where it is still open."""
    at = start
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text.startswith(quote, at):
            return at + len(quote)
        elif text[at] == "\n" and len(quote) == 1:
            return at
        else:
            at += 1
    return None


def _spot(scan: _Scan, depth: int, end: int, quoted: Quoted | None, typed: str) -> Spot | None:
    """Return the call that `end` stands in, reading outwards from the innermost of the first `depth` brackets."""
    steps: list[Key | Item] = []
    for number in range(depth - 1, -1, -1):
        bracket = scan.open[number]
        before = scan.text[bracket.since : end]
        step = _step(scan, bracket, before)
        callee = _expression(scan, bracket.start) if bracket.kind == "(" else ""
        if callee:
            named = _KEYWORD.match(before)
            if before[named.end() if named else 0 :].strip():
                return None
            outer = _spot(scan, number, bracket.start - len(callee), None, "")
            return Spot(
                callee=callee,
                argument=named[1] if named else bracket.commas,
                steps=tuple(reversed(steps)),
                quoted=quoted,
                typed=typed,
                outer=outer,
            )
        if step is None:
            return None
        steps.append(step)
        end = bracket.start
    return None


def _step(scan: _Scan, bracket: _Bracket, before: str) -> Key | Item | None:
    """Return the step into a bracket, of which `before` is what stands there since the last comma; None into an expression."""
    if bracket.kind == "{" and bracket.colon is not None:
        name = _literal(scan.text[bracket.since : bracket.colon])
        rest = before[bracket.colon + 1 - bracket.since :]
        return None if name is None or rest.strip() else Key(name)
    if before.strip():
        return None
    if bracket.kind == "{":
        return Key(None)
    return None if _expression(scan, bracket.start) else Item()


def _literal(text: str) -> str | None:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _expression(scan: _Scan, end: int) -> str:
    """Return the expression that ends here, of names, dots, calls and subscripts."""
    text, start = scan.text, end
    while start:
        if text[start - 1].isalnum() or text[start - 1] in "_.":
            start -= 1
        elif start - 1 in scan.pairs and text[start - 1] in ")]":
            start = scan.pairs[start - 1]
        elif text[start : start + 1] == "." and text[start - 1].isspace():
            start = len(text[:start].rstrip(" \t\n\\"))
        else:
            break
    found = text[start:end].strip()
    return "" if keyword.iskeyword(found) else found
