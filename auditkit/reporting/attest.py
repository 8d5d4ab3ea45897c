"""Reports as events of the trail's own: that one was rendered, and who has reviewed it.

A report is named by the SHA-256 of its file, so that what was reviewed is known to the byte.  Nothing is appended
unless the caller asks for it.
"""

import hashlib
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from auditkit.api import Trail
from auditkit.errors import InvalidArgumentError, ReportError
from auditkit.reporting.cover import MIME, CoverModel, read_cover
from auditkit.reporting.notebooks import code_digest
from auditkit.reporting.scope import user
from auditkit.write.append import append_own

RENDERED = "report.rendered"
REVIEWED = "report.reviewed"


class Rendered(Struct, frozen=True, kw_only=True):
    """A report on disk and what was asked for it: ISO bounds and `as_of`, None where it has no first screen."""

    sha256: str
    notebook: str
    notebook_sha256: str
    start: str | None
    end: str | None
    as_of: int | None
    status: str


def describe(document: Any, path: Path, *, cover: CoverModel | None, notebook: str, status: str) -> Rendered:
    """Return what is to be known about the report of an executed notebook, whose file is final."""
    return Rendered(
        sha256=_digest(path),
        notebook=notebook,
        notebook_sha256=code_digest(document.cells),
        start=cover.start if cover else None,
        end=cover.end if cover else None,
        as_of=cover.as_of if cover else None,
        status=status,
    )


def record_rendered(trail: Trail, path: Path, rendered: Rendered) -> int:
    """Append `report.rendered`, by this user, on the file's name; return its seq once it is durable."""
    return append_own(trail.handle, RENDERED, asdict(rendered), actor=user(), resource=path.name)


def record_reviewed(trail: Trail, path: Path, *, by: str) -> int:
    """Append `report.reviewed` by a person, on the report whose bytes are in a file; return its seq once durable.

    Raises `ReportError` where this trail has no `report.rendered` of these very bytes: a review of a file that was
    changed, or that comes from elsewhere, is no review of a report of this trail.
    """
    if not by.strip():
        raise InvalidArgumentError("by", by, "is empty", expected="the name of who has reviewed the report")
    digest = _digest(path)
    where = {"action": RENDERED, "attrs.sha256": digest}
    known = trail.scan(where=where, own=True).select("seq", "resource").sort("seq").collect()
    if known.is_empty():
        error = ReportError(f"{path}: the trail has no {RENDERED} of these bytes (SHA-256 {digest})")
        error.add_note("only reports that were rendered with --record can be reviewed, and only unchanged")
        raise error
    seq, name = known.row(-1)
    return append_own(
        trail.handle, REVIEWED, {"sha256": digest, "rendered_seq": seq}, actor=by, resource=name
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_cover(document: Any) -> CoverModel | None:
    """Return the first screen in a notebook's outputs, if there is one."""
    outputs = (output for cell in document.cells for output in cell.get("outputs", []))
    covers = (read_cover(output.get("data", {}).get(MIME)) for output in outputs)
    return next(filter(None, covers), None)
