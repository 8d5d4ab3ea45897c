"""What a trail is told about its reports: that one was rendered, and who has reviewed it, each an event of its own.

A report is named by the SHA-256 of its file, so that what was reviewed is known to the byte.  Nothing is appended
unless the caller asks for it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditkit.api import Trail
from auditkit.errors import ReportError
from auditkit.reporting.facts import MIME, Facts, read_facts
from auditkit.reporting.front import user
from auditkit.reporting.logic import code_digest
from auditkit.write.append import append_own

RENDERED = "report.rendered"
REVIEWED = "report.reviewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A report on disk and what was asked for it: ISO bounds and `as_of`, None where it has no first screen."""

    sha256: str
    notebook: str
    notebook_sha256: str
    start: str | None
    end: str | None
    as_of: int | None
    status: str


def describe(document: Any, path: Path, *, notebook: str, status: str) -> Rendered:
    """Return what is to be known about the report of an executed notebook, whose file is final."""
    facts = next(_facts(document), None)
    return Rendered(
        sha256=_digest(path),
        notebook=notebook,
        notebook_sha256=code_digest(document),
        start=facts.start if facts else None,
        end=facts.end if facts else None,
        as_of=facts.as_of if facts else None,
        status=status,
    )


def file_rendered(trail: Trail, path: Path, rendered: Rendered) -> int:
    """Append `report.rendered`, by this user, on the file's name; return its seq once it is durable."""
    attrs = {name: getattr(rendered, name) for name in Rendered.__dataclass_fields__}
    return append_own(trail.core, RENDERED, attrs, actor=user(), resource=path.name)


def file_reviewed(trail: Trail, path: Path, *, by: str) -> int:
    """Append `report.reviewed` by somebody, on the report whose bytes are in a file; return its seq once durable.

    Raises `ReportError` where this trail has no `report.rendered` of these very bytes: who reviewed a file that was
    changed, or that comes from elsewhere, has not reviewed a report of this trail.
    """
    if not by.strip():
        raise ValueError("by: is empty (expected the name of who has reviewed the report)")
    digest = _digest(path)
    where = {"action": RENDERED, "attrs.sha256": digest}
    known = trail.range(where=where, columns=["seq", "resource"], own=True)
    if known.is_empty():
        error = ReportError(f"{path}: the trail has no {RENDERED} of these bytes (SHA-256 {digest})")
        error.add_note("only reports that were rendered with --record can be reviewed, and only unchanged")
        raise error
    seq, name = known.row(-1)
    return append_own(trail.core, REVIEWED, {"sha256": digest, "rendered_seq": seq}, actor=by, resource=name)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _facts(document: Any) -> Iterator[Facts]:
    """Yield the first screens in a notebook's outputs."""
    for cell in document.cells:
        for output in cell.get("outputs", []):
            facts = read_facts(output.get("data", {}).get(MIME))
            if facts is not None:
                yield facts
