from auditkit import charts as charts
from auditkit import errors as errors
from auditkit import query as query
from auditkit.api import Trail as Trail
from auditkit.auditing import audited as audited
from auditkit.backups import backup as backup
from auditkit.context import bind as bind
from auditkit.errors import AuditError as AuditError
from auditkit.errors import QueueFullError as QueueFullError
from auditkit.opening import create as create
from auditkit.opening import open_trail as open  # noqa: A004
from auditkit.queue.receipts import Receipt as Receipt
from auditkit.reporting.run import render as render
from auditkit.reporting.run import report as report
from auditkit.where import Where as Where
from auditkit.where import attr as attr

__version__: str
__all__ = [
    "AuditError",
    "QueueFullError",
    "Receipt",
    "Trail",
    "Where",
    "attr",
    "audited",
    "backup",
    "bind",
    "charts",
    "create",
    "errors",
    "open",
    "query",
    "render",
    "report",
]
