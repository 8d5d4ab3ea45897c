"""Names of a package that are imported from their homes when they are first asked for.

So nobody waits for what others need: a reader not for what writes, an import not for what it may never call.  The
package's `__init__.pyi` tells type checkers and editors the same names.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def names_from(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` (PEP 562) of a package whose names have these homes: `module`, or `module:member`."""

    def get(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, member = home.partition(":")
        value: object = import_module(module)
        if member:
            value = getattr(value, member)
        setattr(sys.modules[package], name, value)
        return value

    return get
