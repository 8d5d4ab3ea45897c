"""`AuditHandler`: what a program logs through Python's `logging` becomes events."""

import logging
from typing import Any

from auditkit.auditing import Destination, OnError, Recorder, type_name
from auditkit.sources.log_events import append_logged
from auditkit.timerange import from_us

_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
"""What every record has: everything else was given as `extra`."""


class AuditHandler(logging.Handler):
    """Appends an event for every record that reaches it.

    `action` is the message as it stands in the program, without its arguments, so that `"%s logged in"` is one action
    for every user; the message with its arguments is `attrs.message`.  What `extra` names by the name of an event's field,
    or of a declared one, is that field, `action` too; its other keys go into attrs, with the logger's name, the level and the
    type of an exception (not its message or traceback, which may hold secrets).  `outcome` is `"failure"` from the level
    ERROR on, unless `extra` says otherwise.  `ts` is when it was logged, and what `ak.bind` holds applies.

    Threads that log at the same moment share one sync.  `logging.shutdown`, which Python calls at its end, makes
    durable what was logged.

    Parameters
    ----------
    trail : Trail, str, Path, callable or None, default None
        Where the events go.  A path is opened at the first event, by each process for itself; a callable returns the
        trail; None means what AUDITKIT_TRAIL names.
    source : str or None, default None
        The `source` of the events, such as the name of the service.
    level : int or str, default logging.NOTSET
        The least level that becomes an event.
    on_error : {"continue", "raise"}, default "continue"
        Whether the program goes on where a record cannot become a durable event: then it is counted, in `unrecorded` and in
        `trail.stats().unrecorded`, and handed to `handleError`, which prints it.  `"raise"` raises where it was logged.
    wait : bool, default False
        Whether an event is durable when the logging call returns; else it is within a tenth of a second.

    Examples
    --------
    >>> import logging.config, tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> logging.config.dictConfig({
    ...     "version": 1,
    ...     "disable_existing_loggers": False,
    ...     "handlers": {
    ...         "audit": {"class": "auditkit.sources.logging.AuditHandler", "trail": str(trail.path), "source": "shop"},
    ...     },
    ...     "loggers": {"shop.audit": {"handlers": ["audit"], "level": "INFO", "propagate": False}},
    ... })
    >>> log = logging.getLogger("shop.audit")
    >>> log.info("refunded %s", "order/7", extra={"actor": "ann", "value": 12.5, "currency": "EUR"})
    >>> log.handlers[0].flush()
    >>> trail.range(columns=["actor", "action", "value"]).rows()
    [('ann', 'refunded %s', 12.5)]
    >>> log.handlers[0].close()
    """

    def __init__(
        self,
        trail: Destination = None,
        *,
        source: str | None = None,
        level: int | str = logging.NOTSET,
        on_error: OnError = "continue",
        wait: bool = False,
    ) -> None:
        super().__init__(level)
        self._recorder = Recorder(trail, name="logging", on_error=on_error, wait=wait)
        self._source = source

    @property
    def unrecorded(self) -> int:
        """How many records could not be recorded."""
        return self._recorder.unrecorded

    def handle(self, record: logging.LogRecord) -> Any:
        """Append a record that passes the filters, holding no lock of logging's: threads that wait share one sync."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record."""
        try:
            self._append(record)
        except Exception as exc:
            self._recorder.failed(exc)
            self.handleError(record)

    def flush(self) -> None:
        """Make durable what was logged."""
        try:
            self._recorder.flush()
        except Exception as exc:
            self._recorder.failed(exc, stacklevel=2)

    def close(self) -> None:
        """Make durable what was logged, and close the trail if it was opened here."""
        try:
            self.flush()
            self._recorder.close()
        finally:
            super().close()

    def _append(self, record: logging.LogRecord) -> None:
        attrs: dict[str, Any] = {"logger": record.name, "level": record.levelname}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            attrs["exception"] = type_name(error)
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        failure = {"outcome": "failure"} if record.levelno >= logging.ERROR else {}
        given = {"ts": from_us(int(record.created * 1e6)), **failure, **extra}
        action = str(record.msg).strip() or record.name
        append_logged(self._recorder, record.getMessage(), given, attrs, source=self._source, action=action)
