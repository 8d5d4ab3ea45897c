"""Text from events, made safe to look at: what a reader sees is what is stored, and nothing acts.

Event content is hostile.  A control character can move a terminal's cursor, a bidirectional override can make
`gpj.exe` look like `exe.jpg`, a zero-width space makes two different actors look the same.  Such characters are
replaced by visible names; everything else, markup included, stays as it is.  Escaping for HTML or for a
terminal remains the caller's job.
"""

import re

MISSING = "(none)"
"""How a null is shown."""

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters without a look of their own."""
_RESERVED = re.compile(r"\(none\)|\(\d+ others?\)|\".*\"|\s.*|.*\s|")
_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def visible(text: str) -> str:
    r"""Return `text` with every character that has no look of its own written out.

    Covers C0 and C1 controls, bidirectional marks, overrides and isolates, zero-width characters, line and
    paragraph separators, tags and lone surrogates.

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


def others(count: int) -> str:
    """Return the label of what is shown in one sum.

    >>> others(1), others(29)
    ('(1 other)', '(29 others)')
    """
    return f"({count} other{'' if count == 1 else 's'})"
