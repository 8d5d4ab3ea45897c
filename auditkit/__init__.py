"""auditkit: an append-only audit trail for people who live in JupyterLab.

`import auditkit` loads nothing heavy: every public name is imported from its home on first use.
"""

from auditkit.homes import names_from

_HOMES = {
    "AuditError": "auditkit.errors:AuditError",
    "QueueFullError": "auditkit.errors:QueueFullError",
    "Receipt": "auditkit.queue.receipts:Receipt",
    "Trail": "auditkit.trail.facade:Trail",
    "attr": "auditkit.where:attr",
    "audited": "auditkit.auditing:audited",
    "backup": "auditkit.trail.opening:backup",
    "bind": "auditkit.context:bind",
    "charts": "auditkit.charts",
    "create": "auditkit.trail.opening:create",
    "open": "auditkit.trail.opening:open_trail",
    "query": "auditkit.query",
    "render": "auditkit.reporting.run:render",
    "report": "auditkit.reporting.run:report",
}

__version__ = "0.1.0"
__all__ = sorted(_HOMES)
__getattr__ = names_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
