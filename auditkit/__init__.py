"""auditkit: an append-only audit trail for people who live in JupyterLab.

`import auditkit` loads nothing heavy: a public name is imported from its module when it is first used (PEP 562).
"""

from importlib import import_module

_HOMES = {
    "AuditError": "auditkit.errors:AuditError",
    "QueueFullError": "auditkit.errors:QueueFullError",
    "Receipt": "auditkit.queue.receipts:Receipt",
    "Trail": "auditkit.api:Trail",
    "Where": "auditkit.where:Where",
    "attr": "auditkit.where:attr",
    "audited": "auditkit.auditing:audited",
    "backup": "auditkit.backups:backup",
    "bind": "auditkit.context:bind",
    "charts": "auditkit.charts",
    "create": "auditkit.opening:create",
    "errors": "auditkit.errors",
    "open": "auditkit.opening:open_trail",
    "query": "auditkit.query",
    "render": "auditkit.reporting.run:render",
    "report": "auditkit.reporting.run:report",
}
_EXTENSIONS = {
    "load_ipython_extension": "auditkit.lab.magics:load_ipython_extension",
    "unload_ipython_extension": "auditkit.lab.magics:unload_ipython_extension",
}
"""What IPython asks for by name."""

__version__ = "0.1.0"
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name) or _EXTENSIONS.get(name)
    if home is None:
        near = import_module("auditkit.text").did_you_mean(name, _HOMES)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{near}")
    module, _, member = home.partition(":")
    value: object = import_module(module)
    if member:
        value = getattr(value, member)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
