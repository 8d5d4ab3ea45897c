"""The page that says which report of a batch is about what; it holds text alone, and loads and runs nothing."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from auditkit.plaintext import label, visible
from auditkit.reporting.parts import Part

_TEMPLATES = Path(__file__).parent / "templates" / "auditreport"


def contents(
    parts: Sequence[Part], states: Mapping[str, str], *, notebook: str, trail: str, each: str, as_of: int
) -> str:
    """Return the page; `states` says of each file "complete", "failed" or "missing"."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True)
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    made = sum(state == "complete" for state in states.values())
    return environment.get_template("batch.html.j2").render(
        title=f"{visible(notebook)} for each {visible(each)}",
        answer=f"{made:,} of {len(parts):,} reports are complete; each shows the trail as of its first {as_of:,} events.",
        trail=label(trail),
        each=visible(each),
        rows=[(part.name, f"{part.events:,}", part.file, states[part.file]) for part in parts],
        style=Markup(style),  # noqa: S704 -- our own file
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    )
