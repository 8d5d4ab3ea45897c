"""Which code made a report: one of our notebooks as shipped, or another, and the digest that tells them apart."""

import ast
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import nbformat

from auditkit import __version__
from auditkit.reporting.gallery import declared_parameters, shipped
from auditkit.text import visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Logic:
    """The notebook in words, and the digest of its code."""

    words: str
    digest: str


def logic_of(notebook: Any, source: str) -> Logic:
    """Return which code a notebook holds; `source` is what it was called when it was run.

    A notebook is ours if its code is, whatever it is called, so that it may be copied and its prose translated.
    """
    digest = code_digest(notebook)
    ours = next((name for name, known in _shipped_digests().items() if known == digest), None)
    if ours is not None:
        return Logic(words=f"{ours}, as shipped with auditkit {__version__}, unmodified", digest=digest)
    return Logic(words=f"{visible(source)}, a custom notebook", digest=digest)


def code_digest(notebook: Any) -> str:
    """Return the SHA-256 of a notebook's code, in hexadecimal.

    Hashed is the JSON array of the sources of its code cells in their order, as `json.dumps` writes it, in ASCII.
    Left out are cells without text, and the parameters that a run has put in: the cell tagged so behind the one
    tagged `parameters`, if it does nothing but give these values.  Prose and outputs do not count.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    at = next((at for at, cell in enumerate(cells) if has_tag(cell, "parameters")), None)
    if at is not None and _gives_values(cells[at + 1 : at + 2], declared_parameters(cells)):
        del cells[at + 1]
    return hashlib.sha256(json.dumps([cell.source for cell in cells]).encode()).hexdigest()


def has_tag(cell: Any, tag: str) -> bool:
    """Whether a cell is tagged so."""
    tags = cell.metadata.get("tags", [])
    return isinstance(tags, list) and tag in tags


def _gives_values(cells: Sequence[Any], declared: frozenset[str]) -> bool:
    """Whether the one cell is tagged as injected and assigns literals to declared parameters, and nothing else.

    The tag alone says nothing: any code could bear it.
    """
    if not cells or not has_tag(cells[0], "injected-parameters"):
        return False
    try:
        statements = ast.parse(cells[0].source).body
    except SyntaxError:
        return False
    return all(_gives_value(statement, declared) for statement in statements)


def _gives_value(statement: ast.stmt, declared: frozenset[str]) -> bool:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in declared:
            try:
                ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                return False
            return True
    return False


@cache
def _shipped_digests() -> dict[str, str]:
    return {
        name: code_digest(nbformat.read(path, as_version=4))  # type: ignore[no-untyped-call]
        for name, path in shipped().items()
    }
