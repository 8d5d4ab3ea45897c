"""The shape of the package: floors, order inside folders, and the code map that names them."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import auditkit

ROOT = Path(auditkit.__file__).parent
MAP_ROW = re.compile(r"\| (\d+) \| `([\w./]+)` \| [^|]+ \| ?([^|]*)\|")
QUOTED = re.compile(r"(\w+)\.(\w+)(?:\.\w+)?(?: \| None)?")
README = ROOT.parent / "README.md"


def code_map() -> dict[str, tuple[int, list[str]]]:
    """Return place → (floor, modules in order) as ARCHITECTURE.md draws it."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = MAP_ROW.findall(text)
    return {
        place.removesuffix("/").removesuffix(".py"): (int(floor), re.findall(r"`(\w+)`", modules))
        for floor, place, modules in rows
    }


def modules() -> Iterator[Path]:
    """Yield every module of the package but its root."""
    return (path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py")


def imported(path: Path) -> set[str]:
    """Return the auditkit modules that a file imports, also inside functions, relative to the package."""
    names: set[str] = set()
    tree, bound = ast.parse(path.read_text()), dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names |= {*bound.values(), node.module}
    names |= {f"{bound[name]}.{attribute}" for name, attribute in attributes(tree) if name in bound}
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "auditkit" and len(parts) > 1:
            while parts[1:] and not is_module(parts[1:]):
                parts.pop()
            if parts[1:]:
                found.add(".".join(parts[1:]))
    return found


def attributes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (name, attribute) of every `name.attribute`, also in quoted annotations: what packages import when asked."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                yield name, attribute
            case ast.Constant(value=str(text)) if found := QUOTED.fullmatch(text):
                yield found[1], found[2]


def is_module(parts: list[str]) -> bool:
    """Say whether the dotted path below the package is a module or folder."""
    base = ROOT.joinpath(*parts)
    return base.with_suffix(".py").is_file() or base.is_dir()


def test_the_code_map_names_every_place() -> None:
    """ARCHITECTURE.md names exactly the modules and folders there are."""
    places = {p.stem if p.is_file() else p.name for p in ROOT.iterdir() if is_place(p)}
    assert places == set(code_map())
    for place, (_, order) in code_map().items():
        folder = ROOT / place
        if folder.is_dir():
            assert order == [] or {p.stem for p in folder.glob("*.py")} - {"__init__"} == set(order), place


def is_place(path: Path) -> bool:
    """Say whether a path is a module or a folder of modules."""
    if path.is_dir():
        return path.name != "__pycache__"
    return path.suffix == ".py" and path.stem != "__init__"


def test_imports_point_to_lower_floors() -> None:
    """No module imports from its own floor or from above."""
    places = code_map()
    wrong = []
    for path in modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        floor = places[parts[0]][0]
        for name in imported(path):
            target = name.split(".")[0]
            if target != parts[0] and places[target][0] >= floor:
                wrong.append(f"{'.'.join(parts)} (floor {floor}) imports {name} (floor {places[target][0]})")
    assert not wrong


def test_imports_inside_a_folder_follow_the_order() -> None:
    """Inside a folder a module imports only modules that the map names before it."""
    wrong = []
    for place, (_, order) in code_map().items():
        if not (ROOT / place).is_dir():
            continue
        for path in (ROOT / place).glob("*.py"):
            if path.stem == "__init__" or path.stem not in order:
                continue
            inner = {n.split(".")[1] for n in imported(path) if n.startswith(f"{place}.")}
            wrong += [
                f"{place}.{path.stem} imports {n}" for n in inner if order.index(n) >= order.index(path.stem)
            ]
    assert not wrong


def test_folders_without_cycles() -> None:
    """No two modules of a folder import each other, directly or through others."""
    for place in (p for p in ROOT.iterdir() if p.is_dir() and is_place(p)):
        graph = {
            path.stem: {
                n.split(".")[1]
                for n in imported(path)
                if n.startswith(f"{place.name}.") and n.count(".") == 1
            }
            for path in place.glob("*.py")
            if path.stem != "__init__"
        }
        while leaves := [name for name, uses in graph.items() if not uses & graph.keys()]:
            for leaf in leaves:
                del graph[leaf]
        assert not graph, f"{place.name}: {graph}"


@pytest.mark.parametrize("name", ["TYPE_CHECKING", "NotImplementedError"])
def test_no_back_doors(name: str) -> None:
    """No typing-only imports that hide a cycle, and no stubs."""
    assert not [path for path in modules() if name in path.read_text()]


def test_public_names_are_those_of_the_readme() -> None:
    """`__all__`, the type stub and the README's list of public names agree, and every name can be had."""
    stub = ast.parse((ROOT / "__init__.pyi").read_text())
    typed = next(
        ast.literal_eval(node.value)
        for node in stub.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "__all__"
    )
    section = README.read_text().partition("## Public names")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`ak\.(\w+)", section))
    assert set(auditkit.__all__) == set(typed) == documented
    for name in auditkit.__all__:
        assert getattr(auditkit, name) is not None
    methods = {name for name in vars(auditkit.Trail) if not name.startswith("_")}
    listed = set(re.findall(r"`trail\.(\w+)", section))
    assert listed <= methods
    assert methods - listed <= {"view", "handle"}


def test_importing_auditkit_loads_nothing_heavy() -> None:
    """`import auditkit` loads no third-party package and no module of auditkit but what finds the others."""
    probe = "import sys, auditkit; print(sorted(m for m in sys.modules if m.split('.')[0] in HEAVY or m.startswith('auditkit.')))"
    heavy = "HEAVY = {'polars', 'pyarrow', 'msgspec', 'click', 'rich', 'altair', 'sqlite3', 'numpy', 'nbconvert'}; "
    done = subprocess.run([sys.executable, "-c", heavy + probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_are_refused() -> None:
    """A name that auditkit does not have is an AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'appendd'"):
        auditkit.appendd  # type: ignore[attr-defined]  # noqa: B018
