"""Markdown, foreign HTML and code as HTML that is only to be read.

Whatever is returned here has been through nh3 or was escaped by us: no script, no style, no image, no identifier
and no class of its own, and no character that a reader cannot see.
"""

import re
from html import escape

import mistune
import nh3
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from auditkit.text import UNSEEN, visible, visible_lines

_NAMES = (
    "a b blockquote br caption code col colgroup dd del div dl dt em h2 h3 h4 h5 h6 hr i kbd li ol p pre s "
    "samp small span strong sub sup table tbody td tfoot th thead tr u ul var"
)
_TAGS = set(_NAMES.split())
_CELL = {"colspan", "rowspan", "scope", "align"}
_ATTRIBUTES = {"a": {"href", "title"}, "td": _CELL, "th": _CELL, "ol": {"start"}}
_DROPPED = {"script", "style", "title", "template", "noscript", "iframe", "object"}
_PLUGINS = ["table", "strikethrough"]
_TOP_HEADING = re.compile(r"(</?)h1(?=[\s>])", re.IGNORECASE)

_HEADING = re.compile("<h2>(.*?)</h2>", re.DOTALL)


class _Literal(mistune.HTMLRenderer):
    """Renders text that events may have got into: links and images stay text."""

    def __init__(self) -> None:
        super().__init__(escape=True)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Show the address instead of linking to it."""
        return f"{text} ({escape(title + ', ' if title else '')}{escape(url)})"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Show the address instead of loading it."""
        return self.link(text, url, title)


def written(source: str) -> Markup:
    """Return an author's markdown cell as HTML, the only kind of text that keeps its links."""
    return clean(str(mistune.create_markdown(escape=False, plugins=_PLUGINS)(source)), links=True)


def emitted(source: str) -> Markup:
    """Return markdown that code put out: structure is kept, but HTML in it is shown and no link works."""
    return clean(str(mistune.create_markdown(renderer=_Literal(), plugins=_PLUGINS)(source)), links=False)


def clean(html: str, *, links: bool) -> Markup:
    """Return HTML of which only harmless elements are left; a heading of the first level becomes a second one."""
    kept = nh3.clean(
        _TOP_HEADING.sub(r"\1h2", html),
        tags=_TAGS if links else _TAGS - {"a"},
        clean_content_tags=_DROPPED,
        attributes=_ATTRIBUTES if links else {tag: names for tag, names in _ATTRIBUTES.items() if tag != "a"},
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(UNSEEN.sub(_shown, kept))  # noqa: S704 -- cleaned in the line above


def _shown(found: re.Match[str]) -> str:
    return found[0] if found[0] in "\t\n\r" else escape(visible(found[0]))


def anchored(html: Markup, prefix: str) -> tuple[Markup, tuple[tuple[str, str], ...]]:
    """Return cleaned HTML whose second-level headings have identifiers, and these with the headings' text."""
    found: list[tuple[str, str]] = []

    def anchor(heading: re.Match[str]) -> str:
        name = f"{prefix}-{len(found)}"
        found.append((name, Markup(heading[1]).striptags()))  # noqa: S704 -- cleaned, and its tags are taken off
        return f'<h2 id="{name}">{heading[1]}</h2>'

    return Markup(_HEADING.sub(anchor, html)), tuple(found)  # noqa: S704 -- cleaned, and identifiers of ours


def highlighted(source: str, language: str) -> Markup:
    """Return code with its tokens marked; a language that Pygments does not know is shown as text."""
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    # The formatter escapes what it does not mark.
    return Markup(highlight(visible_lines(source), lexer, HtmlFormatter(nowrap=True)))  # noqa: S704
