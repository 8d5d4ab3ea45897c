"""Context that travels with the code that appends: who acts, from where, within which request.

Values live in a `contextvars.ContextVar`, so they follow asyncio tasks by themselves and stay apart between
threads.  Explicit arguments of `append` win over bound ones.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

BINDABLE = frozenset({"actor", "action", "resource", "outcome", "source", "origin", "correlation"})
"""The event fields that `bind` takes."""

_EMPTY: Mapping[str, str | None] = MappingProxyType({})
_bound: ContextVar[Mapping[str, str | None]] = ContextVar("auditkit_bound", default=_EMPTY)


@contextmanager
def bind(**fields: str | None) -> Iterator[None]:
    """Give every event appended inside the block these fields, unless it names them itself.

    Blocks nest; the inner one wins.  The fields follow asyncio tasks and stay apart between threads.

    Parameters
    ----------
    **fields : str or None
        `actor`, `action`, `resource`, `outcome`, `source`, `origin` or `correlation`.

    Returns
    -------
    context manager
        Gives nothing to the block.

    Raises
    ------
    TypeError
        Another field is named.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> with ak.bind(actor="ann", correlation="req-1"):
    ...     receipt = trail.append(action="doc.read")
    >>> trail.range(columns=["actor", "correlation"]).rows()
    [('ann', 'req-1')]
    """
    unknown = sorted(fields.keys() - BINDABLE)
    if unknown:
        raise TypeError(f"bind: unknown field {unknown[0]!r} (expected one of {', '.join(sorted(BINDABLE))})")
    token = _bound.set(MappingProxyType({**_bound.get(), **fields}))
    try:
        yield
    finally:
        _bound.reset(token)


def bound() -> Mapping[str, str | None]:
    """Return the fields bound around the caller, read-only."""
    return _bound.get()
