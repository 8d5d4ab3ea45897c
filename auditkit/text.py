"""Text from events, made safe to look at: what a reader sees is what is stored, and nothing acts.

Event content is hostile.  A control character can move a terminal's cursor, a bidirectional override can make
`gpj.exe` look like `exe.jpg`, a zero-width space makes two different actors look the same.  Such characters are
replaced by visible names; everything else, markup included, stays as it is.  Escaping for HTML or for a
terminal remains the caller's job.
"""

import difflib
import re
from collections.abc import Iterable
from datetime import datetime

LABEL_CHARACTERS = 80
"""No label, in a drawing, its legend or a sentence, has more characters."""
MISSING = "(none)"
"""How a null is shown."""

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
"""Characters without a look of their own: controls, separators, surrogates, Unicode's Default_Ignorable_Code_Point, the blank of Braille."""
_RESERVED = re.compile(r"\(none\)|\(\d+ others?\)|\".*\"|\s.*|.*\s|")
_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def visible(text: str) -> str:
    r"""Return `text` with every character that has no look of its own written out.

    Covers C0 and C1 controls, bidirectional marks, overrides and isolates, zero-width characters, fillers, variation
    selectors, line and paragraph separators, tags and lone surrogates.

    >>> visible("ann\u202egpj.exe")
    'ann<U+202E>gpj.exe'
    >>> visible("two\nlines")
    'two\\nlines'
    """
    return UNSEEN.sub(lambda found: _NAMED.get(found[0]) or f"<U+{ord(found[0]):04X}>", text)


def visible_lines(text: str) -> str:
    r"""Return `text` as `visible` does, keeping its line breaks and tabs.

    >>> visible_lines("one\r\ntwo\x1b[31m")
    'one\ntwo<U+001B>[31m'
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(visible(part) for part in line.split("\t")) for line in lines)


def label(value: object) -> str:
    """Return a value as one line of visible text; nothing that is stored looks like null or like `others`.

    >>> [label(None), label(""), label("(none)"), label("ann")]
    ['(none)', '""', '"(none)"', 'ann']
    """
    if value is None:
        return MISSING
    text = visible(str(value))
    return f'"{text}"' if _RESERVED.fullmatch(text) else text


def short_label(value: object) -> str:
    """Return `label`, of a long one both ends: at most `LABEL_CHARACTERS`.

    >>> short_label("a" * 50 + "b" * 50)
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'
    """
    text, half = label(value), LABEL_CHARACTERS // 2
    return text if len(text) <= LABEL_CHARACTERS else f"{text[:half]}\u2026{text[1 - half :]}"


def others(count: int) -> str:
    """Return the label of what is shown in one sum.

    >>> others(1), others(29)
    ('(1 other)', '(29 others)')
    """
    return f"({count} other{'' if count == 1 else 's'})"


def number(value: float) -> str:
    """Return a float with at most three decimals, or in scientific form where that would hide it.

    >>> number(1234.5), number(3.0), number(0.00012), number(1e20)
    ('1,234.5', '3', '0.00012', '1e+20')
    """
    if value and not 0.001 <= abs(value) < 1e15:
        return f"{value:.4g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def size(count: int) -> str:
    """Return a number of bytes.

    >>> size(512), size(20_480), size(5_300_000)
    ('512 B', '20.5 kB', '5.3 MB')
    """
    scaled, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if scaled < 1000:
            break
        scaled, unit = scaled / 1000, larger
    return f"{count} B" if unit == "B" else f"{scaled:.1f} {unit}"


def ago(seconds: float) -> str:
    """Return a length of time in its largest unit.

    >>> ago(0.2), ago(75), ago(200_000)
    ('0 s', '1 min', '2 days')
    """
    for length, unit in ((86_400, "day"), (3600, "h"), (60, "min")):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if unit == 'day' and count != 1 else ''}"
    return f"{int(seconds)} s"


def minute(value: datetime | None, *, missing: str = "none") -> str:
    """Return one time to the minute, with its zone; `missing` for none."""
    return missing if value is None else f"{value:%Y-%m-%d %H:%M} {value.tzname() or 'UTC'}"


def counted(count: int, what: str, plural: str | None = None) -> str:
    """Return a number of things.

    >>> counted(1, "event"), counted(1200, "event"), counted(2, "delivery", "deliveries")
    ('1 event', '1,200 events', '2 deliveries')
    """
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def nearest(word: object, known: Iterable[object], *, n: int = 1) -> list[str]:
    """Return the nearest of the words that are known, in any case; none where none is near.

    >>> nearest("Failed", ["success", "failure"])
    ['failure']
    """
    names = {str(name).casefold(): str(name) for name in known}
    return [
        names[near] for near in difflib.get_close_matches(str(word).casefold()[:LABEL_CHARACTERS], names, n=n)
    ]


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """Return a question for the nearest of the words that are known; nothing where none is near.

    >>> did_you_mean("actr", ["ts", "actor", "action"]), did_you_mean("Actor", ["actor"]), did_you_mean("x", ["actor"])
    ("; did you mean 'actor'?", "; did you mean 'actor'?", '')
    """
    near = nearest(word, known)
    return f"; did you mean {near[0]!r}?" if near else ""
