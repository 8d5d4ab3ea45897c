"""The error tree: every failure auditkit reports on purpose.

Messages are lower case, have no full stop and follow `subject: fact (expected x, found y)`; advice travels as a
note, positions as attributes.  Nothing here may import another auditkit module.
"""

from pathlib import Path


class AuditError(Exception):
    """Base of all errors raised by auditkit."""


class InvalidEventError(AuditError, ValueError):
    """An input cannot become an event; nothing was written.

    `field`, `value` and `reason` say what is wrong, `position` which row of a batch (from 0) it was.
    """

    def __init__(self, field: str, value: object, reason: str, *, position: int | None = None) -> None:
        self.field = field
        self.value = value
        self.reason = reason
        self.position = position
        where = "" if position is None else f"row {position}: "
        super().__init__(f"{where}{field}: {reason} (found {shorten(value)})")


class QueueFullError(AuditError):
    """The queue is at its bound and the caller asked not to wait."""


class ClosedError(AuditError):
    """The trail was closed, or its writer refuses appends after a failed write."""


class LockedError(AuditError):
    """Somebody else holds a lock for longer than the caller wanted to wait."""


class TrailNotFoundError(AuditError, FileNotFoundError):
    """There is no trail at this path."""


class TrailExistsError(AuditError, FileExistsError):
    """The place for a new trail is taken."""


class PrunedError(AuditError):
    """The answer needs events that the retention policy has removed; `tombstone` names the record of it."""

    def __init__(self, message: str, *, tombstone: str) -> None:
        self.tombstone = tombstone
        super().__init__(message)


class CorruptionError(AuditError):
    """Stored bytes are not what was written; `path`, `offset` and `reason` say where and why."""

    def __init__(self, path: Path, *, offset: int | None, reason: str) -> None:
        self.path = path
        self.offset = offset
        self.reason = reason
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{path}{at}: {reason}")


class FormatError(AuditError):
    """A file was written by a format this version does not know."""


class ReportError(AuditError):
    """A report could not be made; `output` is the FAILED report or executed notebook where one was saved."""

    def __init__(self, message: str, *, output: Path | None = None) -> None:
        self.output = output
        super().__init__(message)


def shorten(value: object, *, limit: int = 80) -> str:
    """Return `repr(value)` in at most `limit` printable characters, safe to show on a terminal.

    >>> shorten("a" * 100, limit=10)
    "'aaaaaa..."
    """
    text = ascii(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
