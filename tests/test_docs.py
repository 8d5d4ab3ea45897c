"""What Shift-Tab shows: every public name says what it takes, gives back and raises, with an example that runs."""

import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import auditkit as ak

SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def public() -> Iterator[tuple[str, Any]]:
    """Yield every public function, class and method by its name."""
    for name in ak.__all__:
        member = getattr(ak, name)
        if isinstance(member, ModuleType):
            names = getattr(member, "__all__", None) or [
                each for each in vars(member) if each.endswith("Error")
            ]
            for inner in names:
                yield from described(f"{name}.{inner}", getattr(member, inner))
        else:
            yield from described(name, member)


def described(name: str, member: Any) -> Iterator[tuple[str, Any]]:
    """Yield a function, or a class with its public methods and properties; types for annotations need no words."""
    if inspect.isfunction(member):
        yield name, member
    elif inspect.isclass(member):
        yield name, member
        for inner, value in vars(member).items():
            if not inner.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                yield f"{name}.{inner}", value


def parameters(member: Any) -> list[str]:
    """Return the names that a caller gives, as the docstring has them."""
    if isinstance(member, property) or (inspect.isclass(member) and "__init__" not in vars(member)):
        return []
    given = inspect.signature(member).parameters.values()
    stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}
    return [stars.get(each.kind.name, "") + each.name for each in given if each.name != "self"]


def sections(doc: str) -> dict[str, str]:
    """Return the text below each heading."""
    parts = SECTION.split(doc)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


NAMES = dict(public())
CALLABLE = {name: member for name, member in NAMES.items() if not isinstance(member, property)}
MADE_BY_US = {"Trail", "Receipt", "charts.Figure"}
"""Classes that callers are given and do not make."""


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_with_a_sentence(name: str) -> None:
    """The first line is one sentence that ends in a full stop."""
    doc = inspect.getdoc(NAMES[name]) or ""
    assert re.match(r"[A-Z`].*[.:]", doc.partition("\n")[0]), doc


@pytest.mark.parametrize("name", sorted(CALLABLE.keys() - MADE_BY_US))
def test_every_parameter_is_described(name: str) -> None:
    """The section Parameters names what the signature does, in its order, each with a type."""
    doc = sections(inspect.getdoc(CALLABLE[name]) or "")
    found = re.findall(r"^(\*{0,2}\w[\w, ]*) : \S", doc.get("Parameters", ""), re.MULTILINE)
    assert ", ".join(found).split(", ") == (parameters(CALLABLE[name]) or [""])


@pytest.mark.parametrize("name", [name for name, member in CALLABLE.items() if inspect.isfunction(member)])
def test_what_comes_back_is_described(name: str) -> None:
    """A function that returns something says what, and each shows an example."""
    member = CALLABLE[name]
    doc = sections(inspect.getdoc(member) or "")
    if inspect.signature(member).return_annotation not in (None, "None"):
        assert doc.keys() & {"Returns", "Yields"}
    assert ">>> " in doc.get("Examples", "")


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(NAMES[name])])
def test_signatures_show_public_types(name: str) -> None:
    """No parameter is an `object`, and none is of a private type."""
    for parameter in inspect.signature(NAMES[name]).parameters.values():
        if parameter.name != "self":
            assert parameter.annotation is not object
            assert not re.search(r"\b_\w", str(parameter.annotation)), parameter
