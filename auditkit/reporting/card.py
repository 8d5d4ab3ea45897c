"""How the first screen looks inside JupyterLab: a small piece of HTML without style sheet or script."""

from collections.abc import Sequence
from html import escape

from auditkit.reporting.facts import Facts
from auditkit.reporting.screen import STATED, integrity_rows, population_rows, scope_rows
from auditkit.text import visible

_MUTED = "color: var(--jp-ui-font-color2, #5b6573)"
_CELL = "padding: 2px 16px 2px 0; text-align: left; vertical-align: top; background: none; border: 0"
_NUMBER = "padding: 2px 16px 2px 0; text-align: right; vertical-align: top; background: none; border: 0"


def card(facts: Facts) -> str:
    """Return the first screen as HTML in which everything from outside is escaped text."""
    population = "".join(
        f'<tr><td style="{_CELL}{"; font-weight: 600" if row.kind == "sum" else ""}">{escape(row.name)}</td>'
        f'<td style="{_NUMBER}">{escape(row.count)}</td><td style="{_CELL}; {_MUTED}">{escape(row.why)}</td></tr>'
        for row in population_rows(facts)
    )
    sentences = "".join(f"<li>{escape(visible(sentence))}</li>" for sentence in facts.summary)
    return (
        '<div style="max-width: 60em; line-height: 1.45">'
        f'<div style="font-size: 1.6em; font-weight: 600; line-height: 1.25">{escape(visible(facts.title))}</div>'
        f'<div style="font-size: 1.1em; margin: 0.4em 0 1em">{escape(visible(facts.answer))}</div>'
        f"{_pairs(scope_rows(facts))}"
        f'<table style="margin: 0 0 1em">{population}</table>'
        f"{_pairs(integrity_rows(facts))}"
        f'<div style="{_MUTED}">{escape(STATED)}</div>'
        f'<ul style="margin: 1em 0 0; padding-left: 1.2em">{sentences}</ul></div>'
    )


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f'<tr><td style="{_CELL}; {_MUTED}">{escape(name)}</td><td style="{_CELL}">{escape(words)}</td></tr>'
        for name, words in rows
    )
    return f'<table style="margin: 0 0 1em">{cells}</table>'
