"""How the first screen looks inside JupyterLab: a small piece of HTML without style sheet or script."""

from html import escape

from auditkit.reporting.facts import STATED, Facts

_MUTED = "color: var(--jp-ui-font-color2, #5b6573)"
_CELL = "padding: 2px 16px 2px 0; text-align: left; vertical-align: top; background: none; border: 0"
_NUMBER = "padding: 2px 16px 2px 0; text-align: right; vertical-align: top; background: none; border: 0"


def card(facts: Facts) -> str:
    """Return the first screen as HTML in which everything from outside is escaped text."""
    scope = "".join(
        f'<tr><td style="{_CELL}; {_MUTED}">{escape(name)}</td><td style="{_CELL}">{escape(words)}</td></tr>'
        for name, words in facts.scope_rows()
    )
    population = "".join(
        f'<tr><td style="{_CELL}{"; font-weight: 600" if row.kind == "sum" else ""}">{escape(row.name)}</td>'
        f'<td style="{_NUMBER}">{escape(row.count)}</td><td style="{_CELL}; {_MUTED}">{escape(row.why)}</td></tr>'
        for row in facts.population_rows()
    )
    return (
        '<div style="max-width: 60em; line-height: 1.45">'
        f'<div style="font-size: 1.6em; font-weight: 600; line-height: 1.25">{escape(facts.title)}</div>'
        f'<div style="font-size: 1.1em; margin: 0.4em 0 1em">{escape(facts.answer)}</div>'
        f'<table style="margin: 0 0 1em">{scope}</table><table style="margin: 0">{population}</table>'
        f'<div style="margin-top: 1em; {_MUTED}">{escape(STATED)}</div></div>'
    )
