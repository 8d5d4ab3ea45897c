"""Which notebook is meant: a path, or the name of one of ours; and which parameters it takes.

Our notebooks lie beside this module in an installed package, and in the repository's `notebooks/` in an editable
one.
"""

import ast
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditkit.errors import ReportError

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_SENTENCE = re.compile(r".*?(?:[.](?=\s|\Z)|\Z)")
_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE / "notebooks", _HERE.parents[1] / "notebooks")


def shipped() -> dict[str, Path]:
    """Return our notebooks, by name.

    >>> {"operations", "overview"} <= shipped().keys()
    True
    """
    folder = next((place for place in _PLACES if (place / "overview.ipynb").is_file()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.ipynb"))}


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
    raise ReportError(
        f"{notebook}: no such notebook (expected a path ending in .ipynb or one of {', '.join(ours)})"
    )


def introductions() -> dict[str, str]:
    """Return what each of our notebooks says it shows, by name: the first sentence under its title."""
    return {name: _introduction(path) for name, path in shipped().items()}


def _introduction(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = next(("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"), "")
    words = " ".join(line for line in prose.splitlines() if not line.startswith("#"))
    return _SENTENCE.match(words.strip())[0]  # type: ignore[index]  # it matches anything


def declared_parameters(cells: Sequence[Any]) -> frozenset[str]:
    """Return the names that the cell tagged `parameters` assigns; without such a cell there are none."""
    source = next((cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), "")
    try:
        statements = ast.parse(source).body
    except SyntaxError as exc:
        raise ReportError(f"the parameters cell is not Python (line {exc.lineno})") from exc
    names: set[str] = set()
    for statement in statements:
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        )
        names.update(target.id for target in targets if isinstance(target, ast.Name))
    return frozenset(names)
