"""`AuditProcessor`: what a program logs through structlog becomes events."""

import sys
from collections.abc import MutableMapping
from typing import Any

from auditkit.auditing import Destination, OnError, Recorder, type_name
from auditkit.sources.log_events import append_logged


class AuditProcessor:
    """A structlog processor that appends an event for every entry, and gives the entry on as it was.

    `action` is the entry's `event`.  Keys with the name of an event's field, or of a declared one, are that field, `action`
    too; the others go into attrs, with the name of the method as `level` and the type of an exception (not its message or
    traceback, which may hold secrets).  `outcome` is `"failure"` for `error`, `exception` and `critical`, unless the entry
    says otherwise.  What `ak.bind` holds applies; put it behind `structlog.contextvars.merge_contextvars`, and before what
    adds a time or renders.

    Parameters
    ----------
    trail : Trail, str, Path, callable or None, default None
        Where the events go.  A path is opened at the first event, by each process for itself; a callable returns the
        trail; None means what AUDITKIT_TRAIL names.
    source : str or None, default None
        The `source` of the events, such as the name of the service.
    on_error : {"continue", "raise"}, default "continue"
        Whether the program goes on where an entry cannot become a durable event: then it is counted, in `unrecorded` and in
        `trail.stats().unrecorded`, and warned of once.  `"raise"` raises where it was logged.
    wait : bool, default False
        Whether an event is durable when the logging call returns; else it is within a tenth of a second.

    Examples
    --------
    >>> import tempfile
    >>> import structlog
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> audit = AuditProcessor(trail, source="shop", wait=True)
    >>> log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[audit, structlog.processors.JSONRenderer()])
    >>> log.info("order.refund", actor="ann", resource="order/7", currency="EUR")
    '{"actor": "ann", "resource": "order/7", "currency": "EUR", "event": "order.refund"}'
    >>> trail.range(columns=["actor", "action", "attrs"]).rows()
    [('ann', 'order.refund', '{"level":"info","currency":"EUR"}')]
    """

    def __init__(
        self,
        trail: Destination = None,
        *,
        source: str | None = None,
        on_error: OnError = "continue",
        wait: bool = False,
    ) -> None:
        self._recorder = Recorder(trail, name="structlog: an entry", on_error=on_error, wait=wait)
        self._source = source

    @property
    def unrecorded(self) -> int:
        """How many entries could not be recorded."""
        return self._recorder.unrecorded

    def __call__(
        self, _logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Append the entry, and give it on."""
        try:
            self._append(method_name, event_dict)
        except Exception as exc:
            self._recorder.failed(exc, stacklevel=4)
        return event_dict

    def close(self) -> None:
        """Make durable what was logged, and close the trail if it was opened here."""
        self._recorder.flush()
        self._recorder.close()

    def _append(self, method_name: str, entry: MutableMapping[str, Any]) -> None:
        given = {key: value for key, value in entry.items() if key not in ("event", "exc_info")}
        attrs: dict[str, Any] = {"level": method_name}
        error = _exception(entry.get("exc_info"))
        if error is not None:
            attrs["exception"] = type_name(error)
        if method_name in ("error", "exception", "critical"):
            given = {"outcome": "failure", **given}
        said = str(entry.get("event") or "")
        action = said.strip() or f"log.{method_name}"
        append_logged(self._recorder, said, given, attrs, source=self._source, action=action)


def _exception(given: object) -> BaseException | None:
    """Return the exception that an entry's `exc_info` means."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if len(given) == 3 and isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None
