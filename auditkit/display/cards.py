"""Figures as a small card: HTML in a notebook and a report, a table in a terminal.

The rooms that have the figures put them in words; here is only how they look.  Words may come from events: they become visible
text, escaped for HTML, and are never markup.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import msgspec

from auditkit.text import visible

MIME = "application/vnd.auditkit.card+json"
VERSION = 1

Section = tuple[str, Sequence[tuple[str, str]]]
"""A heading, and names with their values."""

LITERAL = 'class="tex2jax_ignore mathjax_ignore"'
"""What HTML for notebooks has on its outermost elements: MathJax would take `$…$` in an event's text for a formula, and set it."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_MUTED = "color: var(--jp-ui-font-color2, #5b6573)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A title, sections of names and values in words, and a spark line where `spark` has counts."""

    title: str
    sections: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    spark: tuple[int, ...] = ()
    spark_note: str = ""
    version: int = VERSION

    def __str__(self) -> str:
        return "\n".join(f"{heading}{name}{value}" for heading, name, value in self._lines())

    def __rich__(self) -> Any:
        from rich.text import Text  # only where rich shows it

        text = Text(no_wrap=True)
        for number, (heading, name, value) in enumerate(self._lines()):
            text.append("\n" if number else "")
            text.append(heading, style="bold cyan").append(name, style="dim").append(value, style="default")
        return text

    def bundle(self, plain: str | None = None) -> dict[str, Any]:
        """Return what a notebook keeps and shows: the words, HTML, and text (`plain`, or the card as a table)."""
        return {MIME: msgspec.to_builtins(self), "text/html": _html(self), "text/plain": plain or str(self)}

    def _lines(self) -> list[tuple[str, str, str]]:
        """Return heading, name and value of each line, padded into columns."""
        sections: list[Section] = list(self.sections)
        if self.spark:
            sections.append(("activity", [("counts", f"{spark_text(self.spark)}  {self.spark_note}")]))
        heading_width = max((len(heading) for heading, _ in sections), default=0) + 2
        name_width = max((len(name) for _, rows in sections for name, _ in rows), default=0) + 2
        return [
            (
                visible(heading if number == 0 else "").ljust(heading_width),
                visible(name).ljust(name_width),
                visible(value),
            )
            for heading, rows in sections
            for number, (name, value) in enumerate(rows)
        ]


def make_card(
    title: str, sections: Sequence[Section], *, spark: Sequence[int] = (), spark_note: str = ""
) -> Card:
    """Return a card of sections.

    >>> print(make_card("Queue", [("queue", [("waiting", "3 events"), ("next seq", "7")])]))
    queue  waiting   3 events
           next seq  7
    """
    kept = tuple((heading, tuple(rows)) for heading, rows in sections)
    return Card(title=title, sections=kept, spark=tuple(spark), spark_note=spark_note)


def read_card(data: object) -> Card | None:
    """Return the card in a notebook's output, or None where it is not what this version writes."""
    try:
        card = msgspec.convert(data, Card)
    except msgspec.ValidationError:
        return None
    return card if card.version == VERSION and all(count >= 0 for count in card.spark) else None


def spark_text(counts: Sequence[int]) -> str:
    """Return counts as a line of block characters; only none at all is empty.

    >>> spark_text([0, 1, 50, 100])
    ' ▁▄█'
    """
    most = max(counts, default=0)
    return "".join(" " if not count else _BLOCKS[(count * 8 - 1) // most] for count in counts)


def spark_svg(counts: Sequence[int]) -> str:
    """Return counts as bars of one `<svg>` in the colour of the text around it; numbers only go into it."""
    most, width = max(max(counts, default=0), 1), max(len(counts), 1)
    bars = "".join(
        f'<rect x="{at * 4}" y="{28 - height:g}" width="3" height="{height:g}"/>'
        for at, count in enumerate(counts)
        if (height := round(max(28 * count / most, 1), 2) if count else 0)
    )
    return (
        f'<svg viewBox="0 0 {width * 4} 28" width="288" height="28" preserveAspectRatio="none" '
        f'fill="currentColor" aria-hidden="true">{bars}</svg>'
    )


def _html(card: Card) -> str:
    """Return the card as JupyterLab shows it: no style sheet, no script, no class."""
    body = "".join(_section(heading, rows) for heading, rows in card.sections)
    spark = ""
    if card.spark:
        # Characters and not a drawing: JupyterLab takes drawings out of notebooks that it does not trust.
        bars = (
            f'<div style="white-space: pre; color: #0072b2; line-height: 1.2">{spark_text(card.spark)}</div>'
        )
        note = f'<div style="{_MUTED}; font-size: 0.85em">{escape(visible(card.spark_note))}</div>'
        spark = f'<div style="margin-top: 0.6em">{bars}{note}</div>'
    return (
        f'<div {LITERAL} style="display: inline-block; border: 1px solid var(--jp-border-color2, #dde3e9); border-radius: 6px; '
        'padding: 0.7em 1em; line-height: 1.45">'
        f'<div style="font-weight: 600; font-size: 1.1em">{escape(visible(card.title))}</div>'
        f"{body}{spark}</div>"
    )


def _section(heading: str, rows: Sequence[tuple[str, str]]) -> str:
    return (
        '<div style="display: grid; grid-template-columns: 8em 9em auto; margin-top: 0.4em">'
        f"{''.join(_cells(heading, rows))}</div>"
    )


def _cells(heading: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    for number, (name, value) in enumerate(rows):
        yield f'<div style="font-weight: 600">{escape(visible(heading)) if number == 0 else ""}</div>'
        yield f'<div style="{_MUTED}">{escape(visible(name))}</div><div>{escape(visible(value))}</div>'
