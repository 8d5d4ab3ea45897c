"""The page that says which report of a batch is about what; it holds text alone, and loads and runs nothing."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from auditkit.reporting.parts import Part
from auditkit.reporting.screen import moment_words
from auditkit.text import label, visible
from auditkit.where import describe_where

_TEMPLATES = Path(__file__).parent / "templates" / "auditreport"


def contents(
    parts: Sequence[Part],
    states: Mapping[str, str],
    *,
    notebook: str,
    trail: str,
    each: str,
    where: dict[str, Any] | None,
    zone: str,
    as_of: int,
    found: int,
) -> str:
    """Return the page; `states` says of each file "complete", "failed" or "missing", `found` counts all parts."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True)
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    made = sum(state == "complete" for state in states.values())
    left_out = f" of {found:,} that there are" if found > len(parts) else ""
    return environment.get_template("batch.html.j2").render(
        title=f"{visible(notebook)} for each {visible(each)}",
        answer=f"{made:,} of {len(parts):,} reports are complete.",
        trail=label(trail),
        each=visible(each),
        scope=[
            ("From", _moment(parts[0].start, zone, "the first event kept") if parts else "(none)"),
            ("Up to", _moment(parts[-1].end, zone, "the latest event") if parts else "(none)"),
            ("Time zone", visible(zone)),
            ("Filter", visible(describe_where(where))),
            ("As of", f"the first {as_of:,} events of the trail"),
            ("Reports", f"{len(parts):,}{left_out}"),
        ],
        rows=[(part.name, f"{part.events:,}", part.file, states[part.file]) for part in parts],
        style=Markup(style),  # noqa: S704 -- our own file
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    )


def _moment(text: str | None, zone: str, unbounded: str) -> str:
    return unbounded if text is None else moment_words(text, zone)
