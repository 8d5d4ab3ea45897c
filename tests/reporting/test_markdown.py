"""Markdown, foreign HTML and code: what is left of them can only be read."""

import re

import pytest

from auditkit.reporting.markdown import clean, emitted, highlighted, written
from tests.reporting.material import PAYLOADS, elements

READABLE = {
    "a",
    "b",
    "blockquote",
    "br",
    "code",
    "del",
    "div",
    "em",
    "h2",
    "h3",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_active_is_left(payload: str) -> None:
    """No payload keeps an element that acts or an attribute but a link's, whichever way it comes in."""
    for html in (clean(payload, links=True), clean(payload, links=False), written(payload), emitted(payload)):
        for name, attributes in elements(html):
            assert name in READABLE
            assert attributes.keys() <= ({"rel", "href", "title"} if name == "a" else set())
            assert "javascript" not in attributes.get("href", "")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_output_markdown_shows_markup(payload: str) -> None:
    """Markdown that code put out shows what it was given, markup included, and links to nothing."""
    html = emitted(payload)
    assert "<a" not in html
    for tag in re.findall(r"<(\w+)[ >]", payload):
        assert f"&lt;{tag}" in html or f"&lt;/{tag}" in html


def test_an_author_may_link() -> None:
    """A markdown cell keeps links to web and mail, told to pass nothing on, and no other."""
    html = written(
        "[a](https://example.org) [b](mailto:a@example.org) [c](javascript:alert(1)) [d](file:///etc) [e](/x)"
    )
    assert re.findall(r'href="([^"]*)"', html) == ["https://example.org", "mailto:a@example.org"]
    assert html.count('rel="noopener noreferrer nofollow"') >= 2


def test_structure_of_markdown_is_kept() -> None:
    """Headings, lists and tables stay; a first heading becomes a second, as the page has its own title."""
    html = written("# Title\n\n- one\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert "<h2>Title</h2>" in html
    assert "<li>one</li>" in html
    assert "<td>1</td>" in html


def test_unseen_characters_are_written_out() -> None:
    """Direction overrides and zero-width characters are shown by name, also where HTML wrote them as references."""
    assert "&lt;U+202E&gt;" in clean("a&#x202e;b", links=False)
    assert "&lt;U+200B&gt;" in emitted("a\u200bb")
    assert "&lt;U+202E&gt;" in highlighted("x = 'a\u202eb'", "python")


def test_code_is_escaped_and_marked() -> None:
    """Code is escaped, its words are marked, and a language that nobody knows is text."""
    assert '<span class="k">' in highlighted("if x < 1: pass", "python")
    assert "<script>" not in highlighted("'<script>'", "python")
    assert highlighted("<b>", "no such language").strip() == "&lt;b&gt;"
