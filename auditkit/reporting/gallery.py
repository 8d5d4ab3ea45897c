"""Which notebook is meant: a path, or the name of one of ours; and which parameters it takes.

Our notebooks lie beside this module in an installed package, and in the repository's `notebooks/` in an editable
one.
"""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditkit.errors import ReportError

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
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
    """Return the path of a notebook given by its path or by the name of one of ours; else `ReportError`."""
    path = Path(notebook)
    if path.suffix == ".ipynb":
        if path.is_file():
            return path
        raise ReportError(f"{path}: no such notebook")
    ours = shipped()
    if isinstance(notebook, str) and _NAME.fullmatch(notebook) and notebook in ours:
        return ours[notebook]
    raise ReportError(
        f"{notebook}: no such notebook (expected a path ending in .ipynb or one of {', '.join(ours)})"
    )


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
