"""What `pyproject.toml` says the package needs is what its modules import."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "auditkit"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {
    "auditkit",
    "_auditkit_hook",
    "sitecustomize",
}  # the last two are the recorder's, in the recorded program
NEEDS = {
    "explorer/widget.py": "lab",
    "lab/listening.py": "lab",
    "lab/server.py": "lab",
    "lab": "report",
    "charts": "report",
    "reporting": "report",
    "ask/sql.py": "sql",
    "ask/tier.py": "xarray",
}
"""The extras that folders and modules need."""
OURS = re.compile(r"auditkit-trail\[(.+)\]")


def normal(requirement: str) -> str:
    """Return the name of a requirement or distribution as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[ \[<>=!~;]", requirement)[0]).lower()


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level packages that a module imports by name, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def needed_by(extra: str) -> set[str]:
    """Return the distributions that an extra names, and those of the extras that it takes in."""
    named = PROJECT["optional-dependencies"][extra]
    inner = [name for each in named if (own := OURS.match(each)) for name in own[1].split(",")]
    return {normal(each) for each in named}.union(*(needed_by(name) for name in inner))


BASE = {normal(each) for each in PROJECT["dependencies"]}
EXTRAS = {name: needed_by(name) for name in PROJECT["optional-dependencies"]}
KNOWN = packages_distributions()
FOUND = {
    path: {name for name in imported(path) if name not in sys.stdlib_module_names and name not in OWN}
    for path in sorted(PACKAGE.rglob("*.py"))
}


def distributions(names: set[str]) -> set[str]:
    """Return the distributions that bring these top-level packages."""
    return {normal(each) for name in names for each in KNOWN.get(name, [name])}


def test_every_import_is_declared() -> None:
    """A module imports only packages that its extra, or the base, names itself."""
    undeclared = {}
    for path, names in FOUND.items():
        place = path.relative_to(PACKAGE)
        extra = NEEDS.get(str(place)) or NEEDS.get(place.parts[0])
        declared = BASE | (EXTRAS[extra] if extra else set())
        if missing := {name for name in names if not distributions({name}) & declared}:
            undeclared[str(path.relative_to(PACKAGE))] = missing
    assert undeclared == {}


def test_every_dependency_of_the_base_is_imported() -> None:
    """The base names nothing that no module imports."""
    assert distributions({name for names in FOUND.values() for name in names}) >= BASE


def test_tools_of_the_checks_are_declared() -> None:
    """What `.ci/run` calls is in the extra `test`."""
    tools = set(re.findall(r"\.venv/bin/(\w+)", (ROOT / ".ci" / "run").read_text())) - {"pip"}
    assert {"ruff", "mypy"} <= tools <= EXTRAS["test"] | {"pytest"}
    assert "pytest-timeout" in EXTRAS["test"]
