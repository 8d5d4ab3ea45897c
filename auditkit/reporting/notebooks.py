"""Which notebook is meant, which parameters it takes, and which code it is.

Our notebooks lie beside this module in an installed package, and in the repository's `notebooks/` in an editable
one.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from auditkit import __version__
from auditkit.errors import ReportError
from auditkit.text import did_you_mean, visible

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_SENTENCE = re.compile(r".*?(?:[.](?=\s|\Z)|\Z)")
_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE / "shipped", _HERE.parents[1] / "notebooks")
_TOUR = "tour"
"""The notebook in the repository that is no report."""


def shipped() -> dict[str, Path]:
    """Return our notebooks, by name.

    >>> {"operations", "overview"} <= shipped().keys()
    True
    """
    folder = next((place for place in _PLACES if (place / "overview.ipynb").is_file()), None)
    return (
        {}
        if folder is None
        else {path.stem: path for path in sorted(folder.glob("*.ipynb")) if path.stem != _TOUR}
    )


def find_notebook(notebook: str | Path) -> Path:
    """Return the path of a notebook given by its path or by the name of one of ours; else `ReportError`.

    In names `-` and `_` are the same.
    """
    path = Path(notebook)
    if path.suffix == ".ipynb":
        if path.is_file():
            return path
        raise ReportError(f"{path}: no such notebook")
    ours = shipped()
    if isinstance(notebook, str) and _NAME.fullmatch(notebook) and notebook.replace("-", "_") in ours:
        return ours[notebook.replace("-", "_")]
    near = did_you_mean(notebook, ours)
    raise ReportError(
        f"{notebook}: no such notebook{near} (expected a path ending in .ipynb or one of {', '.join(ours)})"
    )


def is_shipped(path: Path) -> bool:
    """Return whether a notebook is one of ours."""
    return path in shipped().values()


def introductions() -> dict[str, str]:
    """Return what each of our notebooks says it shows, by name: the first sentence under its title."""
    return {name: _introduction(_cells(path)) for name, path in shipped().items()}


def _introduction(cells: Sequence[Mapping[str, Any]]) -> str:
    prose = next((cell["source"] for cell in cells if cell["cell_type"] == "markdown"), "")
    words = " ".join(line for line in prose.splitlines() if not line.startswith("#"))
    return _SENTENCE.match(words.strip())[0]  # type: ignore[index]  # it matches anything


def _cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of one of our notebooks, without the time that nbformat takes to load."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


def declared_parameters(cells: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Return the names that the cell tagged `parameters` assigns; without such a cell there are none."""
    source = next((cell["source"] for cell in cells if has_tag(cell, "parameters")), "")
    try:
        statements = ast.parse(source).body
    except SyntaxError as exc:
        raise ReportError(f"parameters cell: not Python (line {exc.lineno})") from exc
    return frozenset(name for statement in statements for name in _assigned(statement))


def _assigned(statement: ast.stmt) -> Iterator[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    yield from (target.id for target in targets if isinstance(target, ast.Name))


def has_tag(cell: Mapping[str, Any], tag: str) -> bool:
    """Return whether a cell is tagged so."""
    tags = cell["metadata"].get("tags", [])
    return isinstance(tags, list) and tag in tags


def describe_code(cells: Sequence[Mapping[str, Any]], source: str) -> tuple[str, str]:
    """Return in words which code a notebook holds, and its digest; `source` is what it was called when it was run.

    A notebook is ours if its code is, whatever it is called, so that it may be copied and its prose translated.
    """
    digest = code_digest(cells)
    ours = next((name for name, known in _shipped_digests().items() if known == digest), None)
    if ours is not None:
        return f"{ours}, as shipped with auditkit {__version__}, unmodified", digest
    return f"{visible(source)}, a custom notebook", digest


@cache
def _shipped_digests() -> dict[str, str]:
    return {name: code_digest(_cells(path)) for name, path in shipped().items()}


def code_digest(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of a notebook's code, in hexadecimal.

    Hashed is the JSON array of the sources of its code cells in their order, as `json.dumps` writes it, in ASCII.
    Left out are cells without text, and the parameters that a run has put in: the cell tagged so behind the one
    tagged `parameters`, if it does nothing but give these values.  Prose and outputs do not count.
    """
    code = [cell for cell in cells if cell["cell_type"] == "code" and cell["source"].strip()]
    at = next((at for at, cell in enumerate(code) if has_tag(cell, "parameters")), None)
    if at is not None and _gives_values(code[at + 1 : at + 2], declared_parameters(code)):
        del code[at + 1]
    return hashlib.sha256(json.dumps([cell["source"] for cell in code]).encode()).hexdigest()


def _gives_values(cells: Sequence[Mapping[str, Any]], declared: frozenset[str]) -> bool:
    """Return whether the one cell is tagged as injected and assigns literals to declared parameters, and nothing else.

    The tag alone says nothing: any code could bear it.
    """
    if not cells or not has_tag(cells[0], "injected-parameters"):
        return False
    try:
        statements = ast.parse(cells[0]["source"]).body
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
